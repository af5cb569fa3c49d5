//! The face's relief: eyes, brows, nose, mouth and cheeks as displacements of the skull, moved by the expression.
//!
//! `base` is always a point of the undisplaced skull; `lift` says where it goes. Where features lie on the base does not depend on the
//! head's pose, so landmarks and paint agree with the mesh by construction.

use super::super::vector::{Vec3, bump, mix, smooth_max, smoothstep, vec3};
use super::identity::Identity;
use super::look::{Expression, Look};

pub const EYEBALL: f32 = 1.45;
/// Eyeballs are drawn wider than they are, so that the lids' corners lie on them.
pub const EYEBALL_WIDTH: f32 = 1.35;
const LID: f32 = 0.15;

/// One head in one moment.
#[derive(Clone, Debug)]
pub struct Face {
    pub identity: Identity,
    pub look: Look,
    pub expression: Expression,
    /// Right eye's (picture's left) and left eye's centre.
    pub eyeballs: [Vec3; 2],
    /// How far the jaw has dropped.
    pub drop: f32,
}

/// Position in an eye's own axes: towards the ear, and up; in half widths of the opening for `across`.
#[derive(Clone, Copy, Debug)]
pub struct EyePlace {
    pub across: f32,
    pub up: f32,
    /// The lids' edges at this place.
    pub upper: f32,
    pub lower: f32,
}

impl Face {
    pub fn new(identity: Identity, look: Look, expression: Expression) -> Self {
        let drop = 2.4 * expression.open.clamp(0.0, 1.0);
        let mut face = Self { identity, look, expression, eyeballs: [Vec3::ZERO; 2], drop };
        let eyes = &face.identity.eyes;
        let skull = &face.identity.skull;
        let front = skull.front_at(eyes.spacing, 0.0);
        let z = front - 0.72 - 0.4 * eyes.depth - EYEBALL;
        let lean = skull.asymmetry * eyes.spacing;
        face.eyeballs = [vec3(-eyes.spacing, -lean, z), vec3(eyes.spacing, lean, z)];
        face
    }

    pub fn side(base: Vec3) -> (usize, f32) {
        if base.x < 0.0 { (0, -1.0) } else { (1, 1.0) }
    }

    pub fn eye_place(&self, base: Vec3) -> EyePlace {
        let (side, sign) = Self::side(base);
        let eyes = &self.identity.eyes;
        let (x, y) = ((base.x - self.eyeballs[side].x) * sign, base.y - self.eyeballs[side].y);
        let across = x / eyes.half_width;
        let up = y - (across * eyes.half_width) * eyes.tilt.tan();
        let e = &self.expression;
        let squint = 1.0 - 0.3 * e.smile.max(0.0);
        let arch = |peak: f32, power: f32| {
            // The arch is highest at `peak`; both ends meet the corners.
            let t = if across < peak { (across - peak) / (1.0 + peak) } else { (across - peak) / (1.0 - peak) };
            1.0 - t.abs().min(1.2).powf(power)
        };
        let lower = -eyes.lower * squint * arch(0.15, 2.1);
        let open_upper = eyes.upper * (1.0 + 0.15 * e.brows - 0.08 * e.smile.max(0.0)) * arch(-0.12, 2.3);
        let shut = (e.blink + 0.12).clamp(0.0, 1.0) - 0.12;
        let upper = mix(open_upper, -eyes.lower * 0.75 * arch(0.0, 2.0), shut.max(-0.12));
        EyePlace { across, up, upper, lower }
    }

    /// True within the opening between the lids.
    pub fn in_eye_opening(&self, base: Vec3) -> bool {
        let (side, _) = Self::side(base);
        let (dx, dy) = (base.x - self.eyeballs[side].x, base.y - self.eyeballs[side].y);
        if base.z < 3.0 || dx * dx + dy * dy > 6.0 {
            return false;
        }
        let place = self.eye_place(base);
        place.across.abs() < 1.0 && place.up < place.upper && place.up > place.lower
    }

    pub fn mouth_half_width(&self) -> f32 {
        self.identity.mouth.half_width
            * (1.0 + 0.16 * self.expression.smile - 0.13 * self.expression.pout.max(0.0) - 0.08 * self.expression.open)
    }

