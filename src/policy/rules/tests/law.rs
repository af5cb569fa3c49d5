//! What regimes ask for beside sign and purpose: orders, authorisations, votes, other ways in, objections, caps.

use std::time::Duration;

use super::super::super::facts::{Alternative, AlternativeKind, Authorisation, Governance, Objection, Renewal};
use super::super::super::observed::Observations;
use super::*;
use crate::clock::Now;

fn date(text: &str) -> When {
    text.parse().expect("date")
}
fn ended() -> Option<Withdrawal> {
    Some(Withdrawal { at: date("2026-11-21"), by: "l.wu".to_owned(), reason: String::new() })
}

/// `edit` applied to `good` → state and rule.
fn expect(good: &Register, edit: impl FnOnce(&mut Register), state: StreamState, rule: Rule) {
    let mut register = good.clone();
    edit(&mut register);
    let decision = decide(&register, NOW);
    assert_eq!((decision.state, decision.reason.rule), (state, rule), "{}", decision.reason);
    assert!(state == StreamState::Recognise || !decision.reason.remedy.is_empty());
}

fn emergency() -> Register {
    let mut register = good();
    register.purposes[0].purpose = "emergency:o-1".parse().expect("purpose");
    register.purposes[0].basis.as_mut().expect("basis").kind = BasisKind::Emergency;
    register.orders.push(order("o-1"));
    register
}

fn renewal(number: &str, from: &str, until: &str) -> Renewal {
    Renewal { number: number.to_owned(), from: date(from), until: date(until) }
}

#[test]
fn an_emergency_lasts_as_long_as_its_order_and_its_renewals_and_no_longer() {
    let (capture, recognise) = (StreamState::CaptureOnly, StreamState::Recognise);
    let good = emergency();
    expect(&good, |_| {}, recognise, Rule::Granted);
    expect(&good, |r| r.orders.clear(), capture, Rule::OrderInForce);
    expect(&good, |r| r.orders[0].id = "o-2".to_owned(), capture, Rule::OrderInForce);
    expect(&good, |r| r.orders[0].zones.clear(), capture, Rule::OrderInForce);
    expect(&good, |r| r.orders[0].ended = ended(), capture, Rule::OrderInForce);
    expect(&good, |r| r.orders[0].from = date("2026-11-22"), capture, Rule::OrderInForce);
    expect(&good, |r| r.orders[0].until = date("2026-11-21"), capture, Rule::OrderInForce);
    expect(&good, |r| r.orders[0].approved_by.truncate(1), capture, Rule::OrderInForce);
    let twice = vec!["l.wu".to_owned(), "l.wu".to_owned()];
    expect(&good, |r| r.orders[0].approved_by = twice, capture, Rule::OrderInForce);
    // Renewed: on, with a number of its own; not a third time, not beyond 168 hours in China.
    let renewed = |r: &mut Register| {
        r.orders[0].until = date("2026-11-21");
        r.orders[0].renewals = vec![renewal("o-1/2", "2026-11-21", "2026-11-23"), renewal("o-1/3", "2026-11-23", "2026-11-27")];
    };
    expect(&good, renewed, recognise, Rule::Granted);
    let same_number = |r: &mut Register| {
        renewed(r);
        r.orders[0].renewals[1].number = "o-1/2".to_owned();
    };
    expect(&good, same_number, capture, Rule::OrderInForce);
    let thrice = |r: &mut Register| {
        renewed(r);
        r.orders[0].renewals.push(renewal("o-1/4", "2026-11-27", "2026-11-28"));
    };
    expect(&good, thrice, capture, Rule::OrderInForce);
    let mut china = good.clone();
    china.rules.profiles = vec!["cn-pipl".to_owned()];
    china.governance.push(governance());
    expect(&china, renewed, recognise, Rule::Granted);
    let beyond = |r: &mut Register| {
        renewed(r);
        r.orders[0].renewals[1].until = date("2026-11-27T00:00:01Z");
    };
    expect(&china, beyond, capture, Rule::OrderInForce);
    expect(&good, beyond, recognise, Rule::Granted);
}

