//! The main job on video, with the real program: commission, enrol, run, read the journal. On rendered people with the bundled models, whose
//! truth is known to the pixel; and on real people (`PLACARD_TEST_DATA`, default `../shared/data`; without it those tests say so).

#![allow(clippy::print_stdout, reason = "figures beside a verdict")]

#[path = "support/detections.rs"]
mod detections;
#[path = "support/people.rs"]
mod people;
#[path = "support/site.rs"]
mod site;
#[path = "support/streams.rs"]
mod streams;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use image::RgbImage;
use placard::emit::event::Event;
use placard::frame::BoundingBox;
use placard::render::portraits::{Layout, Portrait, Scene};
use placard::render::{encode, stills};
use site::{Models, Site, Stream};

/// Each of these tests keeps two cores busy; side by side they would starve each other's policy threads.
static ONE_AT_A_TIME: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// Tells rendered people apart, with the bundled embedder (`models/README.md`).
const RENDERED_THRESHOLD: &str = "threshold = 0.55";

/// Who is in which clip, judged by clothes, and what they are enrolled from: (person, enrolled from, frame, other clips).
const PEOPLE: [(&str, &str, usize, &[&str]); 5] = [
    ("A", "student", 25, &["again", "brother", "help", "no"]),
    ("B", "milk", 20, &["please", "thanks"]),
    ("C", "book", 60, &["learn", "school"]),
    ("D", "eat", 20, &["sister"]),
    ("E", "hungry", 5, &[]),
];

fn clip(data: &Path, name: &str) -> PathBuf {
    data.join("video").join(format!("asl_{name}.mkv"))
}

/// Enrols the five people of the clips, each from one frame of one clip; returns subject id → person.
fn enrol_people(site: &Site, data: &Path) -> BTreeMap<String, String> {
    let mut lines = String::new();
    for (person, from, frame, _) in PEOPLE {
        let path = site.path().join(format!("{person}.png"));
        stills::still(&clip(data, from), frame).expect("a frame of the clip").save(&path).expect("writable");
        lines.push_str(&format!("{person}\t{}\n", path.display()));
    }
    // Faces in these clips are 51 to 71 pixels wide.
    site.enrol("crime-prevention:asl", &lines, 48)
}

/// (stream, person) of every event, and a check that no track was given two identities.
fn pairs(events: &[Event], people: &BTreeMap<String, String>) -> BTreeSet<(String, String)> {
    let mut by_track: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let mut pairs = BTreeSet::new();
    for event in events {
        let subject = &event.candidates()[0].subject;
        by_track.entry((event.stream.to_string(), event.track().to_owned())).or_default().insert(subject.clone());
        pairs.insert((event.stream.to_string(), people[subject].clone()));
    }
    assert!(by_track.values().all(|subjects| subjects.len() == 1), "a track has two identities: {by_track:?}");
    pairs
}

