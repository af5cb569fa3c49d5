//! A small network against a naive oracle: plain loops in fp32 say what it computes, ONNX Runtime must agree, and int8 must come near.

use prost::Message;

use super::fold::{constants, fold_batch_normalisation};
use super::plan::{Plan, Step};
use super::tensors::float_tensor;
use super::verdict::{HeldOut, LARGEST_LOSS, Verdict, compare};
use super::{QuantiseError, quantise};
use crate::engine::manifest::{Decode, Manifest};
use crate::engine::onnx::{
    AttributeProto, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TensorType,
    TypeProto, TypeValue, ValueInfoProto, element,
};
use crate::engine::onnxruntime::{OnnxNetwork, initialise, library_path};
use crate::engine::{Network, known};

const SIDE: usize = 16;
const HALF: usize = SIDE / 2;
const CHANNELS: usize = 8;
const DIM: usize = 16;

/// Numbers that look random and are always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn many(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.next() * scale).collect()
    }
}

/// The constants of the network.
struct Weights {
    stem: Vec<f32>,
    gain: Vec<f32>,
    shift: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    depthwise: Vec<f32>,
    depthwise_bias: Vec<f32>,
    point: Vec<f32>,
    point_bias: Vec<f32>,
    matrix: Vec<f32>,
    matrix_bias: Vec<f32>,
}

fn weights() -> Weights {
    let mut n = Numbers(7);
    Weights {
        stem: n.many(CHANNELS * 3 * 9, 0.4),
        gain: (0..CHANNELS).map(|i| 0.5 + i as f32 * 0.2).collect(),
        shift: n.many(CHANNELS, 0.5),
        mean: n.many(CHANNELS, 0.2),
        variance: (0..CHANNELS).map(|i| 0.6 + i as f32 * 0.1).collect(),
        depthwise: n.many(CHANNELS * 9, 0.6),
        depthwise_bias: n.many(CHANNELS, 0.3),
        point: n.many(CHANNELS * CHANNELS, 0.5),
        point_bias: n.many(CHANNELS, 0.3),
        matrix: n.many(DIM * CHANNELS * HALF * HALF, 0.1),
        matrix_bias: n.many(DIM, 0.2),
    }
}

/// 3 × 3, padded by one; `depthwise`: each channel by itself.
fn naive_convolution(x: &[f32], side: usize, inputs: usize, w: &[f32], stride: usize, depthwise: bool) -> Vec<f32> {
    let out_side = side / stride;
    let outputs = if depthwise { inputs } else { w.len() / (9 * inputs) };
    let mut y = vec![0.0; outputs * out_side * out_side];
    for o in 0..outputs {
        for (oy, ox) in (0..out_side).flat_map(|oy| (0..out_side).map(move |ox| (oy, ox))) {
            let mut sum = 0.0;
            for i in if depthwise { o..o + 1 } else { 0..inputs } {
                for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
                    let (iy, ix) = ((oy * stride + ky).wrapping_sub(1), (ox * stride + kx).wrapping_sub(1));
                    if iy < side && ix < side {
                        let at = if depthwise { o * 9 } else { (o * inputs + i) * 9 };
                        sum += x[(i * side + iy) * side + ix] * w[at + ky * 3 + kx];
                    }
                }
            }
            y[(o * out_side + oy) * out_side + ox] = sum;
        }
    }
    y
}

