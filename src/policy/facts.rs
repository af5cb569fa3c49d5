//! The register: facts with provenance, not flags. `file.rs` reads and replaces it; `rules.rs` draws conclusions from it.
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
//! text = "Face recognition in use: search for a missing person. Contact: …"
//! languages = ["zh", "en"]
//! position = "north entrance, left of the doors, 1.6 m"
//! photo_sha256 = "…64 hex digits…"
//! posted_on = 2026-11-01
//! inspected_at = 2026-11-20T09:00:00+08:00
//! inspected_by = "w.chen"
//!
//! [[purpose]]
//! purpose = "missing-person:mp-7"
//! zones = ["hall"]
//! basis = { kind = "public-safety", statute = "PIPL Art. 26", authority = "…", from = 2026-11-01, until = 2026-12-01 }
//! assessment = "pia-2026-03"
//! review_on = 2027-01-01
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::area::Vertex;
use crate::purpose::Purpose;

use super::when::When;

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
}

impl Default for Rules {
    fn default() -> Self {
        Self { sign_inspect_max_days: DEFAULT_INSPECT_DAYS, placeholder_photographs: false }
    }
}

/// What a place is (C01). Closed: a zone of no kind, or of another, makes the register unreadable, and an unreadable register is *off*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
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

impl fmt::Display for ZoneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Access => "access",
            Self::Staff => "staff",
            Self::Private => "private",
        })
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

/// `[[sign]]`: C14.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    pub id: String,
    pub zone: String,
    /// What it says.
    pub text: String,
    pub languages: Vec<String>,
    /// Where it hangs, so that an inspector finds it.
    pub position: String,
    /// SHA-256 of a photograph of the sign in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo_sha256: Option<String>,
    /// Since when it hangs; set anew when it is posted again. No earlier inspection counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted_on: Option<When>,
    /// Who posted it again, by `placard sign post`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspected_at: Option<When>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspected_by: Option<String>,
    /// Present from the moment the sign was withdrawn until it is posted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawal>,
    /// Oldest first. Nothing rests on these; they are kept so that it stays known who took the sign down and who put it up.
    #[serde(default, rename = "past_withdrawal", skip_serializing_if = "Vec::is_empty")]
    pub past_withdrawals: Vec<PastWithdrawal>,
}

impl Sign {
    /// That somebody put it up again. The withdrawal in force, or `unwritten` where the file does not show it yet, becomes a past one. A
    /// sign that hangs already stays as it is.
    pub fn post(&mut self, posting: &Posting, unwritten: Option<&Withdrawal>) {
        let ended = self.withdrawn.take().or_else(|| unwritten.cloned());
        if ended.is_none() && self.posted_on.is_some() {
            return;
        }
        let (posted_at, posted_by) = (posting.at.clone(), posting.by.clone());
        self.past_withdrawals.extend(ended.map(|w| PastWithdrawal { at: w.at, by: w.by, reason: w.reason, posted_at, posted_by }));
        self.posted_on = Some(posting.at.clone());
        self.posted_by = Some(posting.by.clone());
    }

    /// The quickstart's `0000…`: well-formed, and no photograph's digest.
    pub fn photo_is_a_placeholder(&self) -> bool {
        self.photo_sha256.as_ref().is_some_and(|digest| digest.bytes().all(|b| b == b'0'))
    }
}

/// That a sign no longer counts, since when, by whose word and why.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    pub at: When,
    pub by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A withdrawal that ended when the sign was posted again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PastWithdrawal {
    pub at: When,
    pub by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    pub posted_at: When,
    pub posted_by: String,
}

/// Who put a sign up again, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    pub at: When,
    pub by: String,
}

/// What kind of legal basis. Closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BasisKind {
    StatutoryDuty,
    PublicSafety,
    /// Grants nothing in this version: nobody's consent is recorded.
    SeparateConsent,
    Emergency,
}

/// The legal basis of a purpose (C06): in force from `from` until just before `until`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Basis {
    pub kind: BasisKind,
    pub statute: String,
    pub authority: String,
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

/// What is wrong with a register that TOML itself has no quarrel with: in which entry (0-based, of which kind), which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub table: &'static str,
    pub entry: usize,
    pub key: &'static str,
    pub problem: String,
}

impl Register {
    pub fn zone(&self, id: &str) -> Option<&Zone> {
        self.zones.iter().find(|z| z.id == id)
    }
    pub fn sign(&self, id: &str) -> Option<&Sign> {
        self.signs.iter().find(|s| s.id == id)
    }
    pub fn sign_mut(&mut self, id: &str) -> Option<&mut Sign> {
        self.signs.iter_mut().find(|s| s.id == id)
    }

    /// The sign's id that `id` was probably meant to be.
    pub fn nearest_sign(&self, id: &str) -> Option<&str> {
        let ids = self.signs.iter().map(|s| s.id.as_str());
        ids.max_by(|a, b| strsim::jaro_winkler(a, id).total_cmp(&strsim::jaro_winkler(b, id)))
    }

