//! `placard sign view STREAM SIGN`: opens the stream's source for half a minute, learns where the sign hangs and what the picture looks like, and
//! enters both as the stream's `[[view]]`. A device that the service holds cannot be opened twice: stop the service first; an RTSP camera can.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::print::signer;
use crate::clock::{Clock, SystemClock};
use crate::commands::change::{login, outcome_json, outcome_text};
use crate::commands::{Context, Exit, Failed, Outcome};
use crate::frame::StreamIndex;
use crate::ingest::{Outlet, spawn};
use crate::policy::attestation::ViewDesk;
use crate::policy::facts::{Register, View};
use crate::queue::{Doorbell, Ring};
use crate::shutdown::Shutdown;
use crate::signs::commission::Learner;

/// Looks in the time there is.
const LOOKS: u32 = 20;
/// The first picture comes within this: a camera connects, a scene is drawn.
const FIRST_WITHIN: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Args {
    /// The stream, as the pipeline file calls it.
    stream: String,
    /// The sign's id.
    sign: String,
    /// The pipeline file that has the stream.
    #[arg(long, value_name = "FILE")]
    pipeline: PathBuf,
    /// How long to watch, from the first picture on.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// How long the sign may go unread before the stream is dark.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    every: u32,
    /// How far the code may move, as a fraction of the picture's width.
    #[arg(long, default_value_t = 0.01, value_name = "SHARE")]
    tolerance: f64,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    if !(0.001..=0.25).contains(&args.tolerance) {
        return Err(Failed::new(Exit::Usage, anyhow::anyhow!("--tolerance is 0.001 to 0.25")));
    }
    let register = Register::load(&context.state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
    let view = learn(context, args, &register)?;
    let enter = |register: &mut Register| {
        register.views.retain(|v| v.stream != view.stream);
        register.views.push(view.clone());
    };
    let why = format!("where stream `{}` sees sign `{}`", view.stream, view.sign);
    let proposed = Register::propose(&context.state.register(), &login(), &why, SystemClock.utc(), enter);
    let ((), outcome) = proposed.map_err(|e| Failed::new(Exit::Config, e))?;
    let became = outcome_text(&outcome, &register);
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", json!({ "view": view, "register": outcome_json(&outcome) }))?;
    } else {
        let drift = if view.fingerprint.is_some() { "" } else { "; too plain a picture to tell a turned camera by anything but the code" };
        writeln!(
            out,
            "stream `{}` sees sign `{}`: its code is looked for every {} s{drift}; {became}",
            view.stream, view.sign, view.attest_every_s
        )?;
    }
    Ok(Exit::Success)
}

fn learn(context: &Context, args: &Args, register: &Register) -> Result<View, Failed> {
    let refused = |fact: String| Failed::new(Exit::Refused, anyhow::anyhow!(fact));
    let loaded = crate::config::load::load(&args.pipeline).map_err(|e| Failed::new(Exit::Config, e))?;
    let named = loaded.pipeline.streams.iter().zip(&loaded.limits.streams).find(|(s, _)| s.name == args.stream);
    let no_stream = || Failed::new(Exit::Usage, anyhow::anyhow!("{} has no stream `{}`", args.pipeline.display(), args.stream));
    let (stream, limits) = named.ok_or_else(no_stream)?;
    let sign = register.sign(&args.sign).ok_or_else(|| super::unknown(&args.sign, register.nearest_sign(&args.sign).map(str::to_owned)))?;
    let clock = SystemClock::shared();
    let mut desk = ViewDesk::open(register, &args.stream, &args.sign, Arc::clone(&clock)).map_err(|r| Failed::refused(&r))?;
    let mut learner = Learner::new(sign, signer(context)?.public());
    let (ring, bell, shutdown) = (Arc::new(Ring::new(2)), Doorbell::new(), Shutdown::new());
    let outlet =
        Outlet::new(&args.stream, StreamIndex(0), Arc::clone(&ring), Arc::clone(&bell), Arc::clone(&clock)).governed_by(desk.table());
    let thread = spawn(stream, &limits.source, outlet, &shutdown)?;
    let pause = Duration::from_secs(u64::from(args.seconds)) / LOOKS;
    let (mut next, mut end) = (SystemClock.monotonic(), SystemClock.monotonic().plus(FIRST_WITHIN));
    let mut begun = false;
    while SystemClock.monotonic() < end && !(thread.is_finished() && ring.is_empty()) {
        bell.wait(Duration::from_millis(50));
        let Some(frame) = ring.pop() else { continue };
        if !begun {
            (begun, end) = (true, SystemClock.monotonic().plus(Duration::from_secs(u64::from(args.seconds))));
        }
        if SystemClock.monotonic() < next {
            continue;
        }
        next = SystemClock.monotonic().plus(pause);
        let permit = desk.permit().map_err(|e| refused(e.to_string()))?;
        learner.look(&frame, &permit).map_err(|e| refused(e.to_string()))?;
    }
    let health = thread.snapshot();
    shutdown.request();
    // A source that waits for room finds some.
    while ring.pop().is_some() {}
    thread.join();
    if let (true, Some(error)) = (health.width == 0, health.last_error) {
        return Err(Failed::new(Exit::Failure, anyhow::anyhow!(error)));
    }
    learner.view(&args.stream, args.tolerance, args.every).map_err(|e| refused(e.to_string()))
}
