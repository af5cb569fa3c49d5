//! Where a source puts its frames: the stream's ring, the batcher's doorbell, the stream's counters and health.
//!
//! Invariants: sequence numbers run on across reconnects; every frame that arrived is counted, and so is every one that was lost, by
//! reason. Owned by the stream's ingest thread; the ring, counters and health are shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::IngestError;
use super::health::StreamHealth;
use crate::clock::SharedClock;
use crate::counters;
use crate::frame::{Frame, FrameBuffer, FrameHeader, StreamIndex, TableId};
use crate::progress::Progress;
use crate::queue::{Doorbell, Ring};
use crate::shutdown::Shutdown;

counters! {
    /// Counts of one stream's ingest. Frames that were overwritten are counted by the ring itself.
    pub struct IngestCounters for "ingest" {
        frames_total: "Frames that arrived.",
        frames_refused_total: "Frames that arrived with an impossible size or too few bytes.",
        frames_skipped_total: "Frames the driver had no buffer for.",
        connections_total: "Attempts to open the source.",
        reconnects_total: "Times the source was opened anew after it had failed, stalled or hung up.",
        stalls_total: "Times no frame came for stall_ms.",
        errors_total: "Times the source failed (stalls not counted).",
        geometry_changes_total: "Times the picture's size changed.",
        restarts_total: "Times a reload of the pipeline file gave the stream another source, or other settings for it.",
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Delivered,
    /// Shutdown was requested while waiting for room.
    Stopped,
}

/// How frames meet a full ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Cameras: the oldest frame gives way, and is counted.
    NewestWins,
    /// Files with `realtime = false`: wait for room, lose nothing. The reader must then take frames one by one (`Ring::pop`).
    WaitsForRoom,
}

/// One stream's way out of ingest.
pub struct Outlet {
    /// The stream's name, for errors.
    pub name: Arc<str>,
    pub stream: StreamIndex,
    table: TableId,
    pub clock: SharedClock,
    pub counters: Arc<IngestCounters>,
    pub health: Arc<StreamHealth>,
    when_full: WhenFull,
    ring: Arc<Ring<Frame>>,
    bell: Arc<Doorbell>,
    sequence: Arc<AtomicU64>,
    /// What the watchdog and `/ready` see of the thread.
    progress: Option<Progress>,
}

/// A frame waiting for room looks up this often whether it is to stop.
const ROOM_WAIT: Duration = Duration::from_millis(50);

impl Outlet {
    /// Its frames are for nobody to open before [`governed_by`](Self::governed_by) says whose they are.
    pub fn new(name: &str, stream: StreamIndex, ring: Arc<Ring<Frame>>, bell: Arc<Doorbell>, clock: SharedClock) -> Self {
        let name: Arc<str> = name.into();
        let counters = Arc::new(IngestCounters { stream: Some(Arc::clone(&name)), ..IngestCounters::default() });
        let health = Arc::new(StreamHealth::new());
        Self {
            name,
            stream,
            table: TableId::NOBODY,
            clock,
            counters,
            health,
            when_full: WhenFull::NewestWins,
            ring,
            bell,
            sequence: Arc::default(),
            progress: None,
        }
    }

    /// For the stream's next source: numbers and counts run on. Only one may deliver at a time. Its thread reports anew
    /// ([`Outlet::with_progress`]).
    pub fn again(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            stream: self.stream,
            table: self.table,
            clock: Arc::clone(&self.clock),
            counters: Arc::clone(&self.counters),
            health: Arc::clone(&self.health),
            when_full: self.when_full,
            ring: Arc::clone(&self.ring),
            bell: Arc::clone(&self.bell),
            sequence: Arc::clone(&self.sequence),
            progress: None,
        }
    }

    /// Frames from here on are opened by permits of this table alone.
    pub fn governed_by(mut self, table: TableId) -> Self {
        self.table = table;
        self
    }

    /// Chooses how frames meet a full ring.
    pub fn with_ring_policy(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Reports what the stream's thread does: it rests while it waits for its source, however long, and is busy otherwise.
    pub fn with_progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// About to wait for the source, for room or for the next attempt: a camera that is away is no hung thread.
    pub fn rest(&self) {
        if let Some(progress) = &self.progress {
            progress.rest();
        }
    }

    /// The wait is over.
    pub fn wake(&self) {
        if let Some(progress) = &self.progress {
            progress.beat();
        }
    }

    pub const fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// Frames that arrived so far.
    pub fn arrived(&self) -> u64 {
        self.sequence.load(Relaxed)
    }

    /// Those that could be handed on.
    pub fn usable(&self) -> u64 {
        self.counters.frames_total.get().saturating_sub(self.counters.frames_refused_total.get())
    }

    /// Numbers the frame, checks it and hands it on. `header.stream` and `header.sequence` are set here. A frame whose planes are too
    /// short or whose size is impossible is counted and refused; the source may go on.
    pub fn deliver(&self, mut header: FrameHeader, buffer: Box<dyn FrameBuffer>, shutdown: &Shutdown) -> Result<Delivery, IngestError> {
        header.stream = self.stream;
        header.sequence = self.sequence.fetch_add(1, Relaxed);
        self.counters.frames_total.increment();
        let frame = Frame::new(header, self.table, buffer).map_err(|reason| {
            self.counters.frames_refused_total.increment();
            IngestError::Frame { stream: self.name.to_string(), reason }
        })?;
        if self.health.saw_frame(&header) {
            self.counters.geometry_changes_total.increment();
        }
        match self.when_full {
            WhenFull::NewestWins => self.ring.push(frame),
            WhenFull::WaitsForRoom => {
                let mut waiting = frame;
                self.rest();
                while let Err(back) = self.ring.push_if_room(waiting, ROOM_WAIT) {
                    if shutdown.is_requested() {
                        return Ok(Delivery::Stopped);
                    }
                    waiting = back;
                }
                self.wake();
            }
        }
        self.bell.ring();
        Ok(Delivery::Delivered)
    }
}

