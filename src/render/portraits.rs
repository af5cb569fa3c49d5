//! A scene of portraits that move over a background: every frame's boxes and identities are known exactly.
//!
//! Sprites are scaled once (area filter), converted once to Y'CbCr (BT.709, limited range) and pasted at even coordinates, so a frame is
//! row copies and can be drawn faster than it is decoded. Deterministic: the same portraits and seed give the same frames.

use image::{RgbImage, imageops};

use crate::frame::BoundingBox;

/// A photograph with one face.
pub struct Portrait {
    pub identity: String,
    pub image: RgbImage,
    /// The face in the photograph, pixels.
    pub face: BoundingBox,
}

/// Where a face is, and whose.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Truth {
    pub identity: String,
    pub bounding_box: BoundingBox,
}

struct Sprite {
    identity: String,
    /// Even.
    width: u32,
    height: u32,
    planes: [Vec<u8>; 3],
    face: BoundingBox,
}

/// One crossing of the picture by one person.
struct Walk {
    sprite: usize,
    from: (f64, f64),
    to: (f64, f64),
    begins_s: f64,
    ends_s: f64,
}

/// How the scene is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Even, pixels.
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub duration_s: f64,
    /// Horizontal bands; each holds one person at a time.
    pub lanes: u32,
    /// Face widths to cycle through, pixels.
    pub face_widths_px: &'static [f64],
    /// How long a person takes to cross.
    pub crossing_s: f64,
    pub seed: u64,
}

pub struct Scene {
    pub layout: Layout,
    sprites: Vec<Sprite>,
    walks: Vec<Walk>,
    background: [Vec<u8>; 3],
}

/// Planes of an I420 picture without padding: Y of width × height, U and V of (width/2) × (height/2).
pub type Planes = [Vec<u8>; 3];

fn to_ycbcr(rgb: [u8; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(f64::from);
    let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    [16.0 + y * 219.0 / 255.0, 128.0 + (b - y) / 1.8556 * 224.0 / 255.0, 128.0 + (r - y) / 1.5748 * 224.0 / 255.0]
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0…255")]
fn byte(value: f64) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// Converts an RGB picture of even size to I420, chroma averaged over each 2 × 2 block.
fn to_i420(image: &RgbImage) -> Planes {
    let (w, h) = image.dimensions();
    let mut y_plane = Vec::with_capacity((w * h) as usize);
    y_plane.extend(image.pixels().map(|p| byte(to_ycbcr(p.0)[0])));
    let mut chroma = [Vec::new(), Vec::new()];
    for by in (0..h).step_by(2) {
        for bx in (0..w).step_by(2) {
            let block = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| to_ycbcr(image.get_pixel(bx + dx, by + dy).0));
            for (plane, channel) in chroma.iter_mut().zip([1, 2]) {
                plane.push(byte(block.iter().map(|p| p[channel]).sum::<f64>() / 4.0));
            }
        }
    }
    let [u, v] = chroma;
    [y_plane, u, v]
}

/// Splitmix64 (Steele, Lea, Flood, OOPSLA 2014): enough to shuffle people over lanes.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Sprite {
    /// The head and shoulders of `portrait`, scaled until the face is `face_width_px` wide.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of pictures")]
    fn new(portrait: &Portrait, face_width_px: f64) -> Self {
        let face = portrait.face;
        let scale = face_width_px / f64::from(face.width());
        let margin = 0.45 * f64::from(face.width().max(face.height()));
        let (image_w, image_h) = portrait.image.dimensions();
        let left = (f64::from(face.x0) - margin).max(0.0);
        let top = (f64::from(face.y0) - margin).max(0.0);
        let right = (f64::from(face.x1) + margin).min(f64::from(image_w));
        let bottom = (f64::from(face.y1) + margin).min(f64::from(image_h));
        let crop = imageops::crop_imm(&portrait.image, left as u32, top as u32, (right - left) as u32, (bottom - top) as u32).to_image();
        let even = |v: f64| ((v / 2.0).round() as u32 * 2).max(2);
        let (width, height) = (even(f64::from(crop.width()) * scale), even(f64::from(crop.height()) * scale));
        let (sx, sy) = (f64::from(width) / f64::from(crop.width()), f64::from(height) / f64::from(crop.height()));
        let scaled = imageops::resize(&crop, width, height, imageops::FilterType::Triangle);
        let place = |v: f32, origin: f64, s: f64| ((f64::from(v) - origin.floor()) * s) as f32;
        let face = BoundingBox {
            x0: place(face.x0, left, sx),
            y0: place(face.y0, top, sy),
            x1: place(face.x1, left, sx),
            y1: place(face.y1, top, sy),
        };
        Self { identity: portrait.identity.clone(), width, height, planes: to_i420(&scaled), face }
    }
}

