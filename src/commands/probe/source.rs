//! Opens one source for a few seconds, as `run` would, and reports what it delivers: caps, rate, decoder, clock. Frames are counted and
//! dropped; no permit exists here, so nothing can read them.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::clock::{Clock, SystemClock};
use crate::commands::exits::present;
use crate::commands::{Exit, Failed};
use crate::config::schema::Stream;
use crate::config::source::SourceSpec;
use crate::frame::StreamIndex;
use crate::ingest::{HealthSnapshot, Outlet, spawn};
use crate::queue::{Doorbell, Ring};
use crate::shutdown::Shutdown;

/// What a source delivered.
#[derive(Serialize)]
pub struct Opened {
    pub source: String,
    pub frames: u64,
    pub fps: f64,
    pub first_frame_ms: Option<u64>,
    /// From capture to arrival, by the clock that `health.capture_clock` names; negative where that clock runs ahead.
    pub latency_ms: Option<f64>,
    pub health: HealthSnapshot,
}

pub fn open(text: &str, args: &super::Args) -> Result<Opened, Failed> {
    let base = std::env::current_dir().context("the current directory")?;
    let spec = SourceSpec::parse(text, &base).map_err(|error| Failed::new(Exit::Usage, error))?;
    if let SourceSpec::File { path } | SourceSpec::Image { path } = &spec {
        present(path)?;
    }
    let mut stream = Stream::new("probe", text);
    stream.credential_file.clone_from(&args.credential_file);
    stream.decoder.clone_from(&args.decoder);
    stream.transport = args.transport();
    stream.capture = args.capture();
    let (ring, bell, shutdown) = (Arc::new(Ring::new(2)), Doorbell::new(), Shutdown::new());
    let outlet = Outlet::new("probe", StreamIndex(0), Arc::clone(&ring), Arc::clone(&bell), SystemClock::shared());
    let thread = spawn(&stream, &spec, outlet, &shutdown)?;
    let began = SystemClock.monotonic();
    let end = began.plus(Duration::from_secs(args.seconds));
    let (mut first, mut last, mut latency_ns) = (None, None, None);
    while SystemClock.monotonic() < end && !thread.is_finished() {
        bell.wait(Duration::from_millis(50));
        while let Some(frame) = ring.pop() {
            let now = SystemClock.now();
            latency_ns = Some(frame.header().captured_at.latency_ns(now));
            first = first.or(Some(frame.header().arrived_at));
            last = Some(frame.header().arrived_at);
        }
    }
    let frames = thread.counters.frames_total.get();
    let health = thread.snapshot();
    shutdown.request();
    thread.join();
    let span_ns = first.zip(last).map_or(0, |(first, last)| last.since_ns(first));
    #[expect(clippy::cast_precision_loss, reason = "a rate over a minute at most")]
    let (fps, latency_ms) =
        (if span_ns > 0 { frames.saturating_sub(1) as f64 * 1e9 / span_ns as f64 } else { 0.0 }, latency_ns.map(|ns| ns as f64 / 1e6));
    let first_frame_ms = first.and_then(|f| u64::try_from(f.since_ns(began) / 1_000_000).ok());
    Ok(Opened { source: spec.to_string(), frames, fps, first_frame_ms, latency_ms, health })
}

impl Opened {
    pub fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let health = &self.health;
        writeln!(out, "source      {}", self.source)?;
        writeln!(out, "state       {}", health.state.name())?;
        if self.frames > 0 {
            writeln!(out, "picture     {}×{}", health.width, health.height)?;
            writeln!(out, "frames      {} ({:.1} per second)", self.frames, self.fps)?;
        }
        if let Some(ms) = self.first_frame_ms {
            writeln!(out, "first frame after {ms} ms")?;
        }
        if let Some(decoder) = &health.decoder {
            writeln!(out, "decoder     {decoder}")?;
        }
        if let Some(caps) = &health.caps {
            writeln!(out, "caps        {caps}")?;
        }
        if let (Some(clock), Some(latency)) = (health.capture_clock, self.latency_ms) {
            writeln!(out, "clock       {clock} (last frame {latency:.1} ms old when read)")?;
        }
        if let Some(error) = &health.last_error {
            writeln!(out, "error       {error}")?;
        }
        Ok(())
    }
}
