//! The inner loops with 512-bit vectors and VNNI: 64 products of 8 bits, added up in fours, an instruction.
//!
//! A tile of N queries keeps 2 · N vectors of sums in registers and shares each load of a block's line; both halves of a 4-bit line are taken apart in
//! registers, which costs nothing where the multipliers are the limit. Meanwhile what comes next is fetched.

use std::arch::x86_64::*;

use super::encode::{self, Codes, Mark};
use super::kernel::{Ahead, Passed, Round};
use super::plane::{Depth, HEAD_BYTES, STRIDE};
use super::portable;
use super::query::Limit;
use super::region::{LINE_BYTES, Line};

/// # Safety
/// The processor has AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn encode(row: &[Line], dim: usize, codes: &mut Codes) -> (Mark, Mark) {
    encode::encode(row, dim, codes)
}

/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn dot(a: &[Line], b: &[Line]) -> f32 {
    portable::dot(a, b)
}

/// Two vectors of sums for each query: rows 0…15 and 16…31 of a block.
type Sums<const N: usize> = [[__m512i; 2]; N];

#[target_feature(enable = "avx512f")]
fn starts<const N: usize>(limits: &[Limit]) -> Sums<N> {
    let mut sums = [[_mm512_setzero_si512(); 2]; N];
    sums.iter_mut().zip(limits).for_each(|(sum, limit)| *sum = [_mm512_set1_epi32(limit.start); 2]);
    sums
}

/// Where to fetch from next, and how much.
struct Fetch {
    next: *const u8,
    lines: usize,
    far: bool,
}

impl Fetch {
    fn new(block: &[u8], ahead: Ahead) -> Self {
        Self { next: block.as_ptr().wrapping_add(ahead.offset), lines: ahead.lines, far: ahead.far }
    }

