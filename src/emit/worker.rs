//! The emit worker: review tasks in, acknowledged events out. One thread, `emit`.
//!
//! It takes what is queued (at most [`GROUP_EVENTS`]), asks a fresh permit for each, and commits the group with one fdatasync. While
//! the journal fails, the group stays here, the queue fills behind it, and the sender sheds (and counts): back-pressure ends at the queue.
//! Each attempt asks the permits anew, so what was lawful when it was decided and no longer is when the disk recovers is withheld: the
//! first promise outranks the second.
//!
//! It ends when the sender hangs up, after one last attempt to write what it holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::backoff::{Backoff, Pauses};
use super::event::Event;
use super::journal::Journal;
use super::{Context, Draft, EmitError, emit_group};
use crate::clock::SharedClock;
use crate::latency::StepRecorder;
use crate::policy::lease::{Emit, LeaseTable, Permit};
use crate::progress::Progress;
use crate::shutdown::Shutdown;

/// Events made durable together at most.
pub const GROUP_EVENTS: usize = 256;
/// Events kept for `top` and the console.
pub const RECENT_EVENTS: usize = 256;
/// Pauses between attempts while the journal fails.
pub const JOURNAL_PAUSES: Pauses = Pauses { first: Duration::from_millis(50), longest: Duration::from_secs(5) };

crate::counters! {
    pub struct EmitCounters for "emit" {
        events: "Events acknowledged: durable in the journal.",
        groups: "Groups of events made durable together.",
        withheld: "Hits told to nobody because no permit to emit was live at that moment, or another than they were found under.",
        rejected: "Hits that could not be written as an event: always a fault in this program.",
        journal_errors: "Attempts to write the journal that failed; the events stayed queued.",
        abandoned: "Events not acknowledged when the service stopped while the journal failed.",
    }
}

/// The newest events, for whoever looks. Lossy and bounded on purpose: the journal is the record.
#[derive(Debug, Default)]
pub struct Recent {
    events: Mutex<VecDeque<Arc<Event>>>,
    subscribers: Mutex<Vec<Sender<Arc<Event>>>>,
}

impl Recent {
    /// The newest `limit` events, newest last.
    pub fn newest(&self, limit: usize) -> Vec<Arc<Event>> {
        let events = self.events.lock();
        events.iter().skip(events.len().saturating_sub(limit)).cloned().collect()
    }
    /// Every event from now on; one who does not keep up misses some.
    pub fn subscribe(&self, capacity: usize) -> Receiver<Arc<Event>> {
        let (sender, receiver) = bounded(capacity.max(1));
        self.subscribers.lock().push(sender);
        receiver
    }
    /// Hangs up on every subscriber.
    pub fn close(&self) {
        self.subscribers.lock().clear();
    }
    fn publish(&self, event: &Arc<Event>) {
        let mut events = self.events.lock();
        if events.len() == RECENT_EVENTS {
            events.pop_front();
        }
        events.push_back(Arc::clone(event));
        drop(events);
        self.subscribers.lock().retain(|s| !matches!(s.try_send(Arc::clone(event)), Err(e) if e.is_disconnected()));
    }
}

/// Everything the thread needs. `T`: the review task (tests send [`Draft`]s).
pub struct EmitWorker<T> {
    pub tasks: Receiver<T>,
    pub journal: Journal,
    pub leases: LeaseTable,
    pub context: Context,
    pub clock: SharedClock,
    /// From the decision until the event is acknowledged.
    pub recorder: StepRecorder,
    /// From capture until the event is acknowledged.
    pub journey_recorder: StepRecorder,
    pub counters: Arc<EmitCounters>,
    pub recent: Arc<Recent>,
    pub shutdown: Shutdown,
    pub progress: Progress,
}

/// Runs until the sender hangs up.
pub fn run<T: Into<Draft>>(worker: EmitWorker<T>) {
    let mut runner = Runner { worker, pending: VecDeque::new(), backoff: Backoff::new(JOURNAL_PAUSES) };
    while runner.gather() {
        if runner.commit_all() {
            continue;
        }
        let abandoned = runner.pending.len() + runner.worker.tasks.len();
        runner.worker.counters.abandoned.add(abandoned as u64);
        tracing::error!(events = abandoned, "stopped while the journal failed: these events were never acknowledged and are gone");
        break;
    }
    runner.worker.progress.finish();
}

