//! What a place on the head looks like before light falls on it: colour, gloss, and how much it lies in a crease.
//!
//! Looked up on the base surface, so that paint moves with the skin. Colours are linear.

use super::super::random::{noise, rough};
use super::super::raster::Part;
use super::super::vector::{Vec3, bump, mix, smoothstep, vec3};
use super::face::{EYEBALL, EYEBALL_WIDTH, Face};
use super::hair;
use super::look::HairStyle;

/// How a surface answers light.
#[derive(Clone, Copy, Debug)]
pub struct Surface {
    pub colour: Vec3,
    /// Strength and exponent of the highlight.
    pub gloss: f32,
    pub shine: f32,
    /// 0…1: light that has wandered below the surface.
    pub scatter: f32,
    /// 0…1: how open it lies to light from around (creases are darker).
    pub open: f32,
    /// Added to the normal.
    pub rough: Vec3,
}

impl Surface {
    const fn matt(colour: Vec3) -> Self {
        Self { colour, gloss: 0.03, shine: 8.0, scatter: 0.0, open: 1.0, rough: Vec3::ZERO }
    }
}

/// The surface of `part` at `base`.
pub fn surface(face: &Face, part: Part, base: Vec3) -> Surface {
    let seed = face.identity.seed as u32;
    let skin = &face.identity.skin;
    match part {
        Part::Skin => skin_at(face, base),
        Part::Ear => {
            let reddened = skin.tone * vec3(0.98, 0.85, 0.83);
            let hollow = bump(base.x + 0.15, base.y + 0.1, 0.6, 0.6);
            Surface { gloss: 0.2 * skin.gloss, shine: 14.0, scatter: 0.9, open: 1.0 - 0.55 * hollow, ..Surface::matt(reddened) }
        }
        Part::Neck => {
            let tone = skin.tone * (0.97 + 0.05 * noise(vec3(base.x * 3.0, base.y * 0.6, 1.0), seed));
            Surface { gloss: 0.12 * skin.gloss, shine: 12.0, scatter: 0.7, ..Surface::matt(tone) }
        }
        Part::LeftEye | Part::RightEye => eye(face, base),
        Part::Mouth => mouth(face, base),
        Part::Hair => hair_surface(face, base, seed),
        Part::Scarf => {
            let knit = face.look.hair == HairStyle::Cap;
            let fold = rough(vec3(base.x * 2.2, base.y * 0.5, base.z), seed);
            let rib = if knit { 0.8 + 0.2 * (base.x * 60.0).sin() * (base.y * 9.0).sin().abs() } else { 0.95 };
            let rough = vec3(0.2 * fold, 0.1 * fold, 0.0);
            Surface { open: 0.85 + 0.15 * fold, rough, ..Surface::matt(face.look.scarf * rib) }
        }
        Part::Cloth => cloth(face, base, seed),
        Part::Frame => {
            let colour = face.look.glasses.as_ref().map_or(Vec3::ZERO, |g| g.colour);
            Surface { gloss: 0.7, shine: 50.0, ..Surface::matt(colour) }
        }
        Part::Mask => mask(face, base),
        Part::Legs => {
            let trousers =
                [vec3(0.018, 0.022, 0.04), vec3(0.03, 0.03, 0.032), vec3(0.1, 0.09, 0.075), vec3(0.05, 0.07, 0.11), vec3(0.2, 0.17, 0.13)];
            Surface::matt(trousers[seed as usize % trousers.len()] * (1.0 + 0.15 * noise(base * 0.3, seed)))
        }
        Part::Shoes => Surface { gloss: 0.15, ..Surface::matt(vec3(0.02, 0.016, 0.014)) },
        Part::Nothing | Part::Lens => Surface::matt(Vec3::splat(0.1)),
    }
}

