//! What runs a face detector, chosen at start; and a detector's int8 variant: a table of ranges, `NAME/int8-DIGEST.json`, described in the manifest's `[int8]`.
//!
//! The table says between what the network's inner values lay in calibration; with it and the fp32 weights the fused executor computes in 8 bits.
//! It gets in by [`add_int8_detector`] only, after recall in 8 bits was measured beside fp32 on faces of [`LEAST_PX`] pixels and more; and it is used only
//! where this start's self-test agrees with the portable 8-bit kernels and with ONNX Runtime, and finds it faster on this very processor: no table depends on
//! the machine that it was made on. Else the detector runs in fp32, in the fused executor or in ONNX Runtime, and the log says why.

use std::path::Path;
use std::sync::Arc;

use prost::Message;

use super::int8::{path_of, remove_others, variant, write_manifest};
use super::{Int8Outcome, StoreError, of_the_program, open, open_for, read_bounded, start};
use crate::config::schema::{self, DetectorEngine};
use crate::engine::bundled;
use crate::engine::fused::floats::Floats;
use crate::engine::fused::graph::Graph;
use crate::engine::fused::network::{FusedNetwork, graph_of, takes_bytes};
use crate::engine::fused::quantise::{QuantisedNetwork, Ranges, quantise};
use crate::engine::fused::selftest::{self, Agreement};
use crate::engine::fused::{FusedError, PORTABLE, bytes, plain};
use crate::engine::manifest::{Int8, Manifest, Task};
use crate::engine::onnx::ModelProto;
use crate::engine::onnxruntime::{initialise, library_path};
use crate::engine::processor::processor;
use crate::engine::{EngineError, Network};
use crate::hex;
use crate::state::{StateDirectory, replace_file};

/// A table is some numbers for each of a thousand channels.
const MAX_TABLE_BYTES: usize = 1 << 20;
/// Faces from this width on must be found as before.
pub const LEAST_PX: u16 = 16;
/// A point: the share of faces of one width that may be lost.
const LARGEST_LOSS: f64 = 0.01;

/// Pictures that ranges are taken from, and what they are.
pub struct Calibration {
    pub what: String,
    /// Tensor, width, height.
    pub pictures: Vec<(Vec<f32>, usize, usize)>,
}

/// Of faces of one width, how many are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Recall {
    pub width_px: u16,
    pub faces: usize,
    pub found: usize,
}

impl Recall {
    fn share(self) -> f64 {
        self.found as f64 / self.faces.max(1) as f64
    }
}

/// Finds rendered faces with a network: [`Recall`] by width, and boxes on nobody.
pub type Judge<'a> = dyn FnMut(&mut dyn Network) -> Result<(Vec<Recall>, usize), EngineError> + 'a;

/// The graph of a prepared detector, if the executor can run it.
fn read_graph(prepared: &[u8], manifest: &Manifest) -> Result<Arc<Graph>, FusedError> {
    let unfit = |reason: String| FusedError::Unfit { node: manifest.name.clone(), reason };
    let model = ModelProto::decode(prepared).map_err(|error| unfit(error.to_string()))?;
    let graph = model.graph.as_ref().ok_or_else(|| unfit("it has no graph".into()))?;
    graph_of(graph, manifest).map(Arc::new)
}

/// The table of a digest that the manifest says.
pub(super) fn read_table(state: &StateDirectory, manifest: &Manifest, int8: &Int8) -> Result<Vec<u8>, StoreError> {
    let path = path_of(state, manifest, int8);
    let bytes = read_bounded(&path, MAX_TABLE_BYTES)?;
    let got = hex::sha256(&bytes);
    if got != int8.sha256 {
        return Err(StoreError::Damaged { name: manifest.name.clone(), path, got, want: int8.sha256.clone() });
    }
    Ok(bytes)
}

/// The 8-bit network that a table makes of a graph.
pub(in crate::engine) fn quantised(graph: &Graph, table: &[u8]) -> Result<QuantisedNetwork, FusedError> {
    let ranges: Ranges = serde_json::from_slice(table)
        .map_err(|error| FusedError::Ranges { node: graph.stem.name.clone(), reason: format!("not a table of ranges: {error}") })?;
    quantise(graph, &ranges)
}

/// A detector for cameras, in whatever runs it fastest and as well. Enrolment uses [`super::load_network`]: always fp32, on ONNX Runtime.
pub fn load_detector(state: &StateDirectory, name: &str, task: Task, engine: &schema::Engine) -> Result<Box<dyn Network>, StoreError> {
    let (manifest, prepared) = open_for(state, name, task)?;
    let mut runtime = start(&manifest, &prepared, engine)?;
    if engine.detector == DetectorEngine::Onnxruntime {
        tracing::info!(model = name, "runs on ONNX Runtime, as configured");
        return Ok(runtime);
    }
    let must = engine.detector == DetectorEngine::Fused;
    let table = variant(state, &manifest)?;
    match choose(&manifest, &prepared, table.as_deref(), &mut *runtime, must) {
        Ok(fused) => Ok(fused),
        Err(reason) if must => {
            Err(EngineError::Load { model: name.into(), reason: format!("[engine] detector = \"fused\": {reason}") }.into())
        }
        Err(reason) => {
            tracing::info!(model = name, reason, "runs on ONNX Runtime");
            Ok(runtime)
        }
    }
}

