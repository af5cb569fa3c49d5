//! The scan: who of very many rows is most similar, exactly, at the speed of memory.
//!
//! Two steps. The first reads a *plane*: codes of 4 or 8 bits a value, in which a row takes an eighth or a quarter of its bytes, and computes for every row
//! and query the most that the exact score can be. The second scores the rows that may be good enough from their `f32` values. What comes out is
//! what scoring every row would have given: the same subjects in the same order with the same scores, bit for bit.
//!
//! **Why no row is missed.** Let t be a row, t̃ its codes' value, q and q̃ a query and its codes' value. Then
//!
//! ```text
//! q·t = q̃·t̃ + q̃·(t − t̃) + (q − q̃)·t  ≤  q̃·t̃ + |q̃| e_t + e_q |t|,      e_t ≥ |t − t̃|,  e_q = |q − q̃|,  |t| ≤ 1 + 10⁻⁴
//! q·t ≥ τ   ⇒   q̃·t̃ / |q̃| + e_t  ≥  (τ − e_q |t|) / |q̃|
//! ```
//!
//! by Cauchy and Schwarz. e_t is stored with the row, rounded up. q̃·t̃ is a whole number (below 2²⁴ for up to 1,024 values, so exact in `f32`) times the steps of
//! row and query. What `f32` adds: the score itself is off by at most (64 + 5) · 2⁻²⁴ · |q||t| < 4.2 · 10⁻⁶ (1,024 values in 16 partial sums); the
//! left side, whose terms are below 1.4, by three roundings; rise and floor by one each: below 10⁻⁶ in all. The floor is lowered by 8 · 10⁻⁶ before the division and again
//! after it. τ is the threshold, or the score of the k-th best subject so far, if that is higher.
//!
//! With a threshold the 4-bit plane is read, where a handful of rows in a million passes; without one, or with a low one, the 8-bit plane, where
//! some hundred do and the 4-bit plane would let tens of thousands through.
//!
//! Files: `region` memory · `encode` row to codes · `plane` codes in memory · `filter` who may be looked at · `query` queries to codes · `kernel`,
//! `portable`, `avx2`, `avx512` inner loops · `best` the best so far · `pass` one thread's way · `crew` threads · `shard` all that is built ·
//! `probes` what the machine can do at most · `twin` what `kernels/gallery` is compared with.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512;
mod best;
mod crew;
mod encode;
mod filter;
mod kernel;
mod pass;
mod plane;
mod portable;
pub(crate) mod probes;
mod query;
mod region;
mod shard;
#[doc(hidden)]
pub mod twin;

pub(crate) use crew::{Cost, Crew, Found, Search};
pub(crate) use filter::{Filter, Tag};
pub(crate) use kernel::Kernel;
pub(crate) use plane::Depth;
pub(crate) use query::MAX_QUERIES;
pub use region::{Kept, NoMemory};
pub use shard::Refused;
pub(crate) use shard::{PLANE_DIMS, Shard, check};

/// How well this machine, and the limits of this process, let `templates` templates of `dim` values be kept: tried on as much memory.
pub(crate) fn kept(dim: usize, templates: usize) -> Kept {
    let room = templates.clamp(1, region::SECRET_BYTES / (64 * dim.div_ceil(16).max(1)) + 1);
    Shard::with_capacity(Kernel::best(), dim, room).map_or(Kept::Swappable, |shard| shard.kept())
}

#[cfg(test)]
mod tests;
