//! Pictures to calibrate and to judge an int8 detector with: people who do not exist, at every width that must still be found.
//!
//! Calibrated with rendered halls and photographs of other people than those it is judged on. Judged on photographs of one face each, laid side by side until
//! they fill the network's input: all six widths, [`FACES`] faces of each. A face counts as found where a box of at least
//! [`LEAST_SCORE`] overlaps it by half.

use image::{RgbImage, imageops};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::commands::{Context, Failed};
use crate::detect::Face;
use crate::detect::decode::{TensorSize, decode};
use crate::detect::nms;
use crate::engine::manifest::{ChannelOrder, Input, Manifest};
use crate::engine::store::{Calibration, Recall};
use crate::engine::{EngineError, Network};
use crate::frame::BoundingBox;
use crate::render::halls::SCENES;
use crate::render::portrait::{Conditions, photograph};
use crate::render::scene::Scene;
use crate::render::sprite::{Planes, to_rgb};

const WIDTHS_PX: [u16; 6] = [16, 20, 24, 32, 48, 64];
/// Of each width.
const FACES: usize = 200;
const LEAST_SCORE: f32 = 0.6;
const MOST_OVERLAP: f32 = 0.45;
const FOUND_IOU: f32 = 0.5;
const FALSE_IOU: f32 = 0.3;
/// Of networks that take any size.
const JUDGED: (usize, usize) = (640, 640);
const CALIBRATED: (usize, usize) = (448, 320);
const PHOTOGRAPHS: u64 = 16;
const FRAMES_A_SCENE: u64 = 4;
/// Seeds of people: no one is both calibrated with and judged on.
const FIRST_CALIBRATION: u64 = 0x1a19_0000;
const FIRST_JUDGED: u64 = 0x1a19_8000;

/// A picture, and where the faces in it are: all of one width.
struct Sheet {
    width_px: u16,
    image: RgbImage,
    faces: Vec<BoundingBox>,
}

pub struct Shots {
    pub calibration: Calibration,
    sheets: Vec<Sheet>,
}

impl Shots {
    /// Draws everything; some minutes.
    pub fn take(context: &Context, manifest: &Manifest) -> Result<Self, Failed> {
        let input = &manifest.input;
        let size = |free: (usize, usize)| match (input.width, input.height) {
            (Some(width), Some(height)) => (width as usize, height as usize),
            _ => free,
        };
        let bar = ProgressBar::new(PHOTOGRAPHS + SCENES.len() as u64 * FRAMES_A_SCENE + (WIDTHS_PX.len() * FACES) as u64);
        bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} pictures drawn")?);
        if context.json {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let calibration = calibrated_with(input, size(CALIBRATED), &bar)?;
        let sheets = WIDTHS_PX.into_iter().flat_map(|width_px| sheets(width_px, size(JUDGED), &bar)).collect();
        bar.finish_and_clear();
        Ok(Self { calibration, sheets })
    }

    /// What a network finds on the sheets: recall by width, and boxes on nobody.
    pub fn judge(&self, network: &mut dyn Network) -> Result<(Vec<Recall>, usize), EngineError> {
        let mut recall: Vec<Recall> = WIDTHS_PX.map(|width_px| Recall { width_px, faces: 0, found: 0 }).into();
        let mut on_nobody = 0;
        for sheet in &self.sheets {
            let seen = faces(network, &sheet.image)?;
            let overlaps = |face: &BoundingBox, least: f32| seen.iter().any(|s| s.bounding_box.iou(face) >= least);
            if let Some(of) = recall.iter_mut().find(|recall| recall.width_px == sheet.width_px) {
                of.faces += sheet.faces.len();
                of.found += sheet.faces.iter().filter(|face| overlaps(face, FOUND_IOU)).count();
            }
            on_nobody += seen.iter().filter(|s| sheet.faces.iter().all(|face| s.bounding_box.iou(face) < FALSE_IOU)).count();
        }
        Ok((recall, on_nobody))
    }
}

fn faces(network: &mut dyn Network, image: &RgbImage) -> Result<Vec<Face>, EngineError> {
    let manifest = network.manifest().clone();
    let (width, height) = (image.width() as usize, image.height() as usize);
    let tensor = tensor(image, &manifest.input);
    let (mut faces, mut decoded) = (Vec::new(), Ok(()));
    network.run(&tensor, [1, 3, height, width], &mut |outputs| {
        decoded = decode(&manifest.decode, outputs, TensorSize { width, height }, LEAST_SCORE, &mut faces);
    })?;
    decoded.map_err(|error| EngineError::Run { model: manifest.name, reason: error.to_string() })?;
    nms::suppress(&mut faces, MOST_OVERLAP);
    Ok(faces)
}

fn tensor(image: &RgbImage, input: &Input) -> Vec<f32> {
    let colours = match input.channels {
        ChannelOrder::Rgb => [0, 1, 2],
        ChannelOrder::Bgr => [2, 1, 0],
    };
    let plane = |(plane, colour): (usize, usize)| {
        image.pixels().map(move |pixel| (f32::from(pixel.0[colour]) - input.mean[plane]) * input.scale[plane])
    };
    colours.into_iter().enumerate().flat_map(plane).collect()
}

