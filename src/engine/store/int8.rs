//! A model's int8 variant in the store: `NAME/int8-DIGEST.onnx`, described in the manifest's `[int8]`.
//!
//! It is the same model executed otherwise: it has the identity of the fp32 file, templates are made by that one, and what it may differ was
//! measured with templates from fp32 and probes from int8. It gets in by [`add_int8`] only, next to a model that is there; the manifest is replaced
//! last, by renaming, so that a power cut leaves the old state or the new one. It runs only where it was measured to be faster.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::{MANIFEST, Pinned, Recall, StoreError, detector, of_the_program, open, open_for, read_pinned, start};
use crate::config::schema;
use crate::engine::bundled;
use crate::engine::import;
use crate::engine::manifest::{Int8, Manifest, Task};
use crate::engine::onnxruntime::{OnnxNetwork, initialise, library_path};
use crate::engine::processor::processor;
use crate::engine::quantise::verdict::{HeldOut, Verdict, compare, times_as_fast};
use crate::engine::quantise::{QuantiseError, QuantiseReport, Quantised, quantise};
use crate::engine::{EngineError, Network};
use crate::hex;
use crate::state::{StateDirectory, replace_file};

/// Runs of both networks when their speed is compared; an odd number has a median.
const ROUNDS: usize = 101;

/// Pictures to make an int8 variant with, as the network's input tensors, and what they are.
#[derive(Clone)]
pub struct Samples {
    pub what: String,
    pub calibration: Vec<Vec<f32>>,
    pub held_out: HeldOut,
}

/// What [`add_int8`] did.
#[derive(Clone, Debug)]
pub enum Int8Outcome {
    /// It is in the store; whether it is used is for the processor to say.
    Stored { int8: Int8, verdict: Verdict, report: QuantiseReport },
    /// A detector's table is in the store, with recall by width in fp32 and in int8.
    Detector { int8: Int8, fp32: Vec<Recall>, recall: Vec<Recall> },
    /// It is not good enough, or cannot be made: the model stays as it is, in fp32.
    Kept { reason: String },
}

impl Int8Outcome {
    pub fn int8(&self) -> Option<&Int8> {
        match self {
            Self::Stored { int8, .. } | Self::Detector { int8, .. } => Some(int8),
            Self::Kept { .. } => None,
        }
    }
}

/// Makes the int8 variant of the store's model `name`, compares it with fp32 and puts it beside it. A variant that was there before is replaced, or
/// removed where no new one is kept.
pub fn add_int8(state: &StateDirectory, name: &str, samples: &Samples, onnxruntime: Option<&Path>) -> Result<Int8Outcome, StoreError> {
    let (manifest, prepared) = open(state, name)?;
    initialise(&library_path(onnxruntime))?;
    let outcome = match make(&manifest, &prepared, samples) {
        Ok((made, verdict, gain)) => match verdict.refusal() {
            None => return store(state, manifest, made, verdict, gain, samples),
            Some(reason) => Int8Outcome::Kept { reason },
        },
        Err(QuantiseError::Engine(error @ EngineError::LibraryMissing { .. })) => return Err(error.into()),
        Err(error) => Int8Outcome::Kept { reason: error.to_string() },
    };
    if manifest.int8.is_some() {
        write_manifest(state, &Manifest { int8: None, ..manifest })?;
        remove_others(state, name, None);
    }
    Ok(outcome)
}

fn make(manifest: &Manifest, prepared: &[u8], samples: &Samples) -> Result<(Quantised, Verdict, f64), QuantiseError> {
    if manifest.task != Task::FaceEmbedder {
        return Err(QuantiseError::Unfit("int8 is made of embedders, and of detectors for the fused executor".into()));
    }
    let made = quantise(prepared, manifest, &samples.calibration)?;
    import::verify(&made.bytes, manifest).map_err(|error| QuantiseError::Unfit(error.to_string()))?;
    let mut fp32 = OnnxNetwork::load(prepared, manifest, 1)?;
    let mut int8 = OnnxNetwork::load(&made.bytes, manifest, 1)?;
    let verdict = compare(&mut fp32, &mut int8, &samples.held_out)?;
    let gain = times_as_fast(&mut fp32, &mut int8, &samples.calibration[0], ROUNDS)?;
    Ok((made, verdict, gain))
}

