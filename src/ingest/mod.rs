//! Ingest: cameras and files → frames.
//!
//! One named thread per stream (`ingest-<stream>`) owns one [`Source`] at a time: it opens it, lets it run, and when it ends or fails
//! opens it anew, for ever ([`supervise`]). A source delivers frames to its stream's [`Outlet`]; nothing is shared between streams, so
//! one that dies, stalls, changes its resolution or sends garbage cannot disturb another.
//!
//! ```text
//! supervise (for ever) ── open ─▶ Source::run_once (one connection) ── Frame ─▶ Outlet ─▶ Ring (newest wins) ─▶ batch
//!                                                                       └──▶ StreamHealth (status, metrics)
//! ```
//!
//! Invariants: a frame's planes are the decoder's or driver's own memory, never a copy; capture time names its clock; no error, log line
//! or health text of this module holds a user name, a password or a pixel.

pub mod credential;
pub mod error;
#[cfg(feature = "gst")]
pub mod gstreamer;
pub mod health;
pub mod onvif;
pub mod open;
pub mod outlet;
pub mod paced;
pub mod redact;
pub mod rendered;
pub mod supervise;
pub mod v4l2;

pub use error::IngestError;
pub use health::{HealthSnapshot, SourceState, StreamHealth};
pub use outlet::{Delivery, IngestCounters, Outlet, WhenFull};
pub use supervise::{IngestThread, spawn};

use crate::shutdown::Shutdown;

/// How one connection ended, when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The source has no more frames and never will: a file that is not repeated.
    Finished,
    /// The source reached its end and is to be opened again at once: a repeated file whose format cannot seek.
    Again,
    /// The peer closed a stream that ought to go on: a camera that hung up.
    Disconnected,
    /// We were asked to stop.
    Shutdown,
}

/// One connection to a camera or file. Made anew for every attempt, used by the stream's ingest thread alone.
pub trait Source: Send {
    /// Opens the source and delivers its frames until it ends, fails, stalls, or `shutdown` is requested (noticed within 100 ms).
    fn run_once(&mut self, outlet: &Outlet, shutdown: &Shutdown) -> Result<End, IngestError>;
}
