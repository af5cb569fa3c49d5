//! From ONNX nodes to a [`Graph`]: what every value is, node by node; the first node that does not fit is named.
//!
//! Nothing is guessed: an operator, attribute or shape that is not listed here is refused, and the network then runs on ONNX Runtime. Shapes that the graph
//! computes for its own `Reshape` (free sizes) are followed only as far as their last number, which must be the answer's width.

use std::collections::HashMap;

use super::FusedError;
use super::graph::{Answer, Graph, HEAD, Head, STEM, Source, Stem, Unit};
use crate::engine::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto, element};

/// Convolutions that a network of the class may have. YuNet has 50; one node of some bytes in a file may ask for a copy of its weights.
const MOST_PAIRS: usize = 256;
/// Weights of one convolution: 64 channels from 64.
const MOST_WEIGHTS: i64 = 64 * 64;

/// What a value of the graph is.
#[derive(Clone, Copy, Debug)]
enum Value {
    Picture,
    /// The stem before its ReLU.
    StemConvolved,
    /// Something a unit can read.
    Readable(Source),
    /// A unit's output at twice its size.
    Enlarged(usize),
    /// After the 1 × 1 convolution: a place in `pairs`.
    Mixed(usize),
    /// After the 3 × 3 convolution.
    Looked(usize),
    Transposed(usize),
    Listed(usize),
    Squashed(usize),
    /// Numbers about shapes; the last of them, where it is known.
    Sizes(Option<i64>),
}

/// A 1 × 1 convolution and the 3 × 3 one behind it: a unit, or part of a head.
struct Pair {
    name: String,
    source: Source,
    inputs: usize,
    outputs: usize,
    mix: Vec<f32>,
    mix_bias: Vec<f32>,
    look: Vec<f32>,
    look_bias: Vec<f32>,
}

struct Reader<'g> {
    constants: HashMap<&'g str, &'g TensorProto>,
    values: HashMap<&'g str, Value>,
    stem: Option<Stem>,
    pairs: Vec<Pair>,
    units: Vec<Unit>,
}

/// `outputs`: the names of the outputs, in the order in which they are wanted.
pub fn read(graph: &GraphProto, input: &str, outputs: &[String]) -> Result<Graph, FusedError> {
    let mut constants: HashMap<&str, &TensorProto> = graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect();
    for node in graph.node.iter().filter(|node| node.op_type() == "Constant") {
        let value = node.attribute.iter().find(|attribute| attribute.name() == "value").and_then(|attribute| attribute.t.as_ref());
        if let (Some(name), Some(tensor)) = (node.output.first(), value) {
            constants.insert(name, tensor);
        }
    }
    let fed = graph.fed_inputs().into_iter().find(|fed| fed.name() == input);
    let Some(fed) = fed else { return Err(FusedError::Unfit { node: input.into(), reason: "the graph has no such input".into() }) };
    let mut reader = Reader { constants, values: HashMap::new(), stem: None, pairs: Vec::new(), units: Vec::new() };
    reader.values.insert(fed.name(), Value::Picture);
    for node in graph.node.iter().filter(|node| node.op_type() != "Constant") {
        let value = reader
            .value_of(node)
            .map_err(|reason| FusedError::Unfit { node: node.label().to_owned(), reason: format!("{}: {reason}", node.op_type()) })?;
        let [output] = node.output.as_slice() else {
            return Err(FusedError::Unfit { node: node.label().to_owned(), reason: "it has not one output".into() });
        };
        reader.values.insert(output, value);
    }
    reader.finish(outputs)
}

