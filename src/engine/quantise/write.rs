//! The graph in 8 bits, written node by node with standard ONNX operators (set 10 and later).
//!
//! Convolutions become QLinearConv; a product with a matrix MatMulInteger, whose sums are exact, and a multiplication back to fp32;
//! sums stand between DequantizeLinear and QuantizeLinear, which the runtime fuses. A value is converted where its first reader
//! needs it in the other form, and only once.

use std::collections::{HashMap, HashSet};

use super::fold::Constant;
use super::plan::{Plan, Step};
use super::tensors::{Scale, float_tensor, i8_tensor, i32_tensor, quantise_weights, u8_scalar};
use crate::engine::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto, element, unused};

pub(super) struct Writer<'a> {
    plan: &'a Plan,
    constants: &'a HashMap<String, Constant>,
    scales: &'a HashMap<String, Scale>,
    taken: HashSet<String>,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// Value → the same in bytes.
    bytes: HashMap<String, String>,
    /// Values in bytes that were brought back to fp32 under their own name.
    brought_back: HashSet<String>,
    /// Value → names of its scale and zero.
    scale_names: HashMap<String, [String; 2]>,
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: Some(format!("{output}_{op}")),
        op_type: Some(op.to_owned()),
        ..Default::default()
    }
}

impl<'a> Writer<'a> {
    pub fn new(graph: &GraphProto, plan: &'a Plan, constants: &'a HashMap<String, Constant>, scales: &'a HashMap<String, Scale>) -> Self {
        Self {
            plan,
            constants,
            scales,
            taken: graph.value_names(),
            nodes: Vec::new(),
            tensors: Vec::new(),
            bytes: HashMap::new(),
            brought_back: HashSet::new(),
            scale_names: HashMap::new(),
        }
    }

    /// Replaces the nodes of `graph`, from which the plan was made, and its constants.
    pub fn write(mut self, graph: &mut GraphProto) {
        for (node, step) in std::mem::take(&mut graph.node).into_iter().zip(&self.plan.steps) {
            match step {
                Step::Exact => self.exact(node),
                Step::Convolution { output } => self.convolution(&node, output),
                Step::Product => self.product(&node),
                Step::Sum { output } => self.sum(&node, output),
                Step::Passing => self.passing(node),
                Step::Absorbed => {}
            }
        }
        for output in &graph.output {
            self.in_fp32(output.name());
        }
        let read: HashSet<String> = self.nodes.iter().flat_map(|node| node.input.iter().cloned()).collect();
        // Weights may be Constant nodes as well as initializers: those in fp32 have no reader any more.
        self.nodes.retain(|node| node.op_type() != "Constant" || node.output.iter().any(|output| read.contains(output)));
        graph.node = self.nodes;
        graph.initializer.append(&mut self.tensors);
        graph.initializer.retain(|tensor| tensor.name.as_ref().is_some_and(|name| read.contains(name)));
        // Said of values that are other ones now.
        graph.value_info.clear();
        graph.quantization_annotation.clear();
    }

    fn name(&mut self, wanted: &str) -> String {
        unused(&mut self.taken, wanted)
    }

    fn scale(&self, value: &str) -> Scale {
        self.scales.get(self.plan.root(value)).copied().unwrap_or(Scale { scale: 1.0, zero: 0 })
    }

    /// The constants that hold a value's scale and zero.
    fn scale_names(&mut self, value: &str) -> [String; 2] {
        let root = self.plan.root(value).to_owned();
        if let Some(names) = self.scale_names.get(&root) {
            return names.clone();
        }
        let Scale { scale, zero } = self.scale(&root);
        let names = ["scale", "zero"].map(|part| self.name(&format!("{root}_{part}")));
        self.tensors.push(float_tensor(&names[0], &[], &[scale]));
        self.tensors.push(u8_scalar(&names[1], zero));
        self.scale_names.insert(root, names.clone());
        names
    }

    /// The name of a value in bytes.
    fn in_bytes(&mut self, value: &str) -> String {
        if let Some(name) = self.bytes.get(value) {
            return name.clone();
        }
        let [scale, zero] = self.scale_names(value);
        let name = self.new_bytes(value);
        self.nodes.push(node("QuantizeLinear", &[value, &scale, &zero], &name));
        // It is in fp32 already, under its own name.
        self.brought_back.insert(value.to_owned());
        name
    }

    fn new_bytes(&mut self, value: &str) -> String {
        let name = self.name(&format!("{value}_bytes"));
        self.bytes.insert(value.to_owned(), name.clone());
        name
    }

    /// Sees to it that a value is there in fp32, under its own name.
    fn in_fp32(&mut self, value: &str) {
        if let Some(bytes) = self.bytes.get(value).cloned()
            && self.brought_back.insert(value.to_owned())
        {
            let [scale, zero] = self.scale_names(value);
            self.nodes.push(node("DequantizeLinear", &[&bytes, &scale, &zero], value));
        }
    }

