//! What changes from picture to picture: hair, beard, glasses, mask, make-up, and what the face is doing.

use super::super::random::Random;
use super::super::vector::{Vec3, vec3};
use super::identity::Identity;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HairStyle {
    Bald,
    Receding,
    Buzz,
    Short,
    Swept,
    Fringe,
    Curly,
    TiedBack,
    Bob,
    Long,
    Scarf,
    Cap,
}

impl HairStyle {
    pub const ALL: [Self; 12] = [
        Self::Bald,
        Self::Receding,
        Self::Buzz,
        Self::Short,
        Self::Swept,
        Self::Fringe,
        Self::Curly,
        Self::TiedBack,
        Self::Bob,
        Self::Long,
        Self::Scarf,
        Self::Cap,
    ];
}

#[derive(Clone, Debug)]
pub struct Look {
    pub hair: HairStyle,
    /// −1…1: where the parting is.
    pub parting: f32,
    /// Height of the hairline's change, cm.
    pub hairline: f32,
    /// Relative thickness.
    pub volume: f32,
    pub beard: Beard,
    pub glasses: Option<Glasses>,
    pub mask: Option<Vec3>,
    pub lipstick: f32,
    /// Linear colours.
    pub cloth: Vec3,
    pub scarf: Vec3,
}

/// Lengths from 0 (none) to 1 (full).
#[derive(Clone, Copy, Debug, Default)]
pub struct Beard {
    pub chin: f32,
    pub cheeks: f32,
    pub moustache: f32,
}

#[derive(Clone, Debug)]
pub struct Glasses {
    /// Half width and half height of a lens, cm.
    pub half_width: f32,
    pub half_height: f32,
    /// 2: ellipse; larger: squarer.
    pub squareness: f32,
    pub thickness: f32,
    pub colour: Vec3,
    /// 0 clear … 1 sun.
    pub tint: f32,
}

/// What the face is doing, all relaxed at 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expression {
    pub smile: f32,
    pub open: f32,
    pub blink: f32,
    pub brows: f32,
    pub pout: f32,
    /// Where the eyes look, radians right and up.
    pub gaze: (f32, f32),
}

impl Expression {
    pub fn draw(r: &mut Random) -> Self {
        let smile = if r.chance(0.45) { r.within(0.1, 1.0) } else { r.around(0.0, 0.15) };
        Self {
            smile: smile.clamp(-0.5, 1.0),
            open: if r.chance(0.3) { r.within(0.05, 0.8) } else { 0.0 },
            blink: if r.chance(0.06) { r.within(0.5, 1.0) } else { r.within(-0.1, 0.25) },
            brows: r.around(0.0, 0.35),
            pout: r.around(0.0, 0.3),
            gaze: (r.around(0.0, 0.18), r.around(0.0, 0.09)),
        }
    }
}

impl Expression {
    /// As much of it as `share` says; relaxed at 0.
    pub fn scaled(self, share: f32) -> Self {
        let Self { smile, open, blink, brows, pout, gaze } = self;
        let gaze = (gaze.0 * share, gaze.1 * share);
        Self { smile: smile * share, open: open * share, blink: blink * share, brows: brows * share, pout: pout * share, gaze }
    }
}

fn cloth_colour(r: &mut Random) -> Vec3 {
    let (hue, strength, value) = (r.unit() * std::f32::consts::TAU, r.unit() * r.unit(), 0.02 + 0.6 * r.unit() * r.unit());
    let channel = |shift: f32| value * (1.0 + strength * (hue + shift).cos()).max(0.05);
    vec3(channel(0.0), channel(2.094), channel(4.189))
}

impl Look {
    /// How this person usually looks; `occasion` 0 is the most usual.
    pub fn of(identity: &Identity, occasion: u64) -> Self {
        let mut usual = Random::new(identity.seed, "look");
        let mut r = Random::new(identity.seed ^ occasion.wrapping_mul(0xd1b5_4a32_d192_ed03), "occasion");
        let k = identity.robustness;
        let long = (1.0 - k) * 1.6;
        let bald = k * (0.25 + identity.wear);
        let weights = [0.25 * bald, 0.8 * bald, k, 1.4 * k + 0.2, 1.2, 0.7, 0.5, long, 0.6 * long, 1.3 * long, 0.3 * long, 0.12];
        let mut hair = HairStyle::ALL[usual.weighted(&weights)];
        if occasion > 0 && r.chance(0.25) {
            let keeps = matches!(hair, HairStyle::Bald | HairStyle::Receding | HairStyle::Scarf);
            hair = if keeps { hair } else { HairStyle::ALL[r.weighted(&weights)] };
        }
        let bearded = usual.chance((1.3 * k - 0.45).clamp(0.0, 0.7));
        let beard = if bearded { Beard::draw(&mut usual) } else { Beard::default() };
        let wears_glasses = usual.chance(0.22);
        let glasses = Glasses::draw(&mut usual);
        let has_glasses = if occasion == 0 { wears_glasses } else { wears_glasses != r.chance(0.12) };
        Self {
            hair,
            parting: usual.within(-0.8, 0.8),
            hairline: usual.around(0.0, 0.45),
            volume: usual.around(1.0, 0.2) * r.around(1.0, 0.08),
            beard: if occasion > 0 && r.chance(0.2) { Beard::default() } else { beard },
            glasses: has_glasses.then_some(glasses),
            mask: None,
            lipstick: if r.chance(0.5 * (1.0 - k)) { r.within(0.2, 1.0) } else { 0.0 },
            cloth: cloth_colour(&mut r),
            scarf: cloth_colour(&mut usual),
        }
    }

    pub fn with_mask(mut self, r: &mut Random) -> Self {
        let colours = [vec3(0.32, 0.55, 0.72), vec3(0.8, 0.82, 0.84), vec3(0.75, 0.8, 0.82), vec3(0.02, 0.02, 0.022), cloth_colour(r)];
        self.mask = Some(r.pick(&colours));
        self
    }
}

impl Beard {
    fn draw(r: &mut Random) -> Self {
        let full = r.within(0.25, 1.0);
        match r.below(4) {
            0 => Self { chin: 0.0, cheeks: 0.0, moustache: full },
            1 => Self { chin: full, cheeks: 0.0, moustache: full },
            2 => Self { chin: full, cheeks: full, moustache: full },
            _ => Self { chin: 0.3, cheeks: 0.3, moustache: 0.3 },
        }
    }
}

impl Glasses {
    fn draw(r: &mut Random) -> Self {
        let metal = r.chance(0.4);
        let colours = [vec3(0.01, 0.01, 0.012), vec3(0.05, 0.025, 0.012), vec3(0.12, 0.02, 0.02), vec3(0.02, 0.04, 0.1)];
        Self {
            half_width: r.around(2.5, 0.18),
            half_height: r.within(1.5, 2.2),
            squareness: r.within(2.0, 4.5),
            thickness: if metal { 0.1 } else { r.within(0.16, 0.36) },
            colour: if metal { vec3(0.35, 0.33, 0.3) } else { r.pick(&colours) },
            tint: if r.chance(0.08) { r.within(0.6, 0.93) } else { r.unit() * 0.1 },
        }
    }
}
