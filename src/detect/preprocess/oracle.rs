//! The definition of pre-processing, one tensor value at a time, in `f64`: what the fast versions are compared with.

use crate::area::AreaMask;
use crate::engine::manifest::{ChannelOrder, Input};
use crate::frame::{ColourMatrix, PixelLayout, Pixels};

use super::Geometry;

/// Sample (column, row) of component 0, 1, 2 = Y, Cb, Cr, about black; 0 where it is not inside. Coordinates in samples of that plane.
fn sample(pixels: &Pixels<'_>, mask: &AreaMask, component: usize, column: u32, row: u32) -> f64 {
    let shared = if component == 0 { 1 } else { 2 };
    if !mask.contains(column * shared, row * shared) {
        return 0.0;
    }
    let (plane, offset) = match (pixels.header.layout, component) {
        (_, 0) => (0, column as usize),
        (PixelLayout::Nv12, c) => (1, 2 * column as usize + c - 1),
        (PixelLayout::I420, c) => (c, column as usize),
    };
    let black = match component {
        0 if pixels.header.colorimetry.full_range => 0.0,
        0 => 16.0,
        _ => 128.0,
    };
    f64::from(pixels.planes[plane][row as usize * pixels.header.strides[plane] + offset]) - black
}

/// The pixel at (x, y), in luma columns and rows of the frame, both within the crop: 0…255, red, green, blue.
fn pixel(pixels: &Pixels<'_>, mask: &AreaMask, geometry: &Geometry, x: f64, y: f64) -> [f64; 3] {
    let crop = geometry.crop;
    let bilinear = |component: usize, x: f64, y: f64| {
        let n = if component == 0 { 1 } else { 2 };
        let (x0, y0, x1, y1) = (crop.x0 / n, crop.y0 / n, crop.x1.div_ceil(n) - 1, crop.y1.div_ceil(n) - 1);
        let (x, y) = (x.clamp(x0.into(), x1.into()), y.clamp(y0.into(), y1.into()));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the crop")]
        let (left, top) = (x.floor() as u32, y.floor() as u32);
        let (right, bottom) = ((left + 1).min(x1), (top + 1).min(y1));
        let (fx, fy) = (x - f64::from(left), y - f64::from(top));
        let at = |column, row| sample(pixels, mask, component, column, row);
        let upper = at(left, top) * (1.0 - fx) + at(right, top) * fx;
        let lower = at(left, bottom) * (1.0 - fx) + at(right, bottom) * fx;
        upper * (1.0 - fy) + lower * fy
    };
    let (luma, cb, cr) = (bilinear(0, x, y), bilinear(1, x / 2.0, (y - 0.5) / 2.0), bilinear(2, x / 2.0, (y - 0.5) / 2.0));
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
                let last = (f64::from(crop.x1 - 1), f64::from(crop.y1 - 1));
                let column = (f64::from(crop.x0) + (x as f64 + 0.5) * step_x - 0.5).clamp(crop.x0.into(), last.0);
                let row = (f64::from(crop.y0) + (y as f64 + 0.5) * step_y - 0.5).clamp(crop.y0.into(), last.1);
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
