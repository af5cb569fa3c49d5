//! `placard demo`: a made-up station on this machine, with the real program and people who do not exist.
//!
//! It does what an operator would do, with the operator's commands, each in a process of its own: an RTSP server (`serve-clips`),
//! `commission`, `enrol`, `run`; then it watches the running service through its control socket, withdraws a sign half-way and
//! measures how long that stream is still looked at, and deletes somebody. Nothing here reaches into the service. Halls and people are
//! drawn (`render/`), so what a perfect appliance would tell is known; `demo-report.html` in the site's folder tells what was.

mod findings;
mod judge;
mod media;
mod report;
mod site;
mod stage;
mod summary;
mod told;
mod watch;

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::engine::bundled;
use crate::policy::facts::Register;
use crate::seal::SiteKey;
use crate::signs::code::Signer;
use crate::state::StateDirectory;
use findings::Findings;
use media::Media;
use stage::{ATTEST_EVERY_S, CASE, MISSING, OTHER_CASE, Via, WATCHED_SIGN, WATCHED_STREAM};
use summary::Summary;

/// In the site's folder.
const MARKER: &str = "demo.marker";
const REPORT: &str = "demo-report.html";

#[derive(clap::Args)]
pub struct Args {
    /// Where the demonstration site is made; an earlier one there is replaced.
    #[arg(long, default_value = "demo-site", value_name = "DIR")]
    site: PathBuf,
    /// How long to run.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(6..=3_600), value_name = "SECONDS")]
    seconds: u64,
    /// Where drawn clips and photographs are kept for the next time; unset: `media` in the site's folder.
    #[arg(long, value_name = "DIR")]
    media: Option<PathBuf>,
}

pub fn run(context: &Context, args: Args) -> Outcome {
    for name in [site::DETECTOR, site::EMBEDDER, site::CLASSIFIER] {
        if bundled::by_name(name).is_none() {
            let why = anyhow!("this program was built without the model `{name}`: build it where `models/{name}.onnx` is");
            return Err(Failed::new(Exit::Missing, why));
        }
    }
    let demo = Demo::new(context.json, &args)?;
    let mut media = demo.prepare(args.media.as_deref())?;
    let server = demo.serve(&media)?;
    let subjects = demo.commission(&mut media, server.port)?;
    let service = demo.start()?;
    let account = watch::watch(&demo, &media, subjects, args.seconds, service.process.id())?;
    drop((service, server));
    let findings = Findings::of(&media, &account);
    for finding in findings.false_hits() {
        let whom = finding.identity.as_deref().map_or_else(|| finding.subject.clone(), findings::short);
        let why = finding.wrong.as_deref().unwrap_or_default();
        demo.say(&format!("· false hit: {whom} on {} (score {:.2}): {why}", finding.told.stream, finding.score));
    }
    let path = demo.site.join(REPORT);
    let summary = Summary::new(&findings, &account, &path);
    demo.say("· writing the report: faces are drawn anew");
    report::write(&path, &media, &account, &findings, &summary)?;
    summary.print(context.json)?;
    Ok(if summary.all_well() { Exit::Success } else { Exit::Failure })
}

/// Opaque subject id → the person's name. The service knows only the former.
type Subjects = std::collections::BTreeMap<String, String>;

/// Every object with a `subject` and a `name`, however deep.
fn collect_subjects(value: &serde_json::Value, subjects: &mut Subjects) {
    if let (Some(subject), Some(name)) = (value["subject"].as_str(), value["name"].as_str()) {
        subjects.insert(subject.to_owned(), name.to_owned());
    }
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|v| collect_subjects(v, subjects)),
        serde_json::Value::Object(members) => members.values().for_each(|v| collect_subjects(v, subjects)),
        _ => {}
    }
}

struct Demo {
    program: PathBuf,
    site: PathBuf,
    json: bool,
}

