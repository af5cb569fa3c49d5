//! Histories of looks; and hours of a hall full of people under changing light, in which no sign may be lost.

use std::io::Write;

use super::*;
use crate::policy::facts::View;
use crate::render::acts::Acts;
use crate::render::scene::Scene;
use crate::render::sprite::Planes;
use crate::signs::code::testing::known_signer;
use crate::signs::drift::{COLUMNS, LEAST_EDGES, ROWS};
use crate::signs::read::tests::{lit, with_pixels};

const T0: Stamp<Monotonic> = Stamp::from_ns(5_000_000_000);

fn at(ms: u64) -> Stamp<Monotonic> {
    T0.plus(Duration::from_millis(ms))
}

#[test]
fn somebody_who_walks_past_darkens_nothing_and_a_sheet_over_the_sign_does_in_time() {
    let mut watch = Watch::new(10);
    assert!(watch.is_due(at(0)));
    assert_eq!(watch.looked(Attested::Seen, at(0)), Some((Attested::Seen, at(0))));
    assert!(!watch.is_due(at(2_400)) && watch.is_due(at(2_500)));
    // Nine seconds of people, then it is read again.
    for ms in (2_500..9_500).step_by(500) {
        assert!(watch.is_due(at(ms)));
        assert_eq!(watch.looked(Attested::Missing, at(ms)), None, "{ms} ms");
    }
    assert_eq!(watch.looked(Attested::Seen, at(9_500)), Some((Attested::Seen, at(9_500))));
    // Covered from here on: told by the tenth second, once; by the clock alone if no frame comes.
    assert_eq!(watch.looked(Attested::Missing, at(12_000)), None);
    assert_eq!(watch.tick(at(19_400)), None);
    assert_eq!(watch.tick(at(19_500)), Some((Attested::Missing, at(19_500))));
    assert_eq!(watch.tick(at(19_600)), None);
    // Each look tells from now on, so that what is told does not grow old; uncovered, it is back at once.
    assert_eq!(watch.looked(Attested::Foreign, at(20_000)), Some((Attested::Foreign, at(20_000))));
    assert!(watch.is_due(at(20_500)));
    assert_eq!(watch.looked(Attested::Seen, at(20_500)), Some((Attested::Seen, at(20_500))));
}

#[test]
fn before_it_was_ever_seen_every_look_is_told() {
    let mut watch = Watch::new(2);
    assert_eq!(watch.tick(at(60_000)), None, "nothing is claimed that nobody looked for");
    assert_eq!(watch.looked(Attested::Drifted, at(0)), Some((Attested::Drifted, at(0))));
}

/// A rendered hall with a signed code on its board, and how it is commissioned.
pub(crate) struct Signed {
    pub scene: Scene,
    pub code: String,
    pub key: PublicKey,
    pub watched: Watched,
}

pub(crate) const SIZE: (usize, usize) = (1_280, 720);
pub(crate) const WORDS: &str = "Face recognition in use: missing persons. Transit police, desk 1";

/// The hall as it is commissioned: a look every two seconds for half a minute, which is what `placard sign view` does.
pub(crate) fn signed(name: &str, seed: u64, every_s: u32) -> Signed {
    let signer = known_signer();
    let code = signer.issue("hall-1", "hall", WORDS, Stamp::from_ns(1_795_305_600_000_000_000)).expect("issued");
    let mut scene = Scene::open(name, seed, SIZE.0, SIZE.1).expect("a scene");
    scene.perform(&Acts { sign: Some(code.clone()), acts: Vec::new() }, &|| false).expect("drawn");
    let mut planes = Planes::default();
    let looks: Vec<Fingerprint> = (0..15)
        .map(|i| {
            scene.draw(i * 30, 15.0, &mut planes);
            with_pixels(&planes[0], SIZE, Fingerprint::of)
        })
        .collect();
    let settled = Fingerprint::settled(&looks).expect("looks");
    let corners = scene.code_corners().expect("a sign");
    let view = View {
        stream: "north".to_owned(),
        sign: "hall-1".to_owned(),
        code: corners.map(|(x, y)| [f64::from(x) / SIZE.0 as f64, f64::from(y) / SIZE.1 as f64]),
        tolerance: 0.008,
        attest_every_s: every_s,
        fingerprint: Some(settled.hex()),
    };
    let watched = Watched { view, zone: "hall".to_owned(), text: WORDS.to_owned(), since: T0 };
    Signed { scene, code, key: signer.public(), watched }
}

/// The day's light at a second: sun and clouds, a patch from one side, lamps that flicker.
fn light(seed: u64, at_s: f64) -> (f32, f32) {
    let turn = std::f64::consts::TAU;
    let slow = (at_s / 1_700.0 * turn + seed as f64).sin();
    let clouds = (at_s / 97.0 * turn + 2.0 * seed as f64).sin();
    let flicker = (at_s * 13.7).sin();
    ((0.8 + 0.5 * slow + 0.15 * clouds + 0.03 * flicker) as f32, (0.9 * (at_s / 1_100.0 * turn).sin()) as f32)
}