    /// Height of the line between the lips at `x`.
    pub fn lip_line(&self, x: f32) -> f32 {
        let t = (x / self.mouth_half_width()).clamp(-1.3, 1.3);
        let mouth = &self.identity.mouth;
        let corners = mouth.corners + 0.42 * self.expression.smile + self.identity.skull.asymmetry * x;
        -mouth.height + corners * t * t - 0.07 * (1.0 - t * t)
    }

    /// (upper contour, lower contour) of the lips' red at `x`; both on the line outside the mouth.
    pub fn lip_contours(&self, x: f32) -> (f32, f32) {
        let t = x / self.mouth_half_width();
        let c = (1.0 - t * t).max(0.0);
        let mouth = &self.identity.mouth;
        let e = &self.expression;
        let thin = 1.0 - 0.28 * e.smile.max(0.0) + 0.15 * e.pout;
        let dip = 1.0 - 0.3 * mouth.bow * (-(x / 0.42) * (x / 0.42)).exp();
        let line = self.lip_line(x);
        (line + mouth.upper * thin * dip * c.powf(0.75), line - mouth.lower * thin * c.powf(0.85))
    }

    /// True between the lips of an open mouth.
    pub fn in_mouth_opening(&self, base: Vec3) -> bool {
        if self.drop < 0.05 || base.z < 3.0 || base.x.abs() > self.mouth_half_width() {
            return false;
        }
        let t = base.x / self.mouth_half_width();
        let gap = 0.16 * (1.0 - t * t).max(0.0).sqrt();
        (base.y - self.lip_line(base.x)).abs() < gap
    }

    /// Where a point of the skull goes.
    pub fn lift(&self, base: Vec3) -> Vec3 {
        let front = smoothstep(0.5, 3.5, base.z);
        if front <= 0.0 {
            return self.mould(base, base);
        }
        let mut p = self.mould(base, base);
        p.z += front * (self.orbit(base) + self.cheeks(base) + self.lips(base));
        p.z = mix(p.z, self.lids(base, p.z), front);
        let nose = self.nose(base);
        p.z += front * nose;
        // Wings and tip also widen.
        p.x += 0.12 * nose * base.x.signum() * bump(base.x.abs() - 1.2, base.y + self.identity.nose.tip, 1.2, 1.2);
        self.jaw_drop(base, p)
    }

    /// Large, soft masses: temples, jaw muscles, cheekbones, chin.
    fn mould(&self, base: Vec3, mut p: Vec3) -> Vec3 {
        let skull = &self.identity.skull;
        let (x, y) = (base.x.abs(), base.y);
        let outward = vec3(base.x, 0.0, (base.z - 1.0).max(0.0)).normalised();
        let temple = -0.45 * bump(x - 7.0, y - 2.2, 3.0, 3.5) * smoothstep(-2.0, 4.0, base.z);
        let bone = (0.32 + 0.9 * (skull.cheekbone - 1.0) - 0.1 * skull.cheek_fullness) * bump(x - 5.2, y + 2.3, 3.2, 2.0);
        let hollow = (0.5 * skull.cheek_fullness - 0.3) * bump(x - 4.9, y + 5.6, 3.0, 3.2);
        p += outward * ((temple + bone + hollow) * smoothstep(-1.0, 3.0, base.z));
        let chin = -skull.chin + 1.5;
        if base.z > 2.0 {
            p.z += 0.5 * bump(x, y - chin, 2.6, 2.2) - skull.chin_cleft * bump(x, y - chin, 0.35, 1.0);
            p.z -= 0.35 * bump(x, y - chin - 1.7, 2.4, 1.1);
        }
        p
    }

