//! Leases and permits: the law as a type.
//!
//! The policy thread alone holds the [`LeaseWriter`]; it publishes, per stream, the *terms* (state, purposes, area) and a
//! *not-after* instant at most [`MAX_LEASE`] ahead. Workers hold the [`LeaseTable`] and ask it for a [`Permit`] of their stage. If the
//! writer stops for any reason, every slot runs out by itself: fail-closed without a code path.
//!
//! ```text
//! slot ─┬─ terms: ArcSwapOption<LeaseTerms>     replaced when the terms change
//!       ├─ not_after_ns: AtomicI64              renewed at ≥ 2 Hz; 0 = never
//!       ├─ epoch: AtomicU64                     bumped whenever the terms change or are revoked
//!       └─ clock                                by which not-after is meant; nobody can hold up another
//! ```
//!
//! Each stream has a second slot, for looking at its sign alone ([`Attest`]): it is leased whether or not the stream is lit, opens no other
//! stage, and shows in no stream's state.
//!
//! A permit is live while its epoch is the slot's and the slot's not-after lies ahead: two atomic loads and a clock reading.
//! Every table has an id of its own ([`TableId`]), which its permits carry and which is the upper part of its epochs: whoever starts a
//! second policy thread, over another register, opens nothing that the first one governs.
//!
//! Order of publication: `narrow` stores not-after 0 and bumps the epoch *before* it swaps the terms; `publish` stores not-after
//! *last*. So at no instant do new terms carry an old permit or the reverse.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicI64, AtomicU64,
    Ordering::{Acquire, Release},
};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use self::place::Place;
use super::claim::Claim;
use crate::area::Area;
use crate::clock::{Monotonic, SharedClock, Stamp};
use crate::frame::{MayRead, StreamIndex, TableId, sealed};
use crate::purpose::{Purpose, PurposeKind};

/// No lease runs longer than this beyond the moment it was renewed.
///
/// The design allows 500 ms. It is 200, so that also where nobody is left to end a lease (the policy thread stopped or hung) the last embedding
/// that was begun under it is over within a quarter of a second; `placard bench revoke` measures it.
pub const MAX_LEASE: Duration = Duration::from_millis(200);

/// What may happen on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    /// Nothing. The default, also at boot.
    Off,
    /// The signal's liveness may be watched; no pixel is read.
    CaptureOnly,
    /// Faces may be found and counted; no identity.
    Detect,
    /// Detect, embed, match and emit, for the purposes granted.
    Recognise,
}

impl StreamState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::CaptureOnly => "capture-only",
            Self::Detect => "detect",
            Self::Recognise => "recognise",
        }
    }
}

/// One purpose that a lease grants, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    pub purpose: Purpose,
    /// The legal basis: statute and authority, as the register has it.
    pub basis: Arc<str>,
    /// People who must confirm a hit before anybody acts on it: what the strictest regime of the site asks for (AI Act Art. 14(5): two).
    pub confirmations: u32,
    /// Where.
    #[serde(skip)]
    pub place: Place,
}

/// The terms of a lease; replaced as a whole when anything in them changes.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseTerms {
    pub stream: StreamIndex,
    pub state: StreamState,
    pub grants: Vec<Grant>,
    pub area: Area,
    /// SHA-256 of the facts and rules that these terms were decided from: the part of the register that bears on the stream.
    pub profile_hash: [u8; 32],
    /// Whom somebody in front of the camera says they are, for a few seconds.
    pub claim: Option<Claim>,
}

impl LeaseTerms {
    /// Whether whoever is looked at came to be: with a claim at a gate, or to a desk with their picture.
    fn is_presented(&self) -> bool {
        self.claim.is_some() || self.stream == StreamIndex::DESK
    }
    fn serves<S: Stage>(&self, purpose: &Purpose) -> bool {
        S::serves(purpose.kind(), self.is_presented())
    }
    /// Where in `grants` the first purpose stands that stage `S` serves, if the state includes the stage.
    fn grant_for<S: Stage>(&self) -> Result<usize, Withheld> {
        if self.state < S::NEEDS {
            return Err(Withheld::State { state: self.state });
        }
        self.grants.iter().position(|g| self.serves::<S>(&g.purpose)).ok_or(Withheld::Purpose)
    }
    fn includes<S: Stage>(&self) -> bool {
        self.grant_for::<S>().is_ok()
    }
}

