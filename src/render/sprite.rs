//! Drawings as Y'CbCr sprites in falling sizes, and the blit that places one at any scale in an I420 picture.
//!
//! Samples are premultiplied by their cover; BT.709, limited range. A blit touches only the rows and columns that the sprite covers.

use image::{Rgb, RgbImage};

use super::picture::{Drawing, tone};

/// Planes of an I420 picture without padding: Y of width × height, U and V of (width/2) × (height/2).
pub type Planes = [Vec<u8>; 3];

/// One size of a sprite. Cover 255: nothing shines through.
struct Layer {
    width: usize,
    height: usize,
    /// (luma, cover) of each pixel.
    luma: Vec<[u8; 2]>,
    /// (Cb, Cr, cover) of each 2 × 2 block.
    chroma: Vec<[u8; 3]>,
    /// First and last+1 covered column of each row; empty rows have none.
    spans: Vec<(usize, usize)>,
}

pub struct Sprite {
    /// Pixels per cm of the largest layer.
    scale: f32,
    /// Where the middle of the head lies in the largest layer, pixels.
    centre: (f32, f32),
    layers: Vec<Layer>,
}

/// Where a sprite goes: its head's middle, and the scale there.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    pub x: f32,
    pub y: f32,
    /// Pixels per cm.
    pub scale: f32,
}

/// A picture to draw into. Width and height are even.
pub struct Target<'a> {
    pub width: usize,
    pub height: usize,
    pub planes: &'a mut Planes,
}

/// (Y, Cb, Cr) of an sRGB value, BT.709 limited range.
pub fn to_ycbcr(rgb: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(f32::from);
    let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    [16.0 + y * 219.0 / 255.0, 128.0 + (b - y) / 1.8556 * 224.0 / 255.0, 128.0 + (r - y) / 1.5748 * 224.0 / 255.0]
}

/// The picture as RGB, chroma repeated over its 2 × 2 block.
pub fn to_rgb(planes: &Planes, width: usize, height: usize) -> RgbImage {
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let chroma = y / 2 * (width / 2) + x / 2;
        let luma = (f32::from(planes[0][y * width + x]) - 16.0) * 255.0 / 219.0;
        let [cb, cr] = [1, 2].map(|p| (f32::from(planes[p][chroma]) - 128.0) * 255.0 / 224.0);
        let (red, blue) = (luma + 1.5748 * cr, luma + 1.8556 * cb);
        let green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152;
        Rgb([red, green, blue].map(|v| (v + 0.5).clamp(0.0, 255.0) as u8))
    })
}

impl Layer {
    /// `pixels`: premultiplied (Y, Cb, Cr, cover), all 0…255.
    fn new(width: usize, height: usize, pixels: &[[f32; 4]]) -> Self {
        let byte = |v: f32| (v + 0.5).clamp(0.0, 255.0) as u8;
        let luma: Vec<[u8; 2]> = pixels.iter().map(|p| [byte(p[0]), byte(p[3])]).collect();
        let mut chroma = Vec::with_capacity(width * height / 4);
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let block = [0, 1, width, width + 1].map(|o| pixels[y * width + x + o]);
                let mean = |c: usize| byte(block.iter().map(|p| p[c]).sum::<f32>() / 4.0);
                chroma.push([mean(1), mean(2), mean(3)]);
            }
        }
        let spans = luma
            .chunks_exact(width)
            .map(|row| {
                let first = row.iter().position(|p| p[1] > 0).unwrap_or(width);
                (first, row.iter().rposition(|p| p[1] > 0).map_or(first, |last| last + 1))
            })
            .collect();
        Self { width, height, luma, chroma, spans }
    }
}

