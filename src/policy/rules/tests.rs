//! The rules one by one, over a register in which everything holds.

use super::super::cedar::CedarPlane;
use super::super::facts::testing::good;
use super::super::facts::{AreaFact, BasisKind, Order, Withdrawal, Zone, ZoneKind};
use super::super::lease::Place;
use super::super::when::When;
use super::*;

fn at(text: &str) -> Stamp<Utc> {
    text.parse::<When>().expect("date").at()
}
fn when(text: &str) -> Option<When> {
    Some(text.parse().expect("date"))
}
const NOW: &str = "2026-11-21T12:00:00Z";

/// By the rules alone, and by rules and policies together: always the same.
fn decide(register: &Register, now: &str) -> Decision {
    let (plane, moment) = (CedarPlane::bundled(), Moment::unobserved(at(now)));
    let explained = PlainRules.decide(register, "north", moment).expect("decides");
    assert_eq!(plane.decide(register, "north", moment).expect("decides"), explained);
    assert_eq!(plane.disagreements(), 0, "{}", explained.reason);
    explained
}

#[test]
fn a_complete_register_recognises_until_the_first_fact_ends() {
    let decision = decide(&good(), NOW);
    assert_eq!(decision.state, StreamState::Recognise, "{}", decision.reason);
    assert_eq!(decision.grants[0].purpose.to_string(), "missing-person:mp-7");
    assert_eq!(&*decision.grants[0].basis, "PIPL Art. 26; Transit police");
    assert_eq!(decision.grants[0].place, Place::zones(["hall"]), "good where the stream looks");
    assert_eq!(decision.area, Some(Area::whole()));
    assert_eq!(decision.next_change, Some(at("2026-12-15")), "the basis ends before the inspection ages out");
    assert_eq!(decide(&good(), "2026-12-14T23:59:59.999999999Z").state, StreamState::Recognise);
    assert_eq!(decide(&good(), "2026-12-15").state, StreamState::CaptureOnly);
    assert_eq!(decide(&good(), "2026-12-20T01:00:00Z").reason.rule, Rule::SignInspected);
    assert_eq!(decide(&good(), "2026-12-20T00:59:59Z").reason.rule, Rule::BasisInForce);
}

