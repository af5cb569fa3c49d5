//! Probabilities of one track → one answer.
//!
//! * A track's tally lives under the lease terms (permit epoch) that its first shot was looked at under. When those are gone it is
//!   dropped; it never meets shots seen under others.
//! * It is dropped when its answer leaves, when its track ends, and after `collect_max_ms` + 2 s whatever happens elsewhere. A worker
//!   holds at most [`MOST_TRACKS`].
//! * The answer is the mean probability. Where neither it nor its opposite reaches the stream's threshold, nothing is told: counted.
//!
//! The permit is asked for per selection, and looked at again after each shot and before each answer leaves.
//!
//! Owner: the mask worker.

use std::sync::Arc;
use std::time::Duration;

use super::{Finding, MaskError, MaskModel};
use crate::clock::{CaptureTime, Monotonic, SharedClock, Stamp};
use crate::config::schema;
use crate::decide::Thresholds;
use crate::detect::worker::LastLook;
use crate::frame::{BoundingBox, Frame, Landmarks, StreamIndex};
use crate::policy::lease::{LeaseTable, MaskCheck, Permit, TellMask};
use crate::purpose::Purpose;
use crate::track::{Selection, Shot, TrackId, Use};

/// Tracks judged at a time.
pub const MOST_TRACKS: usize = 1_024;
/// How long beyond `collect_max_ms` a tally may wait for its conclusion.
const GRACE: Duration = Duration::from_secs(2);

crate::counters! {
    /// What the mask check of one stream did. How many wore a mask is all that is kept of anybody.
    pub struct MaskCounters for "mask_check" {
        shots: "Faces whose mask was looked at",
        masked: "People with a mask",
        bare: "People without a mask",
        undecided: "People of whom neither answer was probable enough: nothing was told",
        withheld: "Shots and conclusions that no permit covered: nothing was read or told",
        dropped: "People whose shots were dropped without an answer",
        errors: "Shots that the aligner or the network failed on",
        shed: "Answers dropped because the journal's queue was full",
    }
}

/// Says of one face how probable a mask is: [`super::MaskClassifier`], or a test's stand-in.
pub trait MaskShot {
    fn probability(&mut self, frame: &Frame, permit: &Permit<MaskCheck>, landmarks: &Landmarks) -> Result<f32, MaskError>;
}

struct Open {
    stream: StreamIndex,
    track: TrackId,
    epoch: u64,
    began_at: Stamp<Monotonic>,
    sum: f32,
    shots: usize,
    bounding_box: BoundingBox,
    picture_px: (u32, u32),
    captured_at: CaptureTime,
    frame_sequence: u64,
}

/// The tallies of the mask worker.
pub struct Tally<C> {
    classifier: C,
    model: MaskModel,
    purpose: Purpose,
    leases: LeaseTable,
    clock: SharedClock,
    /// By stream.
    counters: Vec<Arc<MaskCounters>>,
    thresholds: Arc<Thresholds>,
    last_look: Arc<LastLook>,
    most_age: Duration,
    /// In order of their beginning. Never grows beyond its first allocation.
    open: Vec<Open>,
}

impl<C: MaskShot> Tally<C> {
    pub fn new(
        classifier: C,
        model: MaskModel,
        settings: &schema::Mask,
        leases: LeaseTable,
        clock: SharedClock,
        counters: Vec<Arc<MaskCounters>>,
        thresholds: Arc<Thresholds>,
    ) -> Self {
        Self {
            classifier,
            model,
            purpose: Purpose::mask_check(),
            leases,
            clock,
            counters,
            thresholds,
            last_look: Arc::new(LastLook::new(0)),
            most_age: Duration::from_millis(settings.collect_max_ms).saturating_add(GRACE),
            open: Vec::with_capacity(MOST_TRACKS),
        }
    }

    /// Notes there when it has read pixels.
    pub fn noting(mut self, last_look: Arc<LastLook>) -> Self {
        self.last_look = last_look;
        self
    }

    /// `None`: a stream that does not exist.
    pub fn counters(&self, stream: StreamIndex) -> Option<&MaskCounters> {
        self.counters.get(stream.index()).map(|c| &**c)
    }

    /// Looks at the selection's shots, then concludes (each answer goes to `tell`), then drops what ended.
    pub fn process(&mut self, selection: Selection, tell: &mut dyn FnMut(Finding)) {
        let Selection { of, stream, lease_epoch, frame, shots, conclude, ended, .. } = selection;
        match self.leases.permit::<MaskCheck>(stream, self.clock.monotonic()) {
            // What was seen under a lease that has ended is not judged under the one that followed it; ends come without a lease.
            Ok(permit) if of == Use::MaskCheck && (permit.epoch() == lease_epoch || (shots.is_empty() && conclude.is_empty())) => {
                self.drop_those(|a| a.stream == stream && a.epoch != permit.epoch());
                if let Some(frame) = &frame {
                    shots.iter().for_each(|shot| self.look(frame, &permit, shot));
                }
                for track in conclude {
                    self.conclude(stream, track, permit.epoch(), tell);
                }
            }
            _ => {
                self.count(stream, |c| c.withheld.add((shots.len() + conclude.len()) as u64));
                self.drop_those(|a| a.stream == stream);
            }
        }
        self.drop_those(|a| a.stream == stream && ended.contains(&a.track));
    }

