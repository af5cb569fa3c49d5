//! One stream's persons: who is where, who is new, who is gone, and which sightings are worth an embedding.
//!
//! Per frame: predict every track to the frame's capture time → associate (`associate.rs`) → correct → end what is lost → start what is
//! new → replace ids that are due → offer sightings to each track's collector (`selection.rs`) → conclude what is complete.
//!
//! Invariants
//! * A tracker's memory lives under one lease: when a frame comes with other terms, or the lease ran out, every track ends, nothing is
//!   concluded, and whoever comes back is a new track with a new id.
//! * No pixel is read but through a live `Permit<Detect>`, and only of a face that could be a shot by everything else.
//! * Shots are chosen only for uses that the same lease includes: none to embed where nobody may be identified, none for a mask check where
//!   that purpose is not in force. The two are chosen apart from each other; one says nothing about the other.
//! * While a claim is open at a gate one person presents themselves: whose face was the largest of all in view when a shot of it could
//!   first be taken. Nobody follows them under that claim. Where nobody is searched for, no pixel of anybody else is read and nobody else is embedded.
//! * A public id is replaced after `rotate_id_s`. An open collection is concluded under the old id first, so nothing gathered crosses
//!   over; what the track has been searched for in vain, or that it was identified, it keeps in mind under the new one (otherwise
//!   rotation would cause the searches that it is to make unnecessary).
//! * All times are on the stream's own time line (`pace.rs`), so a skipped frame, a burst or a fast replay changes nothing.
//!
//! Owner: the track worker.

use std::sync::Arc;

use super::associate::{Association, Predicted, Standing, Thresholds};
use super::ids::IdSource;
use super::kalman::Motion;
use super::pace::Pace;
use super::quality::{Assessor, frontality_of};
use super::selection::{Collector, Rules, Verdict, ns};
use super::{Selection, Shot, TrackCounters, TrackId, Use};
use crate::clock::{Monotonic, Stamp};
use crate::config::schema;
use crate::detect::{Detected, Face};
use crate::frame::{Frame, StreamIndex};
use crate::policy::lease::{Detect, Embed, MaskCheck, Match, Permit, Verify};

/// Tracks and faces a stream may have at once; faces beyond are counted and left alone. Bounds the cost of a hostile picture.
pub const MOST_TRACKS: usize = 256;
/// How long a replaced id still finds its track: feedback about a query that was under way.
const FORMER_ID_NS: i64 = 5_000_000_000;

struct Track {
    id: TrackId,
    /// The id before, and until when it is still understood.
    former: Option<(TrackId, i64)>,
    /// When the present id was given.
    named_ns: i64,
    motion: Motion,
    standing: Standing,
    /// Sightings in a row while tentative.
    hits: u32,
    seen_ns: i64,
    /// Index of the face that continued it in the present frame.
    face: Option<usize>,
    /// One for each [`Use`].
    collectors: [Collector; 2],
    /// Presents themselves for the claim that is open.
    presented: bool,
}

impl Track {
    const fn collector(&mut self, of: Use) -> &mut Collector {
        &mut self.collectors[of.index()]
    }
}

/// What a frame leads to for one use, before it becomes a [`Selection`].
#[derive(Default)]
struct Chosen {
    shots: Vec<Shot>,
    conclude: Vec<TrackId>,
    ended: Vec<TrackId>,
}

#[derive(Default)]
struct Draft {
    /// One for each [`Use`].
    chosen: [Chosen; 2],
    /// Who presented themselves and is gone in this frame, or goes by another id from now on.
    presented: Option<TrackId>,
}

impl Draft {
    const fn of(&mut self, of: Use) -> &mut Chosen {
        &mut self.chosen[of.index()]
    }

    /// Ends `track`'s open collections with what they have.
    fn conclude(&mut self, track: &mut Track, counters: &TrackCounters) {
        if track.presented {
            self.presented = Some(track.id);
        }
        for of in Use::ALL {
            if track.collector(of).conclude() {
                self.of(of).conclude.push(track.id);
                self.of(of).ended.push(track.id);
                counters.count_conclusion(of);
            }
        }
    }
}

