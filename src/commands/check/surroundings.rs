//! What a pipeline needs on this machine: models, the inference library, credentials, devices, clips, GStreamer elements, a site.
//!
//! Nothing is opened that would start work (no camera, no connection); every finding says what to do.

use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use serde::Serialize;

use crate::clock::{Clock, SystemClock};
use crate::commands::Exit;
use crate::commands::exits::of_store;
use crate::config::Loaded;
use crate::config::keys::Problem;
use crate::config::schema::{Capture, Stream};
use crate::config::source::SourceSpec;
use crate::engine::manifest::{Decode, IntendedUse, Manifest, Task};
use crate::engine::{onnxruntime, store};
use crate::mask_check::classifier::unfit;
use crate::policy::cedar::CedarPlane;
use crate::policy::facts::{Register, Site};
use crate::policy::intended_use;
use crate::policy::lease::StreamState;
use crate::policy::observed::Observed;
use crate::policy::profile::Library;
use crate::policy::rules::{Decision, DecisionPlane, Reason, Rule, Silent, never_announced};
use crate::policy::store::Present;
use crate::policy::wall_clock::not_before;
use crate::purpose::PurposeKind;
use crate::render::halls;
use crate::state::StateDirectory;

/// With the refused it may not run, and without the missing it cannot; with the doubtful perhaps not as meant.
#[derive(Default)]
pub(super) struct Around {
    pub refused: Vec<Problem>,
    pub missing: Vec<Problem>,
    pub doubtful: Vec<Problem>,
    /// Empty where there is no register to decide from: then every stream is off.
    pub streams: Vec<StreamNow>,
}

/// What the rules say of a stream at the time of the check.
#[derive(Debug, Serialize)]
pub(super) struct StreamNow {
    pub name: String,
    pub state: StreamState,
    pub reason: String,
}

/// A scene that Placard draws itself, without GStreamer.
const fn is_drawn(stream: &Stream, source: &SourceSpec) -> bool {
    stream.gst.is_none() && matches!(source, SourceSpec::Rendered { .. })
}

struct Look<'a> {
    loaded: &'a Loaded,
    state: &'a StateDirectory,
    around: Around,
}

pub(super) fn look(loaded: &Loaded, state: &StateDirectory) -> Around {
    let mut look = Look { loaded, state, around: Around::default() };
    look.site();
    look.models();
    look.sinks();
    let streams = loaded.pipeline.streams.iter().zip(&loaded.limits.streams).enumerate();
    for (i, (stream, derived)) in streams {
        look.stream(i, stream, &derived.source);
    }
    look.elements();
    look.around
}

