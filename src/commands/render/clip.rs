//! A scene as a clip (H.264 in Matroska), and the truth about every frame of it beside the clip.
//!
//! The demonstration takes its clips and its truth from here too.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Context, Exit, Failed, progress_bar};
use crate::ingest::rendered::{FPS, HEIGHT, WIDTH};
use crate::render::encode::{Film, encode_drawn};
use crate::render::scene::{Scene, SceneError};
use crate::render::sprite::Planes;
use crate::render::truth::{FaceTruth, NamedArea};

#[derive(clap::Args)]
pub struct Clip {
    /// `placard render scenes` lists them.
    scene: String,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How long the clip is; with `--turns` as long as they take.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600), value_name = "S", conflicts_with = "turns")]
    seconds: u64,
    /// Let everything come again after so many turns, and end there: a clip that can be played round and round without a seam.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64), value_name = "N")]
    turns: Option<u32>,
    /// Share of the people who wear a mask; unset: as many as the scene has it.
    #[arg(long, value_parser = super::pictures::share, value_name = "0…1")]
    masked: Option<f32>,
    /// The clip; the truth goes beside it, with the ending `.truth.jsonl`.
    #[arg(long, value_name = "FILE.mkv")]
    out: PathBuf,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub struct Take {
    pub scene: String,
    pub seed: u64,
    /// See [`Scene::repeat_after`]; 0: never.
    pub turns: u32,
    /// See [`Scene::wear_masks`]; `None`: as the scene has it.
    pub masked: Option<f32>,
}

/// What is true of a clip, frame by frame.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub areas: Vec<NamedArea>,
    pub frames: Vec<Vec<FaceTruth>>,
}

/// The first line of a truth file; readers skip what they do not know.
#[derive(Serialize, Deserialize)]
struct Head {
    scene: String,
    seed: u64,
    turns: u32,
    masked: Option<f32>,
    fps: u32,
    width: u32,
    height: u32,
    areas: Vec<NamedArea>,
    sign_code_corners: Option<[(f32, f32); 4]>,
}

/// Every further line.
#[derive(Serialize, Deserialize)]
struct Line {
    frame: u64,
    faces: Vec<FaceTruth>,
}

impl Take {
    /// The scene, ready to be drawn.
    pub fn open(&self) -> Result<Scene, SceneError> {
        let mut scene = Scene::open(&self.scene, self.seed, WIDTH as usize, HEIGHT as usize)?;
        scene.repeat_after(self.turns);
        self.masked.iter().for_each(|share| scene.wear_masks(*share));
        Ok(scene)
    }

    /// How many frames `seconds` are, or, where it comes again, the frames until then.
    pub fn frames(&self, scene: &Scene, seconds: u64) -> u64 {
        scene.period_s().map_or(seconds * u64::from(FPS), |period_s| (period_s * f64::from(FPS)).round() as u64)
    }

    /// Draws `frames` frames, into a clip if one is named. `each` is called after every frame.
    pub fn shoot(&self, scene: &mut Scene, frames: u64, clip: Option<&Path>, each: &mut dyn FnMut()) -> anyhow::Result<Script> {
        let mut script = Script { areas: scene.areas().to_vec(), frames: Vec::new() };
        let mut draw = |frame: u64, planes: &mut Planes| {
            script.frames.push(scene.draw(frame, f64::from(FPS), planes));
            each();
        };
        match clip {
            Some(path) => {
                let film = Film { width: WIDTH, height: HEIGHT, fps: FPS, frames };
                encode_drawn(film, path, &mut draw).with_context(|| format!("encoding {}", path.display()))?;
            }
            None => {
                let mut planes = Planes::default();
                (0..frames).for_each(|frame| draw(frame, &mut planes));
            }
        }
        Ok(script)
    }

    /// One line about the scene, then one a frame.
    pub fn write(&self, scene: &Scene, script: &Script, path: &Path) -> anyhow::Result<()> {
        let head = Head {
            scene: self.scene.clone(),
            seed: self.seed,
            turns: self.turns,
            masked: self.masked,
            fps: FPS,
            width: WIDTH,
            height: HEIGHT,
            areas: script.areas.clone(),
            sign_code_corners: scene.code_corners(),
        };
        let mut text = serde_json::to_string(&head)? + "\n";
        for (frame, faces) in (0..).zip(&script.frames) {
            text += &serde_json::to_string(&Line { frame, faces: faces.clone() })?;
            text.push('\n');
        }
        let mut file = std::fs::File::create(path).with_context(|| format!("writing {}", path.display()))?;
        file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
    }
}

impl Script {
    /// Reads what [`Take::write`] wrote.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut lines = text.lines();
        let head: Head = serde_json::from_str(lines.next().unwrap_or_default()).with_context(|| format!("{}:1", path.display()))?;
        let frame = |(number, line): (usize, &str)| -> anyhow::Result<Vec<FaceTruth>> {
            let line: Line = serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), number + 2))?;
            Ok(line.faces)
        };
        Ok(Self { areas: head.areas, frames: lines.enumerate().map(frame).collect::<anyhow::Result<_>>()? })
    }
}

impl Clip {
    pub fn make(&self, context: &Context) -> Result<Value, Failed> {
        let take = Take { scene: self.scene.clone(), seed: self.seed, turns: self.turns.unwrap_or(0), masked: self.masked };
        let mut scene = take.open().map_err(|e| Failed::new(Exit::Usage, e))?;
        let frames = take.frames(&scene, self.seconds);
        let bar = progress_bar(context, frames, "frames")?;
        let script = take.shoot(&mut scene, frames, Some(&self.out), &mut || bar.inc(1))?;
        bar.finish_and_clear();
        let path = self.out.with_extension("truth.jsonl");
        take.write(&scene, &script, &path)?;
        let faces: usize = script.frames.iter().map(Vec::len).sum();
        Ok(json!({ "clip": self.out, "frames": frames, "faces": faces, "truth": path }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let take = Take { scene: "corridor".to_owned(), seed: 3, turns: 1, masked: None };
        let mut scene = Scene::open("corridor", 3, 320, 180).expect("a scene");
        scene.repeat_after(take.turns);
        assert_eq!(take.frames(&scene, 0), 210, "14 s of 15 frames");
        let script = take.shoot(&mut scene, 3, None, &mut || {}).expect("drawn");
        let path = folder.path().join("corridor.truth.jsonl");
        take.write(&scene, &script, &path).expect("written");
        let read = Script::read(&path).expect("read");
        assert!(read.areas == script.areas && read.frames == script.frames && read.frames.iter().any(|f| !f.is_empty()));
        std::fs::write(&path, "nonsense\n").expect("writable");
        assert!(Script::read(&path).expect_err("no head").to_string().ends_with("corridor.truth.jsonl:1"));
    }
}
