//! The batch thread: doorbell in, batches out.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;

use super::{Batch, FreeWorkers, Gatherer};
use crate::clock::SharedClock;
use crate::latency::StepRecorder;
use crate::progress::Progress;
use crate::queue::Doorbell;
use crate::shutdown::Shutdown;

/// Everything the thread needs.
pub struct Batcher {
    pub gatherer: Gatherer,
    pub bell: Arc<Doorbell>,
    pub workers: FreeWorkers,
    pub batches: Sender<Batch>,
    pub max_batch: usize,
    pub max_wait: Duration,
    pub clock: SharedClock,
    /// From a frame's arrival to its hand-over.
    pub recorder: StepRecorder,
    /// Requested once no source delivers any more: the thread ends when the rings are empty, so nothing that arrived is lost.
    pub drain: Shutdown,
    pub progress: Progress,
}

/// How long the thread sleeps when nothing rings: bounds how late it notices that it is to end.
const IDLE: Duration = Duration::from_millis(100);

/// Runs until it is told to drain and has. One batch is filled at a time, and filled again when a worker has given it back.
pub fn run(mut batcher: Batcher) {
    let mut batch = batcher.workers.empty_batch(batcher.max_batch);
    while !(batcher.drain.is_requested() && batcher.gatherer.is_drained()) {
        if batcher.workers.all_lost() {
            batcher.gatherer.release();
            batcher.rest();
            continue;
        }
        if !batcher.workers.any() {
            batcher.gatherer.pass_over();
            batcher.rest();
            continue;
        }
        batcher.gatherer.gather(&mut batch, batcher.max_batch, batcher.clock.monotonic());
        if batch.is_empty() {
            batcher.rest();
            continue;
        }
        if batch.len() < batcher.max_batch && !batcher.max_wait.is_zero() {
            wait_for_more(&mut batcher, &mut batch);
        }
        let now = batcher.clock.monotonic();
        batch.iter().for_each(|a| batcher.recorder.record_ns(now.since_ns(a.frame.header().arrived_at)));
        batcher.workers.take();
        let full = std::mem::replace(&mut batch, batcher.workers.empty_batch(batcher.max_batch));
        if let Err(unsent) = batcher.batches.send(full) {
            // Every worker ended between the look at them and now.
            unsent.0.iter().for_each(|admitted| batcher.gatherer.undetected(admitted.frame.header().stream));
        }
    }
    batcher.progress.finish();
}

impl Batcher {
    fn rest(&self) {
        self.progress.rest();
        self.bell.wait(IDLE);
        self.progress.start();
    }
}

/// Fills up a batch until it is full or its deadline passes. The deadline counts from the first frame's admission.
fn wait_for_more(batcher: &mut Batcher, batch: &mut Batch) {
    let deadline = batcher.clock.monotonic().plus(batcher.max_wait);
    while batch.len() < batcher.max_batch {
        let left_ns = deadline.since_ns(batcher.clock.monotonic());
        let Ok(left) = u64::try_from(left_ns).map(Duration::from_nanos) else { return };
        if left.is_zero() || !batcher.bell.wait(left) {
            return;
        }
        batcher.gatherer.gather(batch, batcher.max_batch, batcher.clock.monotonic());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Area;
    use crate::batch::{BatchCounters, DetectEvery, Feed};
    use crate::clock::{CaptureTime, SystemClock};
    use crate::frame::{Colorimetry, Frame, FrameHeader, OwnedBuffer, PixelLayout, StreamIndex};
    use crate::latency::Latencies;
    use crate::policy::lease::StreamState;
    use crate::policy::lease::testing::grant;
    use crate::progress::ProgressRegistry;
    use crate::queue::Ring;

    fn frame(clock: &SharedClock, sequence: u64) -> Frame {
        let now = clock.monotonic();
        let header = FrameHeader {
            stream: StreamIndex(0),
            sequence,
            captured_at: CaptureTime::Arrival(now),
            arrived_at: now,
            width: 16,
            height: 16,
            layout: PixelLayout::Gray8,
            colorimetry: Colorimetry::assumed_for(16),
            strides: [16, 0, 0],
        };
        Frame::new(header, crate::frame::TableId::TESTS, Box::new(OwnedBuffer { planes: vec![vec![0; 256]] })).expect("valid")
    }

    /// Two workers: one ends while it is free, the other with a batch in its hands. From then on frames are released and counted, in the
    /// ring they do not pile up, and draining ends the thread.
    #[test]
    fn when_every_worker_is_lost_frames_are_released_and_the_thread_still_ends() {
        let clock = SystemClock::shared();
        let granted = grant(StreamState::Detect, &["mask-check"], Area::whole(), clock.monotonic().plus(Duration::from_secs(60)));
        let (bell, drain, latencies, progress) = (Doorbell::new(), Shutdown::new(), Latencies::new(), ProgressRegistry::new());
        let (ring, counters) = (Arc::new(Ring::new(256)), Arc::<BatchCounters>::default());
        let feed = Feed::new(StreamIndex(0), Arc::clone(&ring), Arc::new(DetectEvery::new(1)), false, Arc::clone(&counters));
        let (batches, received) = crossbeam::channel::bounded(2);
        let workers = FreeWorkers::new(Arc::clone(&bell));
        let (first, second) = (workers.seat(), workers.seat());
        let batcher = Batcher {
            gatherer: Gatherer::new(vec![feed], granted.table.clone(), Arc::clone(&bell)),
            bell: Arc::clone(&bell),
            workers: workers.clone(),
            batches,
            max_batch: 1,
            max_wait: Duration::ZERO,
            clock: clock.clone(),
            recorder: latencies.recorder("batch").expect("bounds"),
            drain: drain.clone(),
            progress: progress.register("batch"),
        };
        let thread = std::thread::spawn(move || run(batcher));
        assert!(!workers.all_lost());
        second.offer();
        ring.push(frame(&clock, 0));
        bell.ring();
        let in_hand: Batch = received.recv().expect("the batch thread runs");
        assert_eq!(in_hand[0].frame.header().sequence, 0);
        first.offer();
        drop(first);
        assert!(!workers.all_lost(), "one is left");
        // As when a thread panics: what it held goes with it.
        drop((in_hand, second, received));
        assert!(workers.all_lost());
        for sequence in 1..=20 {
            ring.push(frame(&clock, sequence));
            bell.ring();
        }
        drain.request();
        bell.ring();
        thread.join().expect("it ends, with nobody left to send to");
        assert!(ring.is_empty());
        assert_eq!(counters.frames_undetected.get(), 20);
        assert_eq!(crate::progress::Observer::default().ailing(&progress), [], "its own end is in order");
    }
}
