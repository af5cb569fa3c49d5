//! One measurement: N streams at F frames a second for S seconds through the whole appliance.
//!
//! The bench runs in a directory of its own, `bench-PID` in the site's: links to the site's models, galleries, keys and register, and a
//! journal that is thrown away. The register is read where it lies, so the law holds here too: where a sign is withdrawn, also meanwhile, the
//! bench sees nothing and ends. Sinks are left out: nobody is told of a bench's hits. The directory goes with the bench, also on TERM
//! and INT; what a killed bench left is removed by the next.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;

use crate::appliance::{Appliance, Plan, Plane, Sources};
use crate::clock::{Clock, SystemClock};
use crate::commands::exits::{present, start_failed};
use crate::commands::run::Usage;
use crate::commands::{Exit, Failed};
use crate::config::limits;
use crate::config::load::Loaded;
use crate::config::source::SourceSpec;
use crate::emit::record::Record;
use crate::frame::StreamIndex;
use crate::latency::{CAPTURE_TO_DONE, PercentilesMs, StepSnapshot};
use crate::shutdown::Shutdown;
use crate::state::StateDirectory;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub streams: usize,
    pub fps: f64,
    pub seconds: f64,
    /// Not measured, before.
    pub warmup_s: f64,
}

/// What came out. The documented JSON object.
#[derive(Clone, Serialize)]
pub struct Measured {
    pub streams: usize,
    pub offered_fps: f64,
    /// Looked at, or passed over on purpose by `detect_every`.
    pub processed_fps: f64,
    /// Looked at.
    pub detected_fps: f64,
    /// Offered and neither: overwritten because the machine was behind.
    pub missed: u64,
    pub offered: u64,
    pub cpu_s_per_frame: f64,
    pub cores_busy: f64,
    pub latency_ms: PercentilesMs,
    pub steps: BTreeMap<String, PercentilesMs>,
    pub events: u64,
    #[serde(skip)]
    pub snapshots: Vec<StepSnapshot>,
}

impl Measured {
    pub fn missed_share(&self) -> f64 {
        self.missed as f64 / (self.offered as f64).max(1.0)
    }
}

/// The bench's own state directory; removed when it goes.
pub struct BenchSite {
    state: StateDirectory,
    loaded: Loaded,
    clips: Vec<PathBuf>,
}

impl Drop for BenchSite {
    fn drop(&mut self) {
        // Links and a throw-away journal; what cannot be removed now is in nobody's way.
        let _left = std::fs::remove_dir_all(self.state.root());
    }
}

impl BenchSite {
    /// `clips` take the place of streams that are not files.
    pub fn new(site: &StateDirectory, loaded: Loaded, clips: &[PathBuf]) -> Result<Self, Failed> {
        if !site.site().is_file() {
            let text = anyhow!("no site in {}: `placard commission SITE_FILE` makes one", site.root().display());
            return Err(Failed::new(Exit::Config, text));
        }
        clips.iter().try_for_each(|clip| present(clip))?;
        let root = site.root().join(format!("bench-{}", std::process::id()));
        sweep(site.root());
        std::fs::DirBuilder::new().mode(0o700).create(&root).with_context(|| format!("creating {}", root.display()))?;
        let mut own = Self { state: StateDirectory::new(&root), loaded, clips: Vec::new() };
        let link = |name: &str| -> anyhow::Result<()> {
            let target = site.root().canonicalize()?.join(name);
            if target.exists() {
                std::os::unix::fs::symlink(target, root.join(name))?;
            }
            Ok(())
        };
        ["models", "gallery", "keys", "site.toml", "register.redb"].into_iter().try_for_each(link)?;
        let clips =
            clips.iter().map(|c| c.canonicalize().with_context(|| format!("finding {}", c.display()))).collect::<anyhow::Result<_>>()?;
        own.clips = clips;
        Ok(own)
    }

    /// The pipeline with `count` streams, each a copy of one of the file's, and what the register calls each.
    fn pipeline(&self, count: usize) -> anyhow::Result<(Loaded, Vec<Arc<str>>)> {
        let mut loaded = self.loaded.clone();
        loaded.pipeline.emit.mqtt = None;
        loaded.pipeline.emit.webhook = None;
        loaded.pipeline.emit.journal.directory = None;
        let mut stands_for = Vec::with_capacity(count);
        loaded.pipeline.streams = Vec::new();
        for i in 0..count {
            let place = i % self.loaded.pipeline.streams.len();
            let original = &self.loaded.pipeline.streams[place];
            let mut stream = original.clone();
            stream.name = format!("bench-{i}");
            stream.gst = None;
            stream.source = format!("file:{}", self.clip(place, i)?.display());
            stands_for.push(original.name.as_str().into());
            loaded.pipeline.streams.push(stream);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let base = self.loaded.path.parent().unwrap_or(Path::new("."));
        let derived = limits::derive(&mut loaded.pipeline, base, cores);
        let Some(limits) = derived.limits else {
            bail!("{}", derived.faults.iter().map(|f| format!("{}: {}", f.key, f.message)).collect::<Vec<_>>().join("; "))
        };
        loaded.limits = limits;
        Ok((loaded, stands_for))
    }

    fn clip(&self, place: usize, i: usize) -> anyhow::Result<PathBuf> {
        if !self.clips.is_empty() {
            return Ok(self.clips[i % self.clips.len()].clone());
        }
        match &self.loaded.limits.streams[place].source {
            SourceSpec::File { path } => Ok(path.clone()),
            other => {
                bail!("stream `{}` is {other}: the bench plays files; give it some with --clip", self.loaded.pipeline.streams[place].name)
            }
        }
    }

    /// Runs one load, unless `stop` is requested. `progress` hears the seconds that have passed.
    pub fn measure(&self, load: Load, stop: &Shutdown, progress: &mut dyn FnMut(f64)) -> Result<Measured, Failed> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds times frames per second")]
        let frames = ((load.seconds + load.warmup_s) * load.fps).ceil() as u64;
        let (loaded, stands_for) = self.pipeline(load.streams)?;
        let plan = Plan {
            loaded,
            state: self.state.clone(),
            clock: SystemClock::shared(),
            sources: Sources::Paced { fps: load.fps, frames, stands_for },
            record: Record::of(&self.state),
            near_filing: Arc::default(),
        };
        let appliance = Appliance::start(plan).map_err(start_failed)?;
        let plane = appliance.plane().context("the appliance stopped at once")?;
        let begun_at = SystemClock.monotonic();
        let elapsed_s = || SystemClock.monotonic().since_ns(begun_at) as f64 / 1e9;
        let head_s = crate::appliance::HEAD_START.as_secs_f64();
        while elapsed_s() < head_s + load.warmup_s && !stop.wait(Duration::from_millis(20)) {}
        plane.latencies.reset();
        let (begin, before) = (Usage::now()?, Counts::of(&plane));
        // A frame that is withheld ends it: the law no longer allows this bench.
        while !plane.sources_ended() && Counts::of(&plane).withheld == before.withheld && !stop.wait(Duration::from_millis(100)) {
            progress((elapsed_s() - head_s - load.warmup_s).max(0.0));
        }
        appliance.stop();
        if stop.is_requested() {
            return Err(anyhow!("ended by a signal: nothing was measured").into());
        }
        measured(load, &plane, &begin, before)
    }
}

