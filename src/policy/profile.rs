//! Regimes: what a country's or an operator's law asks for, as a signed file of values and a signed file of policies (C12).
//!
//! ```text
//! profiles/NAME/profile.toml     values, and the rules that they come from      profile/file.rs
//!               policies.cedar   when each action is permitted                   cedar.rs
//!               signature        Ed25519 over both                               profile/signature.rs
//! ```
//!
//! Several regimes hold at once: their values are merged, the strictest of each wins (`values.rs`), and *each* regime's policies must
//! permit. `baseline` always holds, named or not. Bundled profiles are compiled in; a directory of the state may hold others, or later
//! versions of them (`library.rs`). A profile that is unknown, unsigned, altered, expired, not yet valid, older than one that was
//! seen, or that its schema does not accept, turns everything off.

use std::path::Path;

use cedar_policy::PolicySet;
use serde::Deserialize;

use super::cedar::schema;
use super::when::When;

mod file;
pub mod library;
pub mod signature;
pub mod values;

pub use library::{Library, Regime};
pub use values::Values;

use file::File;
use signature::{SignatureError, TrustedKey};

/// The profile that always holds.
pub const BASELINE: &str = "baseline";

/// How binding a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Force {
    Mandatory,
    Recommended,
}

impl Force {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mandatory => "mandatory",
            Self::Recommended => "recommended",
        }
    }
}

/// `[[rule]]`: where a value or policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub id: String,
    pub force: Force,
    pub source: String,
    /// The law asks for it from then on. Placard does from the start.
    pub applies_from: Option<When>,
}

/// Numbers with dots between them; compared number by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u32>);

impl std::str::FromStr for Version {
    type Err = ProfileError;
    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        numbers.map(Self).map_err(|_| ProfileError::Unreadable(format!("version `{text}`: write numbers with dots between them: 2026.1")))
    }
}

/// Why a profile is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    #[error("{0}")]
    Unreadable(String),
    #[error("{0}")]
    Signature(#[from] SignatureError),
    #[error("its policies are refused: {0}")]
    Policies(String),
    #[error("it says `id = \"{said}\"`, but is kept under `{kept}`")]
    OtherName { said: String, kept: String },
}

/// A profile whose signature, values and policies are in order. Whether it is valid *now* is asked at each use.
#[derive(Clone, Debug)]
pub struct Profile {
    pub id: String,
    /// As written.
    pub version_text: String,
    pub version: Version,
    pub valid_from: When,
    pub valid_until: Option<When>,
    pub supervisor: String,
    pub signed_by: String,
    pub sources: Vec<Source>,
    pub values: Values,
    pub policies: PolicySet,
    /// As written, for people to read and to compare.
    pub policy_text: String,
    pub digest: [u8; 32],
}

/// The three files of a profile, unread.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    pub values: &'a str,
    pub policies: &'a str,
    pub signature: Option<&'a str>,
}

impl Profile {
    /// Reads, checks and verifies. `path`: of the directory, for errors.
    pub fn verified(path: &Path, texts: Texts<'_>, trusted: &[TrustedKey]) -> Result<Self, ProfileError> {
        let profile = Self::unverified(path, texts)?;
        let line = texts.signature.ok_or(SignatureError::Unsigned)?;
        signature::verify(&profile.digest, line, &profile.signed_by, trusted)?;
        Ok(profile)
    }

    /// As [`verified`](Self::verified), whoever signed it or nobody: for whoever is about to sign it, or compares.
    pub fn unverified(path: &Path, texts: Texts<'_>) -> Result<Self, ProfileError> {
        let file = path.join("profile.toml");
        let read = File::parse(&file, texts.values)?;
        let values = read.values(&file, texts.values)?;
        Ok(Self {
            id: read.regime.id.clone(),
            version: read.regime.version.parse()?,
            version_text: read.regime.version.clone(),
            valid_from: read.regime.valid_from.clone(),
            valid_until: read.regime.valid_until.clone(),
            supervisor: read.regime.supervisor.clone(),
            signed_by: read.regime.signed_by.clone(),
            sources: read.sources(),
            values,
            policies: schema::policies(texts.policies).map_err(ProfileError::Policies)?,
            policy_text: texts.policies.to_owned(),
            digest: signature::digest(texts.values, texts.policies),
        })
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