    /// Sockets, brow ridge, root of the nose.
    fn orbit(&self, base: Vec3) -> f32 {
        let (side, sign) = Self::side(base);
        let eye = self.eyeballs[side];
        let (x, y) = ((base.x - eye.x) * sign, base.y - eye.y);
        let eyes = &self.identity.eyes;
        let socket = -(0.72 + 0.35 * eyes.depth) * bump(x + 0.1, y - 0.1, 3.1, 2.5) - 0.42 * bump(x + 1.75, y - 0.35, 1.5, 1.7);
        let brow_y = self.identity.brows.height + 0.45 * self.expression.brows;
        let ridge = self.identity.skull.brow_ridge * bump(x - 0.1, y - brow_y + 0.15 + 0.05 * x * x, 3.6, 1.3);
        let glabella = 0.6 * self.identity.skull.brow_ridge * bump(base.x, base.y - 1.7, 2.2, 1.6);
        let bag = 0.12 * eyes.bags * bump(x - 0.1, y + 1.15, 1.7, 0.62) - 0.1 * eyes.bags * bump(x - 0.1, y + 1.75, 2.2, 0.5);
        let place = self.eye_place(base);
        let fold = if eyes.crease > 0.0 && place.across.abs() < 1.15 {
            let off = place.up - place.upper - eyes.crease;
            -0.09 * bump(off, 0.0, 0.22, 1.0) + 0.08 * bump(off - 0.3, 0.0, 0.4, 1.0)
        } else {
            0.06 * bump(x, y - 1.0, 1.8, 0.9)
        };
        socket + ridge + glabella + bag + fold
    }

    /// The lids lie on the eyeball.
    fn lids(&self, base: Vec3, z: f32) -> f32 {
        let (side, _) = Self::side(base);
        let eye = self.eyeballs[side];
        let (dx, dy) = (base.x - eye.x, base.y - eye.y);
        let flat = (dx / EYEBALL_WIDTH).powi(2) + dy * dy;
        let radius = EYEBALL + LID;
        if flat > radius * radius {
            return z;
        }
        let on_ball = eye.z + (radius * radius - flat).sqrt();
        let place = self.eye_place(base);
        let off = place.across.abs().max(0.6) + (place.up - place.upper).max(place.lower - place.up).max(0.0) * 1.2;
        mix(smooth_max(z, on_ball, 0.3), on_ball, smoothstep(1.45, 1.05, off))
    }

    fn nose(&self, base: Vec3) -> f32 {
        let nose = &self.identity.nose;
        let y = base.y;
        let (top, tip) = (0.9, -nose.tip);
        let s = (top - y) / (top - tip);
        let x = base.x - nose.bend * (s * 3.0).sin();
        let under = 0.95 - 0.2 * nose.upturn;
        let droop = 0.5 * self.expression.smile.max(0.0) * 0.1;
        let (height, width) = if s < 0.0 {
            (nose.bridge * smoothstep(-0.42, 0.0, s), nose.bridge_width * 1.25)
        } else if s <= 1.0 {
            let rise = mix(nose.bridge, nose.projection, s.powf(1.2)) + nose.hump * bump(s - 0.38, 0.0, 0.32, 1.0);
            let ball = 0.22 * bump(s - 0.96, 0.0, 0.22, 1.0);
            (rise + ball, mix(nose.bridge_width, nose.tip_width, s * s))
        } else {
            let k = ((tip - y) / under).min(1.0);
            ((nose.projection + 0.22) * (1.0 - k.powf(1.8 - nose.upturn)).max(0.0).powf(0.75), nose.tip_width * (1.0 - 0.15 * k))
        };
        let q = x.abs() / width;
        let ridge = height * (-0.8 * q.powf(1.9)).exp();
        let slope = 0.55 * smoothstep(0.05, 0.5, s) * smoothstep(1.5, 1.0, s) * bump(x, 0.0, 2.6, 1.0);
        let wing_x = nose.wing * (1.0 + 0.08 * self.expression.smile.max(0.0)) - 0.55;
        let wing = 1.2 * bump(x.abs() - wing_x, y - tip + 0.22 - droop, 0.9, 0.85).powf(0.55);
        let groove = -0.2 * bump(x.abs() - wing_x - 0.68, y - tip + 0.2, 0.42, 0.9);
        smooth_max(ridge, wing, 0.5) - 0.03 + slope + groove
    }

