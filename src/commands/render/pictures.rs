//! Labelled pictures by the thousand, drawn by as many threads as there are cores.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::Context as _;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{Context, Failed, new_folder, progress_bar, write_labels};
use crate::render::degrade::degrade;
use crate::render::halls::SCENES;
use crate::render::labels::Labels;
use crate::render::portrait::{Conditions, photograph};
use crate::render::random::Random;
use crate::render::scene::{Scene, identity_name};
use crate::render::sprite::{Planes, to_rgb};
use crate::render::truth::FaceTruth;

/// Frames taken of one scene before another is opened, and how far apart.
const FRAMES_PER_SCENE: u64 = 24;
const FRAMES_APART: u64 = 37;
/// Every so many pictures are of a single, larger face.
const SINGLE_EVERY: u64 = 4;
const JPEG_QUALITY: u8 = 93;

#[derive(clap::Args)]
pub struct Detection {
    /// Pictures.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000), value_name = "N")]
    count: u64,
    /// Where chance begins; another seed, other scenes and people.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Width of the pictures; their height is 9/16 of it, or as much where they show a single face.
    #[arg(long, default_value_t = 1_280, value_parser = clap::value_parser!(u16).range(320..=3_840), value_name = "PX")]
    width: u16,
    /// 0: as drawn; 1: blur, noise, casts, artefacts.
    #[arg(long, default_value_t = 0.6, value_parser = share, value_name = "0…1")]
    difficulty: f32,
    /// A new folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(clap::Args)]
pub struct Faces {
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000), value_name = "N")]
    identities: u64,
    /// Photographs of each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000), value_name = "N")]
    per: u64,
    /// Seed of the first identity; the next one's follows it.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    first: u64,
    /// Width and height of a photograph; the face is half as wide.
    #[arg(long, default_value_t = 192, value_parser = clap::value_parser!(u16).range(64..=1_024), value_name = "PX")]
    size: u16,
    /// 0: official portraits; 1: any pose, light and camera.
    #[arg(long, default_value_t = 0.8, value_parser = share, value_name = "0…1")]
    difficulty: f32,
    /// Share of photographs with a mask worn.
    #[arg(long, default_value_t = 0.1, value_parser = share, value_name = "0…1")]
    masked: f32,
    /// A new folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn share(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|v| (0.0..=1.0).contains(v)).ok_or_else(|| format!("`{text}` is not a number from 0 to 1"))
}

/// A picture on disk.
struct Made {
    file: String,
    size: (u32, u32),
    faces: Vec<FaceTruth>,
}

fn save(image: &RgbImage, folder: &Path, file: String, faces: Vec<FaceTruth>) -> anyhow::Result<Made> {
    let path = folder.join(&file);
    let written = File::create(&path).map_err(image::ImageError::IoError);
    written
        .and_then(|f| image.write_with_encoder(JpegEncoder::new_with_quality(BufWriter::new(f), JPEG_QUALITY)))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(Made { file, size: image.dimensions(), faces })
}

/// Does jobs `0..count` on every core; the results stand in the jobs' order, whoever did them.
fn in_parallel(count: u64, bar: &ProgressBar, job: &(dyn Fn(u64) -> anyhow::Result<Vec<Made>> + Sync)) -> anyhow::Result<Labels> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<anyhow::Result<Vec<Made>>>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Relaxed);
                    let Some(slot) = results.get(index) else { break };
                    let made = job(index as u64);
                    bar.inc(made.as_ref().map_or(0, |m| m.len() as u64));
                    if made.is_err() {
                        next.store(results.len(), Relaxed);
                    }
                    *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(made);
                }
            });
        }
    });
    let mut labels = Labels::default();
    for slot in results {
        let Some(made) = slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) else { continue };
        for Made { file, size, faces } in made? {
            labels.add(&file, size, &faces);
        }
    }
    Ok(labels)
}

impl Detection {
    pub fn make(&self, context: &Context) -> Result<Value, Failed> {
        new_folder(&self.out)?;
        let bar = progress_bar(context, self.count, "pictures")?;
        let jobs = self.count.div_ceil(FRAMES_PER_SCENE);
        let labels = in_parallel(jobs, &bar, &|job| self.batch(job))?;
        bar.finish_and_clear();
        let made = json!({ "pictures": labels.images(), "faces": labels.faces(), "folder": self.out });
        write_labels(&self.out, labels, &format!("placard render detection --count {} --seed {}", self.count, self.seed))?;
        Ok(made)
    }

