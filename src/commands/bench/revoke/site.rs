//! Where the bench runs: a state directory of its own in the system's place for temporary files, with a register of its own, because signs
//! are withdrawn in it.
//!
//! Whatever the pipeline file says of shots: here every face in every picture is due to be embedded, again and again, so that the embedder always has
//! more to do than it can ([`busy`]): an embedder that has nothing to do when the leave ends proves nothing.
//!
//! Without a pipeline file: one zone, one sign, one purpose, and halls of people who do not exist, drawn as fast as they are looked at, so
//! that every step always has work waiting. With one: copies of its streams, in turn; the site's key and models are links, its register is
//! a copy in which every zone keeps the one sign that holds, and nobody is enrolled. The directory goes with the bench.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use crate::clock::{Clock, Stamp, SystemClock, Utc, format_utc};
use crate::commands::{Exit, Failed, commission};
use crate::config::limits;
use crate::config::load::{Loaded, load};
use crate::config::schema::Pipeline;
use crate::policy::facts::{Mode, Register};
use crate::policy::rules::sign_holds;
use crate::policy::store::{Present, put_as_stand_ins};
use crate::state::StateDirectory;

const DAY_NS: i64 = 86_400_000_000_000;
const DETECTOR: &str = "concourse-detector";
const EMBEDDER: &str = "concourse-embedder";

/// Removed when it goes.
pub struct RevokeSite {
    root: PathBuf,
    pub state: StateDirectory,
    pub loaded: Loaded,
    /// Withdrawn and posted again.
    pub sign: String,
    /// By place: the streams that rest on that sign.
    pub under_sign: Vec<usize>,
}

impl Drop for RevokeSite {
    fn drop(&mut self) {
        // Links, made-up facts and a throw-away journal; what cannot be removed is in nobody's way.
        let _left = std::fs::remove_dir_all(&self.root);
    }
}

/// An empty directory for this process.
fn make_root() -> anyhow::Result<PathBuf> {
    let root = std::env::temp_dir().join(format!("placard-revoke-{}", std::process::id()));
    if root.exists() {
        std::fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(&root).with_context(|| format!("creating {}", root.display()))?;
    Ok(root)
}

impl RevokeSite {
    /// `streams`: how many; unset: as many as the pipeline has, or two for each core.
    pub fn new(site: &StateDirectory, pipeline: Option<&Path>, streams: Option<usize>) -> Result<Self, Failed> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let root = make_root()?;
        // From here on the directory goes whatever happens.
        let made = match pipeline {
            None => made_up(&root, streams.unwrap_or(2 * cores)),
            Some(pipeline) => copied(&root, site, pipeline, streams, cores),
        };
        made.inspect_err(|_| {
            let _left = std::fs::remove_dir_all(&root);
        })
    }
}

fn made_up(root: &Path, streams: usize) -> Result<RevokeSite, Failed> {
    for name in [DETECTOR, EMBEDDER] {
        if crate::engine::bundled::by_name(name).is_none() {
            let why = anyhow!("this program was built without the model `{name}`: name a PIPELINE of a site that has models");
            return Err(Failed::new(Exit::Missing, why));
        }
    }
    let now = SystemClock.utc();
    let (site_file, pipeline) = (root.join("site-file.toml"), root.join("pipeline.toml"));
    let write = |path: &Path, text: String| std::fs::write(path, text).with_context(|| format!("writing {}", path.display()));
    write(&site_file, site_toml(streams, now))?;
    write(&pipeline, pipeline_toml(streams))?;
    let state = StateDirectory::new(root.join("state"));
    commission::commission(&state, &site_file, false, now)?;
    let mut loaded = load(&pipeline).map_err(|e| Failed::new(Exit::Config, e))?;
    busy(&mut loaded.pipeline);
    Ok(RevokeSite { root: root.to_owned(), state, loaded, sign: "hall-sign".to_owned(), under_sign: (0..streams).collect() })
}

/// Nobody's face is too small, too poor or too like the last one, nor is anybody ever done with.
fn busy(pipeline: &mut Pipeline) {
    if let Some(embed) = &mut pipeline.embed {
        (embed.min_face_width_px, embed.min_quality, embed.retry_improvement) = (16.0, 0.0, 0.0);
        (embed.best_shots, embed.shot_spacing_ms, embed.collect_max_ms) = (32, 0, 60_000);
    }
}

