//! What is changed in a model that has been checked, so that ONNX Runtime runs it fast. The function it computes stays the same.
//!
//! 1. *PRelu* becomes `a·x + (1−a)·Relu(x)`: for x ≤ 0 the second term is 0, for x > 0 the sum is x. The runtime's PRelu kernel is slower
//!    than the four simple operators together (docs/measurements.md). Exact in real numbers; in fp32 a positive x comes back rounded,
//!    by at most a few units in the last place for |a| ≤ 1.
//! 2. *Tiny weights* (|w| < 1e-20) become 0. Many processors need a hundred cycles and more for a product that is denormal, others none; a
//!    term of 1e-20 changes no fp32 sum that a network for faces computes from pixels.
//! 3. *Weights listed as inputs* (an old habit of exporters) are struck from the inputs: as long as a caller might override them, the runtime
//!    must not fold batch normalisation into convolutions. From IR version 4 on, weights need not be listed.

use std::collections::{HashMap, HashSet};

use crate::engine::onnx::{GraphProto, ModelProto, NodeProto, TensorProto, element, unused};

/// Weights nearer to zero than this are set to zero.
pub const TINY: f32 = 1e-20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub prelu_rewritten: usize,
    pub weights_flushed: usize,
    pub inputs_fixed: usize,
}

pub(super) fn rewrite(model: &mut ModelProto) -> Counts {
    let listed_needlessly = model.ir_version() >= 4;
    let Some(graph) = model.graph.as_mut() else { return Counts::default() };
    let mut counts = Counts::default();
    if listed_needlessly {
        let weights: HashSet<String> = graph.initializer.iter().map(|tensor| tensor.name().to_owned()).collect();
        let before = graph.input.len();
        graph.input.retain(|input| !weights.contains(input.name()));
        counts.inputs_fixed = before - graph.input.len();
    }
    counts.prelu_rewritten = rewrite_prelu(graph);
    let constants = graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|attribute| attribute.t.as_mut());
    counts.weights_flushed = graph.initializer.iter_mut().chain(constants).map(flush_tiny).sum();
    counts
}

fn flush_tiny(tensor: &mut TensorProto) -> usize {
    if tensor.data_type() != element::FLOAT {
        return 0;
    }
    // By bits: on a thread that reads denormals as zero, a comparison of floats would not see them.
    let is_tiny = |bits: u32| (1..TINY.to_bits()).contains(&(bits & 0x7fff_ffff));
    let mut flushed = 0;
    for weight in tensor.float_data.iter_mut().filter(|w| is_tiny(w.to_bits())) {
        *weight = 0.0;
        flushed += 1;
    }
    for bytes in tensor.raw_data.iter_mut().flat_map(|raw| raw.as_chunks_mut::<4>().0) {
        if is_tiny(u32::from_le_bytes(*bytes)) {
            *bytes = [0; 4];
            flushed += 1;
        }
    }
    flushed
}

/// Rewrites each PRelu whose slope is a constant of the graph. Returns how many.
fn rewrite_prelu(graph: &mut GraphProto) -> usize {
    let slopes = constant_slopes(graph);
    let mut taken = graph.value_names();
    // One complement for each slope, however many nodes share it.
    let mut complements: HashMap<String, String> = HashMap::new();
    let mut rewritten = 0;
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        let slope = node.input.get(1).and_then(|name| slopes.get(name));
        let (Some(slope), "PRelu", [x, a], [out]) = (slope, node.op_type(), node.input.as_slice(), node.output.as_slice()) else {
            nodes.push(node);
            continue;
        };
        let complement = complements.entry(a.clone()).or_insert_with(|| {
            let name = unused(&mut taken, &format!("{a}_complement"));
            let raw_data = Some(slope.values.iter().flat_map(|a| (1.0 - a).to_le_bytes()).collect());
            graph.initializer.push(TensorProto {
                dims: slope.dims.clone(),
                data_type: Some(element::FLOAT),
                name: Some(name.clone()),
                raw_data,
                ..Default::default()
            });
            name
        });
        let [scaled, relu, kept] = ["scaled", "relu", "kept"].map(|part| unused(&mut taken, &format!("{out}_{part}")));
        nodes.push(operator("Mul", [x, a], &scaled));
        nodes.push(operator("Relu", [x, ""], &relu));
        nodes.push(operator("Mul", [&relu, complement], &kept));
        nodes.push(operator("Add", [&scaled, &kept], out));
        rewritten += 1;
    }
    graph.node = nodes;
    rewritten
}

