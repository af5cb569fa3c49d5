//! Points, directions and rotations in the renderer's space: centimetres, x to the picture's right, y up, z towards the viewer.

use std::ops::{Add, AddAssign, Mul, Neg, Sub};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vec3 {
    pub x: f32,
    pub y: f32,
    pub z: f32,
}

pub const fn vec3(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

impl Add for Vec3 {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        vec3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}
impl AddAssign for Vec3 {
    fn add_assign(&mut self, o: Self) {
        *self = *self + o;
    }
}
impl Sub for Vec3 {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        vec3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}
impl Mul<f32> for Vec3 {
    type Output = Self;
    fn mul(self, k: f32) -> Self {
        vec3(self.x * k, self.y * k, self.z * k)
    }
}
/// Component by component: light on a colour.
impl Mul for Vec3 {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        vec3(self.x * o.x, self.y * o.y, self.z * o.z)
    }
}
impl Neg for Vec3 {
    type Output = Self;
    fn neg(self) -> Self {
        vec3(-self.x, -self.y, -self.z)
    }
}

impl Vec3 {
    pub const ZERO: Self = vec3(0.0, 0.0, 0.0);
    pub const ONE: Self = vec3(1.0, 1.0, 1.0);

    pub const fn splat(v: f32) -> Self {
        vec3(v, v, v)
    }
    pub fn dot(self, o: Self) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }
    pub fn cross(self, o: Self) -> Self {
        vec3(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
    }
    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }
    /// The direction; straight ahead where there is none.
    pub fn normalised(self) -> Self {
        let length = self.length();
        if length > 1e-12 { self * (1.0 / length) } else { vec3(0.0, 0.0, 1.0) }
    }
    pub fn mix(self, o: Self, t: f32) -> Self {
        self + (o - self) * t
    }
    pub fn map(self, f: impl Fn(f32) -> f32) -> Self {
        vec3(f(self.x), f(self.y), f(self.z))
    }
    /// Perceived brightness of a linear colour (BT.709).
    pub fn luminance(self) -> f32 {
        self.dot(vec3(0.2126, 0.7152, 0.0722))
    }
}

/// A rotation, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Rotation(Vec3, Vec3, Vec3);

impl Rotation {
    /// Radians. Positive yaw turns the face to the picture's right, positive pitch lifts it, positive roll tilts the head to the
    /// picture's right.
    pub fn new(yaw: f32, pitch: f32, roll: f32) -> Self {
        let ((sy, cy), (sp, cp), (sr, cr)) = (yaw.sin_cos(), (-pitch).sin_cos(), (-roll).sin_cos());
        let turned = |v: Vec3| {
            let v = vec3(v.x * cr - v.y * sr, v.x * sr + v.y * cr, v.z);
            let v = vec3(v.x, v.y * cp - v.z * sp, v.y * sp + v.z * cp);
            vec3(v.x * cy + v.z * sy, v.y, -v.x * sy + v.z * cy)
        };
        let (x, y, z) = (turned(vec3(1.0, 0.0, 0.0)), turned(vec3(0.0, 1.0, 0.0)), turned(vec3(0.0, 0.0, 1.0)));
        Self(vec3(x.x, y.x, z.x), vec3(x.y, y.y, z.y), vec3(x.z, y.z, z.z))
    }
    pub fn apply(&self, v: Vec3) -> Vec3 {
        vec3(self.0.dot(v), self.1.dot(v), self.2.dot(v))
    }
}

pub fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// 0 below `from`, 1 above `to`, smooth in between; `from` may be the larger.
pub fn smoothstep(from: f32, to: f32, v: f32) -> f32 {
    let t = ((v - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A bell of height 1 at distance 0 that is exactly 0 from distance 1 on. Takes the distance's square.
pub fn bell(squared: f32) -> f32 {
    if squared >= 1.0 {
        return 0.0;
    }
    let k = 1.0 - squared;
    k * k * k
}

/// [`bell`] with radii `rx`, `ry`.
pub fn bump(x: f32, y: f32, rx: f32, ry: f32) -> f32 {
    bell((x / rx) * (x / rx) + (y / ry) * (y / ry))
}

/// The larger of two, rounded where they meet over a width of about `k`.
pub fn smooth_max(a: f32, b: f32, k: f32) -> f32 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.max(b) + h * h * k * 0.25
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_turn_as_they_say_and_keep_lengths() {
        let nose = vec3(0.0, 0.0, 10.0);
        assert!(Rotation::new(0.3, 0.0, 0.0).apply(nose).x > 1.0, "to the picture's right");
        assert!(Rotation::new(0.0, 0.3, 0.0).apply(nose).y > 1.0, "up");
        assert!(Rotation::new(0.0, 0.0, 0.3).apply(vec3(0.0, 10.0, 0.0)).x > 1.0, "tilts to the right");
        let turned = Rotation::new(0.4, -0.7, 0.2).apply(vec3(3.0, -4.0, 12.0));
        assert!((turned.length() - 13.0).abs() < 1e-4);
    }

    #[test]
    fn shapes_are_what_they_say() {
        assert_eq!((bump(0.0, 0.0, 2.0, 1.0), bump(2.0, 0.0, 2.0, 1.0), bump(0.0, 1.5, 2.0, 1.0)), (1.0, 0.0, 0.0));
        assert_eq!((smoothstep(1.0, 2.0, 0.5), smoothstep(1.0, 2.0, 3.0), smoothstep(2.0, 1.0, 3.0)), (0.0, 1.0, 0.0));
        assert_eq!(smooth_max(5.0, 1.0, 1.0), 5.0);
        assert!(smooth_max(1.0, 1.0, 1.0) > 1.0);
    }
}
