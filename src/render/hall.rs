//! The empty hall: floor, walls, pillars, gates, lamps and the sign, traced once per scene, and what in it can hide a person.
//!
//! Hall coordinates are centimetres: x to the picture's right, y up from the floor, z away from the camera, which stands at
//! (0, `View::height`, 0) and looks down by `View::pitch`.

use super::picture::tone;
use super::random::{noise, rough};
use super::sprite::{Planes, to_ycbcr};
use super::vector::{Vec3, mix, smoothstep, vec3};

/// The camera on the wall.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Even, pixels.
    pub width: usize,
    pub height: usize,
    /// Pixels.
    pub focal: f32,
    /// Above the floor, cm.
    pub above: f32,
    /// Radians downwards.
    pub pitch: f32,
    /// Pixels by which everything lies further to the left than it would: a small turn to the right.
    pub pan: f32,
}

impl View {
    /// (x, y) in pixels and depth in cm; `None` behind the camera.
    pub fn project(&self, p: Vec3) -> Option<Vec3> {
        let (s, c) = self.pitch.sin_cos();
        let d = vec3(p.x, p.y - self.above, p.z);
        let depth = d.z * c - d.y * s;
        let up = d.y * c + d.z * s;
        (depth > 20.0).then(|| {
            let k = self.focal / depth;
            vec3(self.width as f32 * 0.5 - self.pan + d.x * k, self.height as f32 * 0.5 - up * k, depth)
        })
    }

    fn ray(&self, x: f32, y: f32) -> Vec3 {
        let (s, c) = self.pitch.sin_cos();
        let (right, up) = ((x + self.pan - self.width as f32 * 0.5) / self.focal, (self.height as f32 * 0.5 - y) / self.focal);
        vec3(right, up * c - s, up * s + c).normalised()
    }
}

/// What a solid looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Paint {
    Plain(Vec3),
    Door,
    Poster(u32),
    Display,
    Sign,
    Gate,
    Lamp,
}

#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Two opposite corners.
    Block(Vec3, Vec3),
    /// Axis (x, z), radius, height.
    Pillar(f32, f32, f32, f32),
}

#[derive(Clone, Copy, Debug)]
pub struct Solid {
    pub shape: Shape,
    pub paint: Paint,
}

/// A room and what stands in it.
#[derive(Clone, Debug)]
pub struct Hall {
    pub view: View,
    pub half_width: f32,
    pub ceiling: f32,
    pub depth: f32,
    pub solids: Vec<Solid>,
    /// The area's rectangle on the floor: x from, z from, x to, z to.
    pub area: [f32; 4],
    pub floor: Vec3,
    pub wall: Vec3,
    pub seed: u32,
    /// The sign's code: rows of dark (true) and light modules.
    pub code: Vec<Vec<bool>>,
    /// A sheet hangs over the sign.
    pub covered: bool,
}

/// Pixels of the background that hide what is further away than `depth`, cm.
pub struct Occluder {
    pub depth: f32,
    /// (row, from column, to column).
    pub spans: Vec<(usize, usize, usize)>,
}

struct Hit {
    at: f32,
    normal: Vec3,
    solid: Option<usize>,
}

impl Hall {
    fn trace(&self, from: Vec3, ray: Vec3) -> Hit {
        let inverse = ray.map(|r| 1.0 / r);
        let mut best = Hit { at: 1.0e6, normal: vec3(0.0, 1.0, 0.0), solid: None };
        let mut plane = |distance: f32, normal: Vec3| {
            if distance > 0.1 && distance < best.at {
                best = Hit { at: distance, normal, solid: None };
            }
        };
        plane(-from.y / ray.y, vec3(0.0, 1.0, 0.0));
        plane((self.ceiling - from.y) / ray.y, vec3(0.0, -1.0, 0.0));
        plane((self.half_width - from.x) / ray.x, vec3(-1.0, 0.0, 0.0));
        plane((-self.half_width - from.x) / ray.x, vec3(1.0, 0.0, 0.0));
        plane((self.depth - from.z) / ray.z, vec3(0.0, 0.0, -1.0));
        for (i, solid) in self.solids.iter().enumerate() {
            if let Some((at, normal)) = solid.shape.hit(from, ray, inverse).filter(|h| h.0 < best.at) {
                best = Hit { at, normal, solid: Some(i) };
            }
        }
        best
    }

