//! The scenes there are: their rooms, what stands in them, and how people walk there.

use super::hall::{Hall, Paint, Shape, Solid, View, placeholder_code};
use super::random::Random;
use super::scene::SceneError;
use super::vector::{Vec3, vec3};
use super::walk::Traffic;

/// Scene names, and what each shows.
pub const SCENES: [(&str, &str); 3] = [
    ("concourse", "a wide hall with pillars; people cross in all directions"),
    ("gates", "ticket gates; people come through them towards the camera"),
    ("corridor", "a narrow passage; faces come close"),
];

/// Whether there is a scene of that name.
pub fn known(name: &str) -> Result<(), SceneError> {
    if SCENES.iter().any(|s| s.0 == name) { Ok(()) } else { Err(SceneError::Unknown(name.to_owned())) }
}

/// A room with its people's paths; `None` for an unknown name.
pub fn hall(name: &str, seed: u64, width: usize, height: usize) -> Option<(Hall, Traffic)> {
    let mut r = Random::new(seed, "hall");
    let warm = r.around(0.0, 0.04);
    let stone = Vec3::splat(r.within(0.25, 0.42)) * vec3(1.0 + warm, 1.0, 1.0 - warm);
    let paint = Vec3::splat(r.within(0.4, 0.6)) * vec3(1.0 + r.around(0.03, 0.05), 1.0, 1.0 + r.around(-0.03, 0.05));
    let view = View { width, height, focal: width as f32 * 1.3, above: 226.0, pitch: 0.145, pan: 0.0 };
    let empty = Hall {
        view,
        half_width: 900.0,
        ceiling: 520.0,
        depth: 2_600.0,
        solids: Vec::new(),
        area: [-125.0, 215.0, 215.0, 760.0],
        floor: stone,
        wall: paint,
        seed: r.draw() as u32,
        code: placeholder_code(seed),
        covered: false,
    };
    let walking = Traffic {
        slots: 7,
        turn_s: 14.0,
        half_width: 380.0,
        near: 150.0,
        far: 1_500.0,
        shares: [0.6, 0.15, 0.25],
        lane: 0.0,
        cast: 28,
        again_after: 0,
    };
    match name {
        "concourse" => Some((concourse(empty, &mut r), walking)),
        "gates" => {
            let traffic =
                Traffic { slots: 6, half_width: 215.0, far: 1_250.0, shares: [0.85, 0.15, 0.0], lane: 105.0, cast: 24, ..walking };
            Some((gates(empty, &mut r), traffic))
        }
        "corridor" => {
            let traffic = Traffic { slots: 5, half_width: 130.0, far: 1_300.0, shares: [0.75, 0.25, 0.0], cast: 20, ..walking };
            Some((corridor(empty, &mut r), traffic))
        }
        _ => None,
    }
}

fn block(x: (f32, f32), y: (f32, f32), z: (f32, f32), paint: Paint) -> Solid {
    Solid { shape: Shape::Block(vec3(x.0, y.0, z.0), vec3(x.1, y.1, z.1)), paint }
}

fn lamps(hall: &mut Hall, rows: &[f32], columns: &[f32]) {
    let top = hall.ceiling;
    for &z in rows {
        for &x in columns {
            hall.solids.push(block((x - 90.0, x + 90.0), (top - 6.0, top), (z - 22.0, z + 22.0), Paint::Lamp));
        }
    }
}

/// The board with the sign, on its two feet.
fn sign(hall: &mut Hall, x: f32, z: f32) {
    hall.solids.push(block((x - 30.0, x + 30.0), (100.0, 180.0), (z, z + 4.0), Paint::Sign));
    for foot in [-24.0, 20.0] {
        hall.solids.push(block((x + foot, x + foot + 4.0), (0.0, 100.0), (z + 1.0, z + 4.0), Paint::Plain(Vec3::splat(0.12))));
    }
}

