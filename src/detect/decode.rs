//! Network outputs → candidate faces, in network pixels, for the layouts that manifests can name.
//!
//! ```text
//! cell (col, row) of stride s stands at (col·s, row·s); there is no half-cell offset
//! YuNet  score √(cls·obj), one anchor a cell;  centre (col + b0, row + b1)·s,  size (e^b2, e^b3)·s,  point (k2i + col, k2i+1 + row)·s
//! SCRFD  score as given,   two anchors a cell; box centre ∓ (l, t, r, b)·s,  point centre + k·s
//! RFB    score = the best class but background; box as given, in 0…1 of the tensor; no points
//! ```
//!
//! Outputs are judged before they are read: a network whose outputs do not have the layout's shapes is an error. Values that are not
//! finite are dropped: a NaN score is no face. Owned by the detector's worker; no state.

use crate::engine::Output;
use crate::engine::manifest::Decode;
use crate::frame::{BoundingBox, Landmarks, Point};

use super::Face;

const STRIDES: [usize; 3] = [8, 16, 32];
/// SCRFD's anchors a cell.
const SCRFD_ANCHORS: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the network has {got} outputs, its manifest's layout {want}: the manifest describes another model")]
    Count { got: usize, want: usize },
    #[error("output `{output}` of shape {shape:?} does not hold {rows} × {columns} values: the manifest describes another model")]
    Shape { output: String, shape: Vec<usize>, rows: usize, columns: usize },
    #[error("the manifest's decode layout is not a detector's: use yunet, scrfd or rfb")]
    NotADetector,
}

/// Network pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorSize {
    pub width: usize,
    pub height: usize,
}

/// Appends the candidates that score at least `min_score` to `faces`, in the order of the outputs.
pub fn decode(layout: &Decode, outputs: &[Output<'_>], size: TensorSize, min_score: f32, faces: &mut Vec<Face>) -> Result<(), DecodeError> {
    match layout {
        Decode::Yunet => decode_yunet(exactly(outputs)?, size, min_score, faces),
        Decode::Scrfd { .. } => decode_scrfd(exactly(outputs)?, size, min_score, faces),
        Decode::Rfb => decode_rfb(exactly(outputs)?, size, min_score, faces),
        Decode::Embedding { .. } | Decode::Logits { .. } => Err(DecodeError::NotADetector),
    }
}

fn exactly<'a, 'o, const N: usize>(outputs: &'a [Output<'o>]) -> Result<&'a [Output<'o>; N], DecodeError> {
    outputs.try_into().map_err(|_| DecodeError::Count { got: outputs.len(), want: N })
}

/// The output's values as rows of `COLUMNS`, exactly `rows` of them.
fn table<'a, const COLUMNS: usize>(output: &Output<'a>, rows: usize) -> Result<&'a [[f32; COLUMNS]], DecodeError> {
    let (chunks, rest) = output.data.as_chunks::<COLUMNS>();
    let fits = output.shape.last() == Some(&COLUMNS) && chunks.len() == rows && rest.is_empty();
    let wrong = || DecodeError::Shape { output: output.name.to_owned(), shape: output.shape.to_vec(), rows, columns: COLUMNS };
    if fits { Ok(chunks) } else { Err(wrong()) }
}

/// Keeps a candidate whose every number is finite.
fn push(faces: &mut Vec<Face>, bounding_box: BoundingBox, score: f32, landmarks: Option<Landmarks>) {
    let BoundingBox { x0, y0, x1, y1 } = bounding_box;
    let points_finite = landmarks.iter().flatten().all(|p| p.x.is_finite() && p.y.is_finite());
    if [x0, y0, x1, y1, x1 - x0, y1 - y0, score].iter().all(|v| v.is_finite()) && points_finite && x0 < x1 && y0 < y1 {
        faces.push(Face { bounding_box, score, landmarks });
    }
}

/// Cell → (column, row), in cells.
#[expect(clippy::cast_precision_loss, reason = "at most 512 cells a side")]
fn cell_at(cell: usize, columns: usize) -> (f32, f32) {
    ((cell % columns) as f32, (cell / columns) as f32)
}

/// Five points from ten numbers, each moved and scaled.
fn landmarks(k: &[f32; 10], at: impl Fn(f32, f32) -> Point) -> Landmarks {
    std::array::from_fn(|i| at(k[2 * i], k[2 * i + 1]))
}

