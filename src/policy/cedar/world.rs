//! Facts → Cedar's entities and requests, by hand: every attribute that a policy may look at is written down here once.
//!
//! Ids are made here alone, from an entry's place in the register, so that two entries never share one, whatever people called them
//! (zones and streams are known by their names, which are unique). The entities of one evaluation serve all its streams; what differs
//! from stream to stream is in the request's context.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::OnceLock;

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Value, Schema};

use super::schema::schema;
use crate::clock::{Stamp, Utc};
use crate::policy::alternatives::{heartbeat_ns, silent_ns};
use crate::policy::facts::{Alternative, Authorisation, Governance, Order, PurposeFact, Register, Sign, Zone};
use crate::policy::observed::Moment;
use crate::policy::profile::{Regime, Values};
use crate::policy::rules::{DAY_NS, HOUR_NS, PlaneError, PurposeCase, ZoneCase, area_cap_ppm, law, orders};
use crate::policy::when::When;
use crate::purpose::PurposeKind;

type Attributes = Vec<(&'static str, Value)>;

fn error(what: impl std::fmt::Display) -> PlaneError {
    PlaneError(what.to_string())
}
fn long(n: i64) -> Value {
    Value::new_long(n)
}
fn count(n: usize) -> Value {
    long(i64::try_from(n).unwrap_or(i64::MAX))
}
fn yes(b: bool) -> Value {
    Value::new_bool(b)
}
fn text(s: &str) -> Value {
    Value::new_string(s.to_owned())
}
fn at(when: &When) -> Value {
    long(when.at().ns())
}
fn words<'a>(all: impl Iterator<Item = &'a str>) -> Value {
    Value::new_set(all.map(text).collect::<Vec<_>>())
}
/// Adds the attribute where somebody recorded the fact.
fn known(attributes: &mut Attributes, name: &'static str, value: Option<Value>) {
    attributes.extend(value.map(|v| (name, v)));
}

/// The schema's kinds of entity.
#[derive(Clone, Copy)]
enum Kind {
    Stream,
    Zone,
    Sign,
    Purpose,
    Order,
    Governance,
    Authorisation,
    Alternative,
    Terms,
    Action,
}

fn uid(kind: Kind, id: &str) -> Result<EntityUid, PlaneError> {
    const NAMES: [&str; 10] =
        ["Stream", "Zone", "Sign", "Purpose", "Order", "Governance", "Authorisation", "Alternative", "Terms", "Action"];
    static READ: OnceLock<Option<Vec<EntityTypeName>>> = OnceLock::new();
    let read = || NAMES.iter().map(|n| EntityTypeName::from_str(&format!("Placard::{n}")).ok()).collect();
    let names = READ.get_or_init(read).as_ref().and_then(|names: &Vec<EntityTypeName>| names.get(kind as usize));
    let name = names.ok_or_else(|| error("a kind of entity that is none"))?;
    Ok(EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id)))
}

fn reference(kind: Kind, id: &str) -> Result<Value, PlaneError> {
    Ok(Value::new_entity_uid(uid(kind, id)?))
}

fn zones(ids: &[String]) -> Result<Value, PlaneError> {
    Ok(Value::new_set(ids.iter().map(|z| reference(Kind::Zone, z)).collect::<Result<Vec<_>, _>>()?))
}

fn entity(kind: Kind, id: &str, attributes: Attributes) -> Result<Entity, PlaneError> {
    let attributes: HashMap<String, Value> = attributes.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Entity::new(uid(kind, id)?, attributes, Default::default()).map_err(error)
}

fn sign(fact: &Sign) -> Result<Attributes, PlaneError> {
    let mut all = vec![
        ("zone", reference(Kind::Zone, &fact.zone)?),
        ("withdrawn", yes(fact.withdrawn.is_some())),
        ("photographed", yes(fact.photo_sha256.is_some())),
        ("placeholder", yes(fact.photo_is_a_placeholder())),
        ("inspector_named", yes(fact.inspected_by.is_some())),
    ];
    known(&mut all, "posted_at", fact.posted_on.as_ref().map(at));
    // An inspection of another text is none of this sign.
    known(&mut all, "inspected_at", fact.inspected_at.as_ref().filter(|_| fact.inspection_is_of_the_text()).map(at));
    Ok(all)
}

