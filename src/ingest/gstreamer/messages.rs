//! The pipeline's bus: element errors in GStreamer's own words, with the stream's secrets taken out.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::super::IngestError;
use super::super::redact::Redactor;
use super::formats;

/// Reads a pipeline's bus for its stream.
pub(super) struct Messages<'a> {
    pub stream: &'a str,
    pub redactor: &'a Redactor,
    /// The decoder that the configuration names, if it does.
    decoder: Option<&'a str>,
    bus: gst::Bus,
}

const RELEVANT: [gst::MessageType; 3] = [gst::MessageType::Error, gst::MessageType::Element, gst::MessageType::Warning];

impl<'a> Messages<'a> {
    pub(super) fn new(stream: &'a str, decoder: Option<&'a str>, redactor: &'a Redactor, bus: gst::Bus) -> Self {
        Self { stream, redactor, decoder, bus }
    }

    /// Reads what has come; the first error is returned. A missing plugin explains the error that follows it, so it is preferred.
    pub(super) fn check(&self) -> Result<(), IngestError> {
        while let Some(message) = self.bus.pop_filtered(&RELEVANT) {
            self.judge(&message)?;
        }
        Ok(())
    }

    fn judge(&self, message: &gst::Message) -> Result<(), IngestError> {
        match message.view() {
            gst::MessageView::Error(error) => return Err(self.element_error(message, &error.error(), error.debug())),
            gst::MessageView::Element(element) => {
                if let Some(wanted) = element.structure().and_then(missing_plugin) {
                    return Err(self.missing(&self.redactor.clean(&wanted)));
                }
            }
            gst::MessageView::Warning(warning) => {
                let text = self.redactor.clean(&warning.error().to_string());
                tracing::debug!(stream = self.stream, element = %element_name(message), "{text}");
            }
            _ => {}
        }
        Ok(())
    }

    /// As [`Messages::check`], after the data ended without a picture: an element may announce the end before the error that led to it,
    /// so what follows within `wait` counts too.
    pub(super) fn check_to_the_end(&self, wait: gst::ClockTime) -> Result<(), IngestError> {
        while let Some(message) = self.bus.timed_pop_filtered(wait, &RELEVANT) {
            self.judge(&message)?;
        }
        Ok(())
    }

    /// As [`Messages::check`], where an error is known to have happened; `what` says which, should the bus be silent.
    pub(super) fn error_or(&self, what: &str) -> IngestError {
        let silent = || IngestError::Build { stream: self.stream.to_owned(), reason: what.to_owned() };
        self.check().err().unwrap_or_else(silent)
    }

    fn missing(&self, wanted: &str) -> IngestError {
        let stream = self.stream.to_owned();
        match self.decoder {
            Some(decoder) => {
                let reason = format!("it does not decode what this stream sends: {wanted}; `placard probe` lists what does");
                IngestError::Decoder { stream, decoder: decoder.to_owned(), reason }
            }
            None => IngestError::MissingPlugin { stream, wanted: wanted.to_owned() },
        }
    }

    fn element_error(&self, message: &gst::Message, error: &gst::glib::Error, debug: Option<gst::glib::GString>) -> IngestError {
        let debug = debug.map_or_else(|| "no details".to_owned(), |d| self.redactor.clean(&d.replace('\n', " ")));
        let mut text = self.redactor.clean(error.message());
        // GStreamer's words for pictures that our end does not take.
        if debug.contains("not-negotiated") {
            text = formats::refusal(text.trim_end_matches('.'));
        }
        IngestError::Element { stream: self.stream.to_owned(), element: element_name(message), message: text, debug }
    }
}

/// `rtspsrc "source"`: what it is and what the fragment calls it.
fn element_name(message: &gst::Message) -> String {
    let Some(source) = message.src() else { return "GStreamer".to_owned() };
    let factory = source.downcast_ref::<gst::Element>().and_then(ElementExt::factory);
    match factory {
        Some(factory) => format!("{} \"{}\"", factory.name(), source.name()),
        None => source.name().to_string(),
    }
}

/// The description in a `missing-plugin` element message, if it is about pictures.
fn missing_plugin(structure: &gst::StructureRef) -> Option<String> {
    if structure.name() != "missing-plugin" {
        return None;
    }
    let name: String = structure.get("name").ok()?;
    // An audio track that nobody wanted is no reason to stop.
    let detail = structure.value("detail").ok().and_then(|v| v.get::<gst::Caps>().ok());
    let audio = detail.as_ref().and_then(|caps| caps.structure(0)).is_some_and(|s| !is_picture(s.name()));
    (!audio).then(|| match detail {
        Some(caps) => format!("{name} ({caps})"),
        None => name,
    })
}

fn is_picture(media: &str) -> bool {
    media.starts_with("video/") || media.starts_with("image/") || media.starts_with("application/")
}
