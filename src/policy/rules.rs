//! What follows from the facts. [`DecisionPlane`] is the seam: [`PlainRules`] decides in plain Rust; a policy engine takes its place
//! behind the same trait, with this one as its oracle. Pure: register, stream and time in, [`Decision`] out.
//!
//! ```text
//! zone  ─ private?  ──────────────────────────────────────────▶ off (compiled in)
//!       ─ no sign that is posted, photographed, inspected ────▶ off
//!       ─ no purpose in force (basis, assessment) ────────────▶ capture-only
//!       ─ only mask-check ────────────────────────────────────▶ detect
//!       ─ a purpose that identifies ──────────────────────────▶ recognise
//! stream ─ an area that overlaps a stricter zone's is dropped; the areas of the highest state, of equal grants, unite
//! ```
//!
//! A lease has one state, one set of grants and one area, so a stream whose zones differ is opened for one group of them only (the highest
//! state; among equals the one listed first). It never holds a pixel or a purpose that the pixel's own zones do not grant.

use std::fmt;

use serde::Serialize;

use crate::area::{Area, overlap};
use crate::clock::{Stamp, Utc, format_utc};
use crate::purpose::{Purpose, PurposeKind};

use super::device::device_holds;
use super::facts::{AreaFact, BasisKind, PurposeFact, Register, Rules, Sign, ZoneKind};
use super::lease::{Grant, StreamState};
use super::observed::Moment;

const DAY_NS: i64 = 86_400_000_000_000;
/// A fact may be dated this far ahead of the wall clock: two clocks are never equal.
pub(in crate::policy) const CLOCK_SLACK_NS: i64 = 60_000_000_000;

/// Which rule spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    PurposeNamed,
    BasisInForce,
    AssessmentCurrent,
    VerificationOnly,
    ProfileKnown,
    NotObjectedTo,
    GovernanceRecorded,
    OrderInForce,
    Authorised,
    AlternativeAlive,
    AreaCapped,
    SignAttested,
    ViewSteady,
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
            Self::PurposeNamed => "purpose-named",
            Self::BasisInForce => "basis-in-force",
            Self::AssessmentCurrent => "assessment-current",
            Self::VerificationOnly => "verification-only",
            Self::ProfileKnown => "profile-known",
            Self::NotObjectedTo => "not-objected-to",
            Self::GovernanceRecorded => "governance-recorded",
            Self::OrderInForce => "order-in-force",
            Self::Authorised => "authorised",
            Self::AlternativeAlive => "alternative-alive",
            Self::AreaCapped => "area-capped",
            Self::SignAttested => "sign-attested",
            Self::ViewSteady => "view-steady",
            Self::DeviceClean => "device-clean",
            Self::Granted => "granted",
        }
    }
}

/// Why a stream is in its state: which rule, which fact, and what would change it. Holds absolute times only, so that it reads the same
/// until something changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
}

