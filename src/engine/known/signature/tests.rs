//! Graphs made by hand: each family, and what must not be taken for one.

use super::super::{By, recognise};
use super::*;
use crate::engine::onnx::{AttributeProto, Dimension, DimensionValue, TensorShapeProto, TensorType, TypeProto, TypeValue};

fn value(name: &str, dims: &[Option<i64>]) -> ValueInfoProto {
    let dim = |d: &Option<i64>| Dimension { value: d.map(DimensionValue::Value), denotation: None };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = TensorType { elem_type: Some(element::FLOAT), shape };
    let r#type = Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), denotation: None });
    ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    let input = inputs.iter().map(|&name| name.to_owned()).collect();
    NodeProto { input, output: vec![output.into()], op_type: Some(op.into()), ..Default::default() }
}

fn constant(name: &str, values: &[f32]) -> TensorProto {
    TensorProto { data_type: Some(element::FLOAT), name: Some(name.into()), float_data: values.to_vec(), ..Default::default() }
}

/// `first` nodes from `input`, the last of which makes `x`; then a convolution and what ends the graph.
fn embedder(input: &str, first: &[NodeProto], output: &str, dim: i64, last: &str) -> GraphProto {
    let start = if first.is_empty() { input } else { "x" };
    let mut nodes = first.to_vec();
    nodes.extend([node("Conv", &[start, "w"], "c"), node("Gemm", &["c", "v"], "g"), node(last, &["g"], output)]);
    GraphProto {
        node: nodes,
        initializer: vec![
            constant("mean", &[127.5]),
            constant("scale", &[0.007_812_5]),
            constant("wide", &[127.5; 3]),
            constant("odd", &[104.0]),
        ],
        input: vec![value(input, &[None, Some(3), Some(112), Some(112)])],
        output: vec![value(output, &[None, Some(dim)])],
        ..Default::default()
    }
}

fn usual(input: &str) -> Vec<NodeProto> {
    vec![node("Sub", &[input, "mean"], "s"), node("Mul", &["s", "scale"], "x")]
}

#[test]
fn scrfd_is_told_by_its_nine_outputs_in_rising_stride() {
    let output = |name: &str, count, width| value(name, &[Some(count), Some(width)]);
    let mut graph = GraphProto { input: vec![value("input.1", &[Some(1), Some(3), None, None])], ..Default::default() };
    let counts = [12800, 3200, 800];
    graph.output = [(1, ["443", "468", "493"]), (4, ["446", "471", "496"]), (10, ["449", "474", "499"])]
        .iter()
        .flat_map(|(width, names)| std::iter::zip(names, counts).map(move |(name, count)| output(name, count, *width)))
        .collect();
    let found = recognise("00", &graph).unwrap();
    assert_eq!((found.by, found.manifest.name.as_str(), found.manifest.input.mean), (By::Signature, "scrfd-dynamic", [127.5; 3]));
    assert_eq!(found.manifest.licence, UNKNOWN_LICENCE);
    assert!(found.assumed.unwrap().contains("placard model eval"));
    let Decode::Scrfd { outputs } = found.manifest.decode else { panic!("not SCRFD") };
    assert_eq!(outputs, ["443", "468", "493", "446", "471", "496", "449", "474", "499"]);

    graph.output.swap(0, 1);
    assert!(recognise("00", &graph).is_none(), "strides must rise");
    graph.output.swap(0, 1);
    graph.output.push(output("age", 800, 1));
    assert!(recognise("00", &graph).is_none(), "a tenth head");
}

#[test]
fn yunet_and_rfb_are_told_by_their_outputs_names() {
    let input = |size: [Option<i64>; 2]| vec![value("input", &[Some(1), Some(3), size[0], size[1]])];
    let names = Decode::Yunet.output_names();
    let output = names.iter().zip(Decode::Yunet.widths(Task::FaceDetector)).map(|(n, w)| value(n, &[None, None, Some(w as i64)])).collect();
    let found = recognise("00", &GraphProto { input: input([None; 2]), output, ..Default::default() }).unwrap();
    assert_eq!(
        (found.manifest.name.as_str(), found.manifest.input.channels, found.manifest.input.mean),
        ("yunet-dynamic", ChannelOrder::Bgr, [0.0; 3])
    );
    let output = vec![value("scores", &[Some(1), Some(4420), Some(2)]), value("boxes", &[Some(1), Some(4420), Some(4)])];
    let found = recognise("00", &GraphProto { input: input([Some(240), Some(320)]), output, ..Default::default() }).unwrap();
    assert_eq!((found.manifest.name.as_str(), found.manifest.input.mean), ("rfb-320x240", [127.0; 3]));
    assert_eq!(found.manifest.accuracy, [format!("not measured; {}", found.assumed.unwrap())], "the manifest says it too");
}