    /// The light that comes along `ray`, and the solid it comes from.
    fn colour(&self, from: Vec3, ray: Vec3, mirrors: bool) -> (Vec3, Option<usize>) {
        let hit = self.trace(from, ray);
        let p = from + ray * hit.at;
        let (albedo, glow, polish) = match hit.solid {
            Some(i) => self.paint_of(self.solids[i], p, hit.normal),
            None => self.room_paint(p, hit.normal),
        };
        let mut colour = albedo * self.light(p, hit.normal) + glow;
        if mirrors && polish > 0.0 {
            let mirrored = ray - hit.normal * (2.0 * ray.dot(hit.normal));
            let grazing = polish * (0.25 + 0.75 * (1.0 - hit.normal.dot(-ray).abs()).powi(3));
            colour = colour.mix(self.colour(p + hit.normal * 0.5, mirrored, false).0, grazing);
        }
        (colour, hit.solid)
    }

    fn room_paint(&self, p: Vec3, normal: Vec3) -> (Vec3, Vec3, f32) {
        if normal.y > 0.5 {
            return (self.floor_paint(p), Vec3::ZERO, 0.3);
        }
        if normal.y < -0.5 {
            let joint = (p.x / 120.0).rem_euclid(1.0) < 0.015 || (p.z / 120.0).rem_euclid(1.0) < 0.015;
            return (Vec3::splat(if joint { 0.45 } else { 0.62 }), Vec3::ZERO, 0.0);
        }
        let along = if normal.x.abs() > 0.5 { p.z } else { p.x };
        let joint = (along / 160.0).rem_euclid(1.0) < 0.012 || (p.y / 130.0).rem_euclid(1.0) < 0.012;
        let skirting = p.y < 14.0;
        let shade = 1.0 + 0.05 * noise(vec3((along / 160.0).floor(), (p.y / 130.0).floor(), 2.0) * 1.7, self.seed);
        let colour = if skirting {
            self.wall * 0.3
        } else if joint {
            self.wall * 0.7
        } else {
            self.wall * shade
        };
        (colour, Vec3::ZERO, 0.04)
    }

    fn floor_paint(&self, p: Vec3) -> Vec3 {
        let tile = 60.0;
        let (tx, tz) = (p.x / tile, p.z / tile);
        let joint = tx.rem_euclid(1.0) < 0.02 || tz.rem_euclid(1.0) < 0.02;
        let own = noise(vec3(tx.floor() * 1.37, 0.0, tz.floor() * 1.91), self.seed);
        let grain = rough(vec3(p.x * 0.12, 0.0, p.z * 0.12), self.seed ^ 3);
        let stone = self.floor * (1.0 + 0.07 * own + 0.06 * grain);
        // The border of the area on the floor.
        let [x0, z0, x1, z1] = self.area;
        let out = (x0 - p.x).max(p.x - x1).max(z0 - p.z).max(p.z - z1);
        if out.abs() < 5.0 {
            return vec3(0.55, 0.38, 0.03);
        }
        if joint { stone * 0.62 } else { stone }
    }

    fn paint_of(&self, solid: Solid, p: Vec3, normal: Vec3) -> (Vec3, Vec3, f32) {
        let (u, v) = solid.shape.place(p);
        match solid.paint {
            Paint::Plain(colour) => (colour * (1.0 + 0.04 * noise(p * 0.05, self.seed)), Vec3::ZERO, 0.05),
            Paint::Door => {
                let frame = u.min(1.0 - u) < 0.05 || (u - 0.5).abs() < 0.02 || v > 0.95;
                (if frame { Vec3::splat(0.25) } else { vec3(0.05, 0.065, 0.07) }, Vec3::ZERO, if frame { 0.1 } else { 0.45 })
            }
            Paint::Poster(seed) => {
                let border = u.min(1.0 - u).min(v.min(1.0 - v)) < 0.04;
                let blob = rough(vec3(u * 2.5, v * 3.5, 1.0), seed);
                let base = vec3(0.15 + 0.3 * blob.abs(), 0.12 + 0.25 * v, 0.3 - 0.2 * blob);
                let band = (0.1..0.22).contains(&v) || (v * 40.0).fract() > 0.5 && (0.25..0.33).contains(&v) && u < 0.7;
                let paper = if band { Vec3::splat(0.75) } else { base.map(|c| c.max(0.03)) };
                (if border { Vec3::splat(0.2) } else { paper }, Vec3::ZERO, 0.06)
            }
            Paint::Display => {
                let line = (v * 9.0).fract() > 0.45;
                let word = noise(vec3(u * 26.0, (v * 9.0).floor() * 3.1, 4.0), self.seed) > -0.1 && u > 0.05 && u < 0.93;
                let lit = line && word && normal.z < -0.5;
                (Vec3::splat(0.015), if lit { vec3(0.75, 0.5, 0.08) } else { vec3(0.004, 0.006, 0.012) }, 0.05)
            }
            Paint::Sign => (self.sign_paint(u, v, normal), Vec3::ZERO, 0.0),
            Paint::Gate => {
                let top = normal.y > 0.5;
                let light = top && (0.35..0.65).contains(&u) && (0.1..0.3).contains(&v);
                let steel = Vec3::splat(if top { 0.12 } else { 0.4 });
                (steel, if light { vec3(0.05, 0.7, 0.15) } else { Vec3::ZERO }, 0.12)
            }
            Paint::Lamp => (Vec3::splat(0.5), Vec3::splat(1.6), 0.0),
        }
    }

