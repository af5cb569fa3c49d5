//! A rendered scene: a hall, its cast, and any frame of it with the truth about it.
//!
//! Deterministic in (scene, size, seed, frame): a frame never depends on those drawn before. People are drawn once per turn of the head
//! and per step of the stride, kept as sprites, and placed at any size, so that a frame costs a copy of the background and the pixels
//! that people cover. Used by one thread.

use std::collections::HashMap;
use std::rc::Rc;

use super::acts::Staged;
use super::body;
use super::hall::{Hall, Occluder, brightness_at};
use super::halls::{self, SCENES};
use super::head::face::Face;
use super::head::identity::Identity;
use super::head::look::{Expression, Look};
use super::head::model::{Model, Pose};
use super::light::Lighting;
use super::outline::area_polygon;
use super::picture::{Framing, Region, draw, draw_meshes};
use super::random::Random;
use super::raster::Part;
use super::sprite::{Placement, Planes, Sprite, Target};
use super::truth::{FaceTruth, NamedArea, SAMPLES, sample_points};
use super::vector::vec3;
use super::walk::{Standing, Traffic, above};
use crate::frame::{BoundingBox, Landmarks, Point};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SceneError {
    #[error("there is no scene `{0}`; there are: {list}", list = SCENES.map(|s| s.0).join(", "))]
    Unknown(String),
    #[error("a scene of {0} × {1} pixels cannot be drawn: even sizes from 160 × 90 to 3840 × 2160 can")]
    Size(usize, usize),
    #[error(
        "`{0}` is nothing that happens in a scene: `sign=CODE` (`placard sign print --json` says it), `covered=FROM-TO`, `foreign=…`, `moved=…`, `panned=…` (seconds)"
    )]
    Act(String),
    #[error("the scene was not drawn: its drawing was interrupted")]
    Interrupted,
}

/// Somebody of the cast.
struct Member {
    identity: Identity,
    look: Look,
    expression: Expression,
    /// Relative to the mean.
    height: f32,
}

/// Turns of the head are drawn this far apart.
const YAW_STEPS: f32 = 24.0;
/// Turns of the body.
const BODY_STEPS: f32 = 12.0;
const PHASES: f32 = 8.0;
/// Share of a scene's people who wear a mask, where nobody says otherwise.
const MASKED: f32 = 0.12;
/// Sprites are kept until they fill this; then those not used again since half of it was drawn go.
const CACHE_BYTES: usize = 96 << 20;
/// Eye height of somebody of mean height, cm.
const EYES: f32 = -body::FEET;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Head(usize, i32),
    Body(usize, i32, i32),
}

struct HeadSprite {
    sprite: Sprite,
    /// Relative to the head's middle, cm on the picture's plane.
    bounding_box: BoundingBox,
    landmarks: Landmarks,
}

enum Drawn {
    Head(Box<HeadSprite>),
    Body(Sprite),
}

impl Drawn {
    const fn sprite(&self) -> &Sprite {
        match self {
            Self::Head(head) => &head.sprite,
            Self::Body(sprite) => sprite,
        }
    }
}

pub struct Scene {
    pub name: String,
    pub seed: u64,
    pub width: usize,
    pub height: usize,
    pub(crate) hall: Hall,
    traffic: Traffic,
    cast: Vec<Member>,
    lighting: Lighting,
    pub(super) background: Planes,
    pub(super) occluders: Vec<Occluder>,
    /// What happens to sign and camera.
    pub(super) staged: Vec<Staged>,
    areas: Vec<NamedArea>,
    noise: Vec<i8>,
    sprites: HashMap<Key, Rc<Drawn>>,
    older_sprites: HashMap<Key, Rc<Drawn>>,
    cached_bytes: usize,
}

impl Scene {
    /// Draws the empty hall; people are drawn when they first appear.
    pub fn open(name: &str, seed: u64, width: usize, height: usize) -> Result<Self, SceneError> {
        Self::open_unless(name, seed, (width, height), &|| false)
    }