/// Why there is no permit. Shown as it is to operators; the code is what metrics count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    #[error("no lease was ever granted for this stream")]
    NoLease,
    #[error("the lease has run out: the policy thread has not renewed it for 200 ms")]
    Expired,
    #[error("the stream's state `{}` does not include this stage", state.name())]
    State { state: StreamState },
    #[error("the lease does not grant this purpose on this stream")]
    Purpose,
}

/// A stage of the journey that needs a permit of its own.
pub trait Stage: stage::Sealed + 'static {
    const NAME: &'static str;
    /// The least state that includes the stage.
    const NEEDS: StreamState;
    /// Whether a purpose of this kind is served by the stage: a lease without any such purpose gives no permit for it. `presented`: whoever
    /// is looked at came to be, with a claim at a gate or to a desk.
    fn serves(kind: PurposeKind, presented: bool) -> bool;
}

mod stage {
    pub trait Sealed {}
}

/// Reading pixels to find faces.
#[derive(Debug)]
pub enum Detect {}
/// Reading pixels to make an embedding. Of whoever passes, where a purpose looks for people; for `access-verification` of nobody but while
/// somebody claims to be somebody.
#[derive(Debug)]
pub enum Embed {}
/// Searching the gallery of one purpose.
#[derive(Debug)]
pub enum Match {}
/// Telling anyone about a match, for one purpose.
#[derive(Debug)]
pub enum Emit {}
/// Comparing a face with the templates of the one person whom somebody claims to be (1:1). It opens no search.
#[derive(Debug)]
pub enum Verify {}
/// Telling anyone whether a claim held.
#[derive(Debug)]
pub enum TellVerified {}
/// Reading pixels to say whether a mask is worn. It opens no embedder and no gallery, and no other purpose than `mask-check` gives it.
#[derive(Debug)]
pub enum MaskCheck {}
/// Telling anyone whether a mask was worn.
#[derive(Debug)]
pub enum TellMask {}
/// Reading pixels to see whether the stream's sign hangs, and the camera looks, as commissioned. No lease of people's pictures gives it, and
/// it gives nothing else: [`LeaseTable::attest_permit`].
#[derive(Debug)]
pub enum Attest {}

macro_rules! stages {
    ($($stage:ident $name:literal $needs:ident $serves:expr),*) => {$(
        impl stage::Sealed for $stage {}
        impl Stage for $stage {
            const NAME: &'static str = $name;
            const NEEDS: StreamState = StreamState::$needs;
            fn serves(kind: PurposeKind, presented: bool) -> bool {
                let serves: fn(PurposeKind, bool) -> bool = $serves;
                serves(kind, presented)
            }
        }
    )*};
}
stages!(
    Detect "detect" Detect |_, _| true,
    Embed "embed" Recognise |kind, presented| kind.searches() || (kind.verifies() && presented),
    Match "match" Recognise |kind, _| kind.searches(),
    Emit "emit" Recognise |kind, _| kind.searches(),
    Verify "verify" Recognise |kind, presented| kind.verifies() && presented,
    TellVerified "tell-verified" Recognise |kind, _| kind.verifies(),
    MaskCheck "mask-check" Detect |kind, _| matches!(kind, PurposeKind::MaskCheck),
    TellMask "tell-mask" Detect |kind, _| matches!(kind, PurposeKind::MaskCheck),
    Attest "attest" Off |_, _| false
);

/// A stage whose permit opens pixels.
pub trait PixelStage: Stage {}
impl PixelStage for Detect {}
impl PixelStage for Embed {}
impl PixelStage for MaskCheck {}
impl PixelStage for Attest {}

/// A stage whose permit lets one face be cut out of a picture and aligned.
pub trait CropStage: PixelStage {}
impl CropStage for Embed {}
impl CropStage for MaskCheck {}

/// A stage whose permit is bound to one purpose.
pub trait PurposeStage: Stage {}
impl PurposeStage for Match {}
impl PurposeStage for Emit {}
impl PurposeStage for Verify {}
impl PurposeStage for TellVerified {}
impl PurposeStage for TellMask {}

/// Terms, and the epoch that they came with.
type Stamped = Arc<(u64, LeaseTerms)>;

struct Slot {
    terms: ArcSwapOption<(u64, LeaseTerms)>,
    not_after_ns: AtomicI64,
    epoch: AtomicU64,
    clock: SharedClock,
    table: TableId,
}

