//! A site in a temporary directory, made with the operator's own commands.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use placard::clock::{Clock, Stamp, SystemClock, format_utc};
use placard::console::client::Client;
use placard::console::view::StatusView;
use placard::emit::event::Event;
use placard::shutdown::Shutdown;
use placard::state::StateDirectory;

/// A `[[stream]]` entry.
pub struct Stream {
    pub name: String,
    toml: String,
}

impl Stream {
    pub fn new(name: &str, source: &str) -> Self {
        Self { name: name.to_owned(), toml: format!("[[stream]]\nname = \"{name}\"\nsource = \"{source}\"\n") }
    }
    /// Adds lines.
    pub fn with(mut self, lines: &str) -> Self {
        self.toml.push_str(lines);
        self.toml.push('\n');
        self
    }
}

/// What faces are found and told apart with.
#[derive(Clone, Copy)]
pub enum Models<'a> {
    /// What comes with the program: for rendered people, and always there.
    Bundled,
    /// YuNet and MobileFace from the test data: for real people.
    Of(&'a Path),
}

impl Models<'_> {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Bundled => ("concourse-detector", "concourse-embedder"),
            Self::Of(_) => ("yunet-n-dynamic", "mobileface-v2"),
        }
    }
}

pub struct Site {
    directory: tempfile::TempDir,
}

/// Long enough for a loaded machine, short enough to end a hung test.
pub const PATIENCE: Duration = Duration::from_secs(180);

fn placard() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_placard"));
    command.stdin(Stdio::null()).env("PLACARD_LOG", "placard=info,warn");
    command
}

fn succeeded(what: &str, output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what} ended with {}\n{out}\n{err}", output.status);
    out.into_owned()
}

impl Site {
    /// One public zone (a gate, where claims are verified) that all streams look at, with a sign that was inspected yesterday, for `purposes`. `pipeline`: further lines of
    /// the pipeline file.
    pub fn commission(models: Models, purposes: &[&str], streams: &[Stream], pipeline: &str) -> Self {
        Self::commission_with(models, purposes, streams, pipeline, "")
    }

    /// As [`Site::commission`]; `register`: further facts.
    pub fn commission_with(models: Models, purposes: &[&str], streams: &[Stream], pipeline: &str, register: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let site = Self { directory };
        let now = SystemClock.utc();
        let day = |days: i64| format_utc(Stamp::from_ns(now.ns() + days * 86_400_000_000_000));
        let mut text =
            String::from("[site]\nname = \"test\"\nmode = \"commissioning\"\ncontroller = \"test\"\ncontact = \"test@test.invalid\"\n\n");
        if let Models::Of(data) = models {
            for model in ["yunet_n_dynamic.onnx", "mobileface_v2_112.onnx"] {
                writeln!(text, "[[model]]\nfile = {:?}\n", data.join("models").join(model)).expect("a String");
            }
        }
        write!(
            text,
            "[[zone]]\nid = \"hall\"\nkind = \"{}\"\n\n[[sign]]\nid = \"hall-sign\"\nzone = \"hall\"\n{}\
             position = \"door\"\nphoto_sha256 = \"{}\"\nposted_on = {}\ninspected_at = {}\ninspected_by = \"test\"\n\n",
            if purposes.contains(&"access-verification") { "access" } else { "public" },
            include_str!("sign-words.toml"),
            "5e1f".repeat(16),
            &day(-20)[..10],
            day(-1),
        )
        .expect("a String");
        for stream in streams {
            let whole = "[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]";
            writeln!(text, "[[area]]\nstream = \"{}\"\nzone = \"hall\"\npolygon = {whole}\n", stream.name).expect("a String");
        }
        if purposes.iter().any(|p| ["mask-check", "emergency"].iter().any(|e| p.starts_with(e))) {
            let id = purposes.iter().find_map(|p| p.strip_prefix("emergency:")).unwrap_or("o-1");
            writeln!(
                text,
                "[[order]]\nid = \"{id}\"\nissuer = \"test\"\nzones = [\"hall\"]\nfrom = {}\nuntil = {}\napproved_by = [\"a\", \"b\"]\n",
                day(-1),
                day(5),
            )
            .expect("a String");
        }
        for purpose in purposes {
            let kind = match *purpose {
                "access-verification" => "separate-consent",
                p if p.starts_with("mask-check") || p.starts_with("emergency") => "emergency",
                _ => "public-safety",
            };
            writeln!(
                text,
                "[[purpose]]\npurpose = \"{purpose}\"\nzones = [\"hall\"]\nassessment = \"pia\"\nreview_on = {}\n\
                 basis = {{ kind = \"{kind}\", statute = \"PIPL Art. 26\", authority = \"test\", from = {}, until = {} }}\n",
                &day(90)[..10],
                &day(-20)[..10],
                &day(30)[..10],
            )
            .expect("a String");
        }
        text.push_str(register);
        std::fs::write(site.path().join("site.toml"), text).expect("writable");
        let (detector, embedder) = models.names();
        let mut file = format!(
            "name = \"test\"\n\n[detect]\nmodel = \"{detector}\"\ninput_px = 640\n\n[embed]\nmodel = \"{embedder}\"\n\n[http]\nlisten = \"none\"\n\n{pipeline}\n"
        );
        if pipeline.contains("input_px") {
            file = file.replacen("input_px = 640\n", "", 1);
        }
        streams.iter().for_each(|s| file.push_str(&s.toml));
        std::fs::write(site.pipeline(), file).expect("writable");
        succeeded("commission", site.command(&["commission"]).arg(site.path().join("site.toml")).output().expect("runs"));
        site
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
    pub fn pipeline(&self) -> PathBuf {
        self.path().join("pipeline.toml")
    }
    pub fn state(&self) -> StateDirectory {
        StateDirectory::new(self.path().join("state"))
    }
    /// `placard --state … ARGUMENTS`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = placard();
        command.arg("--state").arg(self.state().root()).args(arguments);
        command
    }

