//! The steps of the pipeline as one thread uses them on single pictures: find, align, embed, classify. The same code as in the service.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::anyhow;
use image::RgbImage;
use indicatif::ProgressBar;
use parking_lot::Mutex;

use super::super::portrait::{Refusal, read_picture};
use crate::clock::SystemClock;
use crate::config::schema;
use crate::detect::Face;
use crate::detect::detector::{DetectCounters, Detector};
use crate::embed::embedder::Embedder;
use crate::embedding::Embedding;
use crate::engine::manifest::Task;
use crate::engine::store;
use crate::frame::still::desk_frame_from_rgb;
use crate::frame::{Frame, Landmarks};
use crate::mask_check::MaskClassifier;
use crate::policy::evaluation::EvaluationDesk;
use crate::policy::lease::{Permit, PixelStage};
use crate::state::StateDirectory;

/// A lease is short; on a busy machine it may have ended before it was used.
const ATTEMPTS: usize = 20;

/// Which models are measured, and how the detector is set.
#[derive(Clone, Debug)]
pub struct Bench {
    pub state: StateDirectory,
    pub detector: String,
    pub embedder: Option<String>,
    pub mask: Option<String>,
    pub score: f32,
    /// For detectors whose input has no size of its own.
    pub input_px: u16,
}

pub struct Lab {
    desk: EvaluationDesk,
    detector: Detector,
    embedder: Option<Embedder>,
    mask: Option<MaskClassifier>,
    score: f32,
}

impl Lab {
    pub fn open(bench: &Bench) -> anyhow::Result<Self> {
        let engine = schema::Engine::default();
        let load = |name: &String, task| store::load_network(&bench.state, name, task, &engine);
        let network = load(&bench.detector, Task::FaceDetector)?;
        let input_px = network.manifest().input.width.is_none().then(|| u32::from(bench.input_px));
        let settings = schema::Detect { model: bench.detector.clone(), score_threshold: bench.score, nms_iou: 0.45, input_px };
        let detector = Detector::new(network, &settings, bench.score, Arc::<DetectCounters>::default())?;
        let embedder = bench.embedder.as_ref().map(|name| anyhow::Ok(Embedder::new(load(name, Task::FaceEmbedder)?)?)).transpose()?;
        let mask = bench.mask.as_ref().map(|name| anyhow::Ok(MaskClassifier::new(load(name, Task::MaskClassifier)?)?)).transpose()?;
        Ok(Self { desk: EvaluationDesk::open(SystemClock::shared()), detector, embedder, mask, score: bench.score })
    }

    /// One for each core.
    pub fn several(bench: &Bench) -> anyhow::Result<Vec<Self>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores).map(|_| Self::open(bench)).collect()
    }

    pub fn frame(&self, picture: &RgbImage) -> anyhow::Result<Frame> {
        Ok(desk_frame_from_rgb(self.desk.table(), picture.width(), picture.height(), picture)?)
    }

    /// The inner error: it is no picture.
    pub fn frame_of_file(&self, path: &Path) -> Result<Frame, Refusal> {
        read_picture(path, self.desk.table())
    }

    /// Faces of the least score and more, best first.
    pub fn faces(&mut self, frame: &Frame) -> anyhow::Result<Vec<Face>> {
        let Self { detector, desk, score, .. } = self;
        let mut faces = with_leave(desk, |permit| detector.detect(frame, permit))?;
        faces.retain(|face| face.score >= *score);
        faces.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(faces)
    }

    /// `None`: no embedder is measured.
    pub fn embed(&mut self, frame: &Frame, face: &Face) -> anyhow::Result<Option<Embedding>> {
        let Self { embedder: Some(embedder), desk, .. } = self else { return Ok(None) };
        let landmarks = landmarks(face)?;
        with_leave(desk, |permit| embedder.embed(frame, permit, &landmarks)).map(Some)
    }

    /// Whether a mask is worn. `None`: no mask classifier is measured.
    pub fn is_masked(&mut self, frame: &Frame, face: &Face) -> anyhow::Result<Option<bool>> {
        let Self { mask: Some(mask), desk, .. } = self else { return Ok(None) };
        let landmarks = landmarks(face)?;
        with_leave(desk, |permit| mask.probability(frame, permit, &landmarks)).map(|probability| Some(probability > 0.5))
    }
}

fn landmarks(face: &Face) -> anyhow::Result<Landmarks> {
    face.landmarks
        .ok_or_else(|| anyhow!("this detector gives no landmarks, without which no face is aligned: name another with --detector"))
}

fn with_leave<S: PixelStage, T, E: Into<anyhow::Error>>(
    desk: &mut EvaluationDesk,
    mut work: impl FnMut(&Permit<S>) -> Result<T, E>,
) -> anyhow::Result<T> {
    let mut attempt = 0;
    loop {
        let permit = desk.permit::<S>()?;
        attempt += 1;
        match work(&permit) {
            Err(_) if attempt < ATTEMPTS && !permit.stands() => {}
            done => return done.map_err(Into::into),
        }
    }
}

/// Does jobs `0..count`, each lab on a thread of its own; answers stand in the jobs' order, whoever gave them.
pub fn in_parallel<T: Send>(
    labs: &mut [Lab],
    count: usize,
    bar: &ProgressBar,
    job: &(dyn Fn(&mut Lab, usize) -> anyhow::Result<T> + Sync),
) -> anyhow::Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let answers: Vec<Mutex<Option<anyhow::Result<T>>>> = (0..count).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for lab in labs {
            let (next, answers) = (&next, &answers);
            scope.spawn(move || {
                while let Some((index, slot)) = Some(next.fetch_add(1, Relaxed)).and_then(|i| Some((i, answers.get(i)?))) {
                    let answer = job(lab, index);
                    if answer.is_err() {
                        next.store(answers.len(), Relaxed);
                    }
                    *slot.lock() = Some(answer);
                    bar.inc(1);
                }
            });
        }
    });
    // After a failure the rest was not begun: the failure is what is told.
    let given = answers.into_iter().filter_map(Mutex::into_inner);
    given.collect()
}
