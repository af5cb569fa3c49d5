//! A site without cameras, as an operator's desk has it: a state directory, a register with one purpose, the program itself.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::process::Command;

use placard::clock::{Clock, SystemClock};
use placard::state::StateDirectory;
use serde_json::Value;

use crate::register;

pub const PURPOSE: &str = "crime-prevention:2026-7";
/// What the bundled embedder makes.
pub const DIM: usize = 256;

pub const SITE: &str = r#"
[site]
name = "Test"
mode = "commissioning"
controller = "Test"
contact = "test"
"#;

pub const REGISTER: &str = r#"
[[zone]]
id = "hall"
kind = "public"

[[purpose]]
purpose = "crime-prevention:2026-7"
zones = ["hall"]
basis = { kind = "public-safety", statute = "PIPL Art. 26", authority = "Transit police", from = 2020-01-01, until = 2200-01-01 }
assessment = "pia-3"
review_on = 2200-01-01
"#;

pub struct Desk {
    pub directory: tempfile::TempDir,
}

/// What a run of the program came to.
pub struct Answer {
    pub exit: i32,
    pub lines: Vec<Value>,
    pub errors: String,
}

impl Desk {
    /// `more`: further facts.
    pub fn new(more: &str) -> Self {
        let desk = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::write(desk.directory.path().join("site.toml"), SITE).unwrap();
        desk.register(&format!("{REGISTER}{more}"));
        desk
    }

    /// The register says `text` from now on.
    pub fn register(&self, text: &str) {
        register::put(&self.state().register(), text, SystemClock.utc());
    }

    pub fn state(&self) -> StateDirectory {
        StateDirectory::new(self.directory.path())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_placard"));
        command.arg("--state").arg(self.directory.path()).arg("--json").args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Answer {
        let output = self.command(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
        Answer { exit: output.status.code().unwrap(), lines, errors: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

/// Values that depend on nothing but a number; of no length in particular.
pub fn values(number: u64) -> Vec<f32> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    (0..DIM).map(|_| next()).collect()
}
