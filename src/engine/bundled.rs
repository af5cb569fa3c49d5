//! Models that are part of the program: `models/NAME.onnx` and `NAME.toml` of the repository, compiled in.
//!
//! They were trained on faces that Placard draws itself, so they are for commissioning and demonstration. That is a property of the file, not
//! of what a manifest says: whatever has a bundled model's digest, or the better part of its weights, also a little changed, is a
//! commissioning model, under any name and any manifest ([`kin`]). A network that was quantised, or trained on until it is another, is
//! another one, and its maker's word counts.
//!
//! Their names are taken: no model of the store can stand in for one. Nothing of them is on the disk, so there is nothing to tamper with.
//! They are checked and prepared as at import, once, when first asked for. Owning thread: any.

use std::sync::LazyLock;

use super::import::{self, Candidate, ImportError, ImportReport, WeightSketch};
use super::known;
use super::manifest::{IntendedUse, Manifest, ManifestError, Task};
use crate::hex;

/// What is compiled in of a model.
struct Embedded {
    name: &'static str,
    file: &'static [u8],
    manifest: &'static str,
    int8: Option<&'static [u8]>,
}

macro_rules! embedded {
    (@int8) => { None };
    (@int8 $file:literal) => { Some(include_bytes!(concat!("../../models/", $file))) };
    ($($name:literal $(and $int8:literal)?),* $(,)?) => {
        &[$(Embedded {
            name: $name,
            file: include_bytes!(concat!("../../models/", $name, ".onnx")),
            manifest: include_str!(concat!("../../models/", $name, ".toml")),
            int8: embedded!(@int8 $($int8)?),
        }),*]
    };
}

/// The one list of bundled models.
static EMBEDDED: &[Embedded] = embedded!["concourse-detector" and "concourse-detector.int8.json", "concourse-embedder" and "concourse-embedder.int8.onnx", "concourse-mask"];

static MODELS: LazyLock<Vec<(&str, Result<Bundled, ImportError>)>> =
    LazyLock::new(|| EMBEDDED.iter().map(|embedded| (embedded.name, Bundled::prepare(embedded))).collect());

/// A bundled model, ready to be loaded.
#[derive(Debug)]
pub struct Bundled {
    /// Its `prepared_sha256` is set, its intended use is commissioning.
    pub manifest: Manifest,
    /// What is loaded.
    pub prepared: Vec<u8>,
    pub report: ImportReport,
    /// As compiled in.
    pub file: &'static [u8],
    /// Its int8 variant, which its manifest describes.
    pub int8: Option<&'static [u8]>,
    weights: Vec<WeightSketch>,
    /// Of the int8 variant; empty where there is none.
    int8_weights: Vec<WeightSketch>,
}

impl Bundled {
    fn prepare(&Embedded { name, file, manifest, int8 }: &Embedded) -> Result<Self, ImportError> {
        let mut manifest = Manifest::from_toml(manifest)?;
        if manifest.name != name {
            return Err(ManifestError::Value { key: "name", reason: format!("`{}`, but the file is `{name}`", manifest.name) }.into());
        }
        manifest.intended_use = IntendedUse::Commissioning;
        let candidate = import::read(file)?;
        let weights = candidate.weight_sketches();
        let import::Prepared { bytes, report, .. } = candidate.prepare(&manifest)?;
        manifest.prepared_sha256 = Some(report.prepared_sha256.clone());
        // Not described: the model was exported anew, and its variant is still to be made.
        let described = manifest.int8.as_ref().map(|int8| int8.sha256.clone());
        let int8 = int8.filter(|_| described.is_some());
        if described != int8.map(hex::sha256) {
            return Err(ManifestError::Value { key: "int8.sha256", reason: "not that of the int8 file beside it".into() }.into());
        }
        // A detector's is a table of ranges, which the fused executor checks; an embedder's is a network.
        let network = int8.filter(|_| manifest.task != Task::FaceDetector);
        network.map(|bytes| import::verify(bytes, &manifest)).transpose()?;
        let int8_weights = network.map(import::read).transpose()?.map_or_else(Vec::new, |variant| variant.weight_sketches());
        Ok(Self { manifest, prepared: bytes, report, file, int8, weights, int8_weights })
    }
}

