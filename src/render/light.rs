//! Light: a key light that casts shadows, and a dome of soft light that reaches as far into every hollow as the hollow is open.
//!
//! Openness is found by looking at the meshes from each direction of the dome (a small map of the nearest points); shadows likewise, with
//! a finer map. Directions point towards the light. Colours are linear.

use super::random::Random;
use super::raster::{Keep, Mesh};
use super::vector::{Vec3, mix, smoothstep, vec3};

#[derive(Clone, Debug)]
pub struct Lighting {
    pub key: Vec3,
    pub key_colour: Vec3,
    /// 0 hard … 1 soft.
    pub softness: f32,
    /// Radiance from above, from the horizon ahead, from behind and from the floor.
    pub sky: Vec3,
    pub front: Vec3,
    pub back: Vec3,
    pub floor: Vec3,
}

/// A warm to cold white of brightness 1.
pub fn white(warmth: f32) -> Vec3 {
    vec3(1.0 + 0.22 * warmth, 1.0, 1.0 - 0.3 * warmth)
}

impl Lighting {
    /// As a good photograph of a portrait is lit.
    pub fn studio() -> Self {
        Self {
            key: vec3(-0.45, 0.55, 0.75).normalised(),
            key_colour: Vec3::splat(0.95),
            softness: 0.7,
            sky: Vec3::splat(0.5),
            front: Vec3::splat(0.4),
            back: Vec3::splat(0.25),
            floor: Vec3::splat(0.2),
        }
    }

    /// Ceiling lamps of a hall.
    pub fn hall() -> Self {
        Self {
            key: vec3(-0.25, 0.72, 0.6).normalised(),
            key_colour: vec3(0.74, 0.72, 0.67),
            softness: 1.0,
            sky: vec3(0.85, 0.84, 0.8),
            front: Vec3::splat(0.42),
            back: Vec3::splat(0.34),
            floor: vec3(0.27, 0.26, 0.25),
        }
    }

    pub fn draw(r: &mut Random) -> Self {
        let (azimuth, height) = (r.around(0.0, 0.75), r.around(0.65, 0.35).clamp(-0.2, 1.4));
        let key = vec3(azimuth.sin() * height.cos(), height.sin(), azimuth.cos() * height.cos()).normalised();
        let strength = r.within(0.2, 1.4);
        let fill = r.within(0.25, 0.75);
        let mut tint = || white(r.around(0.0, 0.45));
        let (key_tint, sky, front, back, floor) = (tint(), tint(), tint(), tint(), tint());
        let mut level = |low: f32, high: f32| fill * r.within(low, high);
        Self {
            key,
            key_colour: key_tint * strength,
            sky: sky * level(0.5, 1.4),
            front: front * level(0.2, 0.9),
            back: back * level(0.1, 0.9),
            floor: floor * level(0.1, 0.6),
            softness: r.unit(),
        }
    }

    /// Moves towards `other` by `share`.
    pub fn towards(self, other: &Self, share: f32) -> Self {
        Self {
            key: self.key.mix(other.key, share).normalised(),
            key_colour: self.key_colour.mix(other.key_colour, share),
            softness: mix(self.softness, other.softness, share),
            sky: self.sky.mix(other.sky, share),
            front: self.front.mix(other.front, share),
            back: self.back.mix(other.back, share),
            floor: self.floor.mix(other.floor, share),
        }
    }

    /// Radiance of the dome in `direction`.
    fn dome(&self, d: Vec3) -> Vec3 {
        let horizon = self.back.mix(self.front, 0.5 + 0.5 * d.z);
        if d.y > 0.0 { horizon.mix(self.sky, d.y) } else { horizon.mix(self.floor, -d.y) }
    }
}

/// Nearest points as seen from one direction.
struct DepthMap {
    right: Vec3,
    up: Vec3,
    towards: Vec3,
    size: usize,
    /// Texels per cm.
    scale: f32,
    centre: Vec3,
    depth: Vec<f32>,
}

impl DepthMap {
    fn new(towards: Vec3, size: usize, centre: Vec3, reach: f32) -> Self {
        let helper = if towards.y.abs() > 0.9 { vec3(1.0, 0.0, 0.0) } else { vec3(0.0, 1.0, 0.0) };
        let right = helper.cross(towards).normalised();
        let up = towards.cross(right);
        Self { right, up, towards, size, scale: size as f32 / (2.0 * reach), centre, depth: vec![f32::MIN; size * size] }
    }

    /// Texel coordinates and distance towards the light.
    fn place(&self, p: Vec3) -> Vec3 {
        let q = p - self.centre;
        let half = self.size as f32 / 2.0;
        vec3(q.dot(self.right) * self.scale + half, q.dot(self.up) * self.scale + half, q.dot(self.towards))
    }