/// Cuts off what is empty, at even columns and rows; (width, height, columns and rows cut off at the left and the top).
fn trim(pixels: &mut Vec<[f32; 4]>, width: usize, height: usize) -> (usize, usize, usize, usize) {
    let used = |i: usize| pixels[i][3] > 0.0;
    let rows: Vec<usize> = (0..height).filter(|y| (0..width).any(|x| used(y * width + x))).collect();
    let columns: Vec<usize> = (0..width).filter(|x| (0..height).any(|y| used(y * width + x))).collect();
    let even = |used: &[usize], limit: usize| {
        let (first, last) = (used.first().copied().unwrap_or(0), used.last().copied().unwrap_or(1));
        // A margin of two, so that edges are mixed with nothing.
        (first.saturating_sub(2) & !1, ((last + 4) & !1).min(limit))
    };
    let ((left, right), (top, bottom)) = (even(&columns, width), even(&rows, height));
    *pixels = (top..bottom).flat_map(|y| pixels[y * width + left..y * width + right].iter().copied()).collect();
    (right - left, bottom - top, left, top)
}

fn halved(width: usize, height: usize, pixels: &[[f32; 4]]) -> (usize, usize, Vec<[f32; 4]>) {
    // Even again, so that chroma blocks are whole.
    let (w, h) = ((width / 2) & !1, (height / 2) & !1);
    let mut out = Vec::with_capacity(w * h);
    for y in 0..h {
        for x in 0..w {
            let block = [0, 1, width, width + 1].map(|o| pixels[2 * y * width + 2 * x + o]);
            out.push(std::array::from_fn(|c| block.iter().map(|p| p[c]).sum::<f32>() / 4.0));
        }
    }
    (w, h, out)
}

impl Sprite {
    /// From a drawing of even size; `brightness` is applied to the light.
    pub fn new(drawing: &Drawing, scale: f32, centre: (f32, f32), brightness: f32) -> Self {
        let mut pixels: Vec<[f32; 4]> = drawing
            .colours
            .iter()
            .zip(&drawing.cover)
            .map(|(colour, &cover)| {
                if cover <= 0.002 {
                    return [0.0; 4];
                }
                let light = *colour * (brightness / cover);
                let [y, u, v] = to_ycbcr([tone(light.x), tone(light.y), tone(light.z)]);
                let cover = cover.min(1.0);
                [y * cover, u * cover, v * cover, 255.0 * cover]
            })
            .collect();
        let (mut width, mut height, left, top) = trim(&mut pixels, drawing.width, drawing.height);
        let centre = (centre.0 - left as f32, centre.1 - top as f32);
        let mut layers = Vec::new();
        loop {
            layers.push(Layer::new(width, height, &pixels));
            if layers.len() == 5 || width < 24 || height < 24 {
                return Self { scale, centre, layers };
            }
            (width, height, pixels) = halved(width, height, &pixels);
        }
    }

    /// Bytes it occupies.
    pub fn size(&self) -> usize {
        self.layers.iter().map(|l| l.luma.len() * 2 + l.chroma.len() * 3 + l.spans.len() * 16).sum()
    }

    /// The layer to draw from, its pixels per picture pixel, and where its top-left corner falls.
    fn layer_for(&self, place: Placement) -> (&Layer, f32, f32, f32) {
        let ratio = self.scale / place.scale;
        let level = (ratio / 1.25).log2().ceil().clamp(0.0, (self.layers.len() - 1) as f32);
        let ratio = ratio / level.exp2();
        let left = place.x - self.centre.0 * place.scale / self.scale;
        let top = place.y - self.centre.1 * place.scale / self.scale;
        (&self.layers[level as usize], ratio, left, top)
    }

    /// 0…255: how much the sprite covers of the picture at (x, y).
    pub fn cover_at(&self, place: Placement, x: f32, y: f32) -> u8 {
        let (layer, ratio, left, top) = self.layer_for(place);
        let (u, v) = ((x - left) * ratio, (y - top) * ratio);
        if u < 0.0 || v < 0.0 || u >= layer.width as f32 || v >= layer.height as f32 {
            return 0;
        }
        layer.luma[v as usize * layer.width + u as usize][1]
    }

