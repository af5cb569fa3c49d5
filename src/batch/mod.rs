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
//! Now and then attestation wants a frame of a stream for its sign (`signs/worker.rs`): the next one is handed over, whether the stream is
//! lit or dark, counted as attested, and not looked at otherwise.
//!
//! When every detector worker is lost (each of them panicked or was stopped by a defect), frames are released unread and counted as undetected, and the
//! appliance says so ([`FreeWorkers::all_lost`]); the rings do not fill with frames that nobody will look at.
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

use crossbeam::queue::ArrayQueue;
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
        frames_attested: "Frames handed over to be looked at for the stream's sign alone.",
        frames_withheld: "Frames released unread because no permit was in force.",
        frames_undetected: "Frames released unread because every detector worker is lost.",
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

/// The detector workers: how many there are, how many wait for work, and the empty batches they have given back.
#[derive(Clone)]
pub struct FreeWorkers {
    shared: Arc<Workers>,
    bell: Arc<Doorbell>,
}

struct Workers {
    seated: AtomicUsize,
    ever_seated: AtomicBool,
    free: AtomicUsize,
    spare: ArrayQueue<Batch>,
}

/// Batches kept for the next round: one per worker that works, one that is being filled. Beyond that they are let go.
const SPARE_BATCHES: usize = 64;

impl FreeWorkers {
    pub fn new(bell: Arc<Doorbell>) -> Self {
        let spare = ArrayQueue::new(SPARE_BATCHES);
        let shared = Workers { seated: AtomicUsize::new(0), ever_seated: AtomicBool::new(false), free: AtomicUsize::new(0), spare };
        Self { shared: Arc::new(shared), bell }
    }
    /// A place for one worker; it is lost when it is dropped.
    pub fn seat(&self) -> Seat {
        self.shared.seated.fetch_add(1, AcqRel);
        self.shared.ever_seated.store(true, Release);
        Seat { workers: self.clone() }
    }
    /// Whether there were workers and none is left: nobody looks at any frame any more.
    pub fn all_lost(&self) -> bool {
        self.shared.ever_seated.load(Acquire) && self.shared.seated.load(Acquire) == 0
    }
    fn any(&self) -> bool {
        self.shared.free.load(Acquire) > 0
    }
    /// Only the batch thread takes, so load and decrement need not be one step.
    fn take(&self) {
        self.shared.free.fetch_sub(1, AcqRel);
    }
    /// An empty batch with room for `frames`, used before if there is one.
    fn empty_batch(&self, frames: usize) -> Batch {
        self.shared.spare.pop().unwrap_or_else(|| Batch::with_capacity(frames))
    }
}

/// A detector worker's place.
pub struct Seat {
    workers: FreeWorkers,
}

impl Seat {
    /// Called each time the worker is about to wait for a batch.
    pub fn offer(&self) {
        self.workers.shared.free.fetch_add(1, AcqRel);
        self.workers.bell.ring();
    }
    /// Returns a batch whose frames were looked at.
    pub fn give_back(&self, mut batch: Batch) {
        batch.clear();
        // Full: let go.
        let _freed = self.workers.shared.spare.push(batch);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.workers.shared.seated.fetch_sub(1, AcqRel);
        self.workers.bell.ring();
    }
}

/// Up to `max_batch` frames, at most one per stream.
pub type Batch = Vec<Admitted>;