/// Each rule by name: what is taken away, what state and which rule follow.
#[test]
fn every_missing_fact_is_named() {
    type Edit = fn(&mut Register);
    let cases: &[(Edit, StreamState, Rule)] = &[
        (|r| r.areas.clear(), StreamState::Off, Rule::StreamHasArea),
        (|r| r.zones.clear(), StreamState::Off, Rule::ZoneKnown),
        (|r| r.zones[0].kind = ZoneKind::Private, StreamState::Off, Rule::ZoneNotPrivate),
        (|r| r.signs.clear(), StreamState::Off, Rule::SignPresent),
        (|r| r.signs[0].posted_on = None, StreamState::Off, Rule::SignPosted),
        (|r| r.signs[0].posted_on = when("2026-11-22"), StreamState::Off, Rule::SignPosted),
        (|r| r.signs[0].photo_sha256 = None, StreamState::Off, Rule::SignPhotographed),
        (|r| r.signs[0].photo_sha256 = Some("0".repeat(64)), StreamState::Off, Rule::SignPhotographed),
        (|r| r.signs[0].inspected_at = None, StreamState::Off, Rule::SignInspected),
        (|r| r.signs[0].inspected_by = None, StreamState::Off, Rule::SignInspected),
        (|r| r.signs[0].inspected_at = when("2026-11-21T12:02:00Z"), StreamState::Off, Rule::SignInspected),
        (|r| r.signs[0].inspected_at = when("2026-10-31"), StreamState::Off, Rule::SignInspected),
        (|r| r.rules.sign_inspect_max_days = 1, StreamState::Off, Rule::SignInspected),
        (|r| r.purposes.clear(), StreamState::CaptureOnly, Rule::PurposeNamed),
        (|r| r.purposes[0].zones = vec!["elsewhere".to_owned()], StreamState::CaptureOnly, Rule::PurposeNamed),
        (|r| r.purposes[0].basis = None, StreamState::CaptureOnly, Rule::BasisInForce),
        (|r| r.purposes[0].basis.as_mut().expect("basis").from = None, StreamState::CaptureOnly, Rule::BasisInForce),
        (|r| r.purposes[0].basis.as_mut().expect("basis").until = None, StreamState::CaptureOnly, Rule::BasisInForce),
        (|r| r.purposes[0].basis.as_mut().expect("basis").from = when("2026-11-22"), StreamState::CaptureOnly, Rule::BasisInForce),
        (|r| r.purposes[0].basis.as_mut().expect("basis").kind = BasisKind::Emergency, StreamState::CaptureOnly, Rule::BasisInForce),
        (|r| r.purposes[0].basis.as_mut().expect("basis").kind = BasisKind::SeparateConsent, StreamState::CaptureOnly, Rule::BasisInForce),
        (|r| r.purposes[0].assessment = None, StreamState::CaptureOnly, Rule::AssessmentCurrent),
        (|r| r.purposes[0].review_on = None, StreamState::CaptureOnly, Rule::AssessmentCurrent),
        (|r| r.purposes[0].review_on = when("2026-11-21"), StreamState::CaptureOnly, Rule::AssessmentCurrent),
        (|r| r.purposes[0].purpose = "access-verification".parse().expect("purpose"), StreamState::CaptureOnly, Rule::VerificationOnly),
    ];
    for (number, (edit, state, rule)) in cases.iter().enumerate() {
        let mut register = good();
        edit(&mut register);
        let decision = decide(&register, NOW);
        assert_eq!((decision.state, decision.reason.rule), (*state, *rule), "case {number}: {}", decision.reason);
        assert!(decision.grants.is_empty() && !decision.reason.remedy.is_empty(), "case {number}");
    }
}

#[test]
fn a_withdrawn_sign_says_who_and_another_good_sign_carries_on() {
    let mut register = good();
    register.signs[0].withdrawn =
        Some(Withdrawal { at: "2026-11-21".parse().expect("date"), by: "l.wu".to_owned(), reason: "fell down".to_owned() });
    let reason = decide(&register, NOW).reason.to_string();
    assert!(reason.contains("withdrawn at 2026-11-21 by l.wu (fell down)") && reason.contains("placard sign post"), "{reason}");
    let mut second = good().signs.remove(0);
    second.id = "hall-2".to_owned();
    register.signs.push(second);
    assert_eq!(decide(&register, NOW).state, StreamState::Recognise);
}

#[test]
fn a_placeholder_for_a_photograph_counts_where_the_site_is_not_operational() {
    let mut register = good();
    register.signs[0].photo_sha256 = Some("0".repeat(64));
    let refused = decide(&register, NOW).reason.to_string();
    assert!(refused.contains("`hall-1` is a placeholder") && refused.contains("--photo FILE"), "{refused}");
    register.rules.placeholder_photographs = true;
    assert_eq!(decide(&register, NOW).state, StreamState::Recognise);
}

#[test]
fn nothing_rests_on_consent_while_no_consent_is_recorded() {
    for purpose in ["missing-person:mp-7", "crime-prevention:c-1", "mask-check", "emergency:e-1"] {
        let mut register = good();
        register.purposes[0].purpose = purpose.parse().expect("purpose");
        register.purposes[0].basis.as_mut().expect("basis").kind = BasisKind::SeparateConsent;
        let decision = decide(&register, NOW);
        assert_eq!((decision.state, decision.reason.rule), (StreamState::CaptureOnly, Rule::BasisInForce), "{}", decision.reason);
    }
}

/// In force around [`NOW`], for a week.
fn order(id: &str) -> Order {
    let date = |text: &str| text.parse().expect("date");
    Order {
        id: id.to_owned(),
        issuer: "Health Commission".to_owned(),
        zones: vec!["hall".to_owned()],
        from: date("2026-11-20"),
        until: date("2026-11-27"),
        renewals: Vec::new(),
        approved_by: vec!["l.wu".to_owned(), "w.chen".to_owned()],
        ended: None,
    }
}

