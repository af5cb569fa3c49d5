//! One picture through the plan, a pair of rows at a time.
//!
//! Every unit owns a ring of [`RING`] rows of what its 1 × 1 convolution made (*mixed* rows). As soon as three rows of it are there, the 3 × 3
//! convolution makes two rows of output from four mixed ones, in chunks that stay in the first-level cache, and each chunk goes straight
//! through the 1 × 1 convolutions of all units that read it. No unit's output is ever written out whole, except where a smaller
//! picture is added later. The rings fit the second-level cache.
//!
//! ```text
//! rows of the picture → stem ─chunk→ mix 0 ═ring═ look 0 ─chunk→ mix 1 ═ring═ look 1 ─ … ─→ heads
//! when a smaller unit is complete: kept + enlarged ─chunk→ mix ═ring═ look ─ … ─→ heads
//! ```
//!
//! What the numbers are is an [`Arithmetic`]'s business: fp32 or 8 bits, in portable code or with an instruction set's vectors. All indices are checked
//! by slices here; kernels check their slices' lengths once a chunk. Owned by one worker; nothing is allocated per picture.

use std::sync::Arc;

use zeroize::{DefaultIsZeroes, Zeroize as _};

use super::graph::{Graph, HEAD, STEM, Source};
use super::rows::Rows;

/// Rows that a ring holds: four that are looked at, and one more where two come at once.
const RING: usize = 5;

/// Three rows of three planes, for the stem.
pub type StemRows<'a, T> = [[&'a [T]; 3]; 3];
/// Four rows to look at.
pub type Seen<'a, T> = [&'a [T]; 4];
/// Two rows of output.
pub type TwoRows<'a, T> = [&'a mut [T]; 2];

/// The sums of one kind of numbers.
pub trait Arithmetic: Send + Sync {
    type Value: DefaultIsZeroes + Send + Sync;

    /// What the values are, for people.
    const NUMBERS: &'static str;

    /// Pixels of a chunk, a multiple of eight.
    fn chunk(&self) -> usize;
    /// A row of the picture, as it is kept for the stem.
    fn take(&self, row: &[f32], out: &mut [Self::Value]);
    /// `rows[ky][plane]` begin at the column before the first one; `out` holds some pixels, a multiple of eight.
    fn stem(&self, rows: StemRows<'_, Self::Value>, out: &mut [Self::Value]);
    /// What stands beside a unit's mixed rows, one value a channel.
    fn padding(&self, unit: usize) -> &[Self::Value];
    /// The unit's 1 × 1 convolution of as many pixels as `out` holds.
    fn mix(&self, unit: usize, pixels: &[Self::Value], out: &mut [Self::Value]);
    /// The unit's 3 × 3 convolution and ReLU: two rows from four, which begin one pixel before the first.
    fn look(&self, unit: usize, rows: Seen<'_, Self::Value>, out: TwoRows<'_, Self::Value>);
    fn pool(&self, channels: usize, rows: [&[Self::Value]; 2], out: &mut [Self::Value]);
    /// `kept` and, pixel for two pixels, `enlarged`.
    fn sum(&self, channels: usize, kept: &[Self::Value], enlarged: &[Self::Value], out: &mut [Self::Value]);
    fn head_mix(&self, head: usize, pixels: &[Self::Value], out: &mut [f32]);
    fn head_look(&self, head: usize, rows: Seen<'_, f32>, out: TwoRows<'_, f32>);
    /// 1 / (1 + e^−x), in place.
    fn squash(&self, values: &mut [f32]);
}

/// Who reads what a unit says.
#[derive(Clone, Default)]
struct Readers {
    plain: Vec<usize>,
    pooled: Vec<usize>,
    heads: Vec<usize>,
}

struct Stage<T> {
    ring: Rows<T>,
    edge: Rows<T>,
    /// The output as a whole, where it is added to another later.
    whole: Option<Rows<T>>,
    width: usize,
    height: usize,
    channels: usize,
    /// Rows that have been mixed, and pairs of rows that have been looked at, of this picture.
    mixed: usize,
    pairs: usize,
}

impl<T: Copy + Default> Stage<T> {
    fn new(width: usize, height: usize, padding: &[T], whole: bool) -> Self {
        let whole = whole.then(|| Rows::new(height.next_multiple_of(2), width, &vec![T::default(); padding.len()]));
        let (ring, edge) = (Rows::new(RING, width, padding), Rows::new(1, width, padding));
        Self { ring, edge, whole, width, height, channels: padding.len(), mixed: 0, pairs: 0 }
    }

