//! One thread's way through a shard: spans of chunks of blocks; for each chunk, tile after tile of queries; then the rows that passed, exactly.
//!
//! A chunk fits into the second cache, so that only its first tile waits for memory, and the tiles fetch the next chunk between them. After each chunk the rows
//! that passed are scored exactly, the most promising first, which raises the bar for the rest and, through [`Bars`], for the other threads.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

use super::best::{Best, Hit};
use super::filter::Filter;
use super::kernel::{Ahead, Kernel, Passed, Round};
use super::plane::{BLOCK, Depth, mark};
use super::portable::bound;
use super::query::{Limit, MAX_QUERIES, Queries, TILE};
use super::region::LINE_BYTES;
use super::shard::Shard;

/// Blocks of a chunk.
pub(super) const CHUNK: usize = 8;
/// Chunks that a thread takes at a time, at most.
const SPAN: usize = 32;
/// How far ahead of a single tile is fetched.
const NEAR_BYTES: usize = 8_192;

/// What a search looks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    pub(super) threshold: f32,
    pub(super) top_k: usize,
    pub(super) filter: Filter,
    pub(super) depth: Depth,
    pub(super) kernel: Kernel,
}

/// The highest bar that any thread has reached, for each query: a whole number that rises with the score.
pub(super) struct Bars([AtomicI32; MAX_QUERIES]);

impl Bars {
    pub(super) const fn new() -> Self {
        Self([const { AtomicI32::new(i32::MIN) }; MAX_QUERIES])
    }

    pub(super) fn reset(&self, threshold: f32) {
        self.0.iter().for_each(|bar| bar.store(rank(threshold), Relaxed));
    }

    fn raise(&self, query: usize, score: f32) {
        self.0[query].fetch_max(rank(score), Relaxed);
    }

    fn get(&self, query: usize) -> f32 {
        unrank(self.0[query].load(Relaxed))
    }
}

