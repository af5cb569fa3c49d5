//! Who somebody is: the measures and colours of one head, drawn from a seed. Centimetres unless the name says otherwise.
//!
//! Measures vary as anthropometric tables say heads vary, and some go together: a robust head has a stronger brow, a wider jaw and thinner
//! lips. Nothing here stands for an age, a sex or an origin: `robustness`, `wear` and `melanin` are knobs of the drawing.

use super::super::random::Random;
use super::super::vector::{Vec3, vec3};

/// What stays the same from picture to picture.
#[derive(Clone, Debug)]
pub struct Identity {
    pub seed: u64,
    pub skull: Skull,
    pub eyes: Eyes,
    pub brows: Brows,
    pub nose: Nose,
    pub mouth: Mouth,
    pub ears: Ears,
    pub skin: Skin,
    /// Linear colour.
    pub hair_colour: Vec3,
    /// 0…1: lines and slackness.
    pub wear: f32,
    /// 0…1.
    pub robustness: f32,
}

#[derive(Clone, Debug)]
pub struct Skull {
    /// Half widths relative to the mean head.
    pub width: f32,
    pub cheekbone: f32,
    pub jaw: f32,
    pub chin_width: f32,
    pub length: f32,
    /// Heights above (below) the eyes.
    pub crown: f32,
    pub chin: f32,
    pub chin_forward: f32,
    pub chin_cleft: f32,
    pub forehead_slope: f32,
    pub brow_ridge: f32,
    pub cheek_fullness: f32,
    pub muzzle: f32,
    /// How square a horizontal cut is; 2 is an ellipse.
    pub squareness: f32,
    /// Left side higher or larger by this share.
    pub asymmetry: f32,
}

#[derive(Clone, Debug)]
pub struct Eyes {
    /// Half the distance between the pupils.
    pub spacing: f32,
    pub half_width: f32,
    pub upper: f32,
    pub lower: f32,
    /// Radians; outer corners up.
    pub tilt: f32,
    pub depth: f32,
    /// Height of the lid's crease above its edge; 0: none.
    pub crease: f32,
    pub bags: f32,
    pub iris: Vec3,
    pub lashes: f32,
}

#[derive(Clone, Debug)]
pub struct Brows {
    pub height: f32,
    pub thickness: f32,
    pub arch: f32,
    pub tilt: f32,
    pub inner: f32,
    pub outer: f32,
    pub density: f32,
}

#[derive(Clone, Debug)]
pub struct Nose {
    /// Height of the tip below the eyes.
    pub tip: f32,
    pub projection: f32,
    pub bridge: f32,
    pub bridge_width: f32,
    pub hump: f32,
    pub tip_width: f32,
    pub wing: f32,
    pub upturn: f32,
    pub bend: f32,
}

#[derive(Clone, Debug)]
pub struct Mouth {
    /// Height of the line between the lips below the eyes.
    pub height: f32,
    pub half_width: f32,
    pub upper: f32,
    pub lower: f32,
    pub bow: f32,
    pub pout: f32,
    pub corners: f32,
    pub colour: Vec3,
}

#[derive(Clone, Debug)]
pub struct Ears {
    pub size: f32,
    /// Radians from the head.
    pub flare: f32,
    pub height: f32,
}

#[derive(Clone, Debug)]
pub struct Skin {
    /// Linear colour.
    pub tone: Vec3,
    /// 0 very light … 1 very dark.
    pub melanin: f32,
    pub redness: f32,
    pub blotches: f32,
    pub freckles: f32,
    pub gloss: f32,
    pub shadow_of_beard: f32,
    /// Place on the base surface (x, y) and radius.
    pub moles: Vec<(f32, f32, f32)>,
}

/// Heads of one drawing's style resemble each other; wider spreads than people's make up for it.
const VARIETY: f32 = 1.45;

fn vary(r: &mut Random, mean: f32, spread: f32) -> f32 {
    r.around(mean, VARIETY * spread)
}

fn linear(r: u8, g: u8, b: u8) -> Vec3 {
    vec3(f32::from(r), f32::from(g), f32::from(b)).map(|v| (v / 255.0).powf(2.2))
}

