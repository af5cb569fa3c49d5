//! Which sightings of one track become shots: the rule that makes a person cost a few embeddings, not one per frame.
//!
//! ```text
//!            good enough           best_shots, collect_max, track's end
//! Waiting ───────────────▶ Collecting ───────────────▶ Waiting, bar raised to best + retry_improvement
//!    └──────── identified ──────┴──────── identified ──▶ Done
//! ```
//!
//! * A shot needs `min_face_width_px`, `min_quality`, and `shot_spacing_ms` since the last one. (The tracker adds: confirmed track, high
//!   score, landmarks.)
//! * After a collection was concluded, only a sighting that beats the best shot so far by `retry_improvement` opens another, and every
//!   shot of that one must be at least as good as the best of those before.
//! * After the track was identified: nothing, whatever comes.
//!
//! Invariant: a collection that was opened is either concluded or reported as abandoned; nothing gathered is left behind unmentioned.
//! Times are nanoseconds on the stream's own time line (`pace.rs`). Owner: the track worker.

use crate::config::schema;

/// `[embed]` or `[mask]`, in the units used here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub min_face_width_px: f32,
    pub min_quality: f32,
    pub best_shots: usize,
    pub collect_max_ns: i64,
    pub shot_spacing_ns: i64,
    pub retry_improvement: f32,
}

impl Rules {
    pub(super) fn new(embed: &schema::Embed) -> Self {
        Self {
            min_face_width_px: embed.min_face_width_px,
            min_quality: embed.min_quality,
            best_shots: embed.best_shots.max(1),
            collect_max_ns: ns(embed.collect_max_ms),
            shot_spacing_ns: ns(embed.shot_spacing_ms),
            retry_improvement: embed.retry_improvement,
        }
    }

    /// For a mask check a shot's quality is how frontal it is, and no shot reopens a collection: one answer a track.
    pub(super) fn of_mask(mask: &schema::Mask) -> Self {
        Self {
            min_face_width_px: mask.min_face_width_px,
            min_quality: mask.min_frontality,
            best_shots: mask.best_shots.max(1),
            collect_max_ns: ns(mask.collect_max_ms),
            shot_spacing_ns: ns(mask.shot_spacing_ms),
            retry_improvement: f32::INFINITY,
        }
    }
}

pub(super) fn ns(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// No collection is open. `tried`: the best quality that was searched in vain.
    Waiting { tried: Option<f32> },
    /// Shots are being gathered.
    Collecting { tried: Option<f32>, shots: usize, best: f32, first_ns: i64 },
    /// Identified.
    Done,
}

/// One track's state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Collector {
    phase: Phase,
    /// When a sighting was last taken, or looked at in vain after a conclusion: reading pixels costs too.
    looked_ns: Option<i64>,
    /// The phase before the last shot, until that shot's fate is known.
    before_shot: Option<Phase>,
}

/// What became of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is a shot.
    Taken,
    /// Not good enough for any shot.
    TooPoor,
    /// Good, but nothing new after what was searched already.
    NoBetter,
}

impl Collector {
    pub(super) const fn new() -> Self {
        Self { phase: Phase::Waiting { tried: None }, looked_ns: None, before_shot: None }
    }

    /// Whether a sighting now is worth measuring: asked before any pixel is read.
    pub(super) fn wants(&self, rules: &Rules, now_ns: i64) -> bool {
        let spaced = self.looked_ns.is_none_or(|t| now_ns.saturating_sub(t) >= rules.shot_spacing_ns);
        match self.phase {
            Phase::Done => false,
            Phase::Waiting { tried } => spaced && self.bar(rules, tried) <= 1.0,
            Phase::Collecting { shots, .. } => spaced && shots < rules.best_shots,
        }
    }

    fn bar(&self, rules: &Rules, tried: Option<f32>) -> f32 {
        match (self.phase, tried) {
            (_, None) => rules.min_quality,
            (Phase::Collecting { .. }, Some(best)) => best.max(rules.min_quality),
            (_, Some(best)) => (best + rules.retry_improvement).max(rules.min_quality),
        }
    }

