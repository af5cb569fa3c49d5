//! Leave to look for a sign opens no detector, no aligner, no embedder and no mask check; and no leave of people's pictures looks for signs.

use placard::align::Aligner;
use placard::detect::detector::Detector;
use placard::embed::EmbedShot;
use placard::frame::{Frame, Landmarks};
use placard::gallery::set::GallerySet;
use placard::embedding::Embedding;
use placard::mask_check::MaskClassifier;
use placard::policy::lease::{Attest, Detect, Embed, Permit};
use placard::policy::observed::Watched;
use placard::signs::attest::Attester;

fn detecting(detector: &mut Detector, frame: &Frame, permit: &Permit<Attest>) {
    let _ = detector.detect(frame, permit);
}

fn cutting_out(aligner: &mut Aligner, frame: &Frame, permit: &Permit<Attest>, landmarks: &Landmarks) {
    let _ = aligner.align(frame, permit, landmarks, &mut []);
}

fn embedding(embedder: &mut impl EmbedShot, frame: &Frame, permit: &Permit<Attest>, landmarks: &Landmarks) {
    let _ = embedder.embed(frame, permit, landmarks);
}

fn checking(classifier: &mut MaskClassifier, frame: &Frame, permit: &Permit<Attest>, landmarks: &Landmarks) {
    let _ = classifier.probability(frame, permit, landmarks);
}

fn searching(set: &GallerySet, query: &Embedding, permit: &Permit<Attest>) {
    let _ = set.search(permit, query, 0.6, 3);
}

fn attesting(attester: &mut Attester, frame: &Frame, detect: &Permit<Detect>, embed: &Permit<Embed>, watched: &Watched) {
    let _ = attester.look(frame, detect, watched);
    let _ = attester.look(frame, embed, watched);
}

fn main() {}
