//! int8: a network whose convolutions and matrix products compute in 8 bits, made from a prepared fp32 one.
//!
//! Static quantisation: ranges of inner values are observed on calibration pictures (`quantise/observe.rs`), weights are rounded per output
//! channel, and the graph is written anew with standard operators (`quantise/write.rs`), which [`super::import::verify`] accepts like any other model. What is
//! lost is measured against the fp32 network on pictures that were not used for calibration (`quantise/verdict.rs`), and so is what is
//! gained; nothing here assumes that int8 is faster or good enough.
//!
//! Owning thread: the importing command's. Nothing here runs per frame.

mod fold;
mod observe;
mod plan;
mod tensors;
pub mod verdict;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use prost::Message;

use super::EngineError;
use super::manifest::Manifest;
use super::onnx::ModelProto;
use plan::{Plan, Step};
use tensors::Scale;

/// Fewest pictures that ranges are taken from.
pub const LEAST_PICTURES: usize = 8;
/// QLinearConv, MatMulInteger and their companions.
const OLDEST_OPSET: i64 = 10;
/// From this version of the format on, weights need not be listed as inputs.
const IR_VERSION: i64 = 4;

#[derive(Debug, thiserror::Error)]
pub enum QuantiseError {
    #[error("{pictures} calibration pictures, at least {LEAST_PICTURES} are needed")]
    TooFewPictures { pictures: usize },
    #[error("a calibration picture has {got} values, the network takes {want}")]
    PictureSize { got: usize, want: usize },
    #[error("{0}")]
    Unfit(String),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// A network in int8, and what of it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    pub bytes: Vec<u8>,
    pub report: QuantiseReport,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct QuantiseReport {
    pub convolutions: usize,
    pub products: usize,
    pub sums: usize,
    /// Operators that stayed fp32, and how many of each.
    pub in_fp32: BTreeMap<String, usize>,
}

/// Makes the int8 network. `prepared`: as the store holds it; `pictures`: the network's input tensors.
pub fn quantise(prepared: &[u8], manifest: &Manifest, pictures: &[Vec<f32>]) -> Result<Quantised, QuantiseError> {
    let unfit = |reason: &str| QuantiseError::Unfit(reason.to_owned());
    let (Some(width), Some(height)) = (manifest.input.width, manifest.input.height) else {
        return Err(unfit("it takes pictures of any size"));
    };
    let want = 3 * width as usize * height as usize;
    if let Some(other) = pictures.iter().find(|picture| picture.len() != want) {
        return Err(QuantiseError::PictureSize { got: other.len(), want });
    }
    if pictures.len() < LEAST_PICTURES {
        return Err(QuantiseError::TooFewPictures { pictures: pictures.len() });
    }
    let mut model = ModelProto::decode(prepared).map_err(|error| QuantiseError::Unfit(error.to_string()))?;
    let standard = model.opset_import.iter().filter(|o| o.domain().is_empty() || o.domain() == "ai.onnx");
    let opset = standard.filter_map(|o| o.version).max().unwrap_or(0);
    if opset < OLDEST_OPSET {
        return Err(QuantiseError::Unfit(format!("it uses operator set {opset}, int8 needs {OLDEST_OPSET} or later: export it anew")));
    }
    let Some(graph) = model.graph.as_mut() else { return Err(unfit("it has no graph")) };
    fold::fold_batch_normalisation(graph);
    let constants = fold::constants(graph);
    let plan = Plan::new(graph, &constants);
    let report = report(graph.node.iter().map(super::onnx::NodeProto::op_type), &plan);
    if report.convolutions + report.products == 0 {
        return Err(unfit("it has no convolution and no matrix product with constant weights"));
    }
    let seen = observe::observe(&model, manifest, &plan.ranged, pictures)?;
    let scales: HashMap<String, Scale> = seen
        .iter()
        .map(|(name, seen)| {
            let (low, high) = seen.best_range(plan.limits.get(name).copied());
            (name.clone(), Scale::spanning(low, high))
        })
        .collect();
    let Some(graph) = model.graph.as_mut() else { return Err(unfit("it has no graph")) };
    let writer = write::Writer::new(graph, &plan, &constants, &scales);
    writer.write(graph);
    model.ir_version = model.ir_version.max(Some(IR_VERSION));
    if let Some(graph) = model.graph.as_mut() {
        graph.input.retain(|input| input.name() == manifest.input.name);
    }
    Ok(Quantised { bytes: model.encode_to_vec(), report })
}

fn report<'a>(operators: impl Iterator<Item = &'a str>, plan: &Plan) -> QuantiseReport {
    let mut report = QuantiseReport { convolutions: 0, products: 0, sums: 0, in_fp32: BTreeMap::new() };
    for (operator, step) in operators.zip(&plan.steps) {
        match step {
            Step::Convolution { .. } => report.convolutions += 1,
            Step::Product => report.products += 1,
            Step::Sum { .. } => report.sums += 1,
            Step::Exact if operator == "Constant" => {}
            Step::Exact => *report.in_fp32.entry(operator.to_owned()).or_default() += 1,
            Step::Passing | Step::Absorbed => {}
        }
    }
    report
}