    /// Draws the sprite; returns whether it reached into the picture.
    pub fn blit(&self, place: Placement, target: &mut Target) -> bool {
        let (layer, ratio, left, top) = self.layer_for(place);
        let luma = Sampling { ratio, left, top, width: target.width, height: target.height };
        let [y_plane, u_plane, v_plane] = target.planes;
        let mut touched = false;
        luma.rows(layer.width, layer.height, |y, rows, fy| {
            let [a, b] = rows;
            let spans = [layer.spans[a], layer.spans[b]];
            let (from, to) = (spans[0].0.min(spans[1].0), spans[0].1.max(spans[1].1));
            let row = &mut y_plane[y * target.width..(y + 1) * target.width];
            let (upper, lower) = (&layer.luma[a * layer.width..][..layer.width], &layer.luma[b * layer.width..][..layer.width]);
            luma.columns(from, to, layer.width, |x, i, fx| {
                let [value, cover] = between(upper, lower, i, fx, fy);
                row[x] = over(row[x], value, cover);
                touched = true;
            });
        });
        let half = Sampling { ratio, left: left / 2.0, top: top / 2.0, width: target.width / 2, height: target.height / 2 };
        let (width, height) = (layer.width / 2, layer.height / 2);
        half.rows(width, height, |y, [a, b], fy| {
            let spans = [layer.spans[2 * a], layer.spans[2 * b], layer.spans[2 * a + 1], layer.spans[2 * b + 1]];
            let from = spans.iter().map(|s| s.0 / 2).min().unwrap_or(0);
            let to = spans.iter().map(|s| s.1.div_ceil(2)).max().unwrap_or(0);
            let start = y * half.width;
            let (upper, lower) = (&layer.chroma[a * width..][..width], &layer.chroma[b * width..][..width]);
            half.columns(from, to, width, |x, i, fx| {
                let [u, v, cover] = between(upper, lower, i, fx, fy);
                u_plane[start + x] = over(u_plane[start + x], u, cover);
                v_plane[start + x] = over(v_plane[start + x], v, cover);
            });
        });
        touched
    }
}

/// Four neighbours mixed; fractions in 1/256.
fn between<const N: usize>(upper: &[[u8; N]], lower: &[[u8; N]], i: usize, fx: u32, fy: u32) -> [u32; N] {
    let (a, b, c, d) = (&upper[i], &upper[i + 1], &lower[i], &lower[i + 1]);
    std::array::from_fn(|n| {
        let top = u32::from(a[n]) * (256 - fx) + u32::from(b[n]) * fx;
        let bottom = u32::from(c[n]) * (256 - fx) + u32::from(d[n]) * fx;
        (top * (256 - fy) + bottom * fy + 32_768) >> 16
    })
}

/// Premultiplied `value` over what is there.
fn over(below: u8, value: u32, cover: u32) -> u8 {
    let rest = u32::from(below) * (255 - cover.min(255)) + 127;
    // x/255 for x < 65,536, exact.
    let shining = (rest + 1 + (rest >> 8)) >> 8;
    (value + shining).min(255) as u8
}

/// How picture pixels map to a layer's.
struct Sampling {
    ratio: f32,
    left: f32,
    top: f32,
    width: usize,
    height: usize,
}

impl Sampling {
    /// Calls `row(y, [upper, lower], fraction)` for each picture row that the layer reaches.
    fn rows(&self, layer_width: usize, layer_height: usize, mut row: impl FnMut(usize, [usize; 2], u32)) {
        if layer_width < 2 || layer_height < 2 {
            return;
        }
        let last = self.top + (layer_height as f32 - 0.5) / self.ratio;
        let (from, to) = (self.top.ceil().max(0.0) as usize, (last.max(0.0) as usize).min(self.height));
        for y in from..to {
            let v = ((y as f32 + 0.5 - self.top) * self.ratio - 0.5).clamp(0.0, layer_height as f32 - 1.001);
            let a = v as usize;
            row(y, [a, (a + 1).min(layer_height - 1)], ((v - a as f32) * 256.0) as u32);
        }
    }

