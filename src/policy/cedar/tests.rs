//! The wrapper: an error is a deny, a difference is a deny, and what is kept is never older than it may be.

use std::time::Duration;

use super::super::facts::testing::good;
use super::super::lease::StreamState;
use super::super::profile::testing::{Shelf, permissive};
use super::super::rules::Rule;
use super::super::when::When;
use super::*;
use crate::clock::{Stamp, Utc};

fn at(text: &str) -> Stamp<Utc> {
    text.parse::<When>().expect("date").at()
}
fn now() -> Stamp<Utc> {
    at("2026-11-21T12:00:00Z")
}

/// A plane whose site is under one profile of its own, with these policies.
fn under(policies: &str) -> (Shelf, CedarPlane, Register) {
    let shelf = Shelf::new();
    shelf.put("own", "1", "valid_from = 2026-01-01", policies);
    let mut register = good();
    register.rules.profiles = vec![shelf.named("own")];
    let plane = CedarPlane::new(shelf.library());
    (shelf, plane, register)
}

#[test]
fn a_profile_that_permits_everything_opens_nothing_more() {
    let (_shelf, plane, mut register) = under(&permissive("own"));
    let decision = plane.decide(&register, "north", Moment::unobserved(now())).expect("decides");
    assert_eq!(decision.state, StreamState::Recognise, "{}", decision.reason);
    register.signs.clear();
    let decision = plane.decide(&register, "north", Moment::unobserved(now())).expect("decides");
    assert_eq!((decision.state, decision.reason.rule), (StreamState::Off, Rule::SignPresent));
    assert_eq!(plane.disagreements(), 0);
}

#[test]
fn a_forbid_that_errs_denies_although_cedar_skips_it() {
    let overflow = "@id(\"o\") forbid (principal, action, resource) when { context.now * 1000000000000 > 0 };";
    let (_shelf, plane, register) = under(&format!("{}{overflow}", permissive("own")));
    let error = plane.decide(&register, "north", Moment::unobserved(now())).expect_err("an error is never a yes");
    assert!(error.to_string().contains("profile `own`") && error.to_string().contains("overflow"), "{error}");
    let streams = [Arc::from("north")];
    for _ in 0..2 {
        assert!(plane.decide_all(&register, &streams, Moment::unobserved(now())).is_err(), "also when it is asked again");
    }
}

#[test]
fn what_a_regime_s_policies_do_not_permit_is_denied_named_and_counted() {
    let lights_out = "@id(\"night\") forbid (principal, action == Placard::Action::\"recognise\", resource);";
    let (_shelf, plane, register) = under(&format!("{}{lights_out}", permissive("own")));
    let moment = Moment::unobserved(now());
    let decision = plane.decide(&register, "north", moment).expect("decides");
    assert_eq!((decision.state, decision.reason.rule), (StreamState::CaptureOnly, Rule::ProfilePermits), "{}", decision.reason);
    assert_eq!(plane.disagreements(), 0, "a site's own profile asks for more than the rules: its law, and no misreading");
    let opinions = plane.opinions(&register, "north", moment).expect("asked");
    let no: Vec<(&str, &[String], bool)> = opinions.iter().filter(|o| !o.permitted).map(|o| (&*o.profile, &*o.policies, o.rules)).collect();
    assert_eq!(no, [("own", ["night".to_owned()].as_slice(), true)]);
    // A bundled name is the law that the rules read too: there one of the two misreads it.
    let shelf = Shelf::new();
    shelf.put("cn-pipl", "9999.1", "valid_from = 2026-01-01", &format!("{}{lights_out}", permissive("cn-pipl")));
    let plane = CedarPlane::new(shelf.library());
    let mut register = good();
    register.rules.profiles = vec!["cn-pipl".to_owned()];
    let decision = plane.decide(&register, "north", moment).expect("decides");
    assert_eq!((decision.reason.rule, plane.disagreements()), (Rule::ProfilePermits, 1), "{}", decision.reason);
    plane.opinions(&register, "north", moment).expect("asked");
    assert_eq!(plane.disagreements(), 1, "asking why counts nothing");
}

#[test]
fn no_permit_no_leave() {
    let (_shelf, plane, register) = under("@id(\"never\") forbid (principal, action, resource);");
    let decision = plane.decide(&register, "north", Moment::unobserved(now())).expect("decides");
    assert_eq!((decision.state, decision.reason.rule), (StreamState::Off, Rule::ProfilePermits));
}

#[test]
fn what_is_kept_ends_with_the_next_change_on_either_clock() {
    let (plane, register, streams) = (CedarPlane::bundled(), good(), [Arc::from("north")]);
    let end = at("2026-12-15");
    let observed = Observed::default();
    let state = |monotonic_ns: i64, utc: Stamp<Utc>| {
        let moment = Moment { now: Now { monotonic: Stamp::from_ns(monotonic_ns), utc }, observed: &observed };
        plane.decide_all(&register, &streams, moment).expect("decides")[0].state
    };
    let before = |by: Duration| Stamp::from_ns(end.ns() - i64::try_from(by.as_nanos()).expect("fits"));
    assert_eq!(state(0, before(Duration::from_secs(1))), StreamState::Recognise);
    assert_eq!(state(999_999_999, before(Duration::from_nanos(1))), StreamState::Recognise);
    assert_eq!(state(999_999_999, end), StreamState::CaptureOnly, "by the wall clock");
    assert_eq!(state(1_000_000_000, before(Duration::from_secs(1))), StreamState::Recognise, "set back: decided anew");
}

#[test]
fn a_changed_world_is_noticed_at_once() {
    let (shelf, plane, mut register) = under(&permissive("own"));
    let streams = [Arc::from("north")];
    let state = |register: &Register| plane.decide_all(register, &streams, Moment::unobserved(now())).expect("decides")[0].state;
    assert_eq!(state(&register), StreamState::Recognise);
    shelf.put("own", "2", "valid_from = 2026-01-01", "@id(\"never\") forbid (principal, action, resource);");
    assert_eq!(state(&register), StreamState::Off, "the profile's file");
    register.rules.profiles = vec![shelf.named("own")];
    assert_eq!(state(&register), StreamState::Off, "the profile");
    shelf.put("own", "3", "valid_from = 2026-01-01", &permissive("own"));
    register.rules.profiles = vec![shelf.named("own")];
    assert_eq!(state(&register), StreamState::Recognise);
    register.signs[0].photo_sha256 = None;
    assert_eq!(state(&register), StreamState::Off, "the register");
}
