//! The worker with a real journal and permits that the test holds in hand.

use std::path::Path;
use std::time::Duration;

use crossbeam::channel::bounded;

use super::*;
use crate::area::Area;
use crate::clock::{CaptureTime, Clock, Now, SimulatedClock, Stamp};
use crate::decide::Verified;
use crate::emit::journal::Position;
use crate::emit::journal::faulty::{Faults, FaultyDisk};
use crate::emit::journal::reader::{Item, JournalReader, Record};
use crate::emit::sink::{Sink, SinkError, SinkSettings, SinkThread};
use crate::emit::{Draft, StreamNames};
use crate::frame::{BoundingBox, StreamIndex, TableId};
use crate::gallery::{Candidate, SubjectId};
use crate::latency::Latencies;
use crate::mask_check::{Finding, MaskModel};
use crate::policy::claim::Claim;
use crate::policy::lease::{StreamState, testing};
use crate::progress::ProgressRegistry;
use crate::purpose::Purpose;
use crate::state::StateDirectory;
use crate::track::TrackId;

mod over;

const PURPOSE: &str = "missing-person:mp-7";
/// What `testing::grant` numbers its lease.
const FIRST_LEASE: u64 = 1;

pub(crate) fn draft(now: Now, track: &str) -> Draft {
    Draft {
        stream: StreamIndex(0),
        purpose: PURPOSE.parse().expect("purpose"),
        lease_epoch: FIRST_LEASE,
        candidates: vec![Candidate { subject: SubjectId("s-1".into()), score: 0.75 }],
        threshold: 0.5,
        gallery_version: 12,
        model: "embedder".into(),
        track: track.to_owned(),
        captured_at: CaptureTime::Driver(Stamp::from_ns(now.monotonic.ns() - 40_000_000)),
        decided_at: now,
        frame_sequence: 99,
        bounding_box: BoundingBox { x0: 10.0, y0: 20.5, x1: 50.0, y1: 70.0 },
        picture_px: Some((640, 480)),
        quality: 0.9,
        shots: 3,
    }
}

struct Rig {
    clock: Arc<SimulatedClock>,
    granted: testing::Granted,
    latencies: Latencies,
    counters: Arc<EmitCounters>,
    recent: Arc<Recent>,
    answers: Arc<Answers>,
    directory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let clock = SimulatedClock::starting_at(Stamp::from_ns(1_795_292_218_123_000_000));
        let granted = Self::granted(StreamState::Recognise, &[PURPOSE]);
        Self {
            clock,
            granted,
            latencies: Latencies::new(),
            counters: Arc::default(),
            recent: Arc::default(),
            answers: Arc::default(),
            directory: tempfile::tempdir().expect("temporary directory"),
        }
    }

    /// A lease from the moment on that every rig's clock begins at.
    fn granted(state: StreamState, purposes: &[&str]) -> testing::Granted {
        let clock = SimulatedClock::starting_at(Stamp::from_ns(1_795_292_218_123_000_000));
        testing::grant(state, purposes, Area::whole(), clock.monotonic())
    }

    fn kept(&self) -> crate::emit::record::Record {
        crate::emit::record::Record::of(&StateDirectory::new(self.directory.path()))
    }

    /// Runs the worker over `drafts` until they are used up.
    fn run(&self, drafts: Vec<Draft>) {
        self.run_all(drafts);
    }

    fn run_all<T: Into<Telling>>(&self, drafts: Vec<T>) {
        let (sender, tasks) = bounded(drafts.len().max(1));
        drafts.into_iter().for_each(|d| sender.send(d).expect("room"));
        drop(sender);
        run(self.worker(tasks, Journal::open(self.directory.path(), 1).expect("journal").0, Shutdown::new()));
    }

    fn worker<T>(&self, tasks: Receiver<T>, journal: Journal, shutdown: Shutdown) -> EmitWorker<T> {
        let names = StreamNames { name: "north".into(), zone: Some("hall".into()) };
        EmitWorker {
            tasks,
            journal,
            record: Some(self.kept()),
            retention: Retention::default(),
            leases: self.granted.table.clone(),
            answers: Arc::clone(&self.answers),
            context: Context { streams: vec![names].into(), table: TableId::TESTS },
            clock: Arc::clone(&self.clock) as SharedClock,
            recorder: self.latencies.recorder("emit").expect("bounds are valid"),
            journey_recorder: self.latencies.recorder("capture-to-emission").expect("bounds are valid"),
            counters: Arc::clone(&self.counters),
            recent: Arc::clone(&self.recent),
            shutdown,
            progress: ProgressRegistry::new().register("emit"),
        }
    }
}

