//! From a file to a checked pipeline: read, parse, compare with the schema, derive limits.
//!
//! Every error names the file, and each problem in it its line, column and key. All problems that can be known are reported
//! together. Nothing is started and nothing outside the file is looked at (`placard check` does that).

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::DeTable;

use super::keys::{self, Lines, Problem};
use super::limits::{self, Limits};
use super::schema::Pipeline;

/// Larger files are refused unread: no pipeline needs a tenth of it.
pub const MAX_BYTES: u64 = 1 << 20;

/// A pipeline file that may be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// As it was given.
    pub path: PathBuf,
    /// As written, with every path made absolute.
    pub pipeline: Pipeline,
    /// What follows from it.
    pub limits: Limits,
    /// What is allowed but probably not meant; values that were clamped.
    pub notes: Vec<Problem>,
    text: Arc<str>,
}

impl Loaded {
    /// Something about `key` (`stream[2].source`), with the place in the file where it stands.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let start = DeTable::parse(&self.text).map_or(0, |table| keys::locate(&table, key).start);
        Lines::of(&self.text).problem(start..start, key, message)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: larger than {} KiB: this is not a configuration file", path.display(), MAX_BYTES / 1024)]
    Oversize { path: PathBuf },
    #[error("{}:{line}:{column}: not UTF-8 text: save the file as UTF-8", path.display())]
    NotUtf8 { path: PathBuf, line: usize, column: usize },
    #[error("{}", listed(path, problems))]
    Invalid { path: PathBuf, problems: Vec<Problem> },
}

impl ConfigError {
    /// What is wrong inside the file; empty where the file could not be read at all.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems, .. } => problems,
            _ => &[],
        }
    }
}

/// One line each: `FILE:LINE:COLUMN: key: message`.
fn listed(path: &Path, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let separator = if text.is_empty() { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{separator}{}", located(path, problem));
    }
    text
}

/// `FILE:LINE:COLUMN: key: message`, without the parts that a problem does not have.
pub fn located(path: &Path, problem: &Problem) -> String {
    let mut text = path.display().to_string();
    if problem.line > 0 {
        let _infallible = write!(text, ":{}:{}", problem.line, problem.column);
    }
    if !problem.key.is_empty() {
        let _infallible = write!(text, ": {}", problem.key);
    }
    text + ": " + &problem.message
}

/// Reads and checks a pipeline file.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    parse(&read_text(path)?, path)
}

/// Checks the text of a pipeline file; `path` is for errors and for resolving relative paths.
pub fn parse(text: &str, path: &Path) -> Result<Loaded, ConfigError> {
    let invalid = |problems| ConfigError::Invalid { path: path.to_owned(), problems };
    let document = Document::<Pipeline>::read(text).map_err(&invalid)?;
    let Some(mut pipeline) = document.value else { return Err(invalid(document.problems)) };
    let place = |fault: limits::Fault| {
        let (line, column) = Lines::of(text).at(keys::locate(&document.table, &fault.key).start);
        Problem { line, column, key: fault.key, message: fault.message }
    };
    let base = base_of(path)?;
    let derived = limits::derive(&mut pipeline, &base, available_cores());
    let mut problems = document.problems;
    problems.extend(derived.faults.into_iter().map(place));
    problems.sort_by_key(|p| (p.line, p.column));
    match derived.limits {
        Some(limits) if problems.is_empty() => {
            let notes = derived.notes.into_iter().map(place).collect();
            Ok(Loaded { path: path.to_owned(), pipeline, limits, notes, text: text.into() })
        }
        _ => Err(invalid(problems)),
    }
}

/// Reads any other TOML file of ours (a site's description, a register) with the same care; what its values must be is its own business.
pub fn read_as<T: DeserializeOwned + JsonSchema>(path: &Path) -> Result<T, ConfigError> {
    let text = read_text(path)?;
    let invalid = |problems| ConfigError::Invalid { path: path.to_owned(), problems };
    let document = Document::<T>::read(&text).map_err(&invalid)?;
    match document.value {
        Some(value) if document.problems.is_empty() => Ok(value),
        _ => Err(invalid(document.problems)),
    }
}

/// The text of a file that may be a configuration file.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigError::Oversize { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let (line, column) = Lines::of(&String::from_utf8_lossy(valid)).at(valid.len());
        ConfigError::NotUtf8 { path: path.to_owned(), line, column }
    })
}

/// A file compared with its schema. `value` is there unless a value is missing or of the wrong type.
struct Document<'a, T> {
    table: Spanned<DeTable<'a>>,
    value: Option<T>,
    problems: Vec<Problem>,
}

impl<'a, T: DeserializeOwned + JsonSchema> Document<'a, T> {
    /// `Err`: the text is not TOML.
    fn read(text: &'a str) -> Result<Self, Vec<Problem>> {
        let lines = Lines::of(text);
        let mut table = DeTable::parse(text).map_err(|error| {
            let message = format!("this is not TOML: {}", error.message());
            vec![lines.problem(error.span().unwrap_or(0..0), "", message)]
        })?;
        let schema = schemars::schema_for!(T).to_value();
        let mut findings = keys::check(&schema, &mut table, &lines);
        let mut value = None;
        if !findings.unreadable {
            match T::deserialize(toml::de::Deserializer::from(table.clone())) {
                Ok(read) => value = Some(read),
                // What the schema cannot express: serde has the last word.
                Err(error) => findings.problems.push(lines.problem(error.span().unwrap_or(0..0), "", error.message())),
            }
        }
        Ok(Self { table, value, problems: findings.problems })
    }
}

/// The directory that relative paths start from, absolute.
fn base_of(path: &Path) -> Result<PathBuf, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    Ok(absolute.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf))
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
