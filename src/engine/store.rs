//! The model store: the bundled models (`bundled.rs`), and `STATE/models/NAME/{model.onnx, manifest.toml}`.
//!
//! A model may have an int8 variant beside it (`store/int8.rs`); a detector's is a table of ranges (`store/detector.rs`).
//!
//! A bundled model is found by its name as if it had been added; its name is never anybody else's. Whatever a manifest on the disk says, a
//! file that is a bundled model is one for commissioning.
//!
//! A model gets in by [`add`] only: checked, prepared, run once on grey, then written into a temporary directory, synced and renamed, so
//! that a power cut leaves the whole model or nothing. Names of temporary directories start with a dot, which no model's name does; they
//! are ignored, and removed by the next `add` once their process is gone. What is opened is what was prepared: [`open`] compares digests.
//!
//! Owning thread: any. Models are added by commands and opened at start; nothing here runs per frame.

mod detector;
mod int8;
mod trial;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::bundled::{self, Bundled};
use super::import::{self, ImportError, ImportReport};
use super::known::{By, Recognised};
use super::manifest::{IntendedUse, Manifest, ManifestError, Task, check_name};
use super::onnx::MAX_FILE_BYTES;
use super::onnxruntime::{OnnxNetwork, initialise, library_path};
use super::{EngineError, Network};
use crate::config::schema;
use crate::hex;
use crate::state::StateDirectory;

pub use detector::{Calibration, Recall, add_int8_detector, export_int8_detector, load_detector};
pub use int8::{Int8Outcome, Samples, add_int8, export_int8, load_fastest};
pub use trial::Trial;

const MODEL: &str = "model.onnx";
const MANIFEST: &str = "manifest.toml";
/// A manifest is a page of text.
const MAX_MANIFEST_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("{}: {error}", path.display())]
    Refused { path: PathBuf, error: ImportError },
    #[error("{}: manifest: {error}", path.display())]
    Manifest { path: PathBuf, error: ManifestError },
    #[error(
        "{}: not a known model (SHA-256 {sha256}): describe it in a file and give it with `--manifest FILE` (`placard model known` lists what needs none)",
        path.display()
    )]
    Unknown { path: PathBuf, sha256: String },
    /// The name that was asked for.
    #[error("--name: {0}")]
    Name(ManifestError),
    #[error("the store has another model `{name}`: choose another name with `--name`, or remove {}", path.display())]
    NameTaken { name: String, path: PathBuf },
    #[error("`{name}` is the name of a model that is part of the program: choose another name with `--name`")]
    NameReserved { name: String },
    #[error("{}: this is `{bundled}`, which is part of the program: use it by that name, without --name and --manifest", path.display())]
    IsBundled { path: PathBuf, bundled: String },
    #[error(
        "{}: its weights are those of `{bundled}`, which is for commissioning and demonstration, never to recognise real people: say \
         `intended_use = \"commissioning\"` in the manifest, or import an operational model (`placard model known` lists published ones)",
        path.display()
    )]
    Relabelled { path: PathBuf, bundled: String },
    #[error("the bundled model `{name}` is damaged: {error}; this is a fault of the program's build")]
    Bundled { name: String, error: ImportError },
    #[error("no model `{name}` in {} ({}): add it with `placard model add FILE`", path.display(), in_store(.have))]
    NotFound { name: String, path: PathBuf, have: Vec<String> },
    #[error(
        "{}: its SHA-256 is {got}, its manifest says {want}: the file was changed after it was added; add the model again with `placard model add FILE --name {name}`",
        path.display()
    )]
    Damaged { name: String, path: PathBuf, got: String, want: String },
    #[error("model `{name}` is for {got:?}, {want:?} is wanted here")]
    WrongTask { name: String, got: Task, want: Task },
    #[error("{}: it cannot be run: {error}", path.display())]
    Trial { path: PathBuf, error: EngineError },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

fn in_store(have: &[String]) -> String {
    let listed = |names: &[&str]| names.join(", ");
    let bundled: Vec<&str> = bundled::names().collect();
    let part = if bundled.is_empty() { String::new() } else { format!("; part of the program are {}", listed(&bundled)) };
    if have.is_empty() { format!("which is empty{part}") } else { format!("which has {}{part}", have.join(", ")) }
}

/// How to add a model.
#[derive(Clone, Debug, Default)]
pub struct AddOptions {
    /// Instead of the manifest's own name.
    pub name: Option<String>,
    /// The operator's manifest, for a file that is not known.
    pub manifest: Option<PathBuf>,
    /// The runtime's library, if the configuration names it.
    pub onnxruntime: Option<PathBuf>,
}

