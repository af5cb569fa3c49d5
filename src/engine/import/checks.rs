//! What a model must not hold, and how its input and outputs must fit the manifest.
//!
//! Pure functions over a decoded model: nothing here runs it, allocates by its numbers or follows a path in it.

use super::ImportError;
use crate::engine::manifest::{Decode, Manifest, STRIDES};
use crate::engine::onnx::{
    AttributeProto, EXTERNAL, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto, element,
};

/// Operators with subgraphs. Their attributes would be found anyway; the names make the error plain even if a file hides them.
const CONTROL_FLOW: [&str; 4] = ["If", "Loop", "Scan", "SequenceMap"];
/// The first operator set in which shapes broadcast as they do today.
const OLDEST_OPSET: i64 = 7;

pub(super) fn check(model: &ModelProto, manifest: &Manifest) -> Result<(), ImportError> {
    let Some(graph) = &model.graph else { return Err(ImportError::NotOnnx { reason: "no graph".into() }) };
    if let Some(function) = model.functions.first() {
        return Err(ImportError::Function { function: format!("{}::{}", function.domain(), function.name()) });
    }
    if !model.training_info.is_empty() {
        return Err(ImportError::Unwanted { what: "training graphs".into() });
    }
    let opset = model.opset_import.iter().filter(|o| is_standard(o.domain())).filter_map(|o| o.version).max();
    match opset {
        None => return Err(ImportError::NotOnnx { reason: "no standard operator set is imported".into() }),
        Some(version) if version < OLDEST_OPSET => {
            return Err(ImportError::Unwanted { what: format!("operators of set {version}, older than {OLDEST_OPSET}") });
        }
        Some(_) => {}
    }
    graph.node.iter().try_for_each(check_node)?;
    graph.initializer.iter().try_for_each(|tensor| check_tensor(tensor, tensor.name()))?;
    if let Some(sparse) = graph.sparse_initializer.first() {
        return Err(sparse_error(sparse));
    }
    check_input(graph, manifest)?;
    check_outputs(graph, manifest).map_err(|reason| ImportError::Outputs { reason })?;
    check_names(graph)
}

/// What a graph's names may not speak of (C21): sex, age, descent and mood are not looked for, by whatever task a manifest claims.
/// A name can be changed, so this finds the careless, and what a model is (`known/`) the others.
const ATTRIBUTES: [&str; 13] =
    ["age", "ages", "gender", "genders", "sex", "race", "races", "ethnicity", "emotion", "emotions", "mood", "attractiveness", "beauty"];

fn check_names(graph: &GraphProto) -> Result<(), ImportError> {
    let outputs = graph.output.iter().map(ValueInfoProto::name);
    let nodes = graph.node.iter().flat_map(|node| std::iter::once(node.label()).chain(node.output.iter().map(String::as_str)));
    let names = outputs.chain(nodes).chain(graph.initializer.iter().map(TensorProto::name));
    for name in names {
        let words = name.split(|c: char| !c.is_ascii_alphabetic()).map(str::to_ascii_lowercase);
        if let Some(word) = words.into_iter().find(|word| ATTRIBUTES.contains(&word.as_str())) {
            return Err(ImportError::Attribute { name: name.to_owned(), word });
        }
    }
    Ok(())
}

fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn check_node(node: &NodeProto) -> Result<(), ImportError> {
    let (label, op) = (|| node.label().to_owned(), || node.op_type().to_owned());
    if !is_standard(node.domain()) {
        return Err(ImportError::CustomOperator { node: label(), op: op(), domain: node.domain().into() });
    }
    if CONTROL_FLOW.contains(&node.op_type()) || node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
        return Err(ImportError::Subgraph { node: label(), op: op() });
    }
    node.attribute.iter().try_for_each(|attribute| check_attribute(node, attribute))
}

fn check_attribute(node: &NodeProto, attribute: &AttributeProto) -> Result<(), ImportError> {
    if let Some(sparse) = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors).next() {
        return Err(sparse_error(sparse));
    }
    if attribute.ref_attr_name.is_some() {
        return Err(ImportError::Unwanted { what: format!("a reference to a function's attribute (node `{}`)", node.label()) });
    }
    let name = || format!("{}.{}", node.label(), attribute.name());
    attribute.t.iter().chain(&attribute.tensors).try_for_each(|tensor| check_tensor(tensor, &name()))
}

