//! The worker on a real thread: queries in, tasks out.

use crossbeam::channel::{bounded, unbounded};
use zeroize::Zeroizing;

use super::*;
use crate::area::Area;
use crate::clock::{CaptureTime, Clock, SimulatedClock, Stamp};
use crate::embedding::Embedding;
use crate::embedding::testing::take_drops;
use crate::frame::{BoundingBox, StreamIndex, TableId};
use crate::gallery::vault::{PurposeTemplates, Template};
use crate::gallery::{SubjectId, TemplateModel};
use crate::latency::Latencies;
use crate::policy::claim::Claim;
use crate::policy::lease::testing::{Granted, grant_by};
use crate::policy::lease::{MAX_LEASE, StreamState};
use crate::progress::ProgressRegistry;
use crate::track::TrackId;

const EXPIRES_NS: i64 = 1_000_000_000_000;
/// Epoch of the lease that the bench grants.
const FIRST_LEASE: u64 = 1;

struct Bench {
    worker: DecideWorker,
    tasks: Receiver<ReviewTask>,
    identified: Receiver<Identified>,
    recorded: Receiver<Verified>,
    refused: Receiver<Purpose>,
    clock: Arc<SimulatedClock>,
    lease: Granted,
}

/// Two subjects, along the axes, for the first purpose that has a gallery; room for `queue` tasks.
fn bench(purposes: &[&str], queue: usize) -> Bench {
    let clock = SimulatedClock::starting_at(Stamp::from_ns(0));
    let lease = grant_by(clock.clone(), StreamState::Recognise, purposes, Area::whole());
    let template = |name: &str, values: [f32; 2]| Template {
        subject: SubjectId(name.into()),
        consent: None,
        enrolled_at: Stamp::from_ns(0),
        zones: None,
        expires_at: Stamp::from_ns(EXPIRES_NS),
        values: Zeroizing::new(values.to_vec()),
    };
    let templates = vec![template("x", [1.0, 0.0]), template("y", [0.0, 1.0])];
    let model = TemplateModel { name: "embedder".into(), sha256: "00".into(), dim: 2 };
    let of = if purposes == ["access-verification"] { purposes[0] } else { "missing-person:1" };
    let purpose = of.parse().expect("purpose");
    let loaded = PurposeTemplates { version: 5, templates, ..PurposeTemplates::default() };
    let set = GallerySet::of_purpose(model, TableId::TESTS, &purpose, &loaded).expect("unit");
    let (latencies, progress) = (Latencies::new(), ProgressRegistry::new());
    let (task_sender, tasks) = bounded(queue);
    let (record, recorded) = bounded(queue);
    let (identified_sender, identified) = unbounded();
    let (refuse, refused) = unbounded();
    let worker = DecideWorker {
        queries: bounded(0).1,
        tasks: task_sender,
        record: Box::new(move |verified| record.try_send(verified).is_ok()),
        answers: Arc::default(),
        refuse: Box::new(move |_, _, purpose| refuse.send(purpose.clone()).expect("kept")),
        identified: identified_sender,
        leases: lease.table.clone(),
        set: Arc::new(set),
        thresholds: Arc::new(Thresholds::new([0.65])),
        top_k: 3,
        once: Once::new(Duration::from_secs(600)),
        clock: clock.clone(),
        match_recorder: latencies.recorder("match").expect("bounds"),
        decide_recorder: latencies.recorder("decide").expect("bounds"),
        match_counters: Arc::default(),
        decide_counters: Arc::default(),
        progress: progress.register("decide"),
    };
    take_drops();
    Bench { worker, tasks, identified, recorded, refused, clock, lease }
}

