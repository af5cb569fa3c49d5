//! `placard model`: add, list, show and measure models.

mod faces;
mod int8;
mod shots;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use super::exits::{present, store_failed};
use super::{Context, Exit, Failed, Outcome, evaluate};
use crate::engine::bundled;
use crate::engine::known::{self, By};
use crate::engine::manifest::{ChannelOrder, Input, IntendedUse, Manifest, Resize};
use crate::engine::store::{self, AddOptions, Added, Int8Outcome, Listed, StoreError};
use crate::purpose::Purpose;
use faces::Photographs;
use int8::{execution, int8_object, int8_text, make_int8, show_int8};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Check an ONNX file, prepare it and put it into the site's model store. Bundled models need not be added.
    Add {
        /// The model as published, or the name of a bundled one.
        file: PathBuf,
        /// Store it under another name.
        #[arg(long)]
        name: Option<String>,
        /// Describe a model that is not known (`placard model show NAME` prints an example).
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
        /// Also make an int8 variant of an embedder or of a detector of YuNet's class. Cameras use it if it is measured to be as good and faster
        /// on this machine; enrolment and search stay fp32.
        #[arg(long)]
        int8: bool,
        /// Calibrate with the faces in this folder's photographs (JPEG, PNG) instead of rendered ones.
        #[arg(long, value_name = "DIR", requires_all = ["int8", "purpose"])]
        calibrate: Option<PathBuf>,
        /// The purpose of the register under which these photographs may be read.
        #[arg(long, requires = "calibrate")]
        purpose: Option<Purpose>,
        /// Face detector in the model store that finds the faces in them. Unset: the only one there.
        #[arg(long, value_name = "NAME", requires = "calibrate")]
        detector: Option<String>,
        /// For the program's makers: the directory of its next version's bundled models.
        #[arg(long, value_name = "DIR", requires = "int8", hide = true)]
        out: Option<PathBuf>,
    },
    /// List the models there are: those of the program, then those that were added.
    List,
    /// Show a model's manifest.
    Show {
        /// Of the program, of the store, or one that is known.
        name: String,
    },
    /// List the published models that need no manifest: what to fetch, from whom, and under which licence.
    Known,
    /// Measure models on rendered people, and on photographs that you name. Figures come out, no names and no templates.
    Eval(evaluate::Args),
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let mut out = std::io::stdout().lock();
    match args.action {
        Action::Add { file, name, manifest, int8, calibrate, purpose, detector, out: next } => {
            let options = AddOptions { name, manifest, onnxruntime: None };
            let photographs = calibrate.zip(purpose).map(|(directory, purpose)| Photographs { directory, purpose, detector });
            if let Some(photographs) = &photographs {
                present(&photographs.directory)?;
            }
            let bundled = file.to_str().filter(|_| !file.exists()).and_then(store::add_bundled);
            let mut added = bundled.unwrap_or_else(|| store::add(&context.state, &file, &options)).map_err(store_failed)?;
            let made = if int8 { Some(make_int8(context, &added, photographs.as_ref(), next.as_deref())) } else { None };
            super::owner::hand_over(&context.state)?;
            let made = made.transpose()?;
            if let Some(outcome) = &made {
                added.manifest.int8 = outcome.int8().cloned();
            }
            show_added(&mut out, context.json, &added, made.as_ref())?;
        }
        Action::List => list(&mut out, context)?,
        Action::Show { name } => {
            let manifest = match store::open(&context.state, &name) {
                Ok((manifest, _)) => manifest,
                Err(error @ StoreError::NotFound { .. }) => known::by_name(&name).ok_or_else(|| store_failed(error))?,
                Err(error) => return Err(store_failed(error)),
            };
            if context.json {
                let mut object = serde_json::to_value(&manifest)?;
                object["cameras_run"] = execution(&manifest).into();
                writeln!(out, "{object}")?;
            } else {
                write!(out, "{}", manifest.to_toml()?)?;
                if let Some(int8) = &manifest.int8 {
                    writeln!(out, "\n# {}", int8_text(manifest.task, int8))?;
                }
            }
        }
        Action::Known => {
            let stored = store::list(&context.state).map_err(store_failed)?;
            for manifest in known::all() {
                show_known(&mut out, context.json, &manifest, &stored)?;
            }
        }
        Action::Eval(args) => {
            drop(out);
            return evaluate::run(context, &args);
        }
    }
    Ok(Exit::Success)
}

