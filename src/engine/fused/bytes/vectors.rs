//! The kernels with vectors of 512 or 256 bits, written once: bit for bit what the portable ones compute.
//!
//! Four products are summed at once, unsigned by signed, into 32 bits. *Mix* takes four channels of a pixel; *look* takes one channel in four rows,
//! which two instructions bring together, and makes two rows of output from them; *stem* takes four columns of a plane. Ends are as
//! in `floats/vectors.rs`: a tile that overlaps the last, and portable code where there is less than a tile.

use super::{Kernels, Look, Mix, Stem, portable};
use crate::engine::fused::floats;
use crate::engine::fused::graph::{HEAD, STEM};
use crate::engine::fused::simd::{Avx512, AvxVnni, Bytes, Vnni256};

/// # Safety
/// The processor has `S`; `scale` and `bias` are valid for a vector.
#[inline(always)]
unsafe fn rounded<S: Bytes>(sum: S::I, scale: S::V, bias: S::V) -> S::I {
    // SAFETY: the caller's.
    unsafe { S::rounded(S::fma(S::to_floats(sum), scale, bias)) }
}

/// # Safety
/// The processor has `S`, and this is inlined into code that enables it.
#[inline(always)]
unsafe fn mix<S: Bytes>(mix: &Mix, pixels: &[u8], out: &mut [u8]) {
    // SAFETY: the caller's.
    unsafe {
        match (mix.outputs / S::LANES, mix.inputs) {
            (1, 64) => tiles::<S, 64, 1, 8>(mix, pixels, out),
            (1, 32) => tiles::<S, 32, 1, 8>(mix, pixels, out),
            (1, 16) => tiles::<S, 16, 1, 8>(mix, pixels, out),
            (2, 64) => tiles::<S, 64, 2, 4>(mix, pixels, out),
            (2, 32) => tiles::<S, 32, 2, 4>(mix, pixels, out),
            (2, 16) => tiles::<S, 16, 2, 4>(mix, pixels, out),
            (_, 64) if S::PIXELS == 4 => tiles::<S, 64, 4, 4>(mix, pixels, out),
            (_, 32) if S::PIXELS == 4 => tiles::<S, 32, 4, 4>(mix, pixels, out),
            (_, 16) if S::PIXELS == 4 => tiles::<S, 16, 4, 4>(mix, pixels, out),
            (_, 64) => tiles::<S, 64, 4, 2>(mix, pixels, out),
            (_, 32) => tiles::<S, 32, 4, 2>(mix, pixels, out),
            (_, 16) => tiles::<S, 16, 4, 2>(mix, pixels, out),
            _ => portable::mix(mix, pixels, out),
        }
    }
}

/// `IN` inputs; tiles of `P` pixels × `OV` vectors of outputs.
///
/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn tiles<S: Bytes, const IN: usize, const OV: usize, const P: usize>(mix: &Mix, pixels: &[u8], out: &mut [u8]) {
    let (outputs, n) = (mix.outputs, out.len() / mix.outputs);
    assert!(mix.inputs == IN && outputs.is_multiple_of(OV * S::LANES) && pixels.len() == n * IN && out.len() == n * outputs);
    assert!(mix.laid.weights.len() == IN * outputs && mix.laid.scale.len() == outputs && mix.laid.bias.len() == outputs);
    assert!(OV == 4 || outputs == OV * S::LANES, "one tile a pixel, or whole vectors of bytes");
    if n < P {
        return portable::mix(mix, pixels, out);
    }
    let (from, to) = (pixels.as_ptr(), out.as_mut_ptr());
    let mut first = 0;
    while first < n {
        let tile = first.min(n - P);
        for o0 in (0..outputs).step_by(OV * S::LANES) {
            // SAFETY: tile + P ≤ n and o0 + OV·LANES ≤ outputs: pixels, outputs, and a tile's IN·OV·LANES weights lie in the slices, whose lengths are
            // checked above; four bytes are read at multiples of four below IN. The instruction set is the caller's.
            unsafe {
                let mut sums = dots::<S, IN, OV, P>(mix.laid.weights.as_ptr().add(o0 * IN), from.add(tile * IN), IN);
                for o in 0..OV {
                    let scale = S::load(mix.laid.scale.as_ptr().add(o0 + o * S::LANES));
                    let bias = S::load(mix.laid.bias.as_ptr().add(o0 + o * S::LANES));
                    for pixel in &mut sums {
                        pixel[o] = rounded::<S>(pixel[o], scale, bias);
                    }
                }
                store::<S, OV, P>(&sums, to.add(tile * outputs + o0), outputs);
            }
        }
        first += P;
    }
}

