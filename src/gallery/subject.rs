//! Whom a template is of, and which network made it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::seal;

/// Opaque, random: the only name a subject has outside the identity file.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct SubjectId(pub Arc<str>);

/// Hexadecimal digits of a subject id: 128 random bits.
const SUBJECT_ID_DIGITS: usize = 32;

impl SubjectId {
    /// A new id; it says nothing about whom it stands for, nor when it was made.
    pub fn random() -> Result<Self, seal::SealError> {
        let mut bits = [0; SUBJECT_ID_DIGITS / 2];
        aws_lc_rs::rand::fill(&mut bits).map_err(|_| seal::SealError::Library("give random bytes"))?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bits)).into()))
    }
}

impl std::borrow::Borrow<str> for SubjectId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A text that is no subject id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a subject id: 32 lower-case hexadecimal digits")]
pub struct NotASubjectId(String);

impl FromStr for SubjectId {
    type Err = NotASubjectId;
    fn from_str(text: &str) -> Result<Self, NotASubjectId> {
        let digits = text.len() == SUBJECT_ID_DIGITS && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        if digits { Ok(Self(text.into())) } else { Err(NotASubjectId(text.to_owned())) }
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The network that a template was made with. Templates of different networks cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateModel {
    pub name: Arc<str>,
    /// SHA-256 of the prepared file, lower-case hex.
    pub sha256: Arc<str>,
    /// Values of an embedding.
    pub dim: usize,
}
