//! One face → one embedding: align into the network's input, run, normalise, wipe.
//!
//! Neither the crop nor the network's raw output outlives the call: both lie in buffers of this worker and are zeroised before it
//! returns, on every path, and the engine wipes its own outputs. (What the runtime keeps between its layers is overwritten by the next
//! run; it is never written to disk.)
//!
//! Owner: one embed worker. No allocation per shot but the embedding itself.

use zeroize::Zeroize;

use super::gather::EmbedShot;
use crate::align::similarity::CROP_PX;
use crate::align::{AlignError, Aligner, CROP_LEN};
use crate::embedding::{Embedding, EmbeddingError};
use crate::engine::manifest::{Decode, Task};
use crate::engine::{EngineError, Network, Output};
use crate::frame::{Frame, Landmarks};
use crate::policy::lease::{Embed, Permit};

const SHAPE: [usize; 4] = [1, 3, CROP_PX, CROP_PX];

#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    #[error("model `{model}` cannot embed faces: {reason}")]
    Model { model: String, reason: String },
    #[error(transparent)]
    Align(#[from] AlignError),
    #[error("stream {stream}, frame {sequence}: {source}")]
    Network { stream: u16, sequence: u64, source: EngineError },
    #[error("stream {stream}, frame {sequence}: the network gave {got} values where its manifest promises {want}")]
    Dimension { stream: u16, sequence: u64, got: usize, want: usize },
    #[error("stream {stream}, frame {sequence}: {source}")]
    Degenerate { stream: u16, sequence: u64, source: EmbeddingError },
}

/// An embedding network and the aligner that feeds it.
pub struct Embedder {
    network: Box<dyn Network>,
    aligner: Aligner,
    tensor: Box<[f32]>,
    raw: Box<[f32]>,
}

impl Embedder {
    /// Refuses a network whose manifest is not that of a face embedder on 112 × 112 crops.
    pub fn new(network: Box<dyn Network>) -> Result<Self, EmbedError> {
        let manifest = network.manifest();
        let refused = |reason: String| EmbedError::Model { model: manifest.name.clone(), reason };
        let Decode::Embedding { dim, .. } = manifest.decode else {
            return Err(refused("its output is not an embedding".to_owned()));
        };
        if manifest.task != Task::FaceEmbedder {
            return Err(refused("its task is not `face-embedder`".to_owned()));
        }
        if !(16..=4_096).contains(&dim) {
            return Err(refused(format!("an embedding has 16 to 4096 values, its manifest says {dim}")));
        }
        let aligner = Aligner::new(&manifest.input).map_err(|e| refused(e.to_string()))?;
        Ok(Self { network, aligner, tensor: vec![0.0; CROP_LEN].into(), raw: vec![0.0; dim].into() })
    }

    /// Values in an embedding.
    pub fn dim(&self) -> usize {
        self.raw.len()
    }

    /// Embeds the face with these landmarks. The permit must be of the frame's stream.
    pub fn embed(&mut self, frame: &Frame, permit: &Permit<Embed>, landmarks: &Landmarks) -> Result<Embedding, EmbedError> {
        let ran = self.align_and_run(frame, permit, landmarks);
        self.tensor.zeroize();
        let (stream, sequence) = (frame.header().stream.0, frame.header().sequence);
        let degenerate = |source| EmbedError::Degenerate { stream, sequence, source };
        let embedding = ran.and_then(|()| Embedding::normalised(&mut self.raw).map_err(degenerate));
        self.raw.zeroize();
        embedding
    }

    fn align_and_run(&mut self, frame: &Frame, permit: &Permit<Embed>, landmarks: &Landmarks) -> Result<(), EmbedError> {
        let (stream, sequence) = (frame.header().stream.0, frame.header().sequence);
        self.aligner.align(frame, permit, landmarks, &mut self.tensor)?;
        let (raw, mut got) = (&mut self.raw, 0);
        let mut read = |outputs: &[Output<'_>]| {
            let Some(output) = outputs.first() else { return };
            got = output.data.len();
            if got == raw.len() {
                raw.copy_from_slice(output.data);
            }
        };
        let run = self.network.run(&self.tensor, SHAPE, &mut read);
        run.map_err(|source| EmbedError::Network { stream, sequence, source })?;
        let want = self.raw.len();
        if got == want { Ok(()) } else { Err(EmbedError::Dimension { stream, sequence, got, want }) }
    }
}

impl EmbedShot for Embedder {
    fn embed(&mut self, frame: &Frame, permit: &Permit<Embed>, landmarks: &Landmarks) -> Result<Embedding, EmbedError> {
        Embedder::embed(self, frame, permit, landmarks)
    }
}

#[cfg(test)]
mod tests;
