//! C31: nothing that the appliance loads reports to its maker. ONNX Runtime does (a device id, a cache and uploads) unless it is told not
//! to before it is loaded.

#[path = "support/people.rs"]
mod people;
#[path = "support/site.rs"]
mod site;

use site::{Models, Site};

#[test]
fn the_inference_runtime_leaves_no_device_id_and_no_upload_cache() {
    let home = tempfile::tempdir().expect("temporary directory");
    let site = Site::commission(Models::Bundled, &["missing-person:x"], &[], "");
    let photograph = people::official_file(site.path(), 0);
    let mut enrol = site.command(&["enrol", "--adult", "--purpose", "missing-person:x"]);
    // Neither forgetting the variable nor setting it otherwise switches the reports on.
    enrol.arg(photograph).env("HOME", home.path()).env_remove("XDG_CACHE_HOME").env("ORT_DISABLE_TELEMETRY", "0");
    let enrolled = enrol.output().expect("started");
    assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));
    assert!(!home.path().join(".cache/Microsoft").exists(), "the runtime's telemetry was on");
}
