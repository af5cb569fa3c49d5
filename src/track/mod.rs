//! Track: faces → persons in one stream, and the choice of their best shots.

pub mod quality;

use crate::detect::Face;
use crate::frame::{Frame, StreamIndex};

/// Random, per stream, rotated: says nothing about order, time or another stream (C10).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrackId(pub(in crate::track) u64);

#[cfg(test)]
impl TrackId {
    /// Tests of later steps need tracks without a tracker.
    pub(crate) const fn for_test(id: u64) -> Self {
        Self(id)
    }
}

impl std::fmt::Display for TrackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
impl std::fmt::Debug for TrackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A face that is worth an embedding.
#[derive(Clone, Debug)]
pub struct Shot {
    pub track: TrackId,
    pub face: Face,
    /// 0…1: size, sharpness, pose.
    pub quality: f32,
}

/// What the tracker sends on for one frame. Sent only when `shots` or `conclude` holds something.
pub struct Selection {
    pub stream: StreamIndex,
    /// The frame the shots are in; `None` when there are only tracks to conclude.
    pub frame: Option<Frame>,
    pub shots: Vec<Shot>,
    /// Tracks whose gathered shots are to be averaged and searched now (after `shots` were embedded).
    pub conclude: Vec<TrackId>,
    /// Tracks that are over: whatever was gathered for them and not concluded is wiped.
    pub ended: Vec<TrackId>,
}

/// Feedback from the match step: this track was recognised, so nothing more of it need be embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    pub stream: StreamIndex,
    pub track: TrackId,
}
