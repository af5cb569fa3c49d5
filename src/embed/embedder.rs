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
