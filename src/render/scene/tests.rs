//! Frames repeat, truth lies where the pixels are, and people cross borders and hide one another.

use super::*;

const SIZE: (usize, usize) = (320, 180);

fn open(name: &str, seed: u64) -> Scene {
    Scene::open(name, seed, SIZE.0, SIZE.1).expect("a scene")
}

#[test]
fn a_frame_depends_on_scene_seed_and_number_alone() {
    let (mut a, mut b) = (open("corridor", 5), open("corridor", 5));
    let (mut x, mut y) = (Planes::default(), Planes::default());
    for frame in [0, 9, 40] {
        a.draw(frame, 15.0, &mut x);
    }
    let truth = a.draw(41, 15.0, &mut x);
    assert_eq!(truth, b.draw(41, 15.0, &mut y));
    assert!(x == y, "whatever was drawn before");
    assert_eq!([x[0].len(), x[1].len(), x[2].len()], [320 * 180, 160 * 90, 160 * 90]);
    b.draw(42, 15.0, &mut y);
    assert!(x != y, "people move");
    open("corridor", 6).draw(41, 15.0, &mut y);
    assert!(x != y, "another seed, other people");
}

#[test]
fn a_scene_that_comes_again_does_so_to_the_pixel() {
    let mut scene = open("corridor", 5);
    assert_eq!(scene.period_s(), None);
    scene.repeat_after(1);
    let (mut x, mut y) = (Planes::default(), Planes::default());
    let round = 15 * scene.turn_s() as u64;
    let (first, again) = (scene.draw(30, 15.0, &mut x), scene.draw(30 + round * 3, 15.0, &mut y));
    assert!(!first.is_empty() && first == again);
    // The sensor's noise does not repeat.
    assert!(x[1] == y[1] && x[2] == y[2]);
}

#[test]
fn truth_lies_where_people_were_drawn() {
    let mut scene = open("gates", 2);
    let mut planes = Planes::default();
    let mut seen = 0;
    for frame in (0..300).step_by(8) {
        let truth = scene.draw(frame, 15.0, &mut planes);
        for face in truth.iter().filter(|f| f.visible > 0.95 && f.bounding_box.width() > 7.0) {
            let b = face.bounding_box;
            let (x0, x1) = (b.x0 as usize + 1, b.x1 as usize - 1);
            let rows = b.y0 as usize + 1..b.y1 as usize - 1;
            let changed = |y: usize, x: usize| {
                let i = y * SIZE.0 + x;
                planes[0][i].abs_diff(scene.background[0][i]) > 12
                    || planes[2][y / 2 * SIZE.0 / 2 + x / 2].abs_diff(scene.background[2][y / 2 * SIZE.0 / 2 + x / 2]) > 4
            };
            let all = rows.len() * (x1 - x0);
            let drawn = rows.flat_map(|y| (x0..x1).map(move |x| (y, x))).filter(|&(y, x)| changed(y, x)).count();
            assert!(drawn * 10 > all * 7, "frame {frame}, {}: {drawn} of {all} pixels differ from the empty hall", face.identity);
            assert!(face.landmarks.iter().all(|p| p.x > b.x0 - 2.0 && p.x < b.x1 + 2.0 && p.y > b.y0 && p.y < b.y1));
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen} faces");
}

#[test]
fn people_cross_the_area_and_hide_one_another() {
    let mut scene = open("concourse", 1);
    let mut planes = Planes::default();
    let (mut inside, mut outside, mut crossing, mut hidden) = (0, 0, 0, 0);
    let mut everybody = std::collections::BTreeSet::new();
    for frame in (0..600).step_by(5) {
        for face in scene.draw(frame, 15.0, &mut planes) {
            assert_eq!(face.area.is_some(), face.inside > 0.3 && face.area.is_some());
            inside += usize::from(face.inside == 1.0);
            outside += usize::from(face.inside == 0.0);
            crossing += usize::from(face.inside > 0.1 && face.inside < 0.9);
            hidden += usize::from(face.visible < 0.6);
            everybody.insert(face.identity);
        }
    }
    assert!(inside > 20 && outside > 20 && crossing > 0 && hidden > 3, "{inside} in, {outside} out, {crossing} crossing, {hidden} hidden");
    let cast: std::collections::BTreeSet<String> = scene.cast().map(identity_name).collect();
    assert!(everybody.len() > 5 && everybody.is_subset(&cast), "{} of {}", everybody.len(), cast.len());
    assert_eq!(cast.len(), 28);
}

#[test]
fn areas_can_be_signed_and_the_sign_is_in_the_picture() {
    for (name, _) in SCENES {
        let mut scene = open(name, 4);
        let polygons = scene.areas().iter().map(|a| a.polygon.clone()).collect();
        crate::area::Area::new(polygons).expect("an area as the site file wants it");
        let corners = scene.code_corners().expect("a sign");
        assert!(corners.iter().all(|c| (0.0..320.0).contains(&c.0) && (0.0..180.0).contains(&c.1)), "{name}: {corners:?}");
        let middle = (corners[0].1 + corners[2].1) as usize / 2 * SIZE.0 + (corners[0].0 + corners[2].0) as usize / 2;
        scene.set_code(vec![vec![true; 9]; 9]);
        let dark = scene.background[0][middle];
        scene.set_code(vec![vec![false; 9]; 9]);
        assert!(dark < 80 && scene.background[0][middle] > 120, "{name}");
    }
}

#[test]
fn what_cannot_be_drawn_says_so() {
    let unknown = Scene::open("concours", 1, 320, 180).err().expect("no such scene").to_string();
    assert!(unknown.contains("`concours`") && unknown.contains("concourse, gates, corridor"), "{unknown}");
    assert_eq!(Scene::open("gates", 1, 321, 180).err(), Some(SceneError::Size(321, 180)));
}

#[test]
fn as_many_wear_masks_as_was_asked_and_they_stay_who_they_are() {
    let (mut scene, usual) = (open("gates", 3), open("gates", 3));
    let masked = |scene: &Scene| scene.cast.iter().filter(|m| m.look.mask.is_some()).count();
    for (share, least, most) in [(0.0, 0, 0), (0.5, 7, 17), (1.0, 24, 24)] {
        scene.wear_masks(share);
        assert!((least..=most).contains(&masked(&scene)), "{share}: {} of 24", masked(&scene));
        assert!(scene.cast().eq(usual.cast()), "the same people");
    }
    let mut planes = Planes::default();
    let truth: Vec<bool> = (0..60).flat_map(|frame| scene.draw(frame * 5, 15.0, &mut planes)).map(|face| face.mask).collect();
    assert!(!truth.is_empty() && truth.iter().all(|mask| *mask));
}
