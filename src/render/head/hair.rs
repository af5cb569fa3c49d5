//! Hair, scarves and caps: a shell around the skull, cut along a hairline and, where it is long, hanging straight down.
//!
//! A shell's base coordinates are (angle around the head, height, thickness), so strands run down along the angle.

use super::super::random::{noise, rough};
use super::super::raster::{Mesh, Part};
use super::super::vector::{Vec3, bump, mix, smoothstep, vec3};
use super::face::Face;
use super::look::HairStyle;

/// What a style is, in centimetres.
struct Cut {
    top: f32,
    sides: f32,
    /// Extra in front above the forehead.
    quiff: f32,
    /// Lumps.
    curl: f32,
    /// Height of the hairline above the forehead, relative to the usual.
    forehead: f32,
    /// Lowest height; 99: a short cut.
    hem: f32,
}

impl Cut {
    const fn of(style: HairStyle) -> Option<Self> {
        let short = Self { top: 1.1, sides: 0.5, quiff: 0.0, curl: 0.08, forehead: 0.0, hem: 99.0 };
        Some(match style {
            HairStyle::Bald => return None,
            HairStyle::Receding => Self { top: 0.3, sides: 0.55, ..short },
            HairStyle::Buzz => Self { top: 0.3, sides: 0.22, curl: 0.0, ..short },
            HairStyle::Short => short,
            HairStyle::Swept => Self { top: 1.7, sides: 0.6, quiff: 1.3, curl: 0.12, ..short },
            HairStyle::Fringe => Self { top: 1.3, sides: 1.0, curl: 0.1, forehead: -3.6, ..short },
            HairStyle::Curly => Self { top: 2.9, sides: 2.2, curl: 0.75, forehead: 0.2, ..short },
            HairStyle::TiedBack => Self { top: 0.55, sides: 0.4, curl: 0.03, forehead: 0.2, ..short },
            HairStyle::Bob => Self { top: 1.3, sides: 1.7, curl: 0.12, hem: -9.5, ..short },
            HairStyle::Long => Self { top: 1.2, sides: 1.6, curl: 0.15, hem: -21.0, ..short },
            HairStyle::Scarf => Self { top: 0.9, sides: 0.9, curl: 0.0, forehead: -0.6, hem: -17.0, ..short },
            HairStyle::Cap => Self { top: 1.0, sides: 0.75, curl: 0.0, ..short },
        })
    }
}

/// The shell, and for tied hair its bun.
pub fn meshes(face: &Face, step: f32) -> Vec<Mesh> {
    let Some(cut) = Cut::of(face.look.hair) else { return Vec::new() };
    let part = match face.look.hair {
        HairStyle::Scarf | HairStyle::Cap => Part::Scarf,
        _ => Part::Hair,
    };
    let skull = &face.identity.skull;
    let hangs = cut.hem < 90.0;
    let lowest = if hangs { cut.hem } else { -8.5 };
    let mut heights = skull.rows(step * 2.2);
    heights.retain(|y| *y > lowest.max(-8.0));
    let last = heights.last().copied().unwrap_or(0.0);
    let below = ((last - lowest) / (step * 3.0)).max(1.0) as usize;
    heights.extend((1..=below).map(|i| mix(last, lowest, i as f32 / below as f32)));
    let columns = (18.0 / step) as usize;
    let seed = face.identity.seed as u32;
    let shell = Mesh::new(part, heights.len(), columns, true, |row, column| {
        let y = heights[row];
        let angle = std::f32::consts::TAU * (column as f32 / columns as f32 - 0.5);
        let thickness = thickness(face, &cut, angle, y, seed);
        (shell_point(face, &cut, angle, y, thickness), vec3(angle, y, thickness))
    });
    let mut meshes = vec![shell];
    if face.look.hair == HairStyle::TiedBack && seed.is_multiple_of(2) {
        meshes.push(bun(face, step));
    }
    meshes
}

fn thickness(face: &Face, cut: &Cut, angle: f32, y: f32, seed: u32) -> f32 {
    let top = smoothstep(3.0, 9.0, y);
    let front = (0.5 + 0.5 * angle.cos()).powi(2);
    let at = mix(cut.sides, cut.top, top) + cut.quiff * front * bump(y - face.identity.skull.crown + 2.5, 0.0, 4.5, 1.0);
    let around = vec3(angle.sin() * 5.0, y * 0.55, angle.cos() * 5.0);
    let lumps = cut.curl * rough(around * 0.8, seed ^ 0x51);
    // Short hair thins out towards ears and nape; a fringe lies flat.
    let taper =
        if cut.hem > 90.0 { mix(0.35, 1.0, smoothstep(-5.5, 2.5, y)) } else { mix(0.55, 1.0, smoothstep(-1.0, 1.0, angle.abs() - 0.4)) };
    let flat = 1.0 - 0.6 * front * smoothstep(8.0, 4.0, y);
    // Hair rises from its line, it does not stand on it like a cap.
    let rise = if matches!(face.look.hair, HairStyle::Scarf | HairStyle::Cap) {
        1.0
    } else {
        let line = if cut.hem < 90.0 && angle.abs() > 0.9 { -99.0 } else { hairline(face, cut, angle) };
        mix(0.12, 1.0, smoothstep(-0.6, 1.6, y - line))
    };
    ((at + lumps) * face.look.volume * taper * flat * rise).max(0.06)
}

