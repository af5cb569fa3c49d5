//! What the kernels need of an instruction set, once for each.
//!
//! The kernels (`floats/vectors.rs`, `bytes/vectors.rs`) are written once over these two traits, inlined into functions that enable the instruction set.
//! Loads and stores are unaligned; they are as fast as aligned ones where the address is.
//!
//! Bytes lie in *lanes* of 16: instructions that widen and narrow work within a lane. The order that follows from that is not undone but put
//! into the weights (see `bytes.rs`), except where several pixels share a vector.

use std::arch::x86_64::*;

/// # Safety
/// All functions: the processor has the implementor's instruction set, and is in code that enables it; a pointer is valid for one
/// vector's values.
pub trait Floats: Copy {
    type V: Copy;
    /// fp32 values in a vector.
    const LANES: usize;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn zero() -> Self::V;
    /// a · b + c.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
}

/// # Safety
/// As for [`Floats`]; byte pointers are valid for one vector, [`Bytes::four`]'s for four bytes.
pub trait Bytes: Floats {
    type I: Copy;
    /// Pixels that [`super::bytes`] mixes at a time, per four vectors of results: as many as registers allow.
    const PIXELS: usize;
    unsafe fn zeros() -> Self::I;
    unsafe fn load_bytes(from: *const u8) -> Self::I;
    unsafe fn store_bytes(to: *mut u8, v: Self::I);
    /// Four bytes, in every place.
    unsafe fn four(from: *const u8) -> Self::I;
    /// sum + Σ of four products, unsigned by signed.
    unsafe fn dot(sum: Self::I, unsigned: Self::I, signed: Self::I) -> Self::I;
    /// As fp32.
    unsafe fn to_floats(v: Self::I) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn rounded(v: Self::V) -> Self::I;
    unsafe fn pack32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn pack16(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn low8(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn high8(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn low16(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn high16(a: Self::I, b: Self::I) -> Self::I;
    /// Four vectors of one pixel each (one vector a pixel) or two vectors each (two a pixel), after packing: pixel by pixel.
    unsafe fn four_pixels(v: Self::I) -> Self::I;
    unsafe fn two_pixels(v: Self::I) -> Self::I;
    /// The second to fourth quarter of `now`, the first of `next`; or the second half and the first.
    unsafe fn by_quarter(now: Self::I, next: Self::I) -> Self::I;
    unsafe fn by_half(now: Self::I, next: Self::I) -> Self::I;
}

macro_rules! operations {
    ($($name:ident($($arg:ident: $kind:ty),*) $(-> $result:ty)? = $body:expr;)*) => {$(
        #[inline(always)]
        unsafe fn $name($($arg: $kind),*) $(-> $result)? {
            // SAFETY: the caller has the instruction set, and its pointers are valid for what is read or written here: the traits' contract.
            unsafe { $body }
        }
    )*};
}

macro_rules! floats_of_256_bits {
    ($isa:ident) => {
        impl Floats for $isa {
            type V = __m256;
            const LANES: usize = 8;
            operations! {
                load(from: *const f32) -> __m256 = _mm256_loadu_ps(from);
                store(to: *mut f32, v: __m256) = _mm256_storeu_ps(to, v);
                splat(value: f32) -> __m256 = _mm256_set1_ps(value);
                zero() -> __m256 = _mm256_setzero_ps();
                fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
                max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
            }
        }
    };
}

/// AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2;

floats_of_256_bits!(Avx2);

/// AVX-512 F; for bytes also BW and VNNI.
#[derive(Clone, Copy)]
pub struct Avx512;

impl Floats for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    operations! {
        load(from: *const f32) -> __m512 = _mm512_loadu_ps(from);
        store(to: *mut f32, v: __m512) = _mm512_storeu_ps(to, v);
        splat(value: f32) -> __m512 = _mm512_set1_ps(value);
        zero() -> __m512 = _mm512_setzero_ps();
        fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
    }
}

impl Bytes for Avx512 {
    type I = __m512i;
    const PIXELS: usize = 4;
    operations! {
        zeros() -> __m512i = _mm512_setzero_si512();
        load_bytes(from: *const u8) -> __m512i = _mm512_loadu_si512(from.cast());
        store_bytes(to: *mut u8, v: __m512i) = _mm512_storeu_si512(to.cast(), v);
        four(from: *const u8) -> __m512i = _mm512_set1_epi32(from.cast::<i32>().read_unaligned());
        dot(sum: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i = _mm512_dpbusd_epi32(sum, unsigned, signed);
        to_floats(v: __m512i) -> __m512 = _mm512_cvtepi32_ps(v);
        rounded(v: __m512) -> __m512i = _mm512_cvtps_epi32(v);
        pack32(a: __m512i, b: __m512i) -> __m512i = _mm512_packs_epi32(a, b);
        pack16(a: __m512i, b: __m512i) -> __m512i = _mm512_packus_epi16(a, b);
        low8(a: __m512i, b: __m512i) -> __m512i = _mm512_unpacklo_epi8(a, b);
        high8(a: __m512i, b: __m512i) -> __m512i = _mm512_unpackhi_epi8(a, b);
        low16(a: __m512i, b: __m512i) -> __m512i = _mm512_unpacklo_epi16(a, b);
        high16(a: __m512i, b: __m512i) -> __m512i = _mm512_unpackhi_epi16(a, b);
        four_pixels(v: __m512i) -> __m512i =
            _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
        two_pixels(v: __m512i) -> __m512i = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), v);
        by_quarter(now: __m512i, next: __m512i) -> __m512i = _mm512_alignr_epi32::<4>(next, now);
        by_half(now: __m512i, next: __m512i) -> __m512i = _mm512_alignr_epi32::<8>(next, now);
    }
}

macro_rules! bytes_of_256_bits {
    ($isa:ident, $pixels:literal, $dot:ident, $($doc:literal),*) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy)]
        pub struct $isa;

