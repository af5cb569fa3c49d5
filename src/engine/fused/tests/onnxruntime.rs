//! The executor against ONNX Runtime, on real models: the bundled detector, and published ones where the test data is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;

use super::Numbers;
use crate::detect::golden::test_data;
use crate::engine::fused::bytes::Bytes;
use crate::engine::fused::floats::Floats;
use crate::engine::fused::graph::Graph;
use crate::engine::fused::network::{FusedNetwork, PLANS, graph_of};
use crate::engine::fused::quantise::{Ranges, quantise};
use crate::engine::fused::{FusedError, plain};
use crate::engine::manifest::Manifest;
use crate::engine::onnx::{AttributeProto, ModelProto};
use crate::engine::onnxruntime::{OnnxNetwork, initialise, library_path};
use crate::engine::{EngineError, Network, known};

/// Of logits and offsets of some units: what two orders of summation differ by.
const APART: f32 = 5e-5;

fn bundled() -> (Vec<u8>, Manifest) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let file = std::fs::read(models.join("concourse-detector.onnx")).expect("the bundled model");
    let manifest = std::fs::read_to_string(models.join("concourse-detector.toml")).expect("its manifest");
    (file, Manifest::from_toml(&manifest).expect("valid"))
}

fn published(data: &Path) -> impl Iterator<Item = (PathBuf, Manifest)> {
    let files = [
        ("yunet_n_dynamic.onnx", "yunet-n-dynamic"),
        ("yunet_s_dynamic.onnx", "yunet-s-dynamic"),
        ("yunet_n_320_320.onnx", "yunet-n-320"),
        ("yunet_s_640_640.onnx", "yunet-s-640"),
    ];
    files.map(|(file, name)| (data.join("models").join(file), known::by_name(name).expect("known"))).into_iter()
}

fn graph(file: &[u8], manifest: &Manifest) -> Result<Graph, FusedError> {
    let model = ModelProto::decode(file).expect("ONNX");
    graph_of(model.graph.as_ref().expect("a graph"), manifest)
}

fn answers(network: &mut dyn Network, picture: &[f32], width: usize, height: usize) -> Vec<Vec<f32>> {
    let mut answers = Vec::new();
    let shape = [1, 3, height, width];
    network
        .run(picture, shape, &mut |outputs| {
            answers = outputs
                .iter()
                .map(|output| {
                    assert_eq!(output.shape.iter().product::<usize>(), output.data.len());
                    output.data.to_vec()
                })
                .collect();
        })
        .expect("runs");
    answers
}

/// Every version answers as ONNX Runtime does, and 8 bits as the plain 8-bit network.
fn compare(file: &[u8], manifest: &Manifest, sizes: &[[usize; 2]]) {
    initialise(&library_path(None)).expect("ONNX Runtime is there");
    let graph = Arc::new(graph(file, manifest).expect("of the class"));
    let mut runtime = OnnxNetwork::load(file, manifest, 1).expect("loads");
    let mut numbers = Numbers(31);
    for &[width, height] in sizes {
        let picture = numbers.picture(width, height);
        let want = answers(&mut runtime, &picture, width, height);
        for name in Floats::available() {
            let mut network = FusedNetwork::floats(Arc::clone(&graph), manifest, Some(name)).expect("available");
            let apart = super::apart(&answers(&mut network, &picture, width, height), &want);
            assert!(apart < APART, "{}, {width} × {height}, {name}: {apart} apart", manifest.name);
        }
    }
    let &[width, height] = &sizes[0];
    let mut ranges = Ranges::none(&graph);
    let picture = numbers.picture(width, height);
    plain::run(&graph, &picture, width, height, Some(&mut ranges));
    let network = quantise(&graph, &ranges).expect("fits");
    let bytes: Vec<u8> = picture.iter().map(|v| *v as u8).collect();
    let want = plain::run_quantised(&graph, &network, &bytes, width, height);
    for name in Bytes::available() {
        let mut network = FusedNetwork::bytes(Arc::clone(&graph), &network, manifest, Some(name)).expect("available");
        let apart = super::apart(&answers(&mut network, &picture, width, height), &want);
        assert!(apart < super::BYTES_APART, "{}, {name}: {apart} apart", manifest.name);
    }
}

#[test]
fn the_bundled_detector_answers_as_on_onnx_runtime() {
    let (file, manifest) = bundled();
    compare(&file, &manifest, &[[128, 96], [32, 32], [64, 320], [352, 288], [640, 384]]);
}

#[test]
fn published_detectors_answer_as_on_onnx_runtime() {
    let Some(data) = test_data() else { return };
    for (path, manifest) in published(&data) {
        let file = std::fs::read(path).expect("the model is there");
        let fixed = manifest.input.width.zip(manifest.input.height).map(|(w, h)| vec![[w as usize, h as usize]]);
        compare(&file, &manifest, &fixed.unwrap_or(vec![[96, 128], [416, 224], [640, 640]]));
    }
}

