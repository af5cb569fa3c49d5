//! A picture where the decoder left it.
//!
//! A [`Frame`] holds the decoder's buffer by reference and tells nothing of its pixels. The only way to them is [`Frame::read`],
//! which takes a proof that they may be read *and where* ([`MayRead`], implemented by `policy`'s permits alone; `tests/tidy.rs`
//! checks it), looks whether the proof still stands, and hands out the planes together with the area mask. No proof, no pixel.
//!
//! A frame's header cannot be changed, so a frame stays its stream's. Cameras cannot make frames of [`StreamIndex::DESK`]. Nor can it be
//! put under another law: a frame is made for one lease table ([`TableId`]), and permits of any other open nothing of it.

mod layout;
pub mod still;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::area::Area;
use crate::clock::{CaptureTime, Monotonic, Stamp};

pub use layout::{PixelLayout, Samples, upper_bits};

/// Position of a stream in the pipeline file; index into every per-stream table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamIndex(pub u16);

impl StreamIndex {
    /// Image files that an operator hands over. No stream of a pipeline has this index (there are at most 1,024), no camera delivers on it.
    pub const DESK: Self = Self(u16::MAX);

    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which lease table governs a frame, a gallery or an appliance's events: unlike any other of this process. A table tells its own
/// (`LeaseTable::id`); nobody can make one that is already in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableId(u64);

impl TableId {
    /// No table's: what it governs, no permit opens.
    pub const NOBODY: Self = Self(u64::MAX);
    /// Of the frames, galleries and leases that unit tests make by hand.
    #[cfg(test)]
    pub(crate) const TESTS: Self = Self(0);

    /// The next table's.
    pub(crate) fn unique() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Relaxed) + 1)
    }

    /// Where the table's epochs begin: 2⁴⁰ for each, so that no two tables number a lease alike.
    pub(crate) const fn first_epoch(self) -> u64 {
        (self.0 << 40) | 1
    }
}

/// Which coefficients turn a picture's components into R'G'B'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourMatrix {
    /// The components are G', B' and R' already.
    Identity,
    /// ITU-R BT.601.
    Bt601,
    /// ITU-R BT.709.
    Bt709,
}

/// Matrix and range. `full_range`: 0…255; otherwise Y, R, G, B 16…235, C 16…240.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colorimetry {
    pub matrix: ColourMatrix,
    pub full_range: bool,
}

impl Colorimetry {
    /// Red, green and blue from 0 to 255: what computers make.
    pub const RGB: Self = Self { matrix: ColourMatrix::Identity, full_range: true };
    /// What an unlabelled stream is taken to be: BT.709 limited from 720 lines up, BT.601 limited below (as GStreamer does).
    pub const fn assumed_for(height: u32) -> Self {
        Self { matrix: if height >= 720 { ColourMatrix::Bt709 } else { ColourMatrix::Bt601 }, full_range: false }
    }
}

/// Memory that a decoder or driver owns. Dropping it returns the buffer to its pool.
pub trait FrameBuffer: Send + Sync {
    /// Bytes of plane `plane`, from its first pixel on. Length ≥ stride × (rows − 1) + row bytes.
    fn plane(&self, plane: usize) -> &[u8];

    /// Called instead of dropping when the frame's last reader is done: a source may release the decoder's buffer and keep the box, so that
    /// its next frame costs no allocation.
    fn recycle(self: Box<Self>) {}
}

/// A heap buffer: still images, tests, the rendered concourse.
pub struct OwnedBuffer {
    pub planes: Vec<Vec<u8>>,
}

impl FrameBuffer for OwnedBuffer {
    fn plane(&self, plane: usize) -> &[u8] {
        &self.planes[plane]
    }
}

/// Everything about a picture except its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameHeader {
    pub stream: StreamIndex,
    /// Per stream, from 0, counting every frame that arrived (also those overwritten later).
    pub sequence: u64,
    pub captured_at: CaptureTime,
    pub arrived_at: Stamp<Monotonic>,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    pub layout: PixelLayout,
    pub colorimetry: Colorimetry,
    /// Bytes from one row to the next, per plane.
    pub strides: [usize; 3],
}

/// A picture: header and the decoder's own memory.
pub struct Frame {
    header: FrameHeader,
    /// Whose permits open it.
    table: TableId,
    /// `None` only while the frame is being dropped.
    buffer: Option<Box<dyn FrameBuffer>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame {sequence}: the enrolment desk's stream is for image files, not for cameras")]
    Desk { sequence: u64 },
    #[error("stream {stream}, frame {sequence}: picture of {width}×{height} pixels is outside 16×16 … 8192×8192")]
    Size { stream: u16, sequence: u64, width: u32, height: u32 },
    #[error("stream {stream}, frame {sequence}: plane {plane} has {have} bytes, {need} are needed (stride {stride})")]
    ShortPlane { stream: u16, sequence: u64, plane: usize, have: usize, need: usize, stride: usize },
}

