//! A clip in memory, as a camera would send it: access units of H.264 or H.265, ready to be sent round and round.
//!
//! H.264 and H.265 are taken as they are; anything else that GStreamer can decode (MJPEG, VP8) is encoded once, when it is loaded. GIF is
//! decoded here, because GStreamer 1.22's GIF reader never comes to the end of a file.
//! Units: nanoseconds of the clip's own time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use image::AnimationDecoder;

/// A clip that has not been read by then is not going to be.
const LOAD_LIMIT: Duration = Duration::from_secs(120);
/// Longest clip that is held in memory.
const MAX_BYTES: usize = 512 << 20;
/// Without better knowledge a picture lasts this long.
const DEFAULT_PICTURE_NS: u64 = 40_000_000;

/// As it is in the file.
const AS_IT_IS: [(&str, &str); 2] = [
    ("video/x-h264", "h264parse ! capsfilter caps=video/x-h264,stream-format=byte-stream,alignment=au"),
    ("video/x-h265", "h265parse ! capsfilter caps=video/x-h265,stream-format=byte-stream,alignment=au"),
];
/// No B-pictures and a key picture every second, like a camera; the quantiser keeps faces recognisable.
const ENCODE: &str = "videoconvert ! video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=veryfast pass=quant \
                      quantizer=20 key-int-max=30 bframes=0 ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=au ! \
                      appsink name=units sync=false";

/// One clip.
pub struct Clip {
    pub caps: gst::Caps,
    units: Vec<gst::Buffer>,
    /// Time from the first unit's decode time to the same place of the next round.
    round_ns: u64,
    first_ns: u64,
}

impl Clip {
    pub fn load(path: &Path) -> Result<Self> {
        let located = || format!("clip {}", path.display());
        std::fs::File::open(path).with_context(located)?;
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gif")) {
            let parts = Parts::new(&format!("appsrc name=pictures format=time max-bytes=0 ! {ENCODE}"))?;
            parts.push_gif(path).with_context(located)?;
            return parts.read(&AtomicBool::new(false)).and_then(|clip| clip.context("it holds no picture")).with_context(located);
        }
        let parts = Parts::new("filesrc name=file ! parsebin name=parse appsink name=units sync=false")?.reading(path)?;
        if let Some(clip) = parts.read_as_it_is().with_context(located)? {
            return Ok(clip);
        }
        let parts = Parts::new(&format!("filesrc name=file ! decodebin ! {ENCODE}"))?.reading(path)?;
        parts.read(&AtomicBool::new(false)).and_then(|clip| clip.context("it holds no picture")).with_context(located)
    }

    /// The `index`-th access unit of an endless repetition, its time stamps running on without a gap.
    pub fn unit(&self, index: u64) -> gst::Buffer {
        let count = self.units.len() as u64;
        let (round, place) = (index / count, index % count);
        let place = usize::try_from(place).unwrap_or(0);
        let mut unit = self.units[place].clone();
        let shift = |time: Option<gst::ClockTime>| {
            time.map(|t| gst::ClockTime::from_nseconds((t.nseconds() + round * self.round_ns).saturating_sub(self.first_ns)))
        };
        let (pts, dts) = (shift(unit.pts()), shift(unit.dts()));
        // Only the header is copied; the bytes are shared by all rounds and clients.
        let header = unit.make_mut();
        header.set_pts(pts);
        header.set_dts(dts);
        unit
    }

    pub fn is_h265(&self) -> bool {
        self.caps.structure(0).is_some_and(|s| s.name() == "video/x-h265")
    }
}

/// A pipeline that reads a clip. Dropping it stops it.
struct Parts {
    pipeline: gst::Pipeline,
    units: gst_app::AppSink,
}

impl Drop for Parts {
    fn drop(&mut self) {
        // It only ever read a file: there is nothing to lose.
        let _stopped = self.pipeline.set_state(gst::State::Null);
    }
}