    fn begin(&mut self) {
        (self.mixed, self.pairs) = (0, 0);
    }

    fn is_ready(&self) -> bool {
        2 * self.pairs < self.height && self.mixed >= (2 * self.pairs + 3).min(self.height)
    }

    /// The edge holds nothing of a picture.
    fn wipe(&mut self)
    where
        T: DefaultIsZeroes,
    {
        self.ring.wipe();
        self.whole.as_mut().into_iter().for_each(Rows::wipe);
    }

    fn bytes(&self) -> usize {
        self.ring.bytes() + self.edge.bytes() + self.whole.as_ref().map_or(0, Rows::bytes)
    }
}

/// The four mixed rows around pair `pair`, from one pixel before `x` on.
fn around<'a, T: Copy + Default>(ring: &'a Rows<T>, edge: &'a Rows<T>, pair: usize, height: usize, x: usize) -> [&'a [T]; 4] {
    std::array::from_fn(|i| match (2 * pair + i).checked_sub(1).filter(|row| *row < height) {
        Some(row) => ring.before(row % RING, x),
        None => edge.before(0, x),
    })
}

pub struct Executor<A: Arithmetic> {
    arithmetic: Arc<A>,
    graph: Arc<Graph>,
    width: usize,
    height: usize,
    readers: Vec<Readers>,
    of_stem: Vec<usize>,
    sums: Vec<(usize, usize, usize)>,
    /// Three planes of three rows each, and one row of nothing.
    picture: Rows<A::Value>,
    nothing: Rows<A::Value>,
    stages: Vec<Stage<A::Value>>,
    heads: Vec<Stage<f32>>,
    scratch: Vec<A::Value>,
    scratch_of_heads: Vec<f32>,
    answers: Vec<Vec<f32>>,
}

impl<A: Arithmetic> Executor<A> {
    /// Sizes everything for pictures of `width` × `height`, which the caller has checked to be multiples of [`super::graph::SIDES`].
    pub fn new(graph: Arc<Graph>, arithmetic: Arc<A>, width: usize, height: usize) -> Self {
        let mut readers = vec![Readers::default(); graph.units.len()];
        let (mut of_stem, mut sums) = (Vec::new(), Vec::new());
        let mut is_whole = vec![false; graph.units.len()];
        for (place, unit) in graph.units.iter().enumerate() {
            match unit.source {
                Source::Stem => of_stem.push(place),
                Source::Unit(from) => readers[from].plain.push(place),
                Source::Pooled(from) => readers[from].pooled.push(place),
                Source::Sum { kept, enlarged } => {
                    (is_whole[kept], is_whole[enlarged]) = (true, true);
                    sums.push((place, kept, enlarged));
                }
            }
        }
        graph.heads.iter().enumerate().for_each(|(place, head)| readers[head.from].heads.push(place));
        let side = |unit: usize| (width >> graph.halvings(unit), height >> graph.halvings(unit));
        let stage = |unit: usize| Stage::new(side(unit).0, side(unit).1, arithmetic.padding(unit), is_whole[unit]);
        let stages: Vec<_> = (0..graph.units.len()).map(stage).collect();
        let heads = graph.heads.iter().map(|head| Stage::new(side(head.from).0, side(head.from).1, &[0.0; HEAD], false)).collect();
        let answers = graph.answers.iter().map(|answer| {
            let (rows, columns) = graph.cells(answer, width, height);
            vec![0.0; rows * columns * answer.width]
        });
        let widest = graph.units.iter().map(|unit| unit.outputs).max().unwrap_or(0).max(STEM);
        let zero = [A::Value::default()];
        Self {
            width,
            height,
            readers,
            of_stem,
            sums,
            picture: Rows::new(9, width, &zero),
            nothing: Rows::new(1, width, &zero),
            stages,
            heads,
            scratch: vec![A::Value::default(); 3 * arithmetic.chunk() * widest],
            scratch_of_heads: vec![0.0; 2 * arithmetic.chunk() * HEAD],
            answers: answers.collect(),
            arithmetic,
            graph,
        }
    }

