//! What edits make of a register, and which edits make one register of another.

use std::collections::BTreeSet;

use super::change::{Edit, Judgement, Proposal, Table, fact_digest};
use super::digest::Digest;
use super::direction::{Direction, Fact, Needs, rules_direction};
use super::lighting::{Hold, hold, opens, stops_that_light};
use crate::policy::facts::{
    Alternative, AreaFact, Authorisation, Consent, Device, Governance, Objection, Order, Person, PurposeFact, Register, Rules, Sign, View,
    Zone,
};

/// Why a proposal does not apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotApply {
    #[error("it changes nothing")]
    Empty,
    #[error("the {table} that it would change is another by now (it was {fact}): look at it again and propose anew")]
    Conflict { table: &'static str, fact: String },
    #[error("its {table} is none: {problem}")]
    NotAFact { table: &'static str, problem: String },
    #[error("`{key}` of {table} number {number} would be wrong: {problem}")]
    Flawed { table: &'static str, number: usize, key: &'static str, problem: String },
}

/// What a proposal makes of a register.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub register: Register,
    pub needs: Needs,
    /// Streams that it pauses, because its stops could light something on them.
    pub held: Vec<Hold>,
    /// Whether what it takes away, and is no stop, may keep something else dark.
    pub opens: bool,
}

/// By what it is judged which streams a change's stops could light.
#[derive(Clone, Copy, Debug)]
pub(super) enum Judged<'a> {
    /// By today's rules.
    Now,
    /// Likewise, but for the streams: two approvers signed it, so that nothing is held back.
    Confirmed,
    /// By what was recorded with it, whatever today's rules say.
    Then(&'a Judgement),
}

impl Proposal {
    /// The register as it would be, and who must sign for that.
    pub fn applied_to(&self, register: &Register) -> Result<(Register, Needs), DoesNotApply> {
        self.apply_to(register, Judged::Now).map(|applied| (applied.register, applied.needs))
    }

    pub(super) fn apply_to(&self, register: &Register, judged: Judged<'_>) -> Result<Applied, DoesNotApply> {
        let (mut after, mut needs, mut may_light) = (register.clone(), Needs::Nobody, BTreeSet::new());
        let mut opens = false;
        if self.edits.is_empty() {
            return Err(DoesNotApply::Empty);
        }
        for edit in &self.edits {
            let taken = apply(&mut after, edit, judged)?;
            needs = needs.max(taken.needs);
            opens |= taken.opens;
            may_light.extend(taken.may_light);
        }
        match judged {
            Judged::Now => {}
            Judged::Confirmed => may_light.clear(),
            Judged::Then(then) => may_light = then.held.iter().cloned().collect(),
        }
        let held = hold(&mut after, may_light, &self.digest().short(), &self.at);
        match after.flaws().into_iter().next() {
            None => Ok(Applied { register: after, needs, held, opens }),
            Some(flaw) => Err(DoesNotApply::Flawed { table: flaw.table, number: flaw.entry + 1, key: flaw.key, problem: flaw.problem }),
        }
    }
}

/// What one edit takes.
struct Taken {
    needs: Needs,
    /// Whether it narrows, and what it takes away may keep something else dark.
    opens: bool,
    /// Streams on which this stop could light something.
    may_light: Vec<String>,
}

