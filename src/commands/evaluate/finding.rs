//! How well faces are found: on photographs of one face of known width, and in halls with people walking.
//!
//! A face counts as found where a box overlaps its own by half (intersection over union). In halls only faces are asked for that look less
//! than 60° away and are seen by four fifths; the others, and heads from behind, count neither way. A box is false where it overlaps no face
//! by 0.3 and does not lie on such a head.

use image::RgbImage;
use indicatif::ProgressBar;
use serde::Serialize;

use super::figures::{Spread, share, spread};
use super::lab::{Lab, in_parallel};
use super::{FIRST_SEED, Plan};
use crate::detect::Face;
use crate::frame::{BoundingBox, Landmarks};
use crate::render::halls::SCENES;
use crate::render::portrait::{Conditions, photograph};
use crate::render::random::Random;
use crate::render::scene::Scene;
use crate::render::sprite::{Planes, to_rgb};
use crate::render::truth::FaceTruth;

/// Face widths, pixels.
pub const WIDTHS: [u16; 7] = [16, 20, 24, 32, 48, 64, 96];
const FOUND_IOU: f32 = 0.5;
const FALSE_IOU: f32 = 0.3;
const MOST_TURNED_DEG: f32 = 60.0;
const LEAST_VISIBLE: f32 = 0.8;
const FRAMES_PER_SCENE: usize = 40;
/// A second: people have moved on, and many a drawing serves again.
const FRAMES_APART: u64 = 15;
const FPS: f64 = 15.0;
const HALL: (usize, usize) = (1_280, 720);

#[derive(Debug, Serialize)]
pub struct Finding {
    pub by_width: Vec<AtWidth>,
    pub halls: Halls,
}

#[derive(Debug, Serialize)]
pub struct AtWidth {
    pub width_px: u16,
    /// Photographs of a single face of about this width.
    pub photographs: usize,
    pub recall: f64,
    /// Distance of landmarks from their true places, in parts of the distance between the eyes.
    pub landmark_error: Option<Spread>,
    /// Faces in halls from this width to the next.
    pub hall_faces: usize,
    pub hall_recall: f64,
}

#[derive(Debug, Serialize)]
pub struct Halls {
    pub frames: usize,
    pub false_boxes: usize,
    pub false_boxes_per_1000_frames: f64,
}

/// What was found of the true faces of one picture.
#[derive(Debug, Default, PartialEq)]
struct Look {
    /// Of each face that is asked for: the true width, whether it was found, and how far its landmarks are off.
    faces: Vec<(f32, bool, Option<f64>)>,
    false_boxes: usize,
}

pub fn measure(labs: &mut [Lab], plan: Plan, bar: &ProgressBar) -> anyhow::Result<Finding> {
    let singles = in_parallel(labs, WIDTHS.len() * plan.per_width(), bar, &|lab, job| single(lab, plan, job))?;
    let looked = in_parallel(labs, halls(plan), bar, &|lab, job| hall(lab, plan, job))?;
    Ok(summary(&singles, &looked, plan.frames))
}

/// How many halls are opened.
pub fn halls(plan: Plan) -> usize {
    plan.frames.div_ceil(FRAMES_PER_SCENE)
}

fn summary(singles: &[Look], halls: &[Look], frames: usize) -> Finding {
    let at = |(i, &width_px): (usize, &u16)| {
        let of_width = || singles.iter().skip(i).step_by(WIDTHS.len()).flat_map(|look| &look.faces);
        let next = WIDTHS.get(i + 1).map_or(f32::INFINITY, |next| f32::from(*next));
        let in_halls = || halls.iter().flat_map(|look| &look.faces).filter(|(w, ..)| (f32::from(width_px)..next).contains(w));
        let found = |faces: &mut dyn Iterator<Item = &(f32, bool, Option<f64>)>| faces.filter(|(_, found, _)| *found).count();
        AtWidth {
            width_px,
            photographs: of_width().count(),
            recall: share(found(&mut of_width()), of_width().count()),
            landmark_error: spread(of_width().filter_map(|(.., error)| *error).collect()),
            hall_faces: in_halls().count(),
            hall_recall: share(found(&mut in_halls()), in_halls().count()),
        }
    };
    let false_boxes = halls.iter().map(|look| look.false_boxes).sum();
    Finding {
        by_width: WIDTHS.iter().enumerate().map(at).collect(),
        halls: Halls { frames, false_boxes, false_boxes_per_1000_frames: 1000.0 * share(false_boxes, frames) },
    }
}

/// Job `n` shows the `n / 7`-th person at the `n % 7`-th width.
fn single(lab: &mut Lab, plan: Plan, job: usize) -> anyhow::Result<Look> {
    let (person, width) = (FIRST_SEED + (job / WIDTHS.len()) as u64, WIDTHS[job % WIDTHS.len()]);
    let mut random = Random::new(person ^ u64::from(width) << 32, "evaluation");
    let size = (usize::from(width) * 5 / 2 * 2).max(160);
    let conditions = Conditions { size, face_px: f32::from(width), difficulty: plan.difficulty * random.unit(), masked: 0.1 };
    let shot = photograph(person, 1_000 + u64::from(width), conditions);
    let found = faces(lab, &shot.image)?;
    Ok(compare(&found, &[shot.truth], &[]))
}

