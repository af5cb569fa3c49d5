//! A frame stays the stream's that it arrived on: no other stream's permit can be made to fit, nor the enrolment desk's.

use placard::frame::{Frame, StreamIndex};

fn relabel(frame: &mut Frame, other: &mut Frame) {
    frame.header.stream = StreamIndex::DESK;
    std::mem::swap(&mut frame.header, &mut other.header);
}

fn main() {}
