//! Clip → one picture: the n-th frame of a file as RGB, for enrolling somebody from a clip.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use image::RgbImage;

#[derive(Debug, thiserror::Error)]
pub enum StillError {
    #[error("{path}: {reason}")]
    Decode { path: String, reason: String },
    #[error("{path} has no frame {index}")]
    TooShort { path: String, index: usize },
}

/// Frame `index` (from 0) of the clip at `path`.
pub fn still(path: &Path, index: usize) -> Result<RgbImage, StillError> {
    let failed = |reason: &dyn std::fmt::Display| StillError::Decode { path: path.display().to_string(), reason: reason.to_string() };
    gst::init().map_err(|e| failed(&e))?;
    let description =
        "filesrc name=source ! decodebin ! videoconvert ! video/x-raw,format=RGB ! appsink name=sink sync=false max-buffers=2";
    let pipeline = gst::parse::launch(description).map_err(|e| failed(&e))?;
    let bin = pipeline.downcast_ref::<gst::Bin>().ok_or_else(|| failed(&"not a bin"))?;
    let source = bin.by_name("source").ok_or_else(|| failed(&"no source"))?;
    source.set_property("location", path.to_string_lossy().as_ref());
    let sink = bin.by_name("sink").and_then(|s| s.downcast::<AppSink>().ok()).ok_or_else(|| failed(&"no sink"))?;
    pipeline.set_state(gst::State::Playing).map_err(|e| failed(&e))?;
    let picture = nth(&sink, path, index);
    // The picture is there or the error is known; a failing shutdown adds nothing.
    let _stopped = pipeline.set_state(gst::State::Null);
    picture
}

fn nth(sink: &AppSink, path: &Path, index: usize) -> Result<RgbImage, StillError> {
    let too_short = || StillError::TooShort { path: path.display().to_string(), index };
    let pull = || sink.try_pull_sample(gst::ClockTime::from_seconds(20)).ok_or_else(too_short);
    for _ in 0..index {
        pull()?;
    }
    let sample = pull()?;
    let failed = |reason: &str| StillError::Decode { path: path.display().to_string(), reason: reason.to_owned() };
    let info = sample.caps().and_then(|c| gst_video::VideoInfo::from_caps(c).ok()).ok_or_else(|| failed("no video caps"))?;
    let buffer = sample.buffer().ok_or_else(|| failed("empty sample"))?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).map_err(|_e| failed("cannot map the frame"))?;
    let rows = frame.plane_data(0).map_err(|_e| failed("no plane"))?;
    let (stride, row_bytes) = (usize::try_from(frame.plane_stride()[0]).unwrap_or(0), info.width() as usize * 3);
    let pixels: Vec<u8> =
        rows.chunks(stride.max(1)).take(info.height() as usize).flat_map(|r| &r[..row_bytes.min(r.len())]).copied().collect();
    RgbImage::from_raw(info.width(), info.height(), pixels).ok_or_else(|| failed("short frame"))
}