#[test]
fn an_order_that_follows_another_is_its_renewal() {
    let (capture, recognise) = (StreamState::CaptureOnly, StreamState::Recognise);
    let mut good = emergency();
    good.rules.profiles = vec!["cn-pipl".to_owned()];
    good.governance.push(governance());
    let span = |o: &mut Order, from: &str, until: &str| (o.from, o.until) = (date(from), date(until));
    span(&mut good.orders[0], "2026-11-20", "2026-11-23");
    expect(&good, |_| {}, recognise, Rule::Granted);
    // 168 hours in China, of one emergency: 5 days before, and what was over for 23 hours goes on.
    let before = |from: &'static str, until: &'static str| {
        move |r: &mut Register| {
            let mut other = order("o-0");
            (other.from, other.until) = (date(from), date(until));
            r.orders.insert(0, other);
        }
    };
    expect(&good, before("2026-11-16", "2026-11-19T01:00:00Z"), recognise, Rule::Granted);
    expect(&good, before("2026-11-15T23:59:59Z", "2026-11-19T01:00:00Z"), capture, Rule::OrderInForce);
    expect(&good, before("2026-11-15T23:59:59Z", "2026-11-19"), recognise, Rule::Granted);
    // Overlapping, ended early, recorded after it, by whatever name: the same.
    let too_long = before("2026-11-15", "2026-11-20T12:00:00Z");
    expect(&good, too_long, capture, Rule::OrderInForce);
    expect(&good, |r| (too_long(r), r.orders[0].ended = ended()).1, capture, Rule::OrderInForce);
    expect(&good, |r| (too_long(r), r.orders.reverse()).1, capture, Rule::OrderInForce);
    // Elsewhere, or later: another emergency, and the one that came first has its full length.
    expect(&good, |r| (too_long(r), r.orders[0].zones = vec!["yard".to_owned()]).1, recognise, Rule::Granted);
    expect(&good, before("2026-11-22", "2026-11-29"), recognise, Rule::Granted);
    // Three that follow each other are two renewals, four are three.
    let chain = |n: usize| {
        move |r: &mut Register| {
            let days = ["2026-11-17", "2026-11-18", "2026-11-19"];
            for (i, day) in days.iter().enumerate().take(n) {
                let mut other = order(&format!("p-{i}"));
                (other.from, other.until) = (date(day), date(&format!("{day}T12:00:00Z")));
                r.orders.push(other);
            }
        }
    };
    expect(&good, |r| (chain(3)(r), r.orders.remove(1)).0, recognise, Rule::Granted);
    expect(&good, chain(3), capture, Rule::OrderInForce);
    let mut register = good.clone();
    chain(3)(&mut register);
    let fact = decide(&register, NOW).reason.fact;
    assert!(fact.contains("order `o-1`, which prolongs order `p-2` (4 in all), was prolonged 3 times; 2 are allowed"), "{fact}");
}

fn governance() -> Governance {
    Governance {
        id: "g-1".to_owned(),
        zones: vec!["hall".to_owned()],
        document_sha256: "ab".repeat(32),
        decided_on: date("2026-10-01"),
        decided_by: "board".to_owned(),
        votes_for: None,
        votes_total: None,
    }
}

#[test]
fn where_a_regime_asks_who_decided_no_frame_is_looked_at_before() {
    let (off, recognise) = (StreamState::Off, StreamState::Recognise);
    let mut good = good();
    good.rules.profiles = vec!["cn-pipl".to_owned()];
    expect(&good, |_| {}, off, Rule::GovernanceRecorded);
    good.governance.push(governance());
    expect(&good, |_| {}, recognise, Rule::Granted);
    expect(&good, |r| r.governance[0].zones.clear(), off, Rule::GovernanceRecorded);
    expect(&good, |r| r.governance[0].document_sha256.clear(), off, Rule::GovernanceRecorded);
    expect(&good, |r| r.governance[0].decided_on = date("2026-11-22"), off, Rule::GovernanceRecorded);
    let votes = |yes, all| move |r: &mut Register| (r.governance[0].votes_for, r.governance[0].votes_total) = (yes, all);
    expect(&good, votes(Some(51), Some(100)), recognise, Rule::Granted);
    expect(&good, votes(Some(50), Some(100)), off, Rule::GovernanceRecorded);
    expect(&good, votes(Some(101), Some(100)), off, Rule::GovernanceRecorded);
    expect(&good, votes(None, Some(100)), off, Rule::GovernanceRecorded);
    expect(&good, votes(Some(3), None), off, Rule::GovernanceRecorded);
}