    /// White board: a blue head with a camera on it, lines of text, the code.
    fn sign_paint(&self, u: f32, v: f32, normal: Vec3) -> Vec3 {
        if normal.z > -0.5 {
            return Vec3::splat(0.18);
        }
        if self.covered {
            return vec3(0.3, 0.27, 0.2);
        }
        let down = 1.0 - v;
        let (white, blue, ink) = (Vec3::splat(0.8), vec3(0.01, 0.07, 0.32), Vec3::splat(0.02));
        if u.min(1.0 - u) < 0.02 || down.min(1.0 - down) < 0.012 {
            return Vec3::splat(0.12);
        }
        if down < 0.26 {
            let body = (u - 0.46).abs() < 0.15 && (down - 0.14).abs() < 0.055;
            let lens = u > 0.61 && u < 0.7 && (down - 0.14).abs() < 0.02 + 0.35 * (u - 0.61);
            return if body || lens { white } else { blue };
        }
        if down < 0.46 {
            let line = ((down - 0.28) * 24.0).fract() < 0.5;
            let word = noise(vec3(u * 22.0, ((down - 0.28) * 24.0).floor() * 5.3, 7.0), 11) > -0.35;
            return if line && word && (0.08..0.9).contains(&u) { ink } else { white };
        }
        // The board is 3 wide by 4 high; the code is a square with a quiet border.
        let (cu, cv) = ((u - 0.19) / 0.62, (down - 0.495) / 0.465);
        let modules = self.code.len();
        if modules > 0 && (0.0..1.0).contains(&cu) && (0.0..1.0).contains(&cv) {
            let (row, column) = ((cv * modules as f32) as usize, (cu * modules as f32) as usize);
            let dark = self.code.get(row).and_then(|r| r.get(column)).copied().unwrap_or(false);
            return if dark { ink } else { white };
        }
        white
    }

    fn light(&self, p: Vec3, normal: Vec3) -> Vec3 {
        let mut sum = Vec3::splat(0.34 + 0.1 * normal.y.max(0.0));
        for solid in self.solids.iter().filter(|s| s.paint == Paint::Lamp) {
            let Shape::Block(a, b) = solid.shape else { continue };
            let to = a.mix(b, 0.5) - p;
            let distance = to.length().max(60.0);
            let facing = to.dot(normal).max(0.0) / distance;
            let spread = (-to.y / distance).abs().max(0.2);
            sum += vec3(1.0, 0.97, 0.9) * (3.2e4 * facing * spread / (distance * distance));
        }
        // Corners are darker.
        let near = |d: f32| if d > 180.0 { 1.0 } else { 1.0 - 0.32 * (-d.max(0.0) / 35.0).exp() };
        let mut open = 1.0;
        if normal.y.abs() < 0.5 {
            open *= near(p.y);
        } else if normal.y > 0.5 {
            open *= near(self.half_width - p.x.abs()) * near(self.depth - p.z);
            for solid in &self.solids {
                if solid.paint != Paint::Lamp && p.y < 1.0 {
                    open *= near(solid.shape.floor_distance(p));
                }
            }
        }
        sum * open
    }

