//! Chance that repeats: a stream of numbers from a seed, and smooth noise in space. No state outside the values here.

use super::vector::{Vec3, mix};

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// One stream per `seed` and `purpose`: adding a draw for one purpose changes no other.
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a over the purpose's name.
        let name = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        Self(scramble(seed.wrapping_mul(STEP) ^ name))
    }
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        scramble(self.0)
    }
    /// Uniform in 0…1, 1 excluded.
    pub fn unit(&mut self) -> f32 {
        (self.draw() >> 40) as f32 / (1_u64 << 24) as f32
    }
    pub fn within(&mut self, low: f32, high: f32) -> f32 {
        mix(low, high, self.unit())
    }
    /// Bell-shaped around `mean`, never further away than three times `spread` (its standard deviation).
    pub fn around(&mut self, mean: f32, spread: f32) -> f32 {
        // Four uniforms: variance 4/12; scaled to 1, and cut off at the ends by itself.
        let sum: f32 = (0..4).map(|_| self.unit()).sum();
        mean + spread * ((sum - 2.0) * 1.732).clamp(-3.0, 3.0)
    }
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }
    /// A number below `count` (at least 1).
    pub fn below(&mut self, count: usize) -> usize {
        let count = count.max(1) as u64;
        (self.draw() % count) as usize
    }
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
    /// An index, drawn in proportion to `weights`.
    pub fn weighted(&mut self, weights: &[f32]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f32>();
        weights
            .iter()
            .position(|w| {
                left -= w;
                left < 0.0
            })
            .unwrap_or(weights.len() - 1)
    }
}

fn hash(x: i32, y: i32, z: i32, seed: u32) -> f32 {
    let mut h = seed ^ 0x9e37_79b9;
    for v in [x, y, z] {
        h = (h ^ v.cast_unsigned()).wrapping_mul(0x85eb_ca6b);
        h ^= h >> 13;
    }
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    (h >> 8) as f32 / 8_388_608.0 - 1.0
}

/// Smooth noise in −1…1 with features of size 1.
pub fn noise(p: Vec3, seed: u32) -> f32 {
    let (fx, fy, fz) = (p.x.floor(), p.y.floor(), p.z.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (tx, ty, tz) = (ease(p.x - fx), ease(p.y - fy), ease(p.z - fz));
    let (x, y, z) = (fx as i32, fy as i32, fz as i32);
    let row = |y: i32, z: i32| mix(hash(x, y, z, seed), hash(x.wrapping_add(1), y, z, seed), tx);
    let (y1, z1) = (y.wrapping_add(1), z.wrapping_add(1));
    mix(mix(row(y, z), row(y1, z), ty), mix(row(y, z1), row(y1, z1), ty), tz)
}

/// Three octaves of [`noise`].
pub fn rough(p: Vec3, seed: u32) -> f32 {
    (noise(p, seed) + 0.5 * noise(p * 2.03, seed ^ 1) + 0.25 * noise(p * 4.1, seed ^ 2)) * 0.57
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::vector::vec3;

    #[test]
    fn the_same_seed_says_the_same_and_another_does_not() {
        let draw = |seed, purpose| -> Vec<u64> {
            let mut r = Random::new(seed, purpose);
            (0..4).map(|_| r.draw()).collect()
        };
        assert_eq!(draw(1, "skin"), draw(1, "skin"));
        assert_ne!(draw(1, "skin"), draw(2, "skin"));
        assert_ne!(draw(1, "skin"), draw(1, "hair"));
    }

    #[test]
    fn draws_lie_where_they_should() {
        let mut r = Random::new(3, "test");
        let values: Vec<f32> = (0..4_000).map(|_| r.around(5.0, 1.0)).collect();
        let mean = values.iter().sum::<f32>() / 4_000.0;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / 4_000.0;
        assert!((mean - 5.0).abs() < 0.06 && (variance - 1.0).abs() < 0.1, "mean {mean}, variance {variance}");
        let mut counts = [0; 3];
        (0..3_000).for_each(|_| counts[r.weighted(&[1.0, 0.0, 2.0])] += 1);
        assert!(counts[1] == 0 && (900..1_100).contains(&counts[0]), "{counts:?}");
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&r.unit())));
    }

    #[test]
    fn noise_is_smooth_and_bounded() {
        let mut last = noise(vec3(-3.0, 0.3, 0.7), 9);
        for i in 1..600 {
            let v = noise(vec3(-3.0 + 0.01 * i as f32, 0.3, 0.7), 9);
            assert!(v.abs() <= 1.0 && (v - last).abs() < 0.05);
            last = v;
        }
    }
}
