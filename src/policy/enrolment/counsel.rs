//! Whether the site's regimes would let a purpose look for anybody at all.
//!
//! A desk has no camera, so nothing of its own is there that a regime's policies could be asked about. They are asked of a camera that would
//! look at one of the purpose's zones, at this moment, with everything in order that a desk is not asked for: the whole picture, its sign on
//! the wall, just inspected, and with the words that it needs, every other way in alive. Where not even that camera would be permitted to look, nobody is enrolled and
//! nobody searched for: one regime's *no* is enough, as it is for a camera.

use std::collections::BTreeSet;

use crate::area::Vertex;
use crate::clock::{Stamp, Utc};
use crate::policy::cedar::CedarPlane;
use crate::policy::facts::{Announcement, AreaFact, PurposeFact, Register, Sign};
use crate::policy::observed::Observed;
use crate::policy::profile::Library;
use crate::policy::rules::{DecisionPlane as _, Reason, Rule};
use crate::policy::when::When;

/// The camera that is not there.
const CAMERA: &str = "desk";
const WHOLE: [Vertex; 4] = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];

/// The register as it would be for a camera that looks at `zone` for `fact`'s purpose alone.
fn with_a_camera(register: &Register, fact: &PurposeFact, zone: &str, languages: &BTreeSet<String>, now: Stamp<Utc>) -> Register {
    let mut register = register.clone();
    let languages: Vec<String> = if languages.is_empty() { vec!["en".to_owned()] } else { languages.iter().cloned().collect() };
    let kind = fact.purpose.kind();
    let announce = |language: &String| Announcement { purpose: kind, language: language.clone(), words: kind.name().to_owned() };
    let today = When::from_stamp(now);
    register.areas = vec![AreaFact { stream: CAMERA.to_owned(), zone: zone.to_owned(), polygon: WHOLE.to_vec() }];
    let mut sign = Sign {
        id: CAMERA.to_owned(),
        zone: zone.to_owned(),
        text: format!("{CAMERA} {}", kind.name()),
        announces: languages.iter().map(announce).collect(),
        languages,
        controller: Some(CAMERA.to_owned()),
        contact: Some(CAMERA.to_owned()),
        position: String::new(),
        photo_sha256: Some("11".repeat(32)),
        posted_on: Some(today.clone()),
        posted_by: None,
        inspected_at: Some(today),
        inspected_by: Some(CAMERA.to_owned()),
        inspected_text_sha256: None,
        withdrawn: None,
        past_withdrawals: Vec::new(),
    };
    sign.inspected_text_sha256 = Some(sign.text_sha256());
    register.signs = vec![sign];
    register.purposes = vec![PurposeFact { area_cap: None, ..fact.clone() }];
    // An objection to what one camera shows is none to the desk.
    register.objections.retain(|objection| objection.stream.is_none());
    register.views.clear();
    register.devices.clear();
    register.rules.attested_signs_only = false;
    register.rules.registered_devices_only = false;
    register
}

