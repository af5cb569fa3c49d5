//! Claims: somebody stands at a gate and says who they are. For a few seconds a face in front of that camera may be compared with the
//! template of that one person, and with nobody else's (C13, C23).
//!
//! A claim is a part of its stream's lease ([`LeaseTerms::claim`](super::lease::LeaseTerms)): it comes with a new epoch and goes with it, so
//! that nothing gathered before it, or after, is compared. Without one `access-verification` opens no embedder and no gallery: nobody's
//! face is measured. While one is open one person's is: whose face was the largest in view (`track/tracker.rs`), compared once with that one
//! person's templates, recorded once, and answered when the record is durable. At each evaluation the purpose must
//! be granted on the stream (so another way in must be alive) and the person's consent must hold; else the claim ends at once.
//!
//! One claim a stream at a time. Owner: the policy thread (`keeper/claims.rs`).

use std::sync::Arc;
use std::time::Duration;

use super::enrolment::eligible::claimant;
use super::facts::Register;
use super::rules::{Reason, Rule};
use crate::clock::{Monotonic, Now, Stamp};

/// No claim is open for longer: who is not recognised within it asks again, or takes the other way in.
pub const MAX_CLAIM: Duration = Duration::from_secs(8);
/// Unless whoever asks says otherwise.
pub const DEFAULT_CLAIM: Duration = Duration::from_secs(5);

/// An open claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose answer it is: whoever asked gave it.
    pub id: u64,
    /// Whom somebody claims to be: a subject of the gallery.
    pub subject: Arc<str>,
    pub until: Stamp<Monotonic>,
}

impl Claim {
    /// Opens one for `person` (a subject, or the id of its consent), or says which consent is missing or void.
    pub(in crate::policy) fn open(id: u64, register: &Register, person: &str, within: Duration, now: Now) -> Result<Self, Reason> {
        let subject = claimant(register, person, now.utc)?.into();
        Ok(Self { id, subject, until: now.monotonic.plus(within.min(MAX_CLAIM)) })
    }

    /// Whether it may stay open: its time is not up, and the consent holds.
    pub(in crate::policy) fn holds(&self, register: &Register, now: Now) -> bool {
        now.monotonic < self.until && claimant(register, &self.subject, now.utc).is_ok()
    }
}

pub(in crate::policy) fn taken(stream: &str) -> Reason {
    let fact = format!("somebody's claim is being verified on stream `{stream}` already");
    Reason::new(Rule::VerificationOnly, fact, "wait a few seconds: one claim at a time, so that no face is compared with two people's")
}