/// The fused network that agrees with `runtime`: in 8 bits where that is worth it, else in fp32 if that is faster or a `must`.
fn choose(
    manifest: &Manifest,
    prepared: &[u8],
    table: Option<&[u8]>,
    runtime: &mut dyn Network,
    must: bool,
) -> Result<Box<dyn Network>, String> {
    let graph = read_graph(prepared, manifest).map_err(|error| error.to_string())?;
    let exact = in_fp32(&graph, manifest, runtime, must);
    let gain_of_exact = exact.as_ref().map_or(1.0, |(_, agreement)| agreement.times_as_fast);
    match table.map(|table| in_int8(&graph, manifest, table, runtime)) {
        Some(Ok((_, Agreement { times_as_fast, .. }))) if !is_worth(times_as_fast, gain_of_exact, must) => {
            let why = "does not run in int8: it is not worth an approximation on this processor";
            tracing::info!(model = manifest.name, times_as_fast, gain_of_exact, why);
        }
        Some(Ok((network, agreement))) => {
            let (version, times_as_fast) = (network.version(), agreement.times_as_fast);
            tracing::info!(model = manifest.name, version, times_as_fast, gain_of_exact, "runs in int8 in the fused executor");
            return Ok(Box::new(network));
        }
        Some(Err(reason)) => tracing::warn!(model = manifest.name, reason, "does not run in int8"),
        None => (),
    }
    let (network, Agreement { times_as_fast, .. }) = exact?;
    if !must && times_as_fast <= 1.0 {
        return Err(format!("it is faster here: the fused executor in fp32 is {times_as_fast:.2} times as fast"));
    }
    tracing::info!(model = manifest.name, version = network.version(), times_as_fast, "runs in fp32 in the fused executor");
    Ok(Box::new(network))
}

fn in_fp32(
    graph: &Arc<Graph>,
    manifest: &Manifest,
    runtime: &mut dyn Network,
    must: bool,
) -> Result<(FusedNetwork<Floats>, Agreement), String> {
    let network = FusedNetwork::floats(Arc::clone(graph), manifest, None).filter(|network| must || network.version() != PORTABLE);
    let mut network = network.ok_or("this processor has no vectors that the fused executor knows")?;
    let agreement = selftest::compare(&mut network, runtime, &|_| selftest::FP32)?;
    Ok((network, agreement))
}

/// Beside the faster of what is exact; a `must` needs no gain.
fn is_worth(times_as_fast: f64, gain_of_exact: f64, must: bool) -> bool {
    must || times_as_fast >= Int8::LEAST_GAIN * gain_of_exact.max(1.0)
}

/// The 8-bit network of a table, and how it stands beside ONNX Runtime. `Err`: why it is not to be trusted.
fn in_int8(
    graph: &Arc<Graph>,
    manifest: &Manifest,
    table: &[u8],
    runtime: &mut dyn Network,
) -> Result<(FusedNetwork<bytes::Bytes>, Agreement), String> {
    if !takes_bytes(manifest) {
        return Err("its input is not pixels as they are".into());
    }
    let quantised = quantised(graph, table).map_err(|error| error.to_string())?;
    let with = |version| FusedNetwork::bytes(Arc::clone(graph), &quantised, manifest, version);
    let mut network = with(None)
        .filter(|network| network.version() != PORTABLE)
        .ok_or("this processor has no instructions for 8 bits that the fused executor knows")?;
    let mut portable = with(Some(PORTABLE)).ok_or("the portable kernels are not there")?;
    selftest::agree(&mut network, &mut portable, &|_| selftest::SAME)
        .map_err(|reason| format!("its {} kernels beside the portable ones: {reason}", network.version()))?;
    let is_squashed = |place: usize| graph.answers.get(place).is_some_and(|answer| answer.squashed);
    let bounds = |place| if is_squashed(place) { selftest::INT8_SQUASHED } else { selftest::INT8 };
    let agreement = selftest::compare(&mut network, runtime, &bounds)?;
    Ok((network, agreement))
}

/// A table, and what was measured with it.
struct Made {
    table: Vec<u8>,
    int8: Int8,
    fp32_recall: Vec<Recall>,
    int8_recall: Vec<Recall>,
}

