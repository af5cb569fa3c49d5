//! How well people are told apart, and masks seen, on photographs of people who do not exist: through the detector's own landmarks.

use indicatif::ProgressBar;
use serde::Serialize;

use super::figures::{EqualError, Operating, Pairs, share};
use super::lab::{Lab, in_parallel};
use super::{FIRST_SEED, Plan};
use crate::embedding::Embedding;
use crate::render::portrait::{Conditions, photograph};

/// Shares of impostors for which the threshold is told.
const FARS: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Of the photographs: the width of the face, half of the picture's.
const FACE_PX: f32 = 96.0;
const SIZE: usize = 192;

/// What one embedder makes of a gallery and its probes. A probe in which no face was found is a miss.
#[derive(Debug, Serialize)]
pub struct Telling {
    pub people: usize,
    pub gallery: usize,
    pub probes: usize,
    /// Share of pictures in which a face was found.
    pub gallery_found: f64,
    pub probes_found: f64,
    pub genuine_pairs: usize,
    pub impostor_pairs: usize,
    pub at: Vec<Operating>,
    pub equal_error: Option<EqualError>,
    /// Share of probes that look more like their own person than like anybody else.
    pub rank_1: f64,
}

/// One person's pictures; `None`: no face was found in it.
pub struct Templates {
    pub gallery: Option<Embedding>,
    pub probes: Vec<Option<Embedding>>,
}

pub fn measure(labs: &mut [Lab], plan: Plan, bar: &ProgressBar) -> anyhow::Result<Telling> {
    let people = in_parallel(labs, plan.identities, bar, &|lab, job| {
        let seed = FIRST_SEED + job as u64;
        let mut take = |occasion: u64, difficulty: f32| {
            let shot = photograph(seed, occasion, Conditions { size: SIZE, face_px: FACE_PX, difficulty, masked: 0.0 });
            let frame = lab.frame(&shot.image)?;
            let Some(face) = lab.faces(&frame)?.first().copied() else { return Ok(None) };
            lab.embed(&frame, &face)
        };
        let gallery = take(0, 0.0)?;
        let probes = (1..=u64::from(plan.probes)).map(|occasion| take(occasion, plan.difficulty)).collect::<anyhow::Result<_>>()?;
        Ok(Templates { gallery, probes })
    })?;
    Ok(tell(&people))
}

/// Every probe against every gallery picture.
pub fn tell(people: &[Templates]) -> Telling {
    let (mut genuine, mut impostor, mut first) = (Vec::new(), Vec::new(), 0);
    let probes = || people.iter().enumerate().flat_map(|(own, p)| p.probes.iter().map(move |probe| (own, probe)));
    for (own, probe) in probes() {
        let (mut mine, mut best_other) = (-1.0_f32, -1.0_f32);
        for (other, person) in people.iter().enumerate() {
            let (Some(probe), Some(enrolled)) = (probe, &person.gallery) else { continue };
            let score = probe.cosine(enrolled);
            if other == own {
                mine = score;
            } else {
                best_other = best_other.max(score);
                impostor.push(score);
            }
        }
        genuine.push(mine);
        first += usize::from(mine > best_other);
    }
    let found = probes().filter(|(_, probe)| probe.is_some()).count();
    let enrolled = people.iter().filter(|p| p.gallery.is_some()).count();
    let (probes, rank_1) = (genuine.len(), share(first, genuine.len()));
    let pairs = Pairs::new(genuine, impostor);
    Telling {
        people: people.iter().filter(|p| !p.probes.is_empty()).count(),
        gallery: people.len(),
        probes,
        gallery_found: share(enrolled, people.len()),
        probes_found: share(found, probes),
        genuine_pairs: pairs.genuine(),
        impostor_pairs: pairs.impostor(),
        at: FARS.iter().filter_map(|far| pairs.at(*far)).collect(),
        equal_error: pairs.equal_error(),
        rank_1,
    }
}

/// How often the classifier is right, of faces that were found.
#[derive(Debug, Serialize)]
pub struct Masks {
    pub bare: Class,
    pub masked: Class,
}

#[derive(Debug, Serialize)]
pub struct Class {
    pub photographs: usize,
    pub found: usize,
    pub right: usize,
    pub accuracy: f64,
}

pub fn measure_masks(labs: &mut [Lab], plan: Plan, bar: &ProgressBar) -> anyhow::Result<Masks> {
    let looked = in_parallel(labs, plan.identities, bar, &|lab, job| {
        let masked = if job % 2 == 0 { 0.0 } else { 1.0 };
        let conditions = Conditions { size: SIZE, face_px: FACE_PX, difficulty: plan.difficulty, masked };
        let shot = photograph(FIRST_SEED + job as u64, 2_000, conditions);
        let frame = lab.frame(&shot.image)?;
        let said = match lab.faces(&frame)?.first() {
            Some(face) => lab.is_masked(&frame, face)?,
            None => None,
        };
        Ok((shot.truth.mask, said))
    })?;
    let class = |worn: bool| {
        let of_class = || looked.iter().filter(move |(truth, _)| *truth == worn);
        let found = of_class().filter(|(_, said)| said.is_some()).count();
        let right = of_class().filter(|(_, said)| *said == Some(worn)).count();
        Class { photographs: of_class().count(), found, right, accuracy: share(right, found) }
    };
    Ok(Masks { bare: class(false), masked: class(true) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn towards(degrees: f32) -> Option<Embedding> {
        let (y, x) = degrees.to_radians().sin_cos();
        Some(Embedding::normalised(&mut [x, y]).expect("a direction"))
    }

    #[test]
    fn probes_are_compared_with_everybody_and_what_was_not_found_is_missed() {
        let people = [
            Templates { gallery: towards(0.0), probes: vec![towards(5.0), towards(80.0)] },
            Templates { gallery: towards(90.0), probes: vec![towards(91.0), None] },
            Templates { gallery: None, probes: vec![towards(45.0)] },
            Templates { gallery: towards(180.0), probes: vec![] },
        ];
        let told = tell(&people);
        assert_eq!((told.people, told.gallery, told.probes, told.genuine_pairs), (3, 4, 5, 5));
        // Of the four probes found: two others enrolled for each of the first three, three for the last.
        assert_eq!(told.impostor_pairs, 2 + 2 + 2 + 3);
        assert_eq!((told.gallery_found, told.probes_found, told.rank_1), (0.75, 0.8, 0.4));
        assert!(told.at.is_empty(), "nine pairs say nothing about one in a hundred");
    }
}
