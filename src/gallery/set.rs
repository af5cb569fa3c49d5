//! All galleries of one appliance: purpose → scan, replaced under the readers' hands.
//!
//! Invariant: the only ways in are [`GallerySet::search`] and [`GallerySet::verify`]. The first takes a permit to match, opens the gallery of
//! that permit's purpose and no other; the second takes a permit to verify and opens the templates of that permit's claimant and no others.
//! Both tell nothing if the permit does not stand before and after, or is of another lease table than the set.
//!
//! Readers take one atomic load and never wait. Writers (a reload, the removal of expired templates) take turns; a search that began
//! before a replacement ends on the scan it began with, whose memory is wiped when the last such search lets go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::exact::{ExactScan, ScanError};
use super::scan::Crew;
use super::vault::{PurposeTemplates, Vault, VaultError};
use super::{Candidate, Scan, TemplateModel};
use crate::clock::{Stamp, Utc};
use crate::embedding::Embedding;
use crate::frame::TableId;
use crate::policy::enrolment::eligible::{enrolment_stands, rests_on_records};
use crate::policy::facts::Register;
use crate::policy::lease::{Match, Permit, Verify};
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
    /// Of the changed purposes: rows left out because they have expired, rest on a consent or order that does not hold, belong to another
    /// model, or do not open (an alarm).
    pub expired: usize,
    pub unfounded: usize,
    pub other_model: usize,
    pub damaged: usize,
}

/// What a search found. `candidates`: at or above the threshold, best first; may be empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub candidates: Vec<Candidate>,
    pub gallery_version: u64,
}

/// How similar a face is to the person whom somebody claims to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Cosine similarity, −1…1.
    pub score: f32,
    pub gallery_version: u64,
}

/// Nothing is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchRefused {
    /// `searched`: whether it ended while the gallery was being searched.
    #[error("the permit to match has ended: {}", if *searched { "what was found meanwhile is dropped" } else { "nothing was searched" })]
    Ended { searched: bool },
    /// Always a programming error, or an attempt; refused all the same.
    #[error(
        "the permit to match is of another lease table than the galleries, so another register may have granted it: nothing was searched; \
         ask the table of the appliance, or desk, that they belong to"
    )]
    OtherTable,
}

pub struct GallerySet {
    model: TemplateModel,
    /// Whose permits open it.
    table: TableId,
    scans: ArcSwap<Scans>,
    /// Who searches, whatever the purpose.
    crew: Arc<Crew>,
    /// When the next template expires.
    next_expiry_ns: AtomicI64,
    /// Writers take turns. Digest of the register that what is searched stands by.
    writing: Mutex<Option<[u8; 32]>>,
}

impl GallerySet {
    /// Empty: finds nobody until the first [`reload`](Self::reload). `table`: whose permits open it.
    pub fn new(model: TemplateModel, table: TableId) -> Self {
        Self::of_scans(model, table, [])
    }

    /// The gallery of one purpose, as a command loads it for itself.
    pub fn of_purpose(model: TemplateModel, table: TableId, purpose: &Purpose, loaded: &PurposeTemplates) -> Result<Self, ReloadError> {
        let crew = Arc::new(Crew::alone());
        let scan = ExactScan::new(model.dim, loaded.version, &loaded.templates, &crew);
        let scan = scan.map_err(|error| ReloadError::Scan { purpose: purpose.clone(), error })?;
        Ok(Self::of_scans(model, table, [(purpose.clone(), Arc::new(scan) as Arc<dyn Scan>)]))
    }

    pub(crate) fn of_scans(model: TemplateModel, table: TableId, scans: impl IntoIterator<Item = (Purpose, Arc<dyn Scan>)>) -> Self {
        let set = Self {
            model,
            table,
            scans: ArcSwap::from_pointee(Scans::new()),
            crew: Arc::new(Crew::alone()),
            next_expiry_ns: AtomicI64::new(NEVER_NS),
            writing: Mutex::default(),
        };
        set.publish(scans.into_iter().collect());
        set
    }

    /// From the next load on, `threads` search a gallery together: the one that asks, and others that wait in between.
    pub fn searched_by(self, threads: usize) -> std::io::Result<Self> {
        Ok(Self { crew: Arc::new(Crew::new(threads)?), ..self })
    }

    pub fn model(&self) -> &TemplateModel {
        &self.model
    }

