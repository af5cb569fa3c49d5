//! What the console shows, as plain values: the JSON of the control socket, and what `status` and `top` read back.
//!
//! Both ends are this crate, but not always the same version (a new `placard top` against a service that was not restarted yet), so
//! reading is lenient: unknown fields are skipped, missing ones take their defaults. No view ever carries a subject id, a picture or an
//! embedding (recent events are handed on as journalled, with the opaque id of the candidates). Times are RFC 3339 in UTC.

use serde::{Deserialize, Serialize};

use crate::policy::store::{Digest, Outcome, Pending, Present};

/// `GET /v1/status`: everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusView {
    /// The pipeline's name.
    pub name: String,
    /// The site's name.
    pub site: String,
    /// The site's mode (`commissioning`, `operational`).
    pub mode: String,
    /// Program version.
    pub version: String,
    pub pid: u32,
    /// The pipeline file.
    pub pipeline: String,
    pub started_at: String,
    pub uptime_s: f64,
    pub policy: PolicyView,
    pub streams: Vec<StreamView>,
    pub steps: Vec<StepView>,
    pub galleries: Vec<GalleryView>,
    pub networks: Vec<NetworkView>,
    pub counters: Vec<CounterView>,
    /// One sentence each: what needs a human now (journal full, policy thread silent, camera moved, …).
    pub alarms: Vec<String>,
}

/// The policy thread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyView {
    /// Its heartbeat is fresh: it renews leases.
    pub alive: bool,
    /// Milliseconds since its last round.
    pub heartbeat_age_ms: f64,
    /// SHA-256 of the register in force, hex.
    pub profile: String,
    /// Whether stand-ins sign for the register: then nobody approved what is in it.
    pub stand_ins: bool,
    /// Proposals that wait for signatures.
    pub waiting: usize,
}

/// One camera or file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamView {
    pub name: String,
    /// Without anything secret (`SourceSpec`'s `Display`).
    pub source: String,
    /// `connecting`, `live`, `stalled`, `failed` (the next attempt follows), `ended`: ingest's own words.
    pub health: String,
    /// The last error of the source, in GStreamer's or the driver's words; empty when well.
    pub health_detail: String,
    /// `off`, `capture-only`, `detect`, `recognise`; `no-detector` when nobody is left to do what the law allows.
    pub state: String,
    /// Why it is in that state.
    pub reason: String,
    /// Purposes granted now.
    pub purposes: Vec<String>,
    /// When the state changes by itself (an inspection, a basis or an order runs out); empty: not foreseeable.
    pub next_change: String,
    pub fps_in: f64,
    pub fps_detected: f64,
    /// Pixels; 0 before the first frame.
    pub width: u32,
    pub height: u32,
    /// Element or reader that decodes; empty before the first frame.
    pub decoder: String,
    /// Which clock stamped the last frame: `driver`, `sender`, `arrival`, `scheduled`; empty before the first frame.
    pub capture_clock: String,
    /// SHA-256 of the certificate that the camera showed (`rtsps://`), hex digits.
    pub tls_sha256: String,
    /// Frames that arrived.
    pub frames: u64,
    /// Frames overwritten in the ring because the workers were busy.
    pub overwritten: u64,
    /// Frames released unread for want of a permit.
    pub withheld: u64,
    /// Frames that a detector looked at, and when it last finished doing so (`CLOCK_MONOTONIC`; 0 before the first): what proves that
    /// a dark stream is dark.
    pub detected: u64,
    pub last_read_monotonic_ms: f64,
    /// When leave was last taken from the stream, in whole or in part (`CLOCK_MONOTONIC`; 0: never since the start).
    pub revoked_monotonic_ms: f64,
    pub reconnects: u64,
    /// People (tracks) confirmed, hits handed to humans.
    pub tracks: u64,
    pub hits: u64,
}

/// Latency of one step since the start, milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepView {
    pub name: String,
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    /// Latencies below zero (a capturing clock ahead of ours): counted, in no percentile.
    pub negative: u64,
}

impl From<&crate::latency::StepSnapshot> for StepView {
    fn from(step: &crate::latency::StepSnapshot) -> Self {
        let p = step.percentiles_ms();
        Self {
            name: step.name.to_string(),
            count: step.histogram.len(),
            p50_ms: p.p50,
            p90_ms: p.p90,
            p99_ms: p.p99,
            p999_ms: p.p999,
            max_ms: p.max,
            negative: step.negative,
        }
    }
}

