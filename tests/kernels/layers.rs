//! `kernels/engine` against the definitions of its operators, one output at a time, in `f64`. This is the twin: on the processor networks run in
//! ONNX Runtime, and the fused executor has no layer by itself.

use crate::battery::{Case, Draw, half_bits, half_value, prove};
use crate::job::{Job, Outputs, bytes};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Convolution,
    Depthwise,
    Most,
    Mean,
    Resize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Activation {
    None,
    Relu,
    Relu6,
    Prelu,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Residual {
    None,
    Before,
    After,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    operator: Operator,
    batch: usize,
    /// Height, width, channels.
    input: [usize; 3],
    out_channels: usize,
    kernel: [usize; 2],
    stride: usize,
    /// Top and left, bottom and right.
    pad: [usize; 4],
    has_bias: bool,
    activation: Activation,
    residual: Residual,
    /// Inputs that are NaN, one in so many; 0: none.
    nan_every: usize,
    /// Factor of all inputs.
    gain: f32,
}

const PLAIN: Shape = Shape {
    operator: Operator::Convolution,
    batch: 1,
    input: [5, 7, 8],
    out_channels: 8,
    kernel: [3, 3],
    stride: 1,
    pad: [1; 4],
    has_bias: true,
    activation: Activation::None,
    residual: Residual::None,
    nan_every: 0,
    gain: 1.0,
};

/// What a layer is given, as halves' values.
struct Given {
    input: Vec<u16>,
    weights: Vec<u16>,
    bias: Vec<f32>,
    slopes: Vec<f32>,
    residual: Vec<u16>,
}

impl Shape {
    /// Height and width of the output.
    fn output(&self) -> [usize; 2] {
        if self.operator == Operator::Resize {
            return [self.input[0] * self.stride, self.input[1] * self.stride];
        }
        [0, 1].map(|i| (self.input[i] + self.pad[i] + self.pad[2 + i] - self.kernel[i]) / self.stride + 1)
    }

    fn draw(&self, draw: &mut Draw) -> Given {
        let [height, width, channels] = self.input;
        let [out_height, out_width] = self.output();
        let taps = self.kernel[0] * self.kernel[1];
        let weights = match self.operator {
            Operator::Convolution => self.out_channels * taps * channels,
            Operator::Depthwise => taps * channels,
            _ => 0,
        };
        let outputs = self.batch * out_height * out_width * self.out_channels;
        let mut halves = |count: usize, gain: f32| (0..count).map(|_| half_bits(gain * draw.unit())).collect::<Vec<u16>>();
        let mut input = halves(self.batch * height * width * channels, self.gain);
        let (weights, residual) = (halves(weights, 0.5), halves(if self.residual == Residual::None { 0 } else { outputs }, 2.0));
        if self.nan_every > 0 {
            input.iter_mut().step_by(self.nan_every).for_each(|value| *value = 0x7e00);
        }
        let bias = if self.has_bias { (0..self.out_channels).map(|_| draw.unit()).collect() } else { Vec::new() };
        Given { input, weights, bias, slopes: (0..self.out_channels).map(|_| 0.3 * draw.unit()).collect(), residual }
    }

    /// The value before its end, and the sum of the products' sizes.
    fn value(&self, given: &Given, n: usize, y: usize, x: usize, o: usize) -> (f64, f64) {
        let [height, width, channels] = self.input;
        let input =
            |row: usize, column: usize, c: usize| f64::from(half_value(given.input[((n * height + row) * width + column) * channels + c]));
        if self.operator == Operator::Resize {
            return (input(y / self.stride, x / self.stride, o), 0.0);
        }
        let (mut sum, mut size, mut count, mut most) = (0.0, 0.0, 0.0, f64::NEG_INFINITY);
        for i in 0..self.kernel[0] {
            for j in 0..self.kernel[1] {
                let (row, column) = ((y * self.stride + i).checked_sub(self.pad[0]), (x * self.stride + j).checked_sub(self.pad[1]));
                let (Some(row), Some(column)) = (row.filter(|r| *r < height), column.filter(|c| *c < width)) else { continue };
                let tap = i * self.kernel[1] + j;
                let mut add = |product: f64| (sum, size) = (sum + product, size + product.abs());
                let weight = |at: usize| f64::from(half_value(given.weights[at]));
                match self.operator {
                    Operator::Convolution => {
                        let taps = self.kernel[0] * self.kernel[1];
                        (0..channels).for_each(|c| add(input(row, column, c) * weight((o * taps + tap) * channels + c)));
                    }
                    Operator::Depthwise => add(input(row, column, o) * weight(tap * channels + o)),
                    _ => add(input(row, column, o)),
                }
                let value = input(row, column, o.min(channels - 1));
                most = if value.is_nan() || f64::is_nan(most) { f64::NAN } else { most.max(value) };
                count += 1.0;
            }
        }
        match self.operator {
            Operator::Most => (most, 0.0),
            Operator::Mean => (sum / count, size / count),
            _ => (sum, size),
        }
    }

    /// The finished value, and how much it may be off before it is rounded to fp16.
    fn finished(&self, given: &Given, n: usize, y: usize, x: usize, o: usize) -> (f64, f64) {
        let [out_height, out_width] = self.output();
        let (sum, size) = self.value(given, n, y, x, o);
        let residual =
            given.residual.get(((n * out_height + y) * out_width + x) * self.out_channels + o).map_or(0.0, |r| f64::from(half_value(*r)));
        let mut value = sum + given.bias.get(o).map_or(0.0, |b| f64::from(*b));
        if self.residual == Residual::Before {
            value += residual;
        }
        value = match self.activation {
            Activation::None => value,
            Activation::Relu if value < 0.0 => 0.0,
            Activation::Relu6 if !value.is_nan() => value.clamp(0.0, 6.0),
            Activation::Prelu if value < 0.0 => value * f64::from(given.slopes[o]),
            _ => value,
        };
        if self.residual == Residual::After {
            value += residual;
        }
        (value, 1e-5 * size + 1e-6 * (value.abs() + residual.abs() + 1.0))
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).expect("small")
}

/// Buffers and the launch; the answer is wanted in fp16 and in f32.
fn launch(shape: &Shape, given: &Given) -> (Job, [crate::job::Buffer; 2]) {
    let [height, width, channels] = shape.input;
    let [out_height, out_width] = shape.output();
    let outputs = shape.batch * out_height * out_width * shape.out_channels;
    let mut job = Job::default();
    let numbers = [
        number(shape.batch),
        number(height),
        number(width),
        number(channels),
        number(out_height),
        number(out_width),
        number(shape.out_channels),
        number(shape.kernel[0]),
        number(shape.kernel[1]),
        number(shape.stride),
        number(shape.pad[0]),
        number(shape.pad[1]),
        match shape.activation {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Relu6 => 2,
            Activation::Prelu => 3,
        },
        u32::from(shape.residual == Residual::Before),
    ];
    let mut layer = vec![0; 56];
    layer.extend(bytes(&numbers, u32::to_le_bytes));
    let layer = job.input(layer);
    let halves = |values: &[u16]| bytes(values, u16::to_le_bytes);
    let floats = |values: &[f32]| bytes(values, f32::to_le_bytes);
    let inputs = [halves(&given.input), halves(&given.weights), floats(&given.bias), floats(&given.slopes), halves(&given.residual)];
    for (place, values) in inputs.into_iter().enumerate().filter(|(_, values)| !values.is_empty()) {
        let buffer = job.input(values);
        job.point(layer, 8 * place as u64, buffer, 0);
    }
    let out = [job.output(vec![0xcd; 2 * outputs]), job.output(vec![0xcd; 4 * outputs])];
    out.iter().zip([40, 48]).for_each(|(buffer, at)| job.point(layer, at, *buffer, 0));
    let (rows, per_thread) = (number(shape.batch * out_height * out_width), number(outputs));
    let (kernel, grid, block) = match shape.operator {
        Operator::Convolution => ("engine_convolution", [rows.div_ceil(64), number(shape.out_channels).div_ceil(64), 1], 128),
        Operator::Depthwise => ("engine_depthwise", [(per_thread / 8).div_ceil(96), 1, 1], 96),
        Operator::Most => ("engine_pool_most", [(per_thread / 2).div_ceil(64), 1, 1], 64),
        Operator::Mean => ("engine_pool_mean", [(per_thread / 2).div_ceil(64), 1, 1], 64),
        Operator::Resize => ("engine_resize", [(per_thread / 2).div_ceil(64), 1, 1], 64),
    };
    job.launch(kernel, grid, [block, 1, 1], &[layer.into()]);
    (job, out)
}

fn case(draw: &mut Draw, shape: Shape) -> Case {
    let given = shape.draw(draw);
    let (job, [out, out_f32]) = launch(&shape, &given);
    let [out_height, out_width] = shape.output();
    let mut expected = Vec::new();
    for n in 0..shape.batch {
        for y in 0..out_height {
            for x in 0..out_width {
                expected.extend((0..shape.out_channels).map(|o| shape.finished(&given, n, y, x, o)));
            }
        }
    }
    let check = move |outputs: &Outputs<'_>| {
        let (halves, floats) = (outputs.values(out, u16::from_le_bytes), outputs.f32s(out_f32));
        for (at, (want, off)) in expected.iter().enumerate() {
            let (rounded, whole) = (half_value(halves[at]), floats[at]);
            let is_same = if want.is_nan() { whole.is_nan() } else { (f64::from(whole) - want).abs() <= *off };
            let channel = at % shape.out_channels;
            let place = || format!("pixel {}, channel {channel}", at / shape.out_channels);
            if !is_same {
                return Err(format!("{}: {whole} instead of {want}", place()));
            }
            // The half is the f32, rounded once.
            if !(rounded.to_bits() == half_value(half_bits(whole)).to_bits() || (rounded.is_nan() && whole.is_nan())) {
                return Err(format!("{}: {whole} was rounded to {rounded}", place()));
            }
        }
        Ok(())
    };
    Case { name: format!("{shape:?}"), job, check: Box::new(check) }
}

