//! What a head has besides its skin: eyeballs, mouth, ears, neck, shoulders, glasses and a surgical mask.

use super::super::raster::{Mesh, Part};
use super::super::vector::{Vec3, bell, bump, mix, smooth_max, smoothstep, vec3};
use super::face::{EYEBALL, EYEBALL_WIDTH, Face};
use super::look::Glasses;

const TAU: f32 = std::f32::consts::TAU;

/// Half a ball; base coordinates are the direction from its centre.
pub fn eyeball(face: &Face, side: usize) -> Mesh {
    let centre = face.eyeballs[side];
    let part = if side == 0 { Part::LeftEye } else { Part::RightEye };
    Mesh::new(part, 13, 24, true, |row, column| {
        let (polar, angle) = (1.6 * (row as f32 / 12.0), -TAU * column as f32 / 24.0);
        let direction = vec3(polar.sin() * angle.cos(), polar.sin() * angle.sin(), polar.cos());
        (centre + vec3(direction.x * EYEBALL_WIDTH, direction.y, direction.z) * EYEBALL, direction)
    })
}

/// Teeth and what is behind them; base coordinates are (across, down from the upper lip's edge, 0).
pub fn mouth(face: &Face) -> Mesh {
    let half = face.mouth_half_width();
    Mesh::new(Part::Mouth, 10, 17, false, |row, column| {
        let x = mix(-half, half, column as f32 / 16.0) * 1.05;
        let line = face.lip_line(x);
        let down = mix(-0.7, face.drop + 0.9, row as f32 / 9.0);
        let front = face.identity.skull.front_at(x, line);
        let z = front + 0.25 - 0.35 * (x / half) * (x / half) - 0.5 * smoothstep(0.75, 1.3, down);
        (vec3(x, line - down, z), vec3(x, down, 0.0))
    })
}

/// A shell with a rim and a hollow; base coordinates are (towards the back, up, 20).
pub fn ear(face: &Face, sign: f32) -> Mesh {
    let ears = &face.identity.ears;
    let skull = &face.identity.skull;
    let (sf, cf) = (ears.flare.sin(), ears.flare.cos());
    let (rows, columns) = (12, 30);
    let root = skull.point(sign * 1.5, -1.4);
    Mesh::new(Part::Ear, rows, columns, true, |row, column| {
        let (r, angle) = (row as f32 / (rows - 1) as f32, sign * TAU * column as f32 / columns as f32);
        let (back, up) = (angle.cos() * r, angle.sin() * sign * r);
        let narrow = mix(0.66, 1.0, smoothstep(-1.0, 0.3, up));
        let (back_cm, up_cm) = ((back * narrow + 0.75) * 1.65 * ears.size, up * 3.15 * ears.size);
        let rim = 0.3 * bell(((r - 0.86) / 0.2).powi(2)) * smoothstep(-0.95, -0.3, back + 0.4 * up);
        let hollow = -0.55 * bump(back + 0.12, up + 0.1, 0.55, 0.5) - 0.22 * bell(((r - 0.62) / 0.2).powi(2)) * smoothstep(-0.3, 0.3, up);
        let edge = -0.5 * smoothstep(0.92, 1.0, r);
        let height = 0.3 + rim + hollow + edge;
        let lean = -0.16 * up_cm;
        let across = vec3(sign * sf, 0.0, -cf) * back_cm + vec3(sign * cf, 0.0, sf) * height;
        let p = vec3(root.x, root.y + ears.height, root.z - 0.2) + across + vec3(0.0, up_cm, lean);
        (p, vec3(back, up, 20.0))
    })
}

