//! The inner loops with 256-bit vectors.
//!
//! AVX2 multiplies unsigned by signed bytes into 16 bits and saturates there, so codes are taken by halves of 4 bits: 15 · 127 · 2 added up over eight
//! steps stays within 16 bits. A query at a time.

use std::arch::x86_64::*;

use super::encode::{self, Codes, Mark};
use super::kernel::{Passed, Round};
use super::plane::{Depth, HEAD_BYTES, STRIDE};
use super::portable;
use super::region::Line;

/// Additions of two products that fit into 16 bits.
const STEPS: usize = 8;
const _: () = assert!(STEPS as i32 * 2 * 15 * 127 <= i16::MAX as i32);
const VECTORS: usize = 4;
const VECTOR_BYTES: usize = 32;
const _: () = assert!(VECTORS * VECTOR_BYTES == STRIDE);

/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn encode(row: &[Line], dim: usize, codes: &mut Codes) -> (Mark, Mark) {
    encode::encode(row, dim, codes)
}

/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dot(a: &[Line], b: &[Line]) -> f32 {
    portable::dot(a, b)
}

/// Sums of the 32 rows with query `query` of the tile.
///
/// # Safety
/// The processor has AVX2, `Kernel::pass` has checked the round, and `query` is one of the tile's.
#[allow(clippy::needless_range_loop, reason = "vectors side by side, by number")]
#[target_feature(enable = "avx2")]
unsafe fn sums(round: &Round<'_>, query: usize) -> [__m256i; VECTORS] {
    let (width, low, ones) = (round.limits.len(), _mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let mut sums = [_mm256_set1_epi32(round.limits[query].start); VECTORS];
    let by_16 = round.depth == Depth::Byte;
    for (index, lines) in round.block[HEAD_BYTES..].chunks(STRIDE * STEPS).enumerate() {
        let mut lows = [_mm256_setzero_si256(); VECTORS];
        let mut highs = lows;
        for (line, bytes) in lines.chunks_exact(STRIDE).enumerate() {
            let number = index * STEPS + line;
            let (first, second) = if by_16 { (number, number) } else { (2 * number, 2 * number + 1) };
            let (first, second) = (round.packed[first * width + query], round.packed[second * width + query]);
            let (first, second) = (_mm256_set1_epi32(first), _mm256_set1_epi32(second));
            for vector in 0..VECTORS {
                // SAFETY: a line has 128 bytes: four vectors.
                let codes = unsafe { _mm256_loadu_si256(bytes.as_ptr().add(vector * VECTOR_BYTES).cast()) };
                let (lower, upper) = (_mm256_and_si256(codes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low));
                lows[vector] = _mm256_add_epi16(lows[vector], _mm256_maddubs_epi16(lower, first));
                highs[vector] = _mm256_add_epi16(highs[vector], _mm256_maddubs_epi16(upper, second));
            }
        }
        for vector in 0..VECTORS {
            let (lower, upper) = (_mm256_madd_epi16(lows[vector], ones), _mm256_madd_epi16(highs[vector], ones));
            // The upper half of an 8-bit code counts sixteen times.
            let upper = if by_16 { _mm256_slli_epi32::<4>(upper) } else { upper };
            sums[vector] = _mm256_add_epi32(sums[vector], _mm256_add_epi32(lower, upper));
        }
    }
    sums
}

/// # Safety
/// The processor has AVX2, and `Kernel::pass` has checked the round.
#[allow(clippy::needless_range_loop, reason = "vectors side by side, by number")]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn pass(round: &Round<'_>, passed: &mut Passed) {
    let head = &round.block[..HEAD_BYTES];
    // SAFETY: eight halves of 16 bits at each place: rows 8 · vector and on, of the scales or, 64 bytes further, the residuals.
    let units = |at: usize| _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(head.as_ptr().add(at).cast()) }));
    let scales: [__m256; VECTORS] = [units(0), units(16), units(32), units(48)];
    let residuals: [__m256; VECTORS] = [units(64), units(80), units(96), units(112)];
    for (query, limit) in round.limits.iter().enumerate() {
        // SAFETY: the caller's; `query` counts the tile's limits.
        let of_query = unsafe { sums(round, query) };
        let (rise, floor) = (_mm256_set1_ps(limit.rise), _mm256_set1_ps(limit.floor));
        let mut mask = 0;
        for vector in 0..VECTORS {
            let value = _mm256_mul_ps(_mm256_cvtepi32_ps(of_query[vector]), rise);
            let bound = _mm256_add_ps(_mm256_mul_ps(value, scales[vector]), residuals[vector]);
            let passes = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(bound, floor));
            mask |= passes.cast_unsigned() << (8 * vector);
            // SAFETY: eight sums at each of four places of 32.
            unsafe { _mm256_storeu_si256(passed.sums[query].as_mut_ptr().add(8 * vector).cast(), of_query[vector]) };
        }
        passed.masks[query] = mask;
    }
}
