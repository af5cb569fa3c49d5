//! Where each tensor pixel comes from.
//!
//! The source is the bounding box of the signed area, the *crop*. `Letterbox` scales it by r = min(W/w, H/h) into the tensor's top-left
//! corner and pads right and bottom; `Stretch` fills the tensor. A network with a free input size gets the crop scaled down to fit
//! `input_px`, never up, and a tensor just large enough. A tensor pixel stands at source = (destination + ½) · step − ½ and draws on the
//! samples under a box one step wide, at least one sample ([`cover`]).
//!
//! Coordinates of the network and of the frame are both in pixels with (0, 0) at the first pixel's corner, so the way back is one
//! multiplication and one addition an axis ([`Mapping`]).

use crate::area::PixelBounds;
use crate::engine::manifest::{Input, Resize};
use crate::frame::{BoundingBox, PixelLayout, Point};

use super::PreprocessError;

/// Longest side when neither model nor configuration says anything.
const DEFAULT_INPUT_PX: u32 = 640;

/// From network pixels to pixels of the full-resolution frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mapping {
    pub scale_x: f32,
    pub scale_y: f32,
    /// The crop's corner in the frame, pixels.
    pub offset_x: f32,
    pub offset_y: f32,
}

impl Mapping {
    pub fn point(&self, p: Point) -> Point {
        Point { x: p.x * self.scale_x + self.offset_x, y: p.y * self.scale_y + self.offset_y }
    }
    pub fn bounding_box(&self, b: BoundingBox) -> BoundingBox {
        let (from, to) = (self.point(Point { x: b.x0, y: b.y0 }), self.point(Point { x: b.x1, y: b.y1 }));
        BoundingBox { x0: from.x, y0: from.y, x1: to.x, y1: to.y }
    }
}

/// What the model's manifest asks of the tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    Fixed { width: u32, height: u32, stretch: bool },
    Free { longest_px: u32, multiple_of: u32 },
}

impl Target {
    pub fn of(input: &Input, input_px: Option<u32>) -> Result<Self, PreprocessError> {
        let stretch = match input.resize {
            Resize::Letterbox => false,
            Resize::Stretch => true,
            Resize::AlignedCrop => return Err(PreprocessError::NotADetector),
        };
        match (input.width, input.height) {
            (Some(width), Some(height)) if (1..=4096).contains(&width) && (1..=4096).contains(&height) => {
                Ok(Self::Fixed { width, height, stretch })
            }
            (Some(width), Some(height)) => Err(PreprocessError::Size { width, height }),
            _ => {
                let (longest_px, multiple_of) = (input_px.unwrap_or(DEFAULT_INPUT_PX), input.multiple_of);
                if !(1..=1024).contains(&multiple_of) || !(multiple_of..=4096).contains(&longest_px) {
                    return Err(PreprocessError::FreeSize { longest_px, multiple_of });
                }
                Ok(Self::Free { longest_px: longest_px / multiple_of * multiple_of, multiple_of })
            }
        }
    }
}

/// Sizes in pixels: the crop, the picture it becomes, the tensor that holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    pub crop: PixelBounds,
    pub picture: (usize, usize),
    pub tensor: (usize, usize),
}

impl Geometry {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides of 1 to 8192 pixels")]
    pub fn new(target: Target, crop: PixelBounds) -> Self {
        let (w, h) = (f64::from(crop.width()), f64::from(crop.height()));
        let side = |length: f64, limit: u32| (length.round() as usize).clamp(1, limit as usize);
        let (picture, tensor) = match target {
            Target::Fixed { width, height, stretch: true } => {
                let all = (width as usize, height as usize);
                (all, all)
            }
            Target::Fixed { width, height, stretch: false } => {
                let r = (f64::from(width) / w).min(f64::from(height) / h);
                ((side(w * r, width), side(h * r, height)), (width as usize, height as usize))
            }
            Target::Free { longest_px, multiple_of } => {
                let r = (f64::from(longest_px) / w.max(h)).min(1.0);
                let picture = (side(w * r, longest_px), side(h * r, longest_px));
                let up = |n: usize| n.next_multiple_of(multiple_of as usize);
                (picture, (up(picture.0), up(picture.1)))
            }
        };
        Self { crop, picture, tensor }
    }

    /// Source pixels per tensor pixel, across and down.
    #[expect(clippy::cast_precision_loss, reason = "sides of at most 8192 pixels")]
    pub fn steps(&self) -> (f64, f64) {
        (f64::from(self.crop.width()) / self.picture.0 as f64, f64::from(self.crop.height()) / self.picture.1 as f64)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "pixels fit f32 exactly")]
    pub fn mapping(&self) -> Mapping {
        let (x, y) = self.steps();
        Mapping { scale_x: x as f32, scale_y: y as f32, offset_x: self.crop.x0 as f32, offset_y: self.crop.y0 as f32 }
    }
}

