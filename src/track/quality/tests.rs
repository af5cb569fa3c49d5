//! Quality on synthetic textures, at the area's border, and on photographs.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::area::Area;
use crate::config::schema;
use crate::detect::detector::Detector;
use crate::detect::golden::test_data;
use crate::engine::known;
use crate::engine::onnxruntime::{OnnxNetwork, initialise, library_path};
use crate::frame::still::frame_from_rgb;
use crate::frame::{Frame, FrameHeader, OwnedBuffer, PixelLayout, StreamIndex};
use crate::policy::lease::testing::grant;
use crate::policy::lease::{Detect, Permit, StreamState};
use crate::track::testing::{at_ms, face_of};

fn permit(area: Area) -> Permit<Detect> {
    grant(StreamState::Detect, &["mask-check"], area, at_ms(0)).table.permit(StreamIndex(0), at_ms(0)).expect("live")
}

/// A grey picture made by `luma`.
fn grey(width: u32, height: u32, luma: impl Fn(u32, u32) -> f32) -> Frame {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let rgb: Vec<u8> =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| [luma(x, y).clamp(0.0, 255.0) as u8; 3]).collect();
    frame_from_rgb(width, height, &rgb).expect("frame")
}

/// Waves of `period` pixels.
fn waves(period: f32, contrast: f32) -> impl Fn(u32, u32) -> f32 {
    let turn = std::f32::consts::TAU / period;
    move |x, y| 128.0 + contrast * ((x as f32 * turn).sin() + (y as f32 * turn).sin())
}

fn measured(frame: &Frame, face: &Face) -> Quality {
    let permit = permit(Area::whole());
    assess(&frame.read(&permit).expect("same stream"), face)
}

#[test]
fn detail_counts_and_contrast_does_not() {
    let face = face_of(160.0, 120.0, 100.0, 0.9);
    let sharpness = |period, contrast| measured(&grey(320, 240, waves(period, contrast)), &face).sharpness;
    let by_period: Vec<f32> = [5.0, 10.0, 20.0, 40.0].map(|p| sharpness(p, 40.0)).to_vec();
    assert!(by_period.is_sorted_by(|a, b| a > b), "{by_period:?}");
    assert!(by_period[0] > 0.95 && by_period[3] < 0.3, "{by_period:?}");
    assert!((sharpness(10.0, 60.0) - sharpness(10.0, 15.0)).abs() < 0.05);
    assert_eq!(sharpness(10.0, 0.0), 0.0, "an even surface is no face");
}

#[test]
fn a_packed_picture_is_as_sharp_as_a_planar_one() {
    let face = face_of(160.0, 120.0, 100.0, 0.9);
    let frame = grey(320, 240, waves(10.0, 40.0));
    let permit = permit(Area::whole());
    let luma = frame.read(&permit).expect("same stream").planes[0].to_vec();
    let yuyv = luma.iter().flat_map(|&y| [y, 128]).collect();
    let header = FrameHeader { layout: PixelLayout::Yuy2, strides: [640, 0, 0], ..*frame.header() };
    let packed = Frame::new(header, crate::frame::TableId::TESTS, Box::new(OwnedBuffer { planes: vec![yuyv] })).expect("valid");
    assert_eq!(measured(&packed, &face), measured(&frame, &face));
}

#[test]
fn the_same_face_nearer_is_as_sharp() {
    // Twice the size, twice the period: what the 112 × 112 crop shows is the same.
    let small = measured(&grey(640, 480, waves(12.0, 40.0)), &face_of(320.0, 240.0, 80.0, 0.9));
    let large = measured(&grey(640, 480, waves(36.0, 40.0)), &face_of(320.0, 240.0, 240.0, 0.9));
    assert!((small.sharpness - large.sharpness).abs() < 0.1, "{small:?} {large:?}");
    assert!(small.score() < large.score(), "but the larger one is better");
}

#[test]
fn more_pixels_are_better_and_few_are_nothing() {
    let frame = grey(640, 480, waves(6.0, 40.0));
    let scores = [25.0, 40.0, 60.0, 80.0, 160.0].map(|h| measured(&frame, &face_of(320.0, 240.0, h, 0.9)).score());
    assert!(scores.is_sorted() && scores[0] < 0.1, "{scores:?}");
}

#[test]
fn a_face_that_turns_away_loses() {
    let frontal = face_of(100.0, 100.0, 100.0, 0.9).landmarks.expect("given");
    let turned = |nose_by: f32, mouth_by: f32| {
        let mut points = frontal;
        points[2].x += nose_by;
        points[3].x += mouth_by;
        points[4].x += mouth_by;
        frontality(&points)
    };
    assert_eq!(frontality(&frontal), 1.0);
    let yaw = [0.0, 8.0, 14.0, 25.0].map(|by| turned(by, 0.3 * by));
    assert!(yaw.is_sorted_by(|a, b| a >= b) && yaw[1] > 0.5 && yaw[3] == 0.0, "{yaw:?}");
    assert!((turned(-8.0, -2.4) - turned(8.0, 2.4)).abs() < 1e-5, "left and right are alike");
    // Rolled as a whole by 15° nothing is lost; upside down everything.
    let rolled = |degrees: f32| {
        let (s, c) = degrees.to_radians().sin_cos();
        frontality(&frontal.map(|p| Point { x: 50.0 + c * p.x - s * p.y, y: 80.0 + s * p.x + c * p.y }))
    };
    assert!((rolled(15.0) - 1.0).abs() < 1e-3 && rolled(60.0) < 0.5 && rolled(180.0) < 1e-3);
    assert_eq!(frontality(&[Point { x: 1.0, y: 1.0 }; 5]), 0.0);
}