fn oracle(w: &Weights, picture: &[f32]) -> Vec<f32> {
    let cells = HALF * HALF;
    let x: Vec<f32> = picture.iter().map(|v| (v - 127.5) * (1.0 / 128.0)).collect();
    let stem = naive_convolution(&x, SIDE, 3, &w.stem, 2, false);
    let normalise = |(i, v): (usize, &f32)| {
        let c = i / cells;
        (w.gain[c] * (v - w.mean[c]) / (w.variance[c] + 1e-3).sqrt() + w.shift[c]).max(0.0)
    };
    let stem: Vec<f32> = stem.iter().enumerate().map(normalise).collect();
    let depthwise = naive_convolution(&stem, HALF, CHANNELS, &w.depthwise, 1, true);
    let depthwise: Vec<f32> = depthwise.iter().enumerate().map(|(i, v)| (v + w.depthwise_bias[i / cells]).clamp(0.0, 1.5)).collect();
    let point =
        |o: usize, at: usize| (0..CHANNELS).map(|i| w.point[o * CHANNELS + i] * depthwise[i * cells + at]).sum::<f32>() + w.point_bias[o];
    let sum: Vec<f32> = (0..CHANNELS * cells).map(|i| point(i / cells, i % cells) + stem[i]).collect();
    (0..DIM).map(|o| sum.iter().zip(&w.matrix[o * sum.len()..]).map(|(a, b)| a * b).sum::<f32>() + w.matrix_bias[o]).collect()
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let input = inputs.iter().map(|&name| name.to_owned()).collect();
    NodeProto { input, output: vec![output.into()], op_type: Some(op.into()), attribute, ..Default::default() }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: Some(name.into()), ints: values.to_vec(), r#type: Some(7), ..Default::default() }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|d| Dimension { value: Some(DimensionValue::Value(*d)), ..Default::default() }).collect();
    let tensor = TensorType { elem_type: Some(element::FLOAT), shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), ..Default::default() });
    ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

fn model(w: &Weights) -> ModelProto {
    let c = CHANNELS as i64;
    let epsilon = AttributeProto { name: Some("epsilon".into()), f: Some(1e-3), r#type: Some(1), ..Default::default() };
    let kernel = |pad: i64, stride: i64| vec![ints("pads", &[pad; 4]), ints("strides", &[stride; 2])];
    let grouped = |mut attributes: Vec<AttributeProto>| {
        attributes.push(AttributeProto::int("group", c));
        attributes
    };
    let nodes = vec![
        node("Sub", &["data", "middle"], "centred", vec![]),
        node("Mul", &["centred", "unit"], "scaled", vec![]),
        node("Conv", &["scaled", "stem"], "stem_raw", kernel(1, 2)),
        node("BatchNormalization", &["stem_raw", "gain", "shift", "mean", "variance"], "stem_norm", vec![epsilon]),
        node("Relu", &["stem_norm"], "stem_out", vec![]),
        node("Conv", &["stem_out", "depthwise", "depthwise_bias"], "depthwise_raw", grouped(kernel(1, 1))),
        node("Clip", &["depthwise_raw", "zero", "most"], "depthwise_out", vec![]),
        node("Conv", &["depthwise_out", "point", "point_bias"], "point_out", kernel(0, 1)),
        node("Add", &["point_out", "stem_out"], "sum", vec![]),
        node("Flatten", &["sum"], "flat", vec![AttributeProto::int("axis", 1)]),
        node("Gemm", &["flat", "matrix", "matrix_bias"], "embedding", vec![AttributeProto::int("transB", 1)]),
    ];
    let flat = (CHANNELS * HALF * HALF) as i64;
    let initializer = vec![
        float_tensor("middle", &[1], &[127.5]),
        float_tensor("unit", &[1], &[1.0 / 128.0]),
        float_tensor("stem", &[c, 3, 3, 3], &w.stem),
        float_tensor("gain", &[c], &w.gain),
        float_tensor("shift", &[c], &w.shift),
        float_tensor("mean", &[c], &w.mean),
        float_tensor("variance", &[c], &w.variance),
        float_tensor("depthwise", &[c, 1, 3, 3], &w.depthwise),
        float_tensor("depthwise_bias", &[c], &w.depthwise_bias),
        float_tensor("zero", &[], &[0.0]),
        float_tensor("most", &[], &[1.5]),
        float_tensor("point", &[c, c, 1, 1], &w.point),
        float_tensor("point_bias", &[c], &w.point_bias),
        float_tensor("matrix", &[DIM as i64, flat], &w.matrix),
        float_tensor("matrix_bias", &[DIM as i64], &w.matrix_bias),
    ];
    let side = SIDE as i64;
    let graph = GraphProto {
        node: nodes,
        name: Some("small".into()),
        initializer,
        input: vec![value("data", &[1, 3, side, side])],
        output: vec![value("embedding", &[1, DIM as i64])],
        ..Default::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(13) }];
    ModelProto { ir_version: Some(8), graph: Some(graph), opset_import, ..Default::default() }
}

