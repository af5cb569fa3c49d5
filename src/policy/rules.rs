//! What follows from the facts. [`DecisionPlane`] is the seam between them and the policy thread. Pure: register, stream and moment in,
//! [`Decision`] out.
//!
//! ```text
//! stream ─ its camera finds or records by itself, or cannot be asked ▶ off
//! zone   ─ private? ─────────────────────────────────────────────▶ off (compiled in)
//!        ─ the stream is objected to ────────────────────────────▶ off
//!        ─ no sign that is posted, photographed, inspected ──────▶ off
//!        ─ nobody decided on it, where a regime asks for that ───▶ off
//!        ─ no purpose in force ──────────────────────────────────▶ capture-only
//!        ─ only mask-check ──────────────────────────────────────▶ detect
//!        ─ a purpose that identifies ────────────────────────────▶ recognise
//! purpose ─ objection · basis · order · assessment · authorisation · another way in · area ─▶ in force, and until when
//!         ─ no sign of the zone that counts says so, in the regime's languages ──▶ not in force
//! stream ─ an area that overlaps a stricter zone's is dropped; the areas of the highest state, of equal grants, unite
//! ```
//!
//! `rules/` says all this in plain Rust, with reason and remedy. The regimes' policies say it in Cedar (`cedar.rs`). A stream is opened only
//! where both say yes: [`CedarPlane`](super::cedar::CedarPlane) asks both, [`PlainRules`] the first alone, for whoever wants the reasons
//! without the policies. What zones share (`areas.rs`) is one piece of code for both.
//!
//! A lease has one state, one set of grants and one area, so a stream whose zones differ is opened for one group of them only (the highest
//! state; among equals the one listed first). It never holds a pixel or a purpose that the pixel's own zones do not grant.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::area::Area;
use crate::clock::{Stamp, Utc};

use super::facts::Register;
use super::lease::{Grant, StreamState};
use super::observed::Moment;
use super::profile::Library;

mod areas;
mod ask;
pub(in crate::policy) mod law;
pub(in crate::policy) mod orders;
mod purposes;
mod signs;
mod streams;
mod words;
mod zones;

pub(in crate::policy) use areas::decide;
pub(in crate::policy) use ask::{Ask, PurposeCase, Refusal, SecondOpinion, ZoneCase};
pub(in crate::policy) use purposes::{area_cap_ppm, area_ppm, grant_of, purpose_stands};
pub use signs::sign_holds;
pub(in crate::policy) use streams::{stream_holds, while_attested};
pub use words::{Silent, never_announced};

pub(in crate::policy) const DAY_NS: i64 = 86_400_000_000_000;
pub(in crate::policy) const HOUR_NS: i64 = 3_600_000_000_000;
/// A fact may be dated this far ahead of the wall clock: two clocks are never equal.
pub(in crate::policy) const CLOCK_SLACK_NS: i64 = 60_000_000_000;

/// Which rule spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    NotYetDecided,
    RegisterReadable,
    ClockBelievable,
    ModelIntended,
    DecisionMade,
    LeaseRenewed,
    StreamHasArea,
    AreaNotShared,
    ZoneKnown,
    ZoneNotPrivate,
    SignPresent,
    SignNotWithdrawn,
    SignPosted,
    SignPhotographed,
    SignInspected,
    SignAnnounces,
    PurposeNamed,
    BasisInForce,
    AssessmentCurrent,
    VerificationOnly,
    ProfileKnown,
    ProfilePermits,
    NotObjectedTo,
    GovernanceRecorded,
    OrderInForce,
    Authorised,
    AlternativeAlive,
    AreaCapped,
    SignAttested,
    ViewSteady,
    ConsentGiven,
    AgeDeclared,
    GuardianConsents,
    GalleryCapped,
    SubjectEnrolled,
    DeviceClean,
    Granted,
}