fn calibrated_with(input: &Input, (width, height): (usize, usize), bar: &ProgressBar) -> Result<Calibration, Failed> {
    let mut pictures = Vec::new();
    for (kind, (name, _)) in SCENES.iter().enumerate() {
        let mut scene = Scene::open(name, FIRST_CALIBRATION + kind as u64, width, height)?;
        let mut planes = Planes::default();
        for second in 0..FRAMES_A_SCENE {
            scene.draw(15 * second, 15.0, &mut planes);
            pictures.push((tensor(&to_rgb(&planes, width, height), input), width, height));
            bar.inc(1);
        }
    }
    let side = width.min(height);
    for person in 0..PHOTOGRAPHS {
        // From a face that fills the picture to one of 24 pixels, in ever harder light.
        let share = person as f32 / PHOTOGRAPHS as f32;
        let conditions = Conditions { size: side, face_px: side as f32 * 0.6 * (1.0 - share) + 24.0, difficulty: share, masked: 0.2 };
        let mut canvas = RgbImage::from_pixel(width as u32, height as u32, image::Rgb([90, 95, 100]));
        let shot = photograph(FIRST_CALIBRATION + 16 + person, person, conditions);
        imageops::replace(&mut canvas, &shot.image, 0, 0);
        pictures.push((tensor(&canvas, input), width, height));
        bar.inc(1);
    }
    let what = format!("{} rendered pictures: {} of halls, {PHOTOGRAPHS} photographs", pictures.len(), pictures.len() as u64 - PHOTOGRAPHS);
    Ok(Calibration { what, pictures })
}

/// [`FACES`] photographs of faces of one width, side by side.
fn sheets(width_px: u16, (width, height): (usize, usize), bar: &ProgressBar) -> Vec<Sheet> {
    let tile = (usize::from(width_px) * 5).max(160).min(width).min(height) / 2 * 2;
    let places: Vec<(usize, usize)> = (0..height / tile).flat_map(|y| (0..width / tile).map(move |x| (x * tile, y * tile))).collect();
    let shoot = |people: &[usize]| {
        let image = RgbImage::new(width as u32, height as u32);
        let mut sheet = Sheet { width_px, image, faces: Vec::new() };
        for (&person, &(x, y)) in people.iter().zip(&places) {
            let conditions =
                Conditions { size: tile, face_px: f32::from(width_px), difficulty: 0.6 * (person % 10) as f32 / 10.0, masked: 0.1 };
            let shot = photograph(FIRST_JUDGED + person as u64, 1_000 + u64::from(width_px), conditions);
            imageops::replace(&mut sheet.image, &shot.image, x as i64, y as i64);
            let (x, y, b) = (x as f32, y as f32, shot.truth.bounding_box);
            sheet.faces.push(BoundingBox { x0: b.x0 + x, y0: b.y0 + y, x1: b.x1 + x, y1: b.y1 + y });
            bar.inc(1);
        }
        sheet
    };
    (0..FACES).collect::<Vec<_>>().chunks(places.len().max(1)).map(shoot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Output;
    use crate::engine::known;

    /// Says the same boxes of every picture, as RFB's layout has them.
    struct Boxes(Manifest, Vec<[f32; 4]>);

    impl Network for Boxes {
        fn manifest(&self) -> &Manifest {
            &self.0
        }
        fn run(&mut self, _: &[f32], _: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
            let scores: Vec<f32> = self.1.iter().flat_map(|_| [0.1, 0.9]).collect();
            let boxes = self.1.as_flattened();
            read(&[
                Output { name: "scores", shape: &[1, self.1.len(), 2], data: &scores },
                Output { name: "boxes", shape: &[1, self.1.len(), 4], data: boxes },
            ]);
            Ok(())
        }
    }

    #[test]
    fn faces_lie_where_they_were_put_and_what_is_found_is_counted_by_width() {
        let sheets = sheets(24, (320, 320), &ProgressBar::hidden());
        assert_eq!((sheets.len(), sheets.iter().map(|s| s.faces.len()).sum::<usize>()), (FACES / 4, FACES));
        let widths = sheets[0].faces.iter().map(BoundingBox::width);
        assert!(widths.clone().all(|w| (18.0..32.0).contains(&w)), "{:?}", widths.collect::<Vec<_>>());
        let corner = |face: &BoundingBox| ((face.x0 / 160.0) as u32, (face.y0 / 160.0) as u32);
        assert_eq!(sheets[0].faces.iter().map(corner).collect::<Vec<_>>(), [(0, 0), (1, 0), (0, 1), (1, 1)]);

        let of = |face: BoundingBox| [face.x0, face.y0, face.x1, face.y1].map(|v| v / 320.0);
        let (found, far) = (of(sheets[0].faces[2]), [0.45, 0.45, 0.5, 0.5]);
        let shots = Shots {
            calibration: Calibration { what: String::new(), pictures: Vec::new() },
            sheets: vec![sheets.into_iter().next().expect("one")],
        };
        let manifest = known::by_name("rfb-320").expect("known");
        let (recall, on_nobody) = shots.judge(&mut Boxes(manifest, vec![found, far])).expect("runs");
        assert_eq!(recall[2], Recall { width_px: 24, faces: 4, found: 1 });
        assert!(recall.iter().all(|r| r.width_px == 24 || r.faces == 0) && on_nobody == 1);
    }
}
