//! `placard run`: runs a pipeline as a service, or a replay to its end.
//!
//! A replay ends when every source has; one that failed several times running counts as over, and then the command fails.
//!
//! Signals: TERM and INT ask (what arrived runs through to the journal); a second one ends at once. HUP reads the pipeline file, the
//! register and the galleries anew and keeps the old ones on any error.

mod summary;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::exits::start_failed;
use super::{Context, Exit, Failed, Outcome};
use crate::appliance::{Appliance, Plan};
use crate::clock::SystemClock;
use crate::console::{Addresses, Console};
use crate::console::{Appliance as _, notify};
use crate::policy::facts::{Mode, Register, Site};
use crate::policy::profile::Library;
use crate::policy::rules::{Reason, Rule};
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

/// An operational site is under some regime's law. One whose people have not signed for anything yet may start: it is dark.
fn under_a_regime(context: &Context) -> Result<(), Failed> {
    let Ok(Site { mode: Mode::Operational, name, .. }) = Site::load(&context.state.site()) else { return Ok(()) };
    // A register that cannot be read is the policy thread's to tell, and dark.
    let Ok(register) = Register::load(&context.state.register()) else { return Ok(()) };
    if register.rules.names_a_regime() || register.zones.is_empty() {
        return Ok(());
    }
    let fact = format!("site `{name}` is operational and its register names no regime");
    let names = Library::regimes().join(", ");
    let remedy = format!("enter the one that it is under (`placard rules add-profile NAME`: {names}, or one of its own)");
    Err(Failed::refused(&Reason::new(Rule::ProfileKnown, fact, remedy)))
}

pub fn run(context: &Context, args: Args) -> Outcome {
    under_a_regime(context)?;
    let plan = Plan::new(&args.pipeline, context.state.clone(), SystemClock::shared()).map_err(start_failed)?;
    let addresses = Addresses { loopback: plan.loaded.limits.http, public: plan.loaded.limits.public };
    let appliance = Appliance::start(plan).map_err(start_failed)?;
    let console = Console::start(Arc::clone(&appliance) as _, &context.state.control_socket(), addresses)
        .map_err(|e| Failed::new(Exit::Failure, e))?;
    let shutdown = Shutdown::new();
    let watchdog = notify::start_watchdog(appliance.progress(), &shutdown)?;
    let signals = listen(Arc::clone(&appliance), shutdown.clone())?;
    let printer = args.print_events.then(|| print_events(&appliance)).transpose()?;
    // Ready means ready: every thread runs, the control socket answers, the galleries are open.
    notify::ready(&format!("{} streams", appliance.plane().map_or(0, |p| p.streams.len())));
    tracing::info!(pipeline = %args.pipeline.display(), control = %context.state.control_socket().display(), "running");

    let begin = Usage::now()?;
    let mut over = false;
    if args.until_end {
        over = appliance.wait_until_ended(&shutdown);
    } else {
        while !shutdown.wait(LOOK) && !appliance.failed().is_requested() {}
    }
    notify::stopping();
    let plane = appliance.plane();
    // Before the stop, which ends every lease.
    let policies = plane.as_ref().map(|p| p.policy.snapshot()).unwrap_or_default();
    let failures = plane.as_ref().filter(|_| over).map(|p| summary::failed_sources(p)).unwrap_or_default();
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
        summary::of(&plane, &policies, &begin)?.print(context.json)?;
    }
    if !failures.is_empty() {
        return Err(Failed::new(Exit::Failure, anyhow::anyhow!(failures.join("\n"))));
    }
    Ok(if appliance.failed().is_requested() { Exit::Failure } else { Exit::Success })
}

/// How often the main thread looks whether the service still has a pipeline.
const LOOK: std::time::Duration = std::time::Duration::from_millis(200);

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
