//! The for-ever half of ingest: open, run, pause, again. One thread per stream, named `ingest-<stream>`.
//!
//! Invariants: whatever a source does (fail, stall, end, panic), its stream is tried again until shutdown, unless only the operator can
//! help; pauses double from 250 ms to `reconnect_max_ms`, each shortened by a random share so that cameras behind one switch do not come
//! back in step; they start over once frames have flowed. Nobody else's stream notices.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{End, HealthSnapshot, IngestCounters, IngestError, Outlet, Source, SourceState, StreamHealth};
use crate::config::schema::Stream;
use crate::config::source::SourceSpec;
use crate::shutdown::Shutdown;

const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Makes a source for the next attempt.
pub type Opener<'a> = dyn FnMut() -> Result<Box<dyn Source>, IngestError> + Send + 'a;

/// Pauses between attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub fn new(longest: Duration) -> Self {
        Self { next: FIRST_PAUSE.min(longest), longest }
    }
    /// The next pause; `random` picks from its upper half.
    pub fn pause(&mut self, random: u16) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.longest);
        full / 2 + full / 2 * u32::from(random) / u32::from(u16::MAX)
    }
    pub fn reset(&mut self) {
        self.next = FIRST_PAUSE.min(self.longest);
    }
}

/// A running stream.
#[derive(Debug)]
pub struct IngestThread {
    pub name: Arc<str>,
    pub counters: Arc<IngestCounters>,
    pub health: Arc<StreamHealth>,
    thread: JoinHandle<()>,
}

impl IngestThread {
    pub fn snapshot(&self) -> HealthSnapshot {
        self.health.snapshot()
    }
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
    /// The thread alone, for one who joins many.
    pub fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
    /// Waits for the thread; request shutdown first.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!(stream = %self.name, "the ingest thread panicked");
        }
    }
}

/// Starts a stream's thread. The outlet's ring policy is set from the stream's configuration.
pub fn spawn(stream: &Stream, spec: &SourceSpec, outlet: Outlet, shutdown: &Shutdown) -> Result<IngestThread, IngestError> {
    let outlet = outlet.with_ring_policy(super::open::when_full(stream, spec));
    let (name, counters, health) = (Arc::clone(&outlet.name), Arc::clone(&outlet.counters), Arc::clone(&outlet.health));
    let (stream, spec, shutdown) = (stream.clone(), spec.clone(), shutdown.clone());
    let failed_name = stream.name.clone();
    let thread = std::thread::Builder::new()
        .name(format!("ingest-{name}"))
        .spawn(move || {
            let backoff = Backoff::new(Duration::from_millis(stream.reconnect_max_ms));
            let mut pause = |duration| shutdown.wait(duration);
            run(&mut || super::open::open(&stream, &spec), &outlet, &shutdown, backoff, &mut pause);
        })
        .map_err(|reason| IngestError::Thread { stream: failed_name, reason })?;
    Ok(IngestThread { name, counters, health, thread })
}

/// The loop. `pause` waits between attempts and says whether to stop; tests inject one that does not wait.
pub fn run(opener: &mut Opener<'_>, outlet: &Outlet, shutdown: &Shutdown, mut backoff: Backoff, pause: &mut dyn FnMut(Duration) -> bool) {
    let mut attempts: u32 = 0;
    while !shutdown.is_requested() {
        outlet.health.set_state(SourceState::Connecting);
        outlet.counters.connections_total.increment();
        // Opening waits for the camera, as long as it takes.
        outlet.rest();
        let usable_before = outlet.usable();
        let outcome = run_once(opener, outlet, shutdown);
        // A camera whose every picture is refused is tried ever less often, like one that sends none.
        if outlet.usable() > usable_before {
            backoff.reset();
            attempts = 0;
        }
        let error = match outcome {
            Ok(End::Shutdown) => return,
            Ok(End::Finished) => {
                outlet.health.set_state(SourceState::Ended);
                tracing::info!(stream = %outlet.name, frames = outlet.arrived(), "source ended");
                return;
            }
            Ok(End::Again) => continue,
            Ok(End::Disconnected) => {
                outlet.health.set_state(SourceState::Failed);
                None
            }
            Err(error) => Some(error),
        };
        attempts = attempts.saturating_add(1);
        outlet.health.set_attempts(attempts);
        let give_up = note(outlet, error, attempts);
        outlet.rest();
        if give_up || pause(backoff.pause(random_u16())) {
            return;
        }
        outlet.counters.reconnects_total.increment();
    }
}

/// Records why a connection is over; true if trying again cannot help.
fn note(outlet: &Outlet, error: Option<IngestError>, attempts: u32) -> bool {
    let permanent = error.as_ref().is_some_and(IngestError::is_permanent);
    let text = match &error {
        Some(error) if error.is_stall() => {
            outlet.health.set_state(SourceState::Stalled);
            outlet.counters.stalls_total.increment();
            error.to_string()
        }
        Some(error) => {
            outlet.health.set_state(SourceState::Failed);
            outlet.counters.errors_total.increment();
            error.to_string()
        }
        None => format!("stream `{}`: the peer ended the stream", outlet.name),
    };
    // A camera that is away for a night is one line at its first failures, not one every ten seconds.
    if permanent || attempts.is_power_of_two() {
        tracing::warn!(stream = %outlet.name, attempts, "{text}");
    }
    outlet.health.set_error(text);
    permanent
}

fn run_once(opener: &mut Opener<'_>, outlet: &Outlet, shutdown: &Shutdown) -> Result<End, IngestError> {
    // A defect in one source must not take the stream down for good; its state is dropped with it, so none of it is seen again.
    let guarded = catch_unwind(AssertUnwindSafe(|| opener()?.run_once(outlet, shutdown)));
    guarded.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        Err(IngestError::Panicked { stream: outlet.name.to_string(), reason: text.unwrap_or_else(|| "no text".to_owned()) })
    })
}

