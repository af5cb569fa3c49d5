//! The inner loops with 512-bit vectors (AVX-512 F and BW).
//!
//! Blend stays with AVX2: it is bound by loads. Project handles sixteen pixels at a time and, where sixteen outputs draw on at most 64
//! neighbouring samples (steps up to about four), replaces the gather by two loads and one two-register permutation.

use std::arch::x86_64::*;

use super::kernel::{OutputRows, Projection, windowed};
use super::taps::{Across, BLOCK, Channel, Columns};

/// Sixteen resampled values of block `block`.
///
/// # Safety
/// `block < columns.window.len()`, and `row` holds `columns.row_len` samples.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn resampled(row: &[i16], columns: &Columns, block: usize) -> __m512i {
    let (x, entries) = (block * BLOCK, columns.first.len());
    let mut sum = _mm512_setzero_si512();
    // SAFETY: `first`, each pair's `weights` and (if not empty) `in_window` hold sixteen entries a block. By construction a window's 64
    // samples and first + 2·pairs lie within `row_len`, which `row` holds (caller): so do both loads of the window, and the four bytes
    // gathered at each first + 2·pair.
    unsafe {
        let weights = |pair: usize| _mm512_loadu_si512(columns.weights.as_ptr().add(pair * entries + x).cast());
        if windowed(columns) {
            let window = row.as_ptr().add(columns.window[block] as usize);
            let (near, far) = (_mm512_loadu_si512(window.cast()), _mm512_loadu_si512(window.add(32).cast()));
            let mut places = _mm512_loadu_si512(columns.in_window.as_ptr().add(x).cast());
            for pair in 0..columns.pairs {
                let samples = _mm512_permutex2var_epi16(near, places, far);
                sum = _mm512_add_epi32(sum, _mm512_madd_epi16(samples, weights(pair)));
                places = _mm512_add_epi16(places, _mm512_set1_epi16(2));
            }
        } else {
            let first = _mm512_loadu_si512(columns.first.as_ptr().add(x).cast());
            for pair in 0..columns.pairs {
                let samples = _mm512_i32gather_epi32::<2>(first, row.as_ptr().add(2 * pair).cast());
                sum = _mm512_add_epi32(sum, _mm512_madd_epi16(samples, weights(pair)));
            }
        }
    }
    sum
}

/// Sixteen luma samples as they are.
///
/// # Safety
/// `x + 16 ≤ row.len()`.
#[target_feature(enable = "avx512f")]
unsafe fn luma_as_is(row: &[i16], x: usize) -> __m512i {
    // SAFETY: 32 bytes from sample x on lie in `row` (caller); the load is unaligned.
    _mm512_cvtepi16_epi32(unsafe { _mm256_loadu_si256(row.as_ptr().add(x).cast()) })
}

/// Sixteen columns of eight chroma samples: doubled, and summed with the next.
///
/// # Safety
/// `x` is even and `x / 2 + 9 ≤ row.len()`.
#[target_feature(enable = "avx512f,avx2")]
unsafe fn chroma_as_is(row: &[i16], x: usize) -> __m512i {
    // SAFETY: 16 bytes from samples x/2 and x/2 + 1 on lie in `row` (caller); the loads are unaligned.
    let (here, next) = unsafe { (_mm_loadu_si128(row.as_ptr().add(x / 2).cast()), _mm_loadu_si128(row.as_ptr().add(x / 2 + 1).cast())) };
    let (even, odd) = (_mm_slli_epi16::<1>(here), _mm_add_epi16(here, next));
    _mm512_cvtepi16_epi32(_mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd)))
}

#[derive(Clone, Copy)]
struct Coefficients {
    y: __m512,
    u: __m512,
    v: __m512,
    bias: __m512,
    low: __m512,
    high: __m512,
}

impl Coefficients {
    #[target_feature(enable = "avx512f")]
    fn new(channel: &Channel) -> Self {
        let [y, u, v, bias, low, high] =
            [channel.y, channel.u, channel.v, channel.bias, channel.low, channel.high].map(|c| _mm512_set1_ps(c));
        Self { y, u, v, bias, low, high }
    }
    #[target_feature(enable = "avx512f")]
    fn clamped(&self, value: __m512) -> __m512 {
        _mm512_min_ps(_mm512_max_ps(value, self.low), self.high)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
pub fn project(row: &Projection<'_>, out: OutputRows<'_>) {
    let [red, green, blue] = out;
    let outputs = row.check([red.len(), green.len(), blue.len()]);
    let [r, g, b] = [&row.channels[0], &row.channels[1], &row.channels[2]].map(|c| Coefficients::new(c));
    for block in 0..outputs.div_ceil(BLOCK) {
        let x = block * BLOCK;
        // SAFETY: `check` proved that the rows hold what the tables name plus 64 samples, and x < outputs; the tables are padded to
        // whole blocks.
        let samples = unsafe {
            match row.across {
                Across::AsIs => [luma_as_is(row.y, x), chroma_as_is(row.u, x), chroma_as_is(row.v, x)],
                Across::Resampled { luma, chroma } => {
                    [resampled(row.y, luma, block), resampled(row.u, chroma, block), resampled(row.v, chroma, block)]
                }
            }
        };
        let [y, u, v] = samples.map(|s| _mm512_cvtepi32_ps(s));
        let pixels = [
            r.clamped(_mm512_fmadd_ps(v, r.v, _mm512_fmadd_ps(y, r.y, r.bias))),
            g.clamped(_mm512_fmadd_ps(v, g.v, _mm512_fmadd_ps(u, g.u, _mm512_fmadd_ps(y, g.y, g.bias)))),
            b.clamped(_mm512_fmadd_ps(u, b.u, _mm512_fmadd_ps(y, b.y, b.bias))),
        ];
        let keep: __mmask16 = if outputs - x >= BLOCK { !0 } else { (1 << (outputs - x)) - 1 };
        for (row, pixels) in [&mut *red, &mut *green, &mut *blue].into_iter().zip(pixels) {
            // SAFETY: only the lanes that `keep` names are written, and those lie before `outputs`, the rows' length; unaligned.
            unsafe { _mm512_mask_storeu_ps(row.as_mut_ptr().add(x), keep, pixels) };
        }
    }
}
