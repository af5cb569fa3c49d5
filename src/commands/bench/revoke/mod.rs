//! `placard bench revoke`: how long people are still looked at, and still embedded, after the leave to look has ended, while every step of
//! the journey is busy.
//!
//! Four ways in which it ends: a sign is withdrawn through the control socket; the policy thread stops between two evaluations, panics,
//! or dead-locks. A withdrawal ends leases itself; a panic does so by unwinding; a thread that stopped or hangs ends nothing, and leases run out.
//! What exactly is measured: `rounds.rs`. The real appliance runs, with its real threads, on real pixels; nothing but the policy
//! thread is touched.

mod rounds;
mod site;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::journey::listen;
use crate::commands::probe::Machine;
use crate::commands::{Context, Exit, Failed, Outcome};
use crate::policy::lease::MAX_LEASE;
use crate::shutdown::Shutdown;
use rounds::{Case, Round, Rounds};
use site::RevokeSite;

/// Nobody is embedded later than this after any revocation, milliseconds.
const ALWAYS_MS: f64 = 1_000.0;
/// And of a hundred revocations after one at most later than this.
const P99_MS: f64 = 250.0;

const WHAT: &str = "milliseconds from the revocation (the operator asks; the policy thread is told to stop, die or hang) until no permit is \
                    given on any of the streams (dark), until the network made the last embedding of anybody on them (counted at the time it \
                    was produced, also where it was wiped at once), and until the last read of their pixels was over (look)";

