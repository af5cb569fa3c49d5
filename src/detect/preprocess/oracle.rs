//! The definition of pre-processing, one tensor value at a time, in `f64`: what the fast versions are compared with.

use crate::area::AreaMask;
use crate::engine::manifest::{ChannelOrder, Input};
use crate::frame::{Colorimetry, ColourMatrix, PixelLayout, Pixels};

use super::Geometry;

/// Columns and rows that share a chroma sample, written down anew: 4:2:0, 4:2:2, 4:4:4.
fn shared(layout: PixelLayout) -> (u32, u32) {
    use PixelLayout::*;
    match layout {
        Nv12 | Nv21 | I420 | Yv12 | P010 | I420Le10 | Gray8 => (2, 2),
        Nv16 | Y42b | Yuy2 | Uyvy | Yvyu | I422Le10 => (2, 1),
        I444 | Y444Le10 | Rgb | Bgr | Rgbx | Bgrx | Xrgb | Xbgr => (1, 1),
    }
}

/// (plane, byte of the row) of sample `x` of component 0, 1, 2; for 10-bit layouts of its lower byte.
fn place(layout: PixelLayout, component: usize, x: usize) -> (usize, usize) {
    use PixelLayout::*;
    let among = |places: [usize; 3], pitch: [usize; 3]| (0, places[component] + x * pitch[component]);
    match (layout, component) {
        (Nv12 | Nv21 | Nv16 | I420 | Yv12 | Y42b | I444 | Gray8, 0) => (0, x),
        (Nv12 | Nv16, c) => (1, 2 * x + c - 1),
        (Nv21, c) => (1, 2 * x + 2 - c),
        (I420 | Y42b | I444 | Gray8, c) => (c, x),
        (Yv12, c) => (3 - c, x),
        (Yuy2, _) => among([0, 1, 3], [2, 4, 4]),
        (Uyvy, _) => among([1, 0, 2], [2, 4, 4]),
        (Yvyu, _) => among([0, 3, 1], [2, 4, 4]),
        (P010, 0) => (0, 2 * x),
        (P010, c) => (1, 4 * x + 2 * (c - 1)),
        (I420Le10 | I422Le10 | Y444Le10, c) => (c, 2 * x),
        // Green, blue, red.
        (Rgb, _) => among([1, 2, 0], [3; 3]),
        (Bgr, _) => among([1, 0, 2], [3; 3]),
        (Rgbx, _) => among([1, 2, 0], [4; 3]),
        (Bgrx, _) => among([1, 0, 2], [4; 3]),
        (Xrgb, _) => among([2, 3, 1], [4; 3]),
        (Xbgr, _) => among([2, 1, 3], [4; 3]),
    }
}

/// Sample (column, row) of component 0, 1, 2 = Y, Cb, Cr or G, B, R, about black; 0 where it is not inside. Coordinates in samples of
/// that component.
fn sample(pixels: &Pixels<'_>, mask: &AreaMask, component: usize, column: u32, row: u32) -> f64 {
    use PixelLayout::*;
    let layout = pixels.header.layout;
    let (columns, rows) = if component == 0 { (1, 1) } else { shared(layout) };
    if !mask.contains(column * columns, row * rows) || (layout == Gray8 && component > 0) {
        return 0.0;
    }
    let (plane, byte) = place(layout, component, column as usize);
    let bytes = &pixels.planes[plane][row as usize * pixels.header.strides[plane] + byte..];
    let value = match layout {
        // Ten bits, at the top or at the bottom: the upper eight of them.
        P010 => f64::from(bytes[1]),
        I420Le10 | I422Le10 | Y444Le10 => (f64::from(u16::from(bytes[0]) + 256 * u16::from(bytes[1])) / 4.0).floor().min(255.0),
        _ => f64::from(bytes[0]),
    };
    let black = match (component, pixels.header.colorimetry) {
        (1 | 2, Colorimetry { matrix: ColourMatrix::Bt601 | ColourMatrix::Bt709, .. }) => 128.0,
        (_, Colorimetry { full_range: true, .. }) => 0.0,
        _ => 16.0,
    };
    value - black
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
        let (across, down) = if component == 0 { (1, 1) } else { shared(pixels.header.layout) };
        let columns = shares(x, step_x / f64::from(across), crop.x0 / across, crop.x1.div_ceil(across));
        let rows = shares(y, step_y / f64::from(down), crop.y0 / down, crop.y1.div_ceil(down));
        let row = |row: u32| columns.iter().map(|&(column, share)| share * sample(pixels, mask, component, column, row)).sum::<f64>();
        rows.iter().map(|&(y, share)| share * row(y)).sum::<f64>()
    };
    // Chroma of half width is sited left, of half height midway between two rows.
    let (cx, cy) = match shared(pixels.header.layout) {
        (2, 2) => (x / 2.0, (y - 0.5) / 2.0),
        (2, _) => (x / 2.0, y),
        _ => (x, y),
    };
    let (luma, cb, cr) = (resampled(0, x, y), resampled(1, cx, cy), resampled(2, cx, cy));
    let (ky, kc) = if pixels.header.colorimetry.full_range { (1.0, 1.0) } else { (255.0 / 219.0, 255.0 / 224.0) };
    if pixels.header.colorimetry.matrix == ColourMatrix::Identity {
        return [cr, luma, cb].map(|c| (ky * c).clamp(0.0, 255.0));
    }
    // As printed in the recommendations.
    let [r_cr, g_cb, g_cr, b_cb] = match pixels.header.colorimetry.matrix {
        ColourMatrix::Bt601 => [1.402, -0.344_136_286, -0.714_136_286, 1.772],
        _ => [1.5748, -0.187_324_273, -0.468_124_273, 1.8556],
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
