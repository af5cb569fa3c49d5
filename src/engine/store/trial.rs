//! A model is tried before it is stored: does it run, and does it still compute what it did before it was rewritten?
//!
//! Once on grey: what comes out is compared with the manifest's layout. Where anything was rewritten, also on a drawn picture, beside what was checked: every number
//! must agree to within [`LARGEST`] of the largest one. Rewriting is exact but for the last places of fp32.

use std::time::Instant;

use crate::engine::fused::selftest;
use crate::engine::import::Prepared;
use crate::engine::manifest::Manifest;
use crate::engine::onnxruntime::OnnxNetwork;
use crate::engine::{EngineError, Network};

/// Share of the largest output by which rewriting may change any.
pub const LARGEST: f32 = 1e-4;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// One run on a grey picture.
    pub ms: f64,
    /// The largest difference to what the file computed before it was rewritten, as a share of its largest output; `None`: nothing was.
    pub changed_by: Option<f32>,
}

pub(super) fn run(prepared: &Prepared, manifest: &Manifest) -> Result<Trial, EngineError> {
    let ms = try_out(&prepared.bytes, manifest)?;
    let changed_by = prepared.checked.as_deref().map(|checked| change(checked, &prepared.bytes, manifest)).transpose()?;
    Ok(Trial { ms, changed_by })
}

/// How far the outputs of both lie apart on the drawn picture, or that they do by too much.
fn change(checked: &[u8], prepared: &[u8], manifest: &Manifest) -> Result<f32, EngineError> {
    let (picture, width, height) = selftest::picture(manifest);
    let outputs = |bytes: &[u8]| -> Result<Vec<f32>, EngineError> {
        let mut values = Vec::new();
        let read = &mut |outputs: &[crate::engine::Output<'_>]| values = outputs.iter().flat_map(|o| o.data.iter().copied()).collect();
        OnnxNetwork::load(bytes, manifest, 1)?.run(&picture, [1, 3, height, width], read)?;
        Ok(values)
    };
    let apart = apart(&outputs(checked)?, &outputs(prepared)?);
    if apart <= LARGEST {
        return Ok(apart);
    }
    let reason = format!(
        "after preparation its outputs differ by {apart} of the largest; at most {LARGEST} is rounding: a fault of the preparation"
    );
    Err(EngineError::Run { model: manifest.name.clone(), reason })
}

/// NaN or infinite where they do not belong together.
fn apart(before: &[f32], after: &[f32]) -> f32 {
    if before.len() != after.len() {
        return f32::INFINITY;
    }
    let largest = before.iter().fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
    let off = before.iter().zip(after).map(|(a, b)| (a - b).abs());
    off.fold(0.0, |most: f32, off| if off > most || off.is_nan() { off } else { most }) / largest
}

/// Runs a model once on a grey picture and compares what really comes out with the layout. Returns milliseconds.
fn try_out(bytes: &[u8], manifest: &Manifest) -> Result<f64, EngineError> {
    let mut network = OnnxNetwork::load(bytes, manifest, 1)?;
    let input = &manifest.input;
    let free = input.multiple_of * 64u32.div_ceil(input.multiple_of);
    let (width, height) = (input.width.unwrap_or(free) as usize, input.height.unwrap_or(free) as usize);
    let grey = |c: usize| std::iter::repeat_n((128.0 - input.mean[c]) * input.scale[c], width * height);
    let picture: Vec<f32> = (0..3).flat_map(grey).collect();
    let mut wrong = None;
    let started = Instant::now();
    let mut took_ms = 0.0;
    network.run(&picture, [1, 3, height, width], &mut |outputs| {
        took_ms = started.elapsed().as_secs_f64() * 1e3;
        wrong = outputs.iter().zip(manifest.decode.widths(manifest.task)).find_map(|(output, width)| {
            if output.shape.last() != Some(&width) {
                return Some(format!("output `{}` came out as {:?}, its last dimension must be {width}", output.name, output.shape));
            }
            let bad = output.data.iter().find(|v| !v.is_finite())?;
            Some(format!("output `{}` holds {bad} for a grey picture", output.name))
        });
    })?;
    match wrong {
        Some(reason) => Err(EngineError::Run { model: manifest.name.clone(), reason }),
        None => Ok(took_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn what_lies_apart_or_is_no_number_is_seen() {
        assert_eq!(apart(&[1.0, -4.0], &[1.0, -4.0]), 0.0);
        assert!((apart(&[1.0, -4.0], &[1.0, -4.4]) - 0.1).abs() < 1e-6);
        assert!(apart(&[1.0], &[1.0, 2.0]).is_infinite() && apart(&[1.0, 2.0], &[1.0, f32::NAN]).is_nan());
        assert!(apart(&[0.0], &[1e-3]) > super::LARGEST);
    }
}
