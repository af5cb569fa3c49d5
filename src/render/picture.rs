//! One head as a picture: drawn large, shaded pixel by pixel, scaled down, with its truth.

use super::head::face::Face;
use super::head::hair;
use super::head::model::Model;
use super::head::paint::{Surface, surface};
use super::light::{Lighting, Shadow, light_from_around};
use super::raster::{Camera, Canvas, Mesh, Part, Seen};
use super::vector::{Vec3, mix, vec3};
use crate::frame::{BoundingBox, Landmarks, Point};

/// Linear colour and how much of the pixel is covered, row by row.
#[derive(Clone)]
pub struct Drawing {
    pub width: usize,
    pub height: usize,
    /// Multiplied by `cover`.
    pub colours: Vec<Vec3>,
    pub cover: Vec<f32>,
    pub bounding_box: BoundingBox,
    pub landmarks: Landmarks,
}

/// Size and framing of a drawing.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    pub width: usize,
    pub height: usize,
    /// Pixels per cm of the finished drawing.
    pub scale: f32,
    /// Where the point between the ears falls, pixels.
    pub centre: (f32, f32),
    /// Distance of the camera, cm.
    pub distance: f32,
    /// Each pixel is drawn as this many by this many.
    pub oversample: usize,
}

/// What the light is worked out for: a ball around the drawn thing.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub centre: Vec3,
    pub reach: f32,
}

/// Head and shoulders.
pub const BUST: Region = Region { centre: vec3(0.0, -4.0, 0.0), reach: 22.0 };

/// Draws `model`, with its shoulders or only the head and neck that stand out of them.
pub fn draw(model: &mut Model, lighting: &Lighting, framing: Framing, shoulders: bool) -> Drawing {
    let left_out = if shoulders { Part::Nothing } else { Part::Cloth };
    let mut drawing = draw_meshes(&mut model.meshes, &model.lenses, &model.face, lighting, (framing, BUST, left_out));
    drawing.find_truth(model, &framing.camera(1));
    drawing
}

/// Draws `meshes` of the person of `face`; what is made of the part left out hides what is behind it but is not drawn itself.
pub fn draw_meshes(
    meshes: &mut [Mesh],
    lenses: &[Mesh],
    face: &Face,
    lighting: &Lighting,
    (framing, region, left_out): (Framing, Region, Part),
) -> Drawing {
    let keep = |part: Part, base: Vec3| match part {
        Part::Skin => !face.in_eye_opening(base) && !face.in_mouth_opening(base),
        Part::Hair | Part::Scarf if base.z < 25.0 => hair::kept(face, base),
        _ => true,
    };
    light_from_around(meshes, lighting, region.centre, region.reach, &keep);
    let shadow = Shadow::new(meshes, lighting, region.centre, region.reach, &keep);
    let n = framing.oversample.max(1);
    let camera = framing.camera(n);
    let mut canvas = Canvas::new(framing.width * n, framing.height * n);
    for mesh in meshes.iter() {
        canvas.draw(mesh, &camera, &keep);
    }
    let glass = lens_cover(lenses, &camera, &canvas);
    let shader = Shader { face, lighting, shadow: &shadow, eye: vec3(0.0, 0.0, framing.distance) };
    let mut drawing = Drawing::empty(framing);
    let share = 1.0 / (n * n) as f32;
    for (i, seen) in canvas.pixels.iter().enumerate() {
        if seen.part == Part::Nothing || seen.part == left_out {
            continue;
        }
        let mut colour = shader.shade(seen);
        if let Some(normal) = glass.get(i).copied().flatten() {
            colour = shader.behind_lens(colour, normal, seen.position);
        }
        let (x, y) = (i % canvas.width / n, i / canvas.width / n);
        let at = y * framing.width + x;
        drawing.colours[at] += colour * share;
        drawing.cover[at] += share;
    }
    drawing
}

impl Framing {
    fn camera(&self, oversample: usize) -> Camera {
        let k = oversample as f32;
        Camera { distance: self.distance, scale: self.scale * k, centre: (self.centre.0 * k, self.centre.1 * k) }
    }
}

/// The lens's normal at each pixel that is seen through one.
fn lens_cover(lenses: &[Mesh], camera: &Camera, canvas: &Canvas) -> Vec<Option<Vec3>> {
    if lenses.is_empty() {
        return Vec::new();
    }
    let mut glass = Canvas::new(canvas.width, canvas.height);
    for mesh in lenses {
        glass.draw(mesh, camera, &|_, _| true);
    }
    let seen = glass.pixels.iter().zip(&canvas.pixels);
    seen.map(|(lens, behind)| (lens.part == Part::Lens && lens.nearness > behind.nearness).then_some(lens.normal)).collect()
}

