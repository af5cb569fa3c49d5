//! Configuration: `schema.rs` is what operators write, `load.rs` reads it and names file, line and key when it cannot (`keys.rs`
//! compares it with the schema, `source.rs` parses sources), `limits.rs` derives and asserts.

pub mod keys;
pub mod limits;
pub mod load;
pub mod schema;
pub mod source;

pub use load::{ConfigError, Loaded, load};
