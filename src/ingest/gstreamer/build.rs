//! From a stream's configuration to a running pipeline.

use std::io::Read;
use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::super::IngestError;
use super::super::credential::Credential;
use super::super::health::StreamHealth;
use super::super::redact::Redactor;
use super::messages::Messages;
use super::missing::package_of;
use super::sink::{Origin, Replay, Timing};
use super::{decoders, formats, fragment, tls};
use crate::config::schema::{Stream, Transport};
use crate::config::source::SourceSpec;

/// Pictures the appsink holds before it holds the decoder back. Frames are dropped in the stream's ring, where they are counted.
const SINK_PICTURES: u32 = 2;
/// Rate at which a still picture is repeated.
const STILL_FPS: i32 = 10;

/// What a pipeline is built from.
pub(in super::super) struct Plan<'a> {
    pub stream: &'a Stream,
    pub spec: &'a SourceSpec,
    pub credential: Option<&'a Credential>,
    pub redactor: &'a Redactor,
}

/// A pipeline that plays. Dropping it stops and frees it.
pub(in super::super) struct Running<'a> {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    messages: Messages<'a>,
    origin: Origin,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Also on errors and panics: streaming threads end here, before the stream's next attempt.
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!(stream = self.messages.stream, "the pipeline did not stop cleanly");
        }
    }
}

impl Running<'_> {
    pub fn check_bus(&self) -> Result<(), IngestError> {
        self.messages.check()
    }
    /// At the end of data that held no picture: the error that explains it, if there is one.
    pub fn check_to_the_end(&self) -> Result<(), IngestError> {
        self.messages.check_to_the_end(super::PULL_WAIT)
    }
    pub fn pull(&self, wait: gst::ClockTime) -> Option<gst::Sample> {
        self.sink.try_pull_sample(wait)
    }
    /// True at the end of the data, once every picture was pulled.
    pub fn is_drained(&self) -> bool {
        self.sink.is_eos()
    }
    /// Starts the data over; false where the format cannot.
    pub fn rewind(&self) -> bool {
        self.pipeline.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT, gst::ClockTime::ZERO).is_ok()
    }
    pub fn timing(&self) -> Timing {
        Timing { origin: self.origin, pipeline: self.pipeline.clone(), replay: Replay::default() }
    }
    pub fn pipeline(&self) -> &gst::Pipeline {
        &self.pipeline
    }
}

