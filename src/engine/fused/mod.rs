//! The fused executor: networks of YuNet's class on the processor, at its speed.
//!
//! ONNX Runtime runs one layer after the other, each over the whole picture. These networks are short chains of small layers whose
//! arithmetic is cheap: most of the time goes into moving what lies between. Here a picture streams through all layers at once, a pair of rows at a
//! time, and what lies between stays in the caches.
//!
//! ```text
//! ONNX nodes → graph.rs (the class, checked) ─ read.rs
//!            → floats.rs   fp32; portable code, AVX2 with FMA, AVX-512          ┐
//!            → quantise.rs → bytes.rs   8 bits; portable, AVX-VNNI, AVX-512 VNNI ├ execute.rs (the plan of one size: rings, order)
//! plain.rs: layer by layer, for calibration and as the oracle                    ┘
//! network.rs: all of it behind `engine::Network`; selftest.rs: whether to trust it here; peak.rs: what to measure it by
//! ```
//!
//! `unsafe` is in `simd.rs` (instructions) and in the two `vectors.rs` (kernels), and where `floats.rs` and `bytes.rs` call a kernel that their table holds
//! only on a processor that has its instructions. Kernels check their slices' lengths at every call; everything else is safe code.

pub mod bytes;
pub mod execute;
pub mod floats;
pub mod graph;
pub mod network;
pub mod peak;
pub mod plain;
pub mod quantise;
pub mod read;
mod rows;
pub mod selftest;
#[cfg(target_arch = "x86_64")]
mod simd;
mod squash;
#[cfg(test)]
mod tests;

/// The version of the kernels that every processor has.
pub const PORTABLE: &str = "portable";

/// Why a network does not run here. It runs on ONNX Runtime then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FusedError {
    #[error("node `{node}`: {reason}")]
    Unfit { node: String, reason: String },
    #[error("ranges for 8 bits, node `{node}`: {reason}")]
    Ranges { node: String, reason: String },
    #[error("{width} × {height}: both sides are multiples of {} up to {}", graph::SIDES, graph::LONGEST)]
    Size { width: usize, height: usize },
}
