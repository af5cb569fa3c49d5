//! Before it is trusted: the executor's answers beside ONNX Runtime's, on one picture, on this processor, at every start.
//!
//! The picture is drawn here, always the same: shades, edges, discs with darker spots, and grain, in a size whose every level has an odd side somewhere. All
//! numbers that the network says about it are compared, not only faces: a kernel that is wrong anywhere is wrong in some of some thousand cells.
//!
//! In 8 bits two questions are apart. Whether the kernels compute what they should: they are exact, so the portable ones must say the same, to the last digits.
//! Whether 8 bits say what fp32 says: beside ONNX Runtime, with a bound of its own for what lies in 0…1, where a bound for offsets would hold for anything.

use crate::engine::manifest::Manifest;
use crate::engine::processor::spent_ns;
use crate::engine::{EngineError, Network};

/// Of a network that takes any size.
const WIDTH: usize = 224;
const HEIGHT: usize = 160;
/// Runs of each when their speed is compared; the least of them counts.
const ROUNDS: usize = 5;

/// How far answers may lie apart.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub most: f32,
    pub mean: f32,
}

/// fp32 in another order: some units in the last place, through twenty layers.
pub const FP32: Bounds = Bounds { most: 2e-3, mean: 5e-5 };
/// 8 bits beside fp32: a step is about a hundredth of what is usual; what it costs in faces was measured when the ranges were taken.
/// Offsets lie up to 4 from 0 on this picture; seen on four networks: 0.24 and 0.051.
pub const INT8: Bounds = Bounds { most: 0.5, mean: 0.08 };
/// What was squashed into 0…1, in 8 bits beside fp32. The picture's discs are said to be faces with 0.99 of certainty; seen: 0.20 and 0.0092.
pub const INT8_SQUASHED: Bounds = Bounds { most: 0.3, mean: 0.015 };
/// 8 bits beside the same 8 bits in portable code: integers are exact, a head's last convolution is in fp32. Seen: 7.2e-7.
pub const SAME: Bounds = Bounds { most: 1e-5, mean: 1e-6 };

/// What the comparison showed, of the output that lies farthest apart.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    pub most: f32,
    pub mean: f32,
    /// ONNX Runtime's CPU time divided by the executor's, on this picture.
    pub times_as_fast: f64,
}

/// The drawn picture as the network's input, and its size.
pub fn picture(manifest: &Manifest) -> (Vec<f32>, usize, usize) {
    let input = &manifest.input;
    let side = |fixed: Option<u32>, free: usize| fixed.map_or(free, |side| side as usize);
    let (width, height) = (side(input.width, WIDTH), side(input.height, HEIGHT));
    let mut grain = 1_u32;
    let mut pixels = Vec::with_capacity(3 * width * height);
    for plane in 0..3 {
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            grain = grain.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (fx, fy) = (x as f32 / width as f32, y as f32 / height as f32);
            // A disc in every 56 × 56 pixels, lighter than what is behind it, with two spots where eyes would be and a bar below.
            let (dx, dy) = ((x % 56) as f32 - 28.0, (y % 56) as f32 - 28.0);
            let disc = if dx * dx + 0.7 * dy * dy < 300.0 { 70.0 } else { 0.0 };
            let eyes = if (dx.abs() - 7.0).powi(2) + (dy + 5.0).powi(2) < 8.0 { -90.0 } else { 0.0 };
            let mouth = if dx.abs() < 6.0 && (dy - 9.0).abs() < 1.5 { -60.0 } else { 0.0 };
            let edge = if (x + 3 * y) % 97 < 4 { 40.0 } else { 0.0 };
            let noise = (grain >> 24) as f32 / 16.0;
            let pixel = (60.0 + 50.0 * fx + 30.0 * fy + 8.0 * plane as f32 + disc + eyes + mouth + edge + noise).clamp(0.0, 255.0).round();
            pixels.push((pixel - input.mean[plane]) * input.scale[plane]);
        }
    }
    (pixels, width, height)
}

/// Runs both in turn. `Err`: why `candidate` is not to be trusted here. `bounds` of each output.
pub fn compare(candidate: &mut dyn Network, reference: &mut dyn Network, bounds: &dyn Fn(usize) -> Bounds) -> Result<Agreement, String> {
    let (most, mean) = agree(candidate, reference, bounds)?;
    let (pixels, width, height) = picture(candidate.manifest());
    let once = |network: &mut dyn Network| -> Result<f64, String> {
        let began = spent_ns();
        network.run(&pixels, [1, 3, height, width], &mut |_| ()).map_err(|error| error.to_string())?;
        Ok((spent_ns() - began).max(1) as f64)
    };
    let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        (ours, theirs) = (ours.min(once(candidate)?), theirs.min(once(reference)?));
    }
    Ok(Agreement { most, mean, times_as_fast: theirs / ours })
}

