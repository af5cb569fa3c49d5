//! The batch thread: doorbell in, batches out.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;

use super::{Batch, FreeWorkers, Gatherer};
use crate::clock::SharedClock;
use crate::latency::StepRecorder;
use crate::progress::Progress;
use crate::queue::Doorbell;
use crate::shutdown::Shutdown;

/// Everything the thread needs.
pub struct Batcher {
    pub gatherer: Gatherer,
    pub bell: Arc<Doorbell>,
    pub workers: FreeWorkers,
    pub batches: Sender<Batch>,
    pub max_batch: usize,
    pub max_wait: Duration,
    pub clock: SharedClock,
    /// From a frame's arrival to its hand-over.
    pub recorder: StepRecorder,
    /// Requested once no source delivers any more: the thread ends when the rings are empty, so nothing that arrived is lost.
    pub drain: Shutdown,
    pub progress: Progress,
}

/// How long the thread sleeps when nothing rings: bounds how late it notices that it is to end.
const IDLE: Duration = Duration::from_millis(100);

/// Runs until it is told to drain and has, or until every detector worker is gone.
pub fn run(mut batcher: Batcher) {
    while !(batcher.drain.is_requested() && batcher.gatherer.is_drained()) {
        if !batcher.workers.any() {
            batcher.gatherer.pass_over();
            batcher.rest();
            continue;
        }
        let mut batch = Batch::with_capacity(batcher.max_batch);
        batcher.gatherer.gather(&mut batch, batcher.max_batch, batcher.clock.monotonic());
        if batch.is_empty() {
            batcher.rest();
            continue;
        }
        if batch.len() < batcher.max_batch && !batcher.max_wait.is_zero() {
            wait_for_more(&mut batcher, &mut batch);
        }
        let now = batcher.clock.monotonic();
        batch.iter().for_each(|a| batcher.recorder.record_ns(now.since_ns(a.frame.header().arrived_at)));
        batcher.workers.take();
        if batcher.batches.send(batch).is_err() {
            // Every detector worker is gone: the appliance is stopping, or they are lost and the watchdog says so.
            break;
        }
    }
    batcher.progress.finish();
}

impl Batcher {
    fn rest(&self) {
        self.progress.rest();
        self.bell.wait(IDLE);
        self.progress.start();
    }
}

/// Fills up a batch until it is full or its deadline passes. The deadline counts from the first frame's admission.
fn wait_for_more(batcher: &mut Batcher, batch: &mut Batch) {
    let deadline = batcher.clock.monotonic().plus(batcher.max_wait);
    while batch.len() < batcher.max_batch {
        let left_ns = deadline.since_ns(batcher.clock.monotonic());
        let Ok(left) = u64::try_from(left_ns).map(Duration::from_nanos) else { return };
        if left.is_zero() || !batcher.bell.wait(left) {
            return;
        }
        batcher.gatherer.gather(batch, batcher.max_batch, batcher.clock.monotonic());
    }
}
