//! The inner loops in plain Rust: what runs where no vector version does, and what those are compared with.

use super::kernel::{Blend, OutputRows, Projection};
use super::taps::{Across, BLOCK, Channel, Columns, DOWN_BITS, ROW_BITS};

/// One row's part of the sum, for the columns whose bytes are `bytes`.
#[expect(clippy::cast_possible_truncation, reason = "a part of a weighted mean of values that fit")]
fn add_row<'a>(blend: &Blend<'_>, row: usize, bytes: impl Iterator<Item = &'a u8>, out: &mut [i16]) {
    let (black, weight) = (blend.black, i32::from(blend.rows[row].weight));
    let sample = |byte: u8| (i16::from(byte) << ROW_BITS) - black;
    let weighted = |byte: u8| ((i32::from(sample(byte)) * weight + (1 << (DOWN_BITS - 1))) >> DOWN_BITS) as i16;
    let pairs = out.iter_mut().zip(bytes);
    if blend.is_copy() {
        pairs.for_each(|(o, &b)| *o = sample(b));
    } else if row == 0 && !blend.add {
        pairs.for_each(|(o, &b)| *o = weighted(b));
    } else {
        pairs.for_each(|(o, &b)| *o += weighted(b));
    }
}

/// The samples from `start` on; the last one repeated once.
pub fn blend_from(start: usize, blend: Blend<'_>, out: &mut [i16]) {
    let samples = blend.row_bytes();
    for (row, weighted) in blend.rows.iter().enumerate() {
        add_row(&blend, row, weighted.bytes[start..].iter(), &mut out[start..samples]);
    }
    out[samples] = out[samples - 1];
}

pub fn blend(blend: Blend<'_>, out: &mut [i16]) {
    blend_from(0, blend, out);
}

/// The pairs from `start` on; the last one repeated once.
pub fn blend_interleaved_from(start: usize, blend: Blend<'_>, cb: &mut [i16], cr: &mut [i16]) {
    let pairs = blend.row_bytes() / 2;
    for (offset, out) in [cb, cr].into_iter().enumerate() {
        for (row, weighted) in blend.rows.iter().enumerate() {
            add_row(&blend, row, weighted.bytes[2 * start..].iter().skip(offset).step_by(2), &mut out[start..pairs]);
        }
        out[pairs] = out[pairs - 1];
    }
}

pub fn blend_interleaved(blend: Blend<'_>, cb: &mut [i16], cr: &mut [i16]) {
    blend_interleaved_from(0, blend, cb, cr);
}

/// A block's samples of one component.
type Samples = [i32; BLOCK];

#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "tables hold columns and 15-bit weights")]
fn resampled(row: &[i16], columns: &Columns, x: usize) -> Samples {
    let entries = columns.first.len();
    let first = &columns.first[x..x + BLOCK];
    let mut sums = [0; BLOCK];
    for pair in 0..columns.pairs {
        let weights = &columns.weights[pair * entries + x..][..BLOCK];
        let row = &row[2 * pair..];
        for ((sum, &first), &weights) in sums.iter_mut().zip(first).zip(weights) {
            let first = first as usize;
            *sum += i32::from(row[first]) * i32::from(weights as i16) + i32::from(row[first + 1]) * (weights >> 16);
        }
    }
    sums
}

fn luma_as_is(row: &[i16], x: usize) -> Samples {
    let row = &row[x..x + BLOCK];
    std::array::from_fn(|i| i32::from(row[i]))
}

fn chroma_as_is(row: &[i16], x: usize) -> Samples {
    let row = &row[x / 2..][..=BLOCK / 2];
    std::array::from_fn(|i| i32::from(row[i / 2]) + i32::from(row[i.div_ceil(2)]))
}

#[expect(clippy::cast_precision_loss, reason = "24 of at most 30 bits are kept: 2⁻⁹ of a pixel value")]
fn write(channel: &Channel, [y, u, v]: &[Samples; 3], out: &mut [f32]) {
    for (((out, &y), &u), &v) in out.iter_mut().zip(y).zip(u).zip(v) {
        let value = channel.y * y as f32 + channel.u * u as f32 + channel.v * v as f32 + channel.bias;
        *out = value.max(channel.low).min(channel.high);
    }
}

pub fn project(row: &Projection<'_>, mut out: OutputRows<'_>) {
    let outputs = row.check([0, 1, 2].map(|i| out[i].len()));
    for x in (0..outputs).step_by(BLOCK) {
        let samples = match row.across {
            Across::AsIs => [luma_as_is(row.y, x), chroma_as_is(row.u, x), chroma_as_is(row.v, x)],
            Across::Resampled { luma, chroma } => [resampled(row.y, luma, x), resampled(row.u, chroma, x), resampled(row.v, chroma, x)],
        };
        let end = outputs.min(x + BLOCK);
        for (channel, out) in row.channels.iter().zip(&mut out) {
            write(channel, &samples, &mut out[x..end]);
        }
    }
}
