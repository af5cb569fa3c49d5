//! The register's file against kill -9, and against whoever can write it but holds no keys: a running policy thread goes dark, and says at which
//! change and why.

#[path = "support/register.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use placard::clock::{Clock, SimulatedClock, Stamp, Utc};
use placard::frame::StreamIndex;
use placard::policy::facts::{Mode, Person, Register, Role, ZoneKind};
use placard::policy::lease::{LeaseTable, StreamState};
use placard::policy::rules::{PlainRules, Rule};
use placard::policy::store::{
    Approval, Change, Edit, Event, PersonKey, Present, Proposal, Request, Store, Table, difference, put_as_stand_ins, stand_ins_of,
};
use placard::policy::when::When;
use placard::policy::worker::{PolicyHandle, PolicyThread};
use placard::shutdown::Shutdown;
use support::{append_blindly, change_digest, changes, replace_changes, stand_in_approvals};

const TEXT: &str = r#"
[[zone]]
id = "hall"
kind = "public"
[[area]]
stream = "north"
zone = "hall"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
[[sign]]
id = "hall-1"
zone = "hall"
WORDS
position = "north entrance"
photo_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
posted_on = 2026-11-01
inspected_at = 2026-11-20T09:00:00Z
inspected_by = "w.chen"
[[purpose]]
purpose = "missing-person:mp-7"
zones = ["hall"]
basis = { kind = "public-safety", statute = "PIPL Art. 26", authority = "Transit police", from = 2026-11-01, until = 2026-12-15 }
assessment = "pia-3"
review_on = 2027-01-01
"#;

fn when(text: &str) -> When {
    text.parse().expect("date")
}
fn now() -> Stamp<Utc> {
    when("2026-11-21T12:00:00Z").at()
}
fn register() -> Register {
    toml::from_str(&TEXT.replace("WORDS", include_str!("support/sign-words.toml"))).expect("a register's tables")
}

/// A site whose register lets stream `north` recognise, and its policy thread.
struct Lit {
    directory: tempfile::TempDir,
    clock: Arc<SimulatedClock>,
    policy: PolicyHandle,
    table: LeaseTable,
}

impl Lit {
    fn demonstration() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        put_as_stand_ins(&directory.path().join("register.redb"), &register(), now()).expect("stored");
        Self::over(directory)
    }
    fn over(directory: tempfile::TempDir) -> Self {
        let clock = SimulatedClock::starting_at(now());
        let path = directory.path().join("register.redb");
        let (policy, table) =
            PolicyThread::start(path, &["north".into()], Arc::clone(&clock) as _, Box::new(PlainRules), None).expect("starts");
        let lit = Self { directory, clock, policy, table };
        assert_eq!(lit.state(), StreamState::Recognise, "{}", lit.policy.snapshot()[0].reason);
        lit
    }
    fn path(&self) -> PathBuf {
        self.directory.path().join("register.redb")
    }
    fn state(&self) -> StreamState {
        self.table.state(StreamIndex(0), self.clock.monotonic())
    }
    /// Dark, by the rule that a register must be believed; answers why it is not.
    fn dark(&self) -> String {
        self.policy.reload().expect("answers");
        let reason = self.policy.snapshot()[0].reason.clone();
        assert_eq!((self.state(), reason.rule), (StreamState::Off, Rule::RegisterReadable), "{reason}");
        reason.fact
    }
}

/// The last change, with other contents, under the digest that they then have.
fn rewrite_last(path: &Path, edit: impl FnOnce(&mut Change)) {
    let mut all = changes(path);
    let mut last: Change = serde_json::from_slice(all.last().expect("one")).expect("a change");
    edit(&mut last);
    *all.last_mut().expect("one") = serde_json::to_vec(&last).expect("JSON");
    replace_changes(path, &all);
}

fn widen(present: &Register) -> Vec<Edit> {
    let mut wider = present.clone();
    wider.purposes[0].review_on = Some(when("2030-01-01"));
    difference(present, &wider)
}