#[expect(clippy::cast_precision_loss, reason = "strides are 8, 16, 32")]
fn decode_yunet(outputs: &[Output<'_>; 12], size: TensorSize, min_score: f32, faces: &mut Vec<Face>) -> Result<(), DecodeError> {
    for (level, stride) in STRIDES.into_iter().enumerate() {
        let (columns, rows) = (size.width / stride, size.height / stride);
        let cells = columns * rows;
        let class = table::<1>(&outputs[level], cells)?;
        let object = table::<1>(&outputs[level + 3], cells)?;
        let boxes = table::<4>(&outputs[level + 6], cells)?;
        let points = table::<10>(&outputs[level + 9], cells)?;
        let s = stride as f32;
        for (cell, (&[class], &[object])) in class.iter().zip(object).enumerate() {
            let score = (class.clamp(0.0, 1.0) * object.clamp(0.0, 1.0)).sqrt();
            if score >= min_score {
                let (col, row) = cell_at(cell, columns);
                let [b0, b1, b2, b3] = boxes[cell];
                let (x, y, w, h) = ((col + b0) * s, (row + b1) * s, b2.exp() * s, b3.exp() * s);
                let bounding_box = BoundingBox { x0: x - 0.5 * w, y0: y - 0.5 * h, x1: x + 0.5 * w, y1: y + 0.5 * h };
                push(faces, bounding_box, score, Some(landmarks(&points[cell], |x, y| Point { x: (x + col) * s, y: (y + row) * s })));
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "strides are 8, 16, 32")]
fn decode_scrfd(outputs: &[Output<'_>; 9], size: TensorSize, min_score: f32, faces: &mut Vec<Face>) -> Result<(), DecodeError> {
    for (level, stride) in STRIDES.into_iter().enumerate() {
        let (columns, rows) = (size.width / stride, size.height / stride);
        let anchors = columns * rows * SCRFD_ANCHORS;
        let scores = table::<1>(&outputs[level], anchors)?;
        let boxes = table::<4>(&outputs[level + 3], anchors)?;
        let points = table::<10>(&outputs[level + 6], anchors)?;
        let s = stride as f32;
        for (anchor, &[score]) in scores.iter().enumerate() {
            if score >= min_score {
                let (col, row) = cell_at(anchor / SCRFD_ANCHORS, columns);
                let [left, top, right, bottom] = boxes[anchor];
                let bounding_box = BoundingBox { x0: (col - left) * s, y0: (row - top) * s, x1: (col + right) * s, y1: (row + bottom) * s };
                let at = |x: f32, y: f32| Point { x: (col + x) * s, y: (row + y) * s };
                push(faces, bounding_box, score.min(1.0), Some(landmarks(&points[anchor], at)));
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "at most 4096 pixels")]
fn decode_rfb(outputs: &[Output<'_>; 2], size: TensorSize, min_score: f32, faces: &mut Vec<Face>) -> Result<(), DecodeError> {
    let [scores, boxes] = outputs;
    let rows = boxes.data.len() / 4;
    let boxes = table::<4>(boxes, rows)?;
    let (w, h) = (size.width as f32, size.height as f32);
    let mut each = |best: f32, &[x0, y0, x1, y1]: &[f32; 4]| {
        if best >= min_score {
            push(faces, BoundingBox { x0: x0 * w, y0: y0 * h, x1: x1 * w, y1: y1 * h }, best.min(1.0), None);
        }
    };
    if scores.shape.last() == Some(&3) {
        // Background, bare face, masked face: either is a face here. A NaN must not hide behind `max`.
        let best = |bare: f32, masked: f32| if bare.is_nan() || masked.is_nan() { f32::NAN } else { bare.max(masked) };
        table::<3>(scores, rows)?.iter().zip(boxes).for_each(|(&[_, bare, masked], b)| each(best(bare, masked), b));
    } else {
        table::<2>(scores, rows)?.iter().zip(boxes).for_each(|(&[_, face], b)| each(face, b));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: TensorSize = TensorSize { width: 64, height: 32 };

    /// Outputs of a layout, all zeros: (name, values a row, rows).
    fn zeros(layout: &Decode) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let anchors = if matches!(layout, Decode::Yunet) { 1 } else { SCRFD_ANCHORS };
        let per_kind: &[usize] = match layout {
            Decode::Yunet => &[1, 1, 4, 10],
            Decode::Scrfd { .. } => &[1, 4, 10],
            _ => return vec![("scores".into(), vec![1, 20, 2], vec![0.0; 40]), ("boxes".into(), vec![1, 20, 4], vec![0.0; 80])],
        };
        let make = |(kind, &columns): (usize, &usize)| {
            STRIDES.map(|s| {
                let rows = (64 / s) * (32 / s) * anchors;
                (format!("output_{kind}_{s}"), vec![1, rows, columns], vec![0.0; rows * columns])
            })
        };
        per_kind.iter().enumerate().flat_map(make).collect()
    }

    fn run(layout: &Decode, outputs: &[(String, Vec<usize>, Vec<f32>)], min_score: f32) -> Result<Vec<Face>, DecodeError> {
        let views: Vec<Output<'_>> = outputs.iter().map(|(name, shape, data)| Output { name, shape, data }).collect();
        let mut faces = Vec::new();
        decode(layout, &views, SIZE, min_score, &mut faces).map(|()| faces)
    }

    fn scrfd() -> Decode {
        Decode::Scrfd { outputs: Vec::new() }
    }

    #[test]
    fn a_yunet_cell_becomes_the_box_and_points_it_stands_for() {
        let mut outputs = zeros(&Decode::Yunet);
        // Stride 16: 4 × 2 cells; cell 6 is column 2, row 1.
        (outputs[1].2[6], outputs[4].2[6]) = (0.81, 1.7);
        outputs[7].2[24..28].copy_from_slice(&[0.5, -0.25, 0.0, 2.0_f32.ln()]);
        outputs[10].2[60..70].copy_from_slice(&[0.0, 0.5, 1.0, -1.0, 0.25, 0.0, 0.0, 0.0, 0.0, 2.0]);
        let faces = run(&Decode::Yunet, &outputs, 0.6).expect("decodes");
        assert_eq!(faces.len(), 1);
        assert!((faces[0].score - 0.9).abs() < 1e-6, "objectness is clamped to 1");
        assert_eq!(faces[0].bounding_box, BoundingBox { x0: 32.0, y0: -4.0, x1: 48.0, y1: 28.0 });
        let points = faces[0].landmarks.expect("five points");
        assert_eq!([points[0], points[1], points[4]].map(|p| (p.x, p.y)), [(32.0, 24.0), (48.0, 0.0), (32.0, 48.0)]);
    }

    #[test]
    fn a_scrfd_anchor_becomes_distances_from_its_cells_corner() {
        let mut outputs = zeros(&scrfd());
        // Stride 8: 8 × 4 cells, two anchors each; anchor 23 belongs to cell 11 = column 3, row 1.
        outputs[0].2[23] = 0.7;
        outputs[3].2[92..96].copy_from_slice(&[1.0, 0.5, 2.0, 3.0]);
        outputs[6].2[230..232].copy_from_slice(&[0.25, -0.5]);
        let faces = run(&scrfd(), &outputs, 0.5).expect("decodes");
        assert_eq!(faces.len(), 1);
        assert_eq!(faces[0].bounding_box, BoundingBox { x0: 16.0, y0: 4.0, x1: 40.0, y1: 32.0 });
        assert_eq!(faces[0].landmarks.map(|l| (l[0], l[1])), Some((Point { x: 26.0, y: 4.0 }, Point { x: 24.0, y: 8.0 })));
    }

    #[test]
    fn rfb_boxes_are_fractions_and_a_masked_face_is_a_face() {
        let mut outputs = zeros(&Decode::Rfb);
        outputs[0].2[7] = 0.9;
        outputs[1].2[12..16].copy_from_slice(&[0.25, 0.5, 0.5, 1.0]);
        let faces = run(&Decode::Rfb, &outputs, 0.7).expect("decodes");
        assert_eq!(faces[0].bounding_box, BoundingBox { x0: 16.0, y0: 16.0, x1: 32.0, y1: 32.0 });
        assert_eq!(faces[0].landmarks, None);
        outputs[0] = ("scores".into(), vec![1, 20, 3], vec![0.0; 60]);
        (outputs[0].2[9], outputs[0].2[11]) = (0.99, 0.8);
        let faces = run(&Decode::Rfb, &outputs, 0.7).expect("decodes");
        assert_eq!((faces.len(), faces[0].score), (1, 0.8), "class 0 is background, class 2 a masked face");
    }

    #[test]
    fn outputs_of_another_model_are_named() {
        for layout in [Decode::Yunet, scrfd(), Decode::Rfb] {
            let good = zeros(&layout);
            assert!(run(&layout, &good, 0.5).expect("decodes").is_empty());
            assert!(matches!(run(&layout, &good[1..], 0.5), Err(DecodeError::Count { .. })), "{layout:?}");
            for i in 0..good.len() {
                let mut outputs = good.clone();
                outputs[i].2.pop();
                assert!(matches!(run(&layout, &outputs, 0.5), Err(DecodeError::Shape { .. })), "{layout:?}, output {i} too short");
                let mut outputs = good.clone();
                outputs[i].1 = vec![good[i].2.len()];
                assert!(matches!(run(&layout, &outputs, 0.5), Err(DecodeError::Shape { .. })), "{layout:?}, output {i} flat");
            }
        }
        let logits = Decode::Logits { output: "x".into(), classes: Vec::new() };
        assert_eq!(run(&logits, &[], 0.5), Err(DecodeError::NotADetector));
    }

    proptest! {
        /// Whatever the network says, what comes out is finite, has an extent and a score within bounds.
        #[test]
        fn no_output_value_makes_a_face_that_is_not_one(kind in 0..3usize, bits: u32, seed: u32) {
            let layout = [Decode::Yunet, scrfd(), Decode::Rfb][kind].clone();
            let mut outputs = zeros(&layout);
            let mut state = seed;
            for value in outputs.iter_mut().flat_map(|o| &mut o.2) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value = match state >> 29 {
                    0 => f32::NAN,
                    1 => f32::INFINITY,
                    2 => f32::from_bits(bits ^ state),
                    3 => -1e30,
                    _ => f32::from(state.to_be_bytes()[0]) / 128.0,
                };
            }
            for face in run(&layout, &outputs, 0.3).expect("shapes are right") {
                let b = face.bounding_box;
                prop_assert!((0.3..=1.0).contains(&face.score), "{face:?}");
                prop_assert!(b.x0 < b.x1 && b.y0 < b.y1 && (b.x1 - b.x0).is_finite() && (b.y1 - b.y0).is_finite(), "{face:?}");
            }
        }
    }
}