fn sparse_error(sparse: &SparseTensorProto) -> ImportError {
    let name = sparse.values.as_ref().map_or("?", TensorProto::name).to_owned();
    ImportError::Tensor { tensor: name, reason: "sparse tensors are not read".into() }
}

/// Data inside the file, of a known element type, as many values as the dimensions say, all finite.
fn check_tensor(tensor: &TensorProto, name: &str) -> Result<(), ImportError> {
    let wrong = |reason: String| ImportError::Tensor { tensor: name.into(), reason };
    if !tensor.external_data.is_empty() || tensor.data_location() == EXTERNAL {
        return Err(ImportError::ExternalData { tensor: name.into() });
    }
    if tensor.segment.is_some() {
        return Err(wrong("it is a segment of a larger tensor".into()));
    }
    let count = tensor
        .dims
        .iter()
        .try_fold(1usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))
        .ok_or_else(|| wrong(format!("impossible dimensions {:?}", tensor.dims)))?;
    let (bytes_each, typed) = match tensor.data_type() {
        element::FLOAT => (4, tensor.float_data.len()),
        element::DOUBLE => (8, tensor.double_data.len()),
        element::INT64 => (8, tensor.int64_data.len()),
        element::UINT64 => (8, tensor.uint64_data.len()),
        element::UINT32 => (4, tensor.uint64_data.len()),
        element::INT32 => (4, tensor.int32_data.len()),
        element::INT16 | element::UINT16 | element::FLOAT16 => (2, tensor.int32_data.len()),
        element::INT8 | element::UINT8 | element::BOOL => (1, tensor.int32_data.len()),
        other => return Err(wrong(format!("element type {other} is not read"))),
    };
    let fits = match &tensor.raw_data {
        Some(raw) => typed == 0 && count.checked_mul(bytes_each) == Some(raw.len()),
        None => typed == count,
    };
    if !fits {
        let held = tensor.raw_data.as_ref().map_or_else(|| format!("{typed} values"), |raw| format!("{} bytes", raw.len()));
        return Err(wrong(format!("dimensions {:?} do not fit the {held} that the file holds", tensor.dims)));
    }
    check_finite(tensor, name)
}

fn check_finite(tensor: &TensorProto, name: &str) -> Result<(), ImportError> {
    let refuse = |found: Option<(usize, f64)>| match found {
        Some((place, value)) => Err(ImportError::NotFinite { tensor: name.into(), place, value }),
        None => Ok(()),
    };
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    match tensor.data_type() {
        element::FLOAT => {
            let raw = raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            refuse(tensor.float_data.iter().copied().chain(raw).map(f64::from).enumerate().find(|(_, v)| !v.is_finite()))
        }
        element::DOUBLE => {
            let raw = raw.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
            refuse(tensor.double_data.iter().copied().chain(raw).enumerate().find(|(_, v)| !v.is_finite()))
        }
        element::FLOAT16 => {
            // All exponent bits set: an infinity or not a number.
            let raw = raw.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the format keeps the 16 bits in an int32")]
            let mut bits = tensor.int32_data.iter().map(|&v| v as u16).chain(raw);
            refuse(bits.position(|b| b & 0x7c00 == 0x7c00).map(|place| (place, f64::NAN)))
        }
        _ => Ok(()),
    }
}

