//! The promise that matters most here, on real decoders: a picture reaches its reader in the very memory the decoder wrote it to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use parking_lot::Mutex;

use super::*;
use crate::clock::{CaptureTime, SystemClock};
use crate::frame::{Colorimetry, ColourMatrix, Frame, FrameHeader, PixelLayout, StreamIndex, TableId};
use crate::queue::{Doorbell, Ring};

/// Deliberately odd: neither a multiple of 16 nor of 32, so that decoders must pad.
const WIDTH: u32 = 322;
const HEIGHT: u32 = 242;

fn run_pipeline(description: &str) {
    gst::init().expect("GStreamer");
    let pipeline = gst::parse::launch(description).expect(description);
    pipeline.set_state(gst::State::Playing).expect(description);
    let bus = pipeline.bus().expect("a bus");
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).expect("stop");
    assert!(end.is_some_and(|m| m.type_() == gst::MessageType::Eos), "{description}");
}

fn make_clip(directory: &Path, name: &str, encoder: &str) -> PathBuf {
    let path = directory.join(name);
    run_pipeline(&format!(
        "videotestsrc num-buffers=40 pattern=white ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=30/1 ! {encoder} ! \
         filesink location={}",
        path.display()
    ));
    path
}

fn outlet() -> Outlet {
    Outlet::new("door", StreamIndex(0), Arc::new(Ring::<Frame>::new(2)), Doorbell::new(), SystemClock::shared())
}

type Planes = Arc<Mutex<HashMap<gst::ClockTime, Vec<usize>>>>;

/// Records where the planes of every buffer lie that leaves `element`.
fn record_planes(element: &gst::Element) -> Planes {
    let seen = Planes::default();
    let record = Arc::clone(&seen);
    let pad = element.static_pad("src").expect("a decoder has a way out");
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let (Some(buffer), Some(caps)) = (info.buffer(), pad.current_caps()) {
            let geometry = gst_video::VideoInfo::from_caps(&caps).expect("raw video");
            let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &geometry).expect("readable");
            let planes = (0..frame.n_planes()).map(|p| frame.plane_data(p).expect("plane").as_ptr() as usize).collect();
            record.lock().insert(buffer.pts().expect("a time stamp"), planes);
        }
        gst::PadProbeReturn::Ok
    });
    seen
}

fn named(pipeline: &gst::Pipeline, factory: &str) -> gst::Element {
    let mut elements = pipeline.iterate_recurse().into_iter().flatten();
    elements.find(|e| e.factory().is_some_and(|f| f.name() == factory)).unwrap_or_else(|| panic!("no {factory} in the pipeline"))
}

