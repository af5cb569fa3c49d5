//! Configuration: `schema.rs` is what operators write, `load.rs` reads it and names file, line and key when it cannot, `limits.rs`
//! derives and asserts.

pub mod schema;
pub mod source;
