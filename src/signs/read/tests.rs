//! Codes read in rendered pictures: small, dark, glaring, noisy, half hidden; and nothing read outside the place.

use super::*;
use crate::area::Area;
use crate::clock::{CaptureTime, Stamp};
use crate::frame::{Colorimetry, FrameHeader, PixelLayout, StreamIndex};
use crate::render::acts::Acts;
use crate::render::random::Random;
use crate::render::scene::Scene;
use crate::render::sprite::Planes;
use crate::signs::code::testing::known_signer;

/// A look at the luma plane of a picture.
pub(crate) fn with_pixels<T>(luma: &[u8], (width, height): (usize, usize), look: impl FnOnce(&Pixels) -> T) -> T {
    let header = FrameHeader {
        stream: StreamIndex(0),
        sequence: 0,
        captured_at: CaptureTime::Arrival(Stamp::from_ns(1)),
        arrived_at: Stamp::from_ns(1),
        width: width as u32,
        height: height as u32,
        layout: PixelLayout::Gray8,
        colorimetry: Colorimetry::assumed_for(height as u32),
        strides: [width, 0, 0],
    };
    let area = Area::whole();
    look(&Pixels { header: &header, planes: [luma, &[], &[]], area: &area, area_epoch: 1 })
}

/// A scene with a code of a site made for it; the code's text; its corners.
pub(crate) fn signed(name: &str, seed: u64, (width, height): (usize, usize)) -> (Scene, String, [Point; 4]) {
    let text =
        known_signer().issue("hall-1", "hall", "Face recognition in use", Stamp::from_ns(1_795_305_600_000_000_000)).expect("issued");
    let mut scene = Scene::open(name, seed, width, height).expect("a scene");
    scene.perform(&Acts { sign: Some(text.clone()), acts: Vec::new() }, &|| false).expect("drawn");
    let corners = scene.code_corners().expect("a sign").map(|(x, y)| Point { x, y });
    (scene, text, corners)
}

/// Light as a camera has it: overall, from one side to the other, and with noise of this spread.
pub(crate) fn lit(luma: &[u8], width: usize, gain: f32, slope: f32, noise: f32, seed: u64) -> Vec<u8> {
    let mut r = Random::new(seed, "light");
    let at = |i: usize| gain * (1.0 + slope * ((i % width) as f32 / width as f32 - 0.5));
    let changed =
        luma.iter().enumerate().map(|(i, v)| 16.0 + (f32::from(*v) - 16.0) * at(i) + if noise > 0.0 { r.around(0.0, noise) } else { 0.0 });
    changed.map(|v| v.clamp(0.0, 255.0) as u8).collect()
}

fn off(found: &Found, corners: &[Point; 4]) -> f32 {
    found.corners.iter().zip(corners).map(|(a, b)| (a.x - b.x).hypot(a.y - b.y)).fold(0.0, f32::max)
}

#[test]
fn codes_are_read_at_several_distances_in_all_light_and_through_noise() {
    // Modules of 4, 2.7, 2 and 1.7 pixels.
    for (name, size) in [("concourse", (1_920, 1_080)), ("corridor", (1_280, 720)), ("concourse", (960, 540)), ("concourse", (800, 450))] {
        let (mut scene, text, corners) = signed(name, 3, size);
        let (mut planes, mut reader) = (Planes::default(), Reader::default());
        for (gain, slope, noise) in [(1.0, 0.0, 0.0), (0.15, 0.0, 2.0), (1.5, 0.0, 2.0), (1.0, 1.2, 3.0), (0.8, 0.0, 8.0)] {
            let looks = [97, 679, 1_358].into_iter().filter(|frame| {
                scene.draw(*frame, 15.0, &mut planes);
                let luma = lit(&planes[0], size.0, gain, slope, noise, *frame);
                let found = with_pixels(&luma, size, |p| reader.read(p, &corners, 0.01 * size.0 as f32));
                found.is_some_and(|f| f.text == text && off(&f, &corners) < 0.003 * size.0 as f32)
            });
            assert_eq!(looks.count(), 3, "{name} {size:?}, light {gain} {slope}, noise {noise}");
        }
    }
}

#[test]
fn nothing_outside_the_place_is_looked_at_and_nothing_of_it_is_kept() {
    let size = (1_280, 720);
    let (mut scene, text, corners) = signed("concourse", 8, size);
    let (mut planes, mut reader) = (Planes::default(), Reader::default());
    scene.draw(5, 15.0, &mut planes);
    let tolerance = 10.0;
    let read = |luma: &[u8], reader: &mut Reader| with_pixels(luma, size, |p| reader.read(p, &corners, tolerance));
    let before = read(&planes[0], &mut reader).expect("read");
    assert_eq!(before.text, text);
    assert!(reader.luma.is_empty() && reader.large.is_empty() && reader.sums.is_empty() && reader.dark.iter().all(|d| !d));
    let mut r = Random::new(1, "elsewhere");
    let grown = |v: f32, by: f32| (v + by) as usize;
    let (x0, x1) = (grown(corners[0].x, -45.0), grown(corners[1].x, 45.0));
    let (y0, y1) = (grown(corners[0].y, -45.0), grown(corners[2].y, 45.0));
    let elsewhere = |i: usize| !(x0..x1).contains(&(i % size.0)) || !(y0..y1).contains(&(i / size.0));
    planes[0].iter_mut().enumerate().filter(|(i, _)| elsewhere(*i)).for_each(|(_, v)| *v = r.draw() as u8);
    assert_eq!(read(&planes[0], &mut reader), Some(before));
    // And nothing is read where nothing hangs.
    let empty = vec![90; size.0 * size.1];
    assert_eq!(read(&empty, &mut reader), None);
    let noise: Vec<u8> = (0..size.0 * size.1).map(|_| r.draw() as u8).collect();
    assert_eq!(read(&noise, &mut reader), None);
}
