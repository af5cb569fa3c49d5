//! The executor's sums in 8 bits: unsigned values, signed weights, exact 32-bit sums, and one rounding to the next 8 bits.
//!
//! ```text
//! mixed  = clamp(round(Σ weight · value · scale + bias), 0, 255)      a unit's 1 × 1 convolution; its zero is `padding`
//! output = clamp(round(Σ weight · mixed · scale + bias), 0, 255)      its 3 × 3 convolution; zero is 0, so the clamp is the ReLU
//! head   = Σ weight · value · scale + bias                            in fp32, like the head's 3 × 3 convolution
//! ```
//!
//! The product with `scale` and the addition of `bias` are one fused operation on the sum as fp32, and rounding is to even: every version gives the same
//! bits. Sums stay below 2²⁴, so fp32 holds them exactly; `quantise.rs` bounds the scales so that nothing leaves 32 bits.

mod portable;
#[cfg(target_arch = "x86_64")]
mod vectors;

use super::execute::{Arithmetic, Seen, StemRows, TwoRows};
use super::floats::{self, Look as HeadLook};
use super::graph::{HEAD, STEM};
use super::quantise::{QuantisedNetwork, Rounded};

/// Weights in the order in which a kernel reads them.
#[derive(Default)]
pub(super) struct Laid {
    pub weights: Vec<i8>,
    pub scale: Vec<f32>,
    pub bias: Vec<f32>,
}

/// A 1 × 1 convolution.
pub(super) struct Mix {
    pub inputs: usize,
    pub outputs: usize,
    /// `[output][input]`.
    pub plain: Rounded,
    pub laid: Laid,
}

/// A 3 × 3 convolution of each channel by itself.
pub(super) struct Look {
    pub channels: usize,
    /// `[channel][tap]`.
    pub plain: Rounded,
    pub laid: Laid,
}

pub(super) struct Stem {
    /// `[channel][plane][row][column]`.
    pub plain: Rounded,
    pub laid: Laid,
}

/// Which channel lane `lane` of vector `vector` computes, so that packing four vectors leaves the channels in their order. `vectors`: of a
/// pixel.
fn channel(vector: usize, lane: usize, vectors: usize, lanes: usize) -> usize {
    match vectors {
        1 => lane,
        2 => 8 * (lane / 4) + 4 * vector + lane % 4,
        _ => vector / 4 * 4 * lanes + 16 * (lane / 4) + 4 * (vector % 4) + lane % 4,
    }
}

/// Weights of `groups` groups of four values each, `[tile of four vectors][group][vector][lane][value]`.
fn lay_out(
    plain: &Rounded,
    groups: usize,
    outputs: usize,
    lanes: usize,
    is_head: bool,
    weight: impl Fn(usize, usize, usize) -> i8,
) -> Laid {
    if lanes == 0 {
        return Laid::default();
    }
    let vectors = outputs / lanes;
    let (tile, mut laid) = (vectors.min(4), Laid::default());
    let channel_of = |vector, lane| if is_head { vector * lanes + lane } else { channel(vector, lane, vectors, lanes) };
    for first in (0..vectors).step_by(tile) {
        for group in 0..groups {
            for vector in first..first + tile {
                for lane in 0..lanes {
                    laid.weights.extend((0..4).map(|value| weight(channel_of(vector, lane), group, value)));
                }
            }
        }
    }
    for vector in 0..vectors {
        laid.scale.extend((0..lanes).map(|lane| plain.scale[channel_of(vector, lane)]));
        laid.bias.extend((0..lanes).map(|lane| plain.bias[channel_of(vector, lane)]));
    }
    laid
}

impl Mix {
    pub(super) fn new(inputs: usize, outputs: usize, plain: &Rounded, lanes: usize, is_head: bool) -> Self {
        let weight = |channel: usize, group: usize, value: usize| plain.weights[channel * inputs + 4 * group + value];
        Self { inputs, outputs, plain: plain.clone(), laid: lay_out(plain, inputs / 4, outputs, lanes, is_head, weight) }
    }
}

