//! The pipeline file, key by key. The doc comments here are the configuration reference: `docs/configuration.md` is generated from
//! them and a test compares the two.
//!
//! This file is what operators write (raw); what follows from it is computed and checked in `limits.rs`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::area::Vertex;

/// One pipeline file: `pipelines/*.toml`, `/etc/placard/*.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// What the operator calls this pipeline; shown in status and events. 1 to 64 letters, digits, `-`, `_`.
    pub name: String,
    /// The networks and the threads that run them.
    #[serde(default)]
    pub engine: Engine,
    /// How frames of all streams are gathered.
    #[serde(default)]
    pub batch: Batch,
    /// Finding faces.
    pub detect: Detect,
    /// Following faces from frame to frame.
    #[serde(default)]
    pub track: Track,
    /// Turning best shots into embeddings.
    #[serde(default)]
    pub embed: Option<Embed>,
    /// Looking whether masks are worn.
    #[serde(default)]
    pub mask: Option<Mask>,
    /// Searching and deciding.
    #[serde(default)]
    pub decide: Decide,
    /// Telling others.
    #[serde(default)]
    pub emit: Emit,
    /// The loopback HTTP listener for `/metrics`, `/live` and `/ready`.
    #[serde(default)]
    pub http: Http,
    /// One entry per camera or file.
    #[serde(rename = "stream")]
    pub streams: Vec<Stream>,
}

/// `[engine]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Detector workers. Each has a one-thread session of its own (on a CPU this beats one session with many threads). 0: one per core,
    /// less one for decoding.
    pub detect_workers: usize,
    /// Embedder workers, likewise. A stream always stays with one worker.
    pub embed_workers: usize,
    /// Threads that search a gallery together, the one that asks among them. They wait beside the others, so more than one pays only from some
    /// 100,000 templates on.
    pub search_threads: usize,
    /// What runs face detectors of YuNet's class. Other networks run on ONNX Runtime.
    pub detector: DetectorEngine,
    /// Absolute path of `libonnxruntime.so`. Unset: `PLACARD_ONNXRUNTIME`, then `lib/` beside the program, then `/usr/lib/placard/`.
    pub onnxruntime: Option<PathBuf>,
}

impl Default for Engine {
    fn default() -> Self {
        Self { detect_workers: 0, embed_workers: 1, search_threads: 1, detector: DetectorEngine::Auto, onnxruntime: None }
    }
}

/// `[batch]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Most frames in one batch, at most one per stream. The CPU engine runs them one by one (1 is best there).
    pub max_batch: usize,
    /// How long a batch that is not full may wait for more frames. 0: never wait.
    pub max_wait_ms: u64,
    /// Frames kept per stream while the workers are busy; the newest win.
    pub ring_frames: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_batch: 1, max_wait_ms: 0, ring_frames: 2 }
    }
}

/// `[detect]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detect {
    /// Name of a detector: a bundled one, or one of the site's model store (`placard model list`).
    pub model: String,
    /// Least score of a face, 0 to 1.
    #[serde(default = "default_score")]
    pub score_threshold: f32,
    /// Boxes that overlap more than this (intersection over union) are one face.
    #[serde(default = "default_nms")]
    pub nms_iou: f32,
    /// Longest side of the network's input in pixels, for models with free input size: a multiple of 32, 64 to 4096. The signed area's
    /// bounding box is scaled down to fit, never up. Unset: the model's own size, or 640.
    #[serde(default)]
    pub input_px: Option<u32>,
}

fn default_score() -> f32 {
    0.6
}
fn default_nms() -> f32 {
    0.45
}

/// `[track]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Track {
    /// Score from which a detection may start a track (first association).
    pub high_score: f32,
    /// Score from which a detection may continue one (second association, as in ByteTrack).
    pub low_score: f32,
    /// Least overlap between a track's predicted box and a detection.
    pub match_iou: f32,
    /// Detections in a row before a track counts as a person.
    pub confirm_hits: u32,
    /// A track not seen for this long ends.
    pub lost_ms: u64,
    /// A track's public id is replaced after this long, so that nobody can be followed by it.
    pub rotate_id_s: u64,
}

impl Default for Track {
    fn default() -> Self {
        Self { high_score: 0.6, low_score: 0.3, match_iou: 0.2, confirm_hits: 2, lost_ms: 1_000, rotate_id_s: 300 }
    }
}

/// `[embed]`. Without this section the pipeline never identifies anyone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embed {
    /// Name of an embedder: a bundled one, or one of the site's model store.
    pub model: String,
    /// Run the model's int8 variant where import measured it to be as good and faster on this processor (`placard model add FILE --int8`).
    /// `false`: always fp32. Templates are made in fp32 either way.
    #[serde(default = "default_true")]
    pub int8: bool,
    /// Faces narrower than this, in pixels of the full-resolution picture, are never embedded.
    #[serde(default = "default_face_width")]
    pub min_face_width_px: f32,
    /// Least quality score of a shot, 0 to 1 (size, sharpness, pose).
    #[serde(default = "default_quality")]
    pub min_quality: f32,
    /// Shots whose mean is a track's embedding.
    #[serde(default = "default_shots")]
    pub best_shots: usize,
    /// A track that has not gathered `best_shots` after this long is searched with those it has.
    #[serde(default = "default_collect")]
    pub collect_max_ms: u64,
    /// Least time between two shots of one track: neighbouring frames add nothing.
    #[serde(default = "default_spacing")]
    pub shot_spacing_ms: u64,
    /// A track that was searched in vain is searched again only when a shot's quality beats the best one before by this much.
    #[serde(default = "default_improvement")]
    pub retry_improvement: f32,
}

