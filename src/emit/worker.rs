//! The emit worker: review tasks and mask checks' answers in, acknowledged events out. One thread, `emit`.
//!
//! It takes what is queued (at most [`GROUP_EVENTS`]), asks a fresh permit for each, and commits the group with one fdatasync. While
//! the journal fails, the group stays here, the queue fills behind it, and the sender sheds (and counts): back-pressure ends at the queue.
//! Each attempt asks the permits anew, so what was lawful when it was decided and no longer is when the disk recovers is withheld: the
//! first promise outranks the second.
//!
//! What came of a use that was refused is erased file by file, with events written in between; and nothing that would have to be erased is
//! written any more, whatever its lease still says: the list of refused uses is asked before each group.
//!
//! It ends when the sender hangs up, after one last attempt to write what it holds.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use super::backoff::{Backoff, Pauses};
use super::event::Event;
use super::journal::Journal;
use super::journal::retention::{Retention, Retired};
use super::record::{Entry, Record};
use super::{Context, EmitError, Permitted, Telling, emit_group};
use crate::clock::{Monotonic, SharedClock, Stamp, Utc};
use crate::decide::Verified;
use crate::decide::answers::{Answer, Answers};
use crate::latency::StepRecorder;
use crate::policy::lease::{Emit, LeaseTable, Permit, TellMask, TellVerified, Verify, Withheld};
use crate::policy::refused::RefusedUse;
use crate::progress::Progress;
use crate::shutdown::Shutdown;

/// Events made durable together at most.
pub const GROUP_EVENTS: usize = 256;
/// Events kept for `top` and the console.
pub const RECENT_EVENTS: usize = 256;
/// Longest time between two looks at what events are over.
pub const RETENTION_CHECK: Duration = Duration::from_secs(60);
/// Pauses between attempts while the journal fails.
pub const JOURNAL_PAUSES: Pauses = Pauses { first: Duration::from_millis(50), longest: Duration::from_secs(5) };

mod erasing;

use erasing::Erasing;

crate::counters! {
    pub struct EmitCounters for "emit" {
        events: "Events acknowledged: durable in the journal.",
        groups: "Groups of events made durable together.",
        withheld: "Hits and mask checks' answers told to nobody because no permit to tell them was live at that moment, or another than they were found under.",
        rejected: "Hits and answers that could not be written as an event: always a fault in this program.",
        events_erased: "Events that were erased before their time, because the use that they came of was refused.",
        files_retired: "Files of the journal that were removed because their events were as old as events may become.",
        journal_errors: "Attempts to write the journal that failed; the events stayed queued.",
        abandoned: "Events not acknowledged when the service stopped while the journal failed.",
    }
}

/// The newest events, for whoever looks. Lossy and bounded on purpose: the journal is the record.
/// No event is here for longer than the journal keeps it, by the monotonic clock.
#[derive(Debug, Default)]
pub struct Recent {
    events: Mutex<VecDeque<(Stamp<Monotonic>, Arc<Event>)>>,
    subscribers: Mutex<Vec<Sender<Arc<Event>>>>,
}