    /// SHA-256 of all facts and rules, whatever the file's order of keys, comments and white space.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.to_toml().as_bytes()).into()
    }

    /// SHA-256 of the facts that bear on `stream` alone: what its lease cites. A change elsewhere does not disturb it.
    pub fn hash_for(&self, stream: &str) -> [u8; 32] {
        let areas: Vec<AreaFact> = self.areas.iter().filter(|a| a.stream == stream).cloned().collect();
        let here = |zone: &str| areas.iter().any(|a| a.zone == zone);
        let slice = Self {
            rules: self.rules.clone(),
            zones: self.zones.iter().filter(|z| here(&z.id)).cloned().collect(),
            signs: self.signs.iter().filter(|s| here(&s.zone)).cloned().collect(),
            purposes: self.purposes.iter().filter(|p| p.zones.iter().any(|z| here(z))).cloned().collect(),
            areas,
        };
        slice.hash()
    }

    /// The canonical text. Every field is a string, number, list or table with string keys, which TOML can always write; were it not so,
    /// the text would be an error message, no register hashes to that, and no lease would ever match it.
    pub(in crate::policy) fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|e| format!("# unwritable: {e}"))
    }

    /// What makes the register as a whole unusable.
    pub fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Flaws::default();
        if !(1..=MAX_INSPECT_DAYS).contains(&self.rules.sign_inspect_max_days) {
            flaws.add("rules", 0, "sign_inspect_max_days", format!("must be 1 to {MAX_INSPECT_DAYS}"));
        }
        for (entry, zone) in self.zones.iter().enumerate() {
            flaws.id("zone", entry, &zone.id, self.zones[..entry].iter().any(|z| z.id == zone.id));
        }
        for (entry, area) in self.areas.iter().enumerate() {
            if let Err(e) = crate::area::Area::new(vec![area.polygon.clone()]) {
                flaws.add("area", entry, "polygon", e.to_string());
            }
        }
        for (entry, sign) in self.signs.iter().enumerate() {
            flaws.id("sign", entry, &sign.id, self.signs[..entry].iter().any(|s| s.id == sign.id));
            flaws.filled("sign", entry, "text", &sign.text);
            flaws.filled("sign", entry, "position", &sign.position);
            if sign.languages.is_empty() || sign.languages.iter().any(|l| l.trim().is_empty()) {
                flaws.add("sign", entry, "languages", "name at least one language, such as \"en\"".to_owned());
            }
            let hex = |p: &String| p.len() == 64 && p.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
            if sign.photo_sha256.as_ref().is_some_and(|p| !hex(p)) {
                flaws.add("sign", entry, "photo_sha256", "must be 64 lower-case hex digits (`sha256sum photo.jpg`)".to_owned());
            }
        }
        for (entry, purpose) in self.purposes.iter().enumerate() {
            if purpose.zones.is_empty() {
                flaws.add("purpose", entry, "zones", "name at least one zone".to_owned());
            }
            if let Some(basis) = &purpose.basis {
                flaws.filled("purpose", entry, "statute", &basis.statute);
                flaws.filled("purpose", entry, "authority", &basis.authority);
            }
        }
        flaws.0
    }

    /// References to zones that do not exist. Harmless (such an entry grants nothing), hence no flaw; `commission` refuses them.
    pub fn dangling(&self) -> Vec<Flaw> {
        let mut flaws = Flaws::default();
        let areas = self.areas.iter().enumerate().map(|(i, a)| ("area", i, "zone", &a.zone));
        let signs = self.signs.iter().enumerate().map(|(i, s)| ("sign", i, "zone", &s.zone));
        let purposes = self.purposes.iter().enumerate().flat_map(|(i, p)| p.zones.iter().map(move |z| ("purpose", i, "zones", z)));
        for (table, entry, key, zone) in areas.chain(signs).chain(purposes) {
            if self.zone(zone).is_none() {
                flaws.add(table, entry, key, format!("there is no zone `{zone}`"));
            }
        }
        flaws.0
    }
}

#[derive(Default)]
struct Flaws(Vec<Flaw>);

impl Flaws {
    fn add(&mut self, table: &'static str, entry: usize, key: &'static str, problem: String) {
        self.0.push(Flaw { table, entry, key, problem });
    }
    fn filled(&mut self, table: &'static str, entry: usize, key: &'static str, value: &str) {
        if value.trim().is_empty() {
            self.add(table, entry, key, "must not be empty".to_owned());
        }
    }
    fn id(&mut self, table: &'static str, entry: usize, id: &str, taken: bool) {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if id.is_empty() || id.len() > 64 || !id.chars().all(good) {
            self.add(table, entry, "id", format!("`{id}`: 1 to 64 letters, digits, `-`, `_`, `.`"));
        }
        if taken {
            self.add(table, entry, "id", format!("`{id}` is used twice"));
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
text = "Face recognition in use"
languages = ["en"]
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
