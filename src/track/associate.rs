//! Which detection is which track: two-stage association as in ByteTrack (Zhang et al., ECCV 2022), each stage solved exactly.
//!
//! 1. Detections of high score against all confirmed tracks, lost ones too.
//! 2. Detections of low score (a face half hidden, blurred by motion) against the confirmed tracks still unmatched that were seen in
//!    the frame before. They continue a track, they never start one.
//! 3. Detections of high score left over against tentative tracks.
//!
//! The measure is the intersection over union of predicted and detected box, both widened by what the prediction is unsure of (as the
//! buffered IoU of C-BIoU, Yang et al., WACV 2023): for a track followed at frame rate that is nothing; for a face seen once, a sixth of
//! a second ago, it is half a face, without which a person who walks by would be a new person in every detection.
//!
//! Each stage maximises the sum of the overlaps over all one-to-one assignments whose pairs overlap by at least the threshold. A pair
//! whose face and track have no other admissible partner belongs to every such maximum (adding it to an assignment without it
//! displaces nothing), so those are taken at once; the rest is solved by shortest augmenting paths (Jonker and Volgenant, 1987),
//! O(n³) with n the faces in crowded spots only. Scratch space is reused: no allocation once warm.
//!
//! Owner: the track worker.

use crate::detect::Face;
use crate::frame::BoundingBox;

/// Least overlap of a low-score detection with its track (ByteTrack: 0.5): it must continue it without any doubt.
const LOW_SCORE_IOU: f32 = 0.5;
/// Uncertainty, in face heights, that the thresholds were made for: widening starts beyond it.
const USUAL_UNCERTAINTY: f32 = 0.1;
/// Most widening on each side, as a share of the box.
const MOST_WIDENING: f32 = 0.5;

/// How a track stands before association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not yet confirmed.
    Tentative,
    /// Confirmed and seen in the frame before.
    Tracked,
    /// Confirmed, not seen in the frame before.
    Lost,
}

/// A track as association sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predicted {
    pub bounding_box: BoundingBox,
    /// Of the box's centre, in face heights.
    pub uncertainty: f32,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    pub high_score: f32,
    pub low_score: f32,
    pub iou: f32,
}

/// Solves the association of one frame after another.
#[derive(Default)]
pub(super) struct Association {
    /// Per track: the face that continues it.
    face_of: Vec<Option<usize>>,
    /// Per face: whether it continues a track.
    taken: Vec<bool>,
    rows: Vec<usize>,
    columns: Vec<usize>,
    assignment: Assignment,
}

impl Association {
    /// For each track, the index of the face that continues it.
    pub(super) fn solve(&mut self, tracks: &[Predicted], faces: &[Face], thresholds: Thresholds) -> &[Option<usize>] {
        self.face_of.clear();
        self.face_of.resize(tracks.len(), None);
        self.taken.clear();
        self.taken.resize(faces.len(), false);
        let high = |f: &Face| f.score >= thresholds.high_score;
        let low = |f: &Face| f.score >= thresholds.low_score && !high(f);
        self.stage(tracks, faces, |s| s != Standing::Tentative, high, thresholds.iou);
        self.stage(tracks, faces, |s| s == Standing::Tracked, low, thresholds.iou.max(LOW_SCORE_IOU));
        self.stage(tracks, faces, |s| s == Standing::Tentative, high, thresholds.iou);
        &self.face_of
    }

    /// Whether a face was left over by [`Association::solve`].
    pub(super) fn is_left_over(&self, face: usize) -> bool {
        self.taken.get(face).is_some_and(|t| !t)
    }

    fn stage(
        &mut self,
        tracks: &[Predicted],
        faces: &[Face],
        standing: impl Fn(Standing) -> bool,
        score: impl Fn(&Face) -> bool,
        least: f32,
    ) {
        self.rows.clear();
        self.rows.extend((0..tracks.len()).filter(|&t| self.face_of[t].is_none() && standing(tracks[t].standing)));
        self.columns.clear();
        self.columns.extend((0..faces.len()).filter(|&f| !self.taken[f] && score(&faces[f])));
        let (rows, columns) = (&self.rows, &self.columns);
        let overlap = |r: usize, c: usize| overlap(&tracks[rows[r]], &faces[columns[c]].bounding_box);
        for &(r, c) in self.assignment.solve(rows.len(), columns.len(), overlap, least) {
            self.face_of[rows[r]] = Some(columns[c]);
            self.taken[columns[c]] = true;
        }
    }
}

/// Intersection over union after both boxes were widened by what the prediction is unsure of.
fn overlap(track: &Predicted, face: &BoundingBox) -> f32 {
    let by = (track.uncertainty - USUAL_UNCERTAINTY).clamp(0.0, MOST_WIDENING);
    let widened = |b: &BoundingBox| {
        let (dx, dy) = (by * b.width(), by * b.height());
        BoundingBox { x0: b.x0 - dx, y0: b.y0 - dy, x1: b.x1 + dx, y1: b.y1 + dy }
    };
    widened(&track.bounding_box).iou(&widened(face))
}

