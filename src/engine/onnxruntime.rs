//! ONNX Runtime, loaded at run time through `ort`.
//!
//! The library is looked for in one place after another ([`library_path`]) and loaded once per process ([`initialise`]); nothing here
//! panics when it is missing. A session uses one thread (`threads = 1`): on a CPU one-thread sessions, one per worker, beat one session
//! with many threads, and batching costs time. Spinning is off, so that an idle worker costs nothing. The input is borrowed and the
//! outputs are read where the runtime wrote them, and overwritten there before the runtime has its memory back: what a network said of
//! somebody does not outlive the call (C09). What the runtime keeps between its own layers is overwritten by the next run only.
//!
//! Flush-to-zero is asked for, and reaches the threads of the runtime's own pool. The runtime also sets it on the thread that makes the first
//! session, where it would change the arithmetic of everything that the thread does later (and break what Rust assumes of it): sessions are
//! therefore made on a thread of their own that ends at once. With one thread the pool is empty and `run` computes on the caller's thread,
//! with the usual rules; that denormals cost nothing there is the work of `import.rs`, which removes tiny weights.
//!
//! Owning thread: `initialise` from any; a network from the one worker that holds it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionOutputs};
use ort::value::{TensorElementType, TensorRef};
use parking_lot::Mutex;
use zeroize::Zeroize;

use super::manifest::Manifest;
use super::{EngineError, Network, Output};

/// What the library's file is called; a version may follow (`libonnxruntime.so.1.31.1`).
const LIBRARY: &str = "libonnxruntime.so";
/// Where the package puts it.
const INSTALLED: &str = "/usr/lib/placard";
/// Directories above the program's own that may hold `lib/`: enough for `target/debug/deps/`.
const PARENTS: usize = 3;
/// More outputs than any layout has (YuNet: 12).
const MAX_OUTPUTS: usize = 16;
/// Highest rank of an output.
const MAX_RANK: usize = 4;

/// Where the library is, or, if it is nowhere, where the package would put it.
///
/// In this order: the configured path, `PLACARD_ONNXRUNTIME`, `lib/` in the program's directory and in up to three directories above it,
/// `lib/` of the source tree (development builds only), `/usr/lib/placard/`. A path that was named by the operator is returned as it is,
/// even if nothing is there: the error should name it, rather than another library be used silently.
pub fn library_path(config: Option<&Path>) -> PathBuf {
    let program = std::env::current_exe().ok();
    choose_library(config, std::env::var_os("PLACARD_ONNXRUNTIME").map(PathBuf::from), program.as_deref())
}

fn choose_library(config: Option<&Path>, environment: Option<PathBuf>, program: Option<&Path>) -> PathBuf {
    if let Some(path) = config {
        return path.to_path_buf();
    }
    if let Some(path) = environment.filter(|p| !p.as_os_str().is_empty()) {
        return path;
    }
    let beside = program.and_then(Path::parent).into_iter().flat_map(|d| d.ancestors().take(PARENTS + 1)).map(|d| d.join("lib"));
    let source_tree = cfg!(debug_assertions).then(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("lib"));
    let installed = PathBuf::from(INSTALLED);
    beside.chain(source_tree).chain([installed.clone()]).find_map(|d| library_in(&d)).unwrap_or_else(|| installed.join(LIBRARY))
}

/// The library in one directory: the unversioned name if it is there, else the highest version.
fn library_in(directory: &Path) -> Option<PathBuf> {
    let versions = |name: &str| -> Option<Vec<u32>> {
        let rest = name.strip_prefix(LIBRARY)?;
        if rest.is_empty() {
            return Some(vec![u32::MAX]);
        }
        rest.strip_prefix('.')?.split('.').map(|part| part.parse().ok()).collect()
    };
    std::fs::read_dir(directory)
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| Some((versions(entry.file_name().to_str()?)?, entry.path())))
        .max()
        .map(|(_, path)| path)
}

/// The one environment of this process. It is never dropped: the runtime allows no second one.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Loads the library and makes the runtime's environment. The first success counts for the whole process; a failure may be tried again.
pub fn initialise(path: &Path) -> Result<(), EngineError> {
    environment(path).map(|_| ())
}

