//! Console: the running appliance's ears and mouth. HTTP and JSON on a Unix socket (`api.rs`), metrics and health on loopback
//! (`health.rs`, `metrics.rs`), the public status page (`public.rs`), and the client that commands use (`client.rs`).
//!
//! Everything goes through the [`Appliance`] trait: the console knows no step, and tests speak to a fake. One thread, `console`, runs
//! a current-thread runtime; what may block (a register written to disk, a gallery opened) runs on that runtime's blocking
//! threads, so a status page never waits for it. Nothing here is on a frame's path.

mod api;
pub mod client;
#[cfg(test)]
pub(crate) mod fake;
mod health;
mod metrics;
pub mod notify;
pub mod public;
pub mod rates;
mod server;
pub mod view;

pub use server::{Addresses, Console, ConsoleError};

use std::time::Duration;

use crate::counters::Counters;
use crate::latency::StepSnapshot;
use crate::policy::rules::Reason;
use crate::policy::store::Request;
use public::PublicView;
use view::{AlternativeView, ChangeView, Readiness, RegisterView, ReloadView, SignView, StatusView, TransitionView, VerificationView};

/// Of whoever asked: nothing ever comes, and it is disconnected once they have hung up.
pub type Gone = crossbeam::channel::Receiver<std::convert::Infallible>;

/// What the console needs from the appliance. Reading methods return within milliseconds and take no lock that a worker holds for
/// longer; the others may write to disk, and one waits for a face.
pub trait Appliance: Send + Sync + 'static {
    /// Everything at one moment.
    fn status(&self) -> StatusView;
    /// Each step's histogram, in the order of the journey.
    fn latencies(&self) -> Vec<StepSnapshot>;
    /// The latest events as they were journalled, newest last; at most `limit`.
    fn recent_events(&self, limit: usize) -> Vec<serde_json::Value>;
    /// What anybody may know. `None`: the pipeline is being reloaded.
    fn public(&self) -> Option<PublicView>;
    /// Changes of streams' states, oldest first; at most `limit`.
    fn policy_timeline(&self, limit: usize) -> Vec<TransitionView>;
    /// Shows every component's counters to `each`.
    fn visit_counters(&self, each: &mut dyn FnMut(&dyn Counters));
    /// Ready: the policy thread's heartbeat is fresh, every worker moves or rests, the journal takes events.
    fn readiness(&self) -> Readiness;

    /// A sign was taken down (or found covered): streams that hang on it go dark. Durable before it returns. `by`, `reason`: recorded.
    fn withdraw_sign(&self, sign: &str, by: &str, reason: &str) -> Result<SignView, ActionError>;
    /// A sign was posted again.
    fn post_sign(&self, sign: &str, by: &str) -> Result<SignView, ActionError>;
    /// Somebody saw a sign in its place.
    fn inspect_sign(&self, sign: &str, inspection: InspectionNote) -> Result<SignView, ActionError>;
    /// The register in force, and what waits for signatures.
    fn register(&self) -> Result<RegisterView, ActionError>;
    /// A proposal, a signature or a rejection. In force, or durably kept, before it returns.
    fn change_register(&self, request: Request) -> Result<ChangeView, ActionError>;
    /// A way in without a face works.
    fn beat_alternative(&self, alternative: &str) -> Result<AlternativeView, ActionError>;
    /// Somebody in front of the stream's camera says that they are `person`: looks, for `within` at most, whether they are (1:1). Waits for that, and
    /// no longer than whoever asked.
    fn verify(&self, stream: &str, person: &str, within: Duration, gone: &Gone) -> Result<VerificationView, ActionError>;
    /// Reads the pipeline file and the register again; on any error everything stays as it was.
    fn reload(&self) -> Result<ReloadView, ActionError>;
    /// Opens the galleries again (after an enrolment or a deletion).
    fn reload_gallery(&self) -> Result<ReloadView, ActionError>;

    /// Called by the console thread once a second: the moment to take samples for frame rates.
    fn tick(&self) {}
}

/// What somebody says who inspected a sign, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InspectionNote {
    pub by: String,
    /// A date or RFC 3339 date-time; `None`: now.
    pub at: Option<String>,
    /// Of a new photograph: 64 lower-case hex digits.
    pub photo_sha256: Option<String>,
}

/// Why the appliance did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// Nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// The law says no.
    #[error("refused: {0}")]
    Law(Reason),
    /// The site, or what it can do now, says no.
    #[error("{0}")]
    Refused(String),
    /// A file is not valid; the old one stays in force.
    #[error("{0}")]
    Invalid(String),
    /// Something broke while doing it.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests;
