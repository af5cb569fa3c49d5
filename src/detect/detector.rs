//! The detector: one network with what goes before and after it.
//!
//! Coordinates leave here in pixels of the full-resolution frame. A face whose box is centred outside the signed area is dropped, even
//! though no pixel from there was read: a network may guess beyond the border. Owned by one worker.

use std::sync::Arc;

use crate::config::schema;
use crate::engine::manifest::Decode;
use crate::engine::{EngineError, Network};
use crate::frame::{Frame, ReadRefused};
use crate::policy::lease::{Detect, Permit};

use super::decode::{DecodeError, TensorSize, decode};
use super::preprocess::{PreprocessError, Preprocessor};
use super::worker::Look;
use super::{Face, nms};

crate::counters! {
    /// What the detector itself counts; frames and errors are its worker's.
    pub struct DetectCounters for "detect" {
        empty_areas: "Frames of which no whole pixel lies inside the signed area.",
        faces_outside_area: "Faces dropped because their box is centred outside the signed area.",
        candidates_shed: "Candidates beyond the capacity of non-maximum suppression, dropped unseen.",
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error("detector `{model}`: {source}")]
    Unfit { model: String, source: PreprocessError },
    #[error("detector `{model}`: the manifest's decode layout is not a detector's: use yunet, scrfd or rfb")]
    NotADetector { model: String },
    #[error("detector `{model}`: {name} = {value} is not within 0…1")]
    Fraction { model: String, name: &'static str, value: f32 },
    #[error("stream {stream}, frame {frame}: {source}")]
    Read { stream: u16, frame: u64, source: ReadRefused },
    #[error("stream {stream}, frame {frame}: {source}")]
    Engine { stream: u16, frame: u64, source: EngineError },
    #[error("stream {stream}, frame {frame}, model `{model}`: {source}")]
    Decode { stream: u16, frame: u64, model: String, source: DecodeError },
}

/// A network that finds faces.
pub struct Detector {
    network: Box<dyn Network>,
    layout: Decode,
    preprocessor: Preprocessor,
    min_score: f32,
    max_iou: f32,
    candidates: Vec<Face>,
    counters: Arc<DetectCounters>,
}

impl Detector {
    /// `min_score`: faces that score less than `config.score_threshold` but at least this are returned too: the tracker's second
    /// association continues tracks with them. Pass the threshold itself where nobody wants them.
    pub fn new(
        network: Box<dyn Network>,
        config: &schema::Detect,
        min_score: f32,
        counters: Arc<DetectCounters>,
    ) -> Result<Self, DetectError> {
        let manifest = network.manifest();
        let model = || manifest.name.clone();
        for (name, value) in [("score_threshold", config.score_threshold), ("least score", min_score), ("nms_iou", config.nms_iou)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(DetectError::Fraction { model: model(), name, value });
            }
        }
        if matches!(manifest.decode, Decode::Embedding { .. } | Decode::Logits { .. }) {
            return Err(DetectError::NotADetector { model: model() });
        }
        let preprocessor =
            Preprocessor::new(&manifest.input, config.input_px).map_err(|source| DetectError::Unfit { model: model(), source })?;
        let layout = manifest.decode.clone();
        let min_score = min_score.min(config.score_threshold);
        Ok(Self { network, layout, preprocessor, min_score, max_iou: config.nms_iou, candidates: Vec::new(), counters })
    }

    /// Faces inside the permit's area, best first. What was made of the frame's pixels is overwritten before this returns.
    pub fn detect(&mut self, frame: &Frame, permit: &Permit<Detect>) -> Result<Vec<Face>, DetectError> {
        let mut faces = Vec::new();
        let looked = self.detect_into(frame, permit, &mut faces);
        self.wipe();
        looked.map(|()| faces)
    }

    /// Overwrites what was made of the last frame's pixels.
    pub fn wipe(&mut self) {
        self.preprocessor.wipe();
    }

    /// As [`Detector::detect`], into a list that the caller keeps; for one who calls [`Detector::wipe`] when it has passed them on.
    pub fn detect_into(&mut self, frame: &Frame, permit: &Permit<Detect>, faces: &mut Vec<Face>) -> Result<(), DetectError> {
        let (stream, sequence) = (frame.header().stream.0, frame.header().sequence);
        let pixels = frame.read(permit).map_err(|source| DetectError::Read { stream, frame: sequence, source })?;
        let Some(prepared) = self.preprocessor.prepare(&pixels) else {
            self.counters.empty_areas.increment();
            return Ok(());
        };
        let [.., height, width] = prepared.shape;
        self.candidates.clear();
        let mut decoded = Ok(());
        let mut read = |outputs: &[crate::engine::Output<'_>]| {
            decoded = decode(&self.layout, outputs, TensorSize { width, height }, self.min_score, &mut self.candidates);
        };
        let ran = self.network.run(prepared.tensor, prepared.shape, &mut read);
        ran.map_err(|source| DetectError::Engine { stream, frame: sequence, source })?;
        decoded.map_err(|source| {
            let model = self.network.manifest().name.clone();
            DetectError::Decode { stream, frame: sequence, model, source }
        })?;
        self.counters.candidates_shed.add(nms::suppress(&mut self.candidates, self.max_iou) as u64);
        let mapped = self.candidates.iter().map(|face| Face {
            bounding_box: prepared.mapping.bounding_box(face.bounding_box),
            score: face.score,
            landmarks: face.landmarks.map(|points| points.map(|p| prepared.mapping.point(p))),
        });
        let inside = |face: &Face| {
            let centre = face.bounding_box.centre();
            prepared.mask.contains_point(centre.x, centre.y)
        };
        let before = faces.len();
        faces.extend(mapped.filter(inside));
        self.counters.faces_outside_area.add((self.candidates.len() - (faces.len() - before)) as u64);
        Ok(())
    }
}