impl Decision {
    pub fn off(reason: Reason) -> Self {
        Self { state: StreamState::Off, grants: Vec::new(), area: None, reason, next_change: None }
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
}

/// The rules in plain Rust.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainRules;

/// What a zone allows by itself.
#[derive(Clone, Debug, PartialEq)]
struct Entitlement {
    state: StreamState,
    grants: Vec<Grant>,
    reason: Reason,
    next_change: Option<Stamp<Utc>>,
}

impl Entitlement {
    fn off(reason: Reason) -> Self {
        Self { state: StreamState::Off, grants: Vec::new(), reason, next_change: None }
    }
    fn covers(&self, other: &Self) -> bool {
        self.state >= other.state && other.grants.iter().all(|g| self.grants.iter().any(|h| h.purpose == g.purpose))
    }
}

fn sooner(a: Option<Stamp<Utc>>, b: Option<Stamp<Utc>>) -> Option<Stamp<Utc>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Either until when the sign counts, or why it does not.
pub fn sign_holds(sign: &Sign, rules: &Rules, now: Stamp<Utc>) -> Result<Stamp<Utc>, Reason> {
    let (id, max_days) = (&sign.id, rules.sign_inspect_max_days);
    let no = |rule, fact: String, remedy: &str| Err(Reason::new(rule, fact, remedy));
    if let Some(w) = &sign.withdrawn {
        let why = if w.reason.is_empty() { String::new() } else { format!(" ({})", w.reason) };
        let fact = format!("sign `{id}` was withdrawn at {} by {}{why}", w.at, w.by);
        return no(Rule::SignNotWithdrawn, fact, "put the sign up again and run `placard sign post`, then `placard sign inspect`");
    }
    let Some(posted) = &sign.posted_on else {
        return no(Rule::SignPosted, format!("no date of posting is recorded for sign `{id}`"), "post it and record `posted_on`");
    };
    if posted.at().ns() > now.ns().saturating_add(CLOCK_SLACK_NS) {
        return no(Rule::SignPosted, format!("sign `{id}` is to be posted on {posted}"), "wait, or correct `posted_on` (UTC)");
    }
    if sign.photo_sha256.is_none() {
        let fact = format!("there is no photograph of sign `{id}` in its place");
        return no(Rule::SignPhotographed, fact, "photograph it and record `photo_sha256`");
    }
    if sign.photo_is_a_placeholder() && !rules.placeholder_photographs {
        let fact = format!("`photo_sha256` of sign `{id}` is a placeholder, which is no photograph to an operational site");
        return no(Rule::SignPhotographed, fact, "photograph the sign in its place and run `placard sign inspect … --photo FILE`");
    }
    let (Some(inspected), Some(_)) = (&sign.inspected_at, &sign.inspected_by) else {
        let fact = format!("no inspection of sign `{id}` is recorded (when and by whom)");
        return no(Rule::SignInspected, fact, "inspect it and record `inspected_at` and `inspected_by`");
    };
    if inspected.at().ns() > now.ns().saturating_add(CLOCK_SLACK_NS) {
        let fact = format!("the inspection of sign `{id}` is dated {inspected}, which is still to come");
        return no(Rule::SignInspected, fact, "correct `inspected_at`, or the wall clock");
    }
    if inspected.at() < posted.at() {
        let fact = format!("sign `{id}` was inspected at {inspected}, before it was posted on {posted}");
        return no(Rule::SignInspected, fact, &format!("go and see it hang, then run `placard sign inspect {id} --by WHO`"));
    }
    let ends = Stamp::from_ns(inspected.at().ns().saturating_add(i64::from(max_days).saturating_mul(DAY_NS)));
    if now >= ends {
        let fact = format!("sign `{id}` was last inspected at {inspected}; that counted for {max_days} days, until {}", format_utc(ends));
        return no(Rule::SignInspected, fact, "inspect it again and record it");
    }
    Ok(ends)
}

/// Either when the purpose ends, or why it is not in force.
pub(super) fn purpose_holds(fact: &PurposeFact, now: Stamp<Utc>) -> Result<Stamp<Utc>, (Reason, Option<Stamp<Utc>>)> {
    let purpose = &fact.purpose;
    let no = |rule, text: String, remedy: &str| Err((Reason::new(rule, text, remedy), None));
    if purpose.kind() == PurposeKind::AccessVerification {
        let text = format!("purpose `{purpose}` needs 1:1 verification and a live alternative path: not in this version");
        return no(Rule::VerificationOnly, text, "remove it; nothing grants it in this version");
    }
    let Some(basis) = &fact.basis else {
        return no(Rule::BasisInForce, format!("purpose `{purpose}` has no legal basis"), "record its `basis`");
    };
    if purpose.kind().needs_emergency() != (basis.kind == BasisKind::Emergency) {
        let text = format!("purpose `{purpose}` and the kind of its basis do not go together");
        return no(Rule::BasisInForce, text, "an emergency and a mask check, and nothing else, rest on a basis of kind `emergency`");
    }
    if basis.kind == BasisKind::SeparateConsent {
        let text = format!("purpose `{purpose}` rests on separate consent, and this version records nobody's consent");
        return no(Rule::BasisInForce, text, "record a basis of another kind, or remove the purpose");
    }
    let (Some(from), Some(until)) = (&basis.from, &basis.until) else {
        return no(Rule::BasisInForce, format!("the basis of `{purpose}` has no beginning or no end"), "record `from` and `until`");
    };
    if now < from.at() {
        let reason = Reason::new(Rule::BasisInForce, format!("the basis of `{purpose}` is in force from {from}"), "wait");
        return Err((reason, Some(from.at())));
    }
    if now >= until.at() {
        return no(Rule::BasisInForce, format!("the basis of `{purpose}` ended at {until}"), "obtain and record a new basis");
    }
    let (Some(_), Some(review)) = (&fact.assessment, &fact.review_on) else {
        let text = format!("purpose `{purpose}` has no impact assessment with a date of review");
        return no(Rule::AssessmentCurrent, text, "record `assessment` and `review_on`");
    };
    if now >= review.at() {
        let text = format!("the impact assessment of `{purpose}` was due for review on {review}");
        return no(Rule::AssessmentCurrent, text, "review it and record the next `review_on`");
    }
    Ok(until.at().min(review.at()))
}

pub(super) fn grant_of(fact: &PurposeFact) -> Grant {
    let basis = fact.basis.as_ref().map_or_else(String::new, |b| format!("{}; {}", b.statute, b.authority));
    Grant { purpose: fact.purpose.clone(), basis: basis.into() }
}

/// The sign that makes the zone lawful to look at for the longest, or the reason of the one that came closest.
fn zone_sign(register: &Register, zone: &str, now: Stamp<Utc>) -> Result<(String, Stamp<Utc>), Reason> {
    let mut best: Option<(String, Stamp<Utc>)> = None;
    let mut closest: Option<Reason> = None;
    for sign in register.signs.iter().filter(|s| s.zone == zone) {
        match sign_holds(sign, &register.rules, now) {
            Ok(ends) if best.as_ref().is_none_or(|(_, b)| ends > *b) => best = Some((sign.id.clone(), ends)),
            Ok(_) => {}
            // Rules are declared in the order they are asked.
            Err(reason) if closest.as_ref().is_none_or(|c| reason.rule > c.rule) => closest = Some(reason),
            Err(_) => {}
        }
    }
    let none = || Reason::new(Rule::SignPresent, format!("zone `{zone}` has no sign"), "post a sign and record it");
    best.ok_or_else(|| closest.unwrap_or_else(none))
}

fn entitlement(register: &Register, zone_id: &str, now: Stamp<Utc>) -> Entitlement {
    let Some(zone) = register.zone(zone_id) else {
        return Entitlement::off(Reason::new(Rule::ZoneKnown, format!("there is no zone `{zone_id}`"), "record the zone and its kind"));
    };
    if zone.kind == ZoneKind::Private {
        return Entitlement::off(Reason::new(
            Rule::ZoneNotPrivate,
            format!("zone `{zone_id}` is private"),
            "nothing changes that: point the camera away",
        ));
    }
    let (sign, sign_ends) = match zone_sign(register, zone_id, now) {
        Ok(sign) => sign,
        Err(reason) => return Entitlement::off(reason),
    };
    let mut next_change = Some(sign_ends);
    let mut grants: Vec<Grant> = Vec::new();
    let mut refused: Option<Reason> = None;
    for fact in register.purposes.iter().filter(|p| p.zones.iter().any(|z| z == zone_id)) {
        match purpose_holds(fact, now) {
            Ok(ends) => {
                next_change = sooner(next_change, Some(ends));
                if !grants.iter().any(|g| g.purpose == fact.purpose) {
                    grants.push(grant_of(fact));
                }
            }
            Err((reason, begins)) => {
                next_change = sooner(next_change, begins);
                refused.get_or_insert(reason);
            }
        }
    }
    let identifies = |p: &Purpose| p.kind().identifies();
    let state = match (grants.is_empty(), grants.iter().any(|g| identifies(&g.purpose))) {
        (true, _) => StreamState::CaptureOnly,
        (false, false) => StreamState::Detect,
        (false, true) => StreamState::Recognise,
    };
    let reason = if state == StreamState::CaptureOnly {
        let none = || Reason::new(Rule::PurposeNamed, format!("no purpose is recorded for zone `{zone_id}`"), "record a purpose");
        refused.unwrap_or_else(none)
    } else {
        let names: Vec<String> = grants.iter().map(|g| g.purpose.to_string()).collect();
        let fact = format!("zone `{zone_id}` ({}) has sign `{sign}` and {}", zone.kind, names.join(", "));
        let ends = next_change.map_or_else(String::new, |t| format!("ends by itself at {}", format_utc(t)));
        Reason::new(Rule::Granted, fact, ends)
    };
    Entitlement { state, grants, reason, next_change }
}

impl plane::WithinPolicy for PlainRules {}
impl DecisionPlane for PlainRules {
    fn decide(&self, register: &Register, stream: &str, moment: Moment<'_>) -> Result<Decision, PlaneError> {
        let now = moment.now.utc;
        if let Err(reason) = device_holds(register, stream, moment) {
            return Ok(Decision::off(reason));
        }
        let areas: Vec<(&AreaFact, Entitlement)> =
            register.areas.iter().filter(|a| a.stream == stream).map(|a| (a, entitlement(register, &a.zone, now))).collect();
        let Some((_, first)) = areas.first() else {
            let fact = format!("no area is recorded for stream `{stream}`");
            return Ok(Decision::off(Reason::new(Rule::StreamHasArea, fact, "record an [[area]] with the zone that it shows")));
        };
        let mut next_change = areas.iter().fold(None, |t, (_, e)| sooner(t, e.next_change));
        // Strictest wins where zones share pixels: an area is dropped if any overlapping one does not grant all that it would use.
        let stricter = |own: &AreaFact, e: &Entitlement| {
            let other = |(a, f): &&(&AreaFact, Entitlement)| a.zone != own.zone && !f.covers(e) && overlap(&a.polygon, &own.polygon);
            areas.iter().find(other).map(|(a, _)| a.zone.clone())
        };
        let open: Vec<&(&AreaFact, Entitlement)> =
            areas.iter().filter(|(a, e)| e.state > StreamState::Off && stricter(a, e).is_none()).collect();
        let best = open.iter().map(|(_, e)| e.state).max();
        let Some((_, lead)) = open.iter().find(|(_, e)| Some(e.state) == best) else {
            let dropped = areas.iter().filter(|(_, e)| e.state > StreamState::Off).find_map(|(a, e)| Some((a, stricter(a, e)?)));
            let reason = dropped.map_or_else(
                || first.reason.clone(),
                |(a, zone)| {
                    let fact = format!("the area of zone `{}` overlaps that of zone `{zone}`, which grants less", a.zone);
                    Reason::new(Rule::AreaNotShared, fact, "draw the areas apart, or meet what the other zone needs")
                },
            );
            return Ok(Decision { next_change, ..Decision::off(reason) });
        };
        let group: Vec<&AreaFact> =
            open.iter().filter(|(_, e)| e.state == lead.state && e.grants == lead.grants).map(|(a, _)| *a).collect();
        let area = Area::new(group.iter().map(|a| a.polygon.clone()).collect()).map_err(|e| PlaneError(e.to_string()))?;
        let mut reason = lead.reason.clone();
        if group.len() < areas.len() {
            let out: Vec<&str> = areas.iter().filter(|(a, _)| !group.iter().any(|g| std::ptr::eq(*g, *a))).map(|(a, _)| &*a.zone).collect();
            reason.fact = format!("{} (areas of {} are left out)", reason.fact, out.join(", "));
        }
        // Nothing changes at an instant that has passed.
        next_change = next_change.filter(|t| *t > now);
        let mut grants = lead.grants.clone();
        if grants.iter().any(|g| g.purpose.kind().identifies()) && grants.iter().any(|g| !g.purpose.kind().identifies()) {
            // Two events of one face on one stream could be joined, and a mask's answer would be somebody's.
            grants.retain(|g| g.purpose.kind().identifies());
            reason.fact = format!("{}; a mask check is not granted beside a purpose that identifies", reason.fact);
        }
        Ok(Decision { state: lead.state, grants, area: Some(area), reason, next_change })
    }
}

#[cfg(test)]
mod tests;
