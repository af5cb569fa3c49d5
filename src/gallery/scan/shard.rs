//! A shard: the rows of one purpose as they are, their planes, and what they are tagged with. Built once, then only read; wiped when it goes.

use zeroize::{Zeroize, Zeroizing};

use super::encode::{Codes, MAX_RESIDUAL, RESIDUAL_UNIT};
use super::filter::{Filter, Tag, Tags};
use super::kernel::Kernel;
use super::plane::{Depth, Plane};
use super::portable;
use super::query::NORM_TOLERANCE;
use super::region::{Kept, LANES, Line, NoMemory, Region};

/// Values of a row for which planes are built. Others are scanned as they are: such embeddings are toys.
pub(crate) const PLANE_DIMS: std::ops::RangeInclusive<usize> = 64..=1_024;

/// Why a row is no template.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error("has {found} values, the others have {want}")]
    Dimension { found: usize, want: usize },
    #[error("has norm {norm}, not 1: it is no embedding")]
    NotUnit { norm: f64 },
    #[error("has nearly all of its length in a few values (its 4-bit sketch is off by {residual}): it is no embedding")]
    Spiky { residual: f32 },
    #[error("cannot be added while the gallery is searched")]
    Busy,
}

/// Codes of both depths.
struct Planes {
    nibble: Plane,
    byte: Plane,
    codes: Codes,
}

pub(crate) struct Shard {
    dim: usize,
    per_row: usize,
    rows: Region,
    planes: Option<Planes>,
    /// Whom a row belongs to: slots, never falling.
    owners: Vec<u32>,
    tags: Tags,
    slots: usize,
    kernel: Kernel,
}

/// Whether `values` can be a row of `dim` values.
fn check_unit(values: &[f32], dim: usize) -> Result<(), Refused> {
    if values.len() != dim {
        return Err(Refused::Dimension { found: values.len(), want: dim });
    }
    let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    // A NaN or an infinity anywhere makes the comparison false.
    if (norm - 1.0).abs() <= NORM_TOLERANCE { Ok(()) } else { Err(Refused::NotUnit { norm }) }
}

/// Whether `values` can be a template, before it is enrolled.
pub(crate) fn check(values: &[f32]) -> Result<(), Refused> {
    let dim = values.len();
    check_unit(values, dim)?;
    if !PLANE_DIMS.contains(&dim) {
        return Ok(());
    }
    // No pages of its own for a row that is looked at once: what is copied is overwritten here.
    let per_row = dim.div_ceil(LANES);
    let mut lines = vec![Line([0.0; LANES]); per_row];
    lines.iter_mut().zip(values.chunks(LANES)).for_each(|(line, values)| line.0[..values.len()].copy_from_slice(values));
    let (nibble, _) = Kernel::best().encode(&lines, dim, &mut Codes::new(per_row));
    lines.iter_mut().for_each(|line| line.0.zeroize());
    let residual = f32::from(nibble.residual) * RESIDUAL_UNIT;
    if residual > MAX_RESIDUAL { Err(Refused::Spiky { residual }) } else { Ok(()) }
}

impl Shard {
    /// With room for `capacity` rows of `dim` values.
    pub(crate) fn with_capacity(kernel: Kernel, dim: usize, capacity: usize) -> Result<Self, NoMemory> {
        let per_row = dim.div_ceil(LANES);
        let planes = if PLANE_DIMS.contains(&dim) {
            let plane = |depth| Plane::new(depth, dim, capacity);
            Some(Planes { nibble: plane(Depth::Nibble)?, byte: plane(Depth::Byte)?, codes: Codes::new(per_row) })
        } else {
            None
        };
        let rows = Region::new(capacity * per_row)?;
        let (owners, tags) = (Vec::with_capacity(capacity), Tags::with_capacity(capacity));
        Ok(Self { dim, per_row, rows, planes, owners, tags, slots: 0, kernel })
    }

