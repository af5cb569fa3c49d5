//! The executor's sums in fp32: weights in the order in which the kernels read them, and a table of kernels for each instruction set.

mod portable;
#[cfg(target_arch = "x86_64")]
mod vectors;

use super::execute::{Arithmetic, Seen, StemRows, TwoRows};
use super::graph::{Graph, HEAD};
use super::squash;

/// A 1 × 1 convolution: `weights[input][output]`.
pub(super) struct Mix {
    pub inputs: usize,
    pub outputs: usize,
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Mix {
    pub(super) fn new(inputs: usize, outputs: usize, weights: &[f32], bias: &[f32]) -> Self {
        let by_input = (0..inputs * outputs).map(|i| weights[i % outputs * inputs + i / outputs]).collect();
        Self { inputs, outputs, weights: by_input, bias: bias.to_vec() }
    }
}

/// A 3 × 3 convolution of each channel by itself: `weights[tap][channel]`.
pub(super) struct Look {
    pub channels: usize,
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    pub relu: bool,
}

impl Look {
    pub(super) fn new(channels: usize, weights: &[f32], bias: &[f32], relu: bool) -> Self {
        let by_tap = (0..9 * channels).map(|i| weights[i % channels * 9 + i / channels]).collect();
        Self { channels, weights: by_tap, bias: bias.to_vec(), relu }
    }
}

/// The stem: `weights[row][plane][column][channel]`.
pub(super) struct Stem {
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

/// One instruction set's versions. They may be called only where [`Floats::available`] found it.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    pub name: &'static str,
    pub stem: unsafe fn(&Stem, StemRows<'_, f32>, &mut [f32]),
    pub mix: unsafe fn(&Mix, &[f32], &mut [f32]),
    pub look: unsafe fn(&Look, Seen<'_, f32>, TwoRows<'_, f32>),
    pub squash: unsafe fn(&mut [f32]),
}

pub(super) const PORTABLE: Kernels =
    Kernels { name: super::PORTABLE, stem: portable::stem, mix: portable::mix, look: portable::look, squash: squash::squash };

/// A network in fp32.
pub struct Floats {
    kernels: Kernels,
    stem: Stem,
    mixes: Vec<Mix>,
    looks: Vec<Look>,
    head_mixes: Vec<Mix>,
    head_looks: Vec<Look>,
    padding: Vec<f32>,
}

impl Floats {
    /// Names of the versions that this processor can run, slowest first.
    pub fn available() -> Vec<&'static str> {
        tables().iter().map(|kernels| kernels.name).collect()
    }

    /// With the fastest version, or with the one called `name`. `None`: this processor has no such version.
    pub fn new(graph: &Graph, name: Option<&str>) -> Option<Self> {
        let tables = tables();
        let kernels = *match name {
            Some(name) => tables.iter().find(|kernels| kernels.name == name)?,
            None => tables.last()?,
        };
        let by_place = (0..graph.stem.weights.len()).map(|i| {
            let (channel, place) = (i % 16, i / 16);
            let (row, plane, column) = (place / 9, place / 3 % 3, place % 3);
            graph.stem.weights[((channel * 3 + plane) * 3 + row) * 3 + column]
        });
        Some(Self {
            kernels,
            stem: Stem { weights: by_place.collect(), bias: graph.stem.bias.clone() },
            mixes: graph.units.iter().map(|unit| Mix::new(unit.inputs, unit.outputs, &unit.mix, &unit.mix_bias)).collect(),
            looks: graph.units.iter().map(|unit| Look::new(unit.outputs, &unit.look, &unit.look_bias, true)).collect(),
            head_mixes: graph.heads.iter().map(|head| Mix::new(head.inputs, HEAD, &head.mix, &head.mix_bias)).collect(),
            head_looks: graph.heads.iter().map(|head| Look::new(HEAD, &head.look, &head.look_bias, false)).collect(),
            padding: vec![0.0; 64],
        })
    }

    pub fn name(&self) -> &'static str {
        self.kernels.name
    }
}

pub(super) fn tables() -> Vec<Kernels> {
    let mut tables = vec![PORTABLE];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            tables.push(vectors::avx2::KERNELS);
        }
        if is_x86_feature_detected!("avx512f") {
            tables.push(vectors::avx512::KERNELS);
        }
    }
    tables
}

impl Arithmetic for Floats {
    type Value = f32;
    const NUMBERS: &'static str = "fp32";

    fn chunk(&self) -> usize {
        16
    }
    fn take(&self, row: &[f32], out: &mut [f32]) {
        out.copy_from_slice(row);
    }
    fn stem(&self, rows: StemRows<'_, f32>, out: &mut [f32]) {
        // SAFETY: `tables` hands out a table only on a processor that has its instruction set; the same below.
        unsafe { (self.kernels.stem)(&self.stem, rows, out) }
    }
    fn padding(&self, unit: usize) -> &[f32] {
        &self.padding[..self.mixes[unit].outputs]
    }
    fn mix(&self, unit: usize, pixels: &[f32], out: &mut [f32]) {
        // SAFETY: as in `stem`.
        unsafe { (self.kernels.mix)(&self.mixes[unit], pixels, out) }
    }
    fn look(&self, unit: usize, rows: Seen<'_, f32>, out: TwoRows<'_, f32>) {
        // SAFETY: as in `stem`.
        unsafe { (self.kernels.look)(&self.looks[unit], rows, out) }
    }
    fn pool(&self, channels: usize, [one, other]: [&[f32]; 2], out: &mut [f32]) {
        let pairs = one.chunks_exact(2 * channels).zip(other.chunks_exact(2 * channels));
        for ((one, other), out) in pairs.zip(out.chunks_exact_mut(channels)) {
            let (left, right) = one.split_at(channels);
            let (below, last) = other.split_at(channels);
            for c in 0..channels {
                // A NaN in any of the four must not vanish: it would be a number that nobody computed.
                let most = |a: f32, b: f32| if a > b || a.is_nan() { a } else { b };
                out[c] = most(most(left[c], right[c]), most(below[c], last[c]));
            }
        }
    }
    fn sum(&self, channels: usize, kept: &[f32], enlarged: &[f32], out: &mut [f32]) {
        let pairs = kept.chunks_exact(2 * channels).zip(enlarged.chunks_exact(channels));
        for ((kept, enlarged), out) in pairs.zip(out.chunks_exact_mut(2 * channels)) {
            for (out, kept) in out.chunks_exact_mut(channels).zip(kept.chunks_exact(channels)) {
                for c in 0..channels {
                    out[c] = kept[c] + enlarged[c];
                }
            }
        }
    }
    fn head_mix(&self, head: usize, pixels: &[f32], out: &mut [f32]) {
        // SAFETY: as in `stem`.
        unsafe { (self.kernels.mix)(&self.head_mixes[head], pixels, out) }
    }
    fn head_look(&self, head: usize, rows: Seen<'_, f32>, out: TwoRows<'_, f32>) {
        // SAFETY: as in `stem`.
        unsafe { (self.kernels.look)(&self.head_looks[head], rows, out) }
    }
    fn squash(&self, values: &mut [f32]) {
        // SAFETY: as in `stem`.
        unsafe { (self.kernels.squash)(values) }
    }
}
