//! The part of a picture that a sign covers, and its raster for one picture size.
//!
//! An [`Area`] is a union of polygons in *normalised* coordinates (0…1 of the picture's width and height, y down), so it survives a
//! change of resolution. An [`AreaMask`] is its raster for one size, conservative: a pixel is inside only if the whole 2 × 2 block
//! that shares its chroma sample lies inside one polygon. So neither a luma nor a chroma sample that carries anything from outside
//! the area is ever read (C08).

use std::sync::Arc;

/// A vertex, normalised: (0, 0) is the picture's top-left corner, (1, 1) its bottom-right.
pub type Vertex = [f64; 2];

#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    polygons: Arc<[Vec<Vertex>]>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AreaError {
    #[error("an area needs at least one polygon")]
    Empty,
    #[error("polygon {polygon} has {count} vertices: at least 3 are needed, at most 64 allowed")]
    VertexCount { polygon: usize, count: usize },
    #[error("polygon {polygon}, vertex {vertex}: ({x}, {y}) is not within 0…1")]
    OutOfPicture { polygon: usize, vertex: usize, x: f64, y: f64 },
}

impl Area {
    pub fn new(polygons: Vec<Vec<Vertex>>) -> Result<Self, AreaError> {
        if polygons.is_empty() {
            return Err(AreaError::Empty);
        }
        for (polygon, vertices) in polygons.iter().enumerate() {
            if !(3..=64).contains(&vertices.len()) {
                return Err(AreaError::VertexCount { polygon, count: vertices.len() });
            }
            for (vertex, &[x, y]) in vertices.iter().enumerate() {
                if !((0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y)) {
                    return Err(AreaError::OutOfPicture { polygon, vertex, x, y });
                }
            }
        }
        Ok(Self { polygons: polygons.into() })
    }

    /// The whole picture.
    pub fn whole() -> Self {
        Self { polygons: vec![vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]].into() }
    }

    pub fn polygons(&self) -> &[Vec<Vertex>] {
        &self.polygons
    }

    /// Rasterises for a picture of `width` × `height` pixels.
    pub fn rasterise(&self, width: u32, height: u32) -> AreaMask {
        let mut rows: Vec<Vec<Span>> = vec![Vec::new(); height.div_ceil(2) as usize];
        for polygon in self.polygons.iter() {
            let scaled: Vec<Vertex> = polygon.iter().map(|p| [p[0] * f64::from(width), p[1] * f64::from(height)]).collect();
            let turns = turns(&scaled);
            for (pair, spans) in rows.iter_mut().enumerate() {
                let top = 2.0 * pair as f64;
                let bottom = (top + 2.0).min(f64::from(height));
                let inside = spans_within(&scaled, &turns, top, bottom, width);
                *spans = union(spans, &inside);
            }
        }
        AreaMask::new(width, height, rows)
    }
}

/// Half-open range of columns `[start, end)`. `start` is even; `end` is even or the picture's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// Where the scan line y crosses the polygon: sorted, pairs of (enter, leave) under the even-odd rule.
fn crossings(polygon: &[Vertex], y: f64) -> Vec<f64> {
    let mut xs = Vec::new();
    for (i, &[x0, y0]) in polygon.iter().enumerate() {
        let [x1, y1] = polygon[(i + 1) % polygon.len()];
        if (y0 <= y) != (y1 <= y) {
            xs.push(x0 + (y - y0) / (y1 - y0) * (x1 - x0));
        }
    }
    xs.sort_by(f64::total_cmp);
    xs
}

fn edges(polygon: &[Vertex]) -> Vec<(Vertex, Vertex)> {
    polygon.iter().enumerate().map(|(i, &v)| (v, polygon[(i + 1) % polygon.len()])).collect()
}

