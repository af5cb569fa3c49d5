//! The parsers, and the scan, by themselves: the very files of the program, taken in by their paths, so that what a fuzzer instruments or Miri interprets
//! is they and not a whole appliance. It builds in a minute; `src/gallery/fuzzing.rs` has the targets.
//!
//! `make fuzz` and `make miri` use it. What stands here is only the order of modules; there is no code.

#![allow(dead_code, unused_imports, reason = "the program uses what is not used here")]

#[path = "../../src/clock.rs"]
pub mod clock;
#[path = "../../src/hex.rs"]
pub mod hex;
#[path = "../../src/purpose.rs"]
pub mod purpose;
#[path = "../../src/seal.rs"]
pub mod seal;
#[path = "../../src/state.rs"]
pub mod state;

#[cfg(not(test))]
#[path = "."]
pub mod engine {
    //! Of the engine: what reads a model's manifest.
    #[path = "../../src/engine/manifest.rs"]
    pub mod manifest;
}

#[path = "."]
pub mod gallery {
    //! Of the gallery: files, and the scan.
    #[cfg(not(test))]
    #[path = "../../src/gallery/fuzzing.rs"]
    pub mod fuzzing;
    #[path = "../../src/gallery/heads.rs"]
    mod heads;
    #[path = "../../src/gallery/npy.rs"]
    pub mod npy;
    #[path = "../../src/gallery/record.rs"]
    mod record;
    #[path = "../../src/gallery/scan/mod.rs"]
    pub(crate) mod scan;
    #[path = "../../src/gallery/shard/mod.rs"]
    pub mod shard;
    #[path = "../../src/gallery/subject.rs"]
    mod subject;

    pub use crate::seal;
    pub use subject::{SubjectId, TemplateModel};
}
