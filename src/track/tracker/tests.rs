//! The tracker on a synthetic street: who keeps an id, who gets a new one, what is chosen, what is forgotten.

use std::collections::HashSet;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

use super::*;
use crate::frame::BoundingBox;
use crate::policy::claim::Claim;
use crate::track::testing::{Street, at_ms, embed_settings, face, face_of};

fn tracker() -> Tracker {
    Tracker::new(StreamIndex(0), &schema::Track::default(), Some(&embed_settings()), Arc::default())
}

/// The confirmed track whose box holds (x, y).
fn id_at(tracker: &Tracker, x: f32, y: f32) -> Option<TrackId> {
    let holds = |b: &BoundingBox| (b.x0..b.x1).contains(&x) && (b.y0..b.y1).contains(&y);
    let confirmed = tracker.tracks.iter().filter(|t| t.standing != Standing::Tentative);
    confirmed.min_by(|a, b| off(a, x).total_cmp(&off(b, x))).filter(|t| holds(&t.motion.bounding_box())).map(|t| t.id)
}

fn off(track: &Track, x: f32) -> f32 {
    (track.motion.bounding_box().centre().x - x).abs()
}

/// Deterministic detector jitter, ±2 % of a face.
fn jitter(step: i64, salt: i64) -> f32 {
    (((step * 7_919 + salt * 104_729).rem_euclid(200)) as f32 / 100.0 - 1.0) * 1.2
}

#[test]
fn a_person_who_stays_costs_three_shots() {
    let (mut street, mut tracker) = (Street::new(), tracker());
    let (mut shots, mut concluded, mut frames) = (0, Vec::new(), 0);
    for step in 0..90 {
        let ms = step * 33;
        let seen = vec![face(300.0 + jitter(step, 1), 200.0 + jitter(step, 2))];
        if let Some(selection) = tracker.update(street.detected(ms, seen), at_ms(ms + 20)) {
            assert_eq!(selection.frame.is_some(), !selection.shots.is_empty(), "a frame goes on exactly where a shot is in it");
            frames += usize::from(selection.frame.is_some());
            shots += selection.shots.len();
            assert!(selection.shots.iter().all(|s| s.quality > 0.35 && s.quality <= 1.0));
            concluded.extend(selection.conclude);
        }
    }
    assert_eq!((shots, frames, concluded.len(), tracker.live_tracks()), (3, 3, 1, 1));
    assert_eq!(id_at(&tracker, 300.0, 200.0), Some(concluded[0]));
}

