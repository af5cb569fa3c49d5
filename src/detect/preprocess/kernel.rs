//! The inner loops, in as many versions as there are instruction sets worth it.
//!
//! Two operations, both over one row:
//! - *blend*: weighted rows of bytes → one row of `i16` with 7 fractional bits, black taken off;
//! - *project*: one luma row, one Cb row, one Cr row → three rows of `f32`, resampled, converted, normalised, clamped.
//!
//! A [`Kernel`] that names an instruction set can only be had on a processor that has it: that is what the unsafe calls rest on. All
//! versions compute the same integers; their floats differ by rounding of fused multiply-adds only.

use super::portable;
use super::taps::{Across, Channel, Columns};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// A row of bytes and its weight out of 2¹⁵; `i16::MAX` is the whole.
#[derive(Clone, Copy, Default)]
pub struct WeightedRow<'a> {
    pub bytes: &'a [u8],
    pub weight: i16,
}

/// Rows to be summed at a time; `add`: onto what the output row already holds.
#[derive(Clone, Copy)]
pub struct Blend<'a> {
    pub rows: &'a [WeightedRow<'a>],
    pub add: bool,
    /// Taken off every sample first, so that black weighs nothing: 7 fractional bits.
    pub black: i16,
}

impl Blend<'_> {
    /// Bytes in each row, after checking that all rows have as many.
    pub fn row_bytes(&self) -> usize {
        let bytes = self.rows.first().map_or(0, |row| row.bytes.len());
        assert!(bytes > 0 && self.rows.iter().all(|row| row.bytes.len() == bytes), "rows of one plane");
        bytes
    }

    /// Whether there is one row that counts whole: no product is needed, and none would be exact.
    pub fn is_copy(&self) -> bool {
        matches!(self.rows, [WeightedRow { weight: i16::MAX, .. }]) && !self.add
    }
}

/// One output row: samples, and how they become pixels.
pub struct Projection<'a> {
    pub y: &'a [i16],
    pub u: &'a [i16],
    pub v: &'a [i16],
    pub across: &'a Across,
    /// Red, green, blue.
    pub channels: &'a [Channel; 3],
}

impl Projection<'_> {
    /// Checks what the vector paths rely on, once a row: that every sample the tables name, and every register that holds one, lies
    /// in its row, and that the three output rows are equally long.
    pub fn check(&self, outputs: [usize; 3]) -> usize {
        let [outputs, green, blue] = outputs;
        assert!(outputs == green && outputs == blue, "output rows differ in length");
        let (luma, chroma) = self.across.row_lens(outputs);
        assert!(self.y.len() >= luma && self.u.len() >= chroma && self.v.len() >= chroma, "sample rows are too short");
        if let Across::Resampled { luma, chroma } = self.across {
            for columns in [luma, chroma] {
                assert!(columns.first.len() >= outputs, "fewer table entries than outputs");
            }
        }
        outputs
    }
}

/// Three output rows of one length: red, green, blue.
pub type OutputRows<'a> = [&'a mut [f32]; 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// A version of the inner loops that this processor can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Isa);

impl Kernel {
    /// Every version this processor can run, slowest first. Never empty.
    pub fn available() -> Vec<Self> {
        let mut kernels = vec![Self(Isa::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 {
                kernels.push(Self(Isa::Avx2));
            }
            if avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                kernels.push(Self(Isa::Avx512));
            }
        }
        kernels
    }

    pub fn fastest() -> Self {
        Self::available().last().copied().unwrap_or(Self(Isa::Portable))
    }

    pub const fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
        }
    }

    /// Blends rows of one plane into `out`, which is one longer: the last sample is repeated there.
    pub fn blend(self, blend: Blend<'_>, out: &mut [i16]) {
        match self.0 {
            Isa::Portable => portable::blend(blend, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Kernel` of either kind exists only where `available` found AVX2 (the 512-bit kind needs it too).
            Isa::Avx2 | Isa::Avx512 => unsafe { avx2::blend(blend, out) },
        }
    }

    /// The same for interleaved Cb, Cr: even bytes to `cb`, odd ones to `cr`.
    pub fn blend_interleaved(self, blend: Blend<'_>, cb: &mut [i16], cr: &mut [i16]) {
        match self.0 {
            Isa::Portable => portable::blend_interleaved(blend, cb, cr),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `blend`.
            Isa::Avx2 | Isa::Avx512 => unsafe { avx2::blend_interleaved(blend, cb, cr) },
        }
    }

    pub fn project(self, row: &Projection<'_>, out: OutputRows<'_>) {
        match self.0 {
            Isa::Portable => portable::project(row, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this kind of `Kernel` exists only where `available` found AVX2 and FMA.
            Isa::Avx2 => unsafe { avx2::project(row, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this kind of `Kernel` exists only where `available` found AVX-512 F and BW, AVX2 and FMA.
            Isa::Avx512 => unsafe { avx512::project(row, out) },
        }
    }
}

/// Whether the windowed version may be used for these columns.
pub const fn windowed(columns: &Columns) -> bool {
    !columns.in_window.is_empty()
}