/// Where a model comes from, in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Origin {
    /// Part of the program: for commissioning and demonstration.
    Program,
    /// `placard model add`.
    Store,
}

impl Origin {
    const fn text(self) -> &'static str {
        match self {
            Self::Program => "part of the program",
            Self::Store => "added",
        }
    }
}

fn list(out: &mut impl Write, context: &Context) -> Result<(), Failed> {
    for name in bundled::names() {
        let (manifest, _) = store::open(&context.state, name).map_err(store_failed)?;
        show_line(out, context.json, &manifest, Origin::Program)?;
    }
    let models = store::list(&context.state).map_err(store_failed)?;
    if models.is_empty() && !context.json {
        writeln!(out, "No models in {}: add one with `placard model add FILE`.", context.state.models().display())?;
    }
    for Listed { name, manifest } in models {
        // A file that was changed since it was added is of no use, however good its manifest.
        match manifest.and_then(|_| store::open(&context.state, &name)) {
            Ok((manifest, _)) => show_line(out, context.json, &manifest, Origin::Store)?,
            Err(error) if context.json => writeln!(out, "{}", json!({ "name": name, "error": error.to_string() }))?,
            Err(error) => writeln!(out, "{name:<20} unusable: {error}")?,
        }
    }
    Ok(())
}

fn show_line(out: &mut impl Write, as_json: bool, manifest: &Manifest, origin: Origin) -> Result<(), Failed> {
    if as_json {
        let mut object = serde_json::to_value(manifest)?;
        object["cameras_run"] = execution(manifest).into();
        if let Some(object) = object.as_object_mut() {
            object.insert("origin".into(), serde_json::to_value(origin)?);
        }
        writeln!(out, "{object}")?;
    } else {
        let (task, input) = (manifest.task.name(), input_text(&manifest.input));
        let (origin, intended_use) = (origin.text(), use_name(manifest.intended_use));
        writeln!(
            out,
            "{:<20} {task:<16} {input:<34} {:<5} {origin:<20} {intended_use:<14} {}",
            manifest.name,
            execution(manifest),
            manifest.licence
        )?;
    }
    Ok(())
}

/// What somebody who wants a known model has to look for, and whether the store has it, under which name.
fn show_known(out: &mut impl Write, as_json: bool, manifest: &Manifest, stored: &[Listed]) -> Result<(), Failed> {
    let is_it = |listed: &&Listed| listed.manifest.as_ref().is_ok_and(|m| m.sha256 == manifest.sha256);
    let in_store = stored.iter().find(is_it).map(|listed| &listed.name);
    let published_as = known::published_as(&manifest.name);
    if as_json {
        let mut object = serde_json::to_value(manifest)?;
        if let Some(object) = object.as_object_mut() {
            object.insert("published_as".into(), published_as.into());
            object.insert("in_store".into(), serde_json::to_value(in_store)?);
        }
        writeln!(out, "{object}")?;
    } else {
        let there = in_store.map_or_else(|| "not in the store".to_owned(), |name| format!("in the store as `{name}`"));
        writeln!(out, "{:<20} {:<16} {}; {there}", manifest.name, manifest.task.name(), manifest.licence)?;
        writeln!(out, "{:<20} {}: {}", "", manifest.publisher, published_as.unwrap_or_default())?;
        writeln!(out, "{:<20} sha256 {}", "", manifest.sha256)?;
    }
    Ok(())
}