#[test]
fn facts_altered_in_the_file_turn_everything_off_and_the_change_is_named() {
    let lit = Lit::demonstration();
    rewrite_last(&lit.path(), |change| {
        let Event::Changed { proposal, .. } = &mut change.event else { panic!("a change") };
        let fact = proposal.edits.iter_mut().find(|e| e.table == Table::Purpose).and_then(|e| e.fact.as_mut()).expect("a purpose");
        *fact = fact.replace("2026-12-15", "2036-12-15");
    });
    // To the running thread it is another past; to one that starts, a change that nobody signed.
    assert!(lit.dark().contains("the one that was read before"), "{}", lit.dark());
    let fresh = Register::load(&lit.path()).expect_err("not believed").to_string();
    assert!(fresh.contains("change 1 is not believed") && fresh.contains("signature of `stand-in-1`"), "{fresh}");
}

#[test]
fn a_change_with_one_approval_dropped_or_given_twice_opens_nothing() {
    for twice in [false, true] {
        let lit = Lit::demonstration();
        let present = Register::load(&lit.path()).expect("readable");
        append_blindly(&lit.path(), widen(&present), &When::from_stamp(now()));
        rewrite_last(&lit.path(), |change| {
            let Event::Changed { approvals, .. } = &mut change.event else { panic!("a change") };
            approvals.truncate(1);
            if twice {
                approvals.push(approvals[0].clone());
            }
        });
        let why = lit.dark();
        assert!(why.contains("change 2 is not believed"), "{why}");
        assert!(why.contains(if twice { "signed twice" } else { "two approvers must sign; 1 did" }), "{why}");
    }
}

#[test]
fn an_approval_is_for_one_proposal_once() {
    // Of another proposal.
    let lit = Lit::demonstration();
    let present = Register::load(&lit.path()).expect("readable");
    let at = When::from_stamp(now());
    let harmless = Proposal::new(vec![Edit::remove(Table::Purpose, &present.purposes[0])], "t", "", at.clone()).expect("made");
    let approvals = stand_in_approvals(&lit.path(), &harmless, &at);
    append_blindly(&lit.path(), widen(&present), &at);
    rewrite_last(&lit.path(), |change| {
        let Event::Changed { approvals: own, .. } = &mut change.event else { panic!("a change") };
        *own = approvals;
    });
    let why = lit.dark();
    assert!(why.contains("change 2 is not believed") && why.contains("the signature of `stand-in-1`"), "{why}");

    // Of the same proposal, after what it opened was closed again.
    let lit = Lit::demonstration();
    let mut all = changes(&lit.path());
    let opened: Change = serde_json::from_slice(&all[1]).expect("a change");
    drop(all.drain(..));
    let mut store = Store::open(&lit.path()).expect("opens");
    let close = Proposal::new(
        vec![Edit::remove(Table::Purpose, &store.register().purposes[0]), Edit::remove(Table::Area, &store.register().areas[0])],
        "t",
        "",
        at.clone(),
    );
    assert!(store.submit(close.expect("made"), Vec::new(), now()).expect("narrows").in_force());
    drop(store);
    lit.policy.reload().expect("answers");
    assert_eq!(lit.state(), StreamState::Off, "closed");
    let mut all = changes(&lit.path());
    let again = Change { seq: 3, before: change_digest(&all[2]), ..opened };
    all.push(serde_json::to_vec(&again).expect("JSON"));
    replace_changes(&lit.path(), &all);
    let why = lit.dark();
    assert!(why.contains("change 3 is not believed") && why.contains("decided already"), "{why}");
}

#[test]
fn changes_in_another_order_left_out_or_taken_back_are_not_believed() {
    let lit = Lit::demonstration();
    let mut store = Store::open(&lit.path()).expect("opens");
    for day in ["2026-12-20", "2026-12-10"] {
        let mut register = store.register().clone();
        register.purposes[0].review_on = Some(when(day));
        let edits = difference(store.register(), &register);
        assert!(store.change(edits, "t", "", now()).expect("narrows").in_force());
    }
    drop(store);
    lit.policy.reload().expect("answers");
    assert_eq!(lit.state(), StreamState::Recognise);
    let (all, good) = (changes(&lit.path()), std::fs::read(lit.path()).expect("readable"));
    let swapped = [all[0].clone(), all[1].clone(), all[3].clone(), all[2].clone()];
    let gap = [all[0].clone(), all[1].clone(), all[3].clone()];
    for altered in [&swapped[..], &gap[..], &all[..3]] {
        replace_changes(&lit.path(), altered);
        lit.dark();
        if altered.len() < 4 || altered[2] != all[2] {
            assert!(Register::load(&lit.path()).is_err(), "a start does not believe it either");
        }
        std::fs::write(lit.path(), &good).expect("mended");
        lit.policy.reload().expect("answers");
        assert_eq!(lit.state(), StreamState::Recognise);
    }
}

