//! The event: what is written to the journal and told to sinks. Its JSON form is a contract (`docs/events.md`,
//! `docs/events.schema.json`, compared in a test).
//!
//! Names under `Frame` are ONVIF's (Analytics Service Specification, scene description and its JSON form: attributes carry `@`,
//! ONVIF namespaces are dropped); what ONVIF has no name for is snake_case, units last. An event holds no picture, no embedding and
//! no name of a person: subjects are opaque ids.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Draft, StreamNames};
use crate::clock::{CaptureTime, Now, format_utc};
use crate::decide::Verified;
use crate::frame::BoundingBox;
use crate::hex;
use crate::mask_check::Finding;
use crate::policy::lease::{Emit, Permit, PurposeStage, TellMask, TellVerified};

/// 128 random bits as 32 hex digits: the id by which receivers recognise a repeated delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    pub(in crate::emit) fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0_u8; 16];
        getrandom::fill(&mut bits)?;
        Ok(Self(hex::of(&bits)))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the human check of a hit stands. Placard itself only ever writes `pending`: a hit is a task for a human.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Review {
    /// Nobody has looked at it yet.
    Pending,
}

/// Whoever wrote the event did not know of more.
const fn one() -> u32 {
    1
}

/// A subject who may be the person seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventCandidate {
    /// Opaque id; the name belonging to it is in another file under another key.
    pub subject: String,
    /// Cosine similarity, −1 to 1. Not a probability.
    pub score: f32,
}

/// Size of the full-resolution picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Picture {
    pub width_px: u32,
    pub height_px: u32,
}

/// A face on a stream resembles an enrolled subject. ONVIF topic: `tns1:RuleEngine/Recognition/Face`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaceMatch {
    /// Subjects at or above the threshold, best first; at least one.
    pub candidates: Vec<EventCandidate>,
    /// The least score that makes a hit on this stream.
    pub threshold: f32,
    /// Name of the model that made the embedding.
    pub model: Arc<str>,
    /// Version of the gallery that was searched.
    pub gallery_version: u64,
    /// Quality of the best shot, 0 to 1.
    pub quality: f32,
    pub review: Review,
    /// How many people must confirm it, each for themselves, before anybody acts on it.
    #[serde(default = "one")]
    pub confirmations: u32,
}

/// Somebody was seen with, or without, a mask. There is no member that could say who.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MaskAnswer {
    pub mask_worn: bool,
    /// Probability of the answer, 0.5 to 1: the mean over the shots.
    pub confidence: f32,
    /// The least probability that is told on this stream.
    pub threshold: f32,
    /// Name of the classifier, and the SHA-256 of its prepared file, hex.
    pub model: Arc<str>,
    pub model_sha256: Arc<str>,
}

/// A face was compared with the one person whom somebody in front of the camera claimed to be (1:1), and with nobody else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Whom they claimed to be: opaque id.
    pub subject: Arc<str>,
    pub matched: bool,
    /// Cosine similarity, −1 to 1. Not a probability.
    pub score: f32,
    /// The least score that makes a match on this stream.
    pub threshold: f32,
    /// Name of the model that made the embedding.
    pub model: Arc<str>,
    /// Version of the gallery that the person's templates are from.
    pub gallery_version: u64,
    /// Quality of the best shot, 0 to 1.
    pub quality: f32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    FaceMatch(FaceMatch),
    MaskCheck(MaskAnswer),
    Verification(Verification),
}

/// What was seen, told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Random, unique: receivers drop an event whose id they have seen (delivery is at least once).
    pub id: EventId,
    #[serde(flatten)]
    pub what: What,
    /// The stream's name in the pipeline file.
    pub stream: Arc<str>,
    /// The zone that the stream's area belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// `crime-prevention:CASE`, `missing-person:CASE`, `access-verification`, `emergency:ORDER` or `mask-check`.
    pub purpose: String,
    /// Statute and authority, as the register has them.
    pub basis: Arc<str>,
    /// SHA-256 digest of the permit under which the event was emitted, hex.
    pub permit: String,
    /// SHA-256 of the register (facts and rules) that the permit was decided from, hex.
    pub profile: String,
    /// How many shots of the track the answer comes from.
    pub shots: u64,
    /// When the light of the deciding frame was captured (RFC 3339, UTC).
    pub captured_at: String,
    /// Whose clock `captured_at` comes from: `driver`, `sender`, `arrival` or `scheduled`.
    pub captured_clock: String,
    /// When it was decided (RFC 3339, UTC).
    pub decided_at: String,
    /// From capture to the moment the event was handed to the journal. Negative where the capturing clock runs ahead of ours.
    pub latency_ms: f64,
    /// Number of the deciding frame in its stream, from 0.
    pub frame_sequence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Picture>,
    /// The scene description of the deciding frame, as ONVIF writes it in JSON. Exactly one.
    #[serde(rename = "Frame")]
    pub frame: Vec<OnvifFrame>,
}

