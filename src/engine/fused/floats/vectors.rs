//! The kernels with vectors, written once for all widths. A tile of pixels × outputs stays in registers; a row that is no multiple of a
//! tile ends with one that overlaps the last, so that there is no other code for ends. Fewer pixels than a tile are left to the portable version.

use super::{Kernels, Look, Mix, Stem, portable};
use crate::engine::fused::graph::{CHANNELS, STEM};
use crate::engine::fused::simd::{Avx2, Avx512, Floats};
use crate::engine::fused::squash;

/// # Safety
/// The processor has `S`, and this is inlined into code that enables it.
#[inline(always)]
unsafe fn mix<S: Floats>(mix: &Mix, pixels: &[f32], out: &mut [f32]) {
    // SAFETY: the caller's; the tiles' width fits: 8 lanes in twos, 16 in as many vectors as there are.
    unsafe {
        match (S::LANES, mix.outputs, mix.inputs) {
            (16, 64, 64) => tiles::<S, 64, 4, 4>(mix, pixels, out),
            (16, 64, 32) => tiles::<S, 32, 4, 4>(mix, pixels, out),
            (16, 64, 16) => tiles::<S, 16, 4, 4>(mix, pixels, out),
            (16, 32, 64) => tiles::<S, 64, 2, 8>(mix, pixels, out),
            (16, 32, 32) => tiles::<S, 32, 2, 8>(mix, pixels, out),
            (16, 32, 16) => tiles::<S, 16, 2, 8>(mix, pixels, out),
            (16, 16, 64) => tiles::<S, 64, 1, 8>(mix, pixels, out),
            (16, 16, 32) => tiles::<S, 32, 1, 8>(mix, pixels, out),
            (16, 16, 16) => tiles::<S, 16, 1, 8>(mix, pixels, out),
            (_, _, 64) => tiles::<S, 64, 2, 4>(mix, pixels, out),
            (_, _, 32) => tiles::<S, 32, 2, 4>(mix, pixels, out),
            (_, _, 16) => tiles::<S, 16, 2, 4>(mix, pixels, out),
            _ => portable::mix(mix, pixels, out),
        }
    }
}

/// `IN` inputs; tiles of `P` pixels × `OV` vectors.
///
/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn tiles<S: Floats, const IN: usize, const OV: usize, const P: usize>(mix: &Mix, pixels: &[f32], out: &mut [f32]) {
    let (outputs, n) = (mix.outputs, out.len() / mix.outputs);
    assert!(mix.inputs == IN && outputs.is_multiple_of(OV * S::LANES) && pixels.len() == n * IN && out.len() == n * outputs);
    assert!(mix.weights.len() == IN * outputs && mix.bias.len() == outputs);
    if n < P {
        return portable::mix(mix, pixels, out);
    }
    let (pixels, out, weights) = (pixels.as_ptr(), out.as_mut_ptr(), mix.weights.as_ptr());
    let mut first = 0;
    while first < n {
        let tile = first.min(n - P);
        for o0 in (0..outputs).step_by(OV * S::LANES) {
            // SAFETY: tile + P ≤ n and o0 + OV·LANES ≤ outputs, so that all pixels, outputs, weights and biases lie in the slices, whose lengths
            // are checked above. The instruction set is the caller's.
            unsafe {
                let mut sums = [[S::zero(); OV]; P];
                for o in 0..OV {
                    let bias = S::load(mix.bias.as_ptr().add(o0 + o * S::LANES));
                    for pixel in &mut sums {
                        pixel[o] = bias;
                    }
                }
                for k in 0..IN {
                    let mut row = [S::zero(); OV];
                    for (o, weight) in row.iter_mut().enumerate() {
                        *weight = S::load(weights.add(k * outputs + o0 + o * S::LANES));
                    }
                    for (p, pixel) in sums.iter_mut().enumerate() {
                        let value = S::splat(*pixels.add((tile + p) * IN + k));
                        for o in 0..OV {
                            pixel[o] = S::fma(value, row[o], pixel[o]);
                        }
                    }
                }
                for (p, pixel) in sums.iter().enumerate() {
                    for (o, sum) in pixel.iter().enumerate() {
                        S::store(out.add((tile + p) * outputs + o0 + o * S::LANES), *sum);
                    }
                }
            }
        }
        first += P;
    }
}

/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn look<S: Floats>(look: &Look, rows: [&[f32]; 4], out: [&mut [f32]; 2]) {
    // SAFETY: the caller's.
    unsafe {
        match (look.channels, look.relu) {
            (64, true) => columns::<S, 64, true>(look, rows, out),
            (32, true) => columns::<S, 32, true>(look, rows, out),
            (16, true) => columns::<S, 16, true>(look, rows, out),
            (16, false) => columns::<S, 16, false>(look, rows, out),
            _ => portable::look(look, rows, out),
        }
    }
}