    fn texel(&self, x: f32, y: f32) -> Option<usize> {
        let inside = x >= 0.0 && y >= 0.0 && x < self.size as f32 && y < self.size as f32;
        inside.then(|| y as usize * self.size + x as usize)
    }

    fn splat(&mut self, p: Vec3) {
        let at = self.place(p);
        if let Some(i) = self.texel(at.x, at.y) {
            self.depth[i] = self.depth[i].max(at.z);
        }
    }

    /// 0 in shadow … 1 lit; `blur` in texels.
    fn lit(&self, p: Vec3, bias: f32, blur: f32, taps: &[(f32, f32)]) -> f32 {
        let at = self.place(p);
        let mut sum = 0.0;
        for (dx, dy) in taps {
            let blocked =
                self.texel(at.x + dx * blur, at.y + dy * blur).map_or(0.0, |i| smoothstep(bias, bias * 2.2, self.depth[i] - at.z));
            sum += 1.0 - blocked;
        }
        sum / taps.len() as f32
    }
}

/// Where a shadow's border is probed, in units of its blur.
const WIDE: [(f32, f32); 6] = [(-0.95, -0.3), (0.2, -0.9), (0.9, 0.1), (-0.3, 0.85), (-0.35, -0.25), (0.4, 0.35)];
const NEAR: [(f32, f32); 4] = [(-0.7, -0.3), (0.3, -0.7), (0.7, 0.3), (-0.3, 0.7)];
const DOME: [(f32, f32); 3] = [(-0.6, -0.35), (0.6, -0.35), (0.0, 0.7)];

/// Directions spread evenly over the sphere, without those from far below.
fn dome_directions(count: usize) -> Vec<Vec3> {
    let golden = 2.399_963_2_f32;
    (0..count)
        .map(|i| {
            let y = mix(1.0, -0.75, (i as f32 + 0.5) / count as f32);
            let r = (1.0 - y * y).max(0.0).sqrt();
            let angle = golden * i as f32;
            vec3(r * angle.cos(), y, r * angle.sin())
        })
        .collect()
}

/// Shadows of the key light.
pub struct Shadow {
    map: DepthMap,
    softness: f32,
}

impl Shadow {
    pub fn new(meshes: &[Mesh], lighting: &Lighting, centre: Vec3, reach: f32, keep: Keep) -> Self {
        let mut map = DepthMap::new(lighting.key, 200, centre, reach);
        for mesh in meshes {
            for [a, b, c] in mesh.triangles() {
                if !keep(mesh.part, mesh.vertices[a].base) {
                    continue;
                }
                let corners = [a, b, c].map(|i| mesh.vertices[i].position);
                let middle = (corners[0] + corners[1] + corners[2]) * (1.0 / 3.0);
                map.splat(middle);
                map.splat(corners[0].mix(corners[1], 0.5));
                map.splat(corners[1].mix(corners[2], 0.5));
                map.splat(corners[2]);
            }
        }
        Self { map, softness: lighting.softness }
    }

    pub fn lit(&self, p: Vec3) -> f32 {
        let near = self.map.lit(p, 0.45, 0.8 + 1.2 * self.softness, &NEAR);
        let wide = self.map.lit(p, 0.6, 2.0 + 5.0 * self.softness, &WIDE);
        mix(near, wide, 0.4 + 0.3 * self.softness)
    }
}

/// Fills every vertex's `ambient`.
pub fn light_from_around(meshes: &mut [Mesh], lighting: &Lighting, centre: Vec3, reach: f32, keep: Keep) {
    let directions = dome_directions(22);
    let mut total = 0.0;
    for mesh in meshes.iter_mut() {
        mesh.vertices.iter_mut().for_each(|v| v.ambient = Vec3::ZERO);
    }
    // Asked once a vertex, not once a direction.
    let kept: Vec<bool> = meshes.iter().flat_map(|m| m.vertices.iter().map(|v| keep(m.part, v.base))).collect();
    for direction in directions {
        let mut map = DepthMap::new(direction, 56, centre, reach);
        let vertices = meshes.iter().flat_map(|m| &m.vertices);
        vertices.zip(&kept).filter(|(_, kept)| **kept).for_each(|(v, _)| map.splat(v.position));
        let radiance = lighting.dome(direction);
        total += 1.0;
        for vertex in meshes.iter_mut().flat_map(|m| &mut m.vertices) {
            let cosine = vertex.normal.dot(direction);
            if cosine > 0.0 {
                let open = map.lit(vertex.position + vertex.normal * 0.3, 0.9, 1.0, &DOME);
                vertex.ambient += radiance * (cosine * open);
            }
        }
    }
    // An open dome of radiance 1 gives 1: the mean of the cosine over the sphere's directions is about 1/4.
    for vertex in meshes.iter_mut().flat_map(|m| &mut m.vertices) {
        vertex.ambient = vertex.ambient * (4.0 / total);
    }
}
