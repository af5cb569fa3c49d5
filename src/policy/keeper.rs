//! The policy thread's state machine, without the thread: facts and time in, leases out. `worker.rs` alone drives it.
//!
//! Invariants: decisions for *all* streams are made before any lease is touched, so an error or a panic half-way opens nothing; what
//! narrows is applied before what widens; dropping the keeper, also by unwinding, ends every lease. A withdrawal holds from
//! the moment it is told, whatever the file says, until the file says it too; what it could light is held back as long (`store/lighting.rs`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::area::{Area, overlap};
use crate::clock::{Monotonic, Now, SharedClock, Stamp, Utc};
use crate::frame::StreamIndex;

use super::attestation::may_look;
use super::board::{Approvals, Board};
use super::claim::Claim;
use super::facts::{AreaFact, Register, Withdrawal};
use super::file::FileStamp;
use super::intended_use::SiteGuard;
use super::lease::{LeaseTable, LeaseTerms, LeaseWriter, MAX_LEASE, StreamState};
use super::observed::{Moment, Observations};
use super::pending::{PendingWithdrawals, UNWRITTEN};
use super::refused::refused_uses;
use super::rules::{Decision, DecisionPlane, Reason, Rule};
use super::store::{Reader, StoreError, hold_back};
use super::wall_clock::{WallClockGuard, not_before};

mod claims;

/// What was read last holds this long while somebody writes the file; with a lease on top, less than a second.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long a reading that was asked for waits for a writer: well within a lease.
const ASKED_PATIENCE: Duration = Duration::from_millis(100);

struct Loaded {
    register: Register,
    /// Per stream: what its lease cites.
    hashes: Vec<[u8; 32]>,
    /// When somebody last signed a change of it.
    signed_at: Option<Stamp<Utc>>,
}

/// What withdrawing a sign did at once.
pub(in crate::policy) struct Darkened {
    pub streams: Vec<Arc<str>>,
    pub at: Stamp<Monotonic>,
}

/// Why a sign could not be withdrawn.
pub(in crate::policy) enum CannotWithdraw {
    Unreadable(Reason),
    Unknown { nearest: Option<String> },
}

pub(in crate::policy) struct Keeper {
    path: PathBuf,
    reader: Reader,
    /// Since when the file cannot be read because somebody writes it.
    busy_since: Option<Stamp<Monotonic>>,
    streams: Arc<[Arc<str>]>,
    clock: SharedClock,
    plane: Box<dyn DecisionPlane>,
    /// Where commissioning models run.
    site: Option<SiteGuard>,
    writer: LeaseWriter,
    table: LeaseTable,
    pub board: Arc<Board>,
    guard: WallClockGuard,
    /// Of the file as last read; `None`: read it again.
    seen: Option<FileStamp>,
    /// When the file was last looked at: leases run from here, so that a thread that is held up between reading and deciding grants nothing
    /// from what has changed meanwhile.
    looked_at: Stamp<Monotonic>,
    loaded: Result<Loaded, Reason>,
    /// Withdrawals that the file may not show yet.
    pending: PendingWithdrawals,
    /// What cameras and gates say.
    observations: Observations,
    /// The claim that is open, per stream.
    claims: Vec<Option<Claim>>,
    /// The state last put in force, per stream.
    in_force: Vec<StreamState>,
    /// Of the plane's two readings, as counted so far.
    disagreements: u64,
}

impl Keeper {
    pub fn new(
        path: PathBuf,
        streams: Arc<[Arc<str>]>,
        clock: SharedClock,
        plane: Box<dyn DecisionPlane>,
        pending: PendingWithdrawals,
    ) -> (Self, LeaseTable) {
        let (writer, table) = LeaseWriter::new(streams.len(), &clock);
        let board = Arc::new(Board::new(&streams));
        let (in_force, claims) = (vec![StreamState::Off; streams.len()], vec![None; streams.len()]);
        let looked_at = clock.monotonic();
        let loaded = Err(Reason::new(Rule::RegisterReadable, "the register has not been read yet", ""));
        let keeper = Self {
            reader: Reader::new(path.clone()),
            path,
            busy_since: None,
            streams,
            clock,
            plane,
            site: None,
            writer,
            table: table.clone(),
            board,
            guard: WallClockGuard::default(),
            seen: None,
            looked_at,
            loaded,
            pending,
            observations: Observations::default(),
            claims,
            in_force,
            disagreements: 0,
        };
        (keeper, table)
    }

    /// Every stream goes dark where `guard` says so.
    pub fn guarded_by(mut self, guard: Option<SiteGuard>) -> Self {
        self.site = guard;
        self
    }