#[test]
fn a_mask_check_alone_detects_and_never_identifies() {
    let mut register = good();
    register.purposes[0].purpose = "mask-check".parse().expect("purpose");
    let refused = decide(&register, NOW);
    assert_eq!((refused.state, refused.reason.rule), (StreamState::CaptureOnly, Rule::BasisInForce), "not for daily management");
    register.purposes[0].basis.as_mut().expect("basis").kind = BasisKind::Emergency;
    let refused = decide(&register, NOW);
    assert_eq!((refused.state, refused.reason.rule), (StreamState::CaptureOnly, Rule::OrderInForce), "the word emergency is no order");
    register.orders.push(order("o-1"));
    let decision = decide(&register, NOW);
    assert_eq!((decision.state, decision.grants.len()), (StreamState::Detect, 1), "{}", decision.reason);
    assert_eq!(decision.next_change, Some(at("2026-11-27")));
    assert_eq!(decide(&register, "2026-11-27").state, StreamState::CaptureOnly, "the order has ended");
}

fn with_second_zone(polygon: Vec<[f64; 2]>) -> Register {
    let mut register = good();
    register.areas[0].polygon = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
    register.zones.push(Zone { id: "shop".to_owned(), kind: ZoneKind::Public });
    register.areas.push(AreaFact { stream: "north".to_owned(), zone: "shop".to_owned(), polygon });
    register
}

#[test]
fn areas_of_equal_terms_unite_and_stricter_ones_stay_out() {
    let right = vec![[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]];
    let mut register = with_second_zone(right);
    let alone = decide(&register, NOW);
    assert_eq!(alone.area.as_ref().map(|a| a.polygons().len()), Some(1), "the shop has no sign: {}", alone.reason);
    assert!(alone.reason.fact.contains("areas of shop are left out"), "{}", alone.reason);
    let mut sign = register.signs[0].clone();
    (sign.id, sign.zone) = ("shop-1".to_owned(), "shop".to_owned());
    register.signs.push(sign);
    register.purposes[0].zones.push("shop".to_owned());
    assert_eq!(alone.grants[0].place, Place::zones(["hall"]), "what is left out is not a place to look for anybody");
    let both = decide(&register, NOW);
    assert_eq!(both.grants[0].place, Place::zones(["shop", "hall"]));
    assert!(both.area.expect("open").rasterise(64, 64).is_whole());
}

#[test]
fn where_zones_share_pixels_the_strictest_wins() {
    let mut register = with_second_zone(vec![[0.4, 0.4], [0.9, 0.4], [0.9, 0.9], [0.4, 0.9]]);
    let decision = decide(&register, NOW);
    assert_eq!((decision.state, decision.reason.rule), (StreamState::Off, Rule::AreaNotShared), "{}", decision.reason);
    register.zones[1].kind = ZoneKind::Private;
    assert_eq!(decide(&register, NOW).state, StreamState::Off);
    // The same zone twice over is no conflict.
    register.areas[1].zone = "hall".to_owned();
    assert_eq!(decide(&register, NOW).state, StreamState::Recognise);
}

#[test]
fn a_purpose_of_one_zone_never_reaches_another() {
    let mut register = with_second_zone(vec![[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]);
    let mut sign = register.signs[0].clone();
    (sign.id, sign.zone) = ("shop-1".to_owned(), "shop".to_owned());
    register.signs.push(sign);
    let mut other = register.purposes[0].clone();
    (other.purpose, other.zones) = ("crime-prevention:c-1".parse().expect("purpose"), vec!["shop".to_owned()]);
    register.purposes.push(other);
    let decision = decide(&register, NOW);
    assert_eq!(decision.grants.len(), 1);
    assert_eq!(decision.area.expect("open").polygons().len(), 1);
}

mod law;
mod words;
