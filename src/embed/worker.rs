//! The embed worker: a thread with one embedder and the accumulators of the streams that are its own.
//!
//! It looks at the leases at least every [`TICK`], selections or not, so that what a stream gathered is gone soon after its lease. It
//! never waits for matching: a query that finds no room is dropped (and with it, zeroised, its embedding) and counted.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError};

use super::Query;
use super::gather::{EmbedCounters, EmbedShot, Gather};
use crate::clock::SharedClock;
use crate::latency::StepRecorder;
use crate::progress::Progress;
use crate::shutdown::Shutdown;
use crate::track::Selection;

/// Longest time between two looks at the leases while nothing comes.
const TICK: Duration = Duration::from_millis(50);

/// Everything one embed worker owns.
pub struct EmbedWorker<E> {
    pub gather: Gather<E>,
    pub selections: Receiver<Selection>,
    pub queries: Sender<Query>,
    pub counters: Arc<EmbedCounters>,
    pub clock: SharedClock,
    /// Aligning and embedding, per selection with shots.
    pub recorder: StepRecorder,
    /// [`CAPTURE_TO_DONE`](crate::latency::CAPTURE_TO_DONE) of frames that a shot was taken of.
    pub done: StepRecorder,
    pub progress: Progress,
    pub shutdown: Shutdown,
}

/// Runs until shutdown, or until the track worker or the match worker is gone. Whatever was gathered is wiped with the worker.
pub fn run<E: EmbedShot>(mut worker: EmbedWorker<E>) {
    while !worker.shutdown.is_requested() {
        worker.progress.rest();
        let received = worker.selections.recv_timeout(TICK);
        worker.progress.start();
        worker.gather.purge_dead(worker.clock.monotonic());
        match received {
            Ok(selection) => {
                if !worker.take_in(selection) {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.progress.finish();
}

impl<E: EmbedShot> EmbedWorker<E> {
    /// False when nobody takes queries any more.
    fn take_in(&mut self, selection: Selection) -> bool {
        let began = self.clock.monotonic();
        let captured_at = selection.frame.as_ref().filter(|_| !selection.shots.is_empty()).map(|f| f.header().captured_at);
        let queries = self.gather.process(selection);
        if let Some(captured_at) = captured_at {
            let now = self.clock.now();
            self.recorder.record_ns(now.monotonic.since_ns(began));
            self.done.record_ns(captured_at.latency_ns(now));
        }
        for query in queries {
            match self.queries.try_send(query) {
                Ok(()) => {}
                Err(TrySendError::Full(_wiped_here)) => self.counters.queries_shed.increment(),
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