/// Plays `stream` and compares at least ten frames' planes with what left `decoder`.
fn assert_untouched(stream: &Stream, decoder: &str, layout: PixelLayout) {
    init("door").expect("GStreamer");
    let spec = SourceSpec::parse(&stream.source, Path::new("/")).expect("a source");
    let (redactor, outlet) = (Redactor::default(), outlet());
    let plan = Plan { stream, spec: &spec, credential: None, redactor: &redactor };
    let running = plan.start(&outlet.health).expect("plays");
    let mut unpacker = Unpacker::new("door", running.timing());
    let first = running.pull(gst::ClockTime::from_seconds(20));
    assert!(first.is_some(), "{decoder}: no first picture: {:?}", running.check_bus());
    let seen = record_planes(&named(running.pipeline(), decoder));
    drop(first);
    let mut compared = 0;
    while let Some(sample) = running.pull(gst::ClockTime::from_seconds(5)) {
        let pts = sample.buffer().and_then(gst::BufferRef::pts).expect("a time stamp");
        let (header, buffer) = unpacker.unpack(&sample, &outlet).expect("readable").expect("a picture");
        drop(sample);
        assert_eq!((header.width, header.height, header.layout), (WIDTH, HEIGHT, layout));
        let planes: Vec<usize> = (0..layout.plane_count()).map(|p| buffer.plane(p).as_ptr() as usize).collect();
        if let Some(decoded) = seen.lock().get(&pts) {
            assert_eq!(&planes, decoded, "{decoder}: frame {pts} was copied");
            compared += 1;
        }
        for (plane, expected) in [(0, 235), (1, 128)] {
            let (row_bytes, rows) = layout.plane_size(plane, WIDTH, HEIGHT);
            let last = header.strides[plane] * (rows - 1) + row_bytes - 1;
            assert_eq!(buffer.plane(plane).len(), last + 1);
            // The width is no multiple of a JPEG block: the encoder fills the last one with whatever lies beyond the row, and its
            // transform spreads that over the block. There the last whole block's edge is looked at instead.
            let back = if decoder == "jpegdec" { 16 } else { 0 };
            for at in [0, row_bytes - 1 - back, header.strides[plane], last - back] {
                assert!(buffer.plane(plane)[at].abs_diff(expected) <= 3, "{decoder}: plane {plane}, byte {at}");
            }
        }
        assert!(matches!(header.captured_at, CaptureTime::Arrival(_) | CaptureTime::Scheduled(_)));
        Frame::new(header, TableId::NOBODY, buffer).expect("whole");
    }
    assert!(running.is_drained(), "{decoder}: {:?}", running.check_bus());
    assert!(compared >= 10, "{decoder}: only {compared} frames compared");
    assert_eq!(outlet.health.snapshot().decoder.as_deref(), Some(decoder));
}

fn lossless(source: &str) -> Stream {
    let mut stream = Stream::new("door", source);
    stream.realtime = false;
    stream
}

#[test]
fn decoders_pictures_are_read_where_they_lie() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let clips = [
        ("h264.mp4", "x264enc speed-preset=ultrafast ! h264parse ! mp4mux", "avdec_h264"),
        ("h264.mkv", "x264enc speed-preset=ultrafast tune=zerolatency ! h264parse ! matroskamux", "openh264dec"),
        ("jpeg.mkv", "jpegenc ! matroskamux", "jpegdec"),
    ];
    for (name, encoder, decoder) in clips {
        let clip = make_clip(directory.path(), name, encoder);
        let mut stream = lossless(&format!("file:{}", clip.display()));
        stream.decoder = Some(decoder.to_owned());
        assert_untouched(&stream, decoder, PixelLayout::I420);
    }
}

#[test]
fn a_fragment_s_nv12_is_read_where_it_lies() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let clip = make_clip(directory.path(), "h264.mkv", "x264enc speed-preset=ultrafast ! h264parse ! matroskamux");
    let mut stream = lossless("gst");
    // A decoder's NV12 is not to be had without hardware: the converter stands for it.
    stream.gst = Some(format!(
        "filesrc location={} ! matroskademux ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=NV12 ! identity",
        clip.display()
    ));
    init("door").expect("GStreamer");
    let (redactor, outlet) = (Redactor::default(), outlet());
    let plan = Plan { stream: &stream, spec: &SourceSpec::Gst, credential: None, redactor: &redactor };
    let running = plan.start(&outlet.health).expect("plays");
    let first = running.pull(gst::ClockTime::from_seconds(20)).expect("a first picture");
    let seen = record_planes(&named(running.pipeline(), "identity"));
    drop(first);
    let mut unpacker = Unpacker::new("door", running.timing());
    let mut compared = 0;
    while let Some(sample) = running.pull(gst::ClockTime::from_seconds(5)) {
        let pts = sample.buffer().and_then(gst::BufferRef::pts).expect("a time stamp");
        let (header, buffer) = unpacker.unpack(&sample, &outlet).expect("readable").expect("a picture");
        assert_eq!(header.layout, PixelLayout::Nv12);
        if let Some(decoded) = seen.lock().get(&pts) {
            assert_eq!(decoded, &[buffer.plane(0).as_ptr() as usize, buffer.plane(1).as_ptr() as usize]);
            compared += 1;
        }
    }
    assert!(compared >= 10, "only {compared} frames compared");
    assert_eq!(outlet.health.snapshot().decoder.as_deref(), Some("avdec_h264"));
}