impl Slot {
    /// The terms in force.
    fn live(&self, now: Stamp<Monotonic>) -> Result<Stamped, Withheld> {
        let terms = self.terms.load_full().ok_or(Withheld::NoLease)?;
        if now.ns() >= self.not_after_ns.load(Acquire) || self.epoch.load(Acquire) != terms.0 {
            return Err(Withheld::Expired);
        }
        Ok(terms)
    }
}

/// Leave to do one stage on one stream, now. Only [`LeaseTable`] makes one, only from a live lease; it cannot be cloned, stored on disk
/// or made by hand. It goes stale when the lease ends or its terms change: long work asks [`Permit::is_live`] again before it
/// lets anything out.
pub struct Permit<S: Stage> {
    terms: Stamped,
    slot: Arc<Slot>,
    grant: usize,
    stage: PhantomData<fn() -> S>,
}

impl<S: Stage> Permit<S> {
    pub fn stream(&self) -> StreamIndex {
        self.terms.1.stream
    }
    /// The table that granted it: it opens only what that table governs.
    pub fn table(&self) -> TableId {
        self.slot.table
    }
    /// Identifies the lease terms: equal for two permits exactly if they were decided together. No two tables share one.
    pub fn epoch(&self) -> u64 {
        self.terms.0
    }
    pub fn profile_hash(&self) -> &[u8; 32] {
        &self.terms.1.profile_hash
    }
    /// Whether the lease still stands, unchanged. A few nanoseconds.
    pub fn is_live(&self, now: Stamp<Monotonic>) -> bool {
        let slot = &self.slot;
        // Not-after first: read the other way round, a publication in between could pair the old epoch with the new not-after.
        let not_after_ns = slot.not_after_ns.load(Acquire);
        now.ns() < not_after_ns && slot.epoch.load(Acquire) == self.terms.0
    }
    /// Whether the lease behind this permit gives permits of stage `T` too. Tells what is worth asking for; opens nothing.
    pub fn lease_includes<T: Stage>(&self) -> bool {
        self.terms.1.includes::<T>()
    }
    /// What the lease grants that this stage serves.
    pub fn purposes(&self) -> impl Iterator<Item = &Purpose> {
        let LeaseTerms { grants, .. } = &self.terms.1;
        grants.iter().map(|grant| &grant.purpose).filter(|purpose| self.terms.1.serves::<S>(purpose))
    }
    /// [`is_live`](Self::is_live) at this moment, by the clock of the policy thread that granted it: what opens pixels and galleries asks
    /// this, so that no caller can hold up a clock of its own.
    pub fn stands(&self) -> bool {
        self.is_live(self.slot.clock.monotonic())
    }
}

impl Permit<Verify> {
    /// The claim that the comparison is for. `None` at a desk, where nobody claims anything.
    pub fn claim(&self) -> Option<&Claim> {
        self.terms.1.claim.as_ref()
    }
}

impl<S: PurposeStage> Permit<S> {
    pub fn purpose(&self) -> &Purpose {
        &self.terms.1.grants[self.grant].purpose
    }
    pub fn basis(&self) -> &Arc<str> {
        &self.terms.1.grants[self.grant].basis
    }
    /// Where whoever is looked for under this permit may be.
    pub fn place(&self) -> &Place {
        &self.terms.1.grants[self.grant].place
    }
    /// People who must confirm what is told under this permit before anybody acts on it.
    pub fn confirmations(&self) -> u32 {
        self.terms.1.grants[self.grant].confirmations
    }
    /// SHA-256 over profile hash, stream, epoch, stage, purpose and basis: what an event cites as its permit.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.terms.1.profile_hash);
        hash.update(self.stream().0.to_le_bytes());
        hash.update(self.epoch().to_le_bytes());
        for part in [S::NAME, &self.purpose().to_string(), self.basis()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl<S: Stage> fmt::Debug for Permit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit<{}>(stream {}, epoch {})", S::NAME, self.stream().0, self.epoch())
    }
}

impl<S: PixelStage> sealed::Sealed for Permit<S> {}
impl<S: PixelStage> MayRead for Permit<S> {
    fn stream(&self) -> StreamIndex {
        self.terms.1.stream
    }
    fn table(&self) -> TableId {
        Self::table(self)
    }
    fn stands(&self) -> bool {
        Self::stands(self)
    }
    fn area(&self) -> &Area {
        &self.terms.1.area
    }
    fn area_epoch(&self) -> u64 {
        self.terms.0
    }
}

