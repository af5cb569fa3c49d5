//! What edits make of a register, and which edits make one register of another.

use std::collections::BTreeSet;

use super::change::{Edit, Proposal, Table, fact_digest};
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
}

impl Proposal {
    /// The register as it would be, and who must sign for that.
    pub fn applied_to(&self, register: &Register) -> Result<(Register, Needs), DoesNotApply> {
        self.apply_to(register, false).map(|applied| (applied.register, applied.needs))
    }

    /// `confirmed`: two approvers signed it, so that nothing is held back that its stops could light.
    pub(super) fn apply_to(&self, register: &Register, confirmed: bool) -> Result<Applied, DoesNotApply> {
        let (mut after, mut needs, mut may_light) = (register.clone(), Needs::Nobody, BTreeSet::new());
        if self.edits.is_empty() {
            return Err(DoesNotApply::Empty);
        }
        for edit in &self.edits {
            let taken = apply(&mut after, edit)?;
            needs = needs.max(taken.needs);
            may_light.extend(taken.may_light);
        }
        if confirmed {
            may_light.clear();
        }
        let held = hold(&mut after, may_light, &self.digest().short(), &self.at);
        match after.flaws().into_iter().next() {
            None => Ok(Applied { register: after, needs, held }),
            Some(flaw) => Err(DoesNotApply::Flawed { table: flaw.table, number: flaw.entry + 1, key: flaw.key, problem: flaw.problem }),
        }
    }
}

/// What one edit takes.
struct Taken {
    needs: Needs,
    /// Streams on which this stop could light something.
    may_light: Vec<String>,
}

fn apply(register: &mut Register, edit: &Edit) -> Result<Taken, DoesNotApply> {
    match edit.table {
        Table::Rules => apply_rules(register, edit),
        Table::Zone => apply_fact::<Zone>(register, edit),
        Table::Area => apply_fact::<AreaFact>(register, edit),
        Table::Sign => apply_fact::<Sign>(register, edit),
        Table::Purpose => apply_fact::<PurposeFact>(register, edit),
        Table::View => apply_fact::<View>(register, edit),
        Table::Order => apply_fact::<Order>(register, edit),
        Table::Consent => apply_fact::<Consent>(register, edit),
        Table::Alternative => apply_fact::<Alternative>(register, edit),
        Table::Governance => apply_fact::<Governance>(register, edit),
        Table::Authorisation => apply_fact::<Authorisation>(register, edit),
        Table::Objection => apply_fact::<Objection>(register, edit),
        Table::Device => apply_fact::<Device>(register, edit),
        Table::Person => apply_fact::<Person>(register, edit),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(edit: &Edit) -> Result<Option<T>, DoesNotApply> {
    let not_a_fact = |e: toml::de::Error| DoesNotApply::NotAFact { table: edit.table.name(), problem: e.message().to_owned() };
    edit.fact.as_deref().map(toml::from_str).transpose().map_err(not_a_fact)
}

fn conflict(edit: &Edit, digest: &Digest) -> DoesNotApply {
    DoesNotApply::Conflict { table: edit.table.name(), fact: digest.short() }
}

fn apply_rules(register: &mut Register, edit: &Edit) -> Result<Taken, DoesNotApply> {
    let (Some(digest), Some(new)) = (edit.replaces, parsed::<Rules>(edit)?) else { return Err(DoesNotApply::Empty) };
    if fact_digest(&register.rules) != digest {
        return Err(conflict(edit, &digest));
    }
    let direction = rules_direction(&register.rules, &new);
    Ok(taken(register, direction, |register| register.rules = new))
}

/// Makes one edit, and says who must sign for it.
fn taken(register: &mut Register, direction: Direction, edit: impl FnOnce(&mut Register)) -> Taken {
    let unasked = |needs| Taken { needs, may_light: Vec::new() };
    if let Direction::Asks(needs) = direction {
        edit(register);
        return unasked(needs);
    }
    let before = register.clone();
    edit(register);
    match direction {
        Direction::Stops => Taken { needs: Needs::Nobody, may_light: stops_that_light(&before, register) },
        _ if opens(&before, register) => unasked(Needs::ApproversForWhatItOpens),
        _ => unasked(Needs::Nobody),
    }
}

fn apply_fact<F: Fact>(register: &mut Register, edit: &Edit) -> Result<Taken, DoesNotApply> {
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
    Ok(taken(register, direction, |register| match (place, new) {
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
