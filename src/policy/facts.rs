//! The register: facts with provenance, not flags. `store.rs` keeps it, change by signed change; `rules.rs` draws conclusions from it.
//!
//! A fact that is needed and absent is `None` here and a refusal there: leaving something out can only take leave away. The
//! exceptions are the *narrowing* facts, which take leave away by being present: a sign's withdrawal, an area of a private zone.
//!
//! ```toml
//! [rules]
//! sign_inspect_max_days = 30
//!
//! [[zone]]
//! id = "hall"
//! kind = "public"                       # public, access, staff or private; a private zone is never looked at
//!
//! [[area]]
//! stream = "north"                      # a stream of the pipeline file
//! zone = "hall"
//! polygon = [[0.0, 0.2], [1.0, 0.2], [1.0, 1.0], [0.0, 1.0]]     # fractions of the picture
//!
//! [[sign]]
//! id = "hall-1"
//! zone = "hall"
//! text = "…Purpose: To find people who are reported missing… Controller: Transit Police, Contact: …"     # `placard sign text` writes it
//! languages = ["zh", "en"]
//! controller = "Transit Police"         # as the text says it; so too `contact`
//! contact = "…"
//! announces = [                         # by which words the text announces which purpose; what is not announced is not done
//!   { purpose = "missing-person", language = "en", words = "To find people who are reported missing" },
//!   { purpose = "missing-person", language = "zh", words = "…" },
//! ]
//! position = "north entrance, left of the doors, 1.6 m"
//! photo_sha256 = "…64 hex digits…"
//! posted_on = 2026-11-01
//! inspected_at = 2026-11-20T09:00:00+08:00
//! inspected_by = "w.chen"
//! inspected_text_sha256 = "…"           # of the text that was seen there
//!
//! [[purpose]]
//! purpose = "missing-person:mp-7"
//! zones = ["hall"]
//! basis = { kind = "public-safety", statute = "PIPL Art. 26", authority = "…", from = 2026-11-01, until = 2026-12-01 }
//! assessment = "pia-2026-03"
//! review_on = 2027-01-01
//! ```

use std::fmt;

use crate::area::Vertex;
use crate::purpose::Purpose;
use serde::{Deserialize, Serialize};

use super::when::When;

mod law;
mod person;
mod register;
mod sign;

pub use law::{
    Alternative, AlternativeKind, Authorisation, Capability, Consent, ConsentMethod, Device, Governance, Guardian, Objection, Order,
    Renewal, View,
};
pub use person::{NotARole, NotInForce, Person, Role};
pub use register::Flaw;
pub use sign::{Announcement, PastWithdrawal, Posting, Sign, Withdrawal};

/// Days that a sign's inspection holds, where the register sets nothing.
pub const DEFAULT_INSPECT_DAYS: u32 = 30;
/// No register may stretch it beyond this.
pub const MAX_INSPECT_DAYS: u32 = 90;

/// Everything the rules look at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    #[serde(default)]
    pub rules: Rules,
    #[serde(default, rename = "zone", skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Zone>,
    #[serde(default, rename = "area", skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<AreaFact>,
    #[serde(default, rename = "sign", skip_serializing_if = "Vec::is_empty")]
    pub signs: Vec<Sign>,
    #[serde(default, rename = "purpose", skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<PurposeFact>,
    #[serde(default, rename = "view", skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<View>,
    #[serde(default, rename = "order", skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Order>,
    #[serde(default, rename = "consent", skip_serializing_if = "Vec::is_empty")]
    pub consents: Vec<Consent>,
    #[serde(default, rename = "alternative", skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
    #[serde(default, rename = "governance", skip_serializing_if = "Vec::is_empty")]
    pub governance: Vec<Governance>,
    #[serde(default, rename = "authorisation", skip_serializing_if = "Vec::is_empty")]
    pub authorisations: Vec<Authorisation>,
    #[serde(default, rename = "objection", skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<Objection>,
    #[serde(default, rename = "device", skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    #[serde(default, rename = "person", skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Person>,
}