impl Look for Detector {
    type Error = DetectError;
    fn look(&mut self, frame: &Frame, permit: &Permit<Detect>, faces: &mut Vec<Face>) -> Result<(), DetectError> {
        self.detect_into(frame, permit, faces)
    }
    fn wipe(&mut self) {
        Self::wipe(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Area;
    use crate::clock::Stamp;
    use crate::engine::Output;
    use crate::engine::manifest::Manifest;
    use crate::frame::still::frame_from_rgb;
    use crate::frame::{BoundingBox, FrameHeader, OwnedBuffer, StreamIndex, TableId};
    use crate::policy::lease::{StreamState, testing::grant};

    /// Answers every run with the same boxes (fractions of the tensor), and remembers the shape it was asked with.
    struct Scripted {
        manifest: Manifest,
        boxes: Vec<[f32; 4]>,
        scores: Vec<f32>,
        shape: Arc<parking_lot::Mutex<[usize; 4]>>,
    }

    impl Network for Scripted {
        fn manifest(&self) -> &Manifest {
            &self.manifest
        }
        fn run(&mut self, _: &[f32], shape: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
            *self.shape.lock() = shape;
            let scores: Vec<f32> = self.scores.iter().flat_map(|&s| [1.0 - s, s]).collect();
            let n = self.scores.len();
            read(&[
                Output { name: "scores", shape: &[1, n, 2], data: &scores },
                Output { name: "boxes", shape: &[1, n, 4], data: self.boxes.as_flattened() },
            ]);
            Ok(())
        }
    }

    fn manifest(extra: &str, layout: &str) -> Manifest {
        let text = format!(
            "name = 'scripted'\ntask = 'face-detector'\nsha256 = ''\nlicence = ''\npublisher = ''\nintended_use = 'commissioning'\n\
             [input]\nname = 'input'\nchannels = 'rgb'\nmultiple_of = 32\nresize = 'letterbox'\n{extra}\n[decode]\n{layout}\n"
        );
        toml::from_str(&text).expect("valid manifest")
    }

    fn config() -> schema::Detect {
        toml::from_str("model = 'scripted'\nscore_threshold = 0.6\nnms_iou = 0.45\ninput_px = 128").expect("valid")
    }

    fn scripted(boxes: Vec<[f32; 4]>, scores: Vec<f32>) -> (Box<dyn Network>, Arc<parking_lot::Mutex<[usize; 4]>>) {
        let shape = Arc::default();
        (Box::new(Scripted { manifest: manifest("", "layout = 'rfb'"), boxes, scores, shape: Arc::clone(&shape) }), shape)
    }

    #[test]
    fn boxes_come_back_in_the_frames_pixels_and_only_from_inside_the_area() {
        // The right half of 400 × 200 but for its lower left quarter: a crop of 200 × 200 at (200, 0), scaled to 128 × 128.
        let corners = vec![[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.75, 1.0], [0.75, 0.5], [0.5, 0.5]];
        let area = Area::new(vec![corners]).expect("valid");
        let boxes =
            vec![[0.5, 0.25, 0.75, 0.5], [0.0, 0.75, 0.25, 1.0], [0.5, 0.26, 0.75, 0.51], [0.8, 0.1, 0.9, 0.2], [0.8, 0.4, 0.9, 0.5]];
        let (network, shape) = scripted(boxes, vec![0.9, 0.9, 0.8, 0.35, 0.25]);
        let counters: Arc<DetectCounters> = Arc::default();
        let mut detector = Detector::new(network, &config(), 0.3, Arc::clone(&counters)).expect("fits");
        let frame = frame_from_rgb(400, 200, &[90; 400 * 200 * 3]).expect("valid");
        let now = Stamp::from_ns(1);
        let granted = grant(StreamState::Detect, &["mask-check"], area, now);
        let permit = granted.table.permit(StreamIndex(0), now).expect("live");
        let faces = detector.detect(&frame, &permit).expect("detects");
        assert_eq!(*shape.lock(), [1, 3, 128, 128]);
        assert_eq!(faces.len(), 2, "one outside the area, one suppressed, one too weak: {faces:?}");
        assert_eq!(faces[0].bounding_box, BoundingBox { x0: 300.0, y0: 50.0, x1: 350.0, y1: 100.0 });
        assert_eq!(faces[1].score, 0.35, "weak faces are there for the tracker");
        assert_eq!(counters.faces_outside_area.get(), 1);
    }

    #[test]
    fn a_frame_of_another_stream_is_refused_and_an_empty_area_runs_no_network() {
        let sliver = Area::new(vec![vec![[0.5, 0.5], [0.501, 0.5], [0.5, 0.501]]]).expect("valid");
        let (network, shape) = scripted(vec![[0.0, 0.0, 1.0, 1.0]], vec![0.9]);
        let counters: Arc<DetectCounters> = Arc::default();
        let mut detector = Detector::new(network, &config(), 0.6, Arc::clone(&counters)).expect("fits");
        let frame = frame_from_rgb(64, 64, &[90; 64 * 64 * 3]).expect("valid");
        let now = Stamp::from_ns(1);
        let granted = grant(StreamState::Detect, &["mask-check"], sliver, now);
        let permit = granted.table.permit(StreamIndex(0), now).expect("live");
        assert!(detector.detect(&frame, &permit).expect("nothing to read").is_empty());
        assert_eq!((*shape.lock(), counters.empty_areas.get()), ([0; 4], 1));
        let header = FrameHeader { stream: StreamIndex(3), sequence: 17, ..*frame.header() };
        let frame = Frame::new(header, TableId::TESTS, Box::new(OwnedBuffer { planes: vec![vec![90; 64 * 64]; 3] })).expect("valid");
        let error = detector.detect(&frame, &permit).expect_err("another stream").to_string();
        assert!(error.contains("stream 3, frame 17"), "{error}");
    }

    #[test]
    fn what_is_no_detector_is_refused_when_it_is_made() {
        let refused = |extra: &str, layout: &str, config: schema::Detect, min_score: f32| {
            let network = Scripted { manifest: manifest(extra, layout), boxes: vec![], scores: vec![], shape: Arc::default() };
            Detector::new(Box::new(network), &config, min_score, Arc::default()).err().expect("refused").to_string()
        };
        assert!(refused("", "layout = 'logits'\noutput = 'x'\nclasses = []", config(), 0.5).contains("yunet, scrfd or rfb"));
        assert!(refused("", "layout = 'rfb'", schema::Detect { nms_iou: f32::NAN, ..config() }, 0.5).contains("nms_iou"));
        assert!(refused("", "layout = 'rfb'", config(), -0.1).contains("least score"));
        assert!(refused("", "layout = 'rfb'", schema::Detect { input_px: Some(8), ..config() }, 0.5).contains("input_px"));
    }
}