    /// As [`Scene::open`]; gives up within milliseconds once `stop` says so.
    pub fn open_unless(name: &str, seed: u64, (width, height): (usize, usize), stop: &dyn Fn() -> bool) -> Result<Self, SceneError> {
        let fits = (160..=3_840).contains(&width) && (90..=2_160).contains(&height) && width.is_multiple_of(2) && height.is_multiple_of(2);
        if !fits {
            return Err(SceneError::Size(width, height));
        }
        let (hall, traffic) = halls::hall(name, seed, width, height).ok_or_else(|| SceneError::Unknown(name.to_owned()))?;
        let (background, occluders) = hall.draw(stop).ok_or(SceneError::Interrupted)?;
        let cast = (0..traffic.cast).map(|i| Member::draw(seed, i, MASKED)).collect();
        let areas = vec![NamedArea { name: "signed".to_owned(), polygon: area_polygon(&hall) }];
        let mut r = Random::new(seed, "sensor");
        let noise = (0..NOISE_TILE * NOISE_TILE).map(|_| r.around(0.0, 1.7) as i8).collect();
        Ok(Self {
            name: name.to_owned(),
            seed,
            width,
            height,
            hall,
            traffic,
            cast,
            lighting: Lighting::hall(),
            background,
            occluders,
            staged: Vec::new(),
            areas,
            noise,
            sprites: HashMap::new(),
            older_sprites: HashMap::new(),
            cached_bytes: 0,
        })
    }

    /// From now on this share of the cast wears a mask (the same people for the same share); who they are stays the same.
    pub fn wear_masks(&mut self, share: f32) {
        self.cast = (0..self.traffic.cast).map(|i| Member::draw(self.seed, i, share)).collect();
        self.sprites.clear();
        self.older_sprites.clear();
        self.cached_bytes = 0;
    }

    /// From now on the same people walk the same ways again after `turns` turns (of [`Scene::turn_s`]): frame by frame without a seam.
    pub fn repeat_after(&mut self, turns: u32) {
        self.traffic.again_after = u64::from(turns);
    }

    /// From now on so many people are on their way at once; as many as there are, at most.
    pub fn crowd(&mut self, people: usize) {
        self.traffic.slots = people.clamp(1, self.traffic.cast);
    }

    /// Seconds after which everything comes again, if it does.
    pub fn period_s(&self) -> Option<f64> {
        self.traffic.period_s()
    }

    /// Seconds a turn takes: in each, as many people cross as the scene has room for.
    pub const fn turn_s(&self) -> f64 {
        self.traffic.turn_s
    }

    /// Puts a sign's code (rows of dark and light modules) on the board, in place of the stand-in.
    pub fn set_code(&mut self, code: Vec<Vec<bool>>) {
        self.hall.code = code;
        if let Some(drawn) = self.hall.draw(&|| false) {
            (self.background, self.occluders) = drawn;
        }
    }

    /// Corners of the sign's code, clockwise from the top left, pixels.
    pub fn code_corners(&self) -> Option<[(f32, f32); 4]> {
        self.hall.code_corners()
    }

    /// The scene's areas.
    pub fn areas(&self) -> &[NamedArea] {
        &self.areas
    }

