//! One pass from the decoder's planes to the detector's tensor: area mask, crop, letterbox or stretch, colour, normalisation.
//!
//! ```text
//! for each tensor row:                                   (units: bytes, 16-bit fixed point, f32)
//!   the luma rows and chroma rows it draws on            where the decoder left them, or a masked copy (rows.rs)
//!   blend:   vertical weights, black taken off           → one i16 row of Y, of Cb, of Cr, in the first-level cache
//!   project: horizontal weights, matrix, mean, scale     → three f32 rows of the tensor
//! ```
//!
//! Definition (the oracle in `oracle.rs` is this sentence in `f64`): outside the area luma becomes black and chroma neutral; each plane
//! is resampled, bilinearly where the picture grows and by the average under a pixel where it shrinks; then the matrix, a clamp to 0…255, and the manifest's
//! mean and scale. Padding, and whatever lies outside the area, is pixel value 0.
//!
//! Only rows and columns of the area's bounding box are read. After the first frame of a (area, size) pair nothing is allocated. What was
//! made of a frame stays until [`Preprocessor::wipe`], which the worker calls as soon as it has looked (C09). Owned by one worker.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod geometry;
mod kernel;
#[cfg(test)]
mod oracle;
mod portable;
mod rows;
mod taps;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::area::AreaMask;
use crate::engine::manifest::Input;
use crate::frame::{Colorimetry, PixelLayout, Pixels};

use super::mask_cache::MaskCache;

use geometry::Siting;
pub use geometry::{Geometry, Mapping, Target};
pub use kernel::Kernel;
use kernel::{Blend, Projection, WeightedRow};
use rows::{Chroma, MaskedRows, PlaneRows, Source};
pub use taps::Matrix;
use taps::{Across, Colour, Rows};

/// Rows that one call of a kernel sums.
const ROWS_AT_A_TIME: usize = 8;
/// Geometries kept per worker; beyond it the longest unused goes.
const PLANS: usize = 32;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PreprocessError {
    #[error("the manifest's `resize = \"aligned-crop\"` belongs to embedders: a detector needs `letterbox` or `stretch`")]
    NotADetector,
    #[error("the manifest's input of {width}×{height} is outside 1×1 … 4096×4096")]
    Size { width: u32, height: u32 },
    #[error("input_px = {longest_px}, multiple_of = {multiple_of}: need 1 ≤ multiple_of ≤ 1024 and multiple_of ≤ input_px ≤ 4096")]
    FreeSize { longest_px: u32, multiple_of: u32 },
    #[error("the manifest's mean {mean:?} and scale {scale:?} must be finite")]
    Normalisation { mean: [f32; 3], scale: [f32; 3] },
}

/// A tensor ready for the network, and the way back to the frame.
pub struct Prepared<'a> {
    /// NCHW.
    pub tensor: &'a [f32],
    pub shape: [usize; 4],
    pub mapping: Mapping,
    pub mask: &'a Arc<AreaMask>,
}

/// What is computed once per (crop, picture size, layout, colorimetry).
struct Plan {
    geometry: Geometry,
    layout: PixelLayout,
    colorimetry: Colorimetry,
    across: Across,
    luma_rows: Rows,
    chroma_rows: Rows,
    colour: Colour,
    used: u64,
}

/// Turns frames into tensors. One per worker and model.
pub struct Preprocessor {
    input: Input,
    target: Target,
    kernel: Kernel,
    masks: MaskCache,
    plans: Vec<Plan>,
    clock: u64,
    mask: Option<Arc<AreaMask>>,
    tensor: Vec<f32>,
    padded: Option<Padded>,
    /// Whether `tensor` and `scratch` hold anything of a frame.
    holds_pixels: bool,
    scratch: Scratch,
}

/// How the tensor was last padded: sizes of tensor and picture, and the value in each plane.
#[derive(Clone, Copy, PartialEq)]
struct Padded {
    tensor: (usize, usize),
    picture: (usize, usize),
    values: [f32; 3],
}

#[derive(Default)]
struct Scratch {
    y: Vec<i16>,
    u: Vec<i16>,
    v: Vec<i16>,
    luma: MaskedRows,
    chroma: [MaskedRows; 2],
}