fn mask(face: &Face, base: Vec3) -> Surface {
    let colour = face.look.mask.unwrap_or(Vec3::ONE);
    let pleat = (base.y * 3.4 + 0.02 * base.x).fract();
    let within = smoothstep(0.12, 0.2, base.y) * smoothstep(0.9, 0.82, base.y);
    let dark = 1.0 - 0.22 * within * smoothstep(0.16, 0.0, pleat);
    let seam = 1.0 - 0.1 * smoothstep(0.06, 0.05, base.y) - 0.1 * smoothstep(0.94, 0.95, base.y);
    let weave = 1.0 + 0.03 * noise(vec3(base.x * 60.0, base.y * 60.0, 0.0), 5);
    Surface { open: dark, ..Surface::matt(colour * (seam * weave)) }
}

fn cloth(face: &Face, base: Vec3, seed: u32) -> Surface {
    let own = face.look.cloth;
    let weave = 1.0 + 0.06 * noise(base * 3.0, seed);
    let mut colour = own * weave;
    // A shirt below an open jacket, or stripes, or plain.
    match seed % 5 {
        0 | 1 => {
            let opening = 1.2 + 0.38 * (base.y + 28.0).max(0.0);
            if base.z > 40.0 && base.x.abs() < opening {
                colour = vec3(0.7, 0.71, 0.73) * weave;
                if seed.is_multiple_of(2) && base.x.abs() < 1.6 + 0.05 * (-17.0 - base.y) {
                    colour = vec3(own.z + 0.05, own.x * 0.4, own.y * 0.5);
                }
            }
        }
        2 if (base.y * 0.55).sin() > 0.3 => colour = vec3(0.75, 0.74, 0.7).mix(own, 0.2),
        _ => {}
    }
    Surface::matt(colour)
}

fn hair_surface(face: &Face, base: Vec3, seed: u32) -> Surface {
    let curl = face.look.hair == HairStyle::Curly;
    let strand = hair::strands(base, seed, curl);
    let colour = face.identity.hair_colour;
    let locks = rough(vec3(base.x * 7.0, base.y * 0.2, 2.0), seed ^ 9);
    let lit = colour * (0.45 + 0.9 * strand) * (1.0 + 0.25 * locks);
    let part_line = if base.y > face.identity.skull.crown - 1.5 || curl { 0.0 } else { 0.2 * locks };
    Surface {
        colour: lit,
        gloss: if curl { 0.1 } else { 0.28 } * (0.4 + strand),
        shine: 18.0,
        scatter: 0.15,
        open: 0.55 + 0.45 * strand,
        rough: vec3(0.55 * (strand - 0.5) + part_line, 0.12 * (strand - 0.5), 0.0),
    }
}

fn eye(face: &Face, direction: Vec3) -> Surface {
    let eyes = &face.identity.eyes;
    let (gx, gy) = face.expression.gaze;
    let towards = vec3(gx.sin(), gy.sin(), 1.0).normalised();
    // Distance from the pupil's centre along the ball, cm.
    let off = direction - towards;
    let r = vec3(off.x * EYEBALL_WIDTH, off.y, off.z).length() * EYEBALL;
    let seed = face.identity.seed as u32;
    let around = (direction.y - towards.y).atan2(direction.x - towards.x);
    let rays = noise(vec3(around.cos() * 6.0, around.sin() * 6.0, r * 2.0), seed);
    let vein = 0.05 * smoothstep(0.5, 1.1, direction.x.abs()) * (1.0 + noise(direction * 9.0, seed));
    let white = vec3(0.5 - vein * 0.5, 0.45 - 2.0 * vein, 0.42 - 2.0 * vein);
    let iris = eyes.iris * (0.75 + 0.35 * rays) * mix(1.25, 0.6, smoothstep(0.2, 0.56, r));
    let rimmed = iris.mix(Vec3::splat(0.012), smoothstep(0.5, 0.585, r) * 0.75);
    let colour = rimmed.mix(white, smoothstep(0.565, 0.63, r)).mix(Vec3::splat(0.006), smoothstep(0.25, 0.2, r));
    // The upper lid's lashes shade the ball.
    let shade = 0.9 - 0.55 * smoothstep(0.05, 0.42, direction.y) - 0.35 * smoothstep(0.45, 0.95, direction.x.abs());
    Surface { colour, gloss: 0.9, shine: 180.0, scatter: 0.2, open: shade.max(0.2), rough: Vec3::ZERO }
}