/// What `add` did.
#[derive(Clone, Debug)]
pub struct Added {
    pub manifest: Manifest,
    pub report: ImportReport,
    /// `None`: described by the operator.
    pub recognised_by: Option<By>,
    /// What the graph does not tell of how the model is fed, and was taken from its family's custom.
    pub assumed: Option<String>,
    /// The store had exactly this model already, or it is part of the program.
    pub already_there: bool,
    /// The bundled model whose weights it has: whatever else it says, it is for commissioning.
    pub kin_of: Option<String>,
    /// What trying it showed; `None`: it is part of the program.
    pub trial: Option<Trial>,
    /// `None`: it is part of the program, nothing of it is on the disk.
    pub directory: Option<PathBuf>,
}

impl Added {
    /// Of a model that need not be added.
    fn bundled(model: &Bundled) -> Self {
        Self {
            manifest: model.manifest.clone(),
            report: model.report.clone(),
            recognised_by: Some(By::Digest),
            assumed: None,
            already_there: true,
            kin_of: Some(model.manifest.name.clone()),
            trial: None,
            directory: None,
        }
    }
}

/// What `add` says of a bundled model, which need not be added. `None`: there is none of this name.
pub fn add_bundled(name: &str) -> Option<Result<Added, StoreError>> {
    of_the_program(name).map(|model| model.map(Added::bundled))
}

/// Checks, prepares, tries and stores a model file.
pub fn add(state: &StateDirectory, file: &Path, options: &AddOptions) -> Result<Added, StoreError> {
    let refused = |error| StoreError::Refused { path: file.into(), error };
    let bytes = read_bounded(file, MAX_FILE_BYTES)?;
    let candidate = import::read(&bytes).map_err(refused)?;
    if let Some(model) = bundled::by_digest(candidate.sha256()) {
        let bundled = model.manifest.name.clone();
        let as_it_is = options.manifest.is_none() && options.name.as_ref().is_none_or(|name| *name == bundled);
        return if as_it_is { Ok(Added::bundled(model)) } else { Err(StoreError::IsBundled { path: file.into(), bundled }) };
    }
    let (mut manifest, recognised_by, assumed) = match &options.manifest {
        Some(path) => (read_manifest(path)?, None, None),
        None => match candidate.recognise() {
            Some(Recognised { manifest, by, assumed }) => (manifest, Some(by), assumed),
            None => return Err(StoreError::Unknown { path: file.into(), sha256: candidate.sha256().into() }),
        },
    };
    let kin_of = bundled::kin(&candidate).map(|model| model.manifest.name.clone());
    match (&kin_of, recognised_by) {
        (Some(bundled), None) if manifest.intended_use == IntendedUse::Operational => {
            return Err(StoreError::Relabelled { path: file.into(), bundled: bundled.clone() });
        }
        (Some(_), _) => manifest.intended_use = IntendedUse::Commissioning,
        (None, _) => {}
    }
    if let Some(name) = &options.name {
        check_name(name).map_err(StoreError::Name)?;
        manifest.name.clone_from(name);
    }
    if bundled::names().any(|name| name == manifest.name) {
        return Err(StoreError::NameReserved { name: manifest.name });
    }
    let prepared = candidate.prepare(&manifest).map_err(refused)?;
    manifest.prepared_sha256 = Some(prepared.report.prepared_sha256.clone());
    // What somebody else measured of another file is not this one's.
    manifest.int8 = None;
    initialise(&library_path(options.onnxruntime.as_deref()))?;
    let trial = trial::run(&prepared, &manifest).map_err(|error| StoreError::Trial { path: file.into(), error })?;
    let (directory, there) = write(state, &manifest, &prepared.bytes)?;
    let already_there = there.is_some();
    let manifest = there.unwrap_or(manifest);
    Ok(Added {
        manifest,
        report: prepared.report,
        recognised_by,
        assumed,
        already_there,
        kin_of,
        trial: Some(trial),
        directory: Some(directory),
    })
}

/// `None`: no bundled model has this name.
fn of_the_program(name: &str) -> Option<Result<&'static Bundled, StoreError>> {
    let broken = |error: &ImportError| StoreError::Bundled { name: name.into(), error: error.clone() };
    bundled::by_name(name).map(|model| model.as_ref().map_err(broken))
}