#[test]
fn every_person_in_the_clips_is_found_over_rtsp_and_nobody_else() {
    let _turn = ONE_AT_A_TIME.lock();
    let Some(data) = support::test_data() else { return };
    let clips: Vec<(&str, &str)> =
        PEOPLE.iter().flat_map(|(person, from, _, others)| others.iter().chain([from]).map(move |c| (*c, *person))).collect();
    let expected: BTreeSet<(String, String)> = clips.iter().map(|(clip, person)| ((*clip).to_owned(), (*person).to_owned())).collect();
    let sources: Vec<(String, PathBuf)> = clips.iter().map(|(name, _)| ((*name).to_owned(), clip(&data, name))).collect();
    let served: Vec<(&str, &Path)> = sources.iter().map(|(name, path)| (name.as_str(), path.as_path())).collect();
    let server = streams::RtspServer::start(0, &[], &served);
    let streams: Vec<Stream> = clips
        .iter()
        .enumerate()
        // Both transports carry half of the streams.
        .map(|(i, (name, _))| {
            Stream::new(name, &format!("rtsp://127.0.0.1:{}/{name}", server.port())).with(if i % 2 == 0 {
                "transport = \"tcp\""
            } else {
                "transport = \"udp\""
            })
        })
        // Every fifth frame: six looks a second, so that two cores carry all fourteen streams at once.
        .map(|s| s.with("detect_every = 5"))
        .collect();
    let site = Site::commission(Models::Of(&data), &["crime-prevention:asl"], &streams, "[decide]\nthreshold = 0.65\n");
    let people = enrol_people(&site, &data);
    let service = site.start();
    // Until everybody was found, and then until every stream was looked at a hundred times: by counts, not by the clock.
    // Hands pass before the face in `learn`, and a track that was searched in vain is only searched again for a better shot: which shots it
    // gets depends on when it begins. So every person must be found, and all but two of the pairs.
    service.wait_until("every person is found", |_| {
        let found = pairs(&site.events(), &people);
        let persons: BTreeSet<&String> = found.iter().map(|(_, person)| person).collect();
        persons.len() == PEOPLE.len() && found.intersection(&expected).count() + 2 >= expected.len()
    });
    service.wait_until("a hundred looks at every stream", |status| status.streams.iter().all(|s| s.detected >= 100));
    drop(service);
    let found = pairs(&site.events(), &people);
    assert!(found.is_subset(&expected), "somebody was found where they are not: {found:?}");
}

#[test]
fn a_film_without_faces_makes_no_event() {
    let _turn = ONE_AT_A_TIME.lock();
    let Some(data) = support::test_data() else { return };
    let film = data.join("video/one-by-one-person-detection.mp4");
    let streams = [Stream::new("film", &format!("file:{}", film.display())).with("realtime = false\ndetect_every = 2")];
    let site = Site::commission(Models::Of(&data), &["crime-prevention:asl"], &streams, "");
    enrol_people(&site, &data);
    let summary = site.run_to_end();
    assert_eq!(summary["frames"], 1_394, "{summary}");
    // On a starved machine the policy thread may come late, and what a lapsed lease withholds is withheld: but nothing is lost.
    let count = |key: &str| summary[key].as_u64().expect("a count");
    assert_eq!(count("frames_detected") + count("frames_withheld"), 697, "{summary}");
    assert!(count("frames_detected") > 600, "{summary}");
    assert_eq!((site.events().len(), &summary["events"]), (0, &serde_json::json!(0)), "{summary}");
}

/// People with two photographs, the second with a face of 64 pixels or more: (id, gallery photograph, probe, face in the probe).
fn pairs_of_photographs(data: &Path, most: usize) -> Vec<(String, PathBuf, RgbImage, BoundingBox)> {
    let folder = data.join("images/identities");
    let listing = std::fs::read_to_string(data.join("images/identities.tsv")).expect("identities.tsv");
    let probes = listing.lines().filter(|l| l.contains("\tprobe\t"));
    let pair = |line: &str| {
        let [file, person, _, face] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let [x0, y0, x1, y1] = face.split(',').filter_map(|v| v.parse().ok()).collect::<Vec<f32>>().try_into().ok()?;
        let image = image::open(folder.join(file)).ok()?.into_rgb8();
        (x1 - x0 >= 64.0).then(|| (person.to_owned(), folder.join(format!("{person}_a.jpg")), image, BoundingBox { x0, y0, x1, y1 }))
    };
    probes.filter_map(pair).take(most).collect()
}

/// Somebody of a crowd.
struct Member {
    gallery: PathBuf,
    /// As they are seen in the crowd.
    portrait: Portrait,
}

#[test]
fn in_a_crowd_of_real_people_recall_and_precision_are_98_percent() {
    let _turn = ONE_AT_A_TIME.lock();
    let Some(data) = support::test_data() else { return };
    let crowd: Vec<Member> = pairs_of_photographs(&data, 24)
        .into_iter()
        .map(|(identity, gallery, image, face)| Member { gallery, portrait: Portrait { identity, image, face } })
        .collect();
    assert_eq!(crowd.len(), 24);
    find_in_crowd(Models::Of(&data), ("threshold = 0.45", 48.0), crowd);
}

