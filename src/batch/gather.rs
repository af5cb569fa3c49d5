//! One pass over the streams' rings: which frames go next. No thread, no clock of its own, so it is tested by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use super::{Admitted, Batch, BatchCounters, Turn};
use crate::clock::{Monotonic, Stamp};
use crate::frame::{Frame, StreamIndex};
use crate::policy::lease::LeaseTable;
use crate::queue::{Doorbell, Ring};
use crate::signs::worker::Hatch;

/// Every n-th frame of a stream is looked at; a reload may change n while frames flow.
#[derive(Debug)]
pub struct DetectEvery(AtomicU32);

impl DetectEvery {
    pub fn new(every: u32) -> Self {
        Self(AtomicU32::new(every))
    }
    pub fn set(&self, every: u32) {
        self.0.store(every, Relaxed);
    }
    /// At least 1.
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed).max(1)
    }
}

/// One stream as the batch step sees it.
pub struct Feed {
    pub stream: StreamIndex,
    pub ring: Arc<Ring<Frame>>,
    pub detect_every: Arc<DetectEvery>,
    /// False for a replay that must lose nothing: frames are then taken oldest first.
    pub newest_first: bool,
    pub counters: Arc<BatchCounters>,
    /// Where a frame goes that is wanted for the stream's sign.
    hatch: Option<Hatch>,
    busy: Arc<AtomicBool>,
    since_detect: u32,
}

impl Feed {
    pub fn new(
        stream: StreamIndex,
        ring: Arc<Ring<Frame>>,
        detect_every: Arc<DetectEvery>,
        newest_first: bool,
        counters: Arc<BatchCounters>,
    ) -> Self {
        // The first frame is always looked at.
        let since_detect = detect_every.get() - 1;
        Self { stream, ring, detect_every, newest_first, counters, hatch: None, busy: Arc::default(), since_detect }
    }

    /// Hands the frames that attestation asks for to `hatch`.
    pub fn watched_through(mut self, hatch: Hatch) -> Self {
        self.hatch = Some(hatch);
        self
    }

    /// Hands one frame over to attestation where it wants one, lit or dark. Nobody else looks at that frame.
    fn hand_over(&mut self) {
        let Some(hatch) = self.hatch.as_ref().filter(|hatch| hatch.is_open()) else { return };
        if let Some(frame) = self.ring.pop() {
            self.counters.frames_attested.increment();
            hatch.take(frame);
        }
    }

    /// Releases, unread, the frames that `detect_every` passes over. Needs neither a turn nor a free worker, so that they do not crowd
    /// the ring while both are busy.
    fn pass_over(&mut self) {
        let every = self.detect_every.get();
        while self.since_detect + 1 < every && self.ring.pop().is_some() {
            self.since_detect += 1;
            self.counters.frames_skipped.increment();
        }
    }

    /// Releases, unread, every frame that waits: nobody is left to look.
    fn release(&mut self) {
        while self.ring.pop().is_some() {
            self.counters.frames_undetected.increment();
        }
    }

    /// The next frame to look at, if the stream has one and may be served; skipped and withheld frames are released on the way.
    fn next(&mut self, leases: &LeaseTable, bell: &Arc<Doorbell>, now: Stamp<Monotonic>) -> Option<Admitted> {
        self.pass_over();
        if self.ring.is_empty() {
            return None;
        }
        let turn = Turn::take(&self.busy, bell)?;
        loop {
            let frame = if self.newest_first && self.detect_every.get() == 1 { self.ring.pop_newest() } else { self.ring.pop() }?;
            self.since_detect = 0;
            match leases.permit(self.stream, now) {
                Ok(permit) => {
                    self.counters.frames_batched.increment();
                    return Some(Admitted { frame, permit, turn });
                }
                Err(_withheld) => self.counters.frames_withheld.increment(),
            }
            self.pass_over();
        }
    }
}

/// All streams, served in turn.
pub struct Gatherer {
    feeds: Vec<Feed>,
    leases: LeaseTable,
    bell: Arc<Doorbell>,
    /// Where the next pass begins: after the stream that was served last.
    start: usize,
}

impl Gatherer {
    pub fn new(feeds: Vec<Feed>, leases: LeaseTable, bell: Arc<Doorbell>) -> Self {
        Self { feeds, leases, bell, start: 0 }
    }

    /// Releases what `detect_every` passes over, in all streams.
    pub fn pass_over(&mut self) {
        self.feeds.iter_mut().for_each(Feed::hand_over);
        self.feeds.iter_mut().for_each(Feed::pass_over);
    }

    /// Releases, unread, every frame of every stream.
    pub fn release(&mut self) {
        self.feeds.iter_mut().for_each(Feed::hand_over);
        self.feeds.iter_mut().for_each(Feed::release);
    }

    /// Counts a frame that was admitted and that no worker could take.
    pub fn undetected(&self, stream: StreamIndex) {
        if let Some(feed) = self.feeds.iter().find(|feed| feed.stream == stream) {
            feed.counters.frames_undetected.increment();
        }
    }

    /// True when no stream has a frame waiting.
    pub fn is_drained(&self) -> bool {
        self.feeds.iter().all(|f| f.ring.is_empty())
    }