/// The samples of a line under a box, and how much of the box each covers.
///
/// The box is `width` samples wide, at least one, about `centre` (clamped to the line), cut off at the line's ends; sample i covers
/// i − ½ … i + ½. A box one sample wide *is* linear interpolation between the two samples it touches; a wider one averages what lies
/// under it, so that nothing is skipped when a picture shrinks. Returns the first sample; `coverage` sums to 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "0 … 8192 after clamping")]
pub fn cover(centre: f64, width: f64, samples: usize, coverage: &mut Vec<f64>) -> usize {
    /// A sample touched by less than this is not touched: rounding must not cost a row.
    const LEAST: f64 = 1e-6;
    let last = (samples - 1) as f64;
    let (centre, half) = (centre.clamp(0.0, last), 0.5 * width.max(1.0));
    let (low, high) = ((centre - half).max(-0.5), (centre + half).min(last + 0.5));
    let first = (low + 0.5 + LEAST).floor().min(last);
    let end = (high + 0.5 - LEAST).ceil().clamp(first + 1.0, last + 1.0);
    coverage.clear();
    coverage.extend((first as usize..end as usize).map(|i| (high.min(i as f64 + 0.5) - low.max(i as f64 - 0.5)).max(0.0)));
    let sum: f64 = coverage.iter().sum();
    coverage.iter_mut().for_each(|c| *c /= sum);
    first as usize
}

/// Luma position of tensor pixel `destination` along an axis, in samples of the crop.
#[expect(clippy::cast_precision_loss, reason = "at most 8192")]
pub fn luma_source(destination: usize, step: f64) -> f64 {
    (destination as f64 + 0.5) * step - 0.5
}

/// How chroma samples lie among luma samples along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Siting {
    /// Luma samples to a chroma sample: 1 or 2.
    pub shared: u32,
    /// Luma position of chroma sample 0.
    pub first_at: f64,
}

impl Siting {
    pub fn across(layout: PixelLayout) -> Self {
        Self { shared: layout.luma_per_chroma().0, first_at: 0.0 }
    }
    /// Midway between the rows that share it.
    pub fn down(layout: PixelLayout) -> Self {
        let shared = layout.luma_per_chroma().1;
        Self { shared, first_at: f64::from(shared - 1) / 2.0 }
    }
    /// A luma position or length in chroma samples.
    pub fn position(self, luma: f64) -> f64 {
        (luma - self.first_at) / f64::from(self.shared)
    }
    pub fn length(self, luma: f64) -> f64 {
        luma / f64::from(self.shared)
    }
    pub fn samples(self, luma: usize) -> usize {
        luma.div_ceil(self.shared as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crop(width: u32, height: u32) -> PixelBounds {
        PixelBounds { x0: 10, y0: 20, x1: 10 + width, y1: 20 + height }
    }

    #[test]
    fn fixed_networks_scale_up_and_down_free_ones_only_down() {
        let fixed = Target::Fixed { width: 640, height: 640, stretch: false };
        assert_eq!(Geometry::new(fixed, crop(450, 550)).picture, (524, 640));
        assert_eq!(Geometry::new(fixed, crop(1920, 1080)).picture, (640, 360));
        let free = Target::Free { longest_px: 640, multiple_of: 32 };
        let small = Geometry::new(free, crop(200, 90));
        assert_eq!((small.picture, small.tensor), ((200, 90), (224, 96)));
        let large = Geometry::new(free, crop(1920, 1080));
        assert_eq!((large.picture, large.tensor), ((640, 360), (640, 384)));
        assert_eq!(Geometry::new(free, crop(8192, 2)).tensor, (640, 32));
        let stretch = Geometry::new(Target::Fixed { width: 320, height: 240, stretch: true }, crop(100, 400));
        assert_eq!(stretch.picture, (320, 240));
        let corner = stretch.mapping().point(Point { x: 320.0, y: 240.0 });
        assert!((corner.x - 110.0).abs() < 1e-4 && (corner.y - 420.0).abs() < 1e-4, "{corner:?}");
    }

    #[test]
    fn a_box_of_one_sample_is_linear_interpolation_and_a_wide_one_an_average() {
        let covered = |centre, width, samples| {
            let mut coverage = Vec::new();
            let first = cover(centre, width, samples, &mut coverage);
            (first, coverage.iter().map(|c| (c * 1e6).round() / 1e6).collect::<Vec<f64>>())
        };
        assert_eq!(covered(3.25, 0.4, 10), (3, vec![0.75, 0.25]));
        assert_eq!(covered(3.0, 1.0, 10), (3, vec![1.0]), "no second row is touched for nothing");
        assert_eq!(covered(-0.3, 1.0, 10), (0, vec![1.0]));
        assert_eq!(covered(9.7, 0.2, 10), (9, vec![1.0]));
        assert_eq!(covered(2.0, 4.0, 10), (0, vec![0.125, 0.25, 0.25, 0.25, 0.125]));
        assert_eq!(covered(0.0, 4.0, 10), (0, vec![0.4, 0.4, 0.2]), "cut off at the end");
        assert_eq!(covered(0.0, 4.0, 1), (0, vec![1.0]));
    }
}
