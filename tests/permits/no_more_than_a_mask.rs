//! Leave to look at masks opens no embedder and no gallery and tells of no hit; and other leave looks at nobody's mask.

use placard::align::Aligner;
use placard::clock::Clock;
use placard::detect::detector::Detector;
use placard::embed::EmbedShot;
use placard::embedding::Embedding;
use placard::emit::journal::Journal;
use placard::emit::{Context, Draft, emit, emit_mask};
use placard::frame::{Frame, Landmarks};
use placard::gallery::set::GallerySet;
use placard::mask_check::{Finding, MaskClassifier};
use placard::matching::identify::identify;
use placard::policy::lease::{Detect, Embed, Emit, MaskCheck, Permit, TellMask};

fn embedding(embedder: &mut impl EmbedShot, frame: &Frame, permit: &Permit<MaskCheck>, landmarks: &Landmarks) {
    let _ = embedder.embed(frame, permit, landmarks);
}

fn searching(set: &GallerySet, query: Embedding, check: Permit<MaskCheck>) {
    let _ = set.search(&check, &query, 0.6, 3);
    let _ = identify(query, &[check], set, 0.6, 3);
}

fn detecting(detector: &mut Detector, frame: &Frame, permit: &Permit<MaskCheck>) {
    let _ = detector.detect(frame, permit);
}

fn telling_who(draft: &Draft, permit: &Permit<TellMask>, context: &Context, clock: &dyn Clock, journal: &mut Journal) {
    let _ = emit(draft, permit, context, clock, journal);
}

fn looking(classifier: &mut MaskClassifier, frame: &Frame, detect: &Permit<Detect>, embed: &Permit<Embed>, landmarks: &Landmarks) {
    let _ = classifier.probability(frame, detect, landmarks);
    let _ = classifier.probability(frame, embed, landmarks);
}

fn cutting_out(aligner: &mut Aligner, frame: &Frame, detect: &Permit<Detect>, landmarks: &Landmarks) {
    let _ = aligner.align(frame, detect, landmarks, &mut []);
}

fn telling_masks(finding: &Finding, check: &Permit<MaskCheck>, emit: &Permit<Emit>, context: &Context, clock: &dyn Clock, journal: &mut Journal) {
    let _ = emit_mask(finding, check, context, clock, journal);
    let _ = emit_mask(finding, emit, context, clock, journal);
}

fn main() {}