/// Frames of the `job`-th hall; the kinds of hall take turns.
fn hall(lab: &mut Lab, plan: Plan, job: usize) -> anyhow::Result<Look> {
    let (name, _) = SCENES[job % SCENES.len()];
    let mut scene = Scene::open(name, FIRST_SEED + job as u64, HALL.0, HALL.1)?;
    let mut planes = Planes::default();
    let mut all = Look::default();
    for n in 0..FRAMES_PER_SCENE.min(plan.frames - job * FRAMES_PER_SCENE) {
        let frame = n as u64 * FRAMES_APART;
        let truth = scene.draw(frame, FPS, &mut planes);
        let heads = scene.heads(frame, FPS);
        let look = compare(&faces(lab, &to_rgb(&planes, HALL.0, HALL.1))?, &truth, &heads);
        all.faces.extend(look.faces);
        all.false_boxes += look.false_boxes;
    }
    Ok(all)
}

fn faces(lab: &mut Lab, picture: &RgbImage) -> anyhow::Result<Vec<Face>> {
    let frame = lab.frame(picture)?;
    lab.faces(&frame)
}

/// `heads`: of everybody in the picture, whichever way they look.
fn compare(found: &[Face], truth: &[FaceTruth], heads: &[BoundingBox]) -> Look {
    let asked_for = |t: &&FaceTruth| t.visible >= LEAST_VISIBLE && t.yaw_deg.abs() <= MOST_TURNED_DEG;
    let nearest = |t: &FaceTruth| {
        let overlap = |face: &&Face| face.bounding_box.iou(&t.bounding_box);
        let best = found.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b)));
        best.filter(|face| overlap(face) >= FOUND_IOU)
    };
    let faces = truth.iter().filter(asked_for).map(|t| {
        let face = nearest(t);
        let error = face.and_then(|face| face.landmarks).map(|points| landmark_error(&points, &t.landmarks));
        (t.bounding_box.width(), face.is_some(), error)
    });
    let on_nobody = |face: &&Face| {
        let (of, centre) = (&face.bounding_box, face.bounding_box.centre());
        let on_head = |h: &BoundingBox| (h.x0..h.x1).contains(&centre.x) && (h.y0..h.y1).contains(&centre.y);
        let meets_a_face = truth.iter().any(|t| t.bounding_box.iou(of) >= FALSE_IOU);
        let small_on_head = heads.iter().any(|h| on_head(h) && of.width() <= 1.5 * h.width());
        !(meets_a_face || small_on_head)
    };
    Look { faces: faces.collect(), false_boxes: found.iter().filter(on_nobody).count() }
}

fn landmark_error(found: &Landmarks, truth: &Landmarks) -> f64 {
    let apart = |a: crate::frame::Point, b: crate::frame::Point| f64::from(a.x - b.x).hypot(f64::from(a.y - b.y));
    let eyes = apart(truth[0], truth[1]).max(1e-3);
    found.iter().zip(truth).map(|(a, b)| apart(*a, *b)).sum::<f64>() / 5.0 / eyes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Point;

    fn boxed(x0: f32, width: f32) -> BoundingBox {
        BoundingBox { x0, y0: 0.0, x1: x0 + width, y1: width }
    }

    fn points(x0: f32) -> Landmarks {
        [0.0, 10.0, 5.0, 2.0, 8.0].map(|x| Point { x: x0 + x, y: 4.0 })
    }

    fn face(x0: f32, width: f32) -> Face {
        Face { bounding_box: boxed(x0, width), score: 0.9, landmarks: Some(points(x0)) }
    }

    fn truth(x0: f32, width: f32, yaw_deg: f32, visible: f32) -> FaceTruth {
        FaceTruth {
            identity: "x".into(),
            bounding_box: boxed(x0, width),
            landmarks: points(x0),
            mask: false,
            yaw_deg,
            visible,
            area: None,
            inside: 0.0,
            distance_cm: 100.0,
        }
    }

    #[test]
    fn found_missed_false_and_what_counts_neither_way() {
        let truths =
            [truth(0.0, 20.0, 0.0, 1.0), truth(100.0, 20.0, 10.0, 1.0), truth(200.0, 20.0, 70.0, 1.0), truth(300.0, 20.0, 0.0, 0.5)];
        // On the first; on a turned face; on a hidden one; on a head from behind; on nothing; a wall-sized box around that head.
        let found = [face(1.0, 20.0), face(200.0, 20.0), face(301.0, 20.0), face(400.0, 18.0), face(500.0, 20.0), face(350.0, 120.0)];
        let look = compare(&found, &truths, &[boxed(398.0, 24.0)]);
        assert_eq!(look.faces.len(), 2, "the others are not asked for");
        assert_eq!((look.faces[0].1, look.faces[1]), (true, (20.0, false, None)));
        assert!((look.faces[0].2.expect("landmarks") - 0.1).abs() < 1e-6, "one pixel of ten between the eyes");
        assert_eq!(look.false_boxes, 2);
    }

    #[test]
    fn widths_are_kept_apart() {
        let looked = |found: bool| Look { faces: vec![(30.0, found, found.then_some(0.02))], false_boxes: 0 };
        let singles: Vec<Look> = (0..2 * WIDTHS.len()).map(|job| looked(job % WIDTHS.len() != 0 || job == 0)).collect();
        let halls =
            [Look { faces: vec![(31.9, true, None), (24.0, false, None), (500.0, true, None), (3.0, false, None)], false_boxes: 3 }];
        let done = summary(&singles, &halls, 20);
        let row =
            |i: usize| (done.by_width[i].photographs, done.by_width[i].recall, done.by_width[i].hall_faces, done.by_width[i].hall_recall);
        assert_eq!((row(0), row(2), row(6)), ((2, 0.5, 0, 0.0), (2, 1.0, 2, 0.5), (2, 1.0, 1, 1.0)));
        assert_eq!((done.halls.false_boxes, done.halls.false_boxes_per_1000_frames), (3, 150.0));
    }
}
