//! From zones to a stream: strictest wins where zones share pixels, and one group of areas is opened.

use super::ask::{Ask, SecondOpinion};
use super::zones::{Entitlement, entitlement};
use super::{Decision, PlaneError, Reason, Rule, sooner, stream_holds, while_attested};
use crate::area::{Area, overlap};
use crate::policy::facts::{AreaFact, ZoneKind};
use crate::policy::lease::{Place, StreamState};

/// What may happen on the stream.
pub(in crate::policy) fn decide(ask: &Ask<'_>, opinion: &dyn SecondOpinion) -> Result<Decision, PlaneError> {
    let (register, stream, now, rules) = (ask.register, ask.stream, ask.now(), ask.regime.hash);
    if let Err(reason) = stream_holds(register, stream, ask.moment) {
        return Ok(Decision { rules, ..Decision::off(reason) });
    }
    let of_area = |a| -> Result<(&AreaFact, Entitlement), PlaneError> { Ok((a, entitlement(ask, opinion, &a.zone)?)) };
    let areas: Vec<(&AreaFact, Entitlement)> =
        register.areas.iter().filter(|a| a.stream == stream).map(of_area).collect::<Result<_, _>>()?;
    let Some((_, first)) = areas.first() else {
        let fact = format!("no area is recorded for stream `{stream}`");
        return Ok(Decision::off(Reason::new(Rule::StreamHasArea, fact, "record an [[area]] with the zone that it shows")));
    };
    // Nothing changes at an instant that has passed.
    let next_change = areas.iter().fold(None, |t, (_, e)| sooner(t, e.next_change)).filter(|t| *t > now);
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
        return Ok(Decision { next_change, rules, ..Decision::off(reason) });
    };
    let group: Vec<&AreaFact> = open.iter().filter(|(_, e)| e.state == lead.state && e.grants == lead.grants).map(|(a, _)| *a).collect();
    // Compiled in, whatever rules and policies say.
    let private = |a: &&AreaFact| register.zone(&a.zone).is_none_or(|z| z.kind == ZoneKind::Private);
    if let Some(area) = group.iter().find(|a| private(a)) {
        return Err(PlaneError(format!("an area of the private or unknown zone `{}` was to be opened", area.zone)));
    }
    let area = Area::new(group.iter().map(|a| a.polygon.clone()).collect()).map_err(|e| PlaneError(e.to_string()))?;
    let mut reason = lead.reason.clone();
    if group.len() < areas.len() {
        let out: Vec<&str> = areas.iter().filter(|(a, _)| !group.iter().any(|g| std::ptr::eq(*g, *a))).map(|(a, _)| &*a.zone).collect();
        reason.fact = format!("{} (areas of {} are left out)", reason.fact, out.join(", "));
    }
    let mut grants = lead.grants.clone();
    if grants.iter().any(|g| g.purpose.kind().identifies()) && grants.iter().any(|g| !g.purpose.kind().identifies()) {
        // Two events of one face on one stream could be joined, and a mask's answer would be somebody's.
        grants.retain(|g| g.purpose.kind().identifies());
        reason.fact = format!("{}; a mask check is not granted beside a purpose that identifies", reason.fact);
    }
    let place = Place::zones(group.iter().map(|a| a.zone.as_str()));
    grants.iter_mut().for_each(|grant| grant.place = place.clone());
    let decision = Decision { state: lead.state, grants, area: Some(area), reason, next_change, rules };
    Ok(while_attested(register, stream, ask.moment, decision))
}
