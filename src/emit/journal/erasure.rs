//! Erasing single events, before their day: what came of a use that was refused (`policy/refused.rs`).
//!
//! In the place of an event a line of the same length says that one was erased, and nothing of it, so that every place in the journal stays
//! what it was and no sink loses its own. A file is written anew beside the old one, synced, and renamed into its place: a power cut leaves
//! the old file or the new one. The blocks of the old one are the file system's until it uses them again. What was cut off a file's end goes with
//! it; a line that is damaged says nothing that could be judged, and goes with its file when that is over.
//!
//! Sinks that have read an event and not told it yet read again ([`JournalHead::erasures`](super::JournalHead)). What was told is with its receiver.
//!
//! A file at a time ([`Journal::erase`]), so that events are written in between, however long the journal is; within a file the caller is told
//! again and again that it goes on, which the watchdog wants to know.
//!
//! Owner: the emit worker.

use std::io;

use serde::Deserialize;

use super::line;
use super::reader::{Item, JournalReader, Position};
use super::{Journal, Open};

/// What stands for an event that was erased, but for its padding and the checksum.
const HEAD: &str = r#"{"erased":true,"padding":""#;

#[derive(Deserialize)]
struct Stand {
    erased: bool,
}

pub(super) fn is_erased(json: &[u8]) -> bool {
    serde_json::from_slice::<Stand>(json).is_ok_and(|stand| stand.erased)
}

/// A line of `length` bytes, its end among them, that stands for an event. `None`: no event is as short as that.
fn stand_in(length: usize) -> Option<Vec<u8>> {
    let sealed = |padding: usize| {
        let mut out = Vec::new();
        line::seal(format!("{HEAD}{:padding$}\"}}", "").as_bytes(), &mut out);
        out
    };
    let padding = length.checked_sub(sealed(0).len())?;
    Some(sealed(padding))
}

/// Between two of these many events of a file the caller hears that it goes on.
const PACE_EVENTS: u64 = 1_024;

/// What was done to one file.
#[derive(Debug)]
pub(in crate::emit) struct Erased {
    pub file: u64,
    /// How many events it held that were to be erased; an error: they are still there.
    pub events: io::Result<u64>,
}

/// Whoever is to be erased, and who is told of it.
pub(in crate::emit) struct Erasure<'a> {
    /// By an event's JSON.
    pub chosen: &'a dyn Fn(&[u8]) -> bool,
    /// Says durably of which file how many, before they go.
    pub note: &'a mut dyn FnMut(&str, u64) -> io::Result<()>,
    /// Hears that it goes on.
    pub pace: &'a dyn Fn(),
}

impl Journal {
    /// Erases every event that is chosen from the first file whose number is `from` or more, after that was noted: what became of it. `None`:
    /// there is no such file. One that cannot be read, noted or written keeps no other. Repeating it does nothing more.
    pub(in crate::emit) fn erase(&mut self, from: u64, erasure: &mut Erasure<'_>) -> io::Result<Option<Erased>> {
        let Some(file) = self.directory.numbers()?.into_iter().find(|number| *number >= from) else { return Ok(None) };
        let events = self.erase_from(file, erasure);
        if events.as_ref().is_ok_and(|events| *events > 0) {
            self.head.erased();
        }
        Ok(Some(Erased { file, events }))
    }

