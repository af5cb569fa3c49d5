//! What a network of YuNet's class is, free of any file format.
//!
//! A *stem* (3 × 3, stride 2, ReLU) is followed by *units*: a 1 × 1 convolution that mixes channels, a 3 × 3 convolution that looks around in
//! each channel by itself, ReLU. A unit reads the stem, another unit, another unit's output halved by 2 × 2 maxima, or the sum of two units
//! of which one is half as large and is enlarged by repetition. *Heads* are units without ReLU, at most [`HEAD`] channels each, whose
//! channels are the network's answers. Units stand in an order in which each reads earlier ones only.
//!
//! [`Graph::check`] proves all that, and that every number is finite; nothing else in this directory checks it again.

use super::FusedError;

/// Channels of a head: what all answers that read one unit have together, filled up with zeros.
pub const HEAD: usize = 16;
/// Channels of the stem.
pub const STEM: usize = 16;
/// Channels that a unit may have.
pub const CHANNELS: [usize; 3] = [16, 32, 64];
/// Answers that a network may have.
pub const MOST_ANSWERS: usize = 16;
/// Both sides of a picture are multiples of it.
pub const SIDES: usize = 32;
/// The longest side.
pub const LONGEST: usize = 4096;

/// Weights `[channel][blue, green, red][row][column]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stem {
    pub name: String,
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Stem,
    Unit(usize),
    /// Maxima of 2 × 2 of a unit's output.
    Pooled(usize),
    /// A unit's output, and that of one half as large, each value four times.
    Sum {
        kept: usize,
        enlarged: usize,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The name of its first node, for errors and tables.
    pub name: String,
    pub source: Source,
    pub inputs: usize,
    pub outputs: usize,
    /// `[output][input]`.
    pub mix: Vec<f32>,
    pub mix_bias: Vec<f32>,
    /// `[output][row][column]`.
    pub look: Vec<f32>,
    pub look_bias: Vec<f32>,
}

/// As a unit with [`HEAD`] outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub name: String,
    pub from: usize,
    pub inputs: usize,
    pub mix: Vec<f32>,
    pub mix_bias: Vec<f32>,
    pub look: Vec<f32>,
    pub look_bias: Vec<f32>,
}

/// One output of the network: some channels of a head, a row for each cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub name: String,
    pub head: usize,
    pub first: usize,
    pub width: usize,
    /// Through 1 / (1 + e^−x).
    pub squashed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub stem: Stem,
    pub units: Vec<Unit>,
    pub heads: Vec<Head>,
    pub answers: Vec<Answer>,
}

impl Graph {
    /// How often a unit's picture has been halved.
    pub fn halvings(&self, unit: usize) -> usize {
        match self.units[unit].source {
            Source::Stem => 1,
            Source::Unit(from) => self.halvings(from),
            Source::Pooled(from) => self.halvings(from) + 1,
            Source::Sum { kept, .. } => self.halvings(kept),
        }
    }

    /// Cells of an answer for a picture of this size: (rows, columns).
    pub fn cells(&self, answer: &Answer, width: usize, height: usize) -> (usize, usize) {
        let halvings = self.halvings(self.heads[answer.head].from);
        (height >> halvings, width >> halvings)
    }

    /// Multiplications with additions for one picture.
    pub fn products(&self, width: usize, height: usize) -> u64 {
        let cells = |halvings: usize| ((width >> halvings) * (height >> halvings)) as u64;
        let units = self.units.iter().enumerate().map(|(i, u)| cells(self.halvings(i)) * (u.outputs * (u.inputs + 9)) as u64);
        let used = |head: usize| self.answers.iter().filter(|a| a.head == head).map(|a| a.width as u64).sum::<u64>();
        let heads = self.heads.iter().enumerate().map(|(i, h)| cells(self.halvings(h.from)) * used(i) * (h.inputs as u64 + 9));
        cells(1) * (STEM * 27) as u64 + units.sum::<u64>() + heads.sum::<u64>()
    }

    /// Everything that the executor relies on.
    pub fn check(&self) -> Result<(), FusedError> {
        check_numbers(&self.stem.name, [(&self.stem.weights, STEM * 27), (&self.stem.bias, STEM)])?;
        for (place, unit) in self.units.iter().enumerate() {
            self.check_unit(place, unit)?;
        }
        for head in &self.heads {
            let unfit = |reason: &str| FusedError::Unfit { node: head.name.clone(), reason: reason.into() };
            let from = self.units.get(head.from).ok_or_else(|| unfit("it reads no unit"))?;
            if from.outputs != head.inputs {
                return Err(unfit("it reads another number of channels than there are"));
            }
            let sizes = [(&head.mix, HEAD * head.inputs), (&head.mix_bias, HEAD), (&head.look, HEAD * 9), (&head.look_bias, HEAD)];
            check_numbers(&head.name, sizes)?;
        }
        if self.answers.len() > MOST_ANSWERS {
            return Err(FusedError::Unfit { node: self.stem.name.clone(), reason: format!("more than {MOST_ANSWERS} answers") });
        }
        for answer in &self.answers {
            if answer.head >= self.heads.len() || answer.width == 0 || answer.first + answer.width > HEAD {
                return Err(FusedError::Unfit { node: answer.name.clone(), reason: "it is no part of a head".into() });
            }
        }
        if self.units.is_empty() || self.heads.is_empty() || self.answers.is_empty() {
            return Err(FusedError::Unfit { node: self.stem.name.clone(), reason: "nothing follows the stem".into() });
        }
        Ok(())
    }

    fn check_unit(&self, place: usize, unit: &Unit) -> Result<(), FusedError> {
        let unfit = |reason: &str| Err(FusedError::Unfit { node: unit.name.clone(), reason: reason.into() });
        let earlier = |of: usize| of < place;
        let channels = |of: usize| self.units[of].outputs;
        let inputs = match unit.source {
            Source::Stem => STEM,
            Source::Unit(of) | Source::Pooled(of) if earlier(of) => channels(of),
            Source::Sum { kept, enlarged } if earlier(kept) && earlier(enlarged) => {
                if channels(kept) != channels(enlarged) || self.halvings(kept) + 1 != self.halvings(enlarged) {
                    return unfit("the two that are added do not fit each other");
                }
                channels(kept)
            }
            _ => return unfit("it reads what comes after it"),
        };
        if inputs != unit.inputs || !CHANNELS.contains(&unit.inputs) || !CHANNELS.contains(&unit.outputs) {
            return unfit(&format!("{} channels become {}; only 16, 32 and 64 are planned for", unit.inputs, unit.outputs));
        }
        if 1 << self.halvings(place) > SIDES {
            return unfit("the picture is halved more than five times");
        }
        let sizes = [
            (&unit.mix, unit.outputs * unit.inputs),
            (&unit.mix_bias, unit.outputs),
            (&unit.look, unit.outputs * 9),
            (&unit.look_bias, unit.outputs),
        ];
        check_numbers(&unit.name, sizes)
    }
}

fn check_numbers<const N: usize>(name: &str, lists: [(&Vec<f32>, usize); N]) -> Result<(), FusedError> {
    let unfit = |reason: String| Err(FusedError::Unfit { node: name.to_owned(), reason });
    for (list, wanted) in lists {
        if list.len() != wanted {
            return unfit(format!("{} weights where {wanted} belong", list.len()));
        }
        if let Some(place) = list.iter().position(|weight| !weight.is_finite()) {
            return unfit(format!("weight {place} is {}: weights must be finite", list[place]));
        }
    }
    Ok(())
}