fn shell_point(face: &Face, cut: &Cut, angle: f32, y: f32, thickness: f32) -> Vec3 {
    let skull = &face.identity.skull;
    let hanging = cut.hem < 90.0;
    let followed = if hanging { y.max(-2.0) } else { y };
    let mut p = skull.point(angle, followed);
    let q = skull.point(angle, followed - 0.35);
    let r = skull.point(angle + 0.03, followed);
    let outward = (q - p).cross(r - p).normalised();
    let outward = if outward.dot(p - vec3(0.0, followed.min(3.0), -0.5)) < 0.0 { -outward } else { outward };
    p += outward * thickness;
    if followed > y {
        let fall = followed - y;
        p.y = y;
        // Hair rests on the nape and spreads a little towards its end.
        p.z += 0.12 * fall * (0.5 - 0.5 * angle.cos());
        p.x *= 1.0 - 0.012 * fall + 0.0011 * fall * fall;
        if face.look.hair == HairStyle::Scarf {
            let wrapped = smoothstep(-9.5, -13.0, y);
            p.x *= 1.0 - 0.12 * wrapped;
            p.z = mix(p.z, p.z * 0.62 - 1.0, wrapped * (0.5 + 0.5 * angle.cos()));
        }
    }
    p
}

fn bun(face: &Face, step: f32) -> Mesh {
    let skull = &face.identity.skull;
    let centre = vec3(0.0, 6.5, -8.6 * skull.length);
    let (rows, columns) = ((6.0 / step) as usize, (9.0 / step) as usize);
    Mesh::new(Part::Hair, rows, columns, true, |row, column| {
        let (polar, angle) =
            (std::f32::consts::PI * row as f32 / (rows - 1) as f32, std::f32::consts::TAU * column as f32 / columns as f32);
        let direction = vec3(polar.sin() * angle.sin(), polar.cos(), polar.sin() * angle.cos());
        (centre + direction * 3.4, vec3(angle, 3.0 + 2.0 * polar.cos(), 9.0))
    })
}

/// Height of the hairline in direction `angle`.
fn hairline(face: &Face, cut: &Cut, angle: f32) -> f32 {
    let a = angle.abs();
    let forehead = face.identity.skull.crown - 4.4 + face.look.hairline + cut.forehead;
    let recess = (0.5 + 0.9 * face.identity.robustness * face.identity.wear) * bump(a - 0.62, 0.0, 0.4, 1.0);
    let parted = if cut.forehead < -1.0 { 0.35 * (angle * 3.0 + face.look.parting).sin() } else { 0.0 };
    let temple = mix(forehead + recess + parted, -1.6, smoothstep(0.78, 1.16, a));
    let around_ear = mix(temple, 1.4, smoothstep(1.2, 1.34, a));
    mix(around_ear, -6.6, smoothstep(1.8, 2.15, a))
}

/// True where the shell has hair (or cloth).
pub fn kept(face: &Face, base: Vec3) -> bool {
    let (angle, y) = (base.x, base.y);
    if base.z > 8.5 {
        return true;
    }
    let Some(cut) = Cut::of(face.look.hair) else { return false };
    let a = angle.abs();
    let seed = face.identity.seed as u32;
    match face.look.hair {
        HairStyle::Scarf => {
            let t = ((y + 1.9) / 8.9).clamp(-1.0, 1.0);
            let opening = 1.12 * (1.0 - t.powi(4)).max(0.0).powf(0.5);
            a > opening
        }
        HairStyle::Cap => y > 3.4 + 0.25 * a,
        _ => {
            let line = hairline(face, &cut, angle);
            let receding = face.look.hair == HairStyle::Receding;
            let long = cut.hem < 90.0;
            // Long hair: open in front of the face only; strands end unevenly.
            let edge = 0.98 + 0.16 * (y * 0.23 + face.look.parting).sin() - 0.012 * (y + 2.0).min(0.0);
            // Far from every border no strand decides anything, and the noise, most of the cost of a head, need not be asked.
            if !receding && !long && (y - line).abs() > RAGGED {
                return y > line;
            }
            if !receding && long && (a - edge).abs() > 0.06 * RAGGED {
                let (border, ragged) = if a > edge { (cut.hem + 1.0, 2.5 * RAGGED) } else { (line, RAGGED) };
                if (y - border).abs() > ragged {
                    return y > border;
                }
            }
            let strand = rough(vec3(angle * 90.0, y * 2.2, 5.0), seed) + 0.7 * noise(vec3(angle * 160.0, y * 9.0, 8.0), seed);
            let jag = 0.3 * rough(vec3(angle * 12.0, y * 0.6, 3.0), seed) + 0.42 * strand;
            if receding && y + jag > mix(9.5, 5.0, smoothstep(2.6, 1.1, a)) {
                return false;
            }
            if long {
                let beside = a + 0.06 * jag > edge;
                return if beside { y > cut.hem + 1.0 + 2.5 * jag } else { y + jag > line };
            }
            y + jag > line
        }
    }
}

/// More than the raggedness of a hairline can be, cm: 0.3 · 0.9975 + 0.42 · (0.9975 + 0.7) of noise in −1…1.
const RAGGED: f32 = 1.02;

/// 0…1: how much of the strand pattern is lit; strands run along the height.
pub fn strands(base: Vec3, seed: u32, curl: bool) -> f32 {
    let wave = 0.25 * rough(vec3(base.x * 3.0, base.y * 0.35, 1.0), seed);
    let (fine, long) = if curl { (9.0, 1.6) } else { (38.0, 0.35) };
    0.5 + 0.5 * rough(vec3((base.x + wave * 0.4) * fine, base.y * long, base.z * 0.5), seed ^ 0x77)
}
