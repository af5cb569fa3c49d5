//! From a row to its codes: 4 bits and 8 bits a value, each with a scale and with how far the codes are from the row.
//!
//! ```text
//! 4 bits: t̃ = s · (c − 7.5),  c 0…15,  s = scale · 2⁻¹⁸       8 bits: t̃ = s · (c − 128),  c 1…255,  s = scale · 2⁻²²
//! residual · 2⁻¹⁶ ≥ |t − t̃|
//! ```
//!
//! Scales are whole numbers of 16 bits, so that `s · (c − …)` has no rounding in `f32`: 16 bits times 8. The norm of the residual is added up
//! in `f32`: of at most 1,024 squares in 16 partial sums, so it is low by a share of at most (64 + 16 + 4) · 2⁻²⁴ < 10⁻⁵, which is added
//! again; then it is rounded up. Which code is chosen may depend on rounding; that the residual covers it does not.
//!
//! A row whose length lies in a few values ("spiky") has a 4-bit residual so large that it would be looked at exactly in every search. No network makes
//! such embeddings; it is refused.

use super::region::{LANES, Line};

/// Values of a group: one 32-bit lane of a dot product instruction.
pub(super) const GROUP: usize = 4;
/// 4-bit scales count in 2⁻¹⁸, 8-bit scales in 2⁻²², residuals in 2⁻¹⁶.
pub(super) const NIBBLE_UNIT: f32 = 1.0 / (1 << 18) as f32;
pub(super) const BYTE_UNIT: f32 = 1.0 / (1 << 22) as f32;
pub(super) const RESIDUAL_UNIT: f32 = 1.0 / (1 << 16) as f32;
/// The step that keeps 16 levels closest to normally distributed values of deviation 1.
const NORMAL_STEP: f32 = 0.3352;
/// Largest residual of a 4-bit sketch: normally distributed values have 0.11, evenly distributed ones at most 0.1.
pub(super) const MAX_RESIDUAL: f32 = 0.3;
/// `x + ROUNDING` has `x`, rounded to a whole number, in its lowest bits: for 0 ≤ x < 2²².
const ROUNDING: f32 = 12_582_912.0;

/// Scale and residual of one row in one plane, in the units above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) scale: u16,
    pub(super) residual: u16,
}

/// A row's codes, one byte a value. Reused from row to row.
pub(super) struct Codes {
    pub(super) nibbles: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

impl Codes {
    /// For rows of `lines` lines.
    pub(super) fn new(lines: usize) -> Self {
        Self { nibbles: vec![0; lines * LANES], bytes: vec![0; lines * LANES] }
    }
}

impl Drop for Codes {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.nibbles.zeroize();
        self.bytes.zeroize();
    }
}

/// A row's value and its code's, as one trial of a scale has them.
#[derive(Clone, Copy)]
struct Levels {
    scale: f32,
    /// Code of the value 0.
    middle: f32,
    least: f32,
    most: f32,
}

/// One value: its code, and the square of what the code is off.
#[inline(always)]
fn code(value: f32, inverse: f32, levels: Levels) -> (u8, f32) {
    let place = (value * inverse + levels.middle).max(levels.least).min(levels.most);
    let rounded = place + ROUNDING;
    let off = value - levels.scale * ((rounded - ROUNDING) - levels.middle);
    (rounded.to_bits().to_le_bytes()[0], off * off)
}

/// Codes of the row's `dim` values; returns the norm of what they are off.
#[inline(always)]
fn quantise(row: &[Line], dim: usize, levels: Levels, codes: &mut [u8]) -> f32 {
    let inverse = 1.0 / levels.scale;
    let mut sums = [0.0_f32; LANES];
    let (whole, tail) = (dim / LANES, dim % LANES);
    for (line, codes) in row[..whole].iter().zip(codes.chunks_exact_mut(LANES)) {
        for ((value, sum), place) in line.0.iter().zip(&mut sums).zip(codes) {
            let (byte, square) = code(*value, inverse, levels);
            *sum += square;
            *place = byte;
        }
    }
    if tail > 0 {
        for ((value, sum), place) in row[whole].0[..tail].iter().zip(&mut sums).zip(&mut codes[whole * LANES..]) {
            let (byte, square) = code(*value, inverse, levels);
            *sum += square;
            *place = byte;
        }
    }
    sums.iter().sum::<f32>().sqrt()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; scales and norms are not negative")]
const fn whole(value: f32) -> u16 {
    value as u16
}

/// Whole units that hold `value`; at least 1.
fn scale_units(value: f32, unit: f32) -> u16 {
    whole((value / unit).ceil()).max(1)
}

fn residual_units(norm: f32) -> u16 {
    whole(norm * 1.000_01 / RESIDUAL_UNIT).saturating_add(1)
}

/// Writes the codes of a row of `dim` values, which stand for nothing from there on; returns the marks of the 4-bit and the 8-bit plane.
/// Written once, compiled for each instruction set (`Kernel::encode`).
#[inline(always)]
pub(super) fn encode(row: &[Line], dim: usize, codes: &mut Codes) -> (Mark, Mark) {
    let mut largest = [0.0_f32; LANES];
    for line in row {
        for (most, value) in largest.iter_mut().zip(&line.0) {
            *most = most.max(value.abs());
        }
    }
    let largest = largest.iter().fold(0.0_f32, |a, b| a.max(*b));
    #[expect(clippy::cast_precision_loss, reason = "at most 1,024")]
    let deviation = 1.0 / (dim as f32).sqrt();
    let nibble = |units: u16| Levels { scale: f32::from(units) * NIBBLE_UNIT, middle: 7.5, least: 0.0, most: 15.0 };
    let (wide, close) = (scale_units(largest / 8.0, NIBBLE_UNIT), scale_units(deviation * NORMAL_STEP, NIBBLE_UNIT));
    let wide_norm = quantise(row, dim, nibble(wide), &mut codes.nibbles);
    let mut best = (wide_norm, wide);
    if close < wide {
        let close_norm = quantise(row, dim, nibble(close), &mut codes.nibbles);
        if close_norm <= wide_norm {
            best = (close_norm, close);
        } else {
            quantise(row, dim, nibble(wide), &mut codes.nibbles);
        }
    }
    let units = scale_units(largest / 127.0, BYTE_UNIT);
    let levels = Levels { scale: f32::from(units) * BYTE_UNIT, middle: 128.0, least: 1.0, most: 255.0 };
    let norm = quantise(row, dim, levels, &mut codes.bytes);
    (Mark { scale: best.1, residual: residual_units(best.0) }, Mark { scale: units, residual: residual_units(norm) })
}
