//! What the demonstration looks at and whom it looks for: halls, people and photographs, all drawn here.
//!
//! What was drawn by this very build of the program is kept and used again; anything older goes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, anyhow, ensure};

use super::judge;
use super::stage::{CASE, MISSING, OTHER_CASE, SHOWS, Show};
use crate::commands::render::clip::Script;
use crate::render::portrait::{Conditions, photograph};
use crate::render::scene::identity_name;

/// People of each watch list who never appear.
const ABSENT: u64 = 10;
const ABSENT_FROM_SEED: u64 = 0xab5e_0000;

/// A stream with what is true of it.
pub struct Staged {
    pub show: &'static Show,
    pub script: Script,
    pub clip: Option<PathBuf>,
}

/// Somebody enrolled.
#[derive(Clone, Debug)]
pub struct Person {
    pub identity: String,
    pub purpose: &'static str,
    pub photograph: PathBuf,
}

/// Everything the demonstration shows.
pub struct Media {
    pub staged: Vec<Staged>,
    pub watched: Vec<Person>,
}

impl Media {
    pub fn staged(&self, stream: &str) -> Option<&Staged> {
        self.staged.iter().find(|s| s.show.stream == stream)
    }
    pub fn person(&self, identity: &str) -> Option<&Person> {
        self.watched.iter().find(|p| p.identity == identity)
    }
}

/// How far preparing is; called from several threads.
pub trait Progress: Sync {
    fn begin(&self, steps: u64);
    fn step(&self);
}

/// Draws what is not there yet.
pub fn prepare(directory: &Path, progress: &dyn Progress) -> anyhow::Result<Media> {
    std::fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let build = build_stamp()?;
    remove_of_other_builds(directory, &build)?;
    let stop = AtomicBool::new(false);
    let staged = std::thread::scope(|scope| {
        let drawing: Vec<_> = SHOWS.iter().map(|show| scope.spawn(|| stage(show, directory, &build, progress, &stop))).collect();
        drawing.into_iter().map(|d| d.join().map_err(|_panic| anyhow!("a drawing thread broke"))?).collect::<anyhow::Result<Vec<_>>>()
    })?;
    let watched = photographed(cast(&staged), directory, &build, progress)?;
    Ok(Media { staged, watched })
}

/// The program's size and age: another build may draw other pixels.
fn build_stamp() -> anyhow::Result<String> {
    let program = std::env::current_exe().and_then(std::fs::metadata).context("looking at this program")?;
    let age = program.modified()?.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    Ok(format!("{:08x}", (age as u64 ^ program.len().rotate_left(40)) as u32 ^ ((age as u64) >> 32) as u32))
}

fn remove_of_other_builds(directory: &Path, build: &str) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = name.ends_with(".mkv") || name.ends_with(".truth.jsonl") || name.ends_with(".png");
        if ours && !name.contains(build) {
            std::fs::remove_file(entry.path()).with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// The show's truth and, unless it is drawn while it runs, its clip. Files get their names once they are complete.
fn stage(show: &'static Show, directory: &Path, build: &str, progress: &dyn Progress, stop: &AtomicBool) -> anyhow::Result<Staged> {
    let take = show.take();
    let masks = if show.masks { "-masks" } else { "" };
    let stem = format!("{}-{}-{}{masks}-{build}", take.scene, take.seed, take.turns);
    let truth = directory.join(format!("{stem}.truth.jsonl"));
    let clip = show.is_clip().then(|| directory.join(format!("{stem}.mkv")));
    if let Ok(script) = Script::read(&truth)
        && clip.as_ref().is_none_or(|c| c.exists())
    {
        return Ok(Staged { show, script, clip });
    }
    ensure!(!stop.load(Relaxed), "drawing another hall failed");
    let drawn = (|| {
        let mut scene = take.open()?;
        let frames = take.frames(&scene, 0);
        progress.begin(frames);
        let unfinished = |path: &Path| path.with_extension("unfinished");
        let script = take.shoot(&mut scene, frames, clip.as_deref().map(unfinished).as_deref(), &mut || progress.step())?;
        take.write(&scene, &script, &unfinished(&truth))?;
        clip.iter().chain([&truth]).try_for_each(|path| std::fs::rename(unfinished(path), path))?;
        Ok(Staged { show, script, clip: clip.clone() })
    })();
    drawn.inspect_err(|_: &anyhow::Error| stop.store(true, Relaxed)).with_context(|| format!("drawing `{}`", show.stream))
}

/// Whom to look for, and for what: two of three of those whom a stream clearly shows. One more walks through the hall while wanted for a
/// purpose that does not hold there, and some never come.
fn cast(staged: &[Staged]) -> Vec<(String, &'static str)> {
    let mut people = Vec::new();
    for Staged { show, script, .. } in staged.iter().filter(|s| s.show.identifies()) {
        for (i, identity) in judge::clearly_shown(script).into_iter().enumerate() {
            match (i % 3, show.purposes) {
                (0 | 1, &[MISSING, other]) => {
                    let taken = people.iter().any(|(_, purpose)| *purpose == MISSING);
                    people.push((identity, if taken { other } else { MISSING }));
                }
                (0 | 1, _) => people.push((identity, show.purposes[i % show.purposes.len()])),
                (_, [CASE]) => people.push((identity, OTHER_CASE)),
                _ => {}
            }
        }
    }
    for (i, purpose) in [OTHER_CASE, CASE].into_iter().enumerate() {
        people.extend((0..ABSENT).map(|n| (identity_name(ABSENT_FROM_SEED + n + ABSENT * i as u64), purpose)));
    }
    people
}

/// Takes everybody's official photograph.
fn photographed(cast: Vec<(String, &'static str)>, directory: &Path, build: &str, progress: &dyn Progress) -> anyhow::Result<Vec<Person>> {
    let at = &|identity: &str| directory.join(format!("{identity}-{build}.png"));
    let missing: Vec<&str> = cast.iter().map(|(identity, _)| identity.as_str()).filter(|identity| !at(identity).exists()).collect();
    progress.begin(missing.len() as u64);
    let half = missing.len().div_ceil(2).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = missing
            .chunks(half)
            .map(|part| {
                scope.spawn(move || -> anyhow::Result<()> {
                    for identity in part {
                        let shot = photograph(seed_of(identity)?, 0, Conditions::official());
                        let unfinished = at(identity).with_extension("unfinished");
                        shot.image.save_with_format(&unfinished, image::ImageFormat::Png)?;
                        std::fs::rename(unfinished, at(identity))?;
                        progress.step();
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|w| w.join().map_err(|_panic| anyhow!("a photographing thread broke"))?)
    })
    .context("drawing photographs")?;
    let person = |(identity, purpose): (String, &'static str)| Person { photograph: at(&identity), identity, purpose };
    Ok(cast.into_iter().map(person).collect())
}

/// The seed that an identity's name holds.
fn seed_of(identity: &str) -> anyhow::Result<u64> {
    let digits = identity.rsplit('-').next().unwrap_or_default();
    u64::from_str_radix(digits, 16).with_context(|| format!("`{identity}` is no rendered identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_holds_its_seed() {
        assert_eq!(seed_of(&identity_name(0xfeed)).expect("one of ours"), 0xfeed);
        assert!(seed_of("mp-7 of the list").is_err());
    }
}