/// Where edge p–q meets the line through r and s. The line is longer than its edge: whoever wants the heights at which edges cross gets some
/// more, which does no harm. Parallel ones have none.
fn crossing_height((p, q): (Vertex, Vertex), (r, s): (Vertex, Vertex)) -> Option<f64> {
    let (d, e) = ([q[0] - p[0], q[1] - p[1]], [s[0] - r[0], s[1] - r[1]]);
    let cross = d[0] * e[1] - d[1] * e[0];
    let t = ((r[0] - p[0]) * e[1] - (r[1] - p[1]) * e[0]) / cross;
    (0.0..=1.0).contains(&t).then(|| p[1] + t * d[1])
}

/// The heights at which the order of a polygon's edges from left to right may change: its vertices, and where two edges cross. Sorted.
fn turns(polygon: &[Vertex]) -> Vec<f64> {
    let mut heights: Vec<f64> = polygon.iter().map(|v| v[1]).collect();
    let edges = edges(polygon);
    for (i, &edge) in edges.iter().enumerate() {
        heights.extend(edges[i + 1..].iter().filter_map(|&other| crossing_height(edge, other)));
    }
    heights.sort_by(f64::total_cmp);
    heights
}

/// Columns that are inside `polygon` for *every* y in `[top, bottom]`.
///
/// Between two of its [`turns`] a polygon is a row of trapezoids: the first crossing of a scan line with the second, the third with the
/// fourth. A column is inside throughout if it is inside the *same* trapezoid at both ends; inside one above and another below, it
/// may lie in the gap between them on the way. So the trapezoids of each such band are cut to what is common to their ends, and the bands
/// to what is common to all.
fn spans_within(polygon: &[Vertex], turns: &[f64], top: f64, bottom: f64, width: u32) -> Vec<Span> {
    const EPSILON: f64 = 1e-7;
    let from = turns.partition_point(|y| *y <= top);
    let mut heights = vec![top];
    heights.extend(turns[from..].iter().take_while(|y| **y < bottom));
    heights.push(bottom);
    let mut inside: Option<Vec<(f64, f64)>> = None;
    for band in heights.windows(2).filter(|band| band[1] - band[0] > 2.0 * EPSILON) {
        let (upper, lower) = (crossings(polygon, band[0] + EPSILON), crossings(polygon, band[1] - EPSILON));
        let trapezoids = upper.chunks_exact(2).zip(lower.chunks_exact(2)).map(|(u, l)| (u[0].max(l[0]), u[1].min(l[1])));
        // Without a turn in between the numbers are equal; should they not be, nothing is inside.
        let throughout: Vec<(f64, f64)> = trapezoids.filter(|(enter, leave)| upper.len() == lower.len() && enter < leave).collect();
        inside = Some(match inside {
            None => throughout,
            Some(old) => intersect(&old, &throughout),
        });
    }
    let mut spans = Vec::new();
    for (enter, leave) in inside.unwrap_or_default() {
        // The tolerance absorbs the scan lines' ε: a vertical border at x = 640 must not lose its column to rounding.
        let start = ((enter - 1e-4).max(0.0) / 2.0).ceil() * 2.0;
        let end = (leave + 1e-4).min(f64::from(width));
        let end = if end >= f64::from(width) { f64::from(width) } else { (end / 2.0).floor() * 2.0 };
        if start < end {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0…width")]
            spans.push(Span { start: start as u32, end: end as u32 });
        }
    }
    spans
}

/// Whether two polygons (even-odd rule) share more than their borders.
///
/// Between two heights at which a vertex lies or edges cross, neither polygon's crossings change order; so it is enough to compare
/// one scan line in the middle of each such band.
pub fn overlap(a: &[Vertex], b: &[Vertex]) -> bool {
    const SLIVER: f64 = 1e-9;
    let all: Vec<(Vertex, Vertex)> = edges(a).into_iter().chain(edges(b)).collect();
    let mut heights: Vec<f64> = all.iter().map(|(v, _)| v[1]).collect();
    for (i, &edge) in all.iter().enumerate() {
        heights.extend(all[i + 1..].iter().filter_map(|&other| crossing_height(edge, other)));
    }
    heights.sort_by(f64::total_cmp);
    heights.windows(2).filter(|band| band[1] - band[0] > SLIVER).any(|band| {
        let y = 0.5 * (band[0] + band[1]);
        let line = |p: &[Vertex]| -> Vec<(f64, f64)> { crossings(p, y).chunks_exact(2).map(|c| (c[0], c[1])).collect() };
        intersect(&line(a), &line(b)).iter().any(|(start, end)| end - start > SLIVER)
    })
}