    /// Drops every tally whose lease terms are no longer in force, and those that waited too long. At least every 100 ms.
    pub fn purge_dead(&mut self, now: Stamp<Monotonic>) {
        let (leases, most_age) = (self.leases.clone(), self.most_age);
        self.drop_those(|a| {
            let live = leases.permit::<MaskCheck>(a.stream, now).is_ok_and(|p| p.epoch() == a.epoch);
            !live || now >= a.began_at.plus(most_age)
        });
    }

    fn count(&self, stream: StreamIndex, count: impl Fn(&MaskCounters)) {
        self.counters(stream).iter().for_each(|c| count(c));
    }

    fn look(&mut self, frame: &Frame, permit: &Permit<MaskCheck>, shot: &Shot) {
        let stream = permit.stream();
        let Some(landmarks) = &shot.face.landmarks else { return self.count(stream, |c| c.errors.increment()) };
        if !permit.is_live(self.clock.monotonic()) {
            return self.count(stream, |c| c.withheld.increment());
        }
        let looked = self.classifier.probability(frame, permit, landmarks);
        let now = self.clock.monotonic();
        self.last_look.note(frame.header().stream, now);
        match looked {
            Ok(_forgotten) if !permit.is_live(now) => self.count(stream, |c| c.withheld.increment()),
            Ok(probability) => {
                self.count(stream, |c| c.shots.increment());
                self.add(frame, permit.epoch(), shot, probability, now);
            }
            Err(error) => {
                self.count(stream, |c| c.errors.increment());
                tracing::debug!(stream = stream.0, frame = frame.header().sequence, %error, "a mask could not be looked at");
            }
        }
    }

    fn add(&mut self, frame: &Frame, epoch: u64, shot: &Shot, probability: f32, now: Stamp<Monotonic>) {
        let header = frame.header();
        let found = self.open.iter().position(|a| a.stream == header.stream && a.track == shot.track);
        let index = found.unwrap_or_else(|| {
            if self.open.len() >= MOST_TRACKS {
                let oldest = self.open.remove(0);
                self.count(oldest.stream, |c| c.dropped.increment());
            }
            self.open.push(Open {
                stream: header.stream,
                track: shot.track,
                epoch,
                began_at: now,
                sum: 0.0,
                shots: 0,
                bounding_box: shot.face.bounding_box,
                picture_px: (header.width, header.height),
                captured_at: header.captured_at,
                frame_sequence: header.sequence,
            });
            self.open.len() - 1
        });
        let open = &mut self.open[index];
        open.sum += probability;
        open.shots += 1;
        // Time, number and place belong together: all of the frame that came last.
        (open.captured_at, open.frame_sequence) = (header.captured_at, header.sequence);
        (open.bounding_box, open.picture_px) = (shot.face.bounding_box, (header.width, header.height));
    }

    fn conclude(&mut self, stream: StreamIndex, track: TrackId, epoch: u64, tell: &mut dyn FnMut(Finding)) {
        let Some(index) = self.open.iter().position(|a| a.stream == stream && a.track == track) else { return };
        let open = self.open.remove(index);
        let decided_at = self.clock.now();
        let leave = self.leases.permit_for::<TellMask>(stream, &self.purpose, decided_at.monotonic);
        if open.epoch != epoch || !leave.is_ok_and(|permit| permit.epoch() == epoch) {
            return self.count(stream, |c| c.withheld.increment());
        }
        let masked = open.sum / open.shots as f32;
        let (worn, confidence) = if masked >= 0.5 { (true, masked) } else { (false, 1.0 - masked) };
        let threshold = self.thresholds.get(stream);
        // Also for a probability that is not a number.
        let decided = confidence >= threshold;
        match (decided, worn) {
            (false, _) => return self.count(stream, |c| c.undecided.increment()),
            (true, true) => self.count(stream, |c| c.masked.increment()),
            (true, false) => self.count(stream, |c| c.bare.increment()),
        }
        tell(Finding {
            stream,
            track,
            purpose: self.purpose.clone(),
            lease_epoch: epoch,
            worn,
            confidence,
            threshold,
            model: self.model.clone(),
            captured_at: open.captured_at,
            frame_sequence: open.frame_sequence,
            bounding_box: open.bounding_box,
            picture_px: open.picture_px,
            shots: open.shots,
            decided_at,
        });
    }

    fn drop_those(&mut self, mut dead: impl FnMut(&Open) -> bool) {
        let counters = &self.counters;
        self.open.retain(|open| {
            let dead = dead(open);
            if dead && let Some(counters) = counters.get(open.stream.index()) {
                counters.dropped.increment();
            }
            !dead
        });
    }
}

#[cfg(test)]
mod tests;