/// Sums of all products of `P` pixels, `step` bytes apart, with `OV` vectors of outputs.
///
/// # Safety
/// As [`mix`]; `weights` are `IN`·`OV`·LANES, and pixels are `IN` bytes.
#[inline(always)]
unsafe fn dots<S: Bytes, const IN: usize, const OV: usize, const P: usize>(
    weights: *const i8,
    pixels: *const u8,
    step: usize,
) -> [[S::I; OV]; P] {
    // SAFETY: the caller's: group < IN / 4, and a group has OV vectors of 4·LANES weights.
    unsafe {
        let mut sums = [[S::zeros(); OV]; P];
        for group in 0..IN / 4 {
            let mut row = [S::zeros(); OV];
            for (o, weight) in row.iter_mut().enumerate() {
                *weight = S::load_bytes(weights.add((group * OV + o) * 4 * S::LANES).cast());
            }
            for (p, pixel) in sums.iter_mut().enumerate() {
                let values = S::four(pixels.add(p * step + 4 * group));
                for o in 0..OV {
                    pixel[o] = S::dot(pixel[o], values, row[o]);
                }
            }
        }
        sums
    }
}

/// Sums as bytes: four vectors make one, of one pixel, of two, or of four.
///
/// # Safety
/// As [`mix`]; `P` pixels of `step` bytes from `to` on may be written.
#[inline(always)]
unsafe fn store<S: Bytes, const OV: usize, const P: usize>(sums: &[[S::I; OV]; P], to: *mut u8, step: usize) {
    // SAFETY: the caller's; where pixels share a vector of bytes, they are `step` = 4·LANES / (4 / OV) bytes each.
    unsafe {
        let sums = sums.as_flattened();
        for (place, four) in sums.as_chunks::<4>().0.iter().enumerate() {
            let packed = S::pack16(S::pack32(four[0], four[1]), S::pack32(four[2], four[3]));
            let packed = match OV {
                1 => S::four_pixels(packed),
                2 => S::two_pixels(packed),
                _ => packed,
            };
            S::store_bytes(to.add(place * (4 / OV) * step), packed);
        }
    }
}

/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn stem<S: Bytes, const OV: usize>(stem: &Stem, rows: [[&[u8]; 3]; 3], out: &mut [u8]) {
    const P: usize = 8;
    let n = out.len() / STEM;
    assert!(OV * S::LANES == STEM && n.is_multiple_of(P) && out.len() == n * STEM);
    // The last group of four columns ends one beyond the three that count.
    assert!(rows.iter().flatten().all(|row| row.len() >= 2 * n + 2));
    assert!(stem.laid.weights.len() == 36 * STEM && stem.laid.scale.len() == STEM && stem.laid.bias.len() == STEM);
    for x in (0..n).step_by(P) {
        // SAFETY: x + P ≤ n: four bytes from 2·(x + p) on lie in each row, the outputs in `out`, and weights are nine groups. The instruction
        // set is the caller's.
        unsafe {
            let mut sums = [[S::zeros(); OV]; P];
            for (group, row) in rows.iter().flatten().enumerate() {
                for o in 0..OV {
                    let weights = S::load_bytes(stem.laid.weights.as_ptr().add((group * OV + o) * 4 * S::LANES).cast());
                    for (p, pixel) in sums.iter_mut().enumerate() {
                        pixel[o] = S::dot(pixel[o], S::four(row.as_ptr().add(2 * (x + p))), weights);
                    }
                }
            }
            for o in 0..OV {
                let scale = S::load(stem.laid.scale.as_ptr().add(o * S::LANES));
                let bias = S::load(stem.laid.bias.as_ptr().add(o * S::LANES));
                for pixel in &mut sums {
                    pixel[o] = rounded::<S>(pixel[o], scale, bias);
                }
            }
            store::<S, OV, P>(&sums, out.as_mut_ptr().add(x * STEM), STEM);
        }
    }
}