impl Look<'_> {
    fn missing(&mut self, key: &str, message: impl Into<String>) {
        let problem = self.loaded.problem(key, message);
        self.around.missing.push(problem);
    }

    fn refused(&mut self, key: &str, message: impl Into<String>) {
        let problem = self.loaded.problem(key, message);
        self.around.refused.push(problem);
    }

    fn doubtful(&mut self, key: &str, message: impl Into<String>) {
        let problem = self.loaded.problem(key, message);
        self.around.doubtful.push(problem);
    }

    fn site(&mut self) {
        if !self.state.site().exists() || !self.state.register().exists() {
            let message = format!(
                "there is no site in {}: `placard commission` makes one; until then every stream stays off",
                self.state.root().display()
            );
            return self.doubtful("name", message);
        }
        match Present::load(&self.state.register()) {
            Err(error) => self.missing("name", format!("the register cannot be used, so every stream stays off: {error}")),
            Ok(present) => {
                let register = present.register().clone();
                if let Err(reason) = not_before(SystemClock.utc(), present.chain().signed_at()) {
                    self.doubtful("name", format!("every stream stays off: {reason}"));
                }
                for sign in register.signs.iter().filter(|s| s.photo_is_a_placeholder()) {
                    let so = if register.rules.placeholder_photographs {
                        "nobody can prove by it that the sign was there"
                    } else {
                        "the site is operational, so the sign does not count"
                    };
                    let message = format!(
                        "the photo_sha256 of sign `{}` is all zeros, a placeholder: {so}; \
                         photograph the sign, put `sha256sum` of the picture into the site file and commission again with --force",
                        sign.id
                    );
                    self.doubtful("name", message);
                }
                self.states(&register);
            }
        }
    }

    /// What the policy thread would decide for each stream if it were asked now.
    fn states(&mut self, register: &Register) {
        let (now, plane) = (SystemClock.utc(), CedarPlane::new(Library::of_site(self.state)));
        // What cameras and ways in will say nobody knows yet; this is what facts and rules say.
        let observed = Observed::all_well(register);
        let silent = plane.library().regime_of(register, now).map(|regime| never_announced(register, &regime)).unwrap_or_default();
        for Silent { zone, purpose, reason } in silent {
            self.doubtful("name", format!("`{purpose}` can never be pursued in zone `{zone}`: {reason}"));
        }
        let (mask, mut in_force) = (self.loaded.pipeline.mask.is_some(), false);
        for (i, stream) in self.loaded.pipeline.streams.iter().enumerate() {
            let decision = plane.decide(register, &stream.name, observed.on(now)).unwrap_or_else(|error| {
                let remedy = "mend the facts that the rules stumble over";
                Decision::off(Reason::new(Rule::DecisionMade, error.to_string(), remedy))
            });
            if decision.state < StreamState::Detect {
                let message = format!("the stream would be {} now: {}", decision.state.name(), decision.reason);
                self.doubtful(&format!("stream[{i}].name"), message);
            }
            let checks_masks = decision.grants.iter().any(|g| g.purpose.kind() == PurposeKind::MaskCheck);
            in_force |= checks_masks;
            if checks_masks && !mask {
                let message = "its zone has the purpose `mask-check`, but the file has no `[mask]` section: faces are counted and nobody's mask is \
                               looked at; name a classifier (`[mask] model = \"concourse-mask\"`), or take the purpose out of the register";
                self.doubtful(&format!("stream[{i}].name"), message);
            }
            let (name, reason) = (stream.name.clone(), decision.reason.to_string());
            self.around.streams.push(StreamNow { name, state: decision.state, reason });
        }
        if mask && !in_force {
            let message = "no stream's zone has the purpose `mask-check` in force, so nobody's mask is looked at: it takes a `[[purpose]]` \
                           `mask-check` whose basis is of kind `emergency`, with assessment and dates, and the [[order]] that it rests on";
            self.doubtful("mask.model", message);
        }
    }

    fn models(&mut self) {
        let (detect, embed) = (&self.loaded.pipeline.detect, &self.loaded.pipeline.embed);
        let detector = self.model("detect.model", &detect.model, Task::FaceDetector);
        if let (Some(input_px), Some(fixed)) = (detect.input_px, detector.as_ref().and_then(|m| m.input.width))
            && input_px != fixed
        {
            self.doubtful("detect.input_px", format!("model `{}` takes {fixed} pixels, always: leave the key out", detect.model));
        }
        if let Some(embed) = embed {
            self.model("embed.model", &embed.model, Task::FaceEmbedder);
        }
        let mask = &self.loaded.pipeline.mask;
        if let Some(mask) = mask {
            let classifier = self.model("mask.model", &mask.model, Task::MaskClassifier);
            if let Some(reason) = classifier.filter(|m| m.task == Task::MaskClassifier).and_then(|m| unfit(&m.decode, m.task)) {
                self.missing("mask.model", format!("model `{}`: {reason}", mask.model));
            }
        }
        if matches!(detector.map(|m| m.decode), Some(Decode::Rfb)) && (embed.is_some() || mask.is_some()) {
            let what = if embed.is_some() { "nobody is ever embedded" } else { "nobody's mask is ever looked at" };
            let message = format!("detector `{}` gives no landmarks, so {what}: use a YuNet or SCRFD model", detect.model);
            self.doubtful("detect.model", message);
        }
        let library = onnxruntime::library_path(self.loaded.pipeline.engine.onnxruntime.as_deref());
        if !library.is_file() {
            let message = format!("ONNX Runtime's library is not at {}: run `make deps`, or set `[engine] onnxruntime`", library.display());
            self.missing("engine.onnxruntime", message);
        }
    }

    fn model(&mut self, key: &str, name: &str, task: Task) -> Option<Manifest> {
        let manifest = match store::open(self.state, name) {
            Ok((manifest, _bytes)) => manifest,
            Err(error) => {
                match of_store(&error) {
                    Exit::Refused => self.refused(key, error.to_string()),
                    _ => self.missing(key, error.to_string()),
                }
                return None;
            }
        };
        if manifest.task != task {
            let wanted = match task {
                Task::FaceDetector => "face detector",
                Task::FaceEmbedder => "face embedder",
                Task::MaskClassifier => "mask classifier",
                Task::Liveness => "liveness model",
            };
            self.refused(key, format!("model `{name}` is no {wanted}"));
        }
        let site = Site::load(&self.state.site());
        match intended_use::check(&manifest, site.as_ref().ok()) {
            // Without a site every stream is off, and that is said already.
            Err(refused) if self.state.site().exists() => self.refused(key, refused.to_string()),
            _ if manifest.intended_use == IntendedUse::Commissioning => {
                self.doubtful(key, format!("model `{name}` is for commissioning and demonstration, never for recognising real people"));
            }
            _ => {}
        }
        Some(manifest)
    }

    fn sinks(&mut self) {
        let emit = &self.loaded.pipeline.emit;
        if let Some(mqtt) = &emit.mqtt {
            self.credential("emit.mqtt.credential_file", mqtt.credential_file.as_deref(), Some("user:password"));
            if let Some(ca) = mqtt.ca_file.as_deref() {
                self.readable("emit.mqtt.ca_file", ca);
            }
        }
        if let Some(webhook) = &emit.webhook {
            self.credential("emit.webhook.credential_file", webhook.credential_file.as_deref(), None);
            if webhook.url.starts_with("http://") {
                self.doubtful("emit.webhook.url", "events and the token travel unencrypted: use https://");
            }
        }
        if let Some(directory) = &emit.journal.directory
            && !directory.is_dir()
            && !directory.parent().is_some_and(Path::is_dir)
        {
            self.missing("emit.journal.directory", format!("neither {} nor the directory above it exists", directory.display()));
        }
    }

    fn stream(&mut self, i: usize, stream: &Stream, source: &SourceSpec) {
        let key = |name: &str| format!("stream[{i}].{name}");
        self.credential(&key("credential_file"), stream.credential_file.as_deref(), Some("user:password"));
        match source {
            SourceSpec::V4l2 { device } => match std::fs::metadata(device) {
                Ok(found) if found.file_type().is_char_device() => self.readable(&key("source"), device),
                Ok(_) => self.missing(&key("source"), format!("{} is no capture device", device.display())),
                // A camera may be plugged in later: the stream waits for it.
                Err(error) => self.doubtful(&key("source"), format!("{}: {error}; `placard probe` lists cameras", device.display())),
            },
            SourceSpec::File { path } | SourceSpec::Image { path } => self.readable(&key("source"), path),
            SourceSpec::Rendered { scene, .. } => {
                if let Err(error) = halls::known(scene) {
                    self.missing(&key("source"), error.to_string());
                }
            }
            SourceSpec::Rtsp { .. } | SourceSpec::Gst => {}
        }
        let needs_gstreamer = stream.capture != Capture::Native && !is_drawn(stream, source);
        if cfg!(not(feature = "gst")) && needs_gstreamer {
            self.missing(
                &key("source"),
                "this program was built without GStreamer: only rendered scenes, and v4l2 with capture = \"native\", work",
            );
        }
    }

    fn readable(&mut self, key: &str, path: &Path) {
        match std::fs::File::open(path).and_then(|f| f.metadata()) {
            Ok(found) if found.is_dir() => self.missing(key, format!("{} is a directory", path.display())),
            Ok(_) => {}
            Err(error) => self.missing(key, format!("{}: {error}", path.display())),
        }
    }

    /// A secret's file: there, private, and of the right form. Its content is never repeated.
    fn credential(&mut self, key: &str, path: Option<&Path>, form: Option<&str>) {
        let Some(path) = path else { return };
        let shown = path.display();
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| {
            let mode = file.metadata()?.permissions().mode() & 0o7777;
            file.take(4_096).read_to_string(&mut text).map(|_| mode)
        });
        let mode = match read {
            Ok(mode) => mode,
            // systemd makes its credentials when the service starts.
            Err(_) if path.starts_with("/run/credentials") => {
                return self.doubtful(key, format!("{shown} is there only while the service runs: not checked"));
            }
            Err(error) => return self.missing(key, format!("{shown}: {error}")),
        };
        if mode & 0o077 != 0 && !path.starts_with("/run/credentials") {
            self.missing(key, format!("{shown} has mode {mode:04o}, others can read it: `chmod 600 {shown}`"));
        }
        let first = text.lines().next().unwrap_or_default();
        let well_formed = if form.is_some() { first.split_once(':').is_some_and(|(user, _)| !user.is_empty()) } else { !first.is_empty() };
        if !well_formed {
            self.missing(key, format!("{shown}: its first line must be `{}`", form.unwrap_or("the token")));
        }
    }

    /// Fragments that read whole pictures before Placard sees them, or would let them out.
    #[cfg(feature = "gst")]
    fn fragments(&mut self) {
        for (i, stream) in self.loaded.pipeline.streams.iter().enumerate() {
            let Some(fragment) = &stream.gst else { continue };
            if let Some(converter) = elements_of(fragment).find(|element| CONVERTERS.contains(element)) {
                let message = format!(
                    "`{converter}` reads whole pictures, outside the signed area too and whether or not the stream has leave: end the fragment \
                     in the decoder's own pictures, which are read as they are"
                );
                self.doubtful(&format!("stream[{i}].gst"), message);
            }
            // What is not installed is told by name below.
            match crate::ingest::gstreamer::check_fragment(stream) {
                Ok(()) | Err(crate::ingest::IngestError::MissingElement { .. }) => {}
                Err(error) => self.missing(&format!("stream[{i}].gst"), error.to_string()),
            }
        }
    }

    /// GStreamer's elements, by name only: no pipeline is built.
    #[cfg(feature = "gst")]
    fn elements(&mut self) {
        if let Err(error) = gstreamer::init() {
            return self.missing("stream", format!("GStreamer does not start: {error}"));
        }
        self.fragments();
        let streams = self.loaded.pipeline.streams.iter().zip(&self.loaded.limits.streams).enumerate();
        let mut lacking: Vec<(String, String)> = Vec::new();
        let mut need = |key: String, element: &str| {
            let told = lacking.iter().any(|(_, e)| e == element);
            if !told && gstreamer::ElementFactory::find(element).is_none() {
                lacking.push((key, element.to_owned()));
            }
        };
        for (i, (stream, derived)) in streams {
            if stream.capture == Capture::Native || is_drawn(stream, &derived.source) {
                continue;
            }
            if let Some(fragment) = &stream.gst {
                elements_of(fragment).for_each(|element| need(format!("stream[{i}].gst"), element));
            } else {
                let own: &[&str] = match &derived.source {
                    SourceSpec::Rtsp { .. } => &["rtspsrc", "decodebin"],
                    SourceSpec::V4l2 { .. } => &["v4l2src", "decodebin"],
                    SourceSpec::File { .. } => &["filesrc", "decodebin"],
                    SourceSpec::Image { .. } => &["filesrc", "decodebin", "imagefreeze"],
                    SourceSpec::Rendered { .. } | SourceSpec::Gst => &[],
                };
                own.iter().for_each(|element| need(format!("stream[{i}].source"), element));
            }
            need(format!("stream[{i}].source"), "appsink");
            if let Some(decoder) = &stream.decoder {
                need(format!("stream[{i}].decoder"), decoder);
            }
        }
        for (key, element) in lacking {
            self.missing(
                &key,
                format!("GStreamer has no element `{element}`: install the plugin that holds it (`gst-inspect-1.0` lists what is there)"),
            );
        }
    }

    #[cfg(not(feature = "gst"))]
    fn elements(&mut self) {}
}

