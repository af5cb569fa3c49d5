//! Motion of one face box: a Kalman filter of constant velocity over centre, aspect ratio and height, as in SORT (Bewley et al., ICIP
//! 2016) and ByteTrack (Zhang et al., ECCV 2022), in real time instead of frames.
//!
//! With measurements of position only and diagonal noise, the eight-dimensional filter falls apart into four of two dimensions
//! (value, rate) that share nothing, so it is computed as such: no matrices, the same numbers.
//!
//! Time is in seconds and the process noise is that of a randomly accelerated point (continuous white acceleration of spectral density
//! q): `Q(dt) = q · [dt³/3 dt²/2; dt²/2 dt]`. So two predictions of a and b seconds equal one of a + b: skipped frames change nothing
//! but the uncertainty. All noise scales with the face's last measured height, so a face far away moves like one near by.
//!
//! Units: pixels, seconds. Owner: the track worker.

use crate::frame::BoundingBox;

/// Standard deviation of a detected box's centre and height, in face heights (ByteTrack: 1/20).
const MEASURED_STD: f64 = 0.05;
/// Standard deviation of a detected aspect ratio (width over height): a head that turns changes it.
const ASPECT_STD: f64 = 0.05;
/// Rate a face may have when first seen, standard deviation, in face heights a second: a person who walks by does 6.
const FIRST_RATE_STD: f64 = 4.0;
/// Spectral density of a head's acceleration, in (face heights)² a second³: some 6 heights/s² that last a third of a second.
const ACCELERATION: f64 = 10.0;
/// The same for height: it changes only as fast as somebody walks up.
const GROWTH_ACCELERATION: f64 = 0.1;
/// The same for the aspect ratio, which has no scale.
const ASPECT_ACCELERATION: f64 = 0.01;
/// The box never grows or shrinks by more than this factor between two sightings, whatever the rates say.
const MOST_GROWTH: f64 = 2.0;

/// One value and its rate, with their covariance.
#[derive(Clone, Copy, Debug)]
struct Axis {
    value: f64,
    rate: f64,
    value_variance: f64,
    covariance: f64,
    rate_variance: f64,
}

impl Axis {
    fn at(value: f64, value_std: f64, rate_std: f64) -> Self {
        Self { value, rate: 0.0, value_variance: value_std * value_std, covariance: 0.0, rate_variance: rate_std * rate_std }
    }

    fn predict(&mut self, dt: f64, density: f64) {
        self.value += self.rate * dt;
        self.value_variance += dt * (2.0 * self.covariance + dt * (self.rate_variance + density * dt / 3.0));
        self.covariance += dt * (self.rate_variance + density * dt / 2.0);
        self.rate_variance += density * dt;
    }

    fn correct(&mut self, measured: f64, std: f64) {
        let total = self.value_variance + std * std;
        let (gain, rate_gain) = (self.value_variance / total, self.covariance / total);
        let surprise = measured - self.value;
        self.value += gain * surprise;
        self.rate += rate_gain * surprise;
        self.rate_variance -= rate_gain * self.covariance;
        self.value_variance *= 1.0 - gain;
        self.covariance *= 1.0 - gain;
    }
}

/// Where a face is believed to be, and how surely.
#[derive(Clone, Copy, Debug)]
pub(super) struct Motion {
    x: Axis,
    y: Axis,
    aspect: Axis,
    height: Axis,
    /// Height when last measured, pixels: the scale of all noise, constant while predicting.
    scale: f64,
}

impl Motion {
    /// From a first sighting. The box must be finite, with width and height above 0.
    pub(super) fn first(seen: &BoundingBox) -> Self {
        let (x, y, aspect, height) = measure(seen);
        Self {
            x: Axis::at(x, 2.0 * MEASURED_STD * height, FIRST_RATE_STD * height),
            y: Axis::at(y, 2.0 * MEASURED_STD * height, FIRST_RATE_STD * height),
            aspect: Axis::at(aspect, ASPECT_STD, 0.01),
            height: Axis::at(height, 2.0 * MEASURED_STD * height, 0.2 * height),
            scale: height,
        }
    }

    /// Moves on by `dt_s` seconds (0 or more).
    pub(super) fn predict(&mut self, dt_s: f64) {
        let area = self.scale * self.scale;
        self.x.predict(dt_s, ACCELERATION * area);
        self.y.predict(dt_s, ACCELERATION * area);
        self.aspect.predict(dt_s, ASPECT_ACCELERATION);
        self.height.predict(dt_s, GROWTH_ACCELERATION * area);
    }

    /// Takes in a sighting at the present moment. The box must be finite, with width and height above 0.
    pub(super) fn correct(&mut self, seen: &BoundingBox) {
        let (x, y, aspect, height) = measure(seen);
        let std = MEASURED_STD * self.scale.max(height);
        self.x.correct(x, std);
        self.y.correct(y, std);
        self.aspect.correct(aspect, ASPECT_STD);
        self.height.correct(height, std);
        self.scale = height;
    }