    fn exact(&mut self, node: NodeProto) {
        for input in &node.input {
            self.in_fp32(input);
        }
        self.nodes.push(node);
    }

    fn passing(&mut self, mut node: NodeProto) {
        let (input, output) = (node.input[0].clone(), node.output[0].clone());
        node.input[0] = self.in_bytes(&input);
        node.output[0] = self.new_bytes(&output);
        self.nodes.push(node);
    }

    fn convolution(&mut self, old: &NodeProto, output: &str) {
        let (input, weight) = (&old.input[0], &self.constants[&old.input[1]]);
        let channels = usize::try_from(weight.dims[0]).unwrap_or(1);
        let bias = old.input.get(2).filter(|name| !name.is_empty()).map(|name| self.constants[name].values.as_slice());
        let made = quantise_weights(&weight.values, bias.unwrap_or(&[]), channels, self.scale(input));
        let dims = weight.dims.clone();
        let picture = self.in_bytes(input);
        let [from_scale, from_zero] = self.scale_names(input);
        let [to_scale, to_zero] = self.scale_names(output);
        let [weights, scales, zeros, biases] =
            ["weights", "weight_scales", "weight_zeros", "biases"].map(|p| self.name(&format!("{output}_{p}")));
        self.tensors.push(i8_tensor(&weights, &dims, &made.values));
        self.tensors.push(float_tensor(&scales, &[channels as i64], &made.scales));
        self.tensors.push(i8_tensor(&zeros, &[channels as i64], &vec![0; channels]));
        self.tensors.push(i32_tensor(&biases, &made.bias));
        let name = self.new_bytes(output);
        let inputs = [&*picture, &from_scale, &from_zero, &weights, &scales, &zeros, &to_scale, &to_zero, &biases];
        let attribute = old.attribute.clone();
        self.nodes.push(NodeProto { attribute, ..node("QLinearConv", &inputs, &name) });
    }

    fn sum(&mut self, old: &NodeProto, output: &str) {
        // Each sum has its own way back to fp32: a fusion takes it whole, whoever else reads the value.
        let terms: Vec<String> = old.input.iter().map(|input| self.term(input)).collect();
        let exact = self.name(&format!("{output}_sum"));
        self.nodes.push(node("Add", &[&terms[0], &terms[1]], &exact));
        let [scale, zero] = self.scale_names(output);
        let name = self.new_bytes(output);
        self.nodes.push(node("QuantizeLinear", &[&exact, &scale, &zero], &name));
    }

    fn term(&mut self, value: &str) -> String {
        let bytes = self.in_bytes(value);
        let [scale, zero] = self.scale_names(value);
        let term = self.name(&format!("{value}_term"));
        self.nodes.push(node("DequantizeLinear", &[&bytes, &scale, &zero], &term));
        term
    }

    fn product(&mut self, old: &NodeProto) {
        let (input, output, matrix) = (&old.input[0], &old.output[0], &self.constants[&old.input[1]]);
        let transposed = old.attribute.iter().any(|a| a.name() == "transB" && a.i() != 0);
        let (rows, columns) = (matrix.dims[0] as usize, matrix.dims[1] as usize);
        // One run of weights for each result.
        let (results, each) = if transposed { (rows, columns) } else { (columns, rows) };
        let at = |result: usize, i: usize| if transposed { matrix.values[result * each + i] } else { matrix.values[i * results + result] };
        let runs: Vec<f32> = (0..results).flat_map(|result| (0..each).map(move |i| at(result, i))).collect();
        let from = self.scale(input);
        let made = quantise_weights(&runs, &[], results, from);
        // MatMulInteger wants them [each, results].
        let weights: Vec<i8> =
            (0..each).flat_map(|i| (0..results).map(move |result| (result, i))).map(|(result, i)| made.values[result * each + i]).collect();
        let steps: Vec<f32> = made.scales.iter().map(|scale| scale * from.scale).collect();
        let bytes = self.in_bytes(input);
        let [_, zero] = self.scale_names(input);
        let [matrix, worth, sums, floats] = ["matrix", "worth", "sums", "floats"].map(|p| self.name(&format!("{output}_{p}")));
        self.tensors.push(i8_tensor(&matrix, &[each as i64, results as i64], &weights));
        self.tensors.push(float_tensor(&worth, &[results as i64], &steps));
        self.nodes.push(node("MatMulInteger", &[&bytes, &matrix, &zero], &sums));
        let to = AttributeProto::int("to", i64::from(element::FLOAT));
        self.nodes.push(NodeProto { attribute: vec![to], ..node("Cast", &[&sums], &floats) });
        match old.input.get(2).filter(|name| !name.is_empty()) {
            None => self.nodes.push(node("Mul", &[&floats, &worth], output)),
            Some(bias) => {
                let scaled = self.name(&format!("{output}_scaled"));
                self.nodes.push(node("Mul", &[&floats, &worth], &scaled));
                self.nodes.push(node("Add", &[&scaled, bias], output));
            }
        }
    }
}
