//! Pictures in device memory: `FrameView` and `Normalise` of `kernels/detect/frame.cuh`, made of what the processor's code is given.

use placard::area::{Area, AreaMask};
use placard::clock::{CaptureTime, Stamp};
use placard::detect::preprocess::{Geometry, Matrix};
use placard::engine::manifest::{ChannelOrder, Input};
use placard::frame::{Colorimetry, FrameHeader, PixelLayout, Pixels, StreamIndex};

use crate::battery::Draw;
use crate::job::{Buffer, Job, bytes};

/// Bytes of a `FrameView`.
const VIEW_BYTES: usize = 112;

pub struct Picture {
    pub header: FrameHeader,
    pub planes: Vec<Vec<u8>>,
    pub area: Area,
}

impl Picture {
    /// Random samples; rows `slack` bytes further apart than they must be, and nothing behind the last row's last sample.
    pub fn new(
        draw: &mut Draw,
        (width, height): (u32, u32),
        layout: PixelLayout,
        colorimetry: Colorimetry,
        slack: usize,
        area: Area,
    ) -> Self {
        let sizes: Vec<(usize, usize)> = (0..layout.plane_count()).map(|plane| layout.plane_size(plane, width, height)).collect();
        let mut strides = [0; 3];
        strides.iter_mut().zip(&sizes).for_each(|(stride, (row, _))| *stride = row + slack);
        let planes = sizes.iter().map(|(row, rows)| (0..(row + slack) * (rows - 1) + row).map(|_| draw.byte()).collect()).collect();
        let at = Stamp::from_ns(0);
        let header = FrameHeader {
            stream: StreamIndex(0),
            sequence: 0,
            captured_at: CaptureTime::Arrival(at),
            arrived_at: at,
            width,
            height,
            layout,
            colorimetry,
            strides,
        };
        Self { header, planes, area }
    }

    /// The same inside the area; outside it every sample is another.
    pub fn scrambled_outside(&self, draw: &mut Draw) -> Self {
        let mask = self.mask();
        let mut planes = self.planes.clone();
        for (plane, samples) in planes.iter_mut().enumerate() {
            let is_pair = plane > 0 && self.header.layout == PixelLayout::Nv12;
            let stride = self.header.strides[plane];
            for (at, sample) in samples.iter_mut().enumerate() {
                let (row, column) = (at / stride, at % stride);
                let (x, y) = match plane {
                    0 => (column, row),
                    _ if is_pair => (column / 2 * 2, 2 * row),
                    _ => (2 * column, 2 * row),
                };
                if !mask.contains(u32::try_from(x).expect("small"), u32::try_from(y).expect("small")) {
                    *sample ^= draw.byte() | 1;
                }
            }
        }
        Self { header: self.header, planes, area: self.area.clone() }
    }

    pub fn mask(&self) -> AreaMask {
        self.area.rasterise(self.header.width, self.header.height)
    }

    pub fn pixels(&self) -> Pixels<'_> {
        let plane = |plane: usize| self.planes.get(plane).map_or(&[][..], Vec::as_slice);
        Pixels { header: &self.header, planes: [plane(0), plane(1), plane(2)], area: &self.area, area_epoch: 1 }
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).expect("small")
}

/// A bit for each 2 × 2 block, and the words of a row of them.
fn mask_bits(mask: &AreaMask) -> (Vec<u32>, usize) {
    let (across, down) = (mask.width().div_ceil(2), mask.height().div_ceil(2));
    let words = across.div_ceil(32) as usize;
    let mut bits = vec![0_u32; words * down as usize];
    for y in 0..down {
        for x in (0..across).filter(|x| mask.contains(2 * x, 2 * y)) {
            bits[y as usize * words + x as usize / 32] |= 1 << (x % 32);
        }
    }
    (bits, words)
}

/// One entry of a table.
pub struct Shown<'a> {
    pub picture: &'a Picture,
    /// What its crop becomes.
    pub geometry: Geometry,
    /// Without one all is said of the frame, but not where its luma lies.
    pub has_permit: bool,
}

/// A table of pictures.
#[expect(clippy::cast_possible_truncation, reason = "coefficients are rounded to f32")]
pub fn upload(job: &mut Job, pictures: &[Shown<'_>]) -> Buffer {
    let mut table = vec![0; VIEW_BYTES * pictures.len()];
    let mut pointers = Vec::new();
    for (index, Shown { picture, geometry, has_permit }) in pictures.iter().enumerate() {
        let header = &picture.header;
        let (bits, words) = mask_bits(&picture.mask());
        let planes: Vec<Buffer> = picture.planes.iter().map(|plane| job.input(plane.clone())).collect();
        let is_pair = header.layout == PixelLayout::Nv12;
        let cr = if is_pair { (planes[1], 1) } else { (planes[2], 0) };
        let mask = job.input(bytes(&bits, u32::to_le_bytes));
        let at = VIEW_BYTES * index;
        for (place, (buffer, offset)) in
            [(planes[0], 0), (planes[1], 0), cr, (mask, 0)].into_iter().enumerate().skip(usize::from(!has_permit))
        {
            pointers.push(((at + 8 * place) as u64, buffer, offset));
        }
        let crop = geometry.crop;
        let numbers = [
            number(header.strides[0]),
            number(header.strides[1]),
            if is_pair { 2 } else { 1 },
            number(words),
            header.width,
            header.height,
            crop.x0,
            crop.y0,
            crop.width(),
            crop.height(),
            number(geometry.picture.0),
            number(geometry.picture.1),
        ];
        let matrix = Matrix::new(header.colorimetry);
        let [[_, red_cr], [green_cb, green_cr], [blue_cb, _]] = matrix.chroma;
        let floats = [f64::from(matrix.black.0), f64::from(matrix.black.1), matrix.luma[0], red_cr, green_cb, green_cr, blue_cb, 0.0]
            .map(|v| v as f32);
        let fields = [bytes(&numbers, u32::to_le_bytes), bytes(&floats, f32::to_le_bytes)].concat();
        table[at + 32..at + VIEW_BYTES].copy_from_slice(&fields);
    }
    let table = job.input(table);
    pointers.into_iter().for_each(|(at, buffer, offset)| job.point(table, at, buffer, offset));
    table
}

/// `Normalise`.
pub fn normalise(job: &mut Job, input: &Input, channels: u32) -> Buffer {
    let mut fields = bytes(&[input.mean, input.scale].concat(), f32::to_le_bytes);
    fields.extend(u32::from(input.channels == ChannelOrder::Bgr).to_le_bytes());
    fields.extend(channels.to_le_bytes());
    job.input(fields)
}

/// Three corners of the picture, and a wedge cut out of what they span: not convex, nor along any row.
pub fn wedge() -> Area {
    Area::new(vec![vec![[0.05, 0.9], [0.5, 0.1], [0.95, 0.95], [0.5, 0.5]]]).expect("an area")
}