    /// The empty hall as I420, and what of it hides people; `None` as soon as `stop` says so, which is asked for every row.
    pub fn draw(&self, stop: &dyn Fn() -> bool) -> Option<(Planes, Vec<Occluder>)> {
        let View { width, height, .. } = self.view;
        let eye = vec3(0.0, self.view.above, 0.0);
        let sample = |x: usize, y: usize, dx: f32, dy: f32| self.colour(eye, self.view.ray(x as f32 + dx, y as f32 + dy), true);
        let code = |c: Vec3| to_ycbcr([tone(c.x), tone(c.y), tone(c.z)]);
        let mut first: Vec<(Vec3, Option<usize>)> = Vec::with_capacity(width * height);
        for y in 0..height {
            if stop() {
                return None;
            }
            first.extend((0..width).map(|x| sample(x, y, 0.5, 0.5)));
        }
        let mut coded: Vec<[f32; 3]> = first.iter().map(|f| code(f.0)).collect();
        // Where neighbours differ there is an edge, which more samples make smooth.
        let luma: Vec<f32> = coded.iter().map(|p| p[0]).collect();
        for y in 1..height - 1 {
            if stop() {
                return None;
            }
            for x in 1..width - 1 {
                let i = y * width + x;
                if [1, width].iter().any(|o| (luma[i + o] - luma[i]).abs().max((luma[i - o] - luma[i]).abs()) > 5.0) {
                    let four = [(0.2, 0.4), (0.6, 0.2), (0.8, 0.6), (0.4, 0.8)].map(|(dx, dy)| sample(x, y, dx, dy).0);
                    coded[i] = code((four[0] + four[1] + four[2] + four[3]) * 0.25);
                }
            }
        }
        let byte = |v: f32| (v + 0.5).clamp(0.0, 255.0) as u8;
        let luma = coded.iter().map(|p| byte(p[0])).collect();
        let chroma = |c: usize| -> Vec<u8> {
            let blocks = (0..height).step_by(2).flat_map(|y| (0..width).step_by(2).map(move |x| y * width + x));
            blocks.map(|i| byte([0, 1, width, width + 1].iter().map(|o| coded[i + o][c]).sum::<f32>() / 4.0)).collect()
        };
        Some(([luma, chroma(1), chroma(2)], self.occluders(&first)))
    }

    fn occluders(&self, seen: &[(Vec3, Option<usize>)]) -> Vec<Occluder> {
        let View { width, height, .. } = self.view;
        let stands = |s: &Solid| !matches!(s.paint, Paint::Lamp | Paint::Door | Paint::Poster(_) | Paint::Display);
        let mut found: Vec<Occluder> = self.solids.iter().map(|s| Occluder { depth: s.shape.depth(), spans: Vec::new() }).collect();
        for y in 0..height {
            let mut open: Option<(usize, usize)> = None;
            for x in 0..=width {
                let solid = if x < width { seen[y * width + x].1 } else { None };
                let solid = solid.filter(|&i| stands(&self.solids[i]));
                if open.map(|o| o.0) != solid {
                    if let Some((i, from)) = open {
                        found[i].spans.push((y, from, x));
                    }
                    open = solid.map(|i| (i, x));
                }
            }
        }
        found.retain(|o| !o.spans.is_empty());
        found
    }

    /// Moves the sign to the right, with the feet that it stands on, cm.
    pub fn move_sign(&mut self, by: f32) {
        let Some(at) = self.solids.iter().position(|s| s.paint == Paint::Sign) else { return };
        for solid in self.solids.iter_mut().skip(at).take(3) {
            if let Shape::Block(low, high) = &mut solid.shape {
                (low.x, high.x) = (low.x + by, high.x + by);
            }
        }
    }

    /// Corners of the sign's code in the picture, clockwise from the top left; `None` without a sign in view.
    pub fn code_corners(&self) -> Option<[(f32, f32); 4]> {
        let sign = self.solids.iter().find(|s| s.paint == Paint::Sign)?;
        let Shape::Block(low, high) = sign.shape else { return None };
        let corner = |u: f32, down: f32| {
            let p = vec3(mix(low.x, high.x, u), mix(high.y, low.y, down), low.z);
            self.view.project(p).map(|q| (q.x, q.y))
        };
        let (u0, u1, v0, v1) = (0.19, 0.81, 0.495, 0.96);
        Some([corner(u0, v0)?, corner(u1, v0)?, corner(u1, v1)?, corner(u0, v1)?])
    }
}