impl Scene {
    /// People cross lane by lane, one at a time per lane, each portrait as often as the duration allows.
    pub fn new(portraits: &[Portrait], layout: Layout) -> Self {
        let widths = layout.face_widths_px;
        let sprites: Vec<Sprite> = portraits
            .iter()
            .enumerate()
            .map(|(i, p)| Sprite::new(p, widths.get(i % widths.len().max(1)).copied().unwrap_or(64.0)))
            .collect();
        let mut walks = Vec::new();
        let mut random = layout.seed;
        let lane_height = f64::from(layout.height) / f64::from(layout.lanes);
        let mut person = 0;
        let mut begins_s = 0.0;
        while begins_s + layout.crossing_s <= layout.duration_s && !sprites.is_empty() {
            for lane in 0..layout.lanes {
                let sprite = &sprites[person % sprites.len()];
                let top = (lane_height * f64::from(lane) + (lane_height - f64::from(sprite.height)) / 2.0).max(0.0);
                let span = f64::from(layout.width) - f64::from(sprite.width);
                let (mut from, mut to) = (0.05 * span, 0.95 * span);
                if next_random(&mut random).is_multiple_of(2) {
                    std::mem::swap(&mut from, &mut to);
                }
                let drift = (next_random(&mut random) % 5) as f64 - 2.0;
                walks.push(Walk {
                    sprite: person % sprites.len(),
                    from: (from, top),
                    to: (to, top + 4.0 * drift),
                    begins_s: begins_s + 0.2 * f64::from(lane),
                    ends_s: begins_s + layout.crossing_s - 0.8 + 0.2 * f64::from(lane),
                });
                person += 1;
            }
            begins_s += layout.crossing_s;
        }
        let background = background(layout.width, layout.height);
        Self { layout, sprites, walks, background }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds times frames per second")]
    pub fn frame_count(&self) -> u64 {
        (self.layout.duration_s * f64::from(self.layout.fps)) as u64
    }

    /// Sprites on stage in `frame`, with the even coordinates of their top-left corner.
    fn placed(&self, frame: u64) -> impl Iterator<Item = (&Sprite, u32, u32)> {
        let t = frame as f64 / f64::from(self.layout.fps);
        self.walks.iter().filter(move |w| w.begins_s <= t && t < w.ends_s).map(move |walk| {
            let sprite = &self.sprites[walk.sprite];
            let along = (t - walk.begins_s) / (walk.ends_s - walk.begins_s);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
            let at = |from: f64, to: f64, limit: u32| ((from + along * (to - from)).clamp(0.0, f64::from(limit)) / 2.0) as u32 * 2;
            let x = at(walk.from.0, walk.to.0, self.layout.width - sprite.width);
            let y = at(walk.from.1, walk.to.1, self.layout.height - sprite.height);
            (sprite, x, y)
        })
    }

    /// Faces in `frame`.
    pub fn truth(&self, frame: u64) -> Vec<Truth> {
        let one = |(sprite, x, y): (&Sprite, u32, u32)| {
            let (dx, dy) = (x as f32, y as f32);
            let f = sprite.face;
            let bounding_box = BoundingBox { x0: f.x0 + dx, y0: f.y0 + dy, x1: f.x1 + dx, y1: f.y1 + dy };
            Truth { identity: sprite.identity.clone(), bounding_box }
        };
        self.placed(frame).map(one).collect()
    }

    /// Draws `frame` into `planes` (resized as needed).
    pub fn draw(&self, frame: u64, planes: &mut Planes) {
        for (plane, background) in planes.iter_mut().zip(&self.background) {
            plane.clone_from(background);
        }
        for (sprite, x, y) in self.placed(frame) {
            for (i, plane) in planes.iter_mut().enumerate() {
                let half = if i == 0 { 1 } else { 2 };
                let (w, h, stride) = (sprite.width / half, sprite.height / half, (self.layout.width / half) as usize);
                for row in 0..h {
                    let from = (row * w) as usize;
                    let to = (y / half + row) as usize * stride + (x / half) as usize;
                    plane[to..to + w as usize].copy_from_slice(&sprite.planes[i][from..from + w as usize]);
                }
            }
        }
    }
}

/// A concourse wall: soft gradient, tiles and a few flat panels. No face in it at any scale.
fn background(width: u32, height: u32) -> Planes {
    let (w, h) = (width as usize, height as usize);
    let luma = |x: usize, y: usize| {
        let tile = if (x / 96 + y / 96).is_multiple_of(2) { 6 } else { 0 };
        let joint = if x.is_multiple_of(96) || y.is_multiple_of(96) { 14 } else { 0 };
        byte(96.0 + 48.0 * (y as f64 / h as f64) + f64::from(tile) - f64::from(joint))
    };
    let y_plane = (0..h).flat_map(|y| (0..w).map(move |x| luma(x, y))).collect();
    [y_plane, vec![126; w / 2 * (h / 2)], vec![129; w / 2 * (h / 2)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portrait(identity: &str, shade: u8) -> Portrait {
        let image = RgbImage::from_pixel(100, 120, image::Rgb([shade; 3]));
        Portrait { identity: identity.to_owned(), image, face: BoundingBox { x0: 30.0, y0: 30.0, x1: 70.0, y1: 80.0 } }
    }

    #[test]
    fn truth_lies_where_the_sprite_was_drawn() {
        let layout =
            Layout { width: 320, height: 240, fps: 10, duration_s: 4.0, lanes: 2, face_widths_px: &[40.0], crossing_s: 2.0, seed: 1 };
        let scene = Scene::new(&[portrait("dark", 0), portrait("light", 255)], layout);
        assert_eq!(scene.frame_count(), 40);
        let mut planes = Planes::default();
        let mut seen = 0;
        for frame in 0..40 {
            scene.draw(frame, &mut planes);
            assert_eq!([planes[0].len(), planes[1].len(), planes[2].len()], [320 * 240, 160 * 120, 160 * 120]);
            for truth in scene.truth(frame) {
                let c = truth.bounding_box.centre();
                let luma = planes[0][c.y as usize * 320 + c.x as usize];
                assert_eq!(luma, if truth.identity == "dark" { 16 } else { 235 }, "frame {frame}");
                assert!((truth.bounding_box.width() - 40.0).abs() < 1.5);
                seen += 1;
            }
        }
        assert!(seen > 30, "{seen} faces in all");
    }
}