    /// Adds a row of slot `owner`: the last row's slot, or the next. The capacity must not be used up.
    pub(crate) fn push(&mut self, values: &[f32], owner: u32, tag: Tag) -> Result<(), Refused> {
        check_unit(values, self.dim)?;
        let row = self.owners.len();
        let lines = &mut self.rows.lines_mut()[row * self.per_row..(row + 1) * self.per_row];
        for (line, values) in lines.iter_mut().zip(values.chunks(LANES)) {
            line.0[..values.len()].copy_from_slice(values);
        }
        if let Some(planes) = &mut self.planes {
            let (nibble, byte) = self.kernel.encode(lines, self.dim, &mut planes.codes);
            let residual = f32::from(nibble.residual) * RESIDUAL_UNIT;
            if residual > MAX_RESIDUAL {
                return Err(Refused::Spiky { residual });
            }
            planes.nibble.put(Depth::Nibble, row, nibble, &planes.codes.nibbles);
            planes.byte.put(Depth::Byte, row, byte, &planes.codes.bytes);
        }
        self.owners.push(owner);
        self.tags.push(tag);
        self.slots = self.slots.max(owner as usize + 1);
        Ok(())
    }

    /// Adds row `row` of another shard of the same dimension.
    pub(crate) fn copy(&mut self, from: &Self, row: usize, owner: u32) -> Result<(), Refused> {
        let mut values: Zeroizing<Vec<f32>> = Zeroizing::new(Vec::with_capacity(from.per_row * LANES));
        values.extend(from.lines(row).iter().flat_map(|line| line.0).take(from.dim));
        self.push(&values, owner, from.tag(row))
    }

    /// Never looks at row `row` again. For the half that deletes in place; until it is there, galleries are loaded anew.
    #[cfg(test)]
    pub(crate) fn withdraw(&mut self, row: usize) {
        self.tags.withdraw(row);
    }

    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }

    pub(crate) const fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) const fn slots(&self) -> usize {
        self.slots
    }

    pub(crate) fn owner(&self, row: usize) -> u32 {
        self.owners[row]
    }

    pub(crate) fn tag(&self, row: usize) -> Tag {
        self.tags.tag(row)
    }

    pub(super) const fn tags(&self) -> &Tags {
        &self.tags
    }

    pub(super) const fn kernel(&self) -> Kernel {
        self.kernel
    }

    #[inline]
    pub(super) fn lines(&self, row: usize) -> &[Line] {
        &self.rows.lines()[row * self.per_row..(row + 1) * self.per_row]
    }

    /// How similar the rows of slot `owner` that `filter` takes are at most, looking at no other's. `None`: it has none, or `query` is none.
    pub(crate) fn score(&self, owner: u32, query: &[f32], filter: &Filter) -> Option<f32> {
        if query.len() != self.dim || query.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let mut lines = Zeroizing::new(vec![[0.0; LANES]; self.per_row]);
        lines.iter_mut().zip(query.chunks(LANES)).for_each(|(line, values)| line[..values.len()].copy_from_slice(values));
        let first = self.owners.partition_point(|o| *o < owner);
        let rows = (first..self.len()).take_while(|row| self.owners[*row] == owner).filter(|row| filter.takes(&self.tags.tag(*row)));
        let score = |row: usize| portable::dot_of(lines.iter().zip(self.lines(row)).map(|(q, line)| (*q, line.0)));
        rows.map(score).reduce(f32::max)
    }

    pub(super) fn plane(&self, depth: Depth) -> Option<&Plane> {
        self.planes.as_ref().map(|planes| match depth {
            Depth::Nibble => &planes.nibble,
            Depth::Byte => &planes.byte,
        })
    }

    /// Whether all of it stays out of swap and core dumps.
    pub(crate) fn is_locked(&self) -> bool {
        self.kept() > Kept::Swappable
    }

    /// The worst of all of it.
    pub(crate) fn kept(&self) -> Kept {
        let planes = self.planes.iter().flat_map(|planes| [planes.nibble.kept(), planes.byte.kept()]);
        planes.chain([self.rows.kept()]).min().unwrap_or(Kept::Swappable)
    }

    /// Bytes that a scan of all rows at `depth` reads.
    pub(crate) fn plane_bytes(&self, depth: Depth) -> usize {
        self.plane(depth).map_or(self.len() * self.per_row * 64, |plane| plane.block_bytes() * self.tags.blocks())
    }
}
