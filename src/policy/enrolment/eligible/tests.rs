//! Who is refused, and by which rule: every way in which consent, age or order can be wrong, one at a time.

use super::*;
use crate::policy::facts::testing::good;
use crate::policy::facts::{ConsentMethod, Guardian, Renewal, Withdrawal};

const ANNA: &str = "00000000000000000000000000000001";

fn when(text: &str) -> When {
    text.parse().expect("a date")
}
fn now() -> Stamp<Utc> {
    when("2026-11-21T12:00:00Z").at()
}
fn purpose(text: &str) -> Purpose {
    text.parse().expect("a purpose")
}
fn gone() -> Withdrawal {
    Withdrawal { at: when("2026-11-20"), by: "w.chen".to_owned(), reason: String::new() }
}
fn adult() -> Declared {
    Declared { adult: true, ..Declared::default() }
}

fn consent(id: &str, purpose: &str) -> Consent {
    Consent {
        id: id.to_owned(),
        subject: ANNA.to_owned(),
        purpose: self::purpose(purpose),
        notice_sha256: "5e1f".repeat(16),
        method: ConsentMethod::Written,
        separate: true,
        bundled: false,
        service_conditional: false,
        given_at: when("2026-11-01"),
        until: when("2026-12-01"),
        birth_date: None,
        guardian: None,
        withdrawn: None,
    }
}

fn guardians(id: &str, purpose: &str) -> Consent {
    let guardian = Guardian { reference: "g-1".to_owned(), relation: "mother".to_owned(), given_at: when("2026-11-01") };
    Consent { guardian: Some(guardian), ..consent(id, purpose) }
}

fn order() -> Order {
    Order {
        id: "2026-31".to_owned(),
        issuer: "City".to_owned(),
        zones: vec!["hall".to_owned()],
        from: when("2026-11-20"),
        until: when("2026-11-23"),
        renewals: vec![Renewal { number: "2026-40".to_owned(), from: when("2026-11-23"), until: when("2026-11-25") }],
        approved_by: vec!["a".to_owned(), "b".to_owned()],
        ended: None,
    }
}

fn refused(register: &Register, purpose: &str, declared: &Declared) -> Option<Rule> {
    let answer = eligible(register, &self::purpose(purpose), declared, 14, now());
    if let Err(reason) = &answer {
        assert!(!reason.fact.is_empty() && !reason.remedy.is_empty(), "every refusal says what is, and what would help: {reason}");
    }
    answer.err().map(|r| r.rule)
}

#[test]
fn every_flaw_of_a_consent_refuses() {
    let mut register = good();
    register.consents.push(consent("c-1", "access-verification"));
    let named = Declared { consent: Some("c-1".to_owned()), ..adult() };
    let given = eligible(&register, &purpose("access-verification"), &named, 14, now()).expect("consented");
    assert_eq!((given.subject.as_deref(), given.consent.as_deref()), (Some(ANNA), Some("c-1")));
    assert_eq!(given.ends, Some(when("2026-12-01").at()), "no template outlives the consent");
    assert_eq!(refused(&register, "access-verification", &adult()), Some(Rule::ConsentGiven), "none named");
    type Flaw = fn(&mut Consent);
    let flaws: [(&str, Flaw); 10] = [
        ("another id", |c| c.id = "c-2".to_owned()),
        ("another purpose", |c| c.purpose = purpose("missing-person:mp-7")),
        ("not separate", |c| c.separate = false),
        ("bundled", |c| c.bundled = true),
        ("condition of a service", |c| c.service_conditional = true),
        ("no notice", |c| c.notice_sha256.clear()),
        ("a placeholder for the notice", |c| c.notice_sha256 = "0".repeat(64)),
        ("still to come", |c| c.given_at = when("2026-11-22")),
        ("past its end", |c| c.until = when("2026-11-21")),
        ("withdrawn", |c| c.withdrawn = Some(gone())),
    ];
    for (what, flaw) in flaws {
        let mut register = register.clone();
        flaw(&mut register.consents[0]);
        assert_eq!(refused(&register, "access-verification", &named), Some(Rule::ConsentGiven), "{what}");
    }
    // A purpose whose basis is consent asks for it too.
    let mut on_consent = register.clone();
    on_consent.purposes[0].basis.as_mut().expect("a basis").kind = BasisKind::SeparateConsent;
    assert_eq!(refused(&on_consent, "missing-person:mp-7", &adult()), Some(Rule::ConsentGiven));
    assert_eq!(refused(&register, "missing-person:mp-7", &adult()), None, "on public safety nobody is asked");
    // Two people's consents are not one person's.
    let mut other = guardians("c-2", "access-verification");
    other.subject = "00000000000000000000000000000002".to_owned();
    register.consents.push(other);
    let both = Declared { guardian_consent: Some("c-2".to_owned()), ..named };
    assert_eq!(refused(&register, "access-verification", &both), Some(Rule::ConsentGiven));
}

