//! Whether a camera still looks where it looked: its picture's coarse edges against those of the commissioned picture.
//!
//! The picture's luma is averaged over [`COLUMNS`] × [`ROWS`] cells (each some 1/60 of its width), and of each cell only the *direction* of the gradient is kept, in
//! eight steps, or that there is none. Light changes how strong an edge is and hardly where it points; people cover cells for
//! seconds, walls stay. From 2,304 directions no picture can be rebuilt and nobody recognised: a person is a few cells large.
//!
//! ```text
//! agreement(shift) = cells with an edge then, whose direction now, shifted, is the same or next to it / cells with an edge then
//! steady           = agreement(0) is enough, and no other shift agrees clearly better
//! ```
//!
//! This looks at the whole picture, also outside the signed area, because a camera that was turned shows it nowhere else. It is allowed to
//! by a permit for nothing else (`Attest`), keeps averages over some hundred pixels alone, and wipes them in the same call.

use crate::frame::Pixels;
use zeroize::Zeroize;

pub const COLUMNS: usize = 64;
pub const ROWS: usize = 36;
const CELLS: usize = COLUMNS * ROWS;
/// No edge in the cell.
const FLAT: u8 = 0;
/// Directions are 1 to this.
const DIRECTIONS: u8 = 8;
/// A gradient below this share of the brightness around it is none.
const LEAST_CONTRAST: f32 = 0.05;
/// Cells that a shift is searched over, each way.
const REACH: isize = 10;
/// Share of the commissioned edges that must be there still. A hall full of people keeps more; another view has about a third by chance.
const LEAST_AGREEMENT: f32 = 0.42;
/// Another shift must agree better by this to be believed.
const CLEARLY: f32 = 0.08;
/// Fewer commissioned edges than this say nothing: such a picture cannot be told from another.
pub const LEAST_EDGES: usize = 120;

/// What of a picture drift is measured against.
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint(Box<[u8; CELLS]>);

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprint({} edges)", self.edges())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a view's fingerprint has {need} hexadecimal digits from 0 to {DIRECTIONS}: learn it anew with `placard sign view`", need = CELLS)]
pub struct NoFingerprint;

/// How a picture compares with the commissioned one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// By which the two agree best: how far the view has moved, as fractions of width and height.
    pub shift: (f32, f32),
    /// Share of the commissioned edges that are where they were.
    pub agreement: f32,
    /// The same at the best shift.
    pub best: f32,
}

impl Comparison {
    pub fn is_steady(&self) -> bool {
        self.agreement >= LEAST_AGREEMENT && self.best - self.agreement <= CLEARLY
    }
}

impl Fingerprint {
    /// Of a picture. What was averaged is wiped before this returns.
    pub fn of(pixels: &Pixels) -> Self {
        let mut means = [0.0_f32; CELLS];
        average(pixels, &mut means);
        let mut cells = Box::new([FLAT; CELLS]);
        for row in 1..ROWS - 1 {
            for column in 1..COLUMNS - 1 {
                cells[row * COLUMNS + column] = direction(&means, row, column);
            }
        }
        means.zeroize();
        Self(cells)
    }

    pub fn edges(&self) -> usize {
        self.0.iter().filter(|c| **c != FLAT).count()
    }

    /// One digit a cell, row by row.
    pub fn hex(&self) -> String {
        self.0.iter().map(|c| char::from(b'0' + c)).collect()
    }

    pub fn from_hex(text: &str) -> Result<Self, NoFingerprint> {
        let digit = |c: u8| c.checked_sub(b'0').filter(|d| *d <= DIRECTIONS);
        let cells: Vec<u8> = text.bytes().map(digit).collect::<Option<_>>().ok_or(NoFingerprint)?;
        Ok(Self(Box::new(cells.try_into().map_err(|_| NoFingerprint)?)))
    }

