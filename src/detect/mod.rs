//! Detect: pixels inside the area → faces. The first code that reads a pixel, hence the code that burns the mask in.

pub mod decode;
pub mod detector;
pub mod faces;
#[cfg(test)]
pub(crate) mod golden;
pub mod mask_cache;
pub mod nms;
pub mod preprocess;
pub mod worker;

pub use faces::Faces;

use crate::frame::{BoundingBox, Frame, Landmarks};
use crate::policy::lease::{Detect, Permit};

/// A face found in a frame, in full-resolution pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    pub bounding_box: BoundingBox,
    /// 0…1.
    pub score: f32,
    /// Absent where the detector gives none: such a face is counted but never embedded.
    pub landmarks: Option<Landmarks>,
}

/// A frame after detection, on its way to the tracker.
pub struct Detected {
    pub frame: Frame,
    pub permit: Permit<Detect>,
    pub faces: Faces,
}