/// Under the AI Act, with what it asks for.
fn authorised() -> Register {
    let mut good = good();
    good.rules.profiles = vec!["eu-ai-act".to_owned()];
    good.governance.push(governance());
    good.authorisations.push(Authorisation {
        id: "a-1".to_owned(),
        authority: "court".to_owned(),
        purpose: good.purposes[0].purpose.clone(),
        zones: vec!["hall".to_owned()],
        from: date("2026-11-01"),
        until: date("2026-12-01"),
        assessment: "fria-1".to_owned(),
        registration: "eu-7".to_owned(),
        pending_since: None,
        refused: None,
    });
    good
}

#[test]
fn under_the_ai_act_people_are_looked_for_with_an_authorisation_and_pending_for_48_hours() {
    let (capture, recognise) = (StreamState::CaptureOnly, StreamState::Recognise);
    let good = authorised();
    expect(&good, |r| r.authorisations.clear(), capture, Rule::Authorised);
    expect(&good, |_| {}, recognise, Rule::Granted);
    expect(&good, |r| r.authorisations[0].refused = ended(), capture, Rule::Authorised);
    expect(&good, |r| r.authorisations[0].zones.clear(), capture, Rule::Authorised);
    expect(&good, |r| r.authorisations[0].purpose = "crime-prevention:c".parse().expect("purpose"), capture, Rule::Authorised);
    expect(&good, |r| r.authorisations[0].registration.clear(), capture, Rule::Authorised);
    expect(&good, |r| r.authorisations[0].until = date("2026-11-21"), capture, Rule::Authorised);
    expect(&good, |r| r.authorisations[0].from = date("2026-11-22"), capture, Rule::Authorised);
    let mut pending = good.clone();
    pending.authorisations[0].pending_since = Some(date("2026-11-20T12:00:00Z"));
    let decision = decide(&pending, NOW);
    assert_eq!((decision.state, decision.next_change), (recognise, Some(at("2026-11-22T12:00:00Z"))), "{}", decision.reason);
    assert_eq!(decide(&pending, "2026-11-22T11:59:59.999999999Z").state, recognise);
    assert_eq!(decide(&pending, "2026-11-22T12:00:00Z").reason.rule, Rule::Authorised, "it stops by itself");
    expect(&pending, |r| r.authorisations[0].pending_since = Some(date("2026-11-21T12:01:01Z")), capture, Rule::Authorised);
}

#[test]
fn an_objection_pauses_the_stream_or_the_purpose_until_it_is_settled() {
    let (off, capture, recognise) = (StreamState::Off, StreamState::CaptureOnly, StreamState::Recognise);
    let good = good();
    let object = |stream: Option<&str>, purpose: Option<&str>| {
        let (stream, purpose) = (stream.map(str::to_owned), purpose.map(|p| p.parse().expect("purpose")));
        move |r: &mut Register| {
            r.objections.push(Objection { id: "j-1".to_owned(), stream, purpose, at: date("2026-11-21"), settled: None })
        }
    };
    expect(&good, object(Some("north"), None), off, Rule::NotObjectedTo);
    expect(&good, object(Some("south"), None), recognise, Rule::Granted);
    expect(&good, object(None, Some("missing-person:mp-7")), capture, Rule::NotObjectedTo);
    expect(&good, object(Some("north"), Some("missing-person:mp-7")), capture, Rule::NotObjectedTo);
    expect(&good, object(Some("south"), Some("missing-person:mp-7")), recognise, Rule::Granted);
    expect(&good, object(None, Some("missing-person:mp-8")), recognise, Rule::Granted);
    expect(&good, object(None, None), off, Rule::NotObjectedTo);
    let settled = |r: &mut Register| {
        object(Some("north"), None)(r);
        r.objections[0].settled = ended();
    };
    expect(&good, settled, recognise, Rule::Granted);
}

