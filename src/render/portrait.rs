//! One person in one photograph: for enrolling, for training, for tests. Deterministic in (identity, occasion, `Conditions`).
//!
//! `difficulty` 0 is an official portrait; towards 1 pose, expression, light, background and the camera's faults vary more and more.

use image::{Rgb, RgbImage};

use super::degrade::degrade;
use super::head::face::Face;
use super::head::identity::Identity;
use super::head::look::{Expression, Look};
use super::head::model::{Model, Pose};
use super::light::Lighting;
use super::picture::{Drawing, Framing, draw, tone};
use super::random::{Random, rough};
use super::scene::identity_name;
use super::truth::FaceTruth;
use super::vector::{Vec3, vec3};

/// How a photograph is taken.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Width and height, pixels; even.
    pub size: usize,
    /// Width of the face, pixels.
    pub face_px: f32,
    /// 0…1.
    pub difficulty: f32,
    /// Share of people who wear a mask.
    pub masked: f32,
}

impl Conditions {
    /// A photograph good enough to enrol.
    pub const fn official() -> Self {
        Self { size: 320, face_px: 120.0, difficulty: 0.0, masked: 0.0 }
    }
}

/// A photograph and the truth about the one face in it.
pub struct Photograph {
    pub image: RgbImage,
    pub truth: FaceTruth,
}

/// Photographs the identity of `seed` on `occasion`; 0 is how the person usually looks.
pub fn photograph(seed: u64, occasion: u64, conditions: Conditions) -> Photograph {
    let identity = Identity::from_seed(seed);
    let look = Look::of(&identity, occasion);
    photograph_as(identity, look, occasion, conditions)
}

/// As [`photograph`], with a look of the caller's choice (a scene's cast, say).
pub fn photograph_as(identity: Identity, look: Look, occasion: u64, conditions: Conditions) -> Photograph {
    let k = conditions.difficulty.clamp(0.0, 1.0);
    let mut r = Random::new(identity.seed ^ occasion.wrapping_mul(0x9e37_79b9_7f4a_7c15), "photograph");
    let name = identity_name(identity.seed);
    let look = if r.chance(conditions.masked) { look.with_mask(&mut r) } else { look };
    let masked = look.mask.is_some();
    let expression = Expression::draw(&mut r).scaled(k);
    let yaw = r.around(0.0, 0.05 + 0.33 * k);
    let pose =
        Pose { yaw, pitch: r.around(-0.03 * k, 0.03 + 0.15 * k), roll: r.around(0.0, 0.02 + 0.09 * k), body_yaw: yaw * r.within(0.2, 0.9) };
    let lighting = if k < 0.05 { Lighting::studio() } else { Lighting::draw(&mut r).towards(&Lighting::studio(), (1.0 - k) * 0.7) };
    let size = conditions.size as f32;
    let jitter = 0.06 * k * size;
    let centre = (size * 0.5 + r.around(0.0, jitter), size * 0.47 + r.around(0.0, jitter));
    // Faces are about 14 cm wide. Small ones are drawn with more samples, so that fine features are averaged, not lost.
    let scale = conditions.face_px / 14.0;
    let oversample = if scale < 3.0 {
        4
    } else if scale < 5.0 {
        3
    } else {
        2
    };
    let framing = Framing { width: conditions.size, height: conditions.size, scale, centre, distance: r.within(70.0, 260.0), oversample };
    let step = if scale < 4.0 { 0.2 } else { 0.14 };
    let mut model = Model::new(Face::new(identity, look, expression), pose, step);
    let drawing = draw(&mut model, &lighting, framing, true);
    let mut image = develop(&drawing, &background(&mut r, k), r.around(1.0, 0.12 * k));
    if k > 0.0 {
        image = degrade(image, k, conditions.face_px, &mut r);
    }
    let truth = FaceTruth {
        identity: name,
        bounding_box: drawing.bounding_box,
        landmarks: drawing.landmarks,
        mask: masked,
        yaw_deg: yaw.to_degrees(),
        visible: 1.0,
        area: None,
        inside: 0.0,
        distance_cm: framing.distance,
    };
    Photograph { image, truth }
}

/// What is behind the person: two colours and blurred shapes.
struct Background {
    upper: Vec3,
    lower: Vec3,
    clutter: f32,
    seed: u32,
}

fn background(r: &mut Random, k: f32) -> Background {
    if k <= 0.0 {
        return Background { upper: Vec3::splat(0.36), lower: Vec3::splat(0.28), clutter: 0.0, seed: 0 };
    }
    let mut colour = || {
        let level = r.unit() * r.unit() * 0.9 + 0.02;
        vec3(level * r.within(0.6, 1.3), level * r.within(0.7, 1.2), level * r.within(0.6, 1.4))
    };
    let (upper, lower) = (colour(), colour());
    Background { upper, lower, clutter: k * r.within(0.0, 1.2), seed: r.draw() as u32 }
}

impl Background {
    fn at(&self, x: f32, y: f32) -> Vec3 {
        let blobs = rough(vec3(x * 4.0, y * 4.0, 1.0), self.seed);
        let edges = rough(vec3(x * 9.0, y * 2.0, 5.0), self.seed ^ 5).signum() * 0.25;
        let base = self.upper.mix(self.lower, (y + 0.3 * self.clutter * blobs).clamp(0.0, 1.0));
        base.map(|c| (c * (1.0 + self.clutter * (0.8 * blobs + edges))).max(0.0))
    }
}

