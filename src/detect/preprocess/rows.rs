//! The decoder's rows, cropped and masked: the first code that reads a pixel.
//!
//! A row that lies wholly inside the area is handed out where the decoder left it. Of any other row only the inside spans are copied,
//! once, into a row of black; what is outside is never loaded. So nothing outside the area can reach an interpolated value (C08).
//! Rows whose samples do not lie side by side (packed and 16-bit layouts) are copied too, sample by sample, inside spans only: a row at
//! a time, which stays in the first-level cache, so that the vector loops know one kind of row.

use crate::area::{AreaMask, PixelBounds, Span};
use crate::frame::{PixelLayout, Pixels, Samples, upper_bits};

/// Which samples: a component's, or both chroma components' where they lie interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneRows {
    samples: Samples,
    /// In the rows that are handed out: 1, or 2 where chroma is interleaved.
    bytes_per_sample: usize,
    is_luma: bool,
}

/// How chroma is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chroma {
    /// There is none: neutral everywhere.
    None,
    /// Cb, Cr, Cb, Cr, …
    Interleaved(PlaneRows),
    Apart([PlaneRows; 2]),
}

impl PlaneRows {
    const fn one(samples: Samples, is_luma: bool) -> Self {
        Self { samples, bytes_per_sample: 1, is_luma }
    }

    pub const fn luma(layout: PixelLayout) -> Self {
        Self::one(layout.luma(), true)
    }

    pub fn chroma(layout: PixelLayout) -> Chroma {
        let [_, Some(cb), Some(cr)] = layout.components() else { return Chroma::None };
        if cb.shift == 0 && cb.pitch == 2 && (cb.plane, cb.first + 1) == (cr.plane, cr.first) {
            return Chroma::Interleaved(Self { samples: cb, bytes_per_sample: 2, is_luma: false });
        }
        Chroma::Apart([Self::one(cb, false), Self::one(cr, false)])
    }

    /// Whether rows can be handed out as they lie.
    const fn is_contiguous(self) -> bool {
        self.samples.shift == 0 && self.samples.pitch == self.bytes_per_sample
    }

    /// The samples that luma columns `start`…`end` (even, or the picture's end) stand on.
    const fn numbers(self, span: Span) -> std::ops::Range<usize> {
        self.samples.across(span.start)..self.samples.across(span.end)
    }

    /// Copies samples `numbers` of the plane's row `from` to `to`, which has room for just these.
    fn copy(self, from: &[u8], numbers: std::ops::Range<usize>, to: &mut [u8]) {
        let Samples { first, pitch, shift, .. } = self.samples;
        let from = &from[numbers.start * pitch..numbers.end * pitch];
        match (pitch, first) {
            _ if self.is_contiguous() => to.copy_from_slice(from),
            _ if shift > 0 => to.iter_mut().zip(from.as_chunks::<2>().0).for_each(|(to, &sample)| *to = upper_bits(sample, shift)),
            (2, 0) => every::<2, 0>(from, to),
            (2, 1) => every::<2, 1>(from, to),
            (3, 0) => every::<3, 0>(from, to),
            (3, 1) => every::<3, 1>(from, to),
            (3, 2) => every::<3, 2>(from, to),
            (4, 0) => every::<4, 0>(from, to),
            (4, 1) => every::<4, 1>(from, to),
            (4, 2) => every::<4, 2>(from, to),
            (4, 3) => every::<4, 3>(from, to),
            _ => to.iter_mut().enumerate().for_each(|(i, to)| *to = from[i * pitch + first]),
        }
    }
}

/// Byte `FIRST` of every `PITCH`: constants, so that it becomes a shuffle.
fn every<const PITCH: usize, const FIRST: usize>(from: &[u8], to: &mut [u8]) {
    to.iter_mut().zip(from.as_chunks::<PITCH>().0).for_each(|(to, pixel)| *to = pixel[FIRST]);
}

