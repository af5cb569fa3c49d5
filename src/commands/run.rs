//! `placard run`: runs a pipeline as a service, or a replay to its end.
//!
//! Signals: TERM and INT ask (what arrived runs through to the journal); a second one ends at once. HUP reads the pipeline file, the
//! register and the galleries anew and keeps the old ones on any error.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Context, Exit, Failed, Outcome};
use crate::appliance::{Appliance, Plan, StartError, StreamRuntime};
use crate::clock::SystemClock;
use crate::console::Console;
use crate::console::{Appliance as _, notify};
use crate::frame::StreamIndex;
use crate::latency::{CAPTURE_TO_DONE, PercentilesMs};
use crate::shutdown::Shutdown;

#[derive(clap::Args)]
pub struct Args {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// Stop when every source has ended (files that are not repeated) and everything is in the journal; print a summary.
    #[arg(long)]
    until_end: bool,
    /// Print each event as a line of JSON.
    #[arg(long)]
    print_events: bool,
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let plan = Plan::new(&args.pipeline, context.state.clone(), SystemClock::shared()).map_err(classified)?;
    let http = plan.loaded.limits.http;
    let appliance = Appliance::start(plan).map_err(classified)?;
    let console =
        Console::start(Arc::clone(&appliance) as _, &context.state.control_socket(), http).map_err(|e| Failed::new(Exit::Failure, e))?;
    let shutdown = Shutdown::new();
    let watchdog = notify::start_watchdog(appliance.progress(), &shutdown)?;
    let signals = listen(Arc::clone(&appliance), shutdown.clone())?;
    let printer = args.print_events.then(|| print_events(&appliance)).transpose()?;
    // Ready means ready: every thread runs, the control socket answers, the galleries are open.
    notify::ready(&format!("{} streams", appliance.plane().map_or(0, |p| p.streams.len())));
    tracing::info!(pipeline = %args.pipeline.display(), control = %context.state.control_socket().display(), "running");

    let begin = Usage::now()?;
    if args.until_end {
        appliance.wait_until_ended(&shutdown);
    } else {
        while !shutdown.wait(LOOK) && !appliance.failed().is_requested() {}
    }
    notify::stopping();
    let plane = appliance.plane();
    appliance.stop();
    shutdown.request();
    signals.close();
    drop(console);
    if let Some(printer) = printer {
        appliance.recent().close();
        join(printer, "event printer");
    }
    if let Some(watchdog) = watchdog {
        join(watchdog, "watchdog");
    }
    if let (true, Some(plane)) = (args.until_end, plane) {
        summary(&plane, &begin)?.print(context.json)?;
    }
    Ok(if appliance.failed().is_requested() { Exit::Failure } else { Exit::Success })
}

/// How often the main thread looks whether the service still has a pipeline.
const LOOK: std::time::Duration = std::time::Duration::from_millis(200);

/// Which exit status a start's failure deserves.
pub(super) fn classified(error: StartError) -> Failed {
    let exit = match &error {
        StartError::Config(_) | StartError::NoSite { .. } | StartError::NotAFile { .. } | StartError::Key(_) => Exit::Config,
        StartError::Models(_) => Exit::Missing,
        StartError::CommissioningModel { .. } => Exit::Refused,
        StartError::Engine(crate::engine::EngineError::LibraryMissing { .. }) => Exit::Missing,
        _ => Exit::Failure,
    };
    Failed::new(exit, error)
}

fn join(thread: JoinHandle<()>, name: &str) {
    if thread.join().is_err() {
        tracing::error!(thread = name, "a thread panicked");
    }
}

/// The signal thread.
fn listen(appliance: Arc<Appliance>, shutdown: Shutdown) -> anyhow::Result<signal_hook::iterator::Handle> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let handle = signals.handle();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                // On a thread of its own: a reload takes seconds, and TERM must not wait for it.
                let reloading = Arc::clone(&appliance);
                let started = std::thread::Builder::new().name("reload".to_owned()).spawn(move || reload(&reloading));
                if let Err(error) = started {
                    tracing::error!(%error, "not reloaded: no thread for it");
                }
            } else if shutdown.is_requested() {
                tracing::warn!("second signal: ending at once");
                std::process::exit(128 + signal);
            } else {
                shutdown.request();
            }
        }
    })?;
    Ok(handle)
}

fn reload(appliance: &Appliance) {
    notify::reloading();
    match appliance.reload() {
        Ok(done) => {
            tracing::info!(applied = ?done.applied, "reloaded");
            notify::ready("reloaded");
        }
        Err(error) => {
            tracing::error!(%error, "not reloaded: the old pipeline stays in force");
            notify::ready(&format!("not reloaded: {error}"));
        }
    }
}