fn mouth(face: &Face, base: Vec3) -> Surface {
    let half = face.mouth_half_width();
    let t = base.x / half;
    let tooth = (base.x.abs() / mix(0.82, 0.6, t.abs())).fract();
    let gap = 1.0 - 0.35 * smoothstep(0.1, 0.0, tooth.min(1.0 - tooth));
    let edge = 0.72 - 0.25 * t * t;
    let upper = smoothstep(edge + 0.06, edge, base.y);
    let lower_edge = face.drop + 0.1 - 0.3 * (1.0 - t * t);
    let lower = 0.7 * smoothstep(lower_edge - 0.04, lower_edge + 0.04, base.y);
    let deep = vec3(0.06, 0.012, 0.012);
    let tongue = deep.mix(vec3(0.28, 0.08, 0.075), smoothstep(0.9, 1.7, base.y) * bump(t, 0.0, 0.9, 1.0));
    let colour = tongue.mix(vec3(0.7, 0.66, 0.58) * gap, upper.max(lower));
    Surface { gloss: 0.35, shine: 40.0, open: (1.0 - 0.8 * t * t).max(0.12) * 0.75, ..Surface::matt(colour) }
}

/// 0…1: how much beard grows at `base`.
pub fn beard(face: &Face, base: Vec3) -> f32 {
    let beard = face.look.beard;
    if beard.chin.max(beard.moustache).max(beard.cheeks) <= 0.0 || base.z < -2.5 || base.y > -1.0 {
        return 0.0;
    }
    let (x, y) = (base.x.abs(), base.y);
    let mouth = &face.identity.mouth;
    let seed = face.identity.seed as u32;
    let jag = 0.6 * rough(base * 1.2, seed ^ 3) + 0.35 * noise(base * 7.0, seed ^ 2);
    let (upper, lower) = face.lip_contours(base.x);
    let clear_of_lips = if x < face.mouth_half_width() + 0.2 { smoothstep(0.0, 0.25, (y - upper).max(lower - y)) } else { 1.0 };
    let front = smoothstep(1.0, 4.0, base.z);
    let lip = smoothstep(-face.identity.nose.tip - 0.75, -face.identity.nose.tip - 1.1, y + 0.1 * x)
        * smoothstep(-mouth.height - 0.9, -mouth.height - 0.3, y);
    let moustache = beard.moustache * lip * smoothstep(face.mouth_half_width() + 1.1, face.mouth_half_width() - 0.1, x + jag) * front;
    let goatee = beard.chin * smoothstep(3.6, 2.4, x + jag) * smoothstep(-mouth.height - 0.3, -mouth.height - 1.0, y + 0.2 * jag) * front;
    let cheek_line = -3.0 - 0.55 * (6.5 - x).max(0.0);
    let line = smoothstep(cheek_line + 0.25, cheek_line - 0.5, y + jag);
    let cheeks =
        beard.cheeks * line * smoothstep(face.mouth_half_width() + 0.1, face.mouth_half_width() + 1.0, x - (-mouth.height - y).max(0.0));
    moustache.max(goatee).max(cheeks) * clear_of_lips
}

fn brow(face: &Face, base: Vec3) -> f32 {
    let (side, sign) = Face::side(base);
    let brows = &face.identity.brows;
    let x = base.x * sign;
    let t = (x - brows.inner) / (brows.outer - brows.inner);
    if !(-0.15..1.1).contains(&t) || base.z < 2.0 {
        return 0.0;
    }
    let lift = face.expression.brows;
    let arch = brows.arch * bump(t - 0.62, 0.0, 0.75, 1.0) * 1.3 + brows.tilt * (x - 3.2) - 0.35 * smoothstep(0.65, 1.1, t);
    let centre = face.eyeballs[side].y + brows.height + arch + 0.4 * lift + 0.12 * lift * (1.0 - t);
    let thick = brows.thickness * mix(1.15, 0.35, smoothstep(0.2, 1.0, t)) * smoothstep(-0.12, 0.12, t);
    let seed = face.identity.seed as u32;
    let off = (base.y - centre).abs() / thick.max(0.02);
    // So far off that no hair reaches: 1.25 + 0.35 / 2.
    if off > 1.43 {
        return 0.0;
    }
    let hairs = 0.5 + 0.5 * noise(vec3((x - base.y * mix(0.1, 0.9, t)) * 7.0, base.y * 4.0, sign), seed);
    smoothstep(1.25, 0.55, off + 0.35 * (hairs - 0.5)) * smoothstep(1.08, 0.9, t) * mix(0.75, 1.0, hairs) * brows.density
}

