//! Who may be enrolled for a purpose, and whose templates may stay: from the register and from what was declared, and from nothing else.
//!
//! Pure. Age is declared by the person, the guardian or the desk's clerk, never read from a face (C39); unknown age is a refusal. Consent is
//! one record for one subject and one purpose (C23): separate, not bundled with another, no condition of a service, bound to the
//! notice that was shown, given, not withdrawn, not past its end. A subject enrolled on consent has the consent's subject as its id, so
//! that the consent's end is the template's; a withdrawal erases what was made under it, whatever else the person consented to.
//!
//! ```text
//! every purpose that identifies   age declared; under 14: a guardian's consent
//! access-verification             the person's own separate consent, always; so for every purpose whose basis is separate consent
//! emergency:ORDER                 the order is in force, and not ended early
//! missing-person:CASE             one subject, for 30 days at most
//! gallery_cap                     no more subjects than the purpose's record says
//! a refused authorisation         nobody is enrolled for its purpose until another is in force, and whoever was is erased (`policy/refused.rs`)
//! ```

use crate::clock::{Stamp, Utc, format_utc};
use crate::policy::facts::{BasisKind, Consent, Order, PurposeFact, Register};
use crate::policy::refused::came_of_a_refused_use;
use crate::policy::rules::{CLOCK_SLACK_NS, Reason, Rule};
use crate::policy::when::When;
use crate::purpose::{Purpose, PurposeKind};

/// Under this age, in years, a guardian consents (PIPL Art. 28, 31), also where the site's regime names a lower one.
pub const AGE_OF_OWN_CONSENT: i64 = 14;
/// Nobody is older, in years: such a date is a slip.
const OLDEST: i64 = 130;
/// Subjects of one `missing-person:CASE`.
pub const MISSING_PERSONS: u32 = 1;
/// Days that somebody missing is looked for before the case is looked at again.
pub const MISSING_PERSON_DAYS: u32 = 30;

/// What whoever enrols says of the subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    pub birth_date: Option<When>,
    /// Of full age, where the day of birth is not known.
    pub adult: bool,
    /// Id of the person's own consent in the register.
    pub consent: Option<String>,
    /// Id of a guardian's consent in the register.
    pub guardian_consent: Option<String>,
}

/// Leave to enrol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eligible {
    /// The id that the consents name; `None`: the subject gets a new one.
    pub subject: Option<String>,
    /// Id of the consent that it rests on.
    pub consent: Option<String>,
    /// No template may outlive this; `None`: nothing but the purpose's basis and the operator's wish bound it.
    pub ends: Option<Stamp<Utc>>,
}

/// Whether a subject's templates may be searched, and whether they may stay. In the order of how much they take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Stands,
    /// The register does not say what they rest on: not searched, and not erased either, because an erasure cannot be taken back.
    Unknown,
    /// What they rested on is over, by a record that says so: erased, as when they expire.
    Over,
}

fn no<T>(rule: Rule, fact: impl Into<String>, remedy: impl Into<String>) -> Result<T, Reason> {
    Err(Reason::new(rule, fact, remedy))
}

/// Whether somebody of whom this was declared may be enrolled for `purpose`. `regime_age`: under it, in years, a guardian consents.
pub fn eligible(register: &Register, purpose: &Purpose, declared: &Declared, regime_age: u32, now: Stamp<Utc>) -> Result<Eligible, Reason> {
    let age = AGE_OF_OWN_CONSENT.max(regime_age.into());
    let mut given = Eligible { subject: None, consent: None, ends: None };
    if let Some(refused) = came_of_a_refused_use(register, purpose, now) {
        let fact = format!("authorisation `{}` of `{purpose}` was refused or withdrawn", refused.authorisation);
        return no(Rule::Authorised, fact, "obtain another and record it, or settle that it was refused (two approvers)");
    }
    if let Some(order) = order_of(register, purpose)? {
        given.ends = Some(order_in_force(order, now)?);
    }
    if declared.consent.is_none() && needs_consent(register, purpose) {
        let fact = format!("purpose `{purpose}` takes nobody without separate consent, and none was named");
        return no(Rule::ConsentGiven, fact, "record the person's consent, then name it: `--consent ID`");
    }
    let own = declared.consent.as_ref().map(|id| consent_that_holds(register, id, purpose, now)).transpose()?;
    let guardian = declared.guardian_consent.as_ref().map(|id| consent_that_holds(register, id, purpose, now)).transpose()?;
    if let Some(consent) = guardian.filter(|c| c.guardian.is_none()) {
        let fact = format!("consent `{}` names no guardian", consent.id);
        return no(Rule::GuardianConsents, fact, "name a consent that a guardian gave, with who that is");
    }
    // The guardian's first: it is the one that a child's template must not do without.
    for consent in guardian.iter().chain(&own) {
        given.rests_on(consent)?;
    }
    // A guardian may have given the only consent there is.
    let guardian = guardian.or(own.filter(|c| c.guardian.is_some()));
    if is_under(age, purpose, declared, own.iter().chain(&guardian).copied(), now)? && guardian.is_none() {
        let fact = format!("the person is under {age}, and no guardian's consent was named");
        return no(Rule::GuardianConsents, fact, "record a parent's or guardian's consent, then name it: `--guardian-consent ID`");
    }
    Ok(given)
}

