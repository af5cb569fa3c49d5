//! Emit: hits → journal (durable, first) → sinks (at least once).
//!
//! ```text
//! decide, mask ──try_send──▶ worker ──seal, group commit──▶ journal ──▶ thread emit-mqtt      (its own cursor)
//!                (full: shed     (asks Permit<Emit>, or       (acknowledged └▶ thread emit-webhook
//!                and counted)     TellMask or TellVerified,    after fdatasync)
//!                                  at each attempt)
//! ```
//!
//! Invariants: no hit is emitted without a [`Permit<Emit>`], no mask check's answer without a [`Permit<TellMask>`], no answer to
//! a claim without a [`Permit<TellVerified>`], that is live at that moment; nothing is acknowledged before it is durable;
//! sinks read the journal, never the frame path, so no sink can slow a frame. The worker and every sink are threads of their own.

pub mod backoff;
pub mod emitter;
pub mod event;
pub mod journal;
pub mod mqtt;
pub mod record;
pub mod sink;
pub mod webhook;
pub mod worker;

use std::sync::Arc;

use crate::clock::{CaptureTime, Clock, Now};
use crate::decide::{ReviewTask, Verified};
use crate::frame::{BoundingBox, StreamIndex, TableId};
use crate::gallery::Candidate;
use crate::mask_check::Finding;
use crate::policy::lease::{Emit, Permit, PurposeStage, Stage, TellMask, TellVerified};
use crate::purpose::Purpose;

use event::{Event, EventId};
use journal::{Journal, JournalError, Position};

/// What is to be told, before it has a permit.
#[derive(Clone, Debug)]
pub enum Telling {
    Hit(Draft),
    Mask(Finding),
    Verified(Verified),
}

impl From<Draft> for Telling {
    fn from(draft: Draft) -> Self {
        Self::Hit(draft)
    }
}

impl From<ReviewTask> for Telling {
    fn from(task: ReviewTask) -> Self {
        Self::Hit(task.into())
    }
}

impl From<Finding> for Telling {
    fn from(finding: Finding) -> Self {
        Self::Mask(finding)
    }
}

impl From<Verified> for Telling {
    fn from(verified: Verified) -> Self {
        Self::Verified(verified)
    }
}

impl Telling {
    pub const fn stream(&self) -> StreamIndex {
        match self {
            Self::Hit(Draft { stream, .. }) | Self::Mask(Finding { stream, .. }) | Self::Verified(Verified { stream, .. }) => *stream,
        }
    }
    /// Whether `permit` is of the lease that it was found under. An answer to a claim is recorded under
    /// any lease that rests on the same facts and rules, also when its claim is over; it is told only while the claim stands (`worker.rs`).
    fn is_of<S: Stage>(&self, permit: &Permit<S>) -> bool {
        match self {
            Self::Hit(Draft { lease_epoch, .. }) | Self::Mask(Finding { lease_epoch, .. }) => permit.epoch() == *lease_epoch,
            Self::Verified(Verified { profile_hash, .. }) => permit.profile_hash() == profile_hash,
        }
    }
    const fn purpose(&self) -> &Purpose {
        match self {
            Self::Hit(Draft { purpose, .. }) | Self::Mask(Finding { purpose, .. }) | Self::Verified(Verified { purpose, .. }) => purpose,
        }
    }
    /// Capture time and moment of the decision.
    const fn times(&self) -> (CaptureTime, Now) {
        match self {
            Self::Hit(Draft { captured_at, decided_at, .. })
            | Self::Mask(Finding { captured_at, decided_at, .. })
            | Self::Verified(Verified { captured_at, decided_at, .. }) => (*captured_at, *decided_at),
        }
    }
}

/// Each kind of telling with the permit that it takes, and no other.
#[derive(Clone, Copy, Debug)]
pub enum Permitted<'a> {
    Hit(&'a Draft, &'a Permit<Emit>),
    Mask(&'a Finding, &'a Permit<TellMask>),
    Verified(&'a Verified, &'a Permit<TellVerified>),
}

/// A hit that is to be told, before it has a permit, an id or a name for its stream.
#[derive(Clone, Debug)]
pub struct Draft {
    pub stream: StreamIndex,
    pub purpose: Purpose,
    /// The lease under which it was found ([`Permit::epoch`]): it is told under that one or not at all.
    pub lease_epoch: u64,
    /// Best first, never empty.
    pub candidates: Vec<Candidate>,
    /// The least score that made it a hit.
    pub threshold: f32,
    pub gallery_version: u64,
    /// Name of the embedder.
    pub model: Arc<str>,
    /// The track's public name: 16 hex digits.
    pub track: String,
    pub captured_at: CaptureTime,
    pub decided_at: Now,
    pub frame_sequence: u64,
    /// Pixels of the full-resolution picture.
    pub bounding_box: BoundingBox,
    /// Width and height of that picture, where known.
    pub picture_px: Option<(u32, u32)>,
    /// 0…1, of the best shot.
    pub quality: f32,
    pub shots: usize,
}

/// What events call a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamNames {
    pub name: Arc<str>,
    pub zone: Option<Arc<str>>,
}

/// What every event of one appliance shares. Index of `streams`: [`StreamIndex`].
#[derive(Clone, Debug)]
pub struct Context {
    pub streams: Arc<[StreamNames]>,
    /// Whose permits let events out.
    pub table: TableId,
}

impl From<ReviewTask> for Draft {
    fn from(task: ReviewTask) -> Self {
        Self {
            stream: task.stream,
            purpose: task.purpose,
            lease_epoch: task.lease_epoch,
            candidates: task.candidates,
            threshold: task.threshold,
            gallery_version: task.gallery_version,
            model: task.model,
            track: task.track.to_string(),
            captured_at: task.captured_at,
            decided_at: task.decided_at,
            frame_sequence: task.frame_sequence,
            bounding_box: task.bounding_box,
            picture_px: Some(task.picture_px),
            quality: task.quality,
            shots: task.shots,
        }
    }
}

