//! What follows from a pipeline file, computed once and asserted: ranges, worker counts, sources, absolute paths.
//!
//! [`derive`] collects every fault and never stops at the first. Units as in the names.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ranges::{MAX_STREAMS, range_of};
use super::schema::{Capture, Detect, Embed, Emit, Mask, Pipeline, Stream, Track, Transport};
use super::source::{self, SourceSpec};

/// Strides of all supported detectors divide this.
pub const INPUT_STEP_PX: u32 = 32;

/// Derived values; where a pipeline says `0`, "unset" or too much, this says what is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// ≥ 1.
    pub detect_workers: usize,
    /// ≥ 1 where the pipeline embeds, else 0.
    pub embed_workers: usize,
    /// 1…number of streams.
    pub max_batch: usize,
    pub max_wait: Duration,
    pub ring_frames: usize,
    /// `None`: no listener.
    pub http: Option<SocketAddr>,
    /// Of the public status page.
    pub public: Option<SocketAddr>,
    /// In the order of the file: the position is the stream's `StreamIndex`.
    pub streams: Vec<StreamLimits>,
}

/// One stream's share of [`Limits`].
#[derive(Clone, Debug, PartialEq)]
pub struct StreamLimits {
    pub name: Arc<str>,
    pub source: SourceSpec,
    /// The stream's own threshold, or the pipeline's.
    pub threshold: f32,
    /// Likewise, of the mask check. Unused where the pipeline checks no masks.
    pub mask_threshold: f32,
    pub stall: Duration,
    pub reconnect_max: Duration,
}

/// Something wrong, or worth a note, at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `stream[2].detect_every`.
    pub key: String,
    pub message: String,
}

/// Everything that was found. `limits` is there exactly when `faults` is empty.
#[derive(Debug)]
pub struct Derived {
    pub limits: Option<Limits>,
    pub faults: Vec<Fault>,
    pub notes: Vec<Fault>,
}

/// Checks `pipeline`, makes its paths absolute (relative ones start at `base`) and derives what follows on a machine of `cores`.
pub fn derive(pipeline: &mut Pipeline, base: &Path, cores: usize) -> Derived {
    let mut check = Check { base, faults: Vec::new(), notes: Vec::new() };
    check.name("name", &pipeline.name, 64, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_', "letters, digits, `-`, `_`");
    check.detect(&pipeline.detect);
    check.track(&pipeline.track);
    if let Some(embed) = &pipeline.embed {
        check.embed(embed);
    }
    if let Some(mask) = &pipeline.mask {
        check.mask(mask);
    }
    check.range("decide.threshold", pipeline.decide.threshold);
    check.range("decide.top_k", pipeline.decide.top_k);
    check.emit(&mut pipeline.emit);
    check.path("engine.onnxruntime", pipeline.engine.onnxruntime.as_mut());
    let sources = check.streams(&mut pipeline.streams);
    let limits = check.limits(pipeline, sources, cores);
    let Check { faults, notes, .. } = check;
    Derived { limits: faults.is_empty().then_some(limits), faults, notes }
}

/// A number of any of the types that the schema uses, for comparing with a range.
trait Number: Copy + std::fmt::Display {
    fn as_f64(self) -> f64;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(impl Number for $number {
        // Counts above 2^53 lose their last digits, far outside every range.
        #[allow(clippy::cast_lossless, reason = "one body for narrow and wide types")]
        fn as_f64(self) -> f64 { self as f64 }
    })*};
}
numbers!(f32, u32, u64, usize);