fn read(directory: &Path) -> Vec<Event> {
    let mut reader = JournalReader::from_start(Journal::source(directory));
    let mut events = Vec::new();
    while let Some(item) = reader.next(Position { file: 1, offset: u64::MAX, line: 0 }).expect("readable") {
        let record = match item {
            Item::Record(record) => record,
            Item::Erased(_) => continue,
            Item::Corrupt(corrupt) => panic!("damaged: {corrupt}"),
        };
        let event: Event = serde_json::from_slice(&record.json).expect("an event");
        assert_eq!((event.id.as_str(), &*event.stream), (&*record.id, &*record.stream));
        events.push(event);
    }
    events
}

#[test]
fn a_group_is_journalled_in_order_with_one_sync_and_measured() {
    let rig = Rig::new();
    let now = rig.clock.now();
    rig.run((0..50).map(|i| draft(now, &format!("{i:016x}"))).collect());
    let events = read(rig.directory.path());
    assert_eq!(events.iter().map(Event::track).collect::<Vec<_>>(), (0..50).map(|i| format!("{i:016x}")).collect::<Vec<_>>());
    assert_eq!((rig.counters.events.get(), rig.counters.groups.get()), (50, 1));
    assert_eq!(
        rig.recent.newest(2).iter().map(|e| e.track().to_owned()).collect::<Vec<_>>(),
        [format!("{:016x}", 48), format!("{:016x}", 49)]
    );
    let ids: std::collections::HashSet<_> = events.iter().map(|e| &e.id).collect();
    assert_eq!(ids.len(), 50);
    let steps = rig.latencies.snapshot().expect("bounds are valid");
    let journey = steps.iter().find(|s| &*s.name == "capture-to-emission").expect("registered");
    assert_eq!(journey.histogram.len(), 50);
    assert!((journey.percentiles_ms().p50 - 40.0).abs() < 0.1);
}

#[test]
fn an_event_says_under_which_permit_it_was_emitted() {
    let rig = Rig::new();
    let now = rig.clock.now();
    rig.run(vec![draft(now, "0123456789abcdef")]);
    let event = read(rig.directory.path()).pop().expect("one event");
    let permit = rig.granted.table.permit_for::<Emit>(StreamIndex(0), &PURPOSE.parse().expect("purpose"), now.monotonic).expect("live");
    assert_eq!(event.permit, crate::hex::of(&permit.digest()));
    assert_eq!(event.profile, "07".repeat(32));
    assert_eq!((event.purpose.as_str(), &*event.basis, &*event.stream, event.zone.as_deref()), (PURPOSE, "test", "north", Some("hall")));
    assert_eq!((event.captured_at.as_str(), event.captured_clock.as_str()), ("2026-11-21T20:16:58.083Z", "driver"));
    assert_eq!((event.latency_ms, event.decided_at.as_str()), (40.0, "2026-11-21T20:16:58.123Z"));
    assert_eq!(event.bounding_box(), BoundingBox { x0: 10.0, y0: 20.5, x1: 50.0, y1: 70.0 });
}

