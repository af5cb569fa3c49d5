//! A detector worker: one thread, `detect-N`, one network, one frame after another. Lists and batches go back to where they came from, so
//! a frame costs no allocation; what was made of its pixels is overwritten as soon as the faces are passed on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crossbeam::channel::{Receiver, Sender};

use super::faces::{FaceLists, Faces};
use super::{Detected, Face};
use crate::batch::{Admitted, Batch, Seat};
use crate::clock::{Monotonic, SharedClock, Stamp};
use crate::frame::{Frame, StreamIndex};
use crate::latency::StepRecorder;
use crate::policy::lease::{Detect, Permit};
use crate::progress::Progress;

crate::counters! {
    /// Shared by all detector workers.
    pub struct DetectWorkerCounters for "detect" {
        frames_detected: "Frames that the detector looked at.",
        faces_found: "Faces found inside the signed areas.",
        frames_revoked: "Frames whose permit ended before or while the detector looked: not read, or what was found was dropped.",
        detector_errors: "Frames that the detector failed on.",
    }
}

/// When each stream's pixels were last read, by whichever step, and when the last embedding of somebody on it came into being: what proves
/// that a dark stream is dark. Detector, tracker and embedder note a read when it is over, so the time is an upper bound of every read
/// before it.
#[derive(Debug)]
pub struct LastLook {
    streams: Vec<Looks>,
}

#[derive(Debug, Default)]
struct Looks {
    frames: AtomicU64,
    read_ns: AtomicI64,
    embeddings: AtomicU64,
    embedded_ns: AtomicI64,
}

impl LastLook {
    pub fn new(streams: usize) -> Self {
        Self { streams: (0..streams).map(|_| Looks::default()).collect() }
    }
    /// Pixels of `stream` were read, and are read no more since `at`.
    pub fn note(&self, stream: StreamIndex, at: Stamp<Monotonic>) {
        if let Some(looks) = self.streams.get(stream.index()) {
            looks.read_ns.fetch_max(at.ns(), Relaxed);
        }
    }
    /// The network has made an embedding of somebody on `stream`, at `at`. It counts also where its permit had ended by then and it was
    /// wiped unseen.
    pub fn note_embedding(&self, stream: StreamIndex, at: Stamp<Monotonic>) {
        if let Some(looks) = self.streams.get(stream.index()) {
            looks.embeddings.fetch_add(1, Relaxed);
            looks.embedded_ns.fetch_max(at.ns(), Relaxed);
        }
    }
    fn count(&self, stream: StreamIndex) {
        if let Some(looks) = self.streams.get(stream.index()) {
            looks.frames.fetch_add(1, Relaxed);
        }
    }
    /// Frames of `stream` that a detector has looked at.
    pub fn frames(&self, stream: StreamIndex) -> u64 {
        self.streams.get(stream.index()).map_or(0, |s| s.frames.load(Relaxed))
    }
    /// Embeddings made of people on `stream`.
    pub fn embeddings(&self, stream: StreamIndex) -> u64 {
        self.streams.get(stream.index()).map_or(0, |s| s.embeddings.load(Relaxed))
    }
    /// When the latest read of any step was over; `None` before the first.
    pub fn at(&self, stream: StreamIndex) -> Option<Stamp<Monotonic>> {
        self.streams.get(stream.index()).and_then(|s| stamp(&s.read_ns))
    }
    /// When the latest embedding was made; `None` before the first.
    pub fn embedded_at(&self, stream: StreamIndex) -> Option<Stamp<Monotonic>> {
        self.streams.get(stream.index()).and_then(|s| stamp(&s.embedded_ns))
    }
}

fn stamp(ns: &AtomicI64) -> Option<Stamp<Monotonic>> {
    Some(ns.load(Relaxed)).filter(|ns| *ns != 0).map(Stamp::from_ns)
}

/// What a worker looks with: a [`Detector`](super::detector::Detector), or a test's stand-in.
pub trait Look {
    type Error: std::fmt::Display;
    /// Adds the faces in `frame` to `faces`.
    fn look(&mut self, frame: &Frame, permit: &Permit<Detect>, faces: &mut Vec<Face>) -> Result<(), Self::Error>;
    /// Nothing of the frame may be left; called after every look, however it went.
    fn wipe(&mut self) {}
}

impl<F, E> Look for F
where
    F: FnMut(&Frame, &Permit<Detect>, &mut Vec<Face>) -> Result<(), E>,
    E: std::fmt::Display,
{
    type Error = E;
    fn look(&mut self, frame: &Frame, permit: &Permit<Detect>, faces: &mut Vec<Face>) -> Result<(), E> {
        self(frame, permit, faces)
    }
}

