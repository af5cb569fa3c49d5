//! Purposes: whether one is in force, where, and until when (C04 to C06, C13, C26, C38).

use super::ask::{Ask, Held, PurposeCase, Refusal, ZoneCase};
use super::law::{against_purpose, authorisation_for, paused};
use super::orders::order_for;
use super::{Rule, sooner};
use crate::area::{self, Vertex};
use crate::clock::{Stamp, Utc};
use crate::policy::alternatives::alternative_alive;
use crate::policy::facts::{Basis, BasisKind, PurposeFact, Register, ZoneKind};
use crate::policy::lease::{Grant, Place};
use crate::policy::profile::Values;
use crate::purpose::{Purpose, PurposeKind};

const WHOLE_PPM: u32 = 1_000_000;

/// Good nowhere yet: whoever grants it says where.
pub(in crate::policy) fn grant_of(fact: &PurposeFact, values: &Values) -> Grant {
    let basis = fact.basis.as_ref().map_or_else(String::new, |b| format!("{}; {}", b.statute, b.authority));
    // A hit is a task for a human under any regime.
    Grant { purpose: fact.purpose.clone(), basis: basis.into(), confirmations: values.confirmations.max(1), place: Place::nowhere() }
}

/// Whether the basis is of a kind that the purpose and the regime allow.
fn kind_fits(fact: &PurposeFact, basis: &Basis, values: &Values) -> Result<(), Refusal> {
    let (purpose, kind) = (&fact.purpose, fact.purpose.kind());
    let no = |text: String, remedy: &str| Err(Refusal::new(Rule::BasisInForce, text, remedy));
    if kind.needs_emergency() != (basis.kind == BasisKind::Emergency) {
        let text = format!("purpose `{purpose}` and the kind of its basis do not go together");
        return no(text, "an emergency and a mask check, and nothing else, rest on a basis of kind `emergency`");
    }
    if kind.searches() && basis.kind == BasisKind::SeparateConsent {
        let text = format!("purpose `{purpose}` rests on separate consent, and passers-by have given none");
        return no(text, "record a basis of another kind, or remove the purpose");
    }
    let allowed = values.bases_for(kind);
    if !allowed.contains(&basis.kind) {
        let names: Vec<&str> = allowed.iter().map(|b| b.name()).collect();
        let remedy = if names.is_empty() {
            "nothing under this regime: remove the purpose".to_owned()
        } else {
            format!("the regime allows it on {}", names.join(", "))
        };
        let text = format!("the site's regime does not allow `{purpose}` on a basis of kind `{}`", basis.kind.name());
        return no(text, &remedy);
    }
    Ok(())
}

/// Whether the basis is in force; `zone`: where, none at a desk.
fn basis_holds(fact: &PurposeFact, values: &Values, zone: Option<&str>, now: Stamp<Utc>) -> Held {
    let purpose = &fact.purpose;
    let no = |text: String, remedy: &str| Err(Refusal::new(Rule::BasisInForce, text, remedy));
    let Some(basis) = &fact.basis else {
        return no(format!("purpose `{purpose}` has no legal basis"), "record its `basis`");
    };
    kind_fits(fact, basis, values)?;
    if let Some(beyond) = basis.scope.iter().find(|z| !fact.zones.contains(z)) {
        let text = format!("the basis of `{purpose}` reaches for zone `{beyond}`, which is none of the purpose's");
        return no(text, "correct its `scope`, or the purpose's `zones`");
    }
    if let Some(zone) = zone
        && !basis.scope.is_empty()
        && !basis.scope.iter().any(|z| z == zone)
    {
        return no(format!("the basis of `{purpose}` does not reach zone `{zone}`"), "obtain and record a basis that does");
    }
    let (Some(from), Some(until)) = (&basis.from, &basis.until) else {
        return no(format!("the basis of `{purpose}` has no beginning or no end"), "record `from` and `until`");
    };
    if now < from.at() {
        let refusal = Refusal::new(Rule::BasisInForce, format!("the basis of `{purpose}` is in force from {from}"), "wait");
        return Err(refusal.until(from.at()));
    }
    if now >= until.at() {
        return no(format!("the basis of `{purpose}` ended at {until}"), "obtain and record a new basis");
    }
    Ok(Some(until.at()))
}

fn assessment_holds(fact: &PurposeFact, now: Stamp<Utc>) -> Held {
    let purpose = &fact.purpose;
    let no = |text: String, remedy: &str| Err(Refusal::new(Rule::AssessmentCurrent, text, remedy));
    let (Some(_), Some(review)) = (&fact.assessment, &fact.review_on) else {
        return no(format!("purpose `{purpose}` has no impact assessment with a date of review"), "record `assessment` and `review_on`");
    };
    if now >= review.at() {
        let text = format!("the impact assessment of `{purpose}` was due for review on {review}");
        return no(text, "review it and record the next `review_on`");
    }
    Ok(Some(review.at()))
}

