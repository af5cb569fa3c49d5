//! What keeps something else dark: by whom it may be taken away, and what a stop leaves dark that it could light.

use super::super::fold::Judged;
use super::*;
use crate::policy::facts::{AreaFact, Authorisation, Order, PurposeFact, Sign};

#[test]
fn an_area_that_holds_another_back_is_not_taken_away_by_one() {
    let square = |x: f64| vec![[x, 0.0], [x + 0.3, 0.0], [x + 0.3, 1.0], [x, 1.0]];
    let area = |zone: &str, x| AreaFact { stream: "north".into(), zone: zone.into(), polygon: square(x) };
    let zone = |id: &str, kind| Zone { id: id.into(), kind };
    let register = Register {
        zones: vec![zone("hall", ZoneKind::Public), zone("home", ZoneKind::Private)],
        areas: vec![area("hall", 0.0), area("home", 0.1), area("hall", 0.6)],
        ..Register::default()
    };
    let needs =
        |edit: Edit| Proposal::new(vec![edit], "t", "", when("2026-11-21")).expect("made").applied_to(&register).expect("applies").1;
    assert_eq!(needs(Edit::remove(Table::Area, &register.areas[0])), Needs::TwoApprovers, "it shares pixels with another zone");
    assert_eq!(needs(Edit::remove(Table::Area, &register.areas[1])), Needs::TwoApprovers, "of a private zone");
    assert_eq!(needs(Edit::remove(Table::Area, &register.areas[2])), Needs::Nobody);
    assert_eq!(needs(Edit::put(Table::Area, &area("home", 0.7))), Needs::Nobody, "more that is never looked at");
    assert_eq!(needs(Edit::put(Table::Area, &area("hall", 0.7))), Needs::TwoApprovers);
    assert_eq!(needs(Edit::remove(Table::Zone, &register.zones[1])), Needs::TwoApprovers);
}

/// Stream `north` shows two zones, side by side; each may be looked at for its own purpose, one of which has a cap that both together break.
fn two_zones() -> Register {
    let mut register = good();
    let square = |x: f64| vec![[x, 0.0], [x + 0.3, 0.0], [x + 0.3, 1.0], [x, 1.0]];
    register.areas = vec![AreaFact { polygon: square(0.0), ..register.areas[0].clone() }];
    register.areas.push(AreaFact { zone: "gate".into(), polygon: square(0.6), ..register.areas[0].clone() });
    register.zones.push(Zone { id: "gate".into(), kind: ZoneKind::Public });
    register.signs.push(Sign { id: "gate-1".into(), zone: "gate".into(), ..register.signs[0].clone() });
    register
}

