//! A simple clothed figure below a head: torso, arms and legs in one moment of a stride.
//!
//! Same space as the head (origin between the ears), feet at about −160.

use super::head::face::Face;
use super::raster::{Mesh, Part};
use super::vector::{Rotation, Vec3, bump, mix, smoothstep, vec3};

const TAU: f32 = std::f32::consts::TAU;

/// Height of the soles below the middle of the head, cm.
pub const FEET: f32 = -161.0;

/// The figure with its stride at `phase` (0…1), turned by `yaw` (see [`Rotation::new`]).
pub fn meshes(face: &Face, phase: f32, yaw: f32) -> Vec<Mesh> {
    let robust = face.identity.robustness - 0.5;
    let seed = face.identity.seed;
    let swing = (phase * TAU).sin();
    let mut meshes = vec![torso(face)];
    for sign in [-1.0, 1.0] {
        let shoulder = vec3(sign * (16.6 + 3.4 * robust), -26.6, -3.0);
        let forward = -sign * swing;
        let elbow = shoulder + vec3(sign * 5.0, -24.0, 9.0 * forward - 2.0);
        let hand = elbow + vec3(-sign * 1.0, -24.0 + 3.0 * forward.max(0.0), 14.0 * forward + 4.0);
        meshes.push(limb(
            Part::Cloth,
            &[shoulder + vec3(-sign * 5.0, 3.0, 0.0), shoulder, elbow, elbow.mix(hand, 0.92)],
            &[4.2, 5.6, 4.6, 3.6],
        ));
        meshes.push(limb(Part::Neck, &[elbow.mix(hand, 0.85), hand, hand + vec3(0.0, -7.0, 2.0)], &[2.7, 3.3, 1.6]));
        let hip = vec3(sign * 8.2, -76.0, -3.0);
        let stride = sign * swing;
        let lift = (-(phase * TAU + sign * 0.6).cos() * sign).max(0.0) * (1.0 - swing.abs() * 0.5);
        let knee = hip + vec3(0.0, -40.0, 10.0 * stride + 7.0 * lift);
        let ankle = vec3(sign * 8.0, FEET + 8.0 + 9.0 * lift, -3.0 + 30.0 * stride - 14.0 * lift);
        meshes.push(limb(Part::Legs, &[hip, knee, ankle], &[9.0, 6.6, 5.2]));
        meshes.push(limb(
            Part::Shoes,
            &[ankle + vec3(0.0, -2.0, -4.0), ankle + vec3(0.0, -4.5, 4.0), ankle + vec3(0.0, -6.0, 15.0)],
            &[4.2, 4.4, 2.6],
        ));
    }
    if seed.is_multiple_of(3) {
        let side = if seed.is_multiple_of(2) { 1.0 } else { -1.0 };
        meshes.push(limb(
            Part::Shoes,
            &[vec3(side * 24.0, -66.0, -4.0), vec3(side * 25.0, -78.0, -4.0), vec3(side * 25.0, -96.0, -4.0)],
            &[6.0, 9.0, 8.5],
        ));
    }
    let turn = Rotation::new(yaw, 0.0, 0.0);
    for mesh in &mut meshes {
        mesh.transform(|v| turn.apply(v.position - vec3(0.0, 0.0, -3.0)) + vec3(0.0, 0.0, -3.0));
    }
    meshes
}

/// Jacket, pullover or coat, from the collar to the hem.
fn torso(face: &Face) -> Mesh {
    let robust = face.identity.robustness - 0.5;
    let full = 0.5 + 0.5 * face.identity.skull.cheek_fullness;
    let hem = match face.identity.seed % 4 {
        0 => -108.0,
        1 | 2 => -80.0,
        _ => -88.0,
    };
    // (height, half width, half depth)
    let rings = [
        (-14.6, 6.2, 6.4),
        (-17.0, 9.5, 7.4),
        (-19.5, 15.5 + 2.0 * robust, 8.6),
        (-23.5, 19.0 + 3.6 * robust, 9.8),
        (-34.0, 18.2 + 3.6 * robust, 11.5),
        (-52.0, 15.4 + 2.6 * robust + 1.5 * full, 10.2 + 2.5 * full),
        (-70.0, 17.6 + 1.2 * full, 11.5 + 1.5 * full),
        (hem, 18.6 + 0.05 * (-80.0 - hem), 12.2 + 0.3 * (-80.0 - hem)),
        (hem - 0.5, 16.0, 9.0),
    ];
    let (rows, columns) = (46, 44);
    Mesh::new(Part::Cloth, rows, columns, true, |row, column| {
        let at = row as f32 / (rows - 1) as f32 * (rings.len() - 1) as f32;
        let i = (at as usize).min(rings.len() - 2);
        let t = at - i as f32;
        let t = t * t * (3.0 - 2.0 * t) * 0.4 + t * 0.6;
        let (p, q) = (rings[i], rings[i + 1]);
        let (y, w, d) = (mix(p.0, q.0, t), mix(p.1, q.1, t), mix(p.2, q.2, t));
        let angle = TAU * (column as f32 / columns as f32 - 0.5);
        let (s, c) = angle.sin_cos();
        let fold = 0.5 * (angle * 6.0 + y * 0.16).sin() * smoothstep(-30.0, -60.0, y);
        let chest = 1.4 * bump(y + 33.0, s * 14.0, 14.0, 16.0) * c.max(0.0);
        let collar = -1.6 * c.max(0.0) * smoothstep(-19.0, -14.6, y);
        let p = vec3((w + fold) * s.signum() * s.abs().powf(0.88), y + collar, -3.0 + (d + fold + chest) * c);
        (p, vec3(p.x, p.y, 40.0 + p.z))
    })
}

/// A rounded tube through `points`.
fn limb(part: Part, points: &[Vec3], radii: &[f32]) -> Mesh {
    let per = 7;
    let rows = (points.len() - 1) * per + 3;
    let columns = 14;
    Mesh::new(part, rows, columns, true, |row, column| {
        let at = (row.max(1) - 1).min(rows - 3) as f32 / per as f32;
        let i = (at as usize).min(points.len() - 2);
        let t = at - i as f32;
        let axis = (points[i + 1] - points[i]).normalised();
        let across = axis.cross(vec3(0.0, 0.0, 1.0)).normalised();
        let ahead = across.cross(axis);
        // Both ends are closed.
        let end = row == 0 || row == rows - 1;
        let radius = if end { 0.1 } else { mix(radii[i], radii[i + 1], t) };
        let (s, c) = (-TAU * column as f32 / columns as f32).sin_cos();
        let p = points[i].mix(points[i + 1], t) + across * (radius * c) + ahead * (radius * s);
        (p, vec3(p.x, p.y, 40.0 + p.z))
    })
}
