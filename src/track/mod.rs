//! Track: faces → persons in one stream, and the choice of their best shots.

mod associate;
mod ids;
mod kalman;
mod pace;
pub mod quality;
mod selection;
#[cfg(test)]
pub(crate) mod testing;
pub mod tracker;
pub mod worker;

pub use tracker::Tracker;

use std::sync::Arc;

use crate::counters::{Counters, Gauge, Reading};
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

/// What shots are chosen for. Each use has its own permit, its own rule of choice, its own queue and its own worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To be embedded and searched.
    Embedding,
    /// To say whether a mask is worn.
    MaskCheck,
}

impl Use {
    pub const ALL: [Self; 2] = [Self::Embedding, Self::MaskCheck];

    const fn index(self) -> usize {
        self as usize
    }
}

/// A face that is worth looking at closely.
#[derive(Clone, Debug)]
pub struct Shot {
    pub track: TrackId,
    pub face: Face,
    /// 0…1: size, sharpness and pose of a face to be embedded; pose alone of one whose mask is looked at.
    pub quality: f32,
}

/// What the tracker sends on for one frame. Sent only when `shots`, `conclude` or `ended` holds something.
pub struct Selection {
    /// Whoever takes it does that with it, or nothing.
    pub of: Use,
    pub stream: StreamIndex,
    /// The lease under which all of it was seen ([`Permit::epoch`](crate::policy::lease::Permit::epoch)); it says nothing under another.
    pub lease_epoch: u64,
    /// The frame the shots are in; `None` when there are only tracks to conclude. Shared where both uses have shots in it.
    pub frame: Option<Arc<Frame>>,
    pub shots: Vec<Shot>,
    /// Who presents themselves while somebody's claim is open: the one who was nearest to the camera. Nobody else is compared for it.
    pub presented: Option<TrackId>,
    /// Tracks whose gathered shots are to be averaged and searched, or judged, now (after `shots` were looked at).
    pub conclude: Vec<TrackId>,
    /// Ids under which nothing more will come (track over or identified, id replaced, lease gone): whatever was gathered for them and
    /// not concluded is wiped. Only ids that had a collection open are named.
    pub ended: Vec<TrackId>,
}

/// Feedback from the match step: this track was recognised, so nothing more of it need be embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    pub stream: StreamIndex,
    pub track: TrackId,
}

crate::counters! {
    /// What the tracker of one stream did.
    pub struct TrackCounters for "track" {
        frames: "Frames that reached the tracker",
        withheld: "Frames dropped unread because their permit was no longer live",
        faces_ignored: "Detections below the low score, malformed, or beyond the most a stream may have",
        started: "Tracks begun, tentative ones included",
        confirmed: "Tracks that were confirmed",
        ended: "Confirmed tracks that ended",
        rotated: "Public ids replaced",
        shots: "Sightings chosen for an embedding",
        shots_shed: "Of those, dropped because the embedder was behind",
        too_small: "Sightings that were due but narrower than the least face width",
        low_quality: "Sightings that were due but below the least quality",
        concluded: "Collections completed",
        mask_shots: "Sightings chosen for a mask check",
        mask_shots_shed: "Of those, dropped because the mask worker was behind",
        mask_unfit: "Sightings that were due for a mask check but too narrow or turned away",
        mask_concluded: "Collections for a mask check completed",
        identified: "Tracks reported as recognised",
        no_randomness: "Tracks refused because the kernel gave no random id",
    }
}

/// How many persons a stream has in view.
#[derive(Debug, Default)]
pub struct LiveTracks {
    pub stream: Option<Arc<str>>,
    pub tracks: Gauge,
}

impl Counters for LiveTracks {
    fn component(&self) -> &'static str {
        "track"
    }
    fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }
    fn visit(&self, each: &mut dyn FnMut(Reading<'_>)) {
        each(Reading::Gauge { name: "live_tracks", help: "Confirmed tracks, briefly lost ones included", value: self.tracks.get() });
    }
}