/// One step's latencies as a curve: `GET /v1/latency/curves`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CurveView {
    pub name: String,
    /// (quantile 0…1, milliseconds), falling nowhere.
    pub points: Vec<(f64, f64)>,
}

impl From<&crate::latency::StepSnapshot> for CurveView {
    fn from(step: &crate::latency::StepSnapshot) -> Self {
        Self { name: step.name.to_string(), points: crate::latency::report::percentile_curve(step).points }
    }
}

/// The templates of one purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GalleryView {
    pub purpose: String,
    pub templates: u64,
    pub version: u64,
}

/// One network of the pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkView {
    /// `face detector`, …
    pub task: String,
    pub model: String,
    /// What runs it, and in which numbers, as the start found out.
    pub runs_on: String,
    pub workers: usize,
}

/// One counter or gauge, as its component declares it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CounterView {
    pub component: String,
    /// Empty where it is not about one stream.
    pub stream: String,
    pub name: String,
    pub value: u64,
}

/// `GET /v1/policy/timeline`: one change of a stream's state, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransitionView {
    pub at: String,
    /// `CLOCK_MONOTONIC` of the same instant: comparable within one machine, across processes.
    pub at_monotonic_ms: f64,
    pub stream: String,
    pub from: String,
    pub to: String,
    pub reason: String,
    /// The reason in its parts: which rule spoke, from which fact, and what would change it.
    pub rule: String,
    pub fact: String,
    pub remedy: String,
}

/// Answer to a sign's withdrawal, posting or inspection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignView {
    pub sign: String,
    /// `posted`, `withdrawn` or `inspected`.
    pub state: String,
    /// Streams whose permits hang on this sign.
    pub streams: Vec<String>,
    pub at: String,
    /// See [`TransitionView::at_monotonic_ms`].
    pub at_monotonic_ms: f64,
    /// Why it is not in force yet: who must sign. Empty: it is.
    pub waits: String,
}

/// `GET /v1/register`: the register in force, verified, and what waits for signatures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegisterView {
    /// Every fact, in TOML.
    pub register: String,
    /// Whom people sign for.
    pub site: Digest,
    /// As the register was founded.
    pub mode: String,
    /// How many there are, and the digest of the last.
    pub changes: u64,
    pub head: Digest,
    /// Of the facts, hex.
    pub sha256: String,
    pub pending: Vec<Pending>,
}

impl RegisterView {
    pub fn of(present: &Present) -> Self {
        let chain = present.chain();
        Self {
            register: present.register().to_toml(),
            site: chain.site(),
            mode: chain.mode().name().to_owned(),
            changes: chain.length(),
            head: chain.head(),
            sha256: Digest(present.register().hash()).to_string(),
            pending: present.pending().to_vec(),
        }
    }
}

/// Answer to `POST /v1/register/changes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeView {
    pub outcome: Outcome,
    /// Streams whose state, purposes or reason are others since.
    pub streams: Vec<StreamChange>,
}

/// What a change of the register did to a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamChange {
    pub stream: String,
    pub before: String,
    pub after: String,
    pub reason: String,
}

/// Answer to the heartbeat of a way in without a face.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlternativeView {
    pub alternative: String,
    pub zone: String,
    /// Seconds that it counts.
    pub counts_s: u32,
}

/// Answer to a claim at a gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerificationView {
    pub stream: String,
    /// Whom they claimed to be: opaque id.
    pub subject: String,
    /// `match`; `no-match`: whoever was nearest to the camera is somebody else; `nobody-seen`: no face came near enough, leave ended
    /// meanwhile, or the answer could not be recorded. Only the first
    /// opens a gate.
    pub outcome: String,
    /// Cosine similarity, where a face was compared, and the least that makes a match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    pub took_ms: f64,
}

/// Answer to a reload: what was taken over, and what only a restart changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadView {
    pub applied: Vec<String>,
    pub needs_restart: Vec<String>,
    pub galleries: Vec<GalleryView>,
}

/// `GET /ready`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readiness {
    pub ready: bool,
    /// Why not; one sentence each.
    pub reasons: Vec<String>,
}
