//! Commissioning a view: where a stream's sign hangs in its picture, and what that picture's edges are, learned from pictures.
//!
//! Half a minute of pictures: the code's corners are the medians of where it was read, the fingerprint is what most pictures agree on, so that
//! whoever walked by is in neither. Nothing else is kept.

use super::code::{PublicKey, words_digest};
use super::drift::{Fingerprint, LEAST_EDGES};
use super::read::{Found, Reader};
use crate::frame::{Frame, Point, ReadRefused};
use crate::policy::facts::{Sign, View};
use crate::policy::lease::{Attest, Permit};

/// Fewer readings than this are chance.
const LEAST_READINGS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLearned {
    #[error(
        "no code was read in {looks} pictures: is the sign in view, lit and large enough (two pixels a module; `placard sign print` says how large they are)?"
    )]
    Nothing { looks: usize },
    #[error("a code was read, and it is not that of sign `{sign}` as the register has it: {why}")]
    Foreign { sign: String, why: String },
    #[error(
        "the code was read in {readings} of {looks} pictures only: that is too seldom to rely on; bring the sign nearer, or print it larger"
    )]
    Seldom { readings: usize, looks: usize },
}

/// Learns from one picture after another.
pub struct Learner<'s> {
    sign: &'s Sign,
    key: PublicKey,
    reader: Reader,
    looks: usize,
    corners: Vec<[Point; 4]>,
    prints: Vec<Fingerprint>,
    foreign: Option<String>,
    size: (u32, u32),
}

impl<'s> Learner<'s> {
    pub fn new(sign: &'s Sign, key: PublicKey) -> Self {
        let (reader, corners, prints) = (Reader::default(), Vec::new(), Vec::new());
        Self { sign, key, reader, looks: 0, corners, prints, foreign: None, size: (1, 1) }
    }

    pub fn look(&mut self, frame: &Frame, permit: &Permit<Attest>) -> Result<(), ReadRefused> {
        let pixels = frame.read(permit)?;
        self.size = (pixels.header.width, pixels.header.height);
        self.looks += 1;
        self.prints.push(Fingerprint::of(&pixels));
        #[expect(clippy::cast_precision_loss, reason = "a picture's width")]
        let near = self.corners.last().and_then(|last| self.reader.read(&pixels, last, 0.01 * pixels.header.width as f32));
        if let Some(found) = near.or_else(|| self.reader.search(&pixels)) {
            self.take(found);
        }
        Ok(())
    }

    fn take(&mut self, found: Found) {
        match self.key.read(&found.text) {
            Ok(code) if (&code.sign, &code.zone) != (&self.sign.id, &self.sign.zone) => {
                self.foreign = Some(format!("it is that of `{}` in zone `{}`", code.sign, code.zone));
            }
            Ok(code) if code.words != words_digest(&self.sign.text) => {
                self.foreign = Some("it was printed with other words; print it anew and hang that".to_owned());
            }
            Ok(_) => self.corners.push(found.corners),
            Err(why) => self.foreign = Some(why.to_string()),
        }
    }

    /// What was learned. `tolerance`: a fraction of the picture's width.
    pub fn view(&self, stream: &str, tolerance: f64, attest_every_s: u32) -> Result<View, NotLearned> {
        let (readings, looks) = (self.corners.len(), self.looks);
        if readings == 0 {
            return Err(self
                .foreign
                .clone()
                .map_or(NotLearned::Nothing { looks }, |why| NotLearned::Foreign { sign: self.sign.id.clone(), why }));
        }
        if readings < LEAST_READINGS || readings * 3 < looks {
            return Err(NotLearned::Seldom { readings, looks });
        }
        let median = |corner: usize, of: fn(&Point) -> f32, size: u32| {
            let mut values: Vec<f32> = self.corners.iter().map(|c| of(&c[corner])).collect();
            values.sort_by(f32::total_cmp);
            (f64::from(values[values.len() / 2]) / f64::from(size)).clamp(0.0, 1.0)
        };
        let code = std::array::from_fn(|corner| [median(corner, |p| p.x, self.size.0), median(corner, |p| p.y, self.size.1)]);
        // A plain wall says nothing about where the camera looks; there the code's own place must do.
        let settled = Fingerprint::settled(&self.prints).filter(|print| print.edges() >= LEAST_EDGES);
        let fingerprint = settled.map(|print| print.hex());
        Ok(View { stream: stream.to_owned(), sign: self.sign.id.clone(), code, tolerance, attest_every_s, fingerprint })
    }
}
