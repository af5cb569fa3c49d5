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
#[cfg(test)]
mod fuzzing;
mod heads;
pub mod identities;
mod keyring;
pub mod npy;
pub mod purge;
mod record;
pub(crate) mod scan;
pub mod set;
pub mod shard;
mod subject;
pub mod vault;
pub mod zones;

pub use crate::seal;
pub use file::is_mentioned;
pub use scan::Kept;
#[doc(hidden)]
pub use scan::twin;
pub use subject::{NotASubjectId, SubjectId, TemplateModel};

/// How a gallery of `templates` templates of `dim` values would be kept in this process's memory.
pub fn kept(dim: usize, templates: usize) -> Kept {
    scan::kept(dim, templates)
}

/// Whether a scan would take `template`: what it refuses must not be enrolled.
pub fn check_template(template: &crate::embedding::Embedding) -> Result<(), scan::Refused> {
    scan::check(template.as_slice())
}

use std::sync::Arc;

use crate::clock::{Stamp, Utc};
use crate::policy::lease::Place;

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
