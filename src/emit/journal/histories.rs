//! Test only: thousands of seeded histories over the faulty disk. After each: everything acknowledged is read back in order, and no
//! event stands in the journal twice.

use std::collections::HashSet;
use std::sync::Arc;

use super::faulty::{Dice, Faults, FaultyDisk};
use super::reader::{Item, JournalReader, Position};
use super::{Journal, JournalSource, line};

fn event(id: &str) -> Vec<u8> {
    format!(r#"{{"id":"{id}","stream":"gate","text":"{}"}}"#, "x".repeat(id.len() * 3)).into_bytes()
}

fn lines(ids: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    ids.iter().for_each(|id| line::seal(&event(id), &mut out));
    out
}

fn ids_up_to(disk: &FaultyDisk, limit: Position) -> Vec<String> {
    let mut reader = JournalReader::from_start(Arc::new(disk.clone()));
    let mut ids = Vec::new();
    while let Some(item) = reader.next(limit).expect("the faulty disk reads without errors") {
        if let Item::Record(record) = item {
            assert_eq!(record.json, event(&record.id), "a line is returned as it was written");
            ids.push(record.id);
        }
    }
    ids
}

/// Like a worker and a sink, side by side, on a disk that fails.
struct History {
    disk: FaultyDisk,
    journal: Option<Journal>,
    sink: JournalReader,
    delivered: Vec<String>,
    acknowledged: Vec<String>,
    next_id: u64,
    dice: Dice,
    seed: u64,
}

impl History {
    fn new(seed: u64, faults: Faults) -> Self {
        let disk = FaultyDisk::new(seed, faults);
        let sink = JournalReader::from_start(Arc::new(disk.clone()));
        Self { disk, journal: None, sink, delivered: vec![], acknowledged: vec![], next_id: 0, dice: Dice::new(seed ^ 0xABCD), seed }
    }

    fn open(&mut self) {
        while self.journal.is_none() {
            if self.disk.is_dead() {
                self.disk.power_up();
            }
            let opened = Journal::recover(Box::new(self.disk.clone()), Arc::new(self.disk.clone()), 2_000);
            self.journal = opened.ok().map(|(journal, _)| journal);
        }
        // A sink that starts again takes up from its cursor, which it saved some time ago.
        let cursor = self.sink.position();
        self.sink = JournalReader::resume(Arc::new(self.disk.clone()), cursor).expect("reads do not fail").0;
    }

    /// One group, tried until it is acknowledged or the power fails.
    fn group(&mut self) {
        let count = 1 + self.dice.below(4);
        let ids: Vec<String> = (0..count as u64).map(|i| format!("e{}", self.next_id + i)).collect();
        self.next_id += count as u64;
        let bytes = lines(&ids);
        for _ in 0..20 {
            let Some(journal) = &mut self.journal else { return };
            match journal.append(&bytes) {
                Ok(end) => {
                    assert_eq!(journal.head().end(), end);
                    assert!(journal.head().failing().is_none());
                    self.acknowledged.extend(ids);
                    return;
                }
                Err(_) if self.disk.is_dead() => {
                    self.journal = None;
                    return;
                }
                Err(_) => assert!(journal.head().failing().is_some(), "a failing journal says so"),
            }
        }
    }

    fn deliver(&mut self) {
        let Some(journal) = &self.journal else { return };
        while let Some(item) = self.sink.next(journal.head().end()).expect("reads do not fail") {
            if let Item::Record(record) = item {
                self.delivered.push(record.id);
            }
        }
    }

    fn check(&mut self) {
        self.disk.set_faults(Faults::default());
        self.open();
        self.group();
        self.deliver();
        let end = self.journal.as_ref().expect("open").head().end();
        let read = ids_up_to(&self.disk, end);
        let unique: HashSet<&String> = read.iter().collect();
        assert_eq!(unique.len(), read.len(), "seed {}: an event stands twice in {read:?}", self.seed);
        let kept: Vec<&String> = read.iter().filter(|id| self.acknowledged.contains(id)).collect();
        assert_eq!(kept, self.acknowledged.iter().collect::<Vec<_>>(), "seed {}: acknowledged events are missing or moved", self.seed);
        let delivered: HashSet<&String> = self.delivered.iter().collect();
        assert!(self.acknowledged.iter().all(|id| delivered.contains(id)), "seed {}: a sink missed an event", self.seed);
        assert_eq!(delivered.len(), self.delivered.len(), "seed {}: with its cursor kept, a sink sees each event once", self.seed);
    }
}

fn run(seeds: std::ops::Range<u64>, faults: Faults) {
    let mut acknowledged = 0;
    for seed in seeds {
        let mut history = History::new(seed, faults);
        for _ in 0..25 {
            history.open();
            history.group();
            if history.dice.once_in(2) {
                history.deliver();
            }
            if history.dice.once_in(12) {
                // kill -9: the process goes, the caches stay.
                history.journal = None;
            }
            if faults.power_cut > 0 && history.dice.once_in(15) {
                history.disk.cut_power();
                history.journal = None;
            }
        }
        history.check();
        acknowledged += history.acknowledged.len();
    }
    assert!(acknowledged > 0, "the histories are not empty");
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_stands_twice_while_writes_fail() {
    let faults = Faults { short_write: 4, write_error: 9, no_space: 7, sync_error: 8, truncate_error: 6, create_error: 5, power_cut: 0 };
    run(0..2_000, faults);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails_too() {
    let faults =
        Faults { short_write: 5, write_error: 30, no_space: 20, sync_error: 15, truncate_error: 10, create_error: 10, power_cut: 25 };
    run(10_000..13_000, faults);
}

#[test]
fn nothing_acknowledged_is_lost_by_power_cuts_alone() {
    run(20_000..22_000, Faults { power_cut: 8, short_write: 3, ..Faults::default() });
}

#[test]
fn a_full_disk_is_visible_and_passes_without_loss_or_torn_middle() {
    let disk = FaultyDisk::new(3, Faults::default());
    let (mut journal, _) = Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 1 << 20).expect("empty");
    let first = journal.append(&lines(&["a".into()])).expect("space");
    disk.set_faults(Faults { no_space: 1, ..Faults::default() });
    for _ in 0..5 {
        journal.append(&lines(&["b".into(), "c".into()])).expect_err("no space");
        assert_eq!(journal.head().failing().as_deref(), Some("no space"));
        assert_eq!(journal.head().end(), first);
        assert_eq!(disk.bytes(1).len() as u64, first.offset, "nothing of the failed group is left");
    }
    disk.set_faults(Faults::default());
    let end = journal.append(&lines(&["b".into(), "c".into()])).expect("space again");
    assert_eq!(end.file, 1, "no space is no reason to leave the file");
    assert!(journal.head().failing().is_none());
    assert_eq!(ids_up_to(&disk, end), ["a", "b", "c"]);
}

#[test]
fn a_file_whose_sync_failed_is_never_written_again() {
    let disk = FaultyDisk::new(3, Faults::default());
    let (mut journal, _) = Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 1 << 20).expect("empty");
    journal.append(&lines(&["a".into()])).expect("healthy");
    disk.set_faults(Faults { sync_error: 1, ..Faults::default() });
    journal.append(&lines(&["b".into()])).expect_err("fdatasync fails");
    disk.set_faults(Faults::default());
    let end = journal.append(&lines(&["b".into()])).expect("healthy again");
    assert_eq!((end.file, end.line), (2, 1));
    disk.cut_power();
    disk.power_up();
    assert_eq!(ids_up_to(&disk, end), ["a", "b"]);
}

#[test]
fn files_rotate_and_readers_follow() {
    let disk = FaultyDisk::new(1, Faults::default());
    let (mut journal, _) = Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 100).expect("empty");
    let ids: Vec<String> = (0..10).map(|i| format!("event-{i}")).collect();
    let mut end = Position::START;
    for id in &ids {
        end = journal.append(&lines(std::slice::from_ref(id))).expect("healthy");
    }
    assert!(end.file > 3, "ten events of some 80 bytes at 100 bytes a file make several files");
    assert_eq!(ids_up_to(&disk, end), ids);
    assert_eq!(journal.directory.numbers().expect("listable").len() as u64, end.file);
}

