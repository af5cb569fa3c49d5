//! The CUDA kernels, proved without a GPU: every `.cu` compiled as plain C++ against the host shim (`kernels/host`), with the address and the
//! undefined-behaviour sanitizer, and run against its twin in Rust over many orders of threads.
//!
//! `docs/kernels.md` says what that proves and what it does not. Needs a C++ compiler; without one the tests say that they are skipped, and fail where `CI=true`.

#[path = "kernels/align.rs"]
mod align;
#[path = "kernels/battery.rs"]
mod battery;
#[path = "kernels/compiler.rs"]
mod compiler;
#[path = "kernels/embed.rs"]
mod embed;
#[path = "kernels/faces.rs"]
mod faces;
#[path = "kernels/frames.rs"]
mod frames;
#[path = "kernels/gallery.rs"]
mod gallery;
#[path = "kernels/job.rs"]
mod job;
#[path = "kernels/layers.rs"]
mod layers;
#[path = "kernels/left_out.rs"]
mod left_out;
#[path = "kernels/network.rs"]
mod network;
#[path = "kernels/prepare.rs"]
mod prepare;
#[path = "kernels/shim.rs"]
mod shim;
mod support;
