//! The definition of pre-processing, one tensor value at a time, in `f64`: what the fast versions are compared with.

use crate::area::AreaMask;
use crate::engine::manifest::{ChannelOrder, Input};
use crate::frame::{ColourMatrix, PixelLayout, Pixels};

use super::Geometry;

/// Sample (column, row) of component 0, 1, 2 = Y, Cb, Cr, about black; 0 where it is not inside. Coordinates in samples of that plane.
fn sample(pixels: &Pixels<'_>, mask: &AreaMask, component: usize, column: u32, row: u32) -> f64 {
    let shared = if component == 0 { 1 } else { pixels.header.layout.luma_per_chroma() };
    if !mask.contains(column * shared, row * shared) {
        return 0.0;
    }
    let (plane, offset) = match (pixels.header.layout, component) {
        (_, 0) => (0, column as usize),
        (PixelLayout::Nv12, c) => (1, 2 * column as usize + c - 1),
        (PixelLayout::I420 | PixelLayout::I444, c) => (c, column as usize),
    };
    let black = match component {
        0 if pixels.header.colorimetry.full_range => 0.0,
        0 => 16.0,
        _ => 128.0,
    };
    f64::from(pixels.planes[plane][row as usize * pixels.header.strides[plane] + offset]) - black
}

/// For each sample `from`…`to − 1` of a line, the share that a box about `centre` gives it: by the definition, for every sample nearby.
fn shares(centre: f64, width: f64, from: u32, to: u32) -> Vec<(u32, f64)> {
    let (first, last) = (f64::from(from), f64::from(to - 1));
    let (centre, half) = (centre.clamp(first, last), width.max(1.0) / 2.0);
    let (low, high) = ((centre - half).max(first - 0.5), (centre + half).min(last + 0.5));
    let covered = |i: u32| ((f64::from(i) + 0.5).min(high) - (f64::from(i) - 0.5).max(low)).max(0.0) / (high - low);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the line")]
    let near = (low.floor().max(first) as u32)..=(high.ceil().min(last) as u32);
    near.map(|i| (i, covered(i))).filter(|&(_, share)| share > 0.0).collect()
}

/// The pixel at (x, y), in luma columns and rows of the frame: 0…255, red, green, blue.
fn pixel(pixels: &Pixels<'_>, mask: &AreaMask, geometry: &Geometry, x: f64, y: f64) -> [f64; 3] {
    let crop = geometry.crop;
    let (step_x, step_y) = geometry.steps();
    let resampled = |component: usize, x: f64, y: f64| {
        let n = if component == 0 { 1 } else { pixels.header.layout.luma_per_chroma() };
        let columns = shares(x, step_x / f64::from(n), crop.x0 / n, crop.x1.div_ceil(n));
        let rows = shares(y, step_y / f64::from(n), crop.y0 / n, crop.y1.div_ceil(n));
        let row = |row: u32| columns.iter().map(|&(column, share)| share * sample(pixels, mask, component, column, row)).sum::<f64>();
        rows.iter().map(|&(y, share)| share * row(y)).sum::<f64>()
    };
    // Halved chroma is sited left, and midway between two rows.
    let (cx, cy) = if pixels.header.layout == PixelLayout::I444 { (x, y) } else { (x / 2.0, (y - 0.5) / 2.0) };
    let (luma, cb, cr) = (resampled(0, x, y), resampled(1, cx, cy), resampled(2, cx, cy));
    let (ky, kc) = if pixels.header.colorimetry.full_range { (1.0, 1.0) } else { (255.0 / 219.0, 255.0 / 224.0) };
    // As printed in the recommendations.
    let [r_cr, g_cb, g_cr, b_cb] = match pixels.header.colorimetry.matrix {
        ColourMatrix::Bt601 => [1.402, -0.344_136_286, -0.714_136_286, 1.772],
        ColourMatrix::Bt709 => [1.5748, -0.187_324_273, -0.468_124_273, 1.8556],
    };
    let rgb = [ky * luma + kc * r_cr * cr, ky * luma + kc * (g_cb * cb + g_cr * cr), ky * luma + kc * b_cb * cb];
    rgb.map(|c| c.clamp(0.0, 255.0))
}

/// The whole tensor.
pub fn tensor(pixels: &Pixels<'_>, mask: &AreaMask, geometry: &Geometry, input: &Input) -> Vec<f64> {
    let (width, height) = geometry.tensor;
    let (step_x, step_y) = geometry.steps();
    let crop = geometry.crop;
    let mut tensor = vec![0.0; 3 * width * height];
    for y in 0..height {
        for x in 0..width {
            let mut rgb = [0.0; 3];
            if x < geometry.picture.0 && y < geometry.picture.1 {
                let column = f64::from(crop.x0) + (x as f64 + 0.5) * step_x - 0.5;
                let row = f64::from(crop.y0) + (y as f64 + 0.5) * step_y - 0.5;
                rgb = pixel(pixels, mask, geometry, column, row);
            }
            if input.channels == ChannelOrder::Bgr {
                rgb.reverse();
            }
            for (c, value) in rgb.into_iter().enumerate() {
                tensor[(c * height + y) * width + x] = (value - f64::from(input.mean[c])) * f64::from(input.scale[c]);
            }
        }
    }
    tensor
}