fn query(track: u64, direction: [f32; 2]) -> Query {
    Query {
        stream: StreamIndex(0),
        track: TrackId::for_test(track),
        lease_epoch: FIRST_LEASE,
        purposes: ["missing-person:1", "crime-prevention:2", "access-verification"].map(|p| p.parse().expect("purpose")).into(),
        presented: true,
        embedding: Embedding::normalised(&mut direction.clone()).expect("unit"),
        shots: 2,
        quality: 0.8,
        bounding_box: BoundingBox { x0: 1.0, y0: 2.0, x1: 51.0, y1: 62.0 },
        picture_px: (640, 480),
        captured_at: CaptureTime::Arrival(Stamp::from_ns(900)),
        frame_sequence: 41,
    }
}

fn counts(worker: &DecideWorker) -> [u64; 7] {
    let (m, d) = (&worker.match_counters, &worker.decide_counters);
    [&m.queries, &m.hits, &m.unmatched, &m.withheld, &d.tasks, &d.repeats, &d.shed].map(crate::counters::Counter::get)
}

#[test]
fn a_hit_becomes_one_task_per_track_and_subject() {
    let mut b = bench(&["missing-person:1"], 8);
    for (track, direction) in [(1, [1.0, 0.1]), (1, [1.0, 0.0]), (2, [1.0, 0.0]), (1, [0.0, 1.0])] {
        assert!(b.worker.judge(query(track, direction)));
    }
    assert_eq!(counts(&b.worker), [4, 4, 0, 0, 3, 1, 0]);
    let tasks: Vec<ReviewTask> = b.tasks.try_iter().collect();
    let told: Vec<(u64, &str)> =
        tasks.iter().map(|t| (if t.track == TrackId::for_test(1) { 1 } else { 2 }, &*t.candidates[0].subject.0)).collect();
    assert_eq!(told, [(1, "x"), (2, "x"), (1, "y")]);
    let first = &tasks[0];
    assert_eq!((first.purpose.to_string().as_str(), &*first.basis, &*first.model), ("missing-person:1", "test", "embedder"));
    assert_eq!((first.gallery_version, first.frame_sequence, first.shots, first.threshold), (5, 41, 2, 0.65));
    assert_eq!((first.bounding_box.x1, first.decided_at), (51.0, b.clock.now()));
    assert_eq!(b.identified.try_iter().count(), 4, "the tracker hears of every hit, also of repeated ones");
    assert_eq!(take_drops(), (4, 0));
}

#[test]
fn below_the_threshold_nobody_hears_anything() {
    let mut b = bench(&["missing-person:1"], 8);
    assert!(b.worker.judge(query(1, [-1.0, 0.5])));
    let mut elsewhere = query(1, [1.0, 0.0]);
    elsewhere.stream = StreamIndex(7);
    assert!(b.worker.judge(elsewhere));
    assert_eq!(counts(&b.worker), [2, 0, 1, 1, 0, 0, 0]);
    assert!(b.tasks.is_empty() && b.identified.is_empty());
    assert_eq!(take_drops(), (2, 0));
}

#[test]
fn without_a_live_lease_nothing_is_searched() {
    let mut b = bench(&["missing-person:1"], 8);
    b.clock.advance(crate::policy::lease::MAX_LEASE);
    assert!(b.worker.judge(query(1, [1.0, 0.0])));
    let mut masks = bench(&["mask-check"], 8);
    assert!(masks.worker.judge(query(1, [1.0, 0.0])));
    assert_eq!(counts(&b.worker), [1, 0, 0, 1, 0, 0, 0]);
    assert_eq!(counts(&masks.worker), [1, 0, 0, 1, 0, 0, 0]);
    assert!(b.tasks.is_empty() && masks.tasks.is_empty());
}

#[test]
fn a_query_is_searched_for_what_it_was_made_for_and_for_nothing_else() {
    let mut b = bench(&["missing-person:1"], 8);
    let of = |purposes: &[&str]| Query { purposes: purposes.iter().map(|p| p.parse().expect("purpose")).collect(), ..query(1, [1.0, 0.0]) };
    assert!(b.worker.judge(of(&["crime-prevention:7"])) && b.worker.judge(of(&[])));
    assert_eq!((counts(&b.worker), b.worker.match_counters.refused.get()), ([2, 0, 0, 2, 0, 0, 0], 2));
    assert_eq!(b.refused.try_iter().map(|p| p.to_string()).collect::<Vec<_>>(), ["missing-person:1"; 2]);
    assert!(b.worker.judge(of(&["crime-prevention:7", "missing-person:1"])));
    assert_eq!((b.tasks.try_iter().count(), b.refused.len(), take_drops()), (1, 0, (3, 0)));
}

