//! Shots → one embedding a track. The only place where embeddings of people nobody has looked up yet are kept, hence the rules:
//!
//! * An accumulator lives under the lease terms (permit epoch) that its first shot was embedded under. When those are gone
//!   ([`Gather::purge_dead`], also between two shots of one selection), it is wiped; it never meets shots made under others.
//! * It is wiped when its query leaves, when its track ends, and after `collect_max_ms` + 2 s whatever happens elsewhere.
//! * It holds at most `best_shots` embeddings; a worker holds at most [`MOST_TRACKS`] accumulators, beyond that the oldest is wiped.
//! * Wiping is dropping: an [`Embedding`] zeroises its memory when it goes.
//!
//! The permit is asked for per selection, and looked at again after each shot and before each query leaves: a revocation while the
//! network ran drops what the network made. Nothing here panics on a bad shot: it is counted and left out.
//!
//! Owner: one embed worker; a stream always stays with the same one.

use std::sync::Arc;
use std::time::Duration;

use super::Query;
use super::embedder::EmbedError;
use crate::clock::{CaptureTime, Monotonic, SharedClock, Stamp};
use crate::config::schema;
use crate::detect::worker::LastLook;
use crate::embedding::Embedding;
use crate::frame::{BoundingBox, Frame, Landmarks, StreamIndex};
use crate::policy::lease::{Embed, LeaseTable, Permit};
use crate::track::{Selection, Shot, TrackId, Use};

/// Accumulators per worker: 256 KiB to 6 MiB of embeddings.
pub const MOST_TRACKS: usize = 1_024;
/// How long beyond `collect_max_ms` an accumulator may wait for its conclusion.
const GRACE: Duration = Duration::from_secs(2);
/// Longest time between two looks at the leases, also while a crowded selection is being embedded.
const PURGE_EVERY: Duration = Duration::from_millis(50);

crate::counters! {
    /// What one embed worker did.
    pub struct EmbedCounters for "embed" {
        shots: "Faces embedded",
        concluded: "Queries made",
        withheld: "Shots and conclusions that no permit covered: nothing was read or sent on",
        wiped: "Tracks whose gathered shots were wiped without a search",
        errors: "Shots that the aligner or the network failed on",
        queries_shed: "Queries dropped because matching was behind",
    }
}

/// Turns one shot into an embedding: [`super::Embedder`], or a test's stand-in.
pub trait EmbedShot {
    fn embed(&mut self, frame: &Frame, permit: &Permit<Embed>, landmarks: &Landmarks) -> Result<Embedding, EmbedError>;
}

struct Accumulator {
    stream: StreamIndex,
    track: TrackId,
    /// Of the lease terms that every shot in here was made under.
    epoch: u64,
    began_at: Stamp<Monotonic>,
    embeddings: Vec<Embedding>,
    quality: f32,
    bounding_box: BoundingBox,
    picture_px: (u32, u32),
    captured_at: CaptureTime,
    frame_sequence: u64,
}

/// The accumulators of one embed worker.
pub struct Gather<E> {
    embedder: E,
    leases: LeaseTable,
    clock: SharedClock,
    counters: Arc<EmbedCounters>,
    last_look: Arc<LastLook>,
    best_shots: usize,
    most_age: Duration,
    purged_at: Stamp<Monotonic>,
    /// In order of their beginning.
    accumulators: Vec<Accumulator>,
}

impl<E: EmbedShot> Gather<E> {
    pub fn new(embedder: E, settings: &schema::Embed, leases: LeaseTable, clock: SharedClock, counters: Arc<EmbedCounters>) -> Self {
        let purged_at = clock.monotonic();
        Self {
            embedder,
            leases,
            clock,
            counters,
            last_look: Arc::new(LastLook::new(0)),
            best_shots: settings.best_shots.max(1),
            most_age: Duration::from_millis(settings.collect_max_ms).saturating_add(GRACE),
            purged_at,
            accumulators: Vec::new(),
        }
    }

    /// Notes there when it has read pixels.
    pub fn noting(mut self, last_look: Arc<LastLook>) -> Self {
        self.last_look = last_look;
        self
    }

    /// Embeds the selection's shots, then concludes, then wipes what ended. Queries come out in the order of `conclude`.
    pub fn process(&mut self, selection: Selection) -> Vec<Query> {
        let Selection { of, stream, lease_epoch, frame, shots, presented, conclude, ended } = selection;
        let mut queries = Vec::new();
        match self.leases.permit::<Embed>(stream, self.clock.monotonic()) {
            // What was seen under a lease that has ended is not embedded under the one that followed it; ends come without a lease.
            Ok(permit) if of == Use::Embedding && (permit.epoch() == lease_epoch || (shots.is_empty() && conclude.is_empty())) => {
                self.wipe(|a| a.stream == stream && a.epoch != permit.epoch());
                if let Some(frame) = &frame {
                    self.embed_shots(frame, &permit, &shots);
                }
                for track in conclude {
                    queries
                        .extend(self.conclude(stream, track, &permit).map(|query| Query { presented: presented == Some(track), ..query }));
                }
            }
            _ => {
                self.counters.withheld.add((shots.len() + conclude.len()) as u64);
                self.wipe(|a| a.stream == stream);
            }
        }
        self.wipe(|a| a.stream == stream && ended.contains(&a.track));
        queries
    }

