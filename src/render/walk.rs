//! Who walks where and when: people cross the hall one after another in endless, repeatable turns.
//!
//! Time is cut into turns; in each turn, each *slot* holds one walk, drawn from (scene seed, slot, turn) alone, so any frame can be
//! looked at without those before it.

use super::hall::View;
use super::random::Random;
use super::vector::{Vec3, mix, vec3};

/// One person crossing the hall.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Index into the scene's cast.
    pub person: usize,
    /// (x, z) on the floor, cm.
    pub from: (f32, f32),
    pub to: (f32, f32),
    pub begins_s: f64,
    /// cm/s.
    pub speed: f32,
    /// Where the head wanders, radians, and how fast.
    pub glance: f32,
    pub glance_rate: f32,
}

/// A person at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub person: usize,
    pub x: f32,
    pub z: f32,
    /// Relative to the camera's line of sight, radians.
    pub body_yaw: f32,
    pub head_yaw: f32,
    /// 0…1 of a double step.
    pub phase: f32,
}

/// How a scene's people move.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub slots: usize,
    pub turn_s: f64,
    /// Half the width that people use, and how near and far they go, cm.
    pub half_width: f32,
    pub near: f32,
    pub far: f32,
    /// Shares of walks towards the camera, away from it, and across.
    pub shares: [f32; 3],
    /// Walks keep to lanes this far apart; 0: anywhere.
    pub lane: f32,
    pub cast: usize,
    /// After so many turns the same people walk the same ways again; 0: never.
    pub again_after: u64,
}

impl Traffic {
    /// The walk of `slot` in `turn`.
    pub fn walk(&self, seed: u64, slot: usize, turn: u64) -> Walk {
        let told = turn.checked_rem(self.again_after).unwrap_or(turn);
        let mut r = Random::new(seed ^ (told << 8) ^ slot as u64, "walk");
        let own = (self.cast / self.slots).max(1);
        // People of one slot never meet those of another twice.
        let person = (slot * own + (told as usize + r.below(2)) % own).min(self.cast - 1);
        let to_lane =
            |x: f32| if self.lane > 0.0 { ((x / self.lane).round() * self.lane).clamp(-self.half_width, self.half_width) } else { x };
        let mut x = || to_lane(r.within(-self.half_width, self.half_width));
        let (x0, x1) = (x(), x());
        let kind = r.weighted(&self.shares);
        let (from, to) = match kind {
            0 => ((mix(x1, x0, 0.6) * 1.3, self.far), (x1 * 0.3, self.near * 0.8)),
            1 => ((x0 * 0.3, self.near * 0.8), (mix(x0, x1, 0.6) * 1.3, self.far)),
            _ => {
                let z = r.within(mix(self.near, self.far, 0.12), mix(self.near, self.far, 0.55));
                let side = if r.chance(0.5) { 1.0 } else { -1.0 };
                let reach = 0.42 * z + 80.0;
                ((-side * reach, z + r.around(0.0, 60.0)), (side * reach, z + r.around(0.0, 60.0)))
            }
        };
        let lane = if kind == 0 { x1 } else { x0 };
        let (from, to) = if self.lane > 0.0 && kind < 2 { ((lane, from.1), (lane, to.1)) } else { (from, to) };
        let length = ((to.0 - from.0).powi(2) + (to.1 - from.1).powi(2)).sqrt();
        let speed = r.around(125.0, 14.0).max(length / (self.turn_s as f32 * 0.97));
        let stagger = self.turn_s * slot as f64 / self.slots as f64;
        Walk {
            person,
            from,
            to,
            begins_s: turn as f64 * self.turn_s + stagger,
            speed,
            glance: r.around(0.0, 0.2),
            glance_rate: r.within(0.5, 1.6),
        }
    }

    /// After how long everything comes again.
    pub fn period_s(&self) -> Option<f64> {
        (self.again_after > 0).then_some(self.again_after as f64 * self.turn_s)
    }

    /// Everybody on stage at `t_s`, farthest first.
    pub fn standing(&self, seed: u64, t_s: f64, view: &View) -> Vec<Standing> {
        let mut people: Vec<Standing> = (0..self.slots)
            .filter_map(|slot| {
                // A hall that is looked at is never empty: the clock starts in the second turn.
                let since = t_s + self.turn_s - self.turn_s * slot as f64 / self.slots as f64;
                let turn = (since / self.turn_s).max(0.0) as u64;
                self.walk(seed, slot, turn).at(t_s + self.turn_s)
            })
            .filter(|s| view.project(vec3(s.x, 165.0, s.z)).is_some())
            .collect();
        people.sort_by(|a, b| b.z.total_cmp(&a.z));
        people
    }
}

