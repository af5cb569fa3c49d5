//! What the policy thread last decided, for those who show it: status, console, metrics, the demonstration's timeline.
//!
//! Nothing here opens anything; leases do. The policy thread writes, anyone reads what it wrote last and waits for nobody: a policy thread
//! that hangs, with whatever lock in its hand, hangs no status page, no metrics and no list of changes with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use crate::clock::{Monotonic, Now, Stamp, Utc, format_utc};
use crate::purpose::Purpose;

use super::facts::Device;
use super::lease::StreamState;
use super::refused::RefusedUse;
use super::rules::{Decision, Reason, Rule};

/// Changes kept for the timeline; older ones are forgotten (the evidence log is what remembers).
const TIMELINE_ENTRIES: usize = 1_024;

crate::counters! {
    /// What the policy thread did.
    pub struct PolicyCounters for "policy" {
        evaluations_total: "Times the rules were evaluated for all streams",
        revocations_total: "Leases ended before their time",
        grants_total: "Leases put in force with new terms",
        register_reads_total: "Times the register's file was read",
        register_errors_total: "Times the register's file was read and refused: every stream went off",
        plane_errors_total: "Times the rules could not be evaluated: every stream went off",
        plane_disagreements_total: "Times rules and policies read the law differently: what they differed about was denied",
        panics_total: "Panics caught while deciding: every stream went off",
        claims_total: "Claims at gates that were opened for verification",
        claims_refused_total: "Claims at gates that were refused: no leave, no consent, or another is open",
        clock_refusals_total: "Evaluations refused because the wall clock cannot be believed",
    }
}

/// A stream's state and why.
#[derive(Clone, Debug, Serialize)]
pub struct StreamPolicy {
    pub name: Arc<str>,
    /// What is in force, lease and all: *off* too when the policy thread no longer renews.
    pub state: StreamState,
    pub reason: Reason,
    pub purposes: Vec<Purpose>,
    /// What its lease shows: the zones whose areas, or a part of them, are looked at. Others of the stream are dark.
    pub zones: Vec<String>,
    /// When time alone will change it.
    #[serde(serialize_with = "optional_utc")]
    pub next_expiry: Option<Stamp<Utc>>,
    pub epoch: u64,
    /// When the last narrowing took effect.
    #[serde(skip)]
    pub revoked_at: Option<Stamp<Monotonic>>,
}

/// One entry of the timeline.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    #[serde(serialize_with = "utc")]
    pub at: Stamp<Utc>,
    #[serde(skip)]
    pub at_monotonic: Stamp<Monotonic>,
    pub stream: Arc<str>,
    pub from: StreamState,
    pub to: StreamState,
    pub reason: Reason,
}

fn utc<S: Serializer>(stamp: &Stamp<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_utc(*stamp))
}
fn optional_utc<S: Serializer>(stamp: &Option<Stamp<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match stamp {
        Some(stamp) => utc(stamp, serializer),
        None => serializer.serialize_none(),
    }
}

/// Who signs for the register that decisions rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Approvals {
    /// Two who are nobody: nothing in it was approved by anybody.
    pub stand_ins: bool,
    /// Proposals that wait for signatures.
    pub waiting: usize,
}

pub(in crate::policy) struct Board {
    /// Held by whoever writes, never by whoever reads.
    writing: Mutex<()>,
    streams: Vec<ArcSwap<StreamPolicy>>,
    timeline: ArcSwap<VecDeque<Arc<Change>>>,
    register_hash: ArcSwap<Option<[u8; 32]>>,
    approvals: ArcSwap<Approvals>,
    devices: ArcSwap<Arc<[Device]>>,
    refused: ArcSwap<Vec<RefusedUse>>,
    heartbeat: AtomicU64,
    last_beat_ns: AtomicI64,
    pub counters: Arc<PolicyCounters>,
}

impl Board {
    pub fn new(streams: &[Arc<str>]) -> Self {
        let unknown = Reason::new(Rule::NotYetDecided, "nothing has been decided yet", "");
        let stream = |name: &Arc<str>| StreamPolicy {
            name: Arc::clone(name),
            state: StreamState::Off,
            reason: unknown.clone(),
            purposes: Vec::new(),
            zones: Vec::new(),
            next_expiry: None,
            epoch: 0,
            revoked_at: None,
        };
        Self {
            writing: Mutex::new(()),
            streams: streams.iter().map(|name| ArcSwap::from_pointee(stream(name))).collect(),
            timeline: ArcSwap::default(),
            register_hash: ArcSwap::default(),
            approvals: ArcSwap::default(),
            devices: ArcSwap::default(),
            refused: ArcSwap::default(),
            heartbeat: AtomicU64::new(0),
            last_beat_ns: AtomicI64::new(0),
            counters: Arc::default(),
        }
    }

