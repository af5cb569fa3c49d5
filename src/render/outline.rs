//! The outline of a scene's area in the picture.

use super::hall::Hall;
use super::vector::{Vec3, vec3};

/// The hull of the floor's area and the same rectangle at the height of heads, clipped to the picture.
pub(super) fn area_polygon(hall: &Hall) -> Vec<[f64; 2]> {
    let [x0, z0, x1, z1] = hall.area;
    let corners = [0.0, 195.0].iter().flat_map(|&y| [vec3(x0, y, z0), vec3(x1, y, z0), vec3(x1, y, z1), vec3(x0, y, z1)]);
    let (w, h) = (hall.view.width as f32, hall.view.height as f32);
    let place = |p: Vec3| hall.view.project(p).map(|q| [f64::from((q.x / w).clamp(0.0, 1.0)), f64::from((q.y / h).clamp(0.0, 1.0))]);
    hull(corners.filter_map(place).collect())
}

/// Convex hull (Andrew's monotone chain).
fn hull(mut points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    points.dedup();
    let half = |points: &mut dyn Iterator<Item = [f64; 2]>| {
        let mut chain: Vec<[f64; 2]> = Vec::new();
        for p in points {
            while let [.., a, b] = chain[..] {
                let turn = (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]);
                if turn > 0.0 {
                    break;
                }
                chain.pop();
            }
            chain.push(p);
        }
        chain.pop();
        chain
    };
    let mut all = half(&mut points.iter().copied());
    all.extend(half(&mut points.iter().rev().copied()));
    all
}
