//! A head as meshes, placed in a pose.

use super::super::raster::{Mesh, Part};
use super::super::vector::{Rotation, Vec3, smoothstep, vec3};
use super::look::HairStyle;
use super::{extras, face::Face, hair};

/// Radians; see [`Rotation::new`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Pose {
    pub yaw: f32,
    pub pitch: f32,
    pub roll: f32,
    /// The shoulders' own turn.
    pub body_yaw: f32,
}

/// Everything to be drawn, in the scene's space.
pub struct Model {
    pub face: Face,
    pub meshes: Vec<Mesh>,
    pub lenses: Vec<Mesh>,
    /// See [`Face::landmarks`].
    pub landmarks: [Vec3; 5],
    /// Points around the face (hairline to chin, cheek to cheek) whose extent is the face's box.
    pub outline: Vec<Vec3>,
    head: Rotation,
}

/// What the head turns around.
const PIVOT: Vec3 = vec3(0.0, -6.0, -2.0);

impl Model {
    /// `step`: distance of the face's vertices, cm; 0.14 is fine, 0.4 coarse.
    pub fn new(face: Face, pose: Pose, step: f32) -> Self {
        let head = Rotation::new(pose.yaw, pose.pitch, pose.roll);
        let body = Rotation::new(pose.body_yaw, 0.0, 0.0);
        let turn = |p: Vec3| head.apply(p - PIVOT) + PIVOT;
        let mut meshes = vec![skin(&face, step), extras::eyeball(&face, 0), extras::eyeball(&face, 1)];
        if face.drop > 0.05 && face.look.mask.is_none() {
            meshes.push(extras::mouth(&face));
        }
        let scarf = face.look.hair == HairStyle::Scarf;
        if !scarf {
            meshes.extend([extras::ear(&face, -1.0), extras::ear(&face, 1.0)]);
        }
        meshes.extend(hair::meshes(&face, step));
        let mut lenses: Vec<Mesh> = Vec::new();
        if let Some(glasses) = &face.look.glasses {
            let (frames, lens) = extras::glasses(&face, glasses);
            meshes.extend(frames);
            lenses = lens;
        }
        if face.look.mask.is_some() {
            meshes.extend(extras::mask(&face));
        }
        // The neck's top turns with the head, its foot with the shoulders; what hangs likewise.
        for mesh in meshes.iter_mut().chain(&mut lenses) {
            let hangs = matches!(mesh.part, Part::Hair | Part::Scarf);
            mesh.transform(|v| {
                let turned = turn(v.position);
                if hangs { turned.mix(body.apply(v.position), smoothstep(-9.0, -18.0, v.base.y)) } else { turned }
            });
        }
        let mut neck = extras::neck(&face, if scarf { Part::Scarf } else { Part::Neck });
        neck.transform(|v| turn(v.position).mix(body.apply(v.position), smoothstep(-8.0, -17.0, v.base.y)));
        let mut shoulders = extras::shoulders(&face);
        shoulders.transform(|v| body.apply(v.position));
        meshes.extend([neck, shoulders]);
        let landmarks = face.landmarks().map(turn);
        let outline = outline(&face).into_iter().map(turn).collect();
        Self { face, meshes, lenses, landmarks, outline, head }
    }

    /// A direction of the scene as the head sees it, along the eyes.
    pub fn gaze(&self) -> Vec3 {
        self.head.apply(vec3(0.0, 0.0, 1.0))
    }
}

fn columns(step: f32) -> Vec<f32> {
    let pi = std::f32::consts::PI;
    let (front, behind) = ((17.0 / step) as usize, (6.0 / step) as usize);
    let half = 1.32;
    let ahead = (0..front).map(|i| -half + 2.0 * half * i as f32 / front as f32);
    let back = (0..behind).map(|i| half + (2.0 * pi - 2.0 * half) * i as f32 / behind as f32);
    ahead.chain(back).collect()
}

fn skin(face: &Face, step: f32) -> Mesh {
    let skull = &face.identity.skull;
    let (rows, columns) = (skull.rows(step), columns(step));
    Mesh::new(Part::Skin, rows.len(), columns.len(), true, |row, column| {
        let base = skull.point(columns[column], rows[row]);
        let mut p = face.lift(base);
        let beard = super::paint::beard(face, base);
        if beard > 0.0 {
            p += vec3(base.x, -3.0, base.z).normalised() * (0.25 * beard);
        }
        (p, base)
    })
}

fn outline(face: &Face) -> Vec<Vec3> {
    let skull = &face.identity.skull;
    let top = skull.crown - 4.6;
    let at = |angle: f32, y: f32| face.lift(skull.point(angle, y));
    let mut points: Vec<Vec3> = (-10..=10).map(|i| at(0.125 * i as f32, top - 0.02 * (i * i) as f32)).collect();
    points.extend((0..=12).flat_map(|i| {
        let y = top - 2.0 - (top - 2.0 + skull.chin - 1.0) * i as f32 / 12.0;
        [at(-1.25, y), at(1.25, y)]
    }));
    points.extend((-4..=4).map(|i| at(0.2 * i as f32, -skull.chin + 0.15)));
    points
}
