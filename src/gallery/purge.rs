//! Erasing what has expired: templates, their subjects' keys, and names. Expired templates are not searched anyhow; this takes them off the disk.
//!
//! Nothing is erased by a clock that cannot be believed (`gallery/leap.rs`): what it takes for expired is not searched either way, and an
//! erasure cannot be taken back.
//!
//! Whoever calls holds the vault, and so does whoever enrols: no name is swept whose template is about to be written.

use super::identities::Identities;
use super::leap::{Disbelief, believe};
use super::seal::SiteKey;
use super::vault::{Vault, VaultError};
use crate::clock::Now;
use crate::state::StateDirectory;

/// Why nothing was erased.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Clock(#[from] Disbelief),
}

/// Deletes every subject that is past its end, and every name without a subject. Answers how many subjects went.
pub fn purge(vault: &Vault, state: &StateDirectory, key: &SiteKey, now: Now) -> Result<usize, PurgeError> {
    believe(state, now)?;
    let past = vault.purge_expired(now.utc)?;
    if state.identities().exists() {
        let kept = vault.subjects()?;
        Identities::open(state, key)?.retain(|subject| kept.contains(subject))?;
    }
    if !past.is_empty() {
        tracing::info!(subjects = past.len(), "expired subjects erased: templates, keys and names");
    }
    Ok(past.len())
}
