//! What commissioning makes of a site's register.
//!
//! A demonstration or commissioning site has two stand-ins, who sign for it at once. An operational one begins with nobody but the people that
//! its file names; everything else is a proposal that two of them sign, and until they did the site is dark. A demonstration that
//! becomes operational begins in the same way.
//!
//! Signs that were withdrawn stay withdrawn whatever the site file says, and what is known of earlier withdrawals stays: posting is `placard
//! sign post`. So does every other stop: objections, withdrawn consents, ended orders, refused authorisations, private zones and what shows them. So a register that cannot be read is never replaced.

use super::{Exit, Failed};
use crate::clock::{Stamp, Utc};
use crate::commands::change::login;
use crate::policy::facts::{Mode, Person, Register, Site, ZoneKind};
use crate::policy::store::{Edit, Outcome, Store, StoreError, difference, stand_ins};
use crate::policy::when::When;
use crate::state::StateDirectory;

/// What a site file asks for, beside the register that there is.
pub(super) struct Intended {
    store: Option<Store>,
    register: Register,
    /// Begin anew, because the mode is another.
    anew: bool,
    changed: bool,
    kept_withdrawn: Vec<String>,
}

/// What there is now.
pub(super) struct Written {
    /// In force.
    pub register: Register,
    pub changed: bool,
    pub kept_withdrawn: Vec<String>,
    pub outcome: Outcome,
}

fn config(error: StoreError) -> Failed {
    Failed::new(Exit::Config, error)
}

impl Intended {
    /// Nothing is written yet; refuses what must not be.
    pub fn beside_what_is(state: &StateDirectory, site: &Site, mut register: Register, force: bool) -> Result<Self, Failed> {
        let store = match Store::open(&state.register()) {
            Ok(store) => Some(store),
            Err(StoreError::Missing(_)) => None,
            Err(error @ (StoreError::Turn(_) | StoreError::Busy(_))) => return Err(config(error)),
            Err(error) => {
                let problem = anyhow::anyhow!(
                    "{error}. Nobody knows which signs this register has withdrawn, so it is not replaced: mend it, or move {} away by hand, \
                     commission, and withdraw again (`placard sign withdraw`) what was withdrawn",
                    state.register().display()
                );
                return Err(Failed::new(Exit::Refused, problem));
            }
        };
        let kept_withdrawn = store.as_ref().map_or_else(Vec::new, |store| keep(store.register(), &mut register));
        inspections(store.as_ref().map(Store::register), &mut register);
        let mode = store.as_ref().map(|s| s.chain().mode());
        let anew = mode.is_some_and(|mode| mode != site.mode && site.mode == Mode::Operational);
        if mode == Some(Mode::Operational) && site.mode != Mode::Operational {
            let problem =
                format!("an operational register stays one; a {} site needs a state directory of its own (--state)", site.mode.name());
            return Err(Failed::new(Exit::Refused, anyhow::anyhow!(problem)));
        }
        register.people = people(state, site, &register.people, store.as_ref().filter(|_| !anew))?;
        let changed = check_existing(state, site, &register, store.as_ref(), force)?;
        Ok(Self { store, register, anew, changed, kept_withdrawn })
    }

    /// Durable when it returns.
    pub fn write(self, state: &StateDirectory, site: &Site, now: Stamp<Utc>) -> Result<Written, Failed> {
        let Self { store, register, anew, changed, kept_withdrawn } = self;
        let people = register.people.clone();
        let mut store = match store {
            None => Store::found(&state.register(), site.mode, people, now).map_err(config)?,
            Some(mut store) if anew => {
                store.found_again(site.mode, people, now).map_err(config)?;
                store
            }
            Some(store) => store,
        };
        let edits = difference(store.register(), &register);
        let outcome = match waiting(&store, &edits) {
            Some(outcome) => outcome,
            None => store.change(edits, &login(), "what the site file says", now).map_err(|e| Failed::new(Exit::Refused, e))?,
        };
        Ok(Written { register: store.register().clone(), changed, kept_withdrawn, outcome })
    }
}

/// The proposal of these very edits that waits already.
fn waiting(store: &Store, edits: &[Edit]) -> Option<Outcome> {
    let same = store.pending().iter().find(|p| !edits.is_empty() && p.proposal.edits == edits)?;
    let needs = store.chain().would_be(&same.proposal).ok()?.needs;
    let signed = same.approvals.iter().map(|a| a.person.clone()).collect();
    Some(Outcome::Pending { proposal: same.proposal.digest(), needs, signed })
}

/// Whom the register believes: the stand-ins of a site that may have them, those that the file names, and those who were added since.
fn people(state: &StateDirectory, site: &Site, named: &[Person], store: Option<&Store>) -> Result<Vec<Person>, Failed> {
    let mut people =
        if site.mode == Mode::Operational { Vec::new() } else { stand_ins(&state.register()).map_err(|e| config(e.into()))? };
    people.extend(named.iter().cloned());
    let added = store.iter().flat_map(|s| &s.register().people).filter(|p| !p.stand_in);
    for person in added {
        if !people.iter().any(|p| p.id == person.id) {
            people.push(person.clone());
        }
    }
    Ok(people)
}

