//! Whether taking something away would open something else. What a stream shows is not the sum of its facts: some facts keep others back.
//!
//! ```text
//! area_cap      with an area or a zone less, a purpose's share of the picture fits under its cap
//! shared pixels the strictest zone wins: with a purpose less, a zone asks for no more than its neighbour allows
//! one lease     a stream is opened for one group of zones, alike in what they allow: with less for the group that leads, another one leads
//! mask-check    is not granted beside a purpose that identifies
//! one purpose   of its several records the smallest gallery cap holds, and the one that asks for consent
//! ```
//!
//! Asked of the register before and after, and of nothing else: no date, no regime, no observation. So a change is judged alike when it is made
//! and whenever it is read again, by whichever version of a profile is there then; and *no* holds at every instant, whatever begins or ends
//! meanwhile, where deciding both registers at one moment would miss what lights tomorrow. The price: it errs towards two people, where a
//! stream shows several zones that have purposes. `tests/law/random.rs` holds it against the decision plane.
//!
//! A stop ([`Direction::Stops`](super::direction::Direction)) must work at once, so it is never made to wait for the answer. Where it is *yes*, the
//! very change pauses the stream as a whole: beside the stop it puts an objection to the stream into the register, `stop-PROPOSAL-N`, which
//! nobody has settled, and which two approvers settle as they do any other. So a stop darkens what it names at once, and nothing that was dark
//! a moment ago is lit by it, now or later, until two people have looked at what that would be. What else was lit on that stream goes dark with it: finer
//! would be to leave that lit, but which group leads depends on dates, regimes and observations, which nothing here may ask. The objection follows from the
//! change and is in no proposal, so an older client cannot leave it out. What was judged is recorded with the change (`change.rs`), under the site's
//! signature, and read from there ever after: what is changed here changes what is held back by stops to come, and none that were ([`JUDGEMENT`]
//! is then counted up). Whoever writes the file and has not the site's key can only leave the judgement away, and then it is judged by the first
//! rules; whoever has it says nothing that these rules do not say too, as long as they are the last, nor anything by earlier rules than a change before it. Where two approvers signed the stop
//! itself there is none; until a stop is in the file the policy thread holds the stream back in memory ([`hold_back`]). `tests/law/narrowing.rs`
//! holds both, what narrows and what stops, against the decision plane.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::direction::may_overlap;
use crate::policy::facts::{AreaFact, BasisKind, Objection, PurposeFact, Register, ZoneKind};
use crate::policy::rules::{area_cap_ppm, area_ppm};
use crate::policy::when::When;
use crate::purpose::{Purpose, PurposeKind};

/// What a change takes leave away from: in this zone for that purpose, or for every one.
type Touched<'a> = (&'a str, Option<&'a Purpose>);

/// Of the rules in this file: one more when they judge anything otherwise than before.
pub const JUDGEMENT: u32 = 1;

/// A stream that a stop paused, because it could have lit something there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub stream: String,
    /// The objection that pauses it, by id.
    pub objection: String,
}

impl Hold {
    /// How the ids of such objections begin.
    pub const PREFIX: &str = "stop-";
}

/// Whether something may be done after a change that was not before, at some moment, under some regime. `after`: what narrowing edits made of
/// `before`.
pub(super) fn opens(before: &Register, after: &Register) -> bool {
    of_one_purpose(before, after) || !stops_that_light(before, after).is_empty()
}

/// Streams on which something may be done after a change that was not before. `after`: what stops, or narrowing edits, made of `before`.
pub(super) fn stops_that_light(before: &Register, after: &Register) -> Vec<String> {
    let everywhere = touched(before, after);
    let gone_areas = gone(&before.areas, &after.areas);
    let streams: BTreeSet<&str> = before.areas.iter().map(|a| a.stream.as_str()).collect();
    let on_stream = |stream: &&str| {
        let Some(mut touched) = stopped_on(before, after, stream) else { return false };
        touched.extend(&everywhere);
        let fewer: Vec<String> = gone_areas.iter().filter(|a| a.stream == *stream).map(|a| a.zone.clone()).collect();
        fits_under_a_cap(before, after, stream) || another_leads(before, after, stream, &touched, &fewer)
    };
    streams.into_iter().filter(on_stream).map(str::to_owned).collect()
}

