//! Commissioning means commissioning: what the bundled models may not do in an operational site, by whichever way it is tried, with the
//! program as an operator runs it. The people here are rendered.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use placard::appliance::{Appliance, Plan};
use placard::clock::SystemClock;
use placard::policy::lease::StreamState;
use placard::policy::rules::Rule;
use placard::state::StateDirectory;
use serde_json::Value;

const PURPOSE: &str = "missing-person:mp-7";

const SITE: &str = r#"
[site]
name = "east"
mode = "commissioning"
controller = "Test"
contact = "test"

[[zone]]
id = "hall"
kind = "public"

[[area]]
stream = "hall"
zone = "hall"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]

[[sign]]
id = "hall-1"
zone = "hall"
WORDS
position = "hall"
photo_sha256 = "5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f"
posted_on = 2020-01-01
inspected_at = INSPECTED
inspected_by = "test"

[[purpose]]
purpose = "missing-person:mp-7"
zones = ["hall"]
basis = { kind = "public-safety", statute = "PIPL Art. 26", authority = "Transit police", from = 2020-01-01, until = 2200-01-01 }
assessment = "pia-3"
review_on = 2200-01-01
"#;

const PIPELINE: &str = "name = \"p\"\n[detect]\nmodel = \"concourse-detector\"\ninput_px = 320\n[embed]\nmodel = \"concourse-embedder\"\n\
                        [http]\nlisten = \"127.0.0.1:0\"\n[[stream]]\nname = \"hall\"\nsource = \"rendered:corridor?seed=9000001\"\n";

struct Site {
    directory: tempfile::TempDir,
}

struct Answer {
    exit: i32,
    lines: Vec<Value>,
    errors: String,
}

