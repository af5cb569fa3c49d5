//! `placard render`: clips, pictures and photographs of people who do not exist, with the truth about each.
//!
//! Everything is decided by the seeds given: the same command makes the same files on the same machine, however many threads draw.

mod pictures;

use std::io::Write;
use std::path::{Path, PathBuf};

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
    Clip(Clip),
    /// Labelled pictures for a detector: frames of many scenes and single faces; COCO keypoints.
    Detection(pictures::Detection),
    /// Photographs for an embedder: one folder per identity; the first of each is fit for enrolment.
    Faces(pictures::Faces),
}

#[cfg(feature = "gst")]
#[derive(clap::Args)]
struct Clip {
    /// `placard render scenes` lists them.
    scene: String,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600), value_name = "S")]
    seconds: u64,
    /// The clip; the truth goes beside it, with the ending `.truth.jsonl`.
    #[arg(long, value_name = "FILE.mkv")]
    out: PathBuf,
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

#[cfg(feature = "gst")]
impl Clip {
    fn make(&self, context: &Context) -> Result<Value, Failed> {
        use crate::ingest::rendered::{FPS, HEIGHT, WIDTH};
        use crate::render::encode::{Film, encode_drawn};
        use crate::render::scene::Scene;

        let mut scene = Scene::open(&self.scene, self.seed, WIDTH as usize, HEIGHT as usize).map_err(|e| Failed::new(Exit::Usage, e))?;
        let film = Film { width: WIDTH, height: HEIGHT, fps: FPS, frames: self.seconds * u64::from(FPS) };
        let bar = progress_bar(context, film.frames, "frames")?;
        let head = json!({
            "scene": self.scene,
            "seed": self.seed,
            "fps": FPS,
            "width": WIDTH,
            "height": HEIGHT,
            "areas": scene.areas(),
            "sign_code_corners": scene.code_corners(),
        });
        let mut truth = vec![head.to_string()];
        let mut faces = 0;
        encode_drawn(film, &self.out, &mut |frame, planes| {
            let seen = scene.draw(frame, f64::from(FPS), planes);
            faces += seen.len();
            truth.push(json!({ "frame": frame, "faces": seen }).to_string());
            bar.inc(1);
        })?;
        bar.finish_and_clear();
        let path = self.out.with_extension("truth.jsonl");
        std::fs::write(&path, truth.join("\n") + "\n").with_context(|| format!("writing {}", path.display()))?;
        Ok(json!({ "clip": self.out, "frames": film.frames, "faces": faces, "truth": path }))
    }
}
