//! Signs under bad conditions: a withdrawal that cannot be written, and inspections.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use placard::clock::{Clock, SimulatedClock};
use placard::policy::cedar::CedarPlane;
use placard::policy::facts::Register;
use placard::policy::inspection::{Inspection, NotInspected};
use placard::policy::lease::{LeaseTable, StreamState};
use placard::policy::pending::PendingWithdrawals;
use placard::policy::rules::Rule;
use placard::policy::worker::{PolicyError, PolicyHandle, PolicyThread};
use placard::shutdown::Shutdown;

use crate::register::put;
use crate::{NORTH, SOUTH, at, register_text};

/// A policy thread like the one before it, as a reload starts it.
fn start(register: &Path, clock: &Arc<SimulatedClock>, pending: &PendingWithdrawals) -> (PolicyHandle, LeaseTable) {
    let streams = ["north".into(), "south".into()];
    let plane = Box::new(CedarPlane::bundled());
    PolicyThread::start_with(register.to_owned(), &streams, Arc::clone(clock) as _, plane, None, pending.clone(), None).expect("starts")
}

fn withdrawn_by(register: &Path, sign: &str) -> Option<String> {
    Register::load(register).expect("readable").sign(sign).expect("there").withdrawn.as_ref().map(|w| w.by.clone())
}

fn inspect(policy: &PolicyHandle, clock: &SimulatedClock) {
    policy.inspect_sign("hall-1", &Inspection::new("w.chen", None, None, clock.utc()).expect("valid")).expect("recorded");
}

#[test]
fn a_withdrawal_that_cannot_be_written_outlives_reloads_and_is_written_when_it_can_be() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let register = directory.path().join("register.redb");
    let clock = SimulatedClock::starting_at(at("2026-11-21T12:00:00Z"));
    put(&register, &register_text(), clock.utc());
    let pending = PendingWithdrawals::default();
    // The lock file's place is taken by a directory: nobody can write the register, not even root.
    let obstacle = directory.path().join(".register.lock");
    std::fs::remove_file(&obstacle).expect("nobody holds it");
    std::fs::create_dir(&obstacle).expect("made");
    let (policy, table) = start(&register, &clock, &pending);
    let error = policy.withdraw_sign("hall-1", "l.wu", "fell down").expect_err("not recorded").to_string();
    assert!(error.contains("could not be recorded") && error.contains("restart"), "{error}");
    assert_eq!(table.state(NORTH, clock.monotonic()), StreamState::Off);
    policy.stop();

    // The pipeline is reloaded: a new policy thread reads the old register.
    let (policy, table) = start(&register, &clock, &pending);
    assert_eq!(withdrawn_by(&register, "hall-1"), None);
    assert_eq!(table.state(NORTH, clock.monotonic()), StreamState::Off, "the withdrawal holds");
    assert_eq!(table.state(SOUTH, clock.monotonic()), StreamState::Recognise);
    let reason = policy.snapshot()[0].reason.to_string();
    assert!(reason.contains("by l.wu (fell down)"), "{reason}");
    policy.reload().expect("answers");
    let unwritten = policy.unwritten_withdrawals();
    assert!(unwritten.len() == 1 && unwritten[0].0 == "hall-1" && unwritten[0].1.contains("cannot be written"), "{unwritten:?}");
    let posted = policy.post_sign("hall-1", "l.wu").expect_err("widening is written first");
    assert!(matches!(posted, PolicyError::Register(_)), "{posted}");
    assert_eq!(table.state(NORTH, clock.monotonic()), StreamState::Off);

    std::fs::remove_dir(&obstacle).expect("removed");
    policy.reload().expect("answers");
    assert_eq!(withdrawn_by(&register, "hall-1").as_deref(), Some("l.wu"));
    assert!(policy.unwritten_withdrawals().is_empty());
    policy.post_sign("hall-1", "l.wu").expect("posted");
    assert_eq!(table.state(NORTH, clock.monotonic()), StreamState::Off, "not inspected since");
    inspect(&policy, &clock);
    assert_eq!(table.state(NORTH, clock.monotonic()), StreamState::Recognise);
    policy.reload().expect("answers");
    assert_eq!((withdrawn_by(&register, "hall-1"), table.state(NORTH, clock.monotonic())), (None, StreamState::Recognise));
}