#[test]
fn a_hit_whose_lease_ended_is_withheld_and_counted() {
    let mut rig = Rig::new();
    let now = rig.clock.now();
    let mut other = draft(now, "b");
    other.purpose = "missing-person:mp-8".parse().expect("purpose");
    rig.run(vec![other]);
    assert_eq!((rig.counters.withheld.get(), rig.counters.events.get()), (1, 0), "another case's purpose is not granted");
    rig.granted.revoke();
    rig.run(vec![draft(now, "a")]);
    assert_eq!((rig.counters.withheld.get(), rig.counters.events.get()), (2, 0));
    let rig = Rig::new();
    rig.run(vec![Draft { lease_epoch: FIRST_LEASE + 1, ..draft(now, "a") }]);
    assert_eq!((rig.counters.withheld.get(), rig.counters.events.get()), (1, 0), "found under another lease than the one that stands");
    let rig = Rig::new();
    rig.clock.advance(Duration::from_millis(500));
    rig.run(vec![draft(now, "a")]);
    assert_eq!((rig.counters.withheld.get(), rig.counters.events.get()), (1, 0), "the lease ran out");
    assert!(read(rig.directory.path()).is_empty());
}

fn finding(now: Now) -> Finding {
    Finding {
        stream: StreamIndex(0),
        track: TrackId::for_test(0xab),
        purpose: Purpose::mask_check(),
        lease_epoch: FIRST_LEASE,
        worn: true,
        confidence: 0.93,
        threshold: 0.8,
        model: MaskModel { name: "masks".into(), sha256: "ab".repeat(32).into() },
        captured_at: CaptureTime::Driver(Stamp::from_ns(now.monotonic.ns() - 40_000_000)),
        frame_sequence: 99,
        bounding_box: BoundingBox { x0: 10.0, y0: 20.5, x1: 50.0, y1: 70.0 },
        picture_px: (640, 480),
        shots: 3,
        decided_at: now,
    }
}

#[test]
fn an_answer_of_a_mask_check_is_told_without_anybody_s_identity_and_under_its_own_permit_alone() {
    let rig = Rig { granted: Rig::granted(StreamState::Detect, &["mask-check"]), ..Rig::new() };
    let now = rig.clock.now();
    rig.run_all(vec![Telling::from(finding(now)), Telling::from(draft(now, "a"))]);
    assert_eq!((rig.counters.events.get(), rig.counters.withheld.get()), (1, 1), "nobody is recognised under a mask check");
    let event = read(rig.directory.path()).pop().expect("one event");
    let answer = event.mask_answer().expect("an answer");
    assert_eq!((answer.mask_worn, answer.confidence, &*answer.model, answer.model_sha256.len()), (true, 0.93, "masks", 64));
    assert_eq!((event.purpose.as_str(), event.track(), event.candidates().len()), ("mask-check", "00000000000000ab", 0));
    let purpose = Purpose::mask_check();
    let permit = rig.granted.table.permit_for::<TellMask>(StreamIndex(0), &purpose, now.monotonic).expect("live");
    assert_eq!(event.permit, crate::hex::of(&permit.digest()));
    let json = serde_json::to_value(&event).expect("plain JSON");
    assert_eq!(json["kind"], "mask-check");
    let said: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    for identity in ["candidates", "subject", "embedding", "gallery_version", "quality", "review", "name"] {
        assert!(!said.contains(&identity), "{said:?}");
    }
    // And where people are looked for, nobody tells of masks.
    let rig = Rig::new();
    rig.run_all(vec![Telling::from(finding(rig.clock.now()))]);
    assert_eq!((rig.counters.events.get(), rig.counters.withheld.get()), (0, 1));
}

fn verified(now: Now, profile_hash: [u8; 32]) -> Verified {
    Verified {
        claim: 0,
        stream: StreamIndex(0),
        track: TrackId::for_test(0xcd),
        purpose: Purpose::access_verification(),
        profile_hash,
        subject: "s-1".into(),
        matched: true,
        score: 0.8,
        threshold: 0.7,
        gallery_version: 4,
        model: "embedder".into(),
        captured_at: CaptureTime::Driver(Stamp::from_ns(now.monotonic.ns() - 40_000_000)),
        frame_sequence: 99,
        bounding_box: BoundingBox { x0: 10.0, y0: 20.5, x1: 50.0, y1: 70.0 },
        picture_px: (640, 480),
        quality: 0.9,
        shots: 3,
        decided_at: now,
    }
}