/// One-to-one assignment of greatest total weight among pairs of at least a given weight.
#[derive(Default)]
pub(super) struct Assignment {
    weights: Vec<f32>,
    row_degree: Vec<u32>,
    column_degree: Vec<u32>,
    open_rows: Vec<usize>,
    open_columns: Vec<usize>,
    paths: Paths,
    pairs: Vec<(usize, usize)>,
}

impl Assignment {
    /// Pairs (row, column). `weight` must be finite and above 0 where it is at least `least`.
    pub(super) fn solve(&mut self, rows: usize, columns: usize, weight: impl Fn(usize, usize) -> f32, least: f32) -> &[(usize, usize)] {
        self.pairs.clear();
        self.weigh(rows, columns, weight, least);
        // Pairs without rivals first.
        for r in 0..rows {
            if self.row_degree[r] != 1 {
                continue;
            }
            let only = (0..columns).find(|&c| self.weights[r * columns + c] > 0.0);
            if let Some(c) = only.filter(|&c| self.column_degree[c] == 1) {
                self.pairs.push((r, c));
                self.row_degree[r] = 0;
                self.column_degree[c] = 0;
            }
        }
        self.open_rows.clear();
        self.open_rows.extend((0..rows).filter(|&r| self.row_degree[r] > 0));
        self.open_columns.clear();
        self.open_columns.extend((0..columns).filter(|&c| self.column_degree[c] > 0));
        if self.open_rows.is_empty() {
            return &self.pairs;
        }
        // Shortest augmenting paths want at least as many columns as rows.
        let (open_rows, open_columns, weights) = (&self.open_rows, &self.open_columns, &self.weights);
        let of = |r: usize, c: usize| weights[open_rows[r] * columns + open_columns[c]];
        let upright = open_rows.len() <= open_columns.len();
        if upright {
            self.paths.solve(open_rows.len(), open_columns.len(), |r, c| -f64::from(of(r, c)));
        } else {
            self.paths.solve(open_columns.len(), open_rows.len(), |r, c| -f64::from(of(c, r)));
        }
        for (r, c) in self.paths.pairs() {
            let (r, c) = if upright { (r, c) } else { (c, r) };
            // A pair without weight only fills the matrix: both stay unmatched.
            if of(r, c) > 0.0 {
                self.pairs.push((open_rows[r], open_columns[c]));
            }
        }
        &self.pairs
    }

    /// Fills the matrix: 0 where a pair is not admissible.
    fn weigh(&mut self, rows: usize, columns: usize, weight: impl Fn(usize, usize) -> f32, least: f32) {
        self.weights.clear();
        self.row_degree.clear();
        self.row_degree.resize(rows, 0);
        self.column_degree.clear();
        self.column_degree.resize(columns, 0);
        for r in 0..rows {
            for c in 0..columns {
                let w = weight(r, c);
                let admissible = w >= least && w > 0.0;
                self.weights.push(if admissible { w } else { 0.0 });
                self.row_degree[r] += u32::from(admissible);
                self.column_degree[c] += u32::from(admissible);
            }
        }
    }
}

/// Shortest augmenting paths with potentials: least total cost of assigning every row to a column of its own, rows ≤ columns.
/// Index 0 is the sentinel; rows and columns count from 1.
#[derive(Default)]
struct Paths {
    row_potential: Vec<f64>,
    column_potential: Vec<f64>,
    /// Per column: the row assigned to it, 0 if none.
    row_of: Vec<usize>,
    /// Per column: the column before it on the path being grown.
    before: Vec<usize>,
    slack: Vec<f64>,
    reached: Vec<bool>,
}

impl Paths {
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.row_of.iter().enumerate().skip(1).filter(|(_, r)| **r > 0).map(|(c, r)| (r - 1, c - 1))
    }

    fn solve(&mut self, rows: usize, columns: usize, cost: impl Fn(usize, usize) -> f64) {
        refill(&mut self.row_potential, rows + 1, 0.0);
        refill(&mut self.column_potential, columns + 1, 0.0);
        refill(&mut self.row_of, columns + 1, 0);
        refill(&mut self.before, columns + 1, 0);
        for row in 1..=rows {
            self.row_of[0] = row;
            refill(&mut self.slack, columns + 1, f64::INFINITY);
            refill(&mut self.reached, columns + 1, false);
            let mut at = 0;
            while self.row_of[at] != 0 {
                at = self.grow(at, columns, &cost);
            }
            // Shift the assignments along the path by one.
            while at != 0 {
                self.row_of[at] = self.row_of[self.before[at]];
                at = self.before[at];
            }
        }
    }

    /// Adds the column nearest to the tree that grows from the present row; returns it.
    fn grow(&mut self, at: usize, columns: usize, cost: &impl Fn(usize, usize) -> f64) -> usize {
        self.reached[at] = true;
        let row = self.row_of[at];
        let (mut least, mut next) = (f64::INFINITY, 0);
        for column in 1..=columns {
            if self.reached[column] {
                continue;
            }
            let reduced = cost(row - 1, column - 1) - self.row_potential[row] - self.column_potential[column];
            if reduced < self.slack[column] {
                self.slack[column] = reduced;
                self.before[column] = at;
            }
            if self.slack[column] < least {
                least = self.slack[column];
                next = column;
            }
        }
        for column in 0..=columns {
            if self.reached[column] {
                self.row_potential[self.row_of[column]] += least;
                self.column_potential[column] -= least;
            } else {
                self.slack[column] -= least;
            }
        }
        next
    }
}

