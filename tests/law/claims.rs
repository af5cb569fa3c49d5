//! Claims at a gate: opened by leave and consent alone, for one person and a few seconds, and ended by whatever ends either.

use std::time::Duration;

use placard::clock::Clock;
use placard::policy::claim::MAX_CLAIM;
use placard::policy::facts::Register;
use placard::policy::lease::{Embed, MAX_LEASE, Match, TellVerified, Verify, Withheld};
use placard::policy::rules::{Reason, Rule};
use placard::policy::worker::PolicyError;
use placard::purpose::Purpose;

use super::{NORTH, SOUTH, Site, at, register_text};

const ANNA: &str = "0123456789abcdef0123456789abcdef";
const BEN: &str = "fedcba9876543210fedcba9876543210";
const WITHIN: Duration = Duration::from_secs(5);

fn consent(id: &str, subject: &str, more: &str) -> String {
    format!(
        "\n[[consent]]\nid = \"{id}\"\nsubject = \"{subject}\"\npurpose = \"access-verification\"\nnotice_sha256 = \"{}\"\n\
         method = \"written\"\nseparate = true\ngiven_at = 2026-11-01\nuntil = 2026-12-01\n{more}",
        "5e1f".repeat(16)
    )
}

/// `north` shows a gate, with a card reader beside it; `south` a yard where a missing person is looked for.
fn gate_with(consents: &str) -> String {
    let text =
        register_text().replacen("kind = \"public\"", "kind = \"access\"", 1).replacen("missing-person:mp-7", "access-verification", 1);
    let text = text.replacen("public-safety", "separate-consent", 1);
    format!("{text}\n[[alternative]]\nid = \"card-1\"\nzone = \"hall\"\nkind = \"card\"\nheartbeat_s = 300\n{consents}")
}

fn gate() -> Site {
    let site = Site::new(&gate_with(&(consent("anna", ANNA, "") + &consent("ben", BEN, ""))));
    site.policy.observations().heartbeat("card-1", site.clock.monotonic());
    site.policy.reload().expect("answers");
    site
}

impl Site {
    fn claim(&self, id: u64, person: &str) -> Result<(), Reason> {
        match self.policy.open_claim(NORTH, id, person, WITHIN) {
            Ok(claim) => {
                assert_eq!((claim.id, &*claim.subject), (id, if person == "ben" { BEN } else { ANNA }));
                Ok(())
            }
            Err(PolicyError::ClaimRefused(reason)) => {
                assert!(!reason.fact.is_empty() && !reason.remedy.is_empty(), "every refusal says what is, and what would help: {reason}");
                Err(reason)
            }
            Err(other) => panic!("{other}"),
        }
    }
    fn refusal(&self, person: &str) -> Option<Rule> {
        self.claim(99, person).err().map(|reason| reason.rule)
    }
    /// Whom a face at the gate may be compared with now.
    fn claimed(&self) -> Option<String> {
        let permit = self.table.permit_for::<Verify>(NORTH, &Purpose::access_verification(), self.clock.monotonic()).ok()?;
        Some(permit.claim().expect("no permit to verify without a claim").subject.to_string())
    }
    /// Nobody is measured at the gate.
    fn assert_nobody_is_looked_at(&self) {
        assert_eq!(self.claimed(), None);
        assert!(self.table.permit::<Embed>(NORTH, self.clock.monotonic()).is_err());
    }
}