impl TrackCounters {
    fn count_conclusion(&self, of: Use) {
        match of {
            Use::Embedding => self.concluded.increment(),
            Use::MaskCheck => self.mask_concluded.increment(),
        }
    }
}

/// The tracker of one stream.
pub struct Tracker {
    stream: StreamIndex,
    thresholds: Thresholds,
    confirm_hits: u32,
    lost_ns: i64,
    rotate_ns: i64,
    /// One for each [`Use`]. Absent: this pipeline has nobody to do it, and no shot is ever chosen for it.
    rules: [Option<Rules>; 2],
    counters: Arc<TrackCounters>,
    ids: IdSource,
    pace: Pace,
    permit: Option<Permit<Detect>>,
    tracks: Vec<Track>,
    predicted: Vec<Predicted>,
    association: Association,
    assessor: Assessor,
    /// Tracks whose open collection for embedding was abandoned since the last selection.
    abandoned: Vec<TrackId>,
    /// Somebody has presented themselves under the present lease, and may be gone since.
    has_presented: bool,
    /// The last update opened its frame.
    read_pixels: bool,
    for_masks: Option<Selection>,
}

impl Tracker {
    pub fn new(stream: StreamIndex, track: &schema::Track, embed: Option<&schema::Embed>, counters: Arc<TrackCounters>) -> Self {
        Self {
            stream,
            thresholds: Thresholds { high_score: track.high_score, low_score: track.low_score, iou: track.match_iou },
            confirm_hits: track.confirm_hits.max(1),
            lost_ns: ns(track.lost_ms),
            rotate_ns: ns(track.rotate_id_s.saturating_mul(1_000)),
            rules: [embed.map(Rules::new), None],
            counters,
            ids: IdSource::default(),
            pace: Pace::default(),
            permit: None,
            tracks: Vec::new(),
            predicted: Vec::new(),
            association: Association::default(),
            assessor: Assessor::default(),
            abandoned: Vec::new(),
            has_presented: false,
            read_pixels: false,
            for_masks: None,
        }
    }

    /// Chooses shots for a mask check too, where the lease says so; [`Tracker::take_for_masks`] gives them.
    pub fn checking_masks(mut self, mask: Option<&schema::Mask>) -> Self {
        self.rules[Use::MaskCheck.index()] = mask.map(Rules::of_mask);
        self
    }

    /// What the last call of [`update`](Self::update), [`tick`](Self::tick) or [`end_all`](Self::end_all) chose for the mask check. (They
    /// return what is to be embedded.)
    pub const fn take_for_masks(&mut self) -> Option<Selection> {
        self.for_masks.take()
    }

    /// Whether the last [`update`](Self::update) opened its frame.
    pub const fn has_read_pixels(&self) -> bool {
        self.read_pixels
    }

    /// Takes in one frame. The frame goes on inside the selection if a shot is in it, and is released otherwise.
    pub fn update(&mut self, detected: Detected, now: Stamp<Monotonic>) -> Option<Selection> {
        let Detected { frame, permit, mut faces } = detected;
        self.read_pixels = false;
        self.counters.frames.increment();
        if frame.header().stream != self.stream || !permit.is_live(now) {
            self.counters.withheld.increment();
            return self.tick(now);
        }
        let mut draft = Draft::default();
        if self.permit.as_ref().is_some_and(|held| held.epoch() != permit.epoch()) {
            self.forget(&mut draft);
        }
        self.keep_usable(&mut faces);
        #[expect(clippy::cast_precision_loss, reason = "at most 60 s")]
        let dt_s = self.pace.advance(frame.header(), now) as f64 / 1e9;
        self.follow(dt_s, &faces);
        let time_ns = self.pace.elapsed_ns();
        self.end_lost(time_ns, &mut draft);
        self.start_new(&faces, time_ns);
        self.rotate_ids(time_ns, &mut draft);
        if permit.lease_includes::<Verify>() {
            self.choose_presented(&faces);
        }
        self.choose_shots(&frame, &permit, &faces, time_ns, &mut draft);
        self.conclude_due(time_ns, &mut draft);
        self.permit = Some(permit);
        self.finish(draft, Some(frame))
    }

