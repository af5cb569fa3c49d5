//! Embed: best shots → one unit vector a track.

pub mod embedder;
pub mod gather;
pub mod worker;

pub use embedder::{EmbedError, Embedder};
pub use gather::{EmbedCounters, EmbedShot, Gather};

use std::sync::Arc;

use crate::clock::CaptureTime;
use crate::embedding::Embedding;
use crate::frame::{BoundingBox, StreamIndex};
use crate::purpose::Purpose;
use crate::track::TrackId;

/// A track ready to be searched. The embedding is the normalised mean of its best shots.
pub struct Query {
    pub stream: StreamIndex,
    pub track: TrackId,
    /// Of the lease terms that every shot was read under: a search under others is refused.
    pub lease_epoch: u64,
    /// What the lease let it be made for: a search for anything else is refused.
    pub purposes: Arc<[Purpose]>,
    /// Whether it is of who presents themselves while a claim is open.
    pub presented: bool,
    pub embedding: Embedding,
    /// How many shots went into the mean, and the best one's quality.
    pub shots: usize,
    pub quality: f32,
    /// In the frame named below, whose size in pixels is `picture_px` (width, height).
    pub bounding_box: BoundingBox,
    pub picture_px: (u32, u32),
    /// Of the frame that completed the query: latency to emission counts from here.
    pub captured_at: CaptureTime,
    pub frame_sequence: u64,
}