fn convolutions() -> Vec<Shape> {
    use Activation::{Prelu, Relu, Relu6};
    vec![
        Shape { batch: 2, activation: Relu, ..PLAIN },
        // A product of one piece; a tile with one column more than it holds.
        Shape { kernel: [1, 1], pad: [0; 4], has_bias: false, ..PLAIN },
        Shape { input: [5, 5, 16], out_channels: 72, kernel: [1, 1], pad: [0; 4], activation: Prelu, ..PLAIN },
        Shape { input: [9, 11, 24], out_channels: 64, stride: 2, activation: Relu6, gain: 3.0, ..PLAIN },
        Shape { input: [10, 9, 8], out_channels: 16, stride: 2, pad: [0, 0, 1, 1], ..PLAIN },
        Shape {
            input: [6, 13, 16],
            out_channels: 24,
            kernel: [5, 3],
            pad: [2, 1, 2, 1],
            residual: Residual::Before,
            activation: Relu,
            ..PLAIN
        },
        Shape { batch: 3, input: [4, 5, 40], out_channels: 40, residual: Residual::After, activation: Prelu, ..PLAIN },
        // More pieces than stages, several tiles of rows.
        Shape { input: [9, 8, 64], out_channels: 64, ..PLAIN },
        // The last layer of an embedder: a matrix product.
        Shape { batch: 67, input: [1, 1, 200], out_channels: 40, kernel: [1, 1], pad: [0; 4], ..PLAIN },
        Shape { input: [1, 1, 8], pad: [1; 4], ..PLAIN },
        Shape { input: [8, 8, 8], nan_every: 101, activation: Relu6, ..PLAIN },
        // Beyond the largest half.
        Shape { input: [3, 3, 8], gain: 60_000.0, ..PLAIN },
    ]
}

