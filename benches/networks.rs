//! How long one picture takes, for `benches/networks/compare.sh`: ONNX Runtime and the fused executor in this process, in turn; peers have theirs.
//!
//! `networks MODEL.onnx MANIFEST.toml|- WIDTH HEIGHT [RANGES.json]` (`-`: a known model), then one round for each line on standard input, in
//! which every network runs once; each round answers with one line of JSON, milliseconds of CPU time by name. The first line names networks,
//! versions, products and this processor's peak; an empty line at the end measures two threads of each, a picture each, beside one.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::Instant;

use placard::engine::fused::bytes::Bytes;
use placard::engine::fused::floats::Floats;
use placard::engine::fused::graph::Graph;
use placard::engine::fused::network::{FusedNetwork, graph_of};
use placard::engine::fused::quantise::{QuantisedNetwork, Ranges, quantise};
use placard::engine::fused::{peak, plain, selftest};
use placard::engine::manifest::Manifest;
use placard::engine::onnx::ModelProto;
use placard::engine::onnxruntime::{OnnxNetwork, initialise, library_path};
use placard::engine::processor::spent_ns;
use placard::engine::{Network, import, known};
use placard::hex;
use prost::Message as _;
use serde_json::json;

type AnyError = Box<dyn std::error::Error>;
type Named = Vec<(String, Box<dyn Network>)>;

struct Bench {
    manifest: Manifest,
    prepared: Vec<u8>,
    graph: Arc<Graph>,
    quantised: QuantisedNetwork,
    shape: [usize; 4],
    picture: Vec<f32>,
}

impl Bench {
    fn open(arguments: &[String]) -> Result<Self, AnyError> {
        let [model, manifest, width, height, rest @ ..] = arguments else { return Err("MODEL.onnx MANIFEST.toml|- WIDTH HEIGHT".into()) };
        let file = std::fs::read(model)?;
        let mut manifest = match &**manifest {
            "-" => known::by_digest(&hex::sha256(&file)).ok_or("not a known model")?,
            path => Manifest::from_toml(&std::fs::read_to_string(path)?)?,
        };
        let prepared = import::prepare(&file, &manifest)?.bytes;
        let (width, height): (usize, usize) = (width.parse()?, height.parse()?);
        let onnx = ModelProto::decode(&*prepared)?;
        let graph = Arc::new(graph_of(onnx.graph.as_ref().ok_or("no graph")?, &manifest)?);
        // The drawn picture of the self-test, in this size.
        let fixed = (manifest.input.width, manifest.input.height);
        (manifest.input.width, manifest.input.height) = (Some(u32::try_from(width)?), Some(u32::try_from(height)?));
        let (picture, ..) = selftest::picture(&manifest);
        (manifest.input.width, manifest.input.height) = fixed;
        let ranges = match rest.first() {
            Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
            None => {
                let mut ranges = Ranges::none(&graph);
                plain::run(&graph, &picture, width, height, Some(&mut ranges));
                ranges
            }
        };
        let quantised = quantise(&graph, &ranges)?;
        Ok(Self { manifest, prepared, graph, quantised, shape: [1, 3, height, width], picture })
    }

    fn networks(&self) -> Result<Named, AnyError> {
        let runtime = OnnxNetwork::load(&self.prepared, &self.manifest, 1)?;
        let mut networks: Named = vec![("onnxruntime-fp32".into(), Box::new(runtime))];
        for name in Floats::available().into_iter().skip(1) {
            let network = FusedNetwork::floats(Arc::clone(&self.graph), &self.manifest, Some(name)).ok_or("version")?;
            networks.push((format!("placard-fp32-{name}"), Box::new(network)));
        }
        for name in Bytes::available().into_iter().skip(1) {
            let network = FusedNetwork::bytes(Arc::clone(&self.graph), &self.quantised, &self.manifest, Some(name)).ok_or("version")?;
            networks.push((format!("placard-int8-{name}"), Box::new(network)));
        }
        Ok(networks)
    }

    fn once(&self, network: &mut dyn Network) -> Result<f64, AnyError> {
        let began = spent_ns();
        network.run(&self.picture, self.shape, &mut |_| ())?;
        Ok((spent_ns() - began) as f64 * 1e-6)
    }

    /// Pictures a second of two threads, a network each, divided by that of one, in turn.
    fn two_threads(&self) -> Result<serde_json::Value, AnyError> {
        let (mut first, mut second) = (self.networks()?, self.networks()?);
        let mut gains = serde_json::Map::new();
        for ((name, one), (_, other)) in first.iter_mut().zip(&mut second) {
            let mut ratios = Vec::new();
            for _ in 0..21 {
                let run = |network: &mut dyn Network| (0..4).try_for_each(|_| network.run(&self.picture, self.shape, &mut |_| ()));
                let began = Instant::now();
                run(&mut **one)?;
                let alone = began.elapsed().as_secs_f64();
                let began = Instant::now();
                std::thread::scope(|scope| {
                    let beside = scope.spawn(|| run(&mut **other));
                    run(&mut **one).and(beside.join().unwrap_or(Ok(())))
                })?;
                ratios.push(2.0 * alone / began.elapsed().as_secs_f64());
            }
            ratios.sort_by(f64::total_cmp);
            gains.insert(name.clone(), json!(ratios[ratios.len() / 2]));
        }
        Ok(gains.into())
    }
}

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.is_empty() {
        // `cargo bench` runs every bench; this one is asked by its script.
        return Ok(());
    }
    initialise(&library_path(None))?;
    let bench = Bench::open(&arguments)?;
    let mut networks = bench.networks()?;
    let mut out = std::io::stdout().lock();
    let [.., height, width] = bench.shape;
    let names: Vec<&String> = networks.iter().map(|(name, _)| name).collect();
    let products = bench.graph.products(width, height);
    writeln!(out, "{}", json!({ "networks": names, "products": products, "peak": peak::measure(), "model": bench.manifest.name }))?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        if line?.is_empty() {
            writeln!(out, "{}", bench.two_threads()?)?;
            break;
        }
        let mut round = serde_json::Map::new();
        for (name, network) in &mut networks {
            round.insert(name.clone(), json!(bench.once(&mut **network)?));
        }
        writeln!(out, "{}", serde_json::Value::from(round))?;
        out.flush()?;
    }
    Ok(())
}
