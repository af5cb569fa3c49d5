//! Every kernel by itself, in every length up to some tiles: ends are where a vector goes wrong.

use super::Numbers;
use crate::engine::fused::graph::{CHANNELS, HEAD, STEM};
use crate::engine::fused::quantise::Rounded;
use crate::engine::fused::{bytes, floats};

const LENGTHS: std::ops::RangeInclusive<usize> = 1..=if cfg!(miri) { 3 } else { 37 };

fn rounded(numbers: &mut Numbers, outputs: usize, each: usize, scale: f32) -> Rounded {
    Rounded {
        weights: (0..outputs * each).map(|_| (numbers.next() % 255) as u8).map(|w| (i16::from(w) - 127) as i8).collect(),
        scale: (0..outputs).map(|_| scale * (1.0 + numbers.float())).collect(),
        bias: (0..outputs).map(|_| 100.0 + 100.0 * numbers.float()).collect(),
    }
}

fn some_bytes(numbers: &mut Numbers, count: usize) -> Vec<u8> {
    // Whole ranges, and often the ends of them.
    (0..count).map(|_| numbers.next()).map(|n| if n & 0x700 == 0 { 255 } else { n as u8 }).collect()
}

fn near(name: &str, got: &[f32], want: &[f32]) {
    for (place, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 1e-4 * want.abs().max(1.0), "{name}, place {place}: {got} for {want}");
    }
}

#[test]
fn mixing_fp32_is_the_same_in_every_version_and_length() {
    let mut numbers = Numbers(21);
    let portable = floats::tables()[0];
    for (inputs, outputs) in CHANNELS.into_iter().flat_map(|inputs| CHANNELS.map(|outputs| (inputs, outputs))) {
        let mix = floats::Mix::new(inputs, outputs, &numbers.floats(inputs * outputs, 1.0), &numbers.floats(outputs, 1.0));
        for n in LENGTHS {
            let pixels = numbers.floats(n * inputs, 1.0);
            let mut want = vec![0.0; n * outputs];
            for kernels in floats::tables() {
                // What a kernel leaves out stays no number.
                let mut got = vec![f32::NAN; n * outputs];
                // SAFETY: `tables` hands out what this processor has.
                unsafe {
                    (portable.mix)(&mix, &pixels, &mut want);
                    (kernels.mix)(&mix, &pixels, &mut got);
                }
                near(kernels.name, &got, &want);
            }
        }
    }
}

#[test]
fn looking_in_fp32_is_the_same_in_every_version_and_length() {
    let mut numbers = Numbers(22);
    let portable = floats::tables()[0];
    for (channels, relu) in CHANNELS.map(|c| (c, true)).into_iter().chain([(16, false)]) {
        let look = floats::Look::new(channels, &numbers.floats(channels * 9, 1.0), &numbers.floats(channels, 1.0), relu);
        for n in LENGTHS {
            let rows: [Vec<f32>; 4] = std::array::from_fn(|_| numbers.floats((n + 2) * channels, 1.0));
            let rows = [&*rows[0], &*rows[1], &*rows[2], &*rows[3]];
            let mut want = [vec![0.0; n * channels], vec![0.0; n * channels]];
            for kernels in floats::tables() {
                let mut got = [vec![f32::NAN; n * channels], vec![f32::NAN; n * channels]];
                let [one, other] = &mut want;
                // SAFETY: `tables` hands out what this processor has.
                unsafe { (portable.look)(&look, rows, [one, other]) };
                let [one, other] = &mut got;
                // SAFETY: as above.
                unsafe { (kernels.look)(&look, rows, [one, other]) };
                near(kernels.name, &got[0], &want[0]);
                near(kernels.name, &got[1], &want[1]);
            }
        }
    }
}

