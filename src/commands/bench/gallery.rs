//! `placard bench gallery`: how long an exact search of many templates takes, and what share of this machine's limits that is.
//!
//! Rows and queries are nobody's: random vectors, or those of two files (`--rows`, `--probes`: little-endian `f32`, one after the other) so that
//! `benches/gallery/compare.sh` asks its peers the same. Each round reads memory, multiplies bytes and runs every search, in turn, so that what else
//! the machine does meets all of them. Times are wall time and processor time; on a busy machine the second is the one that repeats.

mod sealed;

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::clock::Stamp;
use crate::commands::probe::Machine;
use crate::commands::{Context, Exit, Failed, Outcome};
use crate::gallery::scan::probes::{Readable, multiply};
use crate::gallery::scan::{Cost, Crew, Depth, Filter, Found, Kernel, MAX_QUERIES, PLANE_DIMS, Search, Shard, Tag};

/// Bytes that are read to see how fast memory is: many times what caches hold.
const READ_BYTES: usize = 512 << 20;
/// 1,024 products each; some tens of milliseconds.
const MULTIPLY_TURNS: u32 = 2_000_000;
const TOP_K: usize = 10;

#[derive(clap::Args)]
pub struct Args {
    /// Templates to search.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    templates: u32,
    /// Values of a template, 64 to 1,024.
    #[arg(long, default_value_t = 512)]
    dim: usize,
    /// Queries that are searched together, 1 to 64; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    queries: Vec<usize>,
    /// Threads that search together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Least score of what is looked for; the ten best without one are measured too.
    #[arg(long, default_value_t = 0.4)]
    threshold: f32,
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// File of the templates' values, instead of random ones.
    #[arg(long, value_name = "FILE", requires = "probes")]
    rows: Option<PathBuf>,
    /// File of the queries' values.
    #[arg(long, value_name = "FILE")]
    probes: Option<PathBuf>,
    /// Measure too what sealing costs: a vault of these templates is made in this directory (some 5 KB a template), built, opened and searched, and removed.
    #[arg(long, value_name = "DIR")]
    sealed: Option<PathBuf>,
    /// Tell who was found by each query of the largest number, from the threshold on (at most 1,000 each).
    #[arg(long)]
    found: bool,
}

/// Median and least of all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    median: f64,
    least: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        Self { median: at(values.len() / 2), least: at(0) }
    }

    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { median: f(self.median), least: f(self.least) }
    }
}

/// What one search took, one round.
#[derive(Clone, Copy)]
struct Taken {
    wall_s: f64,
    /// Of all threads, divided by how many there are.
    cpu_s: f64,
}

#[derive(Serialize)]
struct Limits {
    /// From memory, all threads together.
    read_gb_per_s: f64,
    /// Products of two bytes, all threads together; unset without VNNI.
    multiply_g_per_s: Option<f64>,
}

#[derive(Serialize)]
struct Searched {
    queries: usize,
    /// Unset: the ten best, however bad.
    threshold: Option<f32>,
    bits: u8,
    wall_ms: Spread,
    cpu_ms_per_thread: Spread,
    read_gb_per_s: f64,
    read_share: f64,
    multiply_g_per_s: f64,
    multiply_share: Option<f64>,
    /// Rows that passed the first step, a query.
    rescored: f64,
    /// Hits, a query.
    found: f64,
}

/// The documented JSON object.
#[derive(Serialize)]
struct Report {
    measures: &'static str,
    machine: String,
    build: &'static str,
    kernel: &'static str,
    templates: usize,
    dim: usize,
    threads: usize,
    rounds: u32,
    /// Whether the system let the memory be locked.
    locked: bool,
    build_us_per_template: f64,
    limits: Limits,
    searches: Vec<Searched>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<sealed::Sealed>,
    /// (template, score), best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Vec<Vec<(u32, f32)>>>,
}

const WHAT: &str = "exact search: medians of all rounds; rates and shares are by the medians of processor time a thread, of the searches and of the limits alike";

/// Processor time of this process, seconds.
fn cpu_s() -> f64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(0.0, |t| std::time::Duration::from(t).as_secs_f64())
}