impl<'a> Plan<'a> {
    /// Builds the pipeline and sets it playing.
    pub fn start(&self, health: &Arc<StreamHealth>) -> Result<Running<'a>, IngestError> {
        let mut running = self.build(health)?;
        // Decided by the pipeline, not by its description: a fragment may hold a camera or a file.
        let paused = running.pipeline.set_state(gst::State::Paused);
        let live = match paused {
            Ok(success) => success == gst::StateChangeSuccess::NoPreroll,
            Err(_) => return Err(running.messages.error_or("an element refused to start, without a word")),
        };
        running.sink.set_sync(!live && self.stream.realtime);
        if live && running.origin == Origin::File {
            running.origin = Origin::Live;
        }
        if running.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(running.messages.error_or("an element refused to play, without a word"));
        }
        Ok(running)
    }

    fn build(&self, health: &Arc<StreamHealth>) -> Result<Running<'a>, IngestError> {
        let pipeline = match &self.stream.gst {
            Some(fragment) => self.build_fragment(fragment)?,
            None => gst::Pipeline::new(),
        };
        // CLOCK_MONOTONIC, so that running times and our own stamps are of one clock.
        pipeline.use_clock(Some(&gst::SystemClock::obtain()));
        decoders::watch(&pipeline, health);
        let (sink, origin) = if self.stream.gst.is_some() {
            decoders::note_present(&pipeline, health);
            let sink = pipeline.by_name(SINK).and_then(|s| s.downcast::<gst_app::AppSink>().ok());
            let sink = sink.ok_or_else(|| self.failed("the fragment has no end to attach to"))?;
            for element in pipeline.iterate_recurse().into_iter().flatten().filter(is_rtspsrc) {
                if tls::is_asked_for(&element) && sources_of(&pipeline) != 1 {
                    // Whose pictures they were, the certificate of one of them would not tell.
                    return Err(self.failed("a fragment with an rtsps:// camera has that camera and no other source"));
                }
                self.watch_certificate(&element, health)?;
            }
            configure_sink(&sink);
            (sink, origin_of(&pipeline))
        } else {
            self.assemble(&pipeline, health)?
        };
        let bus = pipeline.bus().ok_or_else(|| self.failed("the pipeline has no bus"))?;
        let messages = Messages::new(&self.stream.name, self.stream.decoder.as_deref(), self.redactor, bus);
        Ok(Running { pipeline, sink, messages, origin })
    }

    /// Our own chain: source → decodebin → (still: freeze) → appsink.
    fn assemble(&self, pipeline: &gst::Pipeline, health: &Arc<StreamHealth>) -> Result<(gst_app::AppSink, Origin), IngestError> {
        let decode = self.make("decodebin")?;
        // Only pictures are decoded; audio and metadata tracks are left alone.
        decode.set_property("expose-all-streams", false);
        decode.set_property("caps", gst::Caps::builder("video/x-raw").any_features().build());
        if let Some(element) = &self.stream.decoder {
            decoders::choose(&decode, element, &self.stream.name)?;
        }
        let sink = self.make("appsink")?.downcast::<gst_app::AppSink>().map_err(|_| self.failed("appsink is no appsink"))?;
        configure_sink(&sink);
        pipeline.add_many([&decode, sink.upcast_ref()]).map_err(|e| self.failed(&e.to_string()))?;
        if matches!(self.spec, SourceSpec::Image { .. }) {
            let freeze = self.make("imagefreeze")?;
            pipeline.add(&freeze).map_err(|e| self.failed(&e.to_string()))?;
            let rate = gst::Caps::builder("video/x-raw").field("framerate", gst::Fraction::new(STILL_FPS, 1)).build();
            freeze.link_filtered(&sink, &rate).map_err(|e| self.failed(&e.to_string()))?;
            link_when_ready(&decode, &freeze, refuse_pictures);
        } else {
            link_when_ready(&decode, sink.upcast_ref(), refuse_pictures);
        }
        let origin = self.add_source(pipeline, &decode, health)?;
        Ok((sink, origin))
    }

    fn add_source(&self, pipeline: &gst::Pipeline, decode: &gst::Element, health: &Arc<StreamHealth>) -> Result<Origin, IngestError> {
        match self.spec {
            SourceSpec::Rtsp { url } => {
                let source = self.make("rtspsrc")?;
                source.set_property("location", url);
                self.configure_rtsp(&source, health)?;
                pipeline.add(&source).map_err(|e| self.failed(&e.to_string()))?;
                link_when_ready(&source, decode, |_, _, _| {});
                Ok(Origin::Live)
            }
            SourceSpec::V4l2 { device } => {
                let source = self.make("v4l2src")?;
                source.set_property("device", device.to_string_lossy().as_ref());
                pipeline.add(&source).map_err(|e| self.failed(&e.to_string()))?;
                match self.stream.format {
                    Some(format) => source.link_filtered(decode, &device_caps(format)),
                    None => source.link(decode),
                }
                .map_err(|e| self.failed(&e.to_string()))?;
                Ok(Origin::Driver)
            }
            SourceSpec::File { path } | SourceSpec::Image { path } => {
                check_file(path).map_err(|reason| IngestError::File { stream: self.stream.name.clone(), path: path.clone(), reason })?;
                let source = self.make("filesrc")?;
                source.set_property("location", path.to_string_lossy().as_ref());
                pipeline.add(&source).map_err(|e| self.failed(&e.to_string()))?;
                source.link(decode).map_err(|e| self.failed(&e.to_string()))?;
                Ok(Origin::File)
            }
            SourceSpec::Rendered { .. } | SourceSpec::Gst => Err(self.failed("this source is not GStreamer's")),
        }
    }

    fn configure_rtsp(&self, source: &gst::Element, health: &Arc<StreamHealth>) -> Result<(), IngestError> {
        source.set_property("latency", self.stream.jitter_ms);
        source.set_property_from_str(
            "protocols",
            match self.stream.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            },
        );
        // Microseconds. Past the stall limit nobody waits for it any more.
        source.set_property("tcp-timeout", self.stream.stall_ms.saturating_mul(1_000));
        source.set_property("add-reference-timestamp-meta", true);
        self.hand_over_credential(source);
        self.watch_certificate(source, health)?;
        // Sound and metadata tracks are not even asked for.
        source.connect("select-stream", false, |values| {
            let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
            let media = caps.as_ref().and_then(|c| c.structure(0)).and_then(|s| s.get::<&str>("media").ok());
            Some((media == Some("video")).to_value())
        });
        Ok(())
    }

    /// Before anything is connected.
    fn watch_certificate(&self, source: &gst::Element, health: &Arc<StreamHealth>) -> Result<(), IngestError> {
        let pin = self.stream.tls_sha256.as_deref();
        if !tls::is_asked_for(source) {
            // A fragment's, whose address the configuration does not know.
            return if pin.is_none() {
                Ok(())
            } else {
                Err(self.failed("tls_sha256 is given, and the source does not speak TLS: use rtsps://"))
            };
        }
        tls::watch(source, pin, health).map_err(|reason| self.failed(&reason))
    }

    fn hand_over_credential(&self, source: &gst::Element) {
        if let Some(credential) = self.credential {
            source.set_property("user-id", credential.user());
            source.set_property("user-pw", credential.password());
        }
    }

    pub(super) fn build_fragment(&self, text: &str) -> Result<gst::Pipeline, IngestError> {
        if let Some(decoder) = &self.stream.decoder {
            return Err(decoders::refuse_with_fragment(&self.stream.name, decoder, self.redactor));
        }
        let refuse = |reason: String| IngestError::Fragment { stream: self.stream.name.clone(), reason };
        if self.redactor.clean(text).contains("…@") || text.contains("user-pw") {
            return Err(refuse("it holds a user or password: name a `credential_file` instead, it reaches every rtspsrc".to_owned()));
        }
        super::init(&self.stream.name)?;
        // With its caps, so that an end that does not fit is refused here rather than when the first picture comes.
        let description = format!("{} ! appsink name={SINK} caps=\"{}\"", text.trim().trim_end_matches('!'), formats::caps());
        let mut context = gst::ParseContext::new();
        let parsed = gst::parse::launch_full(&description, Some(&mut context), gst::ParseFlags::FATAL_ERRORS);
        let element = parsed.map_err(|error| match context.missing_elements().first() {
            Some(element) => {
                IngestError::MissingElement { stream: self.stream.name.clone(), element: element.to_string(), package: package_of(element) }
            }
            None if error.message().contains(SINK) => {
                refuse(formats::refusal(&format!("its end does not fit ({})", self.redactor.clean(error.message()))))
            }
            None => refuse(self.redactor.clean(error.message())),
        })?;
        let pipeline = element.downcast::<gst::Pipeline>().map_err(|_| refuse("it is no pipeline".to_owned()))?;
        if let Some(way_out) = fragment::way_out(&pipeline, SINK) {
            let advice = "a fragment may hold no way out for pictures: leave it out; what may be seen is decided by the permit, behind the fragment's end";
            return Err(refuse(format!("{way_out}: {advice}")));
        }
        fragment::watch(&pipeline, SINK);
        for element in pipeline.iterate_recurse().into_iter().flatten().filter(is_rtspsrc) {
            self.hand_over_credential(&element);
        }
        Ok(pipeline)
    }

    fn make(&self, element: &str) -> Result<gst::Element, IngestError> {
        gst::ElementFactory::make(element).build().map_err(|_| IngestError::MissingElement {
            stream: self.stream.name.clone(),
            element: element.to_owned(),
            package: package_of(element),
        })
    }

    fn failed(&self, reason: &str) -> IngestError {
        IngestError::Build { stream: self.stream.name.clone(), reason: self.redactor.clean(reason) }
    }
}

