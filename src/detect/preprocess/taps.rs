//! Interpolation tables and colour coefficients: everything that is computed once per geometry.
//!
//! Fixed point throughout, so that every code path computes the same integers. A vertically blended sample keeps 7 fractional bits (a
//! byte times 128 fits `i16`); horizontal weights have 14 (their products fit `i32`): a resampled sample carries 21 fractional bits, 7
//! or 8 where columns are taken as they are.

use crate::engine::manifest::{ChannelOrder, Input};
use crate::frame::{Colorimetry, ColourMatrix, PixelLayout};

use super::geometry::{self, Geometry, Siting};

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

/// Turns shares of one into integers that sum to `whole`; the largest takes what rounding left.
#[expect(clippy::cast_possible_truncation, reason = "shares of at most 2¹⁵")]
fn quantise(shares: &[f64], whole: i32) -> impl Iterator<Item = i32> {
    let rounded = move |share: f64| (share * f64::from(whole)).round() as i32;
    let rest = whole - shares.iter().map(|&s| rounded(s)).sum::<i32>();
    let largest = (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b]));
    shares.iter().enumerate().map(move |(i, &s)| rounded(s) + if Some(i) == largest { rest } else { 0 })
}

/// For each output column: its first sample and the weights of the samples from there on, in pairs.
#[derive(Debug)]
pub struct Columns {
    /// First sample, one entry an output, padded to a whole block.
    pub first: Vec<i32>,
    /// `w0 | w1 << 16` for samples first + 2·pair and the next; all outputs' first pairs, then all second pairs, … Sum 2¹⁴ an output.
    pub weights: Vec<i32>,
    pub pairs: usize,
    /// Per block: the sample its window starts at.
    pub window: Vec<u32>,
    /// Per output: its first two samples' places in the window, `i0 | i1 << 16`. Empty when some block spans more than a window.
    pub in_window: Vec<i32>,
    /// Samples a row must hold for any path to read it, padding included.
    pub row_len: usize,
}