impl<'g> Reader<'g> {
    fn value_of(&mut self, node: &'g NodeProto) -> Result<Value, String> {
        match node.op_type() {
            "Conv" => self.convolution(node),
            "Relu" => self.relu(node),
            "MaxPool" => self.pool(node),
            "Resize" => self.enlarge(node),
            "Add" => self.sum(node),
            "Transpose" => match self.input(node, 0)? {
                Value::Looked(pair) if ints(node, "perm") == [0, 2, 3, 1] => Ok(Value::Transposed(pair)),
                _ => Err("only a head's channels are moved to the end".into()),
            },
            "Reshape" => self.reshape(node),
            "Sigmoid" => match self.input(node, 0)? {
                Value::Listed(pair) => Ok(Value::Squashed(pair)),
                _ => Err("only what a head says is squashed".into()),
            },
            "Shape" | "Gather" | "Unsqueeze" | "Cast" => Ok(Value::Sizes(None)),
            "Concat" => {
                let last = node.input.last().and_then(|name| self.constants.get(name.as_str())).and_then(|tensor| last_int(tensor));
                Ok(Value::Sizes(last))
            }
            _ => Err("this operator is not of the class".into()),
        }
    }

    fn input(&self, node: &NodeProto, place: usize) -> Result<Value, String> {
        let name = node.input.get(place).map_or("", String::as_str);
        self.values.get(name).copied().ok_or_else(|| format!("its input `{name}` is not one that is computed before"))
    }

    fn floats(&self, node: &NodeProto, place: usize) -> Result<(&'g [i64], Vec<f32>), String> {
        let name = node.input.get(place).map_or("", String::as_str);
        let tensor = self.constants.get(name).ok_or_else(|| format!("its input {place} (`{name}`) is no constant"))?;
        let count = tensor.dims.iter().try_fold(1i64, |product, dim| product.checked_mul(*dim));
        // Before anything is copied, or made as large as a dimension says.
        let held = tensor.raw_data.as_ref().map_or(0, Vec::len) / size_of::<f32>() + tensor.float_data.len();
        if tensor.dims.iter().any(|dim| *dim < 1) || held as i64 > MOST_WEIGHTS || count.is_none_or(|count| count > MOST_WEIGHTS) {
            return Err(format!("`{name}` has dimensions {:?} and {held} values: one at least, {MOST_WEIGHTS} at most", tensor.dims));
        }
        let values = tensor.floats().ok_or_else(|| format!("`{name}` is not fp32"))?;
        if count.and_then(|count| usize::try_from(count).ok()) != Some(values.len()) {
            return Err(format!("`{name}` does not hold as many values as its dimensions say"));
        }
        Ok((&tensor.dims, values))
    }

    fn convolution(&mut self, node: &'g NodeProto) -> Result<Value, String> {
        let (dims, weights) = self.floats(node, 1)?;
        let &[outputs, inputs, rows, columns] = dims else { return Err("its weights have not four dimensions".into()) };
        let (outputs, inputs) = (usize::try_from(outputs).unwrap_or(0), usize::try_from(inputs).unwrap_or(0));
        let bias = if node.input.len() > 2 { self.floats(node, 2)?.1 } else { vec![0.0; outputs] };
        if bias.len() != outputs {
            return Err("its bias has another length than its outputs".into());
        }
        let (group, strides, pads) = (int(node, "group").unwrap_or(1), ints(node, "strides"), ints(node, "pads"));
        let plain = ints(node, "dilations").iter().all(|d| *d == 1) && text(node, "auto_pad").is_none_or(|t| t == "NOTSET");
        let is_stride = |n: i64| if strides.is_empty() { n == 1 } else { *strides == [n, n] };
        let is_pad = |n: i64| if pads.is_empty() { n == 0 } else { pads.iter().all(|p| *p == n) };
        if !plain {
            return Err("dilated or padded by rule".into());
        }
        match (self.input(node, 0)?, rows, columns) {
            (Value::Picture, 3, 3) if self.stem.is_none() && (outputs, inputs, group) == (STEM, 3, 1) && is_stride(2) && is_pad(1) => {
                self.stem = Some(Stem { name: node.label().to_owned(), weights, bias });
                Ok(Value::StemConvolved)
            }
            (Value::Picture, ..) => Err(format!("a stem has {STEM} channels, 3 × 3, stride 2, padded by 1")),
            (Value::Readable(source), 1, 1) if group == 1 && is_stride(1) && is_pad(0) => {
                if self.pairs.len() == MOST_PAIRS {
                    return Err(format!("more than {MOST_PAIRS} convolutions"));
                }
                let name = node.label().to_owned();
                let (look, look_bias) = (Vec::new(), Vec::new());
                self.pairs.push(Pair { name, source, inputs, outputs, mix: weights, mix_bias: bias, look, look_bias });
                Ok(Value::Mixed(self.pairs.len() - 1))
            }
            (Value::Mixed(pair), 3, 3) if inputs == 1 && group == outputs as i64 && is_stride(1) && is_pad(1) => {
                let pair_of = &mut self.pairs[pair];
                if pair_of.outputs != outputs || !pair_of.look.is_empty() {
                    return Err("it does not fit the 1 × 1 convolution before it".into());
                }
                (pair_of.look, pair_of.look_bias) = (weights, bias);
                Ok(Value::Looked(pair))
            }
            _ => Err("neither a 1 × 1 convolution nor a 3 × 3 one of each channel by itself behind one".into()),
        }
    }

