//! See `src/gallery/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::gallery::fuzzing::shard(bytes));