/// Outside the area the picture is a fine check pattern, inside it is smooth: a single sample from outside would show.
#[test]
fn nothing_outside_the_area_is_read() {
    // A whole grey level a pixel: no rounding, hence no detail at all.
    let smooth = |x: u32, _: u32| 40.0 + x as f32;
    let frame = grey(320, 240, |x, y| if x < 160 { smooth(x, y) } else { f32::from((x + y) % 2 == 0) * 255.0 });
    let area = permit(Area::new(vec![vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]]).expect("valid"));
    let pixels = frame.read(&area).expect("same stream");
    let straddling = face_of(150.0, 120.0, 100.0, 0.9);
    assert_eq!(assess(&pixels, &straddling).sharpness, 0.0);
    assert!(measured(&frame, &straddling).sharpness > 0.9, "the whole picture would look sharp");
    let mostly_outside = face_of(200.0, 120.0, 100.0, 0.9);
    assert_eq!(assess(&pixels, &mostly_outside).score(), 0.0);
    // The same measure from an assessor that has seen another area before.
    let mut assessor = Assessor::default();
    let whole = permit(Area::whole());
    assert!(assessor.assess(&frame.read(&whole).expect("same stream"), &straddling).sharpness > 0.9);
    assert_eq!(assessor.assess(&pixels, &straddling).sharpness, 0.0);
}

proptest! {
    #[test]
    fn any_box_anywhere_gives_a_number(x in -500.0_f32..900.0, y in -500.0_f32..900.0, height in 0.0_f32..3_000.0, broken in 0_u8..8) {
        let frame = grey(64, 48, waves(4.0, 60.0));
        let mut face = face_of(x, y, height, 0.9);
        match broken {
            0 => face.bounding_box.x0 = f32::NAN,
            1 => face.bounding_box.y1 = f32::INFINITY,
            2 => face.landmarks = face.landmarks.map(|l| l.map(|p| Point { x: f32::NAN, ..p })),
            3 => face.landmarks = None,
            _ => {}
        }
        let score = measured(&frame, &face).score();
        prop_assert!((0.0..=1.0).contains(&score), "{}", score);
    }
}

#[test]
fn portraits_pass_and_blurred_ones_do_not() {
    let Some(data) = test_data() else { return };
    initialise(&library_path(None)).expect("ONNX Runtime");
    let model = std::fs::read(data.join("models/yunet_n_320_320.onnx")).expect("model");
    let network = OnnxNetwork::load(&model, &known::by_name("yunet-n-320").expect("known"), 1).expect("loads");
    let config = schema::Detect { model: "yunet-n-320".into(), score_threshold: 0.6, nms_iou: 0.45, input_px: None };
    let mut detector = Detector::new(Box::new(network), &config, 0.6, Arc::default()).expect("a detector");
    let permit = permit(Area::whole());
    let least = 0.35;
    let (mut wide, mut refused, mut blurred_passed) = (0, Vec::new(), Vec::new());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(data.join("images/identities")).expect("images").map(|f| f.expect("entry").path()).collect();
    files.retain(|f| f.to_string_lossy().ends_with("_b.jpg"));
    files.sort();
    for file in &files {
        let name = file.file_stem().expect("name").to_string_lossy().into_owned();
        let image = image::open(file).expect("image").to_rgb8();
        let frame = frame_from_rgb(image.width(), image.height(), &image).expect("frame");
        let Some(face) = detector.detect(&frame, &permit).expect("detects").first().copied() else { panic!("{name}: no face") };
        let quality = measured(&frame, &face);
        if name == "I000056_b" {
            assert!(quality.score() < 0.25, "the blurred probe: {quality:?}");
        }
        if quality.width_px < 40.0 {
            continue;
        }
        wide += 1;
        if quality.score() < least {
            refused.push((name.clone(), quality));
        }
        let blurred = image::imageops::blur(&image, 6.0 * quality.width_px / 112.0);
        let blurred = frame_from_rgb(image.width(), image.height(), &blurred).expect("frame");
        if measured(&blurred, &face).score() >= least {
            blurred_passed.push((name, measured(&blurred, &face)));
        }
    }
    assert_eq!(files.len(), 80);
    assert!(wide >= 60, "{wide} of at least 40 px");
    assert!(refused.is_empty(), "{refused:?}");
    assert!(blurred_passed.len() * 5 <= wide, "{blurred_passed:?}");
}
