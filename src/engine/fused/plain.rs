//! The network layer by layer over whole pictures: nothing is fused, nothing is clever. What ranges are observed with, and what tests compare
//! the executor with.

use super::graph::{Graph, HEAD, STEM, Source};
use super::quantise::{QuantisedNetwork, Ranges, Rounded};

/// A picture between two layers: channels innermost.
#[derive(Clone)]
pub struct Layer<T> {
    pub width: usize,
    pub height: usize,
    pub channels: usize,
    pub values: Vec<T>,
}

impl<T: Copy> Layer<T> {
    fn at(&self, x: usize, y: usize) -> &[T] {
        &self.values[(y * self.width + x) * self.channels..][..self.channels]
    }

    /// Of each pixel, from the one that `pixel` makes.
    fn map<U>(&self, channels: usize, pixel: impl Fn(&[T], &mut Vec<U>)) -> Layer<U> {
        let mut values = Vec::with_capacity(self.width * self.height * channels);
        self.values.chunks_exact(self.channels).for_each(|from| pixel(from, &mut values));
        Layer { width: self.width, height: self.height, channels, values }
    }

    /// `look(channel, nine values)`; beyond the sides stands `padding`.
    fn look(&self, padding: &[T], look: impl Fn(usize, [T; 9]) -> T) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for y in 0..self.height {
            for x in 0..self.width {
                for (c, padding) in padding.iter().enumerate() {
                    values.push(look(
                        c,
                        std::array::from_fn(|tap| {
                            let (from_x, from_y) = ((x + tap % 3).wrapping_sub(1), (y + tap / 3).wrapping_sub(1));
                            if from_x < self.width && from_y < self.height { self.at(from_x, from_y)[c] } else { *padding }
                        }),
                    ));
                }
            }
        }
        Self { values, ..*self }
    }

    fn pool(&self, most: impl Fn(T, T) -> T) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut values = Vec::with_capacity(width * height * self.channels);
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            for c in 0..self.channels {
                let of = |dx: usize, dy: usize| self.at(2 * x + dx, 2 * y + dy)[c];
                values.push(most(most(of(0, 0), of(1, 0)), most(of(0, 1), of(1, 1))));
            }
        }
        Self { width, height, channels: self.channels, values }
    }

    fn plus(&self, enlarged: &Self, add: impl Fn(T, T) -> T) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for (y, x) in (0..self.height).flat_map(|y| (0..self.width).map(move |x| (y, x))) {
            let (kept, enlarged) = (self.at(x, y), enlarged.at(x / 2, y / 2));
            values.extend(kept.iter().zip(enlarged).map(|(a, b)| add(*a, *b)));
        }
        Self { values, ..*self }
    }
}

/// The 27 values that the stem sees for output (x, y): [plane][row][column].
fn seen_by_stem<T: Copy + Default>(planes: &[T], width: usize, height: usize, x: usize, y: usize) -> [T; 27] {
    std::array::from_fn(|place| {
        let (plane, row, column) = (place / 9, place / 3 % 3, place % 3);
        let (from_x, from_y) = ((2 * x + column).wrapping_sub(1), (2 * y + row).wrapping_sub(1));
        if from_x < width && from_y < height { planes[(plane * height + from_y) * width + from_x] } else { T::default() }
    })
}

fn stem_of<T: Copy + Default>(planes: &[T], width: usize, height: usize, value: impl Fn(usize, [T; 27]) -> T) -> Layer<T> {
    let mut values = Vec::with_capacity(width / 2 * (height / 2) * STEM);
    for (y, x) in (0..height / 2).flat_map(|y| (0..width / 2).map(move |x| (y, x))) {
        let seen = seen_by_stem(planes, width, height, x, y);
        values.extend((0..STEM).map(|c| value(c, seen)));
    }
    Layer { width: width / 2, height: height / 2, channels: STEM, values }
}

fn answers_of(graph: &Graph, heads: &[Layer<f32>]) -> Vec<Vec<f32>> {
    let answers = graph.answers.iter().map(|answer| {
        let cells = heads[answer.head].values.chunks_exact(HEAD);
        let values = cells.flat_map(|cell| cell[answer.first..][..answer.width].iter().copied());
        if answer.squashed { values.map(|v| 1.0 / (1.0 + (-v).exp())).collect() } else { values.collect() }
    });
    answers.collect()
}

fn product(values: &[f32], weights: &[f32], bias: f32) -> f32 {
    values.iter().zip(weights).fold(bias, |sum, (value, weight)| sum + value * weight)
}