    /// Bytes of the arena.
    pub fn bytes(&self) -> usize {
        let stages: usize = self.stages.iter().map(Stage::bytes).chain(self.heads.iter().map(Stage::bytes)).sum();
        stages + self.picture.bytes() + self.answers.iter().map(|values| values.len() * size_of::<f32>()).sum::<usize>()
    }

    /// `picture`: three planes of `width` × `height`.
    pub fn run(&mut self, picture: &[f32]) {
        assert_eq!(picture.len(), 3 * self.width * self.height, "three planes");
        self.stages.iter_mut().for_each(Stage::begin);
        self.heads.iter_mut().for_each(Stage::begin);
        for row in 0..self.height / 2 {
            self.stem(picture, row);
            for place in 0..self.of_stem.len() {
                let unit = self.of_stem[place];
                self.stages[unit].mixed += 1;
                self.drive(unit);
            }
        }
        for place in 0..self.sums.len() {
            let (unit, kept, enlarged) = self.sums[place];
            for row in 0..self.stages[unit].height {
                self.add(unit, kept, enlarged, row);
                self.stages[unit].mixed += 1;
                self.drive(unit);
            }
        }
        for (answer, values) in self.graph.answers.iter().zip(&mut self.answers) {
            if answer.squashed {
                self.arithmetic.squash(values);
            }
        }
    }

    /// In the graph's order.
    pub fn answers(&self) -> &[Vec<f32>] {
        &self.answers
    }

    /// Overwrites what the network said, and the picture. What lies between, in the rings, the next picture overwrites, and [`Drop`] the last one.
    pub fn wipe_answers(&mut self) {
        self.answers.iter_mut().for_each(|values| values.as_mut_slice().zeroize());
        self.picture.wipe();
        self.scratch.as_mut_slice().zeroize();
        self.scratch_of_heads.as_mut_slice().zeroize();
    }

    /// Overwrites all that a picture left: nothing of it goes back to the allocator with the memory (C09).
    fn wipe(&mut self) {
        self.wipe_answers();
        self.stages.iter_mut().for_each(Stage::wipe);
        self.heads.iter_mut().for_each(Stage::wipe);
    }

    /// Row `row` of the stem, straight into the units that read it.
    fn stem(&mut self, picture: &[f32], row: usize) {
        let (width, plane) = (self.width, self.width * self.height);
        for y in [2 * row, 2 * row + 1] {
            for c in 0..3 {
                self.arithmetic.take(&picture[c * plane + y * width..][..width], self.picture.at_mut(c * 3 + y % 3, 0, width));
            }
        }
        for (x, n) in chunks(width / 2, self.arithmetic.chunk()) {
            let rows = std::array::from_fn(|ky| {
                std::array::from_fn(|c| match (2 * row + ky).checked_sub(1) {
                    Some(y) => self.picture.before(c * 3 + y % 3, 2 * x),
                    None => self.nothing.before(0, 2 * x),
                })
            });
            let out = &mut self.scratch[..n * STEM];
            self.arithmetic.stem(rows, out);
            for &unit in &self.of_stem {
                self.arithmetic.mix(unit, out, self.stages[unit].ring.at_mut(row % RING, x, n));
            }
        }
    }

    /// Everything that can be made from what unit `unit` has mixed.
    fn drive(&mut self, unit: usize) {
        while self.stages[unit].is_ready() {
            let rows = self.look(unit);
            for place in 0..self.readers[unit].heads.len() {
                let head = self.readers[unit].heads[place];
                self.heads[head].mixed += rows;
                while self.heads[head].is_ready() {
                    self.answer(head);
                }
            }
            for place in 0..self.readers[unit].plain.len() {
                let reader = self.readers[unit].plain[place];
                self.stages[reader].mixed += rows;
                self.drive(reader);
            }
            for place in 0..self.readers[unit].pooled.len() {
                let reader = self.readers[unit].pooled[place];
                self.stages[reader].mixed += 1;
                self.drive(reader);
            }
        }
    }

