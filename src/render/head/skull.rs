//! The head without its features: horizontal rings stacked from crown to chin. Every later shape is a displacement of this one, and paint
//! is looked up on it, so a place on the face keeps its coordinates whatever the face does.

use super::super::vector::{Vec3, mix, vec3};
use super::identity::Skull;

/// A horizontal cut through the head.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    pub half_width: f32,
    pub front: f32,
    pub back: f32,
    /// Depth of the widest place.
    pub middle: f32,
    /// Exponent of the front's superellipse.
    pub exponent: f32,
}

/// (height, half width, front, middle, back, exponent) of the mean head; heights are for a chin at −11.5.
const KNOTS: [[f32; 6]; 8] = [
    [3.5, 7.45, 9.45, -0.5, -9.8, 2.3],
    [1.5, 7.35, 9.3, 0.0, -9.6, 2.35],
    [0.0, 7.15, 8.95, 0.3, -9.2, 2.35],
    [-2.5, 6.95, 8.95, 0.8, -8.2, 2.3],
    [-5.0, 6.5, 9.1, 1.1, -6.5, 2.2],
    [-7.0, 5.75, 9.2, 1.5, -3.5, 2.15],
    [-8.5, 4.85, 9.15, 2.3, -0.8, 2.1],
    [-9.6, 3.95, 9.15, 3.4, 1.2, 2.1],
];
const DOME: f32 = 3.5;
const JAW: f32 = -9.6;
const MEAN_CHIN: f32 = 11.5;

fn knots(y: f32) -> [f32; 6] {
    let i = KNOTS[1..].iter().position(|k| y >= k[0]).unwrap_or(KNOTS.len() - 2);
    let (p, q) = (KNOTS[i], KNOTS[i + 1]);
    let (before, after) = (KNOTS[i.saturating_sub(1)], KNOTS[(i + 2).min(KNOTS.len() - 1)]);
    let span = q[0] - p[0];
    let t = ((y - p[0]) / span).clamp(0.0, 1.0);
    let (t2, t3) = (t * t, t * t * t);
    std::array::from_fn(|c| {
        let slope = |l: [f32; 6], r: [f32; 6]| (r[c] - l[c]) / (r[0] - l[0]) * span;
        let (m0, m1) = (slope(before, q), slope(p, after));
        (2.0 * t3 - 3.0 * t2 + 1.0) * p[c] + (t3 - 2.0 * t2 + t) * m0 + (3.0 * t2 - 2.0 * t3) * q[c] + (t3 - t2) * m1
    })
}

/// 1 at `centre`, falling to 0 at `centre` ± `reach`.
fn near(y: f32, centre: f32, reach: f32) -> f32 {
    super::super::vector::bell(((y - centre) / reach).powi(2))
}

impl Skull {
    /// Heights of the mesh's rows from crown to chin; `step` cm apart in the face.
    pub fn rows(&self, step: f32) -> Vec<f32> {
        let dome_rows = (14.0 / step / 4.0).clamp(10.0, 40.0) as usize;
        let dome = (0..dome_rows).map(|i| {
            let angle = std::f32::consts::FRAC_PI_2 * (1.0 - i as f32 / dome_rows as f32);
            DOME + (self.crown - DOME) * angle.sin()
        });
        let jaw = JAW * self.chin / MEAN_CHIN;
        let face_rows = ((DOME - jaw) / step) as usize;
        let face = (0..face_rows).map(|i| mix(DOME, jaw, i as f32 / face_rows as f32));
        let chin_rows = (3.2 / step) as usize;
        let chin = (0..=chin_rows).map(|i| {
            let angle = std::f32::consts::FRAC_PI_2 * i as f32 / chin_rows as f32;
            mix(jaw, -self.chin, angle.sin())
        });
        dome.chain(face).chain(chin).collect()
    }

    pub fn ring(&self, y: f32) -> Ring {
        if y > DOME {
            return self.dome(y);
        }
        let mean_y = if y < 0.0 { y * MEAN_CHIN / self.chin } else { y };
        if mean_y < JAW {
            return self.chin_ring(mean_y);
        }
        self.face_ring(mean_y)
    }

    fn face_ring(&self, y: f32) -> Ring {
        let [_, width, front, middle, back, exponent] = knots(y);
        let cheek = 1.0 + (self.cheekbone - 1.0) * near(y, -2.0, 5.0);
        let jaw = 1.0 + (self.jaw - 1.0) * near(y, -7.5, 5.0);
        let chin = 1.0 + (self.chin_width - 1.0) * 0.6 * near(y, -10.5, 3.0);
        let full = 0.35 * self.cheek_fullness * near(y, -6.0, 4.0);
        Ring {
            half_width: width * self.width * cheek * jaw * chin + full,
            front: front + self.chin_forward * near(y, -10.5, 4.0),
            back: back * self.length,
            middle,
            exponent: exponent + (self.squareness - 2.3),
        }
    }

    fn dome(&self, y: f32) -> Ring {
        let base = self.face_ring(DOME);
        let q = ((y - DOME) / (self.crown - DOME)).clamp(0.0, 1.0);
        let round = |power: f32| (1.0 - q.powf(power)).max(0.0).powf(1.0 / power);
        let middle = mix(base.middle, -1.4, q);
        let slope = 2.2 * self.forehead_slope * q * q * round(2.0);
        Ring {
            half_width: base.half_width * round(2.2),
            front: middle + (base.front - middle) * round(2.3) - slope,
            back: middle + (base.back - middle) * round(2.1),
            middle,
            exponent: mix(base.exponent, 2.0, q),
        }
    }

    fn chin_ring(&self, mean_y: f32) -> Ring {
        let base = self.face_ring(JAW);
        let q = ((JAW - mean_y) / (MEAN_CHIN + JAW)).clamp(0.0, 1.0);
        // Closes with the slope that the jaw has where the chin begins.
        let round = ((1.0 - q) * (1.0 + 0.3 * q)).max(0.0).sqrt();
        let middle = mix(base.middle, 6.2, q);
        Ring {
            half_width: base.half_width * round,
            front: middle + (base.front - middle) * (1.0 - q * q).max(0.0).powf(0.33),
            back: mix(middle, base.back, round),
            middle,
            exponent: base.exponent,
        }
    }

    /// The point of the ring at height `y` in direction `angle` (0 to the front, positive to the picture's right).
    pub fn point(&self, angle: f32, y: f32) -> Vec3 {
        let ring = self.ring(y);
        let (s, c) = angle.sin_cos();
        let exponent = if c > 0.0 { ring.exponent } else { 2.2 };
        let radius = (s.abs().powf(exponent) + c.abs().powf(exponent)).powf(-1.0 / exponent);
        let depth = if c > 0.0 { ring.front - ring.middle } else { ring.middle - ring.back };
        vec3(ring.half_width * radius * s, y, ring.middle + depth * radius * c)
    }

    /// Depth of the front at (x, y).
    pub fn front_at(&self, x: f32, y: f32) -> f32 {
        let ring = self.ring(y);
        let inside = (1.0 - (x.abs() / ring.half_width).min(1.0).powf(ring.exponent)).max(0.0);
        ring.middle + (ring.front - ring.middle) * inside.powf(1.0 / ring.exponent)
    }
}
