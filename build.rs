//! Compiles the models of `models/` into the program: writes `bundled.rs`, an array of (name, ONNX file, manifest) that
//! `src/engine/bundled.rs` includes. A model of [`NAMES`] that is not there is left out, so that the program can be built to train one.

use std::fmt::Write;
use std::path::Path;

/// The one list of bundled models.
const NAMES: [&str; 3] = ["concourse-detector", "concourse-embedder", "concourse-mask"];

fn main() {
    let models = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo says it")).join("models");
    println!("cargo::rerun-if-changed=models");
    let mut text = String::from("[\n");
    for name in NAMES {
        let [onnx, manifest] = ["onnx", "toml"].map(|extension| models.join(format!("{name}.{extension}")));
        if onnx.is_file() && manifest.is_file() {
            println!("cargo::rerun-if-changed={}", onnx.display());
            println!("cargo::rerun-if-changed={}", manifest.display());
            writeln!(text, "    ({name:?}, include_bytes!({onnx:?}).as_slice(), include_str!({manifest:?})),").expect("memory");
        }
    }
    text.push_str("]\n");
    let out = std::env::var("OUT_DIR").expect("cargo says it");
    std::fs::write(Path::new(&out).join("bundled.rs"), text).expect("writable build directory");
}
