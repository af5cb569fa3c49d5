//! `profile.toml` as it is written. Every key is known and every value bounded; what is left out asks for nothing.
//!
//! ```toml
//! [regime]
//! id = "cn-pipl"
//! version = "2026.1"
//! valid_from = 2025-06-01
//! supervisor = "provincial CAC"
//! signed_by = "placard-2026"
//! [[rule]]
//! id = "cn-13-sign"
//! force = "mandatory"
//! source = "Measures Art. 13; PIPL Art. 26"
//! [basis]
//! allowed = ["statutory-duty", "public-safety", "separate-consent", "emergency"]
//! crime-prevention = ["public-safety"]          # one kind of purpose; otherwise `allowed`
//! [mode]
//! live_1n = "basis:public-safety|emergency"     # any | off | basis:…
//! one_to_one = "consent"                        # any | off | consent | basis:…
//! ```

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::values::Values;
use super::{Force, ProfileError, Source};
use crate::policy::facts::{BasisKind, Flaw, MAX_INSPECT_DAYS, ZoneKind};
use crate::policy::file::{flaw_error, parse_toml};
use crate::policy::when::When;
use crate::purpose::PurposeKind;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub regime: Head,
    #[serde(default)]
    pub rule: Vec<Rule>,
    #[serde(default)]
    basis: Basis,
    #[serde(default)]
    sign: Sign,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    storage: Storage,
    #[serde(default)]
    alt_path: AltPath,
    #[serde(default)]
    minor: Minor,
    #[serde(default)]
    emergency: Emergency,
    #[serde(default, rename = "match")]
    matching: Match,
    #[serde(default)]
    count: Count,
    #[serde(default)]
    authorisation: Authorisation,
    #[serde(default)]
    governance: Governance,
}

