//! People who do not exist, for tests that need faces: nobody's photograph, and no outside data.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};

use placard::render::encode;
use placard::render::portrait::{Conditions, Photograph, photograph};
use placard::render::portraits::{Layout, Portrait, Scene};
use placard::render::scene::identity_name;

/// Identities that no network was trained on begin here (`training/README.md`).
pub const HELD_OUT: u64 = 9_000_000;

/// As for a passport; the first of `person`'s pictures.
pub fn official(person: u64) -> Photograph {
    photograph(HELD_OUT + person, 0, Conditions::official())
}

/// On another occasion: other clothes, hair and expression, another light, an ordinary camera.
pub fn everyday(person: u64, occasion: u64) -> Photograph {
    photograph(HELD_OUT + person, occasion, Conditions { difficulty: 0.3, ..Conditions::official() })
}

pub fn name(person: u64) -> String {
    identity_name(HELD_OUT + person)
}

/// Writes the official photograph of `person` into `folder`.
pub fn official_file(folder: &Path, person: u64) -> PathBuf {
    let path = folder.join(format!("{}.png", name(person)));
    official(person).image.save(&path).expect("writable");
    path
}

/// For a [`Scene`].
pub fn portrait(person: u64, occasion: u64) -> Portrait {
    let shot = everyday(person, occasion);
    Portrait { identity: name(person), image: shot.image, face: shot.truth.bounding_box }
}

/// `people` cross a picture, each photographed on another occasion than for [`official`].
pub fn crossing(people: impl IntoIterator<Item = u64>, layout: Layout) -> Scene {
    let portraits: Vec<Portrait> = people.into_iter().map(|person| portrait(person, 1)).collect();
    Scene::new(&portraits, layout)
}

/// A clip of six seconds in which `person` crosses the picture twice.
pub fn clip_of(folder: &Path, person: u64) -> PathBuf {
    let layout = Layout { width: 640, height: 480, fps: 15, duration_s: 6.0, lanes: 1, face_widths_px: &[96.0], crossing_s: 3.0, seed: 1 };
    let path = folder.join(format!("{}.mkv", name(person)));
    encode::encode(&crossing([person], layout), &path, &mut |_| {}).expect("encoded");
    path
}
