//! `placard check`: validate pipeline files without starting anything.
//!
//! First the file itself (exit 3 if it is invalid), then what it needs on this machine: models, credentials, devices, clips, GStreamer
//! elements (exit 6 if something without which it cannot run is missing). Warnings do not change the exit status.

mod surroundings;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::surroundings::StreamNow;
use super::{Context, Exit, Outcome};
use crate::config::keys::Problem;
use crate::config::{self, Loaded, reference};
use crate::policy::lease::StreamState;

#[derive(clap::Args)]
pub struct Args {
    /// Pipeline files.
    #[arg(required_unless_present = "write_reference", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Look at the files only, not at what they need on this machine.
    #[arg(long)]
    syntax_only: bool,
    /// Write the configuration reference (for whoever changes the schema).
    #[arg(long, hide = true, value_name = "FILE")]
    write_reference: Option<PathBuf>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Severity {
    /// It runs, but perhaps not as meant.
    Warning,
    /// It cannot run on this machine as it is.
    Missing,
    /// The law does not let it run in this site.
    Refused,
    /// The file is invalid.
    Invalid,
}

#[derive(Debug, Serialize)]
struct Finding {
    severity: Severity,
    #[serde(flatten)]
    problem: Problem,
}

/// What was found in and around one file.
#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    valid: bool,
    /// One line about what the file describes; empty if it is invalid.
    summary: String,
    findings: Vec<Finding>,
    /// State and reason that each stream would have now; empty where there is no register that can be read (every stream is off).
    streams: Vec<StreamNow>,
}

pub fn run(context: &Context, args: Args) -> Outcome {
    if let Some(path) = &args.write_reference {
        std::fs::write(path, reference::markdown()).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    }
    let reports: Vec<Report> = args.files.iter().map(|file| examine(context, file, args.syntax_only)).collect();
    show(&reports, context.json)?;
    Ok(exit_of(&reports))
}

/// The worst finding decides.
fn exit_of(reports: &[Report]) -> Exit {
    match reports.iter().flat_map(|r| &r.findings).map(|f| f.severity).max() {
        Some(Severity::Invalid) => Exit::Config,
        Some(Severity::Refused) => Exit::Refused,
        Some(Severity::Missing) => Exit::Missing,
        Some(Severity::Warning) | None => Exit::Success,
    }
}

fn examine(context: &Context, file: &Path, syntax_only: bool) -> Report {
    let (mut findings, mut streams) = (Vec::new(), Vec::new());
    let mut add = |severity, problems: Vec<Problem>| findings.extend(problems.into_iter().map(|problem| Finding { severity, problem }));
    let summary = match config::load(file) {
        Ok(loaded) => {
            add(Severity::Warning, loaded.notes.clone());
            if !syntax_only {
                let around = surroundings::look(&loaded, &context.state);
                add(Severity::Refused, around.refused);
                add(Severity::Missing, around.missing);
                add(Severity::Warning, around.doubtful);
                streams = around.streams;
            }
            summary_of(&loaded)
        }
        Err(error) => {
            let whole = || vec![Problem { line: 0, column: 0, key: String::new(), message: error.to_string() }];
            add(Severity::Invalid, if error.problems().is_empty() { whole() } else { error.problems().to_vec() });
            String::new()
        }
    };
    findings.sort_by_key(|f| (f.problem.line, f.problem.column));
    Report { file: file.to_owned(), valid: !findings.iter().any(|f| f.severity == Severity::Invalid), summary, findings, streams }
}

fn summary_of(loaded: &Loaded) -> String {
    let (pipeline, limits) = (&loaded.pipeline, &loaded.limits);
    let streams = match limits.streams.len() {
        1 => "1 stream".to_owned(),
        n => format!("{n} streams"),
    };
    let detect = format!("{} ×{}", pipeline.detect.model, limits.detect_workers);
    let embed =
        pipeline.embed.as_ref().map_or("identifies nobody".to_owned(), |e| format!("embedder {} ×{}", e.model, limits.embed_workers));
    format!("`{}`: {streams}, detector {detect}, {embed}", pipeline.name)
}

fn show(reports: &[Report], json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        let valid = reports.iter().all(|r| r.valid);
        return writeln!(out, "{}", serde_json::json!({ "valid": valid, "files": reports }));
    }
    for report in reports {
        let file = report.file.display();
        for Finding { severity, problem } in &report.findings {
            let word = if *severity == Severity::Warning { "warning" } else { "error" };
            let place = if problem.line == 0 { String::new() } else { format!("{file}:{}:{}: ", problem.line, problem.column) };
            let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
            writeln!(out, "{place}{word}: {key}{}", problem.message)?;
        }
        // Of a dark one a warning has told already.
        for StreamNow { name, state, reason } in report.streams.iter().filter(|s| s.state >= StreamState::Detect) {
            writeln!(out, "{file}: stream `{name}`: {}: {reason}", state.name())?;
        }
        let count = |severity| report.findings.iter().filter(|f| f.severity == severity).count();
        let (refused, missing, warnings) = (count(Severity::Refused), count(Severity::Missing), count(Severity::Warning));
        match (report.valid, refused + missing) {
            (false, _) => writeln!(out, "{file}: invalid")?,
            (true, _) if refused > 0 => {
                writeln!(
                    out,
                    "{file}: valid, but may not run here; {}; refused: {refused}, missing: {missing}, warnings: {warnings}",
                    report.summary
                )?;
            }
            (true, 0) => writeln!(out, "{file}: valid; {}; warnings: {warnings}", report.summary)?,
            (true, _) => writeln!(out, "{file}: valid, but cannot run here; {}; missing: {missing}, warnings: {warnings}", report.summary)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateDirectory;

    /// Exit status of `check` on a file of this text.
    fn status(text: &str) -> (Exit, Vec<Finding>) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("p.toml");
        std::fs::write(&file, text).expect("written");
        let context = Context { state: StateDirectory::new(directory.path()), json: true };
        let report = examine(&context, &file, false);
        (exit_of(std::slice::from_ref(&report)), report.findings)
    }

    #[test]
    fn invalid_missing_and_well_have_different_exits() {
        let (exit, findings) = status("name = \"a b\"");
        assert_eq!(exit, Exit::Config);
        assert!(findings.iter().all(|f| f.severity == Severity::Invalid) && !findings.is_empty());
        let (exit, findings) = status("name = \"a\"\n[detect]\nmodel = \"none-such\"\n[[stream]]\nname = \"a\"\nsource = \"file:x.mkv\"\n");
        assert_eq!(exit, Exit::Missing);
        let at = |key: &str| findings.iter().find(|f| f.problem.key == key).map(|f| (f.severity, f.problem.line));
        assert_eq!(at("detect.model"), Some((Severity::Missing, 3)));
        assert_eq!(at("stream[0].source"), Some((Severity::Missing, 6)));
    }

    #[test]
    fn every_example_is_valid() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&examples).expect("pipelines/") {
            let path = entry.expect("an entry").path();
            let loaded = config::load(&path).map_err(|e| e.to_string()).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(loaded.notes, [], "{}", path.display());
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            assert_eq!(loaded.pipeline.name, stem, "a file's name is its pipeline's");
            names.push(stem);
        }
        names.sort();
        assert_eq!(names, ["file-replay", "low-power", "mask-check", "rtsp-wall", "v4l2-gate"]);
    }
}