/// From inside the head down into the collar.
pub fn neck(face: &Face, part: Part) -> Mesh {
    let k = face.identity.robustness - 0.5;
    let thick = (5.2 + 1.3 * k) * face.identity.skull.width + 0.25 * face.identity.skull.cheek_fullness;
    let grow = if part == Part::Scarf { 0.9 } else { 0.0 };
    Mesh::new(part, 36, 64, true, |row, column| {
        let y = mix(-4.0, -22.0, row as f32 / 35.0);
        let angle = TAU * (column as f32 / 64.0 - 0.5);
        let down = smoothstep(-12.0, -20.0, y);
        let radius = thick * (1.0 + 0.35 * down) + grow;
        let cord =
            0.22 * bump(angle.abs() - 0.5 - 0.03 * y, 0.0, 0.4, 1.0) + 0.3 * bump(angle, y + 13.0, 0.3, 1.2) * face.identity.robustness;
        let z = -1.3 + 0.16 * (y + 6.0);
        let p = vec3((radius + cord) * angle.sin(), y, z + (radius * 1.05 + cord) * angle.cos());
        (p, vec3(angle, y, 30.0))
    })
}

/// Shoulders in clothes.
pub fn shoulders(face: &Face) -> Mesh {
    let k = face.identity.robustness - 0.5;
    let wide = 20.5 + 4.0 * k;
    Mesh::new(Part::Cloth, 26, 60, true, |row, column| {
        let t = row as f32 / 25.0;
        let angle = TAU * (column as f32 / 60.0 - 0.5);
        let (s, c) = angle.sin_cos();
        let side = s * s;
        // The collar dips in front, the shoulders slope outwards.
        let spread = smoothstep(0.0, 0.42, t).powf(0.8);
        let half_width = mix(6.3, wide, spread);
        let depth = mix(7.0, 10.5, spread);
        let y = -14.9
            - 1.3 * c.max(0.0) * (1.0 - spread)
            - mix(0.0, 4.4, smoothstep(0.05, 0.5, t)) * mix(1.25, 1.0, side)
            - 17.0 * smoothstep(0.32, 1.0, t);
        let fold = 0.35 * (angle * 7.0 + y * 0.35).sin() * smoothstep(0.4, 0.8, t);
        let p = vec3(half_width * s.signum() * s.abs().powf(0.9), y, -3.0 + (depth + fold) * c);
        (p, vec3(p.x, p.y, 40.0 + p.z))
    })
}

/// A tube along `path` (closed or not).
pub fn tube(part: Part, path: &[Vec3], radius: f32, closed: bool, flat: f32) -> Mesh {
    let n = path.len();
    let around = 7;
    let rows = if closed { n + 1 } else { n };
    Mesh::new(part, rows, around, true, |row, column| {
        let i = row % n;
        let (before, after) = if closed { ((i + n - 1) % n, (i + 1) % n) } else { (i.saturating_sub(1), (i + 1).min(n - 1)) };
        let along = (path[after] - path[before]).normalised();
        let side = along.cross(vec3(0.0, 0.0, 1.0)).normalised();
        let up = side.cross(along);
        let (s, c) = (TAU * column as f32 / around as f32).sin_cos();
        (path[i] + side * (radius * c) + up * (radius * s * flat), vec3(row as f32, column as f32, 50.0))
    })
}

