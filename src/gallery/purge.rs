//! Erasing what is over: templates, their subjects' keys, and names. What has expired, and what rests on a consent that was withdrawn or an
//! order that has ended, is not searched anyhow; this takes it off the disk.
//!
//! First the subject's key is destroyed, durably, and with it everything that was sealed under it; then its rows go. The file of names is
//! written anew here, the vault by whoever holds it ([`Vault::rewrite`]), so that no freed page keeps either.
//!
//! Nothing is erased by a clock that cannot be believed (`policy/leap.rs`): what it takes for expired is not searched either way, and an
//! erasure cannot be taken back.
//!
//! Whoever calls holds the vault, and so does whoever enrols: no name is swept whose template is about to be written.

use super::identities::Identities;
use super::seal::SiteKey;
use super::vault::{Vault, VaultError};
use crate::clock::Now;
use crate::policy::facts::Register;
use crate::policy::leap::{Disbelief, believe};
use crate::state::StateDirectory;

/// Why nothing was erased.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Clock(#[from] Disbelief),
}

/// Deletes every subject that is past its end or whose consent or order `register` shows to be over, and every name without a subject.
/// Answers how many subjects went.
pub fn purge(vault: &Vault, register: &Register, state: &StateDirectory, key: &SiteKey, now: Now) -> Result<usize, PurgeError> {
    believe(state, now)?;
    // First of all: where the names cannot be opened now, nobody goes half.
    let names = if state.identities().exists() { Some(Identities::open(state, key)?) } else { None };
    // An older vault that was put back knows none of those who were enrolled since: their names stay until somebody decides.
    vault.in_step()?;
    let past = vault.purge_over(register, now.utc)?;
    if let Some(names) = names {
        let kept = vault.subjects()?;
        names.retain(|subject| kept.contains(subject))?;
        if !past.is_empty() {
            names.rewrite()?;
        }
    }
    if !past.is_empty() {
        tracing::info!(subjects = past.len(), "expired and ended subjects erased: templates, keys and names");
    }
    Ok(past.len())
}
