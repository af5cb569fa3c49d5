//! From scores to the figures of a model card. Pure; shares are 0…1.

use serde::Serialize;

/// Similarities of pictures of one person, and of different people. A picture in which no face was found is a genuine pair of
/// similarity −1: never accepted.
#[derive(Default)]
pub struct Pairs {
    genuine: Vec<f32>,
    impostor: Vec<f32>,
}

/// What a threshold does. A pair counts as one person where its similarity is more than the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Operating {
    /// Share of impostor pairs that may be accepted.
    pub far: f64,
    pub threshold: f32,
    /// Share of genuine pairs that are accepted.
    pub tar: f64,
}

/// Where as many genuine pairs are refused as impostor pairs are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EqualError {
    pub rate: f64,
    pub threshold: f32,
}

impl Pairs {
    pub fn new(mut genuine: Vec<f32>, mut impostor: Vec<f32>) -> Self {
        genuine.sort_by(f32::total_cmp);
        impostor.sort_by(f32::total_cmp);
        Self { genuine, impostor }
    }

    pub fn genuine(&self) -> usize {
        self.genuine.len()
    }
    pub fn impostor(&self) -> usize {
        self.impostor.len()
    }

    fn accepted(scores: &[f32], threshold: f32) -> f64 {
        share(scores.len() - scores.partition_point(|s| *s <= threshold), scores.len())
    }

    /// `None`: too few impostor pairs to say, fewer than ten at that rate.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a number of pairs")]
    pub fn at(&self, far: f64) -> Option<Operating> {
        let allowed = (far * self.impostor.len() as f64) as usize;
        if allowed < 10 || self.genuine.is_empty() {
            return None;
        }
        let threshold = *self.impostor.iter().rev().nth(allowed)?;
        Some(Operating { far, threshold, tar: Self::accepted(&self.genuine, threshold) })
    }

    pub fn equal_error(&self) -> Option<EqualError> {
        if self.impostor.is_empty() {
            return None;
        }
        let rates = |threshold: f32| (1.0 - Self::accepted(&self.genuine, threshold), Self::accepted(&self.impostor, threshold));
        let apart = |threshold: &f32| {
            let (refused, accepted) = rates(*threshold);
            (refused - accepted).abs()
        };
        let threshold = self.genuine.iter().copied().min_by(|a, b| apart(a).total_cmp(&apart(b)))?;
        let (refused, accepted) = rates(threshold);
        Some(EqualError { rate: f64::midpoint(refused, accepted), threshold })
    }
}

/// 0 of 0 is 0.
pub fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Mean, and the value that 95 % do not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub mean: f64,
    pub p95: f64,
}

/// `None` of nothing.
pub fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let p95 = *values.get((values.len() * 95).div_ceil(100).saturating_sub(1))?;
    Some(Spread { mean: values.iter().sum::<f64>() / values.len() as f64, p95 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_accepts_no_more_impostors_than_it_may() {
        // 0.000, 0.001 … 0.999
        let impostor: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let pairs = Pairs::new(vec![0.5, 0.985, 0.995, -1.0], impostor);
        let at = pairs.at(0.01).expect("enough pairs");
        assert_eq!((at.threshold, at.tar), (0.989, 0.25));
        assert_eq!(pairs.at(0.02).expect("enough").tar, 0.5);
        assert_eq!(pairs.at(0.001), None, "one pair says nothing");
        assert_eq!((pairs.genuine(), pairs.impostor()), (4, 1000));
        assert_eq!(Pairs::new(vec![], vec![0.0; 100_000]).at(0.01), None);
    }

    #[test]
    fn the_equal_error_rate_is_where_the_curves_cross() {
        let genuine: Vec<f32> = (0..100).map(|i| 0.4 + i as f32 / 200.0).collect();
        let impostor: Vec<f32> = (0..1000).map(|i| i as f32 / 2000.0).collect();
        let found = Pairs::new(genuine, impostor).equal_error().expect("pairs");
        // Genuine below t: (t − 0.4) · 2; impostors above: (0.5 − t) · 2. They meet at 0.45.
        assert!((found.rate - 0.1).abs() < 0.011 && (found.threshold - 0.45).abs() < 0.01, "{found:?}");
        let apart = Pairs::new(vec![0.9, 0.8], vec![0.1, 0.2]).equal_error().expect("pairs");
        assert!(apart.rate <= 0.25, "{apart:?}");
        assert_eq!(Pairs::default().equal_error(), None);
    }

    #[test]
    fn spreads_and_shares_of_nothing_are_nothing() {
        assert_eq!(spread(vec![]), None);
        assert_eq!(spread(vec![2.0]), Some(Spread { mean: 2.0, p95: 2.0 }));
        let hundred = spread((1..=100).map(f64::from).collect()).expect("values");
        assert_eq!((hundred.mean, hundred.p95), (50.5, 95.0));
        assert_eq!((share(0, 0), share(1, 4)), (0.0, 0.25));
    }
}