#[test]
fn an_answer_to_a_claim_is_recorded_after_the_claim_is_over_but_under_no_other_facts_and_no_other_purpose() {
    const PROFILE: [u8; 32] = [7; 32];
    let mut rig = Rig { granted: Rig::granted(StreamState::Recognise, &["access-verification"]), ..Rig::new() };
    let now = rig.clock.now();
    // Other terms since: another epoch, the same facts and rules.
    rig.granted.revoke();
    rig.granted.renew(now.monotonic);
    let waits = Arc::clone(&rig.answers);
    let [told, untold] = [(); 2].map(|()| waits.expect().expect("room"));
    waits.take_up(told.claim);
    let claim = |id| Some(Claim { id, subject: "s-1".into(), until: now.monotonic.plus(Duration::from_secs(60)) });
    rig.granted.claim(claim(told.claim), now.monotonic);
    waits.take_up(untold.claim);
    rig.run_all(vec![Verified { claim: told.claim, ..verified(now, PROFILE) }, Verified { claim: untold.claim, ..verified(now, [8; 32]) }]);
    assert_eq!((rig.counters.events.get(), rig.counters.withheld.get()), (1, 1));
    assert_eq!(told.receiver.try_iter().collect::<Vec<_>>(), [Answer { matched: true, score: 0.8, threshold: 0.7 }]);
    assert!(
        untold.receiver.is_empty() && waits.wants(untold.claim) && !waits.wants(told.claim),
        "what is recorded nowhere is told to nobody"
    );
    // The claim ended while the journal was slow, by a withdrawn consent: recorded, and nobody's gate opens.
    let late = waits.expect().expect("room");
    rig.granted.claim(claim(told.claim), now.monotonic);
    rig.run_all(vec![Verified { claim: late.claim, ..verified(now, PROFILE) }]);
    assert_eq!((rig.counters.events.get(), late.receiver.is_empty()), (2, true));
    let event = read(rig.directory.path()).pop().expect("an event");
    let json = serde_json::to_value(&event).expect("plain JSON");
    assert_eq!((&json["kind"], &json["subject"], &json["matched"]), (&"verification".into(), &"s-1".into(), &true.into()));
    assert_eq!((event.purpose.as_str(), event.track(), event.candidates().len()), ("access-verification", "00000000000000cd", 0));
    let rig = Rig::new();
    rig.run_all(vec![verified(rig.clock.now(), PROFILE)]);
    assert_eq!((rig.counters.events.get(), rig.counters.withheld.get()), (0, 1), "people are looked for there, nobody's claim is verified");
}

#[test]
fn a_permit_that_ended_after_it_was_handed_out_lets_nothing_out() {
    let mut rig = Rig::new();
    let now = rig.clock.now();
    let purpose = PURPOSE.parse().expect("purpose");
    let permit = rig.granted.table.permit_for::<Emit>(StreamIndex(0), &purpose, now.monotonic).expect("live");
    rig.granted.revoke();
    let (mut journal, _) = Journal::open(rig.directory.path(), 1).expect("journal");
    let context = Context { streams: vec![StreamNames { name: "north".into(), zone: None }].into(), table: TableId::TESTS };
    let refused = crate::emit::emit(&draft(now, "a"), &permit, &context, &*rig.clock, &mut journal);
    assert!(matches!(refused, Err(EmitError::NotLive { index: 0 })));
    let mut other = draft(now, "a");
    other.purpose = "missing-person:mp-8".parse().expect("purpose");
    let refused = crate::emit::emit(&other, &permit, &context, &*rig.clock, &mut journal);
    assert!(matches!(refused, Err(EmitError::Mismatch { .. })), "a permit for one case does not tell of another");
    assert!(read(rig.directory.path()).is_empty());
}