/// Which share of the picture a union of polygons covers (even-odd rule each), 0 to 1.
///
/// As in [`overlap`]: within a band no two edges cross, so the covered length changes linearly and the band's middle has its mean.
pub fn share(polygons: &[&[Vertex]]) -> f64 {
    let all: Vec<(Vertex, Vertex)> = polygons.iter().flat_map(|p| edges(p)).collect();
    let mut heights: Vec<f64> = all.iter().map(|(v, _)| v[1]).collect();
    for (i, &edge) in all.iter().enumerate() {
        heights.extend(all[i + 1..].iter().filter_map(|&other| crossing_height(edge, other)));
    }
    heights.sort_by(f64::total_cmp);
    let covered = |y: f64| {
        let mut pieces: Vec<(f64, f64)> =
            polygons.iter().flat_map(|p| crossings(p, y).chunks_exact(2).map(|c| (c[0], c[1])).collect::<Vec<_>>()).collect();
        pieces.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut length, mut reached) = (0.0, 0.0_f64);
        for (start, end) in pieces {
            length += (end - start.max(reached)).max(0.0);
            reached = reached.max(end);
        }
        length
    };
    let bands = heights.windows(2).filter(|band| band[1] > band[0]);
    bands.map(|band| (band[1] - band[0]) * covered(0.5 * (band[0] + band[1]))).sum::<f64>().clamp(0.0, 1.0)
}

fn intersect(a: &[(f64, f64)], b: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x.0.max(y.0), x.1.min(y.1))));
    pairs.filter(|(start, end)| start < end).collect()
}

