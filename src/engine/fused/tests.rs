//! One battery for every version of the executor: against the plain network, against ONNX Runtime, over sizes, odd pictures and odd weights.

mod kernels;
mod onnxruntime;

use std::sync::Arc;

use super::FusedError;
use super::bytes::Bytes;
use super::execute::{Arithmetic, Executor};
use super::floats::Floats;
use super::graph::{Answer, Graph, HEAD, Head, STEM, Source, Stem, Unit};
use super::plain;
use super::quantise::{Ranges, quantise};

/// The same numbers on every machine.
pub(super) struct Numbers(pub u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
    /// −1 … 1.
    pub(super) fn float(&mut self) -> f32 {
        self.next() as f32 / (1_u32 << 30) as f32 - 1.0
    }
    pub(super) fn floats(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.float() * size).collect()
    }
    pub(super) fn picture(&mut self, width: usize, height: usize) -> Vec<f32> {
        (0..3 * width * height).map(|_| (self.next() % 256) as f32).collect()
    }
}

fn unit(numbers: &mut Numbers, name: &str, source: Source, inputs: usize, outputs: usize) -> Unit {
    let size = (3.0 / inputs as f32).sqrt();
    Unit {
        name: name.into(),
        source,
        inputs,
        outputs,
        mix: numbers.floats(outputs * inputs, size),
        mix_bias: numbers.floats(outputs, 0.3),
        look: numbers.floats(outputs * 9, 0.7),
        look_bias: numbers.floats(outputs, 0.3),
    }
}

/// All that the class knows: every pair of channels, pooling, two sums, a unit that three read, heads of two kinds.
pub(super) fn graph(seed: u64) -> Graph {
    let mut numbers = Numbers(seed);
    let n = &mut numbers;
    let stem = Stem { name: "stem".into(), weights: n.floats(STEM * 27, 0.01), bias: n.floats(STEM, 0.3) };
    let units = vec![
        unit(n, "0", Source::Stem, 16, 16),
        unit(n, "1", Source::Pooled(0), 16, 32),
        unit(n, "2", Source::Unit(1), 32, 16),
        unit(n, "3", Source::Unit(2), 16, 64),
        unit(n, "4", Source::Pooled(3), 64, 32),
        unit(n, "5", Source::Unit(4), 32, 32),
        unit(n, "6", Source::Unit(5), 32, 64),
        unit(n, "7", Source::Pooled(6), 64, 64),
        unit(n, "8", Source::Pooled(7), 64, 64),
        unit(n, "9", Source::Unit(8), 64, 64),
        unit(n, "10", Source::Sum { kept: 7, enlarged: 9 }, 64, 64),
        unit(n, "11", Source::Sum { kept: 6, enlarged: 10 }, 64, 16),
        unit(n, "12", Source::Unit(10), 64, 16),
    ];
    let mut head = |name: &str, from: usize| {
        let inputs = units[from].outputs;
        let (mix, mix_bias) = (n.floats(HEAD * inputs, 0.2), n.floats(HEAD, 0.3));
        let (look, look_bias) = (n.floats(HEAD * 9, 0.5), n.floats(HEAD, 0.3));
        Head { name: name.into(), from, inputs, mix, mix_bias, look, look_bias }
    };
    let heads = vec![head("large", 9), head("middle", 12), head("small", 11)];
    let answer = |name: &str, head, first, width, squashed| Answer { name: name.into(), head, first, width, squashed };
    let answers = vec![
        answer("a", 0, 0, 1, true),
        answer("b", 1, 15, 1, false),
        answer("c", 2, 2, 4, false),
        answer("d", 2, 6, 10, false),
        answer("e", 1, 0, 7, true),
    ];
    let graph = Graph { stem, units, heads, answers };
    graph.check().expect("of the class");
    graph
}

pub(super) fn run<A: Arithmetic>(graph: &Arc<Graph>, arithmetic: A, picture: &[f32], width: usize, height: usize) -> Vec<Vec<f32>> {
    let mut executor = Executor::new(Arc::clone(graph), Arc::new(arithmetic), width, height);
    executor.run(picture);
    let first = executor.answers().to_vec();
    executor.run(picture);
    assert!(executor.answers().iter().flatten().map(|v| v.to_bits()).eq(first.iter().flatten().map(|v| v.to_bits())), "runs alike");
    executor.wipe_answers();
    assert!(executor.answers().iter().flatten().all(|v| v.to_bits() == 0));
    first
}

/// Largest difference, relative to the largest value.
pub(super) fn apart(got: &[Vec<f32>], want: &[Vec<f32>]) -> f32 {
    assert!(got.iter().map(Vec::len).eq(want.iter().map(Vec::len)), "lengths");
    let largest = want.iter().flatten().fold(1.0_f32, |most, v| most.max(v.abs()));
    let differences =
        got.iter().flatten().zip(want.iter().flatten()).map(|(a, b)| if a.to_bits() == b.to_bits() { 0.0 } else { (a - b).abs() });
    differences.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most }) / largest
}

