//! Model import against real files: what is prepared computes the same, what is not accounted for is refused, nothing panics.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use placard::engine::import::{self, TINY};
use placard::engine::known;
use placard::engine::manifest::{ChannelOrder, Manifest};
use placard::engine::onnx::{ModelProto, element};
use placard::engine::onnxruntime::{OnnxNetwork, initialise, library_path};
use placard::engine::{Network, Output};
use prost::Message;

/// File of the test data → name that it is known by.
const MODELS: [(&str, &str); 12] = [
    ("yunet_n_320_320.onnx", "yunet-n-320"),
    ("yunet_n_640_640.onnx", "yunet-n-640"),
    ("yunet_n_dynamic.onnx", "yunet-n-dynamic"),
    ("yunet_s_320_320.onnx", "yunet-s-320"),
    ("yunet_s_640_640.onnx", "yunet-s-640"),
    ("yunet_s_dynamic.onnx", "yunet-s-dynamic"),
    ("version-RFB-320.onnx", "rfb-320"),
    ("version-RFB-640.onnx", "rfb-640"),
    ("RFB-640-masked_face-v2.onnx", "rfb-640-mask"),
    ("mobileface_v2_112.onnx", "mobileface-v2"),
    ("mobileface_v3_112.onnx", "mobileface-v3"),
    ("2.7_80x80_MiniFASNetV2.onnx", "minifasnet-v2"),
];

/// Largest difference between an output of the published model and the same output of the prepared one, relative to the output's largest
/// value: rounding, where PRelu is rewritten or batch normalisation folded (measured: 9.5e-7 at most). All others must be equal to the bit.
const BOUND: f32 = 2e-6;

type Outputs = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn run(model: &[u8], manifest: &Manifest, input: &[f32], shape: [usize; 4]) -> Outputs {
    initialise(&library_path(None)).unwrap();
    let mut network = OnnxNetwork::load(model, manifest, 1).unwrap();
    assert_arithmetic_is_untouched();
    let mut outputs = Outputs::new();
    let mut names = Vec::new();
    let mut read = |views: &[Output<'_>]| {
        names = views.iter().map(|view| view.name.to_owned()).collect();
        outputs = views.iter().map(|view| (view.name.to_owned(), (view.shape.to_vec(), view.data.to_vec()))).collect();
    };
    network.run(input, shape, &mut read).unwrap();
    assert_eq!(names, manifest.decode.output_names(), "the manifest's order");
    for (name, (shape, data)) in &outputs {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{name}");
    }
    outputs
}

/// The runtime flushes denormals on the thread that makes the first session; that thread must not be one of ours.
fn assert_arithmetic_is_untouched() {
    let denormal = std::hint::black_box(f32::from_bits(1));
    assert!(denormal > 0.0, "denormals are read as zero");
    assert!(std::hint::black_box(f32::MIN_POSITIVE) * 0.5 > 0.0, "denormals are flushed to zero");
}

/// Something that looks like a picture, not like noise: aligned crops where the network takes them, waves of many lengths otherwise.
fn inputs(data: &Path, manifest: &Manifest) -> (Vec<Vec<f32>>, [usize; 4]) {
    let (width, height) = (manifest.input.width.unwrap_or(416) as usize, manifest.input.height.unwrap_or(256) as usize);
    let prepare = |pixel: f32, channel: usize| (pixel - manifest.input.mean[channel]) * manifest.input.scale[channel];
    let shape = [1, 3, height, width];
    if (width, height) != (112, 112) {
        let wave = |c: usize, y: usize, x: usize| {
            let (x, y) = (x as f32, y as f32);
            127.5 + 60.0 * (x / (7.0 + c as f32)).sin() + 50.0 * (y / 23.0 + x / 91.0).cos() + 17.0 * (x * y / 997.0).sin()
        };
        let plane = |c: usize| (0..height * width).map(move |i| prepare(wave(c, i / width, i % width).round(), c));
        return (vec![(0..3).flat_map(plane).collect()], shape);
    }
    let crops = ["A000369_a", "A000369_b", "A000370_a", "A000370_b", "A000371_a", "A000371_b"];
    let read = |name: &str| {
        let picture = image::open(data.join("reference").join(format!("{name}_112.png"))).unwrap().into_rgb8();
        assert_eq!(manifest.input.channels, ChannelOrder::Rgb);
        (0..3).flat_map(|c| picture.pixels().map(move |p| prepare(f32::from(p[c]), c)).collect::<Vec<_>>()).collect()
    };
    (crops.map(read).into(), shape)
}