    /// Seeds of everybody who may appear.
    pub fn cast(&self) -> impl Iterator<Item = u64> + '_ {
        self.cast.iter().map(|m| m.identity.seed)
    }

    /// A face of the cast as it appears here, for enrolling: see [`super::portrait`].
    pub fn look_of(&self, person: usize) -> Option<(&Identity, &Look)> {
        self.cast.get(person).map(|m| (&m.identity, &m.look))
    }

    /// The frame's time; frames that come again have the very time they had.
    fn time_s(&self, frame: u64, fps: f64) -> f64 {
        let round = self.period_s().map_or(0.0, |period_s| period_s * fps);
        let frame = if round.fract() == 0.0 { frame.checked_rem(round as u64).unwrap_or(frame) } else { frame };
        frame as f64 / fps
    }

    /// Draws into the cache what `frame` will need, at most `limit` drawings; returns how many were made.
    pub fn prepare(&mut self, frame: u64, fps: f64, limit: usize) -> usize {
        let mut made = 0;
        for standing in self.traffic.standing(self.seed, self.time_s(frame, fps), &self.hall.view) {
            for key in keys(&standing) {
                if made < limit && !self.sprites.contains_key(&key) && !self.older_sprites.contains_key(&key) {
                    self.drawn(key);
                    made += 1;
                }
            }
        }
        made
    }

    /// Draws `frame` into `planes` (resized as needed) and says what is true of it.
    pub fn draw(&mut self, frame: u64, fps: f64, planes: &mut Planes) -> Vec<FaceTruth> {
        let at_s = frame as f64 / fps;
        self.swap_stage(at_s);
        let truth = self.draw_staged(frame, fps, planes);
        self.swap_stage(at_s);
        truth
    }

    fn draw_staged(&mut self, frame: u64, fps: f64, planes: &mut Planes) -> Vec<FaceTruth> {
        for (plane, background) in planes.iter_mut().zip(&self.background) {
            plane.clone_from(background);
        }
        let people = self.placed(frame, fps);
        let mut target = Target { width: self.width, height: self.height, planes };
        let mut next_occluder = 0;
        let mut order: Vec<usize> = (0..self.occluders.len()).collect();
        order.sort_by(|a, b| self.occluders[*b].depth.total_cmp(&self.occluders[*a].depth));
        // Far to near; what stands in the hall is put back in front of those behind it.
        for person in &people {
            while order.get(next_occluder).is_some_and(|&i| self.occluders[i].depth > person.standing.z) {
                next_occluder += 1;
            }
            shade_floor(&mut target, person.feet, person.place.scale);
            person.body.sprite().blit(person.place, &mut target);
            person.head.sprite().blit(person.place, &mut target);
            for &i in &order[next_occluder..] {
                restore(&mut target, &self.background, &self.occluders[i], person.reach());
            }
        }
        self.add_noise(frame, &mut planes[0]);
        people.iter().enumerate().filter_map(|(i, p)| self.truth_of(p, &people[i + 1..])).collect()
    }

    /// The heads in `frame`, whichever way they look and whether or not they can be seen: where a detector may find something that
    /// [`Self::draw`] says nothing of.
    pub fn heads(&mut self, frame: u64, fps: f64) -> Vec<BoundingBox> {
        let head = |p: Placed| {
            let Placement { x, y, scale } = p.place;
            BoundingBox { x0: x - 11.0 * scale, y0: y - 15.0 * scale, x1: x + 11.0 * scale, y1: y + 15.0 * scale }
        };
        self.placed(frame, fps).into_iter().map(head).collect()
    }

    /// Who is where in `frame`, farthest first.
    fn placed(&mut self, frame: u64, fps: f64) -> Vec<Placed> {
        let standing = self.traffic.standing(self.seed, self.time_s(frame, fps), &self.hall.view);
        standing.into_iter().filter_map(|s| self.place(s)).collect()
    }

    fn place(&mut self, standing: Standing) -> Option<Placed> {
        let member = &self.cast[standing.person];
        let bob = 2.2 * (standing.phase * 2.0 * std::f32::consts::TAU).cos();
        let head = self.hall.view.project(above(&standing, EYES * member.height + bob))?;
        let feet = self.hall.view.project(above(&standing, 0.0)).map_or((head.x, 1.0e5), |f| (f.x, f.y));
        let scale = self.hall.view.focal / head.z * member.height;
        let half = 60.0 * scale;
        if head.x < -half || head.x > self.width as f32 + half || head.y - 30.0 * scale > self.height as f32 {
            return None;
        }
        let [head_key, body_key] = keys(&standing);
        let place = Placement { x: head.x, y: head.y, scale };
        Some(Placed { standing, place, feet, head: self.drawn(head_key), body: self.drawn(body_key) })
    }

    fn drawn(&mut self, key: Key) -> Rc<Drawn> {
        if let Some(found) = self.sprites.get(&key) {
            return Rc::clone(found);
        }
        let drawn = self.older_sprites.remove(&key).unwrap_or_else(|| {
            Rc::new(match key {
                Key::Head(person, yaw) => Drawn::Head(Box::new(self.draw_head(&self.cast[person], yaw))),
                Key::Body(person, yaw, phase) => Drawn::Body(self.draw_body(&self.cast[person], yaw, phase)),
            })
        });
        if self.cached_bytes > CACHE_BYTES / 2 {
            self.older_sprites = std::mem::take(&mut self.sprites);
            self.cached_bytes = 0;
        }
        self.cached_bytes += drawn.sprite().size();
        self.sprites.insert(key, Rc::clone(&drawn));
        drawn
    }

    fn draw_head(&self, member: &Member, yaw_step: i32) -> HeadSprite {
        let yaw = yaw_step as f32 / YAW_STEPS * std::f32::consts::TAU;
        let scale = (self.hall.view.focal / 350.0).clamp(1.2, 7.0);
        let even = |cm: f32| ((cm * scale / 2.0).ceil() as usize) * 2;
        let (width, height) = (even(44.0), even(50.0));
        let centre = (width as f32 / 2.0, 20.0 * scale);
        let framing = Framing { width, height, scale, centre, distance: 420.0, oversample: 2 };
        let face = Face::new(member.identity.clone(), member.look.clone(), member.expression);
        // The camera hangs high: it sees faces a little from above.
        let pose = Pose { yaw, pitch: -0.13, roll: 0.0, body_yaw: yaw };
        let mut model = Model::new(face, pose, 0.24);
        let drawing = draw(&mut model, &self.lighting, framing, false);
        let cm = |p: Point| Point { x: (p.x - centre.0) / scale, y: (p.y - centre.1) / scale };
        let b = drawing.bounding_box;
        let (low, high) = (cm(Point { x: b.x0, y: b.y0 }), cm(Point { x: b.x1, y: b.y1 }));
        HeadSprite {
            sprite: Sprite::new(&drawing, scale, centre, 1.0),
            bounding_box: BoundingBox { x0: low.x, y0: low.y, x1: high.x, y1: high.y },
            landmarks: drawing.landmarks.map(cm),
        }
    }

    fn draw_body(&self, member: &Member, yaw_step: i32, phase_step: i32) -> Sprite {
        let yaw = yaw_step as f32 / BODY_STEPS * std::f32::consts::TAU;
        let scale = (self.hall.view.focal / 850.0).clamp(0.6, 3.0);
        let even = |cm: f32| ((cm * scale / 2.0).ceil() as usize) * 2;
        let (width, height) = (even(104.0), even(176.0));
        let centre = (width as f32 / 2.0, 6.0 * scale);
        let framing = Framing { width, height, scale, centre, distance: 900.0, oversample: 2 };
        let face = Face::new(member.identity.clone(), member.look.clone(), Expression::default());
        let mut meshes = body::meshes(&face, phase_step as f32 / PHASES, yaw);
        let region = Region { centre: vec3(0.0, -82.0, 0.0), reach: 92.0 };
        let drawing = draw_meshes(&mut meshes, &[], &face, &self.lighting, (framing, region, Part::Nothing));
        Sprite::new(&drawing, scale, centre, brightness_at(700.0))
    }

    fn truth_of(&self, person: &Placed, nearer: &[Placed]) -> Option<FaceTruth> {
        let Drawn::Head(head) = &*person.head else { return None };
        if person.standing.head_yaw.abs() > 1.5 {
            return None;
        }
        let Placement { x, y, scale } = person.place;
        let at = |p: Point| Point { x: x + p.x * scale, y: y + p.y * scale };
        let b = head.bounding_box;
        let (low, high) = (at(Point { x: b.x0, y: b.y0 }), at(Point { x: b.x1, y: b.y1 }));
        let bounding_box = BoundingBox { x0: low.x, y0: low.y, x1: high.x, y1: high.y };
        let (w, h) = (self.width as f32, self.height as f32);
        let seen = |p: &Point| {
            let in_picture = p.x >= 0.0 && p.y >= 0.0 && p.x < w && p.y < h;
            let covered = nearer.iter().any(|n| [&n.body, &n.head].iter().any(|d| d.sprite().cover_at(n.place, p.x, p.y) > 127));
            in_picture && !covered && !self.is_behind_something(p, person.standing.z)
        };
        let visible = sample_points(&bounding_box).filter(seen).count() as f32 / f32::from(SAMPLES);
        if visible <= 0.0 {
            return None;
        }
        let middle = bounding_box.centre();
        let normalised = [f64::from(middle.x / w), f64::from(middle.y / h)];
        let area = self.areas.iter().find(|a| a.contains(normalised));
        let member = &self.cast[person.standing.person];
        Some(FaceTruth {
            identity: identity_name(member.identity.seed),
            landmarks: head.landmarks.map(at),
            mask: member.look.mask.is_some(),
            yaw_deg: person.standing.head_yaw.to_degrees(),
            visible,
            area: area.map(|a| a.name.clone()),
            inside: self.areas.iter().map(|a| a.share_of(&bounding_box, f64::from(w), f64::from(h))).fold(0.0, f32::max),
            bounding_box,
            distance_cm: self.hall.view.focal / scale,
        })
    }

    fn is_behind_something(&self, p: &Point, z: f32) -> bool {
        let (x, y) = (p.x as usize, p.y as usize);
        self.occluders.iter().filter(|o| o.depth <= z).any(|o| o.spans.iter().any(|s| s.0 == y && (s.1..s.2).contains(&x)))
    }

    /// The sensor's noise: one tile, shifted from frame to frame.
    fn add_noise(&self, frame: u64, luma: &mut [u8]) {
        let mut r = Random::new(self.seed ^ frame, "frame");
        let (dx, dy) = (r.below(NOISE_TILE), r.below(NOISE_TILE));
        for (y, row) in luma.chunks_exact_mut(self.width).enumerate() {
            let tile = &self.noise[(y + dy) % NOISE_TILE * NOISE_TILE..][..NOISE_TILE];
            let (head, rest) = row.split_at_mut((NOISE_TILE - dx).min(self.width));
            add(head, &tile[dx..]);
            rest.chunks_mut(NOISE_TILE).for_each(|part| add(part, tile));
        }
    }
}

