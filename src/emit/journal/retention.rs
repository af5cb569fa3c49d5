//! How long events are kept: they are personal data (C22; PIPL Art. 19, GDPR Art. 5(1)(e)).
//!
//! A file holds the events of one day at most, counted from its first; it goes when its first event is as old as events may become. So
//! an event is kept for a day less than [`Retention::keep`] at least (but for the minute between two looks), and never for longer. Whoever reads behind (a sink whose receiver
//! was away for that long) goes on with the oldest file that is left: what is over is told to nobody.
//!
//! What goes is noted first, durably (`record.rs`), and then removed: what stands in the record may still be there after a crash, and goes at the
//! next look; nothing goes unrecorded. A file that cannot be read, noted or removed is named and tried again; it keeps no other. The highest
//! number is never removed without a higher one there, so that numbers are not used twice.
//!
//! The age is the wall clock's. Erasing cannot be taken back, so nothing is erased while that clock is not believed
//! ([`Retention::may_erase`]). Owner: the emit worker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::reader::{Item, JournalReader, Position};
use super::{Journal, Open};
use crate::clock::{Now, Stamp, Utc};
use crate::policy::refused::RefusedUse;
use crate::policy::when::When;

/// What one file holds at most.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The uses that were refused, as the register has them now.
pub type RefusedUses = Arc<dyn Fn() -> Arc<Vec<RefusedUse>> + Send + Sync>;

/// The rule of one journal.
pub struct Retention {
    /// No event becomes older.
    pub keep: Duration,
    /// Whether the clock is believed.
    pub may_erase: Box<dyn Fn(Now) -> bool + Send>,
    /// What of it goes at once, however young it is.
    pub refused: RefusedUses,
    /// As long as this, and no more than a day longer, is kept what was refused and erased (`record.rs`).
    pub keep_record: Duration,
}

impl Default for Retention {
    /// As `[emit.journal] retain_days` is where nobody says otherwise, by a clock that is always believed.
    fn default() -> Self {
        Self { keep: 30 * DAY, may_erase: Box::new(|_| true), refused: Arc::new(Arc::default), keep_record: 1_096 * DAY }
    }
}

#[derive(Deserialize)]
struct Made {
    purpose: String,
    decided_at: When,
}

/// Which of these uses an event came of.
pub(in crate::emit) fn came_of<'a>(json: &[u8], refused: &'a [RefusedUse]) -> Option<&'a RefusedUse> {
    let Made { purpose, decided_at } = serde_json::from_slice(json).ok()?;
    let purpose = purpose.parse().ok()?;
    refused.iter().find(|one| one.covers(&purpose, decided_at.at()))
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

/// What a look at the journal led to.
#[derive(Debug, Default)]
pub(in crate::emit) struct Retired {
    /// Numbers of the files that went, ascending.
    pub removed: Vec<u64>,
    /// Files that could not be dealt with; they are tried again at the next look.
    pub failed: Vec<(u64, io::Error)>,
}