impl Preprocessor {
    /// `input_px`: longest side for networks with a free input size.
    pub fn new(input: &Input, input_px: Option<u32>) -> Result<Self, PreprocessError> {
        Self::with_kernel(input, input_px, Kernel::fastest())
    }

    /// With a chosen version of the inner loops: tests and benchmarks compare them.
    pub fn with_kernel(input: &Input, input_px: Option<u32>, kernel: Kernel) -> Result<Self, PreprocessError> {
        let (mean, scale) = (input.mean, input.scale);
        if !mean.iter().chain(&scale).all(|v| v.is_finite()) {
            return Err(PreprocessError::Normalisation { mean, scale });
        }
        Ok(Self {
            input: input.clone(),
            target: Target::of(input, input_px)?,
            kernel,
            masks: MaskCache::default(),
            plans: Vec::new(),
            clock: 0,
            mask: None,
            tensor: Vec::new(),
            padded: None,
            holds_pixels: false,
            scratch: Scratch::default(),
        })
    }

    pub const fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The tensor for the signed part of a picture; `None` where no pixel is inside the area.
    pub fn prepare(&mut self, pixels: &Pixels<'_>) -> Option<Prepared<'_>> {
        let mask = self.masks.mask(pixels);
        let crop = mask.bounds()?;
        let geometry = Geometry::new(self.target, crop);
        let plan = self.plan(geometry, pixels.header.layout, pixels.header.colorimetry);
        self.pad(plan);
        let plan = &self.plans[plan];
        self.holds_pixels = true;
        let source = Source { pixels: *pixels, mask: &mask, crop, black: plan.colour.black_bytes };
        self.scratch.fit(plan);
        fill(self.kernel, &source, plan, &mut self.scratch, &mut self.tensor);
        let (width, height) = geometry.tensor;
        let mask = self.mask.insert(mask);
        Some(Prepared { tensor: &self.tensor, shape: [1, 3, height, width], mapping: geometry.mapping(), mask })
    }

    fn plan(&mut self, geometry: Geometry, layout: PixelLayout, colorimetry: Colorimetry) -> usize {
        self.clock += 1;
        if let Some(index) = self.plans.iter().position(|p| p.geometry == geometry && p.layout == layout && p.colorimetry == colorimetry) {
            self.plans[index].used = self.clock;
            return index;
        }
        if self.plans.len() >= PLANS
            && let Some(oldest) = (0..self.plans.len()).min_by_key(|&i| self.plans[i].used)
        {
            self.plans.swap_remove(oldest);
        }
        let across = Across::new(&geometry, layout);
        let colour = Colour::new(&self.input, colorimetry, &across);
        let (luma_rows, chroma_rows) = (Rows::luma(&geometry), Rows::chroma(&geometry, layout));
        self.plans.push(Plan { geometry, layout, colorimetry, across, luma_rows, chroma_rows, colour, used: self.clock });
        self.plans.len() - 1
    }

    /// Sizes the tensor and fills it with padding, unless the picture lies in it as the last one did.
    fn pad(&mut self, plan: usize) {
        let plan = &self.plans[plan];
        let wanted = Padded { tensor: plan.geometry.tensor, picture: plan.geometry.picture, values: plan.colour.padding() };
        if self.padded != Some(wanted) {
            let plane = wanted.tensor.0 * wanted.tensor.1;
            self.tensor.clear();
            for value in wanted.values {
                self.tensor.resize(self.tensor.len() + plane, value);
            }
            self.padded = Some(wanted);
        }
    }

    /// Overwrites whatever was made of a frame: the picture in the tensor becomes padding, copied rows become zeros.
    pub fn wipe(&mut self) {
        if !std::mem::take(&mut self.holds_pixels) {
            return;
        }
        if let Some(Padded { tensor: (stride, rows), picture: (width, height), values }) = self.padded {
            for (plane, value) in self.tensor.chunks_exact_mut((stride * rows).max(1)).zip(values) {
                plane.chunks_exact_mut(stride.max(1)).take(height).for_each(|row| row[..width].fill(value));
            }
        }
        let Scratch { y, u, v, luma, chroma } = &mut self.scratch;
        [y, u, v].into_iter().for_each(|row| row.fill(0));
        luma.wipe();
        chroma.iter_mut().for_each(MaskedRows::wipe);
        // Nobody reads these zeros: without this they need not be written.
        std::hint::black_box((&self.tensor, &self.scratch));
    }
}

impl Drop for Preprocessor {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl Scratch {
    fn fit(&mut self, plan: &Plan) {
        let (luma, chroma) = plan.across.row_lens(plan.geometry.crop.width() as usize);
        for (row, len) in [(&mut self.y, luma), (&mut self.u, chroma), (&mut self.v, chroma)] {
            if row.len() < len {
                row.resize(len, 0);
            }
        }
        self.luma.restart(plan.luma_rows.most);
        self.chroma.iter_mut().for_each(|rows| rows.restart(plan.chroma_rows.most));
    }
}

/// Calls `blend` with the weighted rows of one output row, a handful at a time.
fn each_blend(
    source: &Source<'_>,
    plane: PlaneRows,
    masked: &mut MaskedRows,
    (first, weights): (usize, &[i16]),
    black: i16,
    mut blend: impl FnMut(Blend<'_>),
) {
    masked.hold(source, plane, first..first + weights.len());
    for (chunk, weights) in weights.chunks(ROWS_AT_A_TIME).enumerate() {
        let mut rows = [WeightedRow::default(); ROWS_AT_A_TIME];
        for (i, (row, &weight)) in rows.iter_mut().zip(weights).enumerate() {
            *row = WeightedRow { bytes: masked.row(source, plane, first + chunk * ROWS_AT_A_TIME + i), weight };
        }
        blend(Blend { rows: &rows[..weights.len()], add: chunk > 0, black });
    }
}

fn fill(kernel: Kernel, source: &Source<'_>, plan: &Plan, scratch: &mut Scratch, tensor: &mut [f32]) {
    let Geometry { crop, picture: (width, height), tensor: (stride, tensor_height) } = plan.geometry;
    let crop_width = crop.width() as usize;
    let chroma_width = Siting::across(plan.layout).samples(crop_width);
    let (luma_plane, chroma_planes) = (PlaneRows::luma(plan.layout), PlaneRows::chroma(plan.layout));
    let (black_luma, black_chroma) = plan.colour.black;
    let Scratch { y, u, v, luma, chroma } = scratch;
    if chroma_planes == Chroma::None {
        // Neutral, whatever an earlier picture left here.
        u.fill(0);
        v.fill(0);
    }
    for destination in 0..height {
        let y_row = &mut y[..=crop_width];
        each_blend(source, luma_plane, luma, plan.luma_rows.of(destination), black_luma, |b| kernel.blend(b, y_row));

        let (u_row, v_row) = (&mut u[..=chroma_width], &mut v[..=chroma_width]);
        let taps = plan.chroma_rows.of(destination);
        match chroma_planes {
            Chroma::None => {}
            Chroma::Interleaved(plane) => {
                each_blend(source, plane, &mut chroma[0], taps, black_chroma, |b| kernel.blend_interleaved(b, u_row, v_row));
            }
            Chroma::Apart(planes) => {
                for ((masked, plane), out) in chroma.iter_mut().zip(planes).zip([u_row, v_row]) {
                    each_blend(source, plane, masked, taps, black_chroma, |b| kernel.blend(b, out));
                }
            }
        }
        let projection = Projection { y, u, v, across: &plan.across, channels: &plan.colour.channels };
        kernel.project(&projection, output_rows(tensor, stride * tensor_height, destination * stride, width, plan.colour.planes));
    }
}

/// The red, green and blue row that starts `start` values into each tensor plane.
fn output_rows(tensor: &mut [f32], plane: usize, start: usize, width: usize, planes: [usize; 3]) -> [&mut [f32]; 3] {
    let (first, rest) = tensor.split_at_mut(plane);
    let (second, third) = rest.split_at_mut(plane);
    let rows = [first, second, third].map(|plane| &mut plane[start..start + width]);
    // Planes stand red first or blue first; green is always in the middle.
    let [a, b, c] = rows;
    if planes[0] == 0 { [a, b, c] } else { [c, b, a] }
}
