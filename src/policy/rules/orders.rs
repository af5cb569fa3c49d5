//! An emergency's orders (C26): what `emergency:ID` and mask checks rest on.
//!
//! ```text
//! o-1 ├──────────┤   renewal ├─────┤
//! o-2                          < a day ├──────┤      one emergency, three times prolonged: o-1's first instant to o-2's last
//! o-3                                             > a day   ├────┤   another
//! ```
//!
//! "The epidemic can no longer be said to be an emergency": an order for a place where another had begun before, and was not over for a day,
//! prolongs it, whatever number and issuer it has. What the regime says of an emergency's length and renewals is held against all of it.
//! As recorded: an order that was ended early counts for as long as it was to last, or ending one would let another begin.

use std::collections::BTreeSet;

use super::ask::{Held, Refusal};
use super::law::first_held;
use super::{DAY_NS, HOUR_NS, Rule};
use crate::clock::{Stamp, Utc};
use crate::policy::facts::{Order, Register};
use crate::policy::profile::Values;
use crate::policy::when::When;
use crate::purpose::Purpose;

/// First and last instant of each term: the order's own and each renewal's.
pub(in crate::policy) fn terms(order: &Order) -> impl Iterator<Item = (&When, &When)> {
    std::iter::once((&order.from, &order.until)).chain(order.renewals.iter().map(|r| (&r.from, &r.until)))
}

/// Whether every renewal has a number of its own.
pub(in crate::policy) fn numbers_differ(order: &Order) -> bool {
    let mut numbers: BTreeSet<&str> = [order.id.as_str()].into();
    order.renewals.iter().all(|r| !r.number.trim().is_empty() && numbers.insert(&r.number))
}

/// First and last instant of an order with its renewals, ns.
fn span(order: &Order) -> (i64, i64) {
    let first = terms(order).map(|(from, _)| from.at().ns()).min().unwrap_or(0);
    let last = terms(order).map(|(_, until)| until.at().ns()).max().unwrap_or(i64::MAX);
    (first, last)
}

/// The emergency that an order belongs to, up to this order's end.
pub(in crate::policy) struct Emergency<'a> {
    /// From the first instant of its first order to the last of this one, ns.
    pub length_ns: i64,
    /// How often it was prolonged: by renewals, and by orders that follow others.
    pub renewals: usize,
    /// The orders that this one prolongs, the latest first.
    pub prolonged: Vec<&'a Order>,
}

/// What `order` prolongs: the orders for one of its places that began before it, and of which each was not over for a day when the next
/// began. Of two that begin at once the one that was recorded first came first.
pub(in crate::policy) fn emergency_of<'a>(orders: &'a [Order], order: &Order) -> Emergency<'a> {
    let (own_first, last) = span(order);
    let own = orders.iter().position(|o| std::ptr::eq(o, order)).unwrap_or(orders.len());
    let came_before = |(i, o): &(usize, &Order)| {
        let shared = o.zones.iter().any(|z| order.zones.contains(z));
        shared && (span(o).0, *i) < (own_first, own)
    };
    let mut earlier: Vec<&Order> = orders.iter().enumerate().filter(came_before).map(|(_, o)| o).collect();
    let (mut first, mut prolonged) = (own_first, Vec::new());
    // Each round either takes an order or is the last.
    while let Some(i) = earlier.iter().position(|o| span(o).1.saturating_add(DAY_NS) > first) {
        let taken = earlier.swap_remove(i);
        first = first.min(span(taken).0);
        prolonged.push(taken);
    }
    prolonged.sort_by_key(|o| std::cmp::Reverse(span(o)));
    let renewals = order.renewals.len() + prolonged.iter().map(|o| 1 + o.renewals.len()).sum::<usize>();
    Emergency { length_ns: last.saturating_sub(first), renewals, prolonged }
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

/// Whether the emergency that the order belongs to is longer, or was prolonged more often, than the regime allows.
fn emergency_capped(orders: &[Order], order: &Order, values: &Values) -> Result<(), Refusal> {
    let (id, emergency) = (&order.id, emergency_of(orders, order));
    let remedy = "an emergency that goes on needs another basis; the next begins when the last has been over for a day";
    let no = |fact: String| Err(Refusal::new(Rule::OrderInForce, fact, remedy));
    let with = match emergency.prolonged.first() {
        None => String::new(),
        Some(last) => format!(", which prolongs order `{}` ({} in all),", last.id, emergency.prolonged.len() + 1),
    };
    if emergency.renewals > values.order_renewals as usize {
        let (times, allowed) = (emergency.renewals, values.order_renewals);
        return no(format!("the emergency of order `{id}`{with} was prolonged {times} times; {allowed} are allowed"));
    }
    if emergency.length_ns > i64::from(values.order_max_hours).saturating_mul(HOUR_NS) {
        let (hours, allowed) = (emergency.length_ns / HOUR_NS, values.order_max_hours);
        return no(format!("the emergency of order `{id}`{with} lasts {hours} h; {allowed} h are allowed"));
    }
    Ok(())
}

/// Whether an emergency's order is in force. `zone`: where; none at a desk.
fn order_holds(register: &Register, order: &Order, values: &Values, zone: Option<&str>, now: Stamp<Utc>) -> Held {
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
    if !numbers_differ(order) {
        return no(format!("a renewal of order `{id}` has no number of its own"), "each renewal is a new order: record its number");
    }
    emergency_capped(&register.orders, order, values)?;
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
    first_held(register.orders.iter().filter(meant), |o| order_holds(register, o, values, zone, now), none)
}
