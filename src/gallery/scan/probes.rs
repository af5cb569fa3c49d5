//! What the machine can do at most, for benches to hold the scan against: reading memory, multiplying bytes.

use super::region::{LINE_BYTES, NoMemory, Region};

/// Memory of a shard's kind, to be read from one end to the other.
pub(crate) struct Readable(Region);

impl Readable {
    /// `bytes`, rounded down to whole kilobytes, touched once.
    pub(crate) fn new(bytes: usize) -> Result<Self, NoMemory> {
        let mut region = Region::new(bytes / 1_024 * (1_024 / LINE_BYTES))?;
        region.bytes_mut().fill(1);
        Ok(Self(region))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.bytes().len()
    }

    /// Reads part `part` of `parts`; returns how many bytes that were.
    pub(crate) fn read(&self, part: usize, parts: usize) -> usize {
        let each = self.len() / parts / 1_024 * 1_024;
        let bytes = &self.0.bytes()[part * each..(part + 1) * each];
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512 F; the part begins at a multiple of 64 and is whole kilobytes long.
            std::hint::black_box(unsafe { wide::folded(bytes) });
            return each;
        }
        let (words, _) = bytes.as_chunks::<8>();
        std::hint::black_box(words.iter().fold(0, |all, word| all ^ u64::from_le_bytes(*word)));
        each
    }
}

/// Multiplies bytes in registers, `turns` times 1,024; `None` where the processor has no instruction for it. Returns how many products that were.
pub(crate) fn multiply(turns: u32) -> Option<u64> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the processor has both.
        std::hint::black_box(unsafe { wide::products(turns) });
        return Some(u64::from(turns) * 1_024);
    }
    let _ = turns;
    None
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod wide {
    use std::arch::x86_64::*;

    use super::LINE_BYTES;

    /// Lines in flight.
    const WIDTH: usize = 8;
    const AHEAD: usize = 4_096;

    /// # Safety
    /// The processor has AVX-512 F; `bytes` begins at a multiple of 64 and is a multiple of 512 long.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn folded(bytes: &[u8]) -> i64 {
        let mut sums = [_mm512_setzero_si512(); WIDTH];
        for lines in bytes.chunks_exact(WIDTH * LINE_BYTES) {
            for (number, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the load is one of the chunk's eight lines; the other is a hint, which reads nothing, whatever the address.
                unsafe {
                    let line = lines.as_ptr().add(number * LINE_BYTES);
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD).cast());
                    *sum = _mm512_xor_si512(*sum, _mm512_load_si512(line.cast()));
                }
            }
        }
        _mm512_reduce_add_epi64(sums.into_iter().reduce(|a, b| _mm512_xor_si512(a, b)).unwrap_or(_mm512_setzero_si512()))
    }

    /// Sixteen chains of sums, so that none waits for another.
    ///
    /// # Safety
    /// The processor has AVX-512 F and VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn products(turns: u32) -> i32 {
        let mut sums = [_mm512_setzero_si512(); 16];
        let (codes, query) = (_mm512_set1_epi8(std::hint::black_box(3)), _mm512_set1_epi8(std::hint::black_box(5)));
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, codes, query);
            }
            // SAFETY: nothing at all, which the compiler cannot know, so it leaves the turns in their order and number.
            unsafe { std::arch::asm!("", options(nomem, nostack, preserves_flags)) };
        }
        _mm512_reduce_add_epi32(sums.into_iter().reduce(|a, b| _mm512_add_epi32(a, b)).unwrap_or(_mm512_setzero_si512()))
    }
}
