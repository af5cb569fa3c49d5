//! From a file that somebody published to one that is loaded: checks, then preparation.
//!
//! [`read`] decodes a file of bounded size; [`Candidate::prepare`] checks it against a manifest (`import/checks.rs`) and rewrites it
//! (`import/rewrite.rs`). Everything is refused that the manifest does not account for: another digest, weights in other files, operators of
//! other domains, subgraphs, functions, outputs of other names or shapes, weights that are not finite. The runtime never sees the published
//! file, only what was checked, encoded anew.
//!
//! The same file and manifest always give the same prepared bytes, so their digest can be stored and checked at every load.

mod checks;
mod rewrite;

use prost::Message;

use super::known::{self, Recognised};
use super::manifest::{Manifest, ManifestError};
use super::onnx::{MAX_FILE_BYTES, ModelProto, TensorProto, element};
use crate::hex;

pub use rewrite::TINY;

/// Why a file is no model of ours. The caller adds the file's name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ImportError {
    #[error("{bytes} bytes: a model may have at most {} bytes ({} MiB)", MAX_FILE_BYTES, MAX_FILE_BYTES >> 20)]
    TooLarge { bytes: u64 },
    #[error("not an ONNX model: {reason}")]
    NotOnnx { reason: String },
    #[error("its SHA-256 is {got}, the manifest of `{model}` says {want}: this is another file, or a damaged one")]
    WrongDigest { model: String, got: String, want: String },
    #[error("tensor `{tensor}` keeps its data in another file (external data): export the model as one file")]
    ExternalData { tensor: String },
    #[error("node `{node}` uses operator `{op}` of domain `{domain}`: only standard ONNX operators are run")]
    CustomOperator { node: String, op: String, domain: String },
    #[error("node `{node}` ({op}) holds a graph of its own (If, Loop, Scan …): a network here is a single graph without control flow")]
    Subgraph { node: String, op: String },
    #[error("the model defines the function `{function}`: inline functions when exporting")]
    Function { function: String },
    #[error("the model holds {what}, which a model for inference does not need")]
    Unwanted { what: String },
    #[error("tensor `{tensor}`: {reason}")]
    Tensor { tensor: String, reason: String },
    #[error("tensor `{tensor}` has the weight {value} at place {place}: weights must be finite")]
    NotFinite { tensor: String, place: usize, value: f64 },
    #[error("`{name}` speaks of `{word}`: no model here tells people's sex, age, descent or mood, for whatever purpose")]
    Attribute { name: String, word: String },
    #[error("input: {reason}")]
    Input { reason: String },
    #[error("outputs: {reason}; an output that the manifest's layout does not name is never accepted")]
    Outputs { reason: String },
    #[error("manifest: {0}")]
    Manifest(#[from] ManifestError),
}

/// A file that is ONNX, and nothing more is known.
pub struct Candidate {
    model: ModelProto,
    sha256: String,
}

/// What is written into the model store, and what was done to get there.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    pub bytes: Vec<u8>,
    /// What was checked, before anything was rewritten: what the prepared model must still compute. `None`: nothing was rewritten.
    pub checked: Option<Vec<u8>>,
    pub report: ImportReport,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ImportReport {
    /// PRelu nodes that became `a·x + (1−a)·Relu(x)`.
    pub prelu_rewritten: usize,
    /// Weights below [`TINY`] that became 0.
    pub weights_flushed: usize,
    /// Weights that the published file also lists as inputs, which forbids the runtime to fold them.
    pub inputs_fixed: usize,
    pub original_sha256: String,
    pub prepared_sha256: String,
}

/// What one tensor of weights was trained to, in outline: how many values it has, and which of [`TELLING_VALUES`] of them, evenly spread, lie
/// above its mean. Small changes of the values, and scaling them, leave nearly all of that as it was; of two networks that were trained
/// apart about half agrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSketch {
    values: usize,
    above_mean: [u64; TELLING_VALUES / 64],
}

impl WeightSketch {
    /// Whether both are of the same tensor, or of one that was made from the other.
    pub fn is_alike(&self, other: &Self) -> bool {
        let differing: u32 = std::iter::zip(self.above_mean, other.above_mean).map(|(a, b)| (a ^ b).count_ones()).sum();
        self.values == other.values && differing as usize * 8 <= TELLING_VALUES
    }
}

/// A tensor smaller than this says little about who trained it: biases of zeros, anchors, constants.
const TELLING_VALUES: usize = 256;