#[test]
fn a_caller_s_own_clock_does_not_lengthen_a_permit() {
    let rig = Rig::new();
    let policy_clock = SimulatedClock::starting_at(Stamp::from_ns(0));
    let granted = testing::grant_by(Arc::clone(&policy_clock) as SharedClock, StreamState::Recognise, &[PURPOSE], Area::whole());
    let now = rig.clock.now();
    let purpose = PURPOSE.parse().expect("purpose");
    let permit = granted.table.permit_for::<Emit>(StreamIndex(0), &purpose, policy_clock.monotonic()).expect("live");
    let (mut journal, _) = Journal::open(rig.directory.path(), 1).expect("journal");
    let context = Context { streams: vec![StreamNames { name: "north".into(), zone: None }].into(), table: TableId::TESTS };
    // The rig's clock stands still; the granting thread's goes on past the lease.
    crate::emit::emit(&draft(now, "a"), &permit, &context, &*rig.clock, &mut journal).expect("it stands");
    let other_lease = Draft { lease_epoch: FIRST_LEASE + 1, ..draft(now, "b") };
    let refused = crate::emit::emit(&other_lease, &permit, &context, &*rig.clock, &mut journal);
    assert!(matches!(refused, Err(EmitError::NotLive { index: 0 })), "found under another lease");
    policy_clock.advance(Duration::from_millis(500));
    let refused = crate::emit::emit(&draft(now, "c"), &permit, &context, &*rig.clock, &mut journal);
    assert!(matches!(refused, Err(EmitError::NotLive { index: 0 })));
    assert_eq!(read(rig.directory.path()).len(), 1);
}

/// A disk without space, in memory, and the journal on it.
fn full_disk() -> (FaultyDisk, Journal) {
    let disk = FaultyDisk::new(1, Faults { no_space: 1, ..Faults::default() });
    let (journal, _) = Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 1 << 20).expect("empty");
    (disk, journal)
}

fn wait_for(counter: &crate::counters::Counter, value: u64) {
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while counter.get() < value {
        assert!(std::time::Instant::now() < until, "waited 30 s for {value}, saw {}", counter.get());
        std::thread::yield_now();
    }
}

#[test]
fn while_the_disk_is_full_the_queue_fills_and_sheds_and_afterwards_nothing_is_missing() {
    let rig = Rig::new();
    let now = rig.clock.now();
    let (disk, journal) = full_disk();
    let head = journal.head();
    let (sender, tasks) = bounded(8);
    let worker = rig.worker(tasks, journal, Shutdown::new());
    let thread = std::thread::spawn(move || run(worker));
    sender.send(draft(now, "0")).expect("the worker listens");
    wait_for(&rig.counters.journal_errors, 1);
    let accepted: Vec<u64> = (1..20).filter(|n| sender.try_send(draft(now, &n.to_string())).is_ok()).collect();
    assert_eq!(accepted, (1..9).collect::<Vec<_>>(), "the worker holds its group, the queue the rest; what is more is shed at once");
    wait_for(&rig.counters.journal_errors, 3);
    assert_eq!((head.failing().as_deref(), rig.counters.events.get()), (Some("no space"), 0));
    disk.set_faults(Faults::default());
    wait_for(&rig.counters.events, 9);
    drop(sender);
    thread.join().expect("the worker ends");
    let tracks: Vec<String> = rig.recent.newest(20).iter().map(|e| e.track().to_owned()).collect();
    assert_eq!(tracks, (0..9).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(head.failing().is_none());
}

/// A sink that hands on the tracks it was told of.
struct Listener(Sender<String>);

impl Sink for Listener {
    fn name(&self) -> &'static str {
        "listener"
    }
    fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        let event: Event = serde_json::from_slice(&record.json).expect("an event");
        self.0.send(event.track().to_owned()).map_err(|_| SinkError::Unavailable("test over".to_owned()))
    }
}

