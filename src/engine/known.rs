//! Models that need no manifest from the operator: recognised by digest, or by the signature of their graph.
//!
//! A digest says everything (licence, pre-processing, what was measured). A signature, that is names and shapes of inputs and outputs and
//! the first nodes of the graph (`known/signature.rs`), says how a model is read, but not who trained it: the licence is then unknown and the
//! manifest says so. What a graph does not tell of its pre-processing is taken from the family's custom, and said to be assumed.

mod signature;

use super::manifest::{ChannelOrder, Decode, Input, IntendedUse, Manifest, Resize, Task};
use super::onnx::GraphProto;

/// One published file.
struct Published {
    name: &'static str,
    sha256: &'static str,
    licence: &'static str,
    publisher: &'static str,
    /// Which file of the publisher's project it is, or was made of.
    file: &'static str,
    kind: Kind,
    accuracy: &'static [&'static str],
}

/// Everything that a family of models shares. Sizes are width × height.
#[derive(Clone, Copy)]
enum Kind {
    Yunet(Option<u32>),
    Rfb(u32, u32),
    RfbMask(u32, u32),
    MobileFace,
    Sface,
    MiniFasNet,
}

const YUNET: &str = "Shiqi Yu, libfacedetection.train";
const RFB: &str = "Linzaer, Ultra-Light-Fast-Generic-Face-Detector-1MB";
const MOBILEFACE: &str = "becauseofAI, MobileFace";
const ZOO: &str = "OpenCV Zoo";

const YUNET_N: &[&str] = &[
    "1232 of 1232 portraits found at confidence 0.6 (size 640)",
    "recall on faces pasted into a 1280x720 frame, size 640: 16 px .54, 20 px .67, 24 px .77, 32 px .96, 40 px and more 1.00",
];
const YUNET_S: &[&str] =
    &["recall on faces pasted into a 1280x720 frame, size 640: 16 px .04, 20 px .35, 24 px .62, 32 px .88, 40 px and more 1.00"];

