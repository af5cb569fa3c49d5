//! Gallery: who is looked for, per purpose. Searched exactly.

use std::fmt;
use std::sync::Arc;

/// Opaque, random: the only name a subject has outside the identity file.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct SubjectId(pub Arc<str>);

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

/// A subject and how similar it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub subject: SubjectId,
    /// Cosine similarity, −1…1.
    pub score: f32,
}

/// The templates of one purpose, searchable. Implementations return what an exhaustive fp32 search returns, in the same order (score
/// falling, ties by slot).
pub trait Scan: Send + Sync {
    fn dim(&self) -> usize;
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Grows with every change: cited in events.
    fn version(&self) -> u64;
    /// Best `top_k` subjects with score ≥ `threshold`. `query` is a unit vector of `dim()` values.
    fn search(&self, query: &[f32], threshold: f32, top_k: usize) -> Vec<Candidate>;
}