#[test]
fn no_larger_share_of_the_picture_than_the_cap_and_no_zone_beyond_the_basis() {
    let (capture, recognise) = (StreamState::CaptureOnly, StreamState::Recognise);
    let mut good = good();
    good.areas[0].polygon = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]];
    expect(&good, |r| r.purposes[0].area_cap = Some(0.25), recognise, Rule::Granted);
    expect(&good, |r| r.purposes[0].area_cap = Some(0.249), capture, Rule::AreaCapped);
    expect(&good, |r| r.purposes[0].area_cap = Some(f64::NAN), capture, Rule::AreaCapped);
    let scope = |zones: &[&str]| {
        let zones: Vec<String> = zones.iter().map(|z| (*z).to_owned()).collect();
        move |r: &mut Register| r.purposes[0].basis.as_mut().expect("basis").scope = zones
    };
    expect(&good, scope(&["hall"]), recognise, Rule::Granted);
    expect(&good, scope(&["yard"]), capture, Rule::BasisInForce);
    expect(&good, scope(&["hall", "yard"]), capture, Rule::BasisInForce);
}

#[test]
fn a_gate_checks_no_face_unless_another_way_in_answers() {
    let mut register = good();
    register.zones[0].kind = ZoneKind::Access;
    let refused = decide(&register, NOW);
    assert_eq!((refused.state, refused.reason.rule), (StreamState::CaptureOnly, Rule::AlternativeAlive), "{}", refused.reason);
    let card = Alternative { id: "card".to_owned(), zone: "hall".to_owned(), kind: AlternativeKind::Card, heartbeat_s: 60 };
    register.alternatives.push(card);
    assert!(decide(&register, NOW).reason.fact.contains("not been heard"));
    register.purposes.push(register.purposes[0].clone());
    register.purposes[1].purpose = "access-verification".parse().expect("purpose");
    register.purposes[1].basis.as_mut().expect("basis").kind = BasisKind::SeparateConsent;
    let observations = Observations::default();
    let heard_ns = 7_000_000_000_i64;
    observations.heartbeat("card", Stamp::from_ns(heard_ns));
    let observed = observations.copy();
    let after = |s: f64| {
        let ns = (s * 1e9) as i64;
        let now = Now { monotonic: Stamp::from_ns(heard_ns + ns), utc: Stamp::from_ns(at(NOW).ns() + ns) };
        let (plane, moment) = (CedarPlane::bundled(), Moment { now, observed: &observed });
        let decision = plane.decide(&register, "north", moment).expect("decides");
        assert_eq!(decision, PlainRules.decide(&register, "north", moment).expect("decides"));
        assert_eq!(plane.disagreements(), 0);
        decision
    };
    let alive = after(1.0);
    assert_eq!((alive.state, alive.grants.len()), (StreamState::Recognise, 2), "{}", alive.reason);
    assert_eq!(alive.next_change, Some(at(NOW).plus(Duration::from_secs(60))));
    assert_eq!(after(59.999).state, StreamState::Recognise);
    assert_eq!((after(60.0).state, after(60.0).reason.rule), (StreamState::CaptureOnly, Rule::AlternativeAlive));
}

#[test]
fn in_illinois_nobody_is_looked_for_among_passers_by() {
    let mut good = good();
    good.rules.profiles = vec!["us-bipa".to_owned()];
    good.governance.push(governance());
    expect(&good, |_| {}, StreamState::CaptureOnly, Rule::BasisInForce);
    expect(&good, |r| r.rules.profiles[0] = "uk-ico".to_owned(), StreamState::Recognise, Rule::Granted);
    expect(&good, |r| r.rules.profiles[0] = "atlantis".to_owned(), StreamState::Off, Rule::ProfileKnown);
}

#[test]
fn a_hit_says_how_many_people_the_strictest_regime_wants_to_confirm_it() {
    let (good, plain) = (authorised(), good());
    let asked = |register: &Register| decide(register, NOW).grants.iter().map(|g| g.confirmations).collect::<Vec<_>>();
    assert_eq!(asked(&plain), [1], "under no regime a hit is a fact");
    assert_eq!(asked(&good), [2], "AI Act Art. 14(5)");
    let mut both = good;
    both.rules.profiles.push("uk-ico".to_owned());
    assert_eq!(asked(&both), [2], "the strictest wins");
}