/// Masked copies of as many rows as one output row draws on; each remembers which row it holds.
#[derive(Default)]
pub struct MaskedRows {
    slots: Vec<Vec<u8>>,
    held: Vec<Option<usize>>,
}

impl MaskedRows {
    /// Forgets what is held (the next rows are of another frame or plane) and makes room for `rows` at a time.
    pub fn restart(&mut self, rows: usize) {
        if self.slots.len() < rows {
            self.slots.resize_with(rows, Vec::new);
        }
        self.held.clear();
        self.held.resize(self.slots.len(), None);
    }

    /// Overwrites what was copied.
    pub fn wipe(&mut self) {
        self.held.fill(None);
        self.slots.iter_mut().for_each(|slot| slot.fill(0));
    }

    #[cfg(test)]
    pub fn all_zero(&self) -> bool {
        self.slots.iter().flatten().all(|&byte| byte == 0)
    }

    /// Makes sure that `wanted` (crop-relative, not more than there is room for) can be had from [`Self::row`].
    pub fn hold(&mut self, source: &Source<'_>, rows: PlaneRows, wanted: std::ops::Range<usize>) {
        for row in wanted {
            let slot = row % self.slots.len();
            if self.held[slot] != Some(row) && source.direct(rows, row).is_none() {
                source.copy_masked(rows, row, &mut self.slots[slot]);
                self.held[slot] = Some(row);
            }
        }
    }

    /// A row that is held: where the decoder left it, or its masked copy.
    pub fn row<'a>(&'a self, source: &Source<'a>, rows: PlaneRows, row: usize) -> &'a [u8] {
        source.direct(rows, row).unwrap_or(&self.slots[row % self.slots.len()])
    }
}

/// The planes of one frame, seen through the crop and the mask.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub pixels: Pixels<'a>,
    pub mask: &'a AreaMask,
    pub crop: PixelBounds,
    /// Bytes of black: luma, chroma.
    pub black: (u8, u8),
}

impl<'a> Source<'a> {
    fn crop_span(&self) -> Span {
        Span { start: self.crop.x0, end: self.crop.x1 }
    }

    fn plane_row(&self, rows: PlaneRows, row: usize) -> &'a [u8] {
        let y = (self.crop.y0 / rows.samples.rows) as usize + row;
        &self.pixels.planes[rows.samples.plane][y * self.pixels.header.strides[rows.samples.plane]..]
    }

    /// The inside spans that cover a plane's row.
    #[expect(clippy::cast_possible_truncation, reason = "rows of a picture of at most 8192")]
    fn spans(&self, rows: PlaneRows, row: usize) -> &'a [Span] {
        self.mask.spans(self.crop.y0 + row as u32 * rows.samples.rows)
    }

    /// The crop's columns of a row where the decoder left them, if all of them are inside and lie side by side.
    pub fn direct(&self, rows: PlaneRows, row: usize) -> Option<&'a [u8]> {
        let whole = self.crop_span();
        let numbers = rows.numbers(whole);
        let bytes = numbers.start * rows.bytes_per_sample..numbers.end * rows.bytes_per_sample;
        let inside = rows.is_contiguous() && matches!(self.spans(rows, row), [span] if span.start <= whole.start && whole.end <= span.end);
        inside.then(|| &self.plane_row(rows, row)[bytes])
    }

    /// The crop's columns of a row, black but for the inside spans.
    fn copy_masked(&self, rows: PlaneRows, row: usize, to: &mut Vec<u8>) {
        let crop = rows.numbers(self.crop_span());
        to.clear();
        to.resize(crop.len() * rows.bytes_per_sample, if rows.is_luma { self.black.0 } else { self.black.1 });
        let from = self.plane_row(rows, row);
        for &span in self.spans(rows, row) {
            let numbers = rows.numbers(span);
            let place = (numbers.start - crop.start) * rows.bytes_per_sample..(numbers.end - crop.start) * rows.bytes_per_sample;
            rows.copy(from, numbers, &mut to[place]);
        }
    }
}