#[test]
fn a_torn_end_is_set_aside_and_a_damaged_middle_is_named() {
    let disk = FaultyDisk::new(1, Faults::default());
    let mut bytes = lines(&["a".into(), "b".into(), "c".into()]);
    let one = bytes.len() / 3;
    bytes[one + 9] ^= 0x20;
    let torn = &lines(&["d".into()])[..20];
    bytes.extend_from_slice(torn);
    disk.put(7, &bytes);
    let (mut journal, recovery) = Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 1 << 20).expect("readable");
    assert_eq!((recovery.intact, recovery.torn_bytes), (2, 20));
    assert_eq!(disk.set_aside_bytes(7), torn);
    let [corrupt] = &recovery.corrupt[..] else { panic!("one damaged line: {recovery:?}") };
    assert_eq!((corrupt.line, corrupt.byte, corrupt.length), (2, one as u64, one as u64));
    assert!(corrupt.to_string().starts_with(&format!("events-00000007.jsonl, line 2, byte {one}: {one} bytes skipped: checksum")));
    let end = journal.append(&lines(&["e".into()])).expect("healthy");
    assert_eq!(ids_up_to(&disk, end), ["a", "c", "e"]);
}

#[test]
fn a_torn_end_that_cannot_be_kept_is_not_destroyed() {
    let disk = FaultyDisk::new(1, Faults { create_error: 1, ..Faults::default() });
    let mut bytes = lines(&["a".into()]);
    bytes.extend_from_slice(b"{\"id\":\"half");
    disk.put(1, &bytes);
    let (mut journal, recovery) = Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 1 << 20).expect("readable");
    assert_eq!(recovery.torn_bytes, 0);
    disk.set_faults(Faults::default());
    let end = journal.append(&lines(&["b".into()])).expect("healthy");
    assert_eq!((disk.bytes(1), end.file), (bytes, 2));
    assert_eq!(ids_up_to(&disk, end), ["a", "b"]);
}