impl Recent {
    /// The newest `limit` events, newest last.
    pub fn newest(&self, limit: usize) -> Vec<Arc<Event>> {
        let events = self.events.lock();
        events.iter().skip(events.len().saturating_sub(limit)).map(|(_, event)| Arc::clone(event)).collect()
    }
    /// Forgets what is as old as events may become.
    fn retire(&self, now: Stamp<Monotonic>, keep: Duration) {
        let mut events = self.events.lock();
        while events.pop_front_if(|(at, _)| at.plus(keep) <= now).is_some() {}
    }
    /// Forgets what `chosen` picks.
    fn forget(&self, chosen: impl Fn(&Event) -> bool) {
        self.events.lock().retain(|(_, event)| !chosen(event));
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
    fn publish(&self, event: &Arc<Event>, now: Stamp<Monotonic>) {
        let mut events = self.events.lock();
        if events.len() == RECENT_EVENTS {
            events.pop_front();
        }
        events.push_back((now, Arc::clone(event)));
        drop(events);
        self.subscribers.lock().retain(|s| !matches!(s.try_send(Arc::clone(event)), Err(e) if e.is_disconnected()));
    }
}

/// Everything the thread needs. `T`: what is to be told ([`Telling`]; tests send drafts).
pub struct EmitWorker<T> {
    pub tasks: Receiver<T>,
    pub journal: Journal,
    pub retention: Retention,
    /// `None`: what is refused and erased is only counted and logged.
    pub record: Option<Record>,
    pub leases: LeaseTable,
    /// Who waits for what is recorded of a claim.
    pub answers: Arc<Answers>,
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
pub fn run<T: Into<Telling>>(worker: EmitWorker<T>) {
    let mut runner = Runner::new(worker);
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

/// Leave to tell one thing.
enum Leave {
    Hit(Permit<Emit>),
    Mask(Permit<TellMask>),
    Verified(Permit<TellVerified>),
}

impl Leave {
    fn ask(leases: &LeaseTable, telling: &Telling, now: Stamp<Monotonic>) -> Result<Self, Withheld> {
        let (stream, purpose) = (telling.stream(), telling.purpose());
        match telling {
            Telling::Hit(_) => leases.permit_for(stream, purpose, now).map(Self::Hit),
            Telling::Mask(_) => leases.permit_for(stream, purpose, now).map(Self::Mask),
            Telling::Verified(_) => leases.permit_for(stream, purpose, now).map(Self::Verified),
        }
    }
    /// Whether it is of the lease that `telling` was found under.
    fn suits(&self, telling: &Telling) -> bool {
        match self {
            Self::Hit(permit) => telling.is_of(permit),
            Self::Mask(permit) => telling.is_of(permit),
            Self::Verified(permit) => telling.is_of(permit),
        }
    }
    /// `None` where the two are not of one kind, which [`Leave::ask`] never makes.
    const fn with<'a>(&'a self, telling: &'a Telling) -> Option<Permitted<'a>> {
        match (telling, self) {
            (Telling::Hit(draft), Self::Hit(permit)) => Some(Permitted::Hit(draft, permit)),
            (Telling::Mask(finding), Self::Mask(permit)) => Some(Permitted::Mask(finding, permit)),
            (Telling::Verified(verified), Self::Verified(permit)) => Some(Permitted::Verified(verified, permit)),
            _ => None,
        }
    }
}

struct Runner<T> {
    worker: EmitWorker<T>,
    pending: VecDeque<Telling>,
    backoff: Backoff,
    /// When it was last looked for events that are over.
    retired_at: Option<Stamp<Monotonic>>,
    /// What was noted as about to be removed, so that what cannot be removed is noted once.
    noted: BTreeSet<String>,
    /// The refused uses of which nothing is left in the journal.
    erased_for: Option<Arc<Vec<RefusedUse>>>,
    /// What is being erased.
    erasing: Option<Erasing>,
    /// When something of one could last not be erased.
    erase_failed_at: Option<Stamp<Monotonic>>,
}

impl<T: Into<Telling>> Runner<T> {
    fn new(worker: EmitWorker<T>) -> Self {
        Self {
            worker,
            pending: VecDeque::new(),
            backoff: Backoff::new(JOURNAL_PAUSES),
            retired_at: None,
            noted: BTreeSet::new(),
            erased_for: None,
            erasing: None,
            erase_failed_at: None,
        }
    }

    /// Waits for a task and takes what else is queued; false when the sender has hung up and nothing is left.
    fn gather(&mut self) -> bool {
        self.retire();
        if self.pending.is_empty() {
            self.worker.progress.rest();
            let patience = if self.erasing.is_some() { Duration::ZERO } else { RETENTION_CHECK };
            match self.worker.tasks.recv_timeout(patience) {
                Ok(task) => self.pending.push_back(task.into()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    if self.erasing.is_some() {
                        tracing::warn!("stopped while events of a refused use were being erased: the next start goes on with it");
                    }
                    return false;
                }
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

    /// Removes what is over, once in a while, and at once what came of a use that was refused.
    fn retire(&mut self) {
        self.erase_refused();
        let EmitWorker { journal, retention, record, clock, counters, recent, .. } = &mut self.worker;
        let now = clock.now();
        recent.retire(now.monotonic, retention.keep);
        record.iter().for_each(|record| record.catch_up());
        if self.retired_at.is_some_and(|at| now.monotonic < at.plus(RETENTION_CHECK)) || !(retention.may_erase)(now) {
            return;
        }
        self.retired_at = Some(now.monotonic);
        if let Some(record) = record
            && let Err(error) = record.retire(now.utc, retention.keep_record)
        {
            tracing::error!(path = %record.path().display(), %error, "what is over could not be taken out of the record; tried again");
        }
        let noted = &mut self.noted;
        let mut note = |file: &str| noted_once(noted, record.as_ref(), Entry::erased("retention", file), now.utc);
        match journal.retire(now.utc, retention.keep, &mut note) {
            Ok(Retired { removed, failed }) => {
                counters.files_retired.add(removed.len() as u64);
                let days = retention.keep.as_secs() / 86_400;
                if !removed.is_empty() {
                    tracing::info!(files = ?removed, days, "events as old as events may become were removed from the journal");
                }
                for (number, error) in failed {
                    let file = journal.name(number);
                    tracing::error!(file, %error, "a file of the journal, perhaps over, could not be dealt with; it is tried again");
                }
            }
            Err(error) => tracing::error!(%error, "events that are over could not be removed from the journal"),
        }
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
                    // On a full disk what is over may be what is in the way.
                    self.retire();
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
        self.withhold_refused();
        let permits = self.permits();
        // After a failure one event at a time goes first: where space for few is left, few get through.
        let count = if self.backoff.failures() > 0 { permits.len().min(1) } else { permits.len() };
        if count == 0 {
            return Ok(());
        }
        let permitted: Vec<Permitted<'_>> = self.pending.iter().zip(&permits).take(count).filter_map(|(t, leave)| leave.with(t)).collect();
        let EmitWorker { context, clock, journal, .. } = &mut self.worker;
        match emit_group(&permitted, context, &**clock, journal) {
            Ok(acknowledged) => {
                self.worker.counters.groups.increment();
                for (telling, acknowledged) in self.pending.drain(..count).zip(acknowledged) {
                    let (captured_at, decided_at) = telling.times();
                    self.worker.counters.events.increment();
                    self.worker.recorder.record_ns(acknowledged.at.monotonic.since_ns(decided_at.monotonic));
                    self.worker.journey_recorder.record_ns(captured_at.latency_ns(acknowledged.at));
                    self.worker.recent.publish(&acknowledged.event, acknowledged.at.monotonic);
                    // Recorded in any case; told only while the claim stands.
                    if let Telling::Verified(v) = &telling
                        && is_open(&self.worker.leases, v, acknowledged.at.monotonic)
                    {
                        self.worker.answers.tell(v.claim, Answer { matched: v.matched, score: v.score, threshold: v.threshold });
                    }
                }
                Ok(())
            }
            Err(EmitError::NotLive { index }) => {
                put_back(&self.worker.answers, self.pending.remove(index).as_ref());
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
                tracing::error!(%error, "event dropped");
                self.refused(index, &error);
                put_back(&self.worker.answers, self.pending.remove(index).as_ref());
                self.worker.counters.rejected.increment();
                Ok(())
            }
        }
    }

    /// Keeps that something was to be told for another purpose, stream or table than its permit's (C18).
    fn refused(&self, index: usize, error: &EmitError) {
        let (Some(record), Some(telling)) = (&self.worker.record, self.pending.get(index)) else { return };
        let stream = self.worker.context.streams.get(telling.stream().index()).map(|names| names.name.to_string()).unwrap_or_default();
        let entry = Entry { purpose: telling.purpose().to_string(), stream, ..Entry::refused("purpose-of-permit", error.to_string()) };
        record.note(entry, self.worker.clock.utc());
    }

    /// A fresh permit for each pending telling, in order; those without one leave.
    fn permits(&mut self) -> Vec<Leave> {
        let now = self.worker.clock.monotonic();
        let EmitWorker { leases, counters, answers, .. } = &self.worker;
        let mut permits = Vec::with_capacity(self.pending.len());
        self.pending.retain(|telling| match Leave::ask(leases, telling, now) {
            Ok(permit) if permit.suits(telling) => {
                permits.push(permit);
                true
            }
            refused => {
                let reason = refused.err().map_or_else(|| "its lease ended and another began".to_owned(), |e| e.to_string());
                tracing::warn!(stream = telling.stream().0, %reason, "withheld at the moment of emission");
                counters.withheld.increment();
                put_back(answers, Some(telling));
                false
            }
        });
        permits
    }
}

/// Puts on record, durably, what is about to be removed, unless that was done before.
fn noted_once(noted: &mut BTreeSet<String>, record: Option<&Record>, entry: Entry, now: Stamp<Utc>) -> io::Result<()> {
    let Some(record) = record.filter(|_| !noted.contains(&entry.fact)) else { return Ok(()) };
    record.append(entry.clone(), now)?;
    noted.insert(entry.fact);
    Ok(())
}

/// Whether the claim that it was compared for is still a part of its stream's lease.
fn is_open(leases: &LeaseTable, verified: &Verified, now: Stamp<Monotonic>) -> bool {
    let permit = leases.permit_for::<Verify>(verified.stream, &verified.purpose, now);
    permit.is_ok_and(|permit| permit.claim().is_some_and(|claim| claim.id == verified.claim))
}

/// What is told to nobody was not the answer to its claim.
fn put_back(answers: &Answers, telling: Option<&Telling>) {
    if let Some(Telling::Verified(verified)) = telling {
        answers.put_back(verified.claim);
    }
}

#[cfg(test)]
mod tests;
