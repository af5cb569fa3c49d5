//! A sample becomes a frame: the decoder's buffer is mapped for reading where it lies and held until the frame's last reader is done.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use gstreamer_video::{VideoColorMatrix, VideoColorRange, VideoFrame};

use super::super::{IngestError, Outlet};
use super::formats;
use crate::clock::{CaptureTime, Monotonic, Stamp, Utc};
use crate::frame::{Colorimetry, ColourMatrix, FrameBuffer, FrameHeader, StreamIndex};

/// Where a picture's time stamp comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Origin {
    /// A file: its time stamps say when each picture is due after the first.
    File,
    /// A network source: time stamps are the estimated arrival of the first packet, on our clock.
    Live,
    /// `v4l2src`: time stamps are the driver's.
    Driver,
}

/// What turns a buffer's time stamp into a capture time.
pub(in super::super) struct Timing {
    pub origin: Origin,
    pub pipeline: gst::Pipeline,
    pub replay: Replay,
}

/// Keeps a file's time running forwards when it is played again: a fast replay begins its next round before the last one's time is up.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Replay {
    last_ns: Option<i64>,
    step_ns: i64,
    shift_ns: i64,
}

impl Replay {
    fn forwards(&mut self, stamp: Stamp<Monotonic>) -> Stamp<Monotonic> {
        let ns = stamp.ns().saturating_add(self.shift_ns);
        let ns = match self.last_ns {
            Some(last) if ns <= last => {
                self.shift_ns += last - ns + self.step_ns.max(1);
                last + self.step_ns.max(1)
            }
            Some(last) => {
                self.step_ns = ns - last;
                ns
            }
            None => ns,
        };
        self.last_ns = Some(ns);
        Stamp::from_ns(ns)
    }
}

/// A stamp further than this from now is not believed to be the arrival of this picture.
const PLAUSIBLE_ARRIVAL_NS: i64 = 30_000_000_000;
/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// A frame that is not numbered yet.
pub(in super::super) type Picture = (FrameHeader, Box<dyn FrameBuffer>);

/// Turns one connection's samples into frames.
pub(in super::super) struct Unpacker {
    stream: String,
    timing: Timing,
    /// The geometry of the last sample, so that caps are parsed only when they change.
    known: Option<(gst::Caps, gst_video::VideoInfo)>,
    /// Held by every picture that has not been released.
    lent: Arc<()>,
    boxes: Boxes,
}

/// Boxes of pictures that were released, for those that come.
type Boxes = Arc<ArrayQueue<Box<GstBuffer>>>;

/// More pictures than this are seldom out at once: ring, one with a detector, those whose shots are being embedded.
const BOXES: usize = 16;

impl Unpacker {
    pub fn new(stream: &str, timing: Timing) -> Self {
        Self { stream: stream.to_owned(), timing, known: None, lent: Arc::default(), boxes: Arc::new(ArrayQueue::new(BOXES)) }
    }

    /// The mark that every picture of this connection holds until it is released.
    pub fn lent(&self) -> &Arc<()> {
        &self.lent
    }

    /// The frame in `sample`; `None` for a sample that holds no picture (a gap).
    pub fn unpack(&mut self, sample: &gst::Sample, outlet: &Outlet) -> Result<Option<Picture>, IngestError> {
        let now = outlet.clock.now();
        let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) else { return Ok(None) };
        if buffer.flags().contains(gst::BufferFlags::GAP) && buffer.size() == 0 {
            return Ok(None);
        }
        let unreadable = |reason: String| IngestError::Unreadable { stream: self.stream.clone(), sequence: outlet.arrived(), reason };
        // The same object as long as nothing changes; a copy would never be.
        if self.known.as_ref().is_none_or(|(known, _)| known.as_ptr() != caps.as_ptr()) {
            let info = gst_video::VideoInfo::from_caps(&caps).map_err(|e| unreadable(format!("{e} ({caps})")))?;
            outlet.health.set_caps(caps.to_string());
            self.known = Some((caps, info));
        }
        let Some((_, info)) = &self.known else { return Ok(None) };
        let captured_at = self.timing.captured_at(&buffer, sample.segment(), now.monotonic);
        let frame =
            VideoFrame::from_buffer_readable(buffer, info).map_err(|_| unreadable("the buffer cannot be mapped for reading".to_owned()))?;
        let layout = formats::layout_of(info.format());
        let layout = layout.ok_or_else(|| unreadable(formats::refusal(&format!("pictures are {}", info.format()))))?;
        let mut strides = [0; 3];
        for (stride, &given) in strides.iter_mut().zip(frame.plane_stride()).take(layout.plane_count()) {
            *stride = usize::try_from(given).map_err(|_| unreadable(format!("rows run backwards (stride {given})")))?;
        }
        let header = FrameHeader {
            stream: StreamIndex(0),
            sequence: 0,
            captured_at,
            arrived_at: now.monotonic,
            width: info.width(),
            height: info.height(),
            layout,
            colorimetry: colorimetry(info),
            strides,
        };
        let mut boxed = self.boxes.pop().unwrap_or_default();
        boxed.lengths = plane_lengths(&header);
        boxed.held = Some(Held { frame, _lent: Arc::clone(&self.lent), home: Arc::clone(&self.boxes) });
        Ok(Some((header, boxed)))
    }
}

