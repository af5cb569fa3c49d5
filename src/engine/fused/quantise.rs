//! From fp32 to 8 bits: scales from the ranges that values were seen to lie in.
//!
//! Weights are rounded per output channel to ±127. What a unit says is 0 … 255 with a scale of its own for each channel; the scales of what is
//! read go into the weights that read it, so they cost nothing. What is added later shares its scales. What a unit has mixed may be negative
//! and gets a zero point too.
//!
//! Ranges are widened [`WIDENED`] times. Calibration pictures show large faces more than small ones, and it is cutting off that loses small
//! faces, not coarser steps: with ranges as seen, recall at 16 pixels fell from .69 to .13 (docs/measurements.md).

use serde::{Deserialize, Serialize};

use super::FusedError;
use super::graph::{Graph, HEAD, STEM, Source, Unit};

/// How much wider than seen a range is made.
pub const WIDENED: f32 = 2.0;
/// A channel's range is at least this share of the widest: one that was silent in calibration may speak later.
const LEAST_SHARE: f64 = 0.02;
/// Nothing before rounding may reach 2³¹.
const LARGEST: f64 = 268_435_456.0;

/// What values were seen in, channel by channel. Kept beside a model; the 8-bit network follows from it and the fp32 weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// Most of what the stem says.
    pub stem: Vec<f32>,
    pub units: Vec<UnitRanges>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitRanges {
    pub name: String,
    pub mixed_least: Vec<f32>,
    pub mixed_most: Vec<f32>,
    pub most: Vec<f32>,
    /// Most of the sum that the unit reads, if it reads one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sum_most: Vec<f32>,
}

impl Ranges {
    /// Nothing seen yet.
    pub fn none(graph: &Graph) -> Self {
        let of_unit = |unit: &Unit| UnitRanges {
            name: unit.name.clone(),
            mixed_least: vec![0.0; unit.outputs],
            mixed_most: vec![0.0; unit.outputs],
            most: vec![0.0; unit.outputs],
            sum_most: if matches!(unit.source, Source::Sum { .. }) { vec![0.0; unit.inputs] } else { Vec::new() },
        };
        Self { stem: vec![0.0; STEM], units: graph.units.iter().map(of_unit).collect() }
    }

    /// Made for this graph, and finite.
    fn check(&self, graph: &Graph) -> Result<(), FusedError> {
        let unfit = |node: &str, reason: &str| Err(FusedError::Ranges { node: node.to_owned(), reason: reason.to_owned() });
        if self.stem.len() != STEM || self.units.len() != graph.units.len() {
            return unfit(&graph.stem.name, "the table is of another network");
        }
        for (ranges, unit) in self.units.iter().zip(&graph.units) {
            let wanted = Self::none(graph).units.iter().find(|u| u.name == unit.name).map_or(0, |u| u.sum_most.len());
            let fits = [&ranges.mixed_least, &ranges.mixed_most, &ranges.most].iter().all(|list| list.len() == unit.outputs);
            if ranges.name != unit.name || !fits || ranges.sum_most.len() != wanted {
                return unfit(&unit.name, "the table is of another network");
            }
        }
        let lists = self.units.iter().flat_map(|u| [&u.mixed_least, &u.mixed_most, &u.most, &u.sum_most]).chain([&self.stem]);
        if !lists.flatten().all(|v| v.is_finite()) {
            return unfit(&graph.stem.name, "a range is not finite");
        }
        Ok(())
    }
}