/// The answers in fp32, in the graph's order; `ranges` learns what lay between.
pub fn run(graph: &Graph, picture: &[f32], width: usize, height: usize, mut ranges: Option<&mut Ranges>) -> Vec<Vec<f32>> {
    let most = |a: f32, b: f32| if a > b { a } else { b };
    let rows = |weights: &[f32], each: usize, c: usize| weights[c * each..][..each].to_vec();
    let stem = stem_of(picture, width, height, |c, seen| product(&seen, &rows(&graph.stem.weights, 27, c), graph.stem.bias[c]).max(0.0));
    if let Some(ranges) = ranges.as_deref_mut() {
        widen(&mut ranges.stem, &stem, most);
    }
    let mut units: Vec<Layer<f32>> = Vec::new();
    for (place, unit) in graph.units.iter().enumerate() {
        let read = match unit.source {
            Source::Stem => stem.clone(),
            Source::Unit(of) => units[of].clone(),
            Source::Pooled(of) => units[of].pool(most),
            Source::Sum { kept, enlarged } => units[kept].plus(&units[enlarged], |a, b| a + b),
        };
        let mixed = read.map(unit.outputs, |pixel, out| {
            out.extend(unit.mix.chunks_exact(unit.inputs).zip(&unit.mix_bias).map(|(weights, bias)| product(pixel, weights, *bias)));
        });
        let padding = vec![0.0; unit.outputs];
        let said = mixed.look(&padding, |c, seen| product(&seen, &unit.look[c * 9..][..9], unit.look_bias[c]).max(0.0));
        if let Some(ranges) = ranges.as_deref_mut() {
            let of = &mut ranges.units[place];
            widen(&mut of.mixed_least, &mixed, f32::min);
            widen(&mut of.mixed_most, &mixed, most);
            widen(&mut of.most, &said, most);
            if !of.sum_most.is_empty() {
                widen(&mut of.sum_most, &read, most);
            }
        }
        units.push(said);
    }
    let heads = graph.heads.iter().map(|head| {
        let mixed = units[head.from].map(HEAD, |pixel, out| {
            out.extend(head.mix.chunks_exact(head.inputs).zip(&head.mix_bias).map(|(weights, bias)| product(pixel, weights, *bias)));
        });
        mixed.look(&[0.0; HEAD], |c, seen| product(&seen, &head.look[c * 9..][..9], head.look_bias[c]))
    });
    answers_of(graph, &heads.collect::<Vec<_>>())
}

fn widen(range: &mut [f32], layer: &Layer<f32>, choose: impl Fn(f32, f32) -> f32) {
    for pixel in layer.values.chunks_exact(range.len()) {
        range.iter_mut().zip(pixel).for_each(|(range, value)| *range = choose(*range, *value));
    }
}

fn whole_product(values: &[u8], weights: &[i8]) -> f32 {
    values.iter().zip(weights).map(|(value, weight)| i32::from(*value) * i32::from(*weight)).sum::<i32>() as f32
}

fn eight_bits(values: &[u8], weights: &[i8], of: &Rounded, c: usize) -> u8 {
    whole_product(values, weights).mul_add(of.scale[c], of.bias[c]).round_ties_even().clamp(0.0, 255.0) as u8
}

/// The answers of the 8-bit network, before anything is squashed into 0…1 as after: bit for bit what the executor must say before that.
pub fn run_quantised(graph: &Graph, network: &QuantisedNetwork, picture: &[u8], width: usize, height: usize) -> Vec<Vec<f32>> {
    let stem = stem_of(picture, width, height, |c, seen| eight_bits(&seen, &network.stem.weights[c * 27..][..27], &network.stem, c));
    let mut units: Vec<Layer<u8>> = Vec::new();
    for (unit, of) in graph.units.iter().zip(&network.units) {
        let read = match unit.source {
            Source::Stem => stem.clone(),
            Source::Unit(of) => units[of].clone(),
            Source::Pooled(of) => units[of].pool(u8::max),
            Source::Sum { kept, enlarged } => units[kept].plus(&units[enlarged], u8::saturating_add),
        };
        let mixed = read.map(of.outputs, |pixel, out| {
            let rows = of.mix.weights.chunks_exact(of.inputs).enumerate();
            out.extend(rows.map(|(c, weights)| eight_bits(pixel, weights, &of.mix, c)));
        });
        units.push(mixed.look(&of.padding, |c, seen| eight_bits(&seen, &of.look.weights[c * 9..][..9], &of.look, c)));
    }
    let heads = graph.heads.iter().zip(&network.heads).map(|(head, of)| {
        let mixed = units[head.from].map(HEAD, |pixel, out| {
            let rows = of.mix.weights.chunks_exact(of.inputs).enumerate();
            out.extend(rows.map(|(c, weights)| whole_product(pixel, weights).mul_add(of.mix.scale[c], of.mix.bias[c])));
        });
        mixed.look(&[0.0; HEAD], |c, seen| product(&seen, &of.look[c * 9..][..9], of.look_bias[c]))
    });
    answers_of(graph, &heads.collect::<Vec<_>>())
}
