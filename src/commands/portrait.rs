//! From an image file to the embedding of the one person in it, or the reason why not. Shared by `enrol` and `search`.
//!
//! The file is the operator's, not a camera's: leave to read it comes from the purpose ([`EnrolmentDesk`]). Thresholds are in [`Gate`];
//! pixels are full-resolution, scores 0…1. Nothing of the picture outlives the call but the embedding and four numbers.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use serde::Serialize;

use super::exits::store_failed;
use super::record::refused;
use super::{Context, Exit, Failed};
use crate::clock::SharedClock;
use crate::config::schema;
use crate::detect::Face;
use crate::detect::detector::{DetectCounters, Detector};
use crate::embed::embedder::Embedder;
use crate::embedding::Embedding;
use crate::engine::bundled::{self, Bundled};
use crate::engine::manifest::{Manifest, Task};
use crate::engine::store;
use crate::frame::still::desk_frame_from_rgb;
use crate::frame::{Frame, TableId};
use crate::gallery::TemplateModel;
use crate::matching::template_model;
use crate::policy::enrolment::{DeskClosed, EnrolmentDesk};
use crate::policy::facts::Site;
use crate::policy::intended_use;
use crate::policy::lease::{Detect, Embed};
use crate::policy::profile::Library;
use crate::policy::store::Present;
use crate::purpose::Purpose;
use crate::state::StateDirectory;
use crate::track::quality::{Quality, assess};

/// Faces that score less are not even mentioned in a refusal.
const MENTIONED_SCORE: f32 = 0.3;
/// Bytes that a decoded image may take: 8192 × 8192 pixels of RGBA.
const MAX_DECODED_BYTES: u64 = 8192 * 8192 * 4;

/// What an image must reach.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    pub min_score: f32,
    pub min_width_px: f32,
    pub min_sharpness: f32,
    pub min_frontality: f32,
}

/// A template is compared with for months, so it must be good. Official portraits measure 0.99 and more in sharpness; one that was
/// scaled up from a face of 20 pixels, 0.77.
pub const ENROLMENT: Gate = Gate { min_score: 0.8, min_width_px: 64.0, min_sharpness: 0.8, min_frontality: 0.35 };
/// A picture to search with may be what there is.
pub const SEARCH: Gate = Gate { min_score: 0.6, min_width_px: 24.0, min_sharpness: 0.0, min_frontality: 0.0 };

/// Why an image was not taken: reason, value, and what would change it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("it cannot be read as a picture ({reason}): use a JPEG or PNG file of 16 to 8192 pixels a side")]
    Unreadable { reason: String },
    #[error("no face: the best candidate scores {best:.2}, {need:.2} is needed; use a frontal, evenly lit picture")]
    NoFace { best: f32, need: f32 },
    #[error("{count} faces, exactly 1 is needed: cut the picture to the person who is meant")]
    SeveralFaces { count: usize },
    #[error("too small: the face is {width_px:.1} px wide, {need:.0} px are needed; use a picture with more pixels on the face")]
    TooSmall { width_px: f32, need: f32 },
    #[error("too blurred: sharpness {sharpness:.2}, {need:.2} is needed; use a picture in focus and without motion")]
    TooBlurred { sharpness: f32, need: f32 },
    #[error("turned away: frontality {frontality:.2}, {need:.2} is needed; use a picture that faces the camera")]
    TurnedAway { frontality: f32, need: f32 },
}

/// A refusal for machines.
#[derive(Serialize)]
pub struct RefusalView {
    pub code: &'static str,
    pub value: Option<f32>,
    pub need: Option<f32>,
    pub message: String,
}

impl Refusal {
    pub fn view(&self) -> RefusalView {
        let (code, value, need) = match *self {
            Self::Unreadable { .. } => ("unreadable", None, None),
            Self::NoFace { best, need } => ("no-face", Some(best), Some(need)),
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            Self::SeveralFaces { count } => ("several-faces", Some(count as f32), Some(1.0)),
            Self::TooSmall { width_px, need } => ("too-small", Some(width_px), Some(need)),
            Self::TooBlurred { sharpness, need } => ("too-blurred", Some(sharpness), Some(need)),
            Self::TurnedAway { frontality, need } => ("turned-away", Some(frontality), Some(need)),
        };
        RefusalView { code, value, need, message: self.to_string() }
    }
}

/// The one face in a picture.
pub struct Portrait {
    pub embedding: Embedding,
    /// The detector's.
    pub score: f32,
    pub quality: Quality,
}

