//! Delivery to an embedder that keeps up, falls behind, or is gone; and the loop on a real thread.

use std::thread;

use crossbeam::channel::bounded;

use super::*;
use crate::clock::SystemClock;
use crate::config::schema;
use crate::latency::Latencies;
use crate::progress::ProgressRegistry;
use crate::track::TrackId;
use crate::track::testing::{Street, at_ms, embed_settings, face};

fn stream() -> TrackedStream {
    let counters: Arc<TrackCounters> = Arc::default();
    let tracker = Tracker::new(StreamIndex(0), &schema::Track::default(), Some(&embed_settings()), Arc::clone(&counters));
    TrackedStream::new(tracker, counters, Arc::default())
}

fn ends(ids: &[u64]) -> Selection {
    let ids: Vec<TrackId> = ids.iter().copied().map(TrackId::for_test).collect();
    Selection {
        of: Use::Embedding,
        stream: StreamIndex(0),
        lease_epoch: 0,
        frame: None,
        shots: vec![],
        presented: None,
        conclude: ids.clone(),
        ended: ids,
    }
}

#[test]
fn conclusions_wait_for_room_and_keep_their_order() {
    let (mut stream, (queue, embedder)) = (stream(), bounded(1));
    let queues = [queue];
    for ids in [[1_u64], [2], [3]] {
        deliver(&mut stream, 0, Some(ends(&ids)), &queues);
    }
    let of = |s: Selection| s.conclude;
    assert_eq!(embedder.try_recv().map(of).ok(), Some(vec![TrackId::for_test(1)]));
    deliver(&mut stream, 0, None, &queues);
    assert_eq!(embedder.try_recv().map(of).ok(), Some(vec![TrackId::for_test(2), TrackId::for_test(3)]));
    deliver(&mut stream, 0, None, &queues);
    assert!(embedder.try_recv().is_err() && stream.waiting[0].is_none());
}

#[test]
fn an_embedder_that_never_reads_costs_bounded_memory() {
    let (mut stream, (queue, _embedder)) = (stream(), bounded(1));
    let queues = [queue];
    for id in 0..5_000 {
        deliver(&mut stream, 0, Some(ends(&[id])), &queues);
    }
    let waiting = stream.waiting[0].as_ref().expect("waiting");
    assert_eq!((waiting.conclude.len(), waiting.ended.len()), (MOST_WAITING, MOST_WAITING));
    assert_eq!(waiting.conclude.last(), Some(&TrackId::for_test(4_999)), "the newest are kept");
}

#[test]
fn a_full_queue_sheds_shots_counts_them_and_they_are_taken_again() {
    let (mut stream, mut street, (queue, embedder)) = (stream(), Street::new(), bounded(1));
    let queues = [queue];
    deliver(&mut stream, 0, Some(ends(&[9])), &queues);
    let mut step = 0;
    let mut go_on = |stream: &mut TrackedStream, street: &mut Street| {
        let selection = stream.tracker.update(street.detected(step * 33, vec![face(300.0, 200.0)]), at_ms(step * 33));
        step += 1;
        deliver(stream, 0, selection, &queues);
    };
    (0..6).for_each(|_| go_on(&mut stream, &mut street));
    assert!(stream.counters.shots_shed.get() >= 2, "{}", stream.counters.shots_shed.get());
    assert!(stream.waiting[0].is_none(), "shed shots leave nothing to tell");
    assert_eq!(embedder.try_recv().map(|s| s.conclude).ok(), Some(vec![TrackId::for_test(9)]));
    let (mut shots, mut concluded) = (0, 0);
    for _ in 0..20 {
        go_on(&mut stream, &mut street);
        for selection in embedder.try_iter() {
            assert!(selection.frame.is_some());
            shots += selection.shots.len();
            concluded += selection.conclude.len();
        }
    }
    assert_eq!((shots, concluded, stream.live.tracks.get()), (3, 1, 1));
}

#[test]
fn without_embedders_nothing_is_kept_for_them() {
    let mut stream = stream();
    deliver(&mut stream, 3, Some(ends(&[1])), &[]);
    assert!(stream.waiting[0].is_none());
    let (queue, embedder) = bounded(1);
    drop(embedder);
    deliver(&mut stream, 0, Some(ends(&[1])), &[queue]);
    assert!(stream.waiting[0].is_none());
}

#[test]
fn the_loop_feeds_the_embedder_takes_feedback_and_ends_with_its_detectors() {
    let mut street = Street::new();
    let clock = SystemClock::shared();
    street.granted.renew(clock.monotonic().plus(Duration::from_secs(600)));
    let (detected_in, detected) = bounded(256);
    let (identified_in, identified) = bounded(16);
    let (queue, embedder) = bounded(256);
    let stream = stream();
    let counters = Arc::clone(&stream.counters);
    let (latencies, progress) = (Latencies::new(), ProgressRegistry::new());
    for step in 0..60 {
        detected_in.send(street.detected(step * 33, vec![face(300.0, 200.0)])).expect("room");
    }
    identified_in.send(Identified { stream: StreamIndex(0), track: TrackId::for_test(7) }).expect("room");
    identified_in.send(Identified { stream: StreamIndex(70), track: TrackId::for_test(7) }).expect("room");
    drop(detected_in);
    let last_look = Arc::new(LastLook::new(1));
    let worker = TrackWorker {
        streams: vec![stream],
        detected,
        identified,
        embedders: vec![queue],
        masks: None,
        last_look: Arc::clone(&last_look),
        clock,
        recorder: latencies.recorder("track").expect("bounds are valid"),
        done: latencies.recorder("capture-to-done").expect("bounds are valid"),
        progress: progress.register("track"),
        shutdown: Shutdown::new(),
    };
    thread::Builder::new().name("track".into()).spawn(move || run(worker)).expect("spawned").join().expect("no panic");
    let shots: usize = embedder.try_iter().map(|s| s.shots.len()).sum();
    assert_eq!((shots, counters.frames.get(), counters.shots.get()), (3, 60, 3));
    assert!(
        last_look.at(StreamIndex(0)).is_some() && last_look.frames(StreamIndex(0)) == 0,
        "a shot is chosen by its pixels: that is a read"
    );
    assert_eq!(counters.identified.get(), 0, "nobody by that id");
    assert_eq!(latencies.snapshot().expect("bounds are valid")[0].histogram.len(), 60);
}
