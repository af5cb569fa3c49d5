//! What a model is, in TOML beside its ONNX file: task, input, decode recipe, licence, intended use, measured accuracy, digests.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name in the model store: lower-case letters, digits, `-`, `_`, `.`.
    pub name: String,
    pub task: Task,
    /// SHA-256 of the file as published, lower-case hex.
    pub sha256: String,
    /// SHA-256 of the file as prepared at import (PReLU rewritten, tiny weights flushed): what is loaded.
    #[serde(default)]
    pub prepared_sha256: Option<String>,
    pub licence: String,
    pub publisher: String,
    pub intended_use: IntendedUse,
    pub input: Input,
    pub decode: Decode,
    /// Free text: what was measured, on what.
    #[serde(default)]
    pub accuracy: Vec<String>,
    /// The same network in int8, if it was made. Only `placard model add --int8` writes this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8: Option<Int8>,
}

/// A network's int8 variant: the same weights in 8 bits, in a file of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Int8 {
    /// SHA-256 of its file.
    pub sha256: String,
    /// What the ranges of its values were taken from.
    pub calibrated_with: String,
    /// What was measured against fp32, on what.
    pub accuracy: Vec<String>,
    /// CPU time of fp32, divided by that of int8, one thread, on `processor`.
    pub times_as_fast: f64,
    pub processor: String,
}

impl Int8 {
    /// Least gain for which an approximation is used at all.
    pub const LEAST_GAIN: f64 = 1.1;

    /// Whether it was measured to be faster on a processor like `here`; what another one measured says nothing.
    pub fn is_faster_on(&self, here: &str) -> bool {
        self.times_as_fast >= Self::LEAST_GAIN && self.processor == here
    }
}

/// Closed list: a network for anything else (age, sex, mood, …) cannot be described, hence not loaded (C21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    FaceDetector,
    FaceEmbedder,
    /// Bare or masked face.
    MaskClassifier,
    /// Live face or a picture of one.
    Liveness,
}

impl Task {
    /// As manifests and lists say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FaceDetector => "face detector",
            Self::FaceEmbedder => "face embedder",
            Self::MaskClassifier => "mask classifier",
            Self::Liveness => "liveness",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntendedUse {
    Operational,
    /// Trained on renders: for commissioning and demonstration, never to recognise real people.
    Commissioning,
}

/// Input tensor: NCHW fp32; value = (pixel − mean[c]) × scale[c], pixel 0…255.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub name: String,
    pub channels: ChannelOrder,
    /// Pixels; unset: free, any multiple of `multiple_of`.
    #[serde(default)]
    pub width: Option<u32>,
    #[serde(default)]
    pub height: Option<u32>,
    #[serde(default = "one")]
    pub multiple_of: u32,
    pub resize: Resize,
    /// In the tensor's channel order.
    #[serde(default)]
    pub mean: [f32; 3],
    #[serde(default = "unit_scale")]
    pub scale: [f32; 3],
}

fn one() -> u32 {
    1
}
fn unit_scale() -> [f32; 3] {
    [1.0; 3]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    Rgb,
    Bgr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Keep the aspect, paste top-left, pad right and bottom with pixel 0.
    Letterbox,
    /// Fill the input, aspect not kept.
    Stretch,
    /// The input is an aligned 112 × 112 face crop.
    AlignedCrop,
}

/// How outputs become faces or vectors. The layouts are in `detect/decode.rs`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "layout", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decode {
    /// Twelve outputs `cls_s, obj_s, bbox_s, kps_s`, s = 8, 16, 32; one anchor a cell; score √(cls·obj).
    Yunet,
    /// Nine outputs `score, box, kps` per stride 8, 16, 32; two anchors a cell; distances to the four sides.
    /// `outputs`: their names, scores first, then boxes, then landmarks, each by rising stride.
    Scrfd { outputs: Vec<String> },
    /// `scores [1,N,2 or 3]`, `boxes [1,N,4]` in 0…1, already decoded; no landmarks.
    Rfb,
    /// One output `[N, dim]`.
    Embedding { output: String, dim: usize, normalised: bool },
    /// One output of class logits.
    Logits { output: String, classes: Vec<String> },
}