fn site_toml(streams: usize, now: Stamp<Utc>) -> String {
    let date = |days: i64| format_utc(Stamp::from_ns(now.ns() + days * DAY_NS))[..10].to_owned();
    let areas: String = (0..streams)
        .map(|i| {
            format!("[[area]]\nstream = \"hall-{i}\"\nzone = \"hall\"\npolygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]\n\n")
        })
        .collect();
    format!(
        "[site]\nname = \"bench\"\nmode = \"demo\"\ncontroller = \"Placard bench\"\ncontact = \"bench@placard.invalid\"\n\n\
         [[zone]]\nid = \"hall\"\nkind = \"public\"\n\n{areas}\
         [[sign]]\nid = \"hall-sign\"\nzone = \"hall\"\ntext = \"A search for nobody. Placard bench, bench@placard.invalid\"\n\
         languages = [\"en\"]\nposition = \"nowhere\"\ncontroller = \"Placard bench\"\ncontact = \"bench@placard.invalid\"\n\
         announces = [{{ purpose = \"crime-prevention\", language = \"en\", words = \"A search for nobody\" }}]\n\
         photo_sha256 = \"{}\"\nposted_on = {}\ninspected_at = {}\ninspected_by = \"bench\"\n\n\
         [[purpose]]\npurpose = \"crime-prevention:bench\"\nzones = [\"hall\"]\nassessment = \"bench\"\nreview_on = {}\n\
         basis = {{ kind = \"public-safety\", statute = \"none: nobody exists\", authority = \"bench\", from = {}, until = {} }}\n",
        "5e1f".repeat(16),
        date(-20),
        format_utc(Stamp::from_ns(now.ns() - DAY_NS)),
        date(90),
        date(-20),
        date(30),
    )
}

fn pipeline_toml(streams: usize) -> String {
    let streams: String = (0..streams)
        .map(|i| format!("\n[[stream]]\nname = \"hall-{i}\"\nsource = \"rendered:concourse?seed={}\"\nrealtime = false\n", i + 1))
        .collect();
    format!(
        "name = \"bench-revoke\"\n\n[detect]\nmodel = \"{DETECTOR}\"\ninput_px = 640\n\n[embed]\nmodel = \"{EMBEDDER}\"\n\n\
         [http]\nlisten = \"none\"\n{streams}"
    )
}

fn copied(root: &Path, site: &StateDirectory, pipeline: &Path, streams: Option<usize>, cores: usize) -> Result<RevokeSite, Failed> {
    let config = |e: anyhow::Error| Failed::new(Exit::Config, e);
    if !site.site().is_file() {
        return Err(config(anyhow!("no site in {}: `placard commission SITE_FILE` makes one", site.root().display())));
    }
    let original = load(pipeline).map_err(|e| config(e.into()))?;
    let present = Present::load(&site.register()).map_err(|e| config(e.into()))?;
    if present.chain().mode() == Mode::Operational {
        let why = anyhow!(
            "an operational register is what its approvers signed, and nobody signs for a copy with other streams: measure the made-up site \
             (no PIPELINE), or a commissioning site"
        );
        return Err(Failed::new(Exit::Refused, why));
    }
    let mut register = present.register().clone();
    let home = site.root().canonicalize().context("finding the site")?;
    for name in ["models", "keys", "site.toml"] {
        if home.join(name).exists() {
            std::os::unix::fs::symlink(home.join(name), root.join(name)).with_context(|| format!("linking {name}"))?;
        }
    }
    let count = streams.unwrap_or(original.pipeline.streams.len());
    let loaded = copies(&original, &mut register, count, cores).map_err(config)?;
    let (sign, under_sign) = choose_sign(&mut register, &loaded, SystemClock.utc())
        .ok_or_else(|| Failed::new(Exit::Refused, anyhow!("no stream rests on a sign that holds: `placard sign list` says why")))?;
    let outcome = put_as_stand_ins(&root.join("register.redb"), &register, SystemClock.utc()).map_err(|e| config(e.into()))?;
    if !outcome.in_force() {
        return Err(config(anyhow!("the register's copy is not in force")));
    }
    Ok(RevokeSite { root: root.to_owned(), state: StateDirectory::new(root), loaded, sign, under_sign })
}