impl Stem {
    /// A group is three columns of one row of one plane, and a fourth that counts nothing.
    pub(super) fn new(plain: &Rounded, lanes: usize) -> Self {
        let weight = |channel: usize, group: usize, column: usize| {
            let (row, plane) = (group / 3, group % 3);
            if column < 3 { plain.weights[((channel * 3 + plane) * 3 + row) * 3 + column] } else { 0 }
        };
        Self { plain: plain.clone(), laid: lay_out(plain, 9, STEM, lanes, false, weight) }
    }
}

impl Look {
    /// `[block of a vector's bytes][vector][column][which of two rows][lane][which of four rows]`: a lane holds one channel in four rows; the upper
    /// of the two outputs sees the first three, the lower the last three.
    pub(super) fn new(channels: usize, plain: &Rounded, lanes: usize) -> Self {
        let (mut laid, bytes) = (Laid::default(), 4 * lanes);
        let blocks = if lanes == 0 { 0 } else { channels.div_ceil(bytes) };
        for block in 0..blocks {
            for vector in 0..4 {
                let channel = |lane: usize| (block * bytes + 16 * (lane / 4) + 4 * vector + lane % 4) % channels;
                for column in 0..3 {
                    for lower in 0..2 {
                        for lane in 0..lanes {
                            laid.weights.extend((0..4_usize).map(|row| match row.checked_sub(lower) {
                                Some(tap @ 0..3) => plain.weights[channel(lane) * 9 + tap * 3 + column],
                                _ => 0,
                            }));
                        }
                    }
                }
                laid.scale.extend((0..lanes).map(|lane| plain.scale[channel(lane)]));
                laid.bias.extend((0..lanes).map(|lane| plain.bias[channel(lane)]));
            }
        }
        Self { channels, plain: plain.clone(), laid }
    }
}

/// One instruction set's versions. They may be called only where [`Bytes::available`] found it.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    pub name: &'static str,
    /// 32-bit values in a vector; 0: none, weights are read as they are.
    pub lanes: usize,
    pub take: unsafe fn(&[f32], &mut [u8]),
    pub stem: unsafe fn(&Stem, StemRows<'_, u8>, &mut [u8]),
    pub mix: unsafe fn(&Mix, &[u8], &mut [u8]),
    pub look: unsafe fn(&Look, Seen<'_, u8>, TwoRows<'_, u8>),
    pub pool: unsafe fn(usize, [&[u8]; 2], &mut [u8]),
    pub sum: unsafe fn(usize, &[u8], &[u8], &mut [u8]),
    pub head: unsafe fn(&Mix, &[u8], &mut [f32]),
    /// For what follows in fp32.
    pub floats: floats::Kernels,
}

const PORTABLE: Kernels = Kernels {
    name: super::PORTABLE,
    lanes: 0,
    take: portable::take,
    stem: portable::stem,
    mix: portable::mix,
    look: portable::look,
    pool: portable::pool,
    sum: portable::sum,
    head: portable::head,
    floats: floats::PORTABLE,
};

pub(super) fn tables() -> Vec<Kernels> {
    let mut tables = vec![PORTABLE];
    #[cfg(target_arch = "x86_64")]
    if let Some(floats) = floats::tables().into_iter().find(|floats| floats.name == "avx2") {
        if is_x86_feature_detected!("avxvnni") {
            tables.push(Kernels { floats, ..vectors::avx_vnni::KERNELS });
        }
        let vnni = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni");
        if vnni && is_x86_feature_detected!("avx512vl") {
            tables.push(Kernels { floats, ..vectors::vnni256::KERNELS });
        }
        if let Some(floats) = floats::tables().into_iter().find(|floats| floats.name == "avx512" && vnni) {
            tables.push(Kernels { floats, ..vectors::vnni512::KERNELS });
        }
    }
    tables
}