/// Which models to use; unset: the only one of its task that was added, or the bundled one.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ModelNames {
    /// Face detector. Unset: the only one that was added, or the bundled one where none was.
    #[arg(long, value_name = "NAME")]
    pub detector: Option<String>,
    /// Embedder. Unset: the only one that was added, or the bundled one where none was. It must be the one that the pipeline uses.
    #[arg(long, value_name = "NAME")]
    pub embedder: Option<String>,
}

/// Networks, and leave to use them on image files for one purpose.
pub struct Studio {
    detector: Detector,
    embedder: Embedder,
    pub desk: EnrolmentDesk,
    pub model: TemplateModel,
    pub site: Option<Site>,
    manifests: [Manifest; 2],
}

impl Studio {
    /// Asks the register first, then loads the models.
    pub fn open(context: &Context, purpose: &Purpose, names: &ModelNames, clock: SharedClock) -> Result<Self, Failed> {
        let present = Present::load(&context.state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
        let desk = EnrolmentDesk::of_site(&present, purpose, clock, &Library::of_site(&context.state)).map_err(refused)?;
        let engine = schema::Engine::default();
        let load = |name: &Option<String>, task, what| {
            let name = name.clone().map_or_else(|| only_model(context, task, what), Ok)?;
            store::load_network(&context.state, &name, task, &engine).map_err(store_failed)
        };
        let detector = load(&names.detector, Task::FaceDetector, "face detector")?;
        let embedder = load(&names.embedder, Task::FaceEmbedder, "embedder")?;
        let manifests = [detector.manifest().clone(), embedder.manifest().clone()];
        let site = intended(&context.state, &manifests)?;
        let model = template_model(embedder.manifest())
            .ok_or_else(|| Failed::new(Exit::Refused, anyhow!("model `{}` makes no embeddings", embedder.manifest().name)))?;
        let settings =
            schema::Detect { model: detector.manifest().name.clone(), score_threshold: ENROLMENT.min_score, nms_iou: 0.45, input_px: None };
        let detector = Detector::new(detector, &settings, MENTIONED_SCORE, Arc::<DetectCounters>::default())?;
        Ok(Self { detector, embedder: Embedder::new(embedder)?, desk, model, site, manifests })
    }

    /// Asks the site's description again: it may have changed since the models were loaded.
    pub fn still_intended(&self, state: &StateDirectory) -> Result<(), Failed> {
        intended(state, &self.manifests).map(drop)
    }

    /// The outer error is a fault of ours or the law's word; the inner one is about the picture.
    pub fn take(&mut self, path: &Path, gate: Gate) -> Result<Result<Portrait, Refusal>, Failed> {
        let frame = match read_picture(path, self.desk.table()) {
            Ok(frame) => frame,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let permit = self.desk.permit::<Detect>().map_err(desk_closed)?;
        let faces = self.detector.detect(&frame, &permit)?;
        let face = match the_one_face(&faces, gate) {
            Ok(face) => face,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let landmarks = face.landmarks.context("this detector gives no landmarks: name one that does with --detector")?;
        // The network may have taken longer than a lease lasts: leave is asked for again.
        let permit = self.desk.permit::<Detect>().map_err(desk_closed)?;
        let quality = assess(&frame.read(&permit)?, &face);
        if let Err(refusal) = good_enough(quality, gate) {
            return Ok(Err(refusal));
        }
        let permit = self.desk.permit::<Embed>().map_err(desk_closed)?;
        let embedding = self.embedder.embed(&frame, &permit, &landmarks)?;
        Ok(Ok(Portrait { embedding, score: face.score, quality }))
    }
}

fn the_one_face(faces: &[Face], gate: Gate) -> Result<Face, Refusal> {
    let mut good = faces.iter().filter(|f| f.score >= gate.min_score);
    match (good.next(), good.count()) {
        (Some(face), 0) => Ok(*face),
        (Some(_), others) => Err(Refusal::SeveralFaces { count: 1 + others }),
        (None, _) => Err(Refusal::NoFace { best: faces.iter().map(|f| f.score).fold(0.0, f32::max), need: gate.min_score }),
    }
}

fn good_enough(quality: Quality, gate: Gate) -> Result<(), Refusal> {
    let Quality { width_px, sharpness, frontality } = quality;
    if width_px < gate.min_width_px {
        return Err(Refusal::TooSmall { width_px, need: gate.min_width_px });
    }
    if sharpness < gate.min_sharpness {
        return Err(Refusal::TooBlurred { sharpness, need: gate.min_sharpness });
    }
    if frontality < gate.min_frontality {
        return Err(Refusal::TurnedAway { frontality, need: gate.min_frontality });
    }
    Ok(())
}

/// Decodes a file, upright as its camera meant it (EXIF).
pub(super) fn read_picture(path: &Path, table: TableId) -> Result<Frame, Refusal> {
    let unreadable = |reason: String| Refusal::Unreadable { reason };
    let mut reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(|e| unreadable(e.to_string()))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(8192);
    limits.max_image_height = Some(8192);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let decoded = reader.into_decoder().and_then(|mut decoder| {
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(picture.into_rgb8())
    });
    let rgb = decoded.map_err(|e| unreadable(e.to_string()))?;
    desk_frame_from_rgb(table, rgb.width(), rgb.height(), &rgb).map_err(|e| unreadable(e.to_string()))
}

/// The only added model of its task; where none was added, the bundled one.
pub(super) fn only_model(context: &Context, task: Task, what: &str) -> Result<String, Failed> {
    let all = store::list(&context.state).map_err(store_failed)?;
    let fitting: Vec<String> = all.into_iter().filter(|l| l.manifest.as_ref().is_ok_and(|m| m.task == task)).map(|l| l.name).collect();
    match fitting.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let of_the_task = |model: &Bundled| model.manifest.task == task;
            let bundled = bundled::all().find(|(_, model)| model.as_ref().is_ok_and(of_the_task));
            let none = || anyhow!("no {what} in {}: `placard model add FILE`", context.state.models().display());
            bundled.map(|(name, _)| name.to_owned()).ok_or_else(|| Failed::new(Exit::Missing, none()))
        }
        several => Err(Failed::new(
            Exit::Usage,
            anyhow!("several models can be the {what}: name one of {} with --{}", several.join(", "), option(task)),
        )),
    }
}

const fn option(task: Task) -> &'static str {
    if matches!(task, Task::FaceDetector) { "detector" } else { "embedder" }
}

