//! One face → one embedding: align into the network's input, run, normalise, wipe.
//!
//! Neither the crop nor the network's raw output outlives the call: both lie in buffers of this worker and are zeroised before it
//! returns, on every path. (The runtime's own arena is overwritten by the next run; it is never written to disk.)
//!
//! Owner: one embed worker. No allocation per shot but the embedding itself.

use zeroize::Zeroize;

use super::gather::EmbedShot;
use crate::embedding::{Embedding, EmbeddingError};
use crate::engine::manifest::{Decode, Resize, Task};
use crate::engine::{EngineError, Network};
use crate::frame::{Frame, Landmarks};
use crate::policy::lease::{Embed, Permit};

/// Side of the aligned crop, pixels.
pub const CROP_PX: usize = 112;

#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error("model `{model}` cannot embed faces: {reason}")]
    Model { model: String, reason: String },
    #[error("stream {stream}, frame {sequence}: the face could not be aligned: {reason}")]
    Align { stream: u16, sequence: u64, reason: String },
    #[error("stream {stream}, frame {sequence}: {source}")]
    Network { stream: u16, sequence: u64, source: EngineError },
    #[error("stream {stream}, frame {sequence}: the network gave {got} values where its manifest promises {want}")]
    Dimension { stream: u16, sequence: u64, got: usize, want: usize },
    #[error("stream {stream}, frame {sequence}: {source}")]
    Degenerate { stream: u16, sequence: u64, source: EmbeddingError },
}

/// An embedding network and the aligner that feeds it. `align` fills a planar 3 × 112 × 112 tensor, normalised as the network's
/// manifest says.
pub struct Embedder<A> {
    network: Box<dyn Network>,
    align: A,
    tensor: Box<[f32]>,
    raw: Box<[f32]>,
}

impl<A, R> Embedder<A>
where
    A: FnMut(&Frame, &Permit<Embed>, &Landmarks, &mut [f32]) -> Result<(), R>,
    R: std::fmt::Display,
{
    /// Refuses a network whose manifest is not that of a face embedder on 112 × 112 crops.
    pub fn new(network: Box<dyn Network>, align: A) -> Result<Self, EmbedError> {
        let manifest = network.manifest();
        let refused = |reason: &str| Err(EmbedError::Model { model: manifest.name.clone(), reason: reason.to_owned() });
        let Decode::Embedding { dim, .. } = manifest.decode else { return refused("its output is not an embedding") };
        let side = Some(112);
        if manifest.task != Task::FaceEmbedder || manifest.input.resize != Resize::AlignedCrop {
            return refused("it is not a face embedder on aligned crops");
        }
        if manifest.input.width != side || manifest.input.height != side {
            return refused("its input is not 112 × 112");
        }
        if !(16..=4_096).contains(&dim) {
            return refused("an embedding has 16 to 4096 values");
        }
        Ok(Self { network, align, tensor: vec![0.0; 3 * CROP_PX * CROP_PX].into(), raw: vec![0.0; dim].into() })
    }

    /// Values in an embedding.
    pub fn dim(&self) -> usize {
        self.raw.len()
    }

    fn aligned_and_run(&mut self, frame: &Frame, permit: &Permit<Embed>, landmarks: &Landmarks) -> Result<(), EmbedError> {
        let (stream, sequence) = (frame.header.stream.0, frame.header.sequence);
        (self.align)(frame, permit, landmarks, &mut self.tensor).map_err(|e| EmbedError::Align {
            stream,
            sequence,
            reason: e.to_string(),
        })?;
        let (raw, mut got) = (&mut self.raw, 0);
        let mut read = |outputs: &[crate::engine::Output<'_>]| {
            let Some(output) = outputs.first() else { return };
            got = output.data.len();
            if got == raw.len() {
                raw.copy_from_slice(output.data);
            }
        };
        let run = self.network.run(&self.tensor, [1, 3, CROP_PX, CROP_PX], &mut read);
        run.map_err(|source| EmbedError::Network { stream, sequence, source })?;
        let want = self.raw.len();
        if got == want { Ok(()) } else { Err(EmbedError::Dimension { stream, sequence, got, want }) }
    }
}