fn describe(made: &Quantised, verdict: &Verdict, gain: f64, samples: &Samples) -> Int8 {
    let Verdict { pictures, cosine_mean, cosine_min, people, probes, .. } = *verdict;
    let percent = |share: f32| format!("{:.1} %", 100.0 * share);
    Int8 {
        sha256: hex::sha256(&made.bytes),
        calibrated_with: samples.what.clone(),
        accuracy: vec![
            format!("cosine to fp32 on {pictures} faces that were not used for calibration: mean {cosine_mean:.4}, least {cosine_min:.4}"),
            format!(
                "{probes} probes in int8 of {people} rendered people with templates in fp32: rank-1 {} (fp32 {}); at cosine {:.3} {} found (fp32 {}), \
                 {:.3} % of impostor pairs (fp32 0.1 %)",
                percent(verdict.rank1_int8),
                percent(verdict.rank1_fp32),
                verdict.threshold,
                percent(verdict.accepted_int8),
                percent(verdict.accepted_fp32),
                100.0 * verdict.false_int8,
            ),
        ],
        times_as_fast: (gain * 100.0).round() / 100.0,
        processor: processor(),
    }
}

/// Makes the int8 variant of a bundled model for the program's next version: `NAME.int8.onnx` in `out`, described at the end of
/// `NAME.toml` there.
pub fn export_int8(name: &str, samples: &Samples, out: &Path, onnxruntime: Option<&Path>) -> Result<Int8Outcome, StoreError> {
    let model = of_the_program(name).ok_or_else(|| StoreError::NotFound {
        name: name.into(),
        path: out.into(),
        have: bundled::names().map(str::to_owned).collect(),
    })??;
    initialise(&library_path(onnxruntime))?;
    let (made, verdict, gain) = match make(&model.manifest, &model.prepared, samples) {
        Ok(made) => made,
        Err(error) => return Ok(Int8Outcome::Kept { reason: error.to_string() }),
    };
    if let Some(reason) = verdict.refusal() {
        return Ok(Int8Outcome::Kept { reason });
    }
    let int8 = describe(&made, &verdict, gain, samples);
    describe_at_end(name, &int8, &made.bytes, "onnx", out)?;
    Ok(Int8Outcome::Stored { int8, verdict, report: made.report })
}

/// Writes `NAME.int8.KIND` into `out` and its description to the end of `NAME.toml` there.
pub(super) fn describe_at_end(name: &str, int8: &Int8, bytes: &[u8], kind: &str, out: &Path) -> Result<(), StoreError> {
    let manifest = out.join(format!("{name}.toml"));
    let failed = |error| StoreError::File { path: manifest.clone(), error };
    let text = std::fs::read_to_string(&manifest).map_err(failed)?;
    let rest = text.split("\n[int8]\n").next().unwrap_or_default().trim_end();
    let table = toml::to_string(int8).map_err(|error| failed(std::io::Error::other(error)))?;
    let path = out.join(format!("{name}.int8.{kind}"));
    replace_file(&path, bytes, 0o644).map_err(|error| StoreError::File { path: path.clone(), error })?;
    replace_file(&manifest, format!("{rest}\n\n[int8]\n{table}").as_bytes(), 0o644).map_err(failed)
}