fn environment(path: &Path) -> Result<Environment, EngineError> {
    let mut slot = ENVIRONMENT.lock();
    if let Some(environment) = slot.as_ref() {
        return Ok(environment.clone());
    }
    let environment = open_library(path)?;
    *slot = Some(environment.clone());
    Ok(environment)
}

fn open_library(path: &Path) -> Result<Environment, EngineError> {
    let missing = |reason: String| EngineError::LibraryMissing { path: path.display().to_string(), reason };
    // The loader would look for a relative path beside the program, then in the system's directories: what is loaded must not depend on that.
    let absolute = std::path::absolute(path).map_err(|error| missing(error.to_string()))?;
    if !absolute.is_file() {
        return Err(missing("no such file".into()));
    }
    let environment = ort::init_from(&absolute)
        .map_err(|error| missing(error.to_string()))?
        .with_name("placard")
        .with_telemetry(false)
        .with_logger(Arc::new(forward_log))
        .build()
        .map_err(|error| missing(error.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

/// The runtime's own messages, at a level below ours: they matter to whoever debugs a model, not to an operator.
fn forward_log(level: LogLevel, category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::warn!(target: "placard::engine", category, location, "{message}"),
        _ => tracing::debug!(target: "placard::engine", category, location, "{message}"),
    }
}

/// A network that ONNX Runtime runs.
pub struct OnnxNetwork {
    session: Session,
    manifest: Manifest,
    /// For each output of the manifest, its place among the session's outputs.
    order: Vec<usize>,
    /// Names in the manifest's order.
    names: Vec<String>,
    numbers: &'static str,
}

impl OnnxNetwork {
    /// Makes a session of a model whose library has been found by [`initialise`]. Checks that the graph's input and outputs are those that
    /// the manifest names, as fp32 tensors, and no others.
    pub fn load(model_bytes: &[u8], manifest: &Manifest, threads: usize) -> Result<Self, EngineError> {
        let session = open_session(model_bytes, manifest, threads)?;
        let failed = |reason: String| EngineError::Load { model: manifest.name.clone(), reason };
        let order = check_session(&session, manifest).map_err(failed)?;
        let names = manifest.decode.output_names().into_iter().map(Cow::into_owned).collect();
        Ok(Self { session, manifest: manifest.clone(), order, names, numbers: "fp32" })
    }

    /// What was loaded is the int8 variant.
    pub fn in_int8(self) -> Self {
        Self { numbers: "int8", ..self }
    }
}

/// A session whose inputs and outputs have not been looked at.
pub(super) fn open_session(model_bytes: &[u8], manifest: &Manifest, threads: usize) -> Result<Session, EngineError> {
    let environment = match ENVIRONMENT.lock().as_ref() {
        Some(environment) => environment.clone(),
        None => {
            let path = library_path(None).display().to_string();
            return Err(EngineError::LibraryMissing { path, reason: "not initialised yet".into() });
        }
    };
    let session = std::thread::scope(|scope| {
        let build = || build_session(&environment, model_bytes, manifest, threads).map_err(|error| error.to_string());
        let builder = std::thread::Builder::new().name("model-load".into()).spawn_scoped(scope, build);
        builder.map_err(|error| error.to_string())?.join().unwrap_or_else(|_| Err("the runtime panicked while loading".into()))
    });
    session.map_err(|reason| EngineError::Load { model: manifest.name.clone(), reason })
}

fn build_session(environment: &Environment, model_bytes: &[u8], manifest: &Manifest, threads: usize) -> ort::Result<Session> {
    let fixed_size = manifest.input.width.is_some() && manifest.input.height.is_some();
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads.max(1))?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_flush_to_zero()?
        // One block, planned once, for a network whose sizes never change; planning anew for each size would cost more than it saves.
        .with_memory_pattern(fixed_size)?
        .commit_from_memory(model_bytes)
}

/// The manifest's outputs as places in the session, or why the graph does not fit.
fn check_session(session: &Session, manifest: &Manifest) -> Result<Vec<usize>, String> {
    let [input] = session.inputs() else {
        return Err(format!("the graph has {} inputs, not one", session.inputs().len()));
    };
    if input.name() != manifest.input.name {
        return Err(format!("the graph's input is `{}`, the manifest says `{}`", input.name(), manifest.input.name));
    }
    if input.dtype().tensor_type() != Some(TensorElementType::Float32) {
        return Err(format!("input `{}` is {}, not an fp32 tensor", input.name(), input.dtype()));
    }
    let wanted = manifest.decode.output_names();
    let outputs = session.outputs();
    if outputs.len() != wanted.len() || wanted.len() > MAX_OUTPUTS {
        return Err(format!("the graph has {} outputs, the manifest's layout {}", outputs.len(), wanted.len()));
    }
    let mut order = Vec::with_capacity(wanted.len());
    for name in wanted {
        let place = outputs.iter().position(|o| o.name() == &*name).ok_or_else(|| format!("the graph has no output `{name}`"))?;
        if outputs[place].dtype().tensor_type() != Some(TensorElementType::Float32) {
            return Err(format!("output `{name}` is {}, not an fp32 tensor", outputs[place].dtype()));
        }
        order.push(place);
    }
    Ok(order)
}

impl Network for OnnxNetwork {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn runs_on(&self) -> String {
        format!("ONNX Runtime, {}", self.numbers)
    }

    fn run(&mut self, input: &[f32], shape: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
        check_input(&self.manifest, input.len(), shape)?;
        let failed = |reason: String| EngineError::Run { model: self.manifest.name.clone(), reason };
        let tensor = TensorRef::from_array_view((shape, input)).map_err(|error| failed(error.to_string()))?;
        // Wiped when this returns, however it returns.
        let outputs = Wiped(self.session.run(ort::inputs![tensor]).map_err(|error| failed(error.to_string()))?);

        let mut shapes = [[0usize; MAX_RANK]; MAX_OUTPUTS];
        let mut data: [(usize, &[f32]); MAX_OUTPUTS] = [(0, &[]); MAX_OUTPUTS];
        for (slot, &place) in self.order.iter().enumerate() {
            let name = &self.names[slot];
            let (dims, values) = outputs.0[place].try_extract_tensor::<f32>().map_err(|error| failed(error.to_string()))?;
            if dims.len() > MAX_RANK {
                return Err(failed(format!("output `{name}` has {} dimensions, at most {MAX_RANK} are known", dims.len())));
            }
            for (to, &from) in shapes[slot].iter_mut().zip(dims.iter()) {
                *to = usize::try_from(from).map_err(|_| failed(format!("output `{name}` has the dimension {from}")))?;
            }
            data[slot] = (dims.len(), values);
        }
        let views: [Output<'_>; MAX_OUTPUTS] = std::array::from_fn(|slot| {
            let (rank, values) = data[slot];
            Output { name: self.names.get(slot).map_or("", String::as_str), shape: &shapes[slot][..rank], data: values }
        });
        read(&views[..self.order.len()]);
        Ok(())
    }
}

