//! The law holds: with a real policy thread over a real register file, whatever is stopped, hung, broken, missing, stale or withdrawn turns
//! a stream off, within one lease. Time is simulated; the thread is not.

#[path = "law/acts.rs"]
mod acts;
#[path = "law/areas.rs"]
mod areas;
#[path = "law/claims.rs"]
mod claims;
#[path = "law/histories.rs"]
mod histories;
#[path = "law/history.rs"]
mod history;
#[path = "law/machine.rs"]
mod machine;
#[path = "law/narrowing.rs"]
mod narrowing;
#[path = "law/oracle.rs"]
mod oracle;
#[path = "law/proofs.rs"]
mod proofs;
#[path = "law/random.rs"]
mod random;
#[path = "law/regime.rs"]
mod regime;
#[path = "support/register.rs"]
mod register;
#[path = "law/signs.rs"]
mod signs;
#[path = "law/states.rs"]
mod states;
#[path = "law/tables.rs"]
mod tables;
#[path = "law/ways_in.rs"]
mod ways_in;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use placard::clock::{Clock, SimulatedClock, Stamp, SystemClock, Utc};
use placard::frame::StreamIndex;
use placard::policy::cedar::CedarPlane;
use placard::policy::facts::{Objection, Register};
use placard::policy::file::read_register;
use placard::policy::inspection::Inspection;
use placard::policy::lease::{Detect, Embed, LeaseTable, MAX_LEASE, Match, StreamState, Withheld};
use placard::policy::observed::Moment;
use placard::policy::rules::{DecisionPlane, Rule};
use placard::policy::store::{Edit, Proposal, Request, Table};
use placard::policy::when::When;
use placard::policy::worker::{PolicyError, PolicyHandle, PolicyThread};

fn when(text: &str) -> When {
    text.parse().expect("a date")
}

const NORTH: StreamIndex = StreamIndex(0);
const SOUTH: StreamIndex = StreamIndex(1);

/// Two streams, each with its zone, sign and purpose; everything in force on 2026-11-21.
fn register_text() -> String {
    let zone = |zone: &str, stream: &str, case: &str| {
        format!(
            r#"
[[zone]]
id = "{zone}"
kind = "public"
[[area]]
stream = "{stream}"
zone = "{zone}"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
[[sign]]
id = "{zone}-1"
zone = "{zone}"
{words}position = "{stream} entrance"
photo_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
posted_on = 2026-11-01
inspected_at = 2026-11-20T09:00:00Z
inspected_by = "w.chen"
[[purpose]]
purpose = "missing-person:{case}"
zones = ["{zone}"]
basis = {{ kind = "public-safety", statute = "PIPL Art. 26", authority = "Transit police", from = 2026-11-01, until = 2026-12-15 }}
assessment = "pia-3"
review_on = 2027-01-01
"#,
            words = include_str!("support/sign-words.toml")
        )
    };
    format!("{}{}", zone("hall", "north", "mp-7"), zone("yard", "south", "mp-8"))
}

fn at(text: &str) -> Stamp<Utc> {
    text.parse::<When>().expect("date").at()
}

struct Site {
    _directory: tempfile::TempDir,
    register: PathBuf,
    clock: Arc<SimulatedClock>,
    policy: PolicyHandle,
    table: LeaseTable,
}