/// Plays a fragment that ends in `format` and returns its first picture; checks that its planes are the last element's own.
fn first_picture(format: &str) -> (FrameHeader, Vec<Vec<u8>>) {
    let mut stream = lossless("gst");
    stream.gst =
        Some(format!("videotestsrc num-buffers=20 pattern=red ! video/x-raw,format={format},width=66,height=50,framerate=30/1 ! identity"));
    init("door").expect("GStreamer");
    let (redactor, outlet) = (Redactor::default(), outlet());
    let plan = Plan { stream: &stream, spec: &SourceSpec::Gst, credential: None, redactor: &redactor };
    let running = plan.start(&outlet.health).expect("plays");
    let seen = record_planes(&named(running.pipeline(), "identity"));
    let mut unpacker = Unpacker::new("door", running.timing());
    while let Some(sample) = running.pull(gst::ClockTime::from_seconds(20)) {
        let pts = sample.buffer().and_then(gst::BufferRef::pts).expect("a time stamp");
        let (header, buffer) = unpacker.unpack(&sample, &outlet).expect("readable").expect("a picture");
        let planes = (0..header.layout.plane_count()).map(|p| buffer.plane(p));
        if let Some(given) = seen.lock().get(&pts) {
            assert!(planes.clone().map(|p| p.as_ptr() as usize).eq(given.iter().copied()), "{format} was copied");
            let planes = planes.map(<[u8]>::to_vec).collect();
            drop(Frame::new(header, TableId::NOBODY, buffer).expect("whole"));
            return (header, planes);
        }
    }
    panic!("{format}: no picture: {:?}", running.check_bus());
}

#[test]
fn every_readable_format_is_read_where_it_lies_and_shows_the_same_colour() {
    for format in ["NV12", "YV12", "NV21", "NV16", "Y42B", "YUY2", "UYVY", "YVYU", "Y444", "P010_10LE", "I420_10LE", "I422_10LE"] {
        let (header, planes) = first_picture(format);
        // Red in BT.601: a picture of 50 lines.
        for (component, expected) in header.layout.components().into_iter().flatten().zip([81_u8, 90, 240]) {
            let row = &planes[component.plane][3 * header.strides[component.plane]..];
            for n in [0, 1, component.across(66) - 1] {
                assert!(component.of(row, n).abs_diff(expected) <= 1, "{format}: {}, expected {expected}", component.of(row, n));
            }
        }
    }
    for format in ["RGB", "BGR", "RGBx", "BGRA", "ARGB", "xBGR", "GBR"] {
        let (header, planes) = first_picture(format);
        assert_eq!(header.colorimetry, Colorimetry::RGB, "{format}");
        for (component, expected) in header.layout.components().into_iter().flatten().zip([0_u8, 0, 255]) {
            let row = &planes[component.plane][3 * header.strides[component.plane]..];
            assert_eq!([0, 65].map(|n| component.of(row, n)), [expected; 2], "{format}");
        }
    }
}

#[test]
fn what_cannot_be_read_as_it_lies_is_refused_and_not_converted() {
    init("door").expect("GStreamer");
    let (redactor, outlet) = (Redactor::default(), outlet());
    let refused = |stream: &Stream, spec: &SourceSpec| {
        let plan = Plan { stream, spec, credential: None, redactor: &redactor };
        let error = match plan.start(&outlet.health) {
            Err(error) => error,
            Ok(running) => {
                assert!(running.pull(gst::ClockTime::from_seconds(20)).is_none(), "a picture came through");
                (0..200).find_map(|_| running.check_to_the_end().err()).expect("an error")
            }
        };
        error.to_string()
    };
    let mut fragment = lossless("gst");
    fragment.gst = Some("videotestsrc num-buffers=3 ! video/x-raw,format=Y41B".to_owned());
    let error = refused(&fragment, &SourceSpec::Gst);
    assert!(error.contains("never converted") && error.contains("videoconvert"), "{error}");

    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("deep.png");
    run_pipeline(&format!(
        "videotestsrc num-buffers=1 ! video/x-raw,format=GRAY16_BE,width=64,height=48 ! pngenc ! filesink location={}",
        path.display()
    ));
    let error = refused(&lossless(&format!("image:{}", path.display())), &SourceSpec::Image { path });
    assert!(error.contains("GRAY8") && error.contains("never converted"), "{error}");
}