#[test]
fn unknown_age_is_refused_and_a_child_needs_a_guardian() {
    let mut register = good();
    register.orders.push(order());
    let born = |date: &str| Declared { birth_date: Some(when(date)), ..Declared::default() };
    for of in ["missing-person:mp-7", "crime-prevention:x", "emergency:2026-31"] {
        assert_eq!(refused(&register, of, &Declared::default()), Some(Rule::AgeDeclared), "{of}");
        assert_eq!(refused(&register, of, &adult()), None, "{of}");
        assert_eq!(refused(&register, of, &born("2012-11-21")), None, "{of}: fourteen today");
        assert_eq!(refused(&register, of, &born("2012-11-22")), Some(Rule::GuardianConsents), "{of}: fourteen tomorrow");
        assert_eq!(refused(&register, of, &born("1931-05-01")), None, "{of}");
        for slip in ["2026-11-22", "1900-01-01"] {
            let expected = (slip > "2000").then_some(Rule::AgeDeclared);
            assert_eq!(refused(&register, of, &born(slip)), expected, "{of}: {slip}");
        }
        assert_eq!(
            refused(&register, of, &Declared { adult: true, ..born("2020-01-01") }),
            Some(Rule::AgeDeclared),
            "{of}: a contradiction"
        );
    }
    let of = "missing-person:mp-7";
    register.consents.extend([consent("own", of), guardians("mother", of)]);
    let with = |id: &str| Declared { guardian_consent: Some(id.to_owned()), ..born("2020-01-01") };
    assert_eq!(refused(&register, of, &with("mother")), None);
    assert_eq!(refused(&register, of, &with("own")), Some(Rule::GuardianConsents), "the child's own is not a guardian's");
    assert_eq!(refused(&register, of, &with("nobody's")), Some(Rule::ConsentGiven));
    assert_eq!(refused(&register, of, &Declared { consent: Some("own".to_owned()), ..born("2020-01-01") }), Some(Rule::GuardianConsents));
    register.consents[1].withdrawn = Some(gone());
    assert_eq!(refused(&register, of, &with("mother")), Some(Rule::ConsentGiven));
    // The date in the consent counts as declared, and must be the same.
    register.consents[1] = Consent { birth_date: Some(when("2020-01-01")), ..guardians("mother", of) };
    assert_eq!(refused(&register, of, &Declared { birth_date: None, ..with("mother") }), None);
    assert_eq!(refused(&register, of, &Declared { birth_date: Some(when("2020-01-02")), ..with("mother") }), Some(Rule::AgeDeclared));
}

#[test]
fn nobody_is_enrolled_under_an_order_that_is_not_in_force() {
    let mut register = good();
    let of = "emergency:2026-31";
    assert_eq!(refused(&register, of, &adult()), Some(Rule::OrderInForce), "no such order");
    register.orders.push(order());
    let given = eligible(&register, &purpose(of), &adult(), 14, now()).expect("in force");
    assert_eq!(given.ends, Some(when("2026-11-25").at()), "with its last renewal");
    for (what, change) in [
        ("ended early", (|o| o.ended = Some(gone())) as fn(&mut Order)),
        ("still to come", |o| o.from = when("2026-11-22")),
        ("over", |o| (o.until, o.renewals) = (when("2026-11-21"), Vec::new())),
    ] {
        let mut register = register.clone();
        change(&mut register.orders[0]);
        assert_eq!(refused(&register, of, &adult()), Some(Rule::OrderInForce), "{what}");
    }
}

#[test]
fn a_case_has_room_for_one_person_for_a_month_and_a_cap_is_kept() {
    let mut register = good();
    let room = |register: &Register, of: &str, enrolled, days| has_room(register, &purpose(of), enrolled, days).err().map(|r| r.rule);
    assert_eq!(room(&register, "missing-person:mp-7", 0, 30), None);
    assert_eq!(room(&register, "missing-person:mp-7", 1, 30), Some(Rule::GalleryCapped));
    assert_eq!(room(&register, "missing-person:mp-7", 0, 31), Some(Rule::GalleryCapped));
    assert_eq!(room(&register, "crime-prevention:x", 10_000, 180), None, "nothing recorded, nothing capped");
    register.purposes[0].gallery_cap = Some(0);
    assert_eq!(room(&register, "missing-person:mp-7", 0, 30), Some(Rule::GalleryCapped), "a cap may be lower than one");
    register.purposes[0].purpose = purpose("crime-prevention:x");
    register.purposes[0].gallery_cap = Some(3);
    assert_eq!(
        (room(&register, "crime-prevention:x", 2, 180), room(&register, "crime-prevention:x", 3, 1)),
        (None, Some(Rule::GalleryCapped))
    );
}

