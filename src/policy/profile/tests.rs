//! Who may say what the law is: signatures, versions, dates, keys.

use std::path::PathBuf;

use super::library::BUNDLED;
use super::signature::{self, SignatureError, TrustedKey};
use super::testing::{Shelf, permissive};
use super::*;
use crate::clock::{Stamp, Utc};
use crate::policy::facts::BasisKind;
use crate::policy::rules::Rule;
use crate::purpose::PurposeKind;

fn now() -> Stamp<Utc> {
    "2026-11-21T12:00:00Z".parse::<When>().expect("date").at()
}

fn read(values: &str) -> Result<Profile, ProfileError> {
    Profile::unverified(&PathBuf::from("profiles/x"), Texts { values, policies: &permissive("x"), signature: None })
}

#[test]
fn the_bundled_profiles_are_in_order_and_china_s_values_are_the_law_s() {
    let library = Library::bundled();
    for name in library.names() {
        let profile = library.profile(&name).unwrap_or_else(|reason| panic!("{reason}"));
        assert!(profile.policies.num_of_policies() > 1 && !profile.sources.is_empty(), "{name}");
        library.regime(&[name], now()).unwrap_or_else(|reason| panic!("{reason}"));
    }
    let cn = &library.profile("cn-pipl").expect("bundled").values;
    assert_eq!((cn.inspect_max_days, cn.order_max_hours, cn.order_renewals, cn.order_approvers), (30, 168, 2, 2));
    assert_eq!((cn.filing_persons, cn.filing_warn_pct, cn.templates_max_days, cn.minor_age), (Some(100_000), 80, Some(180), 14));
    assert_eq!(cn.bases_for(PurposeKind::CrimePrevention), [BasisKind::PublicSafety].into());
    let eu = &library.profile("eu-ai-act").expect("bundled").values;
    assert_eq!((eu.pending_hours, eu.confirmations), (Some(48), 2));
    assert!(library.profile("us-bipa").expect("bundled").values.live_1n.is_empty());
    let all: Vec<String> = library.names();
    let merged = library.regime(&all, now()).expect("regime");
    for name in all {
        assert!(merged.values.is_within(&library.profile(&name).expect("bundled").values), "{name}");
    }
}