impl Eligible {
    fn rests_on(&mut self, consent: &Consent) -> Result<(), Reason> {
        if let Some(other) = self.subject.as_ref().filter(|s| **s != consent.subject) {
            let fact = format!("consent `{}` is of subject {}, the other one of {other}", consent.id, consent.subject);
            return no(Rule::ConsentGiven, fact, "name consents of one and the same person");
        }
        self.subject = Some(consent.subject.clone());
        self.consent.get_or_insert_with(|| consent.id.clone());
        let until = consent.until.at();
        self.ends = Some(self.ends.map_or(until, |ends| ends.min(until)));
        Ok(())
    }
}

/// Whether one subject more has room, `enrolled` being there, and may stay for `days`.
pub fn has_room(register: &Register, purpose: &Purpose, enrolled: usize, days: u32) -> Result<(), Reason> {
    let missing = purpose.kind() == PurposeKind::MissingPerson;
    if missing && days > MISSING_PERSON_DAYS {
        let fact = format!(
            "{days} days are asked for; somebody missing is looked for {MISSING_PERSON_DAYS} days, then the case is looked at again"
        );
        return no(Rule::GalleryCapped, fact, format!("enrol for {MISSING_PERSON_DAYS} days at most, and again when the case stands"));
    }
    let of_purpose = register.purposes.iter().filter(|f| f.purpose == *purpose);
    let recorded = of_purpose.filter_map(|f| f.gallery_cap).min();
    let cap = if missing { Some(recorded.map_or(MISSING_PERSONS, |cap| cap.min(MISSING_PERSONS))) } else { recorded };
    let Some(cap) = cap.filter(|cap| enrolled >= *cap as usize) else { return Ok(()) };
    let fact = format!("{enrolled} enrolled for `{purpose}`, which has room for {cap}");
    let remedy = if missing {
        "one case, one person: delete who is enrolled, or open a case of its own"
    } else {
        "delete somebody, or have the cap assessed anew"
    };
    no(Rule::GalleryCapped, fact, remedy)
}

/// Whether what is enrolled for `purpose` rests on records that may end by themselves: consents or an order.
pub fn rests_on_records(register: &Register, purpose: &Purpose) -> bool {
    purpose.kind() == PurposeKind::Emergency || needs_consent(register, purpose) || register.consents.iter().any(|c| c.purpose == *purpose)
}

/// A subject's enrolment for one purpose.
#[derive(Clone, Copy, Debug)]
pub struct Enrolment<'a> {
    pub subject: &'a str,
    /// Id of the consent that it was made with, if any.
    pub consent: Option<&'a str>,
    pub at: Stamp<Utc>,
}

/// What has become of what an enrolment for `purpose` rests on: records of the subject's own, and leave to look for anybody at all.
pub fn enrolment_stands(register: &Register, purpose: &Purpose, of: Enrolment<'_>, now: Stamp<Utc>) -> Standing {
    match came_of_a_refused_use(register, purpose, of.at) {
        Some(_) => Standing::Over,
        None => standing(register, purpose, (of.subject, of.consent), now),
    }
}