impl Site {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let register = directory.path().join("register.redb");
        let clock = SimulatedClock::starting_at(at("2026-11-21T12:00:00Z"));
        register::put(&register, text, clock.utc());
        let streams: Vec<Arc<str>> = vec!["north".into(), "south".into()];
        let (policy, table) =
            PolicyThread::start(register.clone(), &streams, Arc::clone(&clock) as _, Box::new(CedarPlane::bundled()), None)
                .expect("start the policy thread");
        Self { _directory: directory, register, clock, policy, table }
    }
    fn state(&self, stream: StreamIndex) -> StreamState {
        self.table.state(stream, self.clock.monotonic())
    }
    /// Replaces the register and waits until it is in force.
    fn write(&self, text: &str) {
        register::put(&self.register, text, self.clock.utc());
        self.policy.reload().expect("the policy thread answers");
    }
    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.policy.reload().expect("the policy thread answers");
    }
    fn rule(&self, stream: usize) -> Rule {
        self.policy.snapshot()[stream].reason.rule
    }
    fn assert_dark(&self) {
        let now = self.clock.monotonic();
        for stream in [NORTH, SOUTH] {
            assert_eq!(self.table.state(stream, now), StreamState::Off);
            assert!(self.table.permit::<Detect>(stream, now).is_err());
            assert!(self.table.permit::<Embed>(stream, now).is_err());
            assert!(self.table.match_permits(stream, now).is_err());
        }
    }
    fn assert_lit(&self) {
        for stream in [NORTH, SOUTH] {
            assert_eq!(self.state(stream), StreamState::Recognise, "{}", self.policy.snapshot()[stream.index()].reason);
        }
    }
}

#[test]
fn a_lit_stream_gives_permits_for_its_own_purpose_alone() {
    let site = Site::new(&register_text());
    site.assert_lit();
    let now = site.clock.monotonic();
    let (seven, eight) = ("missing-person:mp-7".parse().expect("purpose"), "missing-person:mp-8".parse().expect("purpose"));
    assert!(site.table.permit_for::<Match>(NORTH, &seven, now).is_ok());
    assert_eq!(site.table.permit_for::<Match>(NORTH, &eight, now).err(), Some(Withheld::Purpose));
    assert!(site.table.permit_for::<Match>(SOUTH, &eight, now).is_ok());
}

#[test]
fn stopping_the_policy_thread_darkens_every_stream() {
    let site = Site::new(&register_text());
    let permit = site.table.permit::<Embed>(NORTH, site.clock.monotonic()).expect("lit");
    site.policy.stop();
    assert!(!permit.is_live(site.clock.monotonic()), "at once: an orderly stop ends leases");
    site.assert_dark();
    assert_eq!(site.policy.snapshot()[0].reason.rule, Rule::LeaseRenewed);
    assert!(matches!(site.policy.reload(), Err(PolicyError::NotAnswering)));
}

#[test]
fn a_hung_policy_thread_darkens_every_stream_within_one_lease() {
    let site = Site::new(&register_text());
    site.policy.reload().expect("renewed now");
    site.policy.freeze().expect("freezes");
    let permit = site.table.permit::<Detect>(NORTH, site.clock.monotonic()).expect("the lease still runs");
    site.clock.advance(MAX_LEASE);
    assert!(!permit.is_live(site.clock.monotonic()));
    site.assert_dark();
    assert_eq!(site.policy.snapshot()[0].reason.rule, Rule::LeaseRenewed);
    site.policy.thaw();
    site.policy.reload().expect("goes on");
    site.assert_lit();
    assert!(!permit.is_live(site.clock.monotonic()), "a permit of the lease that lapsed stays dead");
}

#[test]
fn dropping_the_last_handle_darkens_every_stream() {
    // On the real clock: nothing here can be told when the thread has noticed.
    let directory = tempfile::tempdir().expect("temporary directory");
    let register = directory.path().join("register.redb");
    let clock = SystemClock;
    let today = When::from_stamp(clock.utc());
    let text = register_text().replace("2026-11-20T09:00:00Z", today.text()).replace("2026-12-15", "2200-01-01");
    register::put(&register, &text.replace("2027-01-01", "2200-01-01"), clock.utc());
    let streams: Vec<Arc<str>> = vec!["north".into()];
    let (policy, table) =
        PolicyThread::start(register, &streams, SystemClock::shared(), Box::new(CedarPlane::bundled()), None).expect("start");
    if today.at() < at("2026-11-01") {
        // A build machine whose clock is older than the example's sign.
        return;
    }
    assert_eq!(table.state(NORTH, clock.monotonic()), StreamState::Recognise, "{}", policy.snapshot()[0].reason);
    let dropped_at = clock.monotonic();
    drop(policy);
    while table.state(NORTH, clock.monotonic()) != StreamState::Off {
        assert!(clock.monotonic().since_ns(dropped_at) < 1_000_000_000, "dark within one second");
        std::thread::yield_now();
    }
}