impl Frame {
    /// A camera's, or a replay's, for the permits of `table`. Checks that every plane holds what the header claims, so that readers need no
    /// further bounds checks.
    pub fn new(header: FrameHeader, table: TableId, buffer: Box<dyn FrameBuffer>) -> Result<Self, FrameError> {
        if header.stream == StreamIndex::DESK {
            return Err(FrameError::Desk { sequence: header.sequence });
        }
        Self::checked(header, table, buffer)
    }

    fn checked(header: FrameHeader, table: TableId, buffer: Box<dyn FrameBuffer>) -> Result<Self, FrameError> {
        let FrameHeader { stream: StreamIndex(stream), sequence, width, height, layout, .. } = header;
        if !(16..=8192).contains(&width) || !(16..=8192).contains(&height) {
            return Err(FrameError::Size { stream, sequence, width, height });
        }
        for plane in 0..layout.plane_count() {
            let (row_bytes, rows) = layout.plane_size(plane, width, height);
            let stride = header.strides[plane];
            let need = stride.saturating_mul(rows - 1).saturating_add(row_bytes);
            let have = buffer.plane(plane).len();
            if stride < row_bytes || have < need {
                return Err(FrameError::ShortPlane { stream, sequence, plane, have, need, stride });
            }
        }
        Ok(Self { header, table, buffer: Some(buffer) })
    }

    pub const fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The pixels, with the area they may be used in. Looks at the lease: a permit that has ended opens nothing.
    pub fn read<'a>(&'a self, permit: &'a impl MayRead) -> Result<Pixels<'a>, ReadRefused> {
        if permit.stream() != self.header.stream {
            return Err(ReadRefused::OtherStream { permit_stream: permit.stream().0, frame_stream: self.header.stream.0 });
        }
        if permit.table() != self.table {
            return Err(ReadRefused::OtherTable { stream: self.header.stream.0 });
        }
        if !permit.stands() {
            return Err(ReadRefused::Ended { stream: self.header.stream.0 });
        }
        let plane = |i: usize| match &self.buffer {
            Some(buffer) if i < self.header.layout.plane_count() => buffer.plane(i),
            _ => &[],
        };
        Ok(Pixels { header: &self.header, planes: [plane(0), plane(1), plane(2)], area: permit.area(), area_epoch: permit.area_epoch() })
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            buffer.recycle();
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Frame").field(&self.header).finish()
    }
}

/// A proof that pixels of one stream may be read, and where. Sealed: only this crate can implement it, and within it only
/// `policy::lease` does.
pub trait MayRead: sealed::Sealed {
    fn stream(&self) -> StreamIndex;
    /// The lease table that granted it.
    fn table(&self) -> TableId;
    /// Whether the lease behind it stands at this moment, by the clock of who granted it. Two atomic loads and a clock reading.
    fn stands(&self) -> bool;
    fn area(&self) -> &Area;
    /// Changes whenever `area` does: key for cached rasters.
    fn area_epoch(&self) -> u64;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// Why a frame stayed closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefused {
    /// Always a programming error; refused all the same.
    #[error("a permit for stream {permit_stream} does not open a frame of stream {frame_stream}")]
    OtherStream { permit_stream: u16, frame_stream: u16 },
    /// Always a programming error, or an attempt; refused all the same.
    #[error(
        "the permit for stream {stream} is of another lease table than the frame, so another register may have granted it: nothing was read; \
         ask the table of the appliance, or desk, that the frame comes from"
    )]
    OtherTable { stream: u16 },
    #[error("the permit for stream {stream} has ended: nothing was read")]
    Ended { stream: u16 },
}

/// Borrowed planes of a frame, and the area outside which nothing may be used. Whoever reads applies the area *while* reading.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    pub header: &'a FrameHeader,
    /// Unused planes are empty.
    pub planes: [&'a [u8]; 3],
    pub area: &'a Area,
    pub area_epoch: u64,
}

/// A point in a frame: pixels, (0, 0) at the top-left pixel's top-left corner.
#[derive(Clone, Copy, Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// An axis-parallel box in a frame, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct BoundingBox {
    pub x0: f32,
    pub y0: f32,
    pub x1: f32,
    pub y1: f32,
}

impl BoundingBox {
    pub fn width(&self) -> f32 {
        (self.x1 - self.x0).max(0.0)
    }
    pub fn height(&self) -> f32 {
        (self.y1 - self.y0).max(0.0)
    }
    pub fn centre(&self) -> Point {
        Point { x: 0.5 * (self.x0 + self.x1), y: 0.5 * (self.y0 + self.y1) }
    }
    /// Intersection over union, 0…1.
    pub fn iou(&self, other: &Self) -> f32 {
        let w = (self.x1.min(other.x1) - self.x0.max(other.x0)).max(0.0);
        let h = (self.y1.min(other.y1) - self.y0.max(other.y0)).max(0.0);
        let intersection = w * h;
        let union = self.width() * self.height() + other.width() * other.height() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }
}

/// Five landmarks in the ArcFace order: the eye on the picture's left, the eye on its right, nose tip, mouth corner on the left, on
/// the right.
pub type Landmarks = [Point; 5];
