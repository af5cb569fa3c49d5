//! How a plane is put together: what each step needs, the queues between the steps, the threads.
//!
//! Queue lengths are chosen so that a frame waits in its stream's ring and nowhere else: behind the detectors every queue holds a moment's
//! worth, and a step that falls behind sheds recognition (counted), never the stream.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::plan::{Plan, Sources, StartError};
use super::plane::{Lasting, StreamRuntime, galleries};
use super::running::Running;
use crate::batch::{Batch, BatchCounters, Batcher, DetectEvery, Feed, FreeWorkers, Gatherer};
use crate::clock::SharedClock;
use crate::config::schema;
use crate::counters::Counters;
use crate::decide::Thresholds;
use crate::decide::answers::Answers;
use crate::decide::once::Once;
use crate::decide::worker::{DecideCounters, DecideWorker, MatchCounters};
use crate::detect::Detected;
use crate::detect::detector::{DetectCounters, Detector};
use crate::detect::worker::{DetectWorker, DetectWorkerCounters, LastLook};
use crate::embed::gather::{EmbedCounters, Gather};
use crate::embed::worker::EmbedWorker;
use crate::embed::{Embedder, Query};
use crate::emit::emitter::{self, Emitter};
use crate::emit::journal::retention::Retention;
use crate::emit::record::Entry;
use crate::emit::{self, StreamNames, Telling};
use crate::engine::Network;
use crate::frame::StreamIndex;
use crate::gallery::seal::SiteKey;
use crate::gallery::set::GallerySet;
use crate::ingest::{self, Outlet};
use crate::latency::{CAPTURE_TO_DONE, Latencies, StepRecorder};
use crate::mask_check::worker::MaskWorker;
use crate::mask_check::{MaskClassifier, MaskCounters, Tally};
use crate::policy::cedar::CedarPlane;
use crate::policy::facts::Register;
use crate::policy::intended_use::SiteGuard;
use crate::policy::leap;
use crate::policy::lease::LeaseTable;
use crate::policy::profile::Library;
use crate::policy::worker::PolicyThread;
use crate::progress::ProgressRegistry;
use crate::queue::Ring;
use crate::shutdown::Shutdown;
use crate::signs::attest::Attester;
use crate::signs::code::Signer;
use crate::signs::worker::{AttestCounters, AttestWorker, AttestedStream, Hatch, Wanted};
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

/// One for each worker of a step.
type Networks = Vec<Box<dyn Network>>;
/// The mask worker's queue, and its counters by stream.
type MaskBranch = (Option<Sender<Selection>>, Vec<Arc<MaskCounters>>);
/// What others see of a stream's tracker.
type Tracked = (Arc<TrackCounters>, Arc<LiveTracks>);

/// What the steps' constructors share, and what they started so far.
pub(super) struct Wiring<'a> {
    plan: &'a Plan,
    lasting: &'a Lasting,
    clock: SharedClock,
    leases: LeaseTable,
    progress: ProgressRegistry,
    /// Never requested while work may still arrive: workers end when the queue before them hangs up.
    never: Shutdown,
    pub latencies: Latencies,
    pub counters: Vec<Arc<dyn Counters>>,
    pub running: Running,
    pub emitter: Option<Emitter>,
}

/// What others see of a wired plane.
pub(super) struct Wired {
    pub streams: Vec<StreamRuntime>,
    pub galleries: Option<Arc<GallerySet>>,
    pub answers: Arc<Answers>,
    pub last_look: Arc<LastLook>,
    pub decided: Arc<DecideCounters>,
    pub masks: Vec<Arc<MaskCounters>>,
    pub thresholds: Arc<Thresholds>,
    pub mask_thresholds: Arc<Thresholds>,
}