#[test]
fn what_keeps_something_else_dark_is_taken_away_by_two_and_what_does_not_by_anybody() {
    type Taking = fn(&mut Register);
    let case = |purposes: &[(&str, &[&str], Option<f64>)], take: Taking| {
        let mut register = two_zones();
        let fact = |(name, zones, area_cap): &(&str, &[&str], Option<f64>)| PurposeFact {
            purpose: name.parse().expect("purpose"),
            zones: zones.iter().map(|z| (*z).to_owned()).collect(),
            area_cap: *area_cap,
            ..register.purposes[0].clone()
        };
        register.purposes = purposes.iter().map(fact).collect();
        let mut after = register.clone();
        take(&mut after);
        let proposal = Proposal::new(difference(&register, &after), "t", "", when("2026-11-21")).expect("made");
        proposal.applied_to(&register).expect("applies").1
    };
    let (alone, two) = (Needs::Nobody, Needs::ApproversForWhatItOpens);
    let (p, q) = ("missing-person:1", "crime-prevention:2");
    let both: &[&str] = &["hall", "gate"];
    // Three tenths each: together too much for the cap, one of them not.
    let capped = [(p, both, Some(0.4))];
    assert_eq!(case(&capped, |r| drop(r.areas.remove(1))), two);
    assert_eq!(case(&capped, |r| drop(r.purposes[0].zones.pop())), two);
    assert_eq!(case(&capped, |r| r.purposes[0].area_cap = Some(0.3)), alone, "still too much");
    assert_eq!(case(&[(p, both, Some(0.7))], |r| r.purposes[0].area_cap = Some(0.5)), alone);
    assert_eq!(case(&[(p, both, Some(0.2))], |r| drop(r.areas.remove(1))), alone, "one of them alone is too much");
    assert_eq!(case(&[(p, &["hall"], Some(0.4)), (p, &["gate"], None)], |r| drop(r.purposes.remove(1))), two);
    // The stream is opened for one group of zones: the other would be next.
    let apart: [(&str, &[&str], Option<f64>); 2] = [(p, &["hall"], None), (q, &["gate"], None)];
    for take in [
        (|r| drop(r.purposes.remove(0))) as Taking,
        |r| r.purposes[0].basis = None,
        |r| drop(r.areas.remove(0)),
        |r| {
            r.rules.sign_inspect_max_days = 7;
        },
    ] {
        assert_eq!(case(&apart, take), two);
    }
    assert_eq!(case(&[(p, both, None)], |r| drop(r.areas.remove(0))), alone, "what is left was open before");
    assert_eq!(case(&[(p, both, None)], |r| r.purposes.clear()), alone, "nothing is left that could be opened");
    assert_eq!(case(&[(p, &["hall"], None)], |r| r.purposes.clear()), alone);
    assert_eq!(case(&[(p, &["hall"], None), (q, &["hall"], None)], |r| drop(r.purposes.remove(0))), alone, "one zone, one purpose less");
    // Masks are not looked at beside a search, and would be after it.
    assert_eq!(case(&[(p, &["hall"], None), ("mask-check", &["hall"], None)], |r| drop(r.purposes.remove(0))), two);
    assert_eq!(case(&[(p, &["hall"], None), ("mask-check", &["hall"], None)], |r| drop(r.purposes.remove(1))), alone);
    // Of two records of one purpose the smaller gallery counts.
    let twice: [(&str, &[&str], Option<f64>); 2] = [(p, &["hall"], None), (p, &["hall"], None)];
    assert_eq!(case(&twice, |r| drop(r.purposes.remove(0))), alone);
    let smaller: Taking = |r| r.purposes[0].gallery_cap = Some(1);
    assert_eq!(case(&twice, smaller), alone);
    let mut register = two_zones();
    register.purposes.push(PurposeFact { gallery_cap: Some(1), ..register.purposes[0].clone() });
    let remove = Proposal::new(vec![Edit::remove(Table::Purpose, &register.purposes[1])], "t", "", when("2026-11-21")).expect("made");
    assert_eq!(remove.applied_to(&register).expect("applies").1, two);
}

#[test]
fn stops_need_nobody_whatever_else_the_stream_shows_and_records_that_erase_are_not_removed_by_one() {
    let mut register = two_zones();
    let gone = Withdrawal { at: when("2026-11-21"), by: "x".to_owned(), reason: String::new() };
    register.purposes.push(PurposeFact {
        purpose: "crime-prevention:2".parse().expect("purpose"),
        zones: vec!["gate".to_owned()],
        ..register.purposes[0].clone()
    });
    register.orders.push(Order {
        id: "o-1".into(),
        issuer: "City".into(),
        zones: vec!["hall".into()],
        from: when("2026-11-20"),
        until: when("2026-11-30"),
        renewals: Vec::new(),
        approved_by: vec!["a".into(), "b".into()],
        ended: None,
    });
    let needs = |edit: &dyn Fn(&mut Register)| {
        let mut after = register.clone();
        edit(&mut after);
        let proposal = Proposal::new(difference(&register, &after), "t", "", when("2026-11-21")).expect("made");
        proposal.applied_to(&register).expect("applies").1
    };
    assert_eq!(needs(&|r| r.signs[0].withdrawn = Some(gone.clone())), Needs::Nobody);
    assert_eq!(needs(&|r| r.zones[0].kind = ZoneKind::Private), Needs::Nobody);
    let objection = |purpose| Objection { id: "j".into(), stream: Some("north".into()), purpose, at: when("2026-11-21"), settled: None };
    assert_eq!(needs(&|r| r.objections.push(objection(None))), Needs::Nobody);
    assert_eq!(needs(&|r| r.objections.push(objection(Some(r.purposes[0].purpose.clone())))), Needs::Nobody);
    assert_eq!(needs(&|r| r.orders[0].ended = Some(gone.clone())), Needs::Nobody);
    let shorter = |r: &mut Register| (r.orders[0].ended, r.orders[0].until) = (Some(gone.clone()), when("2026-11-22"));
    assert_eq!(needs(&shorter), Needs::TwoApprovers, "an order that prolongs it could begin to count");
    assert_eq!(needs(&|r| r.orders.clear()), Needs::TwoApprovers, "by its record who was enrolled under it is erased");
    assert_eq!(needs(&|r| r.orders[0].until = when("2026-11-22")), Needs::TwoApprovers, "one that is too long counts for nothing");
}

