//! What a stream shows of itself: state, last error, last frame, geometry. Written by its ingest thread, read by status, metrics and the
//! policy thread (a dead stream has nothing to permit).
//!
//! Per frame only atomics are touched; texts change only when a connection does. Units: nanoseconds on the monotonic clock, pixels.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::clock::{Monotonic, Stamp};
use crate::frame::FrameHeader;

/// Where a stream's source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum SourceState {
    /// Opening, or waiting to try again.
    Connecting = 0,
    /// Frames arrive.
    Live = 1,
    /// No frame came for `stall_ms`; it is being opened anew.
    Stalled = 2,
    /// A file came to its end.
    Ended = 3,
    /// The last attempt failed; the next one follows after a pause.
    Failed = 4,
}

impl SourceState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Stalled => "stalled",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
    const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Live,
            2 => Self::Stalled,
            3 => Self::Ended,
            4 => Self::Failed,
            _ => Self::Connecting,
        }
    }
}

const NEVER: i64 = i64::MIN;

/// One stream's health, shared by reference.
#[derive(Debug)]
pub struct StreamHealth {
    state: AtomicU8,
    last_frame_ns: AtomicI64,
    /// Width in the upper 32 bits, height in the lower: one load never mixes two sizes.
    geometry: AtomicU64,
    capture_clock: AtomicU8,
    attempts: AtomicU32,
    texts: Mutex<Texts>,
}

#[derive(Clone, Debug, Default)]
struct Texts {
    last_error: Option<String>,
    caps: Option<String>,
    decoder: Option<String>,
    /// Of this connection: what was accepted, or why what was shown was not.
    certificate: Option<Result<String, String>>,
    /// Address of the camera that is to show one.
    certificate_of: Option<String>,
}

/// A copy for readers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HealthSnapshot {
    pub state: SourceState,
    /// Pixels; 0 before the first frame.
    pub width: u32,
    pub height: u32,
    /// On the monotonic clock.
    pub last_frame_ns: Option<i64>,
    /// Which clock stamped the last frame: `driver`, `sender`, `arrival`, `scheduled`.
    pub capture_clock: Option<&'static str>,
    /// Attempts since frames last flowed.
    pub attempts: u32,
    pub last_error: Option<String>,
    /// What the decoder or driver delivers, in GStreamer's notation.
    pub caps: Option<String>,
    pub decoder: Option<String>,
    /// SHA-256 of the certificate that the camera showed on this connection (`rtsps://`), hex digits.
    pub tls_sha256: Option<String>,
}

const CLOCKS: [&str; 5] = ["", "driver", "sender", "arrival", "scheduled"];

impl Default for StreamHealth {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamHealth {
    pub fn new() -> Self {
        Self {
            state: AtomicU8::new(SourceState::Connecting as u8),
            last_frame_ns: AtomicI64::new(NEVER),
            geometry: AtomicU64::new(0),
            capture_clock: AtomicU8::new(0),
            attempts: AtomicU32::new(0),
            texts: Mutex::new(Texts::default()),
        }
    }

    pub fn state(&self) -> SourceState {
        SourceState::from_u8(self.state.load(Relaxed))
    }
    pub(super) fn set_state(&self, state: SourceState) {
        self.state.store(state as u8, Relaxed);
    }
    /// When the last frame arrived.
    pub fn last_frame_at(&self) -> Option<Stamp<Monotonic>> {
        Some(self.last_frame_ns.load(Relaxed)).filter(|&ns| ns != NEVER).map(Stamp::from_ns)
    }
    /// Since frames last flowed.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Relaxed)
    }
    pub(super) fn set_attempts(&self, attempts: u32) {
        self.attempts.store(attempts, Relaxed);
    }
    pub(super) fn set_error(&self, error: String) {
        self.texts.lock().last_error = Some(error);
    }
    /// What the source delivers; told by the source when it knows.
    pub(super) fn set_caps(&self, caps: String) {
        self.texts.lock().caps = Some(caps);
    }
    pub(super) fn set_decoder(&self, decoder: String) {
        self.texts.lock().decoder = Some(decoder);
    }

    /// A connection begins: nobody has shown anything yet.
    pub(super) fn forget_certificate(&self) {
        let mut texts = self.texts.lock();
        (texts.certificate, texts.certificate_of) = (None, None);
    }
    pub(super) fn expects_certificate(&self, address: String) {
        self.texts.lock().certificate_of = Some(address);
    }
    pub(super) fn certificate_expected(&self) -> Option<String> {
        self.texts.lock().certificate_of.clone()
    }
    pub(super) fn accepted_certificate(&self, sha256: String) {
        self.texts.lock().certificate = Some(Ok(sha256));
    }
    pub(super) fn refused_certificate(&self, why: String) {
        self.texts.lock().certificate = Some(Err(why));
    }
    pub(super) fn certificate_refused(&self) -> Option<String> {
        self.texts.lock().certificate.clone().and_then(Result::err)
    }
    /// SHA-256 of the certificate that the camera showed and that was accepted.
    pub fn certificate(&self) -> Option<String> {
        self.texts.lock().certificate.clone().and_then(Result::ok)
    }

    /// Notes a frame; true if its size differs from the one before.
    pub(super) fn saw_frame(&self, header: &FrameHeader) -> bool {
        self.last_frame_ns.store(header.arrived_at.ns(), Relaxed);
        let name = header.captured_at.clock_name();
        let clock = CLOCKS.iter().position(|&c| c == name).unwrap_or(0);
        self.capture_clock.store(u8::try_from(clock).unwrap_or(0), Relaxed);
        let geometry = u64::from(header.width) << 32 | u64::from(header.height);
        let before = self.geometry.swap(geometry, Relaxed);
        self.state.store(SourceState::Live as u8, Relaxed);
        before != 0 && before != geometry
    }

    pub fn snapshot(&self) -> HealthSnapshot {
        let geometry = self.geometry.load(Relaxed);
        let clock = CLOCKS.get(usize::from(self.capture_clock.load(Relaxed))).copied().unwrap_or_default();
        let texts = self.texts.lock().clone();
        HealthSnapshot {
            state: self.state(),
            width: u32::try_from(geometry >> 32).unwrap_or(0),
            height: u32::try_from(geometry & 0xffff_ffff).unwrap_or(0),
            last_frame_ns: self.last_frame_at().map(Stamp::ns),
            capture_clock: Some(clock).filter(|c| !c.is_empty()),
            attempts: self.attempts.load(Relaxed),
            last_error: texts.last_error,
            caps: texts.caps,
            decoder: texts.decoder,
            tls_sha256: texts.certificate.and_then(Result::ok),
        }
    }
}
