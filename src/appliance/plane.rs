//! The data plane: what runs between the cameras and the journal. Started downstream first (`wiring.rs`), ended upstream first (`running.rs`).
//!
//! A reload that changes only some streams changes only those ([`Plane::change_streams`]): the others keep their frames, tracks and permits.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::devices::Devices;
use super::plan::{Plan, Prepared, Sources, StartError};
use super::running::Running;
use super::view::network_view;
use super::wiring::{Wired, Wiring, index};
use crate::batch::{BatchCounters, DetectEvery};
use crate::clock::{Clock, Monotonic, Now, Stamp, Utc};
use crate::console::view::NetworkView;
use crate::counters::Counters;
use crate::decide::Thresholds;
use crate::decide::answers::Answers;
use crate::decide::worker::DecideCounters;
use crate::detect::worker::LastLook;
use crate::emit::emitter::Emitter;
use crate::emit::record::Entry;
use crate::emit::worker::Recent;
use crate::engine::Network;
use crate::engine::manifest::Decode;
use crate::frame::{Frame, StreamIndex, TableId};
use crate::gallery::TemplateModel;
use crate::gallery::purge::purge;
use crate::gallery::seal::SiteKey;
use crate::gallery::set::{GallerySet, Reloaded};
use crate::gallery::vault::Vault;
use crate::ingest::{HealthSnapshot, IngestCounters, Outlet, SourceState, StreamHealth};
use crate::latency::Latencies;
use crate::mask_check::MaskCounters;
use crate::policy::enrolment::Filing;
use crate::policy::facts::{Register, Site};
use crate::policy::intended_use::SiteGuard;
use crate::policy::pending::PendingWithdrawals;
use crate::policy::profile::Library;
use crate::policy::worker::PolicyHandle;
use crate::progress::ProgressRegistry;
use crate::queue::Ring;
use crate::shutdown::Shutdown;
use crate::track::{LiveTracks, TrackCounters};

/// What has expired stays on the disk no longer than this while the service runs. (It is not searched for a second.)
const PURGE_EVERY: Duration = Duration::from_secs(3_600);
/// How often it is looked whether something has.
const PURGE_LOOK: Duration = Duration::from_secs(10);
/// How long opening the vault waits for a command that holds it.
const VAULT_PATIENCE: Duration = Duration::from_secs(5);

/// One stream as others see it.
pub struct StreamRuntime {
    pub name: Arc<str>,
    pub ring: Arc<Ring<Frame>>,
    pub health: Arc<StreamHealth>,
    pub ingest: Arc<IngestCounters>,
    pub batch: Arc<BatchCounters>,
    pub track: Arc<TrackCounters>,
    pub live: Arc<LiveTracks>,
    pub(super) source: parking_lot::Mutex<String>,
    pub(super) detect_every: Arc<DetectEvery>,
    /// What the stream's sources deliver through, one after another.
    pub(super) outlet: Outlet,
}

