//! What a pipeline needs before its first thread starts: the checked file, the site, the models, the site key. Every error says what to
//! do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::clock::{Monotonic, SharedClock, Stamp};
use crate::config::load::{ConfigError, Loaded};
use crate::config::schema::Stream;
use crate::config::source::SourceSpec;
use crate::emit::record::Record;
use crate::engine::manifest::Task;
use crate::engine::store::{self, StoreError};
use crate::engine::{EngineError, Network};
use crate::gallery::seal::{SealError, SiteKey};
use crate::ingest::open::when_full;
use crate::ingest::paced::Schedule;
use crate::policy::facts::Site;
use crate::policy::file::FileError;
use crate::policy::intended_use::{self, NotIntended};
use crate::state::StateDirectory;

/// Time for decoders to start before the first frame is due.
pub const HEAD_START: Duration = Duration::from_millis(1_500);

/// Where frames come from.
#[derive(Clone, Debug)]
pub enum Sources {
    /// As the pipeline file says.
    Configured,
    /// A bench's schedule: the file's clips in turn, `streams` of them, each at `fps`, for `frames` frames.
    /// `stands_for`: per stream, which of the register's streams the rules see in it; empty: the stream itself.
    Paced { fps: f64, frames: u64, stands_for: Vec<Arc<str>> },
}