#[test]
fn what_is_over_by_a_record_is_over_and_what_nobody_knows_is_not_searched() {
    let mut register = good();
    let stands = |register: &Register, of: &str, at: &str| standing(register, &purpose(of), (ANNA, None), when(at).at());
    let (missing, access, emergency) = ("missing-person:mp-7", "access-verification", "emergency:2026-31");
    let today = "2026-11-21T12:00:00Z";
    assert_eq!(stands(&register, missing, today), Standing::Stands, "it rests on no consent");
    assert_eq!(stands(&register, access, today), Standing::Unknown);
    let on_a_lost_one = standing(&register, &purpose(missing), (ANNA, Some("mother")), now());
    assert_eq!(on_a_lost_one, Standing::Unknown, "enrolled with a consent that the register no longer has");
    register.consents.push(consent("own", access));
    assert_eq!(stands(&register, access, today), Standing::Stands);
    assert_eq!(stands(&register, access, "2026-12-01"), Standing::Over);
    register.consents[0].withdrawn = Some(gone());
    assert_eq!(stands(&register, access, today), Standing::Over);
    register.consents.push(consent("again", access));
    assert_eq!(stands(&register, access, today), Standing::Stands, "given anew");
    register.consents.push(Consent { withdrawn: Some(gone()), ..guardians("mother", access) });
    assert_eq!(stands(&register, access, today), Standing::Over, "the child's own does not do without hers");
    register.consents.pop();
    register.consents[1].bundled = true;
    assert_eq!(stands(&register, access, today), Standing::Unknown, "a slip erases nobody");

    register.consents[1].bundled = false;
    let under = |id: &str| standing(&register, &purpose(access), (ANNA, Some(id)), now());
    assert_eq!(under("own"), Standing::Over, "the one that it was made under is withdrawn; another that stands keeps nothing of it");
    assert_eq!(under("again"), Standing::Stands, "made anew, under the one that stands");
    let mut slip = register.clone();
    slip.consents[1].bundled = true;
    assert_eq!(standing(&slip, &purpose(access), (ANNA, Some("again")), now()), Standing::Unknown);

    assert_eq!(stands(&register, emergency, today), Standing::Unknown, "no such order");
    register.orders.push(order());
    assert_eq!(stands(&register, emergency, today), Standing::Stands);
    assert_eq!(stands(&register, emergency, "2026-11-24"), Standing::Stands, "renewed");
    assert_eq!(stands(&register, emergency, "2026-11-25"), Standing::Over);
    register.orders[0].ended = Some(gone());
    // Whatever the clock says: who set it back does not bring the order back.
    for at in ["2026-11-19", today, "2026-11-24", "2027-11-24"] {
        assert_eq!(stands(&register, emergency, at), Standing::Over, "{at}");
    }
}

#[test]
fn whoever_is_enrolled_under_an_authorisation_goes_with_its_refusal_and_nobody_is_enrolled_after_it() {
    use crate::policy::refused::testing::{authorisation, refused as refusal};
    let (case, mut register) = (purpose("crime-prevention:7"), good());
    let at = |register: &Register, date: &str| {
        let enrolment = Enrolment { subject: ANNA, consent: None, at: when(date).at() };
        enrolment_stands(register, &case, enrolment, now())
    };
    register.authorisations = vec![authorisation("u-1", &case)];
    assert_eq!((at(&register, "2026-11-11"), refused(&register, "crime-prevention:7", &adult())), (Standing::Stands, None));
    register.authorisations = vec![refusal("u-1", &case)];
    assert_eq!(at(&register, "2026-11-11"), Standing::Over);
    assert_eq!(at(&register, "2026-11-09"), Standing::Stands, "before the use began that was refused");
    assert_eq!(refused(&register, "crime-prevention:7", &adult()), Some(Rule::Authorised));
    assert_eq!(refused(&register, "crime-prevention:8", &adult()), None, "another case");
    register.authorisations.push(authorisation("u-2", &case));
    assert_eq!(
        (at(&register, "2026-11-11"), refused(&register, "crime-prevention:7", &adult())),
        (Standing::Stands, None),
        "under the other"
    );
}
