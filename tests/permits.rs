//! Code that skips the law does not compile. Each `no_*.rs` beside this file is a way around the permits; each must be refused, and for
//! the reason that its `.stderr` records (`TRYBUILD=overwrite cargo test --test permits` writes them anew; read what changed).

/// The one lawful way compiles, here and not in trybuild: with nothing to build, trybuild only checks, which takes a third of the time.
#[allow(dead_code, reason = "compiled, never run")]
#[path = "permits/lawful.rs"]
mod lawful;

/// One test: trybuild checks the crate once for all files.
#[test]
fn there_is_no_way_around_a_permit() {
    trybuild::TestCases::new().compile_fail("tests/permits/no_*.rs");
}