    /// Lets time pass without a frame: ends lost tracks, concludes what has waited long enough, and forgets everything if the lease has
    /// run out. To be called at least every 100 ms.
    pub fn tick(&mut self, now: Stamp<Monotonic>) -> Option<Selection> {
        let mut draft = Draft::default();
        if self.permit.as_ref().is_some_and(|held| !held.is_live(now)) {
            self.permit = None;
            self.forget(&mut draft);
        }
        let time_ns = self.pace.elapsed_by_ns(now);
        self.end_lost(time_ns, &mut draft);
        self.rotate_ids(time_ns, &mut draft);
        self.conclude_due(time_ns, &mut draft);
        self.finish(draft, None)
    }

    /// The stream is over: every track ends now, and what it gathered is concluded, if the lease still stands.
    pub fn end_all(&mut self, now: Stamp<Monotonic>) -> Option<Selection> {
        let mut draft = Draft::default();
        if self.permit.as_ref().is_some_and(|held| held.is_live(now)) {
            self.end_lost(i64::MAX, &mut draft);
        }
        self.forget(&mut draft);
        let last = self.finish(draft, None);
        self.permit = None;
        last
    }

    /// Feedback: the track was recognised, so nothing more of it is embedded.
    pub fn identified(&mut self, track: TrackId) {
        let time_ns = self.pace.elapsed_ns();
        let known = |t: &&mut Track| t.id == track || t.former.is_some_and(|(id, until)| id == track && time_ns <= until);
        let Some(found) = self.tracks.iter_mut().find(known) else { return };
        self.counters.identified.increment();
        if found.collector(Use::Embedding).identified() {
            self.abandoned.push(found.id);
        }
    }

    /// The selection of the last update was shed (its worker is behind): its shots count as not taken, and conclusions that waited
    /// for one of them are withdrawn from it. Conclusions and ends that remain in `selection` must still be delivered.
    pub fn shots_shed(&mut self, selection: &mut Selection) {
        for shot in selection.shots.drain(..) {
            if let Some(track) = self.tracks.iter_mut().find(|t| t.id == shot.track) {
                track.collector(selection.of).undo_shot();
                selection.conclude.retain(|id| *id != shot.track);
            }
        }
        selection.frame = None;
    }

    /// Confirmed tracks, those out of sight for less than `lost_ms` included.
    pub fn live_tracks(&self) -> usize {
        self.tracks.iter().filter(|t| t.standing != Standing::Tentative).count()
    }

    /// Leaves faces that can be followed: finite, at least a pixel wide and high, score not below `low_score`.
    fn keep_usable(&self, faces: &mut Vec<Face>) {
        let before = faces.len();
        faces.retain(|f| {
            let b = &f.bounding_box;
            let finite = [b.x0, b.y0, b.x1, b.y1].iter().all(|v| v.abs() < 1e6);
            finite && b.width() >= 1.0 && b.height() >= 1.0 && f.score >= self.thresholds.low_score
        });
        if faces.len() > MOST_TRACKS {
            faces.sort_by(|a, b| b.score.total_cmp(&a.score));
            faces.truncate(MOST_TRACKS);
        }
        self.counters.faces_ignored.add((before - faces.len()) as u64);
    }

    /// Predicts, associates, corrects.
    fn follow(&mut self, dt_s: f64, faces: &[Face]) {
        let time_ns = self.pace.elapsed_ns();
        self.predicted.clear();
        for track in &mut self.tracks {
            track.motion.predict(dt_s);
            let (bounding_box, uncertainty) = (track.motion.bounding_box(), track.motion.uncertainty());
            self.predicted.push(Predicted { bounding_box, uncertainty, standing: track.standing });
        }
        let face_of = self.association.solve(&self.predicted, faces, self.thresholds);
        for (track, &face) in self.tracks.iter_mut().zip(face_of) {
            track.face = face;
            match face {
                Some(face) => {
                    track.motion.correct(&faces[face].bounding_box);
                    track.seen_ns = time_ns;
                    track.hits = track.hits.saturating_add(1);
                    if track.standing == Standing::Tentative && track.hits >= self.confirm_hits {
                        self.counters.confirmed.increment();
                    }
                    if track.hits >= self.confirm_hits {
                        track.standing = Standing::Tracked;
                    }
                }
                None if track.standing == Standing::Tracked => track.standing = Standing::Lost,
                None => {}
            }
        }
    }