/// Prints events as they are acknowledged, across reloads, on a thread of its own: a terminal that blocks must not slow the journal.
fn print_events(appliance: &Appliance) -> std::io::Result<JoinHandle<()>> {
    let events = appliance.recent().subscribe(1_024);
    let print = move || {
        let mut out = std::io::stdout().lock();
        for event in events {
            let Ok(line) = serde_json::to_string(&*event) else { continue };
            if writeln!(out, "{line}").is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("print-events".to_owned()).spawn(print)
}

/// Processor time of this process so far, and the time of day's monotonic sister.
pub(crate) struct Usage {
    cpu_s: f64,
    wall: std::time::Instant,
}

impl Usage {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let cpu_us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Ok(Self { cpu_s: cpu_us as f64 / 1e6, wall: std::time::Instant::now() })
    }
    pub(crate) fn cpu_s_since(&self, begin: &Self) -> f64 {
        self.cpu_s - begin.cpu_s
    }
    pub(crate) fn wall_s_since(&self, begin: &Self) -> f64 {
        self.wall.duration_since(begin.wall).as_secs_f64()
    }
}

/// What a replay did.
#[derive(Serialize)]
struct Summary {
    program: &'static str,
    /// Frames that arrived, and those a detector looked at (`detect_every` passes over the others).
    frames: u64,
    frames_detected: u64,
    frames_withheld: u64,
    frames_overwritten: u64,
    cpu_s: f64,
    wall_s: f64,
    frames_per_cpu_s: f64,
    /// Inside the networks' step, pre-processing and decoding included.
    detect_s: f64,
    embed_s: f64,
    embeddings: u64,
    events: u64,
    /// [stream, subject], once each.
    hits: Vec<(String, String)>,
    capture_to_done_ms: PercentilesMs,
}

fn summary(plane: &crate::appliance::Plane, begin: &Usage) -> anyhow::Result<Summary> {
    let usage = Usage::now()?;
    let (cpu_s, wall_s) = (usage.cpu_s_since(begin), usage.wall_s_since(begin));
    let total = |count: &dyn Fn(&StreamRuntime) -> u64| plane.streams.iter().map(count).sum::<u64>();
    let frames = total(&|s| s.ingest.frames_total.get());
    let steps = plane.latencies.snapshot()?;
    let step = |name: &str| steps.iter().find(|s| &*s.name == name);
    let seconds = |name: &str| step(name).map_or(0.0, |s| s.histogram.mean() * s.histogram.len() as f64 / 1e9);
    let emitter = plane.emitter.lock();
    let mut hits: Vec<(String, String)> = emitter
        .recent(usize::MAX)
        .iter()
        .map(|e| (e.stream.to_string(), e.candidates.first().map_or(String::new(), |c| c.subject.clone())))
        .collect();
    hits.sort();
    hits.dedup();
    Ok(Summary {
        program: "placard",
        frames,
        frames_detected: (0..plane.streams.len()).map(|i| plane.last_look.frames(StreamIndex(u16::try_from(i).unwrap_or(u16::MAX)))).sum(),
        frames_withheld: total(&|s| s.batch.frames_withheld.get()),
        frames_overwritten: total(&|s| s.ring.overwritten.get()),
        cpu_s,
        wall_s,
        frames_per_cpu_s: frames as f64 / cpu_s.max(1e-9),
        detect_s: seconds("detect"),
        embed_s: seconds("embed"),
        embeddings: total(&|s| s.track.shots.get()),
        events: emitter.counters.events.get(),
        hits,
        capture_to_done_ms: step(CAPTURE_TO_DONE).map(crate::latency::StepSnapshot::percentiles_ms).unwrap_or_default(),
    })
}

impl Summary {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{}", serde_json::to_string(self)?)?;
            return Ok(());
        }
        writeln!(
            out,
            "frames     {} arrived, {} looked at, {} withheld, {} overwritten",
            self.frames, self.frames_detected, self.frames_withheld, self.frames_overwritten
        )?;
        writeln!(out, "people     {} shots embedded, {} events, {} different hits", self.embeddings, self.events, self.hits.len())?;
        writeln!(out, "processor  {:.2} s in {:.2} s: {:.1} frames per CPU-second", self.cpu_s, self.wall_s, self.frames_per_cpu_s)?;
        writeln!(out, "of which   {:.2} s detection, {:.2} s alignment and embedding", self.detect_s, self.embed_s)?;
        Ok(())
    }
}