    /// Who of the permit's purpose, and of those who may be looked for in its zones, looks like `query`: at most `top_k` subjects of cosine similarity `threshold` and more. `None`: that
    /// purpose has no gallery.
    pub fn search(&self, permit: &Permit<Match>, query: &Embedding, threshold: f32, top_k: usize) -> Result<Option<Found>, SearchRefused> {
        if permit.table() != self.table {
            return Err(SearchRefused::OtherTable);
        }
        if !permit.stands() {
            return Err(SearchRefused::Ended { searched: false });
        }
        let Some(scan) = self.for_purpose(permit.purpose()) else { return Ok(None) };
        let candidates = scan.search_in(permit.place(), query.as_slice(), threshold, top_k);
        if !candidates.is_empty() && !permit.stands() {
            return Err(SearchRefused::Ended { searched: true });
        }
        Ok(Some(Found { candidates, gallery_version: scan.version() }))
    }

    /// How similar `query` is to the person of the permit's claim, and to nobody else. `None`: that person is not enrolled for the purpose, or
    /// nobody claims anything.
    pub fn verify(&self, permit: &Permit<Verify>, query: &Embedding) -> Result<Option<Compared>, SearchRefused> {
        if permit.table() != self.table {
            return Err(SearchRefused::OtherTable);
        }
        if !permit.stands() {
            return Err(SearchRefused::Ended { searched: false });
        }
        let (Some(claim), Some(scan)) = (permit.claim(), self.for_purpose(permit.purpose())) else { return Ok(None) };
        let Some(score) = scan.compare(permit.place(), &claim.subject, query.as_slice()) else { return Ok(None) };
        if !permit.stands() {
            return Err(SearchRefused::Ended { searched: true });
        }
        Ok(Some(Compared { score, gallery_version: scan.version() }))
    }

    /// Whether `subject` may be compared with for `purpose` now. Tells what is worth asking for; opens nothing.
    pub fn knows(&self, purpose: &Purpose, subject: &str) -> bool {
        self.for_purpose(purpose).is_some_and(|scan| scan.knows(subject))
    }

    pub(in crate::gallery) fn for_purpose(&self, purpose: &Purpose) -> Option<Arc<dyn Scan>> {
        self.scans.load().get(purpose).cloned()
    }

    /// Purposes with the number of their templates and their version: for status pages.
    pub fn contents(&self) -> Vec<(Purpose, usize, u64)> {
        let mut all: Vec<_> = self.scans.load().iter().map(|(p, s)| (p.clone(), s.len(), s.version())).collect();
        all.sort();
        all
    }

    /// Takes over what the vault holds and what of it stands by `register`. Where the register is the same, purposes whose version is
    /// unchanged keep their scan, so that a reload of nothing new costs one small read; those that rest on consents or an order, which
    /// end by themselves, are read in any case. On an error everything stays as it was.
    pub fn reload(&self, vault: &Vault, register: &Register, now: Stamp<Utc>) -> Result<Reloaded, ReloadError> {
        let mut stood_by = self.writing.lock();
        let old = self.scans.load_full();
        let digest = register.hash();
        let same = *stood_by == Some(digest);
        let mut scans = Scans::new();
        let mut done = Reloaded::default();
        for (purpose, version) in vault.purposes()? {
            let kept = |scan: &&Arc<dyn Scan>| same && scan.version() == version && !rests_on_records(register, &purpose);
            if let Some(scan) = old.get(&purpose).filter(kept) {
                scans.insert(purpose, Arc::clone(scan));
                continue;
            }
            let mut loaded = vault.load_purpose(&purpose, &self.model, now)?;
            loaded.keep_standing(&|enrolment| enrolment_stands(register, &purpose, enrolment, now));
            done.expired += loaded.expired;
            done.unfounded += loaded.unfounded;
            done.other_model += loaded.other_model;
            done.damaged += loaded.damaged.len();
            for subject in &loaded.damaged {
                tracing::error!(%purpose, %subject, "a template in the vault does not open: altered, moved, or sealed under another site key");
            }
            let scan = ExactScan::new(self.model.dim, loaded.version, &loaded.templates, &self.crew);
            let scan = scan.map_err(|error| ReloadError::Scan { purpose: purpose.clone(), error })?;
            done.changed.push(purpose.clone());
            scans.insert(purpose, Arc::new(scan));
        }
        // A purpose the vault no longer knows disappears here: `scans` holds only what was read just now.
        done.changed.extend(old.keys().filter(|p| !scans.contains_key(*p)).cloned());
        done.templates = scans.values().map(|s| s.len()).sum();
        self.publish(without_expired(&scans, now).unwrap_or(scans));
        *stood_by = Some(digest);
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

    /// When the next template must no longer be searched.
    pub fn next_expiry(&self) -> Stamp<Utc> {
        Stamp::from_ns(self.next_expiry_ns.load(Relaxed))
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