#[test]
fn a_query_of_a_lease_that_ended_is_not_searched_under_the_next() {
    let mut b = bench(&["missing-person:1"], 8);
    let of_before = query(1, [1.0, 0.0]);
    b.lease.revoke();
    b.lease.renew(b.clock.monotonic());
    assert!(b.worker.judge(of_before));
    assert_eq!(counts(&b.worker), [1, 0, 0, 1, 0, 0, 0], "withdrawn and posted again while the query waited");
    assert!(b.tasks.is_empty());
    let epoch = b.worker.leases.epoch(StreamIndex(0));
    assert!(epoch > FIRST_LEASE && b.worker.judge(Query { lease_epoch: epoch, ..query(1, [1.0, 0.0]) }));
    assert_eq!(b.tasks.try_iter().count(), 1, "seen again under the new lease");
    assert_eq!(take_drops(), (2, 0));
}

#[test]
fn a_shed_task_comes_again_and_a_forgotten_one_too() {
    let mut b = bench(&["missing-person:1"], 1);
    b.worker.once = Once::new(Duration::from_millis(100));
    assert!(b.worker.judge(query(1, [1.0, 0.0])));
    assert!(b.worker.judge(query(2, [1.0, 0.0])));
    assert_eq!(counts(&b.worker), [2, 2, 0, 0, 1, 0, 1]);
    assert_eq!(b.identified.try_iter().count(), 1, "the tracker goes on with a track whose task was shed");
    b.tasks.recv().expect("first");
    assert!(b.worker.judge(query(2, [1.0, 0.0])));
    b.tasks.recv().expect("the shed one, again");
    b.clock.advance(Duration::from_millis(99));
    assert!(b.worker.judge(query(1, [1.0, 0.0])));
    assert_eq!(counts(&b.worker), [4, 4, 0, 0, 2, 1, 1]);
    b.clock.advance(Duration::from_millis(1));
    assert!(b.worker.judge(query(1, [1.0, 0.0])));
    assert_eq!(counts(&b.worker)[4], 3);
    drop(b.tasks);
    assert!(!b.worker.judge(query(3, [1.0, 0.0])), "without a journal the worker stops");
}

#[test]
fn memory_of_past_tasks_is_bounded() {
    let mut b = bench(&["missing-person:1"], super::super::once::CAPACITY + 2);
    let now = b.clock.monotonic();
    assert!(b.worker.judge(query(0, [1.0, 0.0])));
    let first = b.tasks.recv().expect("task");
    assert!(!b.worker.once.is_new(&first, now));
    for track in 1..=super::super::once::CAPACITY as u64 {
        b.worker.once.remember(&ReviewTask { track: TrackId::for_test(track), ..first.clone() }, now);
    }
    assert!(b.worker.once.is_new(&first, now), "the oldest gave way");
    let newest = ReviewTask { track: TrackId::for_test(super::super::once::CAPACITY as u64), ..first };
    assert!(!b.worker.once.is_new(&newest, now));
}

#[test]
fn the_thread_retires_expired_templates_and_ends_with_the_embedders() {
    let Bench { mut worker, tasks, clock, lease: _lease, .. } = bench(&["missing-person:1"], 8);
    let (queries, receiver) = bounded(4);
    worker.queries = receiver;
    let (set, counters) = (Arc::clone(&worker.set), Arc::clone(&worker.match_counters));
    let thread = std::thread::spawn(move || run(worker));
    queries.send(query(1, [1.0, 0.0])).expect("listening");
    assert_eq!(&*tasks.recv().expect("task").candidates[0].subject.0, "x");
    clock.set_utc(Stamp::from_ns(EXPIRES_NS));
    queries.send(query(2, [1.0, 0.0])).expect("listening");
    drop(queries);
    thread.join().expect("no panic");
    assert_eq!((counters.hits.get(), counters.unmatched.get()), (1, 1));
    assert_eq!(set.contents()[0].1, 0, "nothing expired stays in memory");
}

