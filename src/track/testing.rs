//! A synthetic street for the tests of tracking and embedding: textured frames, faces where the test wants them, time in hand.
//! Test code; no thread owns it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::area::Area;
use crate::clock::{CaptureTime, Monotonic, Stamp};
use crate::config::schema;
use crate::detect::{Detected, Face};
use crate::frame::{BoundingBox, Colorimetry, Frame, FrameBuffer, FrameHeader, PixelLayout, Point, StreamIndex, TableId};
use crate::policy::lease::testing::{Granted, grant};
use crate::policy::lease::{Detect, StreamState};

pub(crate) const WIDTH: u32 = 640;
pub(crate) const HEIGHT: u32 = 480;

/// The moment `ms` after the street's beginning.
pub(crate) fn at_ms(ms: i64) -> Stamp<Monotonic> {
    Stamp::from_ns(1_000_000_000 + ms * 1_000_000)
}

/// Noise that is sharp everywhere, and a count of how often it was asked for.
pub(crate) struct Texture {
    luma: Arc<Vec<u8>>,
    asked: Arc<AtomicUsize>,
}

impl FrameBuffer for Texture {
    fn plane(&self, _plane: usize) -> &[u8] {
        self.asked.fetch_add(1, SeqCst);
        &self.luma
    }
}

/// Frames of stream 0 under a lease that the test holds.
pub(crate) struct Street {
    pub granted: Granted,
    pub reads: Arc<AtomicUsize>,
    luma: Arc<Vec<u8>>,
    sequence: u64,
}

impl Street {
    /// In `recognise` for some ten minutes.
    pub(crate) fn new() -> Self {
        Self::of(&["missing-person:1"])
    }

    /// As [`new`](Self::new), for `purposes`.
    pub(crate) fn of(purposes: &[&str]) -> Self {
        let until = at_ms(0).plus(Duration::from_secs(600));
        let granted = grant(StreamState::Recognise, purposes, Area::whole(), until);
        let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        Self { granted, reads: Arc::default(), luma: Arc::new((0..WIDTH * HEIGHT).map(noise).collect()), sequence: 0 }
    }

    pub(crate) fn frame(&mut self, ms: i64) -> Frame {
        let header = FrameHeader {
            stream: StreamIndex(0),
            sequence: self.sequence,
            captured_at: CaptureTime::Driver(at_ms(ms)),
            arrived_at: at_ms(ms + 5),
            width: WIDTH,
            height: HEIGHT,
            layout: PixelLayout::Nv12,
            colorimetry: Colorimetry::assumed_for(HEIGHT),
            strides: [WIDTH as usize, WIDTH as usize, 0],
        };
        self.sequence += 1;
        let texture = Texture { luma: Arc::clone(&self.luma), asked: Arc::clone(&self.reads) };
        let frame = Frame::new(header, TableId::TESTS, Box::new(texture)).expect("well-formed");
        self.reads.store(0, SeqCst);
        frame
    }

    pub(crate) fn detected(&mut self, ms: i64, faces: Vec<Face>) -> Detected {
        let permit = self.granted.table.permit::<Detect>(StreamIndex(0), at_ms(ms)).expect("live");
        Detected { frame: self.frame(ms), permit, faces: faces.into() }
    }
}

/// A frontal face of 48 × 60 pixels about (x, y).
pub(crate) fn face(x: f32, y: f32) -> Face {
    face_of(x, y, 60.0, 0.9)
}

pub(crate) fn face_of(x: f32, y: f32, height: f32, score: f32) -> Face {
    let width = 0.8 * height;
    let (x0, y0) = (x - 0.5 * width, y - 0.5 * height);
    let at = |u: f32, v: f32| Point { x: x0 + u * width, y: y0 + v * height };
    Face {
        bounding_box: BoundingBox { x0, y0, x1: x0 + width, y1: y0 + height },
        score,
        landmarks: Some([at(0.3, 0.4), at(0.7, 0.4), at(0.5, 0.58), at(0.34, 0.78), at(0.66, 0.78)]),
    }
}

/// `[embed]` as it is by default.
pub(crate) fn embed_settings() -> schema::Embed {
    schema::Embed {
        model: "embedder".to_owned(),
        int8: true,
        min_face_width_px: 40.0,
        min_quality: 0.35,
        best_shots: 3,
        collect_max_ms: 700,
        shot_spacing_ms: 100,
        retry_improvement: 0.15,
    }
}