    /// Decides on a sighting that [`Collector::wants`] asked for.
    pub(super) fn offer(&mut self, rules: &Rules, now_ns: i64, quality: f32) -> Verdict {
        let (tried, shots, best, first_ns) = match self.phase {
            Phase::Done => return Verdict::NoBetter,
            Phase::Waiting { tried } => (tried, 0, 0.0, now_ns),
            Phase::Collecting { tried, shots, best, first_ns } => (tried, shots, best, first_ns),
        };
        // Also false for a quality that is not a number.
        let good = quality >= self.bar(rules, tried);
        if !good {
            if tried.is_some() {
                self.looked_ns = Some(now_ns);
            }
            return if quality >= rules.min_quality { Verdict::NoBetter } else { Verdict::TooPoor };
        }
        self.before_shot = Some(self.phase);
        self.looked_ns = Some(now_ns);
        self.phase = Phase::Collecting { tried, shots: shots + 1, best: best.max(quality), first_ns };
        Verdict::Taken
    }

    /// Whether the collection is complete by now; if so it counts as concluded.
    pub(super) fn conclude_if_due(&mut self, rules: &Rules, now_ns: i64) -> bool {
        let Phase::Collecting { shots, first_ns, .. } = self.phase else { return false };
        (shots >= rules.best_shots || now_ns.saturating_sub(first_ns) >= rules.collect_max_ns) && self.conclude()
    }

    /// Ends the open collection with what it has (the track ends, its id is replaced). False if none is open.
    pub(super) fn conclude(&mut self) -> bool {
        let Phase::Collecting { tried, best, .. } = self.phase else { return false };
        self.phase = Phase::Waiting { tried: Some(tried.map_or(best, |t| t.max(best))) };
        true
    }

    pub(super) const fn is_collecting(&self) -> bool {
        matches!(self.phase, Phase::Collecting { .. })
    }

    /// The track is known: no more shots. True if a collection was open, which is thereby abandoned.
    pub(super) fn identified(&mut self) -> bool {
        let open = self.is_collecting();
        self.phase = Phase::Done;
        self.before_shot = None;
        open
    }