#[test]
fn a_still_goes_on_for_ever_in_its_own_colours() {
    let directory = tempfile::tempdir().expect("temporary directory");
    // 4:4:4 JPEG, full range, BT.601; and a PNG, red, green, blue.
    let still = |name: &str, encoder: &str| {
        let path = directory.path().join(name);
        run_pipeline(&format!("videotestsrc num-buffers=1 pattern=white ! {encoder} ! filesink location={}", path.display()));
        path
    };
    let jpeg = still("still.jpg", "video/x-raw,format=Y444,width=64,height=48 ! jpegenc");
    let png = still("still.png", "video/x-raw,format=RGB,width=64,height=48 ! pngenc");
    for (path, white, colorimetry) in
        [(jpeg, 235_u8, Colorimetry { matrix: ColourMatrix::Bt601, full_range: true }), (png, 255, Colorimetry::RGB)]
    {
        let stream = lossless(&format!("image:{}", path.display()));
        let (redactor, outlet) = (Redactor::default(), outlet());
        init("door").expect("GStreamer");
        let spec = SourceSpec::Image { path };
        let plan = Plan { stream: &stream, spec: &spec, credential: None, redactor: &redactor };
        let running = plan.start(&outlet.health).expect("plays");
        let mut unpacker = Unpacker::new("door", running.timing());
        for _ in 0..25 {
            let sample = running.pull(gst::ClockTime::from_seconds(20)).expect("a still goes on for ever");
            let (header, buffer) = unpacker.unpack(&sample, &outlet).expect("readable").expect("a picture");
            assert_eq!((header.width, header.height), (64, 48));
            // The JPEG's white is 235 in a format whose white is 255: the decoder's numbers are handed on as they are.
            assert!(buffer.plane(0)[0].abs_diff(white) <= 2, "{}", buffer.plane(0)[0]);
            assert_eq!(header.colorimetry, colorimetry);
        }
    }
}

/// Every way to take pictures past the permit that a fragment could try.
#[test]
fn a_fragment_with_a_way_out_is_refused_before_it_plays() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = folder.path().join("frame");
    let path = written.display();
    let ways = [
        (format!("videotestsrc ! tee name=t ! queue ! multifilesink location={path} t. ! queue"), "multifilesink"),
        (format!("videotestsrc ! tee name=t ! queue ! filesink location={path} t. ! queue"), "filesink"),
        ("videotestsrc ! tee name=t ! queue ! udpsink port=9 t. ! queue".to_owned(), "udpsink"),
        ("videotestsrc ! tee name=t ! queue ! fakesink dump=true t. ! queue".to_owned(), "fakesink"),
        ("videotestsrc ! tee name=t ! queue ! appsink t. ! queue".to_owned(), "appsink"),
        (format!("( videotestsrc ! tee name=t ! queue ! filesink location={path} ) t. ! queue"), "filesink"),
        ("videotestsrc ! identity dump=true".to_owned(), "identity dump=true"),
    ];
    for (fragment, element) in ways {
        let stream = Stream { gst: Some(fragment.clone()), ..lossless("gst") };
        let error = check_fragment(&stream).expect_err(&fragment).to_string();
        assert!(error.contains(&format!("`{element}`")) && error.contains("way out"), "{fragment}: {error}");
    }
    assert!(!written.exists());
    let harmless = Stream { gst: Some("videotestsrc ! identity ! tee name=t ! queue".to_owned()), ..lossless("gst") };
    check_fragment(&harmless).expect("nothing leaves");
}