/// `[rules]`: the few values that are not facts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// A sign that nobody has inspected for this many days no longer counts. 1 to [`MAX_INSPECT_DAYS`].
    pub sign_inspect_max_days: u32,
    /// Whether a sign counts whose photograph is a placeholder. `placard commission` sets it from the site's mode: never for an
    /// operational site.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub placeholder_photographs: bool,
    /// Regimes that the site is under, such as `cn-pipl`; the strictest of each value wins. None: the rules that hold everywhere. A site's own
    /// profile is named with its digest, `NAME@DIGEST` (`placard policy profiles list`), so that exchanging it is a change of the register.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Whether every stream needs a `[[view]]`. Otherwise a sign that no camera sees counts by inspection alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub attested_signs_only: bool,
    /// Whether every stream needs a `[[device]]`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub registered_devices_only: bool,
}

impl Rules {
    /// The names of its profiles, without the digests that they may be given with (`NAME@DIGEST`).
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(|named| named.split_once('@').map_or(named.as_str(), |(name, _digest)| name))
    }
}

impl Rules {
    /// Whether a regime is named. What holds everywhere holds without being named, and is none.
    pub fn names_a_regime(&self) -> bool {
        self.profile_names().any(|name| name != super::profile::BASELINE)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            sign_inspect_max_days: DEFAULT_INSPECT_DAYS,
            placeholder_photographs: false,
            profiles: Vec::new(),
            attested_signs_only: false,
            registered_devices_only: false,
        }
    }
}

/// What a place is (C01). Closed: a zone of no kind, or of another, makes the register unreadable, and an unreadable register is *off*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneKind {
    /// Open to unspecified people.
    Public,
    /// A gate that people pass to get in.
    Access,
    /// For those who work there.
    Staff,
    /// Homes, hotel rooms, baths, changing rooms, toilets: never looked at, whatever else the register says (C17).
    Private,
}

impl ZoneKind {
    pub const ALL: [Self; 4] = [Self::Public, Self::Access, Self::Staff, Self::Private];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Access => "access",
            Self::Staff => "staff",
            Self::Private => "private",
        }
    }
}

