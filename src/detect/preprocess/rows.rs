//! The decoder's rows, cropped and masked: the first code that reads a pixel.
//!
//! A row that lies wholly inside the area is handed out where the decoder left it. Of any other row only the inside spans are copied,
//! once, into a row of black; what is outside is never loaded. So nothing outside the area can reach an interpolated value (C08).

use crate::area::{AreaMask, PixelBounds, Span};
use crate::frame::{PixelLayout, Pixels};

/// Which samples: one byte a column (luma, or one chroma plane) or two (interleaved chroma).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneRows {
    plane: usize,
    /// Luma columns, and luma rows, that share a sample: 1 or 2.
    shared: u32,
    bytes_per_sample: usize,
}

impl PlaneRows {
    pub const LUMA: Self = Self { plane: 0, shared: 1, bytes_per_sample: 1 };

    /// The planes that hold chroma: one interleaved or two.
    pub fn chroma(layout: PixelLayout) -> &'static [Self] {
        const fn plane(plane: usize, shared: u32, bytes_per_sample: usize) -> PlaneRows {
            PlaneRows { plane, shared, bytes_per_sample }
        }
        const NV12: [PlaneRows; 1] = [plane(1, 2, 2)];
        const I420: [PlaneRows; 2] = [plane(1, 2, 1), plane(2, 2, 1)];
        const I444: [PlaneRows; 2] = [plane(1, 1, 1), plane(2, 1, 1)];
        match layout {
            PixelLayout::Nv12 => &NV12,
            PixelLayout::I420 => &I420,
            PixelLayout::I444 => &I444,
        }
    }

    /// Bytes of the plane's row that luma columns `start`…`end` (even, or the picture's end) stand on.
    fn bytes(self, span: Span) -> std::ops::Range<usize> {
        let at = |column: u32| column.div_ceil(self.shared) as usize * self.bytes_per_sample;
        at(span.start)..at(span.end)
    }
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
        let y = (self.crop.y0 / rows.shared) as usize + row;
        &self.pixels.planes[rows.plane][y * self.pixels.header.strides[rows.plane]..]
    }

    /// The inside spans that cover a plane's row.
    #[expect(clippy::cast_possible_truncation, reason = "rows of a picture of at most 8192")]
    fn spans(&self, rows: PlaneRows, row: usize) -> &'a [Span] {
        self.mask.spans(self.crop.y0 + row as u32 * rows.shared)
    }

    /// The crop's columns of a row where the decoder left them, if all of them are inside.
    pub fn direct(&self, rows: PlaneRows, row: usize) -> Option<&'a [u8]> {
        let whole = self.crop_span();
        let inside = matches!(self.spans(rows, row), [span] if span.start <= whole.start && whole.end <= span.end);
        inside.then(|| &self.plane_row(rows, row)[rows.bytes(whole)])
    }

    /// The crop's columns of a row, black but for the inside spans.
    fn copy_masked(&self, rows: PlaneRows, row: usize, to: &mut Vec<u8>) {
        let crop = rows.bytes(self.crop_span());
        to.clear();
        to.resize(crop.len(), if rows == PlaneRows::LUMA { self.black.0 } else { self.black.1 });
        let from = self.plane_row(rows, row);
        for &span in self.spans(rows, row) {
            let bytes = rows.bytes(span);
            to[bytes.start - crop.start..bytes.end - crop.start].copy_from_slice(&from[bytes]);
        }
    }
}