impl<'a> Wiring<'a> {
    /// Starts the policy thread: before anything else, so that every lease is decided before a step could ask.
    pub fn begin(plan: &'a Plan, progress: &ProgressRegistry, lasting: &'a Lasting, site: Option<SiteGuard>) -> Result<Self, StartError> {
        let (names, clock, rules) =
            (plan.names_in_register(), Arc::clone(&plan.clock), Box::new(CedarPlane::new(Library::of_site(&plan.state))));
        let (register, working) = (plan.state.register(), Some(progress.register("policy")));
        let started = PolicyThread::start_with(register, &names, clock, rules, working, lasting.withdrawals.clone(), site);
        let (policy, leases) = started.map_err(|e| StartError::Step(e.to_string()))?;
        Ok(Self {
            plan,
            lasting,
            clock: Arc::clone(&plan.clock),
            leases,
            progress: progress.clone(),
            never: Shutdown::new(),
            latencies: Latencies::new(),
            counters: vec![policy.counters()],
            running: Running::new(policy, progress.clone()),
            emitter: None,
        })
    }

    /// Every other thread, from the end of the journey to its beginning. After an error the caller ends what runs already.
    pub fn connect(
        &mut self,
        detectors: Networks,
        embedders: Networks,
        mask_classifier: Option<Box<dyn Network>>,
        key: Option<&SiteKey>,
    ) -> Result<Wired, StartError> {
        let names = self.plan.stream_names();
        let galleries = match (embedders.first(), key) {
            (Some(network), Some(key)) => Some(galleries(self.plan, &**network, key, self.leases.id())?),
            _ => None,
        };
        let answers = Arc::<Answers>::default();
        let tasks = self.emit(&names, &answers)?;
        let identified = bounded(IDENTIFIED_QUEUE);
        let decided = self.counted(DecideCounters::default());
        let limits = &self.plan.loaded.limits.streams;
        let thresholds = Arc::new(Thresholds::new(limits.iter().map(|s| s.threshold)));
        let mask_thresholds = Arc::new(Thresholds::new(limits.iter().map(|s| s.mask_threshold)));
        let last_look = Arc::new(LastLook::new(names.len()));
        let (mask_queue, masks) = self.mask_check(&names, mask_classifier, tasks.clone(), &mask_thresholds, &last_look)?;
        let telling = (tasks, identified.0, Arc::clone(&answers));
        let queries = self.decide(galleries.as_ref(), telling, &decided, &thresholds)?;
        let embed_queues = self.embed(embedders, queries, &last_look)?;
        let (detected, tracked) = self.track(&names, identified.1, (embed_queues, mask_queue), detectors.len(), &last_look)?;
        let free = self.running.detectors.clone();
        let batches = self.detect(detectors, detected, &free, &last_look)?;
        let streams = self.streams(&names, tracked);
        let hatches = self.attest(&names, key)?;
        self.batch(&streams, batches, free, hatches)?;
        for (i, stream) in streams.iter().enumerate() {
            self.running.start_source(self.plan, i, stream.outlet.again())?;
        }
        Ok(Wired { streams, galleries, answers, last_look, decided, masks, thresholds, mask_thresholds })
    }

