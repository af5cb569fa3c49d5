//! What the appliance itself sees and hears, beside what people entered: whether a sign's code is read in the picture, whether a camera's
//! view is the commissioned one, whether a way in without a face still answers.
//!
//! Whoever observes writes here; the policy thread takes a copy at each evaluation. Kept in memory only: after a start nothing has
//! been observed, and what a rule needs and nobody observed is a refusal.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

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
}

/// Everything that a decision looks at beside the register.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub now: Now,
    pub observed: &'a Observed,
}

static NOTHING: Observed = Observed { attestations: BTreeMap::new(), heartbeats: BTreeMap::new(), devices: BTreeMap::new() };

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
}

impl Observations {
    pub fn attested(&self, stream: &Arc<str>, what: Attested, at: Stamp<Monotonic>) {
        self.shared.lock().attestations.insert(Arc::clone(stream), At { what, at });
    }
    pub fn heartbeat(&self, alternative: &str, at: Stamp<Monotonic>) {
        self.shared.lock().heartbeats.insert(alternative.into(), at);
    }
    pub fn device(&self, stream: &Arc<str>, what: DeviceFinding, at: Stamp<Monotonic>) {
        self.shared.lock().devices.insert(Arc::clone(stream), At { what, at });
    }
    /// Nothing is known of `stream` any more: its source is another now.
    pub fn forget(&self, stream: &str) {
        let mut observed = self.shared.lock();
        observed.attestations.remove(stream);
        observed.devices.remove(stream);
    }
    pub fn copy(&self) -> Observed {
        self.shared.lock().clone()
    }
}
