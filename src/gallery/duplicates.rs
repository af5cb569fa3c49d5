//! Whether somebody is enrolled already: the gallery of one purpose while people are taken in, so that each is compared with those before it.
//!
//! Comparing is searching: every call takes a live permit to match, of the table and purpose that this gallery was loaded for, as
//! [`GallerySet::search`](super::set::GallerySet::search) does, and tells nothing where it has ended.

use std::sync::Arc;

use super::SubjectId;
use super::scan::{Crew, Filter, Found, Kernel, MAX_QUERIES, NoMemory, Refused, Search, Shard, Tag};
use super::set::SearchRefused;
use super::vault::PurposeTemplates;
use crate::clock::Stamp;
use crate::embedding::Embedding;
use crate::frame::TableId;
use crate::policy::lease::{Match, Permit};
use crate::purpose::Purpose;

/// Templates that are compared with at once.
pub const AT_ONCE: usize = MAX_QUERIES;

#[derive(Debug, thiserror::Error)]
pub enum DuplicatesError {
    #[error(transparent)]
    Memory(#[from] NoMemory),
    #[error("a template of subject {subject} {refused}: delete the subject, or enrol it anew")]
    Template { subject: SubjectId, refused: Refused },
}

pub struct Known {
    table: TableId,
    purpose: Purpose,
    shard: Arc<Shard>,
    subjects: Vec<SubjectId>,
    crew: Crew,
    found: Found,
}

impl Known {
    /// With room for `room` templates more than are there.
    pub fn new(table: TableId, purpose: &Purpose, dim: usize, loaded: &PurposeTemplates, room: usize) -> Result<Self, DuplicatesError> {
        let shard = Shard::with_capacity(Kernel::best(), dim, loaded.templates.len() + room)?;
        let (shard, crew) = (Arc::new(shard), Crew::alone());
        let mut known = Self { table, purpose: purpose.clone(), shard, subjects: Vec::new(), crew, found: Found::default() };
        for template in &loaded.templates {
            known.push(&template.subject, &template.values)?;
        }
        Ok(known)
    }

    pub fn len(&self) -> usize {
        self.shard.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whoever was taken in: found from now on. A subject's templates come one after another.
    pub fn add(&mut self, subject: &SubjectId, template: &Embedding) -> Result<(), DuplicatesError> {
        self.push(subject, template.as_slice())
    }

    fn push(&mut self, subject: &SubjectId, values: &[f32]) -> Result<(), DuplicatesError> {
        if self.subjects.last() != Some(subject) {
            self.subjects.push(subject.clone());
        }
        let slot = u32::try_from(self.subjects.len() - 1).unwrap_or(u32::MAX);
        let refused = |refused| DuplicatesError::Template { subject: subject.clone(), refused };
        let tag = Tag { zones: u64::MAX, expires_at: Stamp::from_ns(i64::MAX) };
        // Nobody searches meanwhile: this is the only owner.
        let shard = Arc::get_mut(&mut self.shard).ok_or_else(|| refused(Refused::Busy))?;
        shard.push(values, slot, tag).map_err(refused)
    }

    /// For each of `templates`, at most [`AT_ONCE`], the subject of `least` similarity and more that is most similar.
    pub fn look(
        &mut self,
        permit: &Permit<Match>,
        templates: &[&Embedding],
        least: f32,
    ) -> Result<Vec<Option<(SubjectId, f32)>>, SearchRefused> {
        if permit.table() != self.table || *permit.purpose() != self.purpose {
            return Err(SearchRefused::OtherTable);
        }
        if !permit.stands() {
            return Err(SearchRefused::Ended { searched: false });
        }
        let queries: Vec<&[f32]> = templates.iter().map(|template| template.as_slice()).collect();
        let search = Search { threshold: least, top_k: 1, filter: Filter::NONE, depth: None, kernel: None };
        self.crew.search(&self.shard, &queries, &search, &mut self.found);
        let best = |query: usize| self.found.hits(query).first().map(|hit| (self.subjects[hit.slot as usize].clone(), hit.score));
        let found = (0..queries.len()).map(best).collect();
        if permit.stands() { Ok(found) } else { Err(SearchRefused::Ended { searched: true }) }
    }
}