/// Rises with the score, for all scores but NaN; its own inverse.
const fn rank(score: f32) -> i32 {
    let bits = score.to_bits().cast_signed();
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

const fn unrank(rank: i32) -> f32 {
    f32::from_bits((rank ^ ((rank >> 31).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}

/// What one thread needs and found. Reused from search to search.
pub(super) struct Seat {
    pub(super) best: Vec<Best>,
    /// Rows that passed and the most that they can score, for each query.
    candidates: Vec<Vec<(f32, u32)>>,
    bars: Vec<f32>,
    limits: Vec<Limit>,
    masks: [u32; CHUNK],
    passed: Box<Passed>,
    /// Rows scored exactly, and blocks read, in the last search.
    pub(super) rescored: u64,
    pub(super) blocks: u64,
}

impl Seat {
    pub(super) fn new() -> Self {
        Self {
            best: Vec::new(),
            candidates: Vec::new(),
            bars: Vec::new(),
            limits: Vec::new(),
            masks: [0; CHUNK],
            passed: Box::new(Passed::new()),
            rescored: 0,
            blocks: 0,
        }
    }

    fn reset(&mut self, shard: &Shard, queries: &Queries, goal: &Goal) {
        let count = queries.len();
        if self.best.len() < count {
            self.best.resize_with(count, Best::default);
            self.candidates.resize_with(count, Vec::new);
        }
        self.bars.clear();
        self.limits.clear();
        let capacity = goal.top_k.min(shard.slots());
        for query in 0..count {
            self.best[query].reset(capacity);
            self.candidates[query].clear();
            self.bars.push(goal.threshold);
            self.limits.push(queries.reach(query).limit(goal.depth, goal.threshold));
        }
        (self.rescored, self.blocks) = (0, 0);
    }
}

/// What all threads of a search share.
pub(super) struct Way<'a> {
    pub(super) shard: &'a Shard,
    pub(super) queries: &'a Queries,
    pub(super) goal: &'a Goal,
    pub(super) bars: &'a Bars,
    /// The next chunk that nobody has taken.
    pub(super) next: &'a AtomicUsize,
    pub(super) threads: usize,
}

impl Way<'_> {
    /// Takes spans until there are none left. What was found is in the seat.
    pub(super) fn walk(&self, seat: &mut Seat) {
        seat.reset(self.shard, self.queries, self.goal);
        let blocks = self.shard.tags().blocks();
        let chunks = blocks.div_ceil(CHUNK);
        let span = (chunks / (self.threads * 8)).clamp(1, SPAN);
        loop {
            let first = self.next.fetch_add(span, Relaxed);
            if first >= chunks {
                return;
            }
            for chunk in first..chunks.min(first + span) {
                self.chunk(seat, chunk * CHUNK..blocks.min((chunk + 1) * CHUNK));
            }
        }
    }

    fn chunk(&self, seat: &mut Seat, blocks: std::ops::Range<usize>) {
        let mut any = 0;
        for (mask, block) in seat.masks.iter_mut().zip(blocks.clone()) {
            *mask = self.shard.tags().taken(block, &self.goal.filter);
            any |= *mask;
        }
        if any == 0 {
            return;
        }
        self.follow(seat);
        if self.shard.plane(self.goal.depth).is_some() {
            self.sketch(seat, blocks.clone());
        } else {
            self.all(seat, blocks.clone());
        }
        for query in 0..self.queries.len() {
            if !seat.candidates[query].is_empty() {
                self.score(seat, query);
            }
        }
    }

    /// Takes over the bars that other threads have raised.
    fn follow(&self, seat: &mut Seat) {
        if self.threads == 1 {
            return;
        }
        for query in 0..self.queries.len() {
            let bar = self.bars.get(query);
            if bar > seat.bars[query] {
                seat.bars[query] = bar;
                seat.limits[query] = self.queries.reach(query).limit(self.goal.depth, bar);
            }
        }
    }

    /// Every row that is there, for shards without planes.
    fn all(&self, seat: &mut Seat, blocks: std::ops::Range<usize>) {
        for (mask, block) in seat.masks.iter().zip(blocks) {
            let rows = (0..BLOCK).filter(|place| mask >> place & 1 == 1).map(|place| block * BLOCK + place);
            for row in rows {
                let row = u32::try_from(row).unwrap_or(u32::MAX);
                let sound = (0..self.queries.len()).filter(|query| self.queries.is_sound(*query));
                sound.for_each(|query| seat.candidates[query].push((f32::INFINITY, row)));
            }
        }
    }

    /// The codes of a chunk against every tile.
    fn sketch(&self, seat: &mut Seat, blocks: std::ops::Range<usize>) {
        let Some(plane) = self.shard.plane(self.goal.depth) else { return };
        let kernel = self.goal.kernel;
        let tiles = self.queries.len().div_ceil(TILE);
        let lines = plane.block_bytes() / LINE_BYTES;
        let Seat { masks, limits, candidates, passed, .. } = seat;
        for (number, (first, width, packed)) in self.queries.tiles().enumerate() {
            let ahead = if tiles == 1 {
                Ahead { offset: NEAR_BYTES, lines, far: false }
            } else {
                // A part of the block that lies a chunk further, for each tile.
                let (from, to) = (lines * number / tiles, lines * (number + 1) / tiles);
                Ahead { offset: CHUNK * plane.block_bytes() + from * LINE_BYTES, lines: to - from, far: true }
            };
            let limits = &limits[first..first + width];
            for (mask, index) in masks.iter().zip(blocks.clone()).filter(|(mask, _)| **mask != 0) {
                let block = plane.block(index);
                kernel.pass(&Round { depth: self.goal.depth, block, packed, limits, ahead }, passed);
                for (query, limit) in limits.iter().enumerate() {
                    let mut rows = passed.masks[query] & mask;
                    while rows != 0 {
                        let place = rows.trailing_zeros() as usize;
                        rows &= rows - 1;
                        let most = bound(passed.sums[query][place], limit, mark(block, place));
                        let row = u32::try_from(index * BLOCK + place).unwrap_or(u32::MAX);
                        candidates[first + query].push((most, row));
                    }
                }
            }
        }
        seat.blocks += masks.iter().map(|mask| u64::from(*mask != 0)).sum::<u64>();
    }

    /// The exact scores of what passed for one query.
    fn score(&self, seat: &mut Seat, query: usize) {
        let mut candidates = std::mem::take(&mut seat.candidates[query]);
        candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let values = self.queries.row(query);
        for (most, row) in candidates.drain(..) {
            // A hair below: `most` may have been rounded otherwise than the kernel's.
            if most < seat.limits[query].floor - 1.0 {
                break;
            }
            seat.rescored += 1;
            let score = self.goal.kernel.dot(values, self.shard.lines(row as usize));
            if score < seat.bars[query] || score.is_nan() {
                continue;
            }
            seat.best[query].offer(Hit { score, slot: self.shard.owner(row as usize) });
            let bar = seat.best[query].bar();
            if bar > seat.bars[query] {
                seat.bars[query] = bar;
                seat.limits[query] = self.queries.reach(query).limit(self.goal.depth, bar);
                self.bars.raise(query, bar);
            }
        }
        seat.candidates[query] = candidates;
    }
}
