//! The embed worker on a real thread.

use std::thread;

use crossbeam::channel::bounded;

use super::*;
use crate::clock::SystemClock;
use crate::embed::EmbedError;
use crate::embedding::Embedding;
use crate::frame::{Frame, Landmarks, StreamIndex};
use crate::latency::Latencies;
use crate::policy::lease::{Embed, Permit};
use crate::progress::ProgressRegistry;
use crate::track::testing::{Street, embed_settings, face};
use crate::track::{Shot, TrackId, Use};

struct Constant;

impl EmbedShot for Constant {
    fn embed(&mut self, frame: &Frame, _permit: &Permit<Embed>, _landmarks: &Landmarks) -> Result<Embedding, EmbedError> {
        let (stream, sequence) = (frame.header().stream.0, frame.header().sequence);
        Embedding::normalised(&mut [3.0, 4.0]).map_err(|source| EmbedError::Degenerate { stream, sequence, source })
    }
}

#[test]
fn queries_come_out_and_what_finds_no_room_is_shed() {
    let mut street = Street::new();
    // The worker runs on the kernel's clock: a lease from now on.
    let clock = SystemClock::shared();
    street.granted.renew(clock.monotonic().plus(Duration::from_secs(600)));
    let (selections_in, selections) = bounded(64);
    let (queries, queries_out) = bounded(2);
    let counters: Arc<EmbedCounters> = Arc::default();
    let (latencies, progress) = (Latencies::new(), ProgressRegistry::new());
    let gather = Gather::new(Constant, &embed_settings(), street.granted.table.clone(), Arc::clone(&clock), Arc::clone(&counters));
    let worker = EmbedWorker {
        gather,
        selections,
        queries,
        counters: Arc::clone(&counters),
        clock,
        recorder: latencies.recorder("embed").expect("bounds are valid"),
        done: latencies.recorder("capture-to-done").expect("bounds are valid"),
        progress: progress.register("embed-0"),
        shutdown: Shutdown::new(),
    };
    for track in 0..5 {
        let track = TrackId::for_test(track);
        let shots = vec![Shot { track, face: face(300.0, 200.0), quality: 0.9 }];
        let selection = Selection {
            of: Use::Embedding,
            stream: StreamIndex(0),
            lease_epoch: street.granted.table.epoch(StreamIndex(0)),
            frame: Some(Arc::new(street.frame(0))),
            shots,
            presented: None,
            conclude: vec![track],
            ended: vec![],
        };
        selections_in.send(selection).expect("room");
    }
    drop(selections_in);
    thread::Builder::new().name("embed-0".into()).spawn(move || run(worker)).expect("spawned").join().expect("no panic");
    let tracks: Vec<TrackId> = queries_out.try_iter().map(|q| q.track).collect();
    assert_eq!(tracks, [TrackId::for_test(0), TrackId::for_test(1)]);
    assert_eq!((counters.concluded.get(), counters.queries_shed.get()), (5, 3));
    assert_eq!(latencies.snapshot().expect("bounds are valid")[0].histogram.len(), 5);
}