#[test]
fn embedders_that_normalise_by_themselves_take_pixels_as_they_are() {
    let cases = [
        ("sface-128", embedder("data", &usual("data"), "fc1", 128, "BatchNormalization"), false),
        ("mobileface-256", embedder("data", &usual("data"), "embedding", 256, "LpNormalization"), true),
        ("arcface-512", embedder("data", &usual("data"), "fc1", 512, "BatchNormalization"), false),
        // As other exporters write the same.
        (
            "mobileface-256",
            embedder("data", &[node("Div", &["data", "mean"], "d"), node("Sub", &["d", "one"], "x")], "e", 256, "Relu"),
            false,
        ),
        (
            "sface-128",
            embedder("data", &[node("Sub", &["data", "wide"], "s"), node("Mul", &["scale", "s"], "x")], "fc1", 128, "Relu"),
            false,
        ),
    ];
    for (name, mut graph, normalised) in cases {
        graph.initializer.push(constant("one", &[1.0]));
        let found = recognise("00", &graph).unwrap_or_else(|| panic!("{name}"));
        let Manifest { input, decode, .. } = &found.manifest;
        assert_eq!((found.by, found.manifest.name.as_str(), found.manifest.licence.as_str()), (By::Signature, name, UNKNOWN_LICENCE));
        assert_eq!((input.mean, input.scale, input.channels), ([0.0; 3], [1.0; 3], ChannelOrder::Rgb), "{name}");
        assert!(matches!(decode, Decode::Embedding { normalised: n, .. } if *n == normalised), "{name}");
        assert!(found.assumed.unwrap().contains("was read from its graph"), "{name}");
        assert!(found.manifest.check().is_err_and(|e| e.to_string().contains("sha256")), "nothing else is wrong with it");
    }
}

#[test]
fn an_arcface_style_embedder_is_assumed_to_be_fed_as_usual_and_that_is_said() {
    let found = recognise("00", &embedder("input.1", &[], "516", 512, "BatchNormalization")).unwrap();
    let input = &found.manifest.input;
    assert_eq!((found.manifest.name.as_str(), input.mean, input.scale), ("arcface-512", [127.5; 3], [1.0 / 127.5; 3]));
    let assumed = found.assumed.unwrap();
    assert!(assumed.contains("(x − 127.5) / 127.5) is assumed") && assumed.contains("placard model eval"), "{assumed}");
    assert!(found.manifest.accuracy[0].contains("assumed"));
}

#[test]
fn what_a_graph_does_not_tell_is_not_guessed() {
    let constant_node = |name: &str, v: f32| {
        let attribute = AttributeProto { name: Some("value".into()), t: Some(constant("", &[v])), ..Default::default() };
        NodeProto { attribute: vec![attribute], ..node("Constant", &[], name) }
    };
    let mut from_node = embedder("data", &[node("Sub", &["data", "c"], "s"), node("Mul", &["s", "scale"], "x")], "e", 256, "Relu");
    from_node.node.insert(0, constant_node("c", 127.5));
    assert!(recognise("00", &from_node).is_some(), "a constant may be a node");
    let mut twice = embedder("data", &usual("data"), "e", 256, "Relu");
    twice.node.push(node("Relu", &["data"], "aside"));
    let mut two_outputs = embedder("data", &usual("data"), "e", 256, "Relu");
    two_outputs.output.push(value("age", &[None, Some(1)]));
    for (what, graph) in [
        ("no normalisation, no custom size", embedder("data", &[], "embedding", 256, "LpNormalization")),
        ("no normalisation, 128 values", embedder("input.1", &[], "fc1", 128, "Relu")),
        ("another mean", embedder("data", &[node("Sub", &["data", "odd"], "s"), node("Mul", &["s", "scale"], "x")], "e", 256, "Relu")),
        ("a mean alone", embedder("data", &[node("Sub", &["data", "mean"], "x")], "e", 256, "Relu")),
        ("batch normalisation", embedder("data", &[node("BatchNormalization", &["data", "mean"], "x")], "e", 512, "Relu")),
        ("a computed mean", embedder("data", &[node("Sub", &["data", "computed"], "x")], "e", 512, "Relu")),
        (
            "subtracted the wrong way",
            embedder("data", &[node("Sub", &["mean", "data"], "s"), node("Mul", &["s", "scale"], "x")], "e", 256, "Relu"),
        ),
        ("SFace's size, another name", embedder("data", &usual("data"), "vector", 128, "Relu")),
        ("an input of another name", embedder("pixels", &[], "516", 512, "Relu")),
        ("the picture goes two ways", twice),
        ("a second head", two_outputs),
    ] {
        assert!(recognise("00", &graph).is_none(), "{what}");
    }
}
