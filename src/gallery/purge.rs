//! Erasing what has expired: templates, their subjects' keys, and names. Expired templates are not searched anyhow; this takes them off the disk.
//!
//! Whoever calls holds the vault, and so does whoever enrols: no name is swept whose template is about to be written.

use super::identities::Identities;
use super::seal::SiteKey;
use super::vault::{Vault, VaultError};
use crate::clock::{Stamp, Utc};
use crate::state::StateDirectory;

/// Deletes every subject that is past its end, and every name without a subject. Answers how many subjects went.
pub fn purge(vault: &Vault, state: &StateDirectory, key: &SiteKey, now: Stamp<Utc>) -> Result<usize, VaultError> {
    let past = vault.purge_expired(now)?;
    if state.identities().exists() {
        let kept = vault.subjects()?;
        Identities::open(state, key)?.retain(|subject| kept.contains(subject))?;
    }
    if !past.is_empty() {
        tracing::info!(subjects = past.len(), "expired subjects erased: templates, keys and names");
    }
    Ok(past.len())
}
