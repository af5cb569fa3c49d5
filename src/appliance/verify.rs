//! A claim at a gate, from the question to the answer (1:1): whom somebody in front of a stream's camera says they are, and whether they are.
//!
//! ```text
//! console thread ── number ──▶ policy thread: may it be? ──▶ lease with the claim ──▶ track, embed, decide: compared with that one person
//!       └────────────────────────── waits, for a few seconds ◀── answer ── journal, durable ◀────────────────┘
//! ```
//!
//! Whoever hangs up ends their claim by that. Whatever goes wrong (no leave, no consent, nobody enrolled, no face, no room in the journal's queue, a thread that hangs) is no match.

use std::time::Duration;

use crossbeam::channel::TryRecvError;
use crossbeam::select;

use super::Appliance;
use crate::console::view::VerificationView;
use crate::console::{ActionError, Gone};
use crate::decide::answers::Answer;
use crate::emit::record::Entry;
use crate::frame::StreamIndex;
use crate::policy::claim::Claim;
use crate::policy::rules::{Reason, Rule};
use crate::policy::worker::{PolicyError, PolicyHandle};
use crate::purpose::Purpose;

/// Ends the claim however the question ends.
struct Open<'a> {
    policy: &'a PolicyHandle,
    claim: Claim,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // A thread that does not answer renews nothing: the claim ends with its lease.
        let _ends_by_itself = self.policy.close_claim(self.claim.id);
    }
}

impl Appliance {
    /// Says no, and keeps that it was said.
    fn refuse_claim(&self, stream: &str, reason: &Reason) -> ActionError {
        let purpose = Purpose::access_verification().to_string();
        let entry = Entry { purpose, stream: stream.to_owned(), ..Entry::refused(reason.rule.name(), &reason.fact) };
        let record = self.plan.lock().record.clone();
        record.note(entry, self.clock.utc());
        ActionError::Law(reason.clone())
    }

    pub(super) fn verify_claim(&self, stream: &str, person: &str, within: Duration, gone: &Gone) -> Result<VerificationView, ActionError> {
        if gone.try_recv() == Err(TryRecvError::Disconnected) {
            return Err(ActionError::Failed("whoever asked has hung up".to_owned()));
        }
        let plane = self.running()?;
        let Some(index) = plane.streams.iter().position(|s| *s.name == *stream) else {
            let known: Vec<String> = plane.streams.iter().map(|s| format!("`{}`", s.name)).collect();
            return Err(ActionError::NotFound(format!("there is no stream `{stream}`; the pipeline has {}", known.join(", "))));
        };
        let Some(galleries) = &plane.galleries else {
            return Err(ActionError::Refused(format!("the pipeline of stream `{stream}` has no embedder: nobody is recognised there")));
        };
        let Some(expected) = plane.answers.expect() else {
            return Err(ActionError::Refused("as many claims as can be are being verified: ask again in a few seconds".to_owned()));
        };
        let begun_at = self.clock.monotonic();
        let place = StreamIndex(u16::try_from(index).unwrap_or(u16::MAX));
        let claim = plane.policy.open_claim(place, expected.claim, person, within).map_err(|error| {
            tracing::warn!(stream, %error, "a claim was not verified");
            match error {
                PolicyError::ClaimRefused(reason) => self.refuse_claim(stream, &reason),
                other => ActionError::Failed(other.to_string()),
            }
        })?;
        let open = Open { policy: &plane.policy, claim };
        if !galleries.knows(&Purpose::access_verification(), &open.claim.subject) {
            // Before anything that may wait, such as the record's lock.
            drop(open);
            let fact = format!("`{person}` is not enrolled for `access-verification`");
            let reason = Reason::new(Rule::SubjectEnrolled, fact, "let them in another way; or enrol them (`placard enrol`)");
            return Err(self.refuse_claim(stream, &reason));
        }
        let left_ns = open.claim.until.since_ns(self.clock.monotonic());
        let answer = select! {
            recv(expected.receiver) -> answer => answer.ok(),
            // Nobody is measured for whoever has gone.
            recv(gone) -> _hung_up => None,
            default(Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0))) => None,
        };
        let subject = open.claim.subject.to_string();
        drop(open);
        let view = told(answer);
        tracing::info!(stream, outcome = view.outcome, "a claim was verified");
        let took_ms = self.clock.monotonic().since_ns(begun_at) as f64 / 1e6;
        Ok(VerificationView { stream: stream.to_owned(), subject, took_ms, ..view })
    }
}

fn told(answer: Option<Answer>) -> VerificationView {
    let outcome = match answer {
        Some(Answer { matched: true, .. }) => "match",
        Some(_) => "no-match",
        None => "nobody-seen",
    };
    VerificationView {
        outcome: outcome.to_owned(),
        score: answer.map(|a| a.score),
        threshold: answer.map(|a| a.threshold),
        ..VerificationView::default()
    }
}
