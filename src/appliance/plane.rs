//! The data plane: threads and the queues between them, started downstream first, drained upstream first.
//!
//! Queue lengths are chosen so that a frame waits in its stream's ring and nowhere else: behind the detectors every queue holds a moment's
//! worth, and a step that falls behind sheds recognition (counted), never the stream.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::plan::{Plan, Prepared, Sources, StartError};
use crate::batch::{Batch, BatchCounters, Batcher, Feed, FreeWorkers, Gatherer};
use crate::clock::SharedClock;
use crate::config::schema;
use crate::counters::Counters;
use crate::decide::ReviewTask;
use crate::decide::once::Once;
use crate::decide::worker::{DecideCounters, DecideWorker, MatchCounters};
use crate::detect::Detected;
use crate::detect::detector::{DetectCounters, Detector};
use crate::detect::worker::{DetectWorker, DetectWorkerCounters, LastLook};
use crate::embed::gather::{EmbedCounters, Gather};
use crate::embed::worker::EmbedWorker;
use crate::embed::{Embedder, Query};
use crate::emit::emitter::{self, Emitter};
use crate::emit::worker::Recent;
use crate::emit::{self, StreamNames};
use crate::engine::Network;
use crate::engine::manifest::Decode;
use crate::frame::StreamIndex;
use crate::gallery::TemplateModel;
use crate::gallery::seal::SiteKey;
use crate::gallery::set::GallerySet;
use crate::gallery::vault::Vault;
use crate::ingest::{self, HealthSnapshot, IngestCounters, Outlet, StreamHealth};
use crate::latency::{CAPTURE_TO_DONE, Latencies, StepRecorder};
use crate::policy::facts::{Register, Site};
use crate::policy::lease::LeaseTable;
use crate::policy::pending::PendingWithdrawals;
use crate::policy::rules::PlainRules;
use crate::policy::worker::{PolicyHandle, PolicyThread};
use crate::progress::ProgressRegistry;
use crate::queue::{Doorbell, Ring};
use crate::shutdown::Shutdown;
use crate::track::worker::{TrackWorker, TrackedStream};
use crate::track::{Identified, LiveTracks, Selection, TrackCounters, Tracker};

/// Detections waiting for the tracker, per detector worker.
const DETECTED_QUEUE: usize = 2;
/// Selections waiting for an embedder: each may hold a decoder's buffer.
const SELECTION_QUEUE: usize = 4;
/// Tracks waiting to be searched.
const QUERY_QUEUE: usize = 64;
/// Recognised tracks the tracker has not heard of yet.
const IDENTIFIED_QUEUE: usize = 256;
/// A track's hit is not repeated for this long.
const FORGET_HITS: Duration = Duration::from_secs(600);
/// How long opening the vault waits for a command that holds it.
const VAULT_PATIENCE: Duration = Duration::from_secs(5);

/// One stream as others see it.
pub struct StreamRuntime {
    pub name: Arc<str>,
    pub source: String,
    pub ring: Arc<Ring<crate::frame::Frame>>,
    pub health: Arc<StreamHealth>,
    pub ingest: Arc<IngestCounters>,
    pub batch: Arc<BatchCounters>,
    pub track: Arc<TrackCounters>,
    pub live: Arc<LiveTracks>,
}

impl StreamRuntime {
    pub fn health(&self) -> HealthSnapshot {
        self.health.snapshot()
    }
}

/// A running data plane.
pub struct Plane {
    pub site: Site,
    pub pipeline: String,
    pub streams: Vec<StreamRuntime>,
    pub policy: PolicyHandle,
    pub latencies: Latencies,
    pub galleries: Option<Arc<GallerySet>>,
    pub last_look: Arc<LastLook>,
    pub decided: Arc<DecideCounters>,
    pub emitter: parking_lot::Mutex<Emitter>,
    pub counters: Vec<Arc<dyn Counters>>,
    key: Option<SiteKey>,
    /// Stops the sources.
    stop_sources: Shutdown,
    /// Then: the batch step ends when its rings are empty.
    drain: Shutdown,
    /// Last: sinks end at their cursor; what they have not delivered, they deliver after the next start.
    stop_sinks: Shutdown,
    bell: Arc<Doorbell>,
    sources: parking_lot::Mutex<Vec<JoinHandle<()>>>,
    workers: parking_lot::Mutex<Vec<JoinHandle<()>>>,
}

