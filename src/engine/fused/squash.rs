//! 1 / (1 + e^−x), without branches, so that a compiler makes vectors of it.
//!
//! e^y = 2^n · 2^f with n whole and |f| ≤ ½; 2^f by its Taylor polynomial of the seventh degree, whose error stays under 2e-8 of the value.
//! A NaN stays one; beyond ±87 the value is that of ±87, which differs from 0 or 1 by less than 1.7e-38 or by nothing.

const LIMIT: f32 = 87.0;
/// 1.5 · 2²³: adding it leaves the nearest whole number in the lowest bits.
const WHOLE: f32 = 12_582_912.0;
/// ln(2)^i / i!, from the highest.
const TAYLOR: [f32; 8] =
    [1.525_273_4e-5, 1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 0.240_226_5, std::f32::consts::LN_2, 1.0];

#[inline(always)]
pub(super) fn squash(values: &mut [f32]) {
    for value in values {
        let y = -value.clamp(-LIMIT, LIMIT) * std::f32::consts::LOG2_E;
        let shifted = y + WHOLE;
        let fraction = y - (shifted - WHOLE);
        let power = TAYLOR.iter().skip(1).fold(TAYLOR[0], |sum, factor| sum * fraction + factor);
        // The whole part into the exponent: n + 127 lies in 1…253, so the sum cannot leave the exponent's bits.
        let scale = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
        *value = 1.0 / (1.0 + power * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::squash;

    #[test]
    fn it_is_the_logistic_function_to_the_last_digits_and_keeps_what_is_no_number() {
        for i in -2_000_000..2_000_000 {
            let x = i as f32 * 5e-5;
            let mut got = [x];
            squash(&mut got);
            let want = 1.0 / (1.0 + (-f64::from(x)).exp());
            let off = (f64::from(got[0]) - want).abs();
            assert!(off <= 2e-7 && off <= 1e-5 * want + 1e-37, "{x}: {} for {want}", got[0]);
        }
        let mut odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
        squash(&mut odd);
        assert!(odd[0].is_nan() && odd[1] == 1.0 && (0.0..1e-37).contains(&odd[2]) && odd[3] == 0.5, "{odd:?}");
    }
}
