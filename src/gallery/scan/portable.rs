//! The inner loops in plain Rust: what runs where there is nothing better, and what the vector files must agree with.

use super::encode::Mark;
use super::kernel::{Passed, Round};
use super::plane::{BLOCK, Depth, HEAD_BYTES, STRIDE, mark};
use super::query::Limit;
use super::region::{LANES, Line};

/// The score, and the definition of it: 16 partial sums, one for each place in a line, each added up from the first line to the last, then folded
/// pairwise. No multiplication is fused with an addition, so every instruction set gives the same bits.
#[inline(always)]
pub(super) fn dot(a: &[Line], b: &[Line]) -> f32 {
    dot_of(a.iter().zip(b).map(|(x, y)| (x.0, y.0)))
}

/// The same of pairs of lines.
#[inline(always)]
pub(super) fn dot_of(lines: impl Iterator<Item = ([f32; LANES], [f32; LANES])>) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for (x, y) in lines {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
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

/// What a row may score at most, in units of a residual. Vector files may fuse the operations: the slack in the limit covers both.
#[inline]
pub(super) fn bound(sum: i32, limit: &Limit, mark: Mark) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "at most 2²⁴, see scan/mod.rs")]
    let sum = sum as f32;
    sum * limit.rise * f32::from(mark.scale) + f32::from(mark.residual)
}

/// One row's four codes of a group times a query's.
fn product(codes: &[u8], packed: i32, shift: u32, mask: u8) -> i32 {
    codes.iter().zip(packed.to_le_bytes()).map(|(code, q)| i32::from(code >> shift & mask) * i32::from(i8::from_le_bytes([q]))).sum()
}

/// Sums of all rows of a block with one query of a tile.
fn sums(round: &Round<'_>, query: usize, sums: &mut [i32; BLOCK]) {
    let width = round.limits.len();
    sums.fill(round.limits[query].start);
    for (index, line) in round.block[HEAD_BYTES..].chunks_exact(STRIDE).enumerate() {
        let group = |group: usize| round.packed[group * width + query];
        match round.depth {
            Depth::Nibble => {
                let (low, high) = (group(2 * index), group(2 * index + 1));
                for (sum, codes) in sums.iter_mut().zip(line.chunks_exact(4)) {
                    *sum += product(codes, low, 0, 15) + product(codes, high, 4, 15);
                }
            }
            Depth::Byte => {
                let whole = group(index);
                sums.iter_mut().zip(line.chunks_exact(4)).for_each(|(sum, codes)| *sum += product(codes, whole, 0, 255));
            }
        }
    }
}

pub(super) fn pass(round: &Round<'_>, passed: &mut Passed) {
    for (query, limit) in round.limits.iter().enumerate() {
        let of_query = &mut passed.sums[query];
        sums(round, query, of_query);
        let passes = |place: &usize| bound(of_query[*place], limit, mark(round.block, *place)) >= limit.floor;
        passed.masks[query] = (0..BLOCK).filter(passes).fold(0, |mask, place| mask | 1 << place);
    }
}