/// How far the answers lie apart, largest and mean, in the output where that is most. `Err`: where it is too much.
pub fn agree(candidate: &mut dyn Network, reference: &mut dyn Network, bounds: &dyn Fn(usize) -> Bounds) -> Result<(f32, f32), String> {
    let (pixels, width, height) = picture(candidate.manifest());
    let shape = [1, 3, height, width];
    let answers = |network: &mut dyn Network| -> Result<Vec<Vec<f32>>, EngineError> {
        let mut answers = Vec::new();
        network.run(&pixels, shape, &mut |outputs| answers = outputs.iter().map(|output| output.data.to_vec()).collect())?;
        Ok(answers)
    };
    let want = answers(reference).map_err(|error| error.to_string())?;
    let got = answers(candidate).map_err(|error| error.to_string())?;
    if !got.iter().map(Vec::len).eq(want.iter().map(Vec::len)) {
        return Err("it has other answers".into());
    }
    let (mut most, mut mean) = (0.0_f32, 0.0_f32);
    for (place, (got, want)) in got.iter().zip(&want).enumerate() {
        let (far, usual) = apart(got, want);
        let Bounds { most: at_most, mean: on_average } = bounds(place);
        // A NaN is not within bounds.
        if !(far <= at_most && usual <= on_average) {
            return Err(format!(
                "its answers of output {place} lie up to {far} apart, {usual} on average; {at_most} and {on_average} are allowed"
            ));
        }
        (most, mean) = (most.max(far), mean.max(usual));
    }
    Ok((most, mean))
}

/// Largest and mean difference of an output's numbers.
fn apart(got: &[f32], want: &[f32]) -> (f32, f32) {
    let mut most = 0.0_f32;
    let mut sum = 0.0_f64;
    for (got, want) in got.iter().zip(want) {
        let off = (got - want).abs();
        most = if off > most || off.is_nan() { off } else { most };
        sum += f64::from(off);
    }
    (most, (sum / got.len().max(1) as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Output;
    use crate::engine::known;
    use crate::engine::onnxruntime::{OnnxNetwork, initialise, library_path};

    /// Says the same of every picture.
    struct Fixed(Manifest, Vec<f32>);

    impl Network for Fixed {
        fn manifest(&self) -> &Manifest {
            &self.0
        }
        fn run(&mut self, _: &[f32], _: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
            read(&[Output { name: "x", shape: &[self.1.len()], data: &self.1 }]);
            Ok(())
        }
    }

    #[test]
    fn what_lies_apart_says_nothing_or_no_number_is_not_trusted() {
        let manifest = known::by_name("yunet-n-dynamic").expect("known");
        let network = |values: &[f32]| Fixed(manifest.clone(), values.to_vec());
        let compared = |values: &[f32]| compare(&mut network(values), &mut network(&[0.5, 1.0, 2.0]), &|_| FP32);
        let agreement = compared(&[0.5, 1.0001, 2.0]).expect("near");
        assert!((agreement.most - 1e-4).abs() < 1e-6 && agreement.times_as_fast > 0.0, "{agreement:?}");
        assert!(compared(&[0.5, 1.1, 2.0]).unwrap_err().contains("apart"));
        assert!(compared(&[0.5, 1.001, 2.001]).unwrap_err().contains("average"));
        assert!(compared(&[0.5, f32::NAN, 2.0]).is_err());
        assert!(compared(&[0.5, 1.0]).unwrap_err().contains("other answers"));
    }

    /// What would pass among offsets is no answer to whether there is a face.
    #[test]
    fn each_output_has_bounds_of_its_own() {
        let manifest = known::by_name("yunet-n-dynamic").expect("known");
        let network = |values: &[f32]| Fixed(manifest.clone(), values.to_vec());
        let agree = |bounds: Bounds| agree(&mut network(&[0.0, 0.0]), &mut network(&[0.4, 0.0]), &|_| bounds);
        assert!(agree(INT8).unwrap_err().contains("average") && agree(Bounds { mean: 1.0, ..INT8 }).is_ok());
        assert!(agree(Bounds { mean: 1.0, ..INT8_SQUASHED }).unwrap_err().contains("output 0"));
    }

    /// A score that is never said is far from one that is.
    #[test]
    fn a_network_that_sees_nobody_does_not_agree_with_one_that_sees_faces() {
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let manifest = std::fs::read_to_string(models.join("concourse-detector.toml")).expect("its manifest");
        let manifest = Manifest::from_toml(&manifest).expect("valid");
        let file = std::fs::read(models.join("concourse-detector.onnx")).expect("the bundled model");
        initialise(&library_path(None)).expect("ONNX Runtime is there");
        let mut runtime = OnnxNetwork::load(&file, &manifest, 1).expect("loads");
        let (pixels, width, height) = picture(&manifest);
        let mut highest = Vec::new();
        let read = &mut |outputs: &[Output<'_>]| highest = outputs.iter().map(|o| o.data.iter().fold(f32::MIN, |m, v| m.max(*v))).collect();
        runtime.run(&pixels, [1, 3, height, width], read).expect("runs");
        // cls_8, cls_16, cls_32, obj_8, obj_16: all but the largest faces are there.
        assert!(highest[..5].iter().all(|score| *score > 2.0 * INT8_SQUASHED.most), "{highest:?}");
    }

    #[test]
    fn the_picture_is_whole_bytes_in_the_networks_own_scale() {
        let mut manifest = known::by_name("yunet-n-dynamic").expect("known");
        let (pixels, width, height) = picture(&manifest);
        assert_eq!((pixels.len(), width % 32, height % 32), (3 * width * height, 0, 0));
        assert!(pixels.iter().all(|v| (0.0..=255.0).contains(v) && v.fract() == 0.0));
        let spread = pixels.iter().fold((255.0_f32, 0.0_f32), |(low, high), v| (low.min(*v), high.max(*v)));
        assert!(spread.0 < 60.0 && spread.1 > 220.0, "{spread:?}");
        (manifest.input.mean, manifest.input.scale) = ([127.0; 3], [1.0 / 128.0; 3]);
        assert_eq!(picture(&manifest).0[7], (pixels[7] - 127.0) / 128.0);
    }
}
