//! What this processor could do at most: products a second of one thread when nothing is loaded or stored. What kernels are measured by.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::time::Instant;

/// Independent sums: enough that none is waited for.
const SUMS: usize = 12;
const STEPS: u32 = 100_000;
const ROUNDS: usize = 20;

/// Multiplications and additions a second, both counted; `None` where the processor has no such instructions.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Peak {
    pub fp32: Option<f64>,
    pub int8: Option<f64>,
}

/// The best of some rounds.
#[cfg(target_arch = "x86_64")]
pub fn measure() -> Peak {
    let best = |operations: usize, round: &dyn Fn()| {
        let times = (0..ROUNDS).map(|_| {
            let began = Instant::now();
            round();
            began.elapsed().as_secs_f64()
        });
        operations as f64 * SUMS as f64 * f64::from(STEPS) / times.fold(f64::INFINITY, f64::min)
    };
    let has_512 = is_x86_feature_detected!("avx512f");
    let fp32 = if has_512 {
        // SAFETY: the processor has AVX-512 F.
        Some(best(2 * 16, &|| unsafe { floats_512() }))
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has AVX2 and FMA.
        Some(best(2 * 8, &|| unsafe { floats_256() }))
    } else {
        None
    };
    let int8 = if has_512 && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the processor has AVX-512 VNNI.
        Some(best(2 * 64, &|| unsafe { bytes_512() }))
    } else if is_x86_feature_detected!("avxvnni") && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX-VNNI.
        Some(best(2 * 32, &|| unsafe { bytes_256() }))
    } else {
        None
    };
    Peak { fp32, int8 }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn measure() -> Peak {
    Peak { fp32: None, int8: None }
}

macro_rules! sums {
    ($name:ident, $features:literal, $zero:expr, $splat:expr, $step:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        fn $name() {
            let mut sums = [$zero; SUMS];
            let factor = std::hint::black_box($splat);
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = $step!(*sum, factor);
                }
            }
            std::hint::black_box(&sums);
        }
    };
}

macro_rules! fma_512 {
    ($sum:expr, $factor:expr) => {
        _mm512_fmadd_ps($sum, $factor, $factor)
    };
}
macro_rules! fma_256 {
    ($sum:expr, $factor:expr) => {
        _mm256_fmadd_ps($sum, $factor, $factor)
    };
}
macro_rules! dot_512 {
    ($sum:expr, $factor:expr) => {
        _mm512_dpbusd_epi32($sum, $factor, $factor)
    };
}
macro_rules! dot_256 {
    ($sum:expr, $factor:expr) => {
        _mm256_dpbusd_avx_epi32($sum, $factor, $factor)
    };
}
sums!(floats_512, "avx512f", _mm512_setzero_ps(), _mm512_set1_ps(0.5), fma_512);
sums!(floats_256, "avx2,fma", _mm256_setzero_ps(), _mm256_set1_ps(0.5), fma_256);
sums!(bytes_512, "avx512f,avx512vnni", _mm512_setzero_si512(), _mm512_set1_epi8(1), dot_512);
sums!(bytes_256, "avx2,avxvnni", _mm256_setzero_si256(), _mm256_set1_epi8(1), dot_256);
