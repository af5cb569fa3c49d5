//! A file played on a fixed schedule, for open-loop measurements: frame *i* is due at `start + i / fps`, whatever happened to the
//! frames before it.
//!
//! Invariants: `captured_at` is [`CaptureTime::Scheduled`] with the moment the frame was *due*, so a frame that is late (because decoding
//! lagged or the machine was busy) shows all of its lateness as latency; no frame is left out here; a full ring drops its oldest and
//! counts it, which the bench counts as missed. The clip is played over and over.
//!
//! At most two pictures are decoded ahead of their time, so the schedule starts where a decoder's output would: decoding costs processor
//! time in the measurement but adds no latency until it cannot keep up.
//!
//! Runs on the caller's thread.

use std::path::PathBuf;

#[cfg(not(feature = "gst"))]
use super::{IngestError, Outlet};
use crate::clock::{Monotonic, Stamp};
#[cfg(not(feature = "gst"))]
use crate::shutdown::Shutdown;

/// What to play, and when.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub clip: PathBuf,
    /// Decoder element; `None`: by rank.
    pub decoder: Option<String>,
    pub fps: f64,
    /// When frame 0 is due.
    pub start: Stamp<Monotonic>,
    /// Frames to offer; `None`: until shutdown.
    pub frames: Option<u64>,
}

impl Schedule {
    /// When frame `index` is due.
    pub fn due(&self, index: u64) -> Stamp<Monotonic> {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a schedule of 2^53 frames is not played")]
        let offset_ns = (index as f64 * 1e9 / self.fps) as i64;
        Stamp::from_ns(self.start.ns().saturating_add(offset_ns))
    }
}

/// A build without GStreamer has nothing to play with.
#[cfg(not(feature = "gst"))]
pub fn play(schedule: &Schedule, outlet: &Outlet, _shutdown: &Shutdown) -> Result<u64, IngestError> {
    Err(IngestError::NoGstreamer { stream: outlet.name.to_string(), source_text: format!("file:{}", schedule.clip.display()) })
}

#[cfg(feature = "gst")]
pub use playing::play;

#[cfg(feature = "gst")]
mod playing {
    use std::time::Duration;

    use super::super::gstreamer::{PULL_WAIT, Plan, Unpacker, init};
    use super::super::redact::Redactor;
    use super::super::{Delivery, IngestError, Outlet};
    use super::Schedule;
    use crate::clock::{CaptureTime, Monotonic, Stamp};
    use crate::config::schema::Stream;
    use crate::config::source::SourceSpec;
    use crate::shutdown::Shutdown;

    /// Plays until `shutdown` or until `schedule.frames` were offered; returns how many were.
    pub fn play(schedule: &Schedule, outlet: &Outlet, shutdown: &Shutdown) -> Result<u64, IngestError> {
        let name = outlet.name.to_string();
        init(&name)?;
        let stream = stream_for(&name, schedule);
        let spec = SourceSpec::File { path: schedule.clip.clone() };
        let redactor = Redactor::default();
        let mut offered = 0;
        while !shutdown.is_requested() {
            let plan = Plan { stream: &stream, spec: &spec, credential: None, redactor: &redactor };
            let running = plan.start(&outlet.health)?;
            let mut unpacker = Unpacker::new(&name, running.timing());
            let mut pictures = 0_u64;
            loop {
                if shutdown.is_requested() || schedule.frames.is_some_and(|frames| offered >= frames) {
                    return Ok(offered);
                }
                running.check_bus()?;
                outlet.rest();
                let sample = running.pull(PULL_WAIT);
                outlet.wake();
                if let Some(sample) = sample {
                    let Some((mut header, buffer)) = unpacker.unpack(&sample, outlet)? else { continue };
                    let due = schedule.due(offered);
                    outlet.rest();
                    if wait_until(due, outlet, shutdown) {
                        return Ok(offered);
                    }
                    outlet.wake();
                    header.captured_at = CaptureTime::Scheduled(due);
                    header.arrived_at = outlet.clock.monotonic();
                    if outlet.deliver(header, buffer, shutdown)? == Delivery::Stopped {
                        return Ok(offered);
                    }
                    offered += 1;
                    pictures += 1;
                } else if running.is_drained() {
                    if pictures == 0 {
                        return Err(IngestError::NoVideo { stream: name, path: schedule.clip.clone(), frames: 0 });
                    }
                    if !running.rewind() {
                        break;
                    }
                }
            }
        }
        Ok(offered)
    }

    /// True if shutdown came first.
    fn wait_until(due: Stamp<Monotonic>, outlet: &Outlet, shutdown: &Shutdown) -> bool {
        let ahead_ns = due.since_ns(outlet.clock.monotonic());
        match u64::try_from(ahead_ns) {
            Ok(ns) if ns > 0 => shutdown.wait(Duration::from_nanos(ns)),
            _ => shutdown.is_requested(),
        }
    }

    fn stream_for(name: &str, schedule: &Schedule) -> Stream {
        let mut stream = Stream::new(name, &format!("file:{}", schedule.clip.display()));
        stream.decoder = schedule.decoder.clone();
        stream.realtime = false;
        stream.repeat = true;
        stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_by_the_schedule_alone() {
        let schedule = Schedule { clip: "clip.mkv".into(), decoder: None, fps: 30.0, start: Stamp::from_ns(1_000), frames: None };
        assert_eq!(schedule.due(0).ns(), 1_000);
        assert_eq!(schedule.due(3).ns(), 100_001_000);
        // No rounding error piles up: an hour later it is an hour later.
        assert_eq!(schedule.due(30 * 3_600).ns(), 3_600_000_001_000);
    }
}
