//! GStreamer sources: one pipeline per stream and connection, ending in an appsink that this stream's ingest thread pulls from.
//!
//! ```text
//! rtspsrc | v4l2src | filesrc | gst fragment ─▶ decodebin ─▶ appsink ─▶ Frame
//! ```
//!
//! Invariants: a picture is handed on in the very buffer that the decoder delivers it in; what cannot be read as it lies ([`formats`]) is
//! refused, never converted; frames are dropped
//! and counted in the stream's ring and nowhere else (the appsink holds back instead of dropping); the pipeline is stopped and freed
//! when [`GstSource::run_once`] returns, however it returns; a secret is set as an element property and nothing else.

mod build;
pub mod decoders;
mod formats;
mod fragment;
mod leftovers;
mod messages;
mod missing;
mod sink;
#[cfg(test)]
mod tests;
mod tls;

use gstreamer as gst;

pub(super) use build::{Plan, Running};
use leftovers::Leftovers;
pub(super) use sink::Unpacker;

use super::credential::Credential;
use super::redact::Redactor;
use super::{End, IngestError, Outlet, Source};
use crate::config::schema::Stream;
use crate::config::source::SourceSpec;
use crate::shutdown::Shutdown;

/// How long a pull waits before it looks at the bus, the stall limit and the shutdown request.
pub(super) const PULL_WAIT: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// Starts GStreamer once per process. It honours `GST_DEBUG` and its kin; no argument of ours reaches it.
pub fn init(stream: &str) -> Result<(), IngestError> {
    gst::init().map_err(|e| IngestError::GstreamerInit { stream: stream.to_owned(), reason: e.to_string() })
}

/// `GStreamer 1.22.0`.
pub fn version() -> String {
    gst::version_string().to_string()
}

/// A camera, file or fragment through GStreamer.
pub struct GstSource {
    stream: Stream,
    spec: SourceSpec,
    credential: Option<Credential>,
    redactor: Redactor,
}

impl GstSource {
    /// Reads the credential; opens nothing.
    pub fn new(stream: &Stream, spec: &SourceSpec) -> Result<Self, IngestError> {
        let credential = stream.credential_file.as_deref().map(Credential::read).transpose()?;
        let redactor = Redactor::new(credential.as_ref());
        Ok(Self { stream: stream.clone(), spec: spec.clone(), credential, redactor })
    }
}

/// Whether the stream's own fragment, if it has one, could be played: parsed, its end fits, no way out for pictures in it. Opens nothing.
pub fn check_fragment(stream: &Stream) -> Result<(), IngestError> {
    let Some(fragment) = &stream.gst else { return Ok(()) };
    let redactor = Redactor::new(None);
    Plan { stream, spec: &SourceSpec::Gst, credential: None, redactor: &redactor }.build_fragment(fragment).map(drop)
}

impl Source for GstSource {
    fn run_once(&mut self, outlet: &Outlet, shutdown: &Shutdown) -> Result<End, IngestError> {
        init(&self.stream.name)?;
        let mut leftovers = Leftovers::default();
        let outcome = self.connection(outlet, shutdown, &mut leftovers).map_err(|error| match outlet.health.certificate_refused() {
            // GStreamer says only that it was not accepted.
            Some(reason) => IngestError::Certificate { stream: self.stream.name.clone(), reason },
            None => error,
        });
        outlet.rest();
        leftovers.release(&self.stream.name, shutdown);
        outcome
    }
}

impl GstSource {
    /// One pipeline from start to end; it is gone on return.
    fn connection(&self, outlet: &Outlet, shutdown: &Shutdown, leftovers: &mut Leftovers) -> Result<End, IngestError> {
        let plan = Plan { stream: &self.stream, spec: &self.spec, credential: self.credential.as_ref(), redactor: &self.redactor };
        outlet.health.forget_certificate();
        let running = plan.start(&outlet.health)?;
        let mut unpacker = Unpacker::new(&self.stream.name, running.timing());
        leftovers.note(running.pipeline(), unpacker.lent());
        let stall_ns = i64::try_from(self.stream.stall_ms).unwrap_or(i64::MAX / 1_000_000).saturating_mul(1_000_000);
        let mut last_frame_at = outlet.clock.monotonic();
        let mut frames = 0_u64;
        loop {
            if shutdown.is_requested() {
                return Ok(End::Shutdown);
            }
            running.check_bus()?;
            outlet.rest();
            let sample = running.pull(PULL_WAIT);
            outlet.wake();
            if let Some(sample) = sample {
                if frames == 0 {
                    tls::settle(&outlet.health, self.stream.tls_sha256.as_deref())
                        .map_err(|reason| IngestError::Certificate { stream: self.stream.name.clone(), reason })?;
                }
                if let Some((header, buffer)) = unpacker.unpack(&sample, outlet)? {
                    last_frame_at = header.arrived_at;
                    frames += 1;
                    if outlet.deliver(header, buffer, shutdown)? == super::Delivery::Stopped {
                        return Ok(End::Shutdown);
                    }
                    // A lossless reader may have held us back: that is no stall of the source.
                    if outlet.when_full() == super::WhenFull::WaitsForRoom {
                        last_frame_at = outlet.clock.monotonic();
                    }
                }
            } else if running.is_drained() {
                match self.at_end(&running, frames)? {
                    Some(end) => return Ok(end),
                    None => last_frame_at = outlet.clock.monotonic(),
                }
            } else if outlet.clock.monotonic().since_ns(last_frame_at) > stall_ns {
                return Err(IngestError::Stalled { stream: self.stream.name.clone(), stall_ms: self.stream.stall_ms });
            }
        }
    }

    /// What the end of the data means; `None`: the pipeline was rewound and goes on.
    fn at_end(&self, running: &Running, frames: u64) -> Result<Option<End>, IngestError> {
        let path = match &self.spec {
            SourceSpec::File { path } | SourceSpec::Image { path } => path.clone(),
            SourceSpec::Gst => "the fragment".into(),
            SourceSpec::Rtsp { .. } | SourceSpec::V4l2 { .. } | SourceSpec::Rendered { .. } => return Ok(Some(End::Disconnected)),
        };
        if frames == 0 {
            running.check_to_the_end()?;
            return Err(IngestError::NoVideo { stream: self.stream.name.clone(), path, frames });
        }
        if !self.stream.repeat {
            return Ok(Some(End::Finished));
        }
        Ok(if running.rewind() { None } else { Some(End::Again) })
    }
}