    /// At most two lines.
    #[inline(always)]
    fn step(&mut self) {
        for _ in 0..2 {
            if self.lines > 0 {
                let next = self.next.cast();
                // SAFETY: a hint to the cache reads nothing, whatever the address.
                unsafe { if self.far { _mm_prefetch::<_MM_HINT_T1>(next) } else { _mm_prefetch::<_MM_HINT_T0>(next) } };
                self.next = self.next.wrapping_add(LINE_BYTES);
                self.lines -= 1;
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 F and VNNI; `lines` is a whole number of strides and begins at a multiple of 64; `packed` holds 2 · N values for each.
#[allow(clippy::needless_range_loop, reason = "vectors side by side, by number")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn nibbles<const N: usize>(lines: &[u8], packed: &[i32], limits: &[Limit], mut fetch: Fetch) -> Sums<N> {
    let mut sums = starts::<N>(limits);
    let mut others = [[_mm512_setzero_si512(); 2]; N];
    let low = _mm512_set1_epi8(15);
    let (mut line, mut query) = (lines.as_ptr(), packed.as_ptr());
    for _ in 0..lines.len() / STRIDE {
        fetch.step();
        // SAFETY: `line` is at the beginning of one of the strides, aligned to 64, and `query` at its 2 · N values (caller; both move on by
        // one stride's worth a turn).
        unsafe {
            let (first, second) = (_mm512_load_si512(line.cast()), _mm512_load_si512(line.add(LINE_BYTES).cast()));
            let (low0, low1) = (_mm512_and_si512(first, low), _mm512_and_si512(second, low));
            let high0 = _mm512_and_si512(_mm512_srli_epi16::<4>(first), low);
            let high1 = _mm512_and_si512(_mm512_srli_epi16::<4>(second), low);
            for n in 0..N {
                let codes = _mm512_set1_epi32(*query.add(n));
                sums[n][0] = _mm512_dpbusd_epi32(sums[n][0], low0, codes);
                sums[n][1] = _mm512_dpbusd_epi32(sums[n][1], low1, codes);
            }
            for n in 0..N {
                let codes = _mm512_set1_epi32(*query.add(N + n));
                // Few queries: twice as many chains of additions, so that none waits for another.
                let sums = if N <= 4 { &mut others[n] } else { &mut sums[n] };
                sums[0] = _mm512_dpbusd_epi32(sums[0], high0, codes);
                sums[1] = _mm512_dpbusd_epi32(sums[1], high1, codes);
            }
            line = line.add(STRIDE);
            query = query.add(2 * N);
        }
    }
    if N <= 4 {
        for (sum, other) in sums.iter_mut().zip(&others) {
            *sum = [_mm512_add_epi32(sum[0], other[0]), _mm512_add_epi32(sum[1], other[1])];
        }
    }
    sums
}

/// # Safety
/// The processor has AVX-512 F and VNNI; `lines` is a whole number of strides and begins at a multiple of 64; `packed` holds N values for each.
#[allow(clippy::needless_range_loop, reason = "vectors side by side, by number")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn bytes<const N: usize>(lines: &[u8], packed: &[i32], limits: &[Limit], mut fetch: Fetch) -> Sums<N> {
    let mut sums = starts::<N>(limits);
    let (mut line, mut query) = (lines.as_ptr(), packed.as_ptr());
    for _ in 0..lines.len() / STRIDE {
        fetch.step();
        // SAFETY: as in `nibbles`.
        unsafe {
            let (first, second) = (_mm512_load_si512(line.cast()), _mm512_load_si512(line.add(LINE_BYTES).cast()));
            for n in 0..N {
                let codes = _mm512_set1_epi32(*query.add(n));
                sums[n][0] = _mm512_dpbusd_epi32(sums[n][0], first, codes);
                sums[n][1] = _mm512_dpbusd_epi32(sums[n][1], second, codes);
            }
            line = line.add(STRIDE);
            query = query.add(N);
        }
    }
    sums
}

/// # Safety
/// The processor has AVX-512 F, BW and VNNI; N is the tile's width, and the tile's lengths are those that `Kernel::pass` checks.
#[allow(clippy::needless_range_loop, reason = "vectors side by side, by number")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn pass_tile<const N: usize>(round: &Round<'_>, passed: &mut Passed) {
    let (head, lines) = round.block.split_at(HEAD_BYTES);
    let fetch = Fetch::new(round.block, round.ahead);
    let sums: Sums<N> = match round.depth {
        // SAFETY: the caller's: the processor's instructions, and lengths that go together.
        Depth::Nibble => unsafe { nibbles(lines, round.packed, round.limits, fetch) },
        // SAFETY: as above.
        Depth::Byte => unsafe { bytes(lines, round.packed, round.limits, fetch) },
    };
    // SAFETY: a head is 128 bytes: 16 halves of 16 bits at each of the four places.
    let units = |at: usize| _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(head.as_ptr().add(at).cast()) }));
    let (scales, residuals) = ([units(0), units(32)], [units(64), units(96)]);
    for (n, (of_query, limit)) in sums.iter().zip(round.limits).enumerate() {
        let (rise, floor) = (_mm512_set1_ps(limit.rise), _mm512_set1_ps(limit.floor));
        let mut mask = 0;
        for half in 0..2 {
            let value = _mm512_mul_ps(_mm512_cvtepi32_ps(of_query[half]), rise);
            let bound = _mm512_fmadd_ps(value, scales[half], residuals[half]);
            mask |= u32::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(bound, floor)) << (16 * half);
        }
        passed.masks[n] = mask;
        if mask != 0 {
            let (first, second) = passed.sums[n].split_at_mut(16);
            // SAFETY: each half holds sixteen sums.
            unsafe {
                _mm512_storeu_si512(first.as_mut_ptr().cast(), of_query[0]);
                _mm512_storeu_si512(second.as_mut_ptr().cast(), of_query[1]);
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 F, BW and VNNI, and `Kernel::pass` has checked the round.
#[inline]
pub(super) unsafe fn pass(round: &Round<'_>, passed: &mut Passed) {
    // SAFETY: the caller's, with the width that is matched.
    unsafe {
        match round.limits.len() {
            1 => pass_tile::<1>(round, passed),
            2 => pass_tile::<2>(round, passed),
            3 => pass_tile::<3>(round, passed),
            4 => pass_tile::<4>(round, passed),
            5 => pass_tile::<5>(round, passed),
            6 => pass_tile::<6>(round, passed),
            7 => pass_tile::<7>(round, passed),
            8 => pass_tile::<8>(round, passed),
            9 => pass_tile::<9>(round, passed),
            10 => pass_tile::<10>(round, passed),
            11 => pass_tile::<11>(round, passed),
            _ => pass_tile::<12>(round, passed),
        }
    }
}