#[test]
fn nobody_is_measured_who_claims_nothing_and_a_claim_is_for_one_person() {
    let site = gate();
    site.assert_lit();
    let now = site.clock.monotonic();
    assert_eq!(site.table.permit::<Embed>(NORTH, now).err(), Some(Withheld::Purpose));
    assert!(site.table.permit::<Embed>(SOUTH, now).is_ok(), "where people are looked for");
    let before = site.table.epoch(NORTH);
    site.claim(1, "anna").expect("opened");
    assert!(site.table.epoch(NORTH) > before, "what was seen before the claim is not compared");
    assert_eq!(site.claimed().as_deref(), Some(ANNA));
    let embed = site.table.permit::<Embed>(NORTH, now).expect("somebody claims something");
    let access = Purpose::access_verification();
    assert_eq!(site.table.permit_for::<Match>(NORTH, &access, now).err(), Some(Withheld::Purpose), "never a search");
    assert!(site.table.match_permits(NORTH, now).is_err());
    assert!(site.table.permit_for::<Verify>(SOUTH, &access, now).is_err(), "a claim is for one stream");
    assert!(site.table.permit_for::<TellVerified>(NORTH, &access, now).is_ok());
    // One at a time.
    assert_eq!(site.refusal("ben"), Some(Rule::VerificationOnly));
    assert_eq!(site.claimed().as_deref(), Some(ANNA));
    site.policy.close_claim(1).expect("answers");
    assert!(!embed.is_live(site.clock.monotonic()));
    site.assert_nobody_is_looked_at();
    site.claim(2, "ben").expect("the next, please");
    assert_eq!(site.claimed().as_deref(), Some(BEN));
    site.policy.close_claim(1).expect("closing another's claim");
    assert_eq!(site.claimed().as_deref(), Some(BEN));
}

#[test]
fn a_claim_ends_by_itself_to_the_nanosecond_also_where_the_policy_thread_hangs() {
    let site = gate();
    site.claim(1, ANNA).expect("by the subject's id");
    site.advance(WITHIN.saturating_sub(Duration::from_nanos(1)));
    assert_eq!(site.claimed().as_deref(), Some(ANNA));
    site.policy.freeze().expect("freezes");
    site.clock.advance(Duration::from_nanos(1));
    site.assert_nobody_is_looked_at();
    site.policy.thaw();
    site.policy.reload().expect("goes on");
    site.assert_lit();
    site.assert_nobody_is_looked_at();
    // However long somebody asks for.
    let claim = site.policy.open_claim(NORTH, 2, "anna", Duration::from_secs(3_600)).expect("opened");
    assert_eq!(claim.until, site.clock.monotonic().plus(MAX_CLAIM));
    // The thread dies with the claim open.
    site.policy.freeze().expect("freezes");
    site.clock.advance(MAX_LEASE);
    site.assert_nobody_is_looked_at();
    site.policy.thaw();
    site.policy.stop();
    assert!(matches!(site.policy.open_claim(NORTH, 3, "ben", WITHIN), Err(PolicyError::NotAnswering)));
    site.assert_nobody_is_looked_at();
}

#[test]
fn no_other_way_in_no_face_check() {
    let site = Site::new(&gate_with(&consent("anna", ANNA, "")));
    assert_eq!(site.refusal("anna"), Some(Rule::AlternativeAlive), "declared is not enough");
    site.policy.observations().heartbeat("card-1", site.clock.monotonic());
    site.claim(1, "anna").expect("the service need not be told to look again");
    site.policy.close_claim(1).expect("answers");
    // The reader is silent for too long: nothing opens, and what is open ends.
    site.advance(Duration::from_secs(298));
    site.claim(2, "anna").expect("it still counts");
    site.advance(Duration::from_secs(2));
    site.assert_nobody_is_looked_at();
    assert_eq!(site.refusal("anna"), Some(Rule::AlternativeAlive));
    // None declared at all.
    let none = gate_with(&consent("anna", ANNA, ""))
        .replace("[[alternative]]\nid = \"card-1\"\nzone = \"hall\"", "[[alternative]]\nid = \"card-1\"\nzone = \"yard\"");
    site.write(&none);
    assert_eq!(site.refusal("anna"), Some(Rule::AlternativeAlive));
}

