//! A sign's words: a purpose is pursued in a zone only while signs say so there (C14, C15), whatever regimes permit. A rule around the regimes' policies,
//! not in them: they are never asked about it, and it only ever takes leave away.
//!
//! A purpose relies on one sign of the zone that counts and announces it, and on the sign that the stream's camera reads, where that hangs in
//! the zone. What announcing is, [`Sign::announces_in`] says; in which languages, the site's regimes do, all of them together.

use std::collections::BTreeSet;

use serde::Serialize;

use super::ask::Ask;
use super::signs::sign_holds;
use super::{Reason, Rule};
use crate::clock::{Stamp, Utc};
use crate::policy::attestation::view_of;
use crate::policy::facts::{PurposeFact, Register, Sign, ZoneKind};
use crate::policy::profile::Regime;
use crate::purpose::PurposeKind;

/// Whether the sign says who answers, where to turn to, and that faces are looked at for this kind of purpose: in every language of `languages`,
/// or in any, where they ask for none.
fn sign_announces(sign: &Sign, kind: PurposeKind, languages: &BTreeSet<String>) -> Result<(), Reason> {
    let (id, name) = (&sign.id, kind.name());
    let asked: Vec<&str> = languages.iter().map(String::as_str).collect();
    let list = if asked.is_empty() { String::new() } else { format!(" --language {}", asked.join(",")) };
    let remedy = format!(
        "enter what it has to say (`placard sign text {id} --record{list}`), print, hang and inspect it (`placard sign print {id}`)"
    );
    let no = |fact: String| Err(Reason::new(Rule::SignAnnounces, fact, remedy.clone()));
    if let Some(unsaid) = sign.unsaid() {
        return no(format!("the text of sign `{id}` does not name its {unsaid}, or the register does not say which it names"));
    }
    let told = sign.announces_in(kind);
    if told.is_empty() {
        return no(format!("sign `{id}` does not announce `{name}`: no words of its text are recorded for that purpose alone"));
    }
    match asked.into_iter().find(|l| !told.contains(l)) {
        Some(missing) => no(format!("sign `{id}` does not announce `{name}` in language `{missing}`, which the site's regime asks for")),
        None => Ok(()),
    }
}

/// A purpose of a zone that none of its signs announces, in force or not: as things are it can never be pursued there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silent {
    pub zone: String,
    pub purpose: String,
    pub reason: Reason,
}

/// Every purpose that can never be pursued in one of its zones for want of words. Zones without a sign, which are dark altogether, are not told
/// again.
pub fn never_announced(register: &Register, regime: &Regime) -> Vec<Silent> {
    let languages = regime.languages();
    let open = |zone: &&String| register.zone(zone).is_some_and(|z| z.kind != ZoneKind::Private);
    let pairs = register.purposes.iter().flat_map(|fact| fact.zones.iter().filter(open).map(move |zone| (fact, zone)));
    let silent = |(fact, zone): (&PurposeFact, &String)| {
        let here = register.signs.iter().filter(|s| s.zone == *zone);
        let told: Vec<_> = here.map(|s| sign_announces(s, fact.purpose.kind(), &languages)).collect();
        let said = told.iter().any(Result::is_ok);
        let reason = told.into_iter().find_map(Result::err).filter(|_| !said)?;
        Some(Silent { zone: zone.clone(), purpose: fact.purpose.to_string(), reason })
    };
    pairs.filter_map(silent).collect()
}

/// The sign that the purpose relies on in the zone and until when it counts; the one that counts longest, of several.
pub(super) fn announced<'a>(ask: &Ask<'a>, zone: &str, kind: PurposeKind) -> Result<(&'a Sign, Stamp<Utc>), Reason> {
    let languages = ask.regime.languages();
    let mut best: Option<(&Sign, Stamp<Utc>)> = None;
    let mut refused: Option<Reason> = None;
    for sign in ask.register.signs.iter().filter(|s| s.zone == zone) {
        let Ok(ends) = sign_holds(sign, &ask.rules, ask.now()) else { continue };
        match sign_announces(sign, kind, &languages) {
            Ok(()) if best.is_none_or(|(_, b)| ends > b) => best = Some((sign, ends)),
            Ok(()) => {}
            Err(reason) => refused = refused.or(Some(reason)),
        }
    }
    let read = view_of(ask.register, ask.stream).and_then(|view| ask.register.sign(&view.sign)).filter(|sign| sign.zone == zone);
    if let Some(sign) = read {
        sign_announces(sign, kind, &languages)?;
    }
    let none = || Reason::new(Rule::SignPresent, format!("no sign of zone `{zone}` counts"), "post a sign and record it");
    best.ok_or_else(|| refused.unwrap_or_else(none))
}