#[test]
fn another_sites_register_is_not_believed_whoever_signed_it() {
    let (lit, other) = (Lit::demonstration(), Lit::demonstration());
    std::fs::copy(other.path(), lit.path()).expect("put in its place");
    lit.dark();
    let why = Register::load(&lit.path()).expect_err("not believed").to_string();
    assert!(why.contains("change 0 is not believed") && why.contains("founded for another site"), "{why}");
    // With this site's founding before them, its changes are signed for another site.
    let lit = Lit::demonstration();
    let mut all = changes(&lit.path());
    let mut foreign: Change = serde_json::from_slice(&changes(&other.path())[1]).expect("a change");
    foreign.before = change_digest(&all[0]);
    all[1] = serde_json::to_vec(&foreign).expect("JSON");
    replace_changes(&lit.path(), &all);
    lit.dark();
    let why = Register::load(&lit.path()).expect_err("not believed").to_string();
    assert!(why.contains("change 1 is not believed") && why.contains("signature"), "{why}");
}

#[test]
fn an_approver_whose_role_or_training_ran_out_opens_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("register.redb");
    // The site's key is made with the stand-ins', who are not believed here.
    stand_ins_of(&path).expect("made");
    let keys = [(); 3].map(|()| PersonKey::generate().expect("made"));
    let person = |i: usize, until: Option<&str>, trained: &str| Person {
        id: format!("p{i}"),
        key: keys[i].public().to_string(),
        roles: vec![Role::Approver],
        from: when("2026-01-01"),
        until: until.map(when),
        trained_until: when(trained),
        stand_in: false,
    };
    let people = vec![person(0, None, "2028-01-01"), person(1, Some("2026-11-22"), "2028-01-01"), person(2, None, "2026-11-22")];
    let mut store = Store::found(&path, Mode::Operational, people.clone(), now()).expect("founded");
    let at = When::from_stamp(now());
    let wish = difference(store.register(), &Register { people, ..register() });
    let wish = Proposal::new(wish, "p0", "all of it", at.clone()).expect("made");
    let sign = |store: &Store, i: usize, proposal: &Proposal, at: &str| {
        Approval::sign(&format!("p{i}"), &keys[i], &store.site(), &proposal.digest(), when(at))
    };
    let approvals = vec![sign(&store, 0, &wish, "2026-11-21"), sign(&store, 1, &wish, "2026-11-21")];
    assert!(store.handle(Request::Submit { proposal: wish, approvals }, now()).expect("judged").in_force());
    let present = store.register().clone();
    let site_of = |i: usize, at: &str, proposal: &Proposal| sign(&store, i, proposal, at);
    let later = "2026-11-23T00:00:00Z";
    let proposal = Proposal::new(widen(&present), "p0", "", when(later)).expect("made");
    let forged: Vec<(usize, Vec<Approval>)> =
        [1, 2].into_iter().map(|i| (i, vec![site_of(0, later, &proposal), site_of(i, later, &proposal)])).collect();
    drop(store);
    let lit = Lit::over(directory);
    let good = std::fs::read(&path).expect("readable");
    for (i, approvals) in forged {
        let mut all = changes(&path);
        let event = Event::Changed { proposal: proposal.clone(), approvals, judged: None };
        let change = Change { seq: 2, before: change_digest(&all[1]), recorded_at: when(later), event };
        all.push(serde_json::to_vec(&change).expect("JSON"));
        replace_changes(&path, &all);
        let why = lit.dark();
        let expected = if i == 1 { "was appointed until 2026-11-22" } else { "the training of `p2` ran out on 2026-11-22" };
        assert!(why.contains("change 2 is not believed") && why.contains(expected), "{why}");
        std::fs::write(&path, &good).expect("mended");
        lit.policy.reload().expect("answers");
        assert_eq!(lit.state(), StreamState::Recognise);
    }
}