/// Runs `work` in as many threads as are searched with, the number of the thread in hand; processor time of each, seconds.
fn together(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let begun_s = cpu_s();
    std::thread::scope(|scope| {
        for thread in 1..threads {
            let work = &work;
            scope.spawn(move || work(thread));
        }
        work(0);
    });
    (cpu_s() - begun_s) / threads as f64
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    check(args)?;
    let bar = ProgressBar::new(u64::from(args.templates));
    if context.json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{msg:10} {bar:40} {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    let most = args.queries.iter().copied().max().unwrap_or(1);
    let (shard, build_s) = shard(args, &bar)?;
    let probes: Vec<Vec<f32>> = match &args.probes {
        None => (0..most).map(|number| vector(u64::MAX - number as u64, args.dim)).collect(),
        Some(path) => values(path, args.dim)?.take(most).collect::<Result<_, _>>()?,
    };
    if probes.len() < most {
        return Err(Failed::new(Exit::Usage, anyhow::anyhow!("--probes has {} queries, {most} are asked for", probes.len())));
    }
    bar.reset();
    bar.set_length(u64::from(args.rounds));
    bar.set_message("search");
    let mut bench = Bench::new(args, shard, probes)?;
    for _ in 0..args.rounds {
        bench.round();
        bar.inc(1);
    }
    let sealed = match &args.sealed {
        None => None,
        Some(directory) => Some(sealed::measure(args, directory, &bench.shard, (&bench.cases, &bench.probes), &bar)?),
    };
    bar.finish_and_clear();
    let report = bench.report(args, build_s, sealed);
    print(&report, context.json)?;
    Ok(Exit::Success)
}

fn check(args: &Args) -> Result<(), Failed> {
    if !PLANE_DIMS.contains(&args.dim) {
        return Err(Failed::new(Exit::Usage, anyhow::anyhow!("--dim takes {} to {}", PLANE_DIMS.start(), PLANE_DIMS.end())));
    }
    if args.queries.is_empty() || args.queries.iter().any(|n| !(1..=MAX_QUERIES).contains(n)) {
        return Err(Failed::new(Exit::Usage, anyhow::anyhow!("--queries takes numbers from 1 to {MAX_QUERIES}")));
    }
    Ok(())
}

/// A random unit vector that depends on nothing but its number.
fn vector(number: u64, dim: usize) -> Vec<f32> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Eight bytes added up: about normally distributed.
        (x ^ (x >> 31)).to_le_bytes().iter().map(|b| f32::from(*b)).sum::<f32>() - 1_020.0
    };
    normalised((0..dim).map(|_| next()).collect())
}

fn normalised(mut values: Vec<f32>) -> Vec<f32> {
    let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32")]
    values.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
    values
}

/// The vectors of a file.
fn values(path: &Path, dim: usize) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Vec<f32>>>> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let left = usize::try_from(file.metadata()?.len())? / (4 * dim);
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let mut bytes = vec![0; 4 * dim];
    Ok((0..left).map(move |_| {
        reader.read_exact(&mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }))
}

/// All rows in memory, and how many seconds of processor time the planes took.
fn shard(args: &Args, bar: &ProgressBar) -> Result<(Shard, f64), Failed> {
    bar.set_message("build");
    let mut file = args.rows.as_deref().map(|path| values(path, args.dim)).transpose()?;
    let mut shard = Shard::with_capacity(Kernel::best(), args.dim, args.templates as usize).context("memory for the templates")?;
    let mut build_s = 0.0;
    for first in (0..args.templates).step_by(1_024) {
        let numbers = first..args.templates.min(first + 1_024);
        let read = |number: u32| match &mut file {
            None => Ok(vector(number.into(), args.dim)),
            Some(rows) => rows.next().unwrap_or_else(|| Err(anyhow::anyhow!("--rows ends before template {number}"))),
        };
        let rows: Vec<Vec<f32>> = numbers.clone().map(read).collect::<Result<_, _>>()?;
        let begun_s = cpu_s();
        for (number, row) in numbers.zip(&rows) {
            let tag = Tag { zones: u64::MAX, expires_at: Stamp::from_ns(i64::MAX) };
            shard.push(row, number, tag).with_context(|| format!("template {number}"))?;
        }
        build_s += cpu_s() - begun_s;
        bar.inc(rows.len() as u64);
    }
    Ok((shard, build_s))
}

/// What is measured, and what was.
struct Bench {
    shard: Arc<Shard>,
    probes: Vec<Vec<f32>>,
    crew: Crew,
    memory: Readable,
    found: Found,
    reads: Vec<f64>,
    products: Vec<f64>,
    cases: Vec<Case>,
}

/// One kind of search, how long each round took, and what the last found.
struct Case {
    queries: usize,
    search: Search,
    taken: Vec<Taken>,
    cost: Cost,
    hits: usize,
}

impl Bench {
    fn new(args: &Args, shard: Shard, probes: Vec<Vec<f32>>) -> anyhow::Result<Self> {
        let kinds = [(args.threshold, Depth::Nibble), (f32::NEG_INFINITY, Depth::Byte)];
        let case = |queries: usize| {
            kinds.map(|(threshold, depth)| {
                let search = Search { threshold, top_k: TOP_K, filter: Filter::NONE, depth: Some(depth), kernel: None };
                Case { queries, search, taken: Vec::new(), cost: Cost::default(), hits: 0 }
            })
        };
        Ok(Self {
            shard: Arc::new(shard),
            probes,
            crew: Crew::new(args.threads.into()).context("threads")?,
            memory: Readable::new(READ_BYTES).context("memory to read")?,
            found: Found::default(),
            reads: Vec::new(),
            products: Vec::new(),
            cases: args.queries.iter().flat_map(|queries| case(*queries)).collect(),
        })
    }

