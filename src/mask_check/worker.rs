//! The mask worker: one thread, `mask`, with one classifier for all streams.
//!
//! It looks at the leases at least every [`TICK`], selections or not. It never waits for the journal: an answer that finds no room is
//! dropped and counted.

use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError};

use super::Finding;
use super::tally::{MaskShot, Tally};
use crate::clock::SharedClock;
use crate::latency::StepRecorder;
use crate::progress::Progress;
use crate::track::Selection;

/// Longest time between two looks at the leases while nothing comes.
const TICK: Duration = Duration::from_millis(50);

/// Everything the thread needs. `T`: what the journal's queue holds.
pub struct MaskWorker<C, T> {
    pub tally: Tally<C>,
    pub selections: Receiver<Selection>,
    pub findings: Sender<T>,
    pub clock: SharedClock,
    /// Aligning and classifying, per selection with shots.
    pub recorder: StepRecorder,
    pub progress: Progress,
}

/// Runs until the track worker hangs up, or the journal does.
pub fn run<C: MaskShot, T: From<Finding>>(mut worker: MaskWorker<C, T>) {
    let mut told = true;
    while told {
        worker.progress.rest();
        let received = worker.selections.recv_timeout(TICK);
        worker.progress.start();
        worker.tally.purge_dead(worker.clock.monotonic());
        match received {
            Ok(selection) => told = worker.take_in(selection),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.progress.finish();
}

impl<C: MaskShot, T: From<Finding>> MaskWorker<C, T> {
    /// False when nobody listens any more.
    fn take_in(&mut self, selection: Selection) -> bool {
        let began = self.clock.monotonic();
        let (stream, looks) = (selection.stream, !selection.shots.is_empty());
        let (findings, mut shed, mut told) = (&self.findings, 0, true);
        self.tally.process(selection, &mut |finding| match findings.try_send(finding.into()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => shed += 1,
            Err(TrySendError::Disconnected(_)) => told = false,
        });
        self.tally.counters(stream).iter().for_each(|c| c.shed.add(shed));
        if looks {
            self.recorder.record_ns(self.clock.monotonic().since_ns(began));
        }
        told
    }
}