fn skin_at(face: &Face, base: Vec3) -> Surface {
    let identity = &face.identity;
    let skin = &identity.skin;
    let seed = identity.seed as u32;
    let (x, y) = (base.x.abs(), base.y);
    let mut colour = skin.tone
        * (1.0
            + 0.09 * skin.blotches * rough(base * 0.55, seed)
            + 0.05 * noise(base * 3.2, seed ^ 4)
            + 0.045 * noise(base * 8.5, seed ^ 6));
    let mut open = 1.0;
    let front = smoothstep(1.0, 4.0, base.z);
    let nose_tip = -identity.nose.tip;
    let red =
        (0.8 * bump(x - 4.2, y + 3.6, 2.8, 2.4) + bump(x, y - nose_tip, 1.9, 1.5) + 0.5 * bump(x, y + identity.skull.chin - 1.6, 2.0, 1.6))
            * front;
    colour = colour * Vec3::ONE.mix(vec3(1.03, 0.83, 0.83), (skin.redness * red * (1.0 - 0.6 * skin.melanin)).min(1.2));
    if front > 0.0 {
        colour = around_eyes(face, base, colour, &mut open);
        colour = around_nose(face, base, colour, &mut open);
        colour = marks(face, base, colour);
        open *= lines(face, base);
    }
    let beard_amount = beard(face, base);
    let stubble = skin.shadow_of_beard * (1.0 - skin.melanin * 0.5) * beard_region(face, base);
    // Noise is most of the cost of a head: it is asked only where it shows.
    if stubble > 0.0 {
        let grain = 0.75 + 0.5 * noise(base * 9.0, seed ^ 8);
        colour = colour.mix(identity.hair_colour.mix(skin.tone * 0.4, 0.5), (0.3 * stubble * grain).clamp(0.0, 0.6));
    }
    let (mut strand, mut hairy) = (0.5, 0.0);
    if beard_amount > 0.0 {
        strand = 0.5 + 0.5 * rough(vec3(base.x * 5.0, base.y * 1.5, base.z * 3.0), seed ^ 11);
        hairy = (beard_amount * (0.75 + 0.5 * strand)).min(1.0);
        let bearded = identity.hair_colour.mix(skin.tone * 0.35, 0.15) * (0.5 + 0.9 * strand);
        colour = colour.mix(bearded, hairy * 0.93);
    }
    let brow = brow(face, base);
    colour = colour.mix(identity.hair_colour.mix(Vec3::splat(0.012), 0.35) * 0.8, brow * 0.92);
    let (colour, lip) = lips(face, base, colour, &mut open);
    let oily = 0.5 + 0.7 * bump(x, y - 0.5, 3.2, 6.0) + 0.5 * bump(x, y - nose_tip, 1.5, 1.5);
    let gloss = skin.gloss * 0.22 * oily * (1.0 - hairy) * (1.0 - brow) + 0.22 * lip;
    let fine = vec3(noise(base * 6.0, seed ^ 21), noise(base * 6.0, seed ^ 22), 0.0) * 0.05
        + vec3(strand - 0.5, 0.3 * (strand - 0.5), 0.0) * (0.9 * hairy);
    Surface { colour, gloss, shine: mix(16.0, 34.0, lip), scatter: 1.0 - 0.85 * hairy, open, rough: fine }
}