/// Column by column: each adds to the three outputs that it is seen by, of which the oldest is then complete.
///
/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn columns<S: Floats, const C: usize, const RELU: bool>(look: &Look, rows: [&[f32]; 4], [one, other]: [&mut [f32]; 2]) {
    let n = one.len() / C;
    assert!(CHANNELS.contains(&C) && look.weights.len() == 9 * C && look.bias.len() == C);
    assert!(one.len() == n * C && other.len() == n * C && rows.iter().all(|row| row.len() >= (n + 2) * C));
    let (rows, out) = (rows.map(<[f32]>::as_ptr), [one.as_mut_ptr(), other.as_mut_ptr()]);
    for c in (0..C).step_by(S::LANES) {
        // SAFETY: c + LANES ≤ C, x < n + 2 for what is read and x − 2 < n for what is written; the slices' lengths are checked above. The
        // instruction set is the caller's.
        unsafe {
            let mut taps = [S::zero(); 9];
            for (tap, weights) in taps.iter_mut().enumerate() {
                *weights = S::load(look.weights.as_ptr().add(tap * C + c));
            }
            let bias = S::load(look.bias.as_ptr().add(c));
            // [row][how many columns it has seen]
            let mut sums = [[bias; 3]; 2];
            for x in 0..n + 2 {
                let mut seen = [S::zero(); 4];
                for (value, row) in seen.iter_mut().zip(rows) {
                    *value = S::load(row.add(x * C + c));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let [first, second, third] = *sums;
                    let mut next = [first, second, third];
                    for (column, sum) in next.iter_mut().enumerate() {
                        for ky in 0..3 {
                            *sum = S::fma(seen[row + ky], taps[ky * 3 + column], *sum);
                        }
                    }
                    if x >= 2 {
                        // The sum second: `max` answers its second operand where one is no number, and a NaN must stay one.
                        let done = if RELU { S::max(S::zero(), next[2]) } else { next[2] };
                        S::store(out[row].add((x - 2) * C + c), done);
                    }
                    *sums = [bias, next[0], next[1]];
                }
            }
        }
    }
}

/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn stem<S: Floats, const OV: usize, const P: usize>(stem: &Stem, rows: [[&[f32]; 3]; 3], out: &mut [f32]) {
    let n = out.len() / STEM;
    assert!(OV * S::LANES == STEM && n.is_multiple_of(P) && out.len() == n * STEM);
    assert!(rows.iter().flatten().all(|row| row.len() > 2 * n) && stem.weights.len() == 27 * STEM && stem.bias.len() == STEM);
    for x in (0..n).step_by(P) {
        // SAFETY: x + P ≤ n, so 2·(x + p) + 2 ≤ 2·n, which each row holds, and the outputs lie in `out`; weights are 27 × 16. The instruction
        // set is the caller's.
        unsafe {
            let mut sums = [[S::zero(); OV]; P];
            for o in 0..OV {
                let bias = S::load(stem.bias.as_ptr().add(o * S::LANES));
                for pixel in &mut sums {
                    pixel[o] = bias;
                }
            }
            for place in 0..27 {
                let row = rows[place / 9][place / 3 % 3].as_ptr().add(2 * x + place % 3);
                for o in 0..OV {
                    let weights = S::load(stem.weights.as_ptr().add(place * STEM + o * S::LANES));
                    for (p, pixel) in sums.iter_mut().enumerate() {
                        pixel[o] = S::fma(S::splat(*row.add(2 * p)), weights, pixel[o]);
                    }
                }
            }
            for (p, pixel) in sums.iter().enumerate() {
                for (o, sum) in pixel.iter().enumerate() {
                    S::store(out.as_mut_ptr().add((x + p) * STEM + o * S::LANES), S::max(S::zero(), *sum));
                }
            }
        }
    }
}

macro_rules! kernels {
    ($module:ident, $isa:ty, $features:literal, $stem:expr) => {
        pub(super) mod $module {
            use super::*;

            pub(in crate::engine::fused) const KERNELS: Kernels =
                Kernels { name: stringify!($module), stem: stem_, mix: mix_, look: look_, squash: squash_ };

            #[target_feature(enable = $features)]
            fn stem_(of: &Stem, rows: [[&[f32]; 3]; 3], out: &mut [f32]) {
                // SAFETY: this function enables the instruction set.
                unsafe { $stem(of, rows, out) }
            }
            #[target_feature(enable = $features)]
            fn mix_(of: &Mix, pixels: &[f32], out: &mut [f32]) {
                // SAFETY: this function enables the instruction set.
                unsafe { mix::<$isa>(of, pixels, out) }
            }
            #[target_feature(enable = $features)]
            fn look_(of: &Look, rows: [&[f32]; 4], out: [&mut [f32]; 2]) {
                // SAFETY: this function enables the instruction set.
                unsafe { look::<$isa>(of, rows, out) }
            }
            #[target_feature(enable = $features)]
            fn squash_(values: &mut [f32]) {
                squash::squash(values);
            }
        }
    };
}

kernels!(avx2, Avx2, "avx2,fma", stem::<Avx2, 2, 4>);
kernels!(avx512, Avx512, "avx512f", stem::<Avx512, 1, 8>);
