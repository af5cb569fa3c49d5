//! Ways into a zone that read nobody's body: declared in the register, alive while they send heartbeats (C13).
//!
//! In a zone of a kind that the regime names (everywhere: `access`) no face is checked unless one of them answers: it must have been
//! heard within the time that it was declared with, and never longer ago than the regime allows. After a start none has been heard.

use std::time::Duration;

use super::facts::{Alternative, Register, Zone};
use super::observed::Moment;
use super::profile::Values;
use super::rules::{Refusal, Rule};
use crate::clock::{Stamp, Utc};

const SECOND_NS: i64 = 1_000_000_000;

/// How long ago it was last heard, ns; `None`: never. Negative where it was heard after the moment was taken.
pub(in crate::policy) fn silent_ns(alternative: &Alternative, moment: Moment<'_>) -> Option<i64> {
    let heard = moment.observed.heartbeats.get(alternative.id.as_str())?;
    Some(moment.now.monotonic.since_ns(*heard))
}

/// How long a heartbeat of it counts under the regime, seconds.
pub fn heartbeat_s(alternative: &Alternative, values: &Values) -> u32 {
    alternative.heartbeat_s.min(values.heartbeat_s)
}

/// How long a heartbeat of it counts, ns.
pub(in crate::policy) fn heartbeat_ns(alternative: &Alternative, values: &Values) -> i64 {
    i64::from(heartbeat_s(alternative, values)).saturating_mul(SECOND_NS)
}

type Held = Result<Option<Stamp<Utc>>, Refusal>;

/// Whether the zone has a way in that is alive, or needs none; and which. Until its next heartbeat is due.
pub(in crate::policy) fn alternative_alive<'a>(
    register: &'a Register,
    zone: &Zone,
    values: &Values,
    moment: Moment<'_>,
) -> (Option<&'a Alternative>, Held) {
    if !values.alternative_for.contains(&zone.kind) {
        return (None, Ok(None));
    }
    let here: Vec<&Alternative> = register.alternatives.iter().filter(|a| a.zone == zone.id).collect();
    let left_ns = |a: &&Alternative| silent_ns(a, moment).map(|silent| heartbeat_ns(a, values).saturating_sub(silent));
    let liveliest = here.iter().copied().max_by_key(left_ns);
    let no = |fact: String, remedy: &str| Err(Refusal::new(Rule::AlternativeAlive, fact, remedy));
    let Some(alternative) = liveliest else {
        let fact = format!("zone `{}` has no way in but by face", zone.id);
        return (None, no(fact, "give people another way in and record it as an [[alternative]]"));
    };
    let held = match left_ns(&alternative) {
        Some(left) if left > 0 => Ok(Some(moment.now.utc.plus(Duration::from_nanos(left.unsigned_abs())))),
        Some(_) => {
            let limit_s = heartbeat_ns(alternative, values) / SECOND_NS;
            let fact = format!("the way in `{}` of zone `{}` has been silent for {limit_s} s or longer", alternative.id, zone.id);
            no(fact, "mend the card reader, code pad or desk; no face is checked while it is out of order")
        }
        None => {
            let fact = format!("the way in `{}` of zone `{}` has not been heard since the service started", alternative.id, zone.id);
            no(fact, "have it send heartbeats (`placard altpath beat`)")
        }
    };
    (Some(alternative), held)
}