fn show_added(out: &mut impl Write, as_json: bool, added: &Added, int8: Option<&Int8Outcome>) -> Result<(), Failed> {
    let Added { manifest, report, recognised_by, assumed, already_there, kin_of, trial, directory } = added;
    if as_json {
        let recognised_by = match recognised_by {
            Some(By::Digest) => "digest",
            Some(By::Signature) => "signature",
            None => "manifest",
        };
        let object = json!({
            "name": manifest.name, "recognised_by": recognised_by, "digest_known": recognised_by == "digest", "already_there": already_there, "trial_ms": trial.map(|trial| trial.ms), "changed_by": trial.and_then(|trial| trial.changed_by),
            "assumed": assumed, "kin_of": kin_of, "directory": directory, "report": report, "int8": int8.map(int8_object), "manifest": manifest,
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    let recognised = match recognised_by {
        _ if directory.is_none() => "part of the program: nothing to add",
        Some(By::Digest) => "known by its digest",
        Some(By::Signature) => NOT_PUBLISHED,
        None => "described by your manifest",
    };
    let prepared = format!(
        "{} PRelu rewritten, {} tiny weights set to 0, {} weights struck from the inputs",
        report.prelu_rewritten, report.weights_flushed, report.inputs_fixed
    );
    let use_text = match manifest.intended_use {
        IntendedUse::Operational => "operational",
        IntendedUse::Commissioning => "commissioning and demonstration only, never to recognise real people",
    };
    writeln!(out, "{}: {}, {recognised}", manifest.name, manifest.task.name())?;
    writeln!(out, "  publisher  {}", manifest.publisher)?;
    writeln!(out, "  licence    {}", manifest.licence)?;
    writeln!(out, "  use        {use_text}")?;
    writeln!(out, "  input      {}", input_text(&manifest.input))?;
    if let Some(assumed) = assumed {
        writeln!(out, "  fed        {assumed}")?;
    }
    writeln!(out, "  prepared   {prepared}")?;
    if let Some(name) = kin_of.as_ref().filter(|_| directory.is_some()) {
        writeln!(out, "  weights    those of the bundled `{name}`, whatever a manifest says")?;
    }
    if let Some(trial) = trial {
        writeln!(out, "  tried      {:.1} ms for its first picture", trial.ms)?;
        if let Some(changed_by) = trial.changed_by {
            writeln!(out, "             preparation changed its outputs by {changed_by:.0e} of the largest at most")?;
        }
    }
    if let Some(outcome) = int8 {
        show_int8(out, outcome)?;
    }
    if let Some(directory) = directory {
        writeln!(out, "  {}  {}", if *already_there { "was there" } else { "stored   " }, directory.display())?;
    }
    Ok(())
}

const fn use_name(intended_use: IntendedUse) -> &'static str {
    match intended_use {
        IntendedUse::Operational => "operational",
        IntendedUse::Commissioning => "commissioning",
    }
}

/// A graph says nothing about the weights: an altered copy of a published file looks like this too.
const NOT_PUBLISHED: &str = "NOT a file whose digest Placard knows: only its graph is that of a known model. Who made it, its licence and its \
     accuracy are unknown; use it only if you know where it comes from. Its digest is pinned from now on";

fn input_text(input: &Input) -> String {
    let size = match (input.width, input.height) {
        (Some(width), Some(height)) => format!("{width} × {height}"),
        _ => format!("any size, multiples of {}", input.multiple_of),
    };
    let channels = match input.channels {
        ChannelOrder::Rgb => "RGB",
        ChannelOrder::Bgr => "BGR",
    };
    let resize = match input.resize {
        Resize::Letterbox => "letterbox",
        Resize::Stretch => "stretch",
        Resize::AlignedCrop => "aligned crop",
    };
    format!("{size}, {channels}, {resize}")
}