#[rustfmt::skip]
const PUBLISHED: &[Published] = &[
    Published { name: "yunet-n-320", sha256: "81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2",
        licence: "Apache-2.0", publisher: YUNET,
        file: "onnx/yunet_n_320_320.onnx",
        kind: Kind::Yunet(Some(320)), accuracy: YUNET_N },
    Published { name: "yunet-n-640", sha256: "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
        licence: "Apache-2.0", publisher: YUNET,
        file: "onnx/yunet_n_640_640.onnx",
        kind: Kind::Yunet(Some(640)), accuracy: YUNET_N },
    Published { name: "yunet-n-dynamic", sha256: "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
        licence: "Apache-2.0", publisher: YUNET,
        file: "onnx/yunet_n_dynamic.onnx",
        kind: Kind::Yunet(None), accuracy: YUNET_N },
    Published { name: "yunet-s-320", sha256: "beb05bf2378aee45cd7c41056da07265b7bb91041ed1b06f923819a9c744ec36",
        licence: "Apache-2.0", publisher: YUNET,
        file: "onnx/yunet_s_320_320.onnx",
        kind: Kind::Yunet(Some(320)), accuracy: YUNET_S },
    Published { name: "yunet-s-640", sha256: "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        licence: "Apache-2.0; published by OpenCV Zoo as face_detection_yunet_2023mar.onnx under MIT", publisher: YUNET,
        file: "onnx/yunet_s_640_640.onnx; the same in OpenCV Zoo as face_detection_yunet_2023mar.onnx",
        kind: Kind::Yunet(Some(640)),
        accuracy: &[YUNET_S[0], "published: WIDER FACE easy/medium/hard .884/.866/.750"] },
    Published { name: "yunet-s-dynamic", sha256: "daede24002cc8590f457998cc5e6c9e8b82f45f6bd969506a8913cd4ed10a2d3",
        licence: "Apache-2.0", publisher: YUNET,
        file: "onnx/yunet_s_dynamic.onnx",
        kind: Kind::Yunet(None), accuracy: YUNET_S },
    Published { name: "yunet-s-640-int8bq", sha256: "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        licence: "MIT", publisher: ZOO,
        file: "face_detection_yunet_2023mar_int8bq.onnx",
        kind: Kind::Yunet(Some(640)),
        accuracy: &["published: WIDER FACE easy/medium/hard .885/.865/.750"] },
    Published { name: "rfb-320", sha256: "34cd7e60aeff28744c657de7a3dc64e872d506741de66987f3426f2b79f88017",
        licence: "MIT", publisher: RFB,
        file: "models/onnx/version-RFB-320.onnx",
        kind: Kind::Rfb(320, 240),
        accuracy: &["recall on faces pasted into a 1280x720 frame: 24 px .23, 32 px .25, 40 px .88, 48 px .98; no landmarks"] },
    Published { name: "rfb-640", sha256: "8f4c659275977e7a3bfbfa339a9c769ad793df50f9c0baa8c14b11baa1646430",
        licence: "MIT", publisher: RFB,
        file: "models/onnx/version-RFB-640.onnx",
        kind: Kind::Rfb(640, 480),
        accuracy: &["recall on faces pasted into a 1280x720 frame: 16 px .17, 20 px .71, 24 px .85, 32 px .98, 40 px 1.00; no landmarks"] },
    Published { name: "rfb-640-mask", sha256: "27ca3e5985f722e91efea7993f625716de627303c4bafb40bb26f456286beca8",
        licence: "MIT", publisher: RFB,
        file: "masked_face/pretrained/RFB-640-masked_face-v2.onnx",
        kind: Kind::RfbMask(640, 480),
        accuracy: &["2 masked faces .997, 6 bare faces up to .97; classes: 0 background, 1 bare, 2 masked"] },
    Published { name: "mobileface-v2", sha256: "cf6ef65b9d28ed177d2e68b33a498fd467d1ed13678e37657520de1210a6f860",
        licence: "MIT", publisher: MOBILEFACE,
        file: "converted to ONNX from MobileFace_Identification/MobileFace_Identification_V2-0000.params",
        kind: Kind::MobileFace,
        accuracy: &["rank-1 of 225: 100 %; TAR 99.1 % at FAR 1e-3 (cosine .415), 97.4 % at 1e-4 (.484); portraits, own alignment",
            "video, one template a track: same person min .70, different max .59"] },
    Published { name: "mobileface-v3", sha256: "bdefa0562320ba1b899e04fc4e331853bf6fb7d1bb977aaed6ac9d135a7410f4",
        licence: "MIT", publisher: MOBILEFACE,
        file: "converted to ONNX from MobileFace_Identification/MobileFace_Identification_V3-0000.params",
        kind: Kind::MobileFace,
        accuracy: &["weak: EER 5.2 %, TAR 66 % at FAR 1e-3 (cosine .471), rank-1 of 874: 80 %"] },
    Published { name: "sface", sha256: "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        licence: "Apache-2.0", publisher: ZOO,
        file: "face_recognition_sface_2021dec.onnx",
        kind: Kind::Sface, accuracy: &["published: LFW .9940"] },
    Published { name: "sface-int8bq", sha256: "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        licence: "Apache-2.0", publisher: ZOO,
        file: "face_recognition_sface_2021dec_int8bq.onnx",
        kind: Kind::Sface, accuracy: &["published: LFW .9942"] },
    Published { name: "minifasnet-v2", sha256: "baf389dd02a257385d5173c8b8a1c554473985f436e3f90373e488bc72aed522",
        licence: "Apache-2.0", publisher: "minivision-ai, Silent-Face-Anti-Spoofing",
        file: "converted to ONNX from resources/anti_spoof_models/2.7_80x80_MiniFASNetV2.pth",
        kind: Kind::MiniFasNet,
        accuracy: &["3 of 3 photographs; a hint, not a security control", "crop: the face box enlarged 2.7 times about its centre"] },
];

/// A model that was recognised.
#[derive(Clone, Debug)]
pub struct Recognised {
    pub manifest: Manifest,
    pub by: By,
    /// What was taken from the family's custom, because the graph does not tell it. It stands in the manifest's `accuracy` too.
    pub assumed: Option<String>,
}

/// How a file was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Digest,
    Signature,
}