impl StreamRuntime {
    pub fn health(&self) -> HealthSnapshot {
        self.health.snapshot()
    }
    /// As the pipeline file has it now.
    pub fn source(&self) -> String {
        self.source.lock().clone()
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
    /// Whoever waits to hear whether somebody is whom they claim to be.
    pub answers: Arc<Answers>,
    pub last_look: Arc<LastLook>,
    pub decided: Arc<DecideCounters>,
    /// By stream; none where the pipeline looks at nobody's mask.
    pub masks: Vec<Arc<MaskCounters>>,
    /// What looks: the start decides what runs each.
    pub networks: Vec<NetworkView>,
    pub emitter: parking_lot::Mutex<Emitter>,
    pub counters: Vec<Arc<dyn Counters>>,
    key: Option<SiteKey>,
    thresholds: Arc<Thresholds>,
    mask_thresholds: Arc<Thresholds>,
    running: Running,
    _purging: Option<Purging>,
    _devices: Option<Devices>,
}

/// What outlives a plane: a reload hands it to the next one.
#[derive(Clone, Default)]
pub struct Lasting {
    /// Whoever watches events goes on watching.
    pub recent: Arc<Recent>,
    /// A sign that was withdrawn stays withdrawn, also where that could not be written.
    pub withdrawals: PendingWithdrawals,
}

/// Opens the galleries of `model` in the site's vault.
pub(super) fn galleries(plan: &Plan, network: &dyn Network, key: &SiteKey, table: TableId) -> Result<Arc<GallerySet>, StartError> {
    let manifest = network.manifest();
    let Decode::Embedding { dim, .. } = manifest.decode else {
        return Err(StartError::Step(format!("model `{}` is no embedder", manifest.name)));
    };
    let sha256 = manifest.prepared_sha256.as_ref().unwrap_or(&manifest.sha256);
    let model = TemplateModel { name: manifest.name.as_str().into(), sha256: sha256.as_str().into(), dim };
    let threads = plan.loaded.pipeline.engine.search_threads;
    let set = GallerySet::new(model, table).searched_by(threads);
    let set = Arc::new(set.map_err(|e| StartError::Step(format!("{threads} threads to search galleries: {e}")))?);
    reload(plan, &set, key, &Shutdown::new())?;
    Ok(set)
}

/// Erases what has expired, and reads the vault anew. The vault is held only meanwhile, so that `enrol` can write while the service runs.
fn reload(plan: &Plan, set: &GallerySet, key: &SiteKey, stop: &Shutdown) -> Result<Reloaded, StartError> {
    if !plan.state.vault().exists() {
        return Ok(Reloaded::default());
    }
    let failed = |e: &dyn std::fmt::Display| StartError::Step(format!("galleries: {e}"));
    let vault = Vault::open_patiently(&plan.state, key, VAULT_PATIENCE, stop).map_err(|e| failed(&e))?;
    // Of a register that cannot be read nothing is known: what rests on its records is not searched, and nothing of it is erased.
    let register = Register::load(&plan.state.register()).unwrap_or_default();
    // A bench changes nothing of the site's. What cannot be erased now is not searched, and is tried again.
    let erased = if matches!(plan.sources, Sources::Configured) {
        purge(&vault, &register, &plan.state, key, plan.clock.now()).unwrap_or_else(|error| {
            tracing::warn!(%error, "what is over could not be erased; it is tried again within the hour");
            0
        })
    } else {
        0
    };
    if matches!(plan.sources, Sources::Configured)
        && let Err(error) = vault.refresh_shards(plan.clock.utc())
    {
        tracing::warn!(%error, "the gallery's shards could not be made; the vault is read instead, which takes longer");
    }
    let regime = Library::of_site(&plan.state).regime_of(&register, plan.clock.utc()).ok();
    let persons = vault.subjects().map_err(|e| failed(&e))?.len();
    let warning = regime.and_then(|regime| Filing::of(&regime.values)?.warning(persons));
    plan.near_filing.store(warning.map(Arc::new));
    let reloaded = set.reload(&vault, &register, plan.clock.utc()).map_err(|e| failed(&e))?;
    if erased > 0 {
        plan.record.note(Entry::subjects_over(erased), plan.clock.utc());
        // The keys are gone already; now the freed pages, with what they opened.
        vault.rewrite().map_err(|e| failed(&e))?;
    }
    Ok(reloaded)
}

/// The thread `purge`: erases what is over, hourly and as soon as the next template expires. It may wait for the vault; no frame waits for it.
/// Ends when dropped.
struct Purging {
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Purging {
    fn start(plan: Plan, set: Arc<GallerySet>) -> Result<Self, StartError> {
        let stop = Shutdown::new();
        let asked = stop.clone();
        let work = move || {
            let mut due = Due::after_a_reload(&set, &*plan.clock);
            while !asked.wait(PURGE_LOOK) {
                if !due.is_due(&set, plan.clock.now()) {
                    continue;
                }
                let key = SiteKey::load(&plan.state).map_err(StartError::from);
                if let Err(error) = key.and_then(|key| reload(&plan, &set, &key, &asked)) {
                    tracing::warn!(%error, "what is over could not be erased");
                }
                due = Due::after_a_reload(&set, &*plan.clock);
            }
        };
        let name = "purge".to_owned();
        let spawned = std::thread::Builder::new().name(name.clone()).spawn(work);
        Ok(Self { stop, thread: Some(spawned.map_err(|source| StartError::Thread { name, source })?) })
    }
}

/// When the vault is looked through again.
struct Due {
    next_expiry: Stamp<Utc>,
    at_the_latest: Stamp<Monotonic>,
}

impl Due {
    fn after_a_reload(set: &GallerySet, clock: &dyn Clock) -> Self {
        Self { next_expiry: set.next_expiry(), at_the_latest: clock.monotonic().plus(PURGE_EVERY) }
    }
    /// Others reload the galleries too, and the decide worker drops what expires: the first end that was ever seen counts.
    fn is_due(&mut self, set: &GallerySet, now: Now) -> bool {
        self.next_expiry = self.next_expiry.min(set.next_expiry());
        now.utc >= self.next_expiry || now.monotonic >= self.at_the_latest
    }
}

impl Drop for Purging {
    fn drop(&mut self) {
        self.stop.request();
        // A thread that panicked has ended too.
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

impl Plane {
    /// On an error nothing of it is left running.
    pub fn start(plan: &Plan, progress: &ProgressRegistry, lasting: &Lasting) -> Result<Self, StartError> {
        let Prepared { site, detectors, embedders, mask_classifier, key } = plan.prepare()?;
        let networks = detectors.iter().chain(&embedders).chain(&mask_classifier);
        let guard = SiteGuard::over(plan.state.site(), networks.map(|network| network.manifest()));
        let looking = [network_view(&detectors), network_view(&embedders), network_view(mask_classifier.as_slice())];
        let mut wiring = Wiring::begin(plan, progress, lasting, guard)?;
        let wired = wiring.connect(detectors, embedders, mask_classifier, key.as_ref()).and_then(|wired| {
            let galleries = wired.galleries.as_ref().filter(|_| matches!(plan.sources, Sources::Configured));
            let purging = galleries.map(|set| Purging::start(plan.clone(), Arc::clone(set))).transpose()?;
            let asking =
                matches!(plan.sources, Sources::Configured).then(|| Devices::start(plan, wiring.running.policy.clone(), &wired.streams));
            Ok((wired, purging, asking.transpose()?))
        });
        let Wiring { latencies, counters, running, mut emitter, .. } = wiring;
        match (wired, emitter.take()) {
            (
                Ok((Wired { streams, galleries, answers, last_look, decided, masks, thresholds, mask_thresholds }, purging, devices)),
                Some(emitter),
            ) => Ok(Self {
                site,
                pipeline: plan.loaded.pipeline.name.clone(),
                streams,
                policy: running.policy.clone(),
                latencies,
                galleries,
                answers,
                last_look,
                decided,
                masks,
                networks: looking.into_iter().flatten().collect(),
                emitter: parking_lot::Mutex::new(emitter),
                counters,
                key,
                thresholds,
                mask_thresholds,
                running,
                _purging: purging,
                _devices: devices,
            }),
            (wired, mut emitter) => {
                // Also lets go of the streams' ends of the queues, so that the workers see them hang up.
                let error = wired.err().unwrap_or_else(|| StartError::Step("emission was not started".to_owned()));
                running.end(emitter.as_mut());
                Err(error)
            }
        }
    }

    /// Whether every source has come to its end by itself.
    pub fn sources_ended(&self) -> bool {
        self.running.sources_ended()
    }

    /// Whether every source has come to its end, or has failed `attempts` times running: then a replay waits for nothing any more.
    pub fn sources_over(&self, attempts: u32) -> bool {
        let failing = |s: &StreamRuntime| s.health.attempts() >= attempts && s.health.state() != SourceState::Live;
        let over = |(i, stream): (usize, &StreamRuntime)| self.running.source_ended(i) || failing(stream);
        self.streams.iter().enumerate().all(over)
    }

    /// Opens the galleries again.
    pub fn reload_galleries(&self, plan: &Plan) -> Result<Reloaded, StartError> {
        match (&self.galleries, &self.key) {
            (Some(set), Some(key)) => reload(plan, set, key, &Shutdown::new()),
            _ => Ok(Reloaded::default()),
        }
    }

    /// Brings the streams `changed` to what `next` says; `next` differs from the plan in force in nothing else. A stream whose source is
    /// another now ends its source, its lease and with it its tracks, and begins anew; `old` is gone back to if it cannot.
    pub fn change_streams(&self, old: &Plan, next: &Plan, changed: &[usize]) -> Result<(), StartError> {
        for &i in changed {
            let runtime = &self.streams[i];
            let (stream, limits) = (&next.loaded.pipeline.streams[i], &next.loaded.limits.streams[i]);
            runtime.detect_every.set(stream.detect_every);
            self.thresholds.set(index(i), limits.threshold);
            self.mask_thresholds.set(index(i), limits.mask_threshold);
            if old.has_same_source(next, i) {
                continue;
            }
            self.running.end_source(i);
            // What the old source left is not to be looked at as the new one's.
            while runtime.ring.pop().is_some() {}
            if let Err(error) = self.policy.end_lease(index(i)) {
                tracing::warn!(stream = &*runtime.name, %error, "the stream's lease ends by itself");
            }
            runtime.ingest.restarts_total.increment();
            if let Err(error) = self.running.start_source(next, i, runtime.outlet.again()) {
                self.running.start_source(old, i, runtime.outlet.again())?;
                return Err(error);
            }
            *runtime.source.lock() = limits.source.to_string();
        }
        Ok(())
    }

    /// Whether every detect worker is gone while the plane runs: frames arrive and nobody looks.
    pub fn detectors_lost(&self) -> bool {
        self.running.detectors.all_lost()
    }

    /// Frames that were looked at on `stream`.
    pub fn detected(&self, stream: StreamIndex) -> u64 {
        self.last_look.frames(stream)
    }

    /// No source any more; what arrived runs through; every thread ends.
    pub fn stop(&self) {
        self.running.end(Some(&mut *self.emitter.lock()));
    }
}