/// The two zones, each with a purpose of its own.
pub(super) fn apart() -> Register {
    let mut register = two_zones();
    register.purposes.push(PurposeFact {
        purpose: "crime-prevention:2".parse().expect("purpose"),
        zones: vec!["gate".to_owned()],
        ..register.purposes[0].clone()
    });
    register
}

pub(super) fn withdrawal() -> Withdrawal {
    Withdrawal { at: when("2026-11-21"), by: "anybody".to_owned(), reason: String::new() }
}

#[test]
fn a_stop_that_could_light_something_pauses_its_stream_until_two_have_settled_that() {
    let (desk, mut store) = Desk::operational();
    let wish = proposal(&store, |r| *r = Register { people: r.people.clone(), ..apart() });
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    store.submit(wish, both, now()).expect("in force");
    let stop = proposal(&store, |r| r.signs[0].withdrawn = Some(withdrawal()));
    let name = format!("stop-{}-1", stop.digest().short());
    let Outcome::InForce { held, .. } = store.submit(stop, Vec::new(), now()).expect("at once") else { panic!("a stop waits for nobody") };
    assert_eq!(held, [Hold { stream: "north".to_owned(), objection: name.clone() }]);
    let paused = |store: &Store| store.register().objections.iter().any(|o| o.id == name && o.settled.is_none());
    assert!(paused(&store) && store.register().signs[0].withdrawn.is_some());
    drop(store);
    let mut store = Store::open(&desk.path()).expect("what was recorded is believed, and follows from the changes");
    assert!(paused(&store));
    let settle = proposal(&store, |r| r.objections[0].settled = Some(withdrawal()));
    assert!(!store.submit(settle.clone(), Vec::new(), now()).expect("kept").in_force(), "not by anybody");
    for who in ["a", "b"] {
        let signature = desk.sign(&store, who, &settle);
        store.approve(&settle.digest(), signature, now()).expect("kept");
    }
    assert!(!paused(&store));
    // Two approvers who sign a stop have seen what it lights.
    let stop = proposal(&store, |r| r.zones[0].kind = ZoneKind::Private);
    let both = vec![desk.sign(&store, "a", &stop), desk.sign(&store, "b", &stop)];
    let outcome = store.submit(stop, both, now()).expect("in force");
    assert!(matches!(&outcome, Outcome::InForce { held, .. } if held.is_empty()), "{outcome:?}");
}

#[test]
fn two_who_inspect_confirm_no_stop() {
    let (desk, mut store) = Desk::operational();
    let wish = proposal(&store, |r| *r = Register { people: r.people.clone(), ..apart() });
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    store.submit(wish, both, now()).expect("in force");
    let seen = proposal(&store, |r| {
        r.signs[1].inspected_at = Some(when("2026-11-21T11:00:00Z"));
        r.signs[0].withdrawn = Some(withdrawal());
    });
    let two = vec![desk.sign(&store, "i", &seen), desk.sign(&store, "a", &seen)];
    let outcome = store.submit(seen, two, now()).expect("in force");
    assert!(matches!(&outcome, Outcome::InForce { held, .. } if held.len() == 1), "{outcome:?}");
}