fn manifest() -> Manifest {
    let mut manifest = known::by_name("mobileface-v2").expect("known");
    (manifest.input.width, manifest.input.height) = (Some(SIDE as u32), Some(SIDE as u32));
    manifest.decode = Decode::Embedding { output: "embedding".into(), dim: DIM, normalised: false };
    manifest
}

fn pictures(count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut n = Numbers(seed);
    let wave = |i: usize, phase: f32| 127.5 + 100.0 * ((i % SIDE) as f32 * (0.3 + phase) + (i / SIDE) as f32 * 0.2).sin() * phase;
    (0..count).map(|_| n.next().abs()).map(|phase| (0..3 * SIDE * SIDE).map(|i| wave(i, phase)).collect()).collect()
}

fn run(network: &mut dyn Network, picture: &[f32]) -> Vec<f32> {
    let mut values = Vec::new();
    network.run(picture, [1, 3, SIDE, SIDE], &mut |outputs| values = outputs[0].data.to_vec()).expect("runs");
    values
}

fn load(bytes: &[u8]) -> OnnxNetwork {
    initialise(&library_path(None)).expect("ONNX Runtime is there");
    OnnxNetwork::load(bytes, &manifest(), 1).expect("loads")
}

#[test]
fn int8_comes_near_what_plain_loops_compute() {
    let w = weights();
    let prepared = model(&w).encode_to_vec();
    let mut fp32 = load(&prepared);
    let made = quantise(&prepared, &manifest(), &pictures(24, 3)).expect("quantises");
    let report = &made.report;
    assert_eq!((report.convolutions, report.products, report.sums), (3, 1, 1));
    let left: Vec<(&str, usize)> = report.in_fp32.iter().map(|(name, count)| (&**name, *count)).collect();
    assert_eq!(left, [("Mul", 1), ("Sub", 1)], "normalisation is folded, activations are absorbed, flattening works on bytes");
    let graph = ModelProto::decode(made.bytes.as_slice()).expect("a model").graph.expect("a graph");
    assert!(graph.node.iter().all(|node| node.domain().is_empty()), "standard operators only");
    assert!(graph.initializer.iter().all(|t| !["stem", "point", "matrix", "gain"].contains(&t.name())), "no weights twice");

    let mut int8 = load(&made.bytes);
    for picture in pictures(12, 99) {
        let expected = oracle(&w, &picture);
        let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        for (got, bound) in [(run(&mut fp32, &picture), 1e-4), (run(&mut int8, &picture), 0.04)] {
            let worst = got.iter().zip(&expected).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= bound * largest, "{worst} of {largest}, bound {bound}");
        }
    }
}

#[test]
fn what_cannot_be_quantised_is_said() {
    let refusal = |model: &ModelProto, pictures: &[Vec<f32>]| {
        quantise(&model.encode_to_vec(), &manifest(), pictures).expect_err("refused").to_string()
    };
    let good = model(&weights());
    assert!(refusal(&good, &pictures(7, 1)).contains("7 calibration pictures, at least 8"));
    assert!(refusal(&good, &vec![vec![0.0; 5]; 8]).contains("5 values, the network takes 768"));
    let mut old = good.clone();
    old.opset_import[0].version = Some(9);
    assert!(refusal(&old, &pictures(8, 1)).contains("operator set 9"));
    let mut bare = good.clone();
    let graph = bare.graph.as_mut().expect("a graph");
    graph.node.retain(|node| !["Conv", "Gemm"].contains(&node.op_type()));
    assert!(refusal(&bare, &pictures(8, 1)).contains("no convolution"));
    let mut endless = pictures(8, 1);
    endless[3][5] = f32::INFINITY;
    initialise(&library_path(None)).expect("ONNX Runtime is there");
    assert!(matches!(quantise(&good.encode_to_vec(), &manifest(), &endless), Err(QuantiseError::Engine(_))));
}