impl Rule {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotYetDecided => "not-yet-decided",
            Self::RegisterReadable => "register-readable",
            Self::ClockBelievable => "clock-believable",
            Self::ModelIntended => "model-intended",
            Self::DecisionMade => "decision-made",
            Self::LeaseRenewed => "lease-renewed",
            Self::StreamHasArea => "stream-has-area",
            Self::AreaNotShared => "area-not-shared",
            Self::ZoneKnown => "zone-known",
            Self::ZoneNotPrivate => "zone-not-private",
            Self::SignPresent => "sign-present",
            Self::SignNotWithdrawn => "sign-not-withdrawn",
            Self::SignPosted => "sign-posted",
            Self::SignPhotographed => "sign-photographed",
            Self::SignInspected => "sign-inspected",
            Self::SignAnnounces => "sign-announces",
            Self::PurposeNamed => "purpose-named",
            Self::BasisInForce => "basis-in-force",
            Self::AssessmentCurrent => "assessment-current",
            Self::VerificationOnly => "verification-only",
            Self::ProfileKnown => "profile-known",
            Self::ProfilePermits => "profile-permits",
            Self::NotObjectedTo => "not-objected-to",
            Self::GovernanceRecorded => "governance-recorded",
            Self::OrderInForce => "order-in-force",
            Self::Authorised => "authorised",
            Self::AlternativeAlive => "alternative-alive",
            Self::AreaCapped => "area-capped",
            Self::SignAttested => "sign-attested",
            Self::ViewSteady => "view-steady",
            Self::ConsentGiven => "consent-given",
            Self::AgeDeclared => "age-declared",
            Self::GuardianConsents => "guardian-consents",
            Self::GalleryCapped => "gallery-capped",
            Self::SubjectEnrolled => "subject-enrolled",
            Self::DeviceClean => "device-clean",
            Self::Granted => "granted",
        }
    }
}

/// Why a stream is in its state: which rule, which fact, and what would change it. Holds absolute times only, so that it reads the same
/// until something changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub rule: Rule,
    pub fact: String,
    pub remedy: String,
}

impl Reason {
    pub fn new(rule: Rule, fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { rule, fact: fact.into(), remedy: remedy.into() }
    }
}

impl std::error::Error for Reason {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.fact, self.rule.name())?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// What may happen on a stream, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub state: StreamState,
    pub grants: Vec<Grant>,
    /// `None` where the state is off.
    pub area: Option<Area>,
    pub reason: Reason,
    /// When time alone changes the decision: no lease runs past it.
    pub next_change: Option<Stamp<Utc>>,
    /// SHA-256 over the profiles that it was made under.
    pub rules: [u8; 32],
}

impl Decision {
    pub fn off(reason: Reason) -> Self {
        Self { state: StreamState::Off, grants: Vec::new(), area: None, reason, next_change: None, rules: [0; 32] }
    }
}

/// The plane could not decide. Always a deny and an alarm, never "as before".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules could not be evaluated: {0}")]
pub struct PlaneError(pub String);

/// Keeps planes within `policy`: whoever could bring one could grant whatever they like.
pub(in crate::policy) mod plane {
    pub trait WithinPolicy {}
}

/// Decides for one stream. Called by the policy thread on every change and at ≥ 2 Hz; never per frame.
pub trait DecisionPlane: plane::WithinPolicy + Send {
    fn decide(&self, register: &Register, stream: &str, moment: Moment<'_>) -> Result<Decision, PlaneError>;

    /// For several streams at one moment. An error of one is an error of all.
    fn decide_all(&self, register: &Register, streams: &[std::sync::Arc<str>], moment: Moment<'_>) -> Result<Vec<Decision>, PlaneError> {
        streams.iter().map(|stream| self.decide(register, stream, moment)).collect()
    }

    /// How often two readings of the law have differed so far. Each time it was a deny.
    fn disagreements(&self) -> u64 {
        0
    }
}

/// The rules in plain Rust alone: they explain, and are the second belt of [`CedarPlane`](super::cedar::CedarPlane). Knows the bundled
/// profiles.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainRules;

impl plane::WithinPolicy for PlainRules {}
impl DecisionPlane for PlainRules {
    fn decide(&self, register: &Register, stream: &str, moment: Moment<'_>) -> Result<Decision, PlaneError> {
        match Library::bundled().regime_of(register, moment.now.utc) {
            Ok(regime) => decide(&Ask::new(register, stream, moment, &regime), &ask::NoSecondOpinion),
            Err(reason) => Ok(Decision::off(reason)),
        }
    }
}

pub(in crate::policy) fn sooner(a: Option<Stamp<Utc>>, b: Option<Stamp<Utc>>) -> Option<Stamp<Utc>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests;
