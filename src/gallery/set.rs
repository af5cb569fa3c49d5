//! All galleries of one appliance: purpose → scan, replaced under the readers' hands.
//!
//! Readers take one atomic load and never wait. Writers (a reload, the removal of expired templates) take turns; a search that began
//! before a replacement ends on the scan it began with, whose memory is wiped when the last such search lets go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::exact::{ExactScan, ScanError};
use super::vault::{Vault, VaultError};
use super::{Scan, TemplateModel};
use crate::clock::{Stamp, Utc};
use crate::purpose::Purpose;

type Scans = HashMap<Purpose, Arc<dyn Scan>>;

const NEVER_NS: i64 = i64::MAX;

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("purpose {purpose}: {error}")]
    Scan { purpose: Purpose, error: ScanError },
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Purposes whose scan was replaced.
    pub changed: Vec<Purpose>,
    /// Templates now searched, all purposes.
    pub templates: usize,
    /// Of the changed purposes: rows left out because they have expired, belong to another model, or do not open (an alarm).
    pub expired: usize,
    pub other_model: usize,
    pub damaged: usize,
}

pub struct GallerySet {
    model: TemplateModel,
    scans: ArcSwap<Scans>,
    /// When the next template expires.
    next_expiry_ns: AtomicI64,
    writing: Mutex<()>,
}

impl GallerySet {
    /// Empty: finds nobody until the first [`reload`](Self::reload).
    pub fn new(model: TemplateModel) -> Self {
        Self::of_scans(model, [])
    }

    /// A set of scans made elsewhere.
    pub fn of_scans(model: TemplateModel, scans: impl IntoIterator<Item = (Purpose, Arc<dyn Scan>)>) -> Self {
        let set =
            Self { model, scans: ArcSwap::from_pointee(Scans::new()), next_expiry_ns: AtomicI64::new(NEVER_NS), writing: Mutex::default() };
        set.publish(scans.into_iter().collect());
        set
    }

    pub fn model(&self) -> &TemplateModel {
        &self.model
    }

    /// The gallery of `purpose`, and of no other. `None`: nobody is enrolled for it.
    pub fn for_purpose(&self, purpose: &Purpose) -> Option<Arc<dyn Scan>> {
        self.scans.load().get(purpose).cloned()
    }

    /// Purposes with the number of their templates and their version: for status pages.
    pub fn contents(&self) -> Vec<(Purpose, usize, u64)> {
        let mut all: Vec<_> = self.scans.load().iter().map(|(p, s)| (p.clone(), s.len(), s.version())).collect();
        all.sort();
        all
    }

    /// Takes over what the vault holds. Purposes whose version is unchanged keep their scan, so that a reload of nothing new costs one
    /// small read. On an error everything stays as it was.
    pub fn reload(&self, vault: &Vault, now: Stamp<Utc>) -> Result<Reloaded, ReloadError> {
        let _turn = self.writing.lock();
        let old = self.scans.load_full();
        let mut scans = Scans::new();
        let mut done = Reloaded::default();
        for (purpose, version) in vault.purposes()? {
            if let Some(scan) = old.get(&purpose).filter(|scan| scan.version() == version) {
                scans.insert(purpose, Arc::clone(scan));
                continue;
            }
            let loaded = vault.load_purpose(&purpose, &self.model, now)?;
            done.expired += loaded.expired;
            done.other_model += loaded.other_model;
            done.damaged += loaded.damaged.len();
            for subject in &loaded.damaged {
                tracing::error!(%purpose, %subject, "a template in the vault does not open: altered, moved, or sealed under another site key");
            }
            let scan = ExactScan::new(self.model.dim, loaded.version, &loaded.templates);
            let scan = scan.map_err(|error| ReloadError::Scan { purpose: purpose.clone(), error })?;
            done.changed.push(purpose.clone());
            scans.insert(purpose, Arc::new(scan));
        }
        // A purpose the vault no longer knows disappears here: `scans` holds only what was read just now.
        done.changed.extend(old.keys().filter(|p| !scans.contains_key(*p)).cloned());
        done.templates = scans.values().map(|s| s.len()).sum();
        self.publish(without_expired(&scans, now).unwrap_or(scans));
        Ok(done)
    }

    /// Drops templates that have expired. One atomic load when there are none, so callers may ask as often as they like; skipped
    /// while a reload runs, which leaves them out itself.
    pub fn retire_expired(&self, now: Stamp<Utc>) {
        if now.ns() < self.next_expiry_ns.load(Relaxed) {
            return;
        }
        let Some(_turn) = self.writing.try_lock() else { return };
        if let Some(scans) = without_expired(&self.scans.load(), now) {
            self.publish(scans);
        }
    }

    fn publish(&self, scans: Scans) {
        let next = scans.values().filter_map(|s| s.earliest_expiry()).min();
        self.scans.store(Arc::new(scans));
        self.next_expiry_ns.store(next.map_or(NEVER_NS, Stamp::ns), Relaxed);
    }
}

/// `None` when nothing has expired.
fn without_expired(scans: &Scans, now: Stamp<Utc>) -> Option<Scans> {
    let mut changed = false;
    let each = scans.iter().map(|(purpose, scan)| {
        let replaced = scan.without_expired(now);
        changed |= replaced.is_some();
        (purpose.clone(), replaced.unwrap_or_else(|| Arc::clone(scan)))
    });
    let all = each.collect();
    changed.then_some(all)
}