/// What was told, beside that the sign is seen, in `seconds` of `name`, once it had been seen; and the looks, and how many of them saw nothing.
fn watched_for(name: &str, seed: u64, seconds: f64, crowd: usize) -> (Vec<(f64, Attested)>, usize, usize) {
    let mut signed = signed(name, seed, 10);
    signed.scene.crowd(crowd);
    let mut attester = Attester::new(Some(signed.key));
    let mut watch = Watch::new(10);
    let (mut planes, mut told, mut looks, mut blind) = (Planes::default(), Vec::new(), 0, 0);
    let (mut ms, mut lit_once) = (0_u64, false);
    while (ms as f64) < seconds * 1e3 {
        let (at_s, now) = (ms as f64 / 1e3, at(ms));
        told.extend(watch.tick(now).map(|(what, _)| (at_s, what)));
        if watch.is_due(now) {
            signed.scene.draw((at_s * 15.0) as u64, 15.0, &mut planes);
            let (gain, slope) = light(seed, at_s);
            let luma = lit(&planes[0], SIZE.0, gain, slope, 0.0, ms);
            let what = with_pixels(&luma, SIZE, |p| attester.judge(p, &signed.watched));
            looks += 1;
            blind += usize::from(what != Attested::Seen);
            lit_once |= what == Attested::Seen;
            // Before the first look that sees it a stream is dark anyway.
            let news = watch.looked(what, now).filter(|(what, _)| lit_once && *what != Attested::Seen);
            told.extend(news.map(|(what, _)| (at_s, what)));
        }
        ms += 250;
    }
    (told, looks, blind)
}

#[test]
fn three_minutes_of_people_and_changing_light_suspend_nothing() {
    let (told, looks, blind) = watched_for("concourse", 11, 180.0, 14);
    assert!(told.is_empty() && looks >= 70, "{told:?} in {looks} looks, {blind} of which saw no sign");
}

/// Half an hour on one core: `cargo test --lib ten_hours -- --ignored --nocapture`; `PLACARD_HOURS=7-9` runs some of them.
#[test]
#[ignore = "ten simulated hours take minutes"]
fn ten_hours_of_people_and_changing_light_suspend_nothing() {
    let (mut faults, mut all, mut none) = (Vec::new(), 0, 0);
    let hours = std::env::var("PLACARD_HOURS").unwrap_or_else(|_| "0-9".to_owned());
    let (first, last) = hours.split_once('-').expect("two hours, 0-9");
    let hours = first.parse::<u64>().expect("an hour")..=last.parse::<u64>().expect("an hour");
    for hour in hours {
        let name = ["concourse", "gates", "corridor"][hour as usize % 3];
        let (told, looks, blind) = watched_for(name, 100 + hour, 3_600.0, 7 + 2 * (hour as usize % 5));
        writeln!(std::io::stderr(), "hour {hour}, {name}: {looks} looks, {blind} without a sign, told {told:?}").expect("standard error");
        (all, none) = (all + looks, none + blind);
        faults.extend(told.into_iter().map(|t| (hour, t)));
    }
    assert!(faults.is_empty(), "{faults:?} in {all} looks, {none} of which saw no sign");
}

#[test]
fn a_turned_camera_drifted_and_people_and_light_did_not() {
    let mut signed = signed("concourse", 5, 10);
    let mut planes = Planes::default();
    let commissioned = Fingerprint::from_hex(signed.watched.view.fingerprint.as_deref().expect("one")).expect("its own digits");
    assert!(commissioned.edges() > LEAST_EDGES, "{commissioned:?}");
    let compare = |luma: &[u8]| with_pixels(luma, SIZE, |p| commissioned.compare(&Fingerprint::of(p)));
    for frame in (0..1_500).step_by(151) {
        signed.scene.draw(frame, 15.0, &mut planes);
        for (gain, slope, noise) in [(1.0, 0.0, 0.0), (0.3, 0.0, 2.0), (1.4, 0.0, 2.0), (1.0, 1.2, 4.0)] {
            let found = compare(&lit(&planes[0], SIZE.0, gain, slope, noise, frame));
            assert!(found.is_steady(), "frame {frame}, light {gain} {slope}: {found:?}");
        }
    }
    // Turned by a twelfth, a thirtieth and a fiftieth of the width: the whole picture moves.
    for (share, drifted) in [(12, true), (30, true), (50, true)] {
        signed.scene.hall.view.pan = SIZE.0 as f32 / share as f32;
        signed.scene.perform(&Acts { sign: Some(signed.code.clone()), acts: Vec::new() }, &|| false).expect("drawn");
        for frame in [3, 400, 900] {
            signed.scene.draw(frame, 15.0, &mut planes);
            let found = compare(&planes[0]);
            assert_eq!(!found.is_steady(), drifted, "1/{share}, frame {frame}: {found:?}");
        }
    }
    assert!(Fingerprint::from_hex("12").is_err() && Fingerprint::from_hex(&"9".repeat(COLUMNS * ROWS)).is_err());
}