/// Every known model, in the order in which `placard model known` shows them.
pub fn all() -> impl Iterator<Item = Manifest> {
    PUBLISHED.iter().map(manifest_of)
}

/// A known model by the name that the model store gives it (`yunet-n-640`).
pub fn by_name(name: &str) -> Option<Manifest> {
    PUBLISHED.iter().find(|p| p.name == name).map(manifest_of)
}

/// A known model by the SHA-256 of its file.
pub fn by_digest(sha256: &str) -> Option<Manifest> {
    PUBLISHED.iter().find(|p| p.sha256 == sha256).map(manifest_of)
}

/// Which file of its publisher's project a known model is, or was made of.
pub fn published_as(name: &str) -> Option<&'static str> {
    PUBLISHED.iter().find(|p| p.name == name).map(|p| p.file)
}

/// The manifest of a file: by its digest, else by its graph.
pub fn recognise(sha256: &str, graph: &GraphProto) -> Option<Recognised> {
    if let Some(manifest) = by_digest(sha256) {
        return Some(Recognised { manifest, by: By::Digest, assumed: None });
    }
    let (mut manifest, assumed) = signature::recognise(graph)?;
    manifest.sha256 = sha256.to_owned();
    manifest.accuracy = vec![format!("not measured; {assumed}")];
    Some(Recognised { manifest, by: By::Signature, assumed: Some(assumed) })
}

fn manifest_of(published: &Published) -> Manifest {
    let (task, input, decode) = published.kind.describe();
    Manifest {
        name: published.name.into(),
        task,
        sha256: published.sha256.into(),
        prepared_sha256: None,
        licence: published.licence.into(),
        publisher: published.publisher.into(),
        intended_use: IntendedUse::Operational,
        input,
        decode,
        accuracy: published.accuracy.iter().map(|&line| line.into()).collect(),
        int8: None,
    }
}

impl Kind {
    fn describe(self) -> (Task, Input, Decode) {
        let raw = |name: &str, channels, size: Option<(u32, u32)>, resize| Input {
            name: name.into(),
            channels,
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            multiple_of: if size.is_some() { 1 } else { 32 },
            resize,
            mean: [0.0; 3],
            scale: [1.0; 3],
        };
        let rfb =
            |size| Input { mean: [127.0; 3], scale: [1.0 / 128.0; 3], ..raw("input", ChannelOrder::Rgb, Some(size), Resize::Stretch) };
        let crop = |name| raw(name, ChannelOrder::Rgb, Some((112, 112)), Resize::AlignedCrop);
        let embedding = |output: &str, dim, normalised| Decode::Embedding { output: output.into(), dim, normalised };
        match self {
            Self::Yunet(size) => {
                (Task::FaceDetector, raw("input", ChannelOrder::Bgr, size.map(|s| (s, s)), Resize::Letterbox), Decode::Yunet)
            }
            Self::Rfb(width, height) => (Task::FaceDetector, rfb((width, height)), Decode::Rfb),
            Self::RfbMask(width, height) => (Task::MaskClassifier, rfb((width, height)), Decode::Rfb),
            // The graph itself subtracts 127.5 and divides by 128.
            Self::MobileFace => (Task::FaceEmbedder, crop("data"), embedding("embedding", 256, true)),
            // OpenCV feeds it RGB (its `swapRB` is on), raw.
            Self::Sface => (Task::FaceEmbedder, crop("data"), embedding("fc1", 128, false)),
            Self::MiniFasNet => {
                let classes = ["spoof", "live", "spoof"].map(String::from).into();
                let input = raw("input", ChannelOrder::Bgr, Some((80, 80)), Resize::Stretch);
                (Task::Liveness, input, Decode::Logits { output: "logits".into(), classes })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_names_are_unique_and_well_formed() {
        for (place, published) in PUBLISHED.iter().enumerate() {
            assert!(published.sha256.len() == 64 && published.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            assert!(PUBLISHED[..place].iter().all(|p| p.sha256 != published.sha256 && p.name != published.name), "{}", published.name);
            assert_eq!(by_digest(published.sha256).unwrap().name, published.name);
            let file = published_as(published.name).unwrap();
            assert!(!file.contains("://") && !file.is_empty(), "{file}: a project's own name for it, no address");
        }
    }
}