    /// Records `decision` for stream `index`; true if its state changed, or if nothing was decided before. With the epoch come the zones that the
    /// lease shows, where these may be others than before.
    pub fn record(
        &self,
        index: usize,
        decision: &Decision,
        (epoch, zones): (u64, Option<Vec<String>>),
        revoked_at: Option<Stamp<Monotonic>>,
        now: Now,
    ) -> bool {
        let _turn = self.writing.lock();
        let Some(place) = self.streams.get(index) else { return false };
        let before = place.load();
        let (from, to) = (before.state, decision.state);
        let first = before.reason.rule == Rule::NotYetDecided;
        let same = from == to
            && before.epoch == epoch
            && before.next_expiry == decision.next_change
            && before.reason == decision.reason
            && before.purposes.iter().eq(decision.grants.iter().map(|g| &g.purpose))
            && zones.as_ref().is_none_or(|zones| *zones == before.zones)
            && revoked_at.is_none_or(|at| before.revoked_at == Some(at));
        // As at nearly every evaluation.
        if !same {
            place.store(Arc::new(StreamPolicy {
                name: Arc::clone(&before.name),
                state: to,
                reason: decision.reason.clone(),
                purposes: decision.grants.iter().map(|g| g.purpose.clone()).collect(),
                zones: zones.unwrap_or_else(|| before.zones.clone()),
                next_expiry: decision.next_change,
                epoch,
                revoked_at: revoked_at.or(before.revoked_at),
            }));
        }
        if from == to {
            return first;
        }
        let at_monotonic = revoked_at.unwrap_or(now.monotonic);
        let change = Change { at: now.utc, at_monotonic, stream: Arc::clone(&before.name), from, to, reason: decision.reason.clone() };
        let mut timeline = VecDeque::clone(&self.timeline.load());
        if timeline.len() == TIMELINE_ENTRIES {
            timeline.pop_front();
        }
        timeline.push_back(Arc::new(change));
        self.timeline.store(Arc::new(timeline));
        true
    }

    pub fn streams(&self) -> Vec<StreamPolicy> {
        self.streams.iter().map(|stream| StreamPolicy::clone(&stream.load())).collect()
    }
    pub fn timeline(&self) -> Vec<Change> {
        self.timeline.load().iter().map(|change| Change::clone(change)).collect()
    }
    /// The register that decisions rest on from now on; `None`: it cannot be read.
    pub fn set_register_hash(&self, hash: Option<[u8; 32]>) {
        let _turn = self.writing.lock();
        self.register_hash.store(Arc::new(hash));
    }
    pub fn set_approvals(&self, approvals: Approvals) {
        let _turn = self.writing.lock();
        self.approvals.store(Arc::new(approvals));
    }
    pub fn approvals(&self) -> Approvals {
        **self.approvals.load()
    }
    /// As the register has them; none while it cannot be read.
    pub fn set_devices(&self, devices: &[Device]) {
        let _turn = self.writing.lock();
        if self.devices.load()[..] != *devices {
            self.devices.store(Arc::new(devices.into()));
        }
    }
    pub fn devices(&self) -> Arc<[Device]> {
        Arc::clone(&self.devices.load())
    }
    /// As the register has them; a register that cannot be read takes nothing back.
    pub fn set_refused(&self, refused: Vec<RefusedUse>) {
        if **self.refused.load() != refused {
            self.refused.store(Arc::new(refused));
        }
    }
    /// Waits for nobody: a worker asks.
    pub fn refused(&self) -> Arc<Vec<RefusedUse>> {
        self.refused.load_full()
    }
    pub fn register_hash(&self) -> Option<[u8; 32]> {
        **self.register_hash.load()
    }
    /// Nobody else writes on the board until `meanwhile` returns.
    pub fn hold(&self, meanwhile: impl FnOnce()) {
        let _held = self.writing.lock();
        meanwhile();
    }
    pub fn beat(&self, now: Stamp<Monotonic>) {
        self.last_beat_ns.store(now.ns(), Relaxed);
        self.heartbeat.fetch_add(1, Relaxed);
    }
    pub fn last_beat(&self) -> Stamp<Monotonic> {
        Stamp::from_ns(self.last_beat_ns.load(Relaxed))
    }
    pub fn heartbeat(&self) -> u64 {
        self.heartbeat.load(Relaxed)
    }
}