/// All of `held`: until the first of them ends, or the first refusal.
fn all<const N: usize>(held: [Held; N]) -> Held {
    held.into_iter().try_fold(None, |ends, next| Ok(sooner(ends, next?)))
}

/// Either when the purpose ends, or why it is not in force, wherever: for a desk, where no zone is looked at.
pub(in crate::policy) fn purpose_stands(
    register: &Register,
    values: &Values,
    fact: &PurposeFact,
    now: Stamp<Utc>,
) -> Result<Stamp<Utc>, Refusal> {
    if let Some(objection) = against_purpose(register, "", &fact.purpose) {
        return Err(paused(objection, &format!("purpose `{}`", fact.purpose)));
    }
    let order = order_for(register, values, &fact.purpose, None, now).1;
    let authorised = authorisation_for(register, values, &fact.purpose, None, now).1;
    let ends = all([basis_holds(fact, values, None, now), order, assessment_holds(fact, now), authorised])?;
    // A basis always ends.
    ends.ok_or_else(|| Refusal::new(Rule::BasisInForce, format!("the basis of `{}` has no end", fact.purpose), "record `until`"))
}

/// Millionths of the stream's picture that are looked at for the purpose, in whichever of its zones; rounded up.
pub(in crate::policy) fn area_ppm(register: &Register, stream: &str, purpose: &Purpose) -> u32 {
    let same = || register.purposes.iter().filter(|p| p.purpose == *purpose);
    let meant = |zone: &str| same().any(|p| p.zones.iter().any(|z| z == zone));
    let polygons: Vec<&[Vertex]> = register.areas.iter().filter(|a| a.stream == stream && meant(&a.zone)).map(|a| &*a.polygon).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is 0 to 1")]
    let ppm = (area::share(&polygons) * f64::from(WHOLE_PPM) - 1e-3).ceil().max(0.0) as u32;
    ppm.min(WHOLE_PPM)
}

/// Millionths that the fact allows; rounded down. What is no share allows nothing.
pub(in crate::policy) fn area_cap_ppm(fact: &PurposeFact) -> u32 {
    let Some(cap) = fact.area_cap else { return WHOLE_PPM };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 1,000,000")]
    let ppm = (cap * f64::from(WHOLE_PPM) + 1e-3).floor().clamp(0.0, f64::from(WHOLE_PPM)) as u32;
    ppm
}

fn area_capped(case: &PurposeCase<'_>) -> Held {
    let cap = area_cap_ppm(case.fact);
    if case.area_ppm <= cap {
        return Ok(None);
    }
    let percent = |ppm: u32| f64::from(ppm) / 10_000.0;
    let (share, most) = (percent(case.area_ppm), percent(cap));
    let text = format!("`{}` would look at {share:.1} % of the picture; its cap is {most:.1} %", case.fact.purpose);
    Err(Refusal::new(Rule::AreaCapped, text, "draw a smaller area, or assess a greater cap"))
}

/// Whether the purpose is in force in the zone for the stream, and everything that this rests on.
pub(super) fn purpose_case<'a>(ask: &Ask<'a>, zone: ZoneCase<'a>, fact: &'a PurposeFact) -> (PurposeCase<'a>, Held) {
    let (values, now, id) = (ask.values(), ask.now(), zone.zone.id.as_str());
    let objection = against_purpose(ask.register, ask.stream, &fact.purpose);
    let (order, order_held) = order_for(ask.register, values, &fact.purpose, Some(id), now);
    let (authorisation, authorised) = authorisation_for(ask.register, values, &fact.purpose, Some(id), now);
    let (alternative, alive) = alternative_alive(ask.register, zone.zone, values, ask.moment);
    let objected = objection.is_some();
    let area_ppm = if fact.area_cap.is_some() { area_ppm(ask.register, ask.stream, &fact.purpose) } else { 0 };
    let case = PurposeCase { zone, fact, order, authorisation, alternative, objected, area_ppm };
    let held = (|| {
        if let Some(objection) = objection {
            return Err(paused(objection, &format!("purpose `{}`", fact.purpose)));
        }
        if fact.purpose.kind() == PurposeKind::AccessVerification && zone.zone.kind != ZoneKind::Access {
            let text = format!("purpose `{}` verifies at a gate, and zone `{id}` is of kind {}", fact.purpose, zone.zone.kind);
            return Err(Refusal::new(
                Rule::VerificationOnly,
                text,
                "remove the zone from the purpose; only a zone of kind access has gates",
            ));
        }
        let basis = basis_holds(fact, values, Some(id), now);
        all([basis, order_held, assessment_holds(fact, now), authorised, alive, area_capped(&case)])
    })();
    (case, held)
}
