//! What a zone allows by itself.

use super::ask::{Ask, SecondOpinion, ZoneCase};
use super::law::{against_stream, governance_of, paused};
use super::purposes::{grant_of, purpose_case};
use super::signs::zone_sign;
use super::words::announced;
use super::{PlaneError, Reason, Rule, sooner};
use crate::clock::{Stamp, Utc, format_utc};
use crate::policy::facts::{Zone, ZoneKind};
use crate::policy::lease::{Grant, StreamState};

/// What a zone allows by itself.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) struct Entitlement {
    pub state: StreamState,
    pub grants: Vec<Grant>,
    pub reason: Reason,
    pub next_change: Option<Stamp<Utc>>,
}

impl Entitlement {
    fn off(reason: Reason) -> Self {
        Self { state: StreamState::Off, grants: Vec::new(), reason, next_change: None }
    }
    pub fn covers(&self, other: &Self) -> bool {
        self.state >= other.state && other.grants.iter().all(|g| self.grants.iter().any(|h| h.purpose == g.purpose))
    }
}

/// The rules say yes and a regime's policies say no.
fn not_permitted(what: &str) -> Reason {
    let fact = format!("the policies of the site's regimes do not permit {what}");
    Reason::new(Rule::ProfilePermits, fact, "`placard policy explain` tells which regime; its policies.cedar say what it asks for")
}

pub(super) fn entitlement(ask: &Ask<'_>, opinion: &dyn SecondOpinion, zone_id: &str) -> Result<Entitlement, PlaneError> {
    let Some(zone) = ask.register.zone(zone_id) else {
        let reason = Reason::new(Rule::ZoneKnown, format!("there is no zone `{zone_id}`"), "record the zone and its kind");
        return Ok(Entitlement::off(reason));
    };
    if zone.kind == ZoneKind::Private {
        let fact = format!("zone `{zone_id}` is private");
        return Ok(Entitlement::off(Reason::new(Rule::ZoneNotPrivate, fact, "nothing changes that: point the camera away")));
    }
    of_zone(ask, opinion, zone)
}

fn of_zone(ask: &Ask<'_>, opinion: &dyn SecondOpinion, zone: &Zone) -> Result<Entitlement, PlaneError> {
    let (id, now) = (zone.id.as_str(), ask.now());
    let objection = against_stream(ask.register, ask.stream);
    let (sign, sign_held) = zone_sign(ask.register, &ask.rules, id, now);
    let (governance, governed) = governance_of(ask.register, ask.values(), zone, now);
    let case = ZoneCase { zone, sign, governance };
    let explained: Result<Stamp<Utc>, Reason> = match objection {
        Some(objection) => Err(paused(objection, &format!("stream `{}`", ask.stream)).reason),
        None => sign_held.and_then(|ends| governed.map(|_| ends).map_err(|refusal| refusal.reason)),
    };
    let permitted = opinion.capture(ask, &case, explained.is_ok())?;
    let sign_ends = match explained {
        Ok(ends) if permitted => ends,
        Ok(_) => return Ok(Entitlement::off(not_permitted(&format!("looking at zone `{id}`")))),
        Err(reason) => return Ok(Entitlement::off(reason)),
    };
    let mut next_change = sooner(Some(sign_ends), ask.regime.ends);
    let mut grants: Vec<Grant> = Vec::new();
    let mut refused: Option<Reason> = None;
    for fact in ask.register.purposes.iter().filter(|p| p.zones.iter().any(|z| z == id)) {
        let announced = announced(ask, id, fact.purpose.kind());
        // The policies are asked about the very sign that the purpose relies on.
        let relied_on = announced.as_ref().map_or(case.sign, |(sign, _)| Some(*sign));
        let (case, held) = purpose_case(ask, ZoneCase { sign: relied_on, ..case }, fact);
        let permitted = opinion.purpose(ask, &case, held.is_ok())?;
        match held.map(|ends| announced.map(|(_, sign_ends)| sooner(ends, Some(sign_ends)))) {
            Ok(Err(silent)) => {
                refused.get_or_insert(silent);
            }
            Ok(Ok(ends)) if permitted => {
                next_change = sooner(next_change, ends);
                if !grants.iter().any(|g| g.purpose == fact.purpose) {
                    grants.push(grant_of(fact, ask.values()));
                }
            }
            Ok(Ok(_)) => {
                refused.get_or_insert_with(|| not_permitted(&format!("`{}` in zone `{id}`", fact.purpose)));
            }
            Err(refusal) => {
                next_change = sooner(next_change, refusal.begins);
                refused.get_or_insert(refusal.reason);
            }
        }
    }
    let state = match (grants.is_empty(), grants.iter().any(|g| g.purpose.kind().identifies())) {
        (true, _) => StreamState::CaptureOnly,
        (false, false) => StreamState::Detect,
        (false, true) => StreamState::Recognise,
    };
    let reason = if state == StreamState::CaptureOnly {
        let none = || Reason::new(Rule::PurposeNamed, format!("no purpose is recorded for zone `{id}`"), "record a purpose");
        refused.unwrap_or_else(none)
    } else {
        let names: Vec<String> = grants.iter().map(|g| g.purpose.to_string()).collect();
        let sign = sign.map_or("", |s| &s.id);
        let fact = format!("zone `{id}` ({}) has sign `{sign}` and {}", zone.kind, names.join(", "));
        let ends = next_change.map_or_else(String::new, |t| format!("ends by itself at {}", format_utc(t)));
        Reason::new(Rule::Granted, fact, ends)
    };
    Ok(Entitlement { state, grants, reason, next_change })
}
