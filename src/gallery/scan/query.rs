//! Queries, made ready for a scan: rows of values for the exact scores, 8-bit codes in the order in which a kernel reads them.
//!
//! ```text
//! q̃ = step · c,  c −127…127;   e_q = |q − q̃|
//! ```
//!
//! Queries go through a block in tiles of at most [`TILE`]: so many sums stay in registers. What is made here is biometric: it is wiped as
//! soon as the search is over, and only the memory stays for the next.

use zeroize::Zeroize;

use super::encode::{BYTE_UNIT, GROUP, NIBBLE_UNIT, RESIDUAL_UNIT};
use super::plane::{Depth, pairs};
use super::region::{LANES, Line};

/// Queries of one search.
pub(crate) const MAX_QUERIES: usize = 64;
/// Queries that go through a block at once.
pub(super) const TILE: usize = 12;
/// How far from 1 a row's, and a query's, norm may be: rounding to `f32` moves it by some 1e-7.
pub(crate) const NORM_TOLERANCE: f64 = 1e-4;
/// What `f32` arithmetic may be off, see the head of `scan/mod.rs`.
const SLACK: f64 = 8e-6;

/// One query's part in the bound.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    /// |q̃|; 0 for a query that finds nobody.
    size: f64,
    /// e_q.
    residual: f64,
    step: f64,
    /// Sum of its codes.
    total: i32,
}

/// The bound of one query as a kernel computes it, in units of a residual: `(sum · rise) · scale + residual ≥ floor`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limit {
    pub(super) rise: f32,
    pub(super) floor: f32,
    /// What the sum begins with: the codes' middle.
    pub(super) start: i32,
}

impl Reach {
    /// |q̃|, e_q, step and the sum of the codes, as a device is told.
    pub(super) const fn parts(&self) -> (f64, f64, f64, i32) {
        (self.size, self.residual, self.step, self.total)
    }

    /// The limit at which rows that may score `least` and more pass.
    pub(super) fn limit(&self, depth: Depth, least: f32) -> Limit {
        if self.size == 0.0 {
            return Limit { rise: 0.0, floor: f32::INFINITY, start: 0 };
        }
        let (unit, start) = match depth {
            // Rounded up, −7.5 · total: the sum is never too low.
            Depth::Nibble => (NIBBLE_UNIT, (-15 * self.total + 1).div_euclid(2)),
            Depth::Byte => (BYTE_UNIT, -128 * self.total),
        };
        let residual_unit = f64::from(RESIDUAL_UNIT);
        let floor = (f64::from(least) - self.residual * (1.0 + NORM_TOLERANCE) - SLACK) / self.size - SLACK;
        #[expect(clippy::cast_possible_truncation, reason = "rounded; the slack covers it")]
        let (rise, floor) = ((self.step / self.size * f64::from(unit) / residual_unit) as f32, (floor / residual_unit) as f32);
        Limit { rise, floor, start }
    }
}

/// The queries of one search. Memory is reused from search to search.
#[derive(Default)]
pub(super) struct Queries {
    lines: Vec<Line>,
    /// Tile after tile; in a tile, group after group; in a group, query after query: the four codes of the group.
    packed: Vec<i32>,
    codes: Vec<i8>,
    reaches: Vec<Reach>,
    tiles: Vec<usize>,
    per_row: usize,
    groups: usize,
}

impl Queries {
    /// Takes over `queries`, each of `dim` values. One that is not finite and of unit length finds nobody.
    pub(super) fn prepare(&mut self, dim: usize, queries: &[&[f32]]) {
        self.wipe();
        self.per_row = dim.div_ceil(LANES);
        self.groups = 2 * pairs(dim);
        self.codes.resize(queries.len() * self.groups * GROUP, 0);
        for (query, codes) in queries.iter().zip(self.codes.chunks_exact_mut(self.groups * GROUP)) {
            let fits = query.len() == dim;
            for chunk in 0..self.per_row {
                let mut line = Line([0.0; LANES]);
                if let Some(values) = query.get(chunk * LANES..).filter(|_| fits) {
                    line.0.iter_mut().zip(values).for_each(|(place, value)| *place = *value);
                }
                self.lines.push(line);
            }
            self.reaches.push(if fits { reach(query, codes) } else { Reach::default() });
        }
        split(queries.len(), &mut self.tiles);
        self.pack();
    }

    fn pack(&mut self) {
        self.packed.reserve(self.reaches.len() * self.groups);
        let per_query = self.groups * GROUP;
        let mut first = 0;
        for width in &self.tiles {
            for group in 0..self.groups {
                for query in first..first + width {
                    let codes = &self.codes[query * per_query + group * GROUP..][..GROUP];
                    self.packed.push(i32::from_le_bytes(std::array::from_fn(|k| codes[k].to_le_bytes()[0])));
                }
            }
            first += width;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.reaches.len()
    }

    pub(super) fn row(&self, query: usize) -> &[Line] {
        &self.lines[query * self.per_row..(query + 1) * self.per_row]
    }

    pub(super) fn reach(&self, query: usize) -> Reach {
        self.reaches[query]
    }

    /// Whether it can find anybody.
    pub(super) fn is_sound(&self, query: usize) -> bool {
        self.reaches[query].size > 0.0
    }

    /// First query, width and packed codes of each tile.
    pub(super) fn tiles(&self) -> impl Iterator<Item = (usize, usize, &[i32])> {
        let mut first = 0;
        self.tiles.iter().map(move |width| {
            let packed = &self.packed[first * self.groups..(first + width) * self.groups];
            let tile = (first, *width, packed);
            first += width;
            tile
        })
    }

    /// Forgets the queries; the memory stays.
    pub(super) fn wipe(&mut self) {
        self.lines.iter_mut().for_each(|line| line.0.zeroize());
        self.lines.clear();
        self.packed.zeroize();
        self.codes.zeroize();
        self.reaches.clear();
        self.tiles.clear();
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// As few tiles as there can be, of widths that differ by one at most.
fn split(queries: usize, tiles: &mut Vec<usize>) {
    let count = queries.div_ceil(TILE);
    tiles.extend((0..count).map(|tile| queries / count + usize::from(tile < queries % count)));
}

/// Writes the codes of one query. `size` 0: no unit vector.
fn reach(query: &[f32], codes: &mut [i8]) -> Reach {
    let norm = query.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    // A NaN or an infinity anywhere makes the comparison false.
    let is_unit = (norm - 1.0).abs() <= NORM_TOLERANCE;
    if !is_unit {
        return Reach::default();
    }
    let largest = query.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let step = f64::from(largest) / 127.0;
    let (mut size, mut residual, mut total) = (0.0_f64, 0.0_f64, 0_i32);
    for (value, code) in query.iter().zip(codes.iter_mut()) {
        let value = f64::from(*value);
        #[expect(clippy::cast_possible_truncation, reason = "−127…127 by construction")]
        let rounded = (value / step).round().clamp(-127.0, 127.0) as i8;
        *code = rounded;
        let coded = step * f64::from(rounded);
        size += coded * coded;
        residual += (value - coded) * (value - coded);
        total += i32::from(rounded);
    }
    Reach { size: size.sqrt(), residual: residual.sqrt(), step, total }
}