/// Everything the thread needs; `find` is the detector.
pub struct DetectWorker<L> {
    pub find: L,
    pub batches: Receiver<Batch>,
    pub detected: Sender<Detected>,
    /// Given up when the thread ends, however it ends: the batch step then knows that one worker less is left.
    pub seat: Seat,
    pub clock: SharedClock,
    /// Reading, network, decoding: per frame.
    pub recorder: StepRecorder,
    pub counters: Arc<DetectWorkerCounters>,
    pub last_look: Arc<LastLook>,
    pub progress: Progress,
}

/// Runs until the batch thread hangs up.
pub fn run<L: Look>(mut worker: DetectWorker<L>) {
    let lists = FaceLists::default();
    loop {
        worker.seat.offer();
        worker.progress.rest();
        let Ok(mut batch) = worker.batches.recv() else { break };
        worker.progress.start();
        for admitted in batch.drain(..) {
            let listening = worker.look(admitted, lists.take());
            worker.find.wipe();
            if !listening {
                // The tracker is gone: the appliance is stopping.
                worker.progress.finish();
                return;
            }
        }
        worker.seat.give_back(batch);
    }
    worker.progress.finish();
}

impl<L: Look> DetectWorker<L> {
    /// False when nobody listens any more.
    fn look(&mut self, Admitted { frame, permit, turn }: Admitted, mut faces: Faces) -> bool {
        let begun_at = self.clock.monotonic();
        // A batch may have waited for more frames, or behind others: the law is asked again by the first who would read.
        if !permit.is_live(begun_at) {
            self.counters.frames_revoked.increment();
            return true;
        }
        // A defect in the detector costs a frame, not the thread that every stream depends on.
        let found = catch_unwind(AssertUnwindSafe(|| self.find.look(&frame, &permit, &mut faces)));
        let now = self.clock.monotonic();
        self.last_look.note(frame.header().stream, now);
        self.recorder.record_ns(now.since_ns(begun_at));
        self.progress.beat();
        if let Err(error) = found.map_err(|_panic| "it panicked".to_owned()).and_then(|f| f.map_err(|error| error.to_string())) {
            // A lease that ended before the frame was opened: the law's word, no fault of the detector.
            if !permit.is_live(now) {
                self.counters.frames_revoked.increment();
                return true;
            }
            self.last_look.count(frame.header().stream);
            self.counters.detector_errors.increment();
            let errors = self.counters.detector_errors.get();
            // A detector that fails on every frame would fill the log.
            if errors.is_power_of_two() {
                tracing::warn!(stream = frame.header().stream.0, frame = frame.header().sequence, errors, %error, "detector failed on a frame");
            }
            return true;
        }
        self.last_look.count(frame.header().stream);
        self.counters.frames_detected.increment();
        if !permit.is_live(now) {
            self.counters.frames_revoked.increment();
            return true;
        }
        self.counters.faces_found.add(faces.len() as u64);
        let sent = self.detected.send(Detected { frame, permit, faces }).is_ok();
        // Only now may the stream's next frame be handed out: the tracker receives a stream's frames in order.
        drop(turn);
        sent
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::area::Area;
    use crate::batch::{BatchCounters, Batcher, DetectEvery, Feed, FreeWorkers, Gatherer};
    use crate::clock::{CaptureTime, SimulatedClock, SystemClock};
    use crate::frame::{Colorimetry, FrameHeader, OwnedBuffer, PixelLayout, TableId};
    use crate::latency::Latencies;
    use crate::policy::lease::testing::{grant, grant_by};
    use crate::policy::lease::{MAX_LEASE, StreamState};
    use crate::progress::ProgressRegistry;
    use crate::queue::{Doorbell, Ring};
    use crate::shutdown::Shutdown;

    fn frame(clock: &SharedClock, sequence: u64) -> Frame {
        let now = clock.monotonic();
        let header = FrameHeader {
            stream: StreamIndex(0),
            sequence,
            captured_at: CaptureTime::Arrival(now),
            arrived_at: now,
            width: 16,
            height: 16,
            layout: PixelLayout::I420,
            colorimetry: Colorimetry::assumed_for(16),
            strides: [16, 8, 8],
        };
        Frame::new(header, TableId::TESTS, Box::new(OwnedBuffer { planes: vec![vec![0; 256], vec![0; 64], vec![0; 64]] })).expect("valid")
    }

    /// Batch thread and three workers on real threads: every admitted frame reaches the tracker, in order.
    #[test]
    fn several_workers_keep_a_stream_in_order() {
        let clock = SystemClock::shared();
        let granted = grant(StreamState::Detect, &["mask-check"], Area::whole(), clock.monotonic().plus(Duration::from_secs(60)));
        let (bell, shutdown, latencies, progress) = (Doorbell::new(), Shutdown::new(), Latencies::new(), ProgressRegistry::new());
        let ring = Arc::new(Ring::new(256));
        let counters: Arc<BatchCounters> = Arc::default();
        (0..200).for_each(|i| ring.push(frame(&clock, i)));
        let feed = Feed::new(StreamIndex(0), Arc::clone(&ring), Arc::new(DetectEvery::new(1)), false, Arc::clone(&counters));
        let (batches_in, batches_out) = crossbeam::channel::bounded(3);
        let (detected_in, detected_out) = crossbeam::channel::bounded(4);
        let free = FreeWorkers::new(Arc::clone(&bell));
        let batcher = Batcher {
            gatherer: Gatherer::new(vec![feed], granted.table.clone(), Arc::clone(&bell)),
            bell,
            workers: free.clone(),
            batches: batches_in,
            max_batch: 2,
            max_wait: Duration::ZERO,
            clock: clock.clone(),
            recorder: latencies.recorder("batch").expect("bounds"),
            drain: shutdown.clone(),
            progress: progress.register("batch"),
        };
        std::thread::scope(|scope| {
            scope.spawn(move || crate::batch::run(batcher));
            for n in 0..3 {
                let worker = DetectWorker {
                    find: |_: &Frame, _: &Permit<Detect>, _: &mut Vec<Face>| Ok::<_, std::fmt::Error>(()),
                    batches: batches_out.clone(),
                    detected: detected_in.clone(),
                    seat: free.seat(),
                    clock: clock.clone(),
                    recorder: latencies.recorder("detect").expect("bounds"),
                    counters: Arc::default(),
                    last_look: Arc::new(LastLook::new(1)),
                    progress: progress.register(&format!("detect-{n}")),
                };
                scope.spawn(move || run(worker));
            }
            drop((detected_in, batches_out));
            let received: Vec<u64> = detected_out.iter().take(200).map(|d| d.frame.header().sequence).collect();
            assert_eq!(received, (0..200).collect::<Vec<_>>());
            shutdown.request();
        });
        assert_eq!(counters.frames_batched.get(), 200);
    }

    /// A lease that ends between the worker's look and the frame's own is the law's word, not a fault of the detector.
    #[test]
    fn a_frame_that_closed_under_the_detector_s_hands_is_revoked_and_no_error() {
        let simulated = SimulatedClock::starting_at(Stamp::from_ns(0));
        let clock: SharedClock = simulated.clone();
        let granted = grant_by(clock.clone(), StreamState::Detect, &["mask-check"], Area::whole());
        let (bell, latencies) = (Doorbell::new(), Latencies::new());
        let ring = Arc::new(Ring::new(4));
        let feed = Feed::new(StreamIndex(0), Arc::clone(&ring), Arc::new(DetectEvery::new(1)), false, Arc::default());
        let mut gatherer = Gatherer::new(vec![feed], granted.table.clone(), Arc::clone(&bell));
        let mut admit = |sequence| {
            ring.push(frame(&clock, sequence));
            let mut batch = Batch::new();
            gatherer.gather(&mut batch, 1, clock.monotonic());
            batch.pop().expect("admitted")
        };
        let (ends_lease, hands) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), Arc::clone(&simulated));
        let ends = Arc::clone(&ends_lease);
        let mut worker = DetectWorker {
            find: move |frame: &Frame, permit: &Permit<Detect>, _: &mut Vec<Face>| {
                if ends.load(Relaxed) {
                    hands.advance(MAX_LEASE);
                }
                frame.read(permit).map_err(|refused| refused.to_string()).and_then(|_| Err("on purpose".to_owned()))
            },
            batches: crossbeam::channel::bounded(0).1,
            detected: crossbeam::channel::bounded(1).0,
            seat: FreeWorkers::new(Arc::clone(&bell)).seat(),
            clock: clock.clone(),
            recorder: latencies.recorder("detect").expect("bounds"),
            counters: Arc::default(),
            last_look: Arc::new(LastLook::new(1)),
            progress: ProgressRegistry::new().register("detect-0"),
        };
        let lists = FaceLists::default();
        assert!(worker.look(admit(0), lists.take()));
        assert_eq!((worker.counters.detector_errors.get(), worker.counters.frames_revoked.get()), (1, 0), "a fault is a fault");
        let admitted = admit(1);
        ends_lease.store(true, Relaxed);
        assert!(worker.look(admitted, lists.take()));
        assert_eq!((worker.counters.detector_errors.get(), worker.counters.frames_revoked.get()), (1, 1));
        assert_eq!(worker.last_look.frames(StreamIndex(0)), 1, "nothing of the second was looked at");
    }
}
