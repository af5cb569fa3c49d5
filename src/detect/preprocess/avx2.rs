//! The inner loops with 256-bit vectors (AVX2, FMA).
//!
//! Blend works on sixteen `i16` at a time. Project takes two neighbouring samples with one 32-bit gather, weighs and adds them in one
//! `pmaddwd`, and converts eight pixels with fused multiply-adds. A row's tail shorter than a register is left to the portable
//! code (blend) or computed whole and stored in part (project).

use std::arch::x86_64::*;

use super::kernel::{Blend, OutputRows, Projection};
use super::portable;
use super::taps::{Across, Channel, Columns, ROW_BITS};

const LANES: usize = 8;
const BITS: i32 = ROW_BITS.cast_signed();

/// Sixteen samples with 7 fractional bits, black taken off.
#[target_feature(enable = "avx2")]
fn sample(bytes: __m256i, black: __m256i) -> __m256i {
    _mm256_sub_epi16(_mm256_slli_epi16::<BITS>(bytes), black)
}

#[target_feature(enable = "avx2")]
pub fn blend(blend: Blend<'_>, out: &mut [i16]) {
    let samples = blend.row_bytes();
    let black = _mm256_set1_epi16(blend.black);
    let whole = samples / 16 * 16;
    assert!(out.len() > samples, "one sample more than the row has");
    for i in (0..whole).step_by(16) {
        // SAFETY: i + 16 ≤ whole ≤ the length of every row (equal, checked) and of `out` (asserted); loads and stores are unaligned.
        unsafe {
            let load = |bytes: &[u8]| sample(_mm256_cvtepu8_epi16(_mm_loadu_si128(bytes.as_ptr().add(i).cast())), black);
            let to: *mut __m256i = out.as_mut_ptr().add(i).cast();
            if blend.is_copy() {
                _mm256_storeu_si256(to, load(blend.rows[0].bytes));
                continue;
            }
            let mut sum = if blend.add { _mm256_loadu_si256(to) } else { _mm256_setzero_si256() };
            for row in blend.rows {
                // `pmulhrsw` is (a · b + 2¹⁴) >> 15: the portable code's rounding.
                sum = _mm256_add_epi16(sum, _mm256_mulhrs_epi16(load(row.bytes), _mm256_set1_epi16(row.weight)));
            }
            _mm256_storeu_si256(to, sum);
        }
    }
    portable::blend_from(whole, blend, out);
}

#[target_feature(enable = "avx2")]
pub fn blend_interleaved(blend: Blend<'_>, cb: &mut [i16], cr: &mut [i16]) {
    let pairs = blend.row_bytes() / 2;
    let (black, low) = (_mm256_set1_epi16(blend.black), _mm256_set1_epi16(0xff));
    let whole = pairs / 16 * 16;
    assert!(cb.len() > pairs && cr.len() > pairs, "one sample more than the row has");
    for i in (0..whole).step_by(16) {
        // SAFETY: 2·i + 32 ≤ 2·whole ≤ the length of every row (equal, checked); i + 16 ≤ whole ≤ pairs < the length of `cb` and `cr`
        // (asserted); loads and stores are unaligned.
        unsafe {
            let load = |bytes: &[u8]| {
                let both = _mm256_loadu_si256(bytes.as_ptr().add(2 * i).cast());
                [sample(_mm256_and_si256(both, low), black), sample(_mm256_srli_epi16::<8>(both), black)]
            };
            let to: [*mut __m256i; 2] = [cb.as_mut_ptr().add(i).cast(), cr.as_mut_ptr().add(i).cast()];
            let mut sums = if blend.is_copy() {
                load(blend.rows[0].bytes)
            } else if blend.add {
                to.map(|to| _mm256_loadu_si256(to))
            } else {
                [_mm256_setzero_si256(); 2]
            };
            if !blend.is_copy() {
                for row in blend.rows {
                    let (samples, weight) = (load(row.bytes), _mm256_set1_epi16(row.weight));
                    sums[0] = _mm256_add_epi16(sums[0], _mm256_mulhrs_epi16(samples[0], weight));
                    sums[1] = _mm256_add_epi16(sums[1], _mm256_mulhrs_epi16(samples[1], weight));
                }
            }
            _mm256_storeu_si256(to[0], sums[0]);
            _mm256_storeu_si256(to[1], sums[1]);
        }
    }
    portable::blend_interleaved_from(whole, blend, cb, cr);
}