/// The names that are taken.
pub fn names() -> impl Iterator<Item = &'static str> {
    EMBEDDED.iter().map(|embedded| embedded.name)
}

/// Every bundled model; an error is a fault of the program's build.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Result<Bundled, ImportError>)> {
    MODELS.iter().map(|(name, model)| (*name, model))
}

/// `None`: no bundled model has this name.
pub fn by_name(name: &str) -> Option<&'static Result<Bundled, ImportError>> {
    MODELS.iter().find(|(of, _)| *of == name).map(|(_, model)| model)
}

/// The bundled model whose file this is, as compiled in, as prepared or in int8.
pub fn by_digest(sha256: &str) -> Option<&'static Bundled> {
    let is = |model: &&Bundled| {
        let int8 = model.manifest.int8.as_ref().is_some_and(|int8| int8.sha256 == sha256);
        int8 || model.manifest.sha256 == sha256 || model.report.prepared_sha256 == sha256
    };
    MODELS.iter().filter_map(|(_, model)| model.as_ref().ok()).find(is)
}

/// The bundled model that `candidate` is, or is a relabelled copy of: at least half of the bundled tensors are in it, as they were or a little changed. Names,
/// documentation, order and anything added beside them do not count. A published file is what it was published as.
pub fn kin(candidate: &Candidate) -> Option<&'static Bundled> {
    if known::by_digest(candidate.sha256()).is_some() {
        return None;
    }
    let weights = candidate.weight_sketches();
    let holds_half_of = |all: &[WeightSketch]| {
        let shared = all.iter().filter(|own| weights.iter().any(|other| own.is_alike(other))).count();
        shared > 0 && 2 * shared >= all.len()
    };
    let is = |model: &&Bundled| {
        model.manifest.sha256 == candidate.sha256() || holds_half_of(&model.weights) || holds_half_of(&model.int8_weights)
    };
    MODELS.iter().filter_map(|(_, model)| model.as_ref().ok()).find(is)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::known::By;
    use super::super::manifest::{Resize, Task};
    use super::super::onnx::{ModelProto, element};
    use super::*;

    /// What is shipped with every program must stay small.
    const MOST_BYTES: [(&str, usize); 3] =
        [("concourse-detector", 400_000), ("concourse-embedder", 5_000_000), ("concourse-mask", 1_000_000)];
    const MOST_TOGETHER_BYTES: usize = 8_000_000;

    #[test]
    fn every_bundled_model_is_small_fits_its_manifest_and_is_for_commissioning() {
        assert_eq!(names().collect::<Vec<_>>(), MOST_BYTES.map(|(name, _)| name));
        let mut together = 0;
        for (Embedded { name, file, manifest: text, int8 }, (_, most)) in EMBEDDED.iter().zip(MOST_BYTES) {
            let manifest = Manifest::from_toml(text).unwrap();
            assert_eq!(manifest.intended_use, IntendedUse::Commissioning, "{name}");
            assert_eq!(manifest.sha256, hex::sha256(file), "{name}: its manifest is of another file");
            assert_eq!(manifest.prepared_sha256, None, "{name}: the program works it out");
            assert_eq!(manifest.int8.is_some(), int8.is_some(), "{name}: `make int8` in training/");
            assert!(file.len() <= most, "{name} has {} bytes, {most} are allowed", file.len());
            together += file.len() + text.len() + int8.map_or(0, <[u8]>::len);
            let model = by_name(name).unwrap().as_ref().unwrap();
            assert!(model.weights.len() >= 4, "{name} has weights to be known by");
            assert_eq!(model.prepared, import::prepare(file, &manifest).unwrap().bytes, "{name}");
        }
        assert!(together <= MOST_TOGETHER_BYTES, "{together} bytes");
        let task = |name| by_name(name).unwrap().as_ref().unwrap().manifest.task;
        let tasks = ["concourse-detector", "concourse-embedder", "concourse-mask"].map(task);
        assert_eq!(tasks, [Task::FaceDetector, Task::FaceEmbedder, Task::MaskClassifier]);
        let mask = &by_name("concourse-mask").unwrap().as_ref().unwrap().manifest;
        assert_eq!(mask.input.resize, Resize::AlignedCrop);
    }

    #[test]
    fn a_copy_is_known_by_its_digest_and_a_relabelled_one_by_its_weights() {
        let Bundled { file, manifest, int8, .. } = by_name("concourse-embedder").unwrap().as_ref().unwrap();
        assert_eq!(by_digest(&hex::sha256(int8.unwrap())).unwrap().manifest.name, manifest.name);
        assert_eq!(by_digest(&hex::sha256(file)).unwrap().manifest.name, manifest.name);
        assert_eq!(by_digest(manifest.prepared_sha256.as_ref().unwrap()).unwrap().manifest.name, manifest.name);
        // The int8 variant with a word added, and with its weights listed one by one.
        let mut variant = ModelProto::decode(int8.unwrap()).unwrap();
        variant.producer_name = Some("somebody else".into());
        assert_eq!(kin(&import::read(&variant.encode_to_vec()).unwrap()).unwrap().manifest.name, manifest.name);
        for tensor in variant.graph.as_mut().unwrap().initializer.iter_mut().filter(|t| t.data_type() == element::INT8) {
            let raw = tensor.raw_data.take().unwrap_or_default();
            tensor.int32_data = raw.iter().map(|byte| i32::from(byte.cast_signed())).collect();
        }
        assert_eq!(kin(&import::read(&variant.encode_to_vec()).unwrap()).unwrap().manifest.name, manifest.name);
        let mut model = ModelProto::decode(*file).unwrap();
        model.producer_name = Some("somebody else".into());
        let graph = model.graph.as_mut().unwrap();
        graph.name = Some("face".into());
        graph.initializer.reverse();
        for tensor in &mut graph.initializer {
            // As another exporter would write it.
            if tensor.data_type() == element::FLOAT {
                let raw = tensor.raw_data.take().unwrap_or_default();
                tensor.float_data.extend(raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
            }
        }
        let copy = import::read(&model.encode_to_vec()).unwrap();
        assert!(by_digest(copy.sha256()).is_none());
        assert_eq!(kin(&copy).unwrap().manifest.name, manifest.name);
        let graph = model.graph.as_mut().unwrap();
        // Scaled, and each value a little off: still the same.
        for tensor in &mut graph.initializer {
            let scale = if tensor.float_data.len() > 1 { 1.01 } else { 1.0 };
            tensor.float_data.iter_mut().enumerate().for_each(|(i, w)| *w *= scale + 1e-3 * ((i % 7) as f32 - 3.0));
        }
        assert_eq!(kin(&import::read(&model.encode_to_vec()).unwrap()).unwrap().manifest.name, manifest.name);
        let graph = model.graph.as_mut().unwrap();
        for tensor in &mut graph.initializer {
            let half = tensor.float_data.len() / 2;
            tensor.float_data.rotate_left(half);
        }
        assert!(kin(&import::read(&model.encode_to_vec()).unwrap()).is_none(), "other weights");
    }

    #[test]
    fn no_published_model_is_taken_for_a_bundled_one() {
        for name in names() {
            assert!(known::by_name(name).is_none());
            let manifest = &by_name(name).unwrap().as_ref().unwrap().manifest;
            assert!(known::by_digest(&manifest.sha256).is_none(), "{name}");
            let candidate = import::read(by_name(name).unwrap().as_ref().unwrap().file).unwrap();
            assert!(candidate.recognise().is_none_or(|found| found.by == By::Signature), "{name}");
        }
    }
}