impl Shape {
    fn hit(&self, from: Vec3, ray: Vec3, inverse: Vec3) -> Option<(f32, Vec3)> {
        match *self {
            Self::Block(low, high) => {
                let (a, b) = ((low - from) * inverse, (high - from) * inverse);
                let (first, last) = (vec3(a.x.min(b.x), a.y.min(b.y), a.z.min(b.z)), vec3(a.x.max(b.x), a.y.max(b.y), a.z.max(b.z)));
                let enter = first.x.max(first.y).max(first.z);
                if enter < 0.1 || enter >= last.x.min(last.y).min(last.z) {
                    return None;
                }
                let normal = if enter == first.x {
                    vec3(-ray.x.signum(), 0.0, 0.0)
                } else if enter == first.y {
                    vec3(0.0, -ray.y.signum(), 0.0)
                } else {
                    vec3(0.0, 0.0, -ray.z.signum())
                };
                Some((enter, normal))
            }
            Self::Pillar(x, z, radius, height) => {
                let (fx, fz) = (from.x - x, from.z - z);
                let a = ray.x * ray.x + ray.z * ray.z;
                let b = fx * ray.x + fz * ray.z;
                let inside = b * b - a * (fx * fx + fz * fz - radius * radius);
                let at = (-b - inside.max(0.0).sqrt()) / a;
                let y = from.y + ray.y * at;
                let normal = vec3(fx + ray.x * at, 0.0, fz + ray.z * at).normalised();
                (inside > 0.0 && at > 0.1 && (0.0..height).contains(&y)).then_some((at, normal))
            }
        }
    }

    /// (across, up) in 0…1.
    fn place(&self, p: Vec3) -> (f32, f32) {
        match *self {
            Self::Block(low, high) => {
                let share = |v: f32, l: f32, h: f32| ((v - l) / (h - l)).clamp(0.0, 1.0);
                let across = if high.x - low.x > high.z - low.z { share(p.x, low.x, high.x) } else { share(p.z, low.z, high.z) };
                (across, share(p.y, low.y, high.y))
            }
            Self::Pillar(_, _, _, height) => (0.5, p.y / height),
        }
    }

    fn floor_distance(&self, p: Vec3) -> f32 {
        match *self {
            Self::Block(low, _) if low.y > 10.0 => 1.0e4,
            Self::Block(low, high) => {
                let (dx, dz) = ((low.x - p.x).max(p.x - high.x).max(0.0), (low.z - p.z).max(p.z - high.z).max(0.0));
                (dx * dx + dz * dz).sqrt()
            }
            Self::Pillar(x, z, radius, _) => (vec3(p.x - x, 0.0, p.z - z).length() - radius).max(0.0),
        }
    }

    /// Distance from the camera along the hall at which it begins to hide.
    fn depth(&self) -> f32 {
        match *self {
            Self::Block(low, high) => mix(low.z, high.z, 0.5),
            Self::Pillar(_, z, ..) => z,
        }
    }
}

/// A stand-in for a sign's code: three finders and a pattern from `seed`. No reader understands it.
pub fn placeholder_code(seed: u64) -> Vec<Vec<bool>> {
    let mut r = super::random::Random::new(seed, "code");
    let n = 25_usize;
    let finder = |x: usize, y: usize| {
        let ring = (x.abs_diff(3)).max(y.abs_diff(3));
        (ring <= 4).then_some(ring == 3 || ring <= 1)
    };
    let cell = |x: usize, y: usize, chance: bool| {
        let corners =
            [finder(x, y), if x >= n - 8 { finder(n - 1 - x, y) } else { None }, if y >= n - 8 { finder(x, n - 1 - y) } else { None }];
        let near = [x < 8 && y < 8, x >= n - 8 && y < 8, x < 8 && y >= n - 8];
        corners.iter().zip(near).find_map(|(c, n)| if n { *c } else { None }).unwrap_or(chance)
    };
    (0..n).map(|y| (0..n).map(|x| cell(x, y, r.chance(0.5))).collect()).collect()
}

/// Light and dark of the hall's lamps at a place, relative to the brightest.
pub fn brightness_at(z: f32) -> f32 {
    mix(1.0, 0.82, smoothstep(300.0, 1_600.0, z))
}
