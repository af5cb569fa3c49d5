//! What the appliance itself sees and hears, beside what people entered: whether a sign's code is read in the picture, whether a camera's
//! view is the commissioned one, whether a way in without a face still answers.
//!
//! Whoever observes writes here; the policy thread takes a copy at each evaluation. Kept in memory only: after a start nothing has
//! been observed, and what a rule needs and nobody observed is a refusal.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::facts::{Device, Register, View};
use crate::clock::{Monotonic, Now, Stamp, Utc};

/// What attestation said of a stream's sign, last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attested {
    /// The code was read, is ours, and is where it was.
    Seen,
    /// No code was read in the sign's place.
    Missing,
    /// A code was read that this site did not sign, or that belongs to another sign.
    Foreign,
    /// Ours, but farther from its place than the tolerance.
    Moved,
    /// The picture as a whole is another than the commissioned one.
    Drifted,
}

/// What a camera said of what it does by itself (C02).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceFinding {
    /// Neither face analytics nor recording is on.
    Clean,
    /// This module or rule of its own looks for faces.
    FaceAnalytics(String),
    /// This recording job of its own is active.
    Records(String),
    /// It could not be asked, or what it answered could not be understood.
    NoAnswer(String),
}

/// What attestation is to look for on a stream: kept by the policy thread, from the register.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    pub view: View,
    /// Of the sign.
    pub zone: String,
    /// The words on the sign, as the register has them.
    pub text: String,
    /// Pictures from before say nothing: the register or the source was another.
    pub since: Stamp<Monotonic>,
}

impl Watched {
    fn asks_the_same(&self, other: &Self) -> bool {
        (&self.view, &self.zone, &self.text) == (&other.view, &other.zone, &other.text)
    }
}

/// What a camera shows is noted again after this long, though it is the same.
const RENEW_AFTER_NS: i64 = 20_000_000_000;

/// One observation, and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At<T> {
    pub what: T,
    pub at: Stamp<Monotonic>,
}

/// A copy of everything observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// By stream.
    pub attestations: BTreeMap<Arc<str>, At<Attested>>,
    /// Last heartbeat of each alternative way in, by its id.
    pub heartbeats: BTreeMap<Arc<str>, Stamp<Monotonic>>,
    /// What each stream's camera said of itself.
    pub devices: BTreeMap<Arc<str>, At<DeviceFinding>>,
    /// SHA-256 of the certificate that each stream's camera showed on the connection that now stands.
    pub certificates: BTreeMap<Arc<str>, At<String>>,
}

/// Everything that a decision looks at beside the register.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub now: Now,
    pub observed: &'a Observed,
}

impl Observed {
    /// As if every camera, sign and way in that `register` asks about had been seen as it should be, at the instant 0: for whoever asks what facts
    /// and rules allow where nobody observes.
    pub fn all_well(register: &Register) -> Self {
        let at = Stamp::from_ns(0);
        let seen = |v: &View| (v.stream.as_str().into(), At { what: Attested::Seen, at });
        let clean = |d: &Device| (d.stream.as_str().into(), At { what: DeviceFinding::Clean, at });
        let shown = |d: &Device| Some((d.stream.as_str().into(), At { what: d.tls_sha256.clone()?, at }));
        Self {
            attestations: register.views.iter().map(seen).collect(),
            heartbeats: register.alternatives.iter().map(|a| (a.id.as_str().into(), at)).collect(),
            devices: register.devices.iter().map(clean).collect(),
            certificates: register.devices.iter().filter_map(shown).collect(),
        }
    }

    /// This, at an instant of the wall clock.
    pub const fn on(&self, utc: Stamp<Utc>) -> Moment<'_> {
        Moment { now: Now { monotonic: Stamp::from_ns(0), utc }, observed: self }
    }
}

static NOTHING: Observed =
    Observed { attestations: BTreeMap::new(), heartbeats: BTreeMap::new(), devices: BTreeMap::new(), certificates: BTreeMap::new() };

