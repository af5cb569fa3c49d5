//! Align: five landmarks → a 112 × 112 crop, warped from the full-resolution frame, area mask applied.
