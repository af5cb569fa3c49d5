//! Files that people write (a site's description, a register's facts), and whose turn it is to write the register. Every refusal names
//! file, line, key and what to do.
//!
//! Writers of the register (`store.rs`) take turns by a lock on `.register.lock` beside its file, in this process and in others.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;

use crate::state::replace_file;

use super::facts::{Flaw, Register, Site};

/// A register is facts about one site: a file beyond this is something else.
const MAX_BYTES: u64 = 4 << 20;

/// Longer than any tick of the clock that files are stamped by.
const SETTLED: Duration = Duration::from_millis(100);

/// Which contents a file had when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let m = std::fs::metadata(path)?;
        Ok(Self {
            device: m.dev(),
            inode: m.ino(),
            length: m.len(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        })
    }

    /// Whether another change, made now, would show: the kernel stamps files by a clock that ticks a few hundred times a second.
    pub fn is_settled(&self) -> bool {
        let Ok(now) = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) else { return false };
        let changed_s = u64::try_from(self.changed.0).unwrap_or(u64::MAX);
        let changed = Duration::new(changed_s, u32::try_from(self.changed.1).unwrap_or(0));
        now.checked_sub(changed).is_some_and(|age| age > SETTLED)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: cannot be read ({source}): `placard commission SITE_FILE` makes a site's state", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: larger than {MAX_BYTES} bytes: this is no register", path.display())]
    TooLarge { path: PathBuf },
    #[error("{}:{line}: {problem}", path.display())]
    Invalid { path: PathBuf, line: usize, problem: String },
    #[error("{}: cannot be written ({source})", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// Reads a TOML file into `T`; also gives the text, for [`flaw_error`].
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<(T, String), FileError> {
    let read = |source| FileError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(read)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(read)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    Ok((parse_toml(path, &text)?, text))
}

/// Reads `text` into `T`; `path` is for errors.
pub(super) fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, FileError> {
    toml::from_str(text).map_err(|error| toml_error(path, text, &error))
}

fn toml_error(path: &Path, text: &str, error: &toml::de::Error) -> FileError {
    let start = error.span().map_or(0, |s| s.start).min(text.len());
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let line_text = text.lines().nth(line - 1).unwrap_or_default();
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let mut problem = message.trim_end().to_owned();
    if message.starts_with("unknown field") || message.starts_with("unknown variant") {
        let written = quoted.next().unwrap_or_default();
        let near = quoted.max_by(|a, b| strsim::jaro_winkler(a, written).total_cmp(&strsim::jaro_winkler(b, written)));
        if let Some(near) = near.filter(|n| strsim::jaro_winkler(n, written) > 0.7) {
            problem = format!("{problem}. Did you mean `{near}`?");
        }
    } else if let Some((key, _)) = line_text.split_once('=') {
        let key = key.trim();
        if !key.is_empty() && !message.starts_with("missing field") {
            problem = format!("`{key}`: {problem}");
        }
    }
    FileError::Invalid { path: path.to_owned(), line, problem }
}

/// The 1-based line of `key` in the `entry`-th `[[table]]` (or `[table]`) of `text`, or of its header, or 1.
fn line_of(text: &str, flaw: &Flaw) -> usize {
    let (double, single) = (format!("[[{}]]", flaw.table), format!("[{}]", flaw.table));
    let is_header = |l: &str| l.starts_with(&double) || l.starts_with(&single);
    let mut headers = text.lines().enumerate().filter(|(_, l)| is_header(l.trim_start()));
    let Some((header, _)) = headers.nth(flaw.entry) else { return 1 };
    let body = text.lines().enumerate().skip(header + 1).take_while(|(_, l)| !l.trim_start().starts_with("[["));
    let has_key = |l: &str| l.split_once('=').is_some_and(|(k, _)| k.trim() == flaw.key || k.contains(flaw.key));
    body.into_iter().find(|(_, l)| has_key(l) || l.contains(flaw.key)).map_or(header, |(i, _)| i) + 1
}

/// `flaw` as an error that names the line.
pub fn flaw_error(path: &Path, text: &str, flaw: &Flaw) -> FileError {
    let problem = format!("`{}` of [[{}]] number {}: {}", flaw.key, flaw.table, flaw.entry + 1, flaw.problem);
    FileError::Invalid { path: path.to_owned(), line: line_of(text, flaw), problem }
}

