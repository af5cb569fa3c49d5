//! Is the int8 network as good as the fp32 one, and is it faster here?
//!
//! Judged as it would be used: templates are made by the fp32 network, probes by the int8 one, and a threshold that was chosen for fp32 stays.
//! Times are CPU time of the calling thread, both networks in turn, so that what else the machine does falls on both alike.

use super::super::{EngineError, Network};
use super::QuantiseError;
use crate::embedding::Embedding;
use crate::engine::processor::spent_ns;

/// Least mean cosine between the two embeddings of one picture.
pub const LEAST_MEAN_COSINE: f32 = 0.98;
/// Least cosine of any picture.
pub const LEAST_COSINE: f32 = 0.93;
/// Largest loss of rank-1 and of people found, as a share. Two probes may always fall: of 240 that lie near a threshold some change sides
/// with any rounding, as many upwards as downwards.
pub const LARGEST_LOSS: f32 = 0.02;
const MAY_FALL: f32 = 2.0;
/// One impostor pair in this many lies above the threshold.
const IMPOSTORS_PER_FALSE_ACCEPT: usize = 1000;

/// Pictures that were not used for calibration, as the network's input tensors.
#[derive(Clone, Default)]
pub struct HeldOut {
    /// Of people in a gallery, one each.
    pub templates: Vec<Vec<f32>>,
    /// Of the same people another time: place in `templates`, picture.
    pub probes: Vec<(usize, Vec<f32>)>,
    /// Of anybody.
    pub others: Vec<Vec<f32>>,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Verdict {
    pub pictures: usize,
    pub cosine_mean: f32,
    pub cosine_min: f32,
    /// People, and probes of them.
    pub people: usize,
    pub probes: usize,
    /// Share of probes whose own template is the nearest.
    pub rank1_fp32: f32,
    pub rank1_int8: f32,
    /// The cosine that one impostor pair in a thousand reaches in fp32.
    pub threshold: f32,
    /// Share of probes that reach it with their own template.
    pub accepted_fp32: f32,
    pub accepted_int8: f32,
    /// Share of impostor pairs that reach it.
    pub false_int8: f32,
}

impl Verdict {
    /// Why the int8 network is not good enough, if it is not.
    pub fn refusal(&self) -> Option<String> {
        let fell = |what: &str, from: f32, to: f32| format!("{what} fell from {:.1} % to {:.1} %", 100.0 * from, 100.0 * to);
        if !(self.cosine_mean >= LEAST_MEAN_COSINE && self.cosine_min >= LEAST_COSINE) {
            let (mean, min) = (self.cosine_mean, self.cosine_min);
            return Some(format!(
                "cosine to fp32 is {mean:.4} on average and {min:.4} at least; {LEAST_MEAN_COSINE} and {LEAST_COSINE} are needed"
            ));
        }
        let largest = LARGEST_LOSS.max((MAY_FALL + 0.5) / self.probes.max(1) as f32);
        if self.rank1_fp32 - self.rank1_int8 > largest {
            return Some(fell("rank-1", self.rank1_fp32, self.rank1_int8));
        }
        if self.accepted_fp32 - self.accepted_int8 > largest {
            return Some(fell("the share of people recognised at the same threshold", self.accepted_fp32, self.accepted_int8));
        }
        let impostors = self.probes * self.people.saturating_sub(1);
        let most_false = (2.0 / IMPOSTORS_PER_FALSE_ACCEPT as f32).max((MAY_FALL + 0.5) / impostors.max(1) as f32);
        (self.false_int8 > most_false)
            .then(|| format!("{:.3} % of impostor pairs reach the threshold that 0.1 % reach in fp32", 100.0 * self.false_int8))
    }
}

/// Compares the two networks on `held_out`.
pub fn compare(fp32: &mut dyn Network, int8: &mut dyn Network, held_out: &HeldOut) -> Result<Verdict, QuantiseError> {
    let templates: Vec<Embedding> = held_out.templates.iter().map(|p| embed(fp32, p)).collect::<Result<_, _>>()?;
    let mut cosines = Vec::new();
    let mut exact = Tally::default();
    let mut approximate = Tally::default();
    for (person, picture) in &held_out.probes {
        let probes = [embed(fp32, picture)?, embed(int8, picture)?];
        cosines.push(probes[0].cosine(&probes[1]));
        exact.probe(*person, &probes[0], &templates);
        approximate.probe(*person, &probes[1], &templates);
    }
    for picture in held_out.templates.iter().chain(&held_out.others) {
        cosines.push(embed(fp32, picture)?.cosine(&embed(int8, picture)?));
    }
    if templates.len() < 2 || held_out.probes.is_empty() {
        return Err(QuantiseError::Unfit("no pictures of several people to compare on".into()));
    }
    exact.impostors.sort_by(|a, b| b.total_cmp(a));
    let threshold = exact.impostors[exact.impostors.len() / IMPOSTORS_PER_FALSE_ACCEPT];
    Ok(Verdict {
        pictures: cosines.len(),
        cosine_mean: cosines.iter().sum::<f32>() / cosines.len() as f32,
        cosine_min: cosines.iter().copied().fold(f32::INFINITY, f32::min),
        people: templates.len(),
        probes: held_out.probes.len(),
        rank1_fp32: exact.rank1(),
        rank1_int8: approximate.rank1(),
        threshold,
        accepted_fp32: share(&exact.own, threshold),
        accepted_int8: share(&approximate.own, threshold),
        false_int8: share(&approximate.impostors, threshold),
    })
}

#[derive(Default)]
struct Tally {
    own: Vec<f32>,
    impostors: Vec<f32>,
    first: usize,
}

impl Tally {
    fn probe(&mut self, person: usize, probe: &Embedding, templates: &[Embedding]) {
        let cosines: Vec<f32> = templates.iter().map(|template| probe.cosine(template)).collect();
        self.first += usize::from((0..cosines.len()).all(|i| cosines[i] <= cosines[person]));
        for (i, cosine) in cosines.into_iter().enumerate() {
            if i == person { self.own.push(cosine) } else { self.impostors.push(cosine) }
        }
    }

