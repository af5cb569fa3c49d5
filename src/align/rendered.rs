//! Do networks that were trained on photographs see our rendered people as people? The detector must find them, its landmarks must lie
//! on ours, and the embedder must tell them apart. What is measured here says how far renders carry; see `docs/rendered.md`.
//!
//! Needs the models of `PLACARD_TEST_DATA`. `PLACARD_RENDERED_PEOPLE` says how many are drawn (12).

use image::{RgbImage, imageops};

use super::golden::Journey;
use crate::detect::Face;
use crate::detect::golden::test_data;
use crate::embedding::Embedding;
use crate::frame::still::frame_from_rgb;
use crate::render::portrait::{Conditions, photograph};
use crate::render::truth::FaceTruth;

const SIDE: u32 = 640;

/// What was found of the photographs of one size.
#[derive(Default)]
struct Tally {
    shown: usize,
    found: usize,
    /// Mean distance of the five points from the truth, in eye distances, per face.
    off: Vec<f32>,
    /// (person, embedding).
    embeddings: Vec<(usize, Embedding)>,
}

/// Which photograph lies where: its number, and its left and top edge.
type Place = (usize, f32, f32);

/// Photographs side by side on one picture of the detector's size, each with where it lies.
fn sheets(photographs: &[(RgbImage, FaceTruth)], cell: u32) -> Vec<(RgbImage, Vec<Place>)> {
    let across = SIDE / cell;
    let on_sheet = |sheet: &[usize]| {
        let mut picture = RgbImage::from_pixel(SIDE, SIDE, image::Rgb([92; 3]));
        let mut places = Vec::new();
        for (slot, &i) in (0_u32..).zip(sheet) {
            let (x, y) = (slot % across * cell, slot / across * cell);
            imageops::replace(&mut picture, &photographs[i].0, i64::from(x), i64::from(y));
            places.push((i, x as f32, y as f32));
        }
        (picture, places)
    };
    let all: Vec<usize> = (0..photographs.len()).collect();
    all.chunks((across * across) as usize).map(on_sheet).collect()
}

fn look(journey: &mut Journey, people: usize, face_px: f32, difficulty: f32) -> Tally {
    let cell = (face_px * 2.2) as usize / 2 * 2;
    let conditions = Conditions { size: cell, face_px, difficulty, masked: 0.0 };
    let photographs: Vec<(RgbImage, FaceTruth)> = (0..people as u64)
        .map(|person| {
            let shot = photograph(0xface + person, u64::from(difficulty > 0.0), conditions);
            (shot.image, shot.truth)
        })
        .collect();
    let mut tally = Tally::default();
    for (picture, places) in sheets(&photographs, cell as u32) {
        let frame = frame_from_rgb(SIDE, SIDE, picture.as_raw()).expect("a frame");
        let faces = journey.faces(&frame);
        for (person, left, top) in places {
            let truth = &photographs[person].1;
            tally.shown += 1;
            let mut expected = truth.bounding_box;
            (expected.x0, expected.x1, expected.y0, expected.y1) =
                (expected.x0 + left, expected.x1 + left, expected.y0 + top, expected.y1 + top);
            let best: Option<&Face> =
                faces.iter().filter(|f| f.bounding_box.iou(&expected) > 0.35).max_by(|a, b| a.score.total_cmp(&b.score));
            let Some(points) = best.and_then(|f| f.landmarks) else { continue };
            tally.found += 1;
            let t = truth.landmarks;
            let eyes = (t[1].x - t[0].x).hypot(t[1].y - t[0].y).max(face_px * 0.1);
            let distances = points.iter().zip(t).map(|(p, t)| (p.x - left - t.x).hypot(p.y - top - t.y));
            tally.off.push(distances.sum::<f32>() / 5.0 / eyes);
            tally.embeddings.push((person, journey.embed_at(&frame, &points)));
        }
    }
    tally
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures belong to the test's report")]
fn networks_trained_on_photographs_find_rendered_people_and_tell_them_apart() {
    let Some(data) = test_data() else { return };
    let people = std::env::var("PLACARD_RENDERED_PEOPLE").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let mut journey = Journey::new(&data);
    for face_px in [32.0, 48.0, 64.0, 112.0] {
        let official = look(&mut journey, people, face_px, 0.0);
        let difficult = look(&mut journey, people, face_px, 0.8);
        let (mut same, mut different) = (Vec::new(), Vec::new());
        for (person, a) in &official.embeddings {
            for (other, b) in &difficult.embeddings {
                let pairs = if person == other { &mut same } else { &mut different };
                pairs.push(a.cosine(b));
            }
        }
        let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len().max(1) as f32;
        different.sort_by(f32::total_cmp);
        let mut off = official.off.clone();
        off.sort_by(f32::total_cmp);
        let off = off.get(off.len() / 2).copied().unwrap_or(f32::MAX);
        eprintln!(
            "{face_px} px: official {}/{}, difficult {}/{}, points off by {off:.3} eye distances; cosine to oneself {:.3}, to others {:.3} (99 %: {:.3})",
            official.found,
            official.shown,
            difficult.found,
            difficult.shown,
            mean(&same),
            mean(&different),
            different.get(different.len() * 99 / 100).copied().unwrap_or(1.0),
        );
        assert!(official.found * 20 >= official.shown * 19, "{face_px} px: {} of {}", official.found, official.shown);
        assert!(difficult.found * 10 >= difficult.shown * 8, "{face_px} px: {} of {}", difficult.found, difficult.shown);
        assert!(off < 0.2, "{face_px} px: landmarks are {off} eye distances away");
        assert!(mean(&same) > mean(&different) + 0.12, "{face_px} px: {} and {}", mean(&same), mean(&different));
    }
}
