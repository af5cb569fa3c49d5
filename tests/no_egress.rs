//! C31: nothing that the appliance loads reports to its maker. ONNX Runtime does (a device id, a cache and uploads) unless it is told not
//! to before it is loaded.

mod support;

use std::process::Command;

#[test]
fn the_inference_runtime_leaves_no_device_id_and_no_upload_cache() {
    let Some(data) = support::test_data() else { return };
    let home = tempfile::tempdir().expect("temporary directory");
    let mut add = Command::new(env!("CARGO_BIN_EXE_placard"));
    add.arg("--state").arg(home.path().join("site")).args(["model", "add"]).arg(data.join("models/yunet_n_320_320.onnx"));
    // Neither forgetting the variable nor setting it otherwise switches the reports on.
    add.env("HOME", home.path()).env_remove("XDG_CACHE_HOME").env("ORT_DISABLE_TELEMETRY", "0");
    let added = add.output().expect("started");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    assert!(!home.path().join(".cache/Microsoft").exists(), "the runtime's telemetry was on");
}
