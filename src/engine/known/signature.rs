//! A model by the signature of its graph: what it takes, what it gives, and what it first does with a picture.
//!
//! ```text
//! family      input [N,3,H,W]      outputs                                  the graph's first nodes       pre-processing
//! YuNet       any                  cls, obj, bbox, kps at 8, 16, 32         –                             assumed: BGR, 0…255
//! SCRFD       any                  nine: 1, 4 and 10 wide, rising stride    –                             assumed: RGB, (x − 127.5) / 128
//! RFB         fixed                scores [1,N,2], boxes                    –                             assumed: RGB, (x − 127) / 128
//! SFace       112 × 112            fc1 [N,128]                              normalise, then convolve      read: 0…255; assumed: RGB
//! MobileFace  112 × 112            [N,256]                                  normalise, then convolve      read: 0…255; assumed: RGB
//! ArcFace     112 × 112            [N,512]                                  normalise, then convolve      read: 0…255; assumed: RGB
//! ArcFace     112 × 112            [N,512], custom input name               convolve                      assumed: RGB, (x − 127.5) / 127.5
//! ```
//!
//! An embedder that fits no row is not guessed at: fed in another way it still gives vectors, only bad ones.

use super::super::manifest::{ChannelOrder, Decode, Input, IntendedUse, Manifest, Resize, Task};
use super::super::onnx::{GraphProto, NodeProto, TensorProto, ValueInfoProto, element};
use super::Kind;

const UNKNOWN_LICENCE: &str = "unknown: recognised by its graph only; ask its publisher before use";
const CHECK: &str = "check with `placard model eval` before use";
/// What InsightFace's exports and those after their custom call the input.
const ARCFACE_INPUTS: [&str; 4] = ["input.1", "input", "data", "x"];

/// The manifest, without digest, and what of it is assumed.
pub(super) fn recognise(graph: &GraphProto) -> Option<(Manifest, String)> {
    let inputs = graph.fed_inputs();
    let [input] = inputs.as_slice() else { return None };
    let (element_type, dims) = input.tensor()?;
    let [_, Some(3), height, width] = *dims.as_slice() else { return None };
    let size = match (height, width) {
        (Some(height), Some(width)) => Some((u32::try_from(width).ok()?, u32::try_from(height).ok()?)),
        (None, None) => None,
        _ => return None,
    };
    if element_type != element::FLOAT {
        return None;
    }
    match size {
        Some((112, 112)) if graph.output.len() == 1 => embedder(graph, input),
        _ => detector(graph, input, size),
    }
}

fn manifest(name: String, task: Task, input: Input, decode: Decode) -> Manifest {
    Manifest {
        name,
        task,
        sha256: String::new(),
        prepared_sha256: None,
        licence: UNKNOWN_LICENCE.into(),
        publisher: "unknown".into(),
        intended_use: IntendedUse::Operational,
        input,
        decode,
        accuracy: Vec::new(),
        int8: None,
    }
}

/// Input sizes and the names and shapes of all outputs must fit.
fn detector(graph: &GraphProto, input: &ValueInfoProto, size: Option<(u32, u32)>) -> Option<(Manifest, String)> {
    let (family, kind, decode, custom) = if names_are(graph, &Decode::Yunet) {
        ("yunet", Kind::Yunet(None), Decode::Yunet, "BGR, 0…255")
    } else if names_are(graph, &Decode::Rfb) && last_dimension(graph.output.iter().find(|o| o.name() == "scores")?) == Some(2) {
        let (width, height) = size?;
        ("rfb", Kind::Rfb(width, height), Decode::Rfb, "RGB, (x − 127) / 128, stretched")
    } else {
        ("scrfd", Kind::Yunet(None), scrfd(graph)?, "RGB, (x − 127.5) / 128")
    };
    let (task, mut fed, _) = kind.describe();
    fed.name = input.name().into();
    if let Some((width, height)) = size {
        (fed.width, fed.height, fed.multiple_of) = (Some(width), Some(height), 1);
    }
    if family == "scrfd" {
        (fed.channels, fed.mean, fed.scale) = (ChannelOrder::Rgb, [127.5; 3], [1.0 / 128.0; 3]);
    }
    let size_name = size.map_or_else(|| "dynamic".into(), |(width, height)| format!("{width}x{height}"));
    let assumed = format!("its pre-processing ({custom}) is assumed, as {family} models are fed: {CHECK}");
    Some((manifest(format!("{family}-{size_name}"), task, fed, decode), assumed))
}

fn names_are(graph: &GraphProto, decode: &Decode) -> bool {
    let wanted = decode.output_names();
    graph.output.len() == wanted.len() && wanted.iter().all(|name| graph.output.iter().any(|o| o.name() == &**name))
}

fn last_dimension(value: &ValueInfoProto) -> Option<i64> {
    value.tensor()?.1.last().copied().flatten()
}