#[test]
fn what_was_acknowledged_before_the_disk_filled_is_kept_and_delivered_and_the_rest_follows_in_order() {
    let rig = Rig::new();
    let now = rig.clock.now();
    let disk = FaultyDisk::new(7, Faults { short_write: 3, ..Faults::default() });
    let (journal, _) = Journal::recover(Box::new(disk.clone()), Arc::new(disk.clone()), 1 << 20).expect("empty");
    let (head, shutdown) = (journal.head(), Shutdown::new());
    let (told, tracks) = crossbeam::channel::unbounded();
    let settings = SinkSettings {
        directory: rig.directory.path().to_owned(),
        source: Arc::new(disk.clone()),
        head: head.clone(),
        refused: Retention::default().refused,
        pauses: Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(10) },
        clock: Arc::clone(&rig.clock) as SharedClock,
        shutdown: shutdown.clone(),
    };
    let mut sink = SinkThread::start(Box::new(Listener(told)), settings).expect("a thread");
    let heard = |count: usize| (0..count).map(|_| tracks.recv_timeout(Duration::from_secs(30)).expect("told")).collect::<Vec<_>>();
    let numbers = |range: std::ops::Range<u32>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    let (sender, tasks) = bounded(64);
    let worker = rig.worker(tasks, journal, Shutdown::new());
    let thread = std::thread::spawn(move || run(worker));
    (0..5).for_each(|n| sender.send(draft(now, &n.to_string())).expect("the worker listens"));
    wait_for(&rig.counters.events, 5);
    assert_eq!(heard(5), numbers(0..5));

    disk.set_faults(Faults { no_space: 1, ..Faults::default() });
    (5..9).for_each(|n| sender.try_send(draft(now, &n.to_string())).expect("room: nobody waits for a disk"));
    wait_for(&rig.counters.journal_errors, 3);
    assert_eq!(
        (head.failing().as_deref(), rig.counters.events.get()),
        (Some("no space"), 5),
        "the refusal is seen, nothing was acknowledged"
    );
    assert!(tracks.is_empty(), "nobody is told what is not durable");
    let mut reader = JournalReader::from_start(Arc::new(disk.clone()));
    let kept =
        std::iter::from_fn(|| reader.next(head.end()).expect("readable")).inspect(|i| assert!(matches!(i, Item::Record(_)), "{i:?}"));
    assert_eq!(kept.count(), 5, "all that was acknowledged, intact");

    disk.set_faults(Faults::default());
    wait_for(&rig.counters.events, 9);
    assert_eq!((heard(4), head.failing()), (numbers(5..9), None));
    drop(sender);
    thread.join().expect("the worker ends");
    shutdown.request();
    sink.join();
    assert!(tracks.is_empty(), "and nothing twice");
}

#[test]
fn a_lease_that_ends_while_the_disk_is_full_withholds_the_waiting_hits() {
    let mut rig = Rig::new();
    let now = rig.clock.now();
    let (disk, journal) = full_disk();
    let (sender, tasks) = bounded(8);
    let worker = rig.worker(tasks, journal, Shutdown::new());
    let thread = std::thread::spawn(move || run(worker));
    sender.send(draft(now, "0")).expect("the worker listens");
    wait_for(&rig.counters.journal_errors, 1);
    rig.granted.revoke();
    disk.set_faults(Faults::default());
    wait_for(&rig.counters.withheld, 1);
    drop(sender);
    thread.join().expect("the worker ends");
    assert_eq!(rig.counters.events.get(), 0);
}

#[test]
fn stopping_on_a_full_disk_says_how_many_were_never_acknowledged() {
    let rig = Rig::new();
    let now = rig.clock.now();
    let (_disk, journal) = full_disk();
    let (sender, tasks) = bounded(8);
    (0..3).for_each(|n| sender.send(draft(now, &n.to_string())).expect("room"));
    drop(sender);
    let shutdown = Shutdown::new();
    shutdown.request();
    run(rig.worker(tasks, journal, shutdown));
    assert_eq!((rig.counters.abandoned.get(), rig.counters.events.get()), (3, 0));
}

#[test]
fn subscribers_who_do_not_keep_up_miss_events_and_hold_up_nobody() {
    let rig = Rig::new();
    let (slow, gone) = (rig.recent.subscribe(2), rig.recent.subscribe(1));
    drop(gone);
    let now = rig.clock.now();
    rig.run((0..RECENT_EVENTS + 5).map(|i| draft(now, &i.to_string())).collect());
    assert_eq!(slow.try_iter().map(|e| e.track().to_owned()).collect::<Vec<_>>(), ["0", "1"]);
    assert_eq!(rig.recent.newest(usize::MAX).len(), RECENT_EVENTS);
}
