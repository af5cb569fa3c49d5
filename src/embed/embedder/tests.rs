//! The embedder against a stand-in network (errors, wiping) and against golden vectors of a real one.

use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::area::Area;
use crate::detect::golden::test_data;
use crate::engine::known;
use crate::engine::manifest::{ChannelOrder, Input, IntendedUse, Manifest, Resize};
use crate::engine::onnxruntime::{OnnxNetwork, initialise, library_path};
use crate::frame::still::frame_from_rgb;
use crate::frame::{Point, StreamIndex};
use crate::policy::lease::StreamState;
use crate::policy::lease::testing::grant;
use crate::track::testing::{Street, at_ms, face};

struct Fake {
    manifest: Manifest,
    values: usize,
    fails: bool,
    /// Sum of the input, to see that the crop went in.
    saw: Arc<Mutex<f32>>,
}

impl Network for Fake {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    fn run(&mut self, input: &[f32], shape: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
        assert_eq!((shape, input.len()), ([1, 3, 112, 112], CROP_LEN));
        *self.saw.lock() = input.iter().sum();
        if self.fails {
            return Err(EngineError::Run { model: "fake".into(), reason: "on purpose".into() });
        }
        let data: Vec<f32> = (0_u8..32).take(self.values).map(|i| f32::from(i) - 3.0).collect();
        read(&[Output { name: "embedding", shape: &[1, self.values], data: &data }]);
        Ok(())
    }
}

fn fake() -> Fake {
    let input = Input {
        name: "data".into(),
        channels: ChannelOrder::Rgb,
        width: Some(112),
        height: Some(112),
        multiple_of: 1,
        resize: Resize::AlignedCrop,
        mean: [0.0; 3],
        scale: [1.0; 3],
    };
    let manifest = Manifest {
        name: "fake".into(),
        task: Task::FaceEmbedder,
        sha256: String::new(),
        prepared_sha256: None,
        licence: String::new(),
        publisher: String::new(),
        intended_use: IntendedUse::Operational,
        input,
        decode: Decode::Embedding { output: "embedding".into(), dim: 32, normalised: true },
        accuracy: vec![],
        int8: None,
    };
    Fake { manifest, values: 32, fails: false, saw: Arc::default() }
}

fn try_one(network: Fake, landmarks: &Landmarks) -> Result<Embedding, EmbedError> {
    let mut street = Street::new();
    let permit = street.granted.table.permit::<Embed>(StreamIndex(0), at_ms(0)).expect("live");
    let frame = street.frame(0);
    let mut embedder = Embedder::new(Box::new(network)).expect("an embedder");
    embedder.tensor.fill(7.0);
    let result = embedder.embed(&frame, &permit, landmarks);
    assert!(embedder.tensor.iter().chain(&embedder.raw).all(|v| *v == 0.0), "neither crop nor output outlives the call");
    result
}

fn landmarks() -> Landmarks {
    face(300.0, 200.0).landmarks.expect("given")
}

#[test]
fn a_shot_becomes_a_unit_vector_and_its_crop_is_wiped() {
    let network = fake();
    let saw = Arc::clone(&network.saw);
    let embedding = try_one(network, &landmarks()).expect("embedded");
    assert!(*saw.lock() > 1e5 && embedding.dim() == 32);
    assert!((embedding.cosine(&embedding) - 1.0).abs() < 1e-5);
}

#[test]
fn failures_say_where_and_wipe_as_well() {
    assert!(matches!(try_one(Fake { fails: true, ..fake() }, &landmarks()), Err(EmbedError::Network { stream: 0, sequence: 0, .. })));
    assert!(matches!(try_one(Fake { values: 31, ..fake() }, &landmarks()), Err(EmbedError::Dimension { got: 31, want: 32, .. })));
    assert!(matches!(try_one(fake(), &[Point { x: 5.0, y: 5.0 }; 5]), Err(EmbedError::Align(AlignError::Landmarks { .. }))));
    let lost = Landmarks::map(landmarks(), |p| Point { x: f32::NAN, ..p });
    assert!(try_one(fake(), &lost).is_err());
}

#[test]
fn only_a_face_embedder_is_taken() {
    let change = |by: fn(&mut Manifest)| {
        let mut network = fake();
        by(&mut network.manifest);
        Embedder::new(Box::new(network)).err().expect("refused").to_string()
    };
    assert!(change(|m| m.task = Task::MaskClassifier).contains("face-embedder"));
    assert!(change(|m| m.input.width = Some(224)).starts_with("model `fake` cannot embed faces: "));
    assert!(change(|m| m.decode = Decode::Yunet).contains("not an embedding"));
    assert!(change(|m| m.decode = Decode::Embedding { output: "e".into(), dim: 1 << 30, normalised: true }).contains("16 to 4096"));
}

#[test]
fn embeddings_agree_with_the_golden_ones() {
    let Some(data) = test_data() else { return };
    initialise(&library_path(None)).expect("ONNX Runtime");
    let model = std::fs::read(data.join("models/mobileface_v2_112.onnx")).expect("model");
    let network = OnnxNetwork::load(&model, &known::by_name("mobileface-v2").expect("known"), 1).expect("loads");
    let mut embedder = Embedder::new(Box::new(network)).expect("an embedder");
    assert_eq!(embedder.dim(), 256);
    let reference = std::fs::read_to_string(data.join("reference/reference.json")).expect("reference");
    let reference: serde_json::Value = serde_json::from_str(&reference).expect("JSON");
    let granted = grant(StreamState::Recognise, &["missing-person:1"], Area::whole(), at_ms(0));
    let permit = granted.table.permit::<Embed>(StreamIndex(0), at_ms(0)).expect("live");
    let floats = |value: &serde_json::Value| -> Vec<f32> {
        #[expect(clippy::cast_possible_truncation, reason = "reference values are f32")]
        value.as_array().expect("array").iter().map(|v| v.as_f64().expect("number") as f32).collect()
    };
    let mut compared = 0;
    for (file, faces) in reference["files"].as_object().expect("files") {
        let Some(golden) = faces[0].get("mobileface_v2") else { continue };
        let image = image::open(data.join("images").join(file)).expect("image").to_rgb8();
        let frame = frame_from_rgb(image.width(), image.height(), &image).expect("frame");
        let points: Vec<Point> =
            faces[0]["kps"].as_array().expect("points").iter().map(floats).map(|p| Point { x: p[0], y: p[1] }).collect();
        let embedding = embedder.embed(&frame, &permit, &points.try_into().expect("five")).expect("embedded");
        let golden = Embedding::normalised(&mut floats(golden)).expect("a direction");
        assert!(embedding.cosine(&golden) >= 0.99, "{file}: {}", embedding.cosine(&golden));
        compared += 1;
    }
    assert_eq!(compared, 6);
}