fn apply(register: &mut Register, edit: &Edit, judged: Judged<'_>) -> Result<Taken, DoesNotApply> {
    match edit.table {
        Table::Rules => apply_rules(register, edit, judged),
        Table::Zone => apply_fact::<Zone>(register, edit, judged),
        Table::Area => apply_fact::<AreaFact>(register, edit, judged),
        Table::Sign => apply_fact::<Sign>(register, edit, judged),
        Table::Purpose => apply_fact::<PurposeFact>(register, edit, judged),
        Table::View => apply_fact::<View>(register, edit, judged),
        Table::Order => apply_fact::<Order>(register, edit, judged),
        Table::Consent => apply_fact::<Consent>(register, edit, judged),
        Table::Alternative => apply_fact::<Alternative>(register, edit, judged),
        Table::Governance => apply_fact::<Governance>(register, edit, judged),
        Table::Authorisation => apply_fact::<Authorisation>(register, edit, judged),
        Table::Objection => apply_fact::<Objection>(register, edit, judged),
        Table::Device => apply_fact::<Device>(register, edit, judged),
        Table::Person => apply_fact::<Person>(register, edit, judged),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(edit: &Edit) -> Result<Option<T>, DoesNotApply> {
    let not_a_fact = |e: toml::de::Error| DoesNotApply::NotAFact { table: edit.table.name(), problem: e.message().to_owned() };
    edit.fact.as_deref().map(toml::from_str).transpose().map_err(not_a_fact)
}

fn conflict(edit: &Edit, digest: &Digest) -> DoesNotApply {
    DoesNotApply::Conflict { table: edit.table.name(), fact: digest.short() }
}

fn apply_rules(register: &mut Register, edit: &Edit, judged: Judged<'_>) -> Result<Taken, DoesNotApply> {
    let (Some(digest), Some(new)) = (edit.replaces, parsed::<Rules>(edit)?) else { return Err(DoesNotApply::Empty) };
    if fact_digest(&register.rules) != digest {
        return Err(conflict(edit, &digest));
    }
    let direction = rules_direction(&register.rules, &new);
    Ok(taken(register, direction, judged, |register| register.rules = new))
}

/// Makes one edit, and says who must sign for it.
fn taken(register: &mut Register, direction: Direction, judged: Judged<'_>, edit: impl FnOnce(&mut Register)) -> Taken {
    let by_form = |needs| Taken { needs, opens: false, may_light: Vec::new() };
    let narrows = |opens| Taken { opens, ..by_form(if opens { Needs::ApproversForWhatItOpens } else { Needs::Nobody }) };
    let as_recorded = match (direction, judged) {
        (Direction::Asks(needs), _) => Some(by_form(needs)),
        (Direction::Stops, Judged::Then(_)) => Some(by_form(Needs::Nobody)),
        (Direction::Narrows, Judged::Then(then)) => Some(narrows(then.opens)),
        (Direction::Stops | Direction::Narrows, Judged::Now | Judged::Confirmed) => None,
    };
    if let Some(taken) = as_recorded {
        edit(register);
        return taken;
    }
    let before = register.clone();
    edit(register);
    match direction {
        Direction::Stops => Taken { may_light: stops_that_light(&before, register), ..by_form(Needs::Nobody) },
        _ => narrows(opens(&before, register)),
    }
}

fn apply_fact<F: Fact>(register: &mut Register, edit: &Edit, judged: Judged<'_>) -> Result<Taken, DoesNotApply> {
    let new = parsed::<F>(edit)?;
    let place = |digest: Digest| {
        let found = F::listed(register).iter().position(|f| fact_digest(f) == digest);
        found.ok_or_else(|| conflict(edit, &digest))
    };
    let place = edit.replaces.map(place).transpose()?;
    let old = place.map(|i| F::listed(register)[i].clone());
    if old.is_none() && new.is_none() {
        return Err(DoesNotApply::Empty);
    }
    let direction = F::direction(old.as_ref(), new.as_ref(), register);
    Ok(taken(register, direction, judged, |register| match (place, new) {
        (Some(i), Some(new)) => F::list(register)[i] = new,
        (Some(i), None) => drop(F::list(register).remove(i)),
        (None, new) => F::list(register).extend(new),
    }))
}

/// Edits that make `new` of `old`: what goes first, then what comes, so that an id can pass from one fact to another. `None` of them: the two
/// hold the same facts, in whatever order.
pub fn difference(old: &Register, new: &Register) -> Vec<Edit> {
    let mut edits = Vec::new();
    if old.rules != new.rules {
        edits.push(Edit::replace(Table::Rules, &old.rules, &new.rules));
    }
    differ::<Zone>(old, new, &mut edits, |a, b| a.id == b.id);
    differ::<AreaFact>(old, new, &mut edits, |_, _| false);
    differ::<Sign>(old, new, &mut edits, |a, b| a.id == b.id);
    differ::<PurposeFact>(old, new, &mut edits, |a, b| a.purpose == b.purpose);
    differ::<View>(old, new, &mut edits, |a, b| a.stream == b.stream && a.sign == b.sign);
    differ::<Order>(old, new, &mut edits, |a, b| a.id == b.id);
    differ::<Consent>(old, new, &mut edits, |a, b| a.id == b.id);
    differ::<Alternative>(old, new, &mut edits, |a, b| a.id == b.id);
    differ::<Governance>(old, new, &mut edits, |a, b| a.id == b.id);
    differ::<Authorisation>(old, new, &mut edits, |a, b| a.id == b.id);
    differ::<Objection>(old, new, &mut edits, |a, b| a.id == b.id);
    differ::<Device>(old, new, &mut edits, |a, b| a.stream == b.stream);
    differ::<Person>(old, new, &mut edits, |a, b| a.id == b.id);
    edits
}

fn differ<F: Fact>(old: &Register, new: &Register, edits: &mut Vec<Edit>, same: impl Fn(&F, &F) -> bool) {
    let mut coming: Vec<&F> = F::listed(new).iter().collect();
    let mut going: Vec<&F> = Vec::new();
    for fact in F::listed(old) {
        match coming.iter().position(|c| *c == fact) {
            Some(kept) => drop(coming.remove(kept)),
            None => going.push(fact),
        }
    }
    for fact in going {
        edits.push(match coming.iter().position(|c| same(c, fact)) {
            Some(i) => Edit::replace(F::TABLE, fact, coming.remove(i)),
            None => Edit::remove(F::TABLE, fact),
        });
    }
    edits.extend(coming.into_iter().map(|fact| Edit::put(F::TABLE, fact)));
}