    /// Decides from these observations, which others write.
    pub fn observing(mut self, observations: Observations) -> Self {
        self.observations = observations;
        self
    }

    /// Reads the register if its file changed, decides, and renews, changes or ends every lease. Answers how long until time alone
    /// changes something.
    pub fn step(&mut self) -> Option<Duration> {
        self.refresh();
        if self.clock.monotonic() > self.looked_at.plus(MAX_LEASE / 4) {
            // A long reading would leave the leases little time to run; what has been read is not read again.
            self.refresh();
        }
        self.decide()
    }

    /// The next step reads the file even if it looks unchanged.
    pub fn forget_file(&mut self) {
        self.seen = None;
    }

    /// The file shows sign `id` posted again: what it says counts.
    pub fn forget_withdrawal(&mut self, id: &str) {
        self.pending.remove(id);
        self.forget_file();
    }

    /// Ends at once whatever rests on sign `id`. Durability is the caller's next step. While the register cannot be read nobody knows
    /// whether there is such a sign: if there is, once it can be read, it is withdrawn.
    pub fn withdraw(&mut self, id: &str, withdrawal: Withdrawal) -> Result<Darkened, CannotWithdraw> {
        let loaded = self.loaded.as_mut().map_err(|reason| {
            self.pending.insert(id, withdrawal.clone());
            CannotWithdraw::Unreadable(reason.clone())
        })?;
        let before = loaded.register.clone();
        let Some(sign) = loaded.register.sign_mut(id) else {
            let nearest = loaded.register.nearest_sign(id).map(str::to_owned);
            return Err(CannotWithdraw::Unknown { nearest });
        };
        sign.withdrawn.get_or_insert_with(|| withdrawal.clone());
        hold_back(&before, &mut loaded.register, UNWRITTEN, &withdrawal.at);
        self.pending.insert(id, withdrawal);
        loaded.hashes = self.streams.iter().map(|s| loaded.register.hash_for(s)).collect();
        let before = self.in_force.clone();
        let hash = loaded.register.hash();
        self.decide();
        self.board.set_register_hash(Some(hash));
        let narrowed = self.streams.iter().zip(before.iter().zip(&self.in_force)).filter(|(_, (old, new))| new < old);
        Ok(Darkened { streams: narrowed.map(|(s, _)| Arc::clone(s)).collect(), at: self.clock.monotonic() })
    }

    /// Ends the lease on `stream`, and a claim with it; the next step grants another where one is due.
    pub fn end_lease(&mut self, stream: StreamIndex) {
        if let Some(in_force) = self.in_force.get_mut(stream.index()) {
            self.claims[stream.index()] = None;
            *in_force = StreamState::Off;
            self.writer.revoke(stream);
            // What was seen of its sign was seen by the source that it had.
            self.writer.revoke_attest(stream);
            self.observations.forget(&self.streams[stream.index()], self.clock.monotonic());
            self.board.counters.revocations_total.increment();
        }
    }

    fn refresh(&mut self) {
        // Both are taken before the file is read: a change in between is seen next time.
        self.looked_at = self.clock.monotonic();
        let stamp = FileStamp::of(&self.path).ok();
        if stamp.is_some() && stamp == self.seen {
            return;
        }
        self.board.counters.register_reads_total.increment();
        let patience = if self.seen.is_none() && self.busy_since.is_none() { ASKED_PATIENCE } else { Duration::ZERO };
        let fresh = self.reader.read_within(patience);
        if let (Err(StoreError::Busy(_)), Ok(_)) = (&fresh, &self.loaded) {
            let now = self.clock.monotonic();
            let since = *self.busy_since.get_or_insert(now);
            if now < since.plus(PATIENCE) {
                self.seen = None;
                return;
            }
        } else {
            self.busy_since = None;
        }
        let passing = matches!(fresh, Err(StoreError::Busy(_) | StoreError::NoIdentity { .. }));
        self.loaded = match fresh {
            Ok(present) => {
                let stand_ins = present.register().people.iter().any(|p| p.stand_in);
                self.board.set_approvals(Approvals { stand_ins, waiting: present.pending().len() });
                let mut register = present.register().clone();
                self.pending.apply(&mut register);
                let hashes = self.streams.iter().map(|s| register.hash_for(s)).collect();
                self.observations.watch(&register, &self.streams, self.clock.monotonic());
                Ok(Loaded { register, hashes, signed_at: present.chain().signed_at() })
            }
            Err(error) => {
                self.board.counters.register_errors_total.increment();
                let reason = Reason::new(
                    Rule::RegisterReadable,
                    error.to_string(),
                    "mend it (`placard check` says the same); it is read again when it changes",
                );
                if self.loaded.as_ref().err() != Some(&reason) {
                    tracing::error!(error = %reason.fact, "the register cannot be read: every stream is off");
                }
                Err(reason)
            }
        };
        // A change in the same tick of the file system's clock would not show: such a file is read again.
        self.seen = stamp.filter(|s| s.is_settled() && !passing);
        self.board.set_register_hash(self.loaded.as_ref().ok().map(|l| l.register.hash()));
        if let Ok(loaded) = &self.loaded {
            self.board.set_refused(refused_uses(&loaded.register));
        }
        self.board.set_devices(self.loaded.as_ref().map_or(&[], |l| &l.register.devices));
    }