/// `tt:Frame`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnvifFrame {
    /// Equal to `captured_at`.
    #[serde(rename = "@UtcTime")]
    pub utc_time: String,
    /// Name of the analytics module: the networks of this appliance.
    #[serde(rename = "@Source")]
    pub source: String,
    /// From pixels to ONVIF's normalised coordinates. Absent where the picture's size is not known.
    #[serde(rename = "Transformation", default, skip_serializing_if = "Option::is_none")]
    pub transformation: Option<OnvifTransformation>,
    /// One; none where somebody was compared at a gate and is not whom they claimed to be: nobody's place is recorded then.
    #[serde(rename = "Object")]
    pub object: Vec<OnvifObject>,
}

/// `tt:Transformation`: normalised = pixel × Scale + Translate, −1 to 1, y upwards.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnvifTransformation {
    #[serde(rename = "Translate")]
    pub translate: OnvifVector,
    #[serde(rename = "Scale")]
    pub scale: OnvifVector,
}

/// `tt:Vector`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnvifVector {
    #[serde(rename = "@x")]
    pub x: f64,
    #[serde(rename = "@y")]
    pub y: f64,
}

/// `tt:Object`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnvifObject {
    /// The track's public id: random, per stream, replaced at intervals. Says nothing about another stream.
    #[serde(rename = "@ObjectId")]
    pub object_id: String,
    #[serde(rename = "Appearance")]
    pub appearance: OnvifAppearance,
}

/// `tt:Appearance`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnvifAppearance {
    #[serde(rename = "Shape")]
    pub shape: OnvifShape,
    #[serde(rename = "Class")]
    pub class: OnvifClass,
}

/// `tt:ShapeDescriptor`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnvifShape {
    #[serde(rename = "BoundingBox")]
    pub bounding_box: OnvifRectangle,
    #[serde(rename = "CenterOfGravity")]
    pub centre: OnvifVector,
}

/// `tt:Rectangle`, in pixels of the full-resolution picture, y downwards (see `Transformation`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnvifRectangle {
    #[serde(rename = "@left")]
    pub left: f32,
    #[serde(rename = "@top")]
    pub top: f32,
    #[serde(rename = "@right")]
    pub right: f32,
    #[serde(rename = "@bottom")]
    pub bottom: f32,
}

/// `tt:ClassDescriptor`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnvifClass {
    /// Always `HumanFace` (`tt:ObjectType`).
    #[serde(rename = "Type")]
    pub class_type: String,
}

/// What every kind of event says of the deciding frame.
struct Sighting<'a> {
    track: String,
    captured_at: CaptureTime,
    decided_at: Now,
    frame_sequence: u64,
    bounding_box: BoundingBox,
    picture_px: Option<(u32, u32)>,
    shots: usize,
    names: &'a StreamNames,
}

impl Event {
    pub(in crate::emit) fn hit(id: EventId, draft: &Draft, permit: &Permit<Emit>, names: &StreamNames, now: Now) -> Self {
        let candidates = draft.candidates.iter().map(|c| EventCandidate { subject: c.subject.to_string(), score: c.score }).collect();
        let what = What::FaceMatch(FaceMatch {
            candidates,
            threshold: draft.threshold,
            model: Arc::clone(&draft.model),
            gallery_version: draft.gallery_version,
            quality: draft.quality,
            review: Review::Pending,
            confirmations: permit.confirmations(),
        });
        let seen = Sighting {
            track: draft.track.clone(),
            captured_at: draft.captured_at,
            decided_at: draft.decided_at,
            frame_sequence: draft.frame_sequence,
            bounding_box: draft.bounding_box,
            picture_px: draft.picture_px,
            shots: draft.shots,
            names,
        };
        Self::new(id, what, seen, permit, now)
    }

    pub(in crate::emit) fn mask(id: EventId, finding: &Finding, permit: &Permit<TellMask>, names: &StreamNames, now: Now) -> Self {
        let what = What::MaskCheck(MaskAnswer {
            mask_worn: finding.worn,
            confidence: finding.confidence,
            threshold: finding.threshold,
            model: Arc::clone(&finding.model.name),
            model_sha256: Arc::clone(&finding.model.sha256),
        });
        let seen = Sighting {
            track: finding.track.to_string(),
            captured_at: finding.captured_at,
            decided_at: finding.decided_at,
            frame_sequence: finding.frame_sequence,
            bounding_box: finding.bounding_box,
            picture_px: Some(finding.picture_px),
            shots: finding.shots,
            names,
        };
        Self::new(id, what, seen, permit, now)
    }