impl Drop for Outlet {
    /// The thread ends, on purpose unless it panics.
    fn drop(&mut self) {
        if let Some(progress) = self.progress.take()
            && !std::thread::panicking()
        {
            progress.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{CaptureTime, Stamp, SystemClock};
    use crate::frame::{Colorimetry, OwnedBuffer, PixelLayout};

    fn header(width: u32) -> FrameHeader {
        FrameHeader {
            stream: StreamIndex(0),
            sequence: 0,
            captured_at: CaptureTime::Arrival(Stamp::from_ns(5)),
            arrived_at: Stamp::from_ns(5),
            width,
            height: 16,
            layout: PixelLayout::Nv12,
            colorimetry: Colorimetry::assumed_for(16),
            strides: [width as usize, width as usize, 0],
        }
    }
    fn picture(width: usize) -> Box<OwnedBuffer> {
        Box::new(OwnedBuffer { planes: vec![vec![0; width * 16], vec![0; width * 8]] })
    }
    fn outlet(ring: &Arc<Ring<Frame>>) -> Outlet {
        Outlet::new("door", StreamIndex(3), Arc::clone(ring), Doorbell::new(), SystemClock::shared())
    }

    #[test]
    fn frames_are_numbered_and_the_newest_win() {
        let ring = Arc::new(Ring::new(2));
        let outlet = outlet(&ring);
        let shutdown = Shutdown::new();
        for _ in 0..4 {
            assert_eq!(outlet.deliver(header(32), picture(32), &shutdown).expect("whole"), Delivery::Delivered);
        }
        let first = *ring.pop().expect("two are left").header();
        assert_eq!((first.sequence, first.stream), (2, StreamIndex(3)));
        assert_eq!(ring.overwritten.get(), 2);
        assert_eq!(outlet.counters.frames_total.get(), 4);
    }

    #[test]
    fn a_frame_that_is_too_short_is_refused_and_counted() {
        let ring = Arc::new(Ring::new(2));
        let outlet = outlet(&ring);
        let error = outlet.deliver(header(64), picture(32), &Shutdown::new()).expect_err("half a picture").to_string();
        assert!(error.contains("stream `door`") && error.contains("plane 0 has 512 bytes, 1024 are needed"), "{error}");
        assert_eq!(outlet.counters.frames_refused_total.get(), 1);
        assert!(ring.is_empty());
    }

    #[test]
    fn a_lossless_outlet_waits_for_room_and_stops_when_asked() {
        let ring = Arc::new(Ring::new(1));
        let outlet = outlet(&ring).with_ring_policy(WhenFull::WaitsForRoom);
        let shutdown = Shutdown::new();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(outlet.deliver(header(32), picture(32), &shutdown).expect("whole"), Delivery::Delivered);
                }
                outlet.deliver(header(32), picture(32), &shutdown).expect("whole")
            });
            let mut next = 0;
            while next < 100 {
                if let Some(frame) = ring.pop() {
                    assert_eq!(frame.header().sequence, next);
                    next += 1;
                } else {
                    std::thread::yield_now();
                }
            }
            assert_eq!(sending.join().expect("no panic"), Delivery::Delivered);
        });
        assert_eq!(ring.overwritten.get(), 0);
        shutdown.request();
        assert_eq!(outlet.deliver(header(32), picture(32), &shutdown).expect("whole"), Delivery::Stopped);
    }

    #[test]
    fn a_change_of_size_is_counted_and_shown() {
        let ring = Arc::new(Ring::new(2));
        let outlet = outlet(&ring);
        let shutdown = Shutdown::new();
        for width in [32, 32, 64] {
            outlet.deliver(header(width), picture(width as usize), &shutdown).expect("whole");
        }
        assert_eq!(outlet.counters.geometry_changes_total.get(), 1);
        assert_eq!(outlet.health.snapshot().width, 64);
    }
}