/// What outlives a plane: a reload hands it to the next one.
#[derive(Clone, Default)]
pub struct Lasting {
    /// Whoever watches events goes on watching.
    pub recent: Arc<Recent>,
    /// A sign that was withdrawn stays withdrawn, also where that could not be written.
    pub withdrawals: PendingWithdrawals,
}

/// What others see of a stream's tracker.
type Tracked = (Arc<TrackCounters>, Arc<LiveTracks>);

/// What the constructors below share.
struct Wiring<'a> {
    plan: &'a Plan,
    lasting: &'a Lasting,
    clock: SharedClock,
    leases: LeaseTable,
    latencies: Latencies,
    progress: ProgressRegistry,
    /// Never requested while work may still arrive: workers end when the queue before them hangs up.
    never: Shutdown,
    threads: Vec<JoinHandle<()>>,
    counters: Vec<Arc<dyn Counters>>,
}

impl Wiring<'_> {
    fn recorder(&self, step: &str) -> Result<StepRecorder, StartError> {
        self.latencies.recorder(step).map_err(|e| StartError::Step(format!("histogram of {step}: {e}")))
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        self.threads.push(spawn(name, work)?);
        Ok(())
    }

    /// Whether stream `i` is a replay that must lose nothing.
    fn is_lossless(&self, i: usize) -> bool {
        let (stream, limits) = (&self.plan.loaded.pipeline.streams[i], &self.plan.loaded.limits.streams[i]);
        matches!(self.plan.sources, Sources::Configured)
            && ingest::open::when_full(stream, &limits.source) == ingest::WhenFull::WaitsForRoom
    }

    fn counted<C: Counters + 'static>(&mut self, counters: C) -> Arc<C> {
        let counters = Arc::new(counters);
        self.counters.push(Arc::clone(&counters) as Arc<dyn Counters>);
        counters
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let failed = |source| StartError::Thread { name: name.to_owned(), source };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)
}

/// Opens the galleries of `model` in the site's vault.
fn galleries(plan: &Plan, network: &dyn Network, key: &SiteKey) -> Result<Arc<GallerySet>, StartError> {
    let manifest = network.manifest();
    let Decode::Embedding { dim, .. } = manifest.decode else {
        return Err(StartError::Step(format!("model `{}` is no embedder", manifest.name)));
    };
    let sha256 = manifest.prepared_sha256.as_ref().unwrap_or(&manifest.sha256);
    let model = TemplateModel { name: manifest.name.as_str().into(), sha256: sha256.as_str().into(), dim };
    let set = Arc::new(GallerySet::new(model));
    reload(plan, &set, key)?;
    Ok(set)
}

/// Reads the vault anew. The vault is held only meanwhile, so that `enrol` can write while the service runs.
fn reload(plan: &Plan, set: &GallerySet, key: &SiteKey) -> Result<crate::gallery::set::Reloaded, StartError> {
    if !plan.state.vault().exists() {
        return Ok(crate::gallery::set::Reloaded::default());
    }
    let failed = |e: &dyn std::fmt::Display| StartError::Step(format!("galleries: {e}"));
    let vault = Vault::open_patiently(&plan.state, key, VAULT_PATIENCE, &Shutdown::new()).map_err(|e| failed(&e))?;
    set.reload(&vault, plan.clock.utc()).map_err(|e| failed(&e))
}

