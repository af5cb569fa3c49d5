//! Non-maximum suppression: of boxes that overlap, the best stays.
//!
//! Greedy, over all strides together, O(n²) on the few candidates that passed the score. Deterministic: candidates are ordered by score,
//! then by position. At most [`CAPACITY`] of them are looked at, the best, so that a network gone wild costs a bounded time.

use super::Face;

/// Candidates looked at: a picture of 200 faces has about 1000.
pub const CAPACITY: usize = 1024;

/// Leaves the best of each overlapping group, best first. Returns how many candidates beyond the capacity were dropped unseen.
pub fn suppress(faces: &mut Vec<Face>, max_iou: f32) -> usize {
    let position = |f: &Face| [f.bounding_box.x0, f.bounding_box.y0, f.bounding_box.x1, f.bounding_box.y1];
    faces.sort_unstable_by(|a, b| {
        let by_position = || position(a).iter().zip(position(b)).fold(std::cmp::Ordering::Equal, |o, (x, y)| o.then(x.total_cmp(&y)));
        b.score.total_cmp(&a.score).then_with(by_position)
    });
    let shed = faces.len().saturating_sub(CAPACITY);
    faces.truncate(CAPACITY);
    let mut kept = 0;
    for candidate in 0..faces.len() {
        let face = faces[candidate];
        if faces[..kept].iter().all(|better| better.bounding_box.iou(&face.bounding_box) <= max_iou) {
            faces[kept] = face;
            kept += 1;
        }
    }
    faces.truncate(kept);
    shed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::BoundingBox;

    fn face(x0: f32, score: f32) -> Face {
        Face { bounding_box: BoundingBox { x0, y0: 0.0, x1: x0 + 10.0, y1: 10.0 }, score, landmarks: None }
    }

    #[test]
    fn the_best_of_a_group_stays_and_neighbours_do_too() {
        // 0 and 2 overlap by 8/12; 2 and 6 by 6/14; 0 and 6 by 4/16.
        let mut faces = vec![face(2.0, 0.8), face(0.0, 0.9), face(6.0, 0.7), face(100.0, 0.95)];
        assert_eq!(suppress(&mut faces, 0.45), 0);
        assert_eq!(faces, [face(100.0, 0.95), face(0.0, 0.9), face(6.0, 0.7)], "2 is gone, and no longer suppresses 6");
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let all = [face(0.0, 0.5), face(1.0, 0.5), face(30.0, 0.5), face(31.0, 0.5), face(60.0, 0.7)];
        let mut expected = all.to_vec();
        suppress(&mut expected, 0.3);
        for rotation in 1..all.len() {
            let mut faces = all.to_vec();
            faces.rotate_left(rotation);
            suppress(&mut faces, 0.3);
            assert_eq!(faces, expected);
        }
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn a_flood_is_cut_to_the_best() {
        let mut faces: Vec<Face> = (0..CAPACITY + 7).map(|i| face(20.0 * i as f32, i as f32)).collect();
        assert_eq!(suppress(&mut faces, 0.5), 7);
        assert_eq!((faces.len(), faces[CAPACITY - 1].score), (CAPACITY, 7.0));
    }
}
