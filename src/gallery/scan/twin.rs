//! The twin of `kernels/gallery`: rows as a device is given them, and what the processor's scan says of them.
//!
//! It makes its own shard of rows that its caller has already, and knows no vault: nobody who is enrolled can be had or compared through it (C03).
//! Single-threaded; for tests and benches.

use std::sync::Arc;

use super::crew::{Crew, Found, Search};
use super::filter::{Filter, Tag};
use super::kernel::{Ahead, Kernel, Passed, Round};
use super::plane::{BLOCK, Depth, mark};
use super::portable::bound;
use super::query::Queries;
use super::region::{LANES, NoMemory};
use super::shard::{Refused, Shard};
use crate::clock::{Stamp, Utc};

/// One row: a unit vector, whose it is, where and until when it may be looked at.
#[derive(Clone, Debug)]
pub struct Row {
    pub values: Vec<f32>,
    /// The last row's slot, or the next.
    pub slot: u32,
    /// A bit for each zone it may be searched in.
    pub zones: u64,
    pub expires_at: Stamp<Utc>,
}

/// What all and what any rows of a block of 32 have: `Summary` of `kernels/gallery/hit.cuh`.
#[derive(Clone, Copy, Debug)]
pub struct BlockSummary {
    pub all_zones: u64,
    pub any_zones: u64,
    pub first_end: Stamp<Utc>,
    pub last_end: Stamp<Utc>,
    pub present: u32,
}

/// One query, as a kernel reads it.
#[derive(Clone, Debug)]
pub struct Coded {
    /// As many lines of 16 values as a row has.
    pub values: Vec<f32>,
    /// Four codes of 8 bits each, group after group.
    pub packed: Vec<i32>,
    pub size: f64,
    pub residual: f64,
    pub step: f64,
    pub total: i32,
}

#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    #[error(transparent)]
    Memory(#[from] NoMemory),
    #[error("row {row} {refused}")]
    Row { row: usize, refused: Refused },
}

/// What to look for, and from which plane.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub threshold: f32,
    pub top_k: usize,
    pub zones: u64,
    pub now: Stamp<Utc>,
    pub is_nibble: bool,
}

/// A shard, and what of it goes to a device.
pub struct Twin {
    shard: Arc<Shard>,
}

const fn depth(is_nibble: bool) -> Depth {
    if is_nibble { Depth::Nibble } else { Depth::Byte }
}

impl Twin {
    pub fn new(dim: usize, rows: &[Row]) -> Result<Self, TwinError> {
        let mut shard = Shard::with_capacity(Kernel::best(), dim, rows.len())?;
        for (number, row) in rows.iter().enumerate() {
            let tag = Tag { zones: row.zones, expires_at: row.expires_at };
            shard.push(&row.values, row.slot, tag).map_err(|refused| TwinError::Row { row: number, refused })?;
        }
        Ok(Self { shard: Arc::new(shard) })
    }

    /// The codes of all blocks, one after the other; nothing where the dimension has no planes.
    pub fn plane(&self, is_nibble: bool) -> Vec<u8> {
        let blocks = 0..self.shard.tags().blocks();
        self.shard.plane(depth(is_nibble)).map_or_else(Vec::new, |plane| blocks.flat_map(|block| plane.block(block)).copied().collect())
    }

    /// All rows, in lines of 16 values.
    pub fn lines(&self) -> Vec<f32> {
        (0..self.shard.len()).flat_map(|row| self.shard.lines(row)).flat_map(|line| line.0).collect()
    }

    pub fn summaries(&self) -> Vec<BlockSummary> {
        self.shard.tags().summaries().collect()
    }

    pub fn code(&self, query: &[f32]) -> Coded {
        let mut queries = Queries::default();
        queries.prepare(self.shard.dim(), &[query]);
        let (size, residual, step, total) = queries.reach(0).parts();
        let packed = queries.tiles().flat_map(|(_, _, packed)| packed).copied().collect();
        Coded { values: queries.row(0).iter().flat_map(|line| line.0).collect(), packed, size, residual, step, total }
    }

    /// (rise, floor, start) for a query at a least score.
    pub fn limit(&self, query: &[f32], is_nibble: bool, least: f32) -> (f32, f32, i32) {
        let mut queries = Queries::default();
        queries.prepare(self.shard.dim(), &[query]);
        let limit = queries.reach(0).limit(depth(is_nibble), least);
        (limit.rise, limit.floor, limit.start)
    }

    /// The most that each row can score, in units of a residual, as a scan computes it: what a limit's floor is compared with.
    pub fn bounds(&self, query: &[f32], is_nibble: bool) -> Vec<f32> {
        let depth = depth(is_nibble);
        let mut queries = Queries::default();
        queries.prepare(self.shard.dim(), &[query]);
        let limit = queries.reach(0).limit(depth, f32::NEG_INFINITY);
        let Some(plane) = self.shard.plane(depth) else { return Vec::new() };
        let Some((_, _, packed)) = queries.tiles().next() else { return Vec::new() };
        let mut passed = Passed::new();
        let mut bounds = Vec::new();
        for row in 0..self.shard.len() {
            let block = plane.block(row / BLOCK);
            if row % BLOCK == 0 {
                let limits = std::slice::from_ref(&limit);
                self.shard.kernel().pass(&Round { depth, block, packed, limits, ahead: Ahead::default() }, &mut passed);
            }
            bounds.push(bound(passed.sums[0][row % BLOCK], &limit, mark(block, row % BLOCK)));
        }
        bounds
    }

    /// What the processor finds: (slot, score), best first, for each query.
    pub fn search(&self, queries: &[&[f32]], wanted: &Wanted) -> Vec<Vec<(u32, f32)>> {
        let filter = Filter { zones: wanted.zones, now: wanted.now };
        let search =
            Search { threshold: wanted.threshold, top_k: wanted.top_k, filter, depth: Some(depth(wanted.is_nibble)), kernel: None };
        let mut found = Found::default();
        Crew::alone().search(&self.shard, queries, &search, &mut found);
        (0..queries.len()).map(|query| found.hits(query).iter().map(|hit| (hit.slot, hit.score)).collect()).collect()
    }

    /// Pairs of groups of four values that a row is padded to; lines of 16 values in a row.
    pub fn sizes(&self) -> (usize, usize) {
        (super::plane::pairs(self.shard.dim()), self.shard.dim().div_ceil(LANES))
    }
}