#[test]
fn an_altered_byte_in_either_file_is_noticed() {
    for (name, texts) in BUNDLED {
        let path = PathBuf::from(name);
        Profile::verified(&path, texts, &signature::trusted_keys()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (values, policies) = (format!("{}\n", texts.values), format!("{} ", texts.policies));
        for altered in [Texts { values: &values, ..texts }, Texts { policies: &policies, ..texts }] {
            let refused = Profile::verified(&path, altered, &signature::trusted_keys()).expect_err("altered");
            assert_eq!(refused, ProfileError::Signature(SignatureError::Altered));
        }
        let unsigned = Texts { signature: None, ..texts };
        let refused = Profile::verified(&path, unsigned, &signature::trusted_keys()).expect_err("unsigned");
        assert_eq!(refused, ProfileError::Signature(SignatureError::Unsigned));
        let strangers = [TrustedKey { id: "placard-2026".to_owned(), public: vec![7; 32] }];
        assert!(Profile::verified(&path, texts, &strangers).is_err() && Profile::verified(&path, texts, &[]).is_err());
    }
    // No byte moves from one file into the other.
    assert_ne!(signature::digest("ab", "c"), signature::digest("a", "bc"));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    let head = "[regime]\nid = \"x\"\nversion = \"1\"\nvalid_from = 2026-01-01\nsupervisor = \"s\"\nsigned_by = \"k\"\n";
    read(head).expect("what is left out asks for nothing");
    let cases = [
        ("[sign]\ninspect_max_day = 3\n", "profile.toml:8: unknown field `inspect_max_day`", "Did you mean `inspect_max_days`?"),
        ("[emergancy]\n", "profile.toml:7: unknown field `emergancy`", "Did you mean `emergency`?"),
        ("[storage]\nframes = \"a while\"\n", "profile.toml:8", "never"),
        ("[sign]\ninspect_max_days = 91\n", "profile.toml:8", "1 to 90"),
        ("[sign]\nrequired = false\n", "profile.toml:8", "no profile looks where no sign is"),
        ("[mode]\nlive_1n = \"basis:whim\"\n", "profile.toml:8", "`whim` is no kind of basis"),
        ("[governance]\nvote_ratio = 2.0\n", "profile.toml:8", "0 to 1"),
        ("[basis]\nmarketing = []\n", "profile.toml:8", "unknown field `marketing`"),
        ("[[rule]]\nid = \"a\"\nforce = \"advisable\"\nsource = \"s\"\n", "profile.toml:9", "unknown variant `advisable`"),
    ];
    for (text, place, problem) in cases {
        let refused = read(&format!("{head}{text}")).expect_err(text).to_string();
        assert!(refused.contains(place) && refused.contains(problem), "{refused}");
    }
    assert!(read(&head.replace("\"1\"", "\"one\"")).is_err());
}

#[test]
fn a_profile_that_is_not_in_order_turns_everything_off_and_says_why() {
    let shelf = Shelf::new();
    let named = |name: &str| if shelf.path(name).join("profile.toml").is_file() { shelf.named(name) } else { name.to_owned() };
    let refused = |name: &str| shelf.library().regime(&[named(name)], now()).expect_err(name);
    let facts = |name: &str| {
        let reason = refused(name);
        assert_eq!(reason.rule, Rule::ProfileKnown);
        reason.fact
    };
    assert!(facts("cn-pip").contains("did you mean `cn-pipl`"));
    shelf.put("late", "1", "valid_from = 2027-01-01", &permissive("late"));
    assert!(facts("late").contains("valid from 2027-01-01"));
    shelf.put("gone", "1", "valid_from = 2026-01-01\nvalid_until = 2026-11-21", &permissive("gone"));
    assert!(facts("gone").contains("valid until 2026-11-21"));
    shelf.put("other", "1", "valid_from = 2026-01-01", &permissive("other"));
    std::fs::rename(shelf.path("other"), shelf.path("renamed")).expect("renamed");
    assert!(facts("renamed").contains("kept under `renamed`"));
    shelf.put("bare", "1", "valid_from = 2026-01-01", &permissive("bare"));
    std::fs::remove_file(shelf.path("bare").join("signature")).expect("removed");
    assert!(facts("bare").contains("not signed"));
    // One that is there and wrong does not fall back to the bundled one; neither does an earlier version of it.
    shelf.put("cn-pipl", "2025.9", "valid_from = 2025-06-01", &permissive("cn"));
    assert!(facts("cn-pipl").contains("not later"));
    assert!(refused("../cn-pipl").fact.contains("no profile"));
    // A policy that the schema does not account for.
    let careless = "@id(\"c\") forbid (principal, action, resource) when { context.sign.posted_at > 0 };";
    shelf.put("careless", "1", "valid_from = 2026-01-01", careless);
    assert!(facts("careless").contains("the schema does not accept"));
    let kind = "@id(\"k\") forbid (principal, action, resource) when { resource.color == \"red\" };";
    shelf.put("unknown", "1", "valid_from = 2026-01-01", kind);
    assert!(facts("unknown").contains("the schema does not accept"));
}

#[test]
fn a_version_that_was_seen_is_not_followed_by_an_earlier_one_or_by_another_of_the_same_number() {
    let shelf = Shelf::new();
    let library = shelf.library();
    let regime = || library.regime(&[shelf.named("own")], now());
    shelf.put("own", "2", "valid_from = 2026-01-01", &permissive("own"));
    let first = regime().expect("in order");
    shelf.put("own", "2.1", "valid_from = 2026-01-01\nvalid_until = 2027-01-01", &permissive("own"));
    let second = regime().expect("later");
    assert!(first.hash != second.hash && second.ends.is_some());
    shelf.put("own", "2.1", "valid_from = 2026-01-01", &permissive("own"));
    assert!(regime().expect_err("another text, the same number").fact.contains("not later"));
    shelf.put("own", "2", "valid_from = 2026-01-01", &permissive("own"));
    assert!(regime().is_err());
    shelf.put("own", "10.0", "valid_from = 2026-01-01", &permissive("own"));
    regime().expect("numbers, not text");
}

#[test]
fn a_profile_of_the_site_s_own_counts_while_who_signed_it_is_its_legal_officer() {
    use crate::policy::facts::{Person, Register, Role};
    let shelf = Shelf::new();
    shelf.put("own", "1", "valid_from = 2026-01-01", &permissive("own"));
    let library = Library::with_directory(shelf.path(""), Vec::new());
    let mut register = Register::default();
    register.rules.profiles = vec![shelf.named("own")];
    let refused = |register: &Register| library.regime_of(register, now()).err().map(|r| r.fact).unwrap_or_default();
    assert!(refused(&register).contains("does not trust"));
    let when = |text: &str| text.parse::<When>().expect("date");
    register.people.push(Person {
        id: "tests".to_owned(),
        key: testing::public_key(),
        roles: vec![Role::Legal],
        from: when("2026-01-01"),
        until: None,
        trained_until: when("2027-01-01"),
        stand_in: false,
    });
    assert_eq!(refused(&register), "");
    // One officer's signature says what it holds; that it holds takes two approvers, who sign for its digest in the register.
    register.rules.profiles = vec!["own".to_owned()];
    let unnamed = library.regime_of(&register, now()).expect_err("no digest");
    assert!(unnamed.remedy.contains(&shelf.named("own")), "{unnamed}");
    register.rules.profiles = vec![shelf.named("own")];
    shelf.put("own", "2", "valid_from = 2026-01-01", &permissive("own"));
    assert!(refused(&register).contains("another than the one that two approvers signed for"), "{}", refused(&register));
    register.rules.profiles = vec![shelf.named("own")];
    assert_eq!(refused(&register), "");
    // Nobody at the site signs what a bundled name stands for, however late the version.
    shelf.put("cn-pipl", "9999.1", "valid_from = 2026-01-01", &permissive("cn-pipl"));
    register.rules.profiles = vec!["cn-pipl".to_owned()];
    assert!(refused(&register).contains("does not trust"), "{}", refused(&register));
    register.rules.profiles = vec![shelf.named("own")];
    register.people[0].roles = vec![Role::Approver];
    assert!(refused(&register).contains("does not trust"));
    register.people[0].roles = vec![Role::Legal];
    register.people[0].trained_until = when("2026-11-21");
    assert!(refused(&register).contains("does not trust"), "untrained");
}