/// What has become of the records that the templates of `subject` for `purpose` rest on. `consent`: the id that they were enrolled with, if any.
fn standing(register: &Register, purpose: &Purpose, (subject, consent): (&str, Option<&str>), now: Stamp<Utc>) -> Standing {
    if purpose.kind() == PurposeKind::Emergency {
        match order_of(register, purpose) {
            Err(_) | Ok(None) => return Standing::Unknown,
            Ok(Some(order)) if order.ended.is_some() || now >= order_ends(order) => return Standing::Over,
            Ok(Some(_)) => {}
        }
    }
    let of_subject: Vec<&Consent> = register.consents.iter().filter(|c| c.subject == subject && c.purpose == *purpose).collect();
    if of_subject.is_empty() {
        return if consent.is_some() || needs_consent(register, purpose) { Standing::Unknown } else { Standing::Stands };
    }
    let is_child = of_subject.iter().filter_map(|c| c.birth_date.as_ref()).any(|born| age_in_years(born, now) < AGE_OF_OWN_CONSENT);
    // Where a guardian's consent was asked for, the person's own does not do without it, nor the other way round.
    let (guardians, own): (Vec<&Consent>, Vec<&Consent>) = of_subject.iter().copied().partition(|c| c.guardian.is_some());
    // A template rests on the consent that it was made under, and on no other. A consent is one record for one person and purpose (C23); it is
    // taken back without a reason, nobody can refuse, and what was gathered under it is deleted (PIPL Art. 15, as the courts of Hangzhou and
    // Tianjin applied it; C36). A second record does not keep what the first one carried: or a desk that writes two could never be
    // withdrawn from. Who still wants to take part is enrolled anew, under the consent that stands.
    let named = consent.map(|id| of_subject.iter().copied().find(|c| c.id == id));
    match named {
        Some(None) => return Standing::Unknown,
        Some(Some(its_own)) => match standing_of(&[its_own], now) {
            Standing::Stands => {}
            not_any_more => return not_any_more,
        },
        None => {}
    }
    if is_child && guardians.is_empty() {
        return Standing::Unknown;
    }
    [own, guardians].iter().filter(|g| !g.is_empty()).map(|given| standing_of(given, now)).max().unwrap_or(Standing::Unknown)
}

/// The subject that `person` names for `access-verification`: a subject's id, or the id of its consent. Refuses where the consent does not
/// hold now, for whatever reason.
pub fn claimant<'a>(register: &'a Register, person: &str, now: Stamp<Utc>) -> Result<&'a str, Reason> {
    let purpose = Purpose::access_verification();
    let of_person = |c: &&Consent| c.purpose == purpose && (c.id == person || c.subject == person);
    let Some(first) = register.consents.iter().find(of_person) else {
        let fact = format!("`{person}` has not consented to being verified by face");
        return no(Rule::ConsentGiven, fact, "let them in another way; or record their consent (`placard consent add`) and enrol them");
    };
    if standing(register, &purpose, (&first.subject, None), now) == Standing::Stands {
        return Ok(&first.subject);
    }
    let of_subject = register.consents.iter().filter(|c| c.purpose == purpose && c.subject == first.subject);
    let void = of_subject.filter_map(|c| holds(c, now).err()).next_back();
    let fact = || format!("`{person}` is under {AGE_OF_OWN_CONSENT}, and no guardian's consent holds");
    Err(void.unwrap_or_else(|| Reason::new(Rule::GuardianConsents, fact(), "let them in another way; or record a guardian's consent")))
}

fn standing_of(given: &[&Consent], now: Stamp<Utc>) -> Standing {
    // Withdrawn or past its end is over for good; a record that is void, or not yet in force, may be a slip.
    let over = |c: &&Consent| c.withdrawn.is_some() || now >= c.until.at();
    if given.iter().any(|c| holds(c, now).is_ok()) {
        Standing::Stands
    } else if given.iter().all(over) {
        Standing::Over
    } else {
        Standing::Unknown
    }
}

/// Whether nobody may be enrolled for the purpose without their own consent.
fn needs_consent(register: &Register, purpose: &Purpose) -> bool {
    let on_consent = |f: &PurposeFact| f.purpose == *purpose && f.basis.as_ref().is_some_and(|b| b.kind == BasisKind::SeparateConsent);
    purpose.kind() == PurposeKind::AccessVerification || register.purposes.iter().any(on_consent)
}

fn order_of<'a>(register: &'a Register, purpose: &Purpose) -> Result<Option<&'a Order>, Reason> {
    if purpose.kind() != PurposeKind::Emergency {
        return Ok(None);
    }
    let order = register.orders.iter().find(|o| Some(o.id.as_str()) == purpose.reference());
    let fact = || format!("no order for `{purpose}` is in the register");
    order.map(Some).ok_or_else(|| Reason::new(Rule::OrderInForce, fact(), "record the order: `placard order`"))
}

/// Just before this an order ends: with its last renewal.
fn order_ends(order: &Order) -> Stamp<Utc> {
    order.renewals.iter().map(|r| r.until.at()).fold(order.until.at(), Ord::max)
}