/// Pauses `streams` until two approvers settle it. `name`: what the objections are called by.
pub(super) fn hold(register: &mut Register, streams: BTreeSet<String>, name: &str, at: &When) -> Vec<Hold> {
    let held = (1..).zip(streams).map(|(n, stream)| Hold { stream, objection: format!("{}{name}-{n}", Hold::PREFIX) }).collect::<Vec<_>>();
    register.objections.extend(held.iter().map(|hold| Objection {
        id: hold.objection.clone(),
        stream: Some(hold.stream.clone()),
        purpose: None,
        at: at.clone(),
        settled: None,
    }));
    held
}

/// As a recorded stop does: pauses in `after` the streams on which it could light something that `before` does not.
pub(in crate::policy) fn hold_back(before: &Register, after: &mut Register, name: &str, at: &When) {
    let streams = stops_that_light(before, after).into_iter().collect();
    hold(after, streams, name, at);
}

/// Facts of `before` that are not in `after`, as many times as they are fewer.
fn gone<'a, T: PartialEq>(before: &'a [T], after: &[T]) -> Vec<&'a T> {
    // Nearly all are the same, in the same places.
    let head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (before, mut left) = (&before[head..], after[head..].iter().collect::<Vec<&T>>());
    let stays = |fact: &&T| match left.iter().position(|l| l == fact) {
        Some(place) => {
            left.remove(place);
            false
        }
        None => true,
    };
    before.iter().filter(stays).collect()
}

/// Whether the record can ever be in force.
fn may_stand(fact: &PurposeFact) -> bool {
    let dated = fact.basis.as_ref().is_some_and(|b| b.from.is_some() && b.until.is_some());
    dated && fact.assessment.is_some() && fact.review_on.is_some()
}

/// Purposes that may be in force in the zone.
fn purposes<'a>(register: &'a Register, zone: &str) -> impl Iterator<Item = &'a Purpose> {
    let open = register.zone(zone).is_some_and(|z| z.kind != ZoneKind::Private);
    register
        .purposes
        .iter()
        .filter(move |_| open)
        .filter(|f| may_stand(f))
        .filter(move |f| f.zones.iter().any(|z| z == zone))
        .map(|f| &f.purpose)
}

/// What grants less on this stream alone: a purpose that was objected to, and what a private area was laid over. `None`: the stream as a
/// whole was objected to, and lights nothing.
fn stopped_on<'a>(before: &'a Register, after: &'a Register, stream: &str) -> Option<Vec<Touched<'a>>> {
    let shown = || before.areas.iter().filter(|a| a.stream == stream);
    let mut all: Vec<Touched<'a>> = Vec::new();
    let new = gone(&after.objections, &before.objections).into_iter();
    for objection in new.filter(|o| o.settled.is_none() && o.stream.as_deref().is_none_or(|s| s == stream)) {
        let purpose = objection.purpose.as_ref()?;
        all.extend(shown().map(|a| (a.zone.as_str(), Some(purpose))));
    }
    for area in gone(&after.areas, &before.areas).into_iter().filter(|a| a.stream == stream) {
        all.extend(shown().filter(|a| may_overlap(&a.polygon, &area.polygon)).map(|a| (a.zone.as_str(), None)));
    }
    Some(all)
}

/// Everything that grants less after the change.
fn touched<'a>(before: &'a Register, after: &Register) -> Vec<Touched<'a>> {
    let mut all: Vec<Touched<'_>> = Vec::new();
    for fact in gone(&before.purposes, &after.purposes) {
        // How many may be enrolled is nothing that a stream shows.
        let but_for_its_gallery = |f: &PurposeFact| PurposeFact { gallery_cap: fact.gallery_cap, ..f.clone() } == *fact;
        if may_stand(fact) && !after.purposes.iter().any(but_for_its_gallery) {
            all.extend(fact.zones.iter().map(|z| (z.as_str(), Some(&fact.purpose))));
        }
    }
    for leave in gone(&before.authorisations, &after.authorisations) {
        all.extend(leave.zones.iter().map(|z| (z.as_str(), Some(&leave.purpose))));
    }
    all.extend(gone(&before.orders, &after.orders).iter().flat_map(|o| o.zones.iter().map(|z| (z.as_str(), None))));
    all.extend(gone(&before.alternatives, &after.alternatives).iter().map(|a| (a.zone.as_str(), None)));
    all.extend(gone(&before.signs, &after.signs).iter().map(|s| (s.zone.as_str(), None)));
    all.extend(gone(&before.zones, &after.zones).iter().map(|z| (z.id.as_str(), None)));
    let (old, new) = (&before.rules, &after.rules);
    let everywhere = old.sign_inspect_max_days != new.sign_inspect_max_days
        || old.placeholder_photographs != new.placeholder_photographs
        || old.profiles != new.profiles;
    // The other rules darken whole streams, after everything else was decided.
    all.extend(before.zones.iter().filter(|_| everywhere).map(|z| (z.id.as_str(), None)));
    all
}