struct Shader<'a> {
    face: &'a Face,
    lighting: &'a Lighting,
    shadow: &'a Shadow,
    eye: Vec3,
}

impl Shader<'_> {
    fn shade(&self, seen: &Seen) -> Vec3 {
        let Surface { colour, gloss, shine, scatter, open, rough } = surface(self.face, seen.part, seen.base);
        let view = (self.eye - seen.position).normalised();
        let mut normal = seen.normal.normalised();
        if normal.dot(view) < 0.0 {
            normal = -normal;
        }
        let normal = (normal + rough).normalised();
        let key = self.lighting.key;
        let facing = normal.dot(key);
        let lit = self.shadow.lit(seen.position);
        // Light wanders in skin: red furthest, so the border to the shadow is reddish.
        let wrap = vec3(0.34, 0.14, 0.09) * scatter;
        let wrapped = wrap.map(|w| ((facing + w) / (1.0 + w)).clamp(0.0, 1.0));
        let half = (key + view).normalised();
        let grazing = 0.35 + 0.65 * (1.0 - normal.dot(view).clamp(0.0, 1.0)).powi(3);
        let spot = normal.dot(half).max(0.0).powf(shine) * (shine + 8.0) / 26.0;
        let highlight = gloss * grazing * spot * lit * facing.max(0.0).sqrt();
        let creased = open * mix(open, 1.0, 0.35);
        let around = seen.ambient * creased;
        let direct = self.lighting.key_colour * wrapped * (lit * mix(open, 1.0, 0.25));
        let sheen = around * (gloss * 0.5 * (1.0 - normal.dot(view).clamp(0.0, 1.0)).powi(4));
        let mut out = colour * (direct + around) + self.lighting.key_colour * highlight + sheen;
        if matches!(seen.part, Part::LeftEye | Part::RightEye) {
            out += self.glint(normal, view) * open;
        }
        out
    }

    /// A window's reflection in the wet eye.
    fn glint(&self, normal: Vec3, view: Vec3) -> Vec3 {
        let mirrored = normal * (2.0 * normal.dot(view)) - view;
        let towards = (self.lighting.key * 0.6 + vec3(0.0, 0.55, 0.8)).normalised();
        let strength = ((mirrored.dot(towards) - 0.982) * 70.0).clamp(0.0, 1.0);
        (self.lighting.key_colour + self.lighting.sky) * (0.45 * strength)
    }

    fn behind_lens(&self, colour: Vec3, normal: Vec3, at: Vec3) -> Vec3 {
        let tint = self.face.look.glasses.as_ref().map_or(0.0, |g| g.tint);
        let view = (self.eye - at).normalised();
        let normal = if normal.dot(view) < 0.0 { -normal.normalised() } else { normal.normalised() };
        let mirrored = normal * (2.0 * normal.dot(view)) - view;
        let sky = self.lighting.sky * (0.05 * (mirrored.y * 2.0 + 0.15 * (at.x * 0.8 + at.y).sin()).clamp(0.0, 1.0));
        colour * (0.95 * (1.0 - tint)) + sky * (1.0 + 2.0 * tint) + Vec3::splat(0.008)
    }
}

impl Drawing {
    fn empty(framing: Framing) -> Self {
        let pixels = framing.width * framing.height;
        Self {
            width: framing.width,
            height: framing.height,
            colours: vec![Vec3::ZERO; pixels],
            cover: vec![0.0; pixels],
            bounding_box: BoundingBox::default(),
            landmarks: Landmarks::default(),
        }
    }

    fn find_truth(&mut self, model: &Model, camera: &Camera) {
        let at = |p: Vec3| {
            let q = camera.project(p);
            Point { x: q.x, y: q.y }
        };
        self.landmarks = model.landmarks.map(at);
        let start = BoundingBox { x0: f32::MAX, y0: f32::MAX, x1: f32::MIN, y1: f32::MIN };
        self.bounding_box = model.outline.iter().map(|p| at(*p)).fold(start, |b, p| BoundingBox {
            x0: b.x0.min(p.x),
            y0: b.y0.min(p.y),
            x1: b.x1.max(p.x),
            y1: b.y1.max(p.y),
        });
    }
}

/// Linear light → an 8-bit sRGB value, with a soft shoulder.
pub fn tone(linear: f32) -> u8 {
    let bright = linear.max(0.0);
    let soft = if bright > 0.6 { 0.6 + 0.4 * (1.0 - (-(bright - 0.6) / 0.4).exp()) } else { bright };
    let coded = if soft < 0.003_130_8 { 12.92 * soft } else { 1.055 * soft.powf(1.0 / 2.4) - 0.055 };
    (coded * 255.0 + 0.5).clamp(0.0, 255.0) as u8
}
