//! Horizontal interpolation tables and colour coefficients: everything that is computed once per geometry.
//!
//! Fixed point throughout, so that every code path computes the same integers. A vertically blended sample keeps 7 fractional bits (a
//! byte times 128 fits `i16`); horizontal weights have 14 (their products fit `i32`): a resampled sample carries 21 fractional bits, 7
//! or 8 where columns are taken as they are.

use crate::engine::manifest::{ChannelOrder, Input};
use crate::frame::{Colorimetry, ColourMatrix};

use super::geometry;

/// Fractional bits of a vertically blended sample.
pub const ROW_BITS: u32 = 7;
/// Fractional bits of a vertical weight.
pub const DOWN_BITS: u32 = 15;
/// Fractional bits of a horizontal weight.
const WEIGHT_BITS: u32 = 14;
/// Outputs that the widest code path computes at a time; tables are padded to a multiple of it.
pub const BLOCK: usize = 16;
/// Samples that one block may span for the windowed path: two registers of 32.
const WINDOW: usize = 64;

/// For each output column: its first sample and the two weights.
#[derive(Debug)]
pub struct Columns {
    /// First sample of the pair, one entry an output, padded to a whole block.
    pub first: Vec<i32>,
    /// `w0 | w1 << 16`; w0 + w1 = 2¹⁴.
    pub weights: Vec<i32>,
    /// Per block: the sample its window starts at.
    pub window: Vec<u32>,
    /// Per output: its two samples' places in the window, `i0 | i1 << 16`. Empty when some block spans more than a window.
    pub in_window: Vec<i32>,
    /// Samples a row must hold for any path to read it, padding included.
    pub row_len: usize,
}

impl Columns {
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "columns ≤ 8192, weights ≤ 2¹⁴")]
    fn new(outputs: usize, samples: usize, source_of: impl Fn(usize) -> f64) -> Self {
        let padded = outputs.next_multiple_of(BLOCK);
        let (mut first, mut weights) = (Vec::with_capacity(padded), Vec::with_capacity(padded));
        for output in 0..padded {
            let (sample, fraction) = geometry::tap(source_of(output.min(outputs - 1)), samples);
            let second = (fraction * f64::from(1 << WEIGHT_BITS)).round() as i32;
            first.push(sample as i32);
            weights.push(((1 << WEIGHT_BITS) - second) | second << 16);
        }
        let window: Vec<u32> = first.chunks_exact(BLOCK).map(|block| block[0] as u32).collect();
        let places = first.iter().enumerate().map(|(i, &f)| f - window[i / BLOCK] as i32);
        let fits = places.clone().all(|place| place + 1 < WINDOW as i32);
        let in_window = if fits { places.map(|place| place | (place + 1) << 16).collect() } else { Vec::new() };
        let row_len = samples + WINDOW;
        Self { first, weights, window, in_window, row_len }
    }
}

/// How a row of luma and a row of chroma samples become output columns.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per geometry, never moved about")]
pub enum Across {
    /// One output a luma sample; chroma doubled: sample i for column 2i, the mean of i and i + 1 for column 2i + 1.
    AsIs,
    Resampled {
        luma: Columns,
        chroma: Columns,
    },
}

impl Across {
    pub fn new(outputs: usize, crop_width: usize, step: f64) -> Self {
        if outputs == crop_width {
            return Self::AsIs;
        }
        let luma = Columns::new(outputs, crop_width, |x| geometry::luma_source(x, step));
        let last_luma = geometry::last(crop_width);
        let chroma = Columns::new(outputs, crop_width.div_ceil(2), |x| {
            geometry::chroma_column(geometry::luma_source(x, step).clamp(0.0, last_luma))
        });
        Self::Resampled { luma, chroma }
    }

    /// Samples that a (luma, chroma) row buffer must hold.
    pub fn row_lens(&self, crop_width: usize) -> (usize, usize) {
        match self {
            Self::AsIs => (crop_width + WINDOW, crop_width.div_ceil(2) + WINDOW),
            Self::Resampled { luma, chroma } => (luma.row_len, chroma.row_len),
        }
    }
}

/// Tensor value = clamp(y·Y + u·U + v·V + bias, low, high), Y, U, V being fixed-point samples from which black was taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Channel {
    pub y: f32,
    pub u: f32,
    pub v: f32,
    pub bias: f32,
    pub low: f32,
    pub high: f32,
}

/// The three channels and where each goes.
#[derive(Clone, Copy, Debug)]
pub struct Colour {
    /// Red, green, blue. Red has no `u`, blue no `v`.
    pub channels: [Channel; 3],
    /// The tensor plane of red, green, blue.
    pub planes: [usize; 3],
    /// Sample values of black, with [`ROW_BITS`] fractional bits: luma, chroma.
    pub black: (i16, i16),
    /// The same as bytes.
    pub black_bytes: (u8, u8),
}

impl Colour {
    #[expect(clippy::cast_possible_truncation, reason = "coefficients are rounded to f32")]
    pub fn new(input: &Input, colorimetry: Colorimetry, across: &Across) -> Self {
        let matrix = Matrix::new(colorimetry);
        let (luma_bits, chroma_bits) = match across {
            Across::AsIs => (ROW_BITS, ROW_BITS + 1),
            Across::Resampled { .. } => (ROW_BITS + WEIGHT_BITS, ROW_BITS + WEIGHT_BITS),
        };
        let unit = |bits: u32| 1.0 / f64::from(1 << bits);
        let planes = match input.channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        let channels = [0, 1, 2].map(|colour| {
            let (mean, scale) = (f64::from(input.mean[planes[colour]]), f64::from(input.scale[planes[colour]]));
            let normalised = |pixel: f64| ((pixel - mean) * scale) as f32;
            let [u, v] = matrix.chroma[colour];
            Channel {
                y: (matrix.luma * scale * unit(luma_bits)) as f32,
                u: (u * scale * unit(chroma_bits)) as f32,
                v: (v * scale * unit(chroma_bits)) as f32,
                bias: normalised(0.0),
                low: normalised(0.0).min(normalised(255.0)),
                high: normalised(0.0).max(normalised(255.0)),
            }
        });
        let black = (i16::from(matrix.black) << ROW_BITS, 128 << ROW_BITS);
        Self { channels, planes, black, black_bytes: (matrix.black, 128) }
    }

    /// What padding and everything outside the area is, per tensor plane.
    pub fn padding(&self) -> [f32; 3] {
        let mut padding = [0.0; 3];
        for (colour, &plane) in self.planes.iter().enumerate() {
            padding[plane] = self.channels[colour].bias;
        }
        padding
    }
}

/// R'G'B' (0…255) = luma · (Y − black) + chroma · (Cb − 128, Cr − 128).
pub struct Matrix {
    pub black: u8,
    pub luma: f64,
    /// Red, green, blue; each (Cb, Cr).
    pub chroma: [[f64; 2]; 3],
}

impl Matrix {
    pub fn new(colorimetry: Colorimetry) -> Self {
        let (red, blue) = match colorimetry.matrix {
            ColourMatrix::Bt601 => (0.299, 0.114),
            ColourMatrix::Bt709 => (0.2126, 0.0722),
        };
        let green = 1.0 - red - blue;
        let (black, luma, span) = if colorimetry.full_range { (0, 1.0, 1.0) } else { (16, 255.0 / 219.0, 255.0 / 224.0) };
        let (cb, cr) = (2.0 * (1.0 - blue) * span, 2.0 * (1.0 - red) * span);
        Self { black, luma, chroma: [[0.0, cr], [-cb * blue / green, -cr * red / green], [cb, 0.0]] }
    }
}
