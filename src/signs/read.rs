//! Reading a sign's code in a picture: in the sign's place and nowhere else.
//!
//! ```text
//! luma of the place, grown by the tolerance ──▶ enlarged (a module is some 6 pixels then) ──▶ dark or light, by what is around it
//!    ├─▶ finder patterns, perspective, Reed-Solomon (rqrr)            where the code is *found*: it may have moved
//!    └─▶ otherwise: modules looked up where the code hung when commissioned, a little to each side; Reed-Solomon
//! ```
//!
//! The second way reads codes whose finder patterns are too small, blurred or half covered to be found. Nothing outside the place is
//! looked at. Luma that was copied is wiped when the look is over; the decoder of codes is given one bit a pixel.

use rqrr::{BitGrid, Grid, PreparedImage, SimpleGrid};
use zeroize::Zeroize;

use crate::area::Vertex;
use crate::frame::{Pixels, Point};

/// The place is enlarged until a module is about so many pixels wide.
const MODULE_PX: f32 = 6.0;
/// Sizes of codes that signs have, modules; the most usual first.
const SIZES: [usize; 5] = [41, 45, 49, 37, 33];
/// Enlarged places have at most so many pixels.
const MOST_PIXELS: usize = 1_600_000;
const MOST_TIMES: f32 = 8.0;
/// Share of a finder pattern's modules that must be right before a code is tried.
const FINDER_SHARE: f32 = 0.84;

/// A code that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub text: String,
    /// Clockwise from the code's own top left, pixels of the picture.
    pub corners: [Point; 4],
}

/// Reads codes; keeps its memory from look to look.
#[derive(Default)]
pub struct Reader {
    /// The place's luma as it is in the picture.
    luma: Vec<u8>,
    /// Enlarged.
    large: Vec<u8>,
    /// Sums of `large` from the top left, one row and column more.
    sums: Vec<u32>,
    dark: Vec<bool>,
}

impl Drop for Reader {
    /// Also when a look ended in a panic.
    fn drop(&mut self) {
        self.wipe();
    }
}

/// A part of the picture, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Place {
    /// The box around `corners`, grown on every side.
    fn around(corners: &[Point; 4], grown: f32, width: u32, height: u32) -> Option<Self> {
        let (xs, ys) = (corners.map(|c| c.x), corners.map(|c| c.y));
        let span = |values: [f32; 4], limit: u32| {
            let low = values.into_iter().fold(f32::MAX, f32::min) - grown;
            let high = values.into_iter().fold(f32::MIN, f32::max) + grown;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture")]
            let clamp = |v: f32| v.clamp(0.0, limit as f32) as usize;
            (clamp(low.floor()), clamp(high.ceil()))
        };
        let ((x0, x1), (y0, y1)) = (span(xs, width), span(ys, height));
        (x1 > x0 + 8 && y1 > y0 + 8).then_some(Self { x: x0, y: y0, width: x1 - x0, height: y1 - y0 })
    }

    /// What of it lies within the box around the area that the permit opened.
    fn within(self, pixels: &Pixels) -> Option<Self> {
        let vertices = || pixels.area.polygons().iter().flatten();
        let bounds = |axis: usize, size: u32| {
            let (low, high) = vertices().fold((1.0_f64, 0.0_f64), |(low, high), v| (low.min(v[axis]), high.max(v[axis])));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1 times a picture's size")]
            let px = |v: f64| (v * f64::from(size)) as usize;
            (px(low), px(high))
        };
        let ((left, right), (top, bottom)) = (bounds(0, pixels.header.width), bounds(1, pixels.header.height));
        let (x0, x1) = (self.x.max(left), (self.x + self.width).min(right));
        let (y0, y1) = (self.y.max(top), (self.y + self.height).min(bottom));
        (x1 > x0 + 8 && y1 > y0 + 8).then(|| Self { x: x0, y: y0, width: x1 - x0, height: y1 - y0 })
    }
}

/// `corners` of a view in pixels of a picture of this size.
pub fn in_pixels(corners: &[Vertex; 4], width: u32, height: u32) -> [Point; 4] {
    #[expect(clippy::cast_possible_truncation, reason = "a picture's coordinates")]
    corners.map(|[x, y]| Point { x: (x * f64::from(width)) as f32, y: (y * f64::from(height)) as f32 })
}

impl Reader {
    /// The code in its place, if it can be read: `corners` is where it hung when commissioned, `tolerance` how far it may have moved, both in
    /// pixels.
    pub fn read(&mut self, pixels: &Pixels, corners: &[Point; 4], tolerance: f32) -> Option<Found> {
        let side = corners.iter().zip(corners.iter().cycle().skip(1)).map(|(a, b)| (a.x - b.x).hypot(a.y - b.y)).sum::<f32>() / 4.0;
        let place = Place::around(corners, 1.5 * tolerance + 0.18 * side, pixels.header.width, pixels.header.height)?.within(pixels)?;
        let found = self.look(pixels, place, side, corners);
        self.wipe();
        found
    }