    fn relu(&mut self, node: &NodeProto) -> Result<Value, String> {
        match self.input(node, 0)? {
            Value::StemConvolved => Ok(Value::Readable(Source::Stem)),
            Value::Looked(_) if self.units.len() == MOST_PAIRS => Err(format!("more than {MOST_PAIRS} units")),
            Value::Looked(pair) => {
                let of = &self.pairs[pair];
                self.units.push(Unit {
                    name: of.name.clone(),
                    source: of.source,
                    inputs: of.inputs,
                    outputs: of.outputs,
                    mix: of.mix.clone(),
                    mix_bias: of.mix_bias.clone(),
                    look: of.look.clone(),
                    look_bias: of.look_bias.clone(),
                });
                Ok(Value::Readable(Source::Unit(self.units.len() - 1)))
            }
            _ => Err("it follows neither the stem nor a 3 × 3 convolution".into()),
        }
    }

    fn pool(&mut self, node: &NodeProto) -> Result<Value, String> {
        let by_two = ints(node, "kernel_shape") == [2, 2] && ints(node, "strides") == [2, 2];
        let plain = ints(node, "pads").iter().all(|p| *p == 0) && ints(node, "dilations").iter().all(|d| *d == 1);
        let plain = plain && text(node, "auto_pad").is_none_or(|t| t == "NOTSET") && node.output.len() == 1;
        match self.input(node, 0)? {
            Value::Readable(Source::Unit(of)) if by_two && plain => Ok(Value::Readable(Source::Pooled(of))),
            _ => Err("only a unit's output is pooled, by 2 × 2".into()),
        }
    }

    fn enlarge(&mut self, node: &NodeProto) -> Result<Value, String> {
        let Value::Readable(Source::Unit(of)) = self.input(node, 0)? else { return Err("only a unit's output is enlarged".into()) };
        let as_wanted = text(node, "mode") == Some("nearest")
            && text(node, "coordinate_transformation_mode") == Some("asymmetric")
            && text(node, "nearest_mode") == Some("floor")
            && node.input.len() == 3;
        let (_, scales) = self.floats(node, 2)?;
        if !as_wanted || scales != [1.0, 1.0, 2.0, 2.0] {
            return Err("only by repeating rows and columns once".into());
        }
        Ok(Value::Enlarged(of))
    }

    fn sum(&mut self, node: &NodeProto) -> Result<Value, String> {
        match (self.input(node, 0)?, self.input(node, 1)?) {
            (Value::Readable(Source::Unit(kept)), Value::Enlarged(enlarged))
            | (Value::Enlarged(enlarged), Value::Readable(Source::Unit(kept))) => Ok(Value::Readable(Source::Sum { kept, enlarged })),
            _ => Err("only a unit and an enlarged one are added".into()),
        }
    }

