//! `placard render`: clips, pictures and photographs of people who do not exist, with the truth about each.
//!
//! Everything is decided by the seeds given: the same command makes the same files on the same machine, however many threads draw.

#[cfg(feature = "gst")]
pub mod clip;
mod pictures;

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{Context, Exit, Failed, Outcome};
use crate::render::halls::SCENES;
use crate::render::labels::Labels;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List the scenes.
    Scenes,
    /// A clip of a scene (H.264 in Matroska), and beside it the truth of every frame.
    #[cfg(feature = "gst")]
    Clip(clip::Clip),
    /// Labelled pictures for a detector: frames of many scenes and single faces; COCO keypoints.
    Detection(pictures::Detection),
    /// Photographs for an embedder: one folder per identity; the first of each is fit for enrolment.
    Faces(pictures::Faces),
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let made = match args.what {
        What::Scenes => return list(context),
        #[cfg(feature = "gst")]
        What::Clip(clip) => clip.make(context)?,
        What::Detection(detection) => detection.make(context)?,
        What::Faces(faces) => faces.make(context)?,
    };
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{made}")?;
    } else {
        let entries = made.as_object().into_iter().flatten().map(|(key, value)| match value {
            Value::String(text) => format!("{key} {text}"),
            other => format!("{key} {other}"),
        });
        writeln!(out, "{}", entries.collect::<Vec<_>>().join(" · "))?;
    }
    Ok(Exit::Success)
}

fn list(context: &Context) -> Outcome {
    let mut out = std::io::stdout().lock();
    for (name, shows) in SCENES {
        if context.json {
            writeln!(out, "{}", json!({ "scene": name, "shows": shows }))?;
        } else {
            writeln!(out, "{name:<12} {shows}")?;
        }
    }
    Ok(Exit::Success)
}

/// A bar on standard error, if that is a terminal and no machine reads.
fn progress_bar(context: &Context, all: u64, what: &str) -> Result<ProgressBar, Failed> {
    let bar = ProgressBar::new(all);
    bar.set_style(ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {what}  {{elapsed}} of about {{duration}}"))?);
    if context.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    Ok(bar)
}

/// An empty or new folder: nothing of the operator's is overwritten.
fn new_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
    let mut entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    ensure!(entries.next().is_none(), "{} is not empty: name a new folder", path.display());
    Ok(())
}

fn write_labels(folder: &Path, labels: Labels, about: &str) -> anyhow::Result<()> {
    let path = folder.join("labels.json");
    std::fs::write(&path, labels.into_json(about).to_string()).with_context(|| format!("writing {}", path.display()))
}
