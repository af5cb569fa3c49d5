//! `placard demo --json` as the README promises it: the real program, a real RTSP server, a sign withdrawn half-way.
//!
//! How many frames are missed depends on the machine and is not judged here; whom it names, what it reads in the dark and the shape of
//! the closing object are.

use std::process::{Command, Stdio};

mod support;

#[test]
fn the_demonstration_ends_with_one_object_that_keeps_the_promises() {
    let Some(data) = support::test_data() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("site");
    let output = Command::new(env!("CARGO_BIN_EXE_placard"))
        .args(["--json", "demo", "--seconds", "20", "--site"])
        .arg(&site)
        .env("PLACARD_TEST_DATA", data)
        .stdin(Stdio::null())
        .output()
        .expect("starting the demonstration");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout.lines().count(), 1, "one object and nothing else on standard output:\n{stdout}\n{stderr}");
    let summary: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("`{key}` is missing: {summary}"));
    let latency = |key: &str| summary["latency_ms"][key].as_f64().unwrap_or_else(|| panic!("`latency_ms.{key}` is missing: {summary}"));

    assert!(number("hits_expected") >= 8.0, "{summary}");
    assert!(number("hits_found") >= number("hits_expected") / 2.0, "{summary}\n{stderr}");
    assert_eq!(number("false_hits"), 0.0, "{summary}\n{stderr}");
    assert_eq!(number("looked_at_in_the_dark"), 0.0, "{summary}\n{stderr}");
    let dark_after_ms = number("dark_after_ms");
    assert!(dark_after_ms > 0.0 && dark_after_ms <= 1_000.0, "the law's second: {summary}\n{stderr}");
    assert!(number("missed_frames") >= 0.0);
    assert!(0.0 < latency("p50") && latency("p50") <= latency("p99") && latency("p99") <= latency("p999"), "{summary}");
    // It succeeds exactly when it says that all is well.
    let all_well = number("hits_found") >= number("hits_expected");
    assert_eq!(output.status.code(), Some(if all_well { 0 } else { 1 }), "{summary}\n{stderr}");
    // What happened is told on the way.
    for said in
        ["a real RTSP server at rtsp://127.0.0.1:", "$ placard commission", "$ placard enrol", "$ placard sign withdraw", "is off: sign"]
    {
        assert!(stderr.contains(said), "`{said}` was not said:\n{stderr}");
    }
}