fn others() -> Vec<Shape> {
    use Operator::{Depthwise, Mean, Most, Resize};
    let same = |operator, input: [usize; 3]| Shape { operator, input, out_channels: input[2], ..PLAIN };
    let pool = |operator, input| Shape { kernel: [2, 2], stride: 2, pad: [0; 4], has_bias: false, ..same(operator, input) };
    vec![
        Shape { batch: 2, activation: Activation::Relu, ..same(Depthwise, [7, 5, 16]) },
        Shape { stride: 2, activation: Activation::Prelu, residual: Residual::After, ..same(Depthwise, [9, 12, 24]) },
        Shape { kernel: [5, 5], pad: [2; 4], nan_every: 77, ..same(Depthwise, [3, 4, 8]) },
        // A whole picture under one kernel: the last layer of MobileFaceNet.
        Shape { batch: 5, kernel: [7, 7], pad: [0; 4], has_bias: false, ..same(Depthwise, [7, 7, 40]) },
        Shape { batch: 2, ..pool(Most, [8, 6, 16]) },
        Shape { nan_every: 23, ..pool(Most, [7, 9, 8]) },
        Shape { kernel: [3, 3], pad: [1; 4], activation: Activation::Relu, ..pool(Most, [7, 7, 8]) },
        Shape { kernel: [3, 3], pad: [1; 4], ..pool(Mean, [6, 5, 8]) },
        Shape { batch: 3, kernel: [7, 5], ..pool(Mean, [7, 5, 24]) },
        Shape { batch: 2, stride: 2, residual: Residual::After, has_bias: false, ..same(Resize, [4, 5, 16]) },
        Shape { stride: 3, activation: Activation::Relu, ..same(Resize, [3, 2, 8]) },
        Shape { stride: 1, has_bias: false, ..same(Resize, [1, 1, 8]) },
    ]
}

pub fn cases() -> Vec<Case> {
    let mut draw = Draw(47);
    convolutions().into_iter().chain(others()).map(|shape| case(&mut draw, shape)).collect()
}

#[test]
fn the_device_computes_layers_as_they_are_defined() {
    prove(&cases());
}
