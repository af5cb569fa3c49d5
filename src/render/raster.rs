//! Meshes → what each pixel sees: a z-buffer that keeps surface, position and normal, so that every pixel is shaded once.
//!
//! Triangles are small (a few pixels), so attributes are interpolated linearly on the screen.

use super::vector::{Vec3, vec3};

/// What a surface is made of; decides how it is cut and shaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Part {
    #[default]
    Nothing,
    Skin,
    Ear,
    Neck,
    LeftEye,
    RightEye,
    Mouth,
    Hair,
    Scarf,
    Cloth,
    Legs,
    Shoes,
    Frame,
    Lens,
    Mask,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Vertex {
    /// In the scene.
    pub position: Vec3,
    pub normal: Vec3,
    /// On the undisplaced model: where paint and texture are looked up.
    pub base: Vec3,
    /// Light that arrives from all around.
    pub ambient: Vec3,
}

/// A grid of vertices with two triangles a cell.
#[derive(Clone, Debug)]
pub struct Mesh {
    pub part: Part,
    pub rows: usize,
    pub columns: usize,
    pub vertices: Vec<Vertex>,
    /// The last column joins the first.
    pub closed: bool,
}

impl Mesh {
    /// `at(row, column)` gives (position, base) for each vertex.
    pub fn new(part: Part, rows: usize, columns: usize, closed: bool, mut at: impl FnMut(usize, usize) -> (Vec3, Vec3)) -> Self {
        let mut vertices = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            for column in 0..columns {
                let (position, base) = at(row, column);
                vertices.push(Vertex { position, base, ..Vertex::default() });
            }
        }
        let mut mesh = Self { part, rows, columns, vertices, closed };
        mesh.find_normals();
        mesh
    }

    /// The corners of all triangles. Rows run downwards and columns to the right when seen from outside.
    pub fn triangles(&self) -> impl Iterator<Item = [usize; 3]> + '_ {
        let cells = if self.closed { self.columns } else { self.columns - 1 };
        (0..self.rows - 1).flat_map(move |row| {
            (0..cells).flat_map(move |column| {
                let next = (column + 1) % self.columns;
                let (a, b) = (row * self.columns + column, row * self.columns + next);
                let (c, d) = (a + self.columns, b + self.columns);
                [[a, c, b], [b, c, d]]
            })
        })
    }

    pub fn find_normals(&mut self) {
        let mut sums = vec![Vec3::ZERO; self.vertices.len()];
        for [a, b, c] in self.triangles() {
            let p = |i: usize| self.vertices[i].position;
            let normal = (p(b) - p(a)).cross(p(c) - p(a));
            for i in [a, b, c] {
                sums[i] += normal;
            }
        }
        for (vertex, sum) in self.vertices.iter_mut().zip(sums) {
            vertex.normal = sum.normalised();
        }
    }

    pub fn transform(&mut self, place: impl Fn(&Vertex) -> Vec3) {
        for i in 0..self.vertices.len() {
            self.vertices[i].position = place(&self.vertices[i]);
        }
        self.find_normals();
    }
}

/// Where a scene's point falls in the picture: a pinhole at (0, 0, `distance`) that looks along −z.
#[derive(Clone, Copy, Debug)]
pub struct Camera {
    /// From the origin, cm.
    pub distance: f32,
    /// Pixels per cm at the origin.
    pub scale: f32,
    /// Where the origin falls, pixels.
    pub centre: (f32, f32),
}

impl Camera {
    /// (x, y) in pixels, and nearness (grows towards the camera).
    pub fn project(&self, p: Vec3) -> Vec3 {
        let nearness = self.distance / (self.distance - p.z).max(1.0);
        vec3(self.centre.0 + p.x * self.scale * nearness, self.centre.1 - p.y * self.scale * nearness, nearness)
    }
}

/// Whether a place of a surface is there; cuts holes.
pub type Keep<'a> = &'a dyn Fn(Part, Vec3) -> bool;

/// What one pixel sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub part: Part,
    pub nearness: f32,
    pub position: Vec3,
    pub normal: Vec3,
    pub base: Vec3,
    pub ambient: Vec3,
}

/// One [`Seen`] per pixel.
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<Seen>,
}

impl Canvas {
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![Seen::default(); width * height] }
    }

    /// Draws `mesh`; `keep` may cut holes.
    pub fn draw(&mut self, mesh: &Mesh, camera: &Camera, keep: Keep) {
        let screen: Vec<Vec3> = mesh.vertices.iter().map(|v| camera.project(v.position)).collect();
        for corners in mesh.triangles() {
            self.draw_triangle(mesh, corners, corners.map(|i| screen[i]), keep);
        }
    }

    fn draw_triangle(&mut self, mesh: &Mesh, corners: [usize; 3], [a, b, c]: [Vec3; 3], keep: Keep) {
        let area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
        if area.abs() < 1e-6 {
            return;
        }
        let bounds = |p: f32, q: f32, r: f32, limit: usize| {
            let (low, high) = (p.min(q).min(r) - 0.5, p.max(q).max(r) - 0.5);
            (low.ceil().clamp(0.0, limit as f32) as usize, (high.floor() + 1.0).clamp(0.0, limit as f32) as usize)
        };
        let (x0, x1) = bounds(a.x, b.x, c.x, self.width);
        let (y0, y1) = bounds(a.y, b.y, c.y, self.height);
        let v = corners.map(|i| &mesh.vertices[i]);
        for y in y0..y1 {
            for x in x0..x1 {
                let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                let wb = ((px - a.x) * (c.y - a.y) - (py - a.y) * (c.x - a.x)) / area;
                let wc = ((b.x - a.x) * (py - a.y) - (b.y - a.y) * (px - a.x)) / area;
                let wa = 1.0 - wb - wc;
                if wa < 0.0 || wb < 0.0 || wc < 0.0 {
                    continue;
                }
                let nearness = wa * a.z + wb * b.z + wc * c.z;
                let pixel = &mut self.pixels[y * self.width + x];
                if nearness <= pixel.nearness {
                    continue;
                }
                let blend = |f: &dyn Fn(usize) -> Vec3| f(0) * wa + f(1) * wb + f(2) * wc;
                let base = blend(&|i| v[i].base);
                if !keep(mesh.part, base) {
                    continue;
                }
                *pixel = Seen {
                    part: mesh.part,
                    nearness,
                    position: blend(&|i| v[i].position),
                    normal: blend(&|i| v[i].normal),
                    base,
                    ambient: blend(&|i| v[i].ambient),
                };
            }
        }
    }
}