fn default_face_width() -> f32 {
    40.0
}
fn default_quality() -> f32 {
    0.35
}
fn default_shots() -> usize {
    3
}
fn default_collect() -> u64 {
    700
}
fn default_spacing() -> u64 {
    100
}
fn default_improvement() -> f32 {
    0.15
}

/// `[mask]`. Without this section nobody's mask is looked at. With it, only on streams whose zones have the purpose `mask-check` in force:
/// one event for each person, with yes or no and nothing that says who it is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Name of a classifier of aligned faces (layout `logits`): a bundled one (`concourse-mask`), or one of the site's model store.
    pub model: String,
    /// Least probability of an answer, of yes as of no. A person of whom neither reaches it is counted as undecided, and nothing is told. A
    /// stream may set its own (`mask_threshold`).
    #[serde(default = "default_mask_threshold")]
    pub threshold: f32,
    /// Faces narrower than this, in pixels of the full-resolution picture, are not looked at.
    #[serde(default = "default_mask_width")]
    pub min_face_width_px: f32,
    /// Least frontality of a shot: 1 faces the camera, 0 is a profile.
    #[serde(default = "default_frontality")]
    pub min_frontality: f32,
    /// Shots whose mean probability is a person's answer.
    #[serde(default = "default_shots")]
    pub best_shots: usize,
    /// A person of whom `best_shots` were not gathered after this long is judged by those there are.
    #[serde(default = "default_mask_collect")]
    pub collect_max_ms: u64,
    /// Least time between two shots of one person.
    #[serde(default = "default_mask_spacing")]
    pub shot_spacing_ms: u64,
}

fn default_mask_threshold() -> f32 {
    0.8
}
fn default_mask_width() -> f32 {
    32.0
}
fn default_frontality() -> f32 {
    0.4
}
fn default_mask_collect() -> u64 {
    1_500
}
fn default_mask_spacing() -> u64 {
    200
}

/// `[decide]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decide {
    /// Least cosine similarity of a hit, −1 to 1. A stream may set its own.
    pub threshold: f32,
    /// Candidates in an event, best first.
    pub top_k: usize,
}

impl Default for Decide {
    fn default() -> Self {
        Self { threshold: 0.65, top_k: 3 }
    }
}

/// `[emit]`
#[derive(Clone, Debug, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Emit {
    /// The journal on the box: always on, always first.
    pub journal: Journal,
    /// What was refused and what was erased: `record.jsonl` in the state directory.
    pub record: Record,
    /// Publish to an MQTT broker.
    pub mqtt: Option<Mqtt>,
    /// POST to an HTTP endpoint.
    pub webhook: Option<Webhook>,
}

/// `[emit.journal]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// Directory of the JSON-lines journal. Unset: `journal/` in the state directory.
    pub directory: Option<PathBuf>,
    /// A journal file is closed and a new one begun at this size.
    pub rotate_mib: u64,
    /// No event is kept for longer; none goes a day before that. Events are personal data: as short as the purpose allows.
    pub retain_days: u32,
    /// Events that may wait for the disk before further ones are shed (counted, and shown as an alarm).
    pub queue_events: usize,
}

impl Default for Journal {
    fn default() -> Self {
        Self { directory: None, rotate_mib: 64, retain_days: 30, queue_events: 1_024 }
    }
}

/// `[emit.record]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// What was refused and what was erased stays on record for as long, and a day more at most. No less than three years: so long must records of
    /// processing be kept (PIPL Art. 56); other regimes ask for less. They name people, by opaque ids, so no longer than somebody may ask.
    pub retain_days: u32,
}

impl Default for Record {
    fn default() -> Self {
        Self { retain_days: 1_096 }
    }
}

/// `[emit.mqtt]`. Topics: `placard/<stream>/events` and, as last will, `placard/available`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// Client identifier; unset: `placard-<pipeline name>`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// First part of every topic.
    #[serde(default = "default_prefix")]
    pub topic_prefix: String,
    /// File with `user:password` on its first line. Never written to a log.
    #[serde(default)]
    pub credential_file: Option<PathBuf>,
    /// PEM file with the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn default_prefix() -> String {
    "placard".to_owned()
}

