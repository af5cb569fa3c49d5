//! What a frame shows of its header is for reading.

use placard::frame::{Frame, StreamIndex};

fn relabel(frame: &mut Frame, other: &Frame) {
    frame.header().stream = StreamIndex::DESK;
    *frame.header() = *other.header();
}

fn main() {}
