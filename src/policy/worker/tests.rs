//! Planes that fail: only here, because nothing outside `policy` may bring a plane (`tests/law.rs` has the rest).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};

use super::*;
use crate::clock::{Clock, SimulatedClock};
use crate::policy::facts::testing::good;
use crate::policy::facts::{Alternative, AlternativeKind, AreaFact, BasisKind, Consent, ConsentMethod, PurposeFact, Zone, ZoneKind};
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

/// A plane that fails once, at its `at`th call: by an error, or by a panic.
struct FailsAt {
    at: u64,
    panics: bool,
    calls: AtomicU64,
}

impl plane::WithinPolicy for FailsAt {}
impl DecisionPlane for FailsAt {
    fn decide(&self, register: &Register, stream: &str, moment: Moment<'_>) -> Result<Decision, PlaneError> {
        match self.calls.fetch_add(1, SeqCst) + 1 == self.at {
            true if self.panics => panic!("a fault in the rules"),
            true => Err(PlaneError("no such attribute".to_owned())),
            false => PlainRules.decide(register, stream, moment),
        }
    }
}

#[test]
fn whichever_call_of_the_plane_fails_nothing_is_open_after_it_until_a_whole_evaluation_succeeds() {
    const STEPS: u64 = 4;
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("register.redb");
    let now = "2026-11-21T12:00:00Z".parse::<When>().expect("date").at();
    put_as_stand_ins(&path, &good(), now).expect("stored");
    // Three streams, of which the first is lit: what fails may come before it, be it, or come after it.
    for (place, at, panics) in (0..3).flat_map(|place| (1..=3 * STEPS).flat_map(move |at| [(place, at, false), (place, at, true)])) {
        let mut streams: Vec<Arc<str>> = vec!["south".into(), "west".into()];
        streams.insert(place, "north".into());
        let clock = SimulatedClock::starting_at(now);
        let plane = Box::new(FailsAt { at, panics, calls: AtomicU64::new(0) });
        let pending = PendingWithdrawals::default();
        let (mut keeper, table) = Keeper::new(path.clone(), streams.into(), clock.clone(), plane, pending);
        let north = StreamIndex(u16::try_from(place).expect("small"));
        for step in 0..STEPS {
            keeper.step();
            let fails = (at - 1) / 3 == step;
            let lit = table.permit::<Detect>(north, clock.monotonic()).is_ok();
            assert_eq!(lit, !fails, "north is number {place}; call {at} {}, step {step}", if panics { "panics" } else { "errs" });
        }
    }
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
    let become_ = |mode| {
        Site { name: "east".into(), mode, controller: "c".into(), contact: "c".into(), status_page: None }
            .store(&described)
            .expect("written")
    };
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

fn now() -> Stamp<Utc> {
    "2026-11-21T12:00:00Z".parse::<When>().expect("date").at()
}

struct Desk {
    directory: tempfile::TempDir,
    policy: PolicyHandle,
    table: LeaseTable,
    clock: Arc<SimulatedClock>,
}

/// A policy thread for stream `north`, over `register`.
fn desk(register: &Register) -> Desk {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("register.redb");
    put_as_stand_ins(&path, register, now()).expect("stored");
    let clock = SimulatedClock::starting_at(now());
    let (policy, table) =
        PolicyThread::start(path, &["north".into()], Arc::clone(&clock) as SharedClock, Box::new(PlainRules), None).expect("starts");
    Desk { directory, policy, table, clock }
}

/// `north` shows hall and gate, side by side, each looked at for a purpose of its own: the hall's is listed first.
fn apart() -> Register {
    let mut register = good();
    let square = |x: f64| vec![[x, 0.0], [x + 0.3, 0.0], [x + 0.3, 1.0], [x, 1.0]];
    register.areas[0].polygon = square(0.0);
    register.areas.push(AreaFact { zone: "gate".into(), polygon: square(0.6), ..register.areas[0].clone() });
    register.zones.push(Zone { id: "gate".into(), kind: ZoneKind::Public });
    register.signs.push(crate::policy::facts::Sign { id: "gate-1".into(), zone: "gate".into(), ..register.signs[0].clone() });
    let purpose = "crime-prevention:2".parse().expect("purpose");
    register.purposes.push(PurposeFact { purpose, zones: vec!["gate".into()], ..register.purposes[0].clone() });
    register
}

#[test]
fn the_board_says_which_zones_of_a_stream_are_lit() {
    let zones = |register: &Register| desk(register).policy.snapshot()[0].zones.clone();
    let mut register = apart();
    assert_eq!(zones(&register), ["hall"], "its neighbour is dark");
    register.signs[0].withdrawn = Some(Withdrawal { at: "2026-11-21".parse().expect("date"), by: "l".into(), reason: String::new() });
    assert_eq!(zones(&register), ["gate"]);
    register.signs[1].withdrawn = register.signs[0].withdrawn.clone();
    assert_eq!(zones(&register), [""; 0]);
    let mut alike = apart();
    alike.purposes.truncate(1);
    alike.purposes[0].zones.push("gate".into());
    assert_eq!(zones(&alike), ["gate", "hall"], "one group");
    // The yard grants more than the hall, and not all of it is its own: what it shares is looked at as the hall is.
    let mut shared = apart();
    shared.areas[1].polygon = vec![[0.2, 0.0], [0.9, 0.0], [0.9, 1.0], [0.2, 1.0]];
    shared.purposes[0].zones.push("gate".into());
    let desk = desk(&shared);
    assert_eq!(desk.policy.snapshot()[0].zones, ["gate", "hall"]);
    desk.policy.stop();
    desk.clock.advance(crate::policy::lease::MAX_LEASE);
    assert_eq!(desk.policy.snapshot()[0].zones, [""; 0], "nobody renews it");
}

#[test]
fn a_withdrawal_that_cannot_be_written_lights_nothing_in_its_place() {
    let desk = desk(&apart());
    assert_eq!(desk.policy.snapshot()[0].zones, ["hall"]);
    // No lock can be taken where a directory is.
    let lock = desk.directory.path().join(".register.lock");
    std::fs::remove_file(&lock).expect("there");
    std::fs::create_dir(&lock).expect("obstructed");
    assert!(matches!(desk.policy.withdraw_sign("hall-1", "l", "fell"), Err(PolicyError::NotRecorded { .. })));
    let dark = || {
        let stream = desk.policy.snapshot().remove(0);
        (stream.state, stream.reason.rule, desk.table.state(StreamIndex(0), desk.clock.monotonic()))
    };
    assert_eq!(dark(), (StreamState::Off, Rule::NotObjectedTo, StreamState::Off), "the gate was dark a moment ago");
    desk.policy.reload().expect("answers");
    assert_eq!(dark().0, StreamState::Off, "also when the file is read again, which does not show it");
    std::fs::remove_dir(&lock).expect("mended");
    desk.policy.reload().expect("answers");
    assert_eq!(desk.policy.snapshot()[0].zones, ["gate"], "the stand-ins of a demonstration sign what that lights");
}

#[test]
fn a_claim_whose_caller_has_gone_is_never_opened() {
    let subject = "0123456789abcdef0123456789abcdef";
    let mut register = good();
    register.zones[0].kind = ZoneKind::Access;
    register.purposes[0].purpose = crate::purpose::Purpose::access_verification();
    register.purposes[0].basis.as_mut().expect("there").kind = BasisKind::SeparateConsent;
    register.alternatives.push(Alternative { id: "card".into(), zone: "hall".into(), kind: AlternativeKind::Card, heartbeat_s: 300 });
    register.consents.push(Consent {
        id: "anna".into(),
        subject: subject.into(),
        purpose: crate::purpose::Purpose::access_verification(),
        notice_sha256: "5e1f".repeat(16),
        method: ConsentMethod::Written,
        separate: true,
        bundled: false,
        service_conditional: false,
        given_at: "2026-11-01".parse().expect("date"),
        until: "2026-12-01".parse().expect("date"),
        birth_date: None,
        guardian: None,
        withdrawn: None,
    });
    let desk = desk(&register);
    desk.policy.observations().heartbeat("card", desk.clock.monotonic());
    let ask = |id: u64, gone: bool| {
        let (reply, answer) = bounded(1);
        let (person, gone) = ("anna".to_owned(), Arc::new(AtomicBool::new(gone)));
        let asked = ClaimAsked { stream: StreamIndex(0), id, person, within: Duration::from_secs(8), gone };
        desk.policy.inner.sender.send(Message::OpenClaim { asked, reply }).expect("listens");
        desk.policy.reload().expect("answers what came before");
        let open = desk.table.permit_for::<crate::policy::lease::Verify>(
            StreamIndex(0),
            &crate::purpose::Purpose::access_verification(),
            desk.clock.monotonic(),
        );
        (answer.try_recv().is_ok(), open.is_ok())
    };
    assert_eq!(ask(1, true), (false, false), "nobody is measured for somebody who waits no more");
    assert_eq!(ask(2, false), (true, true));
}
