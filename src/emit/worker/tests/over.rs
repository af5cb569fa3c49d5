//! What goes: by its age, and at once because the use that it came of was refused.

use super::*;
use crate::emit::journal::retention::Retention;
use crate::policy::facts::Register;
use crate::policy::refused::refused_uses;
use crate::policy::refused::testing::{authorisation, refused};

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
        Retention { refused: Box::new(move || Arc::new(refused_uses(&register))), ..Retention::default() }
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
