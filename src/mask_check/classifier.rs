//! One face → the probability that it wears a mask: align into the network's input, run, one number, wipe.
//!
//! Neither the crop nor the network's raw output outlives the call: both lie in buffers of this worker and are zeroised before it
//! returns, on every path, and the engine wipes its own outputs.
//!
//! Owner: the mask worker. No allocation per shot.

use std::sync::Arc;

use zeroize::Zeroize;

use super::MaskModel;
use super::tally::MaskShot;
use crate::align::similarity::CROP_PX;
use crate::align::{AlignError, Aligner, CROP_LEN};
use crate::engine::manifest::{Decode, Task};
use crate::engine::{EngineError, Network, Output};
use crate::frame::{Frame, Landmarks};
use crate::policy::lease::{MaskCheck, Permit};

const SHAPE: [usize; 4] = [1, 3, CROP_PX, CROP_PX];

#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    #[error("model `{model}` cannot say of a face whether it wears a mask: {reason}")]
    Model { model: String, reason: String },
    #[error(transparent)]
    Align(#[from] AlignError),
    #[error("stream {stream}, frame {sequence}: {source}")]
    Network { stream: u16, sequence: u64, source: EngineError },
    #[error(
        "stream {stream}, frame {sequence}: the network gave {got} values where its manifest promises {want}, or values that are no numbers"
    )]
    Logits { stream: u16, sequence: u64, got: usize, want: usize },
}

/// A classifier and the aligner that feeds it.
pub struct MaskClassifier {
    network: Box<dyn Network>,
    aligner: Aligner,
    tensor: Box<[f32]>,
    logits: Box<[f32]>,
    /// Places among the logits.
    bare: usize,
    masked: usize,
}

/// Why the model whose manifest this is cannot be named in `[mask]`; what `placard check` says too.
pub fn unfit(decode: &Decode, task: Task) -> Option<&'static str> {
    match (task, decode) {
        (Task::MaskClassifier, Decode::Logits { .. }) => None,
        (Task::MaskClassifier, _) => Some(
            "it finds faces in whole pictures by itself, and `[mask]` takes a classifier of faces that are found and aligned already (layout `logits`), such as `concourse-mask`",
        ),
        _ => Some("its task is not `mask-classifier`"),
    }
}

impl MaskClassifier {
    /// Refuses a network whose manifest is not that of a mask classifier on 112 × 112 crops.
    pub fn new(network: Box<dyn Network>) -> Result<Self, MaskError> {
        let manifest = network.manifest();
        let refused = |reason: String| MaskError::Model { model: manifest.name.clone(), reason };
        if let Some(reason) = unfit(&manifest.decode, manifest.task) {
            return Err(refused(reason.to_owned()));
        }
        let Decode::Logits { classes, .. } = &manifest.decode else { return Err(refused("its layout is not `logits`".to_owned())) };
        let only = |class: &str| {
            let mut places = classes.iter().enumerate().filter(|(_, c)| *c == class).map(|(place, _)| place);
            places.next().filter(|_| places.next().is_none()).ok_or_else(|| refused(format!("it has no single class `{class}`")))
        };
        let (bare, masked) = (only("bare")?, only("masked")?);
        let logits = vec![0.0; classes.len()].into();
        let aligner = Aligner::new(&manifest.input).map_err(|e| refused(e.to_string()))?;
        Ok(Self { network, aligner, tensor: vec![0.0; CROP_LEN].into(), logits, bare, masked })
    }

    pub fn model(&self) -> MaskModel {
        let manifest = self.network.manifest();
        let sha256 = manifest.prepared_sha256.as_ref().unwrap_or(&manifest.sha256);
        MaskModel { name: manifest.name.as_str().into(), sha256: Arc::from(sha256.as_str()) }
    }

    /// Probability, 0 to 1, that the face with these landmarks wears a mask. The permit must be of the frame's stream.
    pub fn probability(&mut self, frame: &Frame, permit: &Permit<MaskCheck>, landmarks: &Landmarks) -> Result<f32, MaskError> {
        let ran = self.align_and_run(frame, permit, landmarks);
        self.tensor.zeroize();
        let probability = ran.and_then(|()| {
            let (stream, sequence) = (frame.header().stream.0, frame.header().sequence);
            // Of the two answers; a third class, "background", takes no side.
            let probability = 1.0 / (1.0 + (self.logits[self.bare] - self.logits[self.masked]).exp());
            let want = self.logits.len();
            if probability.is_nan() { Err(MaskError::Logits { stream, sequence, got: want, want }) } else { Ok(probability) }
        });
        self.logits.zeroize();
        probability
    }

