//! Match: one query against the galleries of the purposes that the stream's lease grants, and no others.

use crate::gallery::Candidate;
use crate::policy::lease::{Match, Permit};

/// Candidates at or above the threshold for one purpose, best first; never empty.
pub struct Hit {
    pub permit: Permit<Match>,
    pub candidates: Vec<Candidate>,
    pub gallery_version: u64,
}