/// Everything needed to start a [`Plane`](super::Plane), and to start it again.
#[derive(Clone)]
pub struct Plan {
    pub loaded: Loaded,
    pub state: StateDirectory,
    pub clock: SharedClock,
    pub sources: Sources,
    /// Of what was refused and erased; one for all plans of a site, so that what could not be recorded yet outlives a reload.
    pub record: Record,
    /// Said in the status while as many persons are stored as a filing is near.
    pub near_filing: Arc<ArcSwapOption<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its own words say what to do.
    #[error("{source}")]
    NoSite { source: FileError },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Models(#[from] StoreError),
    #[error(transparent)]
    NotIntended(#[from] NotIntended),
    #[error(transparent)]
    Key(#[from] SealError),
    #[error("{0}")]
    Step(String),
    #[error("thread `{name}` could not be started: {source}")]
    Thread { name: String, source: std::io::Error },
    #[error("stream `{stream}`: the bench plays files; `{source_text}` is none")]
    NotAFile { stream: String, source_text: String },
    #[error("neither the new pipeline starts ({first}) nor the old one again ({second})")]
    NoWayBack { first: String, second: String },
}

/// What [`Plan::prepare`] found: ready to be wired.
pub struct Prepared {
    pub site: Site,
    pub detectors: Vec<Box<dyn Network>>,
    pub embedders: Vec<Box<dyn Network>>,
    /// Where the pipeline looks at masks.
    pub mask_classifier: Option<Box<dyn Network>>,
    pub key: Option<SiteKey>,
}

impl Plan {
    pub fn new(pipeline: &Path, state: StateDirectory, clock: SharedClock) -> Result<Self, StartError> {
        let record = Record::of(&state);
        Ok(Self {
            loaded: crate::config::load::load(pipeline)?,
            state,
            clock,
            sources: Sources::Configured,
            record,
            near_filing: Arc::default(),
        })
    }

    /// The same plan with the pipeline file read anew.
    pub fn reread(&self) -> Result<Self, StartError> {
        let loaded = crate::config::load::load(&self.loaded.path)?;
        Ok(Self { loaded, ..self.clone() })
    }

    /// The streams that `next` changes, if a running plane can take on all that it changes: the same streams in the same order, and nothing
    /// else different. `None`: it takes a new plane.
    pub fn changed_streams(&self, next: &Self) -> Option<Vec<usize>> {
        let shape = |plan: &Self| {
            let (mut pipeline, mut limits) = (plan.loaded.pipeline.clone(), plan.loaded.limits.clone());
            let streams: Vec<_> = pipeline.streams.drain(..).zip(limits.streams.drain(..)).collect();
            let fixed: Vec<_> = streams.iter().map(|(s, l)| (s.name.clone(), when_full(s, &l.source))).collect();
            (streams, fixed, pipeline, limits)
        };
        let (old, new) = (shape(self), shape(next));
        let alike = old.1 == new.1 && old.2 == new.2 && old.3 == new.3;
        let configured = [self, next].iter().all(|p| matches!(p.sources, Sources::Configured));
        (alike && configured).then(|| (0..old.0.len()).filter(|i| old.0[*i] != new.0[*i]).collect())
    }

    /// Whether stream `i` reads the same source in the same way in `next`; the rest of a stream's entry takes effect without touching it.
    pub fn has_same_source(&self, next: &Self, i: usize) -> bool {
        let source = |plan: &Self| {
            let (mut stream, mut limits) = (plan.loaded.pipeline.streams[i].clone(), plan.loaded.limits.streams[i].clone());
            (stream.detect_every, stream.threshold, limits.threshold) = (1, None, 0.0);
            (stream.mask_threshold, limits.mask_threshold) = (None, 0.0);
            (stream, limits)
        };
        source(self) == source(next)
    }

    /// Reads and loads everything that can be missing or wrong. Starts no thread.
    pub fn prepare(&self) -> Result<Prepared, StartError> {
        let site = Site::load(&self.state.site()).map_err(|source| StartError::NoSite { source })?;
        let pipeline = &self.loaded.pipeline;
        let limits = &self.loaded.limits;
        let many = |name: &str, task: Task, count: usize| -> Result<Vec<Box<dyn Network>>, StartError> {
            (0..count).map(|_| self.network(&site, name, task)).collect()
        };
        let detectors = many(&pipeline.detect.model, Task::FaceDetector, limits.detect_workers)?;
        let (embedders, key) = match &pipeline.embed {
            Some(embed) => (many(&embed.model, Task::FaceEmbedder, limits.embed_workers)?, Some(SiteKey::load(&self.state)?)),
            None => (Vec::new(), None),
        };
        let mask = pipeline.mask.as_ref();
        let mask_classifier = mask.map(|mask| self.network(&site, &mask.model, Task::MaskClassifier)).transpose()?;
        Ok(Prepared { site, detectors, embedders, mask_classifier, key })
    }

    fn network(&self, site: &Site, name: &str, task: Task) -> Result<Box<dyn Network>, StartError> {
        let engine = &self.loaded.pipeline.engine;
        // What cameras see may be embedded in int8; templates never are.
        let load = if task == Task::FaceDetector {
            store::load_detector
        } else if self.loaded.pipeline.embed.as_ref().is_some_and(|e| e.int8) {
            store::load_fastest
        } else {
            store::load_network
        };
        let network = load(&self.state, name, task, engine)?;
        intended_use::check(network.manifest(), Some(site))?;
        Ok(network)
    }

    /// What the register calls each stream.
    pub fn names_in_register(&self) -> Vec<Arc<str>> {
        match &self.sources {
            Sources::Paced { stands_for, .. } if stands_for.len() == self.loaded.limits.streams.len() => stands_for.clone(),
            _ => self.stream_names(),
        }
    }

    /// Names of the streams, in the pipeline's order.
    pub fn stream_names(&self) -> Vec<Arc<str>> {
        self.loaded.limits.streams.iter().map(|s| Arc::clone(&s.name)).collect()
    }
}

/// A bench stream's schedule: its clip, offset by a fraction of a frame so that streams do not all come due at once.
pub fn schedule(
    stream: &Stream,
    source: &SourceSpec,
    fps: f64,
    frames: u64,
    begin: Stamp<Monotonic>,
    place: usize,
) -> Result<Schedule, StartError> {
    let SourceSpec::File { path } = source else {
        return Err(StartError::NotAFile { stream: stream.name.clone(), source_text: source.to_string() });
    };
    // The golden ratio spreads any number of streams evenly over a frame's time.
    let fraction = (place as f64 * 0.618_033_988_749_895).fract();
    let start = begin.plus(HEAD_START + Duration::from_secs_f64(fraction / fps));
    Ok(Schedule { clip: path.clone(), decoder: stream.decoder.clone(), fps, start, frames: Some(frames) })
}
