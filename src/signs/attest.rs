//! Attestation: what a look at a stream's picture says of its sign, and what becomes of it over time.
//!
//! [`Attester::look`] opens one frame with a permit for nothing else and reads the code in its place and, where the view has a fingerprint, the
//! picture's coarse edges. [`Watch`] is one stream's history. People walk past signs, so one look without a code means little: a stream's
//! sign counts as seen until it has not been read for `attest_every_s`, and looks come often enough that this is many looks.
//!
//! ```text
//! looks: every quarter of attest_every_s while it is seen, at least twice a second while it is not
//! covered at t ──▶ last read before t ──▶ told not seen by t + attest_every_s ──▶ dark within the policy thread's next tick
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::code::{PublicKey, words_digest};
use super::drift::Fingerprint;
use super::read::{Reader, in_pixels};
use crate::area::Area;
use crate::clock::{Monotonic, Stamp};
use crate::frame::{Frame, Pixels, Point, ReadRefused};
use crate::policy::lease::{Attest, Permit};
use crate::policy::observed::{Attested, Watched};

/// Longest time between two looks while the sign is not seen.
const SOON: Duration = Duration::from_millis(500);

/// Reads signs in pictures. One per thread.
pub struct Attester {
    reader: Reader,
    /// `None`: this site has no key, so no code is its own.
    key: Option<PublicKey>,
}

impl Attester {
    pub fn new(key: Option<PublicKey>) -> Self {
        Self { reader: Reader::default(), key }
    }

    /// What `frame` shows of the sign. A fault in the reader is a sign not seen.
    pub fn look(&mut self, frame: &Frame, permit: &Permit<Attest>, watched: &Watched) -> Result<Attested, ReadRefused> {
        let pixels = frame.read(permit)?;
        let looked = catch_unwind(AssertUnwindSafe(|| self.judge(&pixels, watched)));
        Ok(looked.unwrap_or_else(|_panic| {
            self.reader = Reader::default();
            Attested::Missing
        }))
    }

    fn judge(&mut self, pixels: &Pixels, watched: &Watched) -> Attested {
        let view = &watched.view;
        if let Some(commissioned) = &view.fingerprint {
            // One that cannot be read agrees with no picture; nor does one where the permit does not open the whole of it.
            let opened = *pixels.area == Area::whole();
            let steady = opened && Fingerprint::from_hex(commissioned).is_ok_and(|f| f.compare(&Fingerprint::of(pixels)).is_steady());
            if !steady {
                return Attested::Drifted;
            }
        }
        let (width, height) = (pixels.header.width, pixels.header.height);
        let corners = in_pixels(&view.code, width, height);
        #[expect(clippy::cast_possible_truncation, reason = "a fraction of a picture's width")]
        let tolerance = (view.tolerance * f64::from(width)) as f32;
        let Some(found) = self.reader.read(pixels, &corners, tolerance) else { return Attested::Missing };
        match self.key.as_ref().and_then(|key| key.read(&found.text).ok()) {
            Some(code) if code.sign == view.sign && code.zone == watched.zone && code.words == words_digest(&watched.text) => {
                if farthest(&found.corners, &corners) > tolerance { Attested::Moved } else { Attested::Seen }
            }
            _ => Attested::Foreign,
        }
    }
}

/// How far the farthest corner is from its place.
fn farthest(found: &[Point; 4], expected: &[Point; 4]) -> f32 {
    found.iter().zip(expected).map(|(f, e)| (f.x - e.x).hypot(f.y - e.y)).fold(0.0, f32::max)
}

/// What is known of one stream's sign.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    every: Duration,
    seen_at: Option<Stamp<Monotonic>>,
    next_look: Option<Stamp<Monotonic>>,
    /// The last look that did not see it since it was seen.
    failed: Attested,
}

impl Watch {
    pub fn new(every_s: u32) -> Self {
        let every = Duration::from_secs(u64::from(every_s.max(1)));
        Self { every, seen_at: None, next_look: None, failed: Attested::Missing }
    }

    /// Whether a frame is wanted.
    pub fn is_due(&self, now: Stamp<Monotonic>) -> bool {
        self.next_look.is_none_or(|next| now >= next)
    }

    /// A frame of `at` showed this; what is to be told, if anything.
    pub fn looked(&mut self, what: Attested, at: Stamp<Monotonic>) -> Option<(Attested, Stamp<Monotonic>)> {
        if what == Attested::Seen {
            self.seen_at = Some(at);
            self.next_look = Some(at.plus(self.every / 4));
            return Some((what, at));
        }
        self.failed = what;
        self.next_look = Some(at.plus(SOON.min(self.every / 4)));
        // Told at once where nothing better is known.
        if self.seen_at.is_none() { Some((what, at)) } else { self.tick(at) }
    }

    /// Time passes, looks or not; what is to be told, if anything.
    pub fn tick(&mut self, now: Stamp<Monotonic>) -> Option<(Attested, Stamp<Monotonic>)> {
        let seen_at = self.seen_at?;
        if now < seen_at.plus(self.every) {
            return None;
        }
        self.seen_at = None;
        Some((self.failed, now))
    }
}

#[cfg(test)]
pub(crate) mod tests;
