//! Signs as things in the world: what is printed on them, the code that proves one to be this site's, and how a camera reads it.
//!
//! ```text
//! register + site ──▶ notice (words, by regime and language) ──▶ sheet ──▶ SVG, PDF          `placard sign print`
//!                        └─ digest ─┐
//! site key ──▶ Ed25519 ──▶ code ◀───┘ ──▶ squares on the sheet ──▶ wall ──▶ camera
//! ```
//!
//! `code.rs`: what a code says and who signed it. `wording.rs`: the words of each regime, `notice.rs`: a sign's words put together.
//! `pictogram.rs`, `typeset.rs`, `sheet.rs`: how it looks.
//! `read.rs`: the code in a picture, `drift.rs`: whether the camera looks where it looked; `attest.rs` puts the two together, `worker.rs` does
//! so for every stream; `commission.rs` learns where a sign hangs.

pub mod attest;
pub mod code;
pub mod commission;
pub mod drift;
pub mod notice;
mod pictogram;
pub mod read;
pub mod sheet;
pub mod typeset;
pub mod wording;
pub mod worker;