#[derive(clap::Args)]
#[command(
    after_help = "Exit status 1 also where somebody was embedded more than a second after a revocation, or at p99 more than 250 ms after; 4 where no \
                  stream recognises."
)]
pub struct Args {
    /// The pipeline file of the site (`--state`): its streams, models and a copy of its register are used. Unset: a made-up site with
    /// people who do not exist and the bundled models.
    #[arg(value_name = "PIPELINE")]
    pipeline: Option<PathBuf>,
    /// Streams: copies of the pipeline's, in turn. Unset: as many as it has; of the made-up site, two for each core.
    #[arg(long)]
    streams: Option<usize>,
    /// Rounds of each of the four cases. Of fewer than 100 the p99 is the longest.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

/// Milliseconds; nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    /// Of at least one value.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let rank = |share: f64| sorted.get(((share * sorted.len() as f64).ceil() as usize).saturating_sub(1)).copied().unwrap_or_default();
        let to_us = |ms: f64| (ms * 1e3).round() / 1e3;
        Self { p50: to_us(rank(0.5)), p99: to_us(rank(0.99)), max: to_us(rank(1.0)) }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Figures {
    dark_ms: Spread,
    last_embedding_ms: Spread,
    last_look_ms: Spread,
}

impl Figures {
    fn of(rounds: &[Round]) -> Self {
        Self {
            dark_ms: Spread::of(rounds.iter().map(|r| r.dark)),
            last_embedding_ms: Spread::of(rounds.iter().map(|r| r.last_embedding)),
            last_look_ms: Spread::of(rounds.iter().map(|r| r.last_look)),
        }
    }
}

/// What the machine did between the rounds.
#[derive(Serialize)]
struct Load {
    frames_per_s: f64,
    embeddings_per_s: f64,
    cores_busy: f64,
    /// Rounds, of all, that began with the embedder's queue full.
    rounds_with_full_queue: u32,
}

/// The documented JSON object.
#[derive(Serialize)]
struct Report {
    measures: &'static str,
    machine: String,
    build: &'static str,
    streams: usize,
    rounds: u32,
    longest_lease_ms: u64,
    load: Load,
    withdrawn: Figures,
    stopped: Figures,
    killed: Figures,
    hung: Figures,
    /// Whether nobody was embedded more than a second after any revocation.
    within_one_second: bool,
    /// Whether the p99 of the last embedding was a quarter of a second at most, in each case.
    p99_within_250_ms: bool,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    if args.streams.is_some_and(|n| !(1..=256).contains(&n)) {
        return Err(Failed::new(Exit::Usage, anyhow::anyhow!("--streams takes 1 to 256")));
    }
    let (stop, signals) = (Shutdown::new(), Signals::new([SIGINT, SIGTERM]).context("listening for signals")?);
    listen(signals, stop.clone())?;
    let site = RevokeSite::new(&context.state, args.pipeline.as_deref(), args.streams)?;
    let streams = site.loaded.pipeline.streams.len();
    expect_panics();
    let mut rounds = Rounds::start(site, stop)?;
    let bar = ProgressBar::new(4 * u64::from(args.rounds));
    if context.json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{msg:10} {bar:40} {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut full = 0;
    let mut measure = |case: Case, name: &'static str| -> Result<Figures, Failed> {
        let measured = measured(&mut rounds, &bar, (case, name), args.rounds)?;
        full += measured.iter().map(|round| u32::from(round.full)).sum::<u32>();
        Ok(Figures::of(&measured))
    };
    let withdrawn = measure(Case::Withdrawn, "withdrawn")?;
    let stopped = measure(Case::Stopped, "stopped")?;
    let hung = measure(Case::Hung, "hung")?;
    let killed = measure(Case::Killed, "killed")?;
    bar.finish_and_clear();
    let work = rounds.work;
    let per_second = |n: f64| n / work.seconds.max(f64::EPSILON);
    let load = Load {
        frames_per_s: per_second(work.frames as f64),
        embeddings_per_s: per_second(work.embeddings as f64),
        cores_busy: per_second(work.cpu_s),
        rounds_with_full_queue: full,
    };
    let all = [withdrawn, stopped, killed, hung];
    let (within_one_second, p99_within_250_ms) = held(&all.map(|f| f.last_embedding_ms));
    let report = Report {
        measures: WHAT,
        machine: Machine::line(),
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        streams,
        rounds: args.rounds,
        longest_lease_ms: u64::try_from(MAX_LEASE.as_millis()).unwrap_or(u64::MAX),
        load,
        withdrawn,
        stopped,
        killed,
        hung,
        within_one_second,
        p99_within_250_ms,
    };
    print(&report, context.json)?;
    Ok(if within_one_second && p99_within_250_ms { Exit::Success } else { Exit::Failure })
}

/// All rounds of one case. Where there is no bar to draw, a line now and then says how far it is.
fn measured(rounds: &mut Rounds, bar: &ProgressBar, (case, name): (Case, &'static str), count: u32) -> Result<Vec<Round>, Failed> {
    bar.set_message(name);
    let mut all = Vec::new();
    for number in 0..count {
        all.push(rounds.run(case, number)?);
        bar.inc(1);
        let done = number + 1;
        if bar.is_hidden() && (done.is_multiple_of(20) || done == count) {
            let per_s = rounds.work.embeddings as f64 / rounds.work.seconds.max(f64::EPSILON);
            let Spread { p99, max, .. } = Figures::of(&all).last_embedding_ms;
            let line = format!("{name}: {done} of {count}, {per_s:.1} embeddings/s before; last embedding p99 {p99} ms, max {max} ms");
            writeln!(std::io::stderr().lock(), "{line}")?;
        }
    }
    Ok(all)
}

/// Whether nobody was embedded later than ever allowed, and whether the p99 is within its bound.
fn held(last_embeddings: &[Spread]) -> (bool, bool) {
    (last_embeddings.iter().all(|s| s.max <= ALWAYS_MS), last_embeddings.iter().all(|s| s.p99 <= P99_MS))
}

/// The policy thread's own death is what is measured, and no news; any other panic is told as ever.
fn expect_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let killed = std::thread::current().name() == Some("policy") && panic.payload_as_str() == Some("asked to break down");
        if !killed {
            usual(panic);
        }
    }));
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    let Report { machine, build, streams, rounds, load, .. } = report;
    writeln!(
        out,
        "{streams} streams, {rounds} rounds a case; {:.1} frames/s looked at, {:.1} embeddings/s, {:.2} cores busy before each; the embedder's queue \
         was full in {} of {} rounds; {machine}, {build} build",
        load.frames_per_s,
        load.embeddings_per_s,
        load.cores_busy,
        load.rounds_with_full_queue,
        4 * rounds
    )?;
    writeln!(out, "\n{:<12} {:>26} {:>26} {:>26}", "ms", "dark", "last embedding", "last look")?;
    let heads = format!("{:>9}{:>9}{:>9}", "p50", "p99", "max");
    writeln!(out, "{:<12}{heads}{heads}{heads}", "")?;
    for (name, case) in [("withdrawn", report.withdrawn), ("stopped", report.stopped), ("killed", report.killed), ("hung", report.hung)] {
        let of = |s: Spread| format!("{:>9.2}{:>9.2}{:>9.2}", s.p50, s.p99, s.max);
        writeln!(out, "{name:<12}{}{}{}", of(case.dark_ms), of(case.last_embedding_ms), of(case.last_look_ms))?;
    }
    let kept = |yes: bool| if yes { "held" } else { "NOT HELD" };
    writeln!(
        out,
        "\nlast embedding within {P99_MS} ms at p99: {}; within {ALWAYS_MS} ms always: {}",
        kept(report.p99_within_250_ms),
        kept(report.within_one_second)
    )?;
    writeln!(out, "\n{WHAT}; a lease runs {} ms at most", report.longest_lease_ms)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_embedding_fails_the_bench() {
        let spread = |p99, max| Spread { p50: 1.0, p99, max };
        assert_eq!(held(&[spread(250.0, 1_000.0), spread(0.0, 0.0)]), (true, true));
        assert_eq!(held(&[spread(250.1, 1_000.0), spread(0.0, 0.0)]), (true, false));
        assert_eq!(held(&[spread(0.0, 0.0), spread(1.0, 1_000.1)]), (false, true));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let spread = Spread::of((1..=200).map(f64::from));
        assert_eq!(spread, Spread { p50: 100.0, p99: 198.0, max: 200.0 });
        assert_eq!(Spread::of([3.25].into_iter()), Spread { p50: 3.25, p99: 3.25, max: 3.25 });
    }
}
