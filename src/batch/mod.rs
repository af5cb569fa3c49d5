//! Batch: gathers frames of all streams, fair, and asks the law about each before anyone reads it.
