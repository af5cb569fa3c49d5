//! Authorisations, votes and objections: what regimes ask for beside sign and purpose (C25, C38). Orders: `orders.rs`.

use super::ask::{Held, Refusal};
use super::{CLOCK_SLACK_NS, HOUR_NS, Rule};
use crate::clock::{Stamp, Utc, format_utc};
use crate::policy::facts::{Authorisation, Governance, Objection, Register, Zone};
use crate::policy::profile::Values;
use crate::purpose::Purpose;

/// The objection that pauses the whole stream, if there is one. One that names neither stream nor purpose pauses everything.
pub(in crate::policy) fn against_stream<'a>(register: &'a Register, stream: &str) -> Option<&'a Objection> {
    let meant = |o: &&Objection| o.settled.is_none() && o.purpose.is_none() && o.stream.as_deref().is_none_or(|s| s == stream);
    register.objections.iter().find(meant)
}

/// The objection that pauses the purpose on the stream. `stream` empty: at a desk, where only an objection to the purpose as such counts.
pub(super) fn against_purpose<'a>(register: &'a Register, stream: &str, purpose: &Purpose) -> Option<&'a Objection> {
    let meant =
        |o: &&Objection| o.settled.is_none() && o.purpose.as_ref() == Some(purpose) && o.stream.as_deref().is_none_or(|s| s == stream);
    register.objections.iter().find(meant)
}

pub(super) fn paused(objection: &Objection, what: &str) -> Refusal {
    let fact = format!("{what} is paused: objection `{}` of {} is not settled", objection.id, objection.at);
    Refusal::new(Rule::NotObjectedTo, fact, "settle the objection (two people), or wait until it is settled")
}

/// The first candidate that holds, or the one that came first and why it does not.
pub(super) fn first_held<'a, T>(
    candidates: impl Iterator<Item = &'a T>,
    holds: impl Fn(&T) -> Held,
    none: impl FnOnce() -> Refusal,
) -> (Option<&'a T>, Held) {
    let mut refused: Option<(&T, Refusal)> = None;
    for candidate in candidates {
        match holds(candidate) {
            Ok(ends) => return (Some(candidate), Ok(ends)),
            Err(refusal) => refused = refused.or(Some((candidate, refusal))),
        }
    }
    match refused {
        Some((candidate, refusal)) => (Some(candidate), Err(refusal)),
        None => (None, Err(none())),
    }
}

fn authorisation_holds(a: &Authorisation, hours: u32, zone: Option<&str>, now: Stamp<Utc>) -> Held {
    let id = &a.id;
    let no = |fact: String, remedy: &str| Err(Refusal::new(Rule::Authorised, fact, remedy));
    if let Some(zone) = zone
        && !a.zones.iter().any(|z| z == zone)
    {
        return no(format!("authorisation `{id}` does not reach zone `{zone}`"), "obtain one for this zone");
    }
    if let Some(refused) = &a.refused {
        return no(format!("authorisation `{id}` was refused or withdrawn at {}", refused.at), "stop, and delete what was gathered");
    }
    if a.assessment.trim().is_empty() || a.registration.trim().is_empty() {
        return no(format!("authorisation `{id}` names no rights assessment or no registration"), "record both");
    }
    if now < a.from.at() {
        let refusal = Refusal::new(Rule::Authorised, format!("authorisation `{id}` is in force from {}", a.from), "wait");
        return Err(refusal.until(a.from.at()));
    }
    if now >= a.until.at() {
        return no(format!("authorisation `{id}` ended at {}", a.until), "obtain a new one");
    }
    let Some(since) = &a.pending_since else { return Ok(Some(a.until.at())) };
    if since.at().ns() > now.ns().saturating_add(CLOCK_SLACK_NS) {
        return no(format!("authorisation `{id}` was requested at {since}, which is still to come"), "correct `pending_since`");
    }
    let ends = Stamp::from_ns(since.at().ns().saturating_add(i64::from(hours).saturating_mul(HOUR_NS)));
    if now >= ends {
        let fact = format!("authorisation `{id}` was requested at {since}; pending, it counted for {hours} h, until {}", format_utc(ends));
        return no(fact, "stop; go on when it is given");
    }
    Ok(Some(a.until.at().min(ends)))
}

/// The authorisation that looking for people for `purpose` rests on, where the regime asks for one.
pub(super) fn authorisation_for<'a>(
    register: &'a Register,
    values: &Values,
    purpose: &Purpose,
    zone: Option<&str>,
    now: Stamp<Utc>,
) -> (Option<&'a Authorisation>, Held) {
    let Some(hours) = values.pending_hours.filter(|_| purpose.kind().searches()) else { return (None, Ok(None)) };
    let none = || {
        let fact = format!("purpose `{purpose}` needs an authorisation by a court or authority, and none is recorded");
        Refusal::new(Rule::Authorised, fact, "obtain it and record it as an [[authorisation]]")
    };
    let meant = register.authorisations.iter().filter(|a| a.purpose == *purpose);
    first_held(meant, |a| authorisation_holds(a, hours, zone, now), none)
}

fn governance_holds(g: &Governance, values: &Values, zone: &Zone, now: Stamp<Utc>) -> Held {
    let id = &g.id;
    let no = |fact: String, remedy: &str| Err(Refusal::new(Rule::GovernanceRecorded, fact, remedy));
    if g.document_sha256.len() != 64 {
        return no(format!("record `{id}` holds no digest of the document"), "record the SHA-256 of what was decided");
    }
    if g.decided_on.at().ns() > now.ns().saturating_add(CLOCK_SLACK_NS) {
        return no(format!("record `{id}` is dated {}, which is still to come", g.decided_on), "wait, or correct `decided_on` (UTC)");
    }
    let voted = g.votes_for.is_some() || g.votes_total.is_some();
    if !voted && values.vote_for.contains(&zone.kind) {
        return no(format!("record `{id}` is no vote, which a zone of kind {} needs", zone.kind), "record `votes_for` and `votes_total`");
    }
    let (votes, total) = (u64::from(g.votes_for.unwrap_or(0)), u64::from(g.votes_total.unwrap_or(0)));
    if voted && (votes > total || votes * 1_000 <= u64::from(values.vote_permille) * total) {
        let fact = format!("record `{id}`: {votes} of {total} votes are not more than the share that is needed");
        return no(fact, "without a majority there is no recognition");
    }
    Ok(None)
}

/// The record of who decided on looking at the zone, where the regime asks for one.
pub(super) fn governance_of<'a>(register: &'a Register, values: &Values, zone: &Zone, now: Stamp<Utc>) -> (Option<&'a Governance>, Held) {
    if !values.governance {
        return (None, Ok(None));
    }
    let none = || {
        let fact = format!("nothing is recorded of who decided on looking at zone `{}`", zone.id);
        Refusal::new(Rule::GovernanceRecorded, fact, "record the decision as [[governance]], before the first frame")
    };
    let here = register.governance.iter().filter(|g| g.zones.contains(&zone.id));
    first_held(here, |g| governance_holds(g, values, zone, now), none)
}