#[test]
fn other_networks_are_refused_by_the_node_that_does_not_fit() {
    let (file, manifest) = bundled();
    let refused = |change: &dyn Fn(&mut ModelProto), named: &str| {
        let mut model = ModelProto::decode(&*file).expect("ONNX");
        change(&mut model);
        match graph_of(model.graph.as_ref().expect("a graph"), &manifest) {
            Err(FusedError::Unfit { node, reason }) => assert!(node == named, "{node}: {reason}"),
            other => panic!("{named}: {}", other.is_ok()),
        }
    };
    fn node<'m>(model: &'m mut ModelProto, name: &str) -> &'m mut crate::engine::onnx::NodeProto {
        model.graph.as_mut().expect("a graph").node.iter_mut().find(|node| node.name() == name).expect("such a node")
    }
    let set = |model: &mut ModelProto, name: &str, attribute: &str, ints: Vec<i64>| {
        let of = node(model, name);
        of.attribute.retain(|a| a.name() != attribute);
        of.attribute.push(AttributeProto { name: Some(attribute.into()), ints, ..Default::default() });
    };
    refused(&|m| node(m, "Relu_14").op_type = Some("Elu".into()), "Relu_14");
    refused(&|m| set(m, "Conv_0", "strides", vec![1, 1]), "Conv_0");
    refused(&|m| set(m, "Conv_3", "pads", vec![0, 0, 0, 0]), "Conv_3");
    refused(&|m| set(m, "Conv_10", "dilations", vec![2, 2]), "Conv_10");
    refused(&|m| set(m, "MaxPool_5", "kernel_shape", vec![3, 3]), "MaxPool_5");
    refused(&|m| set(m, "Transpose_63", "perm", vec![0, 3, 1, 2]), "Transpose_63");
    refused(&|m| node(m, "Conv_9").input[1] = "elsewhere".into(), "Conv_9");
    refused(&|m| node(m, "Add_43").input[1] = "v31".into(), "Add_43");
    refused(&|m| node(m, "Relu_8").input[0] = "v6".into(), "Relu_8");
    refused(
        &|m| {
            let weights = m.graph.as_mut().expect("a graph").initializer.iter_mut().find(|t| t.name() == "w8").expect("weights");
            weights.raw_data.as_mut().expect("raw")[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        },
        "Conv_6",
    );
}

/// Some bytes of a file may ask for memory of their own, again and again.
#[test]
fn a_file_that_asks_for_too_much_is_refused_before_it_is_copied() {
    let (file, manifest) = bundled();
    let refused = |change: &dyn Fn(&mut crate::engine::onnx::GraphProto), why: &str| {
        let mut model = ModelProto::decode(&*file).expect("ONNX");
        change(model.graph.as_mut().expect("a graph"));
        let error = graph_of(model.graph.as_ref().expect("a graph"), &manifest).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    };
    let again = |graph: &mut crate::engine::onnx::GraphProto, name: &str| {
        let place = graph.node.iter().position(|node| node.name() == name).expect("such a node");
        for copy in 0..300 {
            let mut node = graph.node[place].clone();
            node.output[0] = format!("copy{copy}");
            graph.node.insert(place + 1, node);
        }
    };
    refused(&|graph| again(graph, "Conv_2"), "more than 256 convolutions");
    refused(&|graph| again(graph, "Relu_8"), "more than 256 units");
    refused(
        &|graph| graph.initializer.iter_mut().find(|tensor| tensor.name() == "w8").expect("weights").dims = vec![1 << 40, 1 << 40, 1, 1],
        "one at least, 4096 at most",
    );
    // No values at all, and as many channels as would fill the memory.
    refused(
        &|graph| {
            let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name() == "w8").expect("weights");
            (tensor.dims, tensor.raw_data) = (vec![1 << 40, 0, 1, 1], Some(Vec::new()));
        },
        "one at least, 4096 at most",
    );
    refused(
        &|graph| {
            let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name() == "w8").expect("weights");
            (tensor.dims, tensor.raw_data) = (vec![1, 1, 1, 1], Some(vec![0; 1 << 20]));
        },
        "262144 values",
    );
}

#[test]
fn sizes_that_do_not_fit_are_refused_and_plans_are_kept_for_those_that_do() {
    let (file, manifest) = bundled();
    let graph = Arc::new(graph(&file, &manifest).expect("of the class"));
    let mut network = FusedNetwork::floats(graph, &manifest, None).expect("some version");
    for shape in [[1, 3, 32, 33], [1, 3, 0, 32], [2, 3, 32, 32], [1, 1, 32, 32], [1, 3, 32, 8192], [1, 3, 48, 32]] {
        let values: usize = shape.iter().product();
        let refused = network.run(&vec![0.0; values.min(1 << 20)], shape, &mut |_| panic!("not run"));
        assert!(matches!(refused, Err(EngineError::InputShape { .. })), "{shape:?}");
    }
    assert!(network.run(&[0.0; 7], [1, 3, 32, 32], &mut |_| panic!("not run")).is_err());
    let mut numbers = Numbers(33);
    let pictures: Vec<_> = (1..=PLANS + 3).map(|i| (32 * i, numbers.picture(32 * i, 32))).collect();
    let first: Vec<_> = pictures.iter().map(|(width, picture)| answers(&mut network, picture, *width, 32)).collect();
    for ((width, picture), first) in pictures.iter().zip(&first).chain(pictures.iter().zip(&first).rev()) {
        assert!(answers(&mut network, picture, *width, 32) == *first, "{width}: a plan that was kept or made anew");
    }
    // Also when whoever reads panics.
    let (width, picture) = &pictures[2];
    let panics = std::panic::AssertUnwindSafe(|| network.run(picture, [1, 3, 32, *width], &mut |_| panic!("on purpose")));
    assert!(std::panic::catch_unwind(panics).is_err());
    assert!(answers(&mut network, picture, *width, 32) == first[2]);
}
