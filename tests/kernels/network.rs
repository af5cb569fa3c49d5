//! A whole network through the kernels: the bundled detector on small pictures, against the same in f32, layer by layer (`src/engine/fused/plain.rs`, which its own
//! tests hold against ONNX Runtime).
//!
//! What a plan will do is done here by hand: channels padded to 8, weights repacked, each unit a product, then a depthwise convolution.

use placard::engine::fused::graph::{Graph, HEAD, STEM, Source};
use placard::engine::fused::{plain, read};
use placard::engine::manifest::Decode;
use placard::engine::onnx::ModelProto;
use prost::Message;

use crate::battery::{Case, Draw, half_bits, prove};
use crate::compiler::root;
use crate::job::{Buffer, Job, Outputs, bytes};

/// How far an output may be from f32, in units of the output or of 1, whichever is more: what twenty layers in fp16 (2⁻¹¹ each) may add up to.
const TOLERANCE: f32 = 0.02;

/// A tensor of the plan: height, width, channels.
#[derive(Clone, Copy)]
struct Tensor {
    buffer: Buffer,
    size: [usize; 3],
}

struct Plan {
    job: Job,
}

fn number(value: usize) -> u32 {
    u32::try_from(value).expect("small")
}

fn halves(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(|v| half_bits(v).to_le_bytes()).collect()
}

/// One layer: kernel size, stride and padding, weights in the kernels' order, bias.
#[derive(Default)]
struct Step<'a> {
    kernel: usize,
    stride: usize,
    pad: usize,
    weights: Vec<u8>,
    bias: &'a [f32],
    is_relu: bool,
    residual: Option<Buffer>,
    is_last: bool,
}

impl Plan {
    fn layer(&mut self, kernel: &str, from: Tensor, size: [usize; 3], step: Step<'_>) -> Tensor {
        let job = &mut self.job;
        let [height, width, channels] = size;
        let values = height * width * channels;
        let of = from.size;
        let numbers = [1, of[0], of[1], of[2], height, width, channels, step.kernel, step.kernel, step.stride, step.pad, step.pad];
        let mut layer = vec![0; 56];
        layer.extend(bytes(&numbers.map(number), u32::to_le_bytes));
        layer.extend(u32::from(step.is_relu).to_le_bytes());
        layer.extend(0_u32.to_le_bytes());
        let layer = job.input(layer);
        job.point(layer, 0, from.buffer, 0);
        for (at, values) in [(8, step.weights), (16, bytes(step.bias, f32::to_le_bytes))].into_iter().filter(|(_, v)| !v.is_empty()) {
            let buffer = job.input(values);
            job.point(layer, at, buffer, 0);
        }
        if let Some(residual) = step.residual {
            job.point(layer, 32, residual, 0);
        }
        // The last layers answer in f32, all others hand on halves.
        let buffer = if step.is_last { job.output(vec![0xcd; 4 * values]) } else { job.input(vec![0xcd; 2 * values]) };
        job.point(layer, if step.is_last { 48 } else { 40 }, buffer, 0);
        let (grid, block) = match kernel {
            "engine_convolution" => ([number(height * width).div_ceil(64), number(channels).div_ceil(64), 1], 128),
            "engine_depthwise" => ([number(values / 8).div_ceil(64), 1, 1], 64),
            _ => ([number(values / 2).div_ceil(128), 1, 1], 128),
        };
        job.launch(kernel, grid, [block, 1, 1], &[layer.into()]);
        Tensor { buffer, size }
    }

    /// 1 × 1, then 3 × 3 of each channel by itself.
    fn unit(&mut self, from: Tensor, outputs: usize, [mix, mix_bias, look, look_bias]: [&[f32]; 4], is_last: bool) -> Tensor {
        let size = [from.size[0], from.size[1], outputs];
        let mixing = Step { kernel: 1, stride: 1, weights: halves(mix.iter().copied()), bias: mix_bias, ..Step::default() };
        let mixed = self.layer("engine_convolution", from, size, mixing);
        let taps = (0..9).flat_map(|tap| (0..outputs).map(move |c| look[9 * c + tap]));
        let looking =
            Step { kernel: 3, stride: 1, pad: 1, weights: halves(taps), bias: look_bias, is_relu: !is_last, is_last, ..Step::default() };
        self.layer("engine_depthwise", mixed, size, looking)
    }