/// Whether a purpose that looked at too large a share of the picture no longer does.
fn fits_under_a_cap(before: &Register, after: &Register, stream: &str) -> bool {
    let narrowed = gone(&before.purposes, &after.purposes);
    after.purposes.iter().filter(|f| f.area_cap.is_some() && may_stand(f)).any(|fact| {
        let (was, is) = (area_ppm(before, stream, &fact.purpose), area_ppm(after, stream, &fact.purpose));
        // A record that is itself narrowed had the cap that it had.
        let its_own = if before.purposes.contains(fact) { Some(area_cap_ppm(fact)) } else { None };
        let former = narrowed.iter().filter(|f| f.purpose == fact.purpose).map(|f| area_cap_ppm(f)).max();
        let cap = its_own.or(former).unwrap_or(0);
        is > 0 && was > cap && is <= area_cap_ppm(fact)
    })
}

/// Whether what the stream is opened for could be another group of its zones, or a mask check in the place of a search. `fewer`: zones of which
/// it shows an area less.
fn another_leads(before: &Register, after: &Register, stream: &str, touched: &[Touched<'_>], fewer: &[String]) -> bool {
    let shown = |register: &'_ Register| -> Vec<AreaFact> { register.areas.iter().filter(|a| a.stream == stream).cloned().collect() };
    let (was, is) = (shown(before), shown(after));
    let elsewhere = |zone: &str| is.iter().any(|a| a.zone != zone && purposes(after, &a.zone).next().is_some());
    let shares = |zone: &str| {
        let own = was.iter().filter(|a| a.zone == zone);
        own.into_iter().any(|a| was.iter().any(|b| b.zone != zone && may_overlap(&a.polygon, &b.polygon)))
    };
    // Under one record zones allow the same or nothing: where none leads that has it, there is none that could.
    let of_stream = |f: &&PurposeFact| may_stand(f) && was.iter().any(|a| f.zones.contains(&a.zone));
    let several = before.purposes.iter().filter(of_stream).count() > 1;
    let took = |(zone, purpose): &Touched<'_>| purposes(before, zone).any(|p| purpose.is_none_or(|q| q == p));
    let here = touched.iter().filter(|t| was.iter().any(|a| a.zone == t.0) && took(t));
    let less_here = here.into_iter().any(|(zone, purpose)| {
        let identified = purposes(before, zone).any(|p| purpose.is_none_or(|q| q == p) && p.kind().identifies());
        let masks = || purposes(after, zone).any(|p| p.kind() == PurposeKind::MaskCheck);
        shares(zone) || several && (elsewhere(zone) || identified && masks())
    });
    less_here || several && fewer.iter().any(|zone| purposes(before, zone).next().is_some() && elsewhere(zone))
}

/// Whether more may be enrolled for a purpose, or without consent, because one of its several records is gone or says less.
fn of_one_purpose(before: &Register, after: &Register) -> bool {
    let of = |register: &'_ Register, purpose: &Purpose| -> Vec<PurposeFact> {
        register.purposes.iter().filter(|f| f.purpose == *purpose).cloned().collect()
    };
    gone(&before.purposes, &after.purposes).into_iter().any(|fact| {
        let (was, is) = (of(before, &fact.purpose), of(after, &fact.purpose));
        let cap = |facts: &[PurposeFact]| facts.iter().filter_map(|f| f.gallery_cap).min().unwrap_or(u32::MAX);
        let asks = |facts: &[PurposeFact]| facts.iter().any(|f| f.basis.as_ref().is_some_and(|b| b.kind == BasisKind::SeparateConsent));
        is.iter().any(may_stand) && (cap(&is) > cap(&was) || (asks(&was) && !asks(&is)))
    })
}