/// The outputs of one run, in the runtime's own memory.
pub(super) struct Wiped<'s>(pub SessionOutputs<'s>);

impl Drop for Wiped<'_> {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Writes zeros where the runtime wrote its outputs.
fn wipe(outputs: &mut SessionOutputs<'_>) {
    for place in 0..outputs.len() {
        // All are fp32 tensors (`check_session`).
        if let Ok((_shape, values)) = outputs[place].try_extract_tensor_mut::<f32>() {
            values.zeroize();
        }
    }
}

/// Batch of at least one, three channels, the manifest's size (or its multiple), and as many values as that makes.
fn check_input(manifest: &Manifest, values: usize, shape: [usize; 4]) -> Result<(), EngineError> {
    let fits = |got: usize, fixed: Option<u32>| match fixed {
        Some(size) => got == size as usize,
        None => got > 0 && got.is_multiple_of(manifest.input.multiple_of.max(1) as usize),
    };
    let [batch, channels, height, width] = shape;
    let product = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
    let shape_fits = batch > 0 && channels == 3 && fits(height, manifest.input.height) && fits(width, manifest.input.width);
    if shape_fits && product == Some(values) {
        return Ok(());
    }
    let side = |fixed: Option<u32>| fixed.map_or_else(|| format!("k·{}", manifest.input.multiple_of), |size| size.to_string());
    let mut want = format!("[batch, 3, {}, {}]", side(manifest.input.height), side(manifest.input.width));
    if shape_fits {
        want = format!("a tensor of {values} values");
    }
    Err(EngineError::InputShape { model: manifest.name.clone(), got: shape, want })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_path_wins_even_if_nothing_is_there() {
        let config = Path::new("/nowhere/libonnxruntime.so");
        assert_eq!(choose_library(Some(config), Some("/env.so".into()), None), config);
        assert_eq!(choose_library(None, Some("/env.so".into()), None), Path::new("/env.so"));
    }

    #[test]
    fn the_library_is_found_beside_the_program_and_above_it() {
        let root = tempfile::tempdir().unwrap();
        let deps = root.path().join("target/debug/deps");
        std::fs::create_dir_all(&deps).unwrap();
        let lib = root.path().join("lib");
        std::fs::create_dir_all(&lib).unwrap();
        for name in ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.31.1", "libonnxruntime.so.notes", "libonnxruntime_other.so"] {
            std::fs::write(lib.join(name), b"").unwrap();
        }
        let found = |program: &Path| choose_library(None, None, Some(program));
        assert_eq!(found(&deps.join("placard-1")), lib.join("libonnxruntime.so.1.31.1"), "versions compare as numbers");
        assert_eq!(found(&root.path().join("target/debug/placard")), lib.join("libonnxruntime.so.1.31.1"));
        std::fs::write(lib.join("libonnxruntime.so"), b"").unwrap();
        assert_eq!(found(&deps.join("placard-1")), lib.join("libonnxruntime.so"));
    }

    #[test]
    fn outputs_read_back_as_zeros_and_the_next_run_is_none_the_worse() {
        let Some(data) = crate::detect::golden::test_data() else { return };
        initialise(&library_path(None)).unwrap();
        for (file, name) in
            [("mobileface_v2_112.onnx", "mobileface-v2"), ("yunet_n_320_320.onnx", "yunet-n-320"), ("version-RFB-320.onnx", "rfb-320")]
        {
            let bytes = std::fs::read(data.join("models").join(file)).unwrap();
            let manifest = super::super::known::by_name(name).unwrap();
            let mut network = OnnxNetwork::load(&bytes, &manifest, 1).unwrap();
            let (width, height) = (manifest.input.width.unwrap() as usize, manifest.input.height.unwrap() as usize);
            let shape = [1, 3, height, width];
            let input: Vec<f32> = (0..3 * height * width).map(|i| ((i % 97) as f32 - 48.0) / 50.0).collect();
            let mut seen: Vec<Vec<f32>> = Vec::new();
            network.run(&input, shape, &mut |outputs| seen = outputs.iter().map(|o| o.data.to_vec()).collect()).unwrap();
            assert!(seen.iter().flatten().any(|&v| v != 0.0), "{name} said something");

            let tensor = TensorRef::from_array_view((shape, &*input)).unwrap();
            let mut outputs = network.session.run(ort::inputs![tensor]).unwrap();
            wipe(&mut outputs);
            for place in 0..outputs.len() {
                let (_, values) = outputs[place].try_extract_tensor::<f32>().unwrap();
                assert!(!values.is_empty() && values.iter().all(|&v| v.to_bits() == 0), "{name}, output {place}");
            }
            drop(outputs);

            // Also when whoever reads them panics.
            let panicked =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| network.run(&input, shape, &mut |_| panic!("on purpose"))));
            assert!(panicked.is_err());
            let mut again: Vec<Vec<f32>> = Vec::new();
            network.run(&input, shape, &mut |outputs| again = outputs.iter().map(|o| o.data.to_vec()).collect()).unwrap();
            assert!(again == seen, "{name}: wiping outputs touched the network itself");
        }
    }

    #[test]
    fn a_missing_library_is_an_error_that_says_what_to_do() {
        let error = open_library(Path::new("/nowhere/libonnxruntime.so")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/libonnxruntime.so") && error.contains("make deps"), "{error}");
    }
}