impl Parts {
    fn new(description: &str) -> Result<Self> {
        let pipeline = gst::parse::launch(description).context("an element is missing: run `make deps`")?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| anyhow!("no pipeline"))?;
        let units = pipeline.by_name("units").and_then(|e| e.downcast::<gst_app::AppSink>().ok()).context("no sink")?;
        Ok(Self { pipeline, units })
    }

    fn reading(self, path: &Path) -> Result<Self> {
        let file = self.pipeline.by_name("file").context("no reader")?;
        file.set_property("location", path.to_string_lossy().as_ref());
        Ok(self)
    }

    /// Queues every picture of an animation, each with its own duration.
    fn push_gif(&self, path: &Path) -> Result<()> {
        let source = self.pipeline.by_name("pictures").and_then(|e| e.downcast::<gst_app::AppSrc>().ok()).context("no source")?;
        let file = std::io::BufReader::new(std::fs::File::open(path)?);
        let mut shown_ns = 0;
        for picture in image::codecs::gif::GifDecoder::new(file)?.into_frames() {
            let picture = picture?;
            let (numerator_ms, denominator) = picture.delay().numer_denom_ms();
            let picture = picture.into_buffer();
            if shown_ns == 0 {
                let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgba, picture.width(), picture.height()).build()?;
                source.set_caps(Some(&info.to_caps()?));
            }
            let mut buffer = gst::Buffer::from_slice(picture.into_raw());
            let lasts_ns = u64::from(numerator_ms.max(1)) * 1_000_000 / u64::from(denominator.max(1));
            if let Some(header) = buffer.get_mut() {
                header.set_pts(gst::ClockTime::from_nseconds(shown_ns));
                header.set_duration(gst::ClockTime::from_nseconds(lasts_ns));
            }
            shown_ns += lasts_ns;
            self.pipeline.set_state(gst::State::Playing).context("it cannot be opened")?;
            source.push_buffer(buffer)?;
        }
        source.end_of_stream()?;
        Ok(())
    }

    /// `None` if the pictures are neither H.264 nor H.265.
    fn read_as_it_is(&self) -> Result<Option<Clip>> {
        let foreign = Arc::new(AtomicBool::new(false));
        let parse = self.pipeline.by_name("parse").context("no parser")?;
        let (pipeline, units, seen) = (self.pipeline.downgrade(), self.units.downgrade(), Arc::clone(&foreign));
        parse.connect_pad_added(move |parse, pad| {
            if let (Some(pipeline), Some(units)) = (pipeline.upgrade(), units.upgrade())
                && let Err(error) = attach(&pipeline, pad, &units, &seen)
            {
                gst::element_error!(parse, gst::StreamError::Failed, ("{error:#}"));
            }
        });
        self.read(&foreign)
    }

    fn read(&self, foreign: &AtomicBool) -> Result<Option<Clip>> {
        self.pipeline.set_state(gst::State::Playing).context("it cannot be opened")?;
        let bus = self.pipeline.bus().context("the pipeline has no bus")?;
        let (mut units, mut caps, mut bytes) = (vec![], None, 0);
        let started = Instant::now();
        while !self.units.is_eos() {
            if foreign.load(Relaxed) {
                return Ok(None);
            }
            if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error])
                && let gst::MessageView::Error(error) = message.view()
            {
                bail!("{} ({})", error.error(), error.debug().unwrap_or_default());
            }
            let Some(sample) = self.units.try_pull_sample(gst::ClockTime::from_mseconds(100)) else {
                if started.elapsed() > LOAD_LIMIT {
                    bail!("no picture was found in it");
                }
                continue;
            };
            if let Some(buffer) = sample.buffer_owned() {
                bytes += buffer.size();
                units.push(buffer);
            }
            caps = caps.or_else(|| sample.caps_owned());
            if bytes > MAX_BYTES {
                bail!("it is larger than {} MiB", MAX_BYTES >> 20);
            }
        }
        assemble(units, caps.context("it holds no picture")?).map(Some)
    }
}

/// Links a track that the parser found: pictures to the sink, everything else nowhere.
fn attach(pipeline: &gst::Pipeline, pad: &gst::Pad, units: &gst_app::AppSink, foreign: &AtomicBool) -> Result<()> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let media = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
    let known = AS_IT_IS.iter().find(|(name, _)| *name == media);
    let picture = media.starts_with("video/") || media.starts_with("image/");
    if picture && known.is_none() {
        foreign.store(true, Relaxed);
    }
    let branch = gst::parse::bin_from_description(known.map_or("fakesink async=false", |(_, parser)| parser), true)?;
    pipeline.add(&branch)?;
    if known.is_some() {
        branch.link(units)?;
    }
    branch.sync_state_with_parent()?;
    pad.link(&branch.static_pad("sink").context("the branch has no way in")?)?;
    Ok(())
}

/// Finds how long one round lasts: from the first picture's start to the last one's end.
fn assemble(units: Vec<gst::Buffer>, caps: gst::Caps) -> Result<Clip> {
    let mut shown: Vec<u64> = units.iter().filter_map(|u| u.pts().map(gst::ClockTime::nseconds)).collect();
    shown.sort_unstable();
    let (Some(&first_shown), Some(&last_shown)) = (shown.first(), shown.last()) else { bail!("its pictures have no time stamps") };
    let mut steps: Vec<u64> = shown.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    let picture_ns = steps.get(steps.len() / 2).copied().filter(|&ns| ns > 0).unwrap_or(DEFAULT_PICTURE_NS);
    let first_decoded = units.iter().filter_map(|u| u.dts().map(gst::ClockTime::nseconds)).min();
    let first_ns = first_decoded.map_or(first_shown, |dts| dts.min(first_shown));
    Ok(Clip { caps, units, round_ns: last_shown - first_shown + picture_ns, first_ns })
}
