//! Withdrawals that the register's file may not show yet.
//!
//! A withdrawal holds from the moment it is told. Where it cannot be written (no space, a read-only file system, a damaged register), it
//! holds in memory alone: here, outside the policy thread, so that it outlives a reload that replaces that thread, and is written when the
//! file can be: tried every [`RETRY`] on a thread of its own, `withdrawals`, which runs only while there is something to write, and at each
//! reload. What the file shows leaves this list, and so does a sign that is posted again. The list ends with the process, which whoever
//! withdrew the sign was told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::facts::{Register, Sign, Withdrawal};
use super::store::hold_back;
use super::worker::{PolicyError, record_withdrawal};
use crate::shutdown::Shutdown;

/// What pauses a stream until the withdrawal is in the file is called by this.
pub(in crate::policy) const UNWRITTEN: &str = "unwritten";
/// Between two attempts to write what could not be written.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Pending {
    withdrawal: Withdrawal,
    /// Why it could not be written; `None`: it is being written, or was.
    failure: Option<String>,
}

/// Cloneable; all clones are one list.
#[derive(Clone, Debug, Default)]
pub struct PendingWithdrawals {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Locked for moments only, never while a file is written: the policy thread reads it.
    list: Mutex<BTreeMap<String, Pending>>,
    /// Held while the list is written to the file, or a sign of it posted again: taken before `list`.
    writing: Mutex<()>,
    retrying: AtomicBool,
}

impl PendingWithdrawals {
    /// From now on sign `id` counts as withdrawn. An earlier withdrawal of it stands.
    pub(in crate::policy) fn insert(&self, id: &str, withdrawal: Withdrawal) {
        self.shared.list.lock().entry(id.to_owned()).or_insert(Pending { withdrawal, failure: None });
    }

    pub(in crate::policy) fn remove(&self, id: &str) {
        self.shared.list.lock().remove(id);
    }

    /// The withdrawal of sign `id` that the file may not show yet.
    pub(in crate::policy) fn get(&self, id: &str) -> Option<Withdrawal> {
        self.shared.list.lock().get(id).map(|p| p.withdrawal.clone())
    }

    /// Adds what `register` does not show, with what it holds back, and forgets what it does.
    pub(in crate::policy) fn apply(&self, register: &mut Register) {
        if self.shared.list.lock().is_empty() {
            return;
        }
        let before = register.clone();
        self.shared.list.lock().retain(|id, pending| match register.sign_mut(id) {
            Some(sign) if sign.withdrawn.is_none() => {
                sign.withdrawn = Some(pending.withdrawal.clone());
                true
            }
            Some(_) => false,
            None => true,
        });
        let withdrawn = |sign: &&Sign| sign.withdrawn.is_some() && before.sign(&sign.id).is_some_and(|s| s.withdrawn.is_none());
        let at = register.signs.iter().find(withdrawn).and_then(|s| s.withdrawn.as_ref()).map(|w| w.at.clone());
        if let Some(at) = at {
            hold_back(&before, register, UNWRITTEN, &at);
        }
    }

    /// Held while a sign is posted again, so that no attempt to write its withdrawal comes in between.
    pub(in crate::policy) fn hold_writing(&self) -> MutexGuard<'_, ()> {
        self.shared.writing.lock()
    }

    /// Notes why a withdrawal is not in the file, and sees to it that it will be.
    pub(in crate::policy) fn not_written(&self, register: &Path, id: &str, failure: String) {
        if let Some(pending) = self.shared.list.lock().get_mut(id) {
            pending.failure = Some(failure);
        }
        self.keep_trying(register);
    }

    fn keep_trying(&self, register: &Path) {
        if self.shared.retrying.swap(true, SeqCst) {
            return;
        }
        let (weak, register) = (Arc::downgrade(&self.shared), register.to_owned());
        let retry = move || {
            let pause = Shutdown::new();
            loop {
                pause.wait(RETRY);
                // Gone with the appliance.
                let Some(shared) = weak.upgrade() else { return };
                let pending = Self { shared };
                pending.write_again(&register);
                let list = pending.shared.list.lock();
                if list.values().all(|p| p.failure.is_none()) {
                    // Under the lock: a failure noted after this look starts another thread.
                    pending.shared.retrying.store(false, SeqCst);
                    return;
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("withdrawals".to_owned()).spawn(retry) {
            self.shared.retrying.store(false, SeqCst);
            tracing::error!(%error, "no thread to write a withdrawal with; the next reload tries");
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
            Ok(Ok(_in_force)) => Ok(()),
            Ok(Err(nearest)) => {
                self.remove(id);
                Err(PolicyError::UnknownSign { id: id.to_owned(), nearest })
            }
            Err(source) => {
                self.not_written(register, id, source.to_string());
                Err(PolicyError::NotRecorded { id: id.to_owned(), source })
            }
        }
    }

    /// Sign ids, and why their withdrawal is not in the register's file.
    pub fn unwritten(&self) -> Vec<(String, String)> {
        self.shared.list.lock().iter().filter_map(|(id, p)| Some((id.clone(), p.failure.clone()?))).collect()
    }

    /// Tries once more to write into `register` what could not be written.
    pub(in crate::policy) fn write_again(&self, register: &Path) {
        let _turn = self.hold_writing();
        let unwritten = |(id, p): (&String, &Pending)| p.failure.is_some().then(|| (id.clone(), p.withdrawal.clone()));
        let unwritten: Vec<(String, Withdrawal)> = self.shared.list.lock().iter().filter_map(unwritten).collect();
        for (id, withdrawal) in unwritten {
            let failure = match record_withdrawal(register, &id, &withdrawal) {
                Ok(Ok(_in_force)) => {
                    tracing::warn!(sign = id, by = withdrawal.by, "the sign's withdrawal is in the register at last");
                    None
                }
                // Nothing rests on a sign that the register does not have; if it comes back it is withdrawn.
                Ok(Err(_nearest)) => None,
                Err(error) => Some(error.to_string()),
            };
            if let Some(pending) = self.shared.list.lock().get_mut(&id) {
                if let Some(error) = failure.as_ref().filter(|f| pending.failure.as_ref() != Some(*f)) {
                    tracing::error!(sign = id, error, "the sign's withdrawal cannot be written; it holds in memory alone");
                }
                pending.failure = failure;
            }
        }
    }
}