/// Decodes a file. Bounded: at most [`MAX_FILE_BYTES`], nesting by prost's own limit.
pub fn read(file: &[u8]) -> Result<Candidate, ImportError> {
    if file.len() > MAX_FILE_BYTES {
        return Err(ImportError::TooLarge { bytes: file.len() as u64 });
    }
    let model = ModelProto::decode(file).map_err(|error| ImportError::NotOnnx { reason: error.to_string() })?;
    let missing = match &model.graph {
        None => Some("no graph"),
        Some(graph) if graph.node.is_empty() => Some("its graph has no nodes"),
        Some(_) if model.ir_version.is_none() => Some("no IR version"),
        Some(_) => None,
    };
    match missing {
        Some(reason) => Err(ImportError::NotOnnx { reason: reason.into() }),
        None => Ok(Candidate { model, sha256: hex::sha256(file) }),
    }
}

/// Reads, checks and rewrites a file in one call.
pub fn prepare(file: &[u8], manifest: &Manifest) -> Result<Prepared, ImportError> {
    read(file)?.prepare(manifest)
}

/// Checks a prepared file again, without its digest: whoever can write into the store still cannot have a head run that no manifest allows.
pub fn verify(prepared: &[u8], manifest: &Manifest) -> Result<Candidate, ImportError> {
    manifest.check()?;
    let candidate = read(prepared)?;
    checks::check(&candidate.model, manifest)?;
    Ok(candidate)
}

impl Candidate {
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The manifest that this program has for the file, if it knows it.
    pub fn recognise(&self) -> Option<Recognised> {
        known::recognise(&self.sha256, self.model.graph.as_ref()?)
    }

    /// What the model was trained to: one sketch for each large tensor of fp32 weights, whatever its name, encoding and place. The same
    /// before and after preparation.
    pub fn weight_sketches(&self) -> Vec<WeightSketch> {
        let Some(graph) = &self.model.graph else { return Vec::new() };
        let constants = graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
        graph.initializer.iter().chain(constants).filter_map(weight_sketch).collect()
    }

    pub fn prepare(mut self, manifest: &Manifest) -> Result<Prepared, ImportError> {
        manifest.check()?;
        if self.sha256 != manifest.sha256 {
            return Err(ImportError::WrongDigest { model: manifest.name.clone(), got: self.sha256, want: manifest.sha256.clone() });
        }
        checks::check(&self.model, manifest)?;
        let checked = self.model.encode_to_vec();
        let counts = rewrite::rewrite(&mut self.model);
        let is_rewritten = counts.prelu_rewritten + counts.weights_flushed + counts.inputs_fixed > 0;
        let bytes = self.model.encode_to_vec();
        if bytes.len() > MAX_FILE_BYTES {
            return Err(ImportError::TooLarge { bytes: bytes.len() as u64 });
        }
        let report = ImportReport {
            prelu_rewritten: counts.prelu_rewritten,
            weights_flushed: counts.weights_flushed,
            inputs_fixed: counts.inputs_fixed,
            original_sha256: self.sha256,
            prepared_sha256: hex::sha256(&bytes),
        };
        Ok(Prepared { bytes, checked: is_rewritten.then_some(checked), report })
    }
}

/// The values of an fp32 or 8-bit tensor, wherever in the message they stand.
fn weight_values(tensor: &TensorProto) -> Vec<f32> {
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    let listed = tensor.int32_data.iter();
    match tensor.data_type() {
        element::FLOAT => {
            let raw = raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            tensor.float_data.iter().copied().chain(raw).collect()
        }
        element::INT8 => raw.iter().map(|byte| f32::from(byte.cast_signed())).chain(listed.map(|v| *v as f32)).collect(),
        element::UINT8 => raw.iter().map(|byte| f32::from(*byte)).chain(listed.map(|v| *v as f32)).collect(),
        _ => Vec::new(),
    }
}

/// `None`: small, of one value throughout, or neither fp32 nor in 8 bits.
fn weight_sketch(tensor: &TensorProto) -> Option<WeightSketch> {
    let values = weight_values(tensor);
    let &first = values.first()?;
    if values.len() < TELLING_VALUES || values.iter().all(|v| v.to_bits() == first.to_bits()) {
        return None;
    }
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    let mut above_mean = [0; TELLING_VALUES / 64];
    for i in 0..TELLING_VALUES {
        let value = f64::from(values[i * values.len() / TELLING_VALUES]);
        above_mean[i / 64] |= u64::from(value > mean) << (i % 64);
    }
    Some(WeightSketch { values: values.len(), above_mean })
}