    fn reshape(&mut self, node: &NodeProto) -> Result<Value, String> {
        let Value::Transposed(pair) = self.input(node, 0)? else { return Err("only a head is reshaped".into()) };
        let name = node.input.get(1).map_or("", String::as_str);
        let last = match (self.constants.get(name), self.values.get(name)) {
            (Some(tensor), _) => last_int(tensor),
            (None, Some(Value::Sizes(last))) => *last,
            _ => None,
        };
        if last == i64::try_from(self.pairs[pair].outputs).ok() {
            Ok(Value::Listed(pair))
        } else {
            Err("it does not make rows of the head's channels".into())
        }
    }

    /// Parts of heads that read the same unit become one head.
    fn finish(self, outputs: &[String]) -> Result<Graph, FusedError> {
        let unfit = |node: &str, reason: &str| FusedError::Unfit { node: node.to_owned(), reason: reason.to_owned() };
        let Some(stem) = self.stem else { return Err(unfit("?", "the graph has no stem")) };
        let (mut heads, mut filled, mut answers) = (Vec::<Head>::new(), Vec::<usize>::new(), Vec::new());
        for output in outputs {
            let (pair, squashed) = match self.values.get(output.as_str()) {
                Some(Value::Listed(pair)) => (&self.pairs[*pair], false),
                Some(Value::Squashed(pair)) => (&self.pairs[*pair], true),
                _ => return Err(unfit(output, "it is not what a head says")),
            };
            let Source::Unit(from) = pair.source else { return Err(unfit(&pair.name, "a head reads a unit's output as it is")) };
            let head = heads.iter().position(|head| head.from == from).unwrap_or_else(|| {
                let (mix, look) = (vec![0.0; HEAD * pair.inputs], vec![0.0; HEAD * 9]);
                let (mix_bias, look_bias) = (vec![0.0; HEAD], vec![0.0; HEAD]);
                heads.push(Head { name: pair.name.clone(), from, inputs: pair.inputs, mix, mix_bias, look, look_bias });
                filled.push(0);
                heads.len() - 1
            });
            let (first, width) = (filled[head], pair.outputs);
            let of = &mut heads[head];
            if first + width > HEAD || pair.inputs != of.inputs {
                return Err(unfit(&pair.name, &format!("more than {HEAD} answers about one unit")));
            }
            filled[head] = first + width;
            of.mix[first * of.inputs..][..width * of.inputs].copy_from_slice(&pair.mix);
            of.mix_bias[first..][..width].copy_from_slice(&pair.mix_bias);
            of.look[first * 9..][..width * 9].copy_from_slice(&pair.look);
            of.look_bias[first..][..width].copy_from_slice(&pair.look_bias);
            answers.push(Answer { name: output.clone(), head, first, width, squashed });
        }
        let graph = Graph { stem, units: self.units, heads, answers };
        graph.check()?;
        Ok(graph)
    }
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

fn int(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).and_then(|attribute| attribute.i)
}

fn ints<'n>(node: &'n NodeProto, name: &str) -> &'n [i64] {
    attribute(node, name).map_or(&[], |attribute| &attribute.ints)
}

fn text<'n>(node: &'n NodeProto, name: &str) -> Option<&'n str> {
    attribute(node, name).and_then(|attribute| attribute.s.as_deref()).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

fn last_int(tensor: &TensorProto) -> Option<i64> {
    if tensor.data_type() != element::INT64 {
        return None;
    }
    let raw = tensor.raw_data.as_deref().unwrap_or_default().as_chunks::<8>().0;
    raw.last().map(|bytes| i64::from_le_bytes(*bytes)).or(tensor.int64_data.last().copied())
}