/// Elements that pictures could come from: nothing goes into them.
fn sources_of(pipeline: &gst::Pipeline) -> usize {
    let takes_nothing = |e: &gst::Element| {
        let no_sink = |f: gst::ElementFactory| f.static_pad_templates().iter().all(|t| t.direction() != gst::PadDirection::Sink);
        !fragment::is_protocol_s(e) && e.factory().is_some_and(no_sink)
    };
    pipeline.iterate_recurse().into_iter().flatten().filter(|e| !e.is::<gst::Pipeline>() && takes_nothing(e)).count()
}

fn is_rtspsrc(element: &gst::Element) -> bool {
    element.factory().is_some_and(|f| f.name() == "rtspsrc")
}

/// The appsink's name in fragments.
const SINK: &str = "placard-sink";

fn configure_sink(sink: &gst_app::AppSink) {
    sink.set_caps(Some(&formats::caps()));
    sink.set_max_buffers(SINK_PICTURES);
    sink.set_drop(false);
    sink.set_enable_last_sample(false);
    sink.set_qos(false);
    // Decoders pad their rows; told that we read VideoMeta they hand out their own buffers instead of packed copies.
    if let Some(pad) = sink.static_pad("sink") {
        pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM | gst::PadProbeType::PUSH, |_, info| {
            if let Some(gst::PadProbeData::Query(query)) = &mut info.data
                && let gst::QueryViewMut::Allocation(allocation) = query.view_mut()
            {
                allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
                return gst::PadProbeReturn::Handled;
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// Links `from`'s first pad that `to` can take, when it appears; `look` hears of it, and whether it was linked.
fn link_when_ready(from: &gst::Element, to: &gst::Element, look: fn(&gst::Element, &gst::Pad, bool)) {
    let to = to.downgrade();
    from.connect_pad_added(move |from, pad| {
        let Some(to) = to.upgrade() else { return };
        let Some(entry) = to.static_pad("sink") else { return };
        if entry.is_linked() || pad.direction() != gst::PadDirection::Src {
            return;
        }
        if let Err(error) = pad.link(&entry) {
            tracing::debug!(element = %from.name(), pad = %pad.name(), "not linked: {error}");
            look(from, pad, false);
            return;
        }
        look(from, pad, true);
    });
}

/// Says on the bus which pictures cannot be read. GStreamer links a pad whose pictures do not fit, and a parser that has nothing more to
/// parse ends without a word about them.
fn refuse_pictures(decoder: &gst::Element, pad: &gst::Pad, linked: bool) {
    if linked && pad.current_caps().is_none_or(|caps| caps.can_intersect(&formats::caps())) {
        return;
    }
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let format = caps.structure(0).and_then(|s| s.get::<&str>("format").ok()).unwrap_or("none of these").to_owned();
    let text = formats::refusal(&format!("the decoder delivers {format}"));
    gst::element_error!(decoder, gst::StreamError::Format, ("{text}"), ["{caps}"]);
}

/// The usual mistakes deserve plainer words than an element's.
fn check_file(path: &std::path::Path) -> std::io::Result<()> {
    let mut magic = [0; 4];
    let read = std::fs::File::open(path)?.read(&mut magic)?;
    match (read, &magic) {
        (0, _) => Err(std::io::Error::other("the file is empty")),
        // GStreamer 1.22 reads past the end of a GIF for ever.
        (4, b"GIF8") => Err(std::io::Error::other("GIF is not read here: convert it to MP4 or MKV first")),
        _ => Ok(()),
    }
}

/// Where a fragment's pictures come from, by the source elements in it.
fn origin_of(pipeline: &gst::Pipeline) -> Origin {
    let mut elements = pipeline.iterate_recurse().into_iter().flatten().filter_map(|e| e.factory());
    if elements.any(|factory| factory.name() == "v4l2src") { Origin::Driver } else { Origin::File }
}

/// Any format of the wanted size: raw, JPEG or H.264.
fn device_caps(format: crate::config::schema::V4l2Format) -> gst::Caps {
    let size = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    let mut caps = gst::Caps::new_empty();
    for media in ["video/x-raw", "image/jpeg", "video/x-h264", "video/x-h265"] {
        let mut one = gst::Structure::builder(media).field("width", size(format.width)).field("height", size(format.height)).build();
        if let Some(fps) = format.fps {
            one.set("framerate", gst::Fraction::new(size(fps), 1));
        }
        caps.make_mut().append_structure(one);
    }
    caps
}
