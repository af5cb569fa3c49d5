//! How long events are kept: they are personal data (C22; PIPL Art. 19, GDPR Art. 5(1)(e)).
//!
//! A file holds the events of one day at most, counted from its first; it goes when its first event is as old as events may become. So
//! an event is kept for a day less than [`Retention::keep`] at least (but for the minute between two looks), and never for longer. Whoever reads behind (a sink whose receiver
//! was away for that long) goes on with the oldest file that is left: what is over is told to nobody.
//!
//! The age is the wall clock's. Erasing cannot be taken back, so nothing is erased while that clock is not believed
//! ([`Retention::may_erase`]). Owner: the emit worker.

use std::io;
use std::time::Duration;

use serde::Deserialize;

use super::reader::{Item, JournalReader, Position};
use super::{Journal, Open};
use crate::clock::{Now, Stamp, Utc};
use crate::policy::when::When;

/// What one file holds at most.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The rule of one journal.
pub struct Retention {
    /// No event becomes older.
    pub keep: Duration,
    /// Whether the clock is believed.
    pub may_erase: Box<dyn Fn(Now) -> bool + Send>,
}

impl Default for Retention {
    /// As `[emit.journal] retain_days` is where nobody says otherwise, by a clock that is always believed.
    fn default() -> Self {
        Self { keep: 30 * DAY, may_erase: Box::new(|_| true) }
    }
}

#[derive(Deserialize)]
struct Dated {
    decided_at: When,
}

/// When the first event of file `number` was decided. `None`: it holds none that says so.
fn first_decided(journal: &Journal, number: u64) -> io::Result<Option<Stamp<Utc>>> {
    let (mut reader, _) = JournalReader::resume(journal.source.clone(), Position { file: number, offset: 0, line: 0 })?;
    while let Some(item) = reader.next(Position { file: number, offset: u64::MAX, line: 0 })? {
        if let Item::Record(record) = item
            && let Ok(dated) = serde_json::from_slice::<Dated>(&record.json)
        {
            return Ok(Some(dated.decided_at.at()));
        }
    }
    Ok(None)
}

impl Journal {
    /// Ends the file whose first event is a day old, and removes those that are over: their numbers, with the events that they may have held
    /// from the first of each on.
    pub(in crate::emit) fn retire(&mut self, now: Stamp<Utc>, keep: Duration) -> io::Result<Vec<u64>> {
        let numbers = self.directory.numbers()?;
        let mut removed = Vec::new();
        // Where nobody can tell, the next file's beginning is the latest that it can be.
        let mut begun = None;
        for number in numbers.into_iter().rev() {
            // What comes before was begun before, whatever a clock that ran ahead wrote into it.
            let first = first_decided(self, number)?;
            begun = first.into_iter().chain(begun).min();
            let Some(begun) = begun else { continue };
            let of_present_file = self.open.as_ref().is_some_and(|Open { good, .. }| good.file == number);
            // One that was begun by a clock that ran ahead is ended too: nobody could tell its events' age by it.
            if (begun.plus(DAY) <= now || begun > now.plus(DAY)) && of_present_file {
                self.repair().map_err(io::Error::other)?;
                self.open = None;
            }
            if begun.plus(keep) <= now && self.open.as_ref().is_none_or(|open| open.good.file != number) {
                self.directory.remove(number)?;
                removed.push(number);
            }
        }
        removed.reverse();
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::faulty::{Faults, FaultyDisk};
    use super::super::line;
    use super::*;
    use crate::clock::format_utc;

    const T0: Stamp<Utc> = Stamp::from_ns(1_795_292_218_123_000_000);

    fn event(id: u64, at: Stamp<Utc>) -> Vec<u8> {
        let mut out = Vec::new();
        line::seal(format!(r#"{{"id":"e{id}","stream":"gate","decided_at":"{}"}}"#, format_utc(at)).as_bytes(), &mut out);
        out
    }

    fn open(disk: &FaultyDisk) -> Journal {
        Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 1 << 20).expect("opens").0
    }

    fn ids(disk: &FaultyDisk, from: Position) -> Vec<String> {
        let (mut reader, _) = JournalReader::resume(Arc::new(disk.clone()), from).expect("reads");
        let mut ids = Vec::new();
        while let Some(Item::Record(record)) = reader.next(Position { file: u64::MAX, offset: u64::MAX, line: 0 }).expect("reads") {
            ids.push(record.id);
        }
        ids
    }

    #[test]
    fn over_four_hundred_days_no_event_grows_older_than_it_may_and_none_goes_a_day_too_early() {
        let (disk, keep) = (FaultyDisk::new(1, Faults::default()), 30 * DAY);
        let mut journal = open(&disk);
        let at = |hours: u64| T0.plus(Duration::from_secs(hours * 3_600));
        for hour in (0..400 * 24).step_by(5) {
            if hour % 1_000 == 0 {
                journal = open(&disk);
            }
            // As the worker does: a look, then what there is to write.
            journal.retire(at(hour), keep).expect("removes");
            journal.append(&event(hour, at(hour))).expect("writes");
            let kept: Vec<u64> = ids(&disk, Position::START).iter().map(|id| id[1..].parse().expect("a number")).collect();
            let oldest = *kept.first().expect("the newest");
            assert!(hour - oldest < 30 * 24, "hour {hour}: an event of hour {oldest} is left");
            assert!(oldest == 0 || hour - oldest + 5 > 29 * 24, "hour {hour}: events before hour {oldest} went too early");
            assert_eq!(kept, (oldest..=hour).step_by(5).collect::<Vec<_>>(), "none in between is missing");
        }
        // Nobody comes any more: the last file ends by itself.
        let cursor = journal.head().end();
        assert!(!journal.retire(at(500 * 24), keep).expect("removes").is_empty());
        assert!(ids(&disk, Position::START).is_empty());
        journal.append(&event(1, at(500 * 24))).expect("a file is begun");
        assert_eq!(ids(&disk, cursor), ["e1"], "whoever had read to the end goes on");
    }

    #[test]
    fn files_that_say_no_time_go_with_the_next_and_a_clock_that_was_set_back_removes_nothing() {
        let disk = FaultyDisk::new(1, Faults::default());
        disk.put(1, b"not a line\n");
        disk.put(2, &event(1, T0));
        disk.put(3, b"{\"id\":\"x\"}\n");
        let mut journal = open(&disk);
        assert!(journal.retire(Stamp::from_ns(0), DAY).expect("looks").is_empty());
        assert!(journal.retire(T0, DAY).expect("looks").is_empty());
        assert_eq!(journal.retire(T0.plus(DAY), DAY).expect("removes"), [1, 2], "of the last nobody can tell");
    }
}