    fn erase_from(&mut self, number: u64, erasure: &mut Erasure<'_>) -> io::Result<u64> {
        let Erasure { chosen, note, pace } = erasure;
        let beyond = Position { file: number, offset: u64::MAX, line: 0 };
        let (mut reader, _) = JournalReader::resume(self.source.clone(), Position { file: number, offset: 0, line: 0 })?;
        let mut patches = Vec::new();
        for read in 1_u64.. {
            if read.is_multiple_of(PACE_EVENTS) {
                pace();
            }
            let from = reader.position().offset;
            match reader.next(beyond)? {
                None => break,
                Some(Item::Record(record)) if chosen(&record.json) => {
                    let length = usize::try_from(record.end.offset - from).unwrap_or(0);
                    patches.push((from, stand_in(length).ok_or_else(|| io::Error::other("an event shorter than any"))?));
                }
                Some(_) => {}
            }
        }
        if patches.is_empty() {
            return Ok(0);
        }
        if self.open.as_ref().is_some_and(|Open { good, .. }| good.file == number) {
            self.repair().map_err(io::Error::other)?;
            self.open = None;
        }
        let events = patches.len() as u64;
        note(&self.directory.name(number), events)?;
        pace();
        self.directory.overwrite(number, &patches, *pace)?;
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::faulty::{Faults, FaultyDisk};
    use super::*;

    fn event(id: u64) -> Vec<u8> {
        let mut out = Vec::new();
        line::seal(
            format!(r#"{{"id":"e{id}","stream":"gate","purpose":"{}"}}"#, if id.is_multiple_of(3) { "refused" } else { "other" })
                .as_bytes(),
            &mut out,
        );
        out
    }
    fn open(disk: &FaultyDisk) -> Journal {
        Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 400).expect("opens").0
    }
    fn refused(json: &[u8]) -> bool {
        String::from_utf8_lossy(json).contains("refused")
    }
    /// All files, one after the other; those that held anything, or could not be dealt with.
    fn erase(journal: &mut Journal, note: &mut dyn FnMut(&str, u64) -> io::Result<()>) -> Vec<Erased> {
        let (mut from, mut done) = (0, Vec::new());
        while let Some(erased) = journal.erase(from, &mut Erasure { chosen: &refused, note, pace: &|| {} }).expect("lists") {
            from = erased.file + 1;
            done.extend(Some(erased).filter(|e| !matches!(e.events, Ok(0))));
        }
        done
    }
    fn read(disk: &FaultyDisk, from: Position) -> (Vec<String>, usize) {
        let (mut reader, exact) = JournalReader::resume(Arc::new(disk.clone()), from).expect("reads");
        assert!(exact, "{from:?} is still a place between two lines");
        let (mut ids, mut erased) = (Vec::new(), 0);
        while let Some(item) = reader.next(Position { file: u64::MAX, offset: u64::MAX, line: 0 }).expect("reads") {
            match item {
                Item::Record(record) => ids.push(record.id),
                Item::Erased(_) => erased += 1,
                Item::Corrupt(corrupt) => panic!("{corrupt}"),
            }
        }
        (ids, erased)
    }

    #[test]
    fn what_is_erased_leaves_no_byte_and_every_place_stays_what_it_was() {
        let disk = FaultyDisk::new(1, Faults::default());
        let mut journal = open(&disk);
        let places: Vec<Position> = (0..20).map(|i| journal.append(&event(i)).expect("writes")).collect();
        let mut noted = Vec::new();
        let mut note = |file: &str, events| {
            noted.push((file.to_owned(), events));
            Ok(())
        };
        let done = erase(&mut journal, &mut note);
        assert_eq!(noted.iter().map(|(_, events)| events).sum::<u64>(), 7);
        assert!(done.len() > 1 && done.iter().all(|d| d.events.is_ok()), "{done:?}");
        assert_eq!(journal.head().erasures(), done.len() as u64);
        for number in 1..=places.last().expect("some").file {
            assert!(!String::from_utf8_lossy(&disk.bytes(number)).contains("refused"), "file {number}");
        }
        for (i, place) in places.iter().enumerate() {
            let left: Vec<String> = (i + 1..20).filter(|i| i % 3 != 0).map(|i| format!("e{i}")).collect();
            assert_eq!(read(&disk, *place).0, left, "from after event {i}");
        }
        // Once is enough, also after a restart, which takes nothing at the end for torn.
        assert!(erase(&mut journal, &mut |_, _| panic!("nothing is left")).is_empty());
        let mut journal = open(&disk);
        assert!(journal.head().end() >= *places.last().expect("some") && disk.set_aside_bytes(1).is_empty());
        let next = journal.append(&event(20)).expect("writes");
        assert!(next > *places.last().expect("some"), "no place is used twice");
        assert_eq!(read(&disk, Position::START).1, 7);
    }

    #[test]
    fn an_erased_end_is_no_torn_end() {
        let disk = FaultyDisk::new(1, Faults::default());
        let mut journal = open(&disk);
        let (first, last) = (journal.append(&event(1)).expect("writes"), journal.append(&event(3)).expect("writes"));
        erase(&mut journal, &mut |_, _| Ok(()));
        drop(journal);
        let (journal, recovery) = Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 400).expect("opens");
        assert_eq!((recovery.torn_bytes, journal.head().end()), (0, last));
        assert_eq!(read(&disk, first), (Vec::new(), 1));
    }