fn union(a: &[Span], b: &[Span]) -> Vec<Span> {
    let mut all: Vec<Span> = a.iter().chain(b).copied().collect();
    all.sort_by_key(|s| s.start);
    let mut merged: Vec<Span> = Vec::with_capacity(all.len());
    for span in all {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// Pixels: `[x0, x1) × [y0, y1)`. x0 and y0 are even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelBounds {
    pub x0: u32,
    pub y0: u32,
    pub x1: u32,
    pub y1: u32,
}

impl PixelBounds {
    pub const fn width(&self) -> u32 {
        self.x1 - self.x0
    }
    pub const fn height(&self) -> u32 {
        self.y1 - self.y0
    }
}

/// The raster of an [`Area`] for one picture size.
#[derive(Clone, Debug, PartialEq)]
pub struct AreaMask {
    width: u32,
    height: u32,
    /// One entry per *pair* of rows (they share chroma): sorted, disjoint spans.
    rows: Vec<Vec<Span>>,
    bounds: Option<PixelBounds>,
}

impl AreaMask {
    fn new(width: u32, height: u32, rows: Vec<Vec<Span>>) -> Self {
        let mut bounds: Option<PixelBounds> = None;
        for (pair, spans) in rows.iter().enumerate() {
            let (Some(first), Some(last)) = (spans.first(), spans.last()) else { continue };
            #[expect(clippy::cast_possible_truncation, reason = "pair < height")]
            let y0 = 2 * pair as u32;
            let row = PixelBounds { x0: first.start, y0, x1: last.end, y1: (y0 + 2).min(height) };
            bounds = Some(bounds.map_or(row, |b| PixelBounds { x0: b.x0.min(row.x0), y0: b.y0, x1: b.x1.max(row.x1), y1: row.y1 }));
        }
        Self { width, height, rows, bounds }
    }

    pub const fn width(&self) -> u32 {
        self.width
    }
    pub const fn height(&self) -> u32 {
        self.height
    }
    /// The smallest rectangle that holds every inside pixel; `None` when no pixel is inside.
    pub const fn bounds(&self) -> Option<PixelBounds> {
        self.bounds
    }
    /// The inside columns of row `y`: sorted, disjoint. Empty below the picture.
    pub fn spans(&self, y: u32) -> &[Span] {
        self.rows.get((y / 2) as usize).map_or(&[], Vec::as_slice)
    }
    pub fn contains(&self, x: u32, y: u32) -> bool {
        y < self.height && self.spans(y).iter().any(|s| (s.start..s.end).contains(&x))
    }
    /// Whether a point in pixel coordinates (pixel (0, 0) covers [0, 1) × [0, 1)) lies on an inside pixel.
    pub fn contains_point(&self, x: f32, y: f32) -> bool {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked non-negative")]
        let inside = x >= 0.0 && y >= 0.0 && self.contains(x as u32, y as u32);
        inside
    }
    /// True when every pixel is inside: the reader may skip masking.
    pub fn is_whole(&self) -> bool {
        self.rows.iter().all(|r| matches!(r.as_slice(), [Span { start: 0, end }] if *end == self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_picture_has_no_outside_at_any_size() {
        for (w, h) in [(640, 480), (641, 479), (1, 1), (2, 3)] {
            let mask = Area::whole().rasterise(w, h);
            assert!(mask.is_whole(), "{w}×{h}");
            assert_eq!(mask.bounds(), Some(PixelBounds { x0: 0, y0: 0, x1: w, y1: h }));
        }
    }

    #[test]
    fn a_triangle_holds_no_pixel_whose_block_pokes_out() {
        let area = Area::new(vec![vec![[0.1, 0.9], [0.5, 0.05], [0.93, 0.81]]]).expect("valid");
        let (w, h) = (173_u32, 99_u32);
        let mask = area.rasterise(w, h);
        let corner_inside = |x: f64, y: f64| {
            let p: Vec<Vertex> = area.polygons()[0].iter().map(|v| [v[0] * f64::from(w), v[1] * f64::from(h)]).collect();
            crossings(&p, y).chunks_exact(2).any(|c| c[0] - 1e-3 <= x && x <= c[1] + 1e-3)
        };
        let mut inside = 0;
        for y in 0..h {
            for x in 0..w {
                if mask.contains(x, y) {
                    inside += 1;
                    let (bx, by) = (f64::from(x / 2 * 2), f64::from(y / 2 * 2));
                    for (cx, cy) in [(0.0, 1e-6), (2.0, 1e-6), (0.0, 2.0 - 1e-6), (2.0, 2.0 - 1e-6)] {
                        assert!(corner_inside(bx + cx, by + cy), "pixel {x},{y}");
                    }
                }
            }
        }
        assert!(inside > 4_000, "{inside}");
    }

    #[test]
    fn an_area_whose_edges_cross_within_two_rows_does_not_hold_the_crossing() {
        // An hourglass whose waist lies amid a pair of rows, where neither end of the rows sees it.
        let (h, waist) = (100.0_f64, 51.0_f64);
        let y = |rows: f64| (waist + rows) / h;
        let area = Area::new(vec![vec![[0.1, y(-1.5)], [0.9, y(-1.5)], [0.1, y(1.5)], [0.9, y(1.5)]]]).expect("valid");
        let mask = area.rasterise(200, 100);
        assert!((0..200).all(|x| !mask.contains(x, 50)), "{:?}", mask.spans(50));
    }

    #[test]
    fn a_gap_that_runs_between_two_parts_of_an_area_is_in_neither() {
        // Two slanting bars of one polygon: at the rows' upper end a column is in the left one, at their lower end in the right one.
        let point = |x: f64, y: f64| [x / 100.0, y / 100.0];
        let bars = [(60.0, 0.0), (76.0, 0.0), (16.0, 100.0), (17.0, 100.0), (77.0, 0.0), (93.0, 0.0), (33.0, 100.0), (0.0, 100.0)];
        let area = Area::new(vec![bars.iter().map(|&(x, y)| point(x, y)).collect()]).expect("valid");
        let mask = area.rasterise(100, 100);
        for y in 0..100 {
            let polygon = &area.polygons()[0];
            let scaled: Vec<Vertex> = polygon.iter().map(|v| [v[0] * 100.0, v[1] * 100.0]).collect();
            let middle = crossings(&scaled, f64::from(y) + 0.5);
            let held = |x: f64| middle.chunks_exact(2).any(|c| c[0] <= x && x <= c[1]);
            assert!((0..100).filter(|x| mask.contains(*x, y)).all(|x| held(f64::from(x) + 0.5)), "row {y}: {:?}", mask.spans(y));
        }
        assert!(mask.bounds().is_some());
    }

    #[test]
    fn overlap_means_a_shared_interior() {
        let square = |x: f64, y: f64, side: f64| vec![[x, y], [x + side, y], [x + side, y + side], [x, y + side]];
        let base = square(0.2, 0.2, 0.4);
        assert!(overlap(&base, &base), "itself");
        assert!(overlap(&base, &square(0.3, 0.3, 0.1)) && overlap(&square(0.3, 0.3, 0.1), &base), "one within the other");
        assert!(overlap(&base, &square(0.59, 0.59, 0.3)), "a corner");
        assert!(!overlap(&base, &square(0.6, 0.2, 0.4)), "a shared border");
        assert!(!overlap(&base, &square(0.6, 0.6, 0.2)), "a shared corner");
        // A cross: no vertex of either lies in the other.
        let (wide, tall) = (vec![[0.0, 0.4], [1.0, 0.4], [1.0, 0.5], [0.0, 0.5]], vec![[0.4, 0.0], [0.5, 0.0], [0.5, 1.0], [0.4, 1.0]]);
        assert!(overlap(&wide, &tall));
        // Inside an L's bounding box, but not in the L.
        let ell = vec![[0.0, 0.0], [0.2, 0.0], [0.2, 0.8], [1.0, 0.8], [1.0, 1.0], [0.0, 1.0]];
        assert!(!overlap(&ell, &square(0.3, 0.1, 0.5)) && overlap(&ell, &square(0.3, 0.1, 0.7001)));
    }

    #[test]
    fn the_share_counts_shared_pixels_once() {
        let square = |x: f64, y: f64, side: f64| vec![[x, y], [x + side, y], [x + side, y + side], [x, y + side]];
        let near = |polygons: &[&[Vertex]], expected: f64| {
            let share = share(polygons);
            assert!((share - expected).abs() < 1e-9, "{share} is not {expected}");
        };
        let (base, corner, far) = (square(0.2, 0.2, 0.4), square(0.5, 0.5, 0.3), square(0.9, 0.0, 0.1));
        near(&[], 0.0);
        near(&[&base], 0.16);
        near(&[&base, &base], 0.16);
        near(&[&base, &corner], 0.16 + 0.09 - 0.01);
        near(&[&base, &corner, &far], 0.25);
        near(&[&[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]], 0.5);
        // A bow tie: signed areas would cancel.
        near(&[&[[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]], 0.5);
    }

    #[test]
    fn polygons_unite_and_bad_ones_are_named() {
        let left = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
        let right = vec![[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]];
        assert!(Area::new(vec![left.clone(), right]).expect("valid").rasterise(64, 64).is_whole());
        assert_eq!(Area::new(vec![]), Err(AreaError::Empty));
        assert!(matches!(Area::new(vec![left[..2].to_vec()]), Err(AreaError::VertexCount { polygon: 0, count: 2 })));
        assert!(matches!(Area::new(vec![vec![[0.0, 0.0], [1.5, 0.0], [0.0, 1.0]]]), Err(AreaError::OutOfPicture { vertex: 1, .. })));
        assert!(Area::new(vec![vec![[f64::NAN, 0.0], [1.0, 0.0], [0.0, 1.0]]]).is_err());
    }
}
