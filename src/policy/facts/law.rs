//! Facts that a regime may ask for beside zone, sign and purpose: orders, consents, ways in without a face, votes, authorisations,
//! objections. Each is in force from one instant to another; what has ended stays in the register, so that it can be told later.
//!
//! Sources: PIPL Art. 13, 15, 23, 26, 28 to 31; SPC interpretation 2021 Art. 2, 4, 5, 10; EU AI Act Art. 5(1)(h), 26(10); 740 ILCS 14/15.

use serde::{Deserialize, Serialize};

use super::Withdrawal;
use crate::area::Vertex;
use crate::policy::when::When;
use crate::purpose::Purpose;

/// `[[order]]`: a public emergency (C26). `emergency:ID` and `mask-check` rest on one, and it relaxes the basis alone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The number that its issuer gave it; the sub-purpose of `emergency:ID`.
    pub id: String,
    pub issuer: String,
    pub zones: Vec<String>,
    pub from: When,
    pub until: When,
    /// Each with a number of its own. An order's last day is the latest `until`.
    #[serde(default, rename = "renewal", skip_serializing_if = "Vec::is_empty")]
    pub renewals: Vec<Renewal>,
    /// Who approved it and its last renewal (ids of people), at least as many as the profile asks for.
    pub approved_by: Vec<String>,
    /// Present once somebody ended it early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Withdrawal>,
}

/// An order was prolonged.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    pub number: String,
    pub from: When,
    pub until: When,
}

/// `[[consent]]`: one person's, for one purpose (C23).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    pub id: String,
    /// The opaque join id of the subject; no name.
    pub subject: String,
    pub purpose: Purpose,
    /// SHA-256 of the notice that was shown.
    pub notice_sha256: String,
    pub method: ConsentMethod,
    /// Given for this purpose alone. A consent that was bundled with others, or without which a service was refused, is void (SPC Art. 4)
    /// and is refused on entry.
    pub separate: bool,
    #[serde(default)]
    pub bundled: bool,
    #[serde(default)]
    pub service_conditional: bool,
    pub given_at: When,
    pub until: When,
    /// As declared by the person or guardian, never inferred from a face (C39).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<When>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardian: Option<Guardian>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawal>,
}

/// How it was given. Closed; a written release is what 740 ILCS 14/15 asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsentMethod {
    Written,
    ElectronicSignature,
    AtTheDesk,
}

/// Who consented for a minor.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Guardian {
    /// Opaque, as a subject's.
    pub reference: String,
    pub relation: String,
    pub given_at: When,
}

/// `[[alternative]]`: a way into an access zone that reads nobody's body (C13). Declared here; alive while it sends heartbeats.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    pub id: String,
    pub zone: String,
    pub kind: AlternativeKind,
    /// How long a heartbeat counts; never longer than the profile allows.
    pub heartbeat_s: u32,
}

/// What opens instead of a face. No fingerprints: every biometric is barred from this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlternativeKind {
    Card,
    Code,
    Document,
    Staff,
}

/// `[[governance]]`: that somebody was asked, and decided, before the first frame (C25).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Governance {
    pub id: String,
    pub zones: Vec<String>,
    pub document_sha256: String,
    pub decided_on: When,
    pub decided_by: String,
    /// Of owners, where the kind of site asks for a vote: more than half must be for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub votes_for: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub votes_total: Option<u32>,
}

/// `[[authorisation]]`: a court's or authority's leave for one purpose (EU AI Act Art. 5(3), 26(10)).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Authorisation {
    pub id: String,
    pub authority: String,
    pub purpose: Purpose,
    pub zones: Vec<String>,
    pub from: When,
    pub until: When,
    /// The fundamental rights impact assessment and the registration in the EU database.
    pub assessment: String,
    pub registration: String,
    /// Requested then and not decided yet. It counts for as many hours as the profile allows, and then no more until it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_since: Option<When>,
    /// Refused after the fact, or withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Withdrawal>,
}

/// `[[objection]]`: somebody objects; stream or purpose pauses until it is settled (C38). Narrowing: one person enters it, two settle it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Objection {
    pub id: String,
    /// At least one of the two. With both, that purpose on that stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    pub at: When,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Withdrawal>,
}

/// `[[view]]`: that a stream sees a sign, where, and what its picture looked like when it was commissioned (C14).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    pub stream: String,
    pub sign: String,
    /// The four corners of the sign's code in the picture, fractions, clockwise from its own top left.
    pub code: [Vertex; 4],
    /// How far a corner may move, as a fraction of the picture's width.
    pub tolerance: f64,
    pub attest_every_s: u32,
    /// What of the commissioned picture drift is measured against: coarse edges, no picture (`signs/drift.rs`). Hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// `[[device]]`: what delivers a stream's picture (C02).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub stream: String,
    pub capability: Capability,
    /// Its ONVIF device service: asked whether the camera's own face analytics and recording are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onvif: Option<String>,
    /// SHA-256 of the certificate (DER) that the camera shows, hex digits: the stream counts only while its connection is with that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_sha256: Option<String>,
    /// Seconds between two questions.
    #[serde(default = "default_check_every")]
    pub check_every_s: u32,
}

fn default_check_every() -> u32 {
    300
}

/// What kind of device. Closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    Camera,
    /// A recording that is played back.
    Recording,
    /// Drawn by the program itself.
    Rendered,
}