impl Site {
    /// A commissioning site.
    fn new() -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::write(site.pipeline(), PIPELINE).unwrap();
        let made = site.commission("commissioning");
        assert_eq!(made.exit, 0, "{}", made.errors);
        site
    }

    fn state(&self) -> StateDirectory {
        StateDirectory::new(self.directory.path().join("state"))
    }

    fn pipeline(&self) -> PathBuf {
        self.directory.path().join("p.toml")
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_placard"));
        let output = command.arg("--state").arg(self.state().root()).arg("--json").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
        Answer { exit: output.status.code().unwrap(), lines, errors: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Two approvers' keys, and what a site file says of them.
    fn approvers(&self) -> (Vec<PathBuf>, String) {
        let (mut keys, mut people) = (Vec::new(), String::new());
        for i in 0..2 {
            let key = self.directory.path().join(format!("p{i}.key"));
            let made = self.run(&["person", "key", key.to_str().unwrap()]);
            let public = made.lines[0]["public"].as_str().unwrap();
            people += &format!(
                "[[person]]\nid = \"p{i}\"\nkey = \"{public}\"\nroles = [\"approver\"]\nfrom = 2020-01-01\ntrained_until = 2200-01-01\n"
            );
            keys.push(key);
        }
        (keys, people)
    }

    /// As an operational site is made: two people sign what its file says.
    fn become_operational(&self) {
        let (keys, people) = self.approvers();
        let made = self.commission_with("operational", &people);
        assert_eq!((made.exit, &made.lines[0]["outcome"]["state"]), (0, &Value::from("waits")), "{}", made.errors);
        let digest = made.lines[0]["outcome"]["proposal"].as_str().unwrap();
        for (key, state) in keys.iter().zip(["waits", "in-force"]) {
            let signed = self.run(&["approve", "sign", digest, "--key", key.to_str().unwrap()]);
            assert_eq!((signed.exit, &signed.lines[0]["state"]), (0, &Value::from(state)), "{}", signed.errors);
        }
    }

    fn commission_with(&self, mode: &str, more: &str) -> Answer {
        use placard::clock::{Clock, format_utc};
        let file = self.directory.path().join("site-file.toml");
        let text = SITE.replace("mode = \"commissioning\"", &format!("mode = \"{mode}\""));
        let regime = "[rules]\nprofiles = [\"cn-pipl\"]\n[[governance]]\nid = \"g-1\"\nzones = [\"hall\"]\n\
                      document_sha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\ndecided_on = 2020-01-01\n\
                      decided_by = \"board\"\n[[zone]]";
        let under = if mode == "operational" { regime } else { "[[zone]]" };
        let text = text.replacen("[[zone]]", under, 1);
        std::fs::write(
            &file,
            text.replace("INSPECTED", &format_utc(SystemClock.utc())).replace("WORDS", include_str!("support/sign-words.toml")) + more,
        )
        .unwrap();
        self.run(&["commission", "--force", file.to_str().unwrap()])
    }

    fn commission(&self, mode: &str) -> Answer {
        self.commission_with(mode, "")
    }

    fn search(&self, picture: &Path) -> Answer {
        self.run(&["search", "--purpose", PURPOSE, picture.to_str().unwrap()])
    }

    /// Enrols the first rendered person whose official portrait passes, and gives that portrait.
    fn enrol_somebody(&self) -> PathBuf {
        let faces = self.directory.path().join("faces");
        let made = self.run(&[
            "render",
            "faces",
            "--identities",
            "6",
            "--per",
            "1",
            "--first",
            "9000001",
            "--size",
            "320",
            "--out",
            faces.to_str().unwrap(),
        ]);
        assert_eq!(made.exit, 0, "{}", made.errors);
        let mut refusals = String::new();
        for seed in 9_000_001_u64..9_000_007 {
            let portrait = faces.join(placard::render::scene::identity_name(seed)).join("0000.jpg");
            let enrolled = self.run(&["enrol", "--adult", "--purpose", PURPOSE, portrait.to_str().unwrap()]);
            match enrolled.exit {
                0 => return portrait,
                _ => refusals.extend(enrolled.lines.iter().map(|l| l.to_string() + "\n").chain([enrolled.errors])),
            }
        }
        panic!("nobody's portrait was taken:\n{refusals}");
    }
}

/// The rule, the model, the site's mode, and the way out.
fn assert_says_all(errors: &str, model: &str) {
    for said in ["model-intended", &format!("`{model}`"), "site `east` is operational", "placard model known", "placard model add"] {
        assert!(errors.contains(said), "{said} is not in: {errors}");
    }
}

#[test]
fn in_an_operational_site_a_commissioning_model_neither_runs_nor_enrols_nor_searches() {
    let site = Site::new();
    let pipeline = site.pipeline();
    let pipeline = pipeline.to_str().unwrap();
    let portrait = site.enrol_somebody();
    let found = site.search(&portrait);
    assert_eq!((found.exit, &found.lines[0]["templates"]), (0, &Value::from(1)), "{}", found.errors);
    assert_eq!(site.run(&["check", pipeline]).exit, 0);

    let named = "[[model]]\nname = \"concourse-detector\"\n";
    let refused = site.commission_with("operational", &(site.approvers().1 + named));
    assert_eq!(refused.exit, 4, "{}", refused.errors);
    assert_says_all(&refused.errors, "concourse-detector");
    assert_eq!(site.commission_with("demo", named).exit, 0);
    let missing = site.commission_with("demo", "[[model]]\nname = \"nobody\"\n");
    assert!(missing.exit == 3 && missing.errors.contains("concourse-embedder"), "{}", missing.errors);

    site.become_operational();
    for (arguments, model) in [
        (vec!["run", pipeline], "concourse-detector"),
        (vec!["enrol", "--adult", "--purpose", PURPOSE, portrait.to_str().unwrap()], "concourse-detector"),
        (vec!["search", "--purpose", PURPOSE, portrait.to_str().unwrap()], "concourse-detector"),
    ] {
        let answer = site.run(&arguments);
        assert_eq!(answer.exit, 4, "{arguments:?}: {}", answer.errors);
        assert_says_all(&answer.errors, model);
        assert!(answer.lines.is_empty(), "{arguments:?} shows nothing");
    }
    let check = site.run(&["check", pipeline]);
    let said = check.lines[0].to_string();
    assert_eq!(check.exit, 4, "{said}");
    assert_says_all(&said, "concourse-detector");
    assert_says_all(&said, "concourse-embedder");

    // What the description says cannot be read: it counts as operational.
    std::fs::write(site.state().site(), "[site]\nmode = \"demo\"\n").unwrap();
    let answer = site.search(&portrait);
    assert!(answer.exit == 4 && answer.errors.contains("counts as operational"), "{}", answer.errors);
    let back = site.commission("commissioning");
    assert!(back.exit == 4 && back.errors.contains("stays one"), "{}", back.errors);
}

#[test]
fn a_site_that_becomes_operational_goes_dark_under_the_running_pipeline() {
    let site = Site::new();
    let plan = Plan::new(&site.pipeline(), site.state(), SystemClock::shared()).unwrap();
    let appliance = Appliance::start(plan).map_err(|e| e.to_string()).unwrap();
    let policy = appliance.plane().unwrap().policy.clone();
    assert_eq!(policy.snapshot()[0].state, StreamState::Recognise, "{}", policy.snapshot()[0].reason);
    site.become_operational();
    policy.reload().unwrap();
    let stream = policy.snapshot().remove(0);
    assert_eq!((stream.state, stream.reason.rule), (StreamState::Off, Rule::ModelIntended), "{}", stream.reason);
    // A reload is refused, and what runs on is dark.
    let refused = placard::console::Appliance::reload(&*appliance).map_err(|e| e.to_string());
    let stream = appliance.plane().unwrap().policy.snapshot().remove(0);
    assert_eq!((stream.state, stream.reason.rule), (StreamState::Off, Rule::ModelIntended), "{refused:?}: {}", stream.reason);
    appliance.stop();
}

#[test]
fn what_a_commissioning_model_enrolled_is_not_searched_with_an_operational_one() {
    let Some(data) = support::test_data() else { return };
    let site = Site::new();
    let portrait = site.enrol_somebody();
    site.become_operational();
    for model in ["yunet_n_640_640.onnx", "mobileface_v2_112.onnx"] {
        let added = site.run(&["model", "add", data.join("models").join(model).to_str().unwrap()]);
        assert_eq!(added.exit, 0, "{}", added.errors);
    }
    let found = site.search(&data.join("images/identities/A000369_a.jpg"));
    assert_eq!(found.exit, 0, "{}", found.errors);
    let searched = &found.lines[0];
    assert_eq!(
        (&searched["templates"], &searched["other_model"], &searched["results"]),
        (&Value::from(0), &Value::from(1), &Value::Array(vec![]))
    );
    // Named in so many words it is refused, as detector and as embedder.
    for (detector, embedder, model) in
        [("concourse-detector", "mobileface-v2", "concourse-detector"), ("yunet-n-640", "concourse-embedder", "concourse-embedder")]
    {
        let image = portrait.to_str().unwrap();
        let answer = site.run(&["search", "--purpose", PURPOSE, image, "--detector", detector, "--embedder", embedder]);
        assert_eq!(answer.exit, 4, "{}", answer.errors);
        assert_says_all(&answer.errors, model);
    }
}
