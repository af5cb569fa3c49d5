//! How much of a face is left in a picture: a number from 0 to 1 that decides whether a shot is worth an embedding, and what `enrol`
//! refuses.
//!
//! `score = size · sharpness · frontality`. Each factor is 0…1 and estimates the share of a good portrait's similarity that the shot
//! keeps, so the product reads as one.
//!
//! * **size**, from the face's width w in full-resolution pixels: `1 − e^((24 − w) / 16)`, .39 at 32 px, .63 at 40, .92 at 64. Below 24 px
//!   one probe in four was taken for somebody else, at 32 one in 25, from 64 on none (mobileface_v2, 115 people).
//! * **sharpness**: root mean square r of the luma's Laplacian over the face's middle, divided by the luma's standard deviation there, so
//!   that light and contrast cancel; `1 − e^((.08 − r) / .1)`. Its taps lie w/64 pixels apart: the scale that survives the warp to
//!   112 × 112; what is finer never reaches the network. After the "variance of the Laplacian" focus measure (Pech-Pacheco et al., ICPR
//!   2000; Pertuz et al., Pattern Recognition 46, 2013). Fitted to 80 portraits blurred by σ = w/112 · (0, 1, 2, 3, 4, 6): median r 1.3, .72,
//!   .31, .19, .13, .10; median cosine to another photo .75, .74, .67, .53, .33, .13. Webcam faces of 60 px have r = .3 to .6. Sensor
//!   noise counts as detail: a dark, noisy picture scores too high.
//! * **frontality**: where the nose lies between the eyes (yaw) and between eyes and mouth (pitch), both in the frame that the eyes span,
//!   and the eyes' roll. A half profile (nose a third of the eyes' distance off the axis) keeps half; a profile nothing. Without
//!   landmarks it is 0.
//!
//! With the default `min_quality` of .35: of 240 portraits only three are refused, all narrower than 32 px; of 195 webcam faces of people
//! who sign (`asl_*`) only three half-hidden ones, whose cosines were .05, .19 and .38.
//!
//! Owner: the track worker (one [`Assessor`] a stream); `enrol` on its own thread. Reads luma only, inside the area only, at most
//! 5 × 32 × 32 samples: some 10 µs a face.

use crate::area::AreaMask;
use crate::detect::Face;
use crate::detect::mask_cache::MaskCache;
use crate::frame::{BoundingBox, Landmarks, Pixels, Point};

/// Sample points per side of the grid that sharpness is read on.
const GRID: u16 = 32;
/// The middle part of the face box that is read: hair, background and collar lie outside.
const MIDDLE: f32 = 0.64;
/// Width of a face box, in pixels, in the 112 × 112 crop that embedders see.
const CROP_FACE_PX: f32 = 64.0;
/// Laplacian over contrast of a face without any detail, and the scale on which detail saturates.
const NO_DETAIL: f32 = 0.08;
const DETAIL_SCALE: f32 = 0.10;
/// Width of a face, in pixels, that tells nothing, and the scale on which more pixels stop to help.
const NO_WIDTH_PX: f32 = 24.0;
const WIDTH_SCALE_PX: f32 = 16.0;
/// Least share of the grid that must lie inside the area for its sharpness to mean anything.
const LEAST_INSIDE: f32 = 0.5;

/// What was measured of one face.
#[derive(Clone, Copy, Debug, PartialEq, Default, serde::Serialize)]
pub struct Quality {
    /// Full-resolution pixels.
    pub width_px: f32,
    /// 0…1.
    pub sharpness: f32,
    /// 0…1; 0 without landmarks.
    pub frontality: f32,
}

impl Quality {
    /// 0…1.
    pub fn score(&self) -> f32 {
        size(self.width_px) * self.sharpness * self.frontality
    }
}

/// Measures one face. For a stream of frames keep an [`Assessor`]: this makes the area's raster anew.
pub fn assess(pixels: &Pixels<'_>, face: &Face) -> Quality {
    Assessor::default().assess(pixels, face)
}

/// Measures faces and keeps the area's raster between frames.
#[derive(Default)]
pub struct Assessor {
    masks: MaskCache,
}

impl Assessor {
    pub fn assess(&mut self, pixels: &Pixels<'_>, face: &Face) -> Quality {
        let mask = self.masks.mask(pixels);
        Quality {
            width_px: face.bounding_box.width(),
            sharpness: sharpness(laplacian_over_contrast(pixels, &mask, &face.bounding_box)),
            frontality: frontality_of(face),
        }
    }
}

fn size(width_px: f32) -> f32 {
    (1.0 - ((NO_WIDTH_PX - width_px) / WIDTH_SCALE_PX).exp()).clamp(0.0, 1.0)
}

fn sharpness(ratio: f32) -> f32 {
    (1.0 - ((NO_DETAIL - ratio) / DETAIL_SCALE).exp()).clamp(0.0, 1.0)
}

