//! The systemd unit: its hardening score, and that it says what the program expects.

use std::path::Path;
use std::process::Command;

mod support;

/// Exposure that must not be exceeded (0 to 10); what remains is the network and the cameras.
const MOST_EXPOSURE: f64 = 1.2;

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/placard.service");
    std::fs::read_to_string(path).expect("systemd/placard.service")
}

fn value<'a>(unit: &'a str, key: &str) -> Option<&'a str> {
    unit.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
}

#[test]
fn the_unit_is_hardened() {
    let analysed = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "systemd/placard.service"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let Ok(analysed) = analysed else {
        support::skipped("no systemd-analyze");
        return;
    };
    let text = String::from_utf8_lossy(&analysed.stdout);
    let last = text.lines().find(|l| l.contains("Overall exposure level")).unwrap_or_else(|| panic!("no score: {analysed:?}"));
    let score = last.split_whitespace().find_map(|word| word.parse::<f64>().ok()).expect("a score");
    assert!(score <= MOST_EXPOSURE, "{text}");
}

#[test]
fn the_unit_says_what_the_program_expects() {
    let unit = unit();
    assert_eq!(value(&unit, "Type"), Some("notify"));
    assert_eq!(value(&unit, "ExecStart"), Some("/usr/bin/placard run /etc/placard/pipeline.toml"));
    assert_eq!(value(&unit, "ExecReload"), Some("/bin/kill -HUP $MAINPID"));
    let watchdog: u64 = value(&unit, "WatchdogSec").and_then(|s| s.parse().ok()).expect("whole seconds");
    assert!((2..=30).contains(&watchdog));
    // Only these exits are final: `commands::Exit` in numbers.
    assert_eq!(value(&unit, "RestartPreventExitStatus"), Some("2 3 4 6"));
    // The default state directory and control socket of `state.rs`.
    assert_eq!((value(&unit, "StateDirectory"), value(&unit, "RuntimeDirectory")), (Some("placard"), Some("placard")));
    assert_eq!((value(&unit, "StateDirectoryMode"), value(&unit, "LimitCORE")), (Some("0700"), Some("0")));
    assert!(unit.contains("LoadCredentialEncrypted=placard-site-key:"));
    assert!(unit.contains("\nEnvironment=ORT_DISABLE_TELEMETRY=1\n"), "no vendor egress (C31)");
}
