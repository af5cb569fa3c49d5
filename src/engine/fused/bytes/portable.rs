//! The kernels in plain code: the meaning of the 8-bit network, bit for bit.

use super::{Look, Mix, Stem};
use crate::engine::fused::graph::STEM;

/// 2²³: adding it to a value of 0 to 255 leaves its nearest whole number, ties to even, in the lowest bits.
const WHOLE: f32 = 8_388_608.0;

/// Pixels as bytes; what is no number counts as black.
#[inline(always)]
pub(super) fn take(row: &[f32], out: &mut [u8]) {
    for (value, byte) in row.iter().zip(out) {
        let value = if *value > 0.0 { *value } else { 0.0 };
        let value = if value < 255.0 { value } else { 255.0 };
        *byte = (value + WHOLE).to_bits() as u8;
    }
}

fn rounded(sum: i32, scale: f32, bias: f32) -> u8 {
    (sum as f32).mul_add(scale, bias).round_ties_even() as u8
}

pub(super) fn stem(stem: &Stem, rows: [[&[u8]; 3]; 3], out: &mut [u8]) {
    let plain = &stem.plain;
    for (x, pixel) in out.chunks_exact_mut(STEM).enumerate() {
        for (channel, value) in pixel.iter_mut().enumerate() {
            let products = (0..27).map(|place| {
                let (plane, row, column) = (place / 9, place / 3 % 3, place % 3);
                i32::from(rows[row][plane][2 * x + column]) * i32::from(plain.weights[channel * 27 + place])
            });
            *value = rounded(products.sum(), plain.scale[channel], plain.bias[channel]);
        }
    }
}

fn dot(values: &[u8], weights: &[i8]) -> i32 {
    values.iter().zip(weights).map(|(value, weight)| i32::from(*value) * i32::from(*weight)).sum()
}

pub(super) fn mix(mix: &Mix, pixels: &[u8], out: &mut [u8]) {
    let plain = &mix.plain;
    for (pixel, out) in pixels.chunks_exact(mix.inputs).zip(out.chunks_exact_mut(mix.outputs)) {
        for (channel, (value, weights)) in out.iter_mut().zip(plain.weights.chunks_exact(mix.inputs)).enumerate() {
            *value = rounded(dot(pixel, weights), plain.scale[channel], plain.bias[channel]);
        }
    }
}

pub(super) fn head(mix: &Mix, pixels: &[u8], out: &mut [f32]) {
    let plain = &mix.plain;
    for (pixel, out) in pixels.chunks_exact(mix.inputs).zip(out.chunks_exact_mut(mix.outputs)) {
        for (channel, (value, weights)) in out.iter_mut().zip(plain.weights.chunks_exact(mix.inputs)).enumerate() {
            *value = (dot(pixel, weights) as f32).mul_add(plain.scale[channel], plain.bias[channel]);
        }
    }
}

pub(super) fn look(look: &Look, rows: [&[u8]; 4], out: [&mut [u8]; 2]) {
    let (channels, plain) = (look.channels, &look.plain);
    for (row, out) in out.into_iter().enumerate() {
        for (x, pixel) in out.chunks_exact_mut(channels).enumerate() {
            for (channel, value) in pixel.iter_mut().enumerate() {
                let products = (0..9).map(|tap| {
                    let seen = rows[row + tap / 3][(x + tap % 3) * channels + channel];
                    i32::from(seen) * i32::from(plain.weights[channel * 9 + tap])
                });
                *value = rounded(products.sum(), plain.scale[channel], plain.bias[channel]);
            }
        }
    }
}

#[inline(always)]
pub(super) fn pool(channels: usize, rows: [&[u8]; 2], out: &mut [u8]) {
    match channels {
        16 => pool_of::<16>(rows, out),
        32 => pool_of::<32>(rows, out),
        _ => pool_of::<64>(rows, out),
    }
}

#[inline(always)]
fn pool_of<const C: usize>([one, other]: [&[u8]; 2], out: &mut [u8]) {
    let (one, other) = (one.as_chunks::<C>().0.as_chunks::<2>().0, other.as_chunks::<C>().0.as_chunks::<2>().0);
    for ((out, above), below) in out.as_chunks_mut::<C>().0.iter_mut().zip(one).zip(other) {
        for c in 0..C {
            out[c] = above[0][c].max(above[1][c]).max(below[0][c].max(below[1][c]));
        }
    }
}

#[inline(always)]
pub(super) fn sum(channels: usize, kept: &[u8], enlarged: &[u8], out: &mut [u8]) {
    match channels {
        16 => sum_of::<16>(kept, enlarged, out),
        32 => sum_of::<32>(kept, enlarged, out),
        _ => sum_of::<64>(kept, enlarged, out),
    }
}

#[inline(always)]
fn sum_of<const C: usize>(kept: &[u8], enlarged: &[u8], out: &mut [u8]) {
    let (kept, out) = (kept.as_chunks::<C>().0.as_chunks::<2>().0, out.as_chunks_mut::<C>().0.as_chunks_mut::<2>().0);
    for ((out, kept), enlarged) in out.iter_mut().zip(kept).zip(enlarged.as_chunks::<C>().0) {
        for c in 0..C {
            out[0][c] = kept[0][c].saturating_add(enlarged[c]);
            out[1][c] = kept[1][c].saturating_add(enlarged[c]);
        }
    }
}