/// A directory of the store, with its manifest or with why it cannot be used.
#[derive(Debug)]
pub struct Listed {
    pub name: String,
    pub manifest: Result<Manifest, StoreError>,
}

/// The models that were added, by name, without those of the program. Digests are not compared: [`open`] does.
pub fn list(state: &StateDirectory) -> Result<Vec<Listed>, StoreError> {
    let names = names(state)?;
    Ok(names.into_iter().map(|name| Listed { manifest: manifest_of(state, &name), name }).collect())
}

/// A model's manifest and its prepared bytes: their digest has been compared, and they have been checked again as at import. So has its int8
/// variant, if it has one: a model of which one half was changed is not trusted with the other.
///
/// A file that is a bundled model, or has the weights of one, is for commissioning whatever its manifest says.
pub fn open(state: &StateDirectory, name: &str) -> Result<(Manifest, Vec<u8>), StoreError> {
    if let Some(model) = of_the_program(name) {
        return model.map(|model| (model.manifest.clone(), model.prepared.clone()));
    }
    let mut manifest = manifest_of(state, name)?;
    let want = manifest.prepared_sha256.clone().unwrap_or_default();
    let prepared = read_pinned(&manifest, state.models().join(name).join(MODEL), want)?;
    let int8 = int8::read(state, &manifest)?;
    if bundled::by_digest(&manifest.sha256).is_some() || prepared.is_bundled || int8.is_some_and(|int8| int8.is_bundled) {
        manifest.intended_use = IntendedUse::Commissioning;
    }
    Ok((manifest, prepared.bytes))
}

/// A file of the store, checked.
struct Pinned {
    bytes: Vec<u8>,
    /// It is a bundled model, or has the weights of one.
    is_bundled: bool,
}

/// A file of the store whose digest is `want`, and that its manifest accounts for.
fn read_pinned(manifest: &Manifest, path: PathBuf, want: String) -> Result<Pinned, StoreError> {
    let bytes = read_bounded(&path, MAX_FILE_BYTES)?;
    let got = hex::sha256(&bytes);
    if got != want {
        return Err(StoreError::Damaged { name: manifest.name.clone(), path, got, want });
    }
    let candidate = import::verify(&bytes, manifest).map_err(|error| StoreError::Refused { path, error })?;
    let is_bundled = bundled::by_digest(&got).is_some() || bundled::kin(&candidate).is_some();
    Ok(Pinned { bytes, is_bundled })
}

/// A network of the store in fp32, ready to run, for the task that it is wanted for.
pub fn load_network(state: &StateDirectory, name: &str, task: Task, engine: &schema::Engine) -> Result<Box<dyn Network>, StoreError> {
    let (manifest, bytes) = open_for(state, name, task)?;
    start(&manifest, &bytes, engine)
}

fn open_for(state: &StateDirectory, name: &str, task: Task) -> Result<(Manifest, Vec<u8>), StoreError> {
    let (manifest, bytes) = open(state, name)?;
    if manifest.task != task {
        return Err(StoreError::WrongTask { name: name.into(), got: manifest.task, want: task });
    }
    Ok((manifest, bytes))
}

fn start(manifest: &Manifest, bytes: &[u8], engine: &schema::Engine) -> Result<Box<dyn Network>, StoreError> {
    initialise(&library_path(engine.onnxruntime.as_deref()))?;
    Ok(Box::new(OnnxNetwork::load(bytes, manifest, 1)?))
}

fn names(state: &StateDirectory) -> Result<Vec<String>, StoreError> {
    let path = state.models();
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::File { path, error }),
    };
    let directories = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = directories.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // One that has the name of a bundled model was put there by another version of the program, or by hand: nobody asks for it.
    names.retain(|name| check_name(name).is_ok() && bundled::by_name(name).is_none());
    names.sort();
    Ok(names)
}

fn manifest_of(state: &StateDirectory, name: &str) -> Result<Manifest, StoreError> {
    let directory = state.models().join(name);
    if check_name(name).is_err() || !directory.is_dir() {
        return Err(StoreError::NotFound { name: name.into(), path: state.models(), have: names(state)? });
    }
    let path = directory.join(MANIFEST);
    let manifest = read_manifest(&path)?;
    let wrong = |key, reason: String| StoreError::Manifest { path: path.clone(), error: ManifestError::Value { key, reason } };
    if manifest.name != name {
        return Err(wrong("name", format!("`{}`, but the directory is `{name}`", manifest.name)));
    }
    if manifest.prepared_sha256.is_none() {
        return Err(wrong("prepared_sha256", "missing: a model gets into the store by `placard model add` only".into()));
    }
    Ok(manifest)
}

