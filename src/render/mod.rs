//! The rendered concourse: people, halls and photographs that nobody's face was used for, with the truth about every pixel of them.
//!
//! ```text
//! seed ─▶ head (identity, look, shape, paint) ─▶ raster ─▶ light ─▶ picture ─┬─▶ portrait ─▶ degrade      one photograph, labelled
//!                                                                            └─▶ sprite ─▶ scene (hall, walk, body) ─▶ truth   frames
//! ```
//!
//! Everything is deterministic in its seed on one machine: the same build draws the same bytes. `portraits.rs` moves given photographs
//! over a background instead; `encode.rs` and `stills.rs` go to clips and back through GStreamer.

pub mod acts;
pub mod body;
pub mod degrade;
#[cfg(feature = "gst")]
pub mod encode;
pub mod hall;
pub mod halls;
pub mod head;
pub mod labels;
pub mod light;
mod outline;
pub mod picture;
pub mod portrait;
pub mod portraits;
pub mod random;
pub mod raster;
pub mod scene;
pub mod sprite;
#[cfg(feature = "gst")]
pub mod stills;
pub mod truth;
pub mod vector;
pub mod walk;
