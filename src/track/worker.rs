//! The track worker: one thread for all streams, a [`Tracker`] each.
//!
//! It never waits for the embedder, nor for the mask worker: a selection that its queue has no room for is shed (frame and shots dropped,
//! counted, the shots taken back in the tracker). What must not get lost with it, conclusions and ended ids, waits here and goes first when
//! there is room, so that each of them sees every stream's selections in order.
//!
//! Ticks at least every [`TICK`], frames or not: lost tracks end, late collections conclude, and a lease that ran out is noticed.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError};

use super::{Identified, LiveTracks, Selection, TrackCounters, Tracker, Use};
use crate::clock::{Monotonic, SharedClock, Stamp};
use crate::detect::Detected;
use crate::detect::worker::LastLook;
use crate::frame::StreamIndex;
use crate::latency::StepRecorder;
use crate::progress::Progress;
use crate::shutdown::Shutdown;

/// Longest time between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);
/// Conclusions and ends kept per stream for a worker that does not read. Beyond it the oldest go; the worker's own age limit wipes
/// what they were about.
const MOST_WAITING: usize = 1_024;

/// What the worker needs of one stream.
pub struct TrackedStream {
    pub tracker: Tracker,
    pub counters: Arc<TrackCounters>,
    pub live: Arc<LiveTracks>,
    /// A replay that must lose nothing: the embedder is waited for instead.
    lossless: bool,
    /// What could not be delivered yet, for each use.
    waiting: [Option<Selection>; 2],
}

impl TrackedStream {
    pub fn new(tracker: Tracker, counters: Arc<TrackCounters>, live: Arc<LiveTracks>) -> Self {
        Self { tracker, counters, live, lossless: false, waiting: [None, None] }
    }

    /// Waits for the embedder rather than shedding: for replays as fast as the machine can.
    pub fn lossless(mut self, lossless: bool) -> Self {
        self.lossless = lossless;
        self
    }
}

/// Everything the track worker owns. `streams` in the order of the pipeline file.
pub struct TrackWorker {
    pub streams: Vec<TrackedStream>,
    pub detected: Receiver<Detected>,
    pub identified: Receiver<Identified>,
    /// One queue per embed worker; a stream always goes to number `index % workers`. Empty: this pipeline identifies nobody.
    pub embedders: Vec<Sender<Selection>>,
    /// The mask worker's queue. `None`: this pipeline looks at nobody's mask.
    pub masks: Option<Sender<Selection>>,
    pub last_look: Arc<LastLook>,
    pub clock: SharedClock,
    /// Tracking alone, per frame.
    pub recorder: StepRecorder,
    /// [`CAPTURE_TO_DONE`](crate::latency::CAPTURE_TO_DONE) of frames that end here: no shot was taken of them.
    pub done: StepRecorder,
    pub progress: Progress,
    pub shutdown: Shutdown,
}

/// Runs until shutdown, or until no detector is left.
pub fn run(mut worker: TrackWorker) {
    let mut ticked_at = worker.clock.monotonic();
    while !worker.shutdown.is_requested() {
        worker.progress.rest();
        let received = worker.detected.recv_timeout(TICK);
        worker.progress.start();
        match received {
            Ok(detected) => worker.take_in(detected),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                worker.end_all();
                break;
            }
        }
        let now = worker.clock.monotonic();
        if now >= ticked_at.plus(TICK) {
            ticked_at = now;
            worker.tick(now);
        }
    }
    worker.progress.finish();
}

impl TrackWorker {
    fn take_in(&mut self, detected: Detected) {
        let began = self.clock.monotonic();
        self.take_feedback();
        let (place, captured_at) = (detected.frame.header().stream, detected.frame.header().captured_at);
        let index = place.index();
        let mut ends_here = true;
        if let Some(stream) = self.streams.get_mut(index) {
            let selection = stream.tracker.update(detected, began);
            if stream.tracker.has_read_pixels() {
                self.last_look.note(place, self.clock.monotonic());
            }
            ends_here = selection.as_ref().is_none_or(|s| s.shots.is_empty());
            deliver(stream, index, selection, &self.embedders);
            deliver_for_masks(stream, self.masks.as_ref());
        }
        let now = self.clock.now();
        self.recorder.record_ns(now.monotonic.since_ns(began));
        if ends_here {
            self.done.record_ns(captured_at.latency_ns(now));
        }
    }

