//! The plain exact scan: every template, one dot product each, fp32.
//!
//! Rows lie side by side in 64-byte lines of 16 values, padded with zeros, a subject's rows adjacent. A dot product keeps 16 partial sums,
//! one per place in a line, each added up from the first line to the last, and folds them pairwise at the end: the order of additions is
//! fixed, so a score does not depend on where a row lies or on who computes it. Slots are subjects in the order they came.
//!
//! Invariants: every row is finite and of unit length (checked at load). Rows are wiped when the scan goes away. Searching takes `&self`
//! and allocates only the result, so any thread may.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use zeroize::Zeroize;

use super::vault::Template;
use super::{Candidate, Scan, SubjectId};
use crate::clock::{Stamp, Utc};

const LANES: usize = 16;
/// How far from 1 a row's norm may be: rounding to f32 moves it by some 1e-7.
const NORM_TOLERANCE: f64 = 1e-4;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScanError {
    #[error("subject {subject}: template has {found} values, the others have {want}")]
    Dimension { subject: SubjectId, found: usize, want: usize },
    #[error("subject {subject}: template has norm {norm}, not 1: it is no embedding")]
    NotUnit { subject: SubjectId, norm: f64 },
}

/// One cache line of a row.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([f32; LANES]);

const _: () = assert!(size_of::<Line>() == 64 && align_of::<Line>() == 64);

/// Values that are wiped on drop.
struct Lines(Vec<Line>);

impl Drop for Lines {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|line| line.0.zeroize());
    }
}

impl Lines {
    /// Appends `values`, padded to whole lines. `self` must have been allocated large enough, so that no copy stays behind.
    fn append(&mut self, values: &[f32]) {
        debug_assert!(self.0.capacity() - self.0.len() >= values.len().div_ceil(LANES));
        for chunk in values.chunks(LANES) {
            let mut line = Line([0.0; LANES]);
            line.0[..chunk.len()].copy_from_slice(chunk);
            self.0.push(line);
        }
    }
}

/// A subject's rows: `first..first + count`.
struct Slot {
    subject: SubjectId,
    first: usize,
    count: usize,
}

pub(crate) struct ExactScan {
    dim: usize,
    version: u64,
    rows: Lines,
    /// Per row.
    expires_at: Vec<Stamp<Utc>>,
    slots: Vec<Slot>,
}

impl ExactScan {
    /// Refuses the whole load if a template is not a finite unit vector of `dim` values.
    pub(crate) fn new(dim: usize, version: u64, templates: &[Template]) -> Result<Self, ScanError> {
        for Template { subject, values, .. } in templates {
            if values.len() != dim {
                return Err(ScanError::Dimension { subject: subject.clone(), found: values.len(), want: dim });
            }
            let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
            // A NaN or an infinity anywhere makes the comparison false.
            let is_unit = (norm - 1.0).abs() <= NORM_TOLERANCE;
            if !is_unit {
                return Err(ScanError::NotUnit { subject: subject.clone(), norm });
            }
        }
        Ok(Self::laid_out(dim, version, templates))
    }

    fn laid_out(dim: usize, version: u64, templates: &[Template]) -> Self {
        let mut places: HashMap<&SubjectId, usize> = HashMap::new();
        for template in templates {
            let next = places.len();
            places.entry(&template.subject).or_insert(next);
        }
        // Stable: a subject's rows become adjacent and keep their order.
        let mut rows: Vec<&Template> = templates.iter().collect();
        rows.sort_by_key(|row| places[&row.subject]);
        let mut lines = Lines(Vec::with_capacity(rows.len() * dim.div_ceil(LANES)));
        let mut slots: Vec<Slot> = Vec::with_capacity(places.len());
        for (index, row) in rows.iter().enumerate() {
            lines.append(&row.values);
            match slots.last_mut().filter(|s| s.subject == row.subject) {
                Some(slot) => slot.count += 1,
                None => slots.push(Slot { subject: row.subject.clone(), first: index, count: 1 }),
            }
        }
        Self { dim, version, rows: lines, expires_at: rows.iter().map(|r| r.expires_at).collect(), slots }
    }