impl Moment<'static> {
    /// For whoever asks what the facts alone would allow: nothing has been observed.
    pub fn unobserved(utc: Stamp<Utc>) -> Self {
        Self { now: Now { monotonic: Stamp::from_ns(0), utc }, observed: &NOTHING }
    }
}

/// Cloneable; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    shared: Arc<Mutex<Observed>>,
    /// By stream.
    watched: Arc<Mutex<BTreeMap<Arc<str>, Arc<Watched>>>>,
}

impl Observations {
    /// What was seen, at `at`, of what was to be looked for. It counts only where that is still what is to be looked for.
    pub fn attested(&self, stream: &Arc<str>, watched: &Arc<Watched>, what: Attested, at: Stamp<Monotonic>) {
        let now = self.watched.lock();
        if now.get(stream).is_some_and(|w| Arc::ptr_eq(w, watched)) && at >= watched.since {
            self.shared.lock().attestations.insert(Arc::clone(stream), At { what, at });
        }
    }
    pub fn heartbeat(&self, alternative: &str, at: Stamp<Monotonic>) {
        self.shared.lock().heartbeats.insert(alternative.into(), at);
    }
    pub fn device(&self, stream: &Arc<str>, what: DeviceFinding, at: Stamp<Monotonic>) {
        self.shared.lock().devices.insert(Arc::clone(stream), At { what, at });
    }
    /// What the camera of `stream` showed on the connection that stands at `at`; `None`: nothing.
    pub fn certificate(&self, stream: &Arc<str>, sha256: Option<String>, at: Stamp<Monotonic>) {
        let certificates = &mut self.shared.lock().certificates;
        match sha256 {
            // The instant is renewed now and then only: whatever is written here is decided on anew.
            Some(what) => match certificates.get(stream) {
                Some(known) if known.what == what && at.since_ns(known.at) < RENEW_AFTER_NS => {}
                _ => {
                    certificates.insert(Arc::clone(stream), At { what, at });
                }
            },
            None => {
                certificates.remove(stream);
            }
        }
    }
    /// Nothing is known of `stream` any more: its source is another now.
    pub(in crate::policy) fn forget(&self, stream: &str, now: Stamp<Monotonic>) {
        let mut watched = self.watched.lock();
        if let Some(watched) = watched.get_mut(stream) {
            // Another one, so that whoever looks for the old one begins anew.
            *watched = Arc::new(Watched { since: now, ..Watched::clone(watched) });
        }
        let mut observed = self.shared.lock();
        observed.attestations.remove(stream);
        observed.devices.remove(stream);
        observed.certificates.remove(stream);
    }
    /// What to look for on `stream`, if anything.
    pub fn watched(&self, stream: &str) -> Option<Arc<Watched>> {
        self.watched.lock().get(stream).cloned()
    }
    /// The register is another now. What was seen of a sign that hangs, reads or looks otherwise no longer counts.
    pub(in crate::policy) fn watch(&self, register: &Register, streams: &[Arc<str>], now: Stamp<Monotonic>) {
        let mut watched = self.watched.lock();
        for stream in streams {
            let found = super::attestation::view_of(register, stream).and_then(|view| {
                let sign = register.sign(&view.sign)?;
                Some(Watched { view: view.clone(), zone: sign.zone.clone(), text: sign.text.clone(), since: now })
            });
            let unchanged = match (watched.get(stream), &found) {
                (Some(old), Some(new)) => old.asks_the_same(new),
                (None, None) => true,
                _ => false,
            };
            if unchanged {
                continue;
            }
            self.shared.lock().attestations.remove(stream);
            match found {
                Some(found) => watched.insert(Arc::clone(stream), Arc::new(found)),
                None => watched.remove(stream),
            };
        }
    }
    pub fn copy(&self) -> Observed {
        self.shared.lock().clone()
    }
}