/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn head<S: Bytes, const OV: usize>(mix: &Mix, pixels: &[u8], out: &mut [f32]) {
    const P: usize = 8;
    let n = out.len() / HEAD;
    assert!(OV * S::LANES == HEAD && mix.outputs == HEAD && pixels.len() == n * mix.inputs && out.len() == n * HEAD);
    assert!(mix.laid.weights.len() == mix.inputs * HEAD && mix.laid.scale.len() == HEAD && mix.laid.bias.len() == HEAD);
    if n < P {
        return portable::head(mix, pixels, out);
    }
    let mut first = 0;
    while first < n {
        let tile = first.min(n - P);
        // SAFETY: tile + P ≤ n: pixels and outputs lie in the slices, whose lengths are checked above, like the weights'. The instruction set is the
        // caller's.
        unsafe {
            let (weights, pixels) = (mix.laid.weights.as_ptr(), pixels.as_ptr().add(tile * mix.inputs));
            let sums = match mix.inputs {
                64 => dots::<S, 64, OV, P>(weights, pixels, 64),
                32 => dots::<S, 32, OV, P>(weights, pixels, 32),
                _ => dots::<S, 16, OV, P>(weights, pixels, 16),
            };
            for o in 0..OV {
                let scale = S::load(mix.laid.scale.as_ptr().add(o * S::LANES));
                let bias = S::load(mix.laid.bias.as_ptr().add(o * S::LANES));
                for (p, pixel) in sums.iter().enumerate() {
                    let value = S::fma(S::to_floats(pixel[o]), scale, bias);
                    S::store(out.as_mut_ptr().add((tile + p) * HEAD + o * S::LANES), value);
                }
            }
        }
        first += P;
    }
}

/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn look<S: Bytes>(look: &Look, rows: [&[u8]; 4], [one, other]: [&mut [u8]; 2]) {
    let (bytes, channels) = (4 * S::LANES, look.channels);
    // Pixels in a vector, where a pixel is no larger than one.
    let shared = (bytes / channels).max(1);
    let (n, all) = (one.len() / channels, one.len() / channels / shared * shared);
    assert!(one.len() == n * channels && other.len() == one.len() && rows.iter().all(|row| row.len() >= (n + 2) * channels + bytes));
    assert!(look.laid.weights.len() == channels.div_ceil(bytes) * 24 * bytes && look.laid.scale.len() >= channels.max(bytes));
    assert!(look.laid.bias.len() == look.laid.scale.len());
    let (whole, rest) = one.split_at_mut(all * channels);
    let (whole_other, rest_other) = other.split_at_mut(all * channels);
    if !rest.is_empty() {
        portable::look(look, rows.map(|row| &row[all * channels..]), [rest, rest_other]);
    }
    let (rows, out) = (rows.map(<[u8]>::as_ptr), [whole.as_mut_ptr(), whole_other.as_mut_ptr()]);
    for block in 0..channels.div_ceil(bytes) {
        // SAFETY: `all / shared` vectors, `channels.max(bytes)` bytes apart, lie in the outputs; two more in the rows, checked above, where a pixel
        // is a vector or more, and one more where pixels share one: row lengths include a vector's room. Weights: 24 vectors a block. The
        // instruction set is the caller's.
        unsafe {
            let at = block * bytes;
            let rows = [rows[0].add(at), rows[1].add(at), rows[2].add(at), rows[3].add(at)];
            let out = [out[0].add(at), out[1].add(at)];
            match shared {
                1 => vectors::<S, 1>(look, block, rows, out, all, channels),
                2 => vectors::<S, 2>(look, block, rows, out, all / 2, bytes),
                _ => vectors::<S, 4>(look, block, rows, out, all / 4, bytes),
            }
        }
    }
}

/// `n` vectors of output in two rows, `step` bytes apart, of `SHARED` pixels each. Half of a vector's channels first: the weights of all do
/// not fit the registers. What the first half leaves in the output, 16 bits each, the second makes whole.
///
/// # Safety
/// As [`look`].
#[inline(always)]
unsafe fn vectors<S: Bytes, const SHARED: usize>(
    look: &Look,
    block: usize,
    rows: [*const u8; 4],
    out: [*mut u8; 2],
    n: usize,
    step: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        half::<S, SHARED, 0>(look, block, rows, out, n, step);
        half::<S, SHARED, 1>(look, block, rows, out, n, step);
    }
}