impl Plane {
    pub fn start(plan: &Plan, progress: &ProgressRegistry, lasting: &Lasting) -> Result<Self, StartError> {
        let Prepared { site, detectors, embedders, key } = plan.prepare()?;
        let names = plan.stream_names();
        let rules = Box::new(PlainRules);
        let (register, working) = (plan.state.register(), Some(progress.register("policy")));
        let withdrawals = lasting.withdrawals.clone();
        let (policy, leases) = PolicyThread::start_with(register, &names, Arc::clone(&plan.clock), rules, working, withdrawals)
            .map_err(|e| StartError::Step(e.to_string()))?;
        let mut wiring = Wiring {
            plan,
            lasting,
            clock: Arc::clone(&plan.clock),
            leases,
            latencies: Latencies::new(),
            progress: progress.clone(),
            never: Shutdown::new(),
            threads: Vec::new(),
            counters: vec![policy.counters()],
        };
        let galleries = match (embedders.first(), &key) {
            (Some(network), Some(key)) => Some(galleries(plan, &**network, key)?),
            _ => None,
        };
        let stop_sinks = Shutdown::new();
        let (tasks, emitter) = wiring.emit(&names, &stop_sinks)?;
        let identified = bounded(IDENTIFIED_QUEUE);
        let decided = wiring.counted(DecideCounters::default());
        let queries = wiring.decide(galleries.as_ref(), tasks, identified.0, &decided)?;
        let embed_queues = wiring.embed(embedders, queries)?;
        let (detected, tracked) = wiring.track(&names, identified.1, embed_queues, detectors.len())?;
        let bell = Doorbell::new();
        let free = FreeWorkers::new(Arc::clone(&bell));
        let (batches, last_look) = wiring.detect(detectors, detected, &free)?;
        let drain = Shutdown::new();
        let (streams, outlets) = wiring.streams(&names, tracked, &bell);
        wiring.batch(&streams, batches, free, &bell, &drain)?;
        let stop_sources = Shutdown::new();
        let sources = start_sources(plan, outlets, &stop_sources)?;
        let Wiring { latencies, threads, mut counters, .. } = wiring;
        for s in &streams {
            let of_stream: [Arc<dyn Counters>; 4] =
                [Arc::clone(&s.ingest) as _, Arc::clone(&s.batch) as _, Arc::clone(&s.track) as _, Arc::clone(&s.live) as _];
            counters.extend(of_stream);
        }
        Ok(Self {
            site,
            pipeline: plan.loaded.pipeline.name.clone(),
            streams,
            policy,
            latencies,
            galleries,
            last_look,
            decided,
            emitter: parking_lot::Mutex::new(emitter),
            stop_sinks,
            counters,
            key,
            stop_sources,
            drain,
            bell,
            sources: parking_lot::Mutex::new(sources),
            workers: parking_lot::Mutex::new(threads),
        })
    }

    /// Whether every source has come to its end by itself.
    pub fn sources_ended(&self) -> bool {
        self.sources.lock().iter().all(JoinHandle::is_finished)
    }

    /// Opens the galleries again.
    pub fn reload_galleries(&self, plan: &Plan) -> Result<crate::gallery::set::Reloaded, StartError> {
        match (&self.galleries, &self.key) {
            (Some(set), Some(key)) => reload(plan, set, key),
            _ => Ok(crate::gallery::set::Reloaded::default()),
        }
    }

    /// Frames that were looked at on `stream`.
    pub fn detected(&self, stream: StreamIndex) -> u64 {
        self.last_look.frames(stream)
    }

    /// No source any more; what arrived runs through; every thread ends.
    pub fn stop(&self) {
        self.stop_sources.request();
        join(&mut self.sources.lock());
        self.drain.request();
        self.bell.ring();
        join(&mut self.workers.lock());
        self.stop_sinks.request();
        self.emitter.lock().join();
        self.policy.stop();
    }
}

fn join(threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.drain(..) {
        let name = thread.thread().name().unwrap_or("unnamed").to_owned();
        if thread.join().is_err() {
            tracing::error!(thread = name, "a thread panicked");
        }
    }
}

/// One thread a source.
fn start_sources(plan: &Plan, outlets: Vec<Outlet>, stop: &Shutdown) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut threads = Vec::new();
    for (i, outlet) in outlets.into_iter().enumerate() {
        let (stream, limits) = (&plan.loaded.pipeline.streams[i], &plan.loaded.limits.streams[i]);
        let name = stream.name.clone();
        match &plan.sources {
            Sources::Configured => {
                let started = ingest::spawn(stream, &limits.source, outlet, stop);
                threads.push(started.map_err(|e| StartError::Step(e.to_string()))?.into_thread());
            }
            Sources::Paced { fps, frames } => {
                let schedule = super::plan::schedule(stream, &limits.source, *fps, *frames, plan.clock.monotonic(), i)?;
                let stop = stop.clone();
                threads.push(spawn(&format!("ingest-{name}"), move || {
                    if let Err(error) = ingest::paced::play(&schedule, &outlet, &stop) {
                        tracing::error!(stream = name, %error, "the bench's source failed");
                    }
                })?);
            }
        }
    }
    Ok(threads)
}