    /// No frame will come any more: what is gathered is concluded, and waits for the embedder however long it takes.
    fn end_all(&mut self) {
        let now = self.clock.monotonic();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            stream.lossless = true;
            let selection = stream.tracker.end_all(now);
            deliver(stream, index, selection, &self.embedders);
            deliver_for_masks(stream, self.masks.as_ref());
        }
    }

    fn take_feedback(&mut self) {
        for Identified { stream: StreamIndex(stream), track } in self.identified.try_iter() {
            if let Some(stream) = self.streams.get_mut(usize::from(stream)) {
                stream.tracker.identified(track);
            }
        }
    }

    fn tick(&mut self, now: Stamp<Monotonic>) {
        self.take_feedback();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let selection = stream.tracker.tick(now);
            deliver(stream, index, selection, &self.embedders);
            deliver_for_masks(stream, self.masks.as_ref());
        }
    }
}

/// Sends what is to be embedded.
fn deliver(stream: &mut TrackedStream, index: usize, selection: Option<Selection>, embedders: &[Sender<Selection>]) {
    stream.live.tracks.set(stream.tracker.live_tracks() as u64);
    hand_on(stream, Use::Embedding, selection, embedders.get(index % embedders.len().max(1)));
}

/// Sends what the tracker's last call chose for the mask check.
fn deliver_for_masks(stream: &mut TrackedStream, queue: Option<&Sender<Selection>>) {
    let selection = stream.tracker.take_for_masks();
    hand_on(stream, Use::MaskCheck, selection, queue);
}

/// Sends what waited, then `selection`; never blocks, unless the stream is to lose nothing.
fn hand_on(stream: &mut TrackedStream, of: Use, selection: Option<Selection>, queue: Option<&Sender<Selection>>) {
    // Without a worker nothing is ever gathered, so there is nothing to conclude either.
    let Some(queue) = queue else { return };
    let waiting = &mut stream.waiting[of.index()];
    if stream.lossless {
        for selection in waiting.take().into_iter().chain(selection) {
            // A worker that is gone takes what it is sent with it: nothing is gathered any more.
            let _gone = queue.send(selection);
        }
        return;
    }
    if let Some(earlier) = waiting.take() {
        *waiting = refused(queue.try_send(earlier));
    }
    let Some(selection) = selection else { return };
    let turned_away = if waiting.is_none() { refused(queue.try_send(selection)) } else { Some(selection) };
    let Some(mut selection) = turned_away else { return };
    let shed = selection.shots.len() as u64;
    match of {
        Use::Embedding => stream.counters.shots_shed.add(shed),
        Use::MaskCheck => stream.counters.mask_shots_shed.add(shed),
    }
    stream.tracker.shots_shed(&mut selection);
    match waiting {
        None => *waiting = Some(selection).filter(|s| !s.conclude.is_empty() || !s.ended.is_empty()),
        Some(waiting) => {
            waiting.presented = selection.presented.or(waiting.presented);
            append_newest(&mut waiting.conclude, selection.conclude);
            append_newest(&mut waiting.ended, selection.ended);
        }
    }
}

fn append_newest<T>(waiting: &mut Vec<T>, newer: Vec<T>) {
    waiting.extend(newer);
    let excess = waiting.len().saturating_sub(MOST_WAITING);
    waiting.drain(..excess);
}

/// The selection, if the queue had no room. A worker that is gone takes what it is sent with it: nothing is gathered any more.
fn refused(sent: Result<(), TrySendError<Selection>>) -> Option<Selection> {
    match sent {
        Err(TrySendError::Full(selection)) => Some(selection),
        Ok(()) | Err(TrySendError::Disconnected(_)) => None,
    }
}

#[cfg(test)]
mod tests;