/// The strides of the detectors that read a pyramid.
pub const STRIDES: [u32; 3] = [8, 16, 32];

impl Decode {
    /// As it is written in a manifest.
    pub fn layout(&self) -> &'static str {
        match self {
            Self::Yunet => "yunet",
            Self::Scrfd { .. } => "scrfd",
            Self::Rfb => "rfb",
            Self::Embedding { .. } => "embedding",
            Self::Logits { .. } => "logits",
        }
    }

    /// How many values the last dimension of each output has, in the order of [`Self::output_names`].
    pub fn widths(&self, task: Task) -> Vec<usize> {
        match self {
            Self::Yunet => [1, 1, 4, 10].iter().flat_map(|&width| [width; STRIDES.len()]).collect(),
            Self::Scrfd { .. } => [1, 4, 10].iter().flat_map(|&width| [width; STRIDES.len()]).collect(),
            Self::Rfb => vec![if task == Task::MaskClassifier { 3 } else { 2 }, 4],
            Self::Embedding { dim, .. } => vec![*dim],
            Self::Logits { classes, .. } => vec![classes.len()],
        }
    }

    /// The outputs that the layout reads, in the order in which [`super::Network::run`] shows them: for YuNet `cls_8, cls_16, cls_32,
    /// obj_8, …, kps_32`; for SCRFD as listed; for RFB scores, then boxes.
    pub fn output_names(&self) -> Vec<Cow<'_, str>> {
        match self {
            Self::Yunet => ["cls", "obj", "bbox", "kps"].iter().flat_map(|kind| STRIDES.map(|s| format!("{kind}_{s}").into())).collect(),
            Self::Scrfd { outputs } => outputs.iter().map(|name| name.as_str().into()).collect(),
            Self::Rfb => vec!["scores".into(), "boxes".into()],
            Self::Embedding { output, .. } | Self::Logits { output, .. } => vec![output.as_str().into()],
        }
    }
}

/// Why a manifest cannot be used. The caller adds the file's name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ManifestError {
    #[error("{0}")]
    Toml(String),
    #[error("unknown key `{key}`{}", nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean `{n}`?")))]
    UnknownKey { key: String, nearest: Option<String> },
    #[error("`{key}`: {reason}")]
    Value { key: &'static str, reason: String },
}

/// What the outputs of a classifier may be called. Closed, so that a head for anything else cannot be described (C21).
const MASK_CLASSES: [&str; 3] = ["background", "bare", "masked"];
const LIVENESS_CLASSES: [&str; 2] = ["live", "spoof"];

