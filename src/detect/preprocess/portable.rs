//! The inner loops in plain Rust: what runs where no vector version does, and what those are compared with.

use super::kernel::{OutputRows, Projection, RowPair};
use super::taps::{Across, Channel, Columns, DOWN_BITS, ROW_BITS};

fn blended(upper: u8, lower: u8, weight: i16, black: i16) -> i16 {
    // The difference of two bytes, times 128, fits; so does the sum, which lies between the two bytes times 128.
    let difference = (i32::from(lower) - i32::from(upper)) << ROW_BITS;
    #[expect(clippy::cast_possible_truncation, reason = "a weight below one does not enlarge the difference")]
    let moved = ((difference * i32::from(weight) + (1 << (DOWN_BITS - 1))) >> DOWN_BITS) as i16;
    (i16::from(upper) << ROW_BITS) + moved - black
}

/// The samples from `start` on; the last one repeated once.
pub fn blend_from(start: usize, rows: RowPair<'_>, black: i16, out: &mut [i16]) {
    let (upper, lower, weight) = rows.checked();
    for ((o, &u), &l) in out[start..].iter_mut().zip(&upper[start..]).zip(&lower[start..]) {
        *o = blended(u, l, weight, black);
    }
    out[upper.len()] = out[upper.len() - 1];
}

pub fn blend(rows: RowPair<'_>, black: i16, out: &mut [i16]) {
    blend_from(0, rows, black, out);
}

/// The pairs from `start` on; the last one repeated once.
pub fn blend_interleaved_from(start: usize, rows: RowPair<'_>, black: i16, cb: &mut [i16], cr: &mut [i16]) {
    let (upper, lower, weight) = rows.checked();
    let pairs = upper.len() / 2;
    for i in start..pairs {
        cb[i] = blended(upper[2 * i], lower[2 * i], weight, black);
        cr[i] = blended(upper[2 * i + 1], lower[2 * i + 1], weight, black);
    }
    cb[pairs] = cb[pairs - 1];
    cr[pairs] = cr[pairs - 1];
}

pub fn blend_interleaved(rows: RowPair<'_>, black: i16, cb: &mut [i16], cr: &mut [i16]) {
    blend_interleaved_from(0, rows, black, cb, cr);
}

#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "tables hold columns and 15-bit weights")]
fn sample(row: &[i16], columns: &Columns, output: usize) -> i32 {
    let (first, weights) = (columns.first[output] as usize, columns.weights[output]);
    i32::from(row[first]) * i32::from(weights as i16) + i32::from(row[first + 1]) * (weights >> 16)
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