#[test]
fn an_unreadable_register_darkens_every_stream_and_a_mended_one_lights_them() {
    let site = Site::new(&register_text());
    let whole = register_text();
    let broken = [
        ("garbage", "\u{0}\u{1}\u{2}".to_owned()),
        ("no TOML", "zone = [".to_owned()),
        ("unknown kind", whole.replacen("\"public\"", "\"semi-public\"", 1)),
        ("missing kind", whole.replacen("kind = \"public\"\n", "", 1)),
        ("unknown key", whole.replacen("posted_on", "posted_onn", 1)),
        ("unknown purpose", whole.replacen("missing-person:mp-7", "marketing", 1)),
        ("bad polygon", whole.replacen("[1.0, 1.0]", "[1.0, 1.5]", 1)),
        ("a sign twice", whole.replace("yard-1", "hall-1")),
        ("inspections that hold for ever", format!("[rules]\nsign_inspect_max_days = 36500\n{whole}")),
    ];
    let good = std::fs::read(&site.register).expect("readable");
    for (what, text) in broken {
        // Signed as it should be: what is wrong is what it says.
        register::put_blindly(&site.register, &text, &"2026-11-21T12:00:00Z".parse().expect("date"));
        site.policy.reload().expect("answers");
        site.assert_dark();
        assert_eq!(site.rule(0), Rule::RegisterReadable, "{what}");
        std::fs::write(&site.register, &good).expect("mended");
        site.policy.reload().expect("answers");
        site.assert_lit();
    }
    // An empty register is readable, and grants nothing.
    site.write("");
    site.assert_dark();
    assert_eq!(site.rule(0), Rule::StreamHasArea);
    std::fs::remove_file(&site.register).expect("remove");
    site.policy.reload().expect("answers");
    site.assert_dark();
    assert_eq!(site.policy.register_hash(), None);
}

#[test]
fn a_changed_register_is_noticed_without_being_told() {
    let site = Site::new(&register_text());
    register::put(&site.register, &register_text().replacen("kind = \"public\"", "kind = \"private\"", 1), site.clock.utc());
    let clock = SystemClock;
    let start = clock.monotonic();
    // Dark first, then the reason: whoever looks in between sees a stream without a lease.
    while site.state(NORTH) != StreamState::Off || site.rule(0) != Rule::ZoneNotPrivate {
        assert!(clock.monotonic().since_ns(start) < 5_000_000_000, "within a tick or so");
        std::thread::yield_now();
    }
    assert_eq!(site.state(SOUTH), StreamState::Recognise);
}

