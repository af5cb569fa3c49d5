//! A battery: cases of one kernel or of a chain of kernels, each with what its twin says. The same cases find out what a missing barrier breaks.

use crate::compiler::{Runner, runner};
use crate::job::{Job, Outputs, Site};

/// Whether what came out is right, or what is wrong with it.
pub type Check = Box<dyn Fn(&Outputs<'_>) -> Result<(), String>>;

pub struct Case {
    pub name: String,
    pub job: Job,
    pub check: Check,
}

impl Case {
    pub fn run(&self, runner: &Runner, left_out: Option<&Site>) -> Result<Vec<Site>, String> {
        self.job.run(runner, left_out, &self.check).map_err(|wrong| format!("{}: {wrong}", self.name))
    }
}

/// Runs all cases under all seeds; fails with everything that is wrong.
pub fn prove(cases: &[Case]) {
    let Some(runner) = runner() else { return };
    let wrong: Vec<String> = cases.iter().filter_map(|case| case.run(runner, None).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Numbers that look random and are the same each time (SplitMix64).
pub struct Draw(pub u64);

impl Draw {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % end as u64).expect("below a usize")
    }
    pub fn byte(&mut self) -> u8 {
        self.bits().to_be_bytes()[0]
    }
    /// −1…1.
    pub fn unit(&mut self) -> f32 {
        f32::from(u16::from_be_bytes([self.byte(), self.byte()])) / 32_768.0 - 1.0
    }
    /// Nearly normally distributed, deviation 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| 0.5 * self.unit()).sum()
    }
    /// A unit vector.
    pub fn direction(&mut self, dim: usize) -> Vec<f32> {
        let values: Vec<f32> = (0..dim).map(|_| self.normal()).collect();
        let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the format of embeddings")]
        values.iter().map(|v| (f64::from(*v) / norm) as f32).collect()
    }
}

/// The value of a 16-bit float.
pub fn half_value(bits: u16) -> f32 {
    let (sign, exponent, mantissa) = (f32::from(1 - 2 * i8::from(bits >> 15 == 1)), bits >> 10 & 31, f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * mantissa * 2.0_f32.powi(-24),
        31 if mantissa == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + mantissa / 1024.0) * 2.0_f32.powi(i32::from(exponent) - 15),
    }
}

/// The nearest 16-bit float, ties to even: by trying, which needs no cleverness.
pub fn half_bits(value: f32) -> u16 {
    if value.is_nan() {
        return 0x7e00;
    }
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = f64::from(value.abs());
    // Sizes rise with their bits; infinity stands where the next number would.
    let number = |bits: u16| if bits == 0x7c00 { 65_536.0 } else { f64::from(half_value(bits)) };
    let (mut low, mut high) = (0_u16, 0x7c00_u16);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if number(middle) <= size {
            low = middle;
        } else {
            high = middle;
        }
    }
    let (below, above) = (size - number(low), number(high) - size);
    let nearest = if below < above || (below == above && low % 2 == 0) { low } else { high };
    sign | nearest
}
