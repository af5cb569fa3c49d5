//! Which changes take leave away, and which give it: how many people must sign for an edit.
//!
//! The list of what narrows is closed and errs towards *two people*: whatever is not on it widens. A stop is never in anybody's way: no
//! signature is asked for, because one that must wait for a key is none. Both stops and what takes leave away by its form are held against the
//! register as a whole besides (`lighting.rs`): where they could open something else, the one pauses that stream, the other takes two people after all.

use super::change::Table;
use crate::area::Vertex;
use crate::policy::facts::{
    Alternative, AreaFact, Authorisation, Basis, Consent, Device, Governance, Objection, Order, Person, PurposeFact, Register, Role, Rules,
    Sign, View, Zone, ZoneKind,
};
use crate::policy::when::When;

/// Who must sign, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Needs {
    /// It narrows.
    Nobody,
    /// It takes a person's word away: one approver.
    OneApprover,
    /// Somebody saw a sign in its place: two people, inspectors or approvers.
    TwoWhoInspect,
    /// It takes something away that may be what keeps something else dark.
    ApproversForWhatItOpens,
    /// It widens.
    TwoApprovers,
}

impl Needs {
    pub const fn signatures(self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::OneApprover => 1,
            Self::TwoWhoInspect | Self::ApproversForWhatItOpens | Self::TwoApprovers => 2,
        }
    }
    /// One of these, each of them.
    pub const fn roles(self) -> &'static [Role] {
        match self {
            Self::TwoWhoInspect => &[Role::Inspector, Role::Approver],
            _ => &[Role::Approver],
        }
    }
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Nobody => "narrowing: in force at once",
            Self::OneApprover => "one approver must sign",
            Self::TwoWhoInspect => "two people must sign, each an inspector or an approver",
            Self::ApproversForWhatItOpens => {
                "it takes away what may keep something else dark (another zone or purpose of the same stream, a cap): two approvers must sign; \
                 `placard objection add` stops at once"
            }
            Self::TwoApprovers => "widening: two approvers must sign",
        }
    }
}

/// Which way a change of one fact goes, by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It stops something, or protects somebody: a sign withdrawn, an objection, a zone or an area private, an order ended, an authorisation
    /// refused, a consent withdrawn. In force at once; what it could light elsewhere is held back until two approvers say otherwise.
    Stops,
    /// It takes leave away. Nobody need sign, unless it could open something else in its place.
    Narrows,
    Asks(Needs),
}

impl Direction {
    fn narrows(yes: bool) -> Self {
        if yes { Self::Narrows } else { Self::Asks(Needs::TwoApprovers) }
    }
}

const WIDENS: Direction = Direction::Asks(Needs::TwoApprovers);

/// A kind of fact that the register has a list of.
pub trait Fact: Clone + PartialEq + serde::Serialize + serde::de::DeserializeOwned {
    const TABLE: Table;
    /// What people call it.
    fn name(&self) -> String;
    fn list(register: &mut Register) -> &mut Vec<Self>;
    fn listed(register: &Register) -> &[Self];
    /// Which way `old` becoming `new` goes; not both are absent. `register`: as it was before.
    fn direction(old: Option<&Self>, new: Option<&Self>, register: &Register) -> Direction;
}

macro_rules! fact {
    ($type:ty, $table:ident, $list:ident, |$fact:ident| $name:expr, |$old:ident, $new:ident, $register:ident| $direction:expr) => {
        impl Fact for $type {
            const TABLE: Table = Table::$table;
            fn name(&self) -> String {
                let $fact = self;
                $name
            }
            fn list(register: &mut Register) -> &mut Vec<Self> {
                &mut register.$list
            }
            fn listed(register: &Register) -> &[Self] {
                &register.$list
            }
            fn direction($old: Option<&Self>, $new: Option<&Self>, $register: &Register) -> Direction {
                $direction
            }
        }
    };
}

/// `new` ends no later than `old` did.
fn no_later(old: &When, new: &When) -> bool {
    new.at() <= old.at()
}
fn no_later_if(old: Option<&When>, new: Option<&When>) -> bool {
    match (old, new) {
        (None, _) => true,
        (Some(old), Some(new)) => no_later(old, new),
        (Some(_), None) => false,
    }
}
/// A needed fact that is absent refuses, so `None` is less than any.
fn no_more_if(old: Option<&When>, new: Option<&When>) -> bool {
    match (old, new) {
        (_, None) => true,
        (Some(old), Some(new)) => no_later(old, new),
        (None, Some(_)) => false,
    }
}
/// A cap that is absent caps nothing.
fn capped<T: PartialOrd>(old: Option<T>, new: Option<T>) -> bool {
    match (old, new) {
        (None, _) => true,
        (Some(old), Some(new)) => new <= old,
        (Some(_), None) => false,
    }
}