/// Rounding of sums of some hundred terms, through a dozen layers.
pub(super) const FLOATS_APART: f32 = 2e-5;
/// 8 bits are exact; only a head's 3 × 3 convolution is in fp32.
pub(super) const BYTES_APART: f32 = 2e-6;

const SIZES: [[usize; 2]; 9] = [[32, 32], [64, 32], [32, 64], [96, 64], [64, 96], [160, 96], [224, 32], [352, 64], [32, 416]];

#[test]
fn every_version_computes_what_the_plain_network_does_at_every_size() {
    let graph = Arc::new(graph(1));
    let mut numbers = Numbers(2);
    let mut ranges = Ranges::none(&graph);
    let side = if cfg!(miri) { 32 } else { 96 };
    plain::run(&graph, &numbers.picture(side, side), side, side, Some(&mut ranges));
    let network = quantise(&graph, &ranges).expect("fits");
    // Miri interprets: a thousand times as slow.
    let sizes = if cfg!(miri) { &SIZES[..1] } else { &SIZES[..] };
    for &[width, height] in sizes {
        let picture = numbers.picture(width, height);
        let bytes: Vec<u8> = picture.iter().map(|v| *v as u8).collect();
        let want = plain::run(&graph, &picture, width, height, None);
        let want_in_bytes = plain::run_quantised(&graph, &network, &bytes, width, height);
        assert!(cfg!(miri) || apart(&want_in_bytes, &want) < 0.1, "8 bits are near fp32: {}", apart(&want_in_bytes, &want));
        for name in Floats::available() {
            let got = run(&graph, Floats::new(&graph, Some(name)).expect("available"), &picture, width, height);
            assert!(apart(&got, &want) < FLOATS_APART, "{width} × {height}, {name}: {} apart", apart(&got, &want));
        }
        for name in Bytes::available() {
            let got = run(&graph, Bytes::new(&network, Some(name)).expect("available"), &picture, width, height);
            let apart = apart(&got, &want_in_bytes);
            assert!(apart < BYTES_APART, "{width} × {height}, {name}: {apart} apart");
        }
    }
}

#[test]
fn odd_pictures_give_what_the_plain_network_makes_of_them() {
    let graph = Arc::new(graph(3));
    let [width, height] = [96, 64];
    let mut ranges = Ranges::none(&graph);
    plain::run(&graph, &Numbers(4).picture(width, height), width, height, Some(&mut ranges));
    let network = quantise(&graph, &ranges).expect("fits");
    let count = 3 * width * height;
    let checks: Vec<f32> = (0..count).map(|i| if (i + i / width) % 2 == 0 { 0.0 } else { 255.0 }).collect();
    for (what, picture) in [("black", vec![0.0; count]), ("white", vec![255.0; count]), ("checks", checks), ("beyond", vec![1e4; count])] {
        let want = plain::run(&graph, &picture, width, height, None);
        for name in Floats::available() {
            let got = run(&graph, Floats::new(&graph, Some(name)).expect("available"), &picture, width, height);
            assert!(apart(&got, &want) < FLOATS_APART, "{what}, {name}: {}", apart(&got, &want));
        }
        let bytes: Vec<u8> = picture.iter().map(|v| v.clamp(0.0, 255.0) as u8).collect();
        let want = plain::run_quantised(&graph, &network, &bytes, width, height);
        for name in Bytes::available() {
            let got = run(&graph, Bytes::new(&network, Some(name)).expect("available"), &picture, width, height);
            assert!(apart(&got, &want) < BYTES_APART, "{what}, {name}: {}", apart(&got, &want));
        }
    }
}

#[test]
fn what_is_no_number_spreads_as_it_should_and_never_becomes_one_in_fp32() {
    let graph = Arc::new(graph(5));
    let [width, height] = [64, 64];
    let mut picture = Numbers(6).picture(width, height);
    let clean = plain::run(&graph, &picture, width, height, None);
    picture[20 * width + 31] = f32::NAN;
    let want = plain_spread(&graph, &picture, width, height);
    assert!(want.iter().flatten().any(|v| v.is_nan()), "it is seen");
    for name in Floats::available() {
        let got = run(&graph, Floats::new(&graph, Some(name)).expect("available"), &picture, width, height);
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            assert!(got.is_nan() || !want.is_nan(), "{name}: a number nobody computed");
        }
    }
    // In 8 bits it counts as black, like what lies below; what lies above counts as white.
    let mut ranges = Ranges::none(&graph);
    picture[20 * width + 31] = 0.0;
    plain::run(&graph, &picture, width, height, Some(&mut ranges));
    let network = quantise(&graph, &ranges).expect("fits");
    let wanted: Vec<u8> = picture.iter().map(|v| *v as u8).collect();
    let want = plain::run_quantised(&graph, &network, &wanted, width, height);
    for odd in [f32::NAN, f32::NEG_INFINITY, -3.0] {
        picture[20 * width + 31] = odd;
        for name in Bytes::available() {
            let got = run(&graph, Bytes::new(&network, Some(name)).expect("available"), &picture, width, height);
            assert!(apart(&got, &want) < BYTES_APART, "{odd}, {name}");
        }
    }
    assert!(clean.iter().flatten().all(|v| v.is_finite()));
}