#[test]
fn mixing_bytes_gives_the_same_bits_in_every_version_and_length() {
    let mut numbers = Numbers(23);
    for (inputs, outputs) in CHANNELS.into_iter().flat_map(|inputs| CHANNELS.map(|outputs| (inputs, outputs))) {
        let plain = rounded(&mut numbers, outputs, inputs, 1e-3);
        let head = rounded(&mut numbers, HEAD, inputs, 1e-3);
        for n in LENGTHS {
            let pixels = some_bytes(&mut numbers, n * inputs);
            let mut answers: Vec<(Vec<u8>, Vec<f32>)> = Vec::new();
            for kernels in bytes::tables() {
                let (mut out, mut out_of_head) = (vec![7; n * outputs], vec![7.0; n * HEAD]);
                let mix = bytes::Mix::new(inputs, outputs, &plain, kernels.lanes, false);
                let head = bytes::Mix::new(inputs, HEAD, &head, kernels.lanes, true);
                // SAFETY: `tables` hands out what this processor has.
                unsafe {
                    (kernels.mix)(&mix, &pixels, &mut out);
                    (kernels.head)(&head, &pixels, &mut out_of_head);
                }
                answers.push((out, out_of_head));
                assert!(answers[0] == answers[answers.len() - 1], "{}: {n} pixels, {inputs} → {outputs}", kernels.name);
            }
            assert!(answers[0].0.iter().any(|v| *v > 0 && *v < 255), "something is told apart");
        }
    }
}

#[test]
fn looking_in_bytes_gives_the_same_bits_in_every_version_and_length() {
    let mut numbers = Numbers(24);
    for channels in CHANNELS {
        let plain = rounded(&mut numbers, channels, 9, 1e-2);
        for n in LENGTHS {
            let rows: [Vec<u8>; 4] = std::array::from_fn(|_| some_bytes(&mut numbers, (n + 2) * channels + 64));
            let rows = [&*rows[0], &*rows[1], &*rows[2], &*rows[3]];
            let mut answers: Vec<[Vec<u8>; 2]> = Vec::new();
            for kernels in bytes::tables() {
                let look = bytes::Look::new(channels, &plain, kernels.lanes);
                let mut out = [vec![7; n * channels], vec![7; n * channels]];
                let [one, other] = &mut out;
                // SAFETY: `tables` hands out what this processor has.
                unsafe { (kernels.look)(&look, rows, [one, other]) };
                answers.push(out);
                assert!(answers[0] == answers[answers.len() - 1], "{}: {n} pixels of {channels}", kernels.name);
            }
        }
    }
}

#[test]
fn stems_pools_sums_and_pixels_are_the_same_in_every_version() {
    let mut numbers = Numbers(25);
    let plain = rounded(&mut numbers, STEM, 27, 1e-3);
    for n in (8..=40).step_by(8) {
        let planes: [[Vec<u8>; 3]; 3] = std::array::from_fn(|_| std::array::from_fn(|_| some_bytes(&mut numbers, 2 * n + 2)));
        let rows = std::array::from_fn(|y: usize| std::array::from_fn(|p: usize| &*planes[y][p]));
        let (one, other) = (some_bytes(&mut numbers, n * 64), some_bytes(&mut numbers, n * 64));
        let odd = [f32::NAN, f32::INFINITY, -1.0, 0.5, 1.5, 254.5, 255.0, 256.0, 127.499];
        let pixels: Vec<f32> = (0..n).map(|i| odd.get(i).copied().unwrap_or(numbers.float() * 300.0)).collect();
        let mut answers: Vec<[Vec<u8>; 4]> = Vec::new();
        for kernels in bytes::tables() {
            let mut out = [vec![7; n * STEM], vec![7; n / 2 * 64], vec![7; n * 64], vec![7; n]];
            let [stemmed, pooled, summed, taken] = &mut out;
            // SAFETY: `tables` hands out what this processor has.
            unsafe {
                (kernels.stem)(&bytes::Stem::new(&plain, kernels.lanes), rows, stemmed);
                (kernels.pool)(64, [&one, &other], pooled);
                (kernels.sum)(64, &one, &other[..n / 2 * 64], summed);
                (kernels.take)(&pixels, taken);
            }
            assert_eq!(taken[..8.min(n)], [0, 255, 0, 0, 2, 254, 255, 255]);
            answers.push(out);
            assert!(answers[0] == answers[answers.len() - 1], "{}, {n} pixels", kernels.name);
        }
        assert_eq!(answers[0][2][64], one[64].saturating_add(other[0]), "the second pixel of two that share one");
    }
}