/// Mutations, noise, cuts and joins: the reader neither panics nor loses an intact line, and accounts for every byte.
#[test]
fn the_reader_survives_anything_and_keeps_every_intact_line() {
    for seed in 0..3_000 {
        let mut dice = Dice::new(seed);
        let mut bytes = Vec::new();
        let mut intact = Vec::new();
        for i in 0..dice.below(12) {
            let id = format!("s{seed}-{i}");
            let mut line = lines(std::slice::from_ref(&id));
            match dice.below(6) {
                0 => {
                    let (at, bit) = (dice.below(line.len() - 1), dice.below(8));
                    line[at] ^= 1 << bit;
                }
                1 => line.truncate(dice.below(line.len() - 1)),
                2 => line = (0..dice.below(200)).map(|_| u8::try_from(dice.below(256)).expect("a byte")).collect(),
                _ => intact.push((bytes.len(), id)),
            }
            // A cut line swallows the next one: only lines that begin after a line break stay intact.
            if line.last() != Some(&b'\n') && dice.once_in(2) {
                line.push(b'\n');
            }
            bytes.extend_from_slice(&line);
        }
        intact.retain(|(start, _)| *start == 0 || bytes[start - 1] == b'\n');
        let disk = FaultyDisk::new(seed, Faults::default());
        disk.put(1, &bytes);
        let mut reader = JournalReader::from_start(Arc::new(disk));
        let (mut ids, mut covered) = (Vec::new(), 0);
        let limit = Position { file: 1, offset: bytes.len() as u64, line: 0 };
        while let Some(item) = reader.next(limit).expect("reads do not fail") {
            match item {
                Item::Record(record) => {
                    covered = record.end.offset;
                    ids.push(record.id);
                }
                Item::Erased(end) => panic!("seed {seed}: nothing was erased, {end:?}"),
                Item::Corrupt(corrupt) => {
                    assert_eq!(corrupt.byte, covered, "seed {seed}: skipped stretches follow on");
                    covered = corrupt.byte + corrupt.length;
                }
            }
        }
        let expected: Vec<&String> = intact.iter().map(|(_, id)| id).collect();
        assert_eq!(ids.iter().collect::<Vec<_>>(), expected, "seed {seed}");
        assert_eq!(covered, bytes.len() as u64, "seed {seed}: every byte is accounted for");
    }
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let disk = FaultyDisk::new(1, Faults::default());
    let mut bytes = lines(&["a".into()]);
    let start = bytes.len() as u64;
    bytes.resize(bytes.len() + 5 * line::MAX_LINE_BYTES, b'x');
    bytes.push(b'\n');
    bytes.extend_from_slice(&lines(&["b".into()]));
    disk.put(1, &bytes);
    let mut reader = JournalReader::from_start(Arc::new(disk));
    let limit = Position { file: 1, offset: bytes.len() as u64, line: 0 };
    let mut seen = Vec::new();
    while let Some(item) = reader.next(limit).expect("reads do not fail") {
        seen.push(match item {
            Item::Record(record) => record.id,
            Item::Erased(end) => format!("{end:?}"),
            Item::Corrupt(c) => format!("{} {} {} {}", c.line, c.byte, c.length, c.fault),
        });
    }
    let length = 5 * line::MAX_LINE_BYTES + 1;
    assert_eq!(seen, ["a".to_owned(), format!("2 {start} {length} longer than {} bytes", line::MAX_LINE_BYTES), "b".to_owned()]);
}

#[test]
fn a_cursor_that_fits_nothing_starts_early_rather_than_late() {
    let disk = FaultyDisk::new(1, Faults::default());
    let bytes = lines(&["a".into(), "b".into()]);
    disk.put(3, &bytes);
    let limit = Position { file: 3, offset: bytes.len() as u64, line: 2 };
    let first_from = |file, offset| {
        let source: Arc<dyn JournalSource> = Arc::new(disk.clone());
        let (mut reader, exact) = JournalReader::resume(source, Position { file, offset, line: 0 }).expect("reads do not fail");
        let first = reader.next(limit).expect("reads do not fail");
        (exact, first.map(|i| if let Item::Record(r) = i { r.id } else { "corrupt".into() }))
    };
    let half = bytes.len() as u64 / 2;
    assert_eq!(first_from(3, half), (true, Some("b".into())));
    assert_eq!(first_from(3, half + 1), (false, Some("a".into())), "inside a line");
    assert_eq!(first_from(3, 9_999), (false, Some("a".into())), "beyond the end");
    assert_eq!(first_from(9, 40), (false, Some("a".into())), "in a file that is not there yet");
    assert_eq!(first_from(2, 40), (true, Some("a".into())), "in a file that is gone");
}
