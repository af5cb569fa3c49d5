//! What goes: by its age, and at once because the use that it came of was refused.

use super::*;
use crate::emit::journal::retention::Retention;
use crate::policy::facts::Register;
use crate::policy::refused::testing::{authorisation, refused};
use crate::policy::refused::{RefusedUse, refused_uses};

/// A look at the journal, with nothing to write.
fn look(rig: &Rig, retention: Retention) -> usize {
    let (sender, tasks) = bounded::<Draft>(1);
    drop(sender);
    let worker = rig.worker(tasks, Journal::open(rig.directory.path(), 1).expect("journal").0, Shutdown::new());
    run(EmitWorker { retention, ..worker });
    read(rig.directory.path()).len()
}

#[test]
fn after_four_hundred_days_no_event_is_left_unless_the_clock_is_not_believed() {
    let rig = Rig::new();
    rig.run(vec![draft(rig.clock.now(), "1")]);
    rig.clock.advance(Duration::from_secs(400 * 86_400));
    assert_eq!(look(&rig, Retention { may_erase: Box::new(|_| false), ..Retention::default() }), 1, "a clock that leapt erases nothing");
    assert_eq!(look(&rig, Retention { keep: Duration::from_secs(401 * 86_400), ..Retention::default() }), 1);
    assert_eq!((look(&rig, Retention::default()), rig.counters.files_retired.get()), (0, 1));
    let (entries, broken) = rig.kept().read().expect("readable");
    assert_eq!((entries.len(), &*entries[0].what, &*entries[0].fact), (1, "erased", "events-00000001.jsonl"), "{broken:?}");
}

#[test]
fn what_cannot_be_put_on_record_stays_until_it_can() {
    let rig = Rig::new();
    rig.run(vec![draft(rig.clock.now(), "1")]);
    rig.clock.advance(Duration::from_secs(400 * 86_400));
    // No file can be written where a directory is.
    let path = rig.kept().path().to_owned();
    std::fs::create_dir(&path).expect("obstructed");
    assert_eq!((look(&rig, Retention::default()), rig.counters.files_retired.get()), (1, 0));
    std::fs::remove_dir(&path).expect("mended");
    assert_eq!((look(&rig, Retention::default()), rig.counters.files_retired.get()), (0, 1));
}

#[test]
fn nobody_is_shown_an_event_that_is_as_old_as_events_may_become() {
    let rig = Rig::new();
    let keep = Retention::default().keep;
    rig.run(vec![draft(rig.clock.now(), "1")]);
    rig.clock.advance(keep.saturating_sub(Duration::from_secs(1)));
    look(&rig, Retention::default());
    assert_eq!(rig.recent.newest(9).len(), 1);
    rig.clock.advance(Duration::from_secs(1));
    // Also where the wall clock is not believed: this one cannot leap.
    look(&rig, Retention { may_erase: Box::new(|_| false), ..Retention::default() });
    assert!(rig.recent.newest(9).is_empty());
}

#[test]
fn what_came_of_a_refused_use_is_erased_and_told_to_nobody_and_the_record_says_so() {
    let rig = Rig::new();
    rig.run((0..3).map(|i| draft(rig.clock.now(), &i.to_string())).collect());
    let purpose: Purpose = PURPOSE.parse().expect("purpose");
    let with = |authorisations| {
        let register = Register { authorisations, ..Register::default() };
        Retention { refused: Arc::new(move || Arc::new(refused_uses(&register))), ..Retention::default() }
    };
    assert_eq!(look(&rig, with(vec![authorisation("u-1", &purpose)])), 3, "nobody refused it");
    assert_eq!(look(&rig, with(vec![refused("u-1", &purpose), authorisation("u-2", &purpose)])), 3, "they rest on the other");
    assert_eq!(look(&rig, with(vec![refused("u-1", &"missing-person:other".parse().expect("purpose"))])), 3);
    assert_eq!((rig.recent.newest(9).len(), rig.counters.events_erased.get()), (3, 0));
    assert_eq!(look(&rig, with(vec![refused("u-1", &purpose)])), 0);
    assert_eq!((rig.recent.newest(9).len(), rig.counters.events_erased.get()), (0, 3));
    let journal = std::fs::read_to_string(rig.directory.path().join("events-00000001.jsonl")).expect("text");
    assert!(journal.lines().count() == 3 && !journal.contains("mp-7") && !journal.contains("s-1"), "{journal}");
    let (entries, _) = rig.kept().read().expect("readable");
    assert!(entries.len() == 1 && entries[0].rule == "authorisation-refused" && entries[0].fact.starts_with("3 events"), "{entries:?}");
    // Another look, and another start, find nothing more.
    assert_eq!((look(&rig, with(vec![refused("u-1", &purpose)])), rig.kept().read().expect("readable").0.len()), (0, 1));
}

/// A list of refused uses that the test changes while the worker looks.
fn changing() -> (Arc<Mutex<Arc<Vec<RefusedUse>>>>, Retention) {
    let list: Arc<Mutex<Arc<Vec<RefusedUse>>>> = Arc::default();
    let asked = Arc::clone(&list);
    (list, Retention { refused: Arc::new(move || Arc::clone(&asked.lock())), ..Retention::default() })
}

fn refuse(list: &Mutex<Arc<Vec<RefusedUse>>>, purposes: &[&str]) {
    let one = |purpose: &&str| refused(&format!("u-{purpose}"), &purpose.parse().expect("purpose"));
    let register = Register { authorisations: purposes.iter().map(one).collect(), ..Register::default() };
    *list.lock() = Arc::new(refused_uses(&register));
}