/// Refuses where no zone of the purpose is left in which rules and every regime's policies would permit it.
pub(super) fn permitted_somewhere(register: &Register, fact: &PurposeFact, library: &Library, now: Stamp<Utc>) -> Result<(), Reason> {
    let plane = CedarPlane::new(library.clone());
    let mut refused = None;
    // A regime that is refused has none, and grants nothing.
    let languages = library.regime_of(register, now).map(|regime| regime.languages()).unwrap_or_default();
    for zone in &fact.zones {
        let register = with_a_camera(register, fact, zone, &languages, now);
        let observed = Observed::all_well(&register);
        match plane.decide(&register, CAMERA, observed.on(now)) {
            Ok(decision) if decision.grants.iter().any(|grant| grant.purpose == fact.purpose) => return Ok(()),
            Ok(decision) => refused = refused.or(Some(decision.reason)),
            Err(error) => {
                let remedy = "`placard policy profiles list` tells what is wrong with each profile";
                return Err(Reason::new(Rule::ProfilePermits, error.to_string(), remedy));
            }
        }
    }
    let nowhere = || Reason::new(Rule::ZoneKnown, format!("purpose `{}` names no zone", fact.purpose), "record its zones");
    let mut reason = refused.unwrap_or_else(nowhere);
    reason.fact =
        format!("no camera may look for `{}` in any of its zones, so nobody is enrolled or searched for: {}", fact.purpose, reason.fact);
    Err(reason)
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::testing::good;
    use super::super::super::facts::{Objection, ZoneKind};
    use super::super::super::profile::testing::{Shelf, permissive};
    use super::super::EnrolmentDesk;
    use super::*;
    use crate::clock::SimulatedClock;

    /// 2026-11-21T20:16:58Z.
    const NOW: Stamp<Utc> = Stamp::from_ns(1_795_292_218_000_000_000);

    fn verdict(register: &Register, library: &Library) -> Option<(Rule, String)> {
        let clock = SimulatedClock::starting_at(NOW);
        let purpose = "missing-person:mp-7".parse().expect("purpose");
        EnrolmentDesk::open_under(register, &purpose, clock, library).err().map(|reason| (reason.rule, reason.fact))
    }

    #[test]
    fn one_regime_s_no_closes_the_desk_as_it_closes_a_camera() {
        let shelf = Shelf::new();
        let under = |policies: &str| {
            shelf.put("house", "1", "valid_from = 2026-01-01", policies);
            let mut register = good();
            register.rules.profiles = vec![shelf.named("house")];
            verdict(&register, &shelf.library())
        };
        assert_eq!(under(&permissive("house")), None);
        let no_search =
            format!("{}\n@id(\"no-search\") forbid (principal, action == Placard::Action::\"recognise\", resource);", permissive("house"));
        let (rule, fact) = under(&no_search).expect("refused");
        assert!(rule == Rule::ProfilePermits && fact.contains("nobody is enrolled or searched for"), "{fact}");
        // No permit is no leave; a policy that errs is none either.
        let capture_alone = "@id(\"c\") permit (principal, action == Placard::Action::\"capture\", resource);";
        assert_eq!(under(capture_alone).map(|(rule, _)| rule), Some(Rule::ProfilePermits));
        let overflow =
            format!("{}\n@id(\"o\") forbid (principal, action, resource) when {{ context.now * 1000000000000 > 0 }};", permissive("house"));
        assert_eq!(under(&overflow).map(|(rule, _)| rule), Some(Rule::ProfilePermits));
    }

    #[test]
    fn what_only_a_camera_is_asked_for_is_not_asked_of_the_desk_and_the_rest_is() {
        let bundled = Library::bundled();
        let refused = |edit: &dyn Fn(&mut Register)| {
            let mut register = good();
            edit(&mut register);
            verdict(&register, &bundled).map(|(rule, _)| rule)
        };
        assert_eq!(refused(&|r| (r.signs.clear(), r.areas.clear()).1), None);
        assert_eq!(refused(&|r| r.rules.attested_signs_only = true), None);
        assert_eq!(refused(&|r| r.rules.registered_devices_only = true), None);
        let objection = |stream: Option<&str>| Objection {
            id: "o-1".to_owned(),
            stream: stream.map(str::to_owned),
            purpose: None,
            at: "2026-11-20".parse().expect("date"),
            settled: None,
        };
        assert_eq!(refused(&|r| r.objections = vec![objection(Some("north"))]), None, "one camera's");
        assert!(refused(&|r| r.objections = vec![objection(None)]).is_some(), "everything is paused");
        assert!(refused(&|r| r.zones[0].kind = ZoneKind::Private).is_some());
        assert!(refused(&|r| r.zones.clear()).is_some());
        assert_eq!(refused(&|r| r.rules.profiles = vec!["cn-pipl".to_owned()]), Some(Rule::GovernanceRecorded));
    }
}
