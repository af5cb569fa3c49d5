//! Frame rates from counters: a count sampled now and then becomes "per second over the last few seconds".

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::clock::{Monotonic, Stamp};

const WINDOW_NS: i64 = 5_000_000_000;

/// Samples of one count within the last five seconds, and one older one to reach back to.
#[derive(Debug)]
pub struct RateWindow {
    samples: Mutex<VecDeque<(Stamp<Monotonic>, u64)>>,
}

impl RateWindow {
    /// A count that was 0 at `start`.
    pub fn starting_at(start: Stamp<Monotonic>) -> Self {
        Self { samples: Mutex::new(VecDeque::from([(start, 0)])) }
    }

    /// Remembers that the count is `count` now. Call it about once a second.
    pub fn sample(&self, now: Stamp<Monotonic>, count: u64) {
        let mut samples = self.samples.lock();
        samples.push_back((now, count));
        while samples.len() > 2 && samples.get(1).is_some_and(|(at, _)| now.since_ns(*at) > WINDOW_NS) {
            samples.pop_front();
        }
    }

    /// Per second between the oldest sample still kept and now; 0 within the first 50 ms.
    pub fn per_second(&self, now: Stamp<Monotonic>, count: u64) -> f64 {
        let samples = self.samples.lock();
        let Some(&(at, before)) = samples.iter().find(|(at, _)| now.since_ns(*at) <= WINDOW_NS).or_else(|| samples.back()) else {
            return 0.0;
        };
        let elapsed_ns = now.since_ns(at);
        if elapsed_ns < 50_000_000 { 0.0 } else { count.saturating_sub(before) as f64 * 1e9 / elapsed_ns as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: i64) -> Stamp<Monotonic> {
        Stamp::from_ns(ms * 1_000_000)
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let rate = RateWindow::starting_at(at(0));
        assert!(rate.per_second(at(10), 1).abs() < f64::EPSILON);
        assert!((rate.per_second(at(2_000), 50) - 25.0).abs() < 1e-9);
        for second in 1..=100 {
            rate.sample(at(second * 1_000), u64::try_from(second).expect("positive") * 30);
        }
        assert!((rate.per_second(at(100_000), 3_000) - 30.0).abs() < 1e-9);
        // A stream that stops is seen to stop.
        assert!((rate.per_second(at(104_000), 3_000) - 30.0 / 5.0).abs() < 1.5);
        assert!(rate.per_second(at(110_000), 3_000).abs() < f64::EPSILON);
        assert!(rate.samples.lock().len() <= 7);
    }
}
