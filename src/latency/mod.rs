//! Latency histograms: one per step, one from capture to emission.
//!
//! Each worker writes a histogram of its own; the registry merges them on demand. The lock around it is never contended except by
//! a reader copying the counts (some 20 µs, a few times a second). `hdrhistogram::sync` was tried instead: a recorder that falls
//! idle holds its samples back, and a camera that goes dark makes a worker idle for hours. Values are nanoseconds from 1 µs to 1 h with
//! three significant digits; negative latencies (a capturing clock ahead of ours) are counted apart, never clamped in silence.

pub mod report;

use std::sync::Arc;

use hdrhistogram::{CreationError, Histogram};
use parking_lot::Mutex;
use serde::Serialize;

use crate::counters::Counter;

/// The step that holds, for every frame that was looked at, the time from its capture to the last thing done with it: through the
/// tracker, or through embedding where a shot of it was taken.
pub const CAPTURE_TO_DONE: &str = "capture-to-done";

const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

fn histogram() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
}

struct Step {
    name: Arc<str>,
    /// One per worker.
    histograms: Mutex<Vec<Arc<Mutex<Histogram<u64>>>>>,
    negative: Counter,
}

/// All steps of one appliance.
#[derive(Clone, Default)]
pub struct Latencies {
    steps: Arc<Mutex<Vec<Arc<Step>>>>,
}

/// A worker's end. Recording never allocates.
pub struct StepRecorder {
    own: Arc<Mutex<Histogram<u64>>>,
    step: Arc<Step>,
}

impl StepRecorder {
    /// Records a signed latency in nanoseconds.
    pub fn record_ns(&mut self, ns: i64) {
        match u64::try_from(ns) {
            Ok(ns) => self.own.lock().saturating_record(ns.max(LOWEST_NS)),
            Err(_) => self.step.negative.increment(),
        }
    }
}

/// What a step's histogram holds at one moment.
#[derive(Clone)]
pub struct StepSnapshot {
    pub name: Arc<str>,
    pub histogram: Histogram<u64>,
    /// Latencies below zero: not in the histogram.
    pub negative: u64,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PercentilesMs {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl StepSnapshot {
    pub fn percentiles_ms(&self) -> PercentilesMs {
        let at = |q: f64| {
            let ns = if self.histogram.is_empty() { 0 } else { self.histogram.value_at_quantile(q) };
            (ns as f64 / 1e3).round() / 1e3
        };
        PercentilesMs { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

impl Latencies {
    pub fn new() -> Self {
        Self::default()
    }

    /// A recorder for `step`; several workers may record the same step.
    pub fn recorder(&self, step: &str) -> Result<StepRecorder, CreationError> {
        let own = Arc::new(Mutex::new(histogram()?));
        let mut steps = self.steps.lock();
        let entry = if let Some(found) = steps.iter().find(|s| &*s.name == step) {
            Arc::clone(found)
        } else {
            let new = Arc::new(Step { name: step.into(), histograms: Mutex::default(), negative: Counter::default() });
            steps.push(Arc::clone(&new));
            new
        };
        entry.histograms.lock().push(Arc::clone(&own));
        Ok(StepRecorder { own, step: entry })
    }

    /// Everything recorded so far, in the order the steps were registered.
    pub fn snapshot(&self) -> Result<Vec<StepSnapshot>, CreationError> {
        let steps: Vec<Arc<Step>> = self.steps.lock().clone();
        let one = |step: &Arc<Step>| {
            let mut merged = histogram()?;
            for own in step.histograms.lock().iter() {
                let copy = own.lock().clone();
                // Same bounds by construction, so adding cannot fail.
                merged.add(copy).unwrap_or_default();
            }
            Ok(StepSnapshot { name: Arc::clone(&step.name), histogram: merged, negative: step.negative.get() })
        };
        steps.iter().map(one).collect()
    }

    /// Forgets what was recorded (a bench's warm-up).
    pub fn reset(&self) {
        for step in self.steps.lock().iter() {
            step.histograms.lock().iter().for_each(|h| h.lock().clear());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_recorders_hide_nothing_and_negative_latency_is_counted() {
        let all = Latencies::new();
        let mut a = all.recorder("detect").expect("bounds are valid");
        let _idle = all.recorder("detect").expect("bounds are valid");
        a.record_ns(2_000_000);
        a.record_ns(-5);
        let snapshot = all.snapshot().expect("bounds are valid");
        assert_eq!(snapshot.len(), 1);
        assert_eq!((snapshot[0].histogram.len(), snapshot[0].negative), (1, 1));
        assert!((snapshot[0].percentiles_ms().p50 - 2.0).abs() < 0.01);
        all.reset();
        assert_eq!(all.snapshot().expect("bounds are valid")[0].histogram.len(), 0);
    }
}