    /// Enrols `name<TAB>photograph` lines; returns subject id → name.
    pub fn enrol(&self, purpose: &str, lines: &str, min_face_width_px: u16) -> BTreeMap<String, String> {
        let listing = self.path().join("enrol.tsv");
        std::fs::write(&listing, lines).expect("writable");
        let least = min_face_width_px.to_string();
        let mut command = self.command(&["--json", "enrol", "--adult", "--purpose", purpose, "--min-face-width-px", &least, "--list"]);
        let output = succeeded("enrol", command.arg(&listing).output().expect("runs"));
        let mut names = BTreeMap::new();
        for value in serde_json::Deserializer::from_str(&output).into_iter::<serde_json::Value>() {
            let value = value.expect("JSON");
            if let (Some(subject), Some(name)) = (value["subject"].as_str(), value["name"].as_str()) {
                names.insert(subject.to_owned(), name.to_owned());
            }
        }
        assert_eq!(names.len(), lines.lines().count(), "{output}");
        names
    }

    /// Runs the pipeline until its files end; returns the summary.
    pub fn run_to_end(&self) -> serde_json::Value {
        let output = succeeded("run", self.command(&["--json", "run", "--until-end"]).arg(self.pipeline()).output().expect("runs"));
        serde_json::from_str(output.lines().last().unwrap_or_default()).expect("a summary")
    }

    /// What the journal holds.
    pub fn events(&self) -> Vec<Event> {
        let Ok(files) = std::fs::read_dir(self.state().journal()) else { return Vec::new() };
        let mut files: Vec<PathBuf> = files.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "jsonl")).collect();
        files.sort();
        let text: String = files.iter().map(|f| std::fs::read_to_string(f).expect("readable")).collect();
        // While the service runs the last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }

    /// Starts the service and waits until it answers.
    pub fn start(&self) -> Service {
        self.start_with(&[])
    }

    /// As [`Site::start`], with more arguments to `placard run`. Whatever it prints is in `service.log`.
    pub fn start_with(&self, arguments: &[&str]) -> Service {
        let log = std::fs::File::create(self.path().join("service.log")).expect("writable");
        let process = self
            .command(&["run"])
            .args(arguments)
            .arg(self.pipeline())
            .stdout(Stdio::from(log.try_clone().expect("a second handle")))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("starts");
        let client = Client::new(self.state().control_socket()).expect("a client");
        let service = Service { process, client, log: self.path().join("service.log") };
        service.wait_until("the service answers", |_| true);
        service
    }
}

/// A running `placard run`; ends with SIGTERM when dropped.
pub struct Service {
    process: Child,
    client: Client,
    log: PathBuf,
}

impl Service {
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).expect("a pid"))
    }
    /// Looks at the status until `done`; fails, with the log, when patience ends.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&StatusView) -> bool) {
        let (begun, pause) = (Instant::now(), Shutdown::new());
        let mut last = StatusView::default();
        while begun.elapsed() < PATIENCE {
            if let Ok(status) = self.client.get::<StatusView>("/v1/status") {
                if done(&status) {
                    return;
                }
                last = status;
            }
            pause.wait(Duration::from_millis(100));
        }
        panic!("waited in vain until {what}; streams: {:#?}\n{}", last.streams, std::fs::read_to_string(&self.log).unwrap_or_default());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Already gone is as good.
        let _gone = nix::sys::signal::kill(self.pid(), nix::sys::signal::Signal::SIGTERM);
        let ended = self.process.wait();
        if !std::thread::panicking() {
            assert!(
                ended.expect("reaped").success(),
                "the service did not end well:\n{}",
                std::fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
    }
}
