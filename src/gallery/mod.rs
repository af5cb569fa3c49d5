//! Gallery: who is looked for, per purpose. Searched exactly.
//!
//! ```text
//! vault.redb (sealed templates, the truth) ── shards/*.shard (the same, to be loaded fast) ── reload ──▶ set: purpose → scan ── search ──▶ candidates
//! identities.redb (sealed names, another key; opened by commands, never by the pipeline)
//! ```
//!
//! Templates are plain only in the memory of a scan, locked where the system lets it, and wiped there when it is replaced. Who is enrolled
//! cannot be compared with anybody but through [`set::GallerySet::search`], which takes a live `Permit<Match>` and searches that permit's purpose (C03, C18), or through
//! [`set::GallerySet::verify`], which takes a live `Permit<Verify>` and looks at the templates of that permit's claimant alone.

pub mod duplicates;
pub mod exact;
mod file;
pub mod identities;
mod keyring;
pub mod npy;
pub mod purge;
mod record;
pub(crate) mod scan;
pub mod set;
pub mod shard;
pub mod vault;
pub mod zones;

pub use crate::seal;
pub use file::is_mentioned;
pub use scan::Kept;
#[doc(hidden)]
pub use scan::twin;

/// How a gallery of `templates` templates of `dim` values would be kept in this process's memory.
pub fn kept(dim: usize, templates: usize) -> Kept {
    scan::kept(dim, templates)
}

/// Whether a scan would take `template`: what it refuses must not be enrolled.
pub fn check_template(template: &crate::embedding::Embedding) -> Result<(), scan::Refused> {
    scan::check(template.as_slice())
}

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::clock::{Stamp, Utc};
use crate::policy::lease::Place;

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

/// A subject and how similar it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub subject: SubjectId,
    /// Cosine similarity, −1…1.
    pub score: f32,
}

/// The templates of one purpose, searchable. Implementations return what an exhaustive fp32 search returns, in the same order (score
/// falling, ties by slot). A subject with several templates scores as its most similar one and appears once.
pub(crate) trait Scan: Send + Sync {
    /// Templates.
    fn len(&self) -> usize;
    /// Grows with every change: cited in events.
    fn version(&self) -> u64;
    /// Best `top_k` subjects with score ≥ `threshold` who may be looked for in all of `place`. `query` is a unit vector of as many values as a template;
    /// anything else finds nobody.
    fn search_in(&self, place: &Place, query: &[f32], threshold: f32, top_k: usize) -> Vec<Candidate>;
    /// [`search_in`](Self::search_in), as from a desk.
    #[cfg(test)]
    fn search(&self, query: &[f32], threshold: f32, top_k: usize) -> Vec<Candidate> {
        self.search_in(&Place::Desk, query, threshold, top_k)
    }
    /// Whether `subject` has a template here.
    fn knows(&self, _subject: &str) -> bool {
        false
    }
    /// How similar `subject` is, as its most similar template; `None`: it has none here that may be looked at in all of `place`. Looks at nobody else's.
    fn compare(&self, _place: &Place, _subject: &str, _query: &[f32]) -> Option<f32> {
        None
    }
    /// When the first template must no longer be searched. `None`: never.
    fn earliest_expiry(&self) -> Option<Stamp<Utc>> {
        None
    }
    /// A copy without the templates that have expired at `now`, where [`earliest_expiry`](Self::earliest_expiry) has passed.
    fn without_expired(&self, _now: Stamp<Utc>) -> Option<Arc<dyn Scan>> {
        None
    }
}

#[cfg(test)]
mod fuzz;
