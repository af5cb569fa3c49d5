//! Orders, authorisations, votes and objections: what regimes ask for beside sign and purpose (C25, C26, C38).

use std::collections::BTreeSet;

use super::ask::{Held, Refusal};
use super::{CLOCK_SLACK_NS, HOUR_NS, Rule};
use crate::clock::{Stamp, Utc, format_utc};
use crate::policy::facts::{Authorisation, Governance, Objection, Order, Register, Zone};
use crate::policy::profile::Values;
use crate::policy::when::When;
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

/// First and last instant of each term: the order's own and each renewal's.
pub(in crate::policy) fn terms(order: &Order) -> impl Iterator<Item = (&When, &When)> {
    std::iter::once((&order.from, &order.until)).chain(order.renewals.iter().map(|r| (&r.from, &r.until)))
}

/// Whether every renewal has a number of its own.
pub(in crate::policy) fn numbers_differ(order: &Order) -> bool {
    let mut numbers: BTreeSet<&str> = [order.id.as_str()].into();
    order.renewals.iter().all(|r| !r.number.trim().is_empty() && numbers.insert(&r.number))
}

/// From its first instant to its last, ns.
pub(in crate::policy) fn length_ns(order: &Order) -> i64 {
    let first = terms(order).map(|(from, _)| from.at().ns()).min().unwrap_or(0);
    let last = terms(order).map(|(_, until)| until.at().ns()).max().unwrap_or(i64::MAX);
    last.saturating_sub(first)
}

/// Different people who approved it.
pub(in crate::policy) fn approvers(order: &Order) -> usize {
    order.approved_by.iter().filter(|p| !p.trim().is_empty()).collect::<BTreeSet<_>>().len()
}

/// The term that `now` lies in; if none, the one that begins next, or the last.
pub(in crate::policy) fn term_at(order: &Order, now: Stamp<Utc>) -> (&When, &When) {
    let within = terms(order).filter(|(from, until)| from.at() <= now && now < until.at()).max_by_key(|(_, until)| until.at());
    let next = || terms(order).filter(|(from, _)| now < from.at()).min_by_key(|(from, _)| from.at());
    let last = || terms(order).max_by_key(|(_, until)| until.at());
    within.or_else(next).or_else(last).unwrap_or((&order.from, &order.until))
}

/// Whether an emergency's order is in force. `zone`: where; none at a desk.
fn order_holds(order: &Order, values: &Values, zone: Option<&str>, now: Stamp<Utc>) -> Held {
    let id = &order.id;
    let no = |fact: String, remedy: &str| Err(Refusal::new(Rule::OrderInForce, fact, remedy));
    if let Some(zone) = zone
        && !order.zones.iter().any(|z| z == zone)
    {
        return no(format!("order `{id}` does not reach zone `{zone}`"), "obtain an order for this zone and record it");
    }
    if let Some(end) = &order.ended {
        return no(format!("order `{id}` was ended at {} by {}", end.at, end.by), "nothing but a new order changes that");
    }
    if order.renewals.len() > values.order_renewals as usize {
        let fact = format!("order `{id}` was renewed {} times; {} are allowed", order.renewals.len(), values.order_renewals);
        return no(fact, "an emergency that goes on needs another basis, or a new order");
    }
    if !numbers_differ(order) {
        return no(format!("a renewal of order `{id}` has no number of its own"), "each renewal is a new order: record its number");
    }
    if length_ns(order) > i64::from(values.order_max_hours).saturating_mul(HOUR_NS) {
        let hours = length_ns(order) / HOUR_NS;
        let fact = format!("order `{id}` lasts {hours} h with its renewals; {} h are allowed", values.order_max_hours);
        return no(fact, "an emergency that goes on needs another basis, or a new order");
    }
    if approvers(order) < values.order_approvers as usize {
        let fact = format!("order `{id}` was approved by {} people; {} are needed", approvers(order), values.order_approvers);
        return no(fact, "have it approved (`placard approve`)");
    }
    let (from, until) = term_at(order, now);
    if now < from.at() {
        let refusal = Refusal::new(Rule::OrderInForce, format!("order `{id}` is in force from {from}"), "wait");
        return Err(refusal.until(from.at()));
    }
    if now >= until.at() {
        return no(format!("order `{id}` ended at {until}"), "nothing but a renewal or a new order changes that");
    }
    Ok(Some(until.at()))
}

/// The first candidate that holds, or the one that came first and why it does not.
fn first_held<'a, T>(
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

/// The order that `purpose` rests on: the one that it names, or for a mask check any.
pub(super) fn order_for<'a>(
    register: &'a Register,
    values: &Values,
    purpose: &Purpose,
    zone: Option<&str>,
    now: Stamp<Utc>,
) -> (Option<&'a Order>, Held) {
    if !purpose.kind().needs_emergency() {
        return (None, Ok(None));
    }
    let meant = |o: &&Order| purpose.reference().is_none_or(|r| r == o.id);
    let none = || {
        let fact = match purpose.reference() {
            Some(id) => format!("there is no order `{id}`"),
            None => format!("purpose `{purpose}` rests on an emergency's order, and none is recorded"),
        };
        Refusal::new(Rule::OrderInForce, fact, "record it as an [[order]], with its approvals")
    };
    first_held(register.orders.iter().filter(meant), |o| order_holds(o, values, zone, now), none)
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