impl Wiring<'_> {
    /// The journal, its worker and the sinks.
    fn emit(&mut self, names: &[Arc<str>], stop_sinks: &Shutdown) -> Result<(Sender<ReviewTask>, Emitter), StartError> {
        let config = &self.plan.loaded.pipeline.emit;
        let failed = |e: emitter::StartError| StartError::Step(e.to_string());
        let (sender, tasks) = bounded(config.journal.queue_events);
        // The zones as they are at the start; a reload reads them anew. A register that cannot be read keeps every stream dark anyway.
        let register = Register::load(&self.plan.state.register()).unwrap_or_default();
        let zone = |name: &str| register.areas.iter().find(|a| a.stream == name).map(|a| a.zone.as_str().into());
        let streams = names.iter().map(|name| StreamNames { name: Arc::clone(name), zone: zone(name) }).collect();
        let settings = emitter::Settings {
            directory: config.journal.directory.clone().unwrap_or_else(|| self.plan.state.journal()),
            rotate_mib: config.journal.rotate_mib,
            context: emit::Context { streams },
            sinks: emitter::sinks(config, &self.plan.loaded.pipeline.name).map_err(failed)?,
            pauses: emit::backoff::Pauses::default(),
            recent: Arc::clone(&self.lasting.recent),
            leases: self.leases.clone(),
            latencies: self.latencies.clone(),
            clock: Arc::clone(&self.clock),
            progress: self.progress.clone(),
            shutdown: stop_sinks.clone(),
        };
        Ok((sender, Emitter::start(tasks, settings).map_err(failed)?))
    }

    /// Match and decide. Without galleries the queue's other end is dropped and nothing is ever sent.
    fn decide(
        &mut self,
        galleries: Option<&Arc<GallerySet>>,
        tasks: Sender<ReviewTask>,
        identified: Sender<Identified>,
        decided: &Arc<DecideCounters>,
    ) -> Result<Sender<Query>, StartError> {
        let (sender, queries) = bounded(QUERY_QUEUE);
        let Some(set) = galleries else { return Ok(sender) };
        let worker = DecideWorker {
            queries,
            tasks,
            identified,
            leases: self.leases.clone(),
            set: Arc::clone(set),
            thresholds: self.plan.loaded.limits.streams.iter().map(|s| s.threshold).collect(),
            top_k: self.plan.loaded.pipeline.decide.top_k,
            once: Once::new(FORGET_HITS),
            clock: Arc::clone(&self.clock),
            match_recorder: self.recorder("match")?,
            decide_recorder: self.recorder("decide")?,
            match_counters: self.counted(MatchCounters::default()),
            decide_counters: Arc::clone(decided),
            progress: self.progress.register("decide"),
        };
        self.spawn("decide", move || crate::decide::worker::run(worker))?;
        Ok(sender)
    }

    fn embed(&mut self, networks: Vec<Box<dyn Network>>, queries: Sender<Query>) -> Result<Vec<Sender<Selection>>, StartError> {
        let Some(settings) = &self.plan.loaded.pipeline.embed else { return Ok(Vec::new()) };
        let counters = self.counted(EmbedCounters::default());
        let mut queues = Vec::new();
        for (n, network) in networks.into_iter().enumerate() {
            let (sender, selections) = bounded(SELECTION_QUEUE);
            let embedder = Embedder::new(network).map_err(|e| StartError::Step(e.to_string()))?;
            let name = format!("embed-{n}");
            let worker = EmbedWorker {
                gather: Gather::new(embedder, settings, self.leases.clone(), Arc::clone(&self.clock), Arc::clone(&counters)),
                selections,
                queries: queries.clone(),
                counters: Arc::clone(&counters),
                clock: Arc::clone(&self.clock),
                recorder: self.recorder("embed")?,
                done: self.recorder(CAPTURE_TO_DONE)?,
                progress: self.progress.register(&name),
                shutdown: self.never.clone(),
            };
            self.spawn(&name, move || crate::embed::worker::run(worker))?;
            queues.push(sender);
        }
        Ok(queues)
    }

    fn track(
        &mut self,
        names: &[Arc<str>],
        identified: Receiver<Identified>,
        embedders: Vec<Sender<Selection>>,
        detectors: usize,
    ) -> Result<(Sender<Detected>, Vec<Tracked>), StartError> {
        let pipeline = &self.plan.loaded.pipeline;
        let mut seen = Vec::new();
        let mut streams = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let counters = Arc::new(TrackCounters { stream: Some(Arc::clone(name)), ..TrackCounters::default() });
            let live = Arc::new(LiveTracks { stream: Some(Arc::clone(name)), ..LiveTracks::default() });
            let tracker = Tracker::new(index(i), &pipeline.track, pipeline.embed.as_ref(), Arc::clone(&counters));
            let lossless = self.is_lossless(i);
            streams.push(TrackedStream::new(tracker, Arc::clone(&counters), Arc::clone(&live)).lossless(lossless));
            seen.push((counters, live));
        }
        let (sender, detected) = bounded(DETECTED_QUEUE * detectors.max(1));
        let worker = TrackWorker {
            streams,
            detected,
            identified,
            embedders,
            clock: Arc::clone(&self.clock),
            recorder: self.recorder("track")?,
            done: self.recorder(CAPTURE_TO_DONE)?,
            progress: self.progress.register("track"),
            shutdown: self.never.clone(),
        };
        self.spawn("track", move || crate::track::worker::run(worker))?;
        Ok((sender, seen))
    }

    fn detect(
        &mut self,
        networks: Vec<Box<dyn Network>>,
        detected: Sender<Detected>,
        free: &FreeWorkers,
    ) -> Result<(Sender<Batch>, Arc<LastLook>), StartError> {
        let pipeline = &self.plan.loaded.pipeline;
        let (sender, batches) = bounded(networks.len().max(1));
        let counters = self.counted(DetectCounters::default());
        let worker_counters = self.counted(DetectWorkerCounters::default());
        let last_look = Arc::new(LastLook::new(pipeline.streams.len()));
        let least = least_score(&pipeline.detect, &pipeline.track);
        for (n, network) in networks.into_iter().enumerate() {
            let name = format!("detect-{n}");
            let mut detector =
                Detector::new(network, &pipeline.detect, least, Arc::clone(&counters)).map_err(|e| StartError::Step(e.to_string()))?;
            let worker = DetectWorker {
                find: move |frame: &crate::frame::Frame, permit: &_| detector.detect(frame, permit),
                batches: batches.clone(),
                detected: detected.clone(),
                free: free.clone(),
                clock: Arc::clone(&self.clock),
                recorder: self.recorder("detect")?,
                counters: Arc::clone(&worker_counters),
                last_look: Arc::clone(&last_look),
                progress: self.progress.register(&name),
            };
            self.spawn(&name, move || crate::detect::worker::run(worker))?;
        }
        Ok((sender, last_look))
    }

    fn streams(&mut self, names: &[Arc<str>], tracked: Vec<Tracked>, bell: &Arc<Doorbell>) -> (Vec<StreamRuntime>, Vec<Outlet>) {
        let limits = &self.plan.loaded.limits;
        let mut outlets = Vec::new();
        let mut streams = Vec::new();
        for ((i, name), (track, live)) in names.iter().enumerate().zip(tracked) {
            let ring = Arc::new(Ring::new(limits.ring_frames));
            let outlet = Outlet::new(name, index(i), Arc::clone(&ring), Arc::clone(bell), Arc::clone(&self.clock));
            streams.push(StreamRuntime {
                name: Arc::clone(name),
                source: limits.streams[i].source.to_string(),
                ring,
                health: Arc::clone(&outlet.health),
                ingest: Arc::clone(&outlet.counters),
                batch: Arc::new(BatchCounters { stream: Some(Arc::clone(name)), ..BatchCounters::default() }),
                track,
                live,
            });
            outlets.push(outlet);
        }
        (streams, outlets)
    }

    fn batch(
        &mut self,
        streams: &[StreamRuntime],
        batches: Sender<Batch>,
        free: FreeWorkers,
        bell: &Arc<Doorbell>,
        drain: &Shutdown,
    ) -> Result<(), StartError> {
        let feed = |(i, s): (usize, &StreamRuntime)| {
            let every = self.plan.loaded.pipeline.streams[i].detect_every;
            Feed::new(index(i), Arc::clone(&s.ring), every, !self.is_lossless(i), Arc::clone(&s.batch))
        };
        let feeds = streams.iter().enumerate().map(feed).collect();
        let batcher = Batcher {
            gatherer: Gatherer::new(feeds, self.leases.clone(), Arc::clone(bell)),
            bell: Arc::clone(bell),
            workers: free,
            batches,
            max_batch: self.plan.loaded.limits.max_batch,
            max_wait: self.plan.loaded.limits.max_wait,
            clock: Arc::clone(&self.clock),
            recorder: self.recorder("batch")?,
            drain: drain.clone(),
            progress: self.progress.register("batch"),
        };
        self.spawn("batch", move || crate::batch::run(batcher))
    }
}

/// Streams are at most 1,024 (`config::limits`).
fn index(i: usize) -> StreamIndex {
    StreamIndex(u16::try_from(i).unwrap_or(u16::MAX))
}

/// The tracker's second association continues tracks with faces that score too low to start one.
fn least_score(detect: &schema::Detect, track: &schema::Track) -> f32 {
    track.low_score.min(detect.score_threshold)
}