/// A colour between the given ones; `t` in 0…1 runs through all.
pub fn along(colours: &[Vec3], t: f32) -> Vec3 {
    let at = t.clamp(0.0, 0.999) * (colours.len() - 1) as f32;
    let i = at as usize;
    colours[i].mix(colours[(i + 1).min(colours.len() - 1)], at - i as f32)
}

impl Identity {
    pub fn from_seed(seed: u64) -> Self {
        let mut r = Random::new(seed, "identity");
        let robustness = r.around(0.5, 0.27).clamp(0.0, 1.0);
        let wear = (r.unit() * r.unit() * 1.25).min(1.0);
        let skin = Skin::draw(&mut Random::new(seed, "skin"), robustness);
        let mouth = Mouth::draw(&mut Random::new(seed, "mouth"), robustness, &skin);
        let eyes = Eyes::draw(&mut Random::new(seed, "eyes"), robustness, wear, skin.melanin);
        let nose = Nose::draw(&mut Random::new(seed, "nose"), robustness, mouth.height);
        Self {
            seed,
            skull: Skull::draw(&mut Random::new(seed, "skull"), robustness, mouth.height),
            eyes,
            brows: Brows::draw(&mut Random::new(seed, "brows"), robustness),
            nose,
            mouth,
            ears: Ears::draw(&mut Random::new(seed, "ears")),
            hair_colour: hair_colour(&mut Random::new(seed, "hair colour"), skin.melanin, wear),
            skin,
            wear,
            robustness,
        }
    }
}

impl Skull {
    fn draw(r: &mut Random, robustness: f32, mouth: f32) -> Self {
        let k = robustness - 0.5;
        Self {
            width: vary(r, 1.0, 0.045),
            cheekbone: vary(r, 1.0, 0.04),
            jaw: vary(r, 0.98 + 0.12 * k, 0.06),
            chin_width: vary(r, 1.0 + 0.25 * k, 0.14),
            length: vary(r, 1.0, 0.04),
            crown: vary(r, 11.6, 0.5),
            chin: mouth + vary(r, 4.55 + 0.5 * k, 0.4),
            chin_forward: vary(r, 0.1 + 0.25 * k, 0.35),
            chin_cleft: if r.chance(0.2) { r.within(0.05, 0.2) } else { 0.0 },
            forehead_slope: vary(r, 0.5 + 0.8 * k, 0.4),
            brow_ridge: vary(r, 0.22 + 0.35 * k, 0.12).max(0.0),
            cheek_fullness: vary(r, 0.0, 0.4),
            muzzle: vary(r, 0.5, 0.2),
            squareness: vary(r, 2.3, 0.12),
            asymmetry: vary(r, 0.0, 0.02),
        }
    }
}

impl Eyes {
    fn draw(r: &mut Random, robustness: f32, wear: f32, melanin: f32) -> Self {
        let brown = [linear(52, 30, 18), linear(90, 55, 30), linear(120, 84, 50)];
        let light = [linear(96, 110, 70), linear(110, 130, 140), linear(80, 115, 160)];
        let is_light = r.chance((0.75 - 1.6 * melanin).max(0.0));
        let iris = along(if is_light { &light } else { &brown }, r.unit());
        Self {
            spacing: vary(r, 3.2, 0.17),
            half_width: vary(r, 1.52, 0.09),
            upper: (vary(r, 0.53 - 0.08 * (robustness - 0.5), 0.08) - 0.08 * wear).max(0.25),
            lower: vary(r, 0.5, 0.05),
            tilt: vary(r, 0.05, 0.06),
            depth: vary(r, 0.0, 0.25) + 0.3 * (robustness - 0.5),
            crease: if r.chance(0.22) { 0.0 } else { vary(r, 0.34, 0.1).max(0.12) },
            bags: (vary(r, 0.2, 0.2) + 0.6 * wear).max(0.0),
            iris,
            lashes: vary(r, 0.75 - 0.5 * (robustness - 0.5), 0.2).clamp(0.2, 1.0),
        }
    }
}

impl Brows {
    fn draw(r: &mut Random, robustness: f32) -> Self {
        let k = robustness - 0.5;
        Self {
            height: vary(r, 1.95 - 0.4 * k, 0.2),
            thickness: vary(r, 0.44 + 0.16 * k, 0.09).max(0.2),
            arch: vary(r, 0.3 - 0.25 * k, 0.15),
            tilt: vary(r, 0.05, 0.1),
            inner: vary(r, 1.25 - 0.3 * k, 0.25).max(0.5),
            outer: vary(r, 5.0, 0.25),
            density: vary(r, 0.75 + 0.2 * k, 0.15).clamp(0.25, 1.0),
        }
    }
}