/// `[emit.webhook]`. Each event is one POST of one JSON object; anything but a 2xx answer is tried again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `http://` or `https://` address.
    pub url: String,
    /// A request that takes longer than this is given up and tried again.
    #[serde(default = "default_webhook_timeout")]
    pub timeout_ms: u64,
    /// File with a bearer token on its first line. Never written to a log.
    #[serde(default)]
    pub credential_file: Option<PathBuf>,
    /// PEM file with the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn default_webhook_timeout() -> u64 {
    5_000
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Loopback address and port; port 0 takes a free one; `none` closes it.
    pub listen: String,
    /// Address and port of the public status page, such as `0.0.0.0:8080`: what is done in each zone now, by whom, and where to turn to.
    /// It names no camera, no case and nobody. Plain HTTP: put a reverse proxy in front of it. `none` closes it.
    pub public: String,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".to_owned(), public: "none".to_owned() }
    }
}

/// `[[stream]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Unique name: 1 to 32 lower-case letters, digits, `-`. The register's areas refer to it.
    pub name: String,
    /// Where frames come from: `rtsp://host/path` or `rtsps://…` (no user or password here), `v4l2:/dev/video0`,
    /// `file:/path/clip.mp4`, `image:/path/still.jpg`, `rendered:SCENE?seed=N`, or `gst` with the fragment in `gst`.
    pub source: String,
    /// A GStreamer fragment that ends in raw video, used instead of the one that `source` would build:
    /// `rtspsrc location=… ! rtph264depay ! h264parse ! vah264dec`.
    #[serde(default)]
    pub gst: Option<String>,
    /// Decoder element to use instead of the highest-ranked one: `avdec_h264`, `vah264dec`, `openh264dec`.
    #[serde(default)]
    pub decoder: Option<String>,
    /// RTSP only: how media travels.
    #[serde(default)]
    pub transport: Transport,
    /// V4L2 only: who reads the device.
    #[serde(default)]
    pub capture: Capture,
    /// V4L2 only: picture size and rate to ask the device for.
    #[serde(default)]
    pub format: Option<V4l2Format>,
    /// File with `user:password` on its first line, for RTSP. Mode 0600, or a systemd credential. Never written to a log.
    #[serde(default)]
    pub credential_file: Option<PathBuf>,
    /// `rtsps://` only: SHA-256 of the camera's certificate (DER), 64 lower-case hex digits. That one and no other is accepted, whoever signed
    /// it; without it, what the machine's certificate authorities vouch for. An error names the digest of what was shown.
    #[serde(default)]
    pub tls_sha256: Option<String>,
    /// RTSP jitter buffer.
    #[serde(default = "default_jitter")]
    pub jitter_ms: u32,
    /// Files only: start again at the end.
    #[serde(default)]
    pub repeat: bool,
    /// Files only: deliver frames at the file's own pace (true) or as fast as they are consumed, none skipped (false).
    #[serde(default = "default_true")]
    pub realtime: bool,
    /// Look for faces in every n-th frame; the tracker bridges the others. 1 to 30.
    #[serde(default = "default_every")]
    pub detect_every: u32,
    /// Least cosine similarity of a hit on this stream; unset: `[decide] threshold`.
    #[serde(default)]
    pub threshold: Option<f32>,
    /// Least probability of an answer of the mask check on this stream; unset: `[mask] threshold`.
    #[serde(default)]
    pub mask_threshold: Option<f32>,
    /// No frame for this long: the source counts as stalled and is opened anew.
    #[serde(default = "default_stall")]
    pub stall_ms: u64,
    /// Longest pause between two attempts to open the source.
    #[serde(default = "default_backoff")]
    pub reconnect_max_ms: u64,
}

impl Stream {
    /// A stream of which only name and source are given: everything else as an operator gets it who leaves it out.
    pub fn new(name: &str, source: &str) -> Self {
        Self {
            name: name.to_owned(),
            source: source.to_owned(),
            gst: None,
            decoder: None,
            transport: Transport::default(),
            capture: Capture::default(),
            format: None,
            credential_file: None,
            tls_sha256: None,
            jitter_ms: default_jitter(),
            repeat: false,
            realtime: default_true(),
            detect_every: default_every(),
            threshold: None,
            mask_threshold: None,
            stall_ms: default_stall(),
            reconnect_max_ms: default_backoff(),
        }
    }
}

fn default_jitter() -> u32 {
    100
}
fn default_true() -> bool {
    true
}
fn default_every() -> u32 {
    1
}
fn default_stall() -> u64 {
    5_000
}
fn default_backoff() -> u64 {
    10_000
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DetectorEngine {
    /// The fused executor where its answers agree with ONNX Runtime's at start and it is faster; in 8 bits where the model has a table of ranges
    /// (`placard model add --int8`).
    #[default]
    Auto,
    /// ONNX Runtime, in fp32.
    Onnxruntime,
    /// The fused executor, or nothing starts.
    Fused,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Interleaved in the RTSP connection.
    #[default]
    Tcp,
    /// RTP over UDP.
    Udp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Capture {
    /// Through GStreamer's `v4l2src`: any format, MJPEG and H.264 cameras too.
    #[default]
    Gstreamer,
    /// Placard's own reader (mmap buffers, driver time stamps): cameras that deliver uncompressed pictures (NV12, YU12, YUYV, …).
    Native,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct V4l2Format {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second; unset: the device's choice.
    #[serde(default)]
    pub fps: Option<u32>,
}

/// Vertices of a polygon, as fractions of the picture: the form that site files use.
pub type Polygon = Vec<Vertex>;
