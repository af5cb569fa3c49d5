//! `placard bench journey`: one load, or the search for the most streams that keep within a latency.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::trial::{BenchSite, Load, Measured};
use crate::commands::{Context, Exit, Failed, Outcome};
use crate::latency::CAPTURE_TO_DONE;
use crate::latency::report::{Axis, Curve, hgrm, percentile_curve, svg};
use crate::shutdown::Shutdown;

/// A load counts as carried when no more than this share of its frames was missed.
const MOST_MISSED: f64 = 0.001;

#[derive(clap::Args)]
pub struct Args {
    /// The pipeline file; streams that are not files take their frames from --clip.
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// Streams offered: copies of the pipeline's, in turn. Unset: as many as it has.
    #[arg(long)]
    streams: Option<usize>,
    /// Frames a second offered on each stream.
    #[arg(long, default_value_t = 15.0)]
    fps: f64,
    /// How long each load is measured.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// How long each load runs before it is measured.
    #[arg(long, default_value_t = 2.0)]
    warmup_s: f64,
    /// Clip to play instead of a stream's own source; several are taken in turn.
    #[arg(long, value_name = "FILE")]
    clip: Vec<PathBuf>,
    /// Look for the most streams whose p99 stays within --p99-ms and whose frames are not missed (0.1 % at most).
    #[arg(long)]
    search_max_streams: bool,
    /// The bound for --search-max-streams, milliseconds.
    #[arg(long, default_value_t = 100.0)]
    p99_ms: f64,
    /// Where the .hgrm files and the SVG curves go.
    #[arg(long, default_value = "out/bench-journey", value_name = "DIR")]
    out: PathBuf,
}

/// What a search found.
#[derive(Serialize)]
struct Search {
    p99_bound_ms: f64,
    max_streams: usize,
    trials: Vec<Measured>,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    if !(0.1..=1_000.0).contains(&args.fps) || !(1.0..=86_400.0).contains(&args.seconds) || !(0.0..=600.0).contains(&args.warmup_s) {
        return Err(Failed::new(Exit::Usage, anyhow::anyhow!("--fps takes 0.1 to 1000, --seconds 1 to 86400, --warmup-s 0 to 600")));
    }
    let loaded = crate::config::load::load(&args.pipeline).map_err(|e| Failed::new(Exit::Config, e))?;
    let streams = args.streams.unwrap_or(loaded.pipeline.streams.len());
    if !(1..=1_024).contains(&streams) {
        return Err(Failed::new(Exit::Usage, anyhow::anyhow!("--streams takes 1 to 1024")));
    }
    // Listened to before there is anything to clean up.
    let (stop, signals) = (Shutdown::new(), Signals::new([SIGINT, SIGTERM]).context("listening for signals")?);
    listen(signals, stop.clone())?;
    let site = BenchSite::new(&context.state, loaded, &args.clip)?;
    let load = |streams| Load { streams, fps: args.fps, seconds: args.seconds, warmup_s: args.warmup_s };
    std::fs::create_dir_all(&args.out).with_context(|| format!("creating {}", args.out.display()))?;
    if args.search_max_streams {
        let search = search(&site, args.p99_ms, &load, &stop, context.json)?;
        let curve = |label: &str, value: &dyn Fn(&Measured) -> f64| Curve {
            label: label.to_owned(),
            points: by_streams(&search.trials).into_iter().map(|m| (m.streams as f64, value(m))).collect(),
        };
        let curves = [curve("p50", &|m| m.latency_ms.p50), curve("p99", &|m| m.latency_ms.p99), curve("p99.9", &|m| m.latency_ms.p999)];
        let title = format!("Latency against load, {} frames/s a stream", args.fps);
        write(&args.out.join("latency-vs-load.svg"), &svg(&title, Axis::Streams, &curves))?;
        print_search(&search, args, context.json)?;
    } else {
        let measured = trial(&site, load(streams), &stop, context.json)?;
        write_curves(&measured, &args.out)?;
        print(&measured, args, context.json)?;
    }
    Ok(Exit::Success)
}

