//! Accuracy of the whole detector against published golden vectors, on real pictures: `PLACARD_TEST_DATA`, else `../shared/data`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::area::Area;
use crate::clock::{Monotonic, Stamp};
use crate::config::schema;
use crate::engine::onnxruntime::{OnnxNetwork, initialise, library_path};
use crate::engine::{Network, import, known};
use crate::frame::still::frame_from_rgb;
use crate::frame::{BoundingBox, Frame, Point, StreamIndex};
use crate::policy::lease::testing::{Granted, grant};
use crate::policy::lease::{Permit, PixelStage, StreamState};

use super::Face;
use super::detector::Detector;

const NOW: Stamp<Monotonic> = Stamp::from_ns(1);

/// `None` after saying that the test is skipped.
pub(crate) fn test_data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data = std::env::var_os("PLACARD_TEST_DATA").map_or_else(beside, PathBuf::from);
    if data.join("MANIFEST.tsv").is_file() {
        return Some(data);
    }
    // Past the capture of passing tests' output, so that `make test` can count it.
    writeln!(std::io::stderr(), "SKIPPED: no test data").expect("standard error is open");
    None
}

/// A known model, prepared as at import.
pub(crate) fn network(data: &Path, file: &str, name: &str) -> Box<dyn Network> {
    let manifest = known::by_name(name).expect("a known model");
    let published = std::fs::read(data.join("models").join(file)).expect("the model is there");
    let prepared = import::prepare(&published, &manifest).expect("prepares");
    initialise(&library_path(None)).expect("ONNX Runtime is there");
    Box::new(OnnxNetwork::load(&prepared.bytes, &manifest, 1).expect("loads"))
}

pub(crate) fn detector(network: Box<dyn Network>, input_px: Option<u32>) -> Detector {
    let config = schema::Detect { model: String::new(), score_threshold: 0.6, nms_iou: 0.45, input_px };
    Detector::new(network, &config, 0.6, Arc::default()).expect("a detector")
}

pub(crate) fn picture(path: &Path) -> Frame {
    let image = image::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).into_rgb8();
    frame_from_rgb(image.width(), image.height(), image.as_raw()).expect("a picture")
}

pub(crate) fn granted(area: &Area) -> Granted {
    grant(StreamState::Recognise, &["missing-person:1"], area.clone(), NOW)
}

pub(crate) fn permit<S: PixelStage>(granted: &Granted) -> Permit<S> {
    granted.table.permit(StreamIndex(0), NOW).expect("live")
}

/// One face of `reference.json`.
struct Golden {
    face: Face,
}

impl Golden {
    #[expect(clippy::cast_possible_truncation, reason = "pixels")]
    fn read(value: &serde_json::Value) -> Self {
        let number = |v: &serde_json::Value| v.as_f64().expect("a number") as f32;
        let b: Vec<f32> = value["box"].as_array().expect("four numbers").iter().map(number).collect();
        let points: Vec<Point> =
            value["kps"].as_array().expect("five points").iter().map(|p| Point { x: number(&p[0]), y: number(&p[1]) }).collect();
        let bounding_box = BoundingBox { x0: b[0], y0: b[1], x1: b[2], y1: b[3] };
        Self { face: Face { bounding_box, score: number(&value["score"]), landmarks: points.try_into().ok() } }
    }

    /// (largest difference of a box side or landmark in pixels, difference of scores).
    fn difference(&self, face: &Face) -> (f32, f32) {
        let sides = |f: &Face| [f.bounding_box.x0, f.bounding_box.y0, f.bounding_box.x1, f.bounding_box.y1];
        let points = |f: &Face| f.landmarks.iter().flatten().flat_map(|p| [p.x, p.y]).collect::<Vec<f32>>();
        let all = |f: &Face| sides(f).into_iter().chain(points(f)).collect::<Vec<f32>>();
        let pixels = all(&self.face).iter().zip(all(face)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        (pixels, (self.face.score - face.score).abs())
    }
}

pub(crate) fn reference(data: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(data.join("reference/reference.json")).expect("readable");
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["files"].clone()
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures belong to the test's report")]
fn boxes_landmarks_and_scores_equal_the_golden_ones() {
    let Some(data) = test_data() else { return };
    let mut detector = detector(network(&data, "yunet_n_640_640.onnx", "yunet-n-640"), None);
    let granted = granted(&Area::whole());
    let mut pictures = 0;
    for (file, expected) in reference(&data).as_object().expect("files") {
        let path = data.join("images").join(file);
        if !path.is_file() {
            continue;
        }
        pictures += 1;
        let faces = detector.detect(&picture(&path), &permit(&granted)).expect("detects");
        let expected: Vec<Golden> = expected.as_array().expect("faces").iter().map(Golden::read).collect();
        assert_eq!(faces.len(), expected.len(), "{file}: number of faces");
        let (mut worst_px, mut worst_score) = (0.0_f32, 0.0_f32);
        for golden in &expected {
            let overlap = |f: &&Face| f.bounding_box.iou(&golden.face.bounding_box);
            let face = faces.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b))).expect("faces");
            let (pixels, score) = golden.difference(face);
            (worst_px, worst_score) = (worst_px.max(pixels), worst_score.max(score));
        }
        eprintln!("{file}: {} faces, at most {worst_px:.3} px and {worst_score:.4} of score apart", faces.len());
        assert!(worst_px <= 0.5, "{file}: {worst_px} px");
        assert!(worst_score <= 0.02, "{file}: score {worst_score}");
    }
    assert!(pictures >= 7, "{pictures} pictures");
}
