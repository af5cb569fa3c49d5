//! What came of a use that was refused (`policy/refused.rs`): erased from the journal, a file at each look, so that events are written in between
//! however long the journal is, and the watchdog hears that it goes on; and told to nobody any more.
//!
//! The policy thread puts a use on the list a moment before the lease that it was pursued under ends, and a worker may be in the middle of something.
//! So the list is asked before each group is written, too: what the erasure would have to find is not written once it has begun.
//!
//! Owner: the emit worker.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{EmitWorker, RETENTION_CHECK, Retention, Runner, Telling, noted_once, put_back};
use crate::clock::Now;
use crate::emit::journal::erasure::{Erased, Erasure};
use crate::emit::journal::retention::came_of;
use crate::emit::record::Entry;
use crate::policy::refused::RefusedUse;

/// An erasure that is under way.
pub(super) struct Erasing {
    refused: Arc<Vec<RefusedUse>>,
    /// The file that is next, or the one after it.
    next: u64,
    /// The newest when it began: nothing that would have to be erased was written since.
    last: u64,
    failed: bool,
}

impl<T: Into<Telling>> Runner<T> {
    /// Erases what came of a use that was refused, a file at a time: once for each use, and again after a minute where something could not be.
    pub(super) fn erase_refused(&mut self) {
        let (refused, now) = ((self.worker.retention.refused)(), self.worker.clock.now());
        if self.erasing.as_ref().is_some_and(|erasing| erasing.refused != refused) {
            // Another list: from the beginning.
            self.erasing = None;
        }
        if self.erasing.is_none() {
            let waits = self.erase_failed_at.is_some_and(|at| now.monotonic < at.plus(RETENTION_CHECK));
            let known = |one: &RefusedUse| self.erased_for.as_ref().is_some_and(|all| all.contains(one));
            if waits || refused.iter().all(known) {
                return;
            }
            let Retention { keep, may_erase, .. } = &self.worker.retention;
            if refused.iter().all(|one| one.until.plus(*keep) <= now.utc) && may_erase(now) {
                // Whatever came of them is over for its age.
                self.erased_for = Some(refused);
                return;
            }
            self.worker.recent.forget(|event| serde_json::to_vec(event).is_ok_and(|json| came_of(&json, &refused).is_some()));
            let last = self.worker.journal.head().end().file;
            self.erasing = Some(Erasing { refused, next: 0, last, failed: false });
        }
        self.erase_next(now);
    }

    /// What came of refused uses goes from the next file.
    fn erase_next(&mut self, now: Now) {
        let Some(mut erasing) = self.erasing.take() else { return };
        let EmitWorker { journal, record, counters, progress, .. } = &mut self.worker;
        let (uses, noted, said) = (RefCell::new(BTreeSet::new()), &mut self.noted, Cell::new(None));
        let chosen = |json: &[u8]| {
            let came_of = came_of(json, &erasing.refused);
            uses.borrow_mut().extend(came_of.map(|refused| refused.authorisation.clone()));
            came_of.is_some()
        };
        let mut note = |file: &str, events: u64| {
            let of = uses.borrow().iter().cloned().collect::<Vec<_>>().join(", ");
            let fact = format!("{events} events in {file}, which came of a use that was refused ({of})");
            said.set(Some(fact.clone()));
            noted_once(noted, record.as_ref(), Entry::erased("authorisation-refused", fact), now.utc)
        };
        let mut erasure = Erasure { chosen: &chosen, note: &mut note, pace: &|| progress.beat() };
        let erased = if erasing.next > erasing.last { Ok(None) } else { journal.erase(erasing.next, &mut erasure) };
        match erased {
            Ok(None) if erasing.failed => self.erase_failed_at = Some(now.monotonic),
            Ok(None) => (self.erased_for, self.erase_failed_at) = (Some(erasing.refused), None),
            Ok(Some(Erased { file, events })) => {
                match events {
                    Ok(0) => {}
                    Ok(events) => {
                        counters.events_erased.add(events);
                        // Done: another erasure from that file, of as many, is another entry.
                        said.take().map(|fact| self.noted.remove(&fact));
                        tracing::warn!(file = journal.name(file), events, "events were erased that came of a use that was refused");
                    }
                    Err(error) => {
                        erasing.failed = true;
                        tracing::error!(file = journal.name(file), %error, "events of a refused use could not be erased; it is tried again");
                    }
                }
                erasing.next = file.saturating_add(1);
                self.erasing = Some(erasing);
            }
            Err(error) => {
                tracing::error!(%error, "events of a refused use could not be erased; it is tried again");
                self.erase_failed_at = Some(now.monotonic);
            }
        }
        self.worker.progress.beat();
    }

    /// What came of a use that was refused is told to nobody, also while its lease has still to end.
    pub(super) fn withhold_refused(&mut self) {
        let EmitWorker { retention, counters, answers, .. } = &self.worker;
        let refused = (retention.refused)();
        if refused.is_empty() {
            return;
        }
        self.pending.retain(|telling| {
            let (_, decided_at) = telling.times();
            let came_of = refused.iter().find(|one| one.covers(telling.purpose(), decided_at.utc));
            if let Some(one) = came_of {
                tracing::warn!(stream = telling.stream().0, authorisation = one.authorisation, "withheld: its use was refused");
                counters.withheld.increment();
                put_back(answers, Some(telling));
            }
            came_of.is_none()
        });
    }
}
