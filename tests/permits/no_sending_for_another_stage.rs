//! A permit of one stage is not one of another: each step takes its own.

use placard::align::Aligner;
use placard::clock::Clock;
use placard::detect::detector::Detector;
use placard::embed::EmbedShot;
use placard::emit::journal::Journal;
use placard::emit::{Context, Draft, emit};
use placard::frame::{Frame, Landmarks};
use placard::policy::lease::{Detect, Embed, Match, Permit};

fn detecting(detector: &mut Detector, frame: &Frame, permit: &Permit<Embed>) {
    let _ = detector.detect(frame, permit);
}

fn aligning(aligner: &mut Aligner, frame: &Frame, permit: &Permit<Detect>, landmarks: &Landmarks) {
    let _ = aligner.align(frame, permit, landmarks, &mut []);
}

fn embedding(embedder: &mut impl EmbedShot, frame: &Frame, permit: &Permit<Detect>, landmarks: &Landmarks) {
    let _ = embedder.embed(frame, permit, landmarks);
}

fn emitting(draft: &Draft, permit: &Permit<Match>, context: &Context, clock: &dyn Clock, journal: &mut Journal) {
    let _ = emit(draft, permit, context, clock, journal);
}

fn main() {}