fn purpose(fact: &PurposeFact, values: &Values) -> Result<Attributes, PlaneError> {
    let none = Vec::new();
    let scope = fact.basis.as_ref().map_or(&none, |b| &b.scope);
    let mut all = vec![
        ("name", text(&fact.purpose.to_string())),
        ("kind", text(fact.purpose.kind().name())),
        ("zones", zones(&fact.zones)?),
        ("scope", zones(scope)?),
        ("scoped", yes(!scope.is_empty())),
        ("allowed_bases", words(values.bases_for(fact.purpose.kind()).iter().map(|b| b.name()))),
        ("assessed", yes(fact.assessment.is_some())),
        ("area_cap_ppm", long(area_cap_ppm(fact).into())),
    ];
    known(&mut all, "reference", fact.purpose.reference().map(text));
    known(&mut all, "review_at", fact.review_on.as_ref().map(at));
    if let Some(basis) = &fact.basis {
        all.push(("basis", text(basis.kind.name())));
        known(&mut all, "basis_from", basis.from.as_ref().map(at));
        known(&mut all, "basis_until", basis.until.as_ref().map(at));
    }
    Ok(all)
}

fn order(all: &[Order], fact: &Order, now: Stamp<Utc>) -> Result<Attributes, PlaneError> {
    let (from, until) = orders::term_at(fact, now);
    let emergency = orders::emergency_of(all, fact);
    Ok(vec![
        ("number", text(&fact.id)),
        ("zones", zones(&fact.zones)?),
        ("term_from", at(from)),
        ("term_until", at(until)),
        ("length_ns", long(emergency.length_ns)),
        ("renewals", count(emergency.renewals)),
        ("numbers_differ", yes(orders::numbers_differ(fact))),
        ("approvers", count(orders::approvers(fact))),
        ("ended", yes(fact.ended.is_some())),
    ])
}

fn governance(fact: &Governance) -> Result<Attributes, PlaneError> {
    Ok(vec![
        ("zones", zones(&fact.zones)?),
        ("documented", yes(fact.document_sha256.len() == 64)),
        ("decided_at", at(&fact.decided_on)),
        ("voted", yes(fact.votes_for.is_some() || fact.votes_total.is_some())),
        ("votes_for", long(fact.votes_for.unwrap_or(0).into())),
        ("votes_total", long(fact.votes_total.unwrap_or(0).into())),
    ])
}

fn authorisation(fact: &Authorisation) -> Result<Attributes, PlaneError> {
    let mut all = vec![
        ("purpose", text(&fact.purpose.to_string())),
        ("zones", zones(&fact.zones)?),
        ("from", at(&fact.from)),
        ("until", at(&fact.until)),
        ("documented", yes(!fact.assessment.trim().is_empty() && !fact.registration.trim().is_empty())),
        ("refused", yes(fact.refused.is_some())),
    ];
    known(&mut all, "pending_since", fact.pending_since.as_ref().map(at));
    Ok(all)
}

fn alternative(fact: &Alternative, values: &Values, moment: Moment<'_>) -> Result<Attributes, PlaneError> {
    let mut all = vec![("zone", reference(Kind::Zone, &fact.zone)?), ("heartbeat_ns", long(heartbeat_ns(fact, values)))];
    known(&mut all, "silent_ns", silent_ns(fact, moment).map(long));
    Ok(all)
}

fn terms(register: &Register, values: &Values) -> Attributes {
    let of = |n: u32, unit_ns: i64| long(i64::from(n).saturating_mul(unit_ns));
    let days = register.rules.sign_inspect_max_days.min(values.inspect_max_days);
    vec![
        ("inspect_max_ns", of(days, DAY_NS)),
        ("placeholders_count", yes(register.rules.placeholder_photographs)),
        ("live_1n", words(values.live_1n.iter().map(|b| b.name()))),
        ("one_to_one", words(values.one_to_one.iter().map(|b| b.name()))),
        ("alternative_for", words(values.alternative_for.iter().map(|z| z.name()))),
        ("heartbeat_max_ns", of(values.heartbeat_s, 1_000_000_000)),
        ("order_max_ns", of(values.order_max_hours, HOUR_NS)),
        ("order_renewals", long(values.order_renewals.into())),
        ("order_approvers", long(values.order_approvers.into())),
        ("authorisation_required", yes(values.pending_hours.is_some())),
        ("pending_max_ns", of(values.pending_hours.unwrap_or(0), HOUR_NS)),
        ("governance_required", yes(values.governance)),
        ("vote_permille", long(values.vote_permille.into())),
        ("vote_for", words(values.vote_for.iter().map(|z| z.name()))),
    ]
}

/// Finds an entry's place again, and with it its id.
fn place<T>(all: &[T], one: &T) -> Result<String, PlaneError> {
    let found = all.iter().position(|other| std::ptr::eq(other, one));
    found.map(|i| i.to_string()).ok_or_else(|| error("an entry that is not the register's"))
}