/// Where a NaN must be seen: the cells that change when the pixel does.
fn plain_spread(graph: &Graph, picture: &[f32], width: usize, height: usize) -> Vec<Vec<f32>> {
    let portable = Floats::new(graph, Some("portable")).expect("always there");
    run(&Arc::new(graph.clone()), portable, picture, width, height)
}

#[test]
fn extreme_weights_are_computed_or_refused_by_name() {
    for (size, one, fits) in [(1e-30_f32, 0.5, true), (1e6, 0.5, true), (1e-3, 1e18, false)] {
        let mut graph = graph(7);
        graph.units[4].mix.iter_mut().for_each(|w| *w *= size);
        graph.units[5].look[3] = one;
        let graph = Arc::new(graph);
        let picture = Numbers(8).picture(64, 32);
        let mut ranges = Ranges::none(&graph);
        let want = plain::run(&graph, &picture, 64, 32, Some(&mut ranges));
        for name in Floats::available() {
            let got = run(&graph, Floats::new(&graph, Some(name)).expect("available"), &picture, 64, 32);
            assert!(apart(&got, &want) < 1e-3, "{size}, {name}: {}", apart(&got, &want));
        }
        let network = match quantise(&graph, &ranges) {
            Ok(network) => network,
            Err(FusedError::Ranges { node, .. }) if !fits && node == "5" => continue,
            Err(error) => panic!("{size}: {error}"),
        };
        assert!(fits, "a weight of 1e18 is not for 8 bits");
        let bytes: Vec<u8> = picture.iter().map(|v| *v as u8).collect();
        let want = plain::run_quantised(&graph, &network, &bytes, 64, 32);
        for name in Bytes::available() {
            let got = run(&graph, Bytes::new(&network, Some(name)).expect("available"), &picture, 64, 32);
            assert!(apart(&got, &want) < BYTES_APART, "{size}, {name}: {}", apart(&got, &want));
        }
    }
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut graph = graph(9);
        graph.units[6].look[17] = odd;
        let error = graph.check().unwrap_err();
        assert!(matches!(&error, FusedError::Unfit { node, .. } if node == "6") && error.to_string().contains("finite"), "{error}");
    }
}

#[test]
fn a_graph_that_does_not_fit_is_refused_by_the_nodes_name() {
    let refused = |change: &dyn Fn(&mut Graph), node: &str| {
        let mut graph = graph(10);
        change(&mut graph);
        match graph.check() {
            Err(FusedError::Unfit { node: named, .. }) => assert_eq!(named, node),
            other => panic!("{node}: {other:?}"),
        }
    };
    refused(&|g| g.units[4].source = Source::Unit(9), "4");
    refused(&|g| g.units[3].inputs = 24, "3");
    refused(&|g| g.units[10].source = Source::Sum { kept: 7, enlarged: 6 }, "10");
    refused(&|g| g.units[2].mix.truncate(7), "2");
    refused(&|g| g.heads[1].from = 40, "middle");
    refused(&|g| g.answers[3].width = 11, "d");
    refused(&|g| g.stem.bias.clear(), "stem");
    refused(&|g| g.units[9].source = Source::Pooled(8), "9");
}

#[test]
fn ranges_of_another_network_are_refused_and_a_table_survives_its_file() {
    let graph = graph(11);
    let mut ranges = Ranges::none(&graph);
    plain::run(&graph, &Numbers(12).picture(64, 64), 64, 64, Some(&mut ranges));
    let text = serde_json::to_string(&ranges).expect("serialises");
    assert_eq!(serde_json::from_str::<Ranges>(&text).expect("reads"), ranges);
    for change in [
        |r: &mut Ranges| drop(r.units.pop()),
        |r: &mut Ranges| r.units[3].name = "other".into(),
        |r: &mut Ranges| r.units[3].most[5] = f32::NAN,
        |r: &mut Ranges| r.units[10].sum_most.clear(),
        |r: &mut Ranges| r.stem.clear(),
    ] {
        let mut other = ranges.clone();
        change(&mut other);
        assert!(matches!(quantise(&graph, &other), Err(FusedError::Ranges { .. })));
    }
}