impl fmt::Display for ZoneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `[[zone]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    pub id: String,
    pub kind: ZoneKind,
}

/// `[[area]]`: which part of a stream's picture shows a zone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AreaFact {
    pub stream: String,
    pub zone: String,
    /// Fractions of the picture, 0 to 1, y down.
    pub polygon: Vec<Vertex>,
}

/// What kind of legal basis. Closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BasisKind {
    StatutoryDuty,
    PublicSafety,
    /// Of each person, for one purpose: it can open a gate to those who gave it, never a hall to everybody in it.
    SeparateConsent,
    Emergency,
}

impl BasisKind {
    pub const ALL: [Self; 4] = [Self::StatutoryDuty, Self::PublicSafety, Self::SeparateConsent, Self::Emergency];

    pub const fn name(self) -> &'static str {
        match self {
            Self::StatutoryDuty => "statutory-duty",
            Self::PublicSafety => "public-safety",
            Self::SeparateConsent => "separate-consent",
            Self::Emergency => "emergency",
        }
    }
}

/// The legal basis of a purpose (C06): in force from `from` until just before `until`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Basis {
    pub kind: BasisKind,
    pub statute: String,
    pub authority: String,
    /// Zones that the statute or the authority's leave reaches; none named: those of the purpose. It never reaches further than the purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<When>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
}

/// `[[purpose]]`: what recognition is for, where, and why it may be.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PurposeFact {
    pub purpose: Purpose,
    pub zones: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// The impact assessment's number (C05).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessment: Option<String>,
    /// The day from which the assessment no longer counts unless it is reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_on: Option<When>,
    /// No more subjects than this may be enrolled for the purpose (C05).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gallery_cap: Option<u32>,
    /// No larger share of a stream's picture than this may be looked at for it, 0 to 1 (C05).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area_cap: Option<f64>,
}

/// `[site]`: whose site this is, in `site.toml` and at the head of a site file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    pub name: String,
    pub mode: Mode,
    /// Who answers for the processing: printed on signs and the status page.
    pub controller: String,
    /// Where people turn to.
    pub contact: String,
    /// Where the public status page is reached from outside (`[http] public`, behind whatever stands in front of it): printed on signs, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_page: Option<String>,
}

/// How serious this is. Commissioning models never recognise real people, so an operational site refuses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Operational,
    Commissioning,
    Demo,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Commissioning => "commissioning",
            Self::Demo => "demo",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// One stream `north`, one public zone with one good sign, one purpose; everything in force on 2026-11-21.
    pub(crate) const GOOD: &str = r#"
[[zone]]
id = "hall"
kind = "public"

[[area]]
stream = "north"
zone = "hall"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]

[[sign]]
id = "hall-1"
zone = "hall"
text = "Faces are recognised here: missing persons, named crimes, own identity, numbered emergency, mask checks. 寻找走失人员、侦查具名案件、核验本人身份、应对突发事件、检查口罩佩戴。 Transit police, desk 1"
languages = ["en", "zh"]
controller = "Transit police"
contact = "desk 1"
inspected_text_sha256 = "104f09251cc983f95f5a5b99598e373d4344e3c76b3d381d2ec12bfcb45772c1"
announces = [
  { purpose = "missing-person", language = "en", words = "missing persons" },
  { purpose = "crime-prevention", language = "en", words = "named crimes" },
  { purpose = "access-verification", language = "en", words = "own identity" },
  { purpose = "emergency", language = "en", words = "numbered emergency" },
  { purpose = "mask-check", language = "en", words = "mask checks" },
  { purpose = "missing-person", language = "zh", words = "寻找走失人员" },
  { purpose = "crime-prevention", language = "zh", words = "侦查具名案件" },
  { purpose = "access-verification", language = "zh", words = "核验本人身份" },
  { purpose = "emergency", language = "zh", words = "应对突发事件" },
  { purpose = "mask-check", language = "zh", words = "检查口罩佩戴" },
]
position = "north entrance"
photo_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
posted_on = 2026-11-01
inspected_at = 2026-11-20T09:00:00+08:00
inspected_by = "w.chen"

[[purpose]]
purpose = "missing-person:mp-7"
zones = ["hall"]
basis = { kind = "public-safety", statute = "PIPL Art. 26", authority = "Transit police", from = 2026-11-01, until = 2026-12-15 }
assessment = "pia-3"
review_on = 2027-01-01
"#;

    pub(crate) fn good() -> Register {
        toml::from_str(GOOD).expect("the example register")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{GOOD, good};
    use super::*;

    #[test]
    fn the_hash_sees_facts_and_not_their_dress() {
        let register = good();
        assert_eq!(register.flaws(), []);
        assert_eq!(register.dangling(), []);
        let dressed: Register = toml::from_str(&format!("# a comment\n[rules]\nsign_inspect_max_days = 30\n{GOOD}")).expect("toml");
        assert_eq!(dressed.hash(), register.hash());
        let rewritten: Register = toml::from_str(&register.to_toml()).expect("round trip");
        assert_eq!(rewritten, register);
        let mut other = register.clone();
        other.signs[0].position.push('!');
        assert_ne!(other.hash(), register.hash());
    }

    proptest::proptest! {
        /// C01: whatever a zone is called that is not on the list, the register cannot be read.
        #[test]
        fn a_zone_of_any_other_kind_makes_the_register_unreadable(kind in "[a-zA-Z_-]{0,12}|\\PC{0,6}") {
            let listed = ZoneKind::ALL.iter().any(|k| k.name() == kind);
            let quoted = toml::Value::String(kind.clone()).to_string();
            let text = GOOD.replacen("kind = \"public\"", &format!("kind = {quoted}"), 1);
            proptest::prop_assert_eq!(toml::from_str::<Register>(&text).is_ok(), listed, "{}", kind);
        }
    }

    #[test]
    fn a_stream_s_hash_ignores_what_does_not_bear_on_it() {
        let register = good();
        let mut other = register.clone();
        other.zones.push(Zone { id: "gate".to_owned(), kind: ZoneKind::Access });
        assert_eq!(other.hash_for("north"), register.hash_for("north"));
        assert_ne!(other.hash(), register.hash());
        other.purposes[0].review_on = None;
        assert_ne!(other.hash_for("north"), register.hash_for("north"));
    }

    #[test]
    fn flaws_name_entry_and_key() {
        let mut register = good();
        register.rules.sign_inspect_max_days = 3_650;
        register.zones.push(register.zones[0].clone());
        register.signs[0].photo_sha256 = Some("abc".to_owned());
        register.signs[0].languages.clear();
        register.areas[0].polygon.truncate(2);
        register.purposes[0].zones = vec!["attic".to_owned()];
        let found: Vec<_> = register.flaws().iter().map(|f| (f.table, f.entry, f.key)).collect();
        let expected = [
            ("rules", 0, "sign_inspect_max_days"),
            ("zone", 1, "id"),
            ("area", 0, "polygon"),
            ("sign", 0, "languages"),
            ("sign", 0, "photo_sha256"),
        ];
        assert_eq!(found, expected);
        assert_eq!(register.dangling().len(), 1);
    }
}