    fn align_and_run(&mut self, frame: &Frame, permit: &Permit<MaskCheck>, landmarks: &Landmarks) -> Result<(), MaskError> {
        let (stream, sequence) = (frame.header().stream.0, frame.header().sequence);
        self.aligner.align(frame, permit, landmarks, &mut self.tensor)?;
        let (logits, mut got) = (&mut self.logits, 0);
        let mut read = |outputs: &[Output<'_>]| {
            let Some(output) = outputs.first() else { return };
            got = output.data.len();
            if got == logits.len() {
                logits.copy_from_slice(output.data);
            }
        };
        let run = self.network.run(&self.tensor, SHAPE, &mut read);
        run.map_err(|source| MaskError::Network { stream, sequence, source })?;
        let want = self.logits.len();
        if got == want { Ok(()) } else { Err(MaskError::Logits { stream, sequence, got, want }) }
    }
}

impl MaskShot for MaskClassifier {
    fn probability(&mut self, frame: &Frame, permit: &Permit<MaskCheck>, landmarks: &Landmarks) -> Result<f32, MaskError> {
        Self::probability(self, frame, permit, landmarks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Area;
    use crate::engine::known;
    use crate::engine::manifest::Manifest;
    use crate::policy::lease::StreamState;
    use crate::policy::lease::testing::grant;
    use crate::track::testing::{Street, at_ms, face};

    /// Gives the same logits whatever it sees, and says whether it saw anything.
    struct Fixed {
        manifest: Manifest,
        logits: Vec<f32>,
    }

    impl Network for Fixed {
        fn manifest(&self) -> &Manifest {
            &self.manifest
        }
        fn run(&mut self, input: &[f32], shape: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
            assert!(shape == SHAPE && input.iter().any(|v| *v != 0.0), "a crop");
            read(&[Output { name: "logits", shape: &[1, self.logits.len()], data: &self.logits }]);
            Ok(())
        }
    }

    fn manifest(classes: &[&str]) -> Manifest {
        let mut manifest = known::by_name("mobileface-v2").expect("known");
        manifest.name = "masks".to_owned();
        manifest.task = Task::MaskClassifier;
        manifest.decode = Decode::Logits { output: "logits".into(), classes: classes.iter().map(|c| (*c).to_owned()).collect() };
        manifest
    }

    fn classifier(classes: &[&str], logits: &[f32]) -> MaskClassifier {
        let manifest = manifest(classes);
        manifest.check().expect("a classifier of crops can be described");
        MaskClassifier::new(Box::new(Fixed { manifest, logits: logits.to_vec() })).expect("fits")
    }

    #[test]
    fn the_answer_is_the_share_of_the_two_classes_and_nothing_stays_behind() {
        let mut street = Street::new();
        let granted = grant(StreamState::Detect, &["mask-check"], Area::whole(), at_ms(0));
        let permit = granted.table.permit::<MaskCheck>(crate::frame::StreamIndex(0), at_ms(0)).expect("granted");
        let (frame, landmarks) = (street.frame(0), face(300.0, 200.0).landmarks.expect("there"));
        for (classes, logits, want) in [
            (&["bare", "masked"][..], &[0.0, 0.0][..], 0.5),
            (&["bare", "masked"], &[-1.0, 1.0], 0.880_797),
            (&["masked", "bare"], &[-1.0, 1.0], 0.119_203),
            (&["background", "bare", "masked"], &[9.0, 200.0, 0.0], 0.0),
        ] {
            let mut classifier = classifier(classes, logits);
            let got = classifier.probability(&frame, &permit, &landmarks).expect("runs");
            assert!((got - want).abs() < 1e-5, "{classes:?} {logits:?}: {got}");
            assert!(classifier.tensor.iter().chain(&*classifier.logits).all(|v| *v == 0.0), "wiped");
        }
        let mut broken = classifier(&["bare", "masked"], &[f32::NAN, 0.0]);
        assert!(matches!(broken.probability(&frame, &permit, &landmarks), Err(MaskError::Logits { .. })));
        let mut short = classifier(&["bare", "masked"], &[1.0]);
        assert!(matches!(short.probability(&frame, &permit, &landmarks), Err(MaskError::Logits { got: 1, want: 2, .. })));
    }

    #[test]
    fn what_is_no_classifier_of_crops_is_refused_by_its_reason() {
        let refusal = |manifest: Manifest| match MaskClassifier::new(Box::new(Fixed { manifest, logits: vec![] })) {
            Ok(_) => panic!("taken"),
            Err(error) => error.to_string(),
        };
        let detector = refusal(known::by_name("rfb-640-mask").expect("known"));
        assert!(detector.contains("finds faces in whole pictures") && detector.contains("concourse-mask"), "{detector}");
        assert!(refusal(known::by_name("mobileface-v2").expect("known")).contains("not `mask-classifier`"));
        assert!(refusal(manifest(&["bare", "background"])).contains("no single class `masked`"));
        assert!(refusal(manifest(&["bare", "bare", "masked"])).contains("no single class `bare`"));
    }
}