/// Where stubble grows.
fn beard_region(face: &Face, base: Vec3) -> f32 {
    let (x, y) = (base.x.abs(), base.y);
    let line = -face.identity.nose.tip - 0.9 - 0.25 * (x - 2.5).max(0.0) + 0.5 * (x - 5.0).max(0.0);
    smoothstep(line + 0.7, line - 0.8, y) * smoothstep(-1.0, 2.0, base.z)
}

fn around_eyes(face: &Face, base: Vec3, mut colour: Vec3, open: &mut f32) -> Vec3 {
    let (side, sign) = Face::side(base);
    let eye = face.eyeballs[side];
    let (x, y) = ((base.x - eye.x) * sign, base.y - eye.y);
    if x * x + y * y > 14.0 {
        return colour;
    }
    let eyes = &face.identity.eyes;
    let place = face.eye_place(base);
    let dark = 0.3 * bump(x + 0.5, y + 1.0, 2.0, 1.0) * (0.5 + eyes.bags) + 0.22 * bump(x, y - 0.7, 2.3, 1.3);
    colour = colour * Vec3::ONE.mix(vec3(0.72, 0.6, 0.62), dark.min(1.0));
    let within = smoothstep(1.12, 0.98, place.across.abs());
    let above = place.up - place.upper;
    let below = place.lower - place.up;
    if eyes.crease > 0.0 {
        let outer = smoothstep(1.35, 0.9, place.across.abs());
        let crease = bump(above - eyes.crease - 0.06, 0.0, 0.16, 1.0) * outer;
        *open *= 1.0 - 0.5 * crease;
    }
    // Lashes: a dark line that is thicker outside; then the wet rim.
    let width = 0.05 + 0.1 * eyes.lashes * mix(0.6, 1.2, smoothstep(-1.0, 1.0, place.across));
    let beyond = smoothstep(1.2, 1.0, place.across.abs());
    let upper_lash = smoothstep(width * 1.3, width * 0.3, above) * smoothstep(-0.3, -0.02, above) * beyond;
    let lower_lash = 0.4 * eyes.lashes * smoothstep(0.16, 0.02, (below - 0.1).abs()) * within;
    let rim = smoothstep(0.1, 0.02, below.abs()) * within;
    colour = colour.mix(colour * vec3(0.95, 0.6, 0.58), rim * 0.8);
    let corner = bump(place.across + 1.0, place.up + 0.05, 0.16, 0.22);
    colour = colour.mix(vec3(0.35, 0.13, 0.12), corner * 0.7);
    colour.mix(Vec3::splat(0.012), (upper_lash * (0.55 + 0.45 * eyes.lashes)).max(lower_lash * 0.6))
}

fn around_nose(face: &Face, base: Vec3, colour: Vec3, open: &mut f32) -> Vec3 {
    let nose = &face.identity.nose;
    let (x, y) = (base.x.abs(), base.y + nose.tip);
    if x > 3.2 || !(-2.0..1.5).contains(&y) {
        return colour;
    }
    let nostril = bump(x - 0.62 * (nose.wing - 0.75), y + 0.62 - 0.1 * nose.upturn, 0.52, 0.36);
    let groove = bump(x - nose.wing - 0.1, y + 0.1, 0.3, 0.75);
    let under = bump(x, y + 0.95, 1.3, 0.5);
    *open *= (1.0 - 0.4 * groove) * (1.0 - 0.35 * under) * (1.0 - 0.9 * nostril.powf(0.7));
    colour.mix(colour * vec3(0.32, 0.14, 0.12), nostril.powf(0.6))
}