#[test]
fn what_a_stop_could_light_is_told_stop_by_stop() {
    type Stop = fn(&mut Register);
    let held = |register: &Register, stop: Stop| {
        let mut after = register.clone();
        stop(&mut after);
        let proposal = Proposal::new(difference(register, &after), "t", "", when("2026-11-21")).expect("made");
        let applied = proposal.apply_to(register, Judged::Now).expect("applies");
        assert_eq!(applied.needs, Needs::Nobody);
        applied.held.len()
    };
    let objection = |stream: Option<&str>, purpose: Option<&str>| Objection {
        id: "j".into(),
        stream: stream.map(str::to_owned),
        purpose: purpose.map(|p| p.parse().expect("purpose")),
        at: when("2026-11-21"),
        settled: None,
    };
    let mut apart = apart();
    apart.zones.push(Zone { id: "home".into(), kind: ZoneKind::Private });
    apart.authorisations.push(Authorisation {
        id: "u".into(),
        authority: "court".into(),
        purpose: apart.purposes[0].purpose.clone(),
        zones: vec!["hall".into()],
        from: when("2026-11-20"),
        until: when("2026-11-30"),
        assessment: "fria".into(),
        registration: "eu".into(),
        pending_since: None,
        refused: None,
    });
    assert_eq!(held(&apart, |r| r.signs[0].withdrawn = Some(withdrawal())), 1);
    assert_eq!(held(&apart, |r| r.zones[0].kind = ZoneKind::Private), 1);
    assert_eq!(held(&apart, |r| r.authorisations[0].refused = Some(withdrawal())), 1);
    let over_the_hall: Stop = |r| {
        let own = r.areas[0].polygon.clone();
        r.areas.push(AreaFact { stream: "north".into(), zone: "home".into(), polygon: own });
    };
    assert_eq!(held(&apart, over_the_hall), 1);
    let objected = |register: &Register, stream: Option<&str>, purpose: Option<&str>| {
        let proposal = Proposal::new(vec![Edit::put(Table::Objection, &objection(stream, purpose))], "t", "", when("2026-11-21"));
        proposal.expect("made").apply_to(register, Judged::Now).expect("applies").held.len()
    };
    let one = apart.purposes[0].purpose.to_string();
    assert_eq!(objected(&apart, Some("north"), Some(&one)), 1);
    assert_eq!(objected(&apart, None, Some(&one)), 1);
    assert_eq!(objected(&apart, Some("south"), Some(&one)), 0, "another stream");
    assert_eq!(objected(&apart, Some("north"), Some("missing-person:9")), 0, "nobody pursues that");
    assert_eq!((objected(&apart, Some("north"), None), objected(&apart, None, None)), (0, 0), "nothing is left that could be lit");
    // One purpose in two zones side by side: what is left was lit before.
    let mut together = two_zones();
    together.purposes[0].zones.push("gate".to_owned());
    assert_eq!(held(&together, |r| r.signs[0].withdrawn = Some(withdrawal())), 0);
    assert_eq!(held(&together, |r| r.zones[1].kind = ZoneKind::Private), 0);
}

#[test]
fn stand_ins_confirm_stops_as_they_sign_everything_and_no_stop_waits_for_them() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("register.redb");
    put_as_stand_ins(&path, &apart(), now()).expect("stored");
    let mut store = Store::open(&path).expect("opens");
    let stop = proposal(&store, |r| r.signs[0].withdrawn = Some(withdrawal()));
    let outcome = store.submit(stop, Vec::new(), now()).expect("in force");
    assert!(matches!(&outcome, Outcome::InForce { stand_ins: true, held, .. } if held.is_empty()), "{outcome:?}");
    // Long before they were appointed.
    let stop = proposal(&store, |r| r.zones[0].kind = ZoneKind::Private);
    let outcome = store.submit(stop, Vec::new(), when("1960-01-01").at()).expect("in force");
    assert!(matches!(&outcome, Outcome::InForce { stand_ins: false, held, .. } if held.len() == 1), "{outcome:?}");
}