fact!(Zone, Zone, zones, |f| f.id.clone(), |old, new, _register| match (old, new) {
    // A zone that becomes private is never looked at again. One that goes may have kept another in its place from being looked at.
    (Some(old), Some(new)) if old.id == new.id && new.kind == ZoneKind::Private => Direction::Stops,
    (old, new) => Direction::narrows(old == new),
});

fact!(AreaFact, Area, areas, |f| format!("{}/{}", f.stream, f.zone), |old, new, register| match (old, new) {
    (None, Some(new)) if register.zone(&new.zone).is_some_and(|z| z.kind == ZoneKind::Private) => Direction::Stops,
    (Some(old), None) => Direction::narrows(!holds_others_back(old, register)),
    _ => Direction::narrows(old == new),
});

/// Where zones share pixels the strictest holds: an area that shares some may be what keeps the others dark. Told by the rectangles around
/// them.
fn holds_others_back(area: &AreaFact, register: &Register) -> bool {
    let private = register.zone(&area.zone).is_none_or(|z| z.kind == ZoneKind::Private);
    let apart = |other: &AreaFact| other.stream != area.stream || other.zone == area.zone || !may_overlap(&area.polygon, &other.polygon);
    private || !register.areas.iter().all(apart)
}

/// Whether the rectangles around two areas overlap: they do wherever the areas share more than a border.
pub(super) fn may_overlap(a: &[Vertex], b: &[Vertex]) -> bool {
    let ((low, high), (l, h)) = (around(a), around(b));
    low[0] < h[0] && l[0] < high[0] && low[1] < h[1] && l[1] < high[1]
}

fn around(polygon: &[Vertex]) -> (Vertex, Vertex) {
    let widen = |(low, high): (Vertex, Vertex), v: &Vertex| ([low[0].min(v[0]), low[1].min(v[1])], [high[0].max(v[0]), high[1].max(v[1])]);
    polygon.iter().fold(([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]), widen)
}

fact!(Sign, Sign, signs, |f| f.id.clone(), |old, new, _register| {
    // A sign that goes may be the one whose withdrawal keeps its zone dark.
    let (Some(old), Some(new)) = (old, new) else { return WIDENS };
    let withdrawn = Sign { withdrawn: new.withdrawn.clone(), ..old.clone() };
    if (old.withdrawn.is_none() || old.withdrawn == new.withdrawn) && withdrawn == *new {
        return Direction::Stops;
    }
    let inspected = Sign {
        inspected_at: new.inspected_at.clone(),
        inspected_by: new.inspected_by.clone(),
        photo_sha256: new.photo_sha256.clone(),
        inspected_text_sha256: new.inspected_text_sha256.clone(),
        ..old.clone()
    };
    // Nobody has seen a text that the sign does not have. (Inspections of earlier versions name none, and count for nothing.)
    let of_the_text = new.inspection_is_of_the_text() || new.inspected_text_sha256 == old.inspected_text_sha256;
    if of_the_text && inspected == *new && new.inspected_at.is_some() && new.photo_sha256.is_some() {
        return Direction::Asks(Needs::TwoWhoInspect);
    }
    WIDENS
});

fact!(PurposeFact, Purpose, purposes, |f| f.purpose.to_string(), |old, new, _register| match (old, new) {
    (Some(_), None) => Direction::Narrows,
    (Some(old), Some(new)) => {
        let rest = PurposeFact {
            zones: new.zones.clone(),
            basis: new.basis.clone(),
            assessment: new.assessment.clone(),
            review_on: new.review_on.clone(),
            gallery_cap: new.gallery_cap,
            area_cap: new.area_cap,
            ..old.clone()
        };
        Direction::narrows(
            rest == *new
                && new.zones.iter().all(|z| old.zones.contains(z))
                && no_more_basis(old.basis.as_ref(), new.basis.as_ref())
                && (new.assessment.is_none() || new.assessment == old.assessment)
                && no_more_if(old.review_on.as_ref(), new.review_on.as_ref())
                && capped(old.gallery_cap, new.gallery_cap)
                && capped(old.area_cap, new.area_cap),
        )
    }
    _ => WIDENS,
});

fn no_more_basis(old: Option<&Basis>, new: Option<&Basis>) -> bool {
    match (old, new) {
        (_, None) => true,
        (Some(old), Some(new)) => {
            let shortened = Basis { until: new.until.clone(), ..old.clone() };
            // A basis without an end grants nothing.
            shortened == *new && no_more_if(old.until.as_ref(), new.until.as_ref())
        }
        (None, Some(_)) => false,
    }
}