fn lips(face: &Face, base: Vec3, colour: Vec3, open: &mut f32) -> (Vec3, f32) {
    let half = face.mouth_half_width();
    let (x, y) = (base.x, base.y);
    let line = face.lip_line(x);
    if base.z < 3.0 || x.abs() > half + 0.6 || (y - line).abs() > 2.2 {
        return (colour, 0.0);
    }
    let (upper, lower) = face.lip_contours(x);
    let soft = mix(0.11, 0.06, face.look.lipstick);
    let inside = smoothstep(-soft, soft, (upper - y).min(y - lower)) * smoothstep(half + 0.1, half - 0.12, x.abs());
    let seed = face.identity.seed as u32;
    let furrows = if inside > 0.0 { 1.0 + 0.1 * noise(vec3(x * 7.0, y * 0.8, 0.0), seed ^ 31) } else { 1.0 };
    let natural = face.identity.mouth.colour;
    let painted =
        natural.mix(vec3(0.4, 0.025, 0.05).mix(natural * vec3(0.9, 0.45, 0.5), (seed % 7) as f32 / 7.0), face.look.lipstick * 0.75);
    let shade = if y > line { 0.82 } else { 1.0 };
    let seam = smoothstep(0.13, 0.02, (y - line).abs()) * smoothstep(half + 0.35, half - 0.1, x.abs());
    let corner = bump(x.abs() - half, y - line, 0.45, 0.3);
    let below = bump(y - lower + 0.45, 0.0, 0.6, 1.0) * (1.0 - (x / half).abs()).max(0.0);
    *open *= (1.0 - 0.72 * seam) * (1.0 - 0.5 * corner) * (1.0 - 0.2 * below);
    let mixed = colour.mix(painted * (furrows * shade), inside * 0.92);
    (mixed.mix(mixed * vec3(0.35, 0.2, 0.2), seam), inside)
}

fn marks(face: &Face, base: Vec3, mut colour: Vec3) -> Vec3 {
    let skin = &face.identity.skin;
    let seed = face.identity.seed as u32;
    if skin.freckles > 0.0 {
        let where_ = bump(base.x.abs() - 2.6, base.y + 2.3, 4.2, 3.4) + 0.3;
        let spot = smoothstep(0.42, 0.62, noise(base * 3.1, seed ^ 41)) * where_ * skin.freckles;
        colour = colour.mix(colour * vec3(0.7, 0.52, 0.4), spot.min(0.9));
    }
    for &(x, y, radius) in &skin.moles {
        let d = bump(base.x - x, base.y - y, radius * 1.4, radius * 1.4).sqrt();
        colour = colour.mix(vec3(0.07, 0.035, 0.025), 0.85 * d);
    }
    colour
}

/// 0…1: how open the skin lies between its lines.
fn lines(face: &Face, base: Vec3) -> f32 {
    let wear = face.identity.wear;
    let seed = face.identity.seed as u32;
    let (x, y) = (base.x.abs(), base.y);
    // Outside these heights no furrow of the forehead reaches.
    let wobble = if (3.3..6.8).contains(&y) { 0.25 * noise(vec3(base.x * 0.5, 7.0, 3.0), seed) } else { 0.0 };
    let brow_up = face.expression.brows.max(0.0);
    let forehead: f32 =
        [4.0, 5.1, 6.1].iter().map(|h| bump(y - h - wobble - 0.1 * (x * 0.8).cos(), 0.0, 0.26, 1.0)).sum::<f32>() * bump(x, 0.0, 5.5, 1.0);
    let frown = bump(x - 0.55, y - 1.9, 0.22, 1.2) * smoothstep(0.2, -0.8, face.expression.brows);
    let eye = face.eyeballs[1];
    let (cx, cy) = (x - eye.x - face.identity.eyes.half_width, y - eye.y);
    let fan = if cx > 0.2 { ((cy / (cx + 0.8)) * 9.0).cos().max(0.0).powi(3) * bump(cx - 0.9, cy, 1.1, 1.3) } else { 0.0 };
    let (beside, along) = face.fold_distance(base);
    let smile = face.expression.smile.max(0.0);
    let fold = bump(beside, 0.0, 0.36, 1.0) * along * (0.22 + 0.45 * wear + 0.4 * smile);
    let under_eye = bump(x - eye.x + 0.2, y + 1.45 - 0.1 * (x - eye.x).powi(2), 1.8, 0.2) * (0.25 + face.identity.eyes.bags);
    let dark = 0.38 * (wear + 0.8 * brow_up) * forehead * wear.max(brow_up)
        + 0.3 * wear * frown
        + (0.4 * wear + 0.25 * smile) * fan
        + 0.5 * fold
        + 0.3 * under_eye;
    (1.0 - dark).clamp(0.2, 1.0)
}
