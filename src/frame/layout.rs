//! How a picture's samples lie in its planes: a table, not code.
//!
//! A picture has three components. Y'CbCr pictures: Y, Cb, Cr. R'G'B' pictures: G, B, R in their places, as ITU-T H.273 has it for the
//! identity matrix, so that whoever reads needs one formula for both. Each component's samples lie at a fixed pitch in one plane; chroma
//! may be shared by two columns and two rows. Whoever reads pictures reads them through [`Samples`], hence reads all of them: nothing has
//! to be converted before the area mask is applied (C08).

/// Names are GStreamer's. 8 bits a sample where nothing else is said; chroma sited left (MPEG-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelLayout {
    /// Plane 0: Y, full size. Plane 1: interleaved U, V at half width and half height. `Nv21`: V, U.
    Nv12,
    Nv21,
    /// As `Nv12`, U and V at half width only.
    Nv16,
    /// Planes Y, U, V; U and V at half width and half height. `Yv12`: planes Y, V, U.
    I420,
    Yv12,
    /// Planes Y, U, V; U and V at half width: 4:2:2 JPEG.
    Y42b,
    /// Planes Y, U, V, all full size: still pictures, whose chroma need not be halved.
    I444,
    /// One plane: Y U Y V (USB cameras), or U Y V Y (capture cards), or Y V Y U; 4:2:2.
    Yuy2,
    Uyvy,
    Yvyu,
    /// Luma alone.
    Gray8,
    /// As `Nv12`, 16 bits a sample, little-endian, the upper 10 used.
    P010,
    /// Planes, 16 bits a sample, little-endian, the lower 10 used; 4:2:0, 4:2:2, 4:4:4.
    I420Le10,
    I422Le10,
    Y444Le10,
    /// One plane: red, green, blue, or blue, green, red.
    Rgb,
    Bgr,
    /// The same with a fourth byte that is not read.
    Rgbx,
    Bgrx,
    Xrgb,
    Xbgr,
}

/// Where the samples of one component lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    pub plane: usize,
    /// Bytes from a row's first byte to its first sample; less than `pitch`.
    pub first: usize,
    /// Bytes from one sample to the next: 1 to 4.
    pub pitch: usize,
    /// Luma columns, and luma rows, that share a sample: 1 or 2.
    pub columns: u32,
    pub rows: u32,
    /// 0: a sample is a byte. Otherwise it is a little-endian 16-bit number, and this many bits below its upper eight are left out.
    pub shift: u32,
}

impl Samples {
    /// Sample `number` of a row, its upper eight bits.
    pub fn of(&self, row: &[u8], number: usize) -> u8 {
        let at = number * self.pitch + self.first;
        if self.shift == 0 { row[at] } else { upper_bits([row[at], row[at + 1]], self.shift) }
    }
    /// Samples in a row of `width` luma columns.
    pub const fn across(&self, width: u32) -> usize {
        width.div_ceil(self.columns) as usize
    }
    /// Rows of samples in a picture of `height` rows.
    pub const fn down(&self, height: u32) -> usize {
        height.div_ceil(self.rows) as usize
    }
}

/// The upper eight bits of a number of 8 + `shift` bits. What has more bits than it should is as bright as can be.
pub fn upper_bits(sample: [u8; 2], shift: u32) -> u8 {
    u8::try_from(u16::from_le_bytes(sample) >> shift).unwrap_or(u8::MAX)
}

const fn at(plane: usize, first: usize, pitch: usize) -> Samples {
    Samples { plane, first, pitch, columns: 1, rows: 1, shift: 0 }
}
const fn shared(columns: u32, rows: u32, samples: Samples) -> Samples {
    Samples { columns, rows, ..samples }
}
const fn low10(plane: usize) -> Samples {
    Samples { shift: 2, ..at(plane, 0, 2) }
}
/// One plane of `pitch` bytes a pixel, with red, green and blue at these places.
const fn rgb(pitch: usize, red: usize, green: usize, blue: usize) -> [Option<Samples>; 3] {
    [Some(at(0, green, pitch)), Some(at(0, blue, pitch)), Some(at(0, red, pitch))]
}
const fn yuv(luma: Samples, columns: u32, rows: u32, cb: Samples, cr: Samples) -> [Option<Samples>; 3] {
    [Some(luma), Some(shared(columns, rows, cb)), Some(shared(columns, rows, cr))]
}

impl PixelLayout {
    pub const ALL: [Self; 21] = [
        Self::Nv12,
        Self::Nv21,
        Self::Nv16,
        Self::I420,
        Self::Yv12,
        Self::Y42b,
        Self::I444,
        Self::Yuy2,
        Self::Uyvy,
        Self::Yvyu,
        Self::Gray8,
        Self::P010,
        Self::I420Le10,
        Self::I422Le10,
        Self::Y444Le10,
        Self::Rgb,
        Self::Bgr,
        Self::Rgbx,
        Self::Bgrx,
        Self::Xrgb,
        Self::Xbgr,
    ];

