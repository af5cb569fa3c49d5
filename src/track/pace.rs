//! The time line of one stream: how much time passed between two frames, by the clock that stamped them.
//!
//! Frames may be skipped (`detect_every`, overload), arrive in bursts, or be stamped by a sender's clock that jumps. The time line only
//! ever moves forward: by the difference of the capture stamps where both are of the same clock and make sense, otherwise by that of
//! the arrivals. Units: nanoseconds since the stream's first frame. Owner: the track worker.

use crate::clock::{CaptureTime, Monotonic, Stamp};
use crate::frame::FrameHeader;

/// No gap counts as longer: every track has ended by then.
const LONGEST_GAP_NS: i64 = 60_000_000_000;
/// A capture gap this much longer than the arrival gap is a clock that was set, not a picture that waited.
const LARGEST_DISAGREEMENT_NS: i64 = 5_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    last: Option<(CaptureTime, Stamp<Monotonic>)>,
    /// Position of the newest frame.
    elapsed_ns: i64,
    /// When it was handed to the tracker.
    updated_at: Option<Stamp<Monotonic>>,
}

impl Pace {
    /// Takes in a frame; returns the nanoseconds since the one before (0 for the first).
    pub(super) fn advance(&mut self, header: &FrameHeader, now: Stamp<Monotonic>) -> i64 {
        let gap_ns = self.last.map_or(0, |(captured_at, arrived_at)| {
            let arrival_gap_ns = header.arrived_at.since_ns(arrived_at).clamp(0, LONGEST_GAP_NS);
            match capture_gap_ns(captured_at, header.captured_at) {
                Some(ns) if ns > 0 && ns <= arrival_gap_ns.saturating_add(LARGEST_DISAGREEMENT_NS) => ns.min(LONGEST_GAP_NS),
                _ => arrival_gap_ns,
            }
        });
        self.last = Some((header.captured_at, header.arrived_at));
        self.elapsed_ns = self.elapsed_ns.saturating_add(gap_ns);
        self.updated_at = Some(now);
        gap_ns
    }

    /// Position of the newest frame.
    pub(super) fn elapsed_ns(&self) -> i64 {
        self.elapsed_ns
    }

    /// Position of `now`, frames or not.
    pub(super) fn elapsed_by_ns(&self, now: Stamp<Monotonic>) -> i64 {
        let silent_ns = self.updated_at.map_or(0, |t| now.since_ns(t).max(0));
        self.elapsed_ns.saturating_add(silent_ns)
    }
}

fn capture_gap_ns(before: CaptureTime, after: CaptureTime) -> Option<i64> {
    use CaptureTime::{Arrival, Driver, Scheduled, Sender};
    match (before, after) {
        (Driver(a), Driver(b)) | (Arrival(a), Arrival(b)) | (Scheduled(a), Scheduled(b)) => Some(b.since_ns(a)),
        (Sender(a), Sender(b)) => Some(b.since_ns(a)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Colorimetry, ColourMatrix, PixelLayout, StreamIndex};

    fn header(captured_at: CaptureTime, arrived_ms: i64) -> FrameHeader {
        FrameHeader {
            stream: StreamIndex(0),
            sequence: 0,
            captured_at,
            arrived_at: Stamp::from_ns(arrived_ms * 1_000_000),
            width: 64,
            height: 64,
            layout: PixelLayout::Nv12,
            colorimetry: Colorimetry { matrix: ColourMatrix::Bt601, full_range: false },
            strides: [64, 64, 0],
        }
    }

    fn sender(ms: i64) -> CaptureTime {
        CaptureTime::Sender(Stamp::from_ns(ms * 1_000_000))
    }

    #[test]
    fn goes_by_the_capture_stamps_and_survives_a_clock_that_jumps() {
        let mut pace = Pace::default();
        let mut gap_ms = |captured_at, arrived| pace.advance(&header(captured_at, arrived), Stamp::from_ns(0)) / 1_000_000;
        assert_eq!(gap_ms(sender(5_000), 100), 0);
        assert_eq!(gap_ms(sender(5_033), 180), 33, "arrival jitter does not count");
        assert_eq!(gap_ms(sender(1_000), 213), 33, "the sender's clock was set back");
        assert_eq!(gap_ms(sender(9_000_000), 246), 33, "and forward");
        assert_eq!(gap_ms(CaptureTime::Arrival(Stamp::from_ns(279_000_000)), 279), 33, "another clock");
        assert_eq!(gap_ms(CaptureTime::Arrival(Stamp::from_ns(279_000_000)), 279), 0);
        assert_eq!(pace.elapsed_ns(), 132_000_000);
        assert_eq!(pace.elapsed_by_ns(Stamp::from_ns(7)), 132_000_007);
    }

    #[test]
    fn a_file_read_faster_than_it_plays_keeps_its_own_time() {
        let mut pace = Pace::default();
        for frame in 0..30 {
            let due = CaptureTime::Scheduled(Stamp::from_ns(frame * 33_000_000));
            pace.advance(&header(due, frame), Stamp::from_ns(frame));
        }
        assert_eq!(pace.elapsed_ns(), 29 * 33_000_000);
    }
}
