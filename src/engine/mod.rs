//! Networks behind one contract.
//!
//! A model is an ONNX file and a [`manifest::Manifest`]; an engine makes a [`Network`] of them. Models are part of the program
//! (`bundled.rs`) or were imported by the operator (`store.rs`). Engines: ONNX Runtime (`onnxruntime.rs`), and
//! the fused executor for detectors of YuNet's class on a CPU (`fused/`); CUDA comes later behind the same trait.

pub mod bundled;
pub mod fused;
pub mod import;
pub mod known;
pub mod manifest;
pub mod onnx;
pub mod onnxruntime;
pub mod processor;
pub mod quantise;
pub mod store;

use manifest::Manifest;

/// One named output of a run. `data` is dense, row-major, `shape.iter().product()` long.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    pub data: &'a [f32],
}

/// A loaded network. One worker owns it: `run` takes `&mut self` and uses the threads the engine was configured with (one, on a CPU).
pub trait Network: Send {
    fn manifest(&self) -> &Manifest;

    /// What runs it, and in which numbers: for people.
    fn runs_on(&self) -> String {
        "unnamed".to_owned()
    }

    /// Runs on an NCHW fp32 tensor that is already normalised as the manifest says. `read` sees the outputs in the manifest's order;
    /// they live until it returns.
    fn run(&mut self, input: &[f32], shape: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError>;
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(
        "ONNX Runtime's library was not found at {path}: run `make deps`, or set `[engine] onnxruntime` or PLACARD_ONNXRUNTIME ({reason})"
    )]
    LibraryMissing { path: String, reason: String },
    #[error("model `{model}`: {reason}")]
    Load { model: String, reason: String },
    #[error("model `{model}`: input of {got:?} does not fit {want}")]
    InputShape { model: String, got: [usize; 4], want: String },
    #[error("model `{model}`: {reason}")]
    Run { model: String, reason: String },
}
