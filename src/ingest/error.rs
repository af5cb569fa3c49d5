//! What can go wrong between a camera and a frame. Every error names its stream and says what to do; none holds a secret (texts that
//! come from outside went through [`super::redact`]).

use std::path::PathBuf;

use super::credential::CredentialError;
use crate::frame::FrameError;
use crate::render::scene::SceneError;

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("stream `{stream}`: `{source_text}`: {reason}")]
    Rendered { stream: String, source_text: String, reason: SceneError },
    #[error("stream `{stream}`: this build has no GStreamer (cargo feature `gst`), which `{source_text}` needs")]
    NoGstreamer { stream: String, source_text: String },
    #[error("stream `{stream}`: source = \"gst\" needs the fragment in `gst = \"…\"`")]
    NoFragment { stream: String },
    #[error("stream `{stream}`: GStreamer cannot start: {reason}")]
    GstreamerInit { stream: String, reason: String },
    #[error("stream `{stream}`: GStreamer has no element `{element}`: install the package {package}")]
    MissingElement { stream: String, element: String, package: &'static str },
    #[error(
        "stream `{stream}`: GStreamer has no plugin for {wanted}: install gstreamer1.0-libav, gstreamer1.0-plugins-good or gstreamer1.0-plugins-bad"
    )]
    MissingPlugin { stream: String, wanted: String },
    #[error("stream `{stream}`: decoder = \"{decoder}\": {reason}")]
    Decoder { stream: String, decoder: String, reason: String },
    #[error("stream `{stream}`: the GStreamer fragment cannot be used: {reason}")]
    Fragment { stream: String, reason: String },
    /// An element's own words.
    #[error("stream `{stream}`: {element}: {message} ({debug})")]
    Element { stream: String, element: String, message: String, debug: String },
    #[error("stream `{stream}`: the pipeline cannot be built: {reason}")]
    Build { stream: String, reason: String },
    #[error("stream `{stream}`: {path}: {reason}")]
    File { stream: String, path: PathBuf, reason: std::io::Error },
    #[error("stream `{stream}`: {path} ended after {frames} frames: it is not a video, or it is damaged")]
    NoVideo { stream: String, path: PathBuf, frames: u64 },
    #[error("stream `{stream}`: no frame for {stall_ms} ms (stall_ms); opening it anew")]
    Stalled { stream: String, stall_ms: u64 },
    #[error("stream `{stream}`: {reason}")]
    Frame { stream: String, reason: FrameError },
    #[error("stream `{stream}`, frame {sequence}: {reason}")]
    Unreadable { stream: String, sequence: u64, reason: String },
    #[error("stream `{stream}`: {reason}")]
    Certificate { stream: String, reason: String },
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("stream `{stream}`: {device}: {what}: {reason}")]
    Device { stream: String, device: PathBuf, what: &'static str, reason: std::io::Error },
    #[error("stream `{stream}`: {device}: {reason}")]
    DeviceFormat { stream: String, device: PathBuf, reason: String },
    #[error("stream `{stream}`: the thread could not be started: {reason}")]
    Thread { stream: String, reason: std::io::Error },
    #[error("stream `{stream}`: its source panicked: {reason}; this is a defect, please report it")]
    Panicked { stream: String, reason: String },
}

impl IngestError {
    /// True where trying again cannot help: the operator must change the configuration or the build.
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::Rendered { .. } | Self::NoGstreamer { .. } | Self::NoFragment { .. })
    }
    pub const fn is_stall(&self) -> bool {
        matches!(self, Self::Stalled { .. })
    }
}
