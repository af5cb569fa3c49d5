//! Lines, what touches them, who holds the lock, and how long they stay.

use super::*;

const NOW: Stamp<Utc> = Stamp::from_ns(1_795_292_218_123_000_000);

fn new() -> (tempfile::TempDir, Record) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let record = Record::of(&StateDirectory::new(directory.path()));
    (directory, record)
}

/// What the lines say, all of which hold.
fn facts(record: &Record) -> Vec<String> {
    let (entries, broken) = record.read().expect("reads");
    assert!(broken.is_empty(), "{broken:?}");
    entries.into_iter().map(|entry| entry.fact).collect()
}

#[test]
fn lines_follow_each_other_and_what_was_touched_shows() {
    let (_directory, record) = new();
    assert_eq!(record.read().expect("nothing yet"), (vec![], vec![]));
    for i in 0..4 {
        let entry = Entry { purpose: "access-verification".to_owned(), ..Entry::refused("verification-only", format!("n {i}")) };
        record.append(entry, NOW).expect("writes");
    }
    record.append(Entry::erased("retention", "events-00000001.jsonl"), NOW).expect("writes");
    let (entries, broken) = record.read().expect("reads");
    assert!(broken.is_empty() && entries.len() == 5 && entries[4].what == "erased", "{broken:?}");
    assert_eq!((&*entries[0].previous, &*entries[2].fact, &*entries[3].at), ("", "n 2", "2026-11-21T20:16:58.123Z"));

    let whole = std::fs::read_to_string(record.path()).expect("text");
    let without_third: String = whole.lines().enumerate().filter(|(i, _)| *i != 2).map(|(_, l)| format!("{l}\n")).collect();
    std::fs::write(record.path(), without_third).expect("written");
    assert_eq!(record.read().expect("reads").1.iter().map(|b| b.line).collect::<Vec<_>>(), [3]);
    std::fs::write(record.path(), whole.replace("n 1", "n 9")).expect("written");
    assert_eq!(record.read().expect("reads").1.iter().map(|b| b.line).collect::<Vec<_>>(), [2, 3], "neither it nor the one after it holds");

    // A power cut in the middle of a line: the next is written, and says what it follows.
    std::fs::write(record.path(), &whole[..whole.len() - 9]).expect("written");
    assert_eq!(facts(&record).len(), 4, "an end that is being written, or never was, is no fault");
    record.append(Entry::refused("purpose-named", "after"), NOW).expect("writes");
    let (entries, broken) = record.read().expect("reads");
    assert_eq!((entries.len(), broken.len(), &*entries[4].fact, broken[0].line), (5, 1, "after", 5));
}

/// Somebody else's lock, as a command's that was stopped while it wrote.
fn lock(record: &Record) -> Flock<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).open(record.path()).expect("opens");
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).expect("nobody has it")
}

#[test]
fn a_lock_that_somebody_keeps_holds_up_nobody_and_nothing_is_lost_by_it() {
    let (_directory, record) = new();
    record.append(Entry::refused("purpose-named", "first"), NOW).expect("writes");
    let held = lock(&record);
    let error = record.append(Entry::erased("retention", "not to be erased"), NOW).expect_err("held");
    assert!(error.kind() == io::ErrorKind::WouldBlock && error.to_string().contains("lock"), "{error}");
    assert_eq!(record.fault(), None, "whoever erases asks again; nothing waits");
    for i in 0..3 {
        record.note(Entry::refused("purpose-named", format!("waits {i}")), NOW);
    }
    record.catch_up();
    let fault = record.clone().fault().expect("clones share what waits");
    assert!(fault.contains("3 refusals") && fault.contains("record.jsonl") && fault.contains("lock"), "{fault}");
    assert_eq!((record.counters().faults.get(), facts(&record).len()), (5, 1), "read without the lock");
    drop(held);
    record.catch_up();
    assert_eq!((facts(&record), record.fault()), (vec!["first".into(), "waits 0".into(), "waits 1".into(), "waits 2".into()], None));
    let held = lock(&record);
    (0..=MAX_WAITING).for_each(|i| record.note(Entry::refused("purpose-named", format!("{i}")), NOW));
    assert_eq!(record.counters().lost.get(), 1);
    drop(held);
    record.append(Entry::erased("retention", "last"), NOW).expect("what waits goes first");
    let facts = facts(&record);
    assert_eq!((facts.len(), &*facts[4], &*facts[facts.len() - 1]), (4 + MAX_WAITING + 1, "1", "last"));
}

#[test]
fn lines_stay_for_as_long_as_they_must_and_the_rest_still_follows() {
    let (_directory, record) = new();
    let keep = DAY * 1_096;
    let on = |day: u32| NOW.plus(DAY * day);
    assert_eq!(record.retire(on(9_999), keep).expect("nothing yet"), 0);
    for day in [0, 1, 2, 800, 1_000] {
        record.append(Entry::refused("purpose-named", format!("day {day}")), on(day)).expect("writes");
    }
    for (day, gone) in [(0, 0), (1_096, 0), (1_096 + 1, 2), (1_096 + 1, 0)] {
        assert_eq!(record.retire(on(day), keep).expect("retires"), gone, "day {day}");
    }
    let left = facts(&record);
    assert!(left[0].starts_with("2 lines of this record") && left[1..] == ["day 2", "day 800", "day 1000"], "{left:?}");
    record.append(Entry::refused("purpose-named", "later"), on(1_200)).expect("writes");
    assert_eq!(facts(&record).len(), 5);
    // The first line that is left still follows the last one that went.
    let whole = std::fs::read_to_string(record.path()).expect("text");
    let cut: String = whole.lines().enumerate().filter(|(i, _)| *i != 1).map(|(_, l)| format!("{l}\n")).collect();
    std::fs::write(record.path(), cut).expect("written");
    assert_eq!(record.read().expect("reads").1.iter().map(|b| b.line).collect::<Vec<_>>(), [2]);
    std::fs::write(record.path(), &whole).expect("written");
    assert_eq!(record.retire(on(9_999), keep).expect("retires"), 5, "with the line that told of those before");
    assert_eq!(facts(&record).len(), 1);
    // What cannot be read goes with what comes after it, and a clock that is behind takes nothing.
    std::fs::write(record.path(), format!("damaged\n{whole}")).expect("written");
    assert_eq!(record.retire(on(0), keep).expect("retires"), 0);
    assert!(record.retire(on(9_999), keep).expect("retires") >= 5);
    assert_eq!(facts(&record).len(), 1);
}

#[test]
fn whoever_waited_for_a_file_that_was_replaced_meanwhile_writes_the_new_one() {
    let (_directory, record) = new();
    record.append(Entry::refused("purpose-named", "old"), NOW).expect("writes");
    let held = lock(&record);
    let waiter = std::thread::spawn({
        let record = record.clone();
        move || record.append(Entry::refused("purpose-named", "new"), NOW)
    });
    replace_file(record.path(), b"", 0o600).expect("replaced");
    drop(held);
    waiter.join().expect("no panic").expect("writes");
    assert_eq!(facts(&record), ["new"]);
}

#[test]
fn nobody_fills_the_record_with_one_line() {
    let (_directory, record) = new();
    let long = "x".repeat(MAX_LINE_BYTES);
    record.append(Entry { by: long.clone(), ..Entry::refused("consent-given", long) }, NOW).expect("writes");
    assert!(std::fs::metadata(record.path()).expect("there").len() < 4_096);
    assert!(facts(&record)[0].ends_with('…'));
}