impl Journal {
    /// Ends the file whose first event is a day old, and removes those that are over, the oldest first, each after `note` has said durably which. A
    /// crash in between leaves the file, which is noted again; an error of one file keeps no other.
    pub(in crate::emit) fn retire(
        &mut self,
        now: Stamp<Utc>,
        keep: Duration,
        note: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> io::Result<Retired> {
        let numbers = self.directory.numbers()?;
        let (mut over, mut unread, mut done) = (Vec::new(), Vec::new(), Retired::default());
        // Where nobody can tell, the next file's beginning is the latest that it can be.
        let mut begun = None;
        for number in numbers.iter().copied().rev() {
            // What comes before was begun before, whatever a clock that ran ahead wrote into it.
            let first = first_decided(self, number).unwrap_or_else(|error| {
                unread.push((number, error));
                None
            });
            begun = first.into_iter().chain(begun).min();
            let Some(begun) = begun else { continue };
            let of_present_file = self.open.as_ref().is_some_and(|Open { good, .. }| good.file == number);
            // One that was begun by a clock that ran ahead is ended too: nobody could tell its events' age by it.
            if (begun.plus(DAY) <= now || begun > now.plus(DAY)) && of_present_file {
                match self.repair() {
                    Ok(()) => self.open = None,
                    Err(error) => done.failed.push((number, io::Error::other(error))),
                }
            }
            if begun.plus(keep) <= now && self.open.as_ref().is_none_or(|open| open.good.file != number) {
                over.push(number);
            }
        }
        for number in over.into_iter().rev() {
            match self.remove_noted(number, numbers.last().copied(), note) {
                Ok(()) => done.removed.push(number),
                Err(error) => done.failed.push((number, error)),
            }
        }
        // What could not be read and went all the same harms nobody.
        unread.retain(|(number, _)| !done.removed.contains(number));
        done.failed.append(&mut unread);
        Ok(done)
    }

    fn remove_noted(&mut self, number: u64, newest: Option<u64>, note: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        if Some(number) == newest && self.open.is_none() {
            // The highest number stays taken, or the next start would begin with 1 again.
            self.open = Some(self.begin_file().map_err(io::Error::other)?);
        }
        note(&self.directory.name(number))?;
        self.directory.remove(number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::faulty::{Faults, FaultyDisk};
    use super::super::files::JournalSource as _;
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

    /// What goes, by a note that is always taken.
    fn retire_after(journal: &mut Journal, now: Stamp<Utc>, keep: Duration) -> Vec<u64> {
        let done = journal.retire(now, keep, &mut |_| Ok(())).expect("looks");
        assert!(done.failed.is_empty(), "{done:?}");
        done.removed
    }
    fn retire(journal: &mut Journal, now: Stamp<Utc>) -> Vec<u64> {
        retire_after(journal, now, 30 * DAY)
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
        let disk = FaultyDisk::new(1, Faults::default());
        let mut journal = open(&disk);
        let at = |hours: u64| T0.plus(Duration::from_secs(hours * 3_600));
        for hour in (0..400 * 24).step_by(5) {
            if hour % 1_000 == 0 {
                journal = open(&disk);
            }
            // As the worker does: a look, then what there is to write.
            retire(&mut journal, at(hour));
            journal.append(&event(hour, at(hour))).expect("writes");
            let kept: Vec<u64> = ids(&disk, Position::START).iter().map(|id| id[1..].parse().expect("a number")).collect();
            let oldest = *kept.first().expect("the newest");
            assert!(hour - oldest < 30 * 24, "hour {hour}: an event of hour {oldest} is left");
            assert!(oldest == 0 || hour - oldest + 5 > 29 * 24, "hour {hour}: events before hour {oldest} went too early");
            assert_eq!(kept, (oldest..=hour).step_by(5).collect::<Vec<_>>(), "none in between is missing");
        }
        // Nobody comes any more: the last file ends by itself.
        let cursor = journal.head().end();
        assert!(!retire(&mut journal, at(500 * 24)).is_empty());
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
        assert!(retire_after(&mut journal, Stamp::from_ns(0), DAY).is_empty());
        assert!(retire_after(&mut journal, T0, DAY).is_empty());
        assert_eq!(retire_after(&mut journal, T0.plus(DAY), DAY), [1, 2], "of the last nobody can tell");
    }

    /// Files 1 to `count`, a day each, the first begun at [`T0`].
    fn days(count: u64) -> (FaultyDisk, Journal) {
        let disk = FaultyDisk::new(1, Faults::default());
        (0..count).for_each(|i| disk.put(i + 1, &event(i, T0.plus(DAY * u32::try_from(i).expect("few")))));
        let journal = open(&disk);
        (disk, journal)
    }

    #[test]
    fn one_file_that_cannot_be_read_or_noted_keeps_no_other_and_goes_at_the_next_look() {
        let (disk, mut journal) = days(6);
        // The youngest that is over: how old it is, nobody can tell; the older ones go.
        disk.set_unreadable(Some(3));
        let now = T0.plus(DAY * 32);
        let done = journal.retire(now, 30 * DAY, &mut |_| Ok(())).expect("looks");
        assert_eq!((done.removed, done.failed.iter().map(|(n, _)| *n).collect::<Vec<_>>()), (vec![1, 2], vec![3]));
        disk.set_unreadable(None);
        let mut note = |name: &str| if name.contains("03") { Err(io::Error::other("no room")) } else { Ok(()) };
        let done = journal.retire(now.plus(DAY), 30 * DAY, &mut note).expect("looks");
        assert_eq!((done.removed, done.failed.iter().map(|(n, _)| *n).collect::<Vec<_>>()), (vec![4], vec![3]));
        assert_eq!(disk.numbers().expect("lists"), [3, 5, 6], "what is not noted stays");
        assert_eq!(retire(&mut journal, now.plus(DAY)), [3]);
    }

    #[test]
    fn what_goes_is_noted_before_and_a_crash_in_between_is_harmless() {
        let (disk, mut journal) = days(3);
        let mut noted = Vec::new();
        let done = journal.retire(T0.plus(DAY * 40), 30 * DAY, &mut |name| {
            noted.push((name.to_owned(), disk.numbers().expect("lists").len()));
            if noted.len() == 2 {
                disk.cut_power();
            }
            Ok(())
        });
        let names: Vec<&str> = noted.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..2], ["events-00000001.jsonl", "events-00000002.jsonl"]);
        assert_eq!((noted[0].1, done.expect("looks").removed), (3, vec![1]), "all three were there when the first was noted");
        disk.power_up();
        let mut journal = open(&disk);
        assert_eq!(retire(&mut journal, T0.plus(DAY * 40)), [2, 3], "noted once more, and gone");
    }

    #[test]
    fn when_everything_is_over_numbers_go_on_where_they_were() {
        let (disk, mut journal) = days(3);
        let cursor = journal.head().end();
        assert_eq!(retire(&mut journal, T0.plus(DAY * 99)), [1, 2, 3]);
        assert!(ids(&disk, Position::START).is_empty());
        drop(journal);
        let mut journal = open(&disk);
        assert!(retire(&mut journal, T0.plus(DAY * 199)).is_empty(), "the empty one stays");
        let next = journal.append(&event(9, T0.plus(DAY * 199))).expect("writes");
        assert!(next.file > 3 && next > cursor, "{next:?}");
        assert_eq!(ids(&disk, cursor), ["e9"], "a sink that had read to the end is told of it, and of nothing twice");
        // Where no number can be taken first, the last file waits.
        let (disk, mut journal) = days(1);
        disk.set_faults(Faults { create_error: 1, ..Faults::default() });
        let done = journal.retire(T0.plus(DAY * 99), 30 * DAY, &mut |_| Ok(())).expect("looks");
        assert_eq!((done.removed.len(), done.failed.len()), (0, 1));
    }
}
