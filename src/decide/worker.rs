//! The match and decide worker: one thread, `decide`, one query after another.
//!
//! It runs both steps because an embedding may not wait between them: a query comes in, is searched, wiped, and only what was found goes
//! on. It ends when the embedders hang up. Handing a task on never waits: a full journal queue sheds the task, counted, and the track's
//! next search tries again.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError};

use super::answers::Answers;
use super::once::Once;
use super::{ReviewTask, Thresholds, Verified};
use crate::clock::SharedClock;
use crate::embed::Query;
use crate::frame::StreamIndex;
use crate::gallery::set::GallerySet;
use crate::latency::StepRecorder;
use crate::matching::identify::identify;
use crate::policy::lease::{LeaseTable, Permit, Verify};
use crate::progress::Progress;
use crate::purpose::Purpose;
use crate::track::Identified;

/// How often an idle worker looks whether templates have expired.
const EXPIRY_CHECK: Duration = Duration::from_secs(1);

crate::counters! {
    pub struct MatchCounters for "match" {
        queries: "Tracks that came to be searched.",
        hits: "Searches that found somebody, one per purpose.",
        verified: "Faces that were compared with the one person whom somebody claimed to be.",
        unmatched: "Tracks that no gallery knew: their embedding was wiped in the same call.",
        refused: "Searches for a purpose that the track was not embedded for: always a fault in this program.",
        withheld: "Tracks that were not searched, or whose result was dropped, because no permit to match was live or the lease had changed since they were embedded.",
    }
}

crate::counters! {
    pub struct DecideCounters for "decide" {
        tasks: "Review tasks handed on.",
        repeats: "Hits of a track that had led to the same task before.",
        shed: "Review tasks dropped because the journal's queue was full.",
        feedback_shed: "Times the tracker could not be told that a track was recognised.",
    }
}

/// Is told of a query on a stream, what it was made for, and for what it was to be searched.
pub type RefuseQuery = Box<dyn FnMut(StreamIndex, &[Purpose], &Purpose) + Send>;

/// Everything the thread needs. `T`: what the journal's queue holds.
pub struct DecideWorker<T = ReviewTask> {
    pub queries: Receiver<Query>,
    pub tasks: Sender<T>,
    /// Where the answers to claims go to be recorded, then told; false: there is no room, and nobody is told.
    pub record: Box<dyn FnMut(Verified) -> bool + Send>,
    pub answers: Arc<Answers>,
    /// Keeps, with its purposes, a query that could be searched for another purpose than it was made for, and was not.
    pub refuse: RefuseQuery,
    /// Tells the tracker that nothing more of a track need be embedded.
    pub identified: Sender<Identified>,
    pub leases: LeaseTable,
    pub set: Arc<GallerySet>,
    pub thresholds: Arc<Thresholds>,
    /// Candidates in a task.
    pub top_k: usize,
    pub once: Once,
    pub clock: SharedClock,
    /// The search, all purposes.
    pub match_recorder: StepRecorder,
    /// From the end of the search until the task is handed on.
    pub decide_recorder: StepRecorder,
    pub match_counters: Arc<MatchCounters>,
    pub decide_counters: Arc<DecideCounters>,
    pub progress: Progress,
}