#[test]
fn a_register_that_is_not_what_its_changes_add_up_to_is_not_believed() {
    let lit = Lit::demonstration();
    let mut bytes = std::fs::read(lit.path()).expect("readable");
    let spelled = b"north entrance";
    let places: Vec<usize> = (0..bytes.len() - spelled.len()).filter(|i| bytes[*i..].starts_with(spelled)).collect();
    assert!(places.len() >= 2, "in the change and beside it");
    for place in places {
        bytes[place] = b'N';
        std::fs::write(lit.path(), &bytes).expect("written");
        lit.policy.reload().expect("answers");
        bytes[place] = b'n';
        // A page that redb does not use any more may say what it likes.
        if lit.state() != StreamState::Off {
            assert_eq!(Register::load(&lit.path()).expect("believed").signs[0].position, "north entrance");
        }
    }
    std::fs::write(lit.path(), &bytes).expect("mended");
    lit.policy.reload().expect("answers");
    assert_eq!(lit.state(), StreamState::Recognise);
}

#[test]
fn nothing_in_a_damaged_file_makes_the_policy_thread_break_or_open_more() {
    let lit = Lit::demonstration();
    let good = std::fs::read(lit.path()).expect("readable");
    let mut dice = 0x5eed_u64;
    for _ in 0..150 {
        let mut bytes = good.clone();
        for _ in 0..4 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (dice >> 20) as usize % bytes.len();
            bytes[place] ^= 1 << (dice >> 60 & 7);
        }
        if dice >> 40 & 15 == 0 {
            bytes.truncate((dice >> 20) as usize % bytes.len());
        }
        std::fs::write(lit.path(), &bytes).expect("written");
        lit.policy.reload().expect("the thread answers");
        if let Ok(present) = Present::load(&lit.path()) {
            assert_eq!(present.register().purposes, register().purposes, "believed only where it says what was signed");
        }
    }
}

/// `placard --state DIRECTORY ARGUMENTS`.
fn placard(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_placard"));
    command.arg("--state").arg(state).arg("--json").args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_key_that_is_not_there_hinders_no_stop_and_opens_nothing() {
    let lit = Lit::demonstration();
    let state = lit.directory.path();
    let missing = state.join("no-such.key");
    let missing = missing.to_str().expect("UTF-8");
    let stop = ["objection", "add", "o-1", "--stream", "north", "--at", "2026-11-21", "--key-file", missing];
    assert!(placard(state, &stop).stdout(Stdio::null()).status().expect("runs").success(), "done without a signature");
    lit.policy.reload().expect("answers");
    assert_eq!(lit.state(), StreamState::Off, "{}", lit.policy.snapshot()[0].reason);
    let settled = placard(state, &["objection", "settle", "o-1", "--key-file", missing]).stdout(Stdio::null()).status();
    assert!(!settled.expect("runs").success());
    lit.policy.reload().expect("answers");
    assert_eq!(lit.state(), StreamState::Off);
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9_and_nothing_is_there_by_half() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("register.redb");
    put_as_stand_ins(&path, &register(), now()).expect("stored");
    let (pause, mut acknowledged) = (Shutdown::new(), Vec::new());
    // However long the program takes here, some are killed before, some amid, some after.
    let begun = std::time::Instant::now();
    assert!(placard(directory.path(), &["zone", "add", "z-x", "--kind", "staff"]).stdout(Stdio::null()).status().expect("runs").success());
    let usual = begun.elapsed().max(Duration::from_millis(1));
    for round in 0..40_u32 {
        let zone = format!("z-{round}");
        let mut child =
            placard(directory.path(), &["zone", "add", &zone, "--kind", "staff"]).stdout(Stdio::piped()).spawn().expect("starts");
        pause.wait(usual * round / 30);
        child.kill().expect("SIGKILL");
        let said = child.wait_with_output().expect("ended").stdout;
        if String::from_utf8_lossy(&said).contains("\"in-force\"") {
            acknowledged.push(zone);
        }
        let register = Register::load(&path).expect("opens, repaired, and is believed");
        for zone in &acknowledged {
            assert_eq!(register.zone(zone).map(|z| z.kind), Some(ZoneKind::Staff), "{zone} was acknowledged");
        }
        assert!(register.zones.len() <= 3 + round as usize, "nothing came twice");
    }
    // A whole one still works.
    let last = placard(directory.path(), &["zone", "add", "z-last", "--kind", "private"]).stdout(Stdio::null()).status().expect("runs");
    assert!(last.success());
    assert!(Register::load(&path).expect("believed").zone("z-last").is_some());
}