impl Manifest {
    /// Reads a manifest; unknown keys are refused at every level.
    pub fn from_toml(text: &str) -> Result<Self, ManifestError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ManifestError::Toml(error.to_string()))?;
        let manifest: Self = toml::from_str(text).map_err(|error| ManifestError::Toml(with_nearest(&error)))?;
        // Serde lets unknown keys pass beside a unit variant of a tagged enum (`layout = "yunet"`): what does not come back was not known.
        let known = toml::Table::try_from(&manifest).map_err(|error| ManifestError::Toml(error.to_string()))?;
        if let Some((key, nearest)) = first_unknown(&table, &known) {
            return Err(ManifestError::UnknownKey { key, nearest });
        }
        manifest.check()?;
        Ok(manifest)
    }

    pub fn to_toml(&self) -> Result<String, ManifestError> {
        toml::to_string_pretty(self).map_err(|error| ManifestError::Toml(error.to_string()))
    }

    /// Values in range, and a task that fits the layout.
    pub fn check(&self) -> Result<(), ManifestError> {
        let wrong = |key, reason: &str| Err(ManifestError::Value { key, reason: reason.to_owned() });
        check_name(&self.name)?;
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest(&self.sha256) {
            return wrong("sha256", "64 lower-case hexadecimal digits, as `sha256sum FILE` prints them");
        }
        if self.prepared_sha256.as_deref().is_some_and(|text| !is_digest(text)) {
            return wrong("prepared_sha256", "64 lower-case hexadecimal digits");
        }
        if self.int8.as_ref().is_some_and(|int8| !is_digest(&int8.sha256) || !int8.times_as_fast.is_finite()) {
            return wrong("int8.sha256", "64 lower-case hexadecimal digits, and a finite `times_as_fast`");
        }
        if self.licence.trim().is_empty() {
            return wrong("licence", "must say under which licence the model may be used");
        }
        self.input.check()?;
        let is_crop = self.input.resize == Resize::AlignedCrop;
        let classifies = self.task == Task::MaskClassifier && matches!(self.decode, Decode::Logits { .. });
        if (self.task == Task::FaceEmbedder && !is_crop) || (is_crop && self.task != Task::FaceEmbedder && !classifies) {
            return wrong("input.resize", "`aligned-crop` belongs to face embedders, and to mask classifiers that give logits");
        }
        if is_crop && (self.input.width, self.input.height) != (Some(112), Some(112)) {
            return wrong("input.width", "an aligned crop is 112 × 112");
        }
        self.check_layout()
    }

    fn check_layout(&self) -> Result<(), ManifestError> {
        let wrong = |reason: String| Err(ManifestError::Value { key: "decode", reason });
        let closed = |classes: &[String], allowed: &[&str]| match classes.iter().find(|class| !allowed.contains(&class.as_str())) {
            Some(class) => wrong(format!("class `{class}` is not one of {}", allowed.join(", "))),
            None if classes.len() < 2 => wrong("a classifier has two classes or more".into()),
            None => Ok(()),
        };
        match (self.task, &self.decode) {
            (Task::FaceDetector, Decode::Scrfd { outputs }) => {
                let unique = outputs.iter().collect::<std::collections::HashSet<_>>().len() == outputs.len();
                if outputs.len() == 9 && unique { Ok(()) } else { wrong("SCRFD has nine different outputs".into()) }
            }
            (Task::FaceDetector, Decode::Yunet | Decode::Rfb) | (Task::MaskClassifier, Decode::Rfb) => Ok(()),
            (Task::FaceEmbedder, Decode::Embedding { dim, .. }) => {
                // Narrower outputs are attributes' scores, not identities (C21).
                if EMBEDDING_DIMS.contains(dim) {
                    Ok(())
                } else {
                    let (least, most) = EMBEDDING_DIMS.into_inner();
                    wrong(format!("dim = {dim}: an embedding of a face has {least} to {most} values"))
                }
            }
            (Task::MaskClassifier, Decode::Logits { classes, .. }) => closed(classes, &MASK_CLASSES),
            (Task::Liveness, Decode::Logits { classes, .. }) => closed(classes, &LIVENESS_CLASSES),
            (task, decode) => wrong(format!("the layout `{}` does not fit the task {task:?}", decode.layout())),
        }
    }
}

/// Values of an embedding: what galleries hold.
pub const EMBEDDING_DIMS: std::ops::RangeInclusive<usize> = 64..=1024;

/// A name is a directory of the model store: no separators, no leading dot.
pub fn check_name(name: &str) -> Result<(), ManifestError> {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(ManifestError::Value { key: "name", reason: format!("`{name}`: 1 to 64 of a-z, 0-9, `-`, `_`, `.`, not starting with a dot") })
}

impl Input {
    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |key, reason: &str| Err(ManifestError::Value { key, reason: reason.to_owned() });
        if self.width.is_some() != self.height.is_some() {
            return wrong("input.width", "give both width and height, or neither");
        }
        if !(1..=256).contains(&self.multiple_of) {
            return wrong("input.multiple_of", "1 to 256");
        }
        let fits = |size: u32| (16..=4096).contains(&size) && size.is_multiple_of(self.multiple_of);
        if ![self.width, self.height].into_iter().flatten().all(fits) {
            return wrong("input.width", "width and height are 16 to 4096 pixels and multiples of `multiple_of`");
        }
        if !self.mean.iter().all(|m| m.is_finite()) {
            return wrong("input.mean", "must be finite");
        }
        if !self.scale.iter().all(|s| s.is_finite() && *s != 0.0) {
            return wrong("input.scale", "must be finite and not 0");
        }
        Ok(())
    }
}

