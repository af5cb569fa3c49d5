//! The inner loops in plain Rust: what runs where no vector version does, and what those are compared with.

use super::kernel::{Blend, OutputRows, Projection};
use super::taps::{Across, Channel, Columns, DOWN_BITS, ROW_BITS};

/// The weighted sum of one column; `at`: where its byte stands in a row.
#[expect(clippy::cast_possible_truncation, reason = "a weighted mean of values that fit, rounded by less than there is room")]
fn blended(blend: &Blend<'_>, at: usize, held: i16) -> i16 {
    let sample = |bytes: &[u8]| (i16::from(bytes[at]) << ROW_BITS) - blend.black;
    if blend.is_copy() {
        return sample(blend.rows[0].bytes);
    }
    let weighted = |value: i16, weight: i16| ((i32::from(value) * i32::from(weight) + (1 << (DOWN_BITS - 1))) >> DOWN_BITS) as i16;
    let start = if blend.add { held } else { 0 };
    blend.rows.iter().fold(start, |sum, row| sum + weighted(sample(row.bytes), row.weight))
}

/// The samples from `start` on; the last one repeated once.
pub fn blend_from(start: usize, blend: Blend<'_>, out: &mut [i16]) {
    let samples = blend.row_bytes();
    for (i, o) in out[..samples].iter_mut().enumerate().skip(start) {
        *o = blended(&blend, i, *o);
    }
    out[samples] = out[samples - 1];
}

pub fn blend(blend: Blend<'_>, out: &mut [i16]) {
    blend_from(0, blend, out);
}

/// The pairs from `start` on; the last one repeated once.
pub fn blend_interleaved_from(start: usize, blend: Blend<'_>, cb: &mut [i16], cr: &mut [i16]) {
    let pairs = blend.row_bytes() / 2;
    for i in start..pairs {
        cb[i] = blended(&blend, 2 * i, cb[i]);
        cr[i] = blended(&blend, 2 * i + 1, cr[i]);
    }
    cb[pairs] = cb[pairs - 1];
    cr[pairs] = cr[pairs - 1];
}

pub fn blend_interleaved(blend: Blend<'_>, cb: &mut [i16], cr: &mut [i16]) {
    blend_interleaved_from(0, blend, cb, cr);
}

#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "tables hold columns and 15-bit weights")]
fn sample(row: &[i16], columns: &Columns, output: usize) -> i32 {
    let first = columns.first[output] as usize;
    let pair = |(pair, weights): (usize, &i32)| {
        let samples = &row[first + 2 * pair..][..2];
        i32::from(samples[0]) * i32::from(*weights as i16) + i32::from(samples[1]) * (weights >> 16)
    };
    columns.weights[output..].iter().step_by(columns.first.len()).enumerate().map(pair).sum()
}

#[expect(clippy::cast_precision_loss, reason = "24 of at most 30 bits are kept: 2⁻⁹ of a pixel value")]
fn pixel(channel: &Channel, [y, u, v]: [i32; 3]) -> f32 {
    let value = channel.y * y as f32 + channel.u * u as f32 + channel.v * v as f32 + channel.bias;
    value.clamp(channel.low, channel.high)
}

pub fn project(row: &Projection<'_>, out: OutputRows<'_>) {
    let [red, green, blue] = out;
    let outputs = row.check([red.len(), green.len(), blue.len()]);
    for x in 0..outputs {
        let samples = match row.across {
            Across::AsIs => {
                let chroma = |c: &[i16]| i32::from(c[x / 2]) + i32::from(c[x.div_ceil(2)]);
                [i32::from(row.y[x]), chroma(row.u), chroma(row.v)]
            }
            Across::Resampled { luma, chroma } => [sample(row.y, luma, x), sample(row.u, chroma, x), sample(row.v, chroma, x)],
        };
        red[x] = pixel(&row.channels[0], samples);
        green[x] = pixel(&row.channels[1], samples);
        blue[x] = pixel(&row.channels[2], samples);
    }
}