struct Runner<T> {
    worker: EmitWorker<T>,
    pending: VecDeque<Draft>,
    backoff: Backoff,
}

impl<T: Into<Draft>> Runner<T> {
    /// Waits for a task and takes what else is queued; false when the sender has hung up and nothing is left.
    fn gather(&mut self) -> bool {
        if self.pending.is_empty() {
            self.worker.progress.rest();
            match self.worker.tasks.recv() {
                Ok(task) => self.pending.push_back(task.into()),
                Err(_hung_up) => return false,
            }
            self.worker.progress.start();
        }
        while self.pending.len() < GROUP_EVENTS
            && let Ok(task) = self.worker.tasks.try_recv()
        {
            self.pending.push_back(task.into());
        }
        true
    }

    /// Tries until nothing is pending (true), or until shutdown while the journal fails (false).
    fn commit_all(&mut self) -> bool {
        while !self.pending.is_empty() {
            match self.attempt() {
                Ok(()) => {
                    if self.backoff.failures() > 0 {
                        tracing::info!(attempts = self.backoff.failures() + 1, "the journal takes events again");
                    }
                    self.backoff.succeeded();
                }
                Err(error) => {
                    if self.backoff.failures() == 0 {
                        tracing::error!(%error, "events are not acknowledged; they stay queued and are tried again");
                    }
                    self.worker.counters.journal_errors.increment();
                    let stopping = self.worker.shutdown.is_requested();
                    // Waiting for a disk is not being stuck.
                    self.worker.progress.rest();
                    if stopping || (self.worker.shutdown.wait(self.backoff.failed()) && self.attempt().is_err()) {
                        return false;
                    }
                    self.worker.progress.start();
                }
            }
            self.worker.progress.beat();
        }
        true
    }

    /// One group. `Err`: nothing was acknowledged, everything is still pending.
    fn attempt(&mut self) -> Result<(), EmitError> {
        let permits = self.permits();
        // After a failure one event at a time goes first: where space for few is left, few get through.
        let count = if self.backoff.failures() > 0 { permits.len().min(1) } else { permits.len() };
        if count == 0 {
            return Ok(());
        }
        let hits: Vec<(&Draft, &Permit<Emit>)> = self.pending.iter().zip(&permits).take(count).collect();
        let EmitWorker { context, clock, journal, .. } = &mut self.worker;
        match emit_group(&hits, context, &**clock, journal) {
            Ok(acknowledged) => {
                self.worker.counters.groups.increment();
                for (draft, acknowledged) in self.pending.drain(..count).zip(acknowledged) {
                    self.worker.counters.events.increment();
                    self.worker.recorder.record_ns(acknowledged.at.monotonic.since_ns(draft.decided_at.monotonic));
                    self.worker.journey_recorder.record_ns(draft.captured_at.latency_ns(acknowledged.at));
                    self.worker.recent.publish(&acknowledged.event);
                }
                Ok(())
            }
            Err(EmitError::NotLive { index }) => {
                self.pending.remove(index);
                self.worker.counters.withheld.increment();
                Ok(())
            }
            Err(error @ (EmitError::Journal(_) | EmitError::Random(_))) => Err(error),
            Err(
                error @ (EmitError::Mismatch { index, .. }
                | EmitError::OtherTable { index }
                | EmitError::UnknownStream { index, .. }
                | EmitError::Unwritable { index, .. }),
            ) => {
                tracing::error!(%error, "hit dropped");
                self.pending.remove(index);
                self.worker.counters.rejected.increment();
                Ok(())
            }
        }
    }

    /// A fresh permit for each pending hit, in order; hits without one leave.
    fn permits(&mut self) -> Vec<Permit<Emit>> {
        let now = self.worker.clock.monotonic();
        let (leases, counters) = (&self.worker.leases, &self.worker.counters);
        let mut permits = Vec::with_capacity(self.pending.len());
        self.pending.retain(|draft| match leases.permit_for::<Emit>(draft.stream, &draft.purpose, now) {
            Ok(permit) if permit.epoch() == draft.lease_epoch => {
                permits.push(permit);
                true
            }
            refused => {
                let reason = refused.err().map_or_else(|| "its lease ended and another began".to_owned(), |e| e.to_string());
                tracing::warn!(stream = draft.stream.0, %reason, "hit withheld at the moment of emission");
                counters.withheld.increment();
                false
            }
        });
        permits
    }
}

#[cfg(test)]
mod tests;
