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
const STRIDES: [u32; 3] = [8, 16, 32];

impl Decode {
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