/// Elements that make new pictures of whole ones.
#[cfg(feature = "gst")]
const CONVERTERS: [&str; 6] = ["videoconvert", "videoscale", "videoconvertscale", "videoflip", "autovideoconvert", "compositor"];

/// The elements' names in a fragment: the first word between two `!`, caps filters and pad references left out.
#[cfg(feature = "gst")]
fn elements_of(fragment: &str) -> impl Iterator<Item = &str> {
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    fragment.split('!').filter_map(|link| link.split_whitespace().next()).filter(plain)
}

#[cfg(all(test, feature = "gst"))]
mod tests {
    use super::*;
    use crate::policy::store::put_as_stand_ins;

    #[test]
    fn elements_are_found_in_fragments() {
        let fragment =
            "rtspsrc location=rtsp://cam/a latency=50 ! rtph264depay ! h264parse ! avdec_h264 ! video/x-raw,format=NV12 ! queue name=q";
        assert_eq!(elements_of(fragment).collect::<Vec<_>>(), ["rtspsrc", "rtph264depay", "h264parse", "avdec_h264", "queue"]);
    }

    #[test]
    fn a_placeholder_for_a_signs_photograph_is_doubted() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let state = StateDirectory::new(directory.path());
        std::fs::write(state.site(), "").expect("written");
        let path = directory.path().join("p.toml");
        std::fs::write(&path, "name = \"a\"\n[detect]\nmodel = \"m\"\n[[stream]]\nname = \"hall\"\nsource = \"rtsp://cam/\"\n")
            .expect("written");
        let loaded = crate::config::load(&path).expect("valid");
        let mut register: Register = toml::from_str(crate::policy::facts::testing::GOOD).expect("good");
        let doubted = |register: &Register| {
            put_as_stand_ins(&state.register(), register, SystemClock.utc()).expect("stored");
            look(&loaded, &state).doubtful.iter().filter(|p| p.message.contains("placeholder")).count()
        };
        assert_eq!(doubted(&register), 0);
        register.signs[0].photo_sha256 = Some("0".repeat(64));
        assert_eq!(doubted(&register), 1);
    }

    #[test]
    fn every_streams_state_is_told_and_a_dark_one_is_doubted() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let state = StateDirectory::new(directory.path());
        std::fs::write(state.site(), "").expect("written");
        let path = directory.path().join("p.toml");
        let stream = |name: &str| format!("[[stream]]\nname = \"{name}\"\nsource = \"rtsp://cam/\"\n");
        let text = format!("name = \"a\"\n[detect]\nmodel = \"m\"\n{}{}", stream("north"), stream("south"));
        std::fs::write(&path, text).expect("written");
        let loaded = crate::config::load(&path).expect("valid");
        let mut register: Register = toml::from_str(crate::policy::facts::testing::GOOD).expect("good");
        register.signs[0].inspected_at = Some("2020-01-01".parse().expect("a date"));
        put_as_stand_ins(&state.register(), &register, SystemClock.utc()).expect("stored");
        let around = look(&loaded, &state);
        let told: Vec<(&str, StreamState, bool)> =
            around.streams.iter().map(|s| (s.name.as_str(), s.state, s.reason.contains("[sign-inspected]"))).collect();
        assert_eq!(told, [("north", StreamState::Off, true), ("south", StreamState::Off, false)]);
        let doubted = |i: usize| around.doubtful.iter().find(|p| p.key == format!("stream[{i}].name")).map(|p| p.message.clone());
        assert!(doubted(0).is_some_and(|m| m.starts_with("the stream would be off now: ")), "{:?}", doubted(0));
        assert!(doubted(1).is_some_and(|m| m.contains("no area is recorded for stream `south`")), "{:?}", doubted(1));
    }

    #[test]
    fn credentials_are_private_and_well_formed_or_named() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = |name: &str, text: &str, mode: u32| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        };
        file("good", "admin:hunter2\n", 0o600);
        file("open", "admin:hunter2\n", 0o644);
        file("bare", "hunter2\n", 0o600);
        let stream = |n: &str| format!("[[stream]]\nname = \"{n}\"\nsource = \"rtsp://cam/\"\ncredential_file = \"{n}\"\n");
        let text =
            format!("name = \"a\"\n[detect]\nmodel = \"m\"\n{}{}{}{}", stream("good"), stream("open"), stream("bare"), stream("none"));
        let path = directory.path().join("p.toml");
        std::fs::write(&path, text).expect("written");
        let loaded = crate::config::load(&path).expect("valid");
        let around = look(&loaded, &StateDirectory::new(directory.path()));
        let about = |i: usize| around.missing.iter().find(|p| p.key == format!("stream[{i}].credential_file")).map(|p| p.message.as_str());
        assert_eq!(about(0), None);
        assert!(about(1).is_some_and(|m| m.contains("mode 0644") && m.contains("chmod 600")), "{:?}", about(1));
        assert!(about(2).is_some_and(|m| m.contains("`user:password`")));
        assert!(about(3).is_some_and(|m| m.contains("No such file")));
        assert!(around.missing.iter().all(|p| !p.message.contains("hunter2")));
    }
}
