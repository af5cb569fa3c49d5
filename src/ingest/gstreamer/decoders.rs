//! Which decoder a stream gets: the highest-ranked one, or the one its configuration names.
//!
//! A named decoder is made the only candidate of the stream's own decodebin; ranks of other decoders stay as they are, so one stream's
//! choice never changes another's. Some hardware decoders carry rank NONE and are invisible to decodebin: one of these is raised to
//! MARGINAL when it is named, where it can be chosen but wins against nothing.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

use super::super::health::StreamHealth;
use super::super::{IngestError, redact::Redactor};
use super::missing::package_of;

/// Threads of a software decoder. One decodes 1080p30 with room to spare; more would only multiply by the number of streams and hold
/// back frames (frame threading delays each picture by one frame a thread).
const SOFTWARE_DECODER_THREADS: i32 = 1;

/// One decoder that is installed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Decoder {
    pub codec: &'static str,
    pub element: String,
    pub rank: i32,
    pub hardware: bool,
    pub description: String,
}

/// Installed decoders of the codecs that cameras send, best rank first within each codec.
pub fn installed() -> Vec<Decoder> {
    let mut found = vec![];
    for (codec, caps) in [("H.264", "video/x-h264"), ("H.265", "video/x-h265"), ("JPEG", "image/jpeg"), ("AV1", "video/x-av1")] {
        let caps = gst::Caps::new_empty_simple(caps);
        let factories =
            gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DECODER, gst::Rank::NONE).into_iter().filter(is_video);
        let mut decoders: Vec<Decoder> = factories
            .filter(|f| f.can_sink_any_caps(&caps))
            .map(|factory| Decoder {
                codec,
                element: factory.name().to_string(),
                rank: i32::from(factory.rank()),
                hardware: factory.metadata("klass").is_some_and(|k| k.contains("Hardware")),
                description: factory.metadata("long-name").unwrap_or_default().to_owned(),
            })
            .collect();
        decoders.sort_by(|a, b| b.rank.cmp(&a.rank).then_with(|| a.element.cmp(&b.element)));
        found.extend(decoders);
    }
    found
}

/// True for a factory that turns compressed pictures into raw ones.
fn is_video(factory: &gst::ElementFactory) -> bool {
    factory.metadata("klass").is_some_and(|klass| klass.contains("Decoder") && (klass.contains("Video") || klass.contains("Image")))
}

/// Makes `element` the only decoder that `decodebin` may choose for pictures.
pub(super) fn choose(decodebin: &gst::Element, element: &str, stream: &str) -> Result<(), IngestError> {
    let refuse = |reason: String| IngestError::Decoder { stream: stream.to_owned(), decoder: element.to_owned(), reason };
    let factory = gst::ElementFactory::find(element).ok_or_else(|| {
        refuse(format!("GStreamer has no element of this name: install the package {}, or see `placard probe`", package_of(element)))
    })?;
    if !is_video(&factory) {
        return Err(refuse("this element is no video decoder; see `placard probe`".to_owned()));
    }
    if factory.rank() < gst::Rank::MARGINAL {
        factory.set_rank(gst::Rank::MARGINAL);
    }
    let wanted = element.to_owned();
    // Among sorted candidates, not by refusing each in turn: the parser before the decoder agrees on a stream format with all of them.
    decodebin.connect("autoplug-sort", false, move |values| {
        let candidates = values.get(3).and_then(|v| v.get::<glib::ValueArray>().ok())?;
        let keep = |value: &glib::Value| !value.get::<gst::ElementFactory>().is_ok_and(|f| is_video(&f) && f.name() != wanted);
        Some(glib::ValueArray::from_values(candidates.iter().filter(|v| keep(v)).cloned()).to_value())
    });
    Ok(())
}

/// Watches the elements that join the pipeline: notes which decoder it is and keeps software decoders to their thread budget.
pub(super) fn watch(pipeline: &gst::Pipeline, health: &Arc<StreamHealth>) {
    let health = Arc::clone(health);
    pipeline.connect_deep_element_added(move |_, _, element| {
        let Some(factory) = element.factory().filter(is_video) else { return };
        health.set_decoder(factory.name().to_string());
        if element.has_property("max-threads") {
            element.set_property("max-threads", SOFTWARE_DECODER_THREADS);
        }
    });
}

/// Sets the decoder's name from elements that were there before anyone watched (fragments), and their thread budget is the operator's.
pub(super) fn note_present(pipeline: &gst::Pipeline, health: &StreamHealth) {
    for element in pipeline.iterate_recurse().into_iter().flatten() {
        if let Some(factory) = element.factory().filter(is_video) {
            health.set_decoder(factory.name().to_string());
        }
    }
}

/// A decoder override that stands beside a fragment says two things at once.
pub(super) fn refuse_with_fragment(stream: &str, decoder: &str, redactor: &Redactor) -> IngestError {
    IngestError::Decoder {
        stream: stream.to_owned(),
        decoder: redactor.clean(decoder),
        reason: "this stream has a `gst` fragment, which names its own decoder: remove one of the two".to_owned(),
    }
}