fn check_input(graph: &GraphProto, manifest: &Manifest) -> Result<(), ImportError> {
    let wrong = |reason: String| Err(ImportError::Input { reason });
    let inputs = graph.fed_inputs();
    let [input] = inputs.as_slice() else {
        return wrong(format!("the graph takes {} inputs, a network here takes one", inputs.len()));
    };
    if input.name() != manifest.input.name {
        return wrong(format!("the graph calls it `{}`, the manifest `{}`", input.name(), manifest.input.name));
    }
    let Some((element::FLOAT, dims)) = input.tensor() else {
        return wrong(format!("`{}` is no fp32 tensor with declared dimensions", input.name()));
    };
    let [batch, Some(3), height, width] = *dims.as_slice() else {
        return wrong(format!("`{}` has dimensions {}, not [batch, 3, height, width]", input.name(), show(&dims)));
    };
    if batch.is_some_and(|batch| batch != 1) {
        return wrong(format!("`{}` has the fixed batch {}, it must be 1 or free", input.name(), show(&dims)));
    }
    for (side, graph_has, manifest_has) in [("height", height, manifest.input.height), ("width", width, manifest.input.width)] {
        // A graph with free size may be run at a fixed one, never the other way round.
        if graph_has.is_some() && graph_has != manifest_has.map(i64::from) {
            let said = manifest_has.map_or_else(|| "free".into(), |v| v.to_string());
            return wrong(format!("the graph's {side} is {}, the manifest says {said}", show(&[graph_has])));
        }
    }
    Ok(())
}

fn check_outputs(graph: &GraphProto, manifest: &Manifest) -> Result<(), String> {
    let wanted = manifest.decode.output_names();
    for (place, output) in graph.output.iter().enumerate() {
        let twice = graph.output[..place].iter().any(|other| other.name() == output.name());
        if twice || !wanted.iter().any(|name| name == output.name()) {
            return Err(format!("the graph has an output `{}` that the manifest does not name", output.name()));
        }
    }
    let mut shapes = Vec::with_capacity(wanted.len());
    for name in &wanted {
        let output = graph.output.iter().find(|o| o.name() == name).ok_or_else(|| format!("the graph has no output `{name}`"))?;
        shapes.push((name.as_ref(), declared(output)?));
    }
    let ranks: &[usize] = match &manifest.decode {
        Decode::Yunet | Decode::Rfb => &[3],
        Decode::Scrfd { .. } => &[2, 3],
        Decode::Embedding { .. } | Decode::Logits { .. } => &[2],
    };
    for ((name, dims), width) in shapes.iter().zip(manifest.decode.widths(manifest.task)) {
        expect(name, dims, ranks, width)?;
    }
    match &manifest.decode {
        Decode::Yunet => shapes
            .iter()
            .enumerate()
            .try_for_each(|(place, (name, dims))| expect_cells(name, dims[1], manifest, STRIDES[place % STRIDES.len()])),
        Decode::Rfb if shapes[0].1[1] != shapes[1].1[1] => Err("`scores` and `boxes` differ in number".into()),
        _ => Ok(()),
    }
}

fn declared(output: &ValueInfoProto) -> Result<Vec<Option<i64>>, String> {
    match output.tensor() {
        Some((element::FLOAT, dims)) => Ok(dims),
        Some((other, _)) => Err(format!("`{}` has element type {other}, not fp32", output.name())),
        None => Err(format!("`{}` is no tensor with declared dimensions", output.name())),
    }
}

/// One of the ranks, and exactly `width` values in the last dimension.
fn expect(name: &str, dims: &[Option<i64>], ranks: &[usize], width: usize) -> Result<(), String> {
    let width_fits = dims.last().copied().flatten().and_then(|last| usize::try_from(last).ok()) == Some(width);
    if ranks.contains(&dims.len()) && width_fits {
        return Ok(());
    }
    Err(format!("`{name}` has dimensions {}, the layout wants {} of them, the last {width}", show(dims), ranks[0]))
}

/// One anchor a cell, where the size is fixed and the number declared.
fn expect_cells(name: &str, got: Option<i64>, manifest: &Manifest, stride: u32) -> Result<(), String> {
    let (Some(width), Some(height), Some(got)) = (manifest.input.width, manifest.input.height, got) else { return Ok(()) };
    let want = i64::from(width / stride) * i64::from(height / stride);
    if got == want { Ok(()) } else { Err(format!("`{name}` has {got} cells, the input's size makes {want}")) }
}

fn show(dims: &[Option<i64>]) -> String {
    let dims: Vec<String> = dims.iter().map(|dim| dim.map_or_else(|| "?".into(), |d| d.to_string())).collect();
    format!("[{}]", dims.join(", "))
}