    /// Ends tentative tracks that were not seen in this frame, and tracks not seen for `lost_ms`. What a track gathered is concluded.
    fn end_lost(&mut self, time_ns: i64, draft: &mut Draft) {
        let lost_ns = self.lost_ns;
        let counters = &self.counters;
        self.tracks.retain_mut(|track| {
            let missed = track.standing == Standing::Tentative && track.face.is_none();
            let gone = time_ns.saturating_sub(track.seen_ns) >= lost_ns;
            if gone {
                draft.conclude(track, counters);
            }
            if gone && track.standing != Standing::Tentative {
                counters.ended.increment();
            }
            !(missed || gone)
        });
    }

    /// A face of high score that continues nothing starts a tentative track.
    fn start_new(&mut self, faces: &[Face], time_ns: i64) {
        for (index, face) in faces.iter().enumerate() {
            let starts = face.score >= self.thresholds.high_score && self.association.is_left_over(index);
            if !starts || self.tracks.len() >= MOST_TRACKS {
                continue;
            }
            let Some(id) = self.ids.next() else {
                self.counters.no_randomness.increment();
                return;
            };
            let confirmed = self.confirm_hits <= 1;
            self.counters.started.increment();
            self.counters.confirmed.add(u64::from(confirmed));
            self.tracks.push(Track {
                id,
                former: None,
                named_ns: time_ns,
                motion: Motion::first(&face.bounding_box),
                standing: if confirmed { Standing::Tracked } else { Standing::Tentative },
                hits: 1,
                seen_ns: time_ns,
                face: Some(index),
                collectors: [Collector::new(); 2],
                presented: false,
            });
        }
    }

    /// Gives tracks a new id when theirs has been in use for `rotate_id_s`; without randomness the track ends instead.
    fn rotate_ids(&mut self, time_ns: i64, draft: &mut Draft) {
        let (ids, counters, rotate_ns) = (&mut self.ids, &self.counters, self.rotate_ns);
        self.tracks.retain_mut(|track| {
            if track.former.is_some_and(|(_, until)| time_ns > until) {
                track.former = None;
            }
            if time_ns.saturating_sub(track.named_ns) < rotate_ns {
                return true;
            }
            draft.conclude(track, counters);
            let Some(id) = ids.next() else {
                counters.no_randomness.increment();
                return false;
            };
            track.former = Some((track.id, time_ns.saturating_add(FORMER_ID_NS)));
            track.id = id;
            track.named_ns = time_ns;
            counters.rotated.increment();
            true
        });
    }

    /// The claim is about one person, and who makes it stands before the camera: nearest, so with the largest face of all in view. Chosen
    /// once a lease, so once a claim: who comes after them is not looked at. Where the largest face is not yet a confirmed person whom a
    /// shot could be taken of, in a later frame.
    fn choose_presented(&mut self, faces: &[Face]) {
        if self.has_presented {
            return;
        }
        let area_of = |face: &Face| face.bounding_box.width() * face.bounding_box.height();
        let Some((index, face)) = faces.iter().enumerate().max_by(|a, b| area_of(a.1).total_cmp(&area_of(b.1))) else { return };
        let least_px = self.rules[Use::Embedding.index()].as_ref().map_or(f32::INFINITY, |rules| rules.min_face_width_px);
        let fit = face.landmarks.is_some() && face.score >= self.thresholds.high_score && face.bounding_box.width() >= least_px;
        if let Some(track) = self.tracks.iter_mut().find(|t| t.face == Some(index) && t.standing == Standing::Tracked).filter(|_| fit) {
            track.presented = true;
            self.has_presented = true;
        }
    }