    /// The largest code anywhere in the picture: for commissioning, when nobody knows where it hangs.
    pub fn search(&mut self, pixels: &Pixels) -> Option<Found> {
        let (width, height) = (pixels.header.width as usize, pixels.header.height as usize);
        let place = Place { x: 0, y: 0, width, height };
        let found = [2.0_f32, 3.0, 1.0, 4.0, 1.5].into_iter().find_map(|times| {
            let times = times.min((4.0 * MOST_PIXELS as f32 / (width * height) as f32).sqrt());
            let (w, h) = self.enlarge(pixels, place, times)?;
            self.part(w, h, 40);
            self.find(w, h, place, times)
        });
        self.wipe();
        found
    }

    fn wipe(&mut self) {
        self.luma.zeroize();
        self.large.zeroize();
        self.sums.zeroize();
        self.dark.fill(false);
    }

    fn look(&mut self, pixels: &Pixels, place: Place, side: f32, corners: &[Point; 4]) -> Option<Found> {
        let most = (MOST_PIXELS as f32 / (place.width * place.height) as f32).sqrt();
        let times = (MODULE_PX * SIZES[0] as f32 / side).clamp(0.25, MOST_TIMES).min(most);
        let (width, height) = self.enlarge(pixels, place, times)?;
        // What is dark is dark among some five modules to each side.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some tens of pixels")]
        let reach = (side * times / SIZES[0] as f32 * 5.0).clamp(8.0, 400.0) as usize;
        self.part(width, height, reach);
        let found = self.find(width, height, place, times);
        found.or_else(|| self.look_up(width, height, place, times, corners))
    }

    /// Copies the place and enlarges it, smoothly; (width, height) of what came out.
    fn enlarge(&mut self, pixels: &Pixels, place: Place, times: f32) -> Option<(usize, usize)> {
        let samples = pixels.header.layout.luma();
        let (plane, stride) = (pixels.planes[samples.plane], pixels.header.strides[samples.plane]);
        self.luma.clear();
        for y in place.y..place.y + place.height {
            let line = plane.get(y * stride..)?;
            self.luma.extend((place.x..place.x + place.width).map(|x| samples.of(line, x)));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by MOST_PIXELS")]
        let size = |n: usize| (n as f32 * times) as usize;
        let (width, height) = (size(place.width), size(place.height));
        self.large.clear();
        let columns: Vec<[(usize, f32); 4]> = (0..width).map(|x| taps(x, times, place.width)).collect();
        let mut row = vec![0.0_f32; place.width];
        for y in 0..height {
            let rows = taps(y, times, place.height);
            for (x, sum) in row.iter_mut().enumerate() {
                *sum = rows.iter().map(|(r, weight)| f32::from(self.luma[r * place.width + x]) * weight).sum();
            }
            self.large.extend(columns.iter().map(|taps| {
                let value: f32 = taps.iter().map(|(c, weight)| row[*c] * weight).sum();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
                let byte = value.clamp(0.0, 255.0) as u8;
                byte
            }));
        }
        row.zeroize();
        (width > 20 && height > 20).then_some((width, height))
    }

    /// Dark or light: darker than the mean of what is within `reach`.
    fn part(&mut self, width: usize, height: usize, reach: usize) {
        let across = width + 1;
        self.sums.clear();
        self.sums.resize(across * (height + 1), 0);
        for y in 0..height {
            let mut line = 0;
            for x in 0..width {
                line += u32::from(self.large[y * width + x]);
                self.sums[(y + 1) * across + x + 1] = self.sums[y * across + x + 1] + line;
            }
        }
        self.dark.clear();
        for y in 0..height {
            let (y0, y1) = (y.saturating_sub(reach), (y + reach + 1).min(height));
            for x in 0..width {
                let (x0, x1) = (x.saturating_sub(reach), (x + reach + 1).min(width));
                let at = |y: usize, x: usize| self.sums[y * across + x];
                let sum = (at(y1, x1) + at(y0, x0)).wrapping_sub(at(y0, x1)).wrapping_sub(at(y1, x0));
                let count = ((y1 - y0) * (x1 - x0)) as f32;
                let mean = sum as f32 / count;
                // Noise on a plain ground is not dark.
                self.dark.push(f32::from(self.large[y * width + x]) < mean - (0.02 * mean + 1.0));
            }
        }
    }

    fn find(&self, width: usize, height: usize, place: Place, times: f32) -> Option<Found> {
        let mut image = PreparedImage::prepare_from_bitmap(width, height, |x, y| self.dark[y * width + x]);
        let mut best: Option<(f32, Found)> = None;
        for grid in image.detect_grids() {
            let Ok((_, text)) = grid.decode() else { continue };
            let corners = corners_of(&grid).map(|c| Point { x: place.x as f32 + c.x / times, y: place.y as f32 + c.y / times });
            let side = (corners[0].x - corners[1].x).hypot(corners[0].y - corners[1].y);
            if best.as_ref().is_none_or(|(largest, _)| side > *largest) {
                best = Some((side, Found { text, corners }));
            }
        }
        best.map(|(_, found)| found)
    }

    /// Looks modules up where the code hung. What is found this way has not moved.
    fn look_up(&self, width: usize, height: usize, place: Place, times: f32, corners: &[Point; 4]) -> Option<Found> {
        let enlarged = corners.map(|c| Point { x: (c.x - place.x as f32) * times, y: (c.y - place.y as f32) * times });
        let dark = |p: Point| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked against the size")]
            let (x, y) = (p.x as usize, p.y as usize);
            p.x >= 0.0 && p.y >= 0.0 && x < width && y < height && self.dark[y * width + x]
        };
        for size in SIZES {
            let square = Square::onto(&enlarged)?;
            let module = 1.0 / size as f32;
            for step in steps() {
                let at = |x: usize, y: usize| dark(square.at((x as f32 + 0.5 + step.0) * module, (y as f32 + 0.5 + step.1) * module));
                if !has_finders(size, &at) {
                    continue;
                }
                let grid = Grid::new(SimpleGrid::from_func(size, at));
                if let Ok((_, text)) = grid.decode() {
                    return Some(Found { text, corners: *corners });
                }
            }
        }
        None
    }
}