/// # Safety
/// As [`look`].
#[inline(always)]
unsafe fn half<S: Bytes, const SHARED: usize, const HALF: usize>(
    look: &Look,
    block: usize,
    rows: [*const u8; 4],
    out: [*mut u8; 2],
    n: usize,
    step: usize,
) {
    let bytes = 4 * S::LANES;
    // SAFETY: the caller's: vector < 4, 6 vectors of weights each; x + 2 < n + 2.
    unsafe {
        // [vector][column][row]
        let mut taps = [[[S::zeros(); 2]; 3]; 2];
        let (mut scale, mut bias) = ([S::zero(); 2], [S::zero(); 2]);
        for v in 0..2 {
            let vector = block * 4 + HALF * 2 + v;
            for (place, taps) in taps[v].as_flattened_mut().iter_mut().enumerate() {
                *taps = S::load_bytes(look.laid.weights.as_ptr().add((vector * 6 + place) * bytes).cast());
            }
            scale[v] = S::load(look.laid.scale.as_ptr().add(vector * S::LANES));
            bias[v] = S::load(look.laid.bias.as_ptr().add(vector * S::LANES));
        }
        let mut now = gathered::<S, HALF>(rows, 0);
        let mut next = if SHARED == 1 { gathered::<S, HALF>(rows, step) } else { now };
        for x in 0..n {
            let last = gathered::<S, HALF>(rows, (x + if SHARED == 1 { 2 } else { 1 }) * step);
            let mut sums = [[S::zeros(); 2]; 2];
            for v in 0..2 {
                let columns = match SHARED {
                    1 => [now[v], next[v], last[v]],
                    2 => [now[v], S::by_half(now[v], last[v]), last[v]],
                    _ => [now[v], S::by_quarter(now[v], last[v]), S::by_half(now[v], last[v])],
                };
                for column in 0..3 {
                    for row in 0..2 {
                        sums[row][v] = S::dot(sums[row][v], columns[column], taps[v][column][row]);
                    }
                }
            }
            for row in 0..2 {
                let [a, b] = sums[row];
                let packed = S::pack32(rounded::<S>(a, scale[0], bias[0]), rounded::<S>(b, scale[1], bias[1]));
                let to = out[row].add(x * step);
                let packed = if HALF == 0 { packed } else { S::pack16(S::load_bytes(to), packed) };
                S::store_bytes(to, packed);
            }
            (now, next) = if SHARED == 1 { (next, last) } else { (last, last) };
        }
    }
}

/// One half of a vector's channels in all four rows: each 32 bits are one channel of one pixel.
///
/// # Safety
/// As [`look`]; the rows are valid for a vector at `at`.
#[inline(always)]
unsafe fn gathered<S: Bytes, const HALF: usize>(rows: [*const u8; 4], at: usize) -> [S::I; 2] {
    // SAFETY: the caller's.
    unsafe {
        let (a, b) = (S::load_bytes(rows[0].add(at)), S::load_bytes(rows[1].add(at)));
        let (c, d) = (S::load_bytes(rows[2].add(at)), S::load_bytes(rows[3].add(at)));
        let (upper, lower) = if HALF == 0 { (S::low8(a, b), S::low8(c, d)) } else { (S::high8(a, b), S::high8(c, d)) };
        [S::low16(upper, lower), S::high16(upper, lower)]
    }
}

macro_rules! kernels {
    ($module:ident, $isa:ty, $lanes:literal, $vectors:literal, $features:literal) => {
        pub(super) mod $module {
            use super::*;

            pub(in crate::engine::fused) const KERNELS: Kernels = Kernels {
                name: stringify!($module),
                lanes: $lanes,
                take: take_,
                stem: stem_,
                mix: mix_,
                look: look_,
                pool: pool_,
                sum: sum_,
                head: head_,
                floats: floats::PORTABLE,
            };

            #[target_feature(enable = $features)]
            fn take_(row: &[f32], out: &mut [u8]) {
                portable::take(row, out);
            }
            #[target_feature(enable = $features)]
            fn stem_(of: &Stem, rows: [[&[u8]; 3]; 3], out: &mut [u8]) {
                // SAFETY: this function enables the instruction set.
                unsafe { stem::<$isa, $vectors>(of, rows, out) }
            }
            #[target_feature(enable = $features)]
            fn mix_(of: &Mix, pixels: &[u8], out: &mut [u8]) {
                // SAFETY: this function enables the instruction set.
                unsafe { mix::<$isa>(of, pixels, out) }
            }
            #[target_feature(enable = $features)]
            fn look_(of: &Look, rows: [&[u8]; 4], out: [&mut [u8]; 2]) {
                // SAFETY: this function enables the instruction set.
                unsafe { look::<$isa>(of, rows, out) }
            }
            #[target_feature(enable = $features)]
            fn pool_(channels: usize, rows: [&[u8]; 2], out: &mut [u8]) {
                portable::pool(channels, rows, out);
            }
            #[target_feature(enable = $features)]
            fn sum_(channels: usize, kept: &[u8], enlarged: &[u8], out: &mut [u8]) {
                portable::sum(channels, kept, enlarged, out);
            }
            #[target_feature(enable = $features)]
            fn head_(of: &Mix, pixels: &[u8], out: &mut [f32]) {
                // SAFETY: this function enables the instruction set.
                unsafe { head::<$isa, $vectors>(of, pixels, out) }
            }
        }
    };
}

kernels!(vnni512, Avx512, 16, 1, "avx512f,avx512bw,avx512vnni");
kernels!(vnni256, Vnni256, 8, 2, "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma");
kernels!(avx_vnni, AvxVnni, 8, 2, "avxvnni,avx2,fma");