    pub(in crate::emit) fn verification(
        id: EventId,
        verified: &Verified,
        permit: &Permit<TellVerified>,
        names: &StreamNames,
        now: Now,
    ) -> Self {
        let what = What::Verification(Verification {
            subject: Arc::clone(&verified.subject),
            matched: verified.matched,
            score: verified.score,
            threshold: verified.threshold,
            model: Arc::clone(&verified.model),
            gallery_version: verified.gallery_version,
            quality: verified.quality,
        });
        let seen = Sighting {
            track: verified.track.to_string(),
            captured_at: verified.captured_at,
            decided_at: verified.decided_at,
            frame_sequence: verified.frame_sequence,
            bounding_box: verified.bounding_box,
            picture_px: Some(verified.picture_px),
            shots: verified.shots,
            names,
        };
        let mut event = Self::new(id, what, seen, permit, now);
        if !verified.matched {
            // Somebody who is not known: that they were compared is recorded, not where they stood nor under which id they were followed.
            event.frame.iter_mut().for_each(|frame| frame.object.clear());
        }
        event
    }

    /// Purpose, basis and permit are the permit's own.
    fn new<S: PurposeStage>(id: EventId, what: What, seen: Sighting<'_>, permit: &Permit<S>, now: Now) -> Self {
        let captured = seen.captured_at.not_after(seen.decided_at);
        let captured_at = format_utc(captured.utc(now));
        Self {
            id,
            what,
            stream: Arc::clone(&seen.names.name),
            zone: seen.names.zone.clone(),
            purpose: permit.purpose().to_string(),
            basis: Arc::clone(permit.basis()),
            permit: hex::of(&permit.digest()),
            profile: hex::of(permit.profile_hash()),
            shots: seen.shots as u64,
            captured_at: captured_at.clone(),
            captured_clock: seen.captured_at.clock_name().to_owned(),
            decided_at: format_utc(seen.decided_at.utc),
            // Microseconds are as fine as any of the clocks deserves.
            latency_ms: (captured.latency_ns(now) as f64 / 1e3).round() / 1e3,
            frame_sequence: seen.frame_sequence,
            picture: seen.picture_px.map(|(width_px, height_px)| Picture { width_px, height_px }),
            frame: vec![scene(seen, captured_at)],
        }
    }

    /// Who may have been seen, best first. Nobody, unless it is a hit.
    pub fn candidates(&self) -> &[EventCandidate] {
        match &self.what {
            What::FaceMatch(hit) => &hit.candidates,
            What::MaskCheck(_) | What::Verification(_) => &[],
        }
    }

    /// Whether a mask was worn, if that is what it tells.
    pub fn mask_answer(&self) -> Option<&MaskAnswer> {
        match &self.what {
            What::FaceMatch(_) | What::Verification(_) => None,
            What::MaskCheck(answer) => Some(answer),
        }
    }

    /// The track's public id.
    pub fn track(&self) -> &str {
        self.frame.first().and_then(|f| f.object.first()).map_or("", |o| &o.object_id)
    }

    /// Pixels of the full-resolution picture.
    pub fn bounding_box(&self) -> BoundingBox {
        let rectangle = self.frame.first().and_then(|f| f.object.first()).map(|o| o.appearance.shape.bounding_box);
        rectangle.map_or_else(BoundingBox::default, |r| BoundingBox { x0: r.left, y0: r.top, x1: r.right, y1: r.bottom })
    }

    /// The JSON schema of events.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).into()
    }
}

fn scene(seen: Sighting<'_>, utc_time: String) -> OnvifFrame {
    let b = seen.bounding_box;
    let bounding_box = OnvifRectangle { left: b.x0, top: b.y0, right: b.x1, bottom: b.y1 };
    let centre = OnvifVector { x: f64::from(b.centre().x), y: f64::from(b.centre().y) };
    let transformation = seen.picture_px.filter(|(w, h)| *w > 0 && *h > 0).map(|(w, h)| OnvifTransformation {
        translate: OnvifVector { x: -1.0, y: 1.0 },
        scale: OnvifVector { x: 2.0 / f64::from(w), y: -2.0 / f64::from(h) },
    });
    let shape = OnvifShape { bounding_box, centre };
    let appearance = OnvifAppearance { shape, class: OnvifClass { class_type: "HumanFace".to_owned() } };
    let object = vec![OnvifObject { object_id: seen.track, appearance }];
    OnvifFrame { utc_time, source: "placard".to_owned(), transformation, object }
}
