//! No step can be called with nothing in a permit's place.

use placard::align::Aligner;
use placard::detect::detector::Detector;
use placard::embedding::Embedding;
use placard::frame::{Frame, Landmarks};
use placard::gallery::set::GallerySet;
use placard::matching::identify::identify;
use placard::policy::lease::LeaseTable;

fn detecting(detector: &mut Detector, frame: &Frame) {
    let _ = detector.detect(frame);
}

fn aligning(aligner: &mut Aligner, frame: &Frame, table: &LeaseTable, landmarks: &Landmarks) {
    let _ = aligner.align(frame, table, landmarks, &mut []);
}

fn matching(query: Embedding, set: &GallerySet) {
    let _ = identify(query, set, 0.6, 3);
}

fn main() {}