    fn decide(&mut self) -> Option<Duration> {
        // Read before deciding: if deciding takes long, the leases it leads to are the shorter for it.
        let now = self.clock.now();
        self.board.counters.evaluations_total.increment();
        let decisions = match catch_unwind(AssertUnwindSafe(|| self.decide_all(now))) {
            Ok(decisions) => decisions,
            Err(_panic) => {
                self.board.counters.panics_total.increment();
                Err(Reason::new(Rule::DecisionMade, "the rules panicked", "report it: this is a fault of the program"))
            }
        };
        let next_change = match decisions {
            Ok(decisions) => {
                self.end_claims(&decisions, now);
                let next_change = self.apply(&decisions, now);
                self.lease_signs(&decisions, now);
                next_change.into_iter().chain(self.next_claim_end(now)).min()
            }
            Err(reason) => {
                self.claims.fill(None);
                let off = Decision::off(reason);
                (0..self.streams.len()).for_each(|i| self.apply_one(i, &off, now));
                self.lease_signs(&[], now);
                None
            }
        };
        self.board.beat(self.clock.monotonic());
        next_change
    }

    /// Against itself, the program, and the register as far as it could be read: where it could not everything is off anyway.
    fn clock_believed(&mut self, now: Now) -> Result<(), Reason> {
        self.guard.check(now)?;
        self.loaded.as_ref().map_or(Ok(()), |loaded| not_before(now.utc, loaded.signed_at))
    }

    fn decide_all(&mut self, now: Now) -> Result<Vec<Decision>, Reason> {
        self.clock_believed(now).inspect_err(|_| self.board.counters.clock_refusals_total.increment())?;
        self.site.as_mut().map_or(Ok(()), SiteGuard::check)?;
        let loaded = self.loaded.as_ref().map_err(Clone::clone)?;
        let observed = self.observations.copy();
        let moment = Moment { now, observed: &observed };
        let decided = self.plane.decide_all(&loaded.register, &self.streams, moment);
        let differed = self.plane.disagreements();
        self.board.counters.plane_disagreements_total.add(differed.saturating_sub(self.disagreements));
        self.disagreements = differed;
        decided.map_err(|error| {
            self.board.counters.plane_errors_total.increment();
            tracing::error!(%error, "the rules erred: every stream is off");
            Reason::new(Rule::DecisionMade, error.to_string(), "an error is never a yes: mend the rules or the facts they stumble over")
        })
    }

    /// Lets cameras look for their signs, also where a stream is dark for want of one: else it could never come back. Where it is dark for any
    /// other reason, or nothing could be decided, nobody looks.
    fn lease_signs(&mut self, decisions: &[Decision], now: Now) {
        for index in 0..self.streams.len() {
            let Ok(number) = u16::try_from(index) else { return };
            let decision = decisions.get(index).filter(|d| waits_for_its_sign_alone(d));
            let loaded = self.loaded.as_ref().ok().zip(decision);
            let leave = loaded.and_then(|(l, d)| Some((may_look(&l.register, &self.streams[index])?, *l.hashes.get(index)?, d)));
            let Some((area, hash, decision)) = leave else {
                self.writer.revoke_attest(StreamIndex(number));
                continue;
            };
            let until = lease_end(decision, now, self.looked_at);
            self.writer.publish_attest(StreamIndex(number), &area, hash, (now.monotonic, until));
        }
    }

    fn apply(&mut self, decisions: &[Decision], now: Now) -> Option<Duration> {
        let narrows = |i: &usize| decisions[*i].state < self.in_force[*i];
        let (first, then): (Vec<usize>, Vec<usize>) = (0..decisions.len()).partition(narrows);
        for i in first.into_iter().chain(then) {
            self.apply_one(i, &decisions[i], now);
        }
        let next_change = decisions.iter().filter_map(|d| d.next_change).min()?;
        Some(Duration::from_nanos(u64::try_from(next_change.since_ns(now.utc)).unwrap_or(0)))
    }