        floats_of_256_bits!($isa);

        impl Bytes for $isa {
            type I = __m256i;
            const PIXELS: usize = $pixels;
            operations! {
                zeros() -> __m256i = _mm256_setzero_si256();
                load_bytes(from: *const u8) -> __m256i = _mm256_loadu_si256(from.cast());
                store_bytes(to: *mut u8, v: __m256i) = _mm256_storeu_si256(to.cast(), v);
                four(from: *const u8) -> __m256i = _mm256_set1_epi32(from.cast::<i32>().read_unaligned());
                dot(sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i = $dot(sum, unsigned, signed);
                to_floats(v: __m256i) -> __m256 = _mm256_cvtepi32_ps(v);
                rounded(v: __m256) -> __m256i = _mm256_cvtps_epi32(v);
                pack32(a: __m256i, b: __m256i) -> __m256i = _mm256_packs_epi32(a, b);
                pack16(a: __m256i, b: __m256i) -> __m256i = _mm256_packus_epi16(a, b);
                low8(a: __m256i, b: __m256i) -> __m256i = _mm256_unpacklo_epi8(a, b);
                high8(a: __m256i, b: __m256i) -> __m256i = _mm256_unpackhi_epi8(a, b);
                low16(a: __m256i, b: __m256i) -> __m256i = _mm256_unpacklo_epi16(a, b);
                high16(a: __m256i, b: __m256i) -> __m256i = _mm256_unpackhi_epi16(a, b);
                two_pixels(v: __m256i) -> __m256i = _mm256_permute4x64_epi64::<0b11_01_10_00>(v);
                by_half(now: __m256i, next: __m256i) -> __m256i = _mm256_permute2x128_si256::<0x21>(now, next);
            }
            // A pixel has at least 16 channels: two vectors of 32-bit sums, and half a vector of bytes.
            #[inline(always)]
            unsafe fn four_pixels(v: __m256i) -> __m256i {
                v
            }
            #[inline(always)]
            unsafe fn by_quarter(now: __m256i, _next: __m256i) -> __m256i {
                now
            }
        }
    };
}

bytes_of_256_bits!(Vnni256, 4, _mm256_dpbusd_epi32, "AVX-512 VNNI and VL on 256-bit vectors, of which there are 32 registers.");
bytes_of_256_bits!(AvxVnni, 2, _mm256_dpbusd_avx_epi32, "AVX-VNNI: the same on processors without AVX-512, with 16 registers.");