/// Everything that policies may look at in one evaluation.
pub(super) struct World<'a> {
    register: &'a Register,
    now: Stamp<Utc>,
    pub entities: Entities,
    schema: &'static Schema,
}

impl<'a> World<'a> {
    pub fn new<'s>(
        register: &'a Register,
        regime: &Regime,
        streams: impl Iterator<Item = &'s str>,
        moment: Moment<'_>,
    ) -> Result<Self, PlaneError> {
        let (values, now, schema) = (&regime.values, moment.now.utc, schema().map_err(error)?);
        let mut all = vec![entity(Kind::Terms, "site", terms(register, values))?];
        for stream in streams {
            let paused = law::against_stream(register, stream).is_some();
            all.push(entity(Kind::Stream, stream, vec![("paused", yes(paused))])?);
        }
        for Zone { id, kind } in &register.zones {
            all.push(entity(Kind::Zone, id, vec![("kind", text(kind.name()))])?);
        }
        let mut listed = |kind, attributes: Vec<Result<Attributes, PlaneError>>| {
            attributes.into_iter().enumerate().try_for_each(|(i, a)| {
                all.push(entity(kind, &i.to_string(), a?)?);
                Ok::<(), PlaneError>(())
            })
        };
        listed(Kind::Sign, register.signs.iter().map(sign).collect())?;
        listed(Kind::Purpose, register.purposes.iter().map(|p| purpose(p, values)).collect())?;
        listed(Kind::Order, register.orders.iter().map(|o| order(&register.orders, o, now)).collect())?;
        listed(Kind::Governance, register.governance.iter().map(governance).collect())?;
        listed(Kind::Authorisation, register.authorisations.iter().map(authorisation).collect())?;
        listed(Kind::Alternative, register.alternatives.iter().map(|a| alternative(a, values, moment)).collect())?;
        let entities = Entities::from_entities(all, Some(schema)).map_err(error)?;
        Ok(Self { register, now, entities, schema })
    }

    fn request(&self, action: &str, stream: &str, zone: &str, context: Attributes) -> Result<Request, PlaneError> {
        let context = Context::from_pairs(context.into_iter().map(|(k, v)| (k.to_owned(), v))).map_err(error)?;
        let (principal, action, resource) = (uid(Kind::Stream, stream)?, uid(Kind::Action, action)?, uid(Kind::Zone, zone)?);
        Request::new(principal, action, resource, context, Some(self.schema)).map_err(error)
    }

    fn of_zone(&self, case: &ZoneCase<'_>) -> Result<Attributes, PlaneError> {
        let mut context = vec![("now", long(self.now.ns())), ("terms", reference(Kind::Terms, "site")?)];
        if let Some(sign) = case.sign {
            context.push(("sign", reference(Kind::Sign, &place(&self.register.signs, sign)?)?));
        }
        if let Some(record) = case.governance {
            context.push(("governance", reference(Kind::Governance, &place(&self.register.governance, record)?)?));
        }
        Ok(context)
    }

    pub fn capture(&self, stream: &str, case: &ZoneCase<'_>) -> Result<Request, PlaneError> {
        self.request("capture", stream, &case.zone.id, self.of_zone(case)?)
    }

    pub fn pursue(&self, stream: &str, case: &PurposeCase<'_>) -> Result<Request, PlaneError> {
        let register = self.register;
        let mut context = self.of_zone(&case.zone)?;
        context.push(("purpose", reference(Kind::Purpose, &place(&register.purposes, case.fact)?)?));
        context.push(("objected", yes(case.objected)));
        context.push(("area_ppm", long(case.area_ppm.into())));
        if let Some(order) = case.order {
            context.push(("order", reference(Kind::Order, &place(&register.orders, order)?)?));
        }
        if let Some(leave) = case.authorisation {
            context.push(("authorisation", reference(Kind::Authorisation, &place(&register.authorisations, leave)?)?));
        }
        if let Some(way) = case.alternative {
            context.push(("alternative", reference(Kind::Alternative, &place(&register.alternatives, way)?)?));
        }
        self.request(action_for(case.fact.purpose.kind()), stream, &case.zone.zone.id, context)
    }
}

/// What is done for a purpose of this kind.
pub(super) const fn action_for(kind: PurposeKind) -> &'static str {
    match kind {
        PurposeKind::CrimePrevention | PurposeKind::MissingPerson | PurposeKind::Emergency => "recognise",
        PurposeKind::AccessVerification => "verify",
        PurposeKind::MaskCheck => "detect",
    }
}