/// A child process that ends with us: asked first, then made to.
struct Service {
    process: Child,
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap_or(0));
        let asked = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).is_ok();
        let patience = crate::shutdown::Shutdown::new();
        for _ in 0..100 {
            if !asked || matches!(self.process.try_wait(), Ok(Some(_))) {
                break;
            }
            patience.wait(Duration::from_millis(50));
        }
        // It did not go within five seconds, or is gone already: either way this ends it.
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

struct Server {
    port: u16,
    _service: Service,
}

/// A bar on standard error.
struct Bar(ProgressBar);

impl media::Progress for Bar {
    fn begin(&self, steps: u64) {
        self.0.inc_length(steps);
    }
    fn step(&self) {
        self.0.inc(1);
    }
}

/// Removes what an earlier demonstration left, but for what it drew.
fn clear(site: &Path) -> anyhow::Result<()> {
    ensure!(site.join(MARKER).exists(), "{} exists and was not made by `placard demo`: choose another --site", site.display());
    for entry in std::fs::read_dir(site).with_context(|| format!("reading {}", site.display()))?.flatten() {
        let path = entry.path();
        match path.is_dir() {
            true if entry.file_name() == "media" => Ok(()),
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        }
        .with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

impl Demo {
    fn new(json: bool, args: &Args) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        if args.site.exists() {
            clear(&args.site)?;
        }
        std::fs::create_dir_all(&args.site).with_context(|| format!("creating {}", args.site.display()))?;
        std::fs::write(args.site.join(MARKER), "made by `placard demo`, removed by the next one\n")?;
        let site = args.site.canonicalize().with_context(|| format!("finding {}", args.site.display()))?;
        Ok(Self { program, site, json })
    }

    /// The state directory of the demonstration site.
    fn state(&self) -> PathBuf {
        self.site.join("state")
    }

    /// What is being done, on standard error so that `--json` output stays one object.
    fn say(&self, text: &str) {
        use std::io::Write;
        let mut out = std::io::stderr().lock();
        // Nobody listens: the demonstration goes on.
        let _closed = writeln!(out, "{text}");
    }

    fn prepare(&self, media: Option<&Path>) -> anyhow::Result<Media> {
        self.say("· drawing the station: halls, people, photographs (kept for the next time)");
        let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("  {bar:40} {pos}/{len} pictures  {elapsed}")?);
        if self.json || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let bar = Bar(bar);
        let directory = media.map_or_else(|| self.site.join("media"), Path::to_owned);
        std::fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        let directory = directory.canonicalize().with_context(|| format!("finding {}", directory.display()))?;
        let media = media::prepare(&directory, &bar)?;
        bar.0.finish_and_clear();
        Ok(media)
    }

    /// Starts the RTSP server and waits until it listens.
    fn serve(&self, media: &Media) -> anyhow::Result<Server> {
        let mut command = Command::new(&self.program);
        command.args(["serve-clips", "--port", "0"]);
        let mut served = 0;
        for staged in media.staged.iter().filter(|s| s.show.via == Via::Rtsp) {
            let clip = staged.clip.as_deref().with_context(|| format!("`{}` has no clip", staged.show.stream))?;
            command.arg(format!("{}={}", staged.show.stream, clip.display()));
            served += 1;
        }
        let mut process = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().context("starting the RTSP server")?;
        let output = process.stdout.take().context("the RTSP server has no output")?;
        let service = Service { process };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("waiting for the RTSP server")?;
        let port =
            line.split("rtsp://127.0.0.1:").nth(1).and_then(|rest| rest.split(['/', ' ']).next()).and_then(|p| p.trim().parse().ok());
        let Some(port) = port else { bail!("the RTSP server said `{}` instead of where it listens", line.trim()) };
        self.say(&format!("· a real RTSP server at rtsp://127.0.0.1:{port}: {served} clips"));
        Ok(Server { port, _service: service })
    }

    /// Site, galleries and pipeline file, with the operator's own commands.
    fn commission(&self, media: &mut Media, rtsp_port: u16) -> anyhow::Result<Subjects> {
        let mut subjects = Subjects::new();
        let (site, pipeline) = (self.site.join("site.toml"), self.pipeline());
        std::fs::write(&site, site::site_toml(media, SystemClock.utc()))?;
        std::fs::write(&pipeline, site::pipeline_toml(media, rtsp_port, None))?;
        self.command(&["commission", &site.to_string_lossy()])?;
        for purpose in [MISSING, OTHER_CASE, CASE] {
            let listing = self.site.join(format!("{}.tsv", purpose.replace(':', "-")));
            std::fs::write(&listing, site::enrol_tsv(media.watched.iter().filter(|p| p.purpose == purpose)))?;
            // Whom the gates refuse (too like somebody enrolled, say) is not looked for, here as anywhere.
            let arguments = ["enrol", "--json", "--adult", "--purpose", purpose, "--list", &listing.to_string_lossy()];
            let enrolled = self.command_ending(&arguments, &[Exit::Success, Exit::Refused])?;
            for value in serde_json::Deserializer::from_str(&enrolled).into_iter::<serde_json::Value>() {
                let value = value.context("reading what `enrol` said")?;
                if value["outcome"] == "refused" {
                    self.say(&format!("· {}", value["reason"]["message"].as_str().unwrap_or("refused")));
                } else {
                    collect_subjects(&value, &mut subjects);
                }
            }
        }
        let is_enrolled = |identity: &str| subjects.values().any(|name| name == identity);
        media.watched.retain(|p| is_enrolled(&p.identity));
        ensure!(!media.watched.is_empty(), "nobody could be enrolled");
        self.watch_a_sign(media, rtsp_port)?;
        self.command(&["check", &pipeline.to_string_lossy()])?;
        Ok(subjects)
    }

    /// Hangs a sign with a true code before one camera and lets it learn where; then writes down what will happen to that sign.
    fn watch_a_sign(&self, media: &Media, rtsp_port: u16) -> anyhow::Result<()> {
        let state = StateDirectory::new(self.state());
        let register = Register::load(&state.register())?;
        let sign = register.sign(WATCHED_SIGN).with_context(|| format!("sign `{WATCHED_SIGN}` is not in the register"))?;
        let code = Signer::of(&SiteKey::load(&state)?)?.issue(&sign.id, &sign.zone, &sign.text, SystemClock.utc())?;
        let pipeline = self.pipeline();
        std::fs::write(&pipeline, site::pipeline_toml(media, rtsp_port, Some((&code, false))))?;
        let (file, every) = (pipeline.to_string_lossy(), ATTEST_EVERY_S.to_string());
        self.command(&["sign", "view", WATCHED_STREAM, WATCHED_SIGN, "--pipeline", &file, "--seconds", "6", "--every", &every])?;
        std::fs::write(&pipeline, site::pipeline_toml(media, rtsp_port, Some((&code, true))))?;
        Ok(())
    }

    fn pipeline(&self) -> PathBuf {
        self.site.join("pipeline.toml")
    }

    /// Runs one of our own commands to its end and returns its output, which is shown only if it fails.
    fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.command_ending(arguments, &[Exit::Success])
    }

    /// As [`Demo::command`], where more than one end is a good one.
    fn command_ending(&self, arguments: &[&str], ends: &[Exit]) -> anyhow::Result<String> {
        self.say(&format!("$ placard {}", arguments.join(" ")));
        let output = Command::new(&self.program).arg("--state").arg(self.state()).args(arguments).stdin(Stdio::null()).output()?;
        if !ends.iter().any(|end| output.status.code() == Some(i32::from(*end as u8))) {
            bail!(
                "`placard {}` ended with {}:\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts the service; it is ready once its control socket answers.
    fn start(&self) -> anyhow::Result<Service> {
        self.say(&format!("$ placard run {}", self.pipeline().display()));
        let log = std::fs::File::create(self.site.join("service.log"))?;
        let process = Command::new(&self.program)
            .arg("--state")
            .arg(self.state())
            .arg("run")
            .arg(self.pipeline())
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()
            .context("starting the service")?;
        Ok(Service { process })
    }
}