/// The dotted path of the first key of `given` that `known` lacks, and the known key that it resembles.
fn first_unknown(given: &toml::Table, known: &toml::Table) -> Option<(String, Option<String>)> {
    given.iter().find_map(|(key, value)| match (value, known.get(key)) {
        (_, None) => Some((key.clone(), nearest(key, known.keys().map(String::as_str)).map(str::to_owned))),
        (toml::Value::Table(given), Some(toml::Value::Table(known))) => {
            first_unknown(given, known).map(|(inner, nearest)| (format!("{key}.{inner}"), nearest))
        }
        _ => None,
    })
}

fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |name: &str| strsim::jaro_winkler(name, written);
    known.max_by(|a, b| alike(a).total_cmp(&alike(b))).filter(|name| alike(name) > 0.7)
}

/// Serde names all keys or values that it knows; the one that was meant is said too.
fn with_nearest(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let written = quoted.next().unwrap_or_default();
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match nearest(written, quoted).filter(|_| unknown) {
        Some(meant) => format!("{}; did you mean `{meant}`?", text.trim_end()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::known;

    #[test]
    fn every_known_manifest_is_valid_and_comes_back_from_toml() {
        for manifest in known::all() {
            let text = manifest.to_toml().unwrap();
            assert_eq!(Manifest::from_toml(&text).unwrap(), manifest, "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_named_at_every_level() {
        let text = known::by_name("yunet-n-640").unwrap().to_toml().unwrap();
        for (from, to, key) in [
            ("task =", "tusk = 1\ntask =", "tusk"),
            ("[input]", "[input]\ncolour = 1", "colour"),
            ("layout = \"yunet\"", "layout = \"yunet\"\nanchors = 3", "decode.anchors"),
        ] {
            let error = Manifest::from_toml(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn a_mistyped_key_is_answered_with_the_one_that_was_meant() {
        let text = known::by_name("yunet-n-640").unwrap().to_toml().unwrap();
        for (from, to, meant) in [
            ("licence =", "license =", "did you mean `licence`?"),
            ("face-detector", "face-detektor", "did you mean `face-detector`?"),
            ("layout = \"yunet\"", "layout = \"yunet\"\nlayouts = 3", "did you mean `layout`?"),
        ] {
            let error = Manifest::from_toml(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(meant), "{error}");
        }
    }

    #[test]
    fn a_head_for_anything_else_cannot_be_described() {
        let mut manifest = known::by_name("minifasnet-v2").unwrap();
        manifest.decode = Decode::Logits { output: "logits".into(), classes: vec!["female".into(), "male".into()] };
        assert!(manifest.check().unwrap_err().to_string().contains("`female` is not one of live, spoof"));
        manifest.task = Task::FaceDetector;
        assert!(manifest.check().unwrap_err().to_string().contains("does not fit the task FaceDetector"));
        let text = known::by_name("mobileface-v2").unwrap().to_toml().unwrap();
        let error = Manifest::from_toml(&text.replace("face-embedder", "age-estimator")).unwrap_err().to_string();
        assert!(error.contains("age-estimator"), "{error}");
        // FairFace's head: seven, two and nine scores.
        let mut manifest = known::by_name("mobileface-v2").unwrap();
        manifest.decode = Decode::Embedding { output: "race7_gender2_age9".into(), dim: 18, normalised: false };
        assert!(manifest.check().unwrap_err().to_string().contains("64 to 1024"));
    }

    #[test]
    fn names_cannot_leave_the_store() {
        for name in ["", ".", "..", ".hidden", "a/b", "../a", "A", "a b", "ä", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("yunet-n_640.v2").is_ok());
    }
}