    /// The pictures of one scene, some of single faces among them.
    fn batch(&self, job: u64) -> anyhow::Result<Vec<Made>> {
        let mut r = Random::new(self.seed ^ job.rotate_left(20), "detection");
        let (name, _) = r.pick(&SCENES);
        let (width, height) = (usize::from(self.width) & !1, (usize::from(self.width) * 9 / 16) & !1);
        let mut scene = Scene::open(name, r.draw(), width, height)?;
        let mut planes = Planes::default();
        let first = job * FRAMES_PER_SCENE;
        let mut made = Vec::new();
        for number in first..(first + FRAMES_PER_SCENE).min(self.count) {
            let difficulty = self.difficulty * r.unit();
            let (image, faces) = if number % SINGLE_EVERY == SINGLE_EVERY - 1 {
                let face_px = height as f32 * (0.05 * r.unit() + 0.45 * r.unit() * r.unit() + 0.04);
                let shot = photograph(r.draw(), r.draw(), Conditions { size: height, face_px, difficulty, masked: 0.15 });
                (shot.image, vec![shot.truth])
            } else {
                let faces = scene.draw((number - first) * FRAMES_APART, 15.0, &mut planes);
                (degrade(to_rgb(&planes, width, height), difficulty, 30.0, &mut r), faces)
            };
            made.push(save(&image, &self.out, format!("{number:07}.jpg"), faces)?);
        }
        Ok(made)
    }
}

impl Faces {
    pub fn make(&self, context: &Context) -> Result<Value, Failed> {
        new_folder(&self.out)?;
        let bar = progress_bar(context, self.identities * self.per, "photographs")?;
        let labels = in_parallel(self.identities, &bar, &|job| self.of_identity(self.first.wrapping_add(job)))?;
        bar.finish_and_clear();
        let made = json!({ "identities": self.identities, "photographs": labels.images(), "folder": self.out });
        write_labels(
            &self.out,
            labels,
            &format!("placard render faces --identities {} --per {} --first {}", self.identities, self.per, self.first),
        )?;
        Ok(made)
    }

    fn of_identity(&self, seed: u64) -> anyhow::Result<Vec<Made>> {
        let name = identity_name(seed);
        let folder = self.out.join(&name);
        std::fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let size = usize::from(self.size) & !1;
        let usual = Conditions { size, face_px: size as f32 * 0.5, difficulty: self.difficulty, masked: self.masked };
        (0..self.per)
            .map(|occasion| {
                let conditions = if occasion == 0 { Conditions { difficulty: 0.0, masked: 0.0, ..usual } } else { usual };
                let shot = photograph(seed, occasion, conditions);
                save(&shot.image, &self.out, format!("{name}/{occasion:04}.jpg"), vec![shot.truth])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateDirectory;

    fn context(folder: &Path) -> Context {
        Context { state: StateDirectory::new(folder.to_owned()), json: true }
    }
    fn labels(folder: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(folder.join("labels.json")).expect("labels")).expect("JSON")
    }

    #[test]
    fn a_folder_per_identity_with_its_labels() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("faces");
        let faces = Faces { identities: 3, per: 2, first: 40, size: 64, difficulty: 0.8, masked: 0.0, out: out.clone() };
        let made = faces.make(&context(folder.path())).map_err(|f| f.error).expect("made");
        assert_eq!(made["photographs"], json!(6));
        let file = labels(&out);
        assert_eq!((file["images"].as_array().map(Vec::len), file["annotations"].as_array().map(Vec::len)), (Some(6), Some(6)));
        assert_eq!(file["images"][5]["file_name"], json!("rendered-000000000000002a/0001.jpg"));
        assert!(file["images"].as_array().expect("images").iter().all(|i| out.join(i["file_name"].as_str().expect("name")).exists()));
        let again = faces.make(&context(folder.path())).map_err(|f| f.error.to_string()).expect_err("it is there already");
        assert!(again.contains("not empty"), "{again}");
    }

    #[test]
    fn pictures_for_a_detector_repeat_with_their_seed() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str, seed: u64| {
            let out = folder.path().join(name);
            let detection = Detection { count: 5, seed, width: 320, difficulty: 0.5, out: out.clone() };
            detection.make(&context(folder.path())).map_err(|f| f.error).expect("made");
            (std::fs::read(out.join("0000003.jpg")).expect("a picture"), labels(&out))
        };
        let (first, again, other) = (make("a", 1), make("b", 1), make("c", 2));
        assert!(first == again && first.0 != other.0);
        assert_eq!(first.1["images"].as_array().map(Vec::len), Some(5));
        let faces = first.1["annotations"].as_array().expect("faces");
        assert!(faces.iter().any(|f| f["image_id"] == json!(4)), "the single face");
        assert!(faces.iter().all(|f| f["keypoints"].as_array().map(Vec::len) == Some(15)));
    }
}