impl Walk {
    pub fn at(&self, t_s: f64) -> Option<Standing> {
        let (dx, dz) = (self.to.0 - self.from.0, self.to.1 - self.from.1);
        let length = (dx * dx + dz * dz).sqrt();
        let gone = ((t_s - self.begins_s) * f64::from(self.speed)) as f32;
        if !(0.0..length).contains(&gone) {
            return None;
        }
        let s = gone / length;
        let (x, z) = (self.from.0 + dx * s, self.from.1 + dz * s);
        let body_yaw = wrapped(dx.atan2(-dz) + x.atan2(z));
        let look = self.glance + 0.22 * ((t_s - self.begins_s) as f32 * self.glance_rate).sin();
        Some(Standing { person: self.person, x, z, body_yaw, head_yaw: wrapped(body_yaw + look), phase: (gone / 145.0).fract() })
    }
}

fn wrapped(angle: f32) -> f32 {
    let turn = std::f32::consts::TAU;
    angle - turn * (angle / turn).round()
}

/// A place on the floor at `height`, cm.
pub fn above(standing: &Standing, height: f32) -> Vec3 {
    vec3(standing.x, height, standing.z)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAFFIC: Traffic = Traffic {
        slots: 4,
        turn_s: 12.0,
        half_width: 300.0,
        near: 150.0,
        far: 1_400.0,
        shares: [0.6, 0.2, 0.2],
        lane: 0.0,
        cast: 12,
        again_after: 0,
    };

    #[test]
    fn nobody_is_in_two_places_and_everybody_moves_steadily() {
        let view = View { width: 1_280, height: 720, focal: 1_600.0, above: 226.0, pitch: 0.145, pan: 0.0 };
        let mut before: Vec<Standing> = Vec::new();
        for i in 0..900 {
            let now = TRAFFIC.standing(3, f64::from(i) / 15.0, &view);
            let mut people: Vec<usize> = now.iter().map(|s| s.person).collect();
            people.sort_unstable();
            people.dedup();
            assert_eq!(people.len(), now.len(), "frame {i}");
            assert!(now.windows(2).all(|w| w[0].z >= w[1].z), "far to near");
            for s in &now {
                let Some(was) = before.iter().find(|b| b.person == s.person) else { continue };
                let step = ((s.x - was.x).powi(2) + (s.z - was.z).powi(2)).sqrt();
                assert!(!(14.0..=100.0).contains(&step), "frame {i}: {step} cm in a fifteenth of a second");
            }
            before = now;
        }
    }

    #[test]
    fn after_its_turns_everything_comes_again_without_a_seam() {
        let view = View { width: 1_280, height: 720, focal: 1_600.0, above: 226.0, pitch: 0.145, pan: 0.0 };
        let again = Traffic { again_after: 2, ..TRAFFIC };
        assert_eq!(again.period_s(), Some(24.0));
        // Who is where, to the centimetre.
        let people = |traffic: &Traffic, t_s: f64| -> Vec<[i32; 3]> {
            traffic.standing(3, t_s, &view).iter().map(|s| [s.person as i32, s.x.round() as i32, s.z.round() as i32]).collect()
        };
        let times = || (0..360).step_by(7).map(|i| f64::from(i) / 15.0 + 0.01);
        assert!(times().all(|t_s| people(&again, t_s) == people(&again, t_s + 24.0)));
        assert!(times().any(|t_s| people(&TRAFFIC, t_s) != people(&TRAFFIC, t_s + 24.0)), "by itself it never does");
    }

    #[test]
    fn whoever_walks_up_to_the_camera_looks_at_it() {
        let straight = Walk { person: 0, from: (0.0, 900.0), to: (0.0, 200.0), begins_s: 0.0, speed: 100.0, glance: 0.0, glance_rate: 1.0 };
        assert!(straight.at(2.0).expect("on stage").body_yaw.abs() < 1e-4);
        let rightwards = Walk { from: (-200.0, 500.0), to: (200.0, 500.0), ..straight };
        assert!((rightwards.at(2.0).expect("on stage").body_yaw - std::f32::consts::FRAC_PI_2).abs() < 0.05);
        assert!(straight.at(-0.1).is_none() && straight.at(7.1).is_none());
    }
}