    fn round(&mut self) {
        let threads = self.crew.threads();
        let seconds = together(threads, |thread| {
            self.memory.read(thread, threads);
        });
        self.reads.push(self.memory.len() as f64 / 1e9 / seconds);
        if multiply(0).is_some() {
            let seconds = together(threads, |_| {
                multiply(MULTIPLY_TURNS);
            });
            self.products.push(threads as f64 * f64::from(MULTIPLY_TURNS) * 1_024.0 / 1e9 / seconds);
        }
        for Case { queries, search, taken, cost, hits } in &mut self.cases {
            let asked: Vec<&[f32]> = self.probes[..*queries].iter().map(Vec::as_slice).collect();
            let (begun_at, begun_s) = (Instant::now(), cpu_s());
            *cost = self.crew.search(&self.shard, &asked, search, &mut self.found);
            let cpu_s = (cpu_s() - begun_s) / threads as f64;
            taken.push(Taken { wall_s: begun_at.elapsed().as_secs_f64(), cpu_s });
            *hits = (0..*queries).map(|query| self.found.hits(query).len()).sum();
        }
    }

    fn report(mut self, args: &Args, build_s: f64, sealed: Option<sealed::Sealed>) -> Report {
        let limits = Limits {
            read_gb_per_s: Spread::of(self.reads.clone()).median,
            multiply_g_per_s: (!self.products.is_empty()).then(|| Spread::of(self.products.clone()).median),
        };
        let searches = self.cases.iter().map(|case| self.searched(case, &limits)).collect();
        let found = args.found.then(|| self.all_found(args.threshold));
        Report {
            measures: WHAT,
            machine: Machine::line(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            kernel: Kernel::best().name(),
            templates: self.shard.len(),
            dim: args.dim,
            threads: self.crew.threads(),
            rounds: args.rounds,
            locked: self.shard.is_locked(),
            build_us_per_template: build_s * 1e6 / self.shard.len() as f64,
            limits,
            searches,
            sealed,
            found,
        }
    }

    fn searched(&self, case: &Case, limits: &Limits) -> Searched {
        let Case { queries, search, taken, cost, hits } = case;
        let wall_ms = Spread::of(taken.iter().map(|t| t.wall_s * 1e3).collect());
        let cpu_s = Spread::of(taken.iter().map(|t| t.cpu_s).collect());
        let depth = search.depth.unwrap_or(Depth::Nibble);
        let read_gb_per_s = self.shard.plane_bytes(depth) as f64 / 1e9 / cpu_s.median;
        let products = self.shard.len() as f64 * self.shard.dim() as f64 * *queries as f64 / 1e9 / cpu_s.median;
        let digits = |value: f64| (value * 1e4).round() / 1e4;
        Searched {
            queries: *queries,
            threshold: search.threshold.is_finite().then_some(search.threshold),
            bits: if depth == Depth::Nibble { 4 } else { 8 },
            wall_ms: wall_ms.map(digits),
            cpu_ms_per_thread: cpu_s.map(|s| digits(s * 1e3)),
            read_gb_per_s: digits(read_gb_per_s),
            read_share: digits(read_gb_per_s / limits.read_gb_per_s),
            multiply_g_per_s: digits(products),
            multiply_share: limits.multiply_g_per_s.map(|most| digits(products / most)),
            rescored: digits(cost.rescored as f64 / *queries as f64),
            found: digits(*hits as f64 / *queries as f64),
        }
    }

    fn all_found(&mut self, threshold: f32) -> Vec<Vec<(u32, f32)>> {
        let asked: Vec<&[f32]> = self.probes.iter().map(Vec::as_slice).collect();
        let search = Search { threshold, top_k: 1_000, filter: Filter::NONE, depth: None, kernel: None };
        self.crew.search(&self.shard, &asked, &search, &mut self.found);
        (0..asked.len()).map(|query| self.found.hits(query).iter().map(|hit| (hit.slot, hit.score)).collect()).collect()
    }
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    let Report { templates, dim, threads, kernel, machine, build, limits, .. } = report;
    writeln!(out, "{templates} templates of {dim} values, {threads} threads, {kernel}; {machine}, {build} build")?;
    let products = limits.multiply_g_per_s.map_or("unknown".to_owned(), |g| format!("{g:.0} G products/s"));
    writeln!(
        out,
        "limits: {:.1} GB/s read, {products} of bytes; {:.2} µs a template to build",
        limits.read_gb_per_s, report.build_us_per_template
    )?;
    writeln!(
        out,
        "\n{:>7} {:>9} {:>5} {:>9} {:>11} {:>8} {:>11} {:>9}",
        "queries", "threshold", "bits", "wall ms", "cpu ms/thr", "of read", "of multiply", "rescored"
    )?;
    for s in &report.searches {
        let threshold = s.threshold.map_or("none".to_owned(), |t| t.to_string());
        let share = s.multiply_share.map_or("–".to_owned(), |share| format!("{:.0} %", share * 100.0));
        writeln!(
            out,
            "{:>7} {threshold:>9} {:>5} {:>9.2} {:>11.2} {:>6.0} % {share:>11} {:>9.1}",
            s.queries,
            s.bits,
            s.wall_ms.median,
            s.cpu_ms_per_thread.median,
            s.read_share * 100.0,
            s.rescored
        )?;
    }
    if let Some(sealed) = &report.sealed {
        writeln!(out, "\n{}", sealed.line())?;
    }
    Ok(())
}
