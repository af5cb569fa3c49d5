//! What values lie between: the fp32 graph is run on the calibration pictures with its inner values as outputs.
//!
//! Twice: first for the least and greatest value, then for how the values spread between them ([`BINS`] bins). From that the range
//! with the least mean squared error is chosen: cutting off a few outliers costs less than a coarser step for all others.

use std::collections::HashMap;

use ort::value::TensorRef;

use super::QuantiseError;
use crate::engine::manifest::Manifest;
use crate::engine::onnx::{ModelProto, TensorType, TypeProto, TypeValue, ValueInfoProto, element};
use crate::engine::onnxruntime::{Wiped, open_session};
use crate::engine::{EngineError, onnx};

use prost::Message;

const BINS: usize = 2048;
/// Steps in which a range is narrowed, as shares of its side.
const NARROWEST: f32 = 0.3;
const STEPS: u16 = 36;

/// One value in all calibration pictures.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    low: f32,
    high: f32,
    bins: Vec<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { low: f32::INFINITY, high: f32::NEG_INFINITY, bins: Vec::new() }
    }
}

impl Seen {
    fn widen(&mut self, values: &[f32]) {
        for v in values {
            self.low = self.low.min(*v);
            self.high = self.high.max(*v);
        }
    }

    fn count(&mut self, values: &[f32]) {
        self.bins.resize(BINS, 0);
        let per_unit = BINS as f32 / (self.high - self.low).max(f32::MIN_POSITIVE);
        for v in values {
            // Saturates: a NaN lands in the first bin, what lies beyond in the last.
            self.bins[(((v - self.low) * per_unit) as usize).min(BINS - 1)] += 1;
        }
    }

    /// The range with the least mean squared error, inside `limits` and around zero.
    pub(super) fn best_range(&self, limits: Option<(f32, f32)>) -> (f32, f32) {
        let (least, most) = limits.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let (low, high) = (self.low.max(least).min(0.0), self.high.min(most).max(0.0));
        let mut best = (low, high);
        let mut least_error = self.error(best);
        // One side, then the other, then the first again: the sides hardly depend on each other.
        for side in [1, 0, 1, 0] {
            for step in 0..=STEPS {
                let share = NARROWEST + (1.0 - NARROWEST) * f32::from(step) / f32::from(STEPS);
                let tried = if side == 0 { (low * share, best.1) } else { (best.0, high * share) };
                let error = self.error(tried);
                if error < least_error {
                    (best, least_error) = (tried, error);
                }
            }
        }
        best
    }

    /// Sum of squared errors of the observed values in 255 steps between `low` and `high`.
    fn error(&self, (low, high): (f32, f32)) -> f64 {
        let step = f64::from(high - low) / 255.0;
        let width = f64::from(self.high - self.low) / BINS as f64;
        let errors = self.bins.iter().enumerate().filter(|(_, count)| **count > 0).map(|(i, count)| {
            let value = f64::from(self.low) + (i as f64 + 0.5) * width;
            let beyond = (f64::from(low) - value).max(value - f64::from(high)).max(0.0);
            *count as f64 * (beyond * beyond + step * step / 12.0)
        });
        errors.sum()
    }
}

/// Runs `model` on `pictures` (the network's own input tensors) and watches the values called `names`.
pub(super) fn observe(
    model: &ModelProto,
    manifest: &Manifest,
    names: &[String],
    pictures: &[Vec<f32>],
) -> Result<HashMap<String, Seen>, QuantiseError> {
    let of_input = |name: &&String| **name == manifest.input.name;
    let mut seen: HashMap<String, Seen> = names.iter().map(|name| (name.clone(), Seen::default())).collect();
    let inner: Vec<&String> = names.iter().filter(|name| !of_input(name)).collect();
    let mut session = open_session(&exposing(model, &inner).encode_to_vec(), manifest, 1)?;
    let failed = |reason: String| EngineError::Run { model: manifest.name.clone(), reason };
    let (width, height) = (manifest.input.width.unwrap_or(0) as usize, manifest.input.height.unwrap_or(0) as usize);
    for counting in [false, true] {
        for picture in pictures {
            let mut note = |name: &str, values: &[f32]| {
                let Some(of_name) = seen.get_mut(name) else { return Ok(()) };
                if counting {
                    of_name.count(values)
                } else {
                    of_name.widen(values)
                }
                let finite = of_name.low.is_finite() && of_name.high.is_finite();
                if finite { Ok(()) } else { Err(failed(format!("value `{name}` is not finite for a calibration picture"))) }
            };
            note(&manifest.input.name, picture)?;
            let tensor = TensorRef::from_array_view(([1, 3, height, width], &**picture)).map_err(|error| failed(error.to_string()))?;
            // What a network makes of a face on the way is wiped like what it says in the end.
            let outputs = Wiped(session.run(ort::inputs![tensor]).map_err(|error| failed(error.to_string()))?);
            for name in &inner {
                let value = outputs.0.get(name.as_str()).ok_or_else(|| failed(format!("no value `{name}`")))?;
                let (_, values) = value.try_extract_tensor::<f32>().map_err(|error| failed(error.to_string()))?;
                note(name, values)?;
            }
        }
    }
    Ok(seen)
}

/// The same graph with `names` as its outputs and no others.
fn exposing(model: &ModelProto, names: &[&String]) -> ModelProto {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        let float = || TypeProto {
            value: Some(TypeValue::Tensor(TensorType { elem_type: Some(element::FLOAT), shape: None })),
            ..Default::default()
        };
        let output = |name: &&String| ValueInfoProto { name: Some((*name).clone()), r#type: Some(float()), ..Default::default() };
        let declared: Vec<onnx::ValueInfoProto> = names.iter().map(output).collect();
        graph.output = declared;
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(values: &[f32]) -> Seen {
        let mut seen = Seen::default();
        seen.widen(values);
        seen.count(values);
        seen
    }

    #[test]
    fn a_range_holds_zero_and_what_an_activation_lets_through() {
        let even: Vec<f32> = (0..10_000).map(|i| i as f32 / 1_000.0 - 2.0).collect();
        let (low, high) = seen(&even).best_range(None);
        assert!((low + 2.0).abs() < 0.1 && (high - 8.0).abs() < 0.2, "{low} {high}");
        let (low, high) = seen(&even).best_range(Some((0.0, 6.0)));
        assert!(low == 0.0 && high <= 6.0 && high > 5.5, "{low} {high}");
        assert_eq!(seen(&[0.0, 0.0]).best_range(None), (0.0, 0.0));
        assert_eq!(seen(&[3.0, 4.0]).best_range(None).0, 0.0);
    }

    #[test]
    fn one_outlier_does_not_make_the_step_coarse_for_all_others() {
        let values: Vec<f32> = (0..100_000).map(|i| (i % 1_000) as f32 / 1_000.0).collect();
        let mut seen = Seen::default();
        seen.widen(&values);
        seen.widen(&[3.0]);
        (0..100).for_each(|_| seen.count(&values));
        seen.count(&[3.0]);
        let (_, high) = seen.best_range(None);
        assert!((0.9..1.2).contains(&high), "{high}");
    }
}