    fn apply_one(&mut self, index: usize, decision: &Decision, now: Now) {
        let Ok(number) = u16::try_from(index) else { return };
        let stream = StreamIndex(number);
        let epoch_before = self.table.epoch(stream);
        let was = self.in_force[index];
        let hash = self.loaded.as_ref().ok().and_then(|l| l.hashes.get(index));
        // A plane that allows reading and names no area allows nothing; without pixels to read none is needed.
        let area = match decision.state {
            StreamState::Off => None,
            StreamState::CaptureOnly => Some(decision.area.clone().unwrap_or_else(Area::whole)),
            StreamState::Detect | StreamState::Recognise => decision.area.clone(),
        };
        let mut in_force = decision.state;
        match (decision.state, hash, area) {
            (StreamState::Off, _, _) | (_, None, _) | (_, _, None) => {
                in_force = StreamState::Off;
                if was != StreamState::Off {
                    self.writer.revoke(stream);
                }
            }
            (state, Some(hash), Some(area)) => {
                let profile_hash = Sha256::new().chain_update(hash).chain_update(decision.rules).finalize().into();
                let claim = self.claims[index].clone();
                let ends = lease_end(decision, now, self.looked_at);
                let ends = claim.as_ref().map_or(ends, |c| c.until.min(ends));
                let terms = LeaseTerms { stream, state, grants: decision.grants.clone(), area, profile_hash, claim };
                self.writer.publish_until(&terms, now.monotonic, ends);
            }
        }
        self.in_force[index] = in_force;
        let (epoch, counters) = (self.table.epoch(stream), &self.board.counters);
        let narrowed = in_force < was;
        if narrowed {
            counters.revocations_total.increment();
        }
        if epoch != epoch_before && decision.state > StreamState::Off {
            counters.grants_total.increment();
        }
        // Read after the lease was ended: whoever asks for a permit from here on gets none.
        let revoked_at = narrowed.then(|| self.clock.monotonic());
        let may_differ = epoch != epoch_before || in_force == StreamState::Off;
        let zones =
            may_differ.then(|| self.loaded.as_ref().map_or_else(|_| Vec::new(), |l| shown(&l.register, &self.streams[index], decision)));
        if self.board.record(index, decision, (epoch, zones), revoked_at, now) {
            let (name, from, to) = (&*self.streams[index], was.name(), decision.state.name());
            if from == to {
                tracing::warn!(stream = name, state = to, reason = %decision.reason, "stream starts dark");
            } else {
                tracing::info!(stream = name, from, to, reason = %decision.reason, "stream state changed");
            }
        }
    }
}

/// The zones of which `decision` lets something be looked at. One that shares pixels with a zone that leads is looked at there, and not dark.
fn shown(register: &Register, stream: &str, decision: &Decision) -> Vec<String> {
    let Some(area) = decision.area.as_ref().filter(|_| decision.state > StreamState::Off) else { return Vec::new() };
    let is_lit = |fact: &&AreaFact| area.polygons().iter().any(|lit| *lit == fact.polygon || overlap(lit, &fact.polygon));
    let mut zones: Vec<String> = register.areas.iter().filter(|a| a.stream == stream).filter(is_lit).map(|a| a.zone.clone()).collect();
    zones.sort_unstable();
    zones.dedup();
    zones
}

/// Lit, or dark for want of the sign and of nothing else.
fn waits_for_its_sign_alone(decision: &Decision) -> bool {
    decision.state > StreamState::Off || matches!(decision.reason.rule, Rule::SignAttested | Rule::ViewSteady)
}

/// No lease outlives the facts it rests on.
fn lease_end(decision: &Decision, now: Now, looked_at: Stamp<Monotonic>) -> Stamp<Monotonic> {
    let longest = looked_at.plus(MAX_LEASE);
    let Some(change) = decision.next_change else { return longest };
    let left_ns = u64::try_from(change.since_ns(now.utc)).unwrap_or(0);
    longest.min(now.monotonic.plus(Duration::from_nanos(left_ns)))
}

impl Drop for Keeper {
    fn drop(&mut self) {
        for number in 0..self.in_force.len() {
            if let Ok(number) = u16::try_from(number) {
                self.writer.revoke(StreamIndex(number));
                self.writer.revoke_attest(StreamIndex(number));
            }
        }
    }
}
