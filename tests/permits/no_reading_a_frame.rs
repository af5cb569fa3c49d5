//! A frame tells nothing of its pixels without a permit that opens pixels.

use placard::frame::Frame;
use placard::policy::lease::{Match, Permit};

fn peek(frame: &Frame, matched: &Permit<Match>) {
    let _ = frame.buffer.plane(0);
    let _ = frame.read(&());
    let _ = frame.read(matched);
}

fn main() {
    let _ = peek;
}
