//! `placard demo --json` as the README promises it: the real program, a real RTSP server, people who do not exist, a sign withdrawn half-way,
//! somebody deleted, and a report that needs nothing but itself.
//!
//! How many frames are missed depends on the machine and is not judged here; whom it names, what it reads in the dark, whom it forgets, the
//! shape of the closing object and the report are.

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_demonstration_keeps_its_promises_and_tells_them_in_a_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("site");
    let output = Command::new(env!("CARGO_BIN_EXE_placard"))
        .args(["--json", "demo", "--seconds", "24", "--site"])
        .arg(&site)
        // What was drawn for the last run of this very build is used again.
        .arg("--media")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-media"))
        .stdin(Stdio::null())
        .output()
        .expect("starting the demonstration");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout.lines().count(), 1, "one object and nothing else on standard output:\n{stdout}\n{stderr}");
    let summary: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("`{key}` is missing: {summary}"));
    let latency = |key: &str| summary["latency_ms"][key].as_f64().unwrap_or_else(|| panic!("`latency_ms.{key}` is missing: {summary}"));
    let masks = |key: &str| summary["masks"][key].as_u64().unwrap_or_else(|| panic!("`masks.{key}` is missing: {summary}"));

    assert!(number("hits_expected") >= 4.0, "{summary}");
    assert!(number("hits_found") >= number("hits_expected") / 2.0, "{summary}\n{stderr}");
    assert_eq!(number("false_hits"), 0.0, "{summary}\n{stderr}");
    assert_eq!(number("looked_at_in_the_dark"), 0.0, "{summary}\n{stderr}");
    let dark_after_ms = number("dark_after_ms");
    assert!(dark_after_ms > 0.0 && dark_after_ms <= 1_000.0, "the law's second: {summary}\n{stderr}");
    assert_eq!(number("after_deletion_hits"), 0.0, "{summary}\n{stderr}");
    assert!(number("after_deletion_passages") >= 1.0, "whoever was deleted comes by again: {summary}\n{stderr}");
    assert!(masks("told") >= 1 && masks("told") == masks("right") + masks("wrong"), "{summary}");
    assert!(masks("right") >= masks("wrong"), "{summary}\n{stderr}");
    assert!(number("missed_frames") >= 0.0);
    assert!(0.0 < latency("p50") && latency("p50") <= latency("p99") && latency("p99") <= latency("p999"), "{summary}");
    // It succeeds exactly when it says that all is well.
    let all_well = number("hits_found") >= number("hits_expected");
    assert_eq!(output.status.code(), Some(if all_well { 0 } else { 1 }), "{summary}\n{stderr}");
    // What happened is told on the way.
    for said in [
        "a real RTSP server at rtsp://127.0.0.1:",
        "$ placard commission",
        "$ placard enrol",
        "$ placard sign withdraw",
        "is off: sign",
        "$ placard delete",
    ] {
        assert!(stderr.contains(said), "`{said}` was not said:\n{stderr}");
    }
    report_is_whole(Path::new(summary["report"].as_str().expect("a path")));
}

/// One file, every section, nothing fetched from anywhere, no script.
fn report_is_whole(path: &Path) {
    let page = std::fs::read_to_string(path).expect("the report");
    for section in ["streams", "policy", "hits", "masks", "deletion", "latency", "closing", "method"] {
        assert!(page.contains(&format!("<section id=\"{section}\">")), "the report has no section `{section}`");
    }
    for reference in ["http://", "https://", "<script", "<link", "url(", "@import", "src=\"/", "href="] {
        assert!(!page.contains(reference), "the report refers to something outside: `{reference}`");
    }
    assert!(page.contains("data:image/jpeg;base64,/9j/") && page.contains("<svg") && page.ends_with("</html>\n"));
    // The withdrawal, explained: rule, fact, remedy.
    for part in ["sign-not-withdrawn", "was withdrawn at", "placard sign post"] {
        assert!(page.contains(part), "the report does not say `{part}`");
    }
}