    fn recorder(&self, step: &str) -> Result<StepRecorder, StartError> {
        self.latencies.recorder(step).map_err(|e| StartError::Step(format!("histogram of {step}: {e}")))
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        self.running.start_worker(name, work)
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

    /// The journal, its worker and the sinks.
    fn emit(&mut self, names: &[Arc<str>], answers: &Arc<Answers>) -> Result<Sender<Telling>, StartError> {
        let config = &self.plan.loaded.pipeline.emit;
        let failed = |e: emitter::StartError| StartError::Step(e.to_string());
        let (sender, tasks) = bounded::<Telling>(config.journal.queue_events);
        let (state, policy) = (self.plan.state.clone(), self.running.policy.clone());
        // The zones as they are at the start; a reload reads them anew. A register that cannot be read keeps every stream dark anyway.
        let register = Register::load(&self.plan.state.register()).unwrap_or_default();
        let zone = |name: &str| register.areas.iter().find(|a| a.stream == name).map(|a| a.zone.as_str().into());
        let known_as = self.plan.names_in_register();
        let streams = names.iter().zip(&known_as).map(|(name, known)| StreamNames { name: Arc::clone(name), zone: zone(known) }).collect();
        let settings = emitter::Settings {
            directory: config.journal.directory.clone().unwrap_or_else(|| self.plan.state.journal()),
            rotate_mib: config.journal.rotate_mib,
            retention: Retention {
                keep: Duration::from_secs(u64::from(config.journal.retain_days) * 86_400),
                // Where nothing is known of the clock it is remembered first, and believed from the next look on.
                may_erase: Box::new(move |now| {
                    let known = state.clock().exists();
                    leap::believe(&state, now).is_ok() && known
                }),
                refused: Arc::new(move || policy.refused_uses()),
                keep_record: Duration::from_secs(u64::from(config.record.retain_days) * 86_400),
            },
            context: emit::Context { streams, table: self.leases.id() },
            sinks: emitter::sinks(config, &self.plan.loaded.pipeline.name).map_err(failed)?,
            pauses: emit::backoff::Pauses::default(),
            recent: Arc::clone(&self.lasting.recent),
            leases: self.leases.clone(),
            answers: Arc::clone(answers),
            latencies: self.latencies.clone(),
            clock: Arc::clone(&self.clock),
            progress: self.progress.clone(),
            shutdown: self.running.stop_sinks.clone(),
            record: Some(self.plan.record.clone()),
        };
        self.emitter = Some(Emitter::start(tasks, settings).map_err(failed)?);
        Ok(sender)
    }

    /// Match and decide. Without galleries the queue's other end is dropped and nothing is ever sent.
    fn decide(
        &mut self,
        galleries: Option<&Arc<GallerySet>>,
        (tasks, identified, answers): (Sender<Telling>, Sender<Identified>, Arc<Answers>),
        decided: &Arc<DecideCounters>,
        thresholds: &Arc<Thresholds>,
    ) -> Result<Sender<Query>, StartError> {
        let (sender, queries) = bounded(QUERY_QUEUE);
        let Some(set) = galleries else { return Ok(sender) };
        let record = tasks.clone();
        let worker = DecideWorker {
            queries,
            tasks,
            record: Box::new(move |verified| record.try_send(verified.into()).is_ok()),
            answers,
            refuse: self.purpose_guard(),
            identified,
            leases: self.leases.clone(),
            set: Arc::clone(set),
            thresholds: Arc::clone(thresholds),
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

    /// Keeps what was to be searched for a purpose that it was not made for (C18).
    fn purpose_guard(&self) -> crate::decide::worker::RefuseQuery {
        let (record, clock) = (self.plan.record.clone(), Arc::clone(&self.clock));
        let names = self.plan.names_in_register();
        Box::new(move |stream, made_for, purpose| {
            let made_for: Vec<String> = made_for.iter().map(ToString::to_string).collect();
            let fact = format!("a search with an embedding that was made for {}", made_for.join(", "));
            let stream = names.get(stream.index()).map(ToString::to_string).unwrap_or_default();
            record.note(Entry { purpose: purpose.to_string(), stream, ..Entry::refused("purpose-of-query", fact) }, clock.utc());
        })
    }

    /// The mask worker. Without a classifier there is no queue, and nobody's mask is looked at.
    fn mask_check(
        &mut self,
        names: &[Arc<str>],
        network: Option<Box<dyn Network>>,
        findings: Sender<Telling>,
        thresholds: &Arc<Thresholds>,
        last_look: &Arc<LastLook>,
    ) -> Result<MaskBranch, StartError> {
        let (Some(settings), Some(network)) = (&self.plan.loaded.pipeline.mask, network) else { return Ok((None, Vec::new())) };
        let of_stream = |name: &Arc<str>| MaskCounters { stream: Some(Arc::clone(name)), ..MaskCounters::default() };
        let counters: Vec<Arc<MaskCounters>> = names.iter().map(|name| self.counted(of_stream(name))).collect();
        let classifier = MaskClassifier::new(network).map_err(|e| StartError::Step(e.to_string()))?;
        let (model, clock, leases) = (classifier.model(), Arc::clone(&self.clock), self.leases.clone());
        let tally = Tally::new(classifier, model, settings, leases, clock, counters.clone(), Arc::clone(thresholds));
        let (sender, selections) = bounded(SELECTION_QUEUE);
        let worker = MaskWorker {
            tally: tally.noting(Arc::clone(last_look)),
            selections,
            findings,
            clock: Arc::clone(&self.clock),
            recorder: self.recorder("mask-check")?,
            progress: self.progress.register("mask"),
        };
        self.spawn("mask", move || crate::mask_check::worker::run(worker))?;
        Ok((Some(sender), counters))
    }

    fn embed(
        &mut self,
        networks: Networks,
        queries: Sender<Query>,
        last_look: &Arc<LastLook>,
    ) -> Result<Vec<Sender<Selection>>, StartError> {
        let Some(settings) = &self.plan.loaded.pipeline.embed else { return Ok(Vec::new()) };
        let counters = self.counted(EmbedCounters::default());
        let mut queues = Vec::new();
        for (n, network) in networks.into_iter().enumerate() {
            let (sender, selections) = bounded(SELECTION_QUEUE);
            let embedder = Embedder::new(network).map_err(|e| StartError::Step(e.to_string()))?;
            let name = format!("embed-{n}");
            let worker = EmbedWorker {
                gather: Gather::new(embedder, settings, self.leases.clone(), Arc::clone(&self.clock), Arc::clone(&counters))
                    .noting(Arc::clone(last_look)),
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
        (embedders, masks): (Vec<Sender<Selection>>, Option<Sender<Selection>>),
        detectors: usize,
        last_look: &Arc<LastLook>,
    ) -> Result<(Sender<Detected>, Vec<Tracked>), StartError> {
        let pipeline = &self.plan.loaded.pipeline;
        let mut seen = Vec::new();
        let mut streams = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let counters = Arc::new(TrackCounters { stream: Some(Arc::clone(name)), ..TrackCounters::default() });
            let live = Arc::new(LiveTracks { stream: Some(Arc::clone(name)), ..LiveTracks::default() });
            let tracker = Tracker::new(index(i), &pipeline.track, pipeline.embed.as_ref(), Arc::clone(&counters));
            let tracker = tracker.checking_masks(pipeline.mask.as_ref());
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
            masks,
            last_look: Arc::clone(last_look),
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
        networks: Networks,
        detected: Sender<Detected>,
        free: &FreeWorkers,
        last_look: &Arc<LastLook>,
    ) -> Result<Sender<Batch>, StartError> {
        let pipeline = &self.plan.loaded.pipeline;
        let (sender, batches) = bounded(networks.len().max(1));
        let counters = self.counted(DetectCounters::default());
        let worker_counters = self.counted(DetectWorkerCounters::default());
        let least = least_score(&pipeline.detect, &pipeline.track);
        for (n, network) in networks.into_iter().enumerate() {
            let name = format!("detect-{n}");
            let detector =
                Detector::new(network, &pipeline.detect, least, Arc::clone(&counters)).map_err(|e| StartError::Step(e.to_string()))?;
            let worker = DetectWorker {
                find: detector,
                batches: batches.clone(),
                detected: detected.clone(),
                seat: free.seat(),
                clock: Arc::clone(&self.clock),
                recorder: self.recorder("detect")?,
                counters: Arc::clone(&worker_counters),
                last_look: Arc::clone(last_look),
                progress: self.progress.register(&name),
            };
            self.spawn(&name, move || crate::detect::worker::run(worker))?;
        }
        Ok(sender)
    }

    fn streams(&mut self, names: &[Arc<str>], tracked: Vec<Tracked>) -> Vec<StreamRuntime> {
        let limits = &self.plan.loaded.limits;
        let mut streams = Vec::new();
        for ((i, name), (track, live)) in names.iter().enumerate().zip(tracked) {
            let ring = Arc::new(Ring::new(limits.ring_frames));
            let batch = Arc::new(BatchCounters { stream: Some(Arc::clone(name)), ..BatchCounters::default() });
            let every = self.plan.loaded.pipeline.streams[i].detect_every;
            let outlet = Outlet::new(name, index(i), Arc::clone(&ring), Arc::clone(&self.running.bell), Arc::clone(&self.clock));
            let outlet = outlet.governed_by(self.leases.id());
            let (health, ingest) = (Arc::clone(&outlet.health), Arc::clone(&outlet.counters));
            let of_stream: [Arc<dyn Counters>; 4] =
                [Arc::clone(&ingest) as _, Arc::clone(&batch) as _, Arc::clone(&track) as _, Arc::clone(&live) as _];
            self.counters.extend(of_stream);
            let source = parking_lot::Mutex::new(limits.streams[i].source.to_string());
            let detect_every = Arc::new(DetectEvery::new(every));
            streams.push(StreamRuntime { name: Arc::clone(name), ring, health, ingest, batch, track, live, source, detect_every, outlet });
        }
        streams
    }

    /// The attestation worker; answers each stream's way to it.
    fn attest(&mut self, names: &[Arc<str>], key: Option<&SiteKey>) -> Result<Vec<Hatch>, StartError> {
        // A pipeline that identifies nobody has read no key; without any, no code is this site's.
        let own = if key.is_none() { SiteKey::load(&self.plan.state).ok() } else { None };
        let public = key.or(own.as_ref()).map(|key| Signer::of(key).map(|signer| signer.public())).transpose()?;
        let (sender, frames) = bounded(names.len().max(1));
        let (mut streams, mut hatches) = (Vec::new(), Vec::new());
        for (name, known) in names.iter().zip(self.plan.names_in_register()) {
            let counters = self.counted(AttestCounters { stream: Some(Arc::clone(name)), ..AttestCounters::default() });
            let wanted = Wanted::default();
            hatches.push(Hatch::new(wanted.clone(), sender.clone()));
            streams.push(AttestedStream::new(known, wanted, counters));
        }
        let worker = AttestWorker {
            attester: Attester::new(public),
            streams,
            frames,
            leases: self.leases.clone(),
            observations: self.running.policy.observations().clone(),
            clock: Arc::clone(&self.clock),
            recorder: self.recorder("attest")?,
            progress: self.progress.register("attest"),
        };
        self.spawn("attest", move || crate::signs::worker::run(worker))?;
        Ok(hatches)
    }

    fn batch(
        &mut self,
        streams: &[StreamRuntime],
        batches: Sender<Batch>,
        free: FreeWorkers,
        hatches: Vec<Hatch>,
    ) -> Result<(), StartError> {
        let feed = |((i, s), hatch): ((usize, &StreamRuntime), Hatch)| {
            Feed::new(index(i), Arc::clone(&s.ring), Arc::clone(&s.detect_every), !self.is_lossless(i), Arc::clone(&s.batch))
                .watched_through(hatch)
        };
        let bell = &self.running.bell;
        let feeds = streams.iter().enumerate().zip(hatches).map(feed).collect();
        let batcher = Batcher {
            gatherer: Gatherer::new(feeds, self.leases.clone(), Arc::clone(bell)),
            bell: Arc::clone(bell),
            workers: free,
            batches,
            max_batch: self.plan.loaded.limits.max_batch,
            max_wait: self.plan.loaded.limits.max_wait,
            clock: Arc::clone(&self.clock),
            recorder: self.recorder("batch")?,
            drain: self.running.drain.clone(),
            progress: self.progress.register("batch"),
        };
        self.spawn("batch", move || crate::batch::run(batcher))
    }
}

/// Streams are at most 1,024 (`config::limits`).
pub(super) fn index(i: usize) -> StreamIndex {
    StreamIndex(u16::try_from(i).unwrap_or(u16::MAX))
}

/// The tracker's second association continues tracks with faces that score too low to start one.
fn least_score(detect: &schema::Detect, track: &schema::Track) -> f32 {
    track.low_score.min(detect.score_threshold)
}