/// Where within a module to look, and a little beyond: the middle first.
fn steps() -> impl Iterator<Item = (f32, f32)> {
    const STEPS: [f32; 7] = [0.0, -0.3, 0.3, -0.6, 0.6, -0.9, 0.9];
    STEPS.into_iter().flat_map(|y| STEPS.into_iter().map(move |x| (x, y)))
}

/// Whether the three patterns by which a code is known are there, mostly.
fn has_finders(size: usize, dark: &dyn Fn(usize, usize) -> bool) -> bool {
    let pattern = |x: usize, y: usize| {
        let ring = x.min(6 - x).min(y.min(6 - y));
        ring != 1
    };
    [(0, 0), (size - 7, 0), (0, size - 7)].into_iter().all(|(left, top)| {
        let right = (0..49).filter(|i| dark(left + i % 7, top + i / 7) == pattern(i % 7, i / 7)).count();
        right as f32 >= FINDER_SHARE * 49.0
    })
}

/// rqrr answers where the row and column after the last would end.
fn corners_of<G: BitGrid>(grid: &Grid<G>) -> [Point; 4] {
    let size = grid.grid.size() as f32;
    let [a, b, c, d] = grid.bounds.map(|p| Point { x: p.x as f32, y: p.y as f32 });
    let share = size / (size + 1.0);
    let towards = |from: Point, to: Point| Point { x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share };
    [a, towards(a, b), towards(a, c), towards(a, d)]
}

/// Weights of the four samples nearest to enlarged pixel `i` (Catmull-Rom); plain averages where the picture is made smaller.
fn taps(i: usize, times: f32, count: usize) -> [(usize, f32); 4] {
    let at = (i as f32 + 0.5) / times - 0.5;
    let t = at - at.floor();
    let weights =
        [t * (-0.5 + t - 0.5 * t * t), 1.0 + t * t * (-2.5 + 1.5 * t), t * (0.5 + 2.0 * t - 1.5 * t * t), t * t * (-0.5 + 0.5 * t)];
    #[expect(clippy::cast_possible_truncation, reason = "a place's coordinates")]
    let first = at.floor() as isize - 1;
    std::array::from_fn(|k| {
        let sample = (first + k.cast_signed()).clamp(0, count.cast_signed() - 1);
        (sample.unsigned_abs(), weights[k])
    })
}

/// The perspective that takes the unit square onto four corners (Heckbert 1989).
struct Square([f32; 8]);

impl Square {
    fn onto([a, b, c, d]: &[Point; 4]) -> Option<Self> {
        let (dx1, dx2, sx) = (b.x - c.x, d.x - c.x, a.x - b.x + c.x - d.x);
        let (dy1, dy2, sy) = (b.y - c.y, d.y - c.y, a.y - b.y + c.y - d.y);
        let det = dx1 * dy2 - dx2 * dy1;
        if det.abs() < 1e-6 {
            return None;
        }
        let (g, h) = ((sx * dy2 - dx2 * sy) / det, (dx1 * sy - sx * dy1) / det);
        Some(Self([b.x - a.x + g * b.x, d.x - a.x + h * d.x, a.x, b.y - a.y + g * b.y, d.y - a.y + h * d.y, a.y, g, h]))
    }

    fn at(&self, u: f32, v: f32) -> Point {
        let [a, b, c, d, e, f, g, h] = self.0;
        let w = g * u + h * v + 1.0;
        Point { x: (a * u + b * v + c) / w, y: (d * u + e * v + f) / w }
    }
}

#[cfg(test)]
pub(crate) mod tests;