/// Whether anything is to be written; refuses to overwrite another site without `force`.
fn check_existing(state: &StateDirectory, site: &Site, register: &Register, store: Option<&Store>, force: bool) -> Result<bool, Failed> {
    let same_site = Site::load(&state.site()).is_ok_and(|old| old == *site);
    let same_register = store.is_some_and(|store| {
        let edits = difference(store.register(), register);
        (store.chain().mode() == Mode::Operational) == (site.mode == Mode::Operational)
            && (edits.is_empty() || waiting(store, &edits).is_some())
    });
    if same_site && same_register {
        return Ok(false);
    }
    // Nothing but people: what an interrupted commissioning leaves.
    let bare = |r: &Register| *r == Register { people: r.people.clone(), ..Register::default() };
    let register_in_the_way = store.is_some_and(|s| !(same_register || bare(s.register()) && s.pending().is_empty()));
    if ((state.site().exists() && !same_site) || register_in_the_way) && !force {
        let root = state.root().display();
        return Err(Failed::new(
            Exit::Refused,
            anyhow::anyhow!("{root} holds a site already, and this file describes it differently: --force replaces its register"),
        ));
    }
    Ok(true)
}

/// Of which text an inspection was that the site file gives without saying so: of the file's, unless it is one that is on record. That one was of the
/// text on record, and a file with other words does not make it another.
fn inspections(old: Option<&Register>, register: &mut Register) {
    for sign in register.signs.iter_mut().filter(|s| s.inspected_at.is_some() && s.inspected_text_sha256.is_none()) {
        let recorded = old.and_then(|old| old.sign(&sign.id)).filter(|before| before.inspected_at == sign.inspected_at);
        sign.inspected_text_sha256 = recorded.map_or_else(|| Some(sign.text_sha256()), |before| before.inspected_text_sha256.clone());
    }
}

/// Carries over into the new register what no site file undoes: withdrawals, past ones too, and when a sign was posted again (no inspection
/// from before that counts); objections; consents; orders that were ended; authorisations that were refused; private places. Answers which signs stay withdrawn.
fn keep(old: &Register, register: &mut Register) -> Vec<String> {
    let mut withdrawn = Vec::new();
    for sign in &mut register.signs {
        let Some(before) = old.sign(&sign.id) else { continue };
        if sign.withdrawn.is_none() && before.withdrawn.is_some() {
            sign.withdrawn.clone_from(&before.withdrawn);
            withdrawn.push(sign.id.clone());
        }
        if !before.past_withdrawals.is_empty() {
            sign.past_withdrawals.clone_from(&before.past_withdrawals);
        }
        let posted_later = |at: &When| sign.posted_on.as_ref().is_none_or(|written| written.at() < at.at());
        if before.posted_by.is_some() && before.posted_on.as_ref().is_some_and(posted_later) {
            sign.posted_on.clone_from(&before.posted_on);
            sign.posted_by.clone_from(&before.posted_by);
        }
    }
    // A withdrawn sign that the file leaves out stays, or naming it once more would put it up again.
    for gone in old.signs.iter().filter(|s| s.withdrawn.is_some()) {
        if register.sign(&gone.id).is_none() {
            withdrawn.push(gone.id.clone());
            register.signs.push(gone.clone());
        }
    }
    private_places(old, register);
    for leave in old.authorisations.iter().filter(|a| a.refused.is_some()) {
        match register.authorisations.iter_mut().find(|a| a.id == leave.id) {
            Some(named) => named.refused.clone_from(&leave.refused),
            None => register.authorisations.push(leave.clone()),
        }
    }
    for objection in &old.objections {
        register.objections.retain(|o| o.id != objection.id);
        register.objections.push(objection.clone());
    }
    for consent in &old.consents {
        register.consents.retain(|c| c.id != consent.id);
        register.consents.push(consent.clone());
    }
    for over in old.orders.iter().filter(|o| o.ended.is_some()) {
        match register.orders.iter_mut().find(|o| o.id == over.id) {
            Some(named) => named.ended.clone_from(&over.ended),
            None => register.orders.push(over.clone()),
        }
    }
    withdrawn
}

/// A place that is private stays so, and what shows it stays dark; `placard zone add` changes that, for two approvers to sign.
fn private_places(old: &Register, register: &mut Register) {
    for zone in old.zones.iter().filter(|z| z.kind == ZoneKind::Private) {
        match register.zones.iter_mut().find(|z| z.id == zone.id) {
            Some(named) => named.kind = ZoneKind::Private,
            None => register.zones.push(zone.clone()),
        }
        for area in old.areas.iter().filter(|a| a.zone == zone.id) {
            if !register.areas.contains(area) {
                register.areas.push(area.clone());
            }
        }
    }
}
