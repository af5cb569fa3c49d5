//! A plane: the codes of all rows at one depth, laid out for a scan.
//!
//! ```text
//! block of 32 rows:  32 scales (u16) │ 32 residuals (u16) │ lines of 128 bytes
//! 4 bits: a line has 8 values of each row: byte 4·r + k has value k of row r in its low half and value 4 + k in its high half
//! 8 bits: a line has 4 values of each row: byte 4·r + k has value k of row r
//! ```
//!
//! A vector lane is a row, so that a sum needs nothing across lanes; a block is one run of memory. Rows that are not there have scale and
//! codes 0; their bit in [`super::filter`] is not set either.

use super::encode::{GROUP, Mark};
use super::region::{Kept, LINE_BYTES, NoMemory, Region};

/// Rows of a block: two vectors of 16 lanes.
pub(super) const BLOCK: usize = 32;
/// Bytes of a block's scales and residuals.
pub(super) const HEAD_BYTES: usize = 4 * BLOCK;
/// Bytes of one group of all rows.
pub(super) const STRIDE: usize = GROUP * BLOCK;

const _: () = assert!(HEAD_BYTES.is_multiple_of(LINE_BYTES) && STRIDE == 2 * LINE_BYTES);

/// Bits a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Nibble,
    Byte,
}

/// Pairs of groups that hold `dim` values: what a row is padded to.
pub(super) const fn pairs(dim: usize) -> usize {
    dim.div_ceil(2 * GROUP)
}

pub(super) struct Plane {
    region: Region,
    block_bytes: usize,
}

impl Plane {
    pub(super) fn new(depth: Depth, dim: usize, rows: usize) -> Result<Self, NoMemory> {
        let strides = match depth {
            Depth::Nibble => pairs(dim),
            Depth::Byte => 2 * pairs(dim),
        };
        let block_bytes = HEAD_BYTES + strides * STRIDE;
        Ok(Self { region: Region::new(rows.div_ceil(BLOCK) * (block_bytes / LINE_BYTES))?, block_bytes })
    }

    pub(super) const fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    pub(super) const fn kept(&self) -> Kept {
        self.region.kept()
    }

    /// Begins at a multiple of 64.
    #[inline]
    pub(super) fn block(&self, index: usize) -> &[u8] {
        &self.region.bytes()[index * self.block_bytes..(index + 1) * self.block_bytes]
    }

    /// Puts row `row` into its block.
    pub(super) fn put(&mut self, depth: Depth, row: usize, mark: Mark, codes: &[u8]) {
        let (bytes, place) = (self.block_bytes, row % BLOCK);
        let block = &mut self.region.bytes_mut()[row / BLOCK * bytes..][..bytes];
        let (head, lines) = block.split_at_mut(HEAD_BYTES);
        head[2 * place..][..2].copy_from_slice(&mark.scale.to_le_bytes());
        head[2 * (BLOCK + place)..][..2].copy_from_slice(&mark.residual.to_le_bytes());
        let at = GROUP * place;
        match depth {
            Depth::Nibble => {
                for (line, codes) in lines.chunks_exact_mut(STRIDE).zip(codes.chunks_exact(2 * GROUP)) {
                    let (low, high) = codes.split_at(GROUP);
                    line[at..at + GROUP].iter_mut().zip(low.iter().zip(high)).for_each(|(byte, (low, high))| *byte = low | high << 4);
                }
            }
            Depth::Byte => {
                for (line, codes) in lines.chunks_exact_mut(STRIDE).zip(codes.chunks_exact(GROUP)) {
                    line[at..at + GROUP].copy_from_slice(codes);
                }
            }
        }
    }
}

/// Scale and residual of the row at `place` of a block.
#[inline]
pub(super) fn mark(block: &[u8], place: usize) -> Mark {
    let half = |at: usize| u16::from_le_bytes([block[2 * at], block[2 * at + 1]]);
    Mark { scale: half(place), residual: half(BLOCK + place) }
}