    #[test]
    fn what_cannot_be_noted_or_read_is_named_and_stays_and_the_other_files_are_dealt_with() {
        let disk = FaultyDisk::new(1, Faults::default());
        let mut journal = open(&disk);
        for i in 0..20 {
            journal.append(&event(i)).expect("writes");
        }
        let done = erase(&mut journal, &mut |_, _| Err(io::Error::other("no room for the note")));
        assert!(done.iter().all(|d| d.events.is_err()) && journal.head().erasures() == 0);
        assert_eq!(read(&disk, Position::START), ((0..20).map(|i| format!("e{i}")).collect(), 0), "nothing went");
        disk.set_unreadable(Some(2));
        let done = erase(&mut journal, &mut |_, _| Ok(()));
        let failed: Vec<u64> = done.iter().filter(|d| d.events.is_err()).map(|d| d.file).collect();
        assert_eq!(failed, [2]);
        disk.set_unreadable(None);
        erase(&mut journal, &mut |_, _| Ok(()));
        assert_eq!(read(&disk, Position::START).1, 7);
    }

    #[test]
    fn however_much_there_is_to_read_and_to_write_the_caller_hears_that_it_goes_on() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut journal = Journal::open(directory.path(), 64).expect("opens").0;
        let (mut id, mut bytes) = (0, 0);
        while bytes < 3 * super::super::files::COPIED_BYTES {
            let lines: Vec<u8> = (id..id + 1_000).flat_map(event).collect();
            journal.append(&lines).expect("writes");
            (id, bytes) = (id + 1_000, bytes + lines.len());
        }
        let heard = std::cell::Cell::new(0);
        let (mut note, pace) = (|_: &str, _| Ok(()), || heard.set(heard.get() + 1));
        let done = journal.erase(0, &mut Erasure { chosen: &refused, note: &mut note, pace: &pace }).expect("lists").expect("a file");
        assert_eq!(done.events.expect("erased"), id.div_ceil(3));
        let (reading, copying) = (id / PACE_EVENTS, 3);
        assert!(heard.get() >= reading + copying, "{} of {reading} while reading, and {copying} while writing", heard.get());
    }

    #[test]
    fn whenever_the_power_goes_an_event_is_there_or_erased_and_what_was_told_to_be_is() {
        for seed in 0..200 {
            let disk = FaultyDisk::new(seed, Faults::default());
            let mut journal = open(&disk);
            for i in 0..20 {
                journal.append(&event(i)).expect("writes");
            }
            disk.set_faults(Faults { power_cut: 6, create_error: 5, ..Faults::default() });
            let mut noted = 0;
            let mut note = |_: &str, events| {
                noted += events;
                Ok(())
            };
            let done = erase(&mut journal, &mut note);
            let told: u64 = done.iter().filter_map(|d| d.events.as_ref().ok()).sum();
            drop(journal);
            disk.set_faults(Faults::default());
            disk.power_up();
            let (ids, erased) = read(&disk, Position::START);
            assert!(told <= erased as u64 && erased as u64 <= noted, "seed {seed}: {told} told, {erased} erased, {noted} noted before");
            assert_eq!(ids.len() + erased, 20, "seed {seed}: whatever was not to go is there");
        }
    }
}