    /// The next pair of rows of unit `unit`, through all its readers. Returns how many rows it was.
    fn look(&mut self, unit: usize) -> usize {
        let (arithmetic, readers) = (&*self.arithmetic, &self.readers[unit]);
        let (before, after) = self.stages.split_at_mut(unit + 1);
        let Stage { ring, edge, whole, width, height, channels, pairs, .. } = &mut before[unit];
        let (pair, channels) = (*pairs, *channels);
        let rows = (*height - 2 * pair).min(2);
        for (x, n) in chunks(*width, arithmetic.chunk()) {
            let (two, rest) = self.scratch.split_at_mut(2 * n * channels);
            let [one, other] = match whole {
                Some(whole) => whole.two_at_mut(2 * pair, x, n),
                None => two.split_at_mut(n * channels).into(),
            };
            arithmetic.look(unit, around(ring, edge, pair, *height, x), [&mut *one, &mut *other]);
            let lines = [&*one, &*other];
            for (row, line) in lines.iter().enumerate().take(rows) {
                for &reader in &readers.plain {
                    arithmetic.mix(reader, line, after[reader - unit - 1].ring.at_mut((2 * pair + row) % RING, x, n));
                }
                for &head in &readers.heads {
                    arithmetic.head_mix(head, line, self.heads[head].ring.at_mut((2 * pair + row) % RING, x, n));
                }
            }
            if !readers.pooled.is_empty() {
                let pooled = &mut rest[..n / 2 * channels];
                arithmetic.pool(channels, lines, pooled);
                for &reader in &readers.pooled {
                    arithmetic.mix(reader, pooled, after[reader - unit - 1].ring.at_mut(pair % RING, x / 2, n / 2));
                }
            }
        }
        *pairs += 1;
        rows
    }

    /// Row `row` of a sum, into the unit that reads it.
    fn add(&mut self, unit: usize, kept: usize, enlarged: usize, row: usize) {
        let (before, after) = self.stages.split_at_mut(unit);
        let reader = &mut after[0];
        let (Some(kept), Some(enlarged)) = (&before[kept].whole, &before[enlarged].whole) else { return };
        for (x, n) in chunks(reader.width, self.arithmetic.chunk()) {
            let out = &mut self.scratch[..kept.at(row, x, n).len()];
            let channels = out.len() / n;
            self.arithmetic.sum(channels, kept.at(row, x, n), enlarged.at(row / 2, x / 2, n / 2), out);
            self.arithmetic.mix(unit, out, reader.ring.at_mut(row % RING, x, n));
        }
    }

    /// The next pair of rows of a head, sorted into the answers.
    fn answer(&mut self, head: usize) {
        let Stage { ring, edge, width, height, pairs, .. } = &mut self.heads[head];
        let (pair, width, height) = (*pairs, *width, *height);
        let rows = (height - 2 * pair).min(2);
        for (x, n) in chunks(width, self.arithmetic.chunk()) {
            let (one, other) = self.scratch_of_heads[..2 * n * HEAD].split_at_mut(n * HEAD);
            self.arithmetic.head_look(head, around(ring, edge, pair, height, x), [&mut *one, &mut *other]);
            for (row, line) in [&*one, &*other].into_iter().enumerate().take(rows) {
                let cell = (2 * pair + row) * width + x;
                for (answer, values) in self.graph.answers.iter().zip(&mut self.answers).filter(|(answer, _)| answer.head == head) {
                    sort(line, answer.first, answer.width, &mut values[cell * answer.width..][..n * answer.width]);
                }
            }
        }
        *pairs += 1;
    }
}

impl<A: Arithmetic> Drop for Executor<A> {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// `width` values of each cell.
fn sort(line: &[f32], first: usize, width: usize, out: &mut [f32]) {
    let cells = line.as_chunks::<HEAD>().0;
    match width {
        1 => out.iter_mut().zip(cells).for_each(|(to, cell)| *to = cell[first]),
        4 => out.as_chunks_mut::<4>().0.iter_mut().zip(cells).for_each(|(to, cell)| to.copy_from_slice(&cell[first..first + 4])),
        10 => out.as_chunks_mut::<10>().0.iter_mut().zip(cells).for_each(|(to, cell)| to.copy_from_slice(&cell[first..first + 10])),
        _ => out.chunks_exact_mut(width).zip(cells).for_each(|(to, cell)| to.copy_from_slice(&cell[first..first + width])),
    }
}

/// `width` in parts of nearly `most`: (first pixel, pixels). Parts are multiples of eight but for the last.
fn chunks(width: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = width.div_ceil(most).max(1);
    let each = width.div_ceil(parts).next_multiple_of(8);
    (0..width).step_by(each).map(move |x| (x, each.min(width - x)))
}