/// The site, if it may use these models; one that cannot be read counts as operational.
pub(super) fn intended(state: &StateDirectory, manifests: &[Manifest]) -> Result<Option<Site>, Failed> {
    let site = Site::load(&state.site()).ok();
    let check = |manifest| intended_use::check(manifest, site.as_ref());
    manifests.iter().try_for_each(check).map_err(|refused| Failed::new(Exit::Refused, refused))?;
    Ok(site)
}

pub(super) fn desk_closed(closed: DeskClosed) -> Failed {
    Failed::new(Exit::Refused, closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::BoundingBox;

    fn face(score: f32) -> Face {
        Face { bounding_box: BoundingBox { x0: 0.0, y0: 0.0, x1: 80.0, y1: 90.0 }, score, landmarks: None }
    }

    #[test]
    fn exactly_one_good_face() {
        let of = |scores: &[f32]| the_one_face(&scores.iter().map(|s| face(*s)).collect::<Vec<_>>(), ENROLMENT);
        assert_eq!(of(&[0.9, 0.5]).expect("one").score, 0.9);
        assert_eq!(of(&[0.9, 0.81, 0.4]), Err(Refusal::SeveralFaces { count: 2 }));
        assert_eq!(of(&[0.62, 0.7]), Err(Refusal::NoFace { best: 0.7, need: 0.8 }));
        assert_eq!(of(&[]), Err(Refusal::NoFace { best: 0.0, need: 0.8 }));
        assert!(the_one_face(&[face(0.7)], SEARCH).is_ok());
    }

    #[test]
    fn every_gate_names_its_value_and_what_is_needed() {
        let of = |width_px, sharpness, frontality| good_enough(Quality { width_px, sharpness, frontality }, ENROLMENT).err();
        assert_eq!(of(64.0, 1.0, 1.0), None);
        assert_eq!(of(63.4, 0.0, 0.0), Some(Refusal::TooSmall { width_px: 63.4, need: 64.0 }));
        assert_eq!(of(64.0, 0.1, 0.0), Some(Refusal::TooBlurred { sharpness: 0.1, need: 0.8 }));
        assert_eq!(of(64.0, 1.0, 0.0), Some(Refusal::TurnedAway { frontality: 0.0, need: 0.35 }));
        let view = of(63.4, 1.0, 1.0).expect("refused").view();
        assert_eq!((view.code, view.value, view.need), ("too-small", Some(63.4), Some(64.0)));
        assert!(view.message.contains("63.4 px") && view.message.contains("64 px"), "{}", view.message);
    }

    #[test]
    fn what_is_no_picture_is_refused_not_feared() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("x.jpg");
        for bytes in [
            &b""[..],
            b"not a picture",
            b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            std::fs::write(&path, bytes).expect("write");
            assert!(matches!(read_picture(&path, TableId::NOBODY), Err(Refusal::Unreadable { .. })));
        }
        assert!(matches!(read_picture(directory.path(), TableId::NOBODY), Err(Refusal::Unreadable { .. })));
    }
}
