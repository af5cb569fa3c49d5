//! The attestation worker: one thread, `attest`, for all streams. Frames in, observations out.
//!
//! It asks for a frame when a stream's look is due ([`Wanted`]); the batch step hands over the next one, whether the stream is lit or dark (it
//! is then not looked at otherwise), and goes on. Nobody waits for this thread: a frame that finds its queue full is released unread. What
//! leaves it is one word per look ([`Attested`]); nothing of a picture does.
//!
//! That a dark stream's picture is opened for its sign is the one exception to "dark means that no pixel is read", and the only way back into
//! the light: see `policy/attestation.rs` for when, `drift.rs` for what of the rest of the picture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::attest::{Attester, Watch};
use crate::clock::{Monotonic, SharedClock, Stamp};
use crate::frame::{Frame, StreamIndex};
use crate::latency::StepRecorder;
use crate::policy::lease::LeaseTable;
use crate::policy::observed::{Attested, Observations, Watched};
use crate::progress::Progress;

crate::counters! {
    /// Per stream.
    pub struct AttestCounters for "attest" {
        looks: "Frames that were looked at for the stream's sign.",
        seen: "Looks that read the sign's code in its place.",
        missing: "Looks that read no code.",
        foreign: "Looks that read a code which is not this sign's.",
        moved: "Looks that read the sign's code outside its place.",
        drifted: "Looks at another view than the commissioned one.",
        withheld: "Frames released unread because no leave to look was in force.",
    }
}

impl AttestCounters {
    fn count(&self, what: Attested) {
        self.looks.increment();
        match what {
            Attested::Seen => self.seen.increment(),
            Attested::Missing => self.missing.increment(),
            Attested::Foreign => self.foreign.increment(),
            Attested::Moved => self.moved.increment(),
            Attested::Drifted => self.drifted.increment(),
        }
    }
}

/// Longest time between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);

/// Whether a frame of a stream is wanted: set here, taken by the batch step.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<AtomicBool>);

impl Wanted {
    fn set(&self) {
        self.0.store(true, Relaxed);
    }
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The batch step's end: where a stream's wanted frame goes.
pub struct Hatch {
    wanted: Wanted,
    frames: Sender<Frame>,
}

impl Hatch {
    pub fn new(wanted: Wanted, frames: Sender<Frame>) -> Self {
        Self { wanted, frames }
    }
    pub fn is_open(&self) -> bool {
        self.wanted.is_set()
    }
    /// Takes the frame; closes until the next one is wanted.
    pub fn take(&self, frame: Frame) {
        self.wanted.0.store(false, Relaxed);
        // Full, or nobody there any more: released unread, and asked for again.
        let _released = self.frames.try_send(frame);
    }
}

/// One stream as this thread sees it.
pub struct AttestedStream {
    /// As the register calls it.
    name: Arc<str>,
    wanted: Wanted,
    counters: Arc<AttestCounters>,
    /// What is looked for, and its history.
    watch: Option<(Arc<Watched>, Watch)>,
}

impl AttestedStream {
    pub fn new(name: Arc<str>, wanted: Wanted, counters: Arc<AttestCounters>) -> Self {
        Self { name, wanted, counters, watch: None }
    }
}

/// Everything the thread needs. `streams` in the order of the pipeline file.
pub struct AttestWorker {
    pub attester: Attester,
    pub streams: Vec<AttestedStream>,
    pub frames: Receiver<Frame>,
    pub leases: LeaseTable,
    pub observations: Observations,
    pub clock: SharedClock,
    /// Per look.
    pub recorder: StepRecorder,
    pub progress: Progress,
}

/// Runs until the batch step hangs up.
pub fn run(mut worker: AttestWorker) {
    loop {
        worker.progress.rest();
        let received = worker.frames.recv_timeout(TICK);
        worker.progress.start();
        match received {
            Ok(frame) => worker.look(&frame),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        worker.tick(worker.clock.monotonic());
    }
    worker.progress.finish();
}

impl AttestWorker {
    fn look(&mut self, frame: &Frame) {
        let (stream, began) = (frame.header().stream, self.clock.monotonic());
        let Some(place) = self.streams.get_mut(stream.index()) else { return };
        let Some((watched, watch)) = &mut place.watch else { return };
        let permit = self.leases.attest_permit(stream, began);
        let Some(what) = permit.ok().and_then(|permit| self.attester.look(frame, &permit, watched).ok()) else {
            place.counters.withheld.increment();
            return;
        };
        place.counters.count(what);
        // What was seen was so when the frame arrived; the stamp is this machine's.
        let at = frame.header().arrived_at.min(began);
        if at < watched.since {
            // Of another source, or taken for another register: the next one, then.
            return;
        }
        if let Some((what, at)) = watch.looked(what, at) {
            self.observations.attested(&place.name, watched, what, at);
        }
        self.recorder.record_ns(self.clock.monotonic().since_ns(began));
    }

    fn tick(&mut self, now: Stamp<Monotonic>) {
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let watched = self.observations.watched(&stream.name);
            let unchanged = match (&stream.watch, &watched) {
                (Some((old, _)), Some(new)) => Arc::ptr_eq(old, new),
                (None, None) => true,
                _ => false,
            };
            if !unchanged {
                stream.watch = watched.map(|watched| {
                    let watch = Watch::new(watched.view.attest_every_s);
                    (watched, watch)
                });
            }
            let Some((watched, watch)) = &mut stream.watch else { continue };
            if let Some((what, at)) = watch.tick(now) {
                tracing::warn!(stream = &*stream.name, ?what, "the stream's sign was not read in time");
                self.observations.attested(&stream.name, watched, what, at);
            }
            // A frame that nobody may open is not asked for.
            let index = u16::try_from(index).map(StreamIndex);
            let may_look = |index| self.leases.attest_permit(index, now).is_ok();
            if watch.is_due(now) && index.is_ok_and(may_look) {
                stream.wanted.set();
            }
        }
    }
}

#[cfg(test)]
mod tests;