/// The workers' side: reads leases, makes permits.
#[derive(Clone)]
pub struct LeaseTable {
    slots: Arc<[Arc<Slot>]>,
    /// For looking at signs, as many.
    signs: Arc<[Arc<Slot>]>,
    /// Index of the stream that the first slot is for.
    first: StreamIndex,
    id: TableId,
}

impl LeaseTable {
    /// What this table's permits open carries this.
    pub const fn id(&self) -> TableId {
        self.id
    }

    pub fn stream_count(&self) -> usize {
        self.slots.len()
    }

    fn slot(&self, stream: StreamIndex) -> Option<&Arc<Slot>> {
        self.slots.get(stream.index().checked_sub(self.first.index())?)
    }

    fn sign_slot(&self, stream: StreamIndex) -> Option<&Arc<Slot>> {
        self.signs.get(stream.index().checked_sub(self.first.index())?)
    }

    /// Leave to look for the sign on `stream`, lit or dark, within the permit's area.
    pub fn attest_permit(&self, stream: StreamIndex, now: Stamp<Monotonic>) -> Result<Permit<Attest>, Withheld> {
        let slot = self.sign_slot(stream).ok_or(Withheld::NoLease)?;
        let terms = slot.live(now)?;
        // No purpose is bound to it, so nothing asks for its grant.
        Ok(Permit { terms, slot: Arc::clone(slot), grant: usize::MAX, stage: PhantomData })
    }

    /// The slot and terms in force, and the first grant that the stage serves.
    fn live<S: Stage>(&self, stream: StreamIndex, now: Stamp<Monotonic>) -> Result<(&Arc<Slot>, Stamped, usize), Withheld> {
        let slot = self.slot(stream).ok_or(Withheld::NoLease)?;
        let terms = slot.live(now)?;
        let grant = terms.1.grant_for::<S>()?;
        Ok((slot, terms, grant))
    }

    /// Leave to read pixels of `stream` for stage `S`.
    pub fn permit<S: PixelStage>(&self, stream: StreamIndex, now: Stamp<Monotonic>) -> Result<Permit<S>, Withheld> {
        let (slot, terms, grant) = self.live::<S>(stream, now)?;
        Ok(Permit { terms, slot: Arc::clone(slot), grant, stage: PhantomData })
    }

    /// Leave to match, emit or tell for `purpose` on `stream`.
    pub fn permit_for<S: PurposeStage>(
        &self,
        stream: StreamIndex,
        purpose: &Purpose,
        now: Stamp<Monotonic>,
    ) -> Result<Permit<S>, Withheld> {
        let (slot, terms, _) = self.live::<S>(stream, now)?;
        let served = |g: &Grant| g.purpose == *purpose && terms.1.serves::<S>(purpose);
        let grant = terms.1.grants.iter().position(served).ok_or(Withheld::Purpose)?;
        Ok(Permit { terms, slot: Arc::clone(slot), grant, stage: PhantomData })
    }

    /// Leave to match for every identifying purpose that the lease grants on `stream`.
    pub fn match_permits(&self, stream: StreamIndex, now: Stamp<Monotonic>) -> Result<Vec<Permit<Match>>, Withheld> {
        let (slot, terms, _) = self.live::<Match>(stream, now)?;
        let granted = terms.1.grants.iter().enumerate().filter(|(_, g)| terms.1.serves::<Match>(&g.purpose));
        Ok(granted.map(|(grant, _)| Permit { terms: Arc::clone(&terms), slot: Arc::clone(slot), grant, stage: PhantomData }).collect())
    }

    /// Identifies the terms last put in force or ended on `stream`; grows with every change.
    pub fn epoch(&self, stream: StreamIndex) -> u64 {
        self.slot(stream).map_or(0, |slot| slot.epoch.load(Acquire))
    }

    /// What is in force now: for status pages. `Off` when nothing is.
    pub fn state(&self, stream: StreamIndex, now: Stamp<Monotonic>) -> StreamState {
        let Some(slot) = self.slot(stream) else { return StreamState::Off };
        let live = now.ns() < slot.not_after_ns.load(Acquire);
        slot.terms.load().as_ref().filter(|t| live && t.0 == slot.epoch.load(Acquire)).map_or(StreamState::Off, |t| t.1.state)
    }
}

/// The policy thread's side: the only thing that can grant. One per table, not `Clone`.
pub struct LeaseWriter {
    table: LeaseTable,
    next_epoch: u64,
}