#[test]
fn a_consent_that_does_not_hold_opens_nothing_and_ends_what_is_open() {
    let site = gate();
    assert_eq!(site.refusal("carla"), Some(Rule::ConsentGiven), "nobody of that name consented");
    site.claim(1, "anna").expect("opened");
    site.write(&gate_with(&(consent("anna", ANNA, "withdrawn = { at = 2026-11-21, by = \"anna\" }\n") + &consent("ben", BEN, ""))));
    site.assert_nobody_is_looked_at();
    assert_eq!(site.refusal("anna"), Some(Rule::ConsentGiven));
    site.claim(2, "ben").expect("hers is not his");
    site.policy.close_claim(2).expect("answers");
    // A child's own consent does not do; with a guardian's it does, until that ends.
    let born = "birth_date = 2015-01-01\n";
    site.write(&gate_with(&consent("anna", ANNA, born)));
    assert_eq!(site.refusal("anna"), Some(Rule::GuardianConsents));
    let guardian = "guardian = { reference = \"g-1\", relation = \"mother\", given_at = 2026-11-01 }\n";
    let both = |more: &str| consent("anna", ANNA, born) + &consent("mother", ANNA, &format!("{guardian}{more}"));
    site.write(&gate_with(&both("")));
    site.claim(3, "anna").expect("both consented");
    site.write(&gate_with(&both("withdrawn = { at = 2026-11-21, by = \"g-1\" }\n")));
    site.assert_nobody_is_looked_at();
    assert_eq!(site.refusal("anna"), Some(Rule::ConsentGiven));
    // Time alone ends a consent.
    let last = gate();
    last.clock.set_utc(at("2026-11-30T23:59:58Z"));
    last.policy.observations().heartbeat("card-1", last.clock.monotonic());
    last.claim(1, "anna").expect("its last seconds");
    last.advance(Duration::from_secs(2));
    last.assert_nobody_is_looked_at();
    assert_eq!(last.refusal("anna"), Some(Rule::ConsentGiven));
}

#[test]
fn what_cannot_be_decided_opens_nothing_and_ends_what_is_open() {
    let site = gate();
    // The clock is set back.
    site.claim(1, "anna").expect("opened");
    let right = site.clock.utc();
    site.clock.set_utc(at("2026-11-20T12:00:00Z"));
    site.policy.reload().expect("answers");
    site.assert_nobody_is_looked_at();
    assert_eq!(site.refusal("anna"), Some(Rule::ClockBelievable));
    site.clock.set_utc(right);
    site.policy.reload().expect("answers");
    site.assert_nobody_is_looked_at();
    // It leaps ahead: what has ended by it has ended.
    site.claim(2, "anna").expect("opened");
    site.clock.set_utc(at("2027-11-20T12:00:00Z"));
    site.policy.reload().expect("answers");
    site.assert_nobody_is_looked_at();
    assert!(site.refusal("anna").is_some());

    // The register cannot be read.
    let site = gate();
    site.claim(1, "anna").expect("opened");
    let good = std::fs::read(&site.register).expect("readable");
    std::fs::write(&site.register, "nonsense").expect("written");
    site.policy.reload().expect("answers");
    site.assert_nobody_is_looked_at();
    assert_eq!(site.refusal("anna"), Some(Rule::RegisterReadable));
    std::fs::write(&site.register, &good).expect("mended");
    site.claim(2, "anna").expect("and read again");
    // The sign is withdrawn: the claim ends with the stream's lease, at once.
    site.policy.withdraw_sign("hall-1", "test", "").expect("withdrawn");
    site.assert_nobody_is_looked_at();
    assert_eq!(site.refusal("anna"), Some(Rule::SignNotWithdrawn));
}

#[test]
fn a_stream_without_a_gate_verifies_nobody() {
    let site = gate();
    let south = |site: &Site| match site.policy.open_claim(SOUTH, 1, "anna", WITHIN) {
        Err(PolicyError::ClaimRefused(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let reason = south(&site);
    assert!(!reason.remedy.is_empty(), "{reason}");
    assert_eq!(
        site.table.permit_for::<Verify>(SOUTH, &Purpose::access_verification(), site.clock.monotonic()).err(),
        Some(Withheld::Purpose)
    );
    // A purpose that reaches for a hall full of people verifies nobody there either.
    let mut register: Register = toml::from_str(&gate_with(&consent("anna", ANNA, ""))).expect("a register");
    register.purposes[0].zones = vec!["hall".to_owned(), "yard".to_owned()];
    site.write(&toml::to_string(&register).expect("TOML"));
    assert_eq!(south(&site).rule, Rule::VerificationOnly);
}