impl Nose {
    fn draw(r: &mut Random, robustness: f32, mouth: f32) -> Self {
        let k = robustness - 0.5;
        let tip = mouth - vary(r, 2.75, 0.22);
        Self {
            tip,
            projection: vary(r, 2.0 + 0.3 * k, 0.26).max(1.1),
            bridge: vary(r, 0.62 + 0.3 * k, 0.22).max(0.12),
            bridge_width: vary(r, 0.84, 0.11),
            hump: vary(r, 0.02 + 0.12 * k, 0.13),
            tip_width: vary(r, 1.0, 0.12),
            wing: vary(r, 1.72 + 0.16 * k, 0.19),
            upturn: vary(r, 0.0, 0.16),
            bend: vary(r, 0.0, 0.07),
        }
    }
}

impl Mouth {
    fn draw(r: &mut Random, robustness: f32, skin: &Skin) -> Self {
        let k = robustness - 0.5;
        let rosy = skin.tone * vec3(1.02, 0.62, 0.62);
        Self {
            height: vary(r, 6.95 + 0.25 * k, 0.32),
            half_width: vary(r, 2.6 + 0.15 * k, 0.2),
            upper: vary(r, 0.6 - 0.3 * k + 0.2 * (skin.melanin - 0.4), 0.14).max(0.2),
            lower: vary(r, 0.9 - 0.35 * k + 0.25 * (skin.melanin - 0.4), 0.16).max(0.35),
            bow: vary(r, 0.5, 0.25).max(0.0),
            pout: vary(r, 0.45, 0.12),
            corners: vary(r, 0.0, 0.1),
            colour: rosy * r.within(0.8, 1.05),
        }
    }
}

impl Ears {
    fn draw(r: &mut Random) -> Self {
        Self { size: r.around(0.94, 0.08), flare: r.around(0.36, 0.13).clamp(0.1, 0.8), height: r.around(0.0, 0.3) }
    }
}

impl Skin {
    fn draw(r: &mut Random, robustness: f32) -> Self {
        let melanin = r.unit();
        let tones = [
            linear(236, 196, 174),
            linear(226, 180, 152),
            linear(208, 160, 128),
            linear(178, 127, 96),
            linear(132, 88, 64),
            linear(84, 57, 43),
        ];
        let warmth = r.around(0.0, 0.05);
        let tone = along(&tones, melanin) * vec3(1.0 + 0.4 * warmth, 1.0, 1.0 - warmth) * r.within(0.92, 1.06);
        let freckles = if r.chance(0.25 * (1.0 - melanin)) { r.within(0.3, 1.0) } else { 0.0 };
        let moles = (0..r.below(6)).map(|_| (r.within(-5.5, 5.5), r.within(-9.0, 6.0), r.within(0.08, 0.22))).collect();
        Self {
            tone,
            melanin,
            redness: r.around(0.5, 0.25).max(0.0),
            blotches: r.around(0.5, 0.2).max(0.1),
            freckles,
            gloss: r.around(0.5, 0.2).clamp(0.1, 1.0),
            shadow_of_beard: ((robustness - 0.5) * 2.6 + r.around(0.1, 0.3)).clamp(0.0, 1.0),
            moles,
        }
    }
}

fn hair_colour(r: &mut Random, melanin: f32, wear: f32) -> Vec3 {
    let dark = [linear(14, 12, 12), linear(28, 22, 19), linear(48, 34, 26), linear(74, 50, 34)];
    let light = [linear(104, 72, 44), linear(150, 112, 70), linear(198, 164, 112), linear(140, 70, 36)];
    let colour = if r.chance((0.7 - 1.3 * melanin).max(0.03)) { along(&light, r.unit()) } else { along(&dark, r.unit()) };
    let grey = ((wear - 0.45) * 2.2 + r.around(0.0, 0.25)).clamp(0.0, 1.0);
    colour.mix(linear(176, 174, 172), grey * r.within(0.6, 1.0))
}
