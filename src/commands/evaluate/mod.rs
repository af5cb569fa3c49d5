//! `placard model eval`: what models are worth, measured on people who do not exist, and on photographs that the operator names.
//!
//! Rendered people have seeds from [`FIRST_SEED`] on, from which nothing is ever trained. Everything runs through the steps of the pipeline:
//! its detector, its alignment by the found landmarks, its embedder. The same seeds give the same pictures, so two models are measured
//! on the same ones; figures of another processor may differ in the last digit.

mod figures;
mod finding;
mod lab;
mod people;
mod photographs;

use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use self::figures::Spread;
use self::finding::{Finding, WIDTHS};
use self::lab::{Bench, Lab};
use self::people::{Class, Masks, Telling};
use self::photographs::Photographs;
use super::exits::{present, store_failed};
use super::portrait::only_model;
use super::{Context, Exit, Failed, Outcome};
use crate::engine::bundled::{self, Bundled};
use crate::engine::manifest::{Manifest, Task};
use crate::engine::store;
use crate::policy::evaluation;

/// Seeds of people and halls from here on are held out: `training/` uses those below.
pub const FIRST_SEED: u64 = 9_000_000;

#[derive(clap::Args)]
pub struct Args {
    /// Face detector. Unset: the only one that was added, or the bundled one where none was.
    #[arg(long, value_name = "NAME")]
    detector: Option<String>,
    /// Embedder. Unset: the only one that was added, or the bundled one where none was.
    #[arg(long, value_name = "NAME")]
    embedder: Option<String>,
    /// Mask classifier. Unset: the bundled one.
    #[arg(long, value_name = "NAME")]
    mask: Option<String>,
    /// Rendered people; frames of halls and photographs for the detector go along. 1000: minutes; 100: less than one.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    identities: u32,
    /// Photographs of each person that are compared with the official one.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    probes: u16,
    /// Of photographs, 0 official portraits, 1 any pose, light and camera; for the detector from 0 to this.
    #[arg(long, value_name = "0…1", default_value_t = 0.5)]
    difficulty: f32,
    /// Least score of a face.
    #[arg(long, value_name = "0…1", default_value_t = 0.6)]
    score: f32,
    /// Longest side of the detector's input, for one without a size of its own; pictures are never enlarged.
    #[arg(long, value_name = "PX", default_value_t = 1_280, value_parser = clap::value_parser!(u16).range(64..=4_096))]
    input_px: u16,
    /// Photographs of real people too: NAME_a.jpg, NAME_b.jpg, … or a folder for each. Whoever is shown must have agreed.
    #[arg(long, value_name = "DIR")]
    photographs: Option<PathBuf>,
    /// Nothing but the photographs.
    #[arg(long, requires = "photographs")]
    only_photographs: bool,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
struct Plan {
    first_seed: u64,
    identities: usize,
    probes: u16,
    /// Of halls.
    frames: usize,
    difficulty: f32,
}

impl Plan {
    /// Photographs of a single face at each width.
    const fn per_width(&self) -> usize {
        if self.identities < 4 { 1 } else { self.identities / 4 }
    }
}

#[derive(Serialize)]
struct Report {
    detector: String,
    embedder: Option<String>,
    mask: Option<String>,
    score: f32,
    input_px: Option<u32>,
    rendered: Option<Rendered>,
    photographs: Option<Photographs>,
}

#[derive(Serialize)]
struct Rendered {
    plan: Plan,
    finding: Finding,
    telling: Option<Telling>,
    masks: Option<Masks>,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    for (name, value) in [("difficulty", args.difficulty), ("score", args.score)] {
        if !(0.0..=1.0).contains(&value) {
            return Err(Failed::new(Exit::Usage, anyhow::anyhow!("--{name} {value} is not within 0…1")));
        }
    }
    if let Some(folder) = &args.photographs {
        present(folder)?;
        // Somebody who names a site means it: where it is not there, what its mode says is not known.
        let root = context.state.root();
        if root != Path::new(crate::state::DEFAULT) {
            present(root)?;
        }
        evaluation::photographs(&context.state.site()).map_err(|reason| Failed::refused(&reason))?;
    }
    let (bench, detector) = bench(context, args)?;
    let mut labs = Lab::several(&bench)?;
    let identities = args.identities as usize;
    let plan = Plan { first_seed: FIRST_SEED, identities, probes: args.probes, frames: identities, difficulty: args.difficulty };
    let pictures = args.photographs.as_ref().map(|folder| photographs::list(folder)).transpose()?.unwrap_or_default();
    let bar = progress(context, jobs(args, &bench, plan) + pictures.len() as u64)?;
    let rendered = if args.only_photographs { None } else { Some(rendered(&mut labs, &bench, plan, &bar)?) };
    let of_folder = |folder: &PathBuf| {
        bar.set_message("photographs");
        photographs::measure(&mut labs, folder, &pictures, &bar)
    };
    let photographs = args.photographs.as_ref().map(of_folder).transpose()?;
    bar.finish_and_clear();
    let input_px = detector.input.width.is_none().then_some(u32::from(bench.input_px));
    let Bench { embedder, mask, score, .. } = bench;
    let report = Report { detector: detector.name, embedder, mask, score, input_px, rendered, photographs };
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        report.print(&mut out)?;
    }
    Ok(Exit::Success)
}