    /// Calls `pixel(x, left neighbour, fraction)` for each picture column over the layer's columns `from..to`.
    fn columns(&self, from: usize, to: usize, layer_width: usize, mut pixel: impl FnMut(usize, usize, u32)) {
        if from >= to {
            return;
        }
        let first = self.left + (from as f32 - 0.5) / self.ratio - 0.5;
        let last = self.left + (to as f32 + 0.5) / self.ratio + 0.5;
        let (x0, x1) = (first.ceil().max(0.0) as usize, (last.max(0.0) as usize).min(self.width));
        // 16.16 fixed point.
        let start = ((x0 as f32 + 0.5 - self.left) * self.ratio - 0.5) * 65_536.0;
        let step = (self.ratio * 65_536.0) as i64;
        let limit = ((layer_width as i64 - 1) << 16) - 1;
        let mut u = start as i64;
        for x in x0..x1 {
            if u >= 0 && u <= limit {
                pixel(x, (u >> 16) as usize, ((u >> 8) & 255) as u32);
            }
            u += step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{BoundingBox, Landmarks};
    use crate::render::vector::Vec3;

    /// A white disc of radius 20 pixels, 2 pixels a cm.
    fn disc() -> Sprite {
        let (width, height) = (48, 48);
        let inside = |i: usize| {
            let (x, y) = ((i % 48) as f32 - 23.5, (i / 48) as f32 - 23.5);
            if x * x + y * y < 400.0 { 1.0 } else { 0.0 }
        };
        let cover: Vec<f32> = (0..width * height).map(inside).collect();
        let colours = cover.iter().map(|c| Vec3::splat(*c)).collect();
        let drawing = Drawing { width, height, colours, cover, bounding_box: BoundingBox::default(), landmarks: Landmarks::default() };
        Sprite::new(&drawing, 2.0, (24.0, 24.0), 1.0)
    }

    #[test]
    fn a_sprite_covers_what_its_scale_says_and_nothing_else() {
        let sprite = disc();
        for scale in [0.4, 1.0, 2.0, 3.1] {
            let mut planes: Planes = [vec![40; 200 * 160], vec![90; 100 * 80], vec![160; 100 * 80]];
            let place = Placement { x: 100.3, y: 70.6, scale };
            assert!(sprite.blit(place, &mut Target { width: 200, height: 160, planes: &mut planes }));
            let radius = 10.0 * scale;
            for (i, &luma) in planes[0].iter().enumerate() {
                let (dx, dy) = ((i % 200) as f32 + 0.5 - place.x, (i / 200) as f32 + 0.5 - place.y);
                let distance = (dx * dx + dy * dy).sqrt();
                let margin = 1.5 + 1.5 * scale;
                if distance > radius + margin {
                    assert_eq!(luma, 40, "scale {scale}: {dx}, {dy}");
                } else if distance < radius - margin {
                    assert!(luma > 200, "scale {scale}: {dx}, {dy}: {luma}");
                    assert!(sprite.cover_at(place, place.x + dx, place.y + dy) > 250);
                }
            }
            assert_eq!((planes[1][35 * 100 + 50], planes[2][35 * 100 + 50]), (128, 128), "white has no colour");
        }
    }

    #[test]
    fn sprites_may_leave_the_picture_on_every_side() {
        let sprite = disc();
        for (x, y) in [(-5.0, 10.0), (205.0, 10.0), (60.0, -8.0), (60.0, 98.0), (-500.0, 3.0), (60.0, 900.0)] {
            let mut planes: Planes = [vec![40; 200 * 90], vec![90; 100 * 45], vec![160; 100 * 45]];
            sprite.blit(Placement { x, y, scale: 1.7 }, &mut Target { width: 200, height: 90, planes: &mut planes });
            let touched = planes[0].iter().filter(|l| **l != 40).count();
            assert_eq!(touched > 0, (-20.0..220.0).contains(&x) && (-20.0..110.0).contains(&y), "{x}, {y}");
        }
    }

    #[test]
    fn colours_survive_the_way_to_planes_and_back() {
        for rgb in [[200, 30, 40], [20, 180, 90], [10, 20, 220], [255, 255, 255], [0, 0, 0]] {
            let [y, u, v] = to_ycbcr(rgb).map(|c| c.round() as u8);
            let back = to_rgb(&[vec![y; 4], vec![u], vec![v]], 2, 2).get_pixel(1, 1).0;
            assert!(back.iter().zip(rgb).all(|(a, b)| a.abs_diff(b) <= 3), "{rgb:?} → {back:?}");
        }
    }
}