#[test]
fn in_a_crowd_of_rendered_people_recall_and_precision_are_98_percent() {
    let _turn = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let member = |person| Member { gallery: people::official_file(folder.path(), person), portrait: people::portrait(person, 1) };
    // At this threshold the bundled embedder knows nobody on 48 pixels.
    find_in_crowd(Models::Bundled, (RENDERED_THRESHOLD, 60.0), (100..124).map(member).collect());
}

const FACE_WIDTHS_PX: &[f64] = &[48.0, 72.0, 96.0, 60.0, 120.0];

/// Every other one of `crowd` is enrolled and looked for. Every face must be found, nobody named wrongly, and everybody enrolled named whose
/// face is at least `named_from_px` wide.
fn find_in_crowd(models: Models, (threshold, named_from_px): (&str, f64), crowd: Vec<Member>) {
    let (galleries, portraits): (Vec<PathBuf>, Vec<Portrait>) = crowd.into_iter().map(|m| (m.gallery, m.portrait)).unzip();
    let layout = Layout {
        width: 1920,
        height: 1080,
        fps: 15,
        duration_s: 18.0,
        lanes: 4,
        face_widths_px: FACE_WIDTHS_PX,
        crossing_s: 3.0,
        seed: 11,
    };
    let scene = Scene::new(&portraits, layout);
    let streams = [Stream::new("hall", "file:hall.mkv").with("realtime = false")];
    let site = Site::commission(models, &["crime-prevention:crowd"], &streams, &format!("[decide]\n{threshold}\n"));
    encode::encode(&scene, &site.path().join("hall.mkv"), &mut |_| {}).expect("encoded");
    // Half of them are looked for; the other half are strangers.
    let wanted: Vec<_> = portraits.iter().map(|p| &p.identity).zip(&galleries).step_by(2).collect();
    let lines: String = wanted.iter().map(|(id, gallery)| format!("{id}\t{}\n", gallery.display())).collect();
    let subjects = site.enrol("crime-prevention:crowd", &lines, 64);

    // Boxes and times: every face of every frame, as the detector reports it under a permit of the site's own policy thread.
    let (found, missed, spurious) = detections::compare(&site, "hall", &scene);
    let recall = found as f64 / (found + missed) as f64;
    let precision = found as f64 / (found + spurious) as f64;
    println!("detection: {found} found, {missed} missed, {spurious} spurious; recall {recall:.4}, precision {precision:.4}");
    assert!(found > 750, "{found} faces in all");
    assert!(recall >= 0.98 && precision >= 0.98, "recall {recall:.4}, precision {precision:.4}");

    // Identities: what the journal says, against who stood where.
    let summary = site.run_to_end();
    let events = site.events();
    let mut right = BTreeSet::new();
    let mut wrong = 0;
    for event in &events {
        let named = &subjects[&event.candidates()[0].subject];
        let there =
            scene.truth(event.frame_sequence).into_iter().any(|t| t.identity == *named && t.bounding_box.iou(&event.bounding_box()) > 0.4);
        if there {
            right.insert(named.clone());
        } else {
            wrong += 1;
        }
    }
    let widths = FACE_WIDTHS_PX.iter().cycle().step_by(2);
    let to_be_named = wanted.iter().zip(widths).filter(|(_, width)| **width >= named_from_px).map(|(w, _)| w.0);
    let missing: Vec<&String> = to_be_named.filter(|id| !right.contains(*id)).collect();
    println!("identity: {} of {} found in {} events, {wrong} wrong; {summary}", right.len(), wanted.len(), events.len());
    assert_eq!(wrong, 0, "an event names somebody who is not there");
    assert!(missing.is_empty(), "never found: {missing:?}");
}
