//! Configuration: `schema.rs` is what operators write, `load.rs` reads it and names file, line and key when it cannot (`keys.rs`
//! compares it with the schema, `source.rs` parses sources), `limits.rs` derives and asserts (`ranges.rs` says what numbers may be),
//! `reference.rs` writes the operators' reference.

pub mod keys;
pub mod limits;
pub mod load;
pub mod ranges;
pub mod reference;
pub mod schema;
pub mod source;

pub use load::{ConfigError, Loaded, load};