/// Light → an 8-bit picture.
fn develop(drawing: &Drawing, background: &Background, exposure: f32) -> RgbImage {
    let (w, h) = (drawing.width, drawing.height);
    let mut image = RgbImage::new(w as u32, h as u32);
    for (i, pixel) in image.pixels_mut().enumerate() {
        let behind = background.at((i % w) as f32 / w as f32, (i / w) as f32 / h as f32);
        let light = (drawing.colours[i] + behind * (1.0 - drawing.cover[i]).max(0.0)) * exposure;
        *pixel = Rgb([tone(light.x), tone(light.y), tone(light.z)]);
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::BoundingBox;

    fn small(difficulty: f32) -> Conditions {
        Conditions { size: 96, face_px: 36.0, difficulty, masked: 0.0 }
    }

    fn mean(image: &RgbImage, of: &BoundingBox) -> [f32; 3] {
        let mut sum = [0.0; 3];
        let mut count = 0.0;
        for y in of.y0 as u32..of.y1 as u32 {
            for x in of.x0 as u32..of.x1 as u32 {
                let p = image.get_pixel(x, y).0;
                (0..3).for_each(|c| sum[c] += f32::from(p[c]));
                count += 1.0;
            }
        }
        sum.map(|s| s / count)
    }

    #[test]
    fn the_same_person_and_occasion_give_the_same_bytes() {
        let (a, b) = (photograph(5, 3, small(0.8)), photograph(5, 3, small(0.8)));
        assert!(a.image == b.image && a.truth == b.truth);
        assert!(photograph(5, 4, small(0.8)).image != a.image, "another occasion");
        assert!(photograph(6, 3, small(0.8)).image != a.image, "another person");
    }

    #[test]
    fn identities_differ_in_shape_and_in_colour() {
        let people: Vec<Identity> = (0..200).map(Identity::from_seed).collect();
        let spread = |f: &dyn Fn(&Identity) -> f32| {
            let values: Vec<f32> = people.iter().map(f).collect();
            let mean = values.iter().sum::<f32>() / 200.0;
            (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / 200.0).sqrt()
        };
        assert!(spread(&|p| p.eyes.spacing) > 0.1 && spread(&|p| p.nose.projection) > 0.15 && spread(&|p| p.skull.jaw) > 0.04);
        assert!(spread(&|p| p.skin.melanin) > 0.2 && spread(&|p| p.mouth.half_width) > 0.1);
        let seeds: std::collections::BTreeSet<String> = people.iter().map(|p| format!("{p:?}")).collect();
        assert_eq!(seeds.len(), 200, "no two are alike");
    }

    #[test]
    fn landmarks_lie_on_the_features_they_name() {
        for seed in 0..6 {
            let shot = photograph(seed, 0, Conditions { size: 160, face_px: 64.0, difficulty: 0.0, masked: 0.0 });
            let [left_eye, right_eye, nose, left_mouth, right_mouth] = shot.truth.landmarks;
            let b = shot.truth.bounding_box;
            assert!(left_eye.x < nose.x && nose.x < right_eye.x && left_mouth.x < right_mouth.x, "{seed}");
            assert!(left_eye.y < nose.y && nose.y < left_mouth.y && (left_mouth.y - right_mouth.y).abs() < 8.0, "{seed}");
            assert!(shot.truth.landmarks.iter().all(|p| p.x > b.x0 && p.x < b.x1 && p.y > b.y0 && p.y < b.y1), "{seed}");
            assert!((b.width() - 64.0).abs() < 14.0, "{seed}: {b:?}");
            // An eye is darker, in its middle, than the cheek below it.
            let around = |x: f32, y: f32, r: f32| BoundingBox { x0: x - r, y0: y - r, x1: x + r, y1: y + r };
            let bright = |of: &BoundingBox| mean(&shot.image, of).iter().sum::<f32>();
            let eye = bright(&around(left_eye.x, left_eye.y, 2.0));
            let cheek = bright(&around(left_eye.x, left_eye.y + 0.5 * (left_mouth.y - left_eye.y), 2.0));
            assert!(eye < 0.9 * cheek || cheek < 120.0, "{seed}: eye {eye}, cheek {cheek}");
        }
    }

    #[test]
    fn a_mask_is_worn_and_said() {
        let bare = photograph(9, 0, small(0.0));
        let masked = photograph(9, 0, Conditions { masked: 1.0, ..small(0.0) });
        assert!(!bare.truth.mask && masked.truth.mask);
        let b = bare.truth.bounding_box;
        let mouth = BoundingBox {
            y0: b.y0 + 0.68 * b.height(),
            y1: b.y0 + 0.85 * b.height(),
            x0: b.x0 + 0.35 * b.width(),
            x1: b.x1 - 0.35 * b.width(),
        };
        let (skin, cloth) = (mean(&bare.image, &mouth), mean(&masked.image, &mouth));
        let difference: f32 = skin.iter().zip(cloth).map(|(a, b)| (a - b).abs()).sum();
        assert!(difference > 40.0, "skin {skin:?}, mask {cloth:?}");
    }
}