/// The pipeline with `count` streams, `bench-0` and so on; the register gets their areas and views.
fn copies(original: &Loaded, register: &mut Register, count: usize, cores: usize) -> anyhow::Result<Loaded> {
    let mut loaded = original.clone();
    loaded.pipeline.emit.mqtt = None;
    loaded.pipeline.emit.webhook = None;
    loaded.pipeline.emit.journal.directory = None;
    busy(&mut loaded.pipeline);
    loaded.pipeline.streams.clear();
    let (areas, views) = (std::mem::take(&mut register.areas), std::mem::take(&mut register.views));
    for i in 0..count {
        let mut stream = original.pipeline.streams[i % original.pipeline.streams.len()].clone();
        let name = format!("bench-{i}");
        let of = |other: &str| other == stream.name;
        register.areas.extend(areas.iter().filter(|a| of(&a.stream)).cloned().map(|mut a| {
            a.stream.clone_from(&name);
            a
        }));
        register.views.extend(views.iter().filter(|v| of(&v.stream)).cloned().map(|mut v| {
            v.stream.clone_from(&name);
            v
        }));
        // A clip that ends would end the load.
        stream.repeat |= stream.source.starts_with("file:");
        stream.name = name;
        loaded.pipeline.streams.push(stream);
    }
    let derived = limits::derive(&mut loaded.pipeline, original.path.parent().unwrap_or(Path::new(".")), cores);
    let Some(limits) = derived.limits else {
        bail!("{}", derived.faults.iter().map(|f| format!("{}: {}", f.key, f.message)).collect::<Vec<_>>().join("; "))
    };
    loaded.limits = limits;
    Ok(loaded)
}

/// Leaves each zone one sign that holds, and answers the one that most streams rest on, with their places.
fn choose_sign(register: &mut Register, loaded: &Loaded, now: Stamp<Utc>) -> Option<(String, Vec<usize>)> {
    let mut kept: Vec<String> = Vec::new();
    let rules = register.rules.clone();
    register.signs.retain(|sign| {
        let keep = sign_holds(sign, &rules, now).is_ok() && !kept.contains(&sign.zone);
        if keep {
            kept.push(sign.zone.clone());
        }
        keep
    });
    let resting = |zone: &str| -> Vec<usize> {
        let here = |name: &str| register.areas.iter().any(|a| a.stream == name && a.zone == zone);
        (0..loaded.pipeline.streams.len()).filter(|i| here(&loaded.pipeline.streams[*i].name)).collect()
    };
    let most = register.signs.iter().map(|s| (s.id.clone(), resting(&s.zone))).max_by_key(|(_, streams)| streams.len());
    most.filter(|(_, streams)| !streams.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::testing::good;

    #[test]
    fn copies_keep_their_area_and_each_zone_one_sign_that_holds() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("p.toml");
        std::fs::write(&path, "name = \"p\"\n[detect]\nmodel = \"m\"\n[[stream]]\nname = \"north\"\nsource = \"file:a.mkv\"\n")
            .expect("written");
        let mut register = good();
        let mut second = register.signs[0].clone();
        second.id = "hall-2".to_owned();
        register.signs.push(second);
        let loaded = copies(&load(&path).expect("valid"), &mut register, 3, 2).expect("copied");
        let names: Vec<&str> = register.areas.iter().map(|a| a.stream.as_str()).collect();
        assert_eq!(names, ["bench-0", "bench-1", "bench-2"]);
        assert!(loaded.pipeline.streams.iter().all(|s| s.repeat));
        let now = "2026-11-21T12:00:00Z".parse::<crate::policy::when::When>().expect("date").at();
        assert_eq!(choose_sign(&mut register, &loaded, now), Some(("hall-1".to_owned(), vec![0, 1, 2])));
        assert_eq!(register.signs.len(), 1, "another sign in the zone would go on holding");
        register.signs[0].photo_sha256 = None;
        assert_eq!(choose_sign(&mut register, &loaded, now), None);
    }

    #[test]
    fn the_made_up_site_says_yes_to_every_stream() {
        if crate::engine::bundled::by_name(DETECTOR).is_none() {
            return;
        }
        let site = RevokeSite::new(&StateDirectory::new("/nowhere"), None, Some(2)).expect("made");
        let root = site.root.clone();
        let register = Register::load(&site.state.register()).expect("readable");
        assert!(sign_holds(register.sign(&site.sign).expect("there"), &register.rules, SystemClock.utc()).is_ok());
        assert_eq!((site.loaded.pipeline.streams.len(), site.under_sign.len()), (2, 2));
        let embed = site.loaded.pipeline.embed.as_ref().expect("an embedder");
        assert_eq!((embed.min_quality, embed.shot_spacing_ms, embed.best_shots), (0.0, 0, 32), "every face in every picture is due");
        assert!(site.state.site().is_file() && site.state.site_key().is_file());
        drop(site);
        assert!(!root.exists(), "it goes with the bench");
    }
}
