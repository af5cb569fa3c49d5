//! Faces to calibrate and to judge an int8 embedder with: people who do not exist, or photographs that the operator has.
//!
//! Rendered faces are nobody's, so nobody has to be asked. Photographs are of people: leave to read them comes from a purpose of the register, as
//! for `enrol`, and nothing of them outlives the command but the ranges of a network's inner values.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use image::RgbImage;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zeroize::Zeroize;

use crate::align::similarity::{CROP_PX, Similarity, TEMPLATE};
use crate::align::{Aligner, CROP_LEN};
use crate::clock::SystemClock;
use crate::commands::exits::store_failed;
use crate::commands::portrait::{desk_closed, intended, only_model, read_picture};
use crate::commands::{Context, Exit, Failed};
use crate::config::schema;
use crate::detect::detector::{DetectCounters, Detector};
use crate::engine::manifest::Task;
use crate::engine::manifest::{ChannelOrder, Input};
use crate::engine::quantise::verdict::HeldOut;
use crate::engine::store::{self, Samples};
use crate::policy::enrolment::EnrolmentDesk;
use crate::policy::lease::{Detect, Embed};
use crate::policy::profile::Library;
use crate::policy::store::Present;
use crate::purpose::Purpose;
use crate::render::portrait::{Conditions, photograph};

/// How many people are drawn.
#[derive(Clone, Copy)]
pub struct Extent {
    /// Faces that ranges are taken from.
    pub calibration: u64,
    /// People that both networks are compared on, and photographs of each beside the official one.
    pub people: u64,
    pub occasions: u64,
}

impl Extent {
    pub const FULL: Self = Self { calibration: 64, people: 48, occasions: 5 };

    fn judged(self) -> u64 {
        self.people * (1 + self.occasions)
    }
}

/// Photographs to calibrate with.
pub struct Photographs {
    pub directory: PathBuf,
    pub purpose: Purpose,
    pub detector: Option<String>,
}

/// Faces narrower than this say little of a network's range.
const LEAST_WIDTH_PX: f32 = 32.0;
const LEAST_SCORE: f32 = 0.6;
/// Enough for ranges; the rest of a large folder is not read.
const MOST_PHOTOGRAPHS: usize = 500;
/// Of photographed faces, one in this many is kept back to be judged on.
const KEPT_BACK: usize = 4;

/// Seeds of people: no one is both calibrated with and judged on.
const FIRST_CALIBRATION: u64 = 0x1a18_0000;
const FIRST_JUDGED: u64 = 0x1a18_8000;

/// Widths of faces as cameras see them, pixels.
const WIDTHS_PX: [f32; 4] = [32.0, 48.0, 64.0, 112.0];

/// Everything that an int8 variant is made and judged with.
pub fn samples(context: &Context, input: &Input, photographs: Option<&Photographs>, extent: Extent) -> Result<Samples, Failed> {
    let bar = |all: u64, what: &str| -> Result<ProgressBar, Failed> {
        let bar = ProgressBar::new(all);
        bar.set_style(ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {what}"))?);
        if context.json {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Ok(bar)
    };
    let drawing = bar(extent.judged() + if photographs.is_none() { extent.calibration } else { 0 }, "faces drawn")?;
    let drawn = || drawing.inc(1);
    let (what, calibration, others) = match photographs {
        None => {
            let faces = rendered_for_calibration(input, extent.calibration, &drawn);
            (format!("{} rendered faces", faces.len()), faces, Vec::new())
        }
        Some(asked) => {
            let files = pictures_in(&asked.directory)?;
            let reading = bar(files.len() as u64, "photographs read")?;
            let faces = photographed(context, asked, &files, input, &|| reading.inc(1))?;
            reading.finish_and_clear();
            let what = format!("{} faces of {} photographs", faces.len(), files.len());
            let (mut kept_back, mut used) = (Vec::new(), Vec::new());
            for (i, face) in faces.into_iter().enumerate() {
                if i % KEPT_BACK == KEPT_BACK - 1 { kept_back.push(face) } else { used.push(face) }
            }
            (what, used, kept_back)
        }
    };
    let held_out = HeldOut { others, ..rendered_for_judgement(input, extent, &drawn) };
    drawing.finish_and_clear();
    Ok(Samples { what, calibration, held_out })
}

/// Overwrites what was made of people's photographs.
pub fn wipe(mut samples: Samples) {
    samples.calibration.iter_mut().chain(&mut samples.held_out.others).for_each(Zeroize::zeroize);
}

fn pictures_in(directory: &Path) -> Result<Vec<PathBuf>, Failed> {
    let is_picture = |path: &PathBuf| {
        let end = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        ["jpg", "jpeg", "png"].contains(&&*end)
    };
    let entries = std::fs::read_dir(directory).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::Missing } else { Exit::Failure };
        Failed::new(exit, anyhow!("{}: {error}", directory.display()))
    })?;
    let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_picture).collect();
    files.sort();
    files.truncate(MOST_PHOTOGRAPHS);
    Ok(files)
}