    /// Muzzle, lips, philtrum and the furrow below.
    fn lips(&self, base: Vec3) -> f32 {
        let (x, y) = (base.x, base.y);
        let mouth = &self.identity.mouth;
        let half = self.mouth_half_width();
        let t = (x / half).clamp(-1.0, 1.0);
        let c = 1.0 - t * t;
        let line = self.lip_line(x);
        let muzzle = self.identity.skull.muzzle * bump(x, y + mouth.height, 4.2, 3.4);
        let (upper, lower) = self.lip_contours(x);
        let pout = mouth.pout + 0.35 * self.expression.pout;
        let top = pout * 0.95 * c.powf(0.6) * bump(y - mix(line, upper, 0.42), 0.0, (upper - line).max(0.12) * 1.25, 1.0);
        let bottom = pout * 1.15 * c.powf(0.7) * bump(y - mix(line, lower, 0.5), 0.0, (line - lower).max(0.16) * 1.15, 1.0);
        let seam = -0.22 * bump(y - line, 0.0, 0.2, 1.0) * smoothstep(1.12, 0.9, (x / half).abs());
        let corner = -0.22 * bump(x.abs() - half - 0.05, y - line, 0.7, 0.6);
        let philtrum = (-0.13 * bump(x, 0.0, 0.32, 1.0) + 0.07 * bump(x.abs() - 0.42, 0.0, 0.3, 1.0))
            * bump(y - mix(upper, -self.identity.nose.tip - 0.9, 0.5), 0.0, 0.9, 1.0);
        muzzle + top.max(0.0) + bottom.max(0.0) + seam + corner + philtrum
    }

    /// Apples of the cheeks and the folds beside the mouth.
    fn cheeks(&self, base: Vec3) -> f32 {
        let (x, y) = (base.x.abs(), base.y);
        let smile = self.expression.smile.max(0.0);
        let skull = &self.identity.skull;
        let apple = (0.22 + 0.45 * smile + 0.15 * skull.cheek_fullness) * bump(x - 3.9, y + 3.7 - 0.4 * smile, 2.6, 2.2);
        let beside = self.fold_distance(base);
        let depth = 0.07 + 0.22 * smile + 0.16 * self.identity.wear + 0.05 * skull.cheek_fullness.max(0.0);
        let fold = -depth * bump(beside.0, 0.0, 0.5, 1.0) * beside.1 + 0.5 * depth * bump(beside.0 - 0.75, 0.0, 0.8, 1.0) * beside.1;
        apple + fold
    }

    /// (distance outwards from the fold that runs from the nose's wing past the mouth's corner, strength along it).
    pub fn fold_distance(&self, base: Vec3) -> (f32, f32) {
        let from = -self.identity.nose.tip + 0.35;
        let to = -self.identity.mouth.height - 0.9;
        let s = (base.y - from) / (to - from);
        let x0 = self.identity.nose.wing + 0.35;
        let x1 = self.mouth_half_width() + 0.85;
        let at = mix(x0, x1, s.clamp(-0.2, 1.2).max(0.0).powf(0.8));
        (base.x.abs() - at, smoothstep(-0.1, 0.25, s) * smoothstep(1.15, 0.7, s))
    }

    /// The jaw swings open: below the lip line everything goes down.
    fn jaw_drop(&self, base: Vec3, mut p: Vec3) -> Vec3 {
        let line = self.lip_line(base.x);
        let t = (base.x / self.mouth_half_width()).abs().min(1.0);
        let c = (1.0 - t * t).max(0.0).sqrt();
        let between = smoothstep(line + 0.12, line - 0.12, base.y);
        let below = smoothstep(line, line - 2.6, base.y);
        let share = (between * c).max(below) * smoothstep(7.4, 3.6, base.x.abs()) * smoothstep(-1.0, 5.0, base.z);
        let raise = smoothstep(line - 0.05, line + 0.3, base.y) * c * bump(base.x, base.y - line, 4.0, 1.6);
        p.y += -self.drop * share + 0.12 * self.drop * raise;
        p.z -= 0.22 * self.drop * share;
        p
    }

    /// Depth and height of a place on the front of the face, by its base coordinates.
    pub fn on_front(&self, x: f32, y: f32) -> Vec3 {
        self.lift(vec3(x, y, self.identity.skull.front_at(x, y)))
    }

    /// Eye (picture's left), eye (right), nose tip, mouth corner (left), mouth corner (right), on the head, not yet posed.
    pub fn landmarks(&self) -> [Vec3; 5] {
        let eye = |side: usize| {
            let centre = self.eyeballs[side];
            vec3(centre.x, centre.y + 0.06, centre.z + EYEBALL + 0.05)
        };
        let half = self.mouth_half_width();
        let corner = |x: f32| self.on_front(x, self.lip_line(x));
        [eye(0), eye(1), self.on_front(0.0, 0.35 - self.identity.nose.tip), corner(-half), corner(half)]
    }
}
