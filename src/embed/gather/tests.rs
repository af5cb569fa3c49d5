//! What accumulators hold, and above all when they stop holding it.

use super::*;
use crate::clock::{Clock, SimulatedClock, Stamp, Utc};
use crate::embedding::EmbeddingError;
use crate::policy::lease::MAX_LEASE;
use crate::track::testing::{Street, at_ms, embed_settings, face};

/// Makes a unit vector that leans to a different side with every call; may take time, fail, or have the lease revoked meanwhile.
struct Stub {
    clock: Arc<SimulatedClock>,
    takes: Duration,
    calls: usize,
    fail_on: Option<usize>,
    meanwhile: Option<Box<dyn FnMut(usize) + Send>>,
}

impl EmbedShot for Stub {
    fn embed(&mut self, frame: &Frame, permit: &Permit<Embed>, _landmarks: &Landmarks) -> Result<Embedding, EmbedError> {
        assert_eq!(permit.stream(), frame.header().stream);
        self.calls += 1;
        self.clock.advance(self.takes);
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile(self.calls);
        }
        let (stream, sequence) = (frame.header().stream.0, frame.header().sequence);
        if self.fail_on == Some(self.calls) {
            return Err(EmbedError::Degenerate { stream, sequence, source: EmbeddingError::NotFinite { index: 0 } });
        }
        let mut values = [1.0, 0.0, 0.0, 0.0];
        values[1 + self.calls % 3] = 1.0;
        Embedding::normalised(&mut values).map_err(|source| EmbedError::Degenerate { stream, sequence, source })
    }
}

struct Bench {
    street: Street,
    clock: Arc<SimulatedClock>,
    gather: Gather<Stub>,
    counters: Arc<EmbedCounters>,
    last_look: Arc<LastLook>,
}

fn bench() -> Bench {
    let street = Street::new();
    let clock = SimulatedClock::starting_at(Stamp::<Utc>::from_ns(0));
    let counters: Arc<EmbedCounters> = Arc::default();
    let stub = Stub { clock: clock.clone(), takes: Duration::ZERO, calls: 0, fail_on: None, meanwhile: None };
    let shared: SharedClock = clock.clone();
    let last_look = Arc::new(LastLook::new(1));
    let gather =
        Gather::new(stub, &embed_settings(), street.granted.table.clone(), shared, Arc::clone(&counters)).noting(Arc::clone(&last_look));
    Bench { street, clock, gather, counters, last_look }
}

impl Bench {
    fn now(&self) -> Stamp<Monotonic> {
        self.clock.monotonic()
    }

    fn send(&mut self, shots: &[(u64, f32)], conclude: &[u64], ended: &[u64]) -> Vec<Query> {
        let ids = |of: &[u64]| of.iter().copied().map(TrackId::for_test).collect();
        let ms = self.now().since_ns(at_ms(0)) / 1_000_000;
        let shot = |&(track, quality): &(u64, f32)| Shot { track: TrackId::for_test(track), face: face(quality * 500.0, 200.0), quality };
        let frame = (!shots.is_empty()).then(|| Arc::new(self.street.frame(ms)));
        let shots = shots.iter().map(shot).collect();
        self.gather.process(Selection {
            of: Use::Embedding,
            stream: StreamIndex(0),
            lease_epoch: self.street.granted.table.epoch(StreamIndex(0)),
            frame,
            shots,
            presented: None,
            conclude: ids(conclude),
            ended: ids(ended),
        })
    }
}

#[test]
fn an_embedding_is_a_read_of_pixels() {
    let mut b = bench();
    b.send(&[], &[1], &[]);
    assert_eq!(b.last_look.at(StreamIndex(0)), None, "nothing was read");
    b.gather.embedder.takes = Duration::from_millis(30);
    b.send(&[(1, 0.5)], &[], &[]);
    assert_eq!(b.last_look.at(StreamIndex(0)), Some(b.now()), "when it was over, not when it began");
    let read = b.now();
    b.street.granted.revoke();
    b.clock.advance(Duration::from_millis(30));
    b.send(&[(1, 0.5)], &[], &[]);
    assert_eq!(b.last_look.at(StreamIndex(0)), Some(read), "a dark stream is not read");
}

#[test]
fn three_shots_make_one_query_that_speaks_of_its_last_frame() {
    let mut b = bench();
    assert!(b.send(&[(1, 0.5), (2, 0.4)], &[], &[]).is_empty());
    b.clock.advance(Duration::from_millis(100));
    assert!(b.send(&[(1, 0.8)], &[], &[]).is_empty());
    b.clock.advance(Duration::from_millis(100));
    let queries = b.send(&[(1, 0.6)], &[1], &[]);
    let [query] = queries.as_slice() else { panic!("{} queries", queries.len()) };
    assert_eq!((query.track, query.shots, query.quality), (TrackId::for_test(1), 3, 0.8));
    let granted = b.street.granted.table.match_permits(StreamIndex(0), b.now()).expect("lit");
    assert_eq!(query.purposes.iter().collect::<Vec<_>>(), granted.iter().map(|p| p.purpose()).collect::<Vec<_>>());
    assert!((query.bounding_box.centre().x - 300.0).abs() < 0.01, "the last shot's box: it goes with the frame's number");
    assert_eq!((query.frame_sequence, query.captured_at), (2, CaptureTime::Driver(b.now())), "of the frame that completed it");
    let norm: f32 = query.embedding.as_slice().iter().map(|v| v * v).sum();
    assert!((norm - 1.0).abs() < 1e-5);
    assert_eq!(b.gather.held_tracks(), 1, "track 2 goes on");
    assert!(b.send(&[], &[1], &[]).is_empty(), "nothing is left of track 1");
    assert_eq!((b.counters.shots.get(), b.counters.concluded.get(), b.counters.wiped.get()), (4, 1, 0));
}