/// Runs until the embedders hang up, or the journal does.
pub fn run<T: From<ReviewTask>>(mut worker: DecideWorker<T>) {
    loop {
        worker.progress.rest();
        let query = match worker.queries.recv_timeout(EXPIRY_CHECK) {
            Ok(query) => Some(query),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        worker.progress.start();
        worker.set.retire_expired(worker.clock.utc());
        if let Some(query) = query
            && !worker.judge(query)
        {
            break;
        }
    }
    worker.progress.finish();
}

impl<T: From<ReviewTask>> DecideWorker<T> {
    /// Compares who presents themselves with the one person whom they claim to be, once a claim. Whether the query was made under an open
    /// claim.
    fn verify(&mut self, query: &Query) -> bool {
        let begun_at = self.clock.monotonic();
        let permit = self.leases.permit_for::<Verify>(query.stream, &Purpose::access_verification(), begun_at).ok();
        let of_this = |p: &Permit<Verify>| p.epoch() == query.lease_epoch && query.purposes.contains(p.purpose());
        let Some(permit) = permit.filter(of_this) else { return false };
        let Some(claim) = permit.claim().filter(|c| query.presented && self.answers.wants(c.id)) else { return true };
        let Ok(Some(compared)) = self.set.verify(&permit, &query.embedding) else { return true };
        self.match_counters.verified.increment();
        let threshold = self.thresholds.get(query.stream);
        let matched = compared.score >= threshold;
        let verified = Verified {
            claim: claim.id,
            stream: query.stream,
            track: query.track,
            purpose: permit.purpose().clone(),
            profile_hash: *permit.profile_hash(),
            subject: Arc::clone(&claim.subject),
            matched,
            score: compared.score,
            threshold,
            gallery_version: compared.gallery_version,
            model: self.set.model().name.clone(),
            captured_at: query.captured_at,
            frame_sequence: query.frame_sequence,
            bounding_box: query.bounding_box,
            picture_px: query.picture_px,
            quality: query.quality,
            shots: query.shots,
            decided_at: self.clock.now(),
        };
        // Before it is handed on: the emit worker may put it back.
        self.answers.take_up(claim.id);
        if !(self.record)(verified) {
            self.answers.put_back(claim.id);
            self.decide_counters.shed.increment();
        }
        true
    }

    /// False when nobody listens any more.
    fn judge(&mut self, query: Query) -> bool {
        let of_a_claim = self.verify(&query);
        let Query { stream, track, lease_epoch, purposes, embedding, shots, quality, bounding_box, picture_px, .. } = query;
        let (captured_at, frame_sequence) = (query.captured_at, query.frame_sequence);
        let begun_at = self.clock.monotonic();
        self.match_counters.queries.increment();
        let threshold = self.thresholds.get(stream);
        let mut permits = self.leases.match_permits(stream, begun_at).unwrap_or_default();
        // A lease that ended on the way here and was granted anew is another lease: it says nothing of what was seen before it.
        permits.retain(|permit| permit.epoch() == lease_epoch);
        permits.retain(|permit| {
            let made_for_it = purposes.contains(permit.purpose());
            if !made_for_it {
                self.match_counters.refused.increment();
                tracing::error!(stream = stream.0, purpose = %permit.purpose(), "not searched: the query was made for other purposes");
                (self.refuse)(stream, &purposes, permit.purpose());
            }
            made_for_it
        });
        let found = identify(embedding, &permits, &self.set, threshold, self.top_k);
        let searched_at = self.clock.now();
        self.match_recorder.record_ns(searched_at.monotonic.since_ns(begun_at));
        self.match_counters.hits.add(found.hits.len() as u64);
        if found.hits.is_empty() {
            if permits.is_empty() && of_a_claim {
                return true;
            }
            if permits.is_empty() || found.ended_permits > 0 {
                self.match_counters.withheld.increment()
            } else {
                self.match_counters.unmatched.increment()
            }
            return true;
        }
        for hit in found.hits {
            let task = ReviewTask {
                stream,
                track,
                purpose: hit.purpose,
                basis: hit.basis,
                lease_epoch: hit.lease_epoch,
                candidates: hit.candidates,
                threshold,
                gallery_version: hit.gallery_version,
                model: self.set.model().name.clone(),
                captured_at,
                frame_sequence,
                bounding_box,
                picture_px,
                quality,
                shots,
                decided_at: searched_at,
            };
            if !self.hand_on(task) {
                return false;
            }
        }
        self.decide_recorder.record_ns(self.clock.monotonic().since_ns(searched_at.monotonic));
        true
    }

    /// False when nobody listens any more.
    fn hand_on(&mut self, task: ReviewTask) -> bool {
        let now = task.decided_at.monotonic;
        let identified = Identified { stream: task.stream, track: task.track };
        if self.once.is_new(&task, now) {
            // Only a copy can be remembered *after* sending; hits are rare and a task is small.
            match self.tasks.try_send(task.clone().into()) {
                Ok(()) => {
                    self.once.remember(&task, now);
                    self.decide_counters.tasks.increment();
                }
                Err(TrySendError::Full(_)) => {
                    self.decide_counters.shed.increment();
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        } else {
            self.decide_counters.repeats.increment();
        }
        if let Err(TrySendError::Full(_)) = self.identified.try_send(identified) {
            self.decide_counters.feedback_shed.increment();
        }
        true
    }
}

#[cfg(test)]
mod tests;
