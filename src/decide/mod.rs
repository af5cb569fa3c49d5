//! Decide: hits → tasks for a human.
//!
//! Nothing in this program acts on a person. What leaves this step is a [`ReviewTask`]: somebody is asked to look and to judge. The
//! permit to tell anyone is asked for later still, at the moment of emission. The answer to a claim ([`Verified`]) goes to whoever asked, a
//! gate's controller, and is recorded as hits are.

pub mod answers;
pub mod once;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::clock::{CaptureTime, Now};
use crate::frame::{BoundingBox, StreamIndex};
use crate::gallery::Candidate;
use crate::purpose::Purpose;
use crate::track::TrackId;

/// Least score per stream that is told: cosine similarity of a hit, or the probability of a mask check's answer. A reload may change one
/// while queries come.
#[derive(Debug)]
pub struct Thresholds(Box<[AtomicU32]>);

impl Thresholds {
    pub fn new(thresholds: impl IntoIterator<Item = f32>) -> Self {
        Self(thresholds.into_iter().map(|t| AtomicU32::new(t.to_bits())).collect())
    }
    /// A stream without a threshold does not exist; should one turn up, nothing reaches it.
    pub fn get(&self, stream: StreamIndex) -> f32 {
        self.0.get(stream.index()).map_or(f32::INFINITY, |bits| f32::from_bits(bits.load(Relaxed)))
    }
    pub fn set(&self, stream: StreamIndex, threshold: f32) {
        if let Some(bits) = self.0.get(stream.index()) {
            bits.store(threshold.to_bits(), Relaxed);
        }
    }
}

/// A request that a human compare a person in the picture with the subjects named here. It is a suggestion with a score, never a
/// finding, and carries no instruction other than to look.
#[derive(Clone, Debug, PartialEq)]
pub struct ReviewTask {
    pub stream: StreamIndex,
    pub track: TrackId,
    pub purpose: Purpose,
    /// The legal basis that the search was done under.
    pub basis: Arc<str>,
    /// Identifies the lease terms that the search was done under.
    pub lease_epoch: u64,
    /// At or above `threshold`, best first; never empty.
    pub candidates: Vec<Candidate>,
    /// The stream's threshold, cosine similarity.
    pub threshold: f32,
    pub gallery_version: u64,
    /// Name of the embedder.
    pub model: Arc<str>,
    pub captured_at: CaptureTime,
    pub frame_sequence: u64,
    /// Where the person was in that frame: full-resolution pixels.
    pub bounding_box: BoundingBox,
    /// Width and height of that frame.
    pub picture_px: (u32, u32),
    /// Of the best shot, 0…1.
    pub quality: f32,
    /// How many shots the embedding is the mean of.
    pub shots: usize,
    pub decided_at: Now,
}

/// That a face was compared with the person whom somebody in front of the camera claims to be (1:1), and whether they are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Number of the claim: who waits for the answer ([`answers::Answers`]).
    pub claim: u64,
    pub stream: StreamIndex,
    pub track: TrackId,
    pub purpose: Purpose,
    /// Of the lease that it was done under: facts and rules, by which it may be told.
    pub profile_hash: [u8; 32],
    /// Whom they claim to be.
    pub subject: Arc<str>,
    pub matched: bool,
    /// Cosine similarity.
    pub score: f32,
    /// The stream's threshold, cosine similarity.
    pub threshold: f32,
    pub gallery_version: u64,
    /// Name of the embedder.
    pub model: Arc<str>,
    pub captured_at: CaptureTime,
    pub frame_sequence: u64,
    /// Where the person was in that frame: full-resolution pixels.
    pub bounding_box: BoundingBox,
    /// Width and height of that frame.
    pub picture_px: (u32, u32),
    /// Of the best shot, 0…1.
    pub quality: f32,
    /// How many shots the embedding is the mean of.
    pub shots: usize,
    pub decided_at: Now,
}