#[test]
fn an_ended_track_is_wiped_unless_it_is_concluded_in_the_same_breath() {
    let mut b = bench();
    b.send(&[(1, 0.5), (2, 0.5)], &[], &[]);
    let queries = b.send(&[], &[1], &[1, 2]);
    assert_eq!(queries.iter().map(|q| q.track).collect::<Vec<_>>(), [TrackId::for_test(1)]);
    assert_eq!((b.gather.held_tracks(), b.counters.wiped.get()), (0, 1));
}

#[test]
fn revoked_while_collecting_leaves_nothing_and_asks_nothing() {
    let mut b = bench();
    b.send(&[(1, 0.5), (2, 0.5)], &[], &[]);
    b.street.granted.revoke();
    assert_eq!(b.gather.held_tracks(), 2);
    b.gather.purge_dead(b.now());
    assert_eq!((b.gather.held_tracks(), b.counters.wiped.get()), (0, 2));
    assert!(b.send(&[(1, 0.9)], &[1], &[]).is_empty());
    assert_eq!((b.gather.embedder.calls, b.counters.withheld.get()), (2, 2), "the refused shot was not looked at");
    // The lease comes back under the same terms: what is concluded then was gathered then.
    b.street.granted.renew(b.now());
    let queries = b.send(&[(1, 0.5)], &[1], &[]);
    assert_eq!(queries[0].shots, 1);
}

#[test]
fn other_terms_never_meet_shots_made_under_the_old_ones() {
    let mut b = bench();
    b.send(&[(1, 0.5)], &[], &[]);
    b.street.granted.revoke();
    b.street.granted.renew(b.now());
    // No purge came in between.
    let queries = b.send(&[(1, 0.6)], &[1], &[]);
    assert_eq!((queries[0].shots, b.counters.wiped.get()), (1, 1));
}

#[test]
fn a_lease_that_runs_out_by_itself_wipes_too() {
    let mut b = bench();
    b.street.granted.revoke();
    b.street.granted.renew(b.now());
    b.send(&[(1, 0.5)], &[], &[]);
    b.clock.advance(MAX_LEASE - Duration::from_millis(1));
    b.gather.purge_dead(b.now());
    assert_eq!(b.gather.held_tracks(), 1);
    b.clock.advance(Duration::from_millis(1));
    b.gather.purge_dead(b.now());
    assert_eq!(b.gather.held_tracks(), 0);
    b.street.granted.renew(b.now());
    assert!(b.send(&[], &[1], &[]).is_empty());
}

#[test]
fn revoked_during_the_network_s_run_drops_what_it_made() {
    let mut b = bench();
    let street = Arc::new(parking_lot::Mutex::new(Street::new()));
    b.gather.leases = street.lock().granted.table.clone();
    let revoker = Arc::clone(&street);
    b.gather.embedder.takes = Duration::from_millis(5);
    b.gather.embedder.meanwhile = Some(Box::new(move |call| {
        if call == 3 {
            revoker.lock().granted.revoke();
        }
    }));
    // Five faces in one frame; the revocation falls into the third.
    let queries = b.send(&[(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.5), (5, 0.5)], &[1, 2, 3, 4, 5], &[]);
    assert!(queries.is_empty());
    assert_eq!(b.gather.embedder.calls, 3, "no embedding is begun after the revocation");
    assert_eq!((b.counters.shots.get(), b.gather.held_tracks()), (2, 0));
}

#[test]
fn a_crowded_frame_does_not_keep_other_streams_shots_alive() {
    let mut b = bench();
    b.gather.embedder.takes = Duration::from_millis(10);
    let crowd: Vec<(u64, f32)> = (10..40).map(|i| (i, 0.5)).collect();
    b.send(&[(1, 0.5)], &[], &[]);
    // As if it were of another stream, whose lease is gone.
    b.gather.accumulators[0].stream = StreamIndex(7);
    let began = b.now();
    let seen_alive = Arc::new(parking_lot::Mutex::new(0_i64));
    let (clock, note, counters) = (b.clock.clone(), Arc::clone(&seen_alive), Arc::clone(&b.counters));
    b.gather.embedder.meanwhile = Some(Box::new(move |_| {
        if counters.wiped.get() == 0 {
            *note.lock() = clock.monotonic().since_ns(began);
        }
    }));
    b.send(&crowd, &[], &[]);
    assert!(*seen_alive.lock() <= 70_000_000, "{} ns", *seen_alive.lock());
    assert_eq!(b.gather.held_tracks(), 30);
}