fn for_purpose(rig: &Rig, purpose: &str) -> Draft {
    Draft { purpose: purpose.parse().expect("purpose"), ..draft(rig.clock.now(), "1") }
}

#[test]
fn what_is_decided_while_the_lease_of_a_refused_use_has_still_to_end_is_not_written_after_the_erasure() {
    let rig = Rig::new();
    let (list, retention) = changing();
    let (sender, tasks) = bounded(9);
    let worker = rig.worker(tasks, Journal::open(rig.directory.path(), 1).expect("journal").0, Shutdown::new());
    let mut runner = Runner::new(EmitWorker { retention, ..worker });
    sender.send(draft(rig.clock.now(), "1")).expect("room");
    assert!(runner.gather() && runner.commit_all());
    assert_eq!(read(rig.directory.path()).len(), 1);
    // Taken from the queue before it was refused; its lease lives on for a moment.
    sender.send(draft(rig.clock.now(), "2")).expect("room");
    assert!(runner.gather());
    refuse(&list, &[PURPOSE]);
    assert!(runner.commit_all());
    assert_eq!((read(rig.directory.path()).len(), rig.counters.withheld.get()), (1, 1), "and what was written is still to be erased");
    sender.send(draft(rig.clock.now(), "3")).expect("room");
    while !read(rig.directory.path()).is_empty() {
        assert!(runner.gather() && runner.commit_all());
        sender.send(draft(rig.clock.now(), "4")).expect("room");
    }
    assert!(runner.gather() && runner.commit_all());
    assert_eq!((read(rig.directory.path()).len(), rig.counters.events.get()), (0, 1));
}

#[test]
fn a_long_journal_is_erased_file_by_file_and_events_are_written_in_between() {
    let mut rig = Rig::new();
    let other = "crime-prevention:8";
    rig.granted = Rig::granted(StreamState::Recognise, &[PURPOSE, other]);
    let (list, retention) = changing();
    let disk = FaultyDisk::new(1, Faults::default());
    let journal = Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 1).expect("opens").0;
    let (sender, tasks) = bounded(9);
    let mut runner = Runner::new(EmitWorker { retention, ..rig.worker(tasks, journal, Shutdown::new()) });
    let left = || (1..=9).filter(|file| String::from_utf8_lossy(&disk.bytes(*file)).contains(PURPOSE)).count();
    for _ in 0..5 {
        sender.send(draft(rig.clock.now(), "1")).expect("room");
        assert!(runner.gather() && runner.commit_all());
    }
    assert_eq!(left(), 5, "a file each");
    refuse(&list, &[PURPOSE]);
    let mut seen = Vec::new();
    while runner.erasing.is_some() || seen.is_empty() {
        sender.send(for_purpose(&rig, other)).expect("room");
        assert!(runner.gather() && runner.commit_all());
        seen.push((left(), rig.counters.events.get()));
    }
    assert_eq!(seen[..5], [(4, 6), (3, 7), (2, 8), (1, 9), (0, 10)], "one file goes, one event is written");
}

#[test]
fn a_second_erasure_of_as_many_is_put_on_record_too() {
    let mut rig = Rig::new();
    let other = "crime-prevention:8";
    rig.granted = Rig::granted(StreamState::Recognise, &[PURPOSE, other]);
    rig.run([PURPOSE, other, PURPOSE, other].map(|purpose| for_purpose(&rig, purpose)).to_vec());
    let (list, retention) = changing();
    let (sender, tasks) = bounded::<Draft>(1);
    drop(sender);
    let worker = rig.worker(tasks, Journal::open(rig.directory.path(), 1).expect("journal").0, Shutdown::new());
    let mut runner = Runner::new(EmitWorker { retention, ..worker });
    for purposes in [&[PURPOSE][..], &[PURPOSE, other]] {
        refuse(&list, purposes);
        while !runner.gather() && runner.erasing.is_some() {}
    }
    assert_eq!((read(rig.directory.path()).len(), rig.counters.events_erased.get()), (0, 4));
    let (entries, _) = rig.kept().read().expect("readable");
    let facts: Vec<&str> = entries.iter().map(|e| &*e.fact).collect();
    assert_eq!(facts.len(), 2, "{facts:?}");
    assert!(facts.iter().all(|f| f.starts_with("2 events")) && facts[0].contains(PURPOSE) && facts[1].contains(other), "{facts:?}");
    // Two authorisations for one purpose: the same events, so nothing is left for the second.
    assert!(runner.erasing.is_none() && runner.noted.is_empty());
}

#[test]
fn where_all_that_came_of_a_refused_use_is_over_for_its_age_the_journal_is_not_read_for_it() {
    let rig = Rig::new();
    rig.run(vec![draft(rig.clock.now(), "1")]);
    let purpose: Purpose = PURPOSE.parse().expect("purpose");
    rig.clock.advance(Duration::from_secs(400 * 86_400));
    let with = |may_erase: bool| {
        let register = Register { authorisations: vec![refused("u-1", &purpose)], ..Register::default() };
        let refused = move || Arc::new(refused_uses(&register));
        let keep = Duration::from_secs(300 * 86_400);
        Retention { refused: Arc::new(refused), may_erase: Box::new(move |_| may_erase), keep, ..Retention::default() }
    };
    // It goes by retention, or where the clock is not believed by the refusal.
    assert_eq!((look(&rig, with(true)), rig.counters.files_retired.get(), rig.counters.events_erased.get()), (0, 1, 0));
    let rig = Rig::new();
    rig.run(vec![draft(rig.clock.now(), "1")]);
    rig.clock.advance(Duration::from_secs(400 * 86_400));
    assert_eq!((look(&rig, with(false)), rig.counters.files_retired.get(), rig.counters.events_erased.get()), (0, 0, 1));
}