    /// The heads' outputs.
    fn network(&mut self, graph: &Graph, picture: &[f32], width: usize, height: usize) -> Vec<Tensor> {
        let plane = width * height;
        let padded = (0..plane).flat_map(|i| (0..8).map(move |c| if c < 3 { picture[c * plane + i] } else { 0.0 }));
        let from = Tensor { buffer: self.job.input(halves(padded)), size: [height, width, 8] };
        let weight = |o: usize, tap: usize, c: usize| if c < 3 { graph.stem.weights[o * 27 + c * 9 + tap] } else { 0.0 };
        let weights = (0..STEM).flat_map(|o| (0..9).flat_map(move |tap| (0..8).map(move |c| weight(o, tap, c))));
        let stem =
            Step { kernel: 3, stride: 2, pad: 1, weights: halves(weights), bias: &graph.stem.bias, is_relu: true, ..Step::default() };
        let stem = self.layer("engine_convolution", from, [height / 2, width / 2, STEM], stem);
        let mut units: Vec<Tensor> = Vec::new();
        for unit in &graph.units {
            let read = match unit.source {
                Source::Stem => stem,
                Source::Unit(of) => units[of],
                Source::Pooled(of) => {
                    let [height, width, channels] = units[of].size;
                    let step = Step { kernel: 2, stride: 2, ..Step::default() };
                    self.layer("engine_pool_most", units[of], [height / 2, width / 2, channels], step)
                }
                Source::Sum { kept, enlarged } => {
                    let step = Step { kernel: 1, stride: 2, residual: Some(units[kept].buffer), ..Step::default() };
                    self.layer("engine_resize", units[enlarged], units[kept].size, step)
                }
            };
            units.push(self.unit(read, unit.outputs, [&unit.mix, &unit.mix_bias, &unit.look, &unit.look_bias], false));
        }
        let head = |head: &placard::engine::fused::graph::Head| {
            self.unit(units[head.from], HEAD, [&head.mix, &head.mix_bias, &head.look, &head.look_bias], true)
        };
        graph.heads.iter().map(head).collect()
    }
}

fn detector() -> Graph {
    let file = std::fs::read(root().join("models/concourse-detector.onnx")).expect("the bundled detector");
    let model = ModelProto::decode(file.as_slice()).expect("an ONNX file");
    let names: Vec<String> = Decode::Yunet.output_names().into_iter().map(std::borrow::Cow::into_owned).collect();
    read::read(&model.graph.expect("a graph"), "input", &names).expect("of the class")
}

fn case(draw: &mut Draw, graph: &Graph, width: usize, height: usize) -> Case {
    let picture: Vec<f32> = (0..3 * width * height).map(|_| f32::from(draw.byte())).collect();
    let expected = plain::run(graph, &picture, width, height, None);
    let mut plan = Plan { job: Job::default() };
    let heads = plan.network(graph, &picture, width, height);
    let answers = graph.answers.clone();
    let check = move |outputs: &Outputs<'_>| {
        for (answer, expected) in answers.iter().zip(&expected) {
            let head = outputs.f32s(heads[answer.head].buffer);
            let got = head.chunks_exact(HEAD).flat_map(|cell| cell[answer.first..][..answer.width].iter().copied());
            let got: Vec<f32> = got.map(|v| if answer.squashed { 1.0 / (1.0 + (-v).exp()) } else { v }).collect();
            if got.len() != expected.len() {
                return Err(format!("{}: {} values instead of {}", answer.name, got.len(), expected.len()));
            }
            for (at, (got, want)) in got.iter().zip(expected).enumerate() {
                let is_near = (got - want).abs() <= TOLERANCE * want.abs().max(1.0);
                if !is_near {
                    return Err(format!("{}, value {at}: {got} instead of {want}", answer.name));
                }
            }
        }
        Ok(())
    };
    Case { name: format!("the bundled detector at {width} × {height}"), job: plan.job, check: Box::new(check) }
}

#[test]
fn the_bundled_detector_says_on_the_device_what_it_says_on_the_processor() {
    let (mut draw, graph) = (Draw(53), detector());
    prove(&[case(&mut draw, &graph, 32, 32), case(&mut draw, &graph, 96, 64)]);
}