/// Reads a register's tables from a file that somebody wrote, as `placard register show` prints them.
pub fn read_register(path: &Path) -> Result<Register, FileError> {
    let (register, text): (Register, String) = read_toml(path)?;
    match register.flaws().first() {
        None => Ok(register),
        Some(flaw) => Err(flaw_error(path, &text, flaw)),
    }
}

/// Held while a register's file is read, changed and written: nobody else writes it meanwhile.
pub struct WriterTurn {
    _lock: Flock<std::fs::File>,
}

impl WriterTurn {
    /// Waits for this caller's turn to write the register at `path`.
    pub fn take(path: &Path) -> Result<Self, FileError> {
        let error = |source| FileError::Write { path: path.to_owned(), source };
        let lock = path.with_file_name(".register.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(lock).map_err(error)?;
        let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| error(errno.into()))?;
        Ok(Self { _lock: locked })
    }
}

/// `site.toml` holds one table, `[site]`.
#[derive(serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct SiteToml {
    site: Site,
}

impl Site {
    pub fn load(path: &Path) -> Result<Self, FileError> {
        read_toml::<SiteToml>(path).map(|(file, _)| file.site)
    }
    pub fn store(&self, path: &Path) -> Result<(), FileError> {
        let error = |source| FileError::Write { path: path.to_owned(), source };
        let text = toml::to_string(&SiteToml { site: self.clone() }).map_err(|e| error(std::io::Error::other(e)))?;
        replace_file(path, text.as_bytes(), 0o644).map_err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::testing::GOOD;
    use super::*;

    fn refusal(text: &str) -> String {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("register.toml");
        std::fs::write(&path, text).expect("write");
        let message = read_register(&path).expect_err("must be refused").to_string();
        message.replace(&directory.path().display().to_string(), "")
    }

    #[test]
    fn a_refusal_names_file_line_key_and_the_nearest_known_key() {
        let message = refusal(&GOOD.replace("kind = \"public\"", "knd = \"public\""));
        assert!(message.starts_with("/register.toml:4: unknown field `knd`") && message.contains("mean `kind`?"), "{message}");
        let message = refusal(&GOOD.replace("\"public\"", "\"pubic\""));
        assert!(message.starts_with("/register.toml:4: unknown variant `pubic`") && message.contains("mean `public`?"), "{message}");
        let message = refusal(&GOOD.replace("kind = \"public\"", ""));
        assert!(message.starts_with("/register.toml:2: missing field `kind`"), "{message}");
        let message = refusal(&GOOD.replace("posted_on = 2026-11-01", "posted_on = 'soon'"));
        assert!(message.starts_with("/register.toml:33: `posted_on`: `soon` is not a date"), "{message}");
        let message = refusal(&GOOD.replace("[0.0, 0.0]", "[0.0, 1.7]"));
        assert!(message.starts_with("/register.toml:9: `polygon` of [[area]] number 1: polygon 0, vertex 0"), "{message}");
        let message = refusal(&GOOD.replace("missing-person:mp-7", "marketing"));
        assert!(message.contains(":38: `purpose`: `marketing` is not a purpose"), "{message}");
        assert!(refusal("\u{0}\u{1} garbage").starts_with("/register.toml:1:"));
    }

    #[test]
    fn a_missing_or_binary_file_is_an_error_and_not_an_empty_register() {
        assert!(matches!(read_register(Path::new("/nonexistent/register.toml")), Err(FileError::Read { .. })));
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("register.toml");
        std::fs::write(&path, [0xff, 0xfe, 0x00]).expect("write");
        assert!(matches!(read_register(&path), Err(FileError::Read { .. })));
        std::fs::write(&path, vec![b'#'; 5 << 20]).expect("write");
        assert!(matches!(read_register(&path), Err(FileError::TooLarge { .. })));
    }

    #[test]
    fn a_site_round_trips() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("site.toml");
        let site = Site {
            name: "east".to_owned(),
            mode: super::super::facts::Mode::Demo,
            controller: "Transit".to_owned(),
            contact: "12345".to_owned(),
            status_page: Some("https://station.example".to_owned()),
        };
        site.store(&path).expect("store");
        assert_eq!(Site::load(&path).expect("load"), site);
    }
}