fn read_manifest(path: &Path) -> Result<Manifest, StoreError> {
    let wrong = |error| StoreError::Manifest { path: path.into(), error };
    let text = String::from_utf8(read_bounded(path, MAX_MANIFEST_BYTES)?)
        .map_err(|error| wrong(ManifestError::Toml(format!("not UTF-8: {error}"))))?;
    Manifest::from_toml(&text).map_err(wrong)
}

/// A regular file of at most `limit` bytes.
fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, StoreError> {
    let failed = |error| StoreError::File { path: path.into(), error };
    // Asked before opening: opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(limit).min(limit));
    let limit_bytes = limit as u64;
    let read = File::open(path).and_then(|file| file.take(limit_bytes + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if read > limit || metadata.len() > limit_bytes {
        let error = ImportError::TooLarge { bytes: metadata.len().max(limit_bytes + 1) };
        return Err(if limit == MAX_FILE_BYTES {
            StoreError::Refused { path: path.into(), error }
        } else {
            failed(std::io::Error::other(format!("larger than {limit} bytes")))
        });
    }
    Ok(bytes)
}

/// Writes a model whole or not at all. The very same that was there already is left as it is, and its manifest returned.
fn write(state: &StateDirectory, manifest: &Manifest, bytes: &[u8]) -> Result<(PathBuf, Option<Manifest>), StoreError> {
    let models = state.models();
    let directory = models.join(&manifest.name);
    if directory.exists() {
        match open(state, &manifest.name) {
            Ok((there, _)) if (Manifest { int8: None, ..there.clone() }) == *manifest => return Ok((directory, Some(there))),
            Err(error) if is_damage(&error) => set_aside(&models, &manifest.name, &error)?,
            _ => return Err(StoreError::NameTaken { name: manifest.name.clone(), path: directory }),
        }
    }
    let text = manifest.to_toml().map_err(|error| StoreError::Manifest { path: directory.join(MANIFEST), error })?;
    let failed = |error| StoreError::File { path: directory.clone(), error };
    std::fs::create_dir_all(&models).map_err(failed)?;
    remove_leftovers(&models);
    let temporary = models.join(format!(".{}.{}.tmp", manifest.name, std::process::id()));
    // Left by an earlier process of the same id.
    let _leftover = std::fs::remove_dir_all(&temporary);
    let written = (|| {
        std::fs::create_dir(&temporary)?;
        for (name, contents) in [(MODEL, bytes), (MANIFEST, text.as_bytes())] {
            let mut file = File::create_new(temporary.join(name))?;
            file.write_all(contents)?;
            file.sync_all()?;
        }
        File::open(&temporary)?.sync_all()?;
        // Fails if another process has put a model there since: a directory that is not empty is never replaced.
        std::fs::rename(&temporary, &directory)?;
        File::open(&models)?.sync_all()
    })();
    if written.is_err() {
        // The error to report is the first one; a leftover is ignored by name and removed by the next `add`.
        let _leftover = std::fs::remove_dir_all(&temporary);
    }
    written.map_err(failed)?;
    Ok((directory, None))
}

/// Whether a model of the store is of no use to anybody, so that adding it again may replace it.
fn is_damage(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged { .. } | StoreError::Manifest { .. } | StoreError::Refused { .. } => true,
        StoreError::File { error, .. } => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Takes a damaged model out of its place. Nothing could run it, so a crash from here on costs nobody a model.
fn set_aside(models: &Path, name: &str, damage: &StoreError) -> Result<(), StoreError> {
    tracing::warn!(model = name, %damage, "a damaged model is replaced");
    let (from, to) = (models.join(name), models.join(format!(".{name}-damaged.{}.tmp", std::process::id())));
    let failed = |error| StoreError::File { path: from.clone(), error };
    let _leftover = std::fs::remove_dir_all(&to);
    std::fs::rename(&from, &to).map_err(failed)?;
    std::fs::remove_dir_all(&to).map_err(failed)
}

/// Temporary directories of processes that are gone.
fn remove_leftovers(models: &Path) {
    let Ok(entries) = std::fs::read_dir(models) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?.1.parse::<u32>().ok());
        let Some(process) = process else { continue };
        let gone = !Path::new("/proc").join(process.to_string()).exists();
        if gone && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a leftover of an interrupted import cannot be removed");
        }
    }
}
