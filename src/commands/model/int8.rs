//! `placard model add FILE --int8`: makes the variant, and says what came of it.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::faces::{self, Extent, Photographs};
use super::shots::Shots;
use crate::commands::exits::store_failed;
use crate::commands::{Context, Failed};
use crate::config::schema::Engine;
use crate::engine::Network;
use crate::engine::manifest::{Int8, Manifest, Task};
use crate::engine::processor::processor;
use crate::engine::store::{self, Added, Int8Outcome};

/// Makes the int8 variant of a model that is in the store.
///
/// `out`: where a bundled model's goes, for the program's next version.
pub(super) fn make_int8(
    context: &Context,
    added: &Added,
    photographs: Option<&Photographs>,
    out: Option<&Path>,
) -> Result<Int8Outcome, Failed> {
    let manifest = &added.manifest;
    if added.directory.is_none() && out.is_none() {
        return Ok(Int8Outcome::Kept { reason: "it is part of the program, and nothing of it is in the store".to_owned() });
    }
    let in_fp32 = |failed: Failed| Failed {
        error: failed.error.context(format!("`{}` is in the store in fp32, its int8 variant was not made", manifest.name)),
        ..failed
    };
    match manifest.task {
        Task::FaceDetector if photographs.is_some() => {
            Ok(Int8Outcome::Kept { reason: "a detector is calibrated with rendered pictures only: leave out --calibrate".to_owned() })
        }
        Task::FaceDetector => of_detector(context, manifest, if added.directory.is_none() { out } else { None }).map_err(in_fp32),
        Task::FaceEmbedder => {
            let samples = faces::samples(context, &manifest.input, photographs, Extent::FULL).map_err(in_fp32)?;
            let outcome = match (&added.directory, out) {
                (None, Some(out)) => store::export_int8(&manifest.name, &samples, out, None),
                _ => store::add_int8(&context.state, &manifest.name, &samples, None),
            };
            faces::wipe(samples);
            outcome.map_err(store_failed).map_err(in_fp32)
        }
        _ => Ok(Int8Outcome::Kept { reason: "int8 is made of embedders and of detectors".to_owned() }),
    }
}

fn of_detector(context: &Context, manifest: &Manifest, out: Option<&Path>) -> Result<Int8Outcome, Failed> {
    let shots = Shots::take(context, manifest)?;
    let mut judge = |network: &mut dyn Network| shots.judge(network);
    let engine = Engine::default();
    let outcome = match out {
        Some(out) => store::export_int8_detector(&manifest.name, &shots.calibration, &mut judge, out, &engine),
        None => store::add_int8_detector(&context.state, &manifest.name, &shots.calibration, &mut judge, &engine),
    };
    outcome.map_err(store_failed)
}

/// What cameras run. A detector's start measures for itself whether int8 is worth it.
pub(super) fn execution(manifest: &Manifest) -> &'static str {
    match &manifest.int8 {
        Some(_) if manifest.task == Task::FaceDetector => "int8, where the start finds it faster",
        Some(int8) if int8.is_faster_on(&processor()) => "int8",
        _ => "fp32",
    }
}

pub(super) fn int8_text(task: Task, int8: &Int8) -> String {
    let Int8 { times_as_fast, processor: measured_on, .. } = int8;
    let here = processor();
    if task == Task::FaceDetector {
        format!(
            "cameras run int8 where a service's start finds it {} times as fast as ONNX Runtime or more; it was {times_as_fast:.2} times on {measured_on}; \
             enrolment and search run fp32",
            Int8::LEAST_GAIN
        )
    } else if int8.is_faster_on(&here) {
        format!("cameras run int8: {times_as_fast:.2} times as fast as fp32 here; enrolment and search run fp32")
    } else if *measured_on == here {
        format!(
            "cameras run fp32: int8 is {times_as_fast:.2} times as fast here, less than {} is not worth an approximation",
            Int8::LEAST_GAIN
        )
    } else {
        format!(
            "cameras run fp32: int8 was measured on another processor ({measured_on}); `placard model add FILE --int8` measures it here"
        )
    }
}

pub(super) fn int8_object(outcome: &Int8Outcome) -> serde_json::Value {
    match outcome {
        Int8Outcome::Kept { reason } => json!({ "made": false, "used": false, "reason": reason }),
        Int8Outcome::Detector { int8, fp32, recall } => {
            // Measured a moment ago, on this processor.
            let used = int8.times_as_fast >= Int8::LEAST_GAIN;
            json!({ "made": true, "used": used, "times_as_fast": int8.times_as_fast, "processor": int8.processor,
                "calibrated_with": int8.calibrated_with, "recall_fp32": fp32, "recall_int8": recall })
        }
        Int8Outcome::Stored { int8, verdict, report } => {
            let used = int8.is_faster_on(&processor());
            json!({ "made": true, "used": used, "times_as_fast": int8.times_as_fast, "processor": int8.processor,
                "calibrated_with": int8.calibrated_with, "verdict": verdict, "report": report })
        }
    }
}

pub(super) fn show_int8(out: &mut impl Write, outcome: &Int8Outcome) -> Result<(), Failed> {
    match outcome {
        Int8Outcome::Kept { reason } => writeln!(out, "  int8       kept fp32: {reason}")?,
        Int8Outcome::Detector { int8, .. } => {
            writeln!(out, "  int8       {}", int8_text(Task::FaceDetector, int8))?;
            writeln!(out, "             calibrated with {}", int8.calibrated_with)?;
            for line in &int8.accuracy {
                writeln!(out, "             {line}")?;
            }
        }
        Int8Outcome::Stored { int8, report, .. } => {
            writeln!(out, "  int8       {}", int8_text(Task::FaceEmbedder, int8))?;
            let counts =
                format!("{} convolutions, {} matrix products, {} sums in 8 bits", report.convolutions, report.products, report.sums);
            writeln!(out, "             {counts}; calibrated with {}", int8.calibrated_with)?;
            for line in &int8.accuracy {
                writeln!(out, "             {line}")?;
            }
        }
    }
    Ok(())
}