#[test]
fn withdrawing_a_sign_ends_its_streams_at_once_durably_and_leaves_others_alone() {
    let site = Site::new(&register_text());
    let now = site.clock.monotonic();
    let (north, south) = (site.table.permit::<Embed>(NORTH, now).expect("lit"), site.table.permit::<Embed>(SOUTH, now).expect("lit"));
    let withdrawn = site.policy.withdraw_sign("hall-1", "l.wu", "fell down").expect("withdrawn");
    assert_eq!(withdrawn.streams, [Arc::from("north")]);
    assert_eq!(withdrawn.revoked_at, Some(now), "no simulated time has passed");
    assert!(!north.is_live(now) && site.state(NORTH) == StreamState::Off);
    assert!(south.is_live(now), "another stream's permits do not even blink");
    let snapshot = site.policy.snapshot();
    assert!(snapshot[0].reason.to_string().contains("by l.wu (fell down)"), "{}", snapshot[0].reason);
    assert_eq!(snapshot[0].revoked_at, Some(now));
    let stored = Register::load(&site.register).expect("load");
    assert_eq!(stored.sign("hall-1").and_then(|s| s.withdrawn.as_ref()).map(|w| &*w.by), Some("l.wu"));
    // Again, by somebody else: the first withdrawal stands.
    site.policy.withdraw_sign("hall-1", "x", "").expect("idempotent");
    assert_eq!(Register::load(&site.register).expect("load"), stored);
    // Put up again: the inspection from before it was taken down does not count.
    site.advance(Duration::from_secs(60));
    site.policy.post_sign("hall-1", "w.chen").expect("posted");
    assert_eq!((site.state(NORTH), site.rule(0)), (StreamState::Off, Rule::SignInspected));
    let reason = site.policy.snapshot()[0].reason.to_string();
    assert!(reason.contains("before it was posted on 2026-11-21T12:01:00Z") && reason.contains("placard sign inspect hall-1"), "{reason}");
    let sign = Register::load(&site.register).expect("load").sign("hall-1").expect("there").clone();
    assert_eq!((sign.withdrawn, sign.posted_by.as_deref()), (None, Some("w.chen")));
    let past: Vec<_> = sign.past_withdrawals.iter().map(|p| (&*p.by, &*p.reason, &*p.posted_by, p.posted_at.text())).collect();
    assert_eq!(past, [("l.wu", "fell down", "w.chen", "2026-11-21T12:01:00Z")]);
    let inspection = Inspection::new("w.chen", None, None, site.clock.utc()).expect("valid");
    site.policy.inspect_sign("hall-1", &inspection).expect("recorded");
    site.assert_lit();
    // A sign that hangs is not posted anew.
    let stored = Register::load(&site.register).expect("load");
    site.policy.post_sign("hall-1", "x").expect("hangs already");
    assert_eq!(Register::load(&site.register).expect("load"), stored);
    let path: Vec<_> = site.policy.timeline().iter().filter(|c| &*c.stream == "north").map(|c| (c.from, c.to)).collect();
    let (off, on) = (StreamState::Off, StreamState::Recognise);
    assert_eq!(path, [(off, on), (on, off), (off, on)]);
    let unknown = site.policy.withdraw_sign("hall-2", "l.wu", "").expect_err("no such sign");
    assert!(unknown.to_string().contains("did you mean `hall-1`"), "{unknown}");
}

#[test]
fn a_withdrawal_that_cannot_be_written_holds_all_the_same() {
    let site = Site::new(&register_text());
    // The lock file's place is taken by a directory: no writer gets its turn.
    let lock = site.register.with_file_name(".register.lock");
    std::fs::remove_file(&lock).expect("nobody holds it");
    std::fs::create_dir(&lock).expect("obstruct");
    let error = site.policy.withdraw_sign("hall-1", "l.wu", "").expect_err("not recorded");
    assert!(matches!(error, PolicyError::NotRecorded { .. }), "{error}");
    assert_eq!(site.state(NORTH), StreamState::Off);
    site.policy.reload().expect("answers");
    assert_eq!(site.state(NORTH), StreamState::Off, "reading the file again does not undo it");
    assert_eq!(site.state(SOUTH), StreamState::Recognise);
}