fact!(View, View, views, |f| format!("{}/{}", f.stream, f.sign), |old, new, _register| Direction::narrows(old == new));

// The record of an order is what erases who was enrolled under it. One that is too long for the site's regime counts for nothing, and would
// count if it were shortened, or would those that prolong it. So nothing but that it was ended is anybody's.
fact!(Order, Order, orders, |f| f.id.clone(), |old, new, _register| match (old, new) {
    (Some(old), Some(new)) if old == new => Direction::Narrows,
    (Some(old), Some(new)) => {
        let ended = Order { ended: new.ended.clone(), ..old.clone() };
        if ended == *new && new.ended.is_some() && old.ended.is_none() { Direction::Stops } else { WIDENS }
    }
    _ => WIDENS,
});

// The record of a consent that was withdrawn, or ended, is what erases the template: without it nobody could tell that from a slip.
fact!(Consent, Consent, consents, |f| f.id.clone(), |old, new, _register| match (old, new) {
    (Some(old), Some(new)) => {
        let less = Consent { withdrawn: new.withdrawn.clone(), until: new.until.clone(), ..old.clone() };
        let withdrawn = old.withdrawn.is_none() || old.withdrawn == new.withdrawn;
        if less == *new && withdrawn && no_later(&old.until, &new.until) { Direction::Stops } else { WIDENS }
    }
    _ => WIDENS,
});

fact!(Alternative, Alternative, alternatives, |f| f.id.clone(), |old, new, _register| match (old, new) {
    (Some(_), None) => Direction::Narrows,
    (Some(old), Some(new)) => {
        let less = Alternative { heartbeat_s: new.heartbeat_s, ..old.clone() };
        Direction::narrows(less == *new && new.heartbeat_s <= old.heartbeat_s)
    }
    _ => WIDENS,
});

// A vote that went against it is a governance record too: none goes by one person's word.
fact!(Governance, Governance, governance, |f| f.id.clone(), |old, new, _register| Direction::narrows(old == new));

// What was refused is to be stopped at once, and its record stays: what was gathered under it is erased by that. So does the record of one that
// was given: what was gathered under it, for the same purpose, is not erased because of that. So nothing but that it was refused is anybody's.
fact!(Authorisation, Authorisation, authorisations, |f| f.id.clone(), |old, new, _register| match (old, new) {
    (Some(old), Some(new)) if old == new => Direction::Narrows,
    (Some(old), Some(new)) => {
        let refused = Authorisation { refused: new.refused.clone(), ..old.clone() };
        if refused == *new && old.refused.is_none() { Direction::Stops } else { WIDENS }
    }
    _ => WIDENS,
});

fact!(Objection, Objection, objections, |f| f.id.clone(), |old, new, _register| match (old, new) {
    (None, Some(new)) if new.settled.is_none() => Direction::Stops,
    _ => Direction::narrows(old == new),
});

// A device that asks its camera less often, or another, is another.
fact!(Device, Device, devices, |f| f.stream.clone(), |old, new, _register| Direction::narrows(old == new));

fact!(Person, Person, people, |f| f.id.clone(), |old, new, _register| match (old, new) {
    (Some(_), None) => Direction::Asks(Needs::OneApprover),
    (Some(old), Some(new)) => {
        let less = Person { roles: new.roles.clone(), until: new.until.clone(), trained_until: new.trained_until.clone(), ..old.clone() };
        let shorter = no_later_if(old.until.as_ref(), new.until.as_ref()) && no_later(&old.trained_until, &new.trained_until);
        match less == *new && shorter && new.roles.iter().all(|r| old.roles.contains(r)) {
            true => Direction::Asks(Needs::OneApprover),
            false => WIDENS,
        }
    }
    _ => WIDENS,
});

/// Of the values that are no facts.
pub(super) fn rules_direction(old: &Rules, new: &Rules) -> Direction {
    // Taken apart, so that a value that is added to them must be judged here.
    let Rules { sign_inspect_max_days, placeholder_photographs, profiles, attested_signs_only, registered_devices_only } = new;
    Direction::narrows(
        *sign_inspect_max_days <= old.sign_inspect_max_days
            && (old.placeholder_photographs || !placeholder_photographs)
            && old.profiles.iter().all(|p| profiles.contains(p))
            && (*attested_signs_only || !old.attested_signs_only)
            && (*registered_devices_only || !old.registered_devices_only),
    )
}