/// The faces in photographs as the network's input, under permits for the purpose that was named.
fn photographed(
    context: &Context,
    asked: &Photographs,
    files: &[PathBuf],
    input: &Input,
    read: &dyn Fn(),
) -> Result<Vec<Vec<f32>>, Failed> {
    let present = Present::load(&context.state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
    let mut desk = EnrolmentDesk::of_site(&present, &asked.purpose, SystemClock::shared(), &Library::of_site(&context.state))
        .map_err(|reason| Failed::refused(&reason))?;
    let name = asked.detector.clone().map_or_else(|| only_model(context, Task::FaceDetector, "face detector"), Ok)?;
    let network = store::load_network(&context.state, &name, Task::FaceDetector, &schema::Engine::default()).map_err(store_failed)?;
    intended(&context.state, std::slice::from_ref(network.manifest()))?;
    let settings = schema::Detect { model: name, score_threshold: LEAST_SCORE, nms_iou: 0.45, input_px: None };
    let mut detector = Detector::new(network, &settings, LEAST_SCORE, Arc::<DetectCounters>::default())?;
    let mut aligner = Aligner::new(input)?;
    let mut crops = Vec::new();
    for path in files {
        read();
        // What is no picture is no calibration picture; how many faces there were is said.
        let Ok(frame) = read_picture(path, desk.table()) else { continue };
        let faces = detector.detect(&frame, &desk.permit::<Detect>().map_err(desk_closed)?)?;
        for face in faces.iter().filter(|face| face.bounding_box.width() >= LEAST_WIDTH_PX) {
            let landmarks = face.landmarks.context("this detector gives no landmarks: name one that does with --detector")?;
            let mut crop = vec![0.0; CROP_LEN];
            if aligner.align(&frame, &desk.permit::<Embed>().map_err(desk_closed)?, &landmarks, &mut crop).is_ok() {
                crops.push(crop);
            }
        }
    }
    Ok(crops)
}

/// Faces in every light, pose and size that the renderer knows, some of them masked. `drawn` is told of each.
fn rendered_for_calibration(input: &Input, count: u64, drawn: &dyn Fn()) -> Vec<Vec<f32>> {
    let of = |i: u64| {
        let difficulty = i as f32 / count as f32;
        let crop = rendered(FIRST_CALIBRATION + i, i, WIDTHS_PX[i as usize % 4], difficulty, if i % 8 == 5 { 1.0 } else { 0.0 }, input);
        drawn();
        crop
    };
    (0..count).filter_map(of).collect()
}

/// Official portraits, and the same people as cameras meet them.
fn rendered_for_judgement(input: &Input, extent: Extent, drawn: &dyn Fn()) -> HeldOut {
    let mut held_out = HeldOut::default();
    for person in 0..extent.people {
        let of = |occasion: u64, face_px: f32, difficulty: f32| {
            let crop = rendered(FIRST_JUDGED + person, occasion, face_px, difficulty, 0.0, input);
            drawn();
            crop
        };
        let Some(template) = of(0, 112.0, 0.0) else { continue };
        let place = held_out.templates.len();
        held_out.templates.push(template);
        for occasion in 1..=extent.occasions {
            let width = WIDTHS_PX[(person + occasion) as usize % 4];
            let difficulty = 0.2 + 0.6 * occasion as f32 / extent.occasions as f32;
            held_out.probes.extend(of(occasion, width, difficulty).map(|crop| (place, crop)));
        }
    }
    held_out
}

fn rendered(seed: u64, occasion: u64, face_px: f32, difficulty: f32, masked: f32, input: &Input) -> Option<Vec<f32>> {
    let size = (face_px * 2.2) as usize / 2 * 2;
    let shot = photograph(seed, occasion, Conditions { size, face_px, difficulty, masked });
    let to_crop = Similarity::fit(&shot.truth.landmarks, &TEMPLATE)?;
    Some(crop(&shot.image, &to_crop, input))
}

/// The aligned crop of a drawn picture as the network's input; beyond the picture is black.
fn crop(picture: &RgbImage, to_crop: &Similarity, input: &Input) -> Vec<f32> {
    let planes = match input.channels {
        ChannelOrder::Rgb => [0, 1, 2],
        ChannelOrder::Bgr => [2, 1, 0],
    };
    let to_picture = to_crop.inverse();
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    let at = |x: i64, y: i64, c: usize| {
        if (0..width).contains(&x) && (0..height).contains(&y) { f64::from(picture.get_pixel(x as u32, y as u32).0[c]) } else { 0.0 }
    };
    let mut out = vec![0.0; CROP_LEN];
    for (place, (y, x)) in (0..CROP_PX).flat_map(|y| (0..CROP_PX).map(move |x| (y, x))).enumerate() {
        let (sx, sy) = to_picture.apply(x as f64, y as f64);
        let (left, top) = (sx.floor(), sy.floor());
        let (fx, fy) = (sx - left, sy - top);
        let (left, top) = (left as i64, top as i64);
        for (colour, plane) in planes.into_iter().enumerate() {
            let row = |y: i64| at(left, y, colour) * (1.0 - fx) + at(left + 1, y, colour) * fx;
            let value = (row(top) * (1.0 - fy) + row(top + 1) * fy) as f32;
            out[plane * CROP_PX * CROP_PX + place] = (value - input.mean[plane]) * input.scale[plane];
        }
    }
    out
}
