//! Pauses between attempts: doubling, jittered, bounded, for ever.

use std::time::Duration;

/// First and longest pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    pub first: Duration,
    pub longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(30) }
    }
}

/// One run of failures.
#[derive(Clone, Debug)]
pub struct Backoff {
    pauses: Pauses,
    failures: u32,
}

impl Backoff {
    pub fn new(pauses: Pauses) -> Self {
        Self { pauses, failures: 0 }
    }
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
    /// The failures so far.
    pub fn failures(&self) -> u32 {
        self.failures
    }
    /// Counts a failure and says how long to wait: between half and all of the doubled pause, so that many boxes that lost the
    /// same broker do not come back in step.
    pub fn failed(&mut self) -> Duration {
        let whole = self.pauses.first.saturating_mul(1 << self.failures.min(20)).min(self.pauses.longest);
        self.failures = self.failures.saturating_add(1);
        // Without random bytes the pauses are merely not jittered.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        whole.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew_after_success() {
        let pauses = Pauses { first: Duration::from_millis(100), longest: Duration::from_secs(2) };
        let mut backoff = Backoff::new(pauses);
        for whole_ms in [100, 200, 400, 800, 1_600, 2_000, 2_000] {
            let whole = Duration::from_millis(whole_ms);
            let pause = backoff.failed();
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
        }
        assert_eq!(backoff.failures(), 7);
        backoff.succeeded();
        assert!(backoff.failed() <= pauses.first);
        (0..100).for_each(|_| assert!(backoff.failed() <= pauses.longest));
    }
}
