//! What the demonstration looks at: clips from the test data, and a hall made of moving portraits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};

use crate::frame::BoundingBox;
use crate::render::portraits::{Layout, Portrait, Scene};
use crate::render::{encode, stills};

/// A person that the demonstration enrols, or leaves out on purpose.
pub struct Person {
    pub identity: String,
    pub photograph: PathBuf,
}

/// Everything the demonstration shows.
pub struct Media {
    /// Stream name → clip.
    pub clips: Vec<(String, PathBuf)>,
    /// Purpose → persons looked for.
    pub watched: Vec<(&'static str, Vec<Person>)>,
    /// (stream, identity) pairs that a perfect appliance reports.
    pub visible: Vec<(String, String)>,
}

pub const MISSING: &str = "missing-person:mp-7";
pub const CASE: &str = "crime-prevention:2026-0142";

/// A clip of one person.
struct Street {
    clip: &'static str,
    stream: &'static str,
    person: &'static str,
    /// Clip and frame that the person is enrolled from; `None`: a stranger.
    enrolled_from: Option<(&'static str, usize)>,
}

const STREETS: [Street; 3] = [
    Street { clip: "asl_no.mkv", stream: "desk", person: "person-a", enrolled_from: Some(("asl_student.mkv", 20)) },
    Street { clip: "asl_sister.mkv", stream: "lobby", person: "person-d", enrolled_from: Some(("asl_eat.mkv", 20)) },
    Street { clip: "asl_thanks.mkv", stream: "corner", person: "stranger-b", enrolled_from: None },
];

/// Finds the test data, cuts enrolment photographs and draws the hall. `progress` hears (done, all) in frames.
pub fn prepare(data: &Path, directory: &Path, progress: &mut dyn FnMut(u64, u64)) -> anyhow::Result<Media> {
    std::fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let mut clips = vec![("hall".to_owned(), directory.join("hall.mkv"))];
    let mut visible = Vec::new();
    let mut found_persons = Vec::new();
    for Street { clip, stream, person: identity, enrolled_from } in STREETS {
        clips.push((stream.to_owned(), data.join("video").join(clip)));
        if let Some((from, frame)) = enrolled_from {
            let photograph = directory.join(format!("{identity}.png"));
            stills::still(&data.join("video").join(from), frame)?.save(&photograph)?;
            visible.push((stream.to_owned(), identity.to_owned()));
            found_persons.push(Person { identity: identity.to_owned(), photograph });
        }
    }
    let identities = identities(data)?;
    ensure!(identities.len() >= 12, "the test data has {} people with two photographs, 12 are needed", identities.len());
    let mut missing = Vec::new();
    let mut walkers = Vec::new();
    // Twelve people walk through the hall; six of them are looked for.
    for (i, (identity, pair)) in identities.into_iter().take(12).enumerate() {
        walkers.push(Portrait {
            identity: identity.clone(),
            image: image::open(&pair.probe.0).with_context(|| format!("reading {}", pair.probe.0.display()))?.into_rgb8(),
            face: pair.probe.1,
        });
        if i % 2 == 0 {
            visible.push(("hall".to_owned(), identity.clone()));
            let person = Person { identity, photograph: pair.gallery };
            if i < 6 { missing.push(person) } else { found_persons.push(person) }
        }
    }
    draw_hall(&walkers, &directory.join("hall.mkv"), progress)?;
    Ok(Media { clips, watched: vec![(MISSING, missing), (CASE, found_persons)], visible })
}

fn draw_hall(walkers: &[Portrait], path: &Path, progress: &mut dyn FnMut(u64, u64)) -> anyhow::Result<()> {
    let layout = Layout {
        width: 1920,
        height: 1080,
        fps: 15,
        duration_s: 12.0,
        lanes: 3,
        face_widths_px: &[72.0, 96.0, 120.0, 84.0],
        crossing_s: 3.0,
        seed: 7,
    };
    let scene = Scene::new(walkers, layout);
    let all = scene.frame_count();
    encode::encode(&scene, path, &mut |frame| progress(frame + 1, all))?;
    Ok(())
}

struct Pair {
    gallery: PathBuf,
    probe: (PathBuf, BoundingBox),
}

/// People of `identities.tsv` (file, person, role, face box) with a gallery and a probe photograph, by id.
fn identities(data: &Path) -> anyhow::Result<BTreeMap<String, Pair>> {
    let folder = data.join("images/identities");
    let listing = data.join("images/identities.tsv");
    let text = std::fs::read_to_string(&listing).with_context(|| format!("reading {}", listing.display()))?;
    let mut galleries = BTreeMap::new();
    let mut pairs = BTreeMap::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let bad = || anyhow!("{}:{}: file, person, role and x1,y1,x2,y2 expected", listing.display(), number + 1);
        let [file, person, role, face] = line.split('\t').collect::<Vec<_>>().try_into().map_err(|_line| bad())?;
        let path = folder.join(file);
        if role == "gallery" {
            galleries.insert(person.to_owned(), path);
        } else if role == "probe" {
            let numbers: Vec<f32> = face.split(',').filter_map(|v| v.parse().ok()).collect();
            let [x0, y0, x1, y1] = numbers.try_into().map_err(|_numbers| bad())?;
            // Small probes are photographs of poor quality; the hall is to show the appliance, not them.
            if x1 - x0 >= 64.0 {
                pairs.insert(person.to_owned(), (path, BoundingBox { x0, y0, x1, y1 }));
            }
        }
    }
    Ok(pairs.into_iter().filter_map(|(id, probe)| galleries.remove(&id).map(|gallery| (id, Pair { gallery, probe }))).collect())
}
