//! Planes that fail: only here, because nothing outside `policy` may bring a plane (`tests/law.rs` has the rest).

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use super::*;
use crate::clock::{Clock, SimulatedClock};
use crate::policy::facts::testing::good;
use crate::policy::lease::Detect;
use crate::policy::observed::Moment;
use crate::policy::rules::{Decision, PlainRules, PlaneError, plane};
use crate::policy::store::put_as_stand_ins;

/// A plane that can be told to fail.
struct Treacherous(Arc<AtomicU8>);

impl plane::WithinPolicy for Treacherous {}
impl DecisionPlane for Treacherous {
    fn decide(&self, register: &Register, stream: &str, moment: Moment<'_>) -> Result<Decision, PlaneError> {
        match (self.0.load(SeqCst), stream) {
            (1, "south") => Err(PlaneError("no such attribute".to_owned())),
            (2, "south") => panic!("a fault in the rules"),
            _ => PlainRules.decide(register, stream, moment),
        }
    }
}

#[test]
fn an_erring_or_panicking_plane_darkens_every_stream_and_is_counted() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("register.redb");
    put_as_stand_ins(&path, &good(), "2026-11-21".parse::<When>().expect("date").at()).expect("stored");
    let clock = SimulatedClock::starting_at("2026-11-21T12:00:00Z".parse::<When>().expect("date").at());
    let mood = Arc::new(AtomicU8::new(0));
    let streams: [Arc<str>; 2] = ["north".into(), "south".into()];
    let plane = Box::new(Treacherous(Arc::clone(&mood)));
    let (policy, table) = PolicyThread::start(path, &streams, clock.clone(), plane, None).expect("start the policy thread");
    let north = || table.state(StreamIndex(0), clock.monotonic());
    let counters = policy.counters();
    for (failure, count) in [(1, &counters.plane_errors_total), (2, &counters.panics_total)] {
        assert_eq!(north(), StreamState::Recognise);
        let permit = table.permit::<Detect>(StreamIndex(0), clock.monotonic()).expect("lit");
        mood.store(failure, SeqCst);
        policy.reload().expect("survives");
        assert_eq!((north(), permit.stands()), (StreamState::Off, false));
        assert_eq!(policy.snapshot()[0].reason.rule, Rule::DecisionMade, "north too: rules that fail for one stream are trusted for none");
        assert!(count.get() >= 1);
        mood.store(0, SeqCst);
        policy.reload().expect("answers");
    }
    assert_eq!(north(), StreamState::Recognise);
}

/// Niceness of this process's threads that are called `name`.
fn niceness(name: &str) -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("readable").flatten();
    let stat = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let named = stat.filter(|s| s.contains(&format!("({name})")));
    // proc_pid_stat(5): the 19th field; the name is the second, and the rest begins after its bracket.
    named.filter_map(|s| s.rsplit(") ").next()?.split(' ').nth(16)?.parse().ok()).collect()
}

#[test]
fn the_thread_takes_precedence_where_it_may_and_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let clock = SimulatedClock::starting_at("2026-11-21T12:00:00Z".parse::<When>().expect("date").at());
    let path = directory.path().join("register.redb");
    let (policy, _table) = PolicyThread::start(path, &["north".into()], clock, Box::new(PlainRules), None).expect("starts");
    policy.reload().expect("answers: it runs");
    let trial = std::thread::Builder::new().name("trial".to_owned());
    let allowed = trial.spawn(|| rustix::process::setpriority_process(None, NICENESS).is_ok()).expect("starts").join().expect("no panic");
    let found = niceness("policy");
    assert!(found.contains(&if allowed { NICENESS } else { 0 }), "{found:?}");
    let own = rustix::process::getpriority_process(None).expect("readable");
    assert!(!allowed || own > NICENESS, "no other thread is changed: {own}");
}

#[test]
fn a_site_that_becomes_operational_goes_dark_while_a_commissioning_model_runs() {
    use crate::engine::known;
    use crate::engine::manifest::{IntendedUse, Manifest};
    use crate::policy::facts::{Mode, Site};

    let directory = tempfile::tempdir().expect("temporary directory");
    let (register, described) = (directory.path().join("register.redb"), directory.path().join("site.toml"));
    put_as_stand_ins(&register, &good(), "2026-11-21".parse::<When>().expect("date").at()).expect("stored");
    let become_ =
        |mode| Site { name: "east".into(), mode, controller: "c".into(), contact: "c".into() }.store(&described).expect("written");
    become_(Mode::Commissioning);
    let model = Manifest { intended_use: IntendedUse::Commissioning, ..known::by_name("mobileface-v2").expect("known") };
    let clock = SimulatedClock::starting_at("2026-11-21T12:00:00Z".parse::<When>().expect("date").at());
    let streams: [Arc<str>; 2] = ["north".into(), "south".into()];
    let guard = SiteGuard::over(described.clone(), [&model]);
    let started =
        PolicyThread::start_with(register, &streams, clock.clone(), Box::new(PlainRules), None, PendingWithdrawals::default(), guard);
    let (policy, table) = started.expect("start the policy thread");
    let north = || table.state(StreamIndex(0), clock.monotonic());
    assert_eq!(north(), StreamState::Recognise);
    let permit = table.permit::<Detect>(StreamIndex(0), clock.monotonic()).expect("lit");
    become_(Mode::Operational);
    policy.reload().expect("answers");
    assert_eq!((north(), permit.stands()), (StreamState::Off, false));
    let reason = &policy.snapshot()[0].reason;
    assert_eq!(reason.rule, Rule::ModelIntended);
    assert!(reason.fact.contains("`mobileface-v2`") && reason.fact.contains("`east` is operational"), "{reason}");
    assert!(reason.remedy.contains("placard model add"), "{reason}");
    become_(Mode::Demo);
    policy.reload().expect("answers");
    assert_eq!(north(), StreamState::Recognise);
    std::fs::remove_file(&described).expect("removed");
    policy.reload().expect("answers");
    assert_eq!(north(), StreamState::Off, "nobody knows what kind of site this is now");
}