/// Weights in 8 bits, and what makes their sums the next 8 bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounded {
    pub weights: Vec<i8>,
    pub scale: Vec<f32>,
    pub bias: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedUnit {
    pub inputs: usize,
    pub outputs: usize,
    pub mix: Rounded,
    /// The zero of what was mixed.
    pub padding: Vec<u8>,
    pub look: Rounded,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedHead {
    pub inputs: usize,
    pub mix: Rounded,
    pub look: Vec<f32>,
    pub look_bias: Vec<f32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedNetwork {
    pub stem: Rounded,
    pub units: Vec<QuantisedUnit>,
    pub heads: Vec<QuantisedHead>,
}

/// `weights`: rows of `each`, one an output.
fn round_rows(weights: &[f64], each: usize) -> (Vec<i8>, Vec<f64>) {
    let (mut rounded, mut steps) = (Vec::with_capacity(weights.len()), Vec::new());
    for row in weights.chunks_exact(each) {
        let step = row.iter().fold(1e-30_f64, |most, w| most.max(w.abs())) / 127.0;
        rounded.extend(row.iter().map(|w| (w / step).round_ties_even().clamp(-127.0, 127.0) as i8));
        steps.push(step);
    }
    (rounded, steps)
}

/// Steps of 255 up to the widened ranges, at least as long as rounding needs.
fn steps(most: &[f32]) -> Vec<f64> {
    let most: Vec<f64> = most.iter().map(|v| f64::from(v.max(0.0) * WIDENED)).collect();
    let least = most.iter().fold(1e-6_f64, |a, b| a.max(*b)) * LEAST_SHARE;
    most.iter().map(|v| v.max(least) / 255.0).collect()
}

fn narrow(values: impl Iterator<Item = f64>, node: &str) -> Result<Vec<f32>, FusedError> {
    let values: Vec<f32> = values.map(|v| v as f32).collect();
    if values.iter().all(|v| v.is_finite()) {
        return Ok(values);
    }
    Err(FusedError::Ranges { node: node.to_owned(), reason: "its weights are too large for 8 bits".into() })
}

/// What each unit's output is worth per step; what is added shares its steps.
fn output_steps(graph: &Graph, ranges: &Ranges) -> Vec<Vec<f64>> {
    let mut most: Vec<Vec<f32>> = ranges.units.iter().map(|unit| unit.most.clone()).collect();
    // Twice as often as there are sums: a chain of them settles.
    for _ in 0..=graph.units.len() {
        for (unit, of) in graph.units.iter().zip(&ranges.units) {
            let Source::Sum { kept, enlarged } = unit.source else { continue };
            let shared: Vec<f32> = (0..unit.inputs).map(|c| most[kept][c].max(most[enlarged][c]).max(of.sum_most[c])).collect();
            (most[kept], most[enlarged]) = (shared.clone(), shared);
        }
    }
    most.iter().map(|most| steps(most)).collect()
}

/// The 8-bit network.
pub fn quantise(graph: &Graph, ranges: &Ranges) -> Result<QuantisedNetwork, FusedError> {
    ranges.check(graph)?;
    let of_stem = steps(&ranges.stem);
    let said = output_steps(graph, ranges);
    let stem_weights: Vec<f64> = graph.stem.weights.iter().map(|w| f64::from(*w)).collect();
    let (weights, by) = round_rows(&stem_weights, 27);
    let of_stem: Vec<f64> =
        (0..STEM).map(|c| of_stem[c].max((27.0 * 255.0 * 127.0 * by[c] + f64::from(graph.stem.bias[c]).abs()) / LARGEST)).collect();
    let stem = Rounded {
        weights,
        scale: narrow((0..STEM).map(|c| by[c] / of_stem[c]), &graph.stem.name)?,
        bias: narrow((0..STEM).map(|c| f64::from(graph.stem.bias[c]) / of_stem[c]), &graph.stem.name)?,
    };
    let read = |source: Source| match source {
        Source::Stem => &of_stem,
        Source::Unit(of) | Source::Pooled(of) | Source::Sum { kept: of, .. } => &said[of],
    };
    let units = graph
        .units
        .iter()
        .zip(&ranges.units)
        .enumerate()
        .map(|(i, (unit, ranges))| quantise_unit(unit, ranges, read(unit.source), &said[i]));
    let heads = graph.heads.iter().map(|head| {
        let (weights, by) = round_rows(&scaled(&head.mix, head.inputs, &said[head.from]), head.inputs);
        let mix = Rounded { weights, scale: narrow(by.into_iter(), &head.name)?, bias: head.mix_bias.clone() };
        debug_assert_eq!(mix.scale.len(), HEAD);
        Ok(QuantisedHead { inputs: head.inputs, mix, look: head.look.clone(), look_bias: head.look_bias.clone() })
    });
    Ok(QuantisedNetwork { stem, units: units.collect::<Result<_, _>>()?, heads: heads.collect::<Result<_, _>>()? })
}

/// Weights by what a step of their input is worth.
fn scaled(weights: &[f32], inputs: usize, read: &[f64]) -> Vec<f64> {
    weights.iter().enumerate().map(|(i, w)| f64::from(*w) * read[i % inputs]).collect()
}

fn quantise_unit(unit: &Unit, ranges: &UnitRanges, read: &[f64], said: &[f64]) -> Result<QuantisedUnit, FusedError> {
    let (mix, by) = round_rows(&scaled(&unit.mix, unit.inputs, read), unit.inputs);
    let look: Vec<f64> = unit.look.iter().map(|w| f64::from(*w)).collect();
    let (look, look_by) = round_rows(&look, 9);
    let (mut mixed, mut zeros) = (Vec::new(), Vec::new());
    for (c, by) in by.iter().enumerate() {
        let (least, most) = (f64::from(ranges.mixed_least[c].min(0.0) * WIDENED), f64::from(ranges.mixed_most[c].max(0.0) * WIDENED));
        let bound = (unit.inputs as f64 * 255.0 * 127.0 * by + f64::from(unit.mix_bias[c]).abs()) / LARGEST;
        let step = ((most - least) / 255.0).max(bound).max(1e-9);
        mixed.push(step);
        zeros.push((-least / step).round_ties_even().clamp(0.0, 255.0));
    }
    let outputs = 0..unit.outputs;
    let value = |c: usize| mixed[c] * look_by[c];
    let bias = |c: usize| {
        let sum: f64 = look[c * 9..][..9].iter().map(|w| f64::from(*w)).sum();
        f64::from(unit.look_bias[c]) - value(c) * zeros[c] * sum
    };
    for c in outputs.clone() {
        if (9.0 * 255.0 * 127.0 * value(c) + bias(c).abs()) / said[c] >= LARGEST {
            let reason = format!("channel {c} reaches far beyond the range that was seen");
            return Err(FusedError::Ranges { node: unit.name.clone(), reason });
        }
    }
    Ok(QuantisedUnit {
        inputs: unit.inputs,
        outputs: unit.outputs,
        padding: zeros.iter().map(|z| *z as u8).collect(),
        mix: Rounded {
            weights: mix,
            scale: narrow(outputs.clone().map(|c| by[c] / mixed[c]), &unit.name)?,
            bias: narrow(outputs.clone().map(|c| f64::from(unit.mix_bias[c]) / mixed[c] + zeros[c]), &unit.name)?,
        },
        look: Rounded {
            weights: look.clone(),
            scale: narrow(outputs.clone().map(|c| value(c) / said[c]), &unit.name)?,
            bias: narrow(outputs.map(|c| bias(c) / said[c]), &unit.name)?,
        },
    })
}