/// A signal ends the bench in an orderly way, a second one at once: the next bench removes what that leaves.
pub(super) fn listen(mut signals: Signals, stop: Shutdown) -> anyhow::Result<()> {
    let wait = move || {
        for signal in signals.forever() {
            if stop.is_requested() {
                std::process::exit(128 + signal);
            }
            stop.request();
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).context("starting the thread for signals")?;
    Ok(())
}

fn trial(site: &BenchSite, load: Load, stop: &Shutdown, json: bool) -> Result<Measured, Failed> {
    let bar = ProgressBar::new(load.seconds.ceil() as u64);
    if json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} s").unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(format!("{} streams × {} fps", load.streams, load.fps));
    let measured = site.measure(load, stop, &mut |seconds| bar.set_position(seconds as u64))?;
    bar.finish_and_clear();
    Ok(measured)
}

/// Doubles until a load is not carried, then halves the gap.
fn search(site: &BenchSite, bound_ms: f64, load: &dyn Fn(usize) -> Load, stop: &Shutdown, json: bool) -> Result<Search, Failed> {
    let mut trials: Vec<Measured> = Vec::new();
    let mut carried = |streams: usize| -> Result<bool, Failed> {
        let measured = trial(site, load(streams), stop, json)?;
        let ok = measured.latency_ms.p99 <= bound_ms && measured.missed_share() <= MOST_MISSED;
        trials.push(measured);
        Ok(ok)
    };
    let (mut low, mut high) = (0, 1);
    while high <= 1_024 && carried(high)? {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if carried(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(Search { p99_bound_ms: bound_ms, max_streams: low, trials })
}

fn by_streams(trials: &[Measured]) -> Vec<&Measured> {
    let mut sorted: Vec<&Measured> = trials.iter().collect();
    sorted.sort_by_key(|m| m.streams);
    sorted
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn write_curves(measured: &Measured, out: &Path) -> anyhow::Result<()> {
    for step in &measured.snapshots {
        write(&out.join(format!("{}.hgrm", step.name)), &hgrm(step))?;
    }
    let curves: Vec<Curve> = measured.snapshots.iter().filter(|s| !s.histogram.is_empty()).map(percentile_curve).collect();
    let (whole, steps): (Vec<Curve>, Vec<Curve>) = curves.into_iter().partition(|c| c.label == CAPTURE_TO_DONE);
    let title = format!("{} streams, {:.0} frames/s offered: from scheduled arrival to done", measured.streams, measured.offered_fps);
    write(&out.join("latency.svg"), &svg(&title, Axis::Percentile, &whole))?;
    write(&out.join("steps.svg"), &svg("Each step", Axis::Percentile, &steps))
}

fn print(measured: &Measured, args: &Args, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(measured)?)?;
        return Ok(());
    }
    writeln!(
        out,
        "{} streams: {:.1} fps offered, {:.1} processed ({:.1} looked at), {} missed; {:.2} ms of processor a frame, {:.2} cores busy",
        measured.streams,
        measured.offered_fps,
        measured.processed_fps,
        measured.detected_fps,
        measured.missed,
        1e3 * measured.cpu_s_per_frame,
        measured.cores_busy
    )?;
    writeln!(out, "\n{:<20} {:>9} {:>9} {:>9} {:>9} {:>9}   ms", "step", "p50", "p90", "p99", "p99.9", "max")?;
    for step in &measured.snapshots {
        let p = step.percentiles_ms();
        writeln!(out, "{:<20} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}", step.name, p.p50, p.p90, p.p99, p.p999, p.max)?;
    }
    writeln!(out, "\ncurves and .hgrm files: {}", args.out.display())?;
    Ok(())
}

fn print_search(search: &Search, args: &Args, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(search)?)?;
        return Ok(());
    }
    writeln!(out, "{:>8} {:>10} {:>9} {:>9} {:>9} {:>8}", "streams", "fps", "p50 ms", "p99 ms", "p99.9 ms", "missed")?;
    for m in by_streams(&search.trials) {
        writeln!(
            out,
            "{:>8} {:>10.1} {:>9.2} {:>9.2} {:>9.2} {:>7.2}%",
            m.streams,
            m.offered_fps,
            m.latency_ms.p50,
            m.latency_ms.p99,
            m.latency_ms.p999,
            100.0 * m.missed_share()
        )?;
    }
    writeln!(out, "\nmost streams at {} fps with p99 within {} ms: {}", args.fps, search.p99_bound_ms, search.max_streams)?;
    writeln!(out, "curve: {}", args.out.join("latency-vs-load.svg").display())?;
    Ok(())
}