const NOISE_TILE: usize = 256;

fn add(to: &mut [u8], noise: &[i8]) {
    for (pixel, n) in to.iter_mut().zip(noise) {
        *pixel = pixel.saturating_add_signed(*n);
    }
}

/// The name under which an identity appears in truth and folders.
pub fn identity_name(seed: u64) -> String {
    format!("rendered-{seed:016x}")
}

/// A person on stage in one frame.
struct Placed {
    standing: Standing,
    place: Placement,
    /// Where the soles are in the picture.
    feet: (f32, f32),
    head: Rc<Drawn>,
    body: Rc<Drawn>,
}

impl Placed {
    /// Columns and rows that the person may cover.
    fn reach(&self) -> [f32; 4] {
        let Placement { x, y, scale } = self.place;
        [x - 54.0 * scale, y - 22.0 * scale, x + 54.0 * scale, y + 178.0 * scale]
    }
}

fn keys(standing: &Standing) -> [Key; 2] {
    let step = |angle: f32, steps: f32| (angle / std::f32::consts::TAU * steps).round() as i32;
    let phase = (standing.phase * PHASES) as i32 % PHASES as i32;
    [Key::Head(standing.person, step(standing.head_yaw, YAW_STEPS)), Key::Body(standing.person, step(standing.body_yaw, BODY_STEPS), phase)]
}