#[test]
fn a_policy_thread_that_is_dead_locked_darkens_every_stream_within_one_lease() {
    let site = Site::new(&register_text());
    site.policy.reload().expect("renewed now");
    site.policy.hang().expect("hangs, with the board's lock");
    let permit = site.table.permit::<Embed>(NORTH, site.clock.monotonic()).expect("the lease still runs");
    site.clock.advance(MAX_LEASE);
    // No worker asks for what the thread holds, and nobody who looks: `None` would be a status page that hangs with it.
    assert!(!permit.is_live(site.clock.monotonic()));
    let (seen, told) = std::sync::mpsc::channel();
    let policy = site.policy.clone();
    std::thread::spawn(move || {
        let (streams, changes) = (policy.snapshot(), policy.timeline());
        let read = (policy.approvals(), policy.devices().len(), policy.register_hash(), policy.refused_uses().len());
        seen.send((streams, changes, read))
    });
    let (streams, changes, (_, _, hash, _)) = told.recv_timeout(Duration::from_secs(30)).expect("nobody hangs with it");
    assert!(streams.iter().all(|s| s.reason.rule == Rule::LeaseRenewed) && changes.len() == 2 && hash.is_some(), "{streams:?}");
    site.assert_dark();
    // A stop that is told meanwhile is on the disk when it is answered.
    let objection =
        Objection { id: "o-1".to_owned(), stream: Some("north".to_owned()), purpose: None, at: when("2026-11-21"), settled: None };
    let stop = Proposal::new(vec![Edit::put(Table::Objection, &objection)], "l.wu", "", when("2026-11-21")).expect("made");
    let outcome = site.policy.change_register(Request::Submit { proposal: stop, approvals: Vec::new() }).expect("recorded");
    assert!(outcome.in_force() && Register::load(&site.register).expect("load").objections == [objection]);
    site.policy.thaw();
    site.policy.reload().expect("goes on");
    assert_eq!((site.state(NORTH), site.state(SOUTH)), (StreamState::Off, StreamState::Recognise));
}

#[test]
fn a_policy_thread_that_was_dead_locked_goes_on_where_it_was() {
    let site = Site::new(&register_text());
    site.policy.hang().expect("hangs");
    site.clock.advance(MAX_LEASE);
    site.assert_dark();
    site.policy.thaw();
    site.policy.reload().expect("goes on");
    site.assert_lit();
}

#[test]
fn a_hung_policy_thread_does_not_keep_a_withdrawal_from_being_recorded() {
    let site = Site::new(&register_text());
    site.policy.freeze().expect("freezes");
    let withdrawn = site.policy.withdraw_sign("hall-1", "l.wu", "").expect("recorded");
    assert_eq!(withdrawn.revoked_at, None);
    assert!(Register::load(&site.register).expect("load").sign("hall-1").expect("sign").withdrawn.is_some());
}

#[test]
fn time_alone_ends_what_rests_on_dates_and_no_lease_runs_past_them() {
    const DAY: Duration = Duration::from_secs(86_400);
    // The inspection of 20 November counts 30 days, the basis ends on 15 December.
    let site = Site::new(&register_text());
    site.clock.set_utc(at("2026-12-14T23:59:59.900Z"));
    site.policy.reload().expect("answers");
    let permit = site.table.permit::<Embed>(NORTH, site.clock.monotonic()).expect("in force for 100 ms more");
    site.policy.freeze().expect("freezes");
    site.clock.advance(Duration::from_millis(99));
    assert!(permit.is_live(site.clock.monotonic()));
    site.clock.advance(Duration::from_millis(1));
    assert!(!permit.is_live(site.clock.monotonic()), "the lease ended with the basis, though nobody ended it");
    site.policy.thaw();
    site.policy.reload().expect("answers");
    assert_eq!((site.state(NORTH), site.rule(0)), (StreamState::CaptureOnly, Rule::BasisInForce));
    site.advance(DAY * 5 + Duration::from_secs(9 * 3_600 - 1));
    assert_eq!(site.state(NORTH), StreamState::CaptureOnly);
    site.advance(Duration::from_secs(1));
    assert_eq!((site.state(NORTH), site.rule(0)), (StreamState::Off, Rule::SignInspected));
}