#[test]
fn a_withdrawal_that_could_not_be_written_is_written_without_being_asked_and_posting_undoes_it_for_good() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let register = directory.path().join("register.redb");
    let clock = SimulatedClock::starting_at(at("2026-11-21T12:00:00Z"));
    put(&register, &register_text(), clock.utc());
    let obstacle = directory.path().join(".register.lock");
    std::fs::remove_file(&obstacle).expect("nobody holds it");
    std::fs::create_dir(&obstacle).expect("made");
    let (policy, table) = start(&register, &clock, &PendingWithdrawals::default());
    for sign in ["hall-1", "yard-1"] {
        policy.withdraw_sign(sign, "l.wu", "").expect_err("not recorded");
    }
    std::fs::remove_dir(&obstacle).expect("removed");
    // At whatever moment between two attempts this comes, nothing brings the withdrawal back.
    policy.post_sign("hall-1", "l.wu").expect("posted");
    let sign = Register::load(&register).expect("readable").sign("hall-1").expect("there").clone();
    assert_eq!(sign.past_withdrawals.len(), 1, "also of a withdrawal that the file may never have shown");
    inspect(&policy, &clock);
    let (begun, pause) = (Instant::now(), Shutdown::new());
    while withdrawn_by(&register, "yard-1").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", policy.unwritten_withdrawals());
        pause.wait(Duration::from_millis(5));
    }
    assert_eq!(withdrawn_by(&register, "hall-1"), None);
    policy.reload().expect("answers");
    assert!(policy.unwritten_withdrawals().is_empty());
    let now = clock.monotonic();
    assert_eq!((table.state(NORTH, now), table.state(SOUTH, now)), (StreamState::Recognise, StreamState::Off));
}

#[test]
fn a_sign_withdrawn_while_nobody_can_read_the_register_is_withdrawn_when_somebody_can() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let register = directory.path().join("register.redb");
    std::fs::write(&register, "half a regis").expect("written");
    let clock = SimulatedClock::starting_at(at("2026-11-21T12:00:00Z"));
    let (policy, table) = start(&register, &clock, &PendingWithdrawals::default());
    let error = policy.withdraw_sign("hall-1", "l.wu", "").expect_err("nobody knows the sign");
    assert!(matches!(error, PolicyError::Unreadable(_)), "{error}");
    std::fs::remove_file(&register).expect("removed");
    put(&register, &register_text(), clock.utc());
    policy.reload().expect("answers");
    assert_eq!(table.state(NORTH, clock.monotonic()), StreamState::Off);
    assert_eq!(table.state(SOUTH, clock.monotonic()), StreamState::Recognise);
    assert_eq!(withdrawn_by(&register, "hall-1").as_deref(), Some("l.wu"), "it was written");
}

#[test]
fn a_sign_withdrawn_between_two_policy_threads_is_dark_with_the_second() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let register = directory.path().join("register.redb");
    let clock = SimulatedClock::starting_at(at("2026-11-21T12:00:00Z"));
    put(&register, &register_text(), clock.utc());
    let pending = PendingWithdrawals::default();
    let withdrawal = placard::policy::facts::Withdrawal {
        at: "2026-11-21T12:00:00Z".parse().expect("a date"),
        by: "l.wu".to_owned(),
        reason: String::new(),
    };
    pending.withdraw(&register, "hall-1", withdrawal.clone()).expect("recorded");
    let unknown = pending.withdraw(&register, "hall-9", withdrawal).expect_err("no such sign");
    assert!(matches!(unknown, PolicyError::UnknownSign { .. }), "{unknown}");
    let (_policy, table) = start(&register, &clock, &pending);
    assert_eq!(table.state(NORTH, clock.monotonic()), StreamState::Off);
    assert_eq!(table.state(SOUTH, clock.monotonic()), StreamState::Recognise);
}

#[test]
fn a_sign_whose_inspection_is_too_old_counts_again_when_somebody_has_inspected_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let register = directory.path().join("register.redb");
    let clock = SimulatedClock::starting_at(at("2026-12-02T12:00:00Z"));
    put(&register, &register_text().replacen("2026-11-20T09:00:00Z", "2026-11-01T09:00:00Z", 1), clock.utc());
    let (policy, table) = start(&register, &clock, &PendingWithdrawals::default());
    assert_eq!((table.state(NORTH, clock.monotonic()), policy.snapshot()[0].reason.rule), (StreamState::Off, Rule::SignInspected));
    let inspection = Inspection::new("l.wu", None, None, clock.utc()).expect("valid");
    policy.inspect_sign("hall-1", &inspection).expect("recorded");
    assert_eq!(table.state(NORTH, clock.monotonic()), StreamState::Recognise, "{}", policy.snapshot()[0].reason);
    let stored = Register::load(&register).expect("readable");
    let sign = stored.sign("hall-1").expect("there");
    assert_eq!(sign.inspected_by.as_deref(), Some("l.wu"));
    assert_eq!(sign.inspected_at.as_ref().map(|w| w.text().to_owned()).as_deref(), Some("2026-12-02T12:00:00Z"));
    // An inspection does not put a sign up again.
    policy.withdraw_sign("hall-1", "w.chen", "").expect("withdrawn");
    policy.inspect_sign("hall-1", &inspection).expect("recorded");
    assert_eq!(policy.snapshot()[0].reason.rule, Rule::SignNotWithdrawn);
    let unknown = policy.inspect_sign("hall-9", &inspection).expect_err("no such sign");
    assert!(matches!(unknown, PolicyError::NotInspected(NotInspected::UnknownSign { .. })), "{unknown}");
}
