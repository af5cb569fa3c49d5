//! What is true of a frame: whose face is where, how much of it can be seen, and in which area.

use serde::{Deserialize, Serialize};

use crate::frame::{BoundingBox, Landmarks, Point};

/// One face in one frame. Pixels; landmarks in the order of [`Landmarks`]: the eyes (picture's left first), nose tip, mouth corners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaceTruth {
    /// `rendered-…`: the identity's seed in hexadecimal.
    pub identity: String,
    pub bounding_box: BoundingBox,
    pub landmarks: Landmarks,
    pub mask: bool,
    /// Degrees; 0 looks at the camera, positive to the picture's right.
    pub yaw_deg: f32,
    /// Share of the face that is in the picture and not hidden.
    pub visible: f32,
    /// The area in which the face's middle lies.
    pub area: Option<String>,
    /// Share of the face's box within that area.
    pub inside: f32,
    /// Distance from the camera, cm.
    pub distance_cm: f32,
}

/// A part of the picture with a name: a polygon, normalised as in [`crate::area::Area`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedArea {
    pub name: String,
    pub polygon: Vec<[f64; 2]>,
}

impl NamedArea {
    /// Even-odd rule; `p` normalised.
    pub fn contains(&self, p: [f64; 2]) -> bool {
        let n = self.polygon.len();
        let crosses = |i: usize| {
            let ([x0, y0], [x1, y1]) = (self.polygon[i], self.polygon[(i + 1) % n]);
            (y0 <= p[1]) != (y1 <= p[1]) && p[0] < x0 + (p[1] - y0) / (y1 - y0) * (x1 - x0)
        };
        (0..n).filter(|&i| crosses(i)).count() % 2 == 1
    }

    /// Share of `face` within, in a picture of `width` × `height`.
    pub fn share_of(&self, face: &BoundingBox, width: f64, height: f64) -> f32 {
        let inside = sample_points(face).filter(|p| self.contains([f64::from(p.x) / width, f64::from(p.y) / height])).count();
        inside as f32 / SAMPLES as f32
    }
}

const GRID: u16 = 8;
/// How many points [`sample_points`] gives.
pub const SAMPLES: u16 = GRID * GRID;

/// Points spread evenly over a box.
pub fn sample_points(of: &BoundingBox) -> impl Iterator<Item = Point> + use<> {
    let (x0, y0, w, h) = (of.x0, of.y0, of.width(), of.height());
    (0..SAMPLES).map(move |i| {
        let at = |k: u16| (f32::from(k) + 0.5) / f32::from(GRID);
        Point { x: x0 + w * at(i % GRID), y: y0 + h * at(i / GRID) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_where_the_polygon_is() {
        let left = NamedArea { name: "left".to_owned(), polygon: vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]] };
        let face = |x0: f32| BoundingBox { x0, y0: 10.0, x1: x0 + 40.0, y1: 60.0 };
        assert_eq!(left.share_of(&face(0.0), 200.0, 100.0), 1.0);
        assert_eq!(left.share_of(&face(80.0), 200.0, 100.0), 0.5);
        assert_eq!(left.share_of(&face(140.0), 200.0, 100.0), 0.0);
        assert!(left.contains([0.2, 0.5]) && !left.contains([0.7, 0.5]));
    }
}