    /// The believed box.
    #[expect(clippy::cast_possible_truncation, reason = "pixels: f32 is what boxes are made of")]
    pub(super) fn bounding_box(&self) -> BoundingBox {
        let height = self.height.value.clamp(self.scale / MOST_GROWTH, self.scale * MOST_GROWTH);
        let half_width = 0.5 * height * self.aspect.value.clamp(0.2, 2.0);
        BoundingBox {
            x0: (self.x.value - half_width) as f32,
            y0: (self.y.value - 0.5 * height) as f32,
            x1: (self.x.value + half_width) as f32,
            y1: (self.y.value + 0.5 * height) as f32,
        }
    }

    /// Standard deviation of the believed centre along its less certain axis, in face heights.
    #[expect(clippy::cast_possible_truncation, reason = "a small ratio")]
    pub(super) fn uncertainty(&self) -> f32 {
        (self.x.value_variance.max(self.y.value_variance).sqrt() / self.scale) as f32
    }
}

/// (centre x, centre y, width over height, height).
fn measure(seen: &BoundingBox) -> (f64, f64, f64, f64) {
    let centre = seen.centre();
    let (width, height) = (f64::from(seen.width()), f64::from(seen.height()));
    (f64::from(centre.x), f64::from(centre.y), width / height, height)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn face(x: f32, y: f32, height: f32) -> BoundingBox {
        let (w, h) = (0.4 * height, 0.5 * height);
        BoundingBox { x0: x - w, y0: y - h, x1: x + w, y1: y + h }
    }

    /// A face moving evenly, seen `n` times every `dt` seconds.
    fn followed(velocity: (f32, f32), dt: f32, n: u16) -> Motion {
        let mut motion = Motion::first(&face(100.0, 200.0, 60.0));
        for i in 1..n {
            let t = f32::from(i) * dt;
            motion.predict(f64::from(dt));
            motion.correct(&face(100.0 + velocity.0 * t, 200.0 + velocity.1 * t, 60.0));
        }
        motion
    }

    fn axes(m: &Motion) -> [Axis; 4] {
        [m.x, m.y, m.aspect, m.height]
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
    }

    proptest! {
        #[test]
        fn two_predictions_equal_one(vx in -600.0_f32..600.0, vy in -300.0_f32..300.0, a in 0.0_f64..1.0, b in 0.0_f64..1.0) {
            let start = followed((vx, vy), 0.033, 6);
            let (mut once, mut twice) = (start, start);
            once.predict(a + b);
            twice.predict(a);
            twice.predict(b);
            for (p, q) in axes(&once).iter().zip(axes(&twice)) {
                prop_assert!(near(p.value, q.value) && near(p.rate, q.rate));
                prop_assert!(near(p.value_variance, q.value_variance) && near(p.covariance, q.covariance));
                prop_assert!(near(p.rate_variance, q.rate_variance));
            }
        }

        #[test]
        fn covariance_stays_positive_definite(steps in prop::collection::vec((0.0_f64..2.0, -200.0_f32..200.0, 10.0_f32..400.0, any::<bool>()), 1..60)) {
            let mut motion = Motion::first(&face(0.0, 0.0, 50.0));
            for (dt, x, height, seen) in steps {
                motion.predict(dt);
                if seen {
                    motion.correct(&face(x, -x, height));
                }
                for axis in axes(&motion) {
                    prop_assert!(axis.value_variance > 0.0 && axis.rate_variance > 0.0);
                    prop_assert!(axis.value_variance * axis.rate_variance - axis.covariance * axis.covariance > 0.0);
                }
                let found = motion.bounding_box();
                prop_assert!(found.width() > 0.0 && found.height() > 0.0 && found.x0.is_finite());
            }
        }

        #[test]
        fn a_sighting_never_makes_it_less_sure(dt in 0.0_f64..1.0, x in -50.0_f32..50.0) {
            let mut motion = followed((120.0, 0.0), 0.033, 4);
            motion.predict(dt);
            let before = motion.uncertainty();
            motion.correct(&face(100.0 + x, 200.0, 60.0));
            prop_assert!(motion.uncertainty() <= before);
        }
    }

    #[test]
    fn learns_a_velocity_and_follows_it_whatever_the_frame_rate() {
        for every in 1_u16..=5 {
            let dt = f32::from(every) / 30.0;
            let n = 60 / every;
            let mut motion = followed((180.0, -60.0), dt, n);
            let end = f32::from(n - 1) * dt;
            assert!((motion.x.rate - 180.0).abs() < 8.0, "every {every}: {} px/s", motion.x.rate);
            motion.predict(0.5);
            let centre = motion.bounding_box().centre();
            let expected = (100.0 + 180.0 * (end + 0.5), 200.0 - 60.0 * (end + 0.5));
            assert!((centre.x - expected.0).abs() < 6.0 && (centre.y - expected.1).abs() < 6.0, "every {every}: {centre:?}, {expected:?}");
        }
    }
}
