//! What an operator's fragment may not hold: a way out. A sink, or anything that sends or prints, would take pictures past the permit,
//! on a dark stream too; the only end of a fragment is Placard's own.
//!
//! The look is taken at the parsed pipeline, bins opened, before it plays; and again at every element that a bin adds later.

use gstreamer as gst;
use gstreamer::prelude::*;

/// Elements that take pictures out though GStreamer does not call them sinks, or look into them as only a permitted step may.
const WAYS_OUT: [(&str, &str); 7] = [
    ("webrtcbin", "sends to the network"),
    ("splitmuxsink", "writes files"),
    ("hlssink2", "writes files"),
    ("hlssink3", "writes files"),
    ("facedetect", "looks for faces without a permit"),
    ("faceblur", "looks for faces without a permit"),
    ("handdetect", "looks for people without a permit"),
];

/// Bins that bring sinks of their own for the protocol's sake: RTCP reports, never pictures.
const PROTOCOL_BINS: [&str; 3] = ["rtspsrc", "rtpsrc", "sdpdemux"];

/// Why `element` may not be in a fragment; `None`: it may.
fn refusal(element: &gst::Element, own_sink: &str) -> Option<String> {
    let factory = element.factory()?;
    let name = factory.name();
    if element.name() == own_sink {
        return None;
    }
    if let Some((_, does)) = WAYS_OUT.iter().find(|(known, _)| *known == name) {
        return Some(format!("`{name}` {does}"));
    }
    let class = factory.metadata("klass").unwrap_or_default();
    // A bin counts as a sink because of what is in it: the element inside is named instead.
    let bin = element.is::<gst::Bin>();
    if class.split('/').any(|word| word == "Sink") || (!bin && element.element_flags().contains(gst::ElementFlags::SINK)) {
        return Some(format!("`{name}` takes pictures out of the pipeline"));
    }
    let prints = name == "identity" && element.property::<bool>("dump");
    prints.then(|| "`identity dump=true` prints pictures".to_owned())
}

pub(super) fn is_protocol_s(element: &gst::Element) -> bool {
    let mut parent = element.parent();
    while let Some(object) = parent {
        let factory = object.downcast_ref::<gst::Element>().and_then(gst::Element::factory);
        if factory.is_some_and(|f| PROTOCOL_BINS.contains(&f.name().as_str())) {
            return true;
        }
        parent = object.parent();
    }
    false
}

/// The first way out in a parsed fragment.
pub(super) fn way_out(pipeline: &gst::Pipeline, own_sink: &str) -> Option<String> {
    pipeline.iterate_recurse().into_iter().flatten().filter(|e| !is_protocol_s(e)).find_map(|e| refusal(&e, own_sink))
}

/// Ends the pipeline with an error when a bin of the fragment adds a way out while it plays.
pub(super) fn watch(pipeline: &gst::Pipeline, own_sink: &'static str) {
    pipeline.connect_deep_element_added(move |_, _, element| {
        let Some(reason) = refusal(element, own_sink).filter(|_| !is_protocol_s(element)) else { return };
        element.set_locked_state(true);
        gst::element_error!(element, gst::StreamError::Failed, ("{reason}: a fragment may hold no way out for pictures"));
    });
}
