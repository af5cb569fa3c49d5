//! Batch: gathers frames of all streams, fair, and asks the law about each before anyone reads it.
//!
//! One thread, `batch`. It picks frames only when a detector worker is free, so the frame that waits is always the freshest one:
//!
//! ```text
//! loop: wait for the doorbell (a frame arrived, a worker or a stream became free)
//!       while a worker is free: gather ≤ max_batch frames, at most one per stream, starting after the stream served last
//!           · every n-th frame only (detect_every): the others are released unread, counted as skipped
//!           · no Permit<Detect>: released unread, counted as withheld
//!       hand the batch to a worker
//! ```
//!
//! A stream has at most one frame in flight until the tracker has it, so its frames stay in order however many workers there are, and a
//! batch holds at most one frame per stream, which is what makes it fair: a slow or fast camera takes its turn, never another's.

mod gather;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Acquire, Release},
};

pub use gather::{DetectEvery, Feed, Gatherer};
pub use worker::{Batcher, run};

use crate::frame::Frame;
use crate::policy::lease::{Detect, Permit};
use crate::queue::Doorbell;

crate::counters! {
    /// Per stream.
    pub struct BatchCounters for "batch" {
        frames_batched: "Frames handed to a detector worker with a permit.",
        frames_skipped: "Frames released unread because detect_every passed over them.",
        frames_withheld: "Frames released unread because no permit was in force.",
    }
}

/// A frame and the leave to read it. Dropping it frees the stream for its next frame.
pub struct Admitted {
    pub frame: Frame,
    pub permit: Permit<Detect>,
    pub turn: Turn,
}

/// Holds a stream's place: while it lives, no other frame of the stream is handed out. Dropped after the frame was passed on to the
/// tracker.
pub struct Turn {
    busy: Arc<AtomicBool>,
    bell: Arc<Doorbell>,
}

impl Turn {
    fn take(busy: &Arc<AtomicBool>, bell: &Arc<Doorbell>) -> Option<Self> {
        let taken = busy.compare_exchange(false, true, AcqRel, Acquire).is_ok();
        taken.then(|| Self { busy: Arc::clone(busy), bell: Arc::clone(bell) })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.store(false, Release);
        self.bell.ring();
    }
}

/// How many detector workers are waiting for work.
#[derive(Clone)]
pub struct FreeWorkers {
    free: Arc<AtomicUsize>,
    bell: Arc<Doorbell>,
}

impl FreeWorkers {
    pub fn new(bell: Arc<Doorbell>) -> Self {
        Self { free: Arc::default(), bell }
    }
    /// Called by a worker each time it is about to wait for a batch.
    pub fn offer(&self) {
        self.free.fetch_add(1, AcqRel);
        self.bell.ring();
    }
    fn any(&self) -> bool {
        self.free.load(Acquire) > 0
    }
    /// Only the batch thread takes, so load and decrement need not be one step.
    fn take(&self) {
        self.free.fetch_sub(1, AcqRel);
    }
}

/// Up to `max_batch` frames, at most one per stream.
pub type Batch = Vec<Admitted>;