/// The models, each of its task.
fn bench(context: &Context, args: &Args) -> Result<(Bench, Manifest), Failed> {
    let named = |name: &Option<String>, task: Task, what: &str| -> Result<Manifest, Failed> {
        let name = name.clone().map_or_else(|| only_model(context, task, what), Ok)?;
        let (manifest, _) = store::open(&context.state, &name).map_err(store_failed)?;
        if manifest.task == task {
            return Ok(manifest);
        }
        Err(store_failed(store::StoreError::WrongTask { name, got: manifest.task, want: task }))
    };
    let detector = named(&args.detector, Task::FaceDetector, "face detector")?;
    let embedder = named(&args.embedder, Task::FaceEmbedder, "embedder")?;
    let is_mask = |model: &Bundled| model.manifest.task == Task::MaskClassifier;
    let bundled = || bundled::all().find(|(_, model)| model.as_ref().is_ok_and(is_mask)).map(|(name, _)| name.to_owned());
    let mask = match &args.mask {
        Some(_) => Some(named(&args.mask, Task::MaskClassifier, "mask classifier")?.name),
        None => bundled(),
    };
    let bench = Bench {
        state: context.state.clone(),
        detector: detector.name.clone(),
        embedder: Some(embedder.name),
        mask,
        score: args.score,
        input_px: args.input_px,
    };
    Ok((bench, detector))
}

/// What the progress bar counts, without photographs.
fn jobs(args: &Args, bench: &Bench, plan: Plan) -> u64 {
    if args.only_photographs {
        return 0;
    }
    let people = plan.identities * (usize::from(bench.embedder.is_some()) + usize::from(bench.mask.is_some()));
    (WIDTHS.len() * plan.per_width() + finding::halls(plan) + people) as u64
}

fn rendered(labs: &mut [Lab], bench: &Bench, plan: Plan, bar: &ProgressBar) -> anyhow::Result<Rendered> {
    bar.set_message("finding faces");
    let finding = finding::measure(labs, plan, bar)?;
    bar.set_message("telling people apart");
    let telling = bench.embedder.is_some().then(|| people::measure(labs, plan, bar)).transpose()?;
    bar.set_message("seeing masks");
    let masks = bench.mask.is_some().then(|| people::measure_masks(labs, plan, bar)).transpose()?;
    Ok(Rendered { plan, finding, telling, masks })
}

/// On standard error, if that is a terminal and no machine reads.
fn progress(context: &Context, jobs: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(jobs);
    bar.set_style(ProgressStyle::with_template("{bar:40} {percent:>3} %  {elapsed} of about {duration}  {msg}")?);
    if context.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    Ok(bar)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

impl Report {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let input = self.input_px.map_or_else(String::new, |px| format!(", input up to {px} px"));
        writeln!(out, "detector  {} (score {:.2} and more{input})", self.detector, self.score)?;
        if let Some(Rendered { plan, finding, telling, masks }) = &self.rendered {
            let Plan { first_seed, identities, difficulty, .. } = plan;
            writeln!(out, "  rendered people, seeds from {first_seed}; photographs of difficulty 0 to {difficulty}")?;
            print_finding(out, finding)?;
            if let (Some(name), Some(telling)) = (&self.embedder, telling) {
                writeln!(out, "embedder  {name}")?;
                writeln!(
                    out,
                    "  {identities} rendered people, an official portrait and {} photographs of difficulty {difficulty} each",
                    plan.probes
                )?;
                print_telling(out, telling)?;
            }
            if let (Some(name), Some(Masks { bare, masked })) = (&self.mask, masks) {
                writeln!(out, "mask classifier  {name}")?;
                for (what, Class { photographs, found, right, accuracy }) in [("bare", bare), ("masked", masked)] {
                    writeln!(out, "  {what:<6}  right {right} of {found} ({}); {photographs} photographs", percent(*accuracy))?;
                }
            }
        }
        let Some(photographs) = &self.photographs else { return Ok(()) };
        let Photographs { folder, pictures, unreadable, found, recall, telling, said_masked } = photographs;
        writeln!(out, "photographs  {}", folder.display())?;
        let readable = pictures - unreadable;
        writeln!(out, "  a face found in {found} of {readable} ({}); {unreadable} unreadable", percent(*recall))?;
        if let Some(telling) = telling {
            print_telling(out, telling)?;
        }
        match said_masked {
            Some(share) => writeln!(out, "  said to wear a mask: {}", percent(*share)),
            None => Ok(()),
        }
    }
}

fn print_finding(out: &mut impl Write, finding: &Finding) -> std::io::Result<()> {
    writeln!(out, "  face width  photographs  found      landmarks off by (mean, 95 %)  in halls  found")?;
    for row in &finding.by_width {
        let off =
            row.landmark_error.map_or_else(String::new, |Spread { mean, p95 }| format!("{:.1} %, {:.1} %", 100.0 * mean, 100.0 * p95));
        writeln!(
            out,
            "  {:>7} px  {:>11}  {:<9}  {off:<29}  {:>8}  {}",
            row.width_px,
            row.photographs,
            percent(row.recall),
            row.hall_faces,
            percent(row.hall_recall)
        )?;
    }
    let halls = &finding.halls;
    writeln!(out, "  false boxes: {} in {} frames, {:.2} per 1,000", halls.false_boxes, halls.frames, halls.false_boxes_per_1000_frames)
}

fn print_telling(out: &mut impl Write, t: &Telling) -> std::io::Result<()> {
    writeln!(
        out,
        "  gallery of {}, {} probes; found {} and {}; {} genuine and {} impostor pairs",
        t.gallery,
        t.probes,
        percent(t.gallery_found),
        percent(t.probes_found),
        t.genuine_pairs,
        t.impostor_pairs
    )?;
    for at in &t.at {
        writeln!(out, "  TAR {} at FAR {:.0e} (more than {:.3})", percent(at.tar), at.far, at.threshold)?;
    }
    if let Some(equal) = t.equal_error {
        writeln!(out, "  EER {} (at {:.3})", percent(equal.rate), equal.threshold)?;
    }
    writeln!(out, "  rank-1 {}", percent(t.rank_1))
}