    /// The shot taken last did not get through (and no conclusion that came with it): as if it had not been taken.
    pub(super) fn undo_shot(&mut self) {
        if let Some(before) = self.before_shot.take() {
            self.phase = before;
            self.looked_ns = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;

    fn rules() -> Rules {
        Rules {
            min_face_width_px: 40.0,
            min_quality: 0.35,
            best_shots: 3,
            collect_max_ns: 700 * MS,
            shot_spacing_ns: 100 * MS,
            retry_improvement: 0.15,
        }
    }

    fn see(c: &mut Collector, at_ms: i64, quality: f32) -> Option<Verdict> {
        c.wants(&rules(), at_ms * MS).then(|| c.offer(&rules(), at_ms * MS, quality))
    }

    #[test]
    fn three_spaced_shots_conclude() {
        let mut c = Collector::new();
        assert_eq!(see(&mut c, 0, 0.2), Some(Verdict::TooPoor));
        assert_eq!(see(&mut c, 33, 0.5), Some(Verdict::Taken));
        assert_eq!(see(&mut c, 66, 0.9), None, "too soon after the last");
        assert_eq!(see(&mut c, 133, 0.6), Some(Verdict::Taken));
        assert!(!c.conclude_if_due(&rules(), 133 * MS));
        assert_eq!(see(&mut c, 240, 0.4), Some(Verdict::Taken));
        assert!(c.conclude_if_due(&rules(), 240 * MS));
        assert!(!c.conclude_if_due(&rules(), 5_000 * MS), "only once");
    }

    #[test]
    fn a_collection_that_is_not_filled_concludes_in_time() {
        let mut c = Collector::new();
        assert_eq!(see(&mut c, 100, 0.5), Some(Verdict::Taken));
        assert!(!c.conclude_if_due(&rules(), 799 * MS));
        assert!(c.conclude_if_due(&rules(), 800 * MS));
    }

    #[test]
    fn after_a_search_in_vain_only_a_better_shot_counts() {
        let mut c = Collector::new();
        assert_eq!(see(&mut c, 0, 0.5), Some(Verdict::Taken));
        assert!(c.conclude());
        assert_eq!(see(&mut c, 200, 0.64), Some(Verdict::NoBetter));
        assert_eq!(see(&mut c, 250, 0.9), None, "a look in vain is spaced like a shot");
        assert_eq!(see(&mut c, 300, 0.66), Some(Verdict::Taken));
        assert_eq!(see(&mut c, 400, 0.45), Some(Verdict::NoBetter), "worse than what was searched already");
        assert_eq!(see(&mut c, 500, 0.55), Some(Verdict::Taken));
        assert!(c.conclude());
        assert_eq!(see(&mut c, 600, 0.80), Some(Verdict::NoBetter));
        assert_eq!(see(&mut c, 700, 0.86), Some(Verdict::Taken));
        assert!(c.conclude());
        assert_eq!(see(&mut c, 900, 1.0), None, "nothing can beat .86 by .15: no pixel is read");
    }

    #[test]
    fn an_identified_track_is_left_alone() {
        let mut c = Collector::new();
        assert_eq!(see(&mut c, 0, 0.5), Some(Verdict::Taken));
        assert!(c.identified(), "an open collection is abandoned");
        assert_eq!(see(&mut c, 1_000, 1.0), None);
        assert!(!c.conclude() && !c.identified());
    }

    #[test]
    fn a_shot_that_was_shed_can_be_taken_again_at_once() {
        let mut c = Collector::new();
        assert_eq!(see(&mut c, 0, 0.5), Some(Verdict::Taken));
        c.undo_shot();
        assert!(!c.is_collecting());
        assert_eq!(see(&mut c, 33, 0.5), Some(Verdict::Taken));
        assert_eq!(see(&mut c, 133, 0.5), Some(Verdict::Taken));
        assert_eq!(see(&mut c, 233, 0.5), Some(Verdict::Taken));
        assert!(c.conclude_if_due(&rules(), 233 * MS));
        c.undo_shot();
        assert!(c.is_collecting(), "the conclusion went with its shot");
        assert_eq!(see(&mut c, 266, 0.5), Some(Verdict::Taken));
        assert!(c.conclude_if_due(&rules(), 266 * MS));
    }

    proptest! {
        /// Whatever comes: never two shots within the spacing, never more than `best_shots` in a collection, never one below the least
        /// quality, and an open collection is concluded in time.
        #[test]
        fn the_rules_hold(sightings in prop::collection::vec((1_i64..90, 0.0_f32..1.0), 1..200)) {
            let (mut c, rules) = (Collector::new(), rules());
            let (mut t, mut last, mut shots, mut first, mut searched) = (0, None::<i64>, 0, 0, 0.0_f32);
            let mut best = 0.0_f32;
            for (dt, quality) in sightings {
                t += dt * MS;
                if c.wants(&rules, t) && c.offer(&rules, t, quality) == Verdict::Taken {
                    prop_assert!(quality >= rules.min_quality && quality >= searched);
                    prop_assert!(last.is_none_or(|l| t - l >= rules.shot_spacing_ns));
                    if shots == 0 {
                        first = t;
                        prop_assert!(searched == 0.0 || quality >= searched + rules.retry_improvement);
                    }
                    last = Some(t);
                    shots += 1;
                    best = best.max(quality);
                    prop_assert!(shots <= rules.best_shots);
                }
                if c.conclude_if_due(&rules, t) {
                    searched = best;
                    shots = 0;
                } else {
                    prop_assert!(shots == 0 || t - first < rules.collect_max_ns);
                }
            }
        }
    }
}