fn back_wall(hall: &mut Hall, r: &mut Random) {
    let (depth, half) = (hall.depth, hall.half_width);
    let mut x = -half + 140.0;
    while x + 220.0 < half {
        hall.solids.push(block((x, x + 200.0), (0.0, 245.0), (depth - 4.0, depth), Paint::Door));
        x += 200.0 + r.within(60.0, 160.0);
    }
    let wide = half.min(420.0);
    hall.solids.push(block((-wide, wide), (305.0, 395.0), (depth - 30.0, depth - 10.0), Paint::Display));
}

fn posters(hall: &mut Hall, r: &mut Random, from: f32, step: f32) {
    let half = hall.half_width;
    let mut z = from;
    while z + 160.0 < hall.depth {
        for side in [-1.0_f32, 1.0] {
            let x = if side < 0.0 { (-half, -half + 5.0) } else { (half - 5.0, half) };
            hall.solids.push(block(x, (85.0, 250.0), (z, z + 120.0), Paint::Poster(r.draw() as u32)));
        }
        z += step;
    }
}

fn concourse(mut hall: Hall, r: &mut Random) -> Hall {
    let steel = Paint::Plain(Vec3::splat(r.within(0.3, 0.55)));
    for z in [980.0, 1_650.0, 2_250.0] {
        for x in [-470.0, 470.0] {
            hall.solids.push(Solid { shape: Shape::Pillar(x, z, 42.0, hall.ceiling), paint: steel });
        }
    }
    hall.solids.push(block((-560.0, -330.0), (0.0, 112.0), (1_180.0, 1_260.0), Paint::Plain(vec3(0.12, 0.07, 0.045))));
    hall.solids.push(block((330.0, 520.0), (0.0, 45.0), (800.0, 850.0), Paint::Plain(vec3(0.16, 0.1, 0.06))));
    hall.solids.push(block((-160.0, 240.0), (330.0, 400.0), (1_280.0, 1_300.0), Paint::Display));
    sign(&mut hall, -172.0, 560.0);
    back_wall(&mut hall, r);
    posters(&mut hall, r, 700.0, 420.0);
    lamps(&mut hall, &[260.0, 700.0, 1_150.0, 1_600.0, 2_100.0], &[-450.0, 0.0, 450.0]);
    hall
}

fn gates(mut hall: Hall, r: &mut Random) -> Hall {
    hall.half_width = 620.0;
    hall.ceiling = 420.0;
    hall.depth = 1_900.0;
    hall.area = [-125.0, 200.0, 160.0, 600.0];
    for i in -4..4_i16 {
        let x = 105.0 * (f32::from(i) + 0.5);
        hall.solids.push(block((x - 12.0, x + 12.0), (0.0, 98.0), (640.0, 800.0), Paint::Gate));
    }
    hall.solids.push(block((-430.0, 430.0), (285.0, 345.0), (700.0, 720.0), Paint::Display));
    sign(&mut hall, -172.0, 560.0);
    back_wall(&mut hall, r);
    posters(&mut hall, r, 500.0, 330.0);
    lamps(&mut hall, &[250.0, 600.0, 1_000.0, 1_450.0], &[-330.0, 0.0, 330.0]);
    hall
}

fn corridor(mut hall: Hall, r: &mut Random) -> Hall {
    hall.half_width = 250.0;
    hall.ceiling = 300.0;
    hall.depth = 2_000.0;
    hall.area = [-130.0, 200.0, 250.0, 640.0];
    hall.view.pitch = 0.13;
    sign(&mut hall, -172.0, 560.0);
    hall.solids.push(block((-100.0, 100.0), (0.0, 235.0), (1_995.0, 2_000.0), Paint::Door));
    posters(&mut hall, r, 640.0, 260.0);
    lamps(&mut hall, &[220.0, 520.0, 850.0, 1_200.0, 1_600.0], &[0.0]);
    hall
}
