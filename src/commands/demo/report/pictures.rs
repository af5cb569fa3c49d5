//! The report's pictures, drawn anew: faces in the frames that events name, a still of each stream, official photographs.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, crop_imm, resize};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::super::findings::Findings;
use super::super::judge::SETTLE_FRAMES;
use super::super::media::{Media, Staged};
use crate::frame::BoundingBox;
use crate::ingest::rendered::{FPS, HEIGHT, WIDTH};
use crate::render::sprite::{Planes, to_rgb};

/// Width and height of a face's picture, pixels.
const FACE_PX: u32 = 168;
const STILL_PX: (u32, u32) = (800, 450);
const JPEG_QUALITY: u8 = 86;
/// Mask checks shown with a picture; the others are counted.
pub const MASKS_SHOWN: usize = 12;

/// Pictures as `data:` addresses.
#[derive(Default)]
pub struct Pictures {
    /// Stream → a frame of it.
    pub stills: BTreeMap<String, String>,
    /// Index into the findings' hits, mask checks → the face.
    pub hits: BTreeMap<usize, String>,
    pub masks: BTreeMap<usize, String>,
    /// Identity → the photograph that was enrolled.
    pub photographs: BTreeMap<String, String>,
}

/// What is to be cut out of a frame.
enum Cut {
    Still,
    Hit(usize, BoundingBox),
    Mask(usize, BoundingBox),
}

/// Draws them, one thread a stream.
pub fn draw(media: &Media, findings: &Findings) -> anyhow::Result<Pictures> {
    let mut pictures = Pictures::default();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let streams: Vec<_> = media.staged.iter().map(|staged| scope.spawn(move || of_stream(staged, findings))).collect();
        for stream in streams {
            for (stream, cut, data) in stream.join().map_err(|_panic| anyhow!("a drawing thread broke"))?? {
                match cut {
                    Cut::Still => drop(pictures.stills.insert(stream.to_owned(), data)),
                    Cut::Hit(index, _) => drop(pictures.hits.insert(index, data)),
                    Cut::Mask(index, _) => drop(pictures.masks.insert(index, data)),
                }
            }
        }
        Ok(())
    })?;
    for person in &media.watched {
        let photograph = image::open(&person.photograph).with_context(|| format!("reading {}", person.photograph.display()))?.into_rgb8();
        // Around the face, as it is cut out of a frame.
        let (w, h) = (photograph.width(), photograph.height());
        let face = crop_imm(&photograph, w / 5, h / 5, w * 3 / 5, h * 3 / 5).to_image();
        pictures.photographs.insert(person.identity.clone(), data(&resize(&face, FACE_PX, FACE_PX, FilterType::CatmullRom))?);
    }
    Ok(pictures)
}

/// Of every person told on the stream the first hit, every false one, some mask checks, and one frame.
fn of_stream<'a>(staged: &'a Staged, findings: &Findings) -> anyhow::Result<Vec<(&'a str, Cut, String)>> {
    let stream = staged.show.stream;
    let round = staged.script.frames.len().max(1) as u64;
    let mut frames: BTreeMap<u64, Vec<Cut>> = BTreeMap::new();
    let mut known: Vec<&str> = Vec::new();
    for (index, hit) in findings.hits.iter().enumerate().filter(|(_, hit)| hit.told.stream == stream) {
        let Some((frame, face)) = &hit.face else { continue };
        if hit.wrong.is_none() && known.contains(&face.identity.as_str()) {
            continue;
        }
        known.push(&face.identity);
        frames.entry(frame % round).or_default().push(Cut::Hit(index, face.bounding_box));
    }
    let masks = findings.masks.iter().enumerate().filter(|(_, mask)| mask.told.stream == stream);
    for (index, mask) in masks.take(MASKS_SHOWN) {
        if let Some((frame, face)) = &mask.face {
            frames.entry(frame % round).or_default().push(Cut::Mask(index, face.bounding_box));
        }
    }
    frames.entry(liveliest(staged)).or_default().push(Cut::Still);
    let mut scene = staged.show.take().open()?;
    let mut planes = Planes::default();
    let mut made = Vec::new();
    for (frame, cuts) in frames {
        scene.draw(frame, f64::from(FPS), &mut planes);
        let picture = to_rgb(&planes, WIDTH as usize, HEIGHT as usize);
        for cut in cuts {
            let shown = match &cut {
                Cut::Still => resize(&picture, STILL_PX.0, STILL_PX.1, FilterType::CatmullRom),
                Cut::Hit(_, face) | Cut::Mask(_, face) => cut_out(&picture, face),
            };
            made.push((stream, cut, data(&shown)?));
        }
    }
    Ok(made)
}

/// The frame in which most faces are in the area; late enough that people are on their way.
fn liveliest(staged: &Staged) -> u64 {
    let faces =
        |frame: usize| staged.script.frames[frame].iter().map(|f| f.inside * f.visible * f.bounding_box.width().min(80.0)).sum::<f32>();
    let frames = 0..staged.script.frames.len();
    frames.max_by(|a, b| faces(*a).total_cmp(&faces(*b))).map_or(SETTLE_FRAMES, |frame| frame as u64)
}

/// A square around the face, as large as it is in the photographs.
fn cut_out(picture: &RgbImage, face: &BoundingBox) -> RgbImage {
    let (w, h) = (picture.width() as f32, picture.height() as f32);
    let side = (1.6 * face.width()).min(w).min(h);
    let centre = face.centre();
    let x = (centre.x - side / 2.0).clamp(0.0, w - side);
    let y = (centre.y - side / 2.0).clamp(0.0, h - side);
    let square = crop_imm(picture, x as u32, y as u32, side as u32, side as u32).to_image();
    resize(&square, FACE_PX, FACE_PX, FilterType::CatmullRom)
}

fn data(picture: &RgbImage) -> anyhow::Result<String> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .write_image(picture.as_raw(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .context("encoding a picture")?;
    Ok(format!("data:image/jpeg;base64,{}", base64(&jpeg)))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_what_everybody_means_by_it() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }

    #[test]
    fn a_face_at_the_edge_is_cut_out_within_the_picture() {
        let picture = RgbImage::new(320, 180);
        let face = BoundingBox { x0: 300.0, y0: -10.0, x1: 340.0, y1: 40.0 };
        assert_eq!(cut_out(&picture, &face).dimensions(), (FACE_PX, FACE_PX));
        assert!(data(&picture).expect("encoded").starts_with("data:image/jpeg;base64,/9j/"));
    }
}