fn largest_difference(before: &Outputs, after: &Outputs) -> f32 {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let mut largest = 0f32;
    for (name, (shape, values)) in before {
        let (other_shape, others) = &after[name];
        assert_eq!(shape, other_shape, "{name}");
        let scale = values.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
        largest = std::iter::zip(values, others).fold(largest, |m, (a, b)| m.max((a - b).abs() / scale));
    }
    largest
}

#[test]
fn prepared_models_compute_what_the_published_ones_do() {
    let Some(data) = support::test_data() else { return };
    for (file, name) in MODELS {
        let bytes = std::fs::read(data.join("models").join(file)).unwrap();
        let candidate = import::read(&bytes).unwrap();
        let known::Recognised { manifest, by, .. } = candidate.recognise().unwrap();
        assert_eq!((manifest.name.as_str(), by), (name, known::By::Digest));
        let prepared = candidate.prepare(&manifest).unwrap();
        let report = &prepared.report;
        let (inputs, shape) = inputs(&data, &manifest);
        let mut largest = 0f32;
        for input in inputs {
            let before = run(&bytes, &manifest, &input, shape);
            let after = run(&prepared.bytes, &manifest, &input, shape);
            largest = largest.max(largest_difference(&before, &after));
        }
        assert!(largest <= BOUND, "{name}: {largest:e}");
        let untouched = report.prelu_rewritten == 0 && report.inputs_fixed == 0;
        assert!(!untouched || largest == 0.0, "{name}: nothing but tiny weights changed, yet outputs differ by {largest:e}");
    }
}

#[test]
fn known_rewrites_are_counted() {
    let Some(data) = support::test_data() else { return };
    let report = |file: &str| {
        let bytes = std::fs::read(data.join("models").join(file)).unwrap();
        let candidate = import::read(&bytes).unwrap();
        let manifest = candidate.recognise().unwrap().manifest;
        let prepared = candidate.prepare(&manifest).unwrap();
        let model = ModelProto::decode(prepared.bytes.as_slice()).unwrap();
        let graph = model.graph.unwrap();
        let tiny = graph
            .initializer
            .iter()
            .filter(|t| t.data_type() == element::FLOAT)
            .flat_map(|t| t.raw_data.as_deref().unwrap_or_default().as_chunks::<4>().0);
        assert_eq!(tiny.filter(|b| (1e-45..TINY).contains(&f32::from_le_bytes(**b).abs())).count(), 0, "{file}");
        assert!(graph.node.iter().all(|node| node.op_type() != "PRelu"), "{file}");
        (prepared.report.prelu_rewritten, prepared.report.weights_flushed, prepared.report.inputs_fixed)
    };
    assert_eq!(report("mobileface_v2_112.onnx"), (0, 270, 0));
    assert_eq!(report("mobileface_v3_112.onnx"), (13, 4739, 0));
    assert_eq!(report("2.7_80x80_MiniFASNetV2.onnx"), (33, 0, 0));
    assert_eq!(report("version-RFB-640.onnx"), (0, 0, 244));
    assert_eq!(report("yunet_n_640_640.onnx"), (0, 0, 0));
}

#[test]
fn decoding_and_encoding_loses_nothing() {
    let Some(data) = support::test_data() else { return };
    for (file, _) in MODELS {
        let bytes = std::fs::read(data.join("models").join(file)).unwrap();
        assert!(ModelProto::decode(bytes.as_slice()).unwrap().encode_to_vec() == bytes, "{file}");
    }
}
