//! `placard demo`: a made-up station on this machine, with the real program.
//!
//! It does what an operator would do, with the operator's commands, each in a process of its own: an RTSP server (`serve-clips`),
//! `commission`, `enrol`, `run`; then it watches the running service through its control socket, withdraws a sign half-way and
//! measures how long that stream is still looked at. Nothing here reaches into the service.

mod media;
mod site;
mod watch;

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};

use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use media::Media;

#[derive(clap::Args)]
pub struct Args {
    /// Where the demonstration site is made; an earlier one there is replaced.
    #[arg(long, default_value = "demo-site", value_name = "DIR")]
    site: PathBuf,
    /// How long to run.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(6..=3_600), value_name = "SECONDS")]
    seconds: u64,
    /// Clips, photographs and models.
    #[arg(long, env = "PLACARD_TEST_DATA", default_value = "../shared/data", value_name = "DIR")]
    data: PathBuf,
}

pub fn run(context: &Context, args: Args) -> Outcome {
    if !args.data.join("MANIFEST.tsv").exists() {
        let advice = "the demonstration needs clips, photographs and models: set PLACARD_TEST_DATA or --data to their folder";
        return Err(Failed::new(Exit::Missing, anyhow!("{} has no MANIFEST.tsv; {advice}", args.data.display())));
    }
    let demo = Demo::new(context.json, &args)?;
    let media = demo.prepare()?;
    let server = demo.serve(&media)?;
    let subjects = demo.commission(&media, server.port)?;
    let service = demo.start()?;
    let summary = watch::watch(&demo, &media, &subjects, args.seconds, service.process.id())?;
    drop((service, server));
    let all_well = summary.all_well();
    watch::print(&summary, context.json)?;
    Ok(if all_well { Exit::Success } else { Exit::Failure })
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
    data: PathBuf,
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

impl Demo {
    fn new(json: bool, args: &Args) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        if args.site.exists() {
            let ours = args.site.join("demo.marker");
            ensure!(ours.exists(), "{} exists and was not made by `placard demo`: choose another --site", args.site.display());
            std::fs::remove_dir_all(&args.site).with_context(|| format!("removing the earlier {}", args.site.display()))?;
        }
        std::fs::create_dir_all(&args.site).with_context(|| format!("creating {}", args.site.display()))?;
        std::fs::write(args.site.join("demo.marker"), "made by `placard demo`, removed by the next one\n")?;
        let absolute = |p: &Path| p.canonicalize().with_context(|| format!("finding {}", p.display()));
        Ok(Self { program, site: absolute(&args.site)?, data: absolute(&args.data)?, json })
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

    fn prepare(&self) -> anyhow::Result<Media> {
        self.say("· drawing the hall: twelve portraits cross a 1920 × 1080 picture");
        let bar = indicatif::ProgressBar::new(1).with_style(
            indicatif::ProgressStyle::with_template("  {bar:40} {pos}/{len} frames")
                .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
        );
        if self.json || !std::io::stderr().is_terminal() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let media = media::prepare(&self.data, &self.site.join("media"), &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        Ok(media)
    }

    /// Starts the RTSP server and waits until it listens.
    fn serve(&self, media: &Media) -> anyhow::Result<Server> {
        let mut command = Command::new(&self.program);
        command.args(["serve-clips", "--port", "0"]);
        for (name, clip) in &media.clips {
            command.arg(format!("{name}={}", clip.display()));
        }
        let mut process = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().context("starting the RTSP server")?;
        let output = process.stdout.take().context("the RTSP server has no output")?;
        let service = Service { process };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("waiting for the RTSP server")?;
        let port =
            line.split("rtsp://127.0.0.1:").nth(1).and_then(|rest| rest.split(['/', ' ']).next()).and_then(|p| p.trim().parse().ok());
        let Some(port) = port else { bail!("the RTSP server said `{}` instead of where it listens", line.trim()) };
        self.say(&format!("· a real RTSP server at rtsp://127.0.0.1:{port}: {} clips", media.clips.len()));
        Ok(Server { port, _service: service })
    }

    /// Site, models, galleries and pipeline file, with the operator's own commands.
    fn commission(&self, media: &Media, rtsp_port: u16) -> anyhow::Result<Subjects> {
        let mut subjects = Subjects::new();
        let (site, pipeline) = (self.site.join("site.toml"), self.pipeline());
        std::fs::write(&site, site::site_toml(media, &self.data, SystemClock.utc()))?;
        std::fs::write(&pipeline, site::pipeline_toml(media, rtsp_port))?;
        self.command(&["commission", &site.to_string_lossy()])?;
        for (purpose, persons) in &media.watched {
            let listing = self.site.join(format!("{}.tsv", purpose.replace(':', "-")));
            std::fs::write(&listing, site::enrol_tsv(persons))?;
            let enrolled = self.command(&[
                "enrol",
                "--json",
                "--purpose",
                purpose,
                "--min-face-width-px",
                "56",
                "--list",
                &listing.to_string_lossy(),
            ])?;
            for value in serde_json::Deserializer::from_str(&enrolled).into_iter::<serde_json::Value>() {
                collect_subjects(&value.context("reading what `enrol` said")?, &mut subjects);
            }
        }
        self.command(&["check", &pipeline.to_string_lossy()])?;
        Ok(subjects)
    }

    fn pipeline(&self) -> PathBuf {
        self.site.join("pipeline.toml")
    }

    /// Runs one of our own commands to its end and returns its output, which is shown only if it fails.
    fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.say(&format!("$ placard {}", arguments.join(" ")));
        let output = Command::new(&self.program).arg("--state").arg(self.state()).args(arguments).stdin(Stdio::null()).output()?;
        if !output.status.success() {
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