/// The focus measure: 0 where nothing can be measured.
fn laplacian_over_contrast(pixels: &Pixels<'_>, mask: &AreaMask, face: &BoundingBox) -> f32 {
    let (w, h) = (face.width() * MIDDLE, face.height() * MIDDLE);
    let centre = face.centre();
    if !(w >= 4.0 && h >= 4.0 && centre.x.is_finite() && centre.y.is_finite()) {
        return 0.0;
    }
    let (picture_w, picture_h) = (pixels.header.width, pixels.header.height);
    let tap = (face.width() / CROP_FACE_PX).round().clamp(1.0, 8_192.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 8192")]
    let step = tap as usize;
    let (columns, count) = samples(centre.x, w, step, picture_w as usize);
    let (rows, row_count) = samples(centre.y, h, step, picture_h as usize);
    let (Some(&first), Some(&last)) = (columns[..count].first(), columns[..count].last()) else { return 0.0 };
    let covered = |y: usize| covers(mask, y, first - step, last + step);
    let (luma, stride) = (pixels.header.layout.luma(), pixels.header.strides[0]);
    let at = |x: usize, y: usize| luma.of(&pixels.planes[luma.plane][y * stride..], x);
    let mut sums = Sums::default();
    for &y in &rows[..row_count] {
        let covered = covered(y - step) && covered(y) && covered(y + step);
        for &x in &columns[..count] {
            if covered || cross_inside(mask, x, y, step) {
                sums.add(i32::from(at(x, y)), [at(x - step, y), at(x + step, y), at(x, y - step), at(x, y + step)]);
            }
        }
    }
    sums.ratio()
}

/// Grid points along one side, such that the taps `step` to either side of each lie within `0..size`; and how many.
fn samples(centre: f32, length: f32, step: usize, size: usize) -> ([usize; GRID as usize], usize) {
    let (mut points, mut count) = ([0; GRID as usize], 0);
    for i in 0..GRID {
        let at = centre - 0.5 * length + length * (f32::from(i) + 0.5) / f32::from(GRID);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; a negative one is caught below")]
        let point = at as usize;
        if at >= 0.0 && point >= step && point.saturating_add(step) < size {
            points[count] = point;
            count += 1;
        }
    }
    (points, count)
}

/// Whether the area covers row `y` from column `first` to column `last`.
fn covers(mask: &AreaMask, y: usize, first: usize, last: usize) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "a picture has at most 8192 pixels a side")]
    let spans = mask.spans(y as u32);
    spans.iter().any(|s| s.start as usize <= first && last < s.end as usize)
}

/// Whether a sample and its four taps all lie inside the area.
fn cross_inside(mask: &AreaMask, x: usize, y: usize, step: usize) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "a picture has at most 8192 pixels a side")]
    let inside = |x: usize, y: usize| mask.contains(x as u32, y as u32);
    inside(x, y) && inside(x - step, y) && inside(x + step, y) && inside(x, y - step) && inside(x, y + step)
}

/// Exact integer sums over the samples: at most 1024 of them, squares below 2^21.
#[derive(Default)]
struct Sums {
    count: i32,
    luma: i32,
    luma_squared: i64,
    laplacian_squared: i64,
}

impl Sums {
    fn add(&mut self, middle: i32, around: [u8; 4]) {
        let laplacian = 4 * middle - around.iter().map(|v| i32::from(*v)).sum::<i32>();
        self.count += 1;
        self.luma += middle;
        self.luma_squared += i64::from(middle * middle);
        self.laplacian_squared += i64::from(laplacian * laplacian);
    }

    /// Root mean square of the Laplacian over the standard deviation of the luma.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "sums below 2^31; a ratio of small numbers")]
    fn ratio(&self) -> f32 {
        if f64::from(self.count) < f64::from(LEAST_INSIDE) * f64::from(GRID) * f64::from(GRID) {
            return 0.0;
        }
        let count = f64::from(self.count);
        let variance = self.luma_squared as f64 / count - (f64::from(self.luma) / count).powi(2);
        // Below one grey level of contrast there is no face, only noise.
        if variance < 1.0 { 0.0 } else { (self.laplacian_squared as f64 / count / variance).sqrt() as f32 }
    }
}

/// 0…1 as in [`Quality::frontality`]; reads no pixel.
pub(super) fn frontality_of(face: &Face) -> f32 {
    face.landmarks.as_ref().map_or(0.0, frontality)
}

/// 1 for a face that looks into the camera, falling to 0 as it turns to profile, looks down or up, or lies on its side.
fn frontality(landmarks: &Landmarks) -> f32 {
    let [left_eye, right_eye, nose, left_mouth, right_mouth] = *landmarks;
    let between = |a: Point, b: Point| Point { x: 0.5 * (a.x + b.x), y: 0.5 * (a.y + b.y) };
    let (eyes, mouth) = (between(left_eye, right_eye), between(left_mouth, right_mouth));
    let (across_x, across_y) = (right_eye.x - left_eye.x, right_eye.y - left_eye.y);
    let eye_distance = across_x.hypot(across_y);
    let face_height = (mouth.x - eyes.x).hypot(mouth.y - eyes.y);
    if !(eye_distance > 1.0 && face_height > 1.0) {
        return 0.0;
    }
    // Unit vectors along the eyes and down the face.
    let (ux, uy) = (across_x / eye_distance, across_y / eye_distance);
    let along = |p: Point| (p.x - eyes.x) * ux + (p.y - eyes.y) * uy;
    let down = |p: Point| (p.y - eyes.y) * ux - (p.x - eyes.x) * uy;
    // Frontal (the 112 × 112 template): nose and mouth on the axis, nose half-way down, eyes .87 of the face's height apart.
    let mouth_down = down(mouth);
    if mouth_down <= 0.0 {
        return 0.0;
    }
    let axis_at_nose = along(mouth) * down(nose) / mouth_down;
    let yaw = ((along(nose) - axis_at_nose).abs() / eye_distance).max(0.5 * along(mouth).abs() / eye_distance);
    let pitch = (down(nose) / mouth_down - 0.5).abs();
    let roll = across_y.atan2(across_x).abs();
    fade(yaw, 0.10, 0.55) * fade(pitch, 0.12, 0.45) * fade(roll, 0.35, 1.40)
}

/// 1 up to `good`, 0 from `bad` on, straight in between.
fn fade(value: f32, good: f32, bad: f32) -> f32 {
    ((bad - value) / (bad - good)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests;