fn store(
    state: &StateDirectory,
    mut manifest: Manifest,
    made: Quantised,
    verdict: Verdict,
    gain: f64,
    samples: &Samples,
) -> Result<Int8Outcome, StoreError> {
    let int8 = describe(&made, &verdict, gain, samples);
    let name = manifest.name.clone();
    let path = path_of(state, &manifest, &int8);
    let failed = |error| StoreError::File { path: path.clone(), error };
    replace_file(&path, &made.bytes, 0o644).map_err(failed)?;
    manifest.int8 = Some(int8.clone());
    write_manifest(state, &manifest)?;
    remove_others(state, &name, Some(&path));
    Ok(Int8Outcome::Stored { int8, verdict, report: made.report })
}

/// A detector's is a table of ranges.
pub(super) fn path_of(state: &StateDirectory, manifest: &Manifest, int8: &Int8) -> PathBuf {
    let kind = if manifest.task == Task::FaceDetector { "json" } else { "onnx" };
    state.models().join(&manifest.name).join(format!("int8-{}.{kind}", &int8.sha256[..16]))
}

/// Replaces a model's manifest, whole or not at all.
pub(super) fn write_manifest(state: &StateDirectory, manifest: &Manifest) -> Result<(), StoreError> {
    let path = state.models().join(&manifest.name).join(MANIFEST);
    let text = manifest.to_toml().map_err(|error| StoreError::Manifest { path: path.clone(), error })?;
    replace_file(&path, text.as_bytes(), 0o644).map_err(|error| StoreError::File { path, error })
}

/// Removes int8 files that no manifest names any more.
pub(super) fn remove_others(state: &StateDirectory, name: &str, keep: Option<&Path>) {
    let Ok(entries) = std::fs::read_dir(state.models().join(name)) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let is_int8 = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("int8-"));
        if is_int8
            && Some(&*path) != keep
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "an int8 file that is no longer used cannot be removed");
        }
    }
}

/// The int8 variant's bytes, if the manifest has one: of the digest that it says, and checked like any model.
pub(super) fn read(state: &StateDirectory, manifest: &Manifest) -> Result<Option<Pinned>, StoreError> {
    let Some(int8) = &manifest.int8 else { return Ok(None) };
    if manifest.task == Task::FaceDetector {
        return detector::read_table(state, manifest, int8).map(|bytes| Some(Pinned { bytes, is_bundled: false }));
    }
    read_pinned(manifest, path_of(state, manifest, int8), int8.sha256.clone()).map(Some)
}

/// The int8 variant of a model of the store, or of the program.
pub(super) fn variant(state: &StateDirectory, manifest: &Manifest) -> Result<Option<Cow<'static, [u8]>>, StoreError> {
    match of_the_program(&manifest.name) {
        Some(model) => Ok(model?.int8.map(Cow::Borrowed)),
        None => Ok(read(state, manifest)?.map(|pinned| Cow::Owned(pinned.bytes))),
    }
}

/// As [`super::load_network`], in int8 where that was measured to be faster on this machine's processor. For what cameras see; templates are
/// made by `load_network`.
pub fn load_fastest(state: &StateDirectory, name: &str, task: Task, engine: &schema::Engine) -> Result<Box<dyn Network>, StoreError> {
    let (manifest, prepared) = open_for(state, name, task)?;
    let (variant, here) = (variant(state, &manifest)?, processor());
    match (&manifest.int8, variant) {
        (Some(int8), Some(variant)) if int8.is_faster_on(&here) => {
            tracing::info!(model = name, times_as_fast = int8.times_as_fast, "runs in int8");
            initialise(&library_path(engine.onnxruntime.as_deref()))?;
            Ok(Box::new(OnnxNetwork::load(&variant, &manifest, 1)?.in_int8()))
        }
        (Some(int8), _) => {
            let measured_on = &int8.processor;
            tracing::info!(
                model = name,
                measured_on,
                here,
                "runs in fp32: its int8 variant was not measured to be faster on this processor"
            );
            start(&manifest, &prepared, engine)
        }
        (None, _) => start(&manifest, &prepared, engine),
    }
}