struct Slope {
    dims: Vec<i64>,
    values: Vec<f32>,
}

/// The fp32 constants of a graph that PRelu nodes use as slopes: initializers and the values of Constant nodes, by name.
fn constant_slopes(graph: &GraphProto) -> HashMap<String, Slope> {
    let used: HashSet<&str> =
        graph.node.iter().filter(|node| node.op_type() == "PRelu").filter_map(|node| node.input.get(1)).map(String::as_str).collect();
    graph
        .constants()
        .filter(|(name, _)| used.contains(name))
        .filter_map(|(name, tensor)| Some((name.to_owned(), Slope { dims: tensor.dims.clone(), values: tensor.floats()? })))
        .collect()
}

/// A node with two inputs, or one if the second name is empty.
fn operator(op: &str, inputs: [&str; 2], output: &str) -> NodeProto {
    let input = inputs.iter().filter(|name| !name.is_empty()).map(|&name| name.to_owned()).collect();
    NodeProto { input, output: vec![output.to_owned()], name: Some(output.to_owned()), op_type: Some(op.to_owned()), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, values: &[f32]) -> TensorProto {
        TensorProto {
            dims: vec![values.len() as i64],
            data_type: Some(element::FLOAT),
            name: Some(name.into()),
            float_data: values.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn tiny_weights_become_zero_in_both_encodings_and_others_stay() {
        let values = [1e-19, -1e-19, 9e-21, -9e-21, 1e-40, 0.0, -0.0, 1.0];
        let mut typed = tensor("w", &values);
        let mut raw = tensor("w", &[]);
        raw.raw_data = Some(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        assert_eq!((flush_tiny(&mut typed), flush_tiny(&mut raw)), (3, 3));
        assert_eq!(typed.float_data, [1e-19, -1e-19, 0.0, 0.0, 0.0, 0.0, -0.0, 1.0]);
        let after: Vec<u8> = typed.float_data.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(raw.raw_data, Some(after));
    }

    #[test]
    fn prelu_with_a_constant_slope_is_rewritten_and_names_do_not_clash() {
        let node = |inputs: [&str; 2], output: &str| operator("PRelu", inputs, output);
        let mut graph = GraphProto {
            node: vec![node(["x", "a"], "y"), node(["y", "a"], "z"), node(["z", "computed"], "last")],
            initializer: vec![tensor("a", &[0.25, -0.5]), tensor("a_complement", &[7.0])],
            ..Default::default()
        };
        assert_eq!(rewrite_prelu(&mut graph), 2, "a slope that is computed stays");
        let ops: Vec<&str> = graph.node.iter().map(NodeProto::op_type).collect();
        assert_eq!(ops, ["Mul", "Relu", "Mul", "Add", "Mul", "Relu", "Mul", "Add", "PRelu"]);
        assert_eq!(graph.initializer.len(), 3, "one complement for both nodes");
        assert_eq!(graph.initializer[2].name(), "a_complement_2");
        let complement: Vec<u8> = [0.75f32, 1.5].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!((graph.initializer[2].raw_data.as_ref(), graph.initializer[2].dims.as_slice()), (Some(&complement), &[2i64][..]));
        let [.., last] = graph.node.as_slice() else { panic!("no nodes") };
        assert_eq!(last.input, ["z", "computed"]);
        assert_eq!(graph.node[3].output, ["y"]);
        assert_eq!(graph.node[4].input, ["y", "a"]);
    }
}
