//! Who may change what, on a real file: narrowing by anybody, widening by two whose role counts, nothing by anybody else.

use super::*;
use crate::clock::Clock as _;
use crate::policy::facts::testing::good;
use crate::policy::facts::{Objection, Role, Withdrawal, Zone, ZoneKind};
use crate::seal::SiteKey;

mod judgement;
mod lighting;

fn when(text: &str) -> When {
    text.parse().expect("date")
}
fn now() -> Stamp<Utc> {
    when("2026-11-21T12:00:00Z").at()
}

struct Desk {
    directory: tempfile::TempDir,
    keys: Vec<PersonKey>,
}

impl Desk {
    /// An operational site, with a, b (approvers), i (inspector), o (operator).
    fn operational() -> (Self, Store) {
        let directory = tempfile::tempdir().expect("temporary directory");
        SiteKey::create(&StateDirectory::new(directory.path())).expect("made");
        let keys: Vec<PersonKey> = (0..4).map(|_| PersonKey::generate().expect("made")).collect();
        let desk = Self { directory, keys };
        let people = ["a", "b", "i", "o"].map(|id| desk.person(id)).to_vec();
        let store = Store::found(&desk.path(), Mode::Operational, people, now()).expect("founded");
        (desk, store)
    }
    fn path(&self) -> PathBuf {
        self.directory.path().join("register.redb")
    }
    fn key(&self, id: &str) -> &PersonKey {
        &self.keys[["a", "b", "i", "o"].iter().position(|p| *p == id).expect("one of them")]
    }
    fn person(&self, id: &str) -> Person {
        Person {
            id: id.to_owned(),
            key: self.key(id).public().to_string(),
            roles: vec![match id {
                "i" => Role::Inspector,
                "o" => Role::Operator,
                _ => Role::Approver,
            }],
            from: when("2026-01-01"),
            until: None,
            trained_until: when("2027-01-01"),
            stand_in: false,
        }
    }
    fn sign(&self, store: &Store, id: &str, proposal: &Proposal) -> Approval {
        Approval::sign(id, self.key(id), &store.site(), &proposal.digest(), When::from_stamp(now()))
    }
}

fn proposal(store: &Store, edit: impl FnOnce(&mut Register)) -> Proposal {
    let mut register = store.register().clone();
    edit(&mut register);
    Proposal::new(difference(store.register(), &register), "test", "because", When::from_stamp(now())).expect("random bytes")
}

fn everything(store: &Store) -> Proposal {
    proposal(store, |r| *r = Register { people: r.people.clone(), ..good() })
}

