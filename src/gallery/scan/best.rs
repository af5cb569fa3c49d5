//! The best subjects seen so far, best first: score falling, ties by slot. A subject appears once, with its best row.

use std::cmp::Ordering;

/// A slot and the score of its most similar row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) score: f32,
    pub(crate) slot: u32,
}

/// Better first: higher score, then lower slot.
fn better(a: &Hit, b: &Hit) -> Ordering {
    b.score.total_cmp(&a.score).then(a.slot.cmp(&b.slot))
}

/// `capacity` is a handful, so looking through and inserting beats anything cleverer.
#[derive(Default)]
pub(super) struct Best {
    hits: Vec<Hit>,
    capacity: usize,
}

impl Best {
    /// Empties it, for `capacity` hits; allocates only where it never held as many.
    pub(super) fn reset(&mut self, capacity: usize) {
        self.hits.clear();
        self.hits.reserve(capacity);
        self.capacity = capacity;
    }

    pub(super) fn offer(&mut self, hit: Hit) {
        if self.capacity == 0 {
            return;
        }
        let is_full = self.hits.len() == self.capacity;
        if is_full && self.hits.last().is_some_and(|worst| better(&hit, worst) != Ordering::Less) {
            return;
        }
        match self.hits.iter().position(|h| h.slot == hit.slot) {
            Some(place) if better(&hit, &self.hits[place]) != Ordering::Less => return,
            Some(place) => {
                self.hits.remove(place);
            }
            None if is_full => {
                self.hits.pop();
            }
            None => {}
        }
        let place = self.hits.partition_point(|h| better(h, &hit) == Ordering::Less);
        self.hits.insert(place, hit);
    }

    /// What a row must reach to change anything. Rows that only equal it may have the lower slot.
    pub(super) fn bar(&self) -> f32 {
        match self.hits.last() {
            Some(worst) if self.hits.len() == self.capacity => worst.score,
            _ => f32::NEG_INFINITY,
        }
    }

    pub(super) fn hits(&self) -> &[Hit] {
        &self.hits
    }
}
