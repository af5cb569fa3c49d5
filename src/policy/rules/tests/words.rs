//! What a sign does not say is not done, whatever else the register says.

use super::super::super::facts::{Governance, View};
use super::super::super::observed::Observed;
use super::super::never_announced;
use super::*;

const SIGN: &str = "hall-1";

/// Under which regime, and what is changed: state, rule, and what the reason must tell.
fn refused(profile: Option<&str>, edit: impl FnOnce(&mut Register), state: StreamState, rule: Rule, told: &[&str]) {
    let mut register = good();
    register.rules.profiles = profile.iter().map(|p| (*p).to_owned()).collect();
    register.governance = vec![Governance {
        id: "g".to_owned(),
        zones: vec!["hall".to_owned()],
        document_sha256: "ab".repeat(32),
        decided_on: "2026-10-01".parse().expect("date"),
        decided_by: "board".to_owned(),
        votes_for: Some(51),
        votes_total: Some(100),
    }];
    assert_eq!(decide(&register, NOW).state, StreamState::Recognise, "{}", decide(&register, NOW).reason);
    edit(&mut register);
    let decision = decide(&register, NOW);
    let said = decision.reason.to_string();
    assert_eq!((decision.state, decision.reason.rule), (state, rule), "{said}");
    assert!(told.iter().all(|t| said.contains(t)), "{said}");
    assert!(state != StreamState::Recognise && decision.grants.is_empty());
}

#[test]
fn a_purpose_that_no_sign_of_the_zone_announces_is_not_pursued_there() {
    let (capture, rule) = (StreamState::CaptureOnly, Rule::SignAnnounces);
    let silent = |r: &mut Register| r.signs[0].announces.retain(|a| a.purpose.name() != "missing-person");
    refused(None, silent, capture, rule, &["`hall-1`", "`missing-person`", "placard sign text hall-1 --record"]);
    // Taken off the text, in both languages; the record of it stays and counts for nothing.
    let reworded = |r: &mut Register| {
        let sign = &mut r.signs[0];
        sign.text = sign.text.replace("missing persons", "lost luggage").replace("寻找走失人员", "寻找行李");
        sign.inspected_text_sha256 = Some(sign.text_sha256());
    };
    refused(None, reworded, capture, rule, &["`missing-person`"]);
    refused(None, |r| r.signs[0].controller = None, capture, rule, &["controller"]);
    refused(None, |r| r.signs[0].contact = Some("another desk".to_owned()), capture, rule, &["contact"]);
}

#[test]
fn each_regime_has_its_language_and_all_of_them_hold() {
    let (capture, rule) = (StreamState::CaptureOnly, Rule::SignAnnounces);
    let without = |language: &'static str| move |r: &mut Register| r.signs[0].announces.retain(|a| a.language != language);
    refused(Some("cn-pipl"), without("zh"), capture, rule, &["language `zh`", "--language zh"]);
    refused(Some("uk-ico"), without("en"), capture, rule, &["language `en`"]);
    let both = |r: &mut Register| {
        r.rules.profiles = vec!["uk-ico".to_owned(), "cn-pipl".to_owned()];
        without("zh")(r);
    };
    refused(Some("uk-ico"), both, capture, rule, &["language `zh`", "--language en,zh"]);
    // What holds everywhere asks for none of them, but for one.
    let mut register = good();
    without("en")(&mut register);
    assert_eq!(decide(&register, NOW).state, StreamState::Recognise);
    without("zh")(&mut register);
    assert_eq!(decide(&register, NOW).state, StreamState::CaptureOnly);
}

#[test]
fn whoever_changes_a_sign_s_words_has_a_sign_that_nobody_has_inspected() {
    let (off, rule) = (StreamState::Off, Rule::SignInspected);
    refused(None, |r| r.signs[0].text.push('.'), off, rule, &["`hall-1`", "another text", "placard sign inspect hall-1"]);
    refused(None, |r| r.signs[0].inspected_text_sha256 = None, off, rule, &["another text"]);
}

#[test]
fn a_purpose_relies_on_the_sign_that_announces_it_and_ends_with_that_one() {
    let mut register = good();
    let mut other = register.signs[0].clone();
    (other.id, other.inspected_at) = ("hall-2".to_owned(), when("2026-11-10"));
    register.signs[0].announces.clear();
    register.signs.push(other);
    let decision = decide(&register, NOW);
    assert_eq!((decision.state, decision.next_change), (StreamState::Recognise, Some(at("2026-12-10"))), "{}", decision.reason);
    let later = decide(&register, "2026-12-10");
    assert_eq!((later.state, later.reason.rule), (StreamState::CaptureOnly, Rule::SignAnnounces), "{}", later.reason);
    // And the one that the camera reads says so too, where it hangs in that zone.
    register.views.push(View {
        stream: "north".to_owned(),
        sign: SIGN.to_owned(),
        code: [[0.1, 0.2], [0.2, 0.2], [0.2, 0.35], [0.1, 0.35]],
        tolerance: 0.01,
        attest_every_s: 10,
        fingerprint: None,
    });
    let observed = |register: &Register| {
        let plane = CedarPlane::bundled();
        plane.decide(register, "north", Observed::all_well(register).on(at(NOW))).expect("decides")
    };
    assert_eq!(observed(&register).reason.rule, Rule::SignAnnounces);
    register.signs[0].announces = good().signs[0].announces.clone();
    assert_eq!(observed(&register).state, StreamState::Recognise);
}

#[test]
fn what_can_never_be_pursued_for_want_of_words_is_told_before_it_is_missed() {
    let told = |register: &Register| {
        let regime = Library::bundled().regime_of(register, at(NOW)).expect("a regime");
        never_announced(register, &regime).into_iter().map(|s| (s.zone, s.purpose, s.reason.rule)).collect::<Vec<_>>()
    };
    let mut register = good();
    assert!(told(&register).is_empty());
    register.signs[0].announces.clear();
    assert_eq!(told(&register), [("hall".to_owned(), "missing-person:mp-7".to_owned(), Rule::SignAnnounces)]);
    // Whether the sign counts now is another matter; that there is none has been told.
    register.signs[0].withdrawn = Some(Withdrawal { at: "2026-11-21".parse().expect("date"), by: "l".to_owned(), reason: String::new() });
    assert_eq!(told(&register).len(), 1);
    register.signs.clear();
    assert!(told(&register).is_empty());
}
