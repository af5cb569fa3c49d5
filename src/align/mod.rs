//! Align: five landmarks → a 112 × 112 crop, warped from the full-resolution frame, area mask applied.
//!
//! Reads pixels, hence needs a permit of a [`CropStage`]: `Permit<Embed>` or `Permit<MaskCheck>`. Owned by the embed worker, or by the
//! mask worker; rasters of areas are kept, nothing is allocated per face.

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod rendered;
pub mod similarity;
pub mod warp;

use crate::detect::mask_cache::MaskCache;
use crate::engine::manifest::{ChannelOrder, Input, Resize};
use crate::frame::{Frame, Landmarks, ReadRefused};
use crate::policy::lease::{CropStage, Permit};

use similarity::{CROP_PX, Similarity, TEMPLATE};

/// Values in an aligned crop: three planes of 112 × 112.
pub const CROP_LEN: usize = 3 * CROP_PX * CROP_PX;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AlignError {
    #[error("the manifest's input must be `resize = \"aligned-crop\"` of {CROP_PX}×{CROP_PX} pixels with finite mean and scale")]
    Manifest,
    #[error("stream {stream}, frame {frame}: room for {have} values, an aligned crop has {CROP_LEN}")]
    Room { stream: u16, frame: u64, have: usize },
    #[error("stream {stream}, frame {frame}: landmarks {landmarks:?} do not define a face's place")]
    Landmarks { stream: u16, frame: u64, landmarks: Landmarks },
    #[error("stream {stream}, frame {frame}: {source}")]
    Read { stream: u16, frame: u64, source: ReadRefused },
}

/// Makes a network's input of a face in a frame.
pub struct Aligner {
    /// Tensor plane, mean and scale of red, green and blue.
    channels: [(usize, f32, f32); 3],
    masks: MaskCache,
}

impl Aligner {
    pub fn new(input: &Input) -> Result<Self, AlignError> {
        let side = u32::try_from(CROP_PX).ok();
        let fits = |size: Option<u32>| size.is_none() || size == side;
        let finite = input.mean.iter().chain(&input.scale).all(|v| v.is_finite());
        if input.resize != Resize::AlignedCrop || !fits(input.width) || !fits(input.height) || !finite {
            return Err(AlignError::Manifest);
        }
        let planes = match input.channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        Ok(Self { channels: planes.map(|p| (p, input.mean[p], input.scale[p])), masks: MaskCache::default() })
    }

    /// Writes the aligned crop, CHW, normalised as the manifest says, to `out` ([`CROP_LEN`] values).
    pub fn align<S: CropStage>(
        &mut self,
        frame: &Frame,
        permit: &Permit<S>,
        landmarks: &Landmarks,
        out: &mut [f32],
    ) -> Result<(), AlignError> {
        let (stream, sequence) = (frame.header().stream.0, frame.header().sequence);
        if out.len() != CROP_LEN {
            return Err(AlignError::Room { stream, frame: sequence, have: out.len() });
        }
        let to_crop =
            Similarity::fit(landmarks, &TEMPLATE).ok_or(AlignError::Landmarks { stream, frame: sequence, landmarks: *landmarks })?;
        let pixels = frame.read(permit).map_err(|source| AlignError::Read { stream, frame: sequence, source })?;
        let mask = self.masks.mask(&pixels);
        warp::warp(&pixels, &mask, &to_crop, |x, y, rgb| {
            for (value, (plane, mean, scale)) in rgb.into_iter().zip(self.channels) {
                out[(plane * CROP_PX + y) * CROP_PX + x] = (value - mean) * scale;
            }
        });
        Ok(())
    }
}
