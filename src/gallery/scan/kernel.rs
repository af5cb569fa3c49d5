//! The inner loops, chosen when the process first asks: AVX-512 with VNNI, AVX2, or portable code. Sums are whole numbers and exact scores add in a fixed
//! order, so all of them say the same.
//!
//! A [`Kernel`] of an instruction set exists only where the processor has it; the unsafe code of the vector files rests on that.

use super::encode::{self, Codes, Mark};
use super::plane::{BLOCK, Depth, HEAD_BYTES, STRIDE};
use super::portable;
use super::query::{Limit, TILE};
use super::region::Line;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::{avx2, avx512};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isa {
    Portable,
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx2,
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Avx512,
}

/// Made only by [`Kernel::all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel(Isa);

/// What comes next and is to be fetched meanwhile.
#[derive(Clone, Copy, Default)]
pub(super) struct Ahead {
    /// From the block's first byte to what is wanted; may lie behind the plane.
    pub(super) offset: usize,
    pub(super) lines: usize,
    /// Whether it is wanted a chunk later, and so fetched into the second cache only.
    pub(super) far: bool,
}

/// Some queries against one block.
pub(super) struct Round<'a> {
    pub(super) depth: Depth,
    pub(super) block: &'a [u8],
    /// Group after group, the tile's queries side by side.
    pub(super) packed: &'a [i32],
    /// One for each query of the tile.
    pub(super) limits: &'a [Limit],
    pub(super) ahead: Ahead,
}

/// What a kernel found in a block.
pub(super) struct Passed {
    /// For each query of the tile, a bit for each row of the block that may be good enough.
    pub(super) masks: [u32; TILE],
    /// Their sums; of queries whose mask is 0, nothing.
    pub(super) sums: [[i32; BLOCK]; TILE],
}

impl Passed {
    pub(super) const fn new() -> Self {
        Self { masks: [0; TILE], sums: [[0; BLOCK]; TILE] }
    }
}

impl Kernel {
    /// All that this processor can run, the best first.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let avx2 = is_x86_feature_detected!("avx2");
            if avx2 && wide() {
                all.push(Self(Isa::Avx512));
            }
            if avx2 {
                all.push(Self(Isa::Avx2));
            }
        }
        all.push(Self(Isa::Portable));
        all
    }

    pub(crate) fn best() -> Self {
        Self::all()[0]
    }

    pub(crate) const fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx2 => "avx2",
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx512 => "avx512-vnni",
        }
    }

    /// Codes and marks of a row of `dim` values.
    pub(super) fn encode(self, row: &[Line], dim: usize, codes: &mut Codes) -> (Mark, Mark) {
        match self.0 {
            Isa::Portable => encode::encode(row, dim, codes),
            // SAFETY: a kernel of this kind exists only where the processor has these instructions.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx2 => unsafe { avx2::encode(row, dim, codes) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx512 => unsafe { avx512::encode(row, dim, codes) },
        }
    }

    /// The exact score.
    #[inline]
    pub(super) fn dot(self, a: &[Line], b: &[Line]) -> f32 {
        match self.0 {
            Isa::Portable => portable::dot(a, b),
            // SAFETY: a kernel of this kind exists only where the processor has these instructions.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx2 => unsafe { avx2::dot(a, b) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx512 => unsafe { avx512::dot(a, b) },
        }
    }

    /// Which rows of a block each query of a tile has to look at.
    #[inline]
    pub(super) fn pass(self, round: &Round<'_>, passed: &mut Passed) {
        let width = round.limits.len();
        let strides = (round.block.len() - HEAD_BYTES) / STRIDE;
        let groups = match round.depth {
            Depth::Nibble => 2 * strides,
            Depth::Byte => strides,
        };
        // What the vector files rest on.
        assert!((1..=TILE).contains(&width) && round.packed.len() == groups * width && groups.is_multiple_of(2));
        match self.0 {
            Isa::Portable => portable::pass(round, passed),
            // SAFETY: the kernel exists, so the processor has the instructions; the lengths are checked above.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx2 => unsafe { avx2::pass(round, passed) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx512 => unsafe { avx512::pass(round, passed) },
        }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn wide() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni")
}