    const fn lines_per_row(&self) -> usize {
        self.dim.div_ceil(LANES)
    }

    fn row(&self, index: usize) -> &[Line] {
        let per_row = self.lines_per_row();
        &self.rows.0[index * per_row..(index + 1) * per_row]
    }
}

/// Fixed order of additions: see the head of this file.
fn dot(a: &[Line], b: &[Line]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for (x, y) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(x.0).zip(y.0) {
            *sum += x * y;
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Better first: higher score, then lower slot.
fn better(a: (f32, usize), b: (f32, usize)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The best `capacity` entries seen, best first. `capacity` is a handful, so insertion beats a heap.
struct Best {
    entries: Vec<(f32, usize)>,
    capacity: usize,
}

impl Best {
    fn offer(&mut self, entry: (f32, usize)) {
        if self.entries.len() == self.capacity {
            match self.entries.last() {
                Some(worst) if better(entry, *worst) == Ordering::Less => self.entries.pop(),
                _ => return,
            };
        }
        let place = self.entries.partition_point(|e| better(*e, entry) == Ordering::Less);
        self.entries.insert(place, entry);
    }
}

impl Scan for ExactScan {
    fn len(&self) -> usize {
        self.expires_at.len()
    }
    fn version(&self) -> u64 {
        self.version
    }

    fn search(&self, query: &[f32], threshold: f32, top_k: usize) -> Vec<Candidate> {
        if query.len() != self.dim || top_k == 0 || query.iter().any(|v| !v.is_finite()) {
            return Vec::new();
        }
        let mut lines = Lines(Vec::with_capacity(self.lines_per_row()));
        lines.append(query);
        let capacity = top_k.min(self.slots.len());
        let mut best = Best { entries: Vec::with_capacity(capacity), capacity };
        for (place, slot) in self.slots.iter().enumerate() {
            let rows = slot.first..slot.first + slot.count;
            let score = rows.map(|index| dot(&lines.0, self.row(index))).fold(f32::NEG_INFINITY, f32::max);
            if score >= threshold {
                best.offer((score, place));
            }
        }
        let candidate = |(score, place): (f32, usize)| Candidate { subject: self.slots[place].subject.clone(), score };
        best.entries.into_iter().map(candidate).collect()
    }

    fn knows(&self, subject: &str) -> bool {
        self.slots.iter().any(|s| *s.subject.0 == *subject)
    }

    fn compare(&self, subject: &str, query: &[f32]) -> Option<f32> {
        if query.len() != self.dim || query.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let slot = self.slots.iter().find(|s| *s.subject.0 == *subject)?;
        let mut lines = Lines(Vec::with_capacity(self.lines_per_row()));
        lines.append(query);
        let rows = slot.first..slot.first + slot.count;
        Some(rows.map(|index| dot(&lines.0, self.row(index))).fold(f32::NEG_INFINITY, f32::max))
    }

    fn earliest_expiry(&self) -> Option<Stamp<Utc>> {
        self.expires_at.iter().min().copied()
    }

    fn without_expired(&self, now: Stamp<Utc>) -> Option<Arc<dyn Scan>> {
        self.earliest_expiry().filter(|at| *at <= now)?;
        let per_row = self.lines_per_row();
        let mut slots: Vec<Slot> = Vec::new();
        let mut kept = Vec::new();
        for slot in &self.slots {
            let live = (slot.first..slot.first + slot.count).filter(|row| self.expires_at[*row] > now);
            let (first, before) = (kept.len(), kept.len());
            kept.extend(live);
            if kept.len() > before {
                slots.push(Slot { subject: slot.subject.clone(), first, count: kept.len() - before });
            }
        }
        let mut rows = Lines(Vec::with_capacity(kept.len() * per_row));
        kept.iter().for_each(|row| rows.0.extend_from_slice(self.row(*row)));
        let expires_at = kept.iter().map(|row| self.expires_at[*row]).collect();
        Some(Arc::new(Self { dim: self.dim, version: self.version, rows, expires_at, slots }))
    }
}

#[cfg(test)]
mod tests;