/// The frame's tubes, and its lenses.
pub fn glasses(face: &Face, glasses: &Glasses) -> (Vec<Mesh>, Vec<Mesh>) {
    let mut frames = Vec::new();
    let mut lenses = Vec::new();
    let depth = face.eyeballs[0].z + EYEBALL + 1.15;
    let bend = |x: f32| depth - 0.035 * x * x;
    let low = -0.35;
    let half = glasses.thickness * 0.5;
    for (side, sign) in [(0, -1.0), (1, 1.0)] {
        let centre = face.eyeballs[side].x + sign * 0.15;
        let outline = |t: f32, share: f32| {
            let (s, c) = (t * TAU).sin_cos();
            let n = 2.0 / glasses.squareness;
            let x = centre + share * glasses.half_width * c.signum() * c.abs().powf(n);
            let y = low + share * glasses.half_height * s.signum() * s.abs().powf(n);
            vec3(x, y, bend(x))
        };
        let path: Vec<Vec3> = (0..40).map(|i| outline(i as f32 / 40.0, 1.0)).collect();
        frames.push(tube(Part::Frame, &path, half, true, 1.3));
        lenses.push(Mesh::new(Part::Lens, 5, 24, true, |row, column| {
            let p = outline(-(column as f32) / 24.0, row as f32 / 4.0);
            (p, p)
        }));
        let outer = centre + sign * glasses.half_width;
        let ear = face.identity.skull.point(sign * 1.5, 0.9);
        let from = vec3(outer, low + 0.55 * glasses.half_height, bend(outer) - 0.1);
        let hinge = vec3(ear.x.abs().max(outer.abs() + 0.2) * sign, from.y + 0.1, from.z - 1.2);
        let end = vec3(ear.x + sign * 0.35, 0.9, ear.z - 1.0);
        frames.push(tube(Part::Frame, &[from, hinge, hinge.mix(end, 0.5), end], half.max(0.1), false, 1.0));
    }
    let inner = face.identity.eyes.spacing + 0.15 - glasses.half_width;
    let bridge: Vec<Vec3> = (0..7)
        .map(|i| {
            let t = i as f32 / 6.0 * 2.0 - 1.0;
            vec3(inner * t, low + 0.35 * glasses.half_height + 0.35 * (1.0 - t * t), depth + 0.35 * (1.0 - t * t))
        })
        .collect();
    frames.push(tube(Part::Frame, &bridge, half.max(0.1), false, 1.0));
    (frames, lenses)
}

/// A surgical mask from the bridge of the nose to below the chin, and its loops.
pub fn mask(face: &Face) -> Vec<Mesh> {
    let skull = &face.identity.skull;
    let top = -0.42 * face.identity.nose.tip;
    let bottom = -skull.chin - 0.35 - 0.8 * face.drop;
    let (rows, columns) = (34, 46);
    let surface = |u: f32, v: f32| {
        let y = mix(top, bottom, v) - 0.8 * u * u * (1.0 - 2.0 * v).max(-0.35);
        let angle = 1.24 * u;
        let on_skin = face.lift(skull.point(angle, (y + 0.35 * face.drop * v).max(-skull.chin + 0.4)));
        // The cloth spans from the nose to the chin instead of following the lips.
        let tent = 1.55 * bump(u * 4.6, y + face.identity.nose.tip + 1.4, 4.4, 5.2);
        let ring = skull.point(angle, y.max(-skull.chin + 1.4));
        let out = vec3(ring.x, 0.0, ring.z).normalised();
        let spanned = smooth_max(on_skin.z, ring.z + tent, 0.5) + 0.22;
        let tuck = -2.4 * smoothstep(0.9, 1.0, v) * (1.0 - 0.4 * u * u);
        vec3(mix(on_skin.x, ring.x, 0.6) + 0.3 * out.x, y, spanned + tuck)
    };
    let cloth = Mesh::new(Part::Mask, rows, columns, false, |row, column| {
        let (u, v) = (column as f32 / (columns - 1) as f32 * 2.0 - 1.0, row as f32 / (rows - 1) as f32);
        (surface(u, v), vec3(u, v, 0.0))
    });
    let mut meshes = vec![cloth];
    for sign in [-1.0, 1.0] {
        let ear = skull.point(sign * 1.55, -1.0);
        for (v, ear_y) in [(0.06, 0.8), (0.9, -3.6)] {
            let from = surface(sign * 0.99, v);
            let end = vec3(ear.x + sign * 0.6, ear_y, ear.z + 0.2);
            let middle = from.mix(end, 0.5) + vec3(sign * 0.35, 0.0, 0.2);
            meshes.push(tube(Part::Mask, &[from, middle, end], 0.13, false, 1.0));
        }
    }
    meshes
}