/// Eight resampled values, outputs `x`…`x + 7`.
///
/// # Safety
/// `x + 8 ≤ columns.first.len()`, and `row` holds `columns.row_len` samples.
#[target_feature(enable = "avx2")]
unsafe fn resampled(row: &[i16], columns: &Columns, x: usize) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for pair in 0..columns.pairs {
        // SAFETY: the tables hold eight entries from x on (caller; `weights` holds as many as `first` for each pair). By construction
        // every `first` is ≥ 0 and first + 2·pairs ≤ row_len, so the four bytes gathered at sample first + 2·pair lie within `row` (caller).
        unsafe {
            let first = _mm256_loadu_si256(columns.first.as_ptr().add(x).cast());
            let weights = _mm256_loadu_si256(columns.weights.as_ptr().add(pair * columns.first.len() + x).cast());
            let samples = _mm256_i32gather_epi32::<2>(row.as_ptr().add(2 * pair).cast(), first);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(samples, weights));
        }
    }
    sum
}

/// Eight luma samples as they are.
///
/// # Safety
/// `x + 8 ≤ row.len()`.
#[target_feature(enable = "avx2")]
unsafe fn luma_as_is(row: &[i16], x: usize) -> __m256i {
    // SAFETY: 16 bytes from sample x on lie in `row` (caller); the load is unaligned.
    _mm256_cvtepi16_epi32(unsafe { _mm_loadu_si128(row.as_ptr().add(x).cast()) })
}

/// Eight columns of four chroma samples: doubled, and summed with the next.
///
/// # Safety
/// `x` is even and `x / 2 + 5 ≤ row.len()`.
#[target_feature(enable = "avx2")]
unsafe fn chroma_as_is(row: &[i16], x: usize) -> __m256i {
    // SAFETY: 8 bytes from samples x/2 and x/2 + 1 on lie in `row` (caller); the loads are unaligned.
    let (here, next) = unsafe { (_mm_loadl_epi64(row.as_ptr().add(x / 2).cast()), _mm_loadl_epi64(row.as_ptr().add(x / 2 + 1).cast())) };
    _mm256_cvtepi16_epi32(_mm_unpacklo_epi16(_mm_slli_epi16::<1>(here), _mm_add_epi16(here, next)))
}

#[derive(Clone, Copy)]
struct Coefficients {
    y: __m256,
    u: __m256,
    v: __m256,
    bias: __m256,
    low: __m256,
    high: __m256,
}

impl Coefficients {
    #[target_feature(enable = "avx2")]
    fn new(channel: &Channel) -> Self {
        let [y, u, v, bias, low, high] =
            [channel.y, channel.u, channel.v, channel.bias, channel.low, channel.high].map(|c| _mm256_set1_ps(c));
        Self { y, u, v, bias, low, high }
    }
    #[target_feature(enable = "avx2")]
    fn clamped(&self, value: __m256) -> __m256 {
        _mm256_min_ps(_mm256_max_ps(value, self.low), self.high)
    }
}

#[target_feature(enable = "avx2,fma")]
pub fn project(row: &Projection<'_>, out: OutputRows<'_>) {
    let [red, green, blue] = out;
    let outputs = row.check([red.len(), green.len(), blue.len()]);
    let [r, g, b] = [&row.channels[0], &row.channels[1], &row.channels[2]].map(|c| Coefficients::new(c));
    let mut x = 0;
    while x < outputs {
        // SAFETY: `check` proved that the rows hold what the tables name plus 64 samples, and x < outputs; the tables are padded to a
        // multiple of 16, x is a multiple of 8.
        let samples = unsafe {
            match row.across {
                Across::AsIs => [luma_as_is(row.y, x), chroma_as_is(row.u, x), chroma_as_is(row.v, x)],
                Across::Resampled { luma, chroma } => [resampled(row.y, luma, x), resampled(row.u, chroma, x), resampled(row.v, chroma, x)],
            }
        };
        let [y, u, v] = samples.map(|s| _mm256_cvtepi32_ps(s));
        let pixels = [
            r.clamped(_mm256_fmadd_ps(v, r.v, _mm256_fmadd_ps(y, r.y, r.bias))),
            g.clamped(_mm256_fmadd_ps(v, g.v, _mm256_fmadd_ps(u, g.u, _mm256_fmadd_ps(y, g.y, g.bias)))),
            b.clamped(_mm256_fmadd_ps(u, b.u, _mm256_fmadd_ps(y, b.y, b.bias))),
        ];
        for (row, pixels) in [&mut *red, &mut *green, &mut *blue].into_iter().zip(pixels) {
            store(&mut row[x..], pixels);
        }
        x += LANES;
    }
}

/// Stores eight values, or as many as there is room for.
#[target_feature(enable = "avx2")]
fn store(to: &mut [f32], values: __m256) {
    if to.len() >= LANES {
        // SAFETY: `to` has room for eight; the store is unaligned.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), values) };
    } else {
        let mut all = [0.0; LANES];
        // SAFETY: `all` has room for eight; the store is unaligned.
        unsafe { _mm256_storeu_ps(all.as_mut_ptr(), values) };
        to.copy_from_slice(&all[..to.len()]);
    }
}