/// `[regime]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub id: String,
    pub version: String,
    pub valid_from: When,
    #[serde(default)]
    pub valid_until: Option<When>,
    pub supervisor: String,
    pub signed_by: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    id: String,
    force: Force,
    source: String,
    #[serde(default)]
    applies_from: Option<When>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Basis {
    #[serde(default)]
    allowed: Option<BTreeSet<BasisKind>>,
    #[serde(default)]
    crime_prevention: Option<BTreeSet<BasisKind>>,
    #[serde(default)]
    missing_person: Option<BTreeSet<BasisKind>>,
    #[serde(default)]
    access_verification: Option<BTreeSet<BasisKind>>,
    #[serde(default)]
    emergency: Option<BTreeSet<BasisKind>>,
    #[serde(default)]
    mask_check: Option<BTreeSet<BasisKind>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sign {
    /// A sign is always required: `false` is refused.
    required: Option<bool>,
    inspect_max_days: Option<u32>,
    text_template: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Mode {
    live_1n: Option<String>,
    one_to_one: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Where {
    OnDevice,
    OnPremises,
}
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Egress {
    None,
    Declared,
}
/// The only words for what no profile can change.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Never {
    Never,
}
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Zeroise {
    Zeroise,
}
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Refuse {
    Refuse,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Storage {
    r#where: Option<Where>,
    egress: Option<Egress>,
    templates_max_days: Option<u32>,
    frames: Option<Never>,
    unmatched: Option<Zeroise>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AltPath {
    required_for: BTreeSet<ZoneKind>,
    heartbeat_s: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Minor {
    age: u32,
    guardian: bool,
    unknown_age: Option<Refuse>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Emergency {
    max_hours: Option<u32>,
    renewals: Option<u32>,
    approvers: u32,
    purge_at_end: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Match {
    human_confirmations: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Count {
    distinct_persons_filing: Option<u32>,
    warn_pct: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Authorisation {
    required: bool,
    post_rbi_hours: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Governance {
    required: bool,
    vote_ratio: f64,
    vote_for: BTreeSet<ZoneKind>,
}

/// `any`, `off`, `consent` or `basis:a|b`.
fn mode(text: Option<&str>) -> Result<BTreeSet<BasisKind>, String> {
    let text = text.unwrap_or("any");
    match (text, text.strip_prefix("basis:")) {
        ("any", _) => Ok(BasisKind::ALL.into()),
        ("off", _) => Ok(BTreeSet::new()),
        ("consent", _) => Ok([BasisKind::SeparateConsent].into()),
        (_, Some(names)) => {
            let kind = |name: &str| {
                let known = BasisKind::ALL.into_iter().find(|k| k.name() == name);
                known.ok_or_else(|| format!("`{name}` is no kind of basis: statutory-duty, public-safety, separate-consent or emergency"))
            };
            names.split('|').map(kind).collect()
        }
        _ => Err(format!("`{text}`: write `any`, `off`, `consent`, or `basis:` and kinds with `|` between them")),
    }
}

impl File {
    pub fn parse(path: &Path, text: &str) -> Result<Self, ProfileError> {
        parse_toml(path, text).map_err(|e| ProfileError::Unreadable(e.to_string()))
    }

    pub fn sources(&self) -> Vec<Source> {
        let source = |r: &Rule| Source { id: r.id.clone(), force: r.force, source: r.source.clone(), applies_from: r.applies_from.clone() };
        self.rule.iter().map(source).collect()
    }

    /// The values, or what is wrong with them: table, key, problem.
    pub fn values(&self, path: &Path, text: &str) -> Result<Values, ProfileError> {
        let refused = |table, key, problem: String| {
            let flaw = Flaw { table, entry: 0, key, problem };
            Err(ProfileError::Unreadable(flaw_error(path, text, &flaw).to_string()))
        };
        if self.sign.required == Some(false) {
            return refused("sign", "required", "no profile looks where no sign is".to_owned());
        }
        if self.sign.inspect_max_days.is_some_and(|d| !(1..=MAX_INSPECT_DAYS).contains(&d)) {
            return refused("sign", "inspect_max_days", format!("must be 1 to {MAX_INSPECT_DAYS}"));
        }
        let ratio = self.governance.vote_ratio * 1_000.0;
        if !(0.0..=1_000.0).contains(&ratio) {
            return refused("governance", "vote_ratio", "must be 0 to 1".to_owned());
        }
        if self.count.warn_pct.is_some_and(|p| p > 100) {
            return refused("count", "warn_pct", "must be 0 to 100".to_owned());
        }
        if self.alt_path.heartbeat_s == Some(0) {
            return refused("alt_path", "heartbeat_s", "must be at least 1".to_owned());
        }
        let live_1n = match mode(self.mode.live_1n.as_deref()) {
            Ok(set) => set,
            Err(problem) => return refused("mode", "live_1n", problem),
        };
        let one_to_one = match mode(self.mode.one_to_one.as_deref()) {
            Ok(set) => set,
            Err(problem) => return refused("mode", "one_to_one", problem),
        };
        // The only values of these two are what no profile can change.
        let _fixed = (self.storage.frames, self.storage.unmatched, self.minor.unknown_age);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
        let vote_permille = ratio.round() as u32;
        Ok(Values {
            bases: PurposeKind::ALL.into_iter().map(|k| (k, self.allowed(k))).collect(),
            live_1n,
            one_to_one,
            inspect_max_days: self.sign.inspect_max_days.unwrap_or(u32::MAX),
            text_templates: self.sign.text_template.iter().cloned().collect(),
            on_device: matches!(self.storage.r#where, Some(Where::OnDevice)),
            no_egress: matches!(self.storage.egress, Some(Egress::None)),
            templates_max_days: self.storage.templates_max_days,
            alternative_for: self.alt_path.required_for.clone(),
            heartbeat_s: self.alt_path.heartbeat_s.unwrap_or(u32::MAX),
            minor_age: self.minor.age,
            guardian: self.minor.guardian,
            order_max_hours: self.emergency.max_hours.unwrap_or(u32::MAX),
            order_renewals: self.emergency.renewals.unwrap_or(u32::MAX),
            order_approvers: self.emergency.approvers,
            purge_at_end: self.emergency.purge_at_end,
            confirmations: self.matching.human_confirmations,
            filing_persons: self.count.distinct_persons_filing,
            filing_warn_pct: self.count.warn_pct.unwrap_or(100),
            pending_hours: self.authorisation.required.then_some(self.authorisation.post_rbi_hours),
            governance: self.governance.required,
            vote_permille,
            vote_for: self.governance.vote_for.clone(),
        })
    }

    fn allowed(&self, kind: PurposeKind) -> BTreeSet<BasisKind> {
        let own = match kind {
            PurposeKind::CrimePrevention => &self.basis.crime_prevention,
            PurposeKind::MissingPerson => &self.basis.missing_person,
            PurposeKind::AccessVerification => &self.basis.access_verification,
            PurposeKind::Emergency => &self.basis.emergency,
            PurposeKind::MaskCheck => &self.basis.mask_check,
        };
        own.clone().or_else(|| self.basis.allowed.clone()).unwrap_or_else(|| BasisKind::ALL.into())
    }
}

impl Serialize for Force {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