#[test]
fn a_walker_is_one_track_however_few_frames_are_looked_at() {
    // 6 face heights a second: somebody who walks past the camera at 1.5 m/s.
    for every in 1..=5 {
        let (mut street, mut tracker) = (Street::new(), tracker());
        let mut ids = HashSet::new();
        for step in (0..40).step_by(every) {
            let ms = step * 33;
            let x = 40.0 + 0.36 * ms as f32;
            tracker.update(street.detected(ms, vec![face(x + jitter(step, 1), 200.0)]), at_ms(ms + 20));
            ids.extend(id_at(&tracker, x, 200.0));
        }
        assert_eq!((ids.len(), tracker.live_tracks()), (1, 1), "every {every}");
        assert_eq!(tracker.counters.started.get(), 1, "every {every}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Two people pass each other, their faces overlapping on the way; both are always found.
    #[test]
    fn people_who_cross_keep_their_ids(every in 1_usize..=3, left_speed in 0.05_f32..0.25, right_speed in 0.05_f32..0.25, rise in 0.0_f32..25.0) {
        let (mut street, mut tracker) = (Street::new(), tracker());
        // They meet at x = 320 after 1.5 s and part again.
        let place = |ms: i64| {
            let t = ms as f32 - 1_500.0;
            ((320.0 + left_speed * t, 200.0), (320.0 - right_speed * t, 200.0 + rise))
        };
        let (mut left, mut right) = (None, None);
        for step in (0..91).step_by(every) {
            let ms = step * 33;
            let (a, b) = place(ms);
            let seen = vec![
                face(b.0 + jitter(step, 3), b.1 + jitter(step, 4)),
                face(a.0 + jitter(step, 1), a.1 + jitter(step, 2)),
            ];
            tracker.update(street.detected(ms, seen), at_ms(ms + 20));
            if step < 30 && (a.0 - b.0).abs() > 80.0 {
                left = id_at(&tracker, a.0, a.1);
                right = id_at(&tracker, b.0, b.1);
            }
        }
        let (a, b) = place(2_970);
        prop_assume!((a.0 - b.0).abs() > 80.0);
        prop_assert!(left.is_some() && right.is_some() && left != right);
        prop_assert_eq!(id_at(&tracker, a.0, a.1), left);
        prop_assert_eq!(id_at(&tracker, b.0, b.1), right);
        prop_assert_eq!(tracker.counters.started.get(), 2);
    }

    /// Whatever a detector says, nothing panics and the bounds hold.
    #[test]
    fn nonsense_from_the_detector_is_survived(frames in prop::collection::vec((0_i64..400, prop::collection::vec((any::<f32>(), any::<f32>(), any::<f32>(), any::<f32>(), -1.0_f32..2.0), 0..40)), 1..12)) {
        let (mut street, mut tracker) = (Street::new(), tracker());
        let mut ms = 0;
        for (gap, boxes) in frames {
            ms += gap;
            let nonsense = |(x0, y0, x1, y1, score)| Face { bounding_box: BoundingBox { x0, y0, x1, y1 }, ..face_of(1.0, 1.0, 60.0, score) };
            let mut faces: Vec<Face> = boxes.into_iter().map(nonsense).collect();
            faces.extend((0..300).map(|i| face(f32::from(i as i16) * 2.0, 200.0)));
            tracker.update(street.detected(ms, faces), at_ms(ms));
            prop_assert!(tracker.tracks.len() <= MOST_TRACKS);
        }
    }
}

#[test]
fn out_of_sight_for_less_than_lost_ms_is_bridged_and_for_longer_is_not() {
    for (hidden_ms, same) in [(500, true), (900, true), (1_100, false)] {
        let (mut street, mut tracker) = (Street::new(), tracker());
        let place = |ms: i64| 100.0 + 0.12 * ms as f32;
        let mut ids = Vec::new();
        let (mut ms, back) = (0, 990 + hidden_ms);
        while ms < back + 500 {
            let visible = ms < 990 || ms >= back;
            let seen = if visible { vec![face(place(ms), 200.0)] } else { vec![] };
            tracker.update(street.detected(ms, seen), at_ms(ms));
            ids.extend(id_at(&tracker, place(ms), 200.0).filter(|_| visible));
            ms += 33;
        }
        ids.dedup();
        assert_eq!(ids.len() == 1, same, "hidden for {hidden_ms} ms: {ids:?}");
    }
}

#[test]
fn a_face_half_hidden_continues_its_track_and_starts_none() {
    let (mut street, mut tracker) = (Street::new(), tracker());
    for step in 0..60 {
        let ms = step * 33;
        let score = if step < 5 { 0.9 } else { 0.4 };
        let seen = vec![face_of(300.0, 200.0, 60.0, score), face_of(500.0, 200.0, 60.0, 0.4)];
        let selection = tracker.update(street.detected(ms, seen), at_ms(ms));
        assert!(step < 5 || selection.is_none_or(|s| s.shots.is_empty()), "no shot of a doubtful face");
    }
    assert_eq!((tracker.live_tracks(), tracker.counters.started.get()), (1, 1));
}

#[test]
fn a_flicker_is_no_person() {
    let (mut street, mut tracker) = (Street::new(), tracker());
    for step in 0..20 {
        let seen = if step % 2 == 0 { vec![face(300.0, 200.0)] } else { vec![] };
        assert!(tracker.update(street.detected(step * 33, seen), at_ms(step * 33)).is_none());
        assert_eq!(tracker.live_tracks(), 0);
    }
    assert_eq!(tracker.counters.confirmed.get(), 0);
}

#[test]
fn ids_are_replaced_in_time_and_nothing_gathered_crosses_over() {
    let settings = schema::Track { rotate_id_s: 1, ..schema::Track::default() };
    let mut tracker = Tracker::new(StreamIndex(0), &settings, Some(&embed_settings()), Arc::default());
    let mut street = Street::new();
    let mut ids = Vec::new();
    let mut gathered_under = HashSet::new();
    for step in 0..100 {
        let ms = step * 33;
        // Good enough for a shot only from 0.9 s on: a collection is open when the id is due at 1 s.
        let height = if ms < 900 { 40.0 } else { 60.0 };
        let selection = tracker.update(street.detected(ms, vec![face_of(300.0, 200.0, height, 0.9)]), at_ms(ms));
        ids.extend(id_at(&tracker, 300.0, 200.0));
        if let Some(selection) = selection {
            gathered_under.extend(selection.shots.iter().map(|s| s.track));
            if ms > 900 && ms < 1_040 && !selection.conclude.is_empty() {
                assert_eq!(selection.conclude, selection.ended, "concluded first, then over");
                assert_ne!(Some(selection.conclude[0]), id_at(&tracker, 300.0, 200.0));
                assert!(selection.shots.iter().all(|s| s.track != selection.conclude[0]));
            }
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 4, "three seconds and a third");
    assert_eq!(tracker.counters.rotated.get(), 3);
    assert_eq!(gathered_under.len(), 1, "a new id alone is no reason for a new search");
    assert_eq!(tracker.live_tracks(), 1);
}

#[test]
fn an_identified_track_is_left_alone_also_under_its_next_id() {
    let settings = schema::Track { rotate_id_s: 2, ..schema::Track::default() };
    let mut tracker = Tracker::new(StreamIndex(0), &settings, Some(&embed_settings()), Arc::default());
    let mut street = Street::new();
    let mut first = None;
    for step in 0..120 {
        let ms = step * 33;
        let height = if ms < 1_900 { 60.0 } else { 200.0 };
        let selection = tracker.update(street.detected(ms, vec![face_of(300.0, 200.0, height, 0.9)]), at_ms(ms));
        first = first.or_else(|| selection.as_ref().and_then(|s| s.conclude.first().copied()));
        if step == 70 {
            // The id was replaced at 2 s; the answer to the query under the old one comes only now.
            assert_eq!(tracker.counters.rotated.get(), 1);
            tracker.identified(first.expect("concluded"));
        }
        if step > 70 {
            assert!(selection.is_none_or(|s| s.shots.is_empty() && s.conclude.is_empty()));
        }
    }
}

#[test]
fn without_a_live_permit_no_pixel_is_read_and_everything_is_forgotten() {
    let (mut street, mut tracker) = (Street::new(), tracker());
    for step in 0..3 {
        tracker.update(street.detected(step * 33, vec![face(300.0, 200.0)]), at_ms(step * 33));
    }
    assert!(tracker.tracks[0].collector(Use::Embedding).is_collecting());
    assert!(street.reads.load(SeqCst) > 0, "a shot was measured");
    let before = id_at(&tracker, 300.0, 200.0).expect("confirmed");
    let late = street.detected(200, vec![face(300.0, 200.0)]);
    street.granted.revoke();
    let selection = tracker.update(late, at_ms(200)).expect("the open collection is reported");
    assert_eq!(street.reads.load(SeqCst), 0);
    assert!(selection.shots.is_empty() && selection.conclude.is_empty(), "nothing is concluded");
    assert_eq!((selection.ended, tracker.live_tracks()), (vec![before], 0));
    assert_eq!(tracker.counters.withheld.get(), 1);

    street.granted.renew(at_ms(300));
    for ms in [300, 333, 366] {
        tracker.update(street.detected(ms, vec![face(300.0, 200.0)]), at_ms(ms));
    }
    assert_ne!(id_at(&tracker, 300.0, 200.0).expect("a new track"), before);
}

#[test]
fn other_terms_end_every_track_even_without_a_gap() {
    let (mut street, mut tracker) = (Street::new(), tracker());
    let mut ids = Vec::new();
    for step in 0..10 {
        if step == 5 {
            street.granted.revoke();
            street.granted.renew(at_ms(160));
        }
        let selection = tracker.update(street.detected(step * 33, vec![face(300.0, 200.0)]), at_ms(step * 33));
        if step == 5 {
            assert_eq!(selection.map(|s| (s.conclude, s.ended)), Some((vec![], vec![ids[0]])));
        }
        ids.extend(id_at(&tracker, 300.0, 200.0));
    }
    ids.dedup();
    assert_eq!(ids.len(), 2);
}

#[test]
fn a_lease_that_runs_out_is_noticed_without_a_frame() {
    let (mut street, mut tracker) = (Street::new(), tracker());
    for step in 0..3 {
        tracker.update(street.detected(step * 33, vec![face(300.0, 200.0)]), at_ms(step * 33));
    }
    assert!(tracker.tick(at_ms(150)).is_none());
    street.granted.revoke();
    let selection = tracker.tick(at_ms(160)).expect("ended");
    assert_eq!((selection.ended.len(), selection.conclude.len(), tracker.live_tracks()), (1, 0, 0));
}

#[test]
fn a_camera_that_falls_silent_concludes_in_time_and_ends_its_tracks() {
    let (mut street, mut tracker) = (Street::new(), tracker());
    let mut first_shot_ms = None;
    for step in 0..3 {
        let selection = tracker.update(street.detected(step * 33, vec![face(300.0, 200.0)]), at_ms(step * 33));
        first_shot_ms = first_shot_ms.or(selection.map(|_| step * 33));
    }
    let due = first_shot_ms.expect("a shot") + 700;
    assert!(tracker.tick(at_ms(due - 1)).is_none());
    let selection = tracker.tick(at_ms(due)).expect("late collections conclude");
    assert_eq!((selection.conclude.len(), selection.frame.is_some()), (1, false));
    assert_eq!(tracker.live_tracks(), 1);
    assert!(tracker.tick(at_ms(1_065)).is_none());
    assert_eq!((tracker.tick(at_ms(1_066)).is_none(), tracker.live_tracks()), (true, 0));
}

#[test]
fn the_end_of_a_track_concludes_what_it_gathered() {
    let embed = schema::Embed { collect_max_ms: 60_000, ..embed_settings() };
    let mut tracker = Tracker::new(StreamIndex(0), &schema::Track::default(), Some(&embed), Arc::default());
    let mut street = Street::new();
    let mut last = None;
    for step in 0..60 {
        let seen = if step < 5 { vec![face(300.0, 200.0)] } else { vec![] };
        last = tracker.update(street.detected(step * 33, seen), at_ms(step * 33)).or(last);
    }
    let last = last.expect("a conclusion");
    assert_eq!((last.shots.len(), last.conclude.len(), last.conclude == last.ended), (0, 1, true));
}

#[test]
fn the_end_of_a_stream_concludes_under_a_live_lease_and_only_there() {
    for revoked in [false, true] {
        let (mut street, mut tracker) = (Street::new(), tracker());
        for step in 0..3 {
            tracker.update(street.detected(step * 33, vec![face(300.0, 200.0)]), at_ms(step * 33));
        }
        if revoked {
            street.granted.revoke();
        }
        let last = tracker.end_all(at_ms(100)).expect("a collection was open");
        assert_eq!((last.conclude.len(), last.ended.len(), tracker.live_tracks()), (usize::from(!revoked), 1, 0));
    }
}

#[test]
fn shots_that_were_shed_are_taken_again() {
    let (mut street, mut tracker) = (Street::new(), tracker());
    let (mut delivered, mut shed, mut concluded) = (0, 0, 0);
    for step in 0..40 {
        let ms = step * 33;
        let Some(mut selection) = tracker.update(street.detected(ms, vec![face(300.0, 200.0)]), at_ms(ms)) else { continue };
        // The embedder takes only what comes after 400 ms.
        if ms < 400 {
            shed += selection.shots.len();
            tracker.shots_shed(&mut selection);
            assert!(selection.shots.is_empty() && selection.frame.is_none() && selection.conclude.is_empty());
        } else {
            delivered += selection.shots.len();
            concluded += selection.conclude.len();
        }
    }
    assert!(shed > 3, "tried again with every frame: {shed}");
    assert_eq!((delivered, concluded), (3, 1));
}

#[test]
fn faces_without_landmarks_or_pixels_enough_are_followed_but_never_shot() {
    let (mut street, mut tracker) = (Street::new(), tracker());
    for step in 0..40 {
        let blind = Face { landmarks: None, ..face(100.0, 200.0) };
        let seen = vec![blind, face_of(300.0, 200.0, 45.0, 0.9)];
        assert!(tracker.update(street.detected(step * 33, seen), at_ms(step * 33)).is_none());
    }
    assert_eq!(tracker.live_tracks(), 2);
    assert!(tracker.counters.too_small.get() > 0);
}

#[test]
fn two_streams_that_see_the_same_share_no_id() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (mut street, mut tracker) = (Street::new(), tracker());
        let mut ids = HashSet::new();
        for step in 0..30 {
            let people = (0..8_i16).map(|i| face(40.0 + 75.0 * f32::from(i), 200.0)).collect();
            tracker.update(street.detected(step * 33, people), at_ms(step * 33));
            ids.extend(tracker.tracks.iter().map(|t| t.id));
        }
        assert_eq!(ids.len(), 8);
        seen.push(ids);
    }
    assert!(seen[0].is_disjoint(&seen[1]));
}

#[test]
fn without_an_embed_section_nothing_is_ever_read() {
    let mut tracker = Tracker::new(StreamIndex(0), &schema::Track::default(), None, Arc::default());
    let mut street = Street::new();
    for step in 0..40 {
        assert!(tracker.update(street.detected(step * 33, vec![face(300.0, 200.0)]), at_ms(step * 33)).is_none());
        assert_eq!(street.reads.load(SeqCst), 0);
    }
    assert_eq!(tracker.live_tracks(), 1);
}

/// A street under another lease.
fn street_of(state: crate::policy::lease::StreamState, purposes: &[&str]) -> Street {
    let mut street = Street::new();
    let until = at_ms(0).plus(std::time::Duration::from_secs(600));
    street.granted = crate::policy::lease::testing::grant(state, purposes, crate::area::Area::whole(), until);
    street
}

#[test]
fn each_use_gets_its_shots_where_the_lease_includes_it_and_a_mask_check_one_answer_a_person() {
    use crate::policy::lease::StreamState::{Detect, Recognise};
    let cases = [
        (Recognise, &["missing-person:1"][..], true, false),
        (Detect, &["mask-check"], false, true),
        (Recognise, &["missing-person:1", "mask-check"], true, true),
    ];
    let mask: schema::Mask = toml::from_str("model = \"masks\"").expect("all else has a default");
    for (state, purposes, embeds, checks) in cases {
        let (mut street, counters) = (street_of(state, purposes), Arc::<TrackCounters>::default());
        let mut tracker = Tracker::new(StreamIndex(0), &schema::Track::default(), Some(&embed_settings()), Arc::clone(&counters));
        tracker = tracker.checking_masks(Some(&mask));
        let (mut shots, mut concluded) = ([0, 0], [0, 0]);
        let mut take = |selection: Option<Selection>, of: Use| {
            let Some(selection) = selection else { return };
            assert_eq!((selection.of, selection.frame.is_some()), (of, !selection.shots.is_empty()));
            shots[of.index()] += selection.shots.len();
            concluded[of.index()] += selection.conclude.len();
        };
        for step in 0..90 {
            // Comes ever nearer: a search in vain would be tried again, an answer is not.
            let seen = vec![face_of(300.0, 200.0, 60.0 + step as f32, 0.9)];
            take(tracker.update(street.detected(step * 33, seen), at_ms(step * 33 + 20)), Use::Embedding);
            take(tracker.take_for_masks(), Use::MaskCheck);
            let turned = tracker.tick(at_ms(step * 33 + 21));
            take(turned, Use::Embedding);
            take(tracker.take_for_masks(), Use::MaskCheck);
        }
        assert_eq!((shots[0] > 0, concluded[0] > 0), (embeds, embeds), "{purposes:?}");
        assert_eq!((shots[1], concluded[1]), if checks { (3, 1) } else { (0, 0) }, "{purposes:?}");
        assert_eq!((counters.mask_shots.get(), counters.mask_concluded.get()), (shots[1] as u64, concluded[1] as u64));
        // How frontal a face is, its landmarks say: a mask check alone reads no pixel here.
        assert_eq!(street.reads.load(SeqCst) > 0, embeds, "{purposes:?}");
    }
}

#[test]
fn a_mask_is_not_looked_at_from_the_side_nor_from_afar() {
    let mask: schema::Mask = toml::from_str("model = \"masks\"\nmin_face_width_px = 80.0").expect("a section");
    let mut street = street_of(crate::policy::lease::StreamState::Detect, &["mask-check"]);
    let counters = Arc::<TrackCounters>::default();
    let mut tracker = Tracker::new(StreamIndex(0), &schema::Track::default(), None, Arc::clone(&counters)).checking_masks(Some(&mask));
    for step in 0..20 {
        let mut seen = face_of(300.0, 200.0, if step < 10 { 60.0 } else { 160.0 }, 0.9);
        if step >= 10 {
            // The nose beyond the eye: a profile.
            if let Some(landmarks) = &mut seen.landmarks {
                landmarks[2].x = landmarks[1].x + 20.0;
            }
        }
        assert!(tracker.update(street.detected(step * 33, vec![seen]), at_ms(step * 33)).is_none());
        assert!(tracker.take_for_masks().is_none());
    }
    assert!(counters.mask_unfit.get() >= 15 && counters.mask_shots.get() == 0, "{}", counters.mask_unfit.get());
}

#[test]
fn at_a_gate_nobody_but_the_nearest_is_looked_at_and_only_while_a_claim_is_open() {
    let (mut street, mut tracker) = (Street::of(&["access-verification"]), tracker());
    let mut seen = |street: &mut Street, ms: std::ops::Range<i64>, faces: &[Face]| {
        let mut shots: Vec<(Option<TrackId>, TrackId)> = Vec::new();
        for ms in ms.step_by(33) {
            let selection = tracker.update(street.detected(ms, faces.to_vec()), at_ms(ms + 20));
            shots.extend(selection.into_iter().flat_map(|s| s.shots.into_iter().map(move |shot| (s.presented, shot.track))));
        }
        let at = |x| id_at(&tracker, x, 200.0);
        (shots, [at(100.0), at(300.0), at(500.0)])
    };
    let behind = [face(100.0, 200.0), face(500.0, 200.0)];
    let (shots, _) = seen(&mut street, 0..990, &behind);
    assert!(shots.is_empty() && street.reads.load(SeqCst) == 0, "nobody claims anything: no pixel is read");

    let claim = Claim { id: 1, subject: "x".into(), until: at_ms(60_000) };
    street.granted.claim(Some(claim), at_ms(600_000));
    let near = face_of(300.0, 200.0, 90.0, 0.9);
    let (shots, [left, middle, right]) = seen(&mut street, 990..1_980, &[behind[0], near, behind[1]]);
    assert!(left.is_some() && right.is_some(), "everybody is followed");
    assert_eq!(shots, [(middle, middle.expect("confirmed")); 3], "one is looked at: whose face is largest");

    // Somebody nearer comes; the claim is still about who was there first.
    let nearer = face_of(500.0, 200.0, 140.0, 0.9);
    let (shots, _) = seen(&mut street, 1_980..2_970, &[behind[0], face_of(300.0, 200.0, 90.0, 0.9), nearer]);
    assert!(shots.iter().all(|(presented, track)| *presented == middle && Some(*track) == middle), "{shots:?}");

    // They walk on: whoever is nearest then makes no claim.
    let (shots, _) = seen(&mut street, 2_970..6_930, &behind);
    assert!(shots.is_empty(), "{shots:?}");

    // Closed: nobody is.
    street.granted.claim(None, at_ms(600_000));
    assert!(seen(&mut street, 6_930..7_920, &behind).0.is_empty());

    // Whoever is nearest looks down: nobody behind them is taken for them.
    street.granted.claim(Some(Claim { id: 2, subject: "x".into(), until: at_ms(60_000) }), at_ms(600_000));
    let (shots, _) = seen(&mut street, 7_920..8_910, &[behind[0], face_of(300.0, 200.0, 90.0, 0.3), behind[1]]);
    assert!(shots.is_empty(), "{shots:?}");
}
