//! What sealing costs: the same templates, each sealed under its subject's own key, into a vault of their own; how long its shard takes to build and to open, planes
//! included, and whether what was opened is searched as fast as what never was sealed.
//!
//! The goals: build 10 s a million; open 1.2 s a million and thread; a search at most 3 % slower.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Serialize;

use super::{Args, Case, Spread, cpu_s, values, vector};
use crate::clock::{Clock, SystemClock};
use crate::embedding::Embedding;
use crate::gallery::exact::ExactScan;
use crate::gallery::scan::{Crew, Depth, Found, Shard};
use crate::gallery::seal::SiteKey;
use crate::gallery::vault::{Channel, NewSubject, Source, Vault};
use crate::gallery::{Kept, SubjectId, TemplateModel};
use crate::purpose::Purpose;
use crate::state::StateDirectory;

/// Subjects a transaction.
const GROUP: u32 = 1_024;

/// One kind of search, in what was opened beside what never was sealed.
#[derive(Serialize)]
struct Ratio {
    queries: usize,
    bits: u8,
    /// Processor time, median of all rounds.
    sealed_to_unsealed: f64,
}

#[derive(Serialize)]
pub(super) struct Sealed {
    enrol_s_per_million: f64,
    build_s_per_million: f64,
    open_wall_s_per_million: f64,
    /// Processor time of all threads that opened it.
    open_cpu_s_per_million: f64,
    open_threads: usize,
    shard_bytes_per_template: f64,
    /// How the memory of what was opened is kept.
    memory: Kept,
    searches: Vec<Ratio>,
}

/// `plain`: the templates as they were built without a vault. Everything is made in a directory of its own within `directory`, and removed.
pub(super) fn measure(
    args: &Args,
    directory: &Path,
    plain: &Arc<Shard>,
    (cases, probes): (&[Case], &[Vec<f32>]),
    bar: &ProgressBar,
) -> anyhow::Result<Sealed> {
    let own = directory.join(format!("placard-bench-{}", std::process::id()));
    std::fs::create_dir(&own).with_context(|| own.display().to_string())?;
    let measured = in_directory(args, &own, plain, (cases, probes), bar);
    std::fs::remove_dir_all(&own).with_context(|| own.display().to_string())?;
    measured
}

fn in_directory(
    args: &Args,
    own: &Path,
    plain: &Arc<Shard>,
    (cases, probes): (&[Case], &[Vec<f32>]),
    bar: &ProgressBar,
) -> anyhow::Result<Sealed> {
    let state = StateDirectory::new(own);
    let key = SiteKey::create(&state)?;
    let purpose: Purpose = "missing-person:bench".parse()?;
    let model = TemplateModel { name: "bench".into(), sha256: "0".into(), dim: args.dim };
    let vault = Vault::open(&state, &key)?;
    let begun_at = Instant::now();
    enrol(args, &vault, &purpose, &model, bar)?;
    let enrol_s = begun_at.elapsed().as_secs_f64();
    let begun_at = Instant::now();
    vault.rebuild_shards(SystemClock.utc())?;
    let build_s = begun_at.elapsed().as_secs_f64();
    let crew = Arc::new(Crew::alone());
    let (begun_at, begun_s) = (Instant::now(), cpu_s());
    let (loaded, source) = vault.load_from(&purpose, &model, SystemClock.utc())?;
    let scan = ExactScan::new(args.dim, loaded.version, &loaded.templates, &crew)?;
    let (open_wall_s, open_cpu_s) = (begun_at.elapsed().as_secs_f64(), cpu_s() - begun_s);
    anyhow::ensure!(source == Source::Shard, "the shard was not used: {source:?}");
    drop(loaded);
    let millions = f64::from(args.templates) / 1e6;
    let bytes: u64 = vault.shards()?.iter().map(|shard| shard.bytes).sum();
    Ok(Sealed {
        enrol_s_per_million: enrol_s / millions,
        build_s_per_million: build_s / millions,
        open_wall_s_per_million: open_wall_s / millions,
        open_cpu_s_per_million: open_cpu_s / millions,
        open_threads: 1,
        shard_bytes_per_template: bytes as f64 / f64::from(args.templates),
        memory: scan.shard().kept(),
        searches: cases.iter().map(|case| ratio(args, case, probes, [plain, scan.shard()])).collect::<Result<_, _>>()?,
    })
}

fn enrol(args: &Args, vault: &Vault, purpose: &Purpose, model: &TemplateModel, bar: &ProgressBar) -> anyhow::Result<()> {
    bar.reset();
    bar.set_length(args.templates.into());
    bar.set_message("enrol");
    let mut file = args.rows.as_deref().map(|path| values(path, args.dim)).transpose()?;
    let now = SystemClock.utc();
    for first in (0..args.templates).step_by(GROUP as usize) {
        let mut group = Vec::new();
        for number in first..args.templates.min(first.saturating_add(GROUP)) {
            let mut row = match &mut file {
                None => vector(number.into(), args.dim),
                Some(rows) => rows.next().with_context(|| format!("--rows ends before template {number}"))??,
            };
            group.push((SubjectId::random()?, Embedding::normalised(&mut row)?));
        }
        let subjects: Vec<NewSubject<'_>> = group
            .iter()
            .map(|(subject, template)| NewSubject {
                subject: subject.clone(),
                purpose,
                model,
                templates: vec![template],
                channel: Channel::TemplateFile,
                consent: None,
                source: Some("bench"),
                zones: &["bench"],
                enrolled_at: now,
                expires_at: now.plus(Duration::from_secs(86_400)),
            })
            .collect();
        vault.enrol(&subjects)?;
        bar.inc(group.len() as u64);
    }
    Ok(())
}

/// The two in turn, so that what else the machine does meets both.
fn ratio(args: &Args, case: &Case, probes: &[Vec<f32>], shards: [&Arc<Shard>; 2]) -> anyhow::Result<Ratio> {
    let crew = Crew::new(args.threads.into()).context("threads")?;
    let asked: Vec<&[f32]> = probes[..case.queries].iter().map(Vec::as_slice).collect();
    let (mut found, mut taken) = (Found::default(), [Vec::new(), Vec::new()]);
    for _ in 0..args.rounds {
        for (shard, taken) in shards.iter().zip(&mut taken) {
            let begun_s = cpu_s();
            crew.search(shard, &asked, &case.search, &mut found);
            taken.push(cpu_s() - begun_s);
        }
    }
    let [unsealed, sealed] = taken.map(|seconds| Spread::of(seconds).median);
    let bits = if case.search.depth == Some(Depth::Nibble) { 4 } else { 8 };
    Ok(Ratio { queries: case.queries, bits, sealed_to_unsealed: (sealed / unsealed * 1e4).round() / 1e4 })
}

impl Sealed {
    /// A line for people.
    pub(super) fn line(&self) -> String {
        let worst = self.searches.iter().map(|r| r.sealed_to_unsealed).fold(0.0, f64::max);
        format!(
            "sealed, a million: {:.1} s to enrol, {:.1} s to build the shard (goal 10), {:.2} s wall and {:.2} s of processor time to open with planes (goal 1.2 a thread); searches at most {worst:.3} times the unsealed (goal 1.03); {:?} memory",
            self.enrol_s_per_million, self.build_s_per_million, self.open_wall_s_per_million, self.open_cpu_s_per_million, self.memory
        )
    }
}
