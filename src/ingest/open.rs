//! From a stream's configuration to a [`Source`], anew for every attempt: a device that was replaced, a credential that was corrected or
//! a plugin that was installed meanwhile is found.

use super::{IngestError, Source, WhenFull};
use crate::config::schema::{Capture, Stream};
use crate::config::source::SourceSpec;

/// How this stream's frames meet a full ring: files that are not replayed in real time lose nothing.
pub fn when_full(stream: &Stream, spec: &SourceSpec) -> WhenFull {
    match spec {
        SourceSpec::File { .. } | SourceSpec::Image { .. } | SourceSpec::Rendered { .. } | SourceSpec::Gst if !stream.realtime => {
            WhenFull::WaitsForRoom
        }
        _ => WhenFull::NewestWins,
    }
}

/// Makes the source; nothing is opened yet.
pub fn open(stream: &Stream, spec: &SourceSpec) -> Result<Box<dyn Source>, IngestError> {
    match spec {
        SourceSpec::Rendered { scene, seed, turns, masked, acts } if stream.gst.is_none() => {
            let source = super::rendered::RenderedSource::new(stream, spec, scene, (*seed, *turns));
            Ok(Box::new(source.wearing_masks(*masked).performing(acts)))
        }
        SourceSpec::V4l2 { device } if stream.gst.is_none() && stream.capture == Capture::Native => {
            Ok(super::v4l2::native_source(stream, device.clone()))
        }
        SourceSpec::Gst if stream.gst.is_none() => Err(IngestError::NoFragment { stream: stream.name.clone() }),
        _ => open_gstreamer(stream, spec),
    }
}

#[cfg(feature = "gst")]
fn open_gstreamer(stream: &Stream, spec: &SourceSpec) -> Result<Box<dyn Source>, IngestError> {
    Ok(Box::new(super::gstreamer::GstSource::new(stream, spec)?))
}

#[cfg(not(feature = "gst"))]
fn open_gstreamer(stream: &Stream, spec: &SourceSpec) -> Result<Box<dyn Source>, IngestError> {
    Err(IngestError::NoGstreamer { stream: stream.name.clone(), source_text: spec.to_string() })
}
