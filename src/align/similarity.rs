//! The least-squares similarity from five landmarks to the embedders' template.
//!
//! Umeyama (IEEE PAMI 13, 1991) in the plane, without reflection. With centred points p, q the best rotation-and-scale (a, b) is
//! a = Σ p·q / Σ|p|², b = Σ p×q / Σ|p|²; in two dimensions no singular value decomposition is needed. Units: pixels; pixel (i, j) of
//! picture and crop stands at (i, j), without a half-pixel offset, as the published embedders were trained.

use crate::frame::{Landmarks, Point};

/// Side of an aligned crop, pixels.
pub const CROP_PX: usize = 112;

/// Where the five points of a face belong in the crop: the ArcFace template.
pub const TEMPLATE: Landmarks = [
    Point { x: 38.2946, y: 51.6963 },
    Point { x: 73.5318, y: 51.5014 },
    Point { x: 56.0252, y: 71.7366 },
    Point { x: 41.5493, y: 92.3655 },
    Point { x: 70.7299, y: 92.2041 },
];

/// Least spread of the landmarks (root mean square distance from their centre, pixels) that defines a direction.
const LEAST_SPREAD: f64 = 0.5;

/// x' = a·x − b·y + tx, y' = b·x + a·y + ty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    pub a: f64,
    pub b: f64,
    pub tx: f64,
    pub ty: f64,
}

impl Similarity {
    /// The similarity that brings `from` closest to `to`. `None` where the points do not define one: not finite, (nearly) all in one
    /// place, or so arranged that the best scale is (nearly) zero.
    pub fn fit(from: &Landmarks, to: &Landmarks) -> Option<Self> {
        let (p, q) = (centre(from), centre(to));
        let (mut spread, mut dot, mut cross) = (0.0, 0.0, 0.0);
        for (f, t) in from.iter().zip(to) {
            let (px, py) = (f64::from(f.x) - p.0, f64::from(f.y) - p.1);
            let (qx, qy) = (f64::from(t.x) - q.0, f64::from(t.y) - q.1);
            spread += px * px + py * py;
            dot += px * qx + py * qy;
            cross += px * qy - py * qx;
        }
        let (a, b) = (dot / spread, cross / spread);
        let scale = a.hypot(b);
        let defined = spread > 5.0 * LEAST_SPREAD * LEAST_SPREAD && scale.is_finite() && scale > 1e-4;
        defined.then_some(Self { a, b, tx: q.0 - a * p.0 + b * p.1, ty: q.1 - b * p.0 - a * p.1 })
    }

    pub fn scale(&self) -> f64 {
        self.a.hypot(self.b)
    }

    pub fn apply(&self, x: f64, y: f64) -> (f64, f64) {
        (self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty)
    }

    pub fn inverse(&self) -> Self {
        let n = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / n, -self.b / n);
        Self { a, b, tx: -(a * self.tx - b * self.ty), ty: -(b * self.tx + a * self.ty) }
    }
}

fn centre(points: &Landmarks) -> (f64, f64) {
    let sum = points.iter().fold((0.0, 0.0), |s, p| (s.0 + f64::from(p.x), s.1 + f64::from(p.y)));
    (sum.0 / 5.0, sum.1 / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn residual(s: &Similarity, from: &Landmarks, to: &Landmarks) -> f64 {
        let squared = |(f, t): (&Point, &Point)| {
            let (x, y) = s.apply(f64::from(f.x), f64::from(f.y));
            (x - f64::from(t.x)).powi(2) + (y - f64::from(t.y)).powi(2)
        };
        from.iter().zip(to).map(squared).sum()
    }

    fn points() -> impl Strategy<Value = Landmarks> {
        prop::array::uniform5((-300.0..2000.0_f32, -300.0..2000.0_f32)).prop_map(|p| p.map(|(x, y)| Point { x, y }))
    }

    proptest! {
        #[test]
        fn an_exact_similarity_is_found_again(angle in -3.1..3.1_f64, scale in 0.05..20.0_f64, tx in -500.0..500.0_f64, ty in -500.0..500.0_f64) {
            let truth = Similarity { a: scale * angle.cos(), b: scale * angle.sin(), tx, ty };
            #[expect(clippy::cast_possible_truncation, reason = "points are f32")]
            let from = TEMPLATE.map(|p| {
                let (x, y) = truth.inverse().apply(f64::from(p.x), f64::from(p.y));
                Point { x: x as f32, y: y as f32 }
            });
            prop_assume!(truth.inverse().scale() > 0.1);
            let found = Similarity::fit(&from, &TEMPLATE).expect("defined");
            prop_assert!(residual(&found, &from, &TEMPLATE) < 1e-3);
            prop_assert!((found.scale() / scale - 1.0).abs() < 1e-3);
        }

        #[test]
        fn no_neighbouring_similarity_fits_better(from in points(), to in points(), k in 0..8usize) {
            if let Some(best) = Similarity::fit(&from, &to) {
                let mut other = best;
                let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
                match k / 2 {
                    0 => other.a += sign * 1e-3,
                    1 => other.b += sign * 1e-3,
                    2 => other.tx += sign * 0.1,
                    _ => other.ty += sign * 0.1,
                }
                prop_assert!(residual(&best, &from, &to) <= residual(&other, &from, &to) + 1e-6);
                let (x, y) = best.apply(12.0, -7.0);
                let (x, y) = best.inverse().apply(x, y);
                prop_assert!((x - 12.0).abs() < 1e-6 && (y + 7.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn points_that_define_nothing_are_refused() {
        let one = Point { x: 40.0, y: 50.0 };
        assert_eq!(Similarity::fit(&[one; 5], &TEMPLATE), None);
        let mut broken = TEMPLATE;
        broken[2].x = f32::NAN;
        assert_eq!(Similarity::fit(&broken, &TEMPLATE), None);
        broken[2].x = f32::INFINITY;
        assert_eq!(Similarity::fit(&broken, &TEMPLATE), None);
    }
}