/// A network in 8 bits.
pub struct Bytes {
    kernels: Kernels,
    stem: Stem,
    mixes: Vec<Mix>,
    looks: Vec<Look>,
    paddings: Vec<Vec<u8>>,
    head_mixes: Vec<Mix>,
    head_looks: Vec<HeadLook>,
}

impl Bytes {
    /// Names of the versions that this processor can run, slowest first. Portable code alone is slower than fp32 with vectors.
    pub fn available() -> Vec<&'static str> {
        tables().iter().map(|kernels| kernels.name).collect()
    }

    /// With the fastest version, or with the one called `name`. `None`: this processor has no such version.
    pub fn new(network: &QuantisedNetwork, name: Option<&str>) -> Option<Self> {
        let tables = tables();
        let kernels = *match name {
            Some(name) => tables.iter().find(|kernels| kernels.name == name)?,
            None => tables.last()?,
        };
        let lanes = kernels.lanes;
        Some(Self {
            kernels,
            stem: Stem::new(&network.stem, lanes),
            mixes: network.units.iter().map(|unit| Mix::new(unit.inputs, unit.outputs, &unit.mix, lanes, false)).collect(),
            looks: network.units.iter().map(|unit| Look::new(unit.outputs, &unit.look, lanes)).collect(),
            paddings: network.units.iter().map(|unit| unit.padding.clone()).collect(),
            head_mixes: network.heads.iter().map(|head| Mix::new(head.inputs, HEAD, &head.mix, lanes, true)).collect(),
            head_looks: network.heads.iter().map(|head| HeadLook::new(HEAD, &head.look, &head.look_bias, false)).collect(),
        })
    }

    pub fn name(&self) -> &'static str {
        self.kernels.name
    }
}

impl Arithmetic for Bytes {
    type Value = u8;
    const NUMBERS: &'static str = "int8";

    fn chunk(&self) -> usize {
        80
    }
    fn take(&self, row: &[f32], out: &mut [u8]) {
        // SAFETY: `tables` hands out a table only on a processor that has its instruction set; the same below.
        unsafe { (self.kernels.take)(row, out) }
    }
    fn stem(&self, rows: StemRows<'_, u8>, out: &mut [u8]) {
        // SAFETY: as in `take`.
        unsafe { (self.kernels.stem)(&self.stem, rows, out) }
    }
    fn padding(&self, unit: usize) -> &[u8] {
        &self.paddings[unit]
    }
    fn mix(&self, unit: usize, pixels: &[u8], out: &mut [u8]) {
        // SAFETY: as in `take`.
        unsafe { (self.kernels.mix)(&self.mixes[unit], pixels, out) }
    }
    fn look(&self, unit: usize, rows: Seen<'_, u8>, out: TwoRows<'_, u8>) {
        // SAFETY: as in `take`.
        unsafe { (self.kernels.look)(&self.looks[unit], rows, out) }
    }
    fn pool(&self, channels: usize, rows: [&[u8]; 2], out: &mut [u8]) {
        // SAFETY: as in `take`.
        unsafe { (self.kernels.pool)(channels, rows, out) }
    }
    fn sum(&self, channels: usize, kept: &[u8], enlarged: &[u8], out: &mut [u8]) {
        // SAFETY: as in `take`.
        unsafe { (self.kernels.sum)(channels, kept, enlarged, out) }
    }
    fn head_mix(&self, head: usize, pixels: &[u8], out: &mut [f32]) {
        // SAFETY: as in `take`.
        unsafe { (self.kernels.head)(&self.head_mixes[head], pixels, out) }
    }
    fn head_look(&self, head: usize, rows: Seen<'_, f32>, out: TwoRows<'_, f32>) {
        // SAFETY: as in `take`: a table's fp32 kernels belong to the same processor.
        unsafe { (self.kernels.floats.look)(&self.head_looks[head], rows, out) }
    }
    fn squash(&self, values: &mut [f32]) {
        // SAFETY: as in `head_look`.
        unsafe { (self.kernels.floats.squash)(values) }
    }
}