fn order_in_force(order: &Order, now: Stamp<Utc>) -> Result<Stamp<Utc>, Reason> {
    let (id, ends) = (&order.id, order_ends(order));
    if let Some(ended) = &order.ended {
        return no(
            Rule::OrderInForce,
            format!("order `{id}` was ended at {} by {}", ended.at, ended.by),
            "nobody is enrolled under it any more",
        );
    }
    if now < order.from.at() {
        return no(Rule::OrderInForce, format!("order `{id}` is in force from {}", order.from), "wait");
    }
    if now >= ends {
        return no(Rule::OrderInForce, format!("order `{id}` ended at {}", format_utc(ends)), "nobody is enrolled under it any more");
    }
    Ok(ends)
}

fn consent_that_holds<'a>(register: &'a Register, id: &str, purpose: &Purpose, now: Stamp<Utc>) -> Result<&'a Consent, Reason> {
    let Some(consent) = register.consents.iter().find(|c| c.id == id) else {
        return no(Rule::ConsentGiven, format!("there is no consent `{id}` in the register"), "record it: `placard consent`");
    };
    if consent.purpose != *purpose {
        let fact = format!("consent `{id}` was given for `{}`, not for `{purpose}`", consent.purpose);
        return no(Rule::ConsentGiven, fact, "each purpose needs a consent of its own");
    }
    holds(consent, now).map(|()| consent)
}

fn holds(consent: &Consent, now: Stamp<Utc>) -> Result<(), Reason> {
    let id = &consent.id;
    let void = |what: &str, remedy: &str| no(Rule::ConsentGiven, format!("consent `{id}` {what}"), remedy);
    if let Some(withdrawn) = &consent.withdrawn {
        return void(&format!("was withdrawn at {}", withdrawn.at), "respect it");
    }
    if !consent.separate {
        return void("is not separate", "ask for it by itself, for this purpose alone");
    }
    if consent.bundled {
        return void("was bundled with others, which makes it void", "ask for it by itself, for this purpose alone");
    }
    if consent.service_conditional {
        return void("was the condition of a service, which makes it void", "offer the service without it, and ask again");
    }
    let digest = consent.notice_sha256.as_bytes();
    let is_digest =
        digest.len() == 64 && digest.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) && digest.iter().any(|b| *b != b'0');
    if !is_digest {
        return void("does not say which notice was shown", "record `notice_sha256` (`sha256sum notice.pdf`)");
    }
    if consent.given_at.at().ns() > now.ns().saturating_add(CLOCK_SLACK_NS) {
        return void(&format!("is dated {}, which is still to come", consent.given_at), "correct `given_at`, or the wall clock");
    }
    if now >= consent.until.at() {
        return void(&format!("ended at {}", consent.until), "ask again, if the person wants it");
    }
    Ok(())
}

/// Refuses where the age is not known. Of several dates of birth all must agree: they are one person's.
fn is_under<'a>(
    age: i64,
    purpose: &Purpose,
    declared: &Declared,
    consents: impl Iterator<Item = &'a Consent>,
    now: Stamp<Utc>,
) -> Result<bool, Reason> {
    let dates: Vec<&When> = declared.birth_date.iter().chain(consents.filter_map(|c| c.birth_date.as_ref())).collect();
    let Some(first) = dates.first() else {
        if declared.adult {
            return Ok(false);
        }
        let fact = format!("the age of whom `{purpose}` is to look for was not declared, and no picture says it");
        return no(Rule::AgeDeclared, fact, "declare it: `--birth-date DATE`, or `--adult` where only that much is known");
    };
    if let Some(other) = dates.iter().find(|d| d.at() != first.at()) {
        return no(Rule::AgeDeclared, format!("two dates of birth are declared: {first} and {other}"), "correct the one that is wrong");
    }
    let years = age_in_years(first, now);
    if !(0..=OLDEST).contains(&years) {
        return no(Rule::AgeDeclared, format!("a date of birth of {first} cannot be right"), "correct it");
    }
    let under = years < age;
    if under && declared.adult {
        return no(Rule::AgeDeclared, format!("`--adult` is declared of somebody born on {first}"), "leave one of the two out");
    }
    Ok(under)
}

/// Completed years; −1 for a date that is still to come.
fn age_in_years(birth: &When, now: Stamp<Utc>) -> i64 {
    let parts = |at: Stamp<Utc>| -> Option<(i64, String)> {
        let text = format_utc(at);
        Some((text.get(..4)?.parse().ok()?, text.get(5..10)?.to_owned()))
    };
    match (parts(birth.at()), parts(now)) {
        (Some((born, birthday)), Some((year, today))) => year - born - i64::from(today < birthday),
        _ => -1,
    }
}

#[cfg(test)]
mod tests;