/// A claim to be subject `x`, open for a second.
fn claim_to_be_x(b: &mut Bench, id: u64) -> u64 {
    let now = b.clock.monotonic();
    b.lease.claim(Some(Claim { id, subject: "x".into(), until: now.plus(Duration::from_secs(1)) }), now);
    b.lease.table.epoch(StreamIndex(0))
}

#[test]
fn a_claim_is_compared_with_the_claimant_alone_and_once() {
    let mut b = bench(&["access-verification"], 8);
    let answers = Arc::clone(&b.worker.answers);
    let seen_under = |lease_epoch, track, direction| Query { lease_epoch, ..query(track, direction) };
    // Nobody claims anything: nothing is compared.
    assert!(b.worker.judge(query(1, [1.0, 0.0])));
    let expected = answers.expect().expect("room");
    let epoch = claim_to_be_x(&mut b, expected.claim);
    assert!(epoch > FIRST_LEASE, "what was gathered before the claim is another lease's");
    // Before the claim; x, who stands behind; y, who is enrolled too and presents themselves; then x again.
    b.worker.judge(seen_under(FIRST_LEASE, 2, [1.0, 0.0]));
    b.worker.judge(Query { presented: false, ..seen_under(epoch, 3, [1.0, 0.0]) });
    for (track, direction) in [(4, [0.0, 1.0]), (5, [1.0, 0.0])] {
        assert!(b.worker.judge(seen_under(epoch, track, direction)));
    }
    let recorded: Vec<Verified> = b.recorded.try_iter().collect();
    assert_eq!(recorded.iter().map(|v| (v.claim, &*v.subject, v.matched)).collect::<Vec<_>>(), [(expected.claim, "x", false)]);
    assert!(recorded[0].score.abs() < 1e-6, "y's template was not looked at");
    assert!(expected.receiver.is_empty(), "nobody is told before it is durable");
    assert_eq!((b.tasks.try_iter().count(), b.identified.try_iter().count()), (0, 0), "no search, no task");
    // It could not be recorded: the next is compared.
    answers.put_back(expected.claim);
    b.worker.judge(seen_under(epoch, 5, [1.0, 0.1]));
    assert_eq!(b.recorded.try_iter().map(|v| v.matched).collect::<Vec<_>>(), [true]);
    assert_eq!(take_drops(), (6, 0), "every embedding was wiped");
    // The claim ends.
    let second = answers.expect().expect("room");
    let epoch = claim_to_be_x(&mut b, second.claim);
    b.lease.claim(None, b.clock.monotonic());
    b.worker.judge(seen_under(epoch, 6, [1.0, 0.0]));
    b.worker.judge(seen_under(b.lease.table.epoch(StreamIndex(0)), 6, [1.0, 0.0]));
    assert!(b.recorded.is_empty());
}

#[test]
fn what_cannot_be_recorded_leaves_the_claim_open_and_a_lease_that_ran_out_compares_nothing() {
    let mut b = bench(&["access-verification"], 0);
    let answers = Arc::clone(&b.worker.answers);
    let expected = answers.expect().expect("room");
    let epoch = claim_to_be_x(&mut b, expected.claim);
    b.worker.judge(Query { lease_epoch: epoch, ..query(1, [1.0, 0.0]) });
    assert!(expected.receiver.is_empty() && answers.wants(expected.claim), "the journal's queue was full");
    assert_eq!(b.worker.decide_counters.shed.get(), 1);
    b.clock.advance(MAX_LEASE);
    b.worker.judge(Query { lease_epoch: epoch, ..query(2, [1.0, 0.0]) });
    assert_eq!((b.worker.match_counters.verified.get(), take_drops()), (1, (2, 0)));
}
