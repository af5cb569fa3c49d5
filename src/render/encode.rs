//! Scene → clip: I420 frames through GStreamer's H.264 encoder into Matroska.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_video as gst_video;

use super::portraits::{Planes, Scene};

#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("GStreamer: {0}")]
    Element(String),
    #[error("GStreamer stopped at frame {frame}: {reason}")]
    Stopped { frame: u64, reason: String },
}

impl From<gst::glib::Error> for EncodeError {
    fn from(e: gst::glib::Error) -> Self {
        Self::Element(e.to_string())
    }
}
impl From<gst::glib::BoolError> for EncodeError {
    fn from(e: gst::glib::BoolError) -> Self {
        Self::Element(e.to_string())
    }
}

/// A clip to be made.
#[derive(Clone, Copy, Debug)]
pub struct Film {
    /// Even, pixels.
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub frames: u64,
}

/// Encodes all frames of `scene` to `path`. `progress` hears each frame's number.
pub fn encode(scene: &Scene, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), EncodeError> {
    let film = Film { width: scene.layout.width, height: scene.layout.height, fps: scene.layout.fps, frames: scene.frame_count() };
    encode_drawn(film, path, &mut |frame, planes| {
        scene.draw(frame, planes);
        progress(frame);
    })
}

/// Encodes `film` to `path`; `draw` fills the planes of each frame, in order.
pub fn encode_drawn(film: Film, path: &Path, draw: &mut dyn FnMut(u64, &mut Planes)) -> Result<(), EncodeError> {
    gst::init()?;
    let pipeline = gst::Pipeline::new();
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, film.width, film.height)
        .fps(gst::Fraction::new(i32::try_from(film.fps).unwrap_or(25), 1))
        .colorimetry(&gst_video::VideoColorimetry::new(
            gst_video::VideoColorRange::Range16_235,
            gst_video::VideoColorMatrix::Bt709,
            gst_video::VideoTransferFunction::Bt709,
            gst_video::VideoColorPrimaries::Bt709,
        ))
        .build()?;
    let source = AppSrc::builder().caps(&info.to_caps()?).format(gst::Format::Time).block(true).max_bytes(32 << 20).build();
    let make = |name: &str| gst::ElementFactory::make(name).build();
    let encoder = gst::ElementFactory::make("x264enc")
        .property_from_str("speed-preset", "veryfast")
        .property_from_str("pass", "quant")
        .property("quantizer", 20_u32)
        // Like a camera: a picture is sent when it was taken, not when those after it were.
        .property("bframes", 0_u32)
        .property("key-int-max", film.fps)
        .build()?;
    let (parse, mux) = (make("h264parse")?, make("matroskamux")?);
    let sink = gst::ElementFactory::make("filesink").property("location", path.to_string_lossy().as_ref()).build()?;
    let chain = [source.upcast_ref(), &encoder, &parse, &mux, &sink];
    pipeline.add_many(chain)?;
    gst::Element::link_many(chain)?;
    pipeline.set_state(gst::State::Playing).map_err(|e| EncodeError::Element(e.to_string()))?;
    let result = feed(film, &source, &info, draw).and_then(|()| wait_for_end(&pipeline, film.frames));
    // The clip is complete or the error is known; a failing shutdown adds nothing.
    let _stopped = pipeline.set_state(gst::State::Null);
    result
}

fn feed(film: Film, source: &AppSrc, info: &gst_video::VideoInfo, draw: &mut dyn FnMut(u64, &mut Planes)) -> Result<(), EncodeError> {
    let mut planes = Planes::default();
    let frame_ns = 1_000_000_000 / u64::from(film.fps.max(1));
    for frame in 0..film.frames {
        draw(frame, &mut planes);
        let mut buffer = gst::Buffer::with_size(info.size())?;
        let writable = buffer.get_mut().ok_or_else(|| EncodeError::Element("a new buffer is shared".to_owned()))?;
        writable.set_pts(gst::ClockTime::from_nseconds(frame * frame_ns));
        writable.set_duration(gst::ClockTime::from_nseconds(frame_ns));
        for (i, plane) in planes.iter().enumerate() {
            copy_plane(writable, info, i, plane)?;
        }
        source.push_buffer(buffer).map_err(|e| EncodeError::Stopped { frame, reason: e.to_string() })?;
    }
    source.end_of_stream().map_err(|e| EncodeError::Stopped { frame: film.frames, reason: e.to_string() })?;
    Ok(())
}

fn copy_plane(buffer: &mut gst::BufferRef, info: &gst_video::VideoInfo, plane: usize, rows: &[u8]) -> Result<(), EncodeError> {
    let width = info.width() as usize / if plane == 0 { 1 } else { 2 };
    let stride = usize::try_from(info.stride()[plane]).unwrap_or(width);
    let mut offset = info.offset()[plane];
    for row in rows.chunks_exact(width) {
        buffer.copy_from_slice(offset, row).map_err(|_short| EncodeError::Element("buffer too small".to_owned()))?;
        offset += stride;
    }
    Ok(())
}

fn wait_for_end(pipeline: &gst::Pipeline, frame: u64) -> Result<(), EncodeError> {
    let Some(bus) = pipeline.bus() else { return Ok(()) };
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    match bus.timed_pop_filtered(gst::ClockTime::from_seconds(120), &ends).map(|m| m.view().to_owned_error()) {
        Some(None) => Ok(()),
        Some(Some(reason)) => Err(EncodeError::Stopped { frame, reason }),
        None => Err(EncodeError::Stopped { frame, reason: "no end of stream within 120 s".to_owned() }),
    }
}

/// GStreamer's own words, if the message is an error.
trait ErrorText {
    fn to_owned_error(&self) -> Option<String>;
}
impl ErrorText for gst::MessageView<'_> {
    fn to_owned_error(&self) -> Option<String> {
        match self {
            gst::MessageView::Error(e) => Some(format!("{} ({})", e.error(), e.debug().unwrap_or_default())),
            _ => None,
        }
    }
}