    /// Wipes every accumulator whose lease terms are no longer in force, and those that waited too long. At least every 100 ms.
    pub fn purge_dead(&mut self, now: Stamp<Monotonic>) {
        self.purged_at = now;
        let (leases, most_age) = (self.leases.clone(), self.most_age);
        self.wipe(|a| {
            let live = leases.permit::<Embed>(a.stream, now).is_ok_and(|p| p.epoch() == a.epoch);
            !live || now >= a.began_at.plus(most_age)
        });
    }

    /// Tracks that embeddings are held of.
    pub fn held_tracks(&self) -> usize {
        self.accumulators.len()
    }

    fn embed_shots(&mut self, frame: &Frame, permit: &Permit<Embed>, shots: &[Shot]) {
        for shot in shots {
            let Some(landmarks) = &shot.face.landmarks else {
                self.counters.errors.increment();
                continue;
            };
            let now = self.clock.monotonic();
            if now >= self.purged_at.plus(PURGE_EVERY) {
                self.purge_dead(now);
            }
            if !permit.is_live(now) {
                self.counters.withheld.increment();
                continue;
            }
            let made = self.embedder.embed(frame, permit, landmarks);
            let now = self.clock.monotonic();
            self.last_look.note(frame.header().stream, now);
            if made.is_ok() {
                self.last_look.note_embedding(frame.header().stream, now);
            }
            match made {
                Ok(_wiped_here) if !permit.is_live(now) => self.counters.withheld.increment(),
                Ok(embedding) => {
                    self.counters.shots.increment();
                    self.add(frame, permit.epoch(), shot, embedding, now);
                }
                Err(error) => {
                    self.counters.errors.increment();
                    let (stream, sequence) = (frame.header().stream.0, frame.header().sequence);
                    tracing::debug!(stream, frame = sequence, %error, "a shot could not be embedded");
                }
            }
        }
    }

    fn add(&mut self, frame: &Frame, epoch: u64, shot: &Shot, embedding: Embedding, now: Stamp<Monotonic>) {
        let stream = frame.header().stream;
        let found = self.accumulators.iter().position(|a| a.stream == stream && a.track == shot.track);
        let index = found.unwrap_or_else(|| {
            if self.accumulators.len() >= MOST_TRACKS {
                drop(self.accumulators.remove(0));
                self.counters.wiped.increment();
            }
            self.accumulators.push(Accumulator {
                stream,
                track: shot.track,
                epoch,
                began_at: now,
                embeddings: Vec::with_capacity(self.best_shots),
                quality: f32::NEG_INFINITY,
                bounding_box: shot.face.bounding_box,
                picture_px: (frame.header().width, frame.header().height),
                captured_at: frame.header().captured_at,
                frame_sequence: frame.header().sequence,
            });
            self.accumulators.len() - 1
        });
        let accumulator = &mut self.accumulators[index];
        if accumulator.embeddings.len() >= self.best_shots {
            return;
        }
        accumulator.embeddings.push(embedding);
        // Time, number and place belong together: all of the frame that came last.
        (accumulator.captured_at, accumulator.frame_sequence) = (frame.header().captured_at, frame.header().sequence);
        accumulator.bounding_box = shot.face.bounding_box;
        accumulator.picture_px = (frame.header().width, frame.header().height);
        accumulator.quality = accumulator.quality.max(shot.quality);
    }

    fn conclude(&mut self, stream: StreamIndex, track: TrackId, permit: &Permit<Embed>) -> Option<Query> {
        let index = self.accumulators.iter().position(|a| a.stream == stream && a.track == track)?;
        let gathered = self.accumulators.remove(index);
        if !permit.is_live(self.clock.monotonic()) || gathered.epoch != permit.epoch() {
            self.counters.withheld.increment();
            return None;
        }
        let Ok(embedding) = Embedding::mean(&gathered.embeddings) else {
            // Shots that cancel each other out: no direction, no query.
            self.counters.errors.increment();
            return None;
        };
        self.counters.concluded.increment();
        Some(Query {
            stream,
            track,
            lease_epoch: gathered.epoch,
            purposes: permit.purposes().cloned().collect(),
            presented: false,
            embedding,
            shots: gathered.embeddings.len(),
            quality: gathered.quality,
            bounding_box: gathered.bounding_box,
            picture_px: gathered.picture_px,
            captured_at: gathered.captured_at,
            frame_sequence: gathered.frame_sequence,
        })
    }

    fn wipe(&mut self, mut dead: impl FnMut(&Accumulator) -> bool) {
        let before = self.accumulators.len();
        self.accumulators.retain(|a| !dead(a));
        self.counters.wiped.add((before - self.accumulators.len()) as u64);
    }
}

#[cfg(test)]
mod tests;