fn make(
    manifest: &Manifest,
    prepared: &[u8],
    calibration: &Calibration,
    judge: &mut Judge<'_>,
    runtime: &mut dyn Network,
) -> Result<Made, String> {
    let graph = read_graph(prepared, manifest).map_err(|error| format!("it is not for the fused executor: {error}"))?;
    let mut ranges = Ranges::none(&graph);
    for (picture, width, height) in &calibration.pictures {
        plain::run(&graph, picture, *width, *height, Some(&mut ranges));
    }
    let table = serde_json::to_vec(&ranges).map_err(|error| error.to_string())?;
    let (mut network, agreement) = in_int8(&graph, manifest, &table, runtime)?;
    let failed = |error: EngineError| error.to_string();
    let (fp32_recall, fp32_false) = judge(runtime).map_err(failed)?;
    let (int8_recall, int8_false) = judge(&mut network).map_err(failed)?;
    if let Some(reason) = refusal(&fp32_recall, &int8_recall) {
        return Err(reason);
    }
    let percent = |recall: &Recall| format!("{:.1}", 100.0 * recall.share());
    let pairs = fp32_recall.iter().zip(&int8_recall);
    let line =
        pairs.map(|(fp32, int8)| format!("{} px {} % (fp32 {} %, {} faces)", fp32.width_px, percent(int8), percent(fp32), fp32.faces));
    let accuracy = vec![
        format!("rendered faces found: {}", line.collect::<Vec<_>>().join(", ")),
        format!("boxes on nobody in the same pictures: {int8_false} (fp32 {fp32_false})"),
    ];
    let int8 = Int8 {
        sha256: hex::sha256(&table),
        calibrated_with: calibration.what.clone(),
        accuracy,
        times_as_fast: (agreement.times_as_fast * 100.0).round() / 100.0,
        processor: processor(),
    };
    Ok(Made { table, int8, fp32_recall, int8_recall })
}

/// Why 8 bits lose too much, if they do.
fn refusal(fp32: &[Recall], int8: &[Recall]) -> Option<String> {
    let wide = fp32.iter().zip(int8).filter(|(fp32, _)| fp32.width_px >= LEAST_PX);
    let lost = wide.filter(|(fp32, int8)| fp32.share() - int8.share() > LARGEST_LOSS + f64::from(f32::EPSILON)).map(|(fp32, int8)| {
        format!("of faces {} px wide {:.1} % are found in int8, {:.1} % in fp32", fp32.width_px, 100.0 * int8.share(), 100.0 * fp32.share())
    });
    let lost: Vec<String> = lost.collect();
    if fp32.is_empty() || fp32.len() != int8.len() {
        return Some("recall was not measured".into());
    }
    (!lost.is_empty()).then(|| lost.join("; "))
}

/// Makes the table of the store's detector `name`, measures it and puts it beside the model. One that was there before is replaced, or removed where
/// no new one is kept.
pub fn add_int8_detector(
    state: &StateDirectory,
    name: &str,
    calibration: &Calibration,
    judge: &mut Judge<'_>,
    engine: &schema::Engine,
) -> Result<Int8Outcome, StoreError> {
    let (mut manifest, prepared) = open(state, name)?;
    initialise(&library_path(engine.onnxruntime.as_deref()))?;
    let mut runtime = start(&manifest, &prepared, engine)?;
    let made = match make(&manifest, &prepared, calibration, judge, &mut *runtime) {
        Ok(made) => made,
        Err(reason) => {
            if manifest.int8.is_some() {
                write_manifest(state, &Manifest { int8: None, ..manifest })?;
                remove_others(state, name, None);
            }
            return Ok(Int8Outcome::Kept { reason });
        }
    };
    let path = path_of(state, &manifest, &made.int8);
    replace_file(&path, &made.table, 0o644).map_err(|error| StoreError::File { path: path.clone(), error })?;
    manifest.int8 = Some(made.int8.clone());
    write_manifest(state, &manifest)?;
    remove_others(state, name, Some(&path));
    Ok(Int8Outcome::Detector { int8: made.int8, fp32: made.fp32_recall, recall: made.int8_recall })
}

/// Makes the table of a bundled detector for the program's next version: `NAME.int8.json` in `out`, described at the end of `NAME.toml` there.
pub fn export_int8_detector(
    name: &str,
    calibration: &Calibration,
    judge: &mut Judge<'_>,
    out: &Path,
    engine: &schema::Engine,
) -> Result<Int8Outcome, StoreError> {
    let model = of_the_program(name).ok_or_else(|| StoreError::NotFound {
        name: name.into(),
        path: out.into(),
        have: bundled::names().map(str::to_owned).collect(),
    })??;
    let mut runtime = start(&model.manifest, &model.prepared, engine)?;
    let made = match make(&model.manifest, &model.prepared, calibration, judge, &mut *runtime) {
        Ok(made) => made,
        Err(reason) => return Ok(Int8Outcome::Kept { reason }),
    };
    super::int8::describe_at_end(name, &made.int8, &made.table, "json", out)?;
    Ok(Int8Outcome::Detector { int8: made.int8, fp32: made.fp32_recall, recall: made.int8_recall })
}

#[cfg(test)]
mod tests;