/// Removes what benches left that are no more.
fn sweep(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.strip_prefix("bench-")).and_then(|n| n.parse::<i32>().ok());
        let gone = |pid| matches!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH));
        if pid.is_some_and(|pid| pid > 0 && (gone(pid) || pid.unsigned_abs() == std::process::id())) {
            // Links are removed, not followed.
            match std::fs::remove_dir_all(entry.path()) {
                Ok(()) => tracing::info!(directory = %entry.path().display(), "removed what an earlier bench left"),
                Err(error) => tracing::warn!(directory = %entry.path().display(), %error, "an earlier bench's journal cannot be removed"),
            }
        }
    }
}

/// Counts over all streams at one moment.
#[derive(Clone, Copy)]
struct Counts {
    offered: u64,
    detected: u64,
    skipped: u64,
    withheld: u64,
}

impl Counts {
    fn of(plane: &Plane) -> Self {
        let sum = |count: &dyn Fn(usize) -> u64| (0..plane.streams.len()).map(count).sum();
        Self {
            offered: sum(&|i| plane.streams[i].ingest.frames_total.get()),
            detected: sum(&|i| plane.last_look.frames(StreamIndex(u16::try_from(i).unwrap_or(u16::MAX)))),
            skipped: sum(&|i| plane.streams[i].batch.frames_skipped.get()),
            withheld: sum(&|i| plane.streams[i].batch.frames_withheld.get()),
        }
    }
}

fn measured(load: Load, plane: &Plane, begin: &Usage, before: Counts) -> Result<Measured, Failed> {
    let after = Counts::of(plane);
    let withheld = after.withheld - before.withheld;
    if withheld > 0 {
        let reasons: Vec<String> =
            plane.policy.snapshot().iter().map(|s| format!("{}: {} ({})", s.name, s.state.name(), s.reason)).collect();
        let text = anyhow!("{withheld} frames were withheld: the site's law does not allow this bench: {}", reasons.join("; "));
        return Err(Failed::new(Exit::Refused, text));
    }
    let usage = Usage::now()?;
    let wall_s = usage.wall_s_since(begin);
    let cpu_s = usage.cpu_s_since(begin);
    let (offered, detected) = (after.offered - before.offered, after.detected - before.detected);
    if offered == 0 {
        return Err(anyhow!("no frame was offered within {} s", load.seconds).into());
    }
    let processed = detected + (after.skipped - before.skipped);
    let snapshots = plane.latencies.snapshot()?;
    let journey = snapshots.iter().find(|s| &*s.name == CAPTURE_TO_DONE);
    Ok(Measured {
        streams: load.streams,
        offered_fps: offered as f64 / wall_s,
        processed_fps: processed as f64 / wall_s,
        detected_fps: detected as f64 / wall_s,
        missed: offered.saturating_sub(processed),
        offered,
        cpu_s_per_frame: cpu_s / processed.max(1) as f64,
        cores_busy: cpu_s / wall_s,
        latency_ms: journey.map(StepSnapshot::percentiles_ms).unwrap_or_default(),
        steps: snapshots.iter().map(|s| (s.name.to_string(), s.percentiles_ms())).collect(),
        events: plane.emitter.lock().counters.events.get(),
        snapshots,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_bench_left_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().expect("temporary directory");
        // Above the kernel's largest process id: nobody has it.
        let (dead, alive) = (directory.path().join("bench-2147483646"), directory.path().join("bench-1"));
        let (elsewhere, other) = (directory.path().join("gallery"), directory.path().join("bench-notes"));
        for path in [dead.join("journal"), alive.clone(), elsewhere.clone(), other.clone()] {
            std::fs::create_dir_all(path).expect("made");
        }
        std::fs::write(elsewhere.join("vault.redb"), "x").expect("written");
        std::os::unix::fs::symlink(&elsewhere, dead.join("gallery")).expect("linked");
        sweep(directory.path());
        assert!(!dead.exists() && alive.exists() && other.exists() && elsewhere.join("vault.redb").exists());
    }
}