fn random_u16() -> u16 {
    let mut bytes = [0; 2];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u16::from_ne_bytes(bytes),
        // Without a random source the pause is merely not spread.
        Err(_) => u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{CaptureTime, Stamp, SystemClock};
    use crate::frame::{Colorimetry, FrameHeader, OwnedBuffer, PixelLayout, StreamIndex};
    use crate::queue::{Doorbell, Ring};

    /// Plays one step of a script.
    struct Scripted(Step);

    #[derive(Clone, Copy)]
    enum Step {
        FrameThen(End),
        /// A picture too small to be one.
        Unreadable,
        Stall,
        Panic,
        Refuse,
    }

    impl Source for Scripted {
        fn run_once(&mut self, outlet: &Outlet, shutdown: &Shutdown) -> Result<End, IngestError> {
            match self.0 {
                Step::Unreadable | Step::FrameThen(_) => {
                    let side = if matches!(self.0, Step::Unreadable) { 8 } else { 16 };
                    let header = FrameHeader {
                        stream: StreamIndex(0),
                        sequence: 0,
                        captured_at: CaptureTime::Arrival(Stamp::from_ns(1)),
                        arrived_at: Stamp::from_ns(1),
                        width: side,
                        height: side,
                        layout: PixelLayout::Nv12,
                        colorimetry: Colorimetry::assumed_for(16),
                        strides: [16, 16, 0],
                    };
                    outlet.deliver(header, Box::new(OwnedBuffer { planes: vec![vec![0; 256], vec![0; 128]] }), shutdown)?;
                    Ok(if let Step::FrameThen(end) = self.0 { end } else { End::Disconnected })
                }
                Step::Stall => Err(IngestError::Stalled { stream: "door".into(), stall_ms: 7 }),
                Step::Panic => panic!("a defect"),
                Step::Refuse => Err(IngestError::NoFragment { stream: "door".into() }),
            }
        }
    }

    fn play(script: &[Step]) -> (Outlet, Vec<Duration>, Vec<HealthSnapshot>) {
        let outlet = Outlet::new("door", StreamIndex(0), Arc::new(Ring::new(2)), Doorbell::new(), SystemClock::shared());
        let (mut steps, mut pauses, mut healths) = (script.iter(), vec![], vec![]);
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let mut opener = || {
            let Some(step) = steps.next() else {
                stop.request();
                return Ok(Box::new(Scripted(Step::FrameThen(End::Shutdown))) as Box<dyn Source>);
            };
            Ok(Box::new(Scripted(*step)) as Box<dyn Source>)
        };
        let mut pause = |duration| {
            pauses.push(duration);
            healths.push(outlet.health.snapshot());
            false
        };
        run(&mut opener, &outlet, &shutdown, Backoff::new(Duration::from_secs(1)), &mut pause);
        (outlet, pauses, healths)
    }

    #[test]
    fn pauses_double_with_jitter_and_start_over_after_frames() {
        let stall = Step::Stall;
        let (outlet, pauses, _) =
            play(&[stall, stall, stall, stall, stall, Step::FrameThen(End::Disconnected), stall, Step::FrameThen(End::Finished)]);
        let full_ms = [250, 500, 1_000, 1_000, 1_000, 250, 500];
        assert_eq!(pauses.len(), full_ms.len());
        for (pause, full) in pauses.iter().zip(full_ms) {
            assert!((full / 2..=full).contains(&pause.as_millis()), "{pauses:?}");
        }
        assert_eq!(outlet.counters.reconnects_total.get(), 7);
        assert_eq!(outlet.counters.stalls_total.get(), 6);
        assert_eq!(outlet.health.state(), SourceState::Ended);
        assert_eq!(outlet.arrived(), 2);
    }

    #[test]
    fn pictures_that_are_refused_do_not_shorten_the_pauses() {
        let (outlet, pauses, healths) = play(&[Step::Unreadable; 4]);
        for (pause, full) in pauses.iter().zip([250, 500, 1_000, 1_000]) {
            assert!((full / 2..=full).contains(&pause.as_millis()), "{pauses:?}");
        }
        assert_eq!((pauses.len(), outlet.counters.frames_refused_total.get(), outlet.usable()), (4, 4, 1), "the last frame ends the test");
        assert_eq!(healths[3].attempts, 4, "the alarm looks at this");
    }

    #[test]
    fn a_panic_is_an_error_like_any_other() {
        let (outlet, _, healths) = play(&[Step::Panic, Step::Stall]);
        assert_eq!(healths[0].state, SourceState::Failed);
        assert!(healths[0].last_error.as_deref().is_some_and(|e| e.contains("a defect")), "{healths:?}");
        assert_eq!(healths[1].state, SourceState::Stalled);
        assert_eq!(outlet.counters.errors_total.get(), 1);
    }

    #[test]
    fn what_only_the_operator_can_mend_is_not_tried_again() {
        let (outlet, pauses, _) = play(&[Step::Refuse, Step::Stall]);
        assert!(pauses.is_empty());
        assert_eq!(outlet.health.state(), SourceState::Failed);
        assert_eq!(outlet.counters.connections_total.get(), 1);
    }

    #[test]
    fn a_repeated_file_is_opened_again_at_once_and_is_no_reconnect() {
        let (outlet, pauses, _) = play(&[Step::FrameThen(End::Again), Step::FrameThen(End::Again), Step::FrameThen(End::Finished)]);
        assert!(pauses.is_empty());
        assert_eq!((outlet.arrived(), outlet.counters.reconnects_total.get()), (3, 0));
    }
}