    fn choose_shots(&mut self, frame: &Frame, permit: &Permit<Detect>, faces: &[Face], time_ns: i64, draft: &mut Draft) {
        let [to_embed, masks] = &self.rules;
        let to_embed = to_embed.as_ref().filter(|_| permit.lease_includes::<Embed>());
        let masks = masks.as_ref().filter(|_| permit.lease_includes::<MaskCheck>());
        let pixels = to_embed.and_then(|_| frame.read(permit).ok());
        self.read_pixels = pixels.is_some();
        // Where people are searched for, everybody is looked at anyway; for a claim alone, nobody but who presents themselves.
        let everybody = permit.lease_includes::<Match>();
        for track in self.tracks.iter_mut().filter(|t| t.standing == Standing::Tracked) {
            let Some(face) = track.face.map(|f| faces[f]) else { continue };
            if face.landmarks.is_none() || face.score < self.thresholds.high_score {
                continue;
            }
            let width_px = face.bounding_box.width();
            if let (Some(rules), Some(pixels)) = (to_embed, &pixels)
                && (everybody || track.presented)
                && track.collector(Use::Embedding).wants(rules, time_ns)
            {
                if width_px < rules.min_face_width_px {
                    self.counters.too_small.increment();
                } else {
                    let quality = self.assessor.assess(pixels, &face).score();
                    match track.collector(Use::Embedding).offer(rules, time_ns, quality) {
                        Verdict::Taken => {
                            self.counters.shots.increment();
                            draft.of(Use::Embedding).shots.push(Shot { track: track.id, face, quality });
                        }
                        Verdict::TooPoor => self.counters.low_quality.increment(),
                        Verdict::NoBetter => {}
                    }
                }
            }
            if let Some(rules) = masks
                && track.collector(Use::MaskCheck).wants(rules, time_ns)
            {
                let quality = frontality_of(&face);
                if width_px >= rules.min_face_width_px && track.collector(Use::MaskCheck).offer(rules, time_ns, quality) == Verdict::Taken {
                    self.counters.mask_shots.increment();
                    draft.of(Use::MaskCheck).shots.push(Shot { track: track.id, face, quality });
                } else {
                    self.counters.mask_unfit.increment();
                }
            }
        }
    }

    fn conclude_due(&mut self, time_ns: i64, draft: &mut Draft) {
        for of in Use::ALL {
            let Some(rules) = &self.rules[of.index()] else { continue };
            for track in &mut self.tracks {
                if track.collector(of).conclude_if_due(rules, time_ns) {
                    self.counters.count_conclusion(of);
                    draft.of(of).conclude.push(track.id);
                }
            }
        }
    }

    /// Ends every track without a conclusion: the lease they were followed under is gone.
    fn forget(&mut self, draft: &mut Draft) {
        self.has_presented = false;
        for track in self.tracks.drain(..) {
            for of in Use::ALL {
                if track.collectors[of.index()].is_collecting() {
                    draft.of(of).ended.push(track.id);
                }
            }
            self.counters.ended.add(u64::from(track.standing != Standing::Tentative));
        }
    }

    fn finish(&mut self, mut draft: Draft, frame: Option<Frame>) -> Option<Selection> {
        draft.of(Use::Embedding).ended.append(&mut self.abandoned);
        // Where nothing goes on, which is nearly every frame, the frame is released here and nothing is allocated.
        let frame = frame.filter(|_| draft.chosen.iter().any(|chosen| !chosen.shots.is_empty())).map(Arc::new);
        let Draft { chosen: [to_embed, for_masks], presented } = draft;
        let presented = presented.or_else(|| self.tracks.iter().find(|t| t.presented).map(|t| t.id));
        self.for_masks = self.selection(Use::MaskCheck, for_masks, presented, frame.as_ref());
        self.selection(Use::Embedding, to_embed, presented, frame.as_ref())
    }

    fn selection(&self, of: Use, chosen: Chosen, presented: Option<TrackId>, frame: Option<&Arc<Frame>>) -> Option<Selection> {
        let Chosen { shots, conclude, ended } = chosen;
        if shots.is_empty() && conclude.is_empty() && ended.is_empty() {
            return None;
        }
        let frame = frame.filter(|_| !shots.is_empty()).map(Arc::clone);
        // Without a permit there are only ends to tell of, and those are told under any lease.
        let lease_epoch = self.permit.as_ref().map_or(0, Permit::epoch);
        Some(Selection { of, stream: self.stream, lease_epoch, frame, shots, presented, conclude, ended })
    }
}

#[cfg(test)]
mod tests;