    /// Adds frames to `batch` until it holds `max_batch` or every stream had its turn.
    pub fn gather(&mut self, batch: &mut Batch, max_batch: usize, now: Stamp<Monotonic>) {
        self.feeds.iter_mut().for_each(Feed::hand_over);
        let count = self.feeds.len();
        for step in 0..count {
            if batch.len() >= max_batch {
                return;
            }
            let at = (self.start + step) % count;
            if let Some(admitted) = self.feeds[at].next(&self.leases, &self.bell, now) {
                batch.push(admitted);
                if batch.len() >= max_batch {
                    self.start = (at + 1) % count;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Area;
    use crate::clock::CaptureTime;
    use crate::frame::{Colorimetry, FrameHeader, OwnedBuffer, PixelLayout, TableId};
    use crate::policy::lease::testing::{Granted, grant};
    use crate::policy::lease::{MAX_LEASE, StreamState};

    const T0: Stamp<Monotonic> = Stamp::from_ns(1_000_000_000);

    fn frame(sequence: u64) -> Frame {
        let header = FrameHeader {
            stream: StreamIndex(0),
            sequence,
            captured_at: CaptureTime::Arrival(T0),
            arrived_at: T0,
            width: 16,
            height: 16,
            layout: PixelLayout::I420,
            colorimetry: Colorimetry::assumed_for(16),
            strides: [16, 8, 8],
        };
        Frame::new(header, TableId::TESTS, Box::new(OwnedBuffer { planes: vec![vec![0; 256], vec![0; 64], vec![0; 64]] })).expect("valid")
    }

    fn feed(detect_every: u32, newest_first: bool) -> Feed {
        let every = Arc::new(DetectEvery::new(detect_every));
        Feed::new(StreamIndex(0), Arc::new(Ring::new(8)), every, newest_first, Arc::default())
    }

    fn sequences(gatherer: &mut Gatherer, max: usize, now: Stamp<Monotonic>) -> Vec<u64> {
        let mut batch = Batch::new();
        gatherer.gather(&mut batch, max, now);
        batch.iter().map(|a| a.frame.header().sequence).collect()
    }

    fn granted() -> Granted {
        grant(StreamState::Detect, &["mask-check"], Area::whole(), T0)
    }

    #[test]
    fn without_a_permit_frames_are_released_unread_and_counted() {
        let g = granted();
        let feed = feed(1, false);
        let (ring, counters) = (Arc::clone(&feed.ring), Arc::clone(&feed.counters));
        let mut gatherer = Gatherer::new(vec![feed], g.table.clone(), Doorbell::new());
        (0..5).for_each(|i| ring.push(frame(i)));
        assert!(sequences(&mut gatherer, 4, T0.plus(MAX_LEASE)).is_empty());
        assert_eq!((counters.frames_withheld.get(), ring.len()), (5, 0));
        ring.push(frame(5));
        assert_eq!(sequences(&mut gatherer, 4, T0), [5], "and the stream is not left busy");
    }

    #[test]
    fn a_stream_has_one_frame_in_flight_and_a_live_stream_serves_its_newest() {
        let g = granted();
        let feed = feed(1, true);
        let ring = Arc::clone(&feed.ring);
        let mut gatherer = Gatherer::new(vec![feed], g.table.clone(), Doorbell::new());
        (0..3).for_each(|i| ring.push(frame(i)));
        let mut first = Batch::new();
        gatherer.gather(&mut first, 4, T0);
        assert_eq!((first.len(), first[0].frame.header().sequence), (1, 2));
        ring.push(frame(3));
        assert!(sequences(&mut gatherer, 4, T0).is_empty(), "the stream is busy");
        drop(first);
        assert_eq!(sequences(&mut gatherer, 4, T0), [3]);
    }

    #[test]
    fn detect_every_looks_at_each_nth_frame_beginning_with_the_first() {
        let g = granted();
        let feed = feed(3, true);
        let (ring, counters) = (Arc::clone(&feed.ring), Arc::clone(&feed.counters));
        let mut gatherer = Gatherer::new(vec![feed], g.table.clone(), Doorbell::new());
        (0..8).for_each(|i| ring.push(frame(i)));
        let seen: Vec<u64> = (0..4).flat_map(|_| sequences(&mut gatherer, 1, T0)).collect();
        assert_eq!(seen, [0, 3, 6]);
        assert_eq!(counters.frames_skipped.get(), 5);
    }

    #[test]
    fn streams_take_turns_when_the_batch_is_smaller_than_the_pipeline() {
        let g = granted();
        // Three feeds that (for this test) all speak for stream 0, with frames told apart by their number.
        let feeds: Vec<Feed> = (0..3).map(|_| feed(1, false)).collect();
        let rings: Vec<_> = feeds.iter().map(|f| Arc::clone(&f.ring)).collect();
        let mut gatherer = Gatherer::new(feeds, g.table.clone(), Doorbell::new());
        for (i, ring) in rings.iter().enumerate() {
            (0..4).for_each(|n| ring.push(frame(10 * i as u64 + n)));
        }
        let served: Vec<u64> = (0..6).flat_map(|_| sequences(&mut gatherer, 1, T0)).collect();
        assert_eq!(served, [0, 10, 20, 1, 11, 21]);
    }
}
