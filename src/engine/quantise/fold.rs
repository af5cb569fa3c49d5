//! Batch normalisation that follows a convolution becomes part of its weights: γ(Wx + b − µ)/√(σ² + ε) + β = W'x + b'.
//!
//! The fp32 runtime does the same when it loads a model. A quantised convolution cannot be folded afterwards, so it is done here before ranges are observed.

use std::collections::HashMap;

use super::tensors::float_tensor;
use crate::engine::onnx::{GraphProto, NodeProto, unused};

/// Dimensions and values of an fp32 constant.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    pub dims: Vec<i64>,
    pub values: Vec<f32>,
}

pub(super) fn constants(graph: &GraphProto) -> HashMap<String, Constant> {
    let of = |(name, tensor): (&str, &crate::engine::onnx::TensorProto)| {
        Some((name.to_owned(), Constant { dims: tensor.dims.clone(), values: tensor.floats()? }))
    };
    graph.constants().filter_map(of).collect()
}

/// How often each value is read, by nodes and as an output of the graph.
pub(super) fn readers(graph: &GraphProto) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    let outputs = graph.output.iter().map(|output| output.name().to_owned());
    for name in graph.node.iter().flat_map(|node| node.input.iter().cloned()).chain(outputs) {
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

/// Folds what can be folded; answers how many normalisations went.
pub(super) fn fold_batch_normalisation(graph: &mut GraphProto) -> usize {
    let (constants, readers) = (constants(graph), readers(graph));
    let mut taken = graph.value_names();
    let mut gone = vec![false; graph.node.len()];
    for at in 0..graph.node.len() {
        if graph.node[at].op_type() != "Conv" {
            continue;
        }
        let Some(output) = graph.node[at].output.first().filter(|name| readers.get(*name) == Some(&1)).cloned() else { continue };
        let Some(next) = graph.node.iter().position(|n| n.op_type() == "BatchNormalization" && n.input.first() == Some(&output)) else {
            continue;
        };
        let Some((weight, bias)) = folded(&graph.node[at], &graph.node[next], &constants) else { continue };
        let [weight_name, bias_name] = ["weight", "bias"].map(|part| unused(&mut taken, &format!("{output}_folded_{part}")));
        graph.initializer.push(float_tensor(&weight_name, &weight.dims, &weight.values));
        graph.initializer.push(float_tensor(&bias_name, &bias.dims, &bias.values));
        let normalised = std::mem::take(&mut graph.node[next].output);
        let convolution = &mut graph.node[at];
        let picture = convolution.input[0].clone();
        convolution.input = vec![picture, weight_name, bias_name];
        convolution.output = normalised.into_iter().take(1).collect();
        gone[next] = true;
    }
    let mut gone_at = gone.iter();
    graph.node.retain(|_| !gone_at.next().copied().unwrap_or(false));
    gone.iter().filter(|gone| **gone).count()
}

fn folded(convolution: &NodeProto, normalisation: &NodeProto, constants: &HashMap<String, Constant>) -> Option<(Constant, Constant)> {
    let weight = constants.get(convolution.input.get(1)?)?;
    let channels = usize::try_from(*weight.dims.first()?).ok().filter(|channels| *channels > 0)?;
    let each = weight.values.len() / channels;
    let bias = match convolution.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => constants.get(name)?.values.clone(),
        None => vec![0.0; channels],
    };
    let of = |place: usize| constants.get(normalisation.input.get(place)?).map(|c| c.values.as_slice()).filter(|v| v.len() == channels);
    let (gain, shift, mean, variance) = (of(1)?, of(2)?, of(3)?, of(4)?);
    let attribute = |name: &str| normalisation.attribute.iter().find(|a| a.name() == name);
    let trains = attribute("training_mode").is_some_and(|a| a.i() != 0);
    if normalisation.output.len() != 1 || trains || bias.len() != channels {
        return None;
    }
    let epsilon = f64::from(attribute("epsilon").map_or(1e-5, |a| a.f()));
    let factor: Vec<f64> = gain.iter().zip(variance).map(|(g, v)| f64::from(*g) / (f64::from(*v) + epsilon).sqrt()).collect();
    let scaled = |(i, w): (usize, &f32)| (f64::from(*w) * factor[i / each.max(1)]) as f32;
    let values: Vec<f32> = weight.values.iter().enumerate().map(scaled).collect();
    let moved = |i: usize| ((f64::from(bias[i]) - f64::from(mean[i])) * factor[i] + f64::from(shift[i])) as f32;
    let bias: Vec<f32> = (0..channels).map(moved).collect();
    let finite = values.iter().chain(&bias).all(|v| v.is_finite());
    finite.then(|| (Constant { dims: weight.dims.clone(), values }, Constant { dims: vec![channels as i64], values: bias }))
}
