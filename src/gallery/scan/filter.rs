//! Who of the rows may be looked at: a bit for each row that is there, its zones, its end. Tested before a block is read.
//!
//! A block knows what all of its rows and what any of its rows have, so a block that a filter takes or leaves as a whole costs a comparison. Rows
//! sorted by zone make most blocks so.

use super::plane::BLOCK;
use crate::clock::{Stamp, Utc};

/// What a row is tagged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// A bit for each zone it may be searched in.
    pub(crate) zones: u64,
    /// Not looked at from then on.
    pub(crate) expires_at: Stamp<Utc>,
}

/// Which rows a search may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Rows that have all of these zones.
    pub(crate) zones: u64,
    /// Rows that end after this.
    pub(crate) now: Stamp<Utc>,
}

impl Filter {
    /// All rows that there are.
    pub(crate) const NONE: Self = Self { zones: 0, now: Stamp::from_ns(i64::MIN) };

    #[inline]
    pub(crate) fn takes(&self, tag: &Tag) -> bool {
        tag.zones & self.zones == self.zones && tag.expires_at > self.now
    }
}

/// What the rows of a block have.
#[derive(Clone, Copy)]
struct Summary {
    /// A bit for each row that is there and was not withdrawn.
    present: u32,
    all_zones: u64,
    any_zones: u64,
    first_end: Stamp<Utc>,
    last_end: Stamp<Utc>,
}

const EMPTY: Summary =
    Summary { present: 0, all_zones: u64::MAX, any_zones: 0, first_end: Stamp::from_ns(i64::MAX), last_end: Stamp::from_ns(i64::MIN) };

/// Tags of all rows, in order.
pub(super) struct Tags {
    rows: Vec<Tag>,
    blocks: Vec<Summary>,
}

impl Tags {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), blocks: Vec::with_capacity(rows.div_ceil(BLOCK)) }
    }

    pub(super) fn push(&mut self, tag: Tag) {
        let place = self.rows.len() % BLOCK;
        if place == 0 {
            self.blocks.push(EMPTY);
        }
        self.rows.push(tag);
        if let Some(block) = self.blocks.last_mut() {
            block.present |= 1 << place;
            block.all_zones &= tag.zones;
            block.any_zones |= tag.zones;
            block.first_end = block.first_end.min(tag.expires_at);
            block.last_end = block.last_end.max(tag.expires_at);
        }
    }

    pub(super) const fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// What the rows of each block have, as a device is told.
    pub(super) fn summaries(&self) -> impl Iterator<Item = super::twin::BlockSummary> {
        self.blocks.iter().map(|block| super::twin::BlockSummary {
            all_zones: block.all_zones,
            any_zones: block.any_zones,
            first_end: block.first_end,
            last_end: block.last_end,
            present: block.present,
        })
    }

    pub(super) fn tag(&self, row: usize) -> Tag {
        self.rows[row]
    }

    /// Never looked at again.
    #[cfg(test)]
    pub(super) fn withdraw(&mut self, row: usize) {
        self.blocks[row / BLOCK].present &= !(1 << (row % BLOCK));
    }

    /// A bit for each row of block `index` that `filter` takes.
    #[inline]
    pub(super) fn taken(&self, index: usize, filter: &Filter) -> u32 {
        let block = &self.blocks[index];
        if block.any_zones & filter.zones != filter.zones || block.last_end <= filter.now {
            return 0;
        }
        if block.all_zones & filter.zones == filter.zones && block.first_end > filter.now {
            return block.present;
        }
        let rows = &self.rows[index * BLOCK..self.rows.len().min((index + 1) * BLOCK)];
        rows.iter().enumerate().fold(0, |taken, (place, tag)| taken | u32::from(filter.takes(tag)) << place) & block.present
    }
}