fn refill<T: Clone>(values: &mut Vec<T>, len: usize, value: T) {
    values.clear();
    values.resize(len, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Greatest total weight by trying everything.
    fn exhaustive(weights: &[Vec<f32>], row: usize, taken: &mut Vec<bool>) -> f64 {
        if row == weights.len() {
            return 0.0;
        }
        let mut best = exhaustive(weights, row + 1, taken);
        for column in 0..taken.len() {
            if !taken[column] && weights[row][column] > 0.0 {
                taken[column] = true;
                best = best.max(f64::from(weights[row][column]) + exhaustive(weights, row + 1, taken));
                taken[column] = false;
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn no_assignment_is_better(rows in 0_usize..6, columns in 0_usize..7, cells in prop::collection::vec(0.0_f32..1.0, 42), least in 0.0_f32..0.9) {
            let weights: Vec<Vec<f32>> = (0..rows).map(|r| (0..columns).map(|c| cells[r * 7 + c]).collect()).collect();
            let mut assignment = Assignment::default();
            let pairs = assignment.solve(rows, columns, |r, c| weights[r][c], least).to_vec();
            let mut admissible = weights.clone();
            admissible.iter_mut().flatten().for_each(|w| *w = if *w >= least { *w } else { 0.0 });
            let best = exhaustive(&admissible, 0, &mut vec![false; columns]);
            let found: f64 = pairs.iter().map(|&(r, c)| f64::from(weights[r][c])).sum();
            prop_assert!((found - best).abs() < 1e-5, "found {}, best {}", found, best);
            for (i, &(r, c)) in pairs.iter().enumerate() {
                prop_assert!(weights[r][c] >= least);
                prop_assert!(pairs[..i].iter().all(|&(r2, c2)| r2 != r && c2 != c), "one to one");
            }
            // Scratch space of the last problem leaves no trace in the next.
            let fresh = Assignment::default().solve(columns, rows, |r, c| weights[c][r], least).len();
            prop_assert_eq!(assignment.solve(columns, rows, |r, c| weights[c][r], least).len(), fresh);
        }
    }

    fn square(x: f32, size: f32) -> BoundingBox {
        BoundingBox { x0: x, y0: 0.0, x1: x + size, y1: size }
    }

    fn face(x: f32, score: f32) -> Face {
        Face { bounding_box: square(x, 50.0), score, landmarks: None }
    }

    const THRESHOLDS: Thresholds = Thresholds { high_score: 0.6, low_score: 0.3, iou: 0.2 };

    fn track(x: f32, standing: Standing) -> Predicted {
        Predicted { bounding_box: square(x, 50.0), uncertainty: 0.05, standing }
    }

    #[test]
    fn the_best_whole_wins_over_the_best_pair() {
        // Greedy would give face 0 to track 1 (the best pair) and leave track 0 without any.
        let tracks = [track(0.0, Standing::Tracked), track(18.0, Standing::Tracked)];
        let faces = [face(12.0, 0.9), face(45.0, 0.9)];
        assert_eq!(Association::default().solve(&tracks, &faces, THRESHOLDS), [Some(0), Some(1)]);
    }

    #[test]
    fn low_scores_continue_only_what_was_seen_just_before() {
        let faces = [face(0.0, 0.4), face(200.0, 0.4), face(400.0, 0.4), face(600.0, 0.2)];
        let tracks = [
            track(5.0, Standing::Tracked),
            track(205.0, Standing::Lost),
            track(405.0, Standing::Tentative),
            track(605.0, Standing::Tracked),
        ];
        let mut association = Association::default();
        assert_eq!(association.solve(&tracks, &faces, THRESHOLDS), [Some(0), None, None, None]);
        assert!(!association.is_left_over(0) && association.is_left_over(1) && !association.is_left_over(9));
    }

    #[test]
    fn a_confirmed_track_comes_before_a_tentative_one() {
        let tracks = [track(0.0, Standing::Tentative), track(12.0, Standing::Lost)];
        assert_eq!(Association::default().solve(&tracks, &[face(2.0, 0.9)], THRESHOLDS), [None, Some(0)]);
    }

    #[test]
    fn what_is_unsure_is_looked_for_further_away() {
        let mut young = track(0.0, Standing::Tentative);
        let faces = [face(60.0, 0.9)];
        assert_eq!(Association::default().solve(&[young], &faces, THRESHOLDS), [None]);
        young.uncertainty = 0.7;
        assert_eq!(Association::default().solve(&[young], &faces, THRESHOLDS), [Some(0)]);
        assert_eq!(Association::default().solve(&[young], &[face(100.0, 0.9)], THRESHOLDS), [None], "within limits");
    }
}