#[test]
fn setting_the_wall_clock_back_revives_nothing() {
    let site = Site::new(&register_text());
    site.advance(Duration::from_secs(60 * 86_400));
    assert_eq!(site.rule(0), Rule::SignInspected);
    site.clock.set_utc(at("2026-11-21T12:00:00Z"));
    site.policy.reload().expect("answers");
    site.assert_dark();
    assert_eq!(site.rule(0), Rule::ClockBelievable);
    assert!(site.policy.counters().clock_refusals_total.get() >= 1);
    site.advance(Duration::from_secs(86_400));
    assert_eq!(site.rule(0), Rule::ClockBelievable, "until the clock has caught up");
}

#[test]
fn an_emergency_s_order_that_ended_is_not_revived_by_the_clock() {
    let text = register_text().replace("missing-person:mp-7", "emergency:o-1").replacen("\"public-safety\"", "\"emergency\"", 1);
    let order = "\n[[order]]\nid = \"o-1\"\nissuer = \"Health Commission\"\nzones = [\"hall\"]\nfrom = 2026-11-20\nuntil = 2026-11-23\n\
                 approved_by = [\"l.wu\", \"w.chen\"]\n";
    let site = Site::new(&format!("{text}{order}"));
    assert_eq!(site.state(NORTH), StreamState::Recognise);
    site.advance(Duration::from_secs(2 * 86_400));
    assert_eq!((site.rule(0), site.state(NORTH)), (Rule::OrderInForce, StreamState::CaptureOnly));
    site.clock.set_utc(at("2026-11-22T12:00:00Z"));
    site.policy.reload().expect("answers");
    site.assert_dark();
    assert_eq!(site.rule(0), Rule::ClockBelievable);
}

#[test]
fn a_clock_that_was_set_back_while_the_service_was_stopped_lights_nothing() {
    let site = Site::new(&register_text());
    let started = |utc: &str| {
        let clock = SimulatedClock::starting_at(at(utc));
        let plane = Box::new(CedarPlane::bundled());
        let (policy, table) =
            PolicyThread::start(site.register.clone(), &["north".into()], Arc::clone(&clock) as _, plane, None).expect("starts");
        (table.state(NORTH, clock.monotonic()), policy.snapshot()[0].reason.clone())
    };
    assert_eq!(started("2026-11-22").0, StreamState::Recognise);
    // Two months later everything has ended; somebody signs for something else, and the service is stopped.
    site.advance(Duration::from_secs(60 * 86_400));
    site.write(&format!("{}\n[[zone]]\nid = \"attic\"\nkind = \"staff\"\n", register_text()));
    site.policy.stop();
    let (state, reason) = started("2026-11-22");
    assert_eq!((state, reason.rule), (StreamState::Off, Rule::ClockBelievable), "{reason}");
    assert!(reason.fact.contains("before 2027-01-20T12:00:00.000Z") && reason.remedy.starts_with("set the clock"), "{reason}");
    let (state, reason) = started("2027-01-20T12:00:00Z");
    assert_eq!((state, reason.rule), (StreamState::Off, Rule::SignInspected), "{reason}");
}

#[test]
fn no_line_of_a_register_can_be_left_out_without_losing_leave() {
    let text = register_text();
    // What the sign says of other purposes, and in another language, is not needed.
    let needed = |line: &&str| !line.starts_with("  {") || line.contains("\"missing-person\", language = \"en\"");
    let half: Vec<&str> = text[..text.len() / 2].lines().filter(|l| !l.is_empty()).filter(needed).collect();
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("register.toml");
    for left_out in 0..half.len() {
        let rest: Vec<&str> = half.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, l)| *l).collect();
        std::fs::write(&path, rest.join("\n")).expect("write");
        let state = match read_register(&path) {
            Ok(register) => {
                CedarPlane::bundled().decide(&register, "north", Moment::unobserved(at("2026-11-21T12:00:00Z"))).expect("decides").state
            }
            Err(_) => StreamState::Off,
        };
        assert!(state <= StreamState::CaptureOnly, "without `{}` the stream is still {}", half[left_out], state.name());
    }
}
