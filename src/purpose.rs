//! What recognition may be for: a closed list (C04). There is no free text, no marketing, no attendance, no mood.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The kinds of purpose that exist in the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PurposeKind {
    /// Preventing or investigating a named crime (PIPL Art. 26 "maintaining public safety"); sub-purpose: the case.
    CrimePrevention,
    /// Finding one missing person; sub-purpose: the case.
    MissingPerson,
    /// 1:1 verification with separate consent, beside another way in.
    AccessVerification,
    /// A public emergency under a numbered order; sub-purpose: the order.
    Emergency,
    /// Is a mask worn, under an order for a public emergency: never identity.
    MaskCheck,
}

impl PurposeKind {
    pub const ALL: [Self; 5] = [Self::CrimePrevention, Self::MissingPerson, Self::AccessVerification, Self::Emergency, Self::MaskCheck];

    pub const fn name(self) -> &'static str {
        match self {
            Self::CrimePrevention => "crime-prevention",
            Self::MissingPerson => "missing-person",
            Self::AccessVerification => "access-verification",
            Self::Emergency => "emergency",
            Self::MaskCheck => "mask-check",
        }
    }
    /// Whether the purpose may ever lead to an identity.
    pub const fn identifies(self) -> bool {
        !matches!(self, Self::MaskCheck)
    }
    /// Whether it looks for people in a gallery (1:N). A gate that verifies one person's claim (1:1) does not.
    pub const fn searches(self) -> bool {
        matches!(self, Self::CrimePrevention | Self::MissingPerson | Self::Emergency)
    }
    /// Whether it verifies one person's claim (1:1), and does nothing else.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::AccessVerification)
    }
    /// Whether it rests on an order for a public emergency, and on nothing else.
    pub const fn needs_emergency(self) -> bool {
        matches!(self, Self::Emergency | Self::MaskCheck)
    }
    /// Whether a case or order must be named.
    pub const fn needs_reference(self) -> bool {
        matches!(self, Self::CrimePrevention | Self::MissingPerson | Self::Emergency)
    }
}

/// A purpose with its sub-purpose: `crime-prevention:2026-0142`, `missing-person:mp-7`, `mask-check`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Purpose {
    kind: PurposeKind,
    reference: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurposeError {
    #[error("`{0}` is not a purpose: use crime-prevention:CASE, missing-person:CASE, access-verification, emergency:ORDER or mask-check")]
    Unknown(String),
    #[error("purpose `{0}` must name its case or order: `{0}:REFERENCE`")]
    MissingReference(&'static str),
    #[error("purpose `{0}` takes no sub-purpose")]
    UnexpectedReference(&'static str),
    #[error("reference `{0}`: 1 to 64 letters, digits, `-`, `_`, `.`, `/`")]
    BadReference(String),
}

impl Purpose {
    /// `mask-check`, which names no case.
    pub const fn mask_check() -> Self {
        Self { kind: PurposeKind::MaskCheck, reference: None }
    }
    /// `access-verification`, which names no case.
    pub const fn access_verification() -> Self {
        Self { kind: PurposeKind::AccessVerification, reference: None }
    }
    pub const fn kind(&self) -> PurposeKind {
        self.kind
    }
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        self.reference.iter().try_for_each(|r| write!(f, ":{r}"))
    }
}

impl FromStr for Purpose {
    type Err = PurposeError;
    fn from_str(text: &str) -> Result<Self, PurposeError> {
        let (name, reference) = text.split_once(':').map_or((text, None), |(n, r)| (n, Some(r)));
        let kind = PurposeKind::ALL.into_iter().find(|k| k.name() == name).ok_or_else(|| PurposeError::Unknown(text.to_owned()))?;
        match (kind.needs_reference(), reference) {
            (true, None) => Err(PurposeError::MissingReference(kind.name())),
            (false, Some(_)) => Err(PurposeError::UnexpectedReference(kind.name())),
            (_, None) => Ok(Self { kind, reference: None }),
            (true, Some(r)) => {
                let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
                if r.is_empty() || r.len() > 64 || !r.chars().all(good) {
                    return Err(PurposeError::BadReference(r.to_owned()));
                }
                Ok(Self { kind, reference: Some(r.into()) })
            }
        }
    }
}

impl TryFrom<String> for Purpose {
    type Error = PurposeError;
    fn try_from(text: String) -> Result<Self, PurposeError> {
        text.parse()
    }
}
impl From<Purpose> for String {
    fn from(purpose: Purpose) -> Self {
        purpose.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_round_trips_and_nothing_else_exists() {
        for text in ["crime-prevention:2026-0142", "missing-person:mp-7", "access-verification", "emergency:o/1", "mask-check"] {
            assert_eq!(text.parse::<Purpose>().expect(text).to_string(), text);
        }
        for text in [
            "marketing",
            "attendance",
            "mood",
            "emotion",
            "sex",
            "gender",
            "age",
            "crime-prevention:marketing person",
            "crime-prevention",
            "crime-prevention:",
            "access-verification:vip",
            "Access-Verification",
            "mask-check:x",
            "missing-person:a b",
            "",
        ] {
            assert!(text.parse::<Purpose>().is_err(), "{text} must not be a purpose");
        }
    }
}
