//! The executor as an [`engine::Network`](crate::engine::Network).
//!
//! A plan is made for each size of picture when it is first seen, and the last [`PLANS`] sizes are kept: a worker sees the areas of a few streams in turn.
//! What the network said, and the rows of the picture, are overwritten after every run.

use std::borrow::Cow;
use std::sync::Arc;

use super::bytes::Bytes;
use super::execute::{Arithmetic, Executor};
use super::floats::Floats;
use super::graph::{Graph, LONGEST, MOST_ANSWERS, SIDES};
use super::quantise::QuantisedNetwork;
use super::{FusedError, read};
use crate::engine::manifest::Manifest;
use crate::engine::onnx::GraphProto;
use crate::engine::{EngineError, Network, Output};

/// Sizes whose plans are kept.
pub const PLANS: usize = 8;

/// What a manifest's model is, if it is of the class.
pub fn graph_of(graph: &GraphProto, manifest: &Manifest) -> Result<Graph, FusedError> {
    let outputs: Vec<String> = manifest.decode.output_names().into_iter().map(Cow::into_owned).collect();
    read::read(graph, &manifest.input.name, &outputs)
}

/// Whether pictures are bytes as they are, which the 8-bit network takes.
pub fn takes_bytes(manifest: &Manifest) -> bool {
    manifest.input.mean == [0.0; 3] && manifest.input.scale == [1.0; 3]
}

pub struct FusedNetwork<A: Arithmetic> {
    manifest: Manifest,
    graph: Arc<Graph>,
    arithmetic: Arc<A>,
    name: &'static str,
    /// The last used first.
    plans: Vec<([usize; 2], Executor<A>)>,
}

impl FusedNetwork<Floats> {
    /// In fp32, with the fastest version for this processor or the one called `version`.
    pub fn floats(graph: Arc<Graph>, manifest: &Manifest, version: Option<&str>) -> Option<Self> {
        let arithmetic = Floats::new(&graph, version)?;
        let name = arithmetic.name();
        Some(Self { manifest: manifest.clone(), graph, arithmetic: Arc::new(arithmetic), name, plans: Vec::new() })
    }
}

impl FusedNetwork<Bytes> {
    /// In 8 bits.
    pub fn bytes(graph: Arc<Graph>, network: &QuantisedNetwork, manifest: &Manifest, version: Option<&str>) -> Option<Self> {
        let arithmetic = Bytes::new(network, version)?;
        let name = arithmetic.name();
        Some(Self { manifest: manifest.clone(), graph, arithmetic: Arc::new(arithmetic), name, plans: Vec::new() })
    }
}

impl<A: Arithmetic> FusedNetwork<A> {
    /// The version of the kernels.
    pub fn version(&self) -> &'static str {
        self.name
    }

    /// The plan for a size, made if there is none.
    fn plan(&mut self, width: usize, height: usize) -> &mut Executor<A> {
        match self.plans.iter().position(|(size, _)| *size == [width, height]) {
            Some(place) => self.plans[..=place].rotate_right(1),
            None => {
                self.plans.truncate(PLANS - 1);
                let plan = Executor::new(Arc::clone(&self.graph), Arc::clone(&self.arithmetic), width, height);
                self.plans.insert(0, ([width, height], plan));
            }
        }
        &mut self.plans[0].1
    }

    fn check(&self, values: usize, shape: [usize; 4]) -> Result<(), EngineError> {
        let [batch, planes, height, width] = shape;
        let input = &self.manifest.input;
        let fits = |side: usize, fixed: Option<u32>| {
            side > 0 && side <= LONGEST && side.is_multiple_of(SIDES) && fixed.is_none_or(|fixed| side == fixed as usize)
        };
        let is_size = batch == 1 && planes == 3 && fits(width, input.width) && fits(height, input.height);
        if is_size && values == 3 * width * height {
            return Ok(());
        }
        let side = |fixed: Option<u32>| fixed.map_or_else(|| format!("k·{SIDES}"), |side| side.to_string());
        let want = format!("[1, 3, {}, {}] and as many values", side(input.height), side(input.width));
        Err(EngineError::InputShape { model: self.manifest.name.clone(), got: shape, want })
    }
}

/// Overwrites what a network said, however reading it went.
struct Wiped<'e, A: Arithmetic>(&'e mut Executor<A>);

impl<A: Arithmetic> Drop for Wiped<'_, A> {
    fn drop(&mut self) {
        self.0.wipe_answers();
    }
}

impl<A: Arithmetic> Network for FusedNetwork<A> {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn runs_on(&self) -> String {
        format!("fused executor, {} ({})", A::NUMBERS, self.name)
    }

    fn run(&mut self, input: &[f32], shape: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
        self.check(input.len(), shape)?;
        let [.., height, width] = shape;
        let graph = Arc::clone(&self.graph);
        let plan = Wiped(self.plan(width, height));
        plan.0.run(input);
        let mut shapes = [[1; 3]; MOST_ANSWERS];
        for (shape, answer) in shapes.iter_mut().zip(&graph.answers) {
            let (rows, columns) = graph.cells(answer, width, height);
            *shape = [1, rows * columns, answer.width];
        }
        let outputs: [Output<'_>; MOST_ANSWERS] = std::array::from_fn(|i| match (graph.answers.get(i), plan.0.answers().get(i)) {
            (Some(answer), Some(data)) => Output { name: &answer.name, shape: &shapes[i], data },
            _ => Output { name: "", shape: &[], data: &[] },
        });
        read(&outputs[..graph.answers.len()]);
        Ok(())
    }
}
