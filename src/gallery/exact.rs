//! The galleries' scan as searches see it: subjects, not rows. What finds the rows, and why none is missed, is in [`super::scan`].
//!
//! Slots are subjects in the order they came; a subject's rows lie side by side.
//!
//! Invariants: every row is a template (checked at load). Rows and what is made of them are wiped when the scan goes away. Searching takes `&self`
//! and allocates only the result, so any thread may; where the crew is busy with another search, it takes memory for one of its own.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::scan::{Crew, Filter, Found, Kernel, NoMemory, Refused, Search, Shard, Tag};
use super::vault::Template;
use super::zones::ZoneBits;
use super::{Candidate, Scan, SubjectId};
use crate::clock::{Stamp, Utc};
use crate::policy::lease::Place;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScanError {
    #[error("a template of subject {subject} {refused}: delete the subject, or enrol it anew")]
    Template { subject: SubjectId, refused: Refused },
    #[error(transparent)]
    Memory(#[from] NoMemory),
}

pub(crate) struct ExactScan {
    version: u64,
    shard: Arc<Shard>,
    /// By slot.
    subjects: Vec<SubjectId>,
    zones: ZoneBits,
    crew: Arc<Crew>,
    /// Memory for what a search finds.
    found: Mutex<Found>,
}

impl ExactScan {
    /// Refuses the whole load if a template is not a finite unit vector of `dim` values, or is spiky.
    pub(crate) fn new(dim: usize, version: u64, templates: &[Template], crew: &Arc<Crew>) -> Result<Self, ScanError> {
        let mut places: HashMap<&SubjectId, usize> = HashMap::new();
        let mut subjects = Vec::new();
        for Template { subject, .. } in templates {
            places.entry(subject).or_insert_with(|| {
                subjects.push(subject.clone());
                subjects.len() - 1
            });
        }
        // Stable: a subject's rows become adjacent and keep their order.
        let mut rows: Vec<(usize, &Template)> = templates.iter().map(|t| (places[&t.subject], t)).collect();
        rows.sort_by_key(|(slot, _)| *slot);
        let zones = ZoneBits::of(templates.iter().map(|t| &t.zones));
        let mut shard = Shard::with_capacity(Kernel::best(), dim, rows.len())?;
        for (slot, row) in rows {
            let tag = Tag { zones: zones.tag(&row.zones), expires_at: row.expires_at };
            let refused = |refused| ScanError::Template { subject: row.subject.clone(), refused };
            shard.push(&row.values, slot_number(slot), tag).map_err(refused)?;
        }
        Ok(Self::of(version, shard, subjects, zones, crew))
    }

    /// What is searched, for a bench.
    pub(crate) const fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    fn of(version: u64, shard: Shard, subjects: Vec<SubjectId>, zones: ZoneBits, crew: &Arc<Crew>) -> Self {
        if !shard.is_locked() {
            tracing::warn!(
                "a gallery's memory could not be locked: it may be swapped out; raise LimitMEMLOCK of the unit, or turn swap off"
            );
        }
        Self { version, shard: Arc::new(shard), subjects, zones, crew: Arc::clone(crew), found: Mutex::default() }
    }

    /// The rows that end after `now`, in a shard of their own.
    fn rows_after(&self, now: Stamp<Utc>) -> Result<Self, ScanError> {
        let kept: Vec<usize> = (0..self.shard.len()).filter(|row| self.shard.tag(*row).expires_at > now).collect();
        let mut shard = Shard::with_capacity(Kernel::best(), self.shard.dim(), kept.len())?;
        let mut subjects: Vec<SubjectId> = Vec::new();
        for row in kept {
            let subject = &self.subjects[self.shard.owner(row) as usize];
            if subjects.last() != Some(subject) {
                subjects.push(subject.clone());
            }
            let copied = shard.copy(&self.shard, row, slot_number(subjects.len() - 1));
            copied.map_err(|refused| ScanError::Template { subject: subject.clone(), refused })?;
        }
        Ok(Self::of(self.version, shard, subjects, self.zones.clone(), &self.crew))
    }
}

/// A gallery of four thousand million subjects does not fit into memory.
fn slot_number(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}

impl Scan for ExactScan {
    fn len(&self) -> usize {
        self.shard.len()
    }
    fn version(&self) -> u64 {
        self.version
    }

    fn search_in(&self, place: &Place, query: &[f32], threshold: f32, top_k: usize) -> Vec<Candidate> {
        let Some(zones) = self.zones.asked(place) else { return Vec::new() };
        let search = Search { threshold, top_k, filter: Filter { zones, ..Filter::NONE }, depth: None, kernel: None };
        let candidate = |found: &mut Found| {
            self.crew.search(&self.shard, &[query], &search, found);
            let hits = found.hits(0).iter();
            hits.map(|hit| Candidate { subject: self.subjects[hit.slot as usize].clone(), score: hit.score }).collect()
        };
        match self.found.try_lock() {
            Some(mut found) => candidate(&mut found),
            None => candidate(&mut Found::default()),
        }
    }

    fn knows(&self, subject: &str) -> bool {
        self.subjects.iter().any(|s| *s.0 == *subject)
    }

    fn compare(&self, place: &Place, subject: &str, query: &[f32]) -> Option<f32> {
        let filter = Filter { zones: self.zones.asked(place)?, ..Filter::NONE };
        let slot = self.subjects.iter().position(|s| *s.0 == *subject)?;
        self.shard.score(slot_number(slot), query, &filter)
    }

    fn earliest_expiry(&self) -> Option<Stamp<Utc>> {
        (0..self.shard.len()).map(|row| self.shard.tag(row).expires_at).min()
    }

    fn without_expired(&self, now: Stamp<Utc>) -> Option<Arc<dyn Scan>> {
        self.earliest_expiry().filter(|at| *at <= now)?;
        let left = self.rows_after(now).or_else(|error| {
            // Closed: rather nobody than those whose time is over. The next reload brings back the others.
            tracing::error!(%error, "expired templates could not be left out: until the next reload nobody is found in this gallery");
            Ok::<_, ScanError>(Self::of(
                self.version,
                Shard::with_capacity(Kernel::best(), self.shard.dim(), 0)?,
                Vec::new(),
                ZoneBits::default(),
                &self.crew,
            ))
        });
        left.ok().map(|scan| Arc::new(scan) as Arc<dyn Scan>)
    }
}

#[cfg(test)]
mod tests;