impl Member {
    fn draw(scene_seed: u64, index: usize, masked: f32) -> Self {
        let mut r = Random::new(scene_seed.wrapping_add((index as u64) << 20), "cast");
        let identity = Identity::from_seed(r.draw());
        let look = Look::of(&identity, 0);
        let look = if r.chance(masked) { look.with_mask(&mut r) } else { look };
        let expression =
            Expression { smile: r.around(0.1, 0.3), blink: r.within(0.0, 0.2), gaze: (r.around(0.0, 0.1), 0.0), ..Expression::default() };
        let height = r.around(0.985 + 0.05 * (identity.robustness - 0.5), 0.03);
        Self { identity, look, expression, height }
    }
}

/// A soft shadow under the feet.
fn shade_floor(target: &mut Target, feet: (f32, f32), scale: f32) {
    let (rx, ry) = (38.0 * scale, 13.0 * scale);
    let (w, h) = (target.width as f32, target.height as f32);
    let (y0, y1) = ((feet.1 - ry).clamp(0.0, h) as usize, (feet.1 + ry).clamp(0.0, h) as usize);
    for y in y0..y1 {
        let v = (y as f32 + 0.5 - feet.1) / ry;
        let half = rx * (1.0 - v * v).max(0.0).sqrt();
        let (x0, x1) = ((feet.0 - half).clamp(0.0, w) as usize, (feet.0 + half).clamp(0.0, w) as usize);
        for x in x0..x1 {
            let u = (x as f32 + 0.5 - feet.0) / rx;
            let pixel = &mut target.planes[0][y * target.width + x];
            let dark = 1.0 - 0.45 * (1.0 - u * u - v * v).max(0.0);
            *pixel = (16.0 + (f32::from(*pixel) - 16.0) * dark) as u8;
        }
    }
}

/// Copies the occluder's pixels back from the background, where the person may have covered them.
fn restore(target: &mut Target, background: &Planes, occluder: &Occluder, [x0, y0, x1, y1]: [f32; 4]) {
    let columns = (x0.max(0.0) as usize, x1.clamp(0.0, target.width as f32) as usize);
    for &(y, from, to) in &occluder.spans {
        let (from, to) = (from.max(columns.0), to.min(columns.1));
        if from >= to || (y as f32) < y0 || y as f32 > y1 {
            continue;
        }
        let row = y * target.width;
        target.planes[0][row + from..row + to].copy_from_slice(&background[0][row + from..row + to]);
        let half = (y / 2) * (target.width / 2);
        let (a, b) = (half + from / 2, half + to.div_ceil(2));
        for plane in [1, 2] {
            target.planes[plane][a..b].copy_from_slice(&background[plane][a..b]);
        }
    }
}

#[cfg(test)]
mod tests;