impl LeaseWriter {
    /// A table of `streams` slots for a pipeline's streams, all off. `clock`: by which leases end.
    pub(in crate::policy) fn new(streams: usize, clock: &SharedClock) -> (Self, LeaseTable) {
        Self::of_slots(streams.min(StreamIndex::DESK.index()), StreamIndex(0), clock, TableId::unique())
    }

    /// A table of one slot, for [`StreamIndex::DESK`]: its permits open no camera's frame.
    pub(in crate::policy) fn for_desk(clock: &SharedClock) -> (Self, LeaseTable) {
        Self::of_slots(1, StreamIndex::DESK, clock, TableId::unique())
    }

    fn of_slots(count: usize, first: StreamIndex, clock: &SharedClock, id: TableId) -> (Self, LeaseTable) {
        let (not_after_ns, epoch) = (|| AtomicI64::new(0), || AtomicU64::new(0));
        let slot =
            || Slot { terms: ArcSwapOption::empty(), not_after_ns: not_after_ns(), epoch: epoch(), clock: Arc::clone(clock), table: id };
        let slots = || (0..count).map(|_| Arc::new(slot())).collect();
        let table = LeaseTable { slots: slots(), signs: slots(), first, id };
        (Self { table: table.clone(), next_epoch: id.first_epoch() }, table)
    }

    /// Puts `terms` in force until `now + MAX_LEASE`.
    #[cfg(test)]
    pub(in crate::policy) fn publish(&mut self, terms: &LeaseTerms, now: Stamp<Monotonic>) {
        self.publish_until(terms, now, now.plus(MAX_LEASE));
    }

    /// Puts `terms` in force until `not_after` or `now + MAX_LEASE`, whichever is sooner. Unchanged terms of a lease that still runs are
    /// renewed (one atomic store); changed terms, and those of a lease that has lapsed, first end what was in force.
    pub(in crate::policy) fn publish_until(&mut self, terms: &LeaseTerms, now: Stamp<Monotonic>, not_after: Stamp<Monotonic>) {
        let Some(slot) = self.table.slot(terms.stream).map(Arc::clone) else { return };
        self.put(&slot, terms, now, not_after);
    }

    /// Lets `stream` be looked at within `area` for its sign alone, from now to not-after or `now + MAX_LEASE`, whichever is sooner.
    pub(in crate::policy) fn publish_attest(
        &mut self,
        stream: StreamIndex,
        area: &Area,
        profile_hash: [u8; 32],
        (now, not_after): (Stamp<Monotonic>, Stamp<Monotonic>),
    ) {
        let Some(slot) = self.table.sign_slot(stream).map(Arc::clone) else { return };
        let terms = LeaseTerms { stream, state: StreamState::Off, grants: Vec::new(), area: area.clone(), profile_hash, claim: None };
        self.put(&slot, &terms, now, not_after);
    }

    /// Ends the look at `stream`'s sign, at once.
    pub(in crate::policy) fn revoke_attest(&mut self, stream: StreamIndex) {
        let Some(slot) = self.table.sign_slot(stream).map(Arc::clone) else { return };
        if slot.terms.load().is_some() {
            self.end(&slot);
        }
    }

    fn put(&mut self, slot: &Slot, terms: &LeaseTerms, now: Stamp<Monotonic>, not_after: Stamp<Monotonic>) {
        let runs = now.ns() < slot.not_after_ns.load(Acquire);
        let unchanged = runs && slot.terms.load().as_ref().is_some_and(|t| t.1 == *terms && t.0 == slot.epoch.load(Acquire));
        if !unchanged {
            let epoch = self.next_epoch;
            self.next_epoch += 1;
            slot.not_after_ns.store(0, Release);
            slot.epoch.store(epoch, Release);
            slot.terms.store(Some(Arc::new((epoch, terms.clone()))));
        }
        slot.not_after_ns.store(not_after.min(now.plus(MAX_LEASE)).ns(), Release);
    }

    /// Ends whatever is in force on `stream`, at once.
    pub(in crate::policy) fn revoke(&mut self, stream: StreamIndex) {
        let Some(slot) = self.table.slot(stream).map(Arc::clone) else { return };
        self.end(&slot);
    }

    fn end(&mut self, slot: &Slot) {
        slot.not_after_ns.store(0, Release);
        slot.epoch.store(self.next_epoch, Release);
        self.next_epoch += 1;
        slot.terms.store(None);
    }
}

mod place;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