/// Proof that an event is durable.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub event: Arc<Event>,
    /// The journal's end after the event's group.
    pub position: Position,
    /// When the disk had confirmed it.
    pub at: Now,
}

#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    #[error("event {index}: the permit to emit has ended, or is another than it was found under: the event is withheld")]
    NotLive { index: usize },
    #[error(
        "event {index}: the permit is for stream {permit_stream} and `{permit_purpose}`, the event for stream {stream} and `{purpose}`"
    )]
    Mismatch { index: usize, permit_stream: u16, permit_purpose: String, stream: u16, purpose: String },
    #[error(
        "event {index}: the permit to emit is of another lease table than the appliance's, so another register may have granted it: nothing was \
         written; ask the appliance's own table"
    )]
    OtherTable { index: usize },
    #[error("event {index}: stream {stream} has no name: the pipeline lists {count} streams")]
    UnknownStream { index: usize, stream: u16, count: usize },
    #[error("event {index} cannot be written as JSON: {source}")]
    Unwritable { index: usize, source: serde_json::Error },
    #[error("no random bytes for an event id: {0}")]
    Random(String),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Tells of one hit: checks the permit at this very moment, then writes the event durably. `Err` means that nothing was acknowledged
/// and nothing of the event is left in the journal.
pub fn emit(
    draft: &Draft,
    permit: &Permit<Emit>,
    context: &Context,
    clock: &dyn Clock,
    journal: &mut Journal,
) -> Result<Acknowledged, EmitError> {
    emit_one(Permitted::Hit(draft, permit), context, clock, journal)
}

/// As [`emit`], for the answer of a mask check.
pub fn emit_mask(
    finding: &Finding,
    permit: &Permit<TellMask>,
    context: &Context,
    clock: &dyn Clock,
    journal: &mut Journal,
) -> Result<Acknowledged, EmitError> {
    emit_one(Permitted::Mask(finding, permit), context, clock, journal)
}

fn emit_one(one: Permitted<'_>, context: &Context, clock: &dyn Clock, journal: &mut Journal) -> Result<Acknowledged, EmitError> {
    let mut acknowledged = emit_group(&[one], context, clock, journal)?;
    acknowledged.pop().ok_or(EmitError::NotLive { index: 0 })
}

/// As [`emit`] and [`emit_mask`], for several with one fdatasync: all are acknowledged or none.
pub fn emit_group(
    tellings: &[Permitted<'_>],
    context: &Context,
    clock: &dyn Clock,
    journal: &mut Journal,
) -> Result<Vec<Acknowledged>, EmitError> {
    let mut lines = Vec::with_capacity(tellings.len() * 1_024);
    let mut events = Vec::with_capacity(tellings.len());
    let now = clock.now();
    for (index, telling) in tellings.iter().enumerate() {
        let event = seal(index, telling, context, now)?;
        let json = serde_json::to_vec(&event).map_err(|source| EmitError::Unwritable { index, source })?;
        journal::line::seal(&json, &mut lines);
        events.push(Arc::new(event));
    }
    // The last look at the law before anything leaves this thread, by the granting thread's clock.
    let stands = |telling: &Permitted<'_>| match telling {
        Permitted::Hit(draft, permit) => permit.epoch() == draft.lease_epoch && permit.stands(),
        Permitted::Mask(finding, permit) => permit.epoch() == finding.lease_epoch && permit.stands(),
        Permitted::Verified(verified, permit) => *permit.profile_hash() == verified.profile_hash && permit.stands(),
    };
    if let Some(index) = tellings.iter().position(|telling| !stands(telling)) {
        return Err(EmitError::NotLive { index });
    }
    let position = journal.append(&lines)?;
    let at = clock.now();
    Ok(events.into_iter().map(|event| Acknowledged { event, position, at }).collect())
}

fn seal(index: usize, telling: &Permitted<'_>, context: &Context, now: Now) -> Result<Event, EmitError> {
    let id = || EventId::random().map_err(|e| EmitError::Random(e.to_string()));
    match telling {
        Permitted::Hit(draft, permit) => {
            let names = names(index, draft.stream, &draft.purpose, permit, context)?;
            Ok(Event::hit(id()?, draft, permit, names, now))
        }
        Permitted::Mask(finding, permit) => {
            let names = names(index, finding.stream, &finding.purpose, permit, context)?;
            Ok(Event::mask(id()?, finding, permit, names, now))
        }
        Permitted::Verified(verified, permit) => {
            let names = names(index, verified.stream, &verified.purpose, permit, context)?;
            Ok(Event::verification(id()?, verified, permit, names, now))
        }
    }
}

/// What the stream is called, if the permit is for it, for the purpose, and of the appliance's own table.
fn names<'a, S: PurposeStage>(
    index: usize,
    stream: StreamIndex,
    purpose: &Purpose,
    permit: &Permit<S>,
    context: &'a Context,
) -> Result<&'a StreamNames, EmitError> {
    if permit.table() != context.table {
        return Err(EmitError::OtherTable { index });
    }
    if permit.stream() != stream || permit.purpose() != purpose {
        return Err(EmitError::Mismatch {
            index,
            permit_stream: permit.stream().0,
            permit_purpose: permit.purpose().to_string(),
            stream: stream.0,
            purpose: purpose.to_string(),
        });
    }
    let count = context.streams.len();
    context.streams.get(stream.index()).ok_or(EmitError::UnknownStream { index, stream: stream.0, count })
}