struct Check<'a> {
    base: &'a Path,
    faults: Vec<Fault>,
    notes: Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault { key: key.into(), message: message.into() });
    }

    fn note(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.notes.push(Fault { key: key.into(), message: message.into() });
    }

    /// `value` within the key's range; NaN is in no range.
    fn range(&mut self, key: &str, value: impl Number) {
        if let Some(allowed) = range_of(key).filter(|allowed| !allowed.contains(&value.as_f64())) {
            self.fault(key, format!("{value} is outside {} to {}", allowed.start(), allowed.end()));
        }
    }

    fn name(&mut self, key: &str, value: &str, longest: usize, good: impl Fn(char) -> bool, charset: &str) {
        if value.is_empty() || value.len() > longest || !value.chars().all(good) {
            self.fault(key, format!("`{value}` is not 1 to {longest} {charset}"));
        }
    }

    fn model(&mut self, key: &str, value: &str) {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        self.name(key, value, 64, good, "lower-case letters, digits, `-`, `_`, `.` (a name from `placard model list`, not a path)");
        if value.starts_with('.') && value.chars().all(good) {
            self.fault(key, "a model's name does not start with a dot");
        }
    }

    /// Makes a path absolute in place.
    fn path(&mut self, key: &str, path: Option<&mut PathBuf>) {
        let Some(path) = path else { return };
        if path.as_os_str().is_empty() {
            return self.fault(key, "the path is empty: leave the key out instead");
        }
        match source::resolve(path, self.base) {
            Ok(resolved) => *path = resolved,
            Err(error) => self.fault(key, error.to_string()),
        }
    }

    fn detect(&mut self, detect: &Detect) {
        self.model("detect.model", &detect.model);
        self.range("detect.score_threshold", detect.score_threshold);
        self.range("detect.nms_iou", detect.nms_iou);
        if let Some(px) = detect.input_px {
            self.range("detect.input_px", px);
            if !px.is_multiple_of(INPUT_STEP_PX) {
                let nearest = (px.saturating_add(INPUT_STEP_PX / 2) / INPUT_STEP_PX * INPUT_STEP_PX).clamp(64, 4_096);
                self.fault("detect.input_px", format!("{px} is not a multiple of {INPUT_STEP_PX}; the nearest is {nearest}"));
            }
        }
    }

    fn track(&mut self, track: &Track) {
        self.range("track.high_score", track.high_score);
        self.range("track.low_score", track.low_score);
        if track.low_score > track.high_score {
            self.fault("track.low_score", format!("{} is above `high_score` ({})", track.low_score, track.high_score));
        }
        self.range("track.match_iou", track.match_iou);
        self.range("track.confirm_hits", track.confirm_hits);
        self.range("track.lost_ms", track.lost_ms);
        self.range("track.rotate_id_s", track.rotate_id_s);
    }

    fn embed(&mut self, embed: &Embed) {
        self.model("embed.model", &embed.model);
        self.range("embed.min_face_width_px", embed.min_face_width_px);
        self.range("embed.min_quality", embed.min_quality);
        self.range("embed.best_shots", embed.best_shots);
        self.range("embed.collect_max_ms", embed.collect_max_ms);
        self.range("embed.shot_spacing_ms", embed.shot_spacing_ms);
        self.range("embed.retry_improvement", embed.retry_improvement);
    }

    fn mask(&mut self, mask: &Mask) {
        self.model("mask.model", &mask.model);
        self.range("mask.threshold", mask.threshold);
        self.range("mask.min_face_width_px", mask.min_face_width_px);
        self.range("mask.min_frontality", mask.min_frontality);
        self.range("mask.best_shots", mask.best_shots);
        self.range("mask.collect_max_ms", mask.collect_max_ms);
        self.range("mask.shot_spacing_ms", mask.shot_spacing_ms);
    }

    fn emit(&mut self, emit: &mut Emit) {
        self.path("emit.journal.directory", emit.journal.directory.as_mut());
        self.range("emit.journal.rotate_mib", emit.journal.rotate_mib);
        self.range("emit.journal.retain_days", emit.journal.retain_days);
        self.range("emit.record.retain_days", emit.record.retain_days);
        self.range("emit.journal.queue_events", emit.journal.queue_events);
        if let Some(mqtt) = &mut emit.mqtt {
            self.address("emit.mqtt.url", &mqtt.url, &["mqtt://", "mqtts://"]);
            if let Some(id) = &mqtt.client_id {
                self.name("emit.mqtt.client_id", id, 64, |c| c.is_ascii_graphic(), "printable characters without blanks");
            }
            let prefix = &mqtt.topic_prefix;
            let bad = |c: char| c.is_control() || c.is_whitespace() || "#+$".contains(c);
            if prefix.is_empty() || prefix.len() > 128 || prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(bad) {
                let message = "1 to 128 characters without `#`, `+`, `$` or blanks, no `/` at either end";
                self.fault("emit.mqtt.topic_prefix", format!("`{prefix}` is no topic: {message}"));
            }
            self.path("emit.mqtt.credential_file", mqtt.credential_file.as_mut());
            self.path("emit.mqtt.ca_file", mqtt.ca_file.as_mut());
        }
        if let Some(webhook) = &mut emit.webhook {
            self.address("emit.webhook.url", &webhook.url, &["http://", "https://"]);
            self.range("emit.webhook.timeout_ms", webhook.timeout_ms);
            self.path("emit.webhook.credential_file", webhook.credential_file.as_mut());
        }
    }

    fn address(&mut self, key: &str, url: &str, schemes: &[&str]) {
        if !schemes.iter().any(|s| url.starts_with(s)) {
            return self.fault(key, format!("the address must start with {}", schemes.join(" or ")));
        }
        if let Err(error) = source::check_address(url) {
            self.fault(key, error.to_string());
        }
    }

    /// One source per stream, in order; a stand-in where the source is wrong (its fault is noted).
    fn streams(&mut self, streams: &mut [Stream]) -> Vec<SourceSpec> {
        if streams.is_empty() {
            self.fault("stream", "no stream: add at least one `[[stream]]`");
        }
        if streams.len() > MAX_STREAMS {
            self.fault("stream", format!("{} streams: at most {MAX_STREAMS} fit in one pipeline", streams.len()));
        }
        let (mut seen, mut devices) = (HashSet::new(), HashSet::new());
        let mut sources = Vec::with_capacity(streams.len());
        for (i, stream) in streams.iter_mut().enumerate() {
            let key = |name: &str| format!("stream[{i}].{name}");
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            self.name(&key("name"), &stream.name, 32, good, "lower-case letters, digits, `-`");
            if !seen.insert(stream.name.clone()) {
                self.fault(key("name"), format!("another stream is called `{}` already", stream.name));
            }
            match SourceSpec::parse(&stream.source, self.base) {
                Ok(source) => {
                    if let SourceSpec::V4l2 { device } = &source
                        && !devices.insert(device.clone())
                    {
                        let reader = "a camera gives its pictures to one reader; a stream may serve several purposes";
                        self.fault(key("source"), format!("another stream reads `{}` already: {reader}", device.display()));
                    }
                    self.stream_options(stream, &source, &key);
                    sources.push(source);
                }
                Err(error) => {
                    self.fault(key("source"), error.to_string());
                    sources.push(SourceSpec::Gst);
                }
            }
            self.stream_values(stream, &key);
        }
        sources
    }

    fn stream_values(&mut self, stream: &mut Stream, key: &dyn Fn(&str) -> String) {
        self.path(&key("credential_file"), stream.credential_file.as_mut());
        self.range(&key("detect_every"), stream.detect_every);
        self.range(&key("jitter_ms"), stream.jitter_ms);
        self.range(&key("stall_ms"), stream.stall_ms);
        self.range(&key("reconnect_max_ms"), stream.reconnect_max_ms);
        if let Some(threshold) = stream.threshold {
            self.range(&key("threshold"), threshold);
        }
        if let Some(threshold) = stream.mask_threshold {
            self.range(&key("mask_threshold"), threshold);
        }
        if let Some(decoder) = &stream.decoder {
            let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            self.name(&key("decoder"), decoder, 64, good, "letters, digits, `-`, `_` (an element's name, as `gst-inspect-1.0` lists it)");
        }
        if let Some(format) = &stream.format {
            self.range(&key("format.width"), format.width);
            self.range(&key("format.height"), format.height);
            if let Some(fps) = format.fps {
                self.range(&key("format.fps"), fps);
            }
        }
        if let Some(fragment) = &stream.gst {
            let after_scheme = fragment.split("://").skip(1).map(|rest| rest.split(['/', ' ', '"', '?']).next().unwrap_or_default());
            if fragment.contains("user-pw") || after_scheme.into_iter().any(|authority| authority.contains('@')) {
                self.fault(
                    key("gst"),
                    "the fragment holds a user or password: put `user:password` into a file and name it in `credential_file`",
                );
            }
            let trimmed = fragment.trim();
            if trimmed.is_empty() || trimmed.starts_with('!') || trimmed.ends_with('!') || fragment.len() > 8_192 {
                self.fault(key("gst"), "expected elements with `!` between them, at most 8192 characters; Placard adds the sink itself");
            }
        }
    }

    /// Keys that mean something only for other kinds of source.
    fn stream_options(&mut self, stream: &Stream, source: &SourceSpec, key: &dyn Fn(&str) -> String) {
        let kind = source.kind();
        let rtsp = matches!(source, SourceSpec::Rtsp { .. });
        let v4l2 = matches!(source, SourceSpec::V4l2 { .. });
        let file = matches!(source, SourceSpec::File { .. });
        let fragment = stream.gst.is_some();
        if matches!(source, SourceSpec::Gst) && !fragment {
            self.fault(key("source"), "`gst` needs the fragment: gst = \"… ! …\"");
        }
        if stream.credential_file.is_some() && !rtsp && !fragment {
            self.fault(key("credential_file"), format!("a `{kind}` source takes no credential"));
        }
        if let Some(pin) = &stream.tls_sha256 {
            if !crate::hex::is_sha256(pin) {
                self.fault(key("tls_sha256"), "expected 64 lower-case hex digits (`openssl x509 -outform DER | sha256sum`)");
            }
            if !fragment && !matches!(source, SourceSpec::Rtsp { url } if url.starts_with("rtsps://")) {
                self.fault(key("tls_sha256"), format!("a `{kind}` source shows no certificate: only rtsps:// does"));
            }
        }
        if stream.transport == Transport::Udp && !rtsp {
            self.fault(key("transport"), format!("a `{kind}` source has no transport: only RTSP has"));
        }
        if stream.transport == Transport::Udp && matches!(source, SourceSpec::Rtsp { url } if url.starts_with("rtsps://")) {
            self.fault(
                key("transport"),
                "over `rtsps://` pictures travel in the TLS connection: leave `transport` out, over UDP they would come in clear",
            );
        }
        if stream.capture == Capture::Native && (!v4l2 || fragment) {
            self.fault(key("capture"), "`native` reads capture devices only: source = \"v4l2:/dev/videoN\", without `gst`");
        }
        if stream.capture == Capture::Native && stream.decoder.is_some() {
            self.fault(key("decoder"), "`capture = \"native\"` decodes nothing");
        }
        if stream.format.is_some() && !v4l2 {
            self.fault(key("format"), format!("a `{kind}` source's format cannot be asked for: only a capture device's can"));
        }
        if stream.decoder.is_some() && fragment {
            self.fault(key("decoder"), "the fragment in `gst` names its own decoder");
        }
        if stream.repeat && !file {
            self.fault(key("repeat"), format!("a `{kind}` source has no end to start again from"));
        }
        if !stream.realtime && !matches!(source, SourceSpec::File { .. } | SourceSpec::Rendered { .. }) {
            self.fault(key("realtime"), format!("a `{kind}` source sets its own pace"));
        }
        if fragment && !matches!(source, SourceSpec::Gst) {
            self.note(key("gst"), format!("the fragment is used instead of what `source = \"{source}\"` would build"));
        }
    }

    fn limits(&mut self, pipeline: &Pipeline, sources: Vec<SourceSpec>, cores: usize) -> Limits {
        let (engine, batch) = (&pipeline.engine, &pipeline.batch);
        let workers = |asked: usize| if asked == 0 { cores.saturating_sub(1).max(1) } else { asked };
        self.range("engine.detect_workers", engine.detect_workers);
        self.range("engine.embed_workers", engine.embed_workers);
        self.range("engine.search_threads", engine.search_threads);
        let detect_workers = workers(engine.detect_workers);
        let embed_workers = if pipeline.embed.is_some() { workers(engine.embed_workers) } else { 0 };
        if detect_workers > cores {
            self.note("engine.detect_workers", format!("{detect_workers} workers on {cores} cores get in each other's way"));
        }
        self.range("batch.max_batch", batch.max_batch);
        self.range("batch.max_wait_ms", batch.max_wait_ms);
        self.range("batch.ring_frames", batch.ring_frames);
        let max_batch = batch.max_batch.clamp(1, sources.len().max(1));
        if batch.max_batch > max_batch {
            self.note("batch.max_batch", format!("{} is more than there are streams: {max_batch} is used", batch.max_batch));
        }
        for (i, _) in pipeline.streams.iter().enumerate().filter(|(_, s)| s.mask_threshold.is_some() && pipeline.mask.is_none()) {
            self.fault(
                format!("stream[{i}].mask_threshold"),
                "there is no `[mask]` section, so nobody's mask is looked at: add it, or leave this out",
            );
        }
        let streams = pipeline.streams.iter().zip(sources).map(|(stream, source)| StreamLimits {
            name: stream.name.as_str().into(),
            source,
            threshold: stream.threshold.unwrap_or(pipeline.decide.threshold),
            mask_threshold: stream.mask_threshold.or(pipeline.mask.as_ref().map(|m| m.threshold)).unwrap_or(1.0),
            stall: Duration::from_millis(stream.stall_ms),
            reconnect_max: Duration::from_millis(stream.reconnect_max_ms),
        });
        Limits {
            detect_workers,
            embed_workers,
            max_batch,
            max_wait: Duration::from_millis(batch.max_wait_ms),
            ring_frames: batch.ring_frames,
            http: self.listen(&pipeline.http.listen),
            public: self.public(&pipeline.http.public),
            streams: streams.collect(),
        }
    }

    fn public(&mut self, public: &str) -> Option<SocketAddr> {
        if public == "none" {
            return None;
        }
        let address = public.parse().ok();
        if address.is_none() {
            self.fault("http.public", format!("`{public}` is not an address and port such as 0.0.0.0:8080, nor `none`"));
        }
        address
    }

    fn listen(&mut self, listen: &str) -> Option<SocketAddr> {
        const KEY: &str = "http.listen";
        if listen == "none" {
            return None;
        }
        match listen.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => return Some(address),
            Ok(address) => self.fault(KEY, format!("{address} can be reached from outside: use 127.0.0.1, [::1] or `none`")),
            Err(_) => self.fault(KEY, format!("`{listen}` is not an address and port such as 127.0.0.1:9464, nor `none`")),
        }
        None
    }
}