    /// Y, Cb, Cr, or G, B, R. `None`: the layout has no such component, and it is neutral everywhere.
    pub const fn components(self) -> [Option<Samples>; 3] {
        match self {
            Self::Nv12 => yuv(at(0, 0, 1), 2, 2, at(1, 0, 2), at(1, 1, 2)),
            Self::Nv21 => yuv(at(0, 0, 1), 2, 2, at(1, 1, 2), at(1, 0, 2)),
            Self::Nv16 => yuv(at(0, 0, 1), 2, 1, at(1, 0, 2), at(1, 1, 2)),
            Self::I420 => yuv(at(0, 0, 1), 2, 2, at(1, 0, 1), at(2, 0, 1)),
            Self::Yv12 => yuv(at(0, 0, 1), 2, 2, at(2, 0, 1), at(1, 0, 1)),
            Self::Y42b => yuv(at(0, 0, 1), 2, 1, at(1, 0, 1), at(2, 0, 1)),
            Self::I444 => yuv(at(0, 0, 1), 1, 1, at(1, 0, 1), at(2, 0, 1)),
            Self::Yuy2 => yuv(at(0, 0, 2), 2, 1, at(0, 1, 4), at(0, 3, 4)),
            Self::Uyvy => yuv(at(0, 1, 2), 2, 1, at(0, 0, 4), at(0, 2, 4)),
            Self::Yvyu => yuv(at(0, 0, 2), 2, 1, at(0, 3, 4), at(0, 1, 4)),
            Self::Gray8 => [Some(at(0, 0, 1)), None, None],
            // The upper byte of each sample is all that is wanted of it.
            Self::P010 => yuv(at(0, 1, 2), 2, 2, at(1, 1, 4), at(1, 3, 4)),
            Self::I420Le10 => yuv(low10(0), 2, 2, low10(1), low10(2)),
            Self::I422Le10 => yuv(low10(0), 2, 1, low10(1), low10(2)),
            Self::Y444Le10 => yuv(low10(0), 1, 1, low10(1), low10(2)),
            Self::Rgb => rgb(3, 0, 1, 2),
            Self::Bgr => rgb(3, 2, 1, 0),
            Self::Rgbx => rgb(4, 0, 1, 2),
            Self::Bgrx => rgb(4, 2, 1, 0),
            Self::Xrgb => rgb(4, 1, 2, 3),
            Self::Xbgr => rgb(4, 3, 2, 1),
        }
    }

    /// Whether the components are G, B, R.
    pub const fn is_rgb(self) -> bool {
        matches!(self, Self::Rgb | Self::Bgr | Self::Rgbx | Self::Bgrx | Self::Xrgb | Self::Xbgr)
    }

    /// The component that every layout has: luma (G, which comes nearest to it, where pictures are red, green and blue).
    pub const fn luma(self) -> Samples {
        match self.components()[0] {
            Some(luma) => luma,
            None => at(0, 0, 1),
        }
    }

    /// Luma columns, and luma rows, that share a chroma sample.
    pub const fn luma_per_chroma(self) -> (u32, u32) {
        match self.components()[1] {
            Some(chroma) => (chroma.columns, chroma.rows),
            None => (2, 2),
        }
    }

    pub const fn plane_count(self) -> usize {
        let (mut count, mut component) = (0, 0);
        while component < 3 {
            if let Some(samples) = self.components()[component]
                && samples.plane >= count
            {
                count = samples.plane + 1;
            }
            component += 1;
        }
        count
    }

    /// (bytes of a row that carry pixels, rows) of `plane` for a picture of `width` × `height`. A row ends with a whole pitch.
    pub const fn plane_size(self, plane: usize, width: u32, height: u32) -> (usize, usize) {
        let (mut size, mut component) = ((0, 0), 0);
        while component < 3 {
            if let Some(samples) = self.components()[component]
                && samples.plane == plane
            {
                let bytes = samples.across(width) * samples.pitch;
                size = (if bytes > size.0 { bytes } else { size.0 }, samples.down(height));
            }
            component += 1;
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_s_samples_are_apart_and_within_their_rows() {
        for layout in PixelLayout::ALL {
            let (width, height) = (17, 19);
            let mut taken = std::collections::HashSet::new();
            for samples in layout.components().into_iter().flatten() {
                let (row_bytes, rows) = layout.plane_size(samples.plane, width, height);
                assert!(samples.plane < layout.plane_count() && samples.first < samples.pitch, "{layout:?}");
                assert_eq!(samples.down(height), rows, "{layout:?}: planes are not shared by components of different height");
                let bytes = if samples.shift == 0 { 1 } else { 2 };
                for n in 0..samples.across(width) {
                    for byte in 0..bytes {
                        let place = n * samples.pitch + samples.first + byte;
                        assert!(place < row_bytes, "{layout:?}");
                        assert!(taken.insert((samples.plane, place)), "{layout:?}: two samples in one place");
                    }
                }
            }
        }
    }

    #[test]
    fn planes_are_as_large_as_the_formats_say() {
        let sizes = |layout: PixelLayout| [0, 1, 2].map(|plane| layout.plane_size(plane, 17, 19));
        assert_eq!(sizes(PixelLayout::Nv12), [(17, 19), (18, 10), (0, 0)]);
        assert_eq!(sizes(PixelLayout::I420), [(17, 19), (9, 10), (9, 10)]);
        assert_eq!(sizes(PixelLayout::Y42b), [(17, 19), (9, 19), (9, 19)]);
        assert_eq!(sizes(PixelLayout::Yuy2), [(36, 19), (0, 0), (0, 0)]);
        assert_eq!(sizes(PixelLayout::P010), [(34, 19), (36, 10), (0, 0)]);
        assert_eq!(sizes(PixelLayout::I422Le10), [(34, 19), (18, 19), (18, 19)]);
        assert_eq!(sizes(PixelLayout::Bgr), [(51, 19), (0, 0), (0, 0)]);
        assert_eq!(PixelLayout::ALL.map(PixelLayout::plane_count), [2, 2, 2, 3, 3, 3, 3, 1, 1, 1, 1, 2, 3, 3, 3, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn ten_bits_lose_their_lowest_two() {
        assert_eq!([0x000_u16, 0x003, 0x3ff, 0x200, 0xffff].map(|v| upper_bits(v.to_le_bytes(), 2)), [0, 0, 255, 128, 255]);
    }
}