    /// Of many pictures of one view: the edges that most of them agree on, so that who walked by is forgotten.
    pub fn settled(many: &[Self]) -> Option<Self> {
        let mut cells = Box::new([FLAT; CELLS]);
        for (i, cell) in cells.iter_mut().enumerate() {
            let mut votes = [0_usize; DIRECTIONS as usize + 1];
            many.iter().for_each(|f| votes[usize::from(f.0[i])] += 1);
            let (most, count) = votes.iter().enumerate().max_by_key(|(_, n)| **n)?;
            if count * 5 >= many.len() * 3 {
                *cell = u8::try_from(most).unwrap_or(FLAT);
            }
        }
        (!many.is_empty()).then_some(Self(cells))
    }

    /// How `now` compares with this, the commissioned one.
    pub fn compare(&self, now: &Self) -> Comparison {
        let agreement = self.agreement(now, 0, 0);
        let (mut best, mut shift) = (agreement, (0, 0));
        for down in -REACH..=REACH {
            for right in -REACH..=REACH {
                let share = self.agreement(now, right, down);
                if share > best {
                    (best, shift) = (share, (right, down));
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a few cells")]
        let shift = (shift.0 as f32 / COLUMNS as f32, shift.1 as f32 / ROWS as f32);
        Comparison { shift, agreement, best }
    }

    /// Share of this one's edges that are in `now`, `right` and `down` cells further on; 0 where too few can be asked.
    fn agreement(&self, now: &Self, right: isize, down: isize) -> f32 {
        let (mut asked, mut agreed) = (0_usize, 0_usize);
        for row in 0..ROWS {
            let Some(there) = row.checked_add_signed(down).filter(|r| *r < ROWS) else { continue };
            for column in 0..COLUMNS {
                let was = self.0[row * COLUMNS + column];
                if was == FLAT {
                    continue;
                }
                let Some(across) = column.checked_add_signed(right).filter(|c| *c < COLUMNS) else { continue };
                let is = now.0[there * COLUMNS + across];
                asked += 1;
                let apart = was.abs_diff(is);
                agreed += usize::from(is != FLAT && (apart <= 1 || apart == DIRECTIONS - 1));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "some thousand cells")]
        let share = agreed as f32 / asked.max(1) as f32;
        if asked * 2 < self.edges() { 0.0 } else { share }
    }
}

/// Mean luma of each cell; every second pixel of every second row is enough.
fn average(pixels: &Pixels, means: &mut [f32; CELLS]) {
    let (width, height) = (pixels.header.width as usize, pixels.header.height as usize);
    let samples = pixels.header.layout.luma();
    let (plane, stride) = (pixels.planes[samples.plane], pixels.header.strides[samples.plane]);
    for row in 0..ROWS {
        let rows = (row * height / ROWS, (row + 1) * height / ROWS);
        let mut sums = [(0_u32, 0_u32); COLUMNS];
        for y in (rows.0..rows.1.max(rows.0 + 1).min(height)).step_by(2) {
            let line = &plane[y * stride..];
            for (column, sum) in sums.iter_mut().enumerate() {
                let (from, to) = (column * width / COLUMNS, (column + 1) * width / COLUMNS);
                for x in (from..to.max(from + 1).min(width)).step_by(2) {
                    sum.0 += u32::from(samples.of(line, x));
                    sum.1 += 1;
                }
            }
        }
        for (column, (sum, count)) in sums.into_iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "far below 2²⁴")]
            let mean = sum as f32 / count.max(1) as f32;
            means[row * COLUMNS + column] = mean;
        }
    }
}

fn direction(means: &[f32; CELLS], row: usize, column: usize) -> u8 {
    let at = |r: usize, c: usize| means[r * COLUMNS + c];
    let across = at(row, column + 1) - at(row, column - 1);
    let along = at(row + 1, column) - at(row - 1, column);
    let around = (at(row, column + 1) + at(row, column - 1) + at(row + 1, column) + at(row - 1, column)) * 0.25;
    // Black is 16 in most pictures; what is nearly black has no edges that light would leave alone.
    if across.hypot(along) < LEAST_CONTRAST * (around - 8.0).max(16.0) {
        return FLAT;
    }
    let turn = along.atan2(across) / std::f32::consts::TAU + 1.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 8")]
    let step = (turn * f32::from(DIRECTIONS)).round() as u8 % DIRECTIONS;
    step + 1
}
