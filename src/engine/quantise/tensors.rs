//! Numbers as int8, and the tensors that hold them.
//!
//! Activations: value = scale · (u8 − zero), one scale a tensor. Weights: value = scale · i8, one scale an output channel, −127…127.
//! Biases: i32 in units of (activation's scale · weight's scale). Zero is always exact, because convolutions pad with it.

use crate::engine::onnx::{TensorProto, element};

/// How an activation is written in 8 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub scale: f32,
    pub zero: u8,
}

impl Scale {
    /// The scale that spans `low`…`high` and zero.
    pub fn spanning(low: f32, high: f32) -> Self {
        let (low, high) = (f64::from(low.min(0.0)), f64::from(high.max(0.0)));
        // A tensor that was zero in every picture: any scale will do, as long as it can be divided by.
        let scale = if high - low < 1e-12 { 1.0 / 255.0 } else { (high - low) / 255.0 };
        Self { scale: scale as f32, zero: (-low / scale).round().clamp(0.0, 255.0) as u8 }
    }
}

/// Weights in int8, and what one step is worth in each output channel.
pub(super) struct Weights {
    pub values: Vec<i8>,
    pub scales: Vec<f32>,
    pub bias: Vec<i32>,
}

/// `weights`: `channels` runs of equal length. `input`: the scale of what they are multiplied with.
pub(super) fn quantise_weights(weights: &[f32], bias: &[f32], channels: usize, input: Scale) -> Weights {
    let each = (weights.len() / channels.max(1)).max(1);
    let (mut values, mut scales, mut biases) = (Vec::with_capacity(weights.len()), Vec::new(), Vec::new());
    for (channel, run) in weights.chunks(each).enumerate() {
        let largest = run.iter().fold(0.0_f64, |m, w| m.max(f64::from(w.abs())));
        let of_bias = f64::from(bias.get(channel).copied().unwrap_or(0.0));
        // A bias must fit 32 bits with room for the sum: weights that are nearly nothing beside it get a coarser step.
        let least = of_bias.abs() / (f64::from(input.scale) * f64::from(1 << 30));
        let scale = (largest / 127.0).max(least).max(1e-12) as f32;
        values.extend(run.iter().map(|w| (f64::from(*w) / f64::from(scale)).round_ties_even().clamp(-127.0, 127.0) as i8));
        biases.push((of_bias / (f64::from(input.scale) * f64::from(scale))).round_ties_even() as i32);
        scales.push(scale);
    }
    Weights { values, scales, bias: biases }
}

fn tensor(name: &str, dims: &[i64], data_type: i32, raw: Vec<u8>) -> TensorProto {
    TensorProto { dims: dims.to_vec(), data_type: Some(data_type), name: Some(name.into()), raw_data: Some(raw), ..Default::default() }
}

pub(super) fn float_tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    tensor(name, dims, element::FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub(super) fn i32_tensor(name: &str, values: &[i32]) -> TensorProto {
    tensor(name, &[values.len() as i64], element::INT32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub(super) fn i8_tensor(name: &str, dims: &[i64], values: &[i8]) -> TensorProto {
    tensor(name, dims, element::INT8, values.iter().map(|v| v.cast_unsigned()).collect())
}

pub(super) fn u8_scalar(name: &str, value: u8) -> TensorProto {
    tensor(name, &[], element::UINT8, vec![value])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_exact_and_the_ends_of_the_range_are_reached() {
        for (low, high) in [(0.0, 6.0), (-3.0, 1.0), (-1e-4, 250.0), (2.0, 9.0), (-9.0, -2.0), (0.0, 0.0)] {
            let Scale { scale, zero } = Scale::spanning(low, high);
            let back = |q: u8| (f32::from(q) - f32::from(zero)) * scale;
            assert_eq!(back(zero), 0.0);
            assert!(scale > 0.0 && back(0) <= low.min(0.0) + 0.51 * scale && back(255) >= high.max(0.0) - 0.51 * scale, "{low} {high}");
        }
        assert_eq!(Scale::spanning(0.0, 6.0), Scale { scale: 6.0 / 255.0, zero: 0 });
    }

    #[test]
    fn weights_keep_their_value_within_half_a_step_and_biases_never_overflow() {
        let input = Scale { scale: 0.02, zero: 3 };
        let weights = [0.5, -1.0, 0.25, 0.0, 1e-9, -2e-9, 0.0, 0.0];
        let bias = [0.3, 7.0, 0.0, -5.0];
        let made = quantise_weights(&weights, &bias, 4, input);
        for (i, (w, q)) in weights.iter().zip(&made.values).enumerate() {
            let step = made.scales[i / 2];
            assert!((w - f32::from(*q) * step).abs() <= 0.501 * step, "{i}: {w}, {q} × {step}");
        }
        for (channel, (b, q)) in bias.iter().zip(&made.bias).enumerate() {
            let unit = input.scale * made.scales[channel];
            assert!((b - *q as f32 * unit).abs() <= 0.6 * unit + 1e-6 * b.abs(), "{channel}: {b}, {q} × {unit}");
            assert!(q.unsigned_abs() <= (1 << 30) + 1_000, "{channel}: {q}");
        }
        assert_eq!(made.values[1], -127);
    }
}
