//! The kernels in plain code: for processors without vectors that we know, and what the others are compared with. Sums are taken in the order of the
//! vector versions but rounded twice where those fuse.

use super::{Look, Mix, Stem};
use crate::engine::fused::graph::STEM;

pub(in crate::engine::fused) fn stem(stem: &Stem, rows: [[&[f32]; 3]; 3], out: &mut [f32]) {
    for (x, pixel) in out.chunks_exact_mut(STEM).enumerate() {
        pixel.copy_from_slice(&stem.bias);
        for place in 0..27 {
            let value = rows[place / 9][place / 3 % 3][2 * x + place % 3];
            for (sum, weight) in pixel.iter_mut().zip(&stem.weights[place * STEM..][..STEM]) {
                *sum += value * weight;
            }
        }
        pixel.iter_mut().for_each(|v| *v = relu(*v));
    }
}

pub(in crate::engine::fused) fn mix(mix: &Mix, pixels: &[f32], out: &mut [f32]) {
    for (pixel, out) in pixels.chunks_exact(mix.inputs).zip(out.chunks_exact_mut(mix.outputs)) {
        out.copy_from_slice(&mix.bias);
        for (value, weights) in pixel.iter().zip(mix.weights.chunks_exact(mix.outputs)) {
            for (sum, weight) in out.iter_mut().zip(weights) {
                *sum += value * weight;
            }
        }
    }
}

pub(in crate::engine::fused) fn look(look: &Look, rows: [&[f32]; 4], out: [&mut [f32]; 2]) {
    let channels = look.channels;
    for (row, out) in out.into_iter().enumerate() {
        for (x, pixel) in out.chunks_exact_mut(channels).enumerate() {
            pixel.copy_from_slice(&look.bias);
            for (tap, weights) in look.weights.chunks_exact(channels).enumerate() {
                let values = &rows[row + tap / 3][(x + tap % 3) * channels..][..channels];
                for ((sum, value), weight) in pixel.iter_mut().zip(values).zip(weights) {
                    *sum += value * weight;
                }
            }
            if look.relu {
                pixel.iter_mut().for_each(|v| *v = relu(*v));
            }
        }
    }
}

/// A NaN stays one.
fn relu(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}