impl<A, R> EmbedShot for Embedder<A>
where
    A: FnMut(&Frame, &Permit<Embed>, &Landmarks, &mut [f32]) -> Result<(), R>,
    R: std::fmt::Display,
{
    fn embed(&mut self, frame: &Frame, permit: &Permit<Embed>, landmarks: &Landmarks) -> Result<Embedding, EmbedError> {
        let ran = self.aligned_and_run(frame, permit, landmarks);
        self.tensor.zeroize();
        let (stream, sequence) = (frame.header.stream.0, frame.header.sequence);
        let degenerate = |source| EmbedError::Degenerate { stream, sequence, source };
        let embedding = ran.and_then(|()| Embedding::normalised(&mut self.raw).map_err(degenerate));
        self.raw.zeroize();
        embedding
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::engine::Output;
    use crate::engine::manifest::{ChannelOrder, Input, IntendedUse, Manifest};
    use crate::frame::StreamIndex;
    use crate::track::testing::{Street, at_ms, face};

    struct Fake {
        manifest: Manifest,
        values: usize,
        fails: bool,
        saw: Arc<Mutex<f32>>,
    }

    impl Network for Fake {
        fn manifest(&self) -> &Manifest {
            &self.manifest
        }
        fn run(&mut self, input: &[f32], shape: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
            assert_eq!((shape, input.len()), ([1, 3, 112, 112], 3 * 112 * 112));
            *self.saw.lock() = input[5];
            if self.fails {
                return Err(EngineError::Run { model: "fake".into(), reason: "on purpose".into() });
            }
            let data: Vec<f32> = (0_u8..32).take(self.values).map(|i| f32::from(i) - 3.0).collect();
            read(&[Output { name: "embedding", shape: &[1, self.values], data: &data }]);
            Ok(())
        }
    }

    fn fake() -> Fake {
        let input = Input {
            name: "data".into(),
            channels: ChannelOrder::Rgb,
            width: Some(112),
            height: Some(112),
            multiple_of: 1,
            resize: Resize::AlignedCrop,
            mean: [0.0; 3],
            scale: [1.0; 3],
        };
        let manifest = Manifest {
            name: "fake".into(),
            task: Task::FaceEmbedder,
            sha256: String::new(),
            prepared_sha256: None,
            licence: String::new(),
            publisher: String::new(),
            intended_use: IntendedUse::Operational,
            input,
            decode: Decode::Embedding { output: "embedding".into(), dim: 32, normalised: true },
            accuracy: vec![],
        };
        Fake { manifest, values: 32, fails: false, saw: Arc::default() }
    }

    fn fill(_: &Frame, _: &Permit<Embed>, _: &Landmarks, out: &mut [f32]) -> Result<(), &'static str> {
        out.fill(0.5);
        Ok(())
    }

    fn try_one(
        network: Fake,
        align: impl FnMut(&Frame, &Permit<Embed>, &Landmarks, &mut [f32]) -> Result<(), &'static str>,
    ) -> Result<Embedding, EmbedError> {
        let mut street = Street::new();
        let permit = street.granted.table.permit::<Embed>(StreamIndex(0), at_ms(0)).expect("live");
        let frame = street.frame(0);
        let mut embedder = Embedder::new(Box::new(network), align).expect("an embedder");
        let landmarks = face(300.0, 200.0).landmarks.expect("given");
        let result = embedder.embed(&frame, &permit, &landmarks);
        assert!(embedder.tensor.iter().chain(&embedder.raw).all(|v| *v == 0.0), "neither crop nor output outlives the call");
        result
    }

    #[test]
    fn a_shot_becomes_a_unit_vector_and_its_crop_is_wiped() {
        let network = fake();
        let saw = Arc::clone(&network.saw);
        let embedding = try_one(network, fill).expect("embedded");
        assert_eq!((*saw.lock(), embedding.dim()), (0.5, 32));
        assert!((embedding.cosine(&embedding) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn failures_say_where_and_wipe_as_well() {
        assert!(matches!(try_one(Fake { fails: true, ..fake() }, fill), Err(EmbedError::Network { stream: 0, sequence: 0, .. })));
        assert!(matches!(try_one(Fake { values: 31, ..fake() }, fill), Err(EmbedError::Dimension { got: 31, want: 32, .. })));
        let half_way = |_: &Frame, _: &Permit<Embed>, _: &Landmarks, out: &mut [f32]| {
            out[7] = 1.0;
            Err("landmarks coincide")
        };
        let error = try_one(fake(), half_way).err().expect("refused").to_string();
        assert_eq!(error, "stream 0, frame 0: the face could not be aligned: landmarks coincide");
    }

    #[test]
    fn only_a_face_embedder_is_taken() {
        let mut other = fake();
        other.manifest.task = Task::MaskClassifier;
        assert!(matches!(Embedder::new(Box::new(other), fill), Err(EmbedError::Model { .. })));
        let mut other = fake();
        other.manifest.input.width = Some(224);
        let error = Embedder::new(Box::new(other), fill).err().expect("refused").to_string();
        assert_eq!(error, "model `fake` cannot embed faces: its input is not 112 × 112");
    }
}
