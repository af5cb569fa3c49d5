//! Which nodes of a graph compute in 8 bits, and which values must therefore have a range.
//!
//! In 8 bits: convolutions (also depthwise ones) with constant weights, products with a constant matrix (Gemm, MatMul), sums of two values that
//! are in 8 bits already, and what only reshapes such a value. A Relu or Clip behind a convolution or sum costs nothing: saturation
//! does it. Everything else stays fp32, and values are converted between.

use std::collections::HashMap;

use super::fold::{Constant, readers};
use crate::engine::onnx::{GraphProto, NodeProto};

/// What becomes of one node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// As it is, on fp32.
    Exact,
    /// A convolution whose result, behind its activation, is `output`.
    Convolution { output: String },
    /// A product with a constant matrix; its result is fp32.
    Product,
    /// A sum whose result, behind its activation, is `output`.
    Sum { output: String },
    /// The node works on bytes as on floats.
    Passing,
    /// An activation that saturation does.
    Absorbed,
}

pub(super) struct Plan {
    /// One for each node of the graph.
    pub steps: Vec<Step>,
    /// Values whose range must be observed.
    pub ranged: Vec<String>,
    /// What an absorbed activation cuts its value to.
    pub limits: HashMap<String, (f32, f32)>,
    /// Values that are another one in other dimensions, and that one.
    pub same_as: HashMap<String, String>,
}

impl Plan {
    pub fn new(graph: &GraphProto, constants: &HashMap<String, Constant>) -> Self {
        let mut plan =
            Self { steps: vec![Step::Exact; graph.node.len()], ranged: Vec::new(), limits: HashMap::new(), same_as: HashMap::new() };
        let readers = readers(graph);
        let mut in_bytes: Vec<String> = Vec::new();
        for (at, node) in graph.node.iter().enumerate() {
            let (Some(input), Some(result)) = (node.input.first(), node.output.first()) else { continue };
            let is_in_bytes = |name: &String| in_bytes.contains(name);
            match node.op_type() {
                "Conv" if is_plain_convolution(node, constants) => {
                    plan.range(input);
                    let output = plan.behind_activation(graph, result, &readers, constants);
                    plan.range(&output);
                    in_bytes.push(output.clone());
                    plan.steps[at] = Step::Convolution { output };
                }
                "Gemm" | "MatMul" if is_plain_product(node, constants) => {
                    plan.range(input);
                    plan.steps[at] = Step::Product;
                }
                "Add" if node.input.len() == 2 && node.input.iter().all(is_in_bytes) => {
                    let output = plan.behind_activation(graph, result, &readers, constants);
                    plan.range(&output);
                    in_bytes.push(output.clone());
                    plan.steps[at] = Step::Sum { output };
                }
                "Flatten" | "Reshape" if is_in_bytes(input) => {
                    plan.same_as.insert(result.clone(), plan.root(input).to_owned());
                    in_bytes.push(result.clone());
                    plan.steps[at] = Step::Passing;
                }
                _ => {}
            }
        }
        plan
    }

    /// The value whose scale `name` has.
    pub fn root<'a>(&'a self, name: &'a str) -> &'a str {
        self.same_as.get(name).map_or(name, String::as_str)
    }

    fn range(&mut self, name: &str) {
        let root = self.root(name).to_owned();
        if !self.ranged.contains(&root) {
            self.ranged.push(root);
        }
    }

    /// The value that counts behind `result`: an activation's, where nobody else reads `result` and saturation can do it.
    fn behind_activation(
        &mut self,
        graph: &GraphProto,
        result: &str,
        readers: &HashMap<String, usize>,
        constants: &HashMap<String, Constant>,
    ) -> String {
        let reader = graph.node.iter().position(|node| node.input.first().is_some_and(|input| input == result));
        let (Some(at), Some(1)) = (reader, readers.get(result)) else { return result.to_owned() };
        match (limits(&graph.node[at], constants), graph.node[at].output.first()) {
            (Some(limits), Some(output)) => {
                self.steps[at] = Step::Absorbed;
                self.limits.insert(output.clone(), limits);
                output.clone()
            }
            _ => result.to_owned(),
        }
    }
}

fn is_plain_convolution(node: &NodeProto, constants: &HashMap<String, Constant>) -> bool {
    let constant = |place: usize| node.input.get(place).and_then(|name| constants.get(name));
    let Some(weight) = constant(1).filter(|weight| weight.dims.len() == 4 && !weight.values.is_empty()) else { return false };
    let channels = weight.dims[0];
    node.input.get(2).is_none_or(String::is_empty) || constant(2).is_some_and(|bias| bias.values.len() as i64 == channels)
}

/// y = x·B (+ C), B a constant matrix, nothing transposed but B.
fn is_plain_product(node: &NodeProto, constants: &HashMap<String, Constant>) -> bool {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name() == name);
    let one = |name: &str| attribute(name).is_none_or(|a| a.f() == 1.0);
    let constant = |place: usize| node.input.get(place).and_then(|name| constants.get(name));
    constant(1).is_some_and(|matrix| matrix.dims.len() == 2 && !matrix.values.is_empty())
        && constant(0).is_none()
        && one("alpha")
        && one("beta")
        && attribute("transA").is_none_or(|a| a.i() == 0)
}

/// What a Relu or Clip cuts to, if 8 bits that hold zero can do it.
fn limits(node: &NodeProto, constants: &HashMap<String, Constant>) -> Option<(f32, f32)> {
    let (low, high) = match node.op_type() {
        "Relu" => (0.0, f32::INFINITY),
        "Clip" => {
            let of = |place: usize, attribute: &str, otherwise: f32| match node.input.get(place).filter(|name| !name.is_empty()) {
                Some(name) => constants.get(name)?.values.first().copied(),
                None => Some(node.attribute.iter().find(|a| a.name() == attribute).map_or(otherwise, |a| a.f())),
            };
            (of(1, "min", f32::NEG_INFINITY)?, of(2, "max", f32::INFINITY)?)
        }
        _ => return None,
    };
    (low <= 0.0 && high > 0.0).then_some((low, high))
}
