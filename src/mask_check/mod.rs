//! Mask check: best shots → whether a mask is worn. Under an order for a public emergency, and of nobody in particular.
//!
//! ```text
//! track ─selection─▶ classifier (Permit<MaskCheck>) ─probability─▶ tally, one a track ─finding─▶ emit (Permit<TellMask>)
//! ```
//!
//! A branch of the journey beside embedding and matching: it takes the tracker's shots of the other [`Use`](crate::track::Use), and what
//! leaves it is a [`Finding`], which has no place for an identity, an embedding, a template or a picture. Of a crop nothing is left but
//! one probability; of a track's probabilities nothing but their mean. Each person leads to one finding at most.

pub mod classifier;
pub mod tally;
pub mod worker;

pub use classifier::{MaskClassifier, MaskError};
pub use tally::{MaskCounters, MaskShot, Tally};

use std::sync::Arc;

use crate::clock::{CaptureTime, Now};
use crate::frame::{BoundingBox, StreamIndex};
use crate::purpose::Purpose;
use crate::track::TrackId;

/// The classifier that an answer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskModel {
    pub name: Arc<str>,
    /// SHA-256 of the prepared file, lower-case hex.
    pub sha256: Arc<str>,
}

/// Whether a mask is worn: an answer about a track, not about anybody by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub stream: StreamIndex,
    pub track: TrackId,
    /// Always `mask-check`.
    pub purpose: Purpose,
    /// Of the lease terms that every shot was looked at under: it is told under that one or not at all.
    pub lease_epoch: u64,
    pub worn: bool,
    /// Probability of the answer, not below `threshold`.
    pub confidence: f32,
    /// The stream's.
    pub threshold: f32,
    pub model: MaskModel,
    pub captured_at: CaptureTime,
    pub frame_sequence: u64,
    /// Where the face was in that frame: full-resolution pixels.
    pub bounding_box: BoundingBox,
    /// Width and height of that frame.
    pub picture_px: (u32, u32),
    /// How many shots the answer is the mean of.
    pub shots: usize,
    pub decided_at: Now,
}
