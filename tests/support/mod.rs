//! What integration tests share.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};

/// Models and media for tests: `PLACARD_TEST_DATA`, else `../shared/data`. `None` after saying that the test is skipped.
pub fn test_data() -> Option<PathBuf> {
    let data =
        std::env::var_os("PLACARD_TEST_DATA").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    if data.join("MANIFEST.tsv").is_file() {
        return Some(data);
    }
    skipped("no test data");
    None
}

/// Says that a test is skipped. Past the capture of passing tests' output, so that `make test` can count it.
pub fn skipped(reason: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "SKIPPED: {reason}").expect("standard error is open");
}
