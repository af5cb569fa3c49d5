//! Withdrawals that the register's file may not show yet.
//!
//! A withdrawal holds from the moment it is told. Where it cannot be written (no space, a read-only file system, a damaged register), it
//! holds in memory alone: here, outside the policy thread, so that it outlives a reload that replaces that thread, and is written when the
//! file can be. What the file shows leaves this list, and so does a sign that is posted again. The list ends with the process, which
//! whoever withdrew the sign was told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::facts::{Register, Withdrawal};
use super::worker::{PolicyError, record_withdrawal};

#[derive(Clone, Debug)]
struct Pending {
    withdrawal: Withdrawal,
    /// Why it could not be written; `None`: it is being written, or was.
    failure: Option<String>,
}

/// Cloneable; all clones are one list. Locked for moments only, never while a file is written.
#[derive(Clone, Debug, Default)]
pub struct PendingWithdrawals {
    list: Arc<Mutex<BTreeMap<String, Pending>>>,
}

impl PendingWithdrawals {
    /// From now on sign `id` counts as withdrawn. An earlier withdrawal of it stands.
    pub(in crate::policy) fn insert(&self, id: &str, withdrawal: Withdrawal) {
        self.list.lock().entry(id.to_owned()).or_insert(Pending { withdrawal, failure: None });
    }

    pub(in crate::policy) fn remove(&self, id: &str) {
        self.list.lock().remove(id);
    }

    /// Adds what `register` does not show, and forgets what it does.
    pub(in crate::policy) fn apply(&self, register: &mut Register) {
        self.list.lock().retain(|id, pending| match register.sign_mut(id) {
            Some(sign) if sign.withdrawn.is_none() => {
                sign.withdrawn = Some(pending.withdrawal.clone());
                true
            }
            Some(_) => false,
            None => true,
        });
    }

    pub(in crate::policy) fn not_written(&self, id: &str, failure: String) {
        if let Some(pending) = self.list.lock().get_mut(id) {
            pending.failure = Some(failure);
        }
    }

    /// Withdraws sign `id` where no policy thread runs at the moment, as amid a reload: the next one begins with it.
    pub fn withdraw(&self, register: &Path, id: &str, withdrawal: Withdrawal) -> Result<(), PolicyError> {
        self.insert(id, withdrawal.clone());
        self.record(register, id, &withdrawal)
    }

    /// Writes a withdrawal that is on the list, durably. What cannot be written stays on it.
    pub(in crate::policy) fn record(&self, register: &Path, id: &str, withdrawal: &Withdrawal) -> Result<(), PolicyError> {
        match record_withdrawal(register, id, withdrawal) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(nearest)) => {
                self.remove(id);
                Err(PolicyError::UnknownSign { id: id.to_owned(), nearest })
            }
            Err(source) => {
                self.not_written(id, source.to_string());
                Err(PolicyError::NotRecorded { id: id.to_owned(), source })
            }
        }
    }

    /// Sign ids, and why their withdrawal is not in the register's file.
    pub fn unwritten(&self) -> Vec<(String, String)> {
        self.list.lock().iter().filter_map(|(id, p)| Some((id.clone(), p.failure.clone()?))).collect()
    }

    /// Tries once more to write into `register` what could not be written.
    pub(in crate::policy) fn write_again(&self, register: &Path) {
        let unwritten: Vec<(String, Withdrawal)> =
            self.list.lock().iter().filter(|(_, p)| p.failure.is_some()).map(|(id, p)| (id.clone(), p.withdrawal.clone())).collect();
        for (id, withdrawal) in unwritten {
            let failure = match record_withdrawal(register, &id, &withdrawal) {
                Ok(Ok(())) => {
                    tracing::warn!(sign = id, by = withdrawal.by, "the sign's withdrawal is in the register at last");
                    None
                }
                // Nothing rests on a sign that the register does not have; if it comes back it is withdrawn.
                Ok(Err(_nearest)) => None,
                Err(error) => {
                    tracing::error!(sign = id, %error, "the sign's withdrawal still cannot be written; it holds in memory alone");
                    Some(error.to_string())
                }
            };
            if let Some(pending) = self.list.lock().get_mut(&id) {
                pending.failure = failure;
            }
        }
    }
}