/// Bytes of each plane up to its last pixel: what follows it in the last row may belong to nobody.
fn plane_lengths(header: &FrameHeader) -> [usize; 3] {
    let mut lengths = [0; 3];
    for (plane, length) in lengths.iter_mut().enumerate().take(header.layout.plane_count()) {
        let (row_bytes, rows) = header.layout.plane_size(plane, header.width, header.height);
        *length = header.strides[plane] * rows.saturating_sub(1) + row_bytes;
    }
    lengths
}

/// The decoder's own memory, mapped. Released, it returns the buffer to the decoder's pool and waits, empty, for the next picture.
#[derive(Default)]
struct GstBuffer {
    held: Option<Held>,
    lengths: [usize; 3],
}

struct Held {
    frame: VideoFrame<gst_video::video_frame::Readable>,
    /// Dropped after the frame.
    _lent: Arc<()>,
    home: Boxes,
}

impl FrameBuffer for GstBuffer {
    fn plane(&self, plane: usize) -> &[u8] {
        let Some(held) = &self.held else { return &[] };
        let data = u32::try_from(plane).ok().and_then(|p| held.frame.plane_data(p).ok()).unwrap_or_default();
        let length = self.lengths.get(plane).copied().unwrap_or_default();
        data.get(..length).unwrap_or(data)
    }

    fn recycle(mut self: Box<Self>) {
        if let Some(Held { frame, _lent, home }) = self.held.take() {
            drop(frame);
            // The connection is over, or more were out than it keeps: the box goes too.
            let _freed = home.push(self);
        }
    }
}

impl Timing {
    fn captured_at(&mut self, buffer: &gst::BufferRef, segment: Option<&gst::Segment>, now: Stamp<Monotonic>) -> CaptureTime {
        let arrival = CaptureTime::Arrival(now);
        if let Some(sent) = sender_stamp(buffer) {
            return CaptureTime::Sender(sent);
        }
        let running =
            buffer.pts().zip(segment.and_then(|s| s.downcast_ref::<gst::ClockTime>())).and_then(|(pts, s)| s.to_running_time(pts));
        // Before the pipeline plays it has no base time: the stamp of the picture it prerolled with would lie at boot.
        let base_time = self.pipeline.base_time().filter(|base| *base > gst::ClockTime::ZERO);
        let on_clock = running.zip(base_time).and_then(|(running, base)| running.checked_add(base));
        let Some(stamp) = on_clock.and_then(|t| i64::try_from(t.nseconds()).ok()).map(Stamp::from_ns) else { return arrival };
        match self.origin {
            // A driver's stamp is shown as it is, also when it lies in the future: a negative latency that is shown is a fault found.
            Origin::Driver => CaptureTime::Driver(stamp),
            // The tracker needs the pictures' own pace, however fast or slow they are replayed.
            Origin::File => CaptureTime::Scheduled(self.replay.forwards(stamp)),
            _ if (0..PLAUSIBLE_ARRIVAL_NS).contains(&now.since_ns(stamp)) => CaptureTime::Arrival(stamp),
            _ => arrival,
        }
    }
}

/// The sender's wall clock, where RTCP or RFC 7273 told it and the stamp came through the decoder.
fn sender_stamp(buffer: &gst::BufferRef) -> Option<Stamp<Utc>> {
    let meta = buffer.meta::<gst::ReferenceTimestampMeta>()?;
    let ns = meta.timestamp().nseconds();
    let unix_ns = match meta.reference().structure(0)?.name().as_str() {
        "timestamp/x-ntp" => ns.checked_sub(NTP_TO_UNIX_S * 1_000_000_000)?,
        "timestamp/x-unix" => ns,
        _ => return None,
    };
    i64::try_from(unix_ns).ok().map(Stamp::from_ns)
}

fn colorimetry(info: &gst_video::VideoInfo) -> Colorimetry {
    let assumed = Colorimetry::assumed_for(info.height());
    let given = info.colorimetry();
    let matrix = match given.matrix() {
        _ if info.is_rgb() => ColourMatrix::Identity,
        VideoColorMatrix::Bt601 => ColourMatrix::Bt601,
        // BT.2020 and SMPTE 240M lie nearer to 709 than to 601.
        VideoColorMatrix::Bt709 | VideoColorMatrix::Bt2020 | VideoColorMatrix::Smpte240m => ColourMatrix::Bt709,
        _ => assumed.matrix,
    };
    let full_range = match given.range() {
        VideoColorRange::Range0_255 => true,
        VideoColorRange::Range16_235 => false,
        _ => assumed.full_range || info.is_rgb(),
    };
    Colorimetry { matrix, full_range }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_round_s_time_follows_the_first_s() {
        let mut replay = Replay::default();
        // 40 ms a picture; the second round begins 20 ms of real time after the first.
        let given = [1_000, 1_040, 1_080, 1_020, 1_060, 1_100, 1_040];
        let shown: Vec<i64> = given.iter().map(|&ms| replay.forwards(Stamp::from_ns(ms)).ns()).collect();
        assert_eq!(shown, [1_000, 1_040, 1_080, 1_120, 1_160, 1_200, 1_240]);
    }
}