    fn rank1(&self) -> f32 {
        self.first as f32 / self.own.len().max(1) as f32
    }
}

/// The share of `cosines` above `threshold`.
fn share(cosines: &[f32], threshold: f32) -> f32 {
    cosines.iter().filter(|c| **c > threshold).count() as f32 / cosines.len().max(1) as f32
}

fn embed(network: &mut dyn Network, picture: &[f32]) -> Result<Embedding, QuantiseError> {
    let input = &network.manifest().input;
    let (model, shape) = (network.manifest().name.clone(), [1, 3, input.height.unwrap_or(0) as usize, input.width.unwrap_or(0) as usize]);
    let mut embedding = None;
    network.run(picture, shape, &mut |outputs| {
        embedding = outputs.first().map(|output| Embedding::normalised(&mut output.data.to_vec()));
    })?;
    match embedding {
        Some(Ok(embedding)) => Ok(embedding),
        Some(Err(error)) => Err(EngineError::Run { model, reason: error.to_string() }.into()),
        None => Err(EngineError::Run { model, reason: "it has no output".into() }.into()),
    }
}

/// How many times as fast `int8` is as `fp32` on this machine: the ratio of medians over `rounds`, in each of which both run on `picture`.
pub fn times_as_fast(fp32: &mut dyn Network, int8: &mut dyn Network, picture: &[f32], rounds: usize) -> Result<f64, QuantiseError> {
    let mut times = [Vec::with_capacity(rounds), Vec::with_capacity(rounds)];
    // The first runs find caches cold and memory unplanned.
    for round in 0..rounds + 5 {
        // Who goes first changes, so that neither always runs behind the other.
        for turn in [round % 2, 1 - round % 2] {
            let began = spent_ns();
            embed(if turn == 0 { &mut *fp32 } else { &mut *int8 }, picture)?;
            if round >= 5 {
                times[turn].push(spent_ns() - began);
            }
        }
    }
    let [fp32, int8] = times.map(|mut of_one| {
        of_one.sort_unstable();
        of_one.get(of_one.len() / 2).copied().unwrap_or(0)
    });
    Ok(fp32 as f64 / int8.max(1) as f64)
}