/// Nine outputs, three each that end in 1 (scores), 4 (boxes) and 10 (landmarks). Exporters write each kind by rising stride; where counts are
/// declared, they prove it.
fn scrfd(graph: &GraphProto) -> Option<Decode> {
    if graph.output.len() != 9 {
        return None;
    }
    let mut outputs = Vec::with_capacity(9);
    for width in [1, 4, 10] {
        let kind: Vec<&ValueInfoProto> = graph.output.iter().filter(|o| last_dimension(o) == Some(width)).collect();
        let counts: Vec<i64> = kind.iter().filter_map(|o| o.tensor()?.1.iter().rev().nth(1).copied().flatten()).collect();
        if kind.len() != 3 || counts.windows(2).any(|pair| pair[0] <= pair[1]) {
            return None;
        }
        outputs.extend(kind.iter().map(|o| o.name().to_owned()));
    }
    Some(Decode::Scrfd { outputs })
}

/// An aligned crop in, one vector out, and what stands between the picture and the first convolution.
fn embedder(graph: &GraphProto, input: &ValueInfoProto) -> Option<(Manifest, String)> {
    let [output] = graph.output.as_slice() else { return None };
    let (element::FLOAT, dims) = output.tensor()? else { return None };
    let [_, Some(dim)] = *dims.as_slice() else { return None };
    let inside = normalisation(graph, input.name())?;
    let (family, mean, scale, known) = match (dim, inside, output.name()) {
        (128, Normalisation::Usual, "fc1") => ("sface", 0.0, 1.0, READ),
        (256, Normalisation::Usual, _) => ("mobileface", 0.0, 1.0, READ),
        (512, Normalisation::Usual, _) => ("arcface", 0.0, 1.0, READ),
        (512, Normalisation::None, _) if ARCFACE_INPUTS.contains(&input.name()) => ("arcface", 127.5, 1.0 / 127.5, CUSTOM),
        _ => return None,
    };
    let last = graph.node.iter().find(|node| node.output.iter().any(|name| name == output.name()))?;
    let decode = Decode::Embedding {
        output: output.name().into(),
        dim: usize::try_from(dim).ok()?,
        normalised: last.op_type() == "LpNormalization",
    };
    let fed = Input {
        name: input.name().into(),
        channels: ChannelOrder::Rgb,
        width: Some(112),
        height: Some(112),
        multiple_of: 1,
        resize: Resize::AlignedCrop,
        mean: [mean; 3],
        scale: [scale; 3],
    };
    Some((manifest(format!("{family}-{dim}"), Task::FaceEmbedder, fed, decode), format!("{known}: {CHECK}")))
}

const READ: &str = "that it takes 0…255 was read from its graph, which normalises by itself; that its channels are RGB is assumed";
const CUSTOM: &str =
    "its pre-processing (RGB, (x − 127.5) / 127.5) is assumed, as ArcFace-style models are fed, because its graph has none";

/// What a graph does with the picture before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Normalisation {
    /// Convolves it.
    None,
    /// (x − 127.5) / 128, or nearly: what it takes is 0…255.
    Usual,
}

/// `None`: something else, or something that is not understood.
fn normalisation(graph: &GraphProto, input: &str) -> Option<Normalisation> {
    let (mut factor, mut offset, mut steps) = (1.0_f32, 0.0_f32, 0);
    let mut value = input;
    loop {
        let mut users = graph.node.iter().filter(|node| node.input.iter().any(|name| name == value));
        let (Some(node), None) = (users.next(), users.next()) else { return None };
        if node.op_type() == "Conv" && node.input.first().is_some_and(|name| name == value) {
            break;
        }
        let [a, b] = node.input.as_slice() else { return None };
        let (constant, is_first) = if a == value { (scalar(graph, b)?, true) } else { (scalar(graph, a)?, false) };
        (factor, offset) = match (node.op_type(), is_first) {
            ("Sub", true) => (factor, offset - constant),
            ("Add", _) => (factor, offset + constant),
            ("Mul", _) => (factor * constant, offset * constant),
            ("Div", true) if constant != 0.0 => (factor / constant, offset / constant),
            _ => return None,
        };
        steps += 1;
        value = node.output.first()?;
        if steps > 4 {
            return None;
        }
    }
    let (mean, scale) = (-offset / factor, factor);
    let usual = (126.5..=128.5).contains(&mean) && (1.0 / 129.0..=1.0 / 126.0).contains(&scale);
    match (steps, usual) {
        (0, _) => Some(Normalisation::None),
        (_, true) => Some(Normalisation::Usual),
        (_, false) => None,
    }
}

/// A constant of one value, or of three equal ones, by its name.
fn scalar(graph: &GraphProto, name: &str) -> Option<f32> {
    let is_constant = |node: &&NodeProto| node.op_type() == "Constant" && node.output.first().is_some_and(|output| output == name);
    let of_node = |node: &NodeProto| node.attribute.iter().find(|a| a.name() == "value").and_then(|a| a.t.clone());
    let tensor = graph.initializer.iter().find(|tensor| tensor.name() == name).cloned();
    let tensor: TensorProto = tensor.or_else(|| graph.node.iter().find(is_constant).and_then(of_node))?;
    let raw = tensor.raw_data.as_deref().unwrap_or_default().as_chunks::<4>().0;
    let values: Vec<f32> = tensor.float_data.iter().copied().chain(raw.iter().map(|bytes| f32::from_le_bytes(*bytes))).collect();
    let same = values.iter().all(|v| v.to_bits() == values[0].to_bits());
    (tensor.data_type() == element::FLOAT && matches!(values.len(), 1 | 3) && same).then(|| values[0])
}

#[cfg(test)]
mod tests;