#[test]
fn an_activation_that_somebody_else_reads_past_is_not_absorbed() {
    // PRelu as it is rewritten at import: the convolution's result is read twice.
    let nodes = vec![
        node("Conv", &["data", "w"], "x", vec![]),
        node("Mul", &["x", "a"], "scaled", vec![]),
        node("Relu", &["x"], "relu", vec![]),
        node("Mul", &["relu", "b"], "kept", vec![]),
        node("Add", &["scaled", "kept"], "y", vec![]),
        node("Conv", &["y", "w"], "z", vec![]),
        node("Relu", &["z"], "end", vec![]),
    ];
    let tensors = vec![
        float_tensor("w", &[3, 3, 1, 1], &[0.5; 9]),
        float_tensor("a", &[3, 1, 1], &[0.2; 3]),
        float_tensor("b", &[3, 1, 1], &[0.8; 3]),
    ];
    let graph = GraphProto { node: nodes, initializer: tensors, output: vec![value("end", &[1])], ..Default::default() };
    let plan = Plan::new(&graph, &constants(&graph));
    let convolution = |output: &str| Step::Convolution { output: output.into() };
    let expected = [convolution("x"), Step::Exact, Step::Exact, Step::Exact, Step::Exact, convolution("end"), Step::Absorbed];
    assert_eq!(plan.steps, expected);
    assert_eq!(plan.ranged, ["data", "x", "y", "end"]);
}

#[test]
fn normalisation_is_folded_only_where_nobody_else_reads_the_convolution() {
    let mut graph = model(&weights()).graph.expect("a graph");
    assert_eq!(fold_batch_normalisation(&mut graph.clone()), 1);
    graph.output.push(value("stem_raw", &[1]));
    assert_eq!(fold_batch_normalisation(&mut graph), 0);
}

#[test]
fn a_verdict_compares_with_templates_in_fp32_and_refuses_what_lost_too_much() {
    let w = weights();
    let prepared = model(&w).encode_to_vec();
    let made = quantise(&prepared, &manifest(), &pictures(24, 3)).expect("quantises");
    let people = pictures(6, 41);
    let probes = people.iter().enumerate().map(|(i, p)| (i, p.iter().map(|v| v * 0.98).collect())).collect();
    let held_out = HeldOut { templates: people, probes, others: pictures(3, 43) };
    let verdict = compare(&mut load(&prepared), &mut load(&made.bytes), &held_out).expect("compared");
    assert_eq!((verdict.pictures, verdict.people, verdict.probes), (15, 6, 6));
    assert!(verdict.cosine_min <= verdict.cosine_mean && verdict.cosine_mean <= 1.000_01);
    let good = Verdict {
        people: 50,
        probes: 1000,
        cosine_mean: 0.99,
        cosine_min: 0.97,
        rank1_fp32: 0.9,
        rank1_int8: 0.9,
        accepted_fp32: 0.8,
        accepted_int8: 0.8,
        false_int8: 0.001,
        ..verdict
    };
    assert_eq!(good.refusal(), None);
    let worse: [(Verdict, &str); 5] = [
        (Verdict { cosine_mean: 0.97, ..good }, "cosine to fp32 is 0.9700"),
        (Verdict { cosine_min: f32::NAN, ..good }, "cosine to fp32"),
        (Verdict { rank1_int8: 0.9 - 1.1 * LARGEST_LOSS, ..good }, "rank-1 fell from 90.0 % to 87.8 %"),
        (Verdict { accepted_int8: 0.7, ..good }, "recognised at the same threshold fell"),
        (Verdict { false_int8: 0.003, ..good }, "impostor pairs"),
    ];
    for (verdict, reason) in worse {
        let said = verdict.refusal().expect(reason);
        assert!(said.contains(reason), "{said}");
    }
}
