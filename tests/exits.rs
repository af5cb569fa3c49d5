//! Exit statuses as scripts see them, and what a replay says of streams that were dark or never came.

#[path = "support/site.rs"]
mod site;
#[path = "support/streams.rs"]
mod streams;
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use placard::clock::{Clock, Stamp, SystemClock, format_utc};
use serde_json::Value;
use site::{Models, Site, Stream};

/// `placard --json --state STATE ARGUMENTS`: status, standard output, and the object on standard error.
fn placard(state: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_placard"));
    command.stdin(Stdio::null()).arg("--json").arg("--state").arg(state).args(arguments);
    let output = command.output().expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The clip that stream `hall` plays: two seconds of a bouncing ball.
fn clip(site: &Site) {
    streams::make_clip(site.path(), "hall.mkv", 30, (320, 240), &format!("{} ! matroskamux", streams::H264));
}

/// A site without models: purpose `missing-person:x` holds.
fn commission(directory: &Path) -> std::path::PathBuf {
    let now = SystemClock.utc();
    let day = |days: i64| format_utc(Stamp::from_ns(now.ns() + days * 86_400_000_000_000))[..10].to_owned();
    let text = format!(
        "[site]\nname = \"t\"\nmode = \"commissioning\"\ncontroller = \"t\"\ncontact = \"t@t.invalid\"\n\
         [[zone]]\nid = \"hall\"\nkind = \"public\"\n\
         [[area]]\nstream = \"hall\"\nzone = \"hall\"\npolygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]\n\
         [[sign]]\nid = \"hall-sign\"\nzone = \"hall\"\n{}position = \"door\"\n\
         photo_sha256 = \"{}\"\nposted_on = {}\ninspected_at = {}T00:00:00Z\ninspected_by = \"t\"\n\
         [[purpose]]\npurpose = \"missing-person:x\"\nzones = [\"hall\"]\nassessment = \"pia\"\nreview_on = {}\n\
         basis = {{ kind = \"public-safety\", statute = \"s\", authority = \"t\", from = {}, until = {} }}\n",
        include_str!("support/sign-words.toml"),
        "5e1f".repeat(16),
        day(-20),
        day(-1),
        day(90),
        day(-20),
        day(30),
    );
    let (site, state) = (directory.join("site.toml"), directory.join("state"));
    std::fs::write(&site, text).expect("writable");
    let (status, _, error) = placard(&state, &["commission", &site.display().to_string()]);
    assert_eq!(status, Some(0), "{error}");
    state
}

#[test]
fn each_fault_has_the_documented_status_and_one_json_object() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let state = commission(directory.path());
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    };
    let pipeline = path("p.toml", "name = \"p\"\n[detect]\nmodel = \"nope\"\n[[stream]]\nname = \"hall\"\nsource = \"file:x.mkv\"\n");
    let broken = path("broken.toml", "name = \"p\"\nnonsense = 1\n");
    let text = path("text.onnx", "this is no model");
    let out = directory.path().join("out").display().to_string();
    let enrol = ["enrol", "--adult", "--purpose", "missing-person:x"];
    let cases: &[(&[&str], i32, &str)] = &[
        (&["model", "show", "nope"], 6, "no model `nope`"),
        (&["run", &pipeline], 6, "no model `nope`"),
        (&["search", "--purpose", "missing-person:x", "--detector", "nope", &text], 6, "no model `nope`"),
        (&[&enrol[..], &["--detector", "nope", &text]].concat(), 6, "no model `nope`"),
        (&["model", "add", "/nowhere.onnx"], 6, "/nowhere.onnx"),
        (&[&enrol[..], &["/nowhere.jpg"]].concat(), 6, "/nowhere.jpg"),
        (&["search", "--purpose", "missing-person:x", "/nowhere.jpg"], 6, "/nowhere.jpg"),
        (&["probe", "file:/nowhere.mkv"], 6, "/nowhere.mkv"),
        (&["probe", "bogus:x"], 2, "bogus"),
        (&["probe", "rtsp://u:secret@cam/"], 2, "credential"),
        (&["model", "add", &text], 4, "text.onnx"),
        (&["search", "--purpose", "crime-prevention:x", &text], 4, "refused"),
        (&["run", &broken], 3, "nonsense"),
        (&["bench", "journey", &pipeline, "--out", &out, "--clip", &text], 6, "no model `nope`"),
        (&["bench", "journey", &pipeline, "--clip", "/nowhere.mkv"], 6, "/nowhere.mkv"),
        (&["bench", "journey", &broken], 3, "nonsense"),
        (&["sign", "inspect", "hall-sign", "--by", "t", "--photo", "/nowhere.jpg"], 6, "/nowhere.jpg"),
        (&["sign", "inspect", "hall-sign", "--by", " "], 2, "--by is blank"),
        (&["sign", "withdraw", "hall-sign", "--by", ""], 2, "--by is blank"),
        (&["sign", "post", "hall-sign", "--by", "  "], 2, "--by is blank"),
        (&["sign", "withdraw", "hall-sing", "--by", "t"], 2, "did you mean `hall-sign`"),
        (&["status"], 5, "no appliance answers"),
    ];
    for (arguments, status, words) in cases {
        let (got, _, error) = placard(&state, arguments);
        let object: Value = error.lines().last().and_then(|l| serde_json::from_str(l).ok()).unwrap_or_default();
        let told = object["error"].as_str().unwrap_or_default();
        assert!(got == Some(*status) && object["exit"] == *status && told.contains(words), "{arguments:?}: {got:?}, {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn photographs_to_calibrate_with_are_read_under_a_purpose_in_force_only() {
    let Some(data) = support::test_data() else { return };
    let directory = tempfile::tempdir().expect("temporary directory");
    let state = commission(directory.path());
    let (model, faces) = (data.join("models/mobileface_v2_112.onnx"), data.join("images/identities"));
    let (model, faces) = (model.display().to_string(), faces.display().to_string());
    let add = |folder: &str, purpose: &str| {
        let arguments = ["model", "add", &model, "--int8", "--calibrate", folder, "--purpose", purpose, "--detector", "nope"];
        placard(&state, &arguments)
    };
    let (status, _, error) = add("/nowhere", "missing-person:x");
    assert!(status == Some(6) && error.contains("/nowhere"), "{status:?}, {error}");
    let (status, _, error) = add(&faces, "crime-prevention:x");
    assert!(status == Some(4) && error.contains("not in the register") && error.contains("is in the store in fp32"), "{status:?}, {error}");
    let (status, _, error) = add(&faces, "missing-person:x");
    assert!(status == Some(6) && error.contains("no model `nope`"), "{status:?}, {error}");
    let (status, shown, _) = placard(&state, &["model", "show", "mobileface-v2"]);
    let shown: Value = serde_json::from_str(shown.trim()).expect("a manifest");
    assert_eq!((status, &shown["cameras_run"], &shown["int8"]), (Some(0), &"fp32".into(), &Value::Null));
    let (status, _, error) = placard(&state, &["model", "add", &model, "--int8", "--calibrate", &faces]);
    assert!(status == Some(2) && error.contains("--purpose"), "{status:?}, {error}");
}

#[test]
fn a_bad_site_key_or_no_site_is_a_matter_of_configuration_for_every_command() {
    let site = Site::commission(Models::Bundled, &["missing-person:x"], &[Stream::new("hall", "file:hall.mkv")], "");
    clip(&site);
    let picture = site.path().join("any.png").display().to_string();
    std::fs::write(&picture, "not looked at").expect("writable");
    let pipeline = site.pipeline().display().to_string();
    let state = site.state();
    std::fs::set_permissions(state.site_key(), std::fs::Permissions::from_mode(0o644)).expect("set");
    let commands: [&[&str]; 3] = [
        &["run", &pipeline],
        &["enrol", "--adult", "--purpose", "missing-person:x", &picture],
        &["search", "--purpose", "missing-person:x", &picture],
    ];
    let (status, _, error) = placard(Path::new("/nowhere"), &["bench", "journey", &pipeline]);
    assert!(status == Some(3) && error.contains("no site in /nowhere"), "{status:?}, {error}");
    for command in commands {
        let (status, _, error) = placard(state.root(), command);
        assert!(status == Some(3) && error.contains("mode 0644"), "{command:?}: {status:?}, {error}");
        let (status, _, error) = placard(Path::new("/nowhere"), command);
        let said = error.matches("No such file").count() + error.matches("there is no register").count();
        assert!(status == Some(3) && error.contains("/nowhere/") && said == 1, "{command:?}: {status:?}, {error}");
    }
    let (status, _, error) = placard(Path::new("/proc/placard"), &["commission", &site.path().join("site.toml").display().to_string()]);
    assert!(status == Some(1) && error.contains("/proc/placard"), "{status:?}, {error}");
}

#[test]
fn a_replay_says_of_each_stream_why_it_was_dark_and_gives_up_a_clip_that_is_not_there() {
    let here = Stream::new("hall", "file:hall.mkv").with("realtime = false");
    let gone = Stream::new("gone", "file:/nowhere.mkv").with("realtime = false");
    let site = Site::commission(Models::Bundled, &["missing-person:x"], &[here, gone], "");
    clip(&site);
    let (status, _, error) = placard(site.state().root(), &["sign", "withdraw", "hall-sign", "--by", "t", "--reason", "fell"]);
    assert_eq!(status, Some(0), "{error}");
    let (status, out, error) = placard(site.state().root(), &["run", "--until-end", &site.pipeline().display().to_string()]);
    assert!(status == Some(1) && error.contains("/nowhere.mkv") && error.contains("given up after"), "{status:?}, {error}");
    assert!(error.contains("stream starts dark") && error.contains("sign-not-withdrawn"), "the log says it too: {error}");
    let summary: Value = serde_json::from_str(out.trim()).expect("a summary");
    let (hall, gone) = (&summary["streams"][0], &summary["streams"][1]);
    assert_eq!((&hall["state"], &hall["looked"], &hall["withheld"]), (&"off".into(), &0.into(), &hall["frames"]), "{hall}");
    assert!(hall["frames"].as_u64() > Some(0) && hall["reason"].as_str().is_some_and(|r| r.contains("(fell)")), "{hall}");
    assert_eq!((&hall["source"], &gone["frames"]), (&"ended".into(), &0.into()));
    let (status, out, _) = placard(site.state().root(), &["check", &site.pipeline().display().to_string()]);
    let report: Value = serde_json::from_str(out.trim()).expect("a report");
    assert_eq!((status, &report["files"][0]["streams"][0]["state"]), (Some(6), &"off".into()), "the clip is missing: {report}");
}