#[test]
fn what_is_never_concluded_is_wiped_with_age() {
    let mut b = bench();
    b.send(&[(1, 0.5)], &[], &[]);
    b.clock.advance(Duration::from_millis(2_699));
    b.gather.purge_dead(b.now());
    assert_eq!(b.gather.held_tracks(), 1);
    b.clock.advance(Duration::from_millis(1));
    b.gather.purge_dead(b.now());
    assert_eq!(b.gather.held_tracks(), 0);
}

#[test]
fn a_failed_shot_is_left_out_and_the_rest_goes_on() {
    let mut b = bench();
    b.gather.embedder.fail_on = Some(2);
    b.send(&[(1, 0.5)], &[], &[]);
    b.send(&[(1, 0.9)], &[], &[]);
    let queries = b.send(&[(1, 0.6)], &[1], &[]);
    assert_eq!((queries[0].shots, queries[0].quality, b.counters.errors.get()), (2, 0.6, 1));
    let blind = Shot { track: TrackId::for_test(4), face: crate::detect::Face { landmarks: None, ..face(1.0, 1.0) }, quality: 1.0 };
    let frame = Some(Arc::new(b.street.frame(0)));
    let selection = Selection {
        of: Use::Embedding,
        stream: StreamIndex(0),
        lease_epoch: b.street.granted.table.epoch(StreamIndex(0)),
        frame,
        shots: vec![blind],
        presented: None,
        conclude: vec![TrackId::for_test(4)],
        ended: vec![],
    };
    assert!(b.gather.process(selection).is_empty());
    assert_eq!(b.counters.errors.get(), 2);
}

#[test]
fn neither_tracks_nor_shots_grow_without_bound() {
    let mut b = bench();
    for batch in 0..24_u64 {
        let shots: Vec<(u64, f32)> = (0..50).map(|i| (batch * 50 + i, 0.5)).collect();
        b.send(&shots, &[], &[]);
    }
    assert_eq!(b.gather.held_tracks(), MOST_TRACKS);
    assert_eq!(b.counters.wiped.get(), 1_200 - MOST_TRACKS as u64);
    for _ in 0..10 {
        b.send(&[(1_199, 0.5)], &[], &[]);
    }
    assert_eq!(b.send(&[], &[1_199], &[])[0].shots, 3);
}

#[test]
fn a_selection_of_an_unknown_stream_is_withheld() {
    let mut b = bench();
    let frame = Some(Arc::new(b.street.frame(0)));
    let shots = vec![Shot { track: TrackId::for_test(1), face: face(100.0, 100.0), quality: 0.9 }];
    let selection = Selection {
        of: Use::Embedding,
        stream: StreamIndex(9),
        lease_epoch: 1,
        frame,
        shots,
        presented: None,
        conclude: vec![],
        ended: vec![],
    };
    assert!(b.gather.process(selection).is_empty());
    assert_eq!((b.gather.embedder.calls, b.counters.withheld.get()), (0, 1));
}

#[test]
fn what_was_chosen_under_an_ended_lease_is_not_embedded_under_the_next() {
    let mut b = bench();
    let old = b.street.granted.table.epoch(StreamIndex(0));
    b.street.granted.revoke();
    b.street.granted.renew(b.clock.monotonic());
    assert_ne!(b.street.granted.table.epoch(StreamIndex(0)), old);
    let shots = vec![Shot { track: TrackId::for_test(1), face: face(100.0, 100.0), quality: 0.9 }];
    let frame = Some(Arc::new(b.street.frame(0)));
    let conclude = vec![TrackId::for_test(1)];
    let selection =
        Selection { of: Use::Embedding, stream: StreamIndex(0), lease_epoch: old, frame, shots, presented: None, conclude, ended: vec![] };
    assert!(b.gather.process(selection).is_empty());
    assert_eq!((b.gather.embedder.calls, b.counters.withheld.get(), b.gather.held_tracks()), (0, 2, 0));
    // Nor is what was chosen for a mask check, whatever the lease says.
    let shots = vec![Shot { track: TrackId::for_test(3), face: face(100.0, 100.0), quality: 0.9 }];
    let lease_epoch = b.street.granted.table.epoch(StreamIndex(0));
    let (frame, conclude) = (Some(Arc::new(b.street.frame(0))), vec![TrackId::for_test(3)]);
    let selection =
        Selection { of: Use::MaskCheck, stream: StreamIndex(0), lease_epoch, frame, shots, presented: None, conclude, ended: vec![] };
    assert!(b.gather.process(selection).is_empty());
    assert_eq!((b.gather.embedder.calls, b.counters.withheld.get()), (0, 4));
    // The new lease's own go on.
    b.send(&[(2, 0.5)], &[], &[]);
    assert_eq!(b.send(&[], &[2], &[]).len(), 1);
}
