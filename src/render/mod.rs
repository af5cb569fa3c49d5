//! Pictures with known truth. `portraits.rs` moves given portraits over a background: exact box, time and identity for tests and the
//! demonstration. (The rendered concourse, with people of our own, is its own chapter: `rendered:SCENE`.)

#[cfg(feature = "gst")]
pub mod encode;
pub mod portraits;
#[cfg(feature = "gst")]
pub mod stills;
