//! Match: one query against the galleries of the purposes that the stream's lease grants, and no others.
//!
//! Invariant: the query's embedding is consumed. Whatever the search finds, it is wiped before the call returns (C09).

pub mod identify;

use std::sync::Arc;

use crate::engine::manifest::{Decode, Manifest};
use crate::gallery::{Candidate, TemplateModel};
use crate::purpose::Purpose;

/// Candidates at or above the threshold for one purpose, best first; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub purpose: Purpose,
    /// The legal basis of the permit that the search was done under.
    pub basis: Arc<str>,
    /// Identifies the lease terms that the search was done under.
    pub lease_epoch: u64,
    pub candidates: Vec<Candidate>,
    pub gallery_version: u64,
}

/// What a gallery must know of an embedder to hold its templates and no others. `None`: the manifest is not an embedder's.
pub fn template_model(manifest: &Manifest) -> Option<TemplateModel> {
    let Decode::Embedding { dim, .. } = manifest.decode else { return None };
    let sha256 = manifest.prepared_sha256.as_ref().unwrap_or(&manifest.sha256);
    Some(TemplateModel { name: manifest.name.as_str().into(), sha256: sha256.as_str().into(), dim })
}