fn refusal(result: Result<Outcome, StoreError>) -> Disbelief {
    match result {
        Err(StoreError::Refused(why)) => *why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn widening_waits_for_two_approvers_and_one_person_is_never_two() {
    let (desk, mut store) = Desk::operational();
    let wish = everything(&store);
    let outcome = store.submit(wish.clone(), Vec::new(), now()).expect("kept");
    assert!(matches!(&outcome, Outcome::Pending { needs: Needs::TwoApprovers, signed, .. } if signed.is_empty()), "{outcome:?}");
    assert_eq!(store.register().zones, []);
    let [a, b, i] = ["a", "b", "i"].map(|id| desk.sign(&store, id, &wish));
    let digest = wish.digest();
    assert!(matches!(store.approve(&digest, a.clone(), now()).expect("kept"), Outcome::Pending { signed, .. } if signed == ["a"]));
    assert_eq!(refusal(store.approve(&digest, a.clone(), now())), Disbelief::SamePerson("a".to_owned()));
    assert!(matches!(refusal(store.approve(&digest, i, now())), Disbelief::NotInForce(_)), "an inspector widens nothing else");
    let as_b = Approval { person: "b".to_owned(), ..a.clone() };
    assert_eq!(refusal(store.approve(&digest, as_b, now())), Disbelief::BadSignature("b".to_owned()));
    drop(store);
    assert_eq!(Register::load(&desk.path()).expect("readable").zones, [], "still nothing");
    let mut store = Store::open(&desk.path()).expect("opens");
    assert_eq!(store.pending().len(), 1, "what waits outlives the process");
    assert!(matches!(store.approve(&digest, b.clone(), now()).expect("in force"), Outcome::InForce { seq: 1, stand_ins: false, .. }));
    assert!(store.pending().is_empty());
    assert_eq!(store.register().signs, good().signs);
    // Once is once.
    assert_eq!(refusal(store.submit(wish, vec![a, b], now())), Disbelief::Replayed(digest.short()));
    drop(store);
    let read = Register::load(&desk.path()).expect("believed");
    assert_eq!((read.purposes, read.people.len()), (good().purposes, 4));
}

#[test]
fn stopping_needs_no_key_and_undoing_it_needs_two() {
    let (desk, mut store) = Desk::operational();
    let wish = everything(&store);
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    store.submit(wish, both, now()).expect("in force");
    let withdrawal = Withdrawal { at: when("2026-11-21"), by: "anybody".to_owned(), reason: String::new() };
    type Narrowing = (&'static str, fn(&mut Register, Withdrawal));
    let narrow: [Narrowing; 6] = [
        ("withdraw a sign", |r, w| r.signs[0].withdrawn = Some(w)),
        ("object", |r, w| {
            let (id, stream) = ("o-1".to_owned(), Some("north".to_owned()));
            r.objections.push(Objection { id, stream, purpose: None, at: w.at, settled: None });
        }),
        ("end a basis earlier", |r, _| r.purposes[0].basis.as_mut().expect("there").until = Some("2026-11-30".parse().expect("date"))),
        ("review earlier", |r, _| r.purposes[0].review_on = Some("2026-11-30".parse().expect("date"))),
        ("inspect more often", |r, _| r.rules.sign_inspect_max_days = 7),
        ("make a zone private", |r, _| r.zones[0].kind = ZoneKind::Private),
    ];
    for (what, edit) in narrow {
        let before = store.register().clone();
        let wish = proposal(&store, |r| edit(r, withdrawal.clone()));
        let outcome = store.submit(wish, Vec::new(), now()).expect(what);
        assert!(outcome.in_force(), "{what}: {outcome:?}");
        let back = proposal(&store, |r| *r = before);
        let outcome = store.submit(back.clone(), Vec::new(), now()).expect(what);
        assert!(!outcome.in_force(), "undoing: {what}");
        let both = ["a", "b"].map(|id| desk.sign(&store, id, &back));
        assert!(both.into_iter().map(|s| store.approve(&back.digest(), s, now()).expect(what)).any(|o| o.in_force()));
    }
    let remove = proposal(&store, |r| r.purposes.clear());
    assert!(store.submit(remove, Vec::new(), now()).expect("narrows").in_force());
}

#[test]
fn a_persons_word_is_taken_away_by_one_approver_and_given_by_two() {
    let (desk, mut store) = Desk::operational();
    let out = proposal(&store, |r| r.people.retain(|p| p.id != "o"));
    assert!(!store.submit(out.clone(), Vec::new(), now()).expect("kept").in_force(), "not by anybody");
    let one = desk.sign(&store, "a", &out);
    assert!(store.approve(&out.digest(), one, now()).expect("in force").in_force());
    let longer = proposal(&store, |r| r.people[0].trained_until = when("2030-01-01"));
    let one = desk.sign(&store, "a", &longer);
    assert!(!store.submit(longer, vec![one], now()).expect("kept").in_force(), "nobody prolongs their own training alone");
    let key = proposal(&store, |r| r.people[2].key = r.people[0].key.clone());
    let flawed = refusal(store.submit(key, Vec::new(), now()));
    assert!(matches!(flawed, Disbelief::DoesNotApply(DoesNotApply::Flawed { key: "key", .. })), "{flawed}");
    let stand_in =
        proposal(&store, |r| r.people.push(Person { id: "s".into(), key: "00".repeat(32), stand_in: true, ..r.people[0].clone() }));
    assert_eq!(refusal(store.submit(stand_in, Vec::new(), now())), Disbelief::StandIn("s".to_owned()));
}

#[test]
fn a_role_counts_when_signed_and_when_recorded_and_only_with_training() {
    let (desk, mut store) = Desk::operational();
    let wish = everything(&store);
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    let later = when("2027-01-01").at();
    let untrained = refusal(store.submit(wish.clone(), both.clone(), later));
    assert!(matches!(untrained, Disbelief::NotInForce(_)) && untrained.to_string().contains("training"), "{untrained}");
    let stale = when("2026-12-25").at();
    assert_eq!(refusal(store.submit(wish.clone(), both, stale)), Disbelief::TooOld(wish.digest().short()));
    // Dated later than it is recorded.
    let at = when("2026-12-24");
    let early = Approval::sign("a", desk.key("a"), &store.site(), &wish.digest(), at);
    assert_eq!(refusal(store.submit(wish.clone(), vec![early], now())), Disbelief::BadSignature("a".to_owned()));
    let stranger = Approval { person: "x".to_owned(), ..desk.sign(&store, "a", &wish) };
    assert_eq!(refusal(store.submit(wish, vec![stranger], now())), Disbelief::Stranger("x".to_owned()));
    assert_eq!(store.register().zones, []);
}

#[test]
fn two_who_inspect_may_say_that_they_saw_a_sign_and_nothing_else() {
    let (desk, mut store) = Desk::operational();
    let wish = everything(&store);
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    store.submit(wish, both, now()).expect("in force");
    let seen = proposal(&store, |r| r.signs[0].inspected_at = Some(when("2026-11-21T11:00:00Z")));
    let two = vec![desk.sign(&store, "i", &seen), desk.sign(&store, "a", &seen)];
    assert!(store.submit(seen, two, now()).expect("in force").in_force());
    // Of words that the sign does not have, nobody can have seen it; and words are not theirs to change.
    for edit in [|r: &mut Register| r.signs[0].inspected_text_sha256 = Some("ab".repeat(32)), |r: &mut Register| r.signs[0].text.push('.')]
    {
        let unseen = proposal(&store, edit);
        let two = vec![desk.sign(&store, "i", &unseen), desk.sign(&store, "a", &unseen)];
        assert!(matches!(refusal(store.submit(unseen, two, now())), Disbelief::NotInForce(_)));
    }
    let moved = proposal(&store, |r| {
        r.signs[0].inspected_at = Some(when("2026-11-21T11:30:00Z"));
        r.signs[0].position = "elsewhere".to_owned();
    });
    let two = vec![desk.sign(&store, "i", &moved), desk.sign(&store, "a", &moved)];
    assert!(matches!(refusal(store.submit(moved, two, now())), Disbelief::NotInForce(_)));
}

#[test]
fn a_proposal_about_a_fact_that_changed_meanwhile_does_not_apply_and_a_rejected_one_never_does() {
    let (desk, mut store) = Desk::operational();
    let wish = everything(&store);
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    store.submit(wish, both, now()).expect("in force");
    let longer = proposal(&store, |r| r.purposes[0].review_on = Some(when("2028-01-01")));
    let other = proposal(&store, |r| r.zones[0].kind = ZoneKind::Access);
    for waits in [&longer, &other] {
        store.submit(waits.clone(), Vec::new(), now()).expect("kept");
    }
    let sooner = proposal(&store, |r| r.purposes[0].review_on = Some(when("2026-12-01")));
    assert!(store.submit(sooner, Vec::new(), now()).expect("narrows").in_force());
    let late = desk.sign(&store, "a", &longer);
    let conflict = refusal(store.approve(&longer.digest(), late, now()));
    assert!(matches!(conflict, Disbelief::DoesNotApply(DoesNotApply::Conflict { table: "purpose", .. })), "{conflict}");
    let reject = |store: &Store, by: &str, approval: Option<&str>| {
        let (proposal, at) = (other.digest(), When::from_stamp(now()));
        let approval = approval.map(|id| Rejection::sign(id, desk.key(id), &store.site(), &proposal, at));
        Rejection { proposal, by: by.to_owned(), why: "no".to_owned(), approval }
    };
    // Whoever proposed it takes it back while nobody has signed; then somebody in office does, by their key.
    let by_a = desk.sign(&store, "a", &other);
    store.approve(&other.digest(), by_a, now()).expect("kept");
    for by in ["l.wu", "test"] {
        assert!(matches!(store.reject(reject(&store, by, None), now()), Err(StoreError::Refused(_))), "{by} is only a name");
    }
    let mut forged = reject(&store, "o", Some("o"));
    forged.approval.as_mut().expect("signed").person = "a".to_owned();
    assert!(matches!(store.reject(forged, now()), Err(StoreError::Refused(_))));
    store.reject(reject(&store, "o", Some("o")), now()).expect("rejected");
    let both = vec![desk.sign(&store, "a", &other), desk.sign(&store, "b", &other)];
    assert_eq!(refusal(store.submit(other.clone(), both, now())), Disbelief::Replayed(other.digest().short()));
    assert!(matches!(store.reject(reject(&store, "o", Some("o")), now()), Err(StoreError::NoProposal(_))));
    let mine = proposal(&store, |r| r.zones[0].kind = ZoneKind::Access);
    store.submit(mine.clone(), Vec::new(), now()).expect("kept");
    let back = Rejection { proposal: mine.digest(), by: "test".to_owned(), why: String::new(), approval: None };
    store.reject(back, now()).expect("taken back");
    drop(store);
    Register::load(&desk.path()).expect("a rejection is a change that is believed");
}

#[test]
fn nothing_widens_by_a_clock_that_was_set_back_and_stopping_works_all_the_same() {
    let (desk, mut store) = Desk::operational();
    let wish = everything(&store);
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    store.submit(wish, both, now()).expect("in force");
    assert_eq!(store.chain().signed_at(), Some(now()));
    let (slack, late) = (when("2026-11-21T11:55:00Z").at(), when("2026-11-21T11:54:59Z").at());
    let by_this_clock = |wish: Proposal| Proposal { at: When::from_stamp(late), ..wish };
    let longer = by_this_clock(proposal(&store, |r| r.purposes[0].review_on = Some(when("2028-01-01"))));
    let sign_at = |store: &Store, id: &str, proposal: &Proposal, at: Stamp<Utc>| {
        Approval::sign(id, desk.key(id), &store.site(), &proposal.digest(), When::from_stamp(at))
    };
    let both = vec![sign_at(&store, "a", &longer, late), sign_at(&store, "b", &longer, late)];
    let why = refusal(store.submit(longer.clone(), both.clone(), late));
    assert!(matches!(why, Disbelief::Backdated { .. }) && why.to_string().contains("Set this machine's clock"), "{why}");
    // A stop is dated as the clock is, and moves nobody's time: not back, and not ahead either.
    for at in ["2020-01-01", "2099-01-01"] {
        let stop = proposal(&store, |r| {
            let (id, stream) = (format!("o-{}", r.objections.len()), Some("north".to_owned()));
            r.objections.push(Objection { id, stream, purpose: None, at: when(at), settled: None });
        });
        assert!(store.submit(stop, Vec::new(), when(at).at()).expect("recorded").in_force());
    }
    assert_eq!(store.chain().signed_at(), Some(now()));
    // So does one approver's word that takes another's away, and nothing comes back by it. Nor does it lock anybody out if its clock runs ahead.
    let ahead = when("2026-12-20").at();
    for (who, at) in [("o", late), ("i", ahead)] {
        let out = by_this_clock(proposal(&store, |r| r.people.retain(|p| p.id != who)));
        let one = sign_at(&store, "a", &out, at);
        assert!(store.submit(out, vec![one], at).expect("in force").in_force());
        assert_eq!(store.chain().signed_at(), Some(now()));
    }
    let stop = proposal(&store, |r| r.zones[0].kind = ZoneKind::Private);
    let both_ahead = vec![sign_at(&store, "a", &stop, ahead), sign_at(&store, "b", &stop, ahead)];
    assert!(store.submit(stop, both_ahead, ahead).expect("in force").in_force());
    assert_eq!(store.chain().signed_at(), Some(now()), "it would have been in force without them");
    assert!(store.submit(longer, both, slack).expect("within what two clocks differ").in_force());
    drop(store);
    Register::load(&desk.path()).expect("what was recorded is believed when it is read again");
}

#[test]
fn whoever_signs_must_be_in_office_when_the_register_was_last_changed_whatever_the_change_is_dated() {
    let (desk, mut store) = Desk::operational();
    let third = proposal(&store, |r| r.people[2].roles.push(Role::Approver));
    let both = vec![desk.sign(&store, "a", &third), desk.sign(&store, "b", &third)];
    assert!(store.submit(third, both, now()).expect("in force").in_force());
    let untrained = proposal(&store, |r| r.people[0].trained_until = when("2026-11-21T12:01:00Z"));
    let by_b = vec![desk.sign(&store, "b", &untrained)];
    assert!(store.submit(untrained, by_b, now()).expect("in force").in_force());
    let zone = proposal(&store, |r| r.zones.push(Zone { id: "yard".into(), kind: ZoneKind::Staff }));
    let others = vec![desk.sign(&store, "b", &zone), desk.sign(&store, "i", &zone)];
    assert!(store.submit(zone, others, when("2026-11-21T12:02:00Z").at()).expect("in force").in_force());
    let wish = everything(&store);
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    assert!(
        matches!(refusal(store.submit(wish, both, now())), Disbelief::NotInForce(_)),
        "within the slack, and a's training ran out by then"
    );
}

#[test]
fn a_proposal_that_is_dated_ahead_is_refused_when_it_is_made_and_when_it_is_signed() {
    let (desk, mut store) = Desk::operational();
    let dated = |store: &Store, at: &str| Proposal { at: when(at), ..everything(store) };
    let signed = |store: &Store, wish: &Proposal| vec![desk.sign(store, "a", wish), desk.sign(store, "b", wish)];
    let ahead = dated(&store, "2026-11-21T12:01:00.001Z");
    for approvals in [Vec::new(), signed(&store, &ahead)] {
        let why = refusal(store.submit(ahead.clone(), approvals, now()));
        assert!(matches!(why, Disbelief::DatedAhead { .. }) && why.to_string().contains("set the clock"), "{why}");
    }
    // It waits since a time when the clock was ahead; signed now, it is as it was.
    assert!(!store.submit(ahead.clone(), Vec::new(), when("2026-11-21T12:02:00Z").at()).expect("kept").in_force());
    let one = desk.sign(&store, "a", &ahead);
    assert!(matches!(refusal(store.approve(&ahead.digest(), one, now())), Disbelief::DatedAhead { .. }));
    let stop = Proposal { at: when("2099-01-01"), ..proposal(&store, |r| r.rules.sign_inspect_max_days = 7) };
    assert!(store.submit(stop, Vec::new(), now()).expect("in force").in_force(), "whatever the clock says");
    let edge = dated(&store, "2026-11-21T12:01:00Z");
    let both = signed(&store, &edge);
    assert!(store.submit(edge, both, now()).expect("in force").in_force(), "two clocks are never equal");
}

#[test]
fn while_the_clock_has_leapt_ahead_nothing_is_recorded_that_takes_two_and_stops_are() {
    let (desk, mut store) = Desk::operational();
    let (state, later) = (StateDirectory::new(desk.directory.path()), when("2026-12-25").at());
    leap::believe(&state, crate::clock::Now { utc: now(), monotonic: crate::clock::SystemClock.monotonic() }).expect("a first look");
    let wish = Proposal { at: When::from_stamp(later), ..everything(&store) };
    let by = |store: &Store, id: &str, at| Approval::sign(id, desk.key(id), &store.site(), &wish.digest(), When::from_stamp(at));
    let both = vec![by(&store, "a", later), by(&store, "b", later)];
    let why = store.submit(wish.clone(), both, later).expect_err("leapt");
    assert!(matches!(&why, StoreError::Clock(_)) && why.to_string().contains("Set the clock"), "{why}");
    assert!(matches!(store.submit(wish, Vec::new(), later), Err(StoreError::Clock(_))), "nor does it wait, dated as it is");
    assert_eq!(store.chain().signed_at(), Some(now()));
    let stop = proposal(&store, |r| r.rules.sign_inspect_max_days = 7);
    assert!(store.submit(stop, Vec::new(), later).expect("recorded").in_force());
    let wish = proposal(&store, |r| r.zones = good().zones);
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    assert!(store.submit(wish, both, now()).expect("the clock is right again").in_force());
}

#[test]
fn nobody_fills_the_places_of_those_who_sign() {
    let (desk, mut store) = Desk::operational();
    let mut number = 0;
    let mut wish = |store: &Store, by: &str| {
        number += 1;
        let zone = Edit::put(Table::Zone, &Zone { id: format!("z-{number}"), kind: ZoneKind::Public });
        Proposal::new(vec![zone], by, "", When::from_stamp(now())).unwrap_or_else(|_| panic!("{}", store.site()))
    };
    for i in 0..MAX_UNSIGNED {
        let by = format!("p-{}", i / MAX_UNSIGNED_OF_ONE);
        let proposal = wish(&store, &by);
        assert!(matches!(store.submit(proposal, Vec::new(), now()), Ok(Outcome::Pending { .. })), "{i}");
        if i == MAX_UNSIGNED_OF_ONE - 1 {
            let one_more = wish(&store, &by);
            assert!(matches!(store.submit(one_more, Vec::new(), now()), Err(StoreError::TooManyOf(name)) if name == by));
        }
    }
    let one_more = wish(&store, "somebody");
    assert!(matches!(store.submit(one_more, Vec::new(), now()), Err(StoreError::TooManyPending)));
    for i in MAX_UNSIGNED..=MAX_PENDING {
        let proposal = wish(&store, "somebody");
        let signed = vec![desk.sign(&store, "a", &proposal)];
        let outcome = store.submit(proposal, signed, now());
        assert_eq!(matches!(outcome, Ok(Outcome::Pending { .. })), i < MAX_PENDING, "{i}");
    }
}

#[test]
fn the_register_of_a_time_is_what_the_changes_until_then_made_it() {
    let (desk, mut store) = Desk::operational();
    let wish = everything(&store);
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    let later = when("2026-11-21T13:00:00Z").at();
    store.submit(wish, both, later).expect("in force");
    drop(store);
    let past = Present::history(&desk.path()).expect("believed");
    let seen: Vec<(Stamp<Utc>, usize)> = past.iter().map(|(at, r)| (*at, r.zones.len())).collect();
    assert_eq!(seen, [(now(), 0), (later, 1)]);
}

#[test]
fn a_demonstrations_stand_ins_sign_there_and_nowhere_else() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("register.redb");
    let outcome = put_as_stand_ins(&path, &good(), now()).expect("stored");
    assert!(matches!(outcome, Outcome::InForce { stand_ins: true, .. }), "{outcome:?}");
    assert!(matches!(put_as_stand_ins(&path, &good(), now()).expect("the same"), Outcome::Unchanged));
    let mut store = Store::open(&path).expect("opens");
    let people = ["a", "b"].map(|id| Person {
        id: id.to_owned(),
        key: PersonKey::generate().expect("made").public().to_string(),
        roles: vec![Role::Approver],
        from: when("2026-01-01"),
        until: None,
        trained_until: when("2027-01-01"),
        stand_in: false,
    });
    let stand_ins = stand_ins_of(&path).expect("made");
    assert!(matches!(store.found_again(Mode::Operational, stand_ins, now()), Err(StoreError::Refused(_))));
    store.found_again(Mode::Operational, people.to_vec(), now()).expect("founded anew");
    assert_eq!(*store.register(), Register { people: people.to_vec(), ..Register::default() }, "dark");
    let wish = everything(&store);
    assert!(
        !store.submit(wish.clone(), Vec::new(), now()).expect("kept").in_force(),
        "the stand-ins' keys are still there, and count for nothing"
    );
    let signed = stand_in::approvals(&path, &store.site(), &wish, &When::from_stamp(now())).expect("keys");
    assert!(matches!(refusal(store.submit(wish, signed, now())), Disbelief::Stranger(_)));
    assert!(
        matches!(store.found_again(Mode::Demo, people.to_vec(), now()), Err(StoreError::Refused(_))),
        "operational once, operational for good"
    );
}