impl Columns {
    /// `at`: an output's position in samples; `width`: of the box that it draws on.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "columns ≤ 8192, weights ≤ 2¹⁴"
    )]
    fn new(outputs: usize, samples: usize, width: f64, at: impl Fn(usize) -> f64) -> Self {
        let entries = outputs.next_multiple_of(BLOCK);
        let mut shares = Vec::new();
        let mut covered = |output: usize| {
            let first = geometry::cover(at(output.min(outputs - 1)), width, samples, &mut shares);
            (first, quantise(&shares, 1 << WEIGHT_BITS).collect::<Vec<i32>>())
        };
        let taps: Vec<(usize, Vec<i32>)> = (0..entries).map(&mut covered).collect();
        let pairs = taps.iter().map(|(_, weights)| weights.len().div_ceil(2)).max().unwrap_or(1);
        let first: Vec<i32> = taps.iter().map(|&(first, _)| first as i32).collect();
        let weight = |output: usize, tap: usize| taps[output].1.get(tap).copied().unwrap_or(0);
        let pair_weights = |pair: usize| (0..entries).map(move |o| (o, pair));
        let weights = (0..pairs).flat_map(pair_weights).map(|(o, p)| weight(o, 2 * p) | weight(o, 2 * p + 1) << 16).collect();
        let window: Vec<u32> = first.chunks_exact(BLOCK).map(|block| block[0] as u32).collect();
        let places = first.iter().enumerate().map(|(i, &f)| f - window[i / BLOCK] as i32);
        let fits = places.clone().all(|place| place as usize + 2 * pairs <= WINDOW);
        let in_window = if fits { places.map(|place| place | (place + 1) << 16).collect() } else { Vec::new() };
        let row_len = samples + WINDOW.max(2 * pairs);
        Self { first, weights, pairs, window, in_window, row_len }
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
    pub fn new(geometry: &Geometry, layout: PixelLayout) -> Self {
        let (outputs, samples, step) = (geometry.picture.0, geometry.crop.width() as usize, geometry.steps().0);
        let siting = Siting::across(layout);
        if outputs == samples && siting.shared == 2 {
            return Self::AsIs;
        }
        let luma_at = |x| geometry::luma_source(x, step);
        let luma = Columns::new(outputs, samples, step, luma_at);
        let chroma = Columns::new(outputs, siting.samples(samples), siting.length(step), |x| siting.position(luma_at(x)));
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

/// For each output row: its first row of samples and their weights, out of 2¹⁵.
#[derive(Debug)]
pub struct Rows {
    spans: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<i16>,
    /// Most rows that one output draws on.
    pub most: usize,
}

impl Rows {
    pub fn luma(geometry: &Geometry) -> Self {
        Self::new(geometry, Siting { shared: 1, first_at: 0.0 })
    }

    pub fn chroma(geometry: &Geometry, layout: PixelLayout) -> Self {
        Self::new(geometry, Siting::down(layout))
    }

    fn new(geometry: &Geometry, siting: Siting) -> Self {
        let (step, samples) = (geometry.steps().1, siting.samples(geometry.crop.height() as usize));
        let (mut spans, mut weights, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for output in 0..geometry.picture.1 {
            let at = siting.position(geometry::luma_source(output, step));
            let first = geometry::cover(at, siting.length(step), samples, &mut shares);
            let start = weights.len();
            // One row that counts whole has weight 2¹⁵, which `i16` cannot hold: `i16::MAX` stands for it.
            weights.extend(quantise(&shares, 1 << DOWN_BITS).map(|w| i16::try_from(w).unwrap_or(i16::MAX)));
            spans.push((first, start..weights.len()));
        }
        let most = spans.iter().map(|(_, range)| range.len()).max().unwrap_or(1);
        Self { spans, weights, most }
    }

    /// The first row that `output` draws on, and the weights of it and those that follow.
    pub fn of(&self, output: usize) -> (usize, &[i16]) {
        let (first, range) = &self.spans[output];
        (*first, &self.weights[range.clone()])
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
                y: (matrix.luma[colour] * scale * unit(luma_bits)) as f32,
                u: (u * scale * unit(chroma_bits)) as f32,
                v: (v * scale * unit(chroma_bits)) as f32,
                bias: normalised(0.0),
                low: normalised(0.0).min(normalised(255.0)),
                high: normalised(0.0).max(normalised(255.0)),
            }
        });
        let (luma, chroma) = matrix.black;
        let black = (i16::from(luma) << ROW_BITS, i16::from(chroma) << ROW_BITS);
        Self { channels, planes, black, black_bytes: matrix.black }
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

/// R'G'B' (0…255) = luma · (Y − black) + chroma · (Cb − neutral, Cr − neutral).
pub struct Matrix {
    /// Of luma and of chroma: black, and neutral.
    pub black: (u8, u8),
    /// Red, green, blue.
    pub luma: [f64; 3],
    /// Red, green, blue; each (Cb, Cr). Red has no Cb, blue no Cr.
    pub chroma: [[f64; 2]; 3],
}

impl Matrix {
    pub fn new(colorimetry: Colorimetry) -> Self {
        let (black, luma, span) = if colorimetry.full_range { (0, 1.0, 1.0) } else { (16, 255.0 / 219.0, 255.0 / 224.0) };
        let (red, blue) = match colorimetry.matrix {
            // Components G, B, R: each colour is one of them.
            ColourMatrix::Identity => {
                return Self { black: (black, black), luma: [0.0, luma, 0.0], chroma: [[0.0, luma], [0.0, 0.0], [luma, 0.0]] };
            }
            ColourMatrix::Bt601 => (0.299, 0.114),
            ColourMatrix::Bt709 => (0.2126, 0.0722),
        };
        let green = 1.0 - red - blue;
        let (cb, cr) = (2.0 * (1.0 - blue) * span, 2.0 * (1.0 - red) * span);
        let chroma = [[0.0, cr], [-cb * blue / green, -cr * red / green], [cb, 0.0]];
        Self { black: (black, 128), luma: [luma; 3], chroma }
    }
}
