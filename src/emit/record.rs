//! What the law wants known besides events: what was refused, and what was erased when its time was over (C18, C22).
//!
//! ```text
//! STATE/record.jsonl   {"at":"…","what":"refused","rule":"verification-only", … ,"previous":"…","crc":"…"}
//! ```
//!
//! Lines as the journal's (`journal/line.rs`), only ever appended, each with the SHA-256 digest of the line before it, so that taking one out,
//! or changing one, shows at the next. Whoever can write the file can write all of it anew: a witness for its end is the evidence
//! log's affair. No picture, no embedding, no name; a person by their opaque id, if at all.
//!
//! Service and commands write it, one at a time (`flock`), and durably before they go on. What cannot be recorded is refused all the same.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::journal::line::{self, MAX_LINE_BYTES};
use crate::clock::{Stamp, Utc, format_utc};
use crate::state::StateDirectory;

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// RFC 3339, UTC.
    #[serde(default)]
    pub at: String,
    /// `refused` or `erased`.
    pub what: String,
    /// Which rule said no; of what is erased, the reason.
    pub rule: String,
    /// What was asked for, or erased.
    pub fact: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub purpose: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// Who asked, as the system knows them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// SHA-256 of the line before this one, its end not counted; empty in the first.
    #[serde(default)]
    pub previous: String,
}

impl Entry {
    pub fn refused(rule: &str, fact: impl Into<String>) -> Self {
        Self { what: "refused".to_owned(), rule: rule.to_owned(), fact: fact.into(), ..Self::default() }
    }
    /// Of `count` people who were enrolled.
    pub fn subjects_over(count: usize) -> Self {
        Self::erased("retention", format!("{count} enrolled subjects whose time, consent or order was over: templates, keys and names"))
    }
    pub fn erased(why: &str, fact: impl Into<String>) -> Self {
        Self { what: "erased".to_owned(), rule: why.to_owned(), fact: fact.into(), ..Self::default() }
    }
}

/// A line that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {fault}")]
pub struct Broken {
    pub file: String,
    /// From 1.
    pub line: usize,
    pub fault: String,
}

#[derive(Clone, Debug)]
pub struct Record {
    path: PathBuf,
}

impl Record {
    pub fn of(state: &StateDirectory) -> Self {
        Self { path: state.record() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Durable when it returns.
    pub fn append(&self, entry: Entry, now: Stamp<Utc>) -> io::Result<()> {
        let new = !self.path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
        let (previous, torn) = last_line(&mut file)?;
        let entry = Entry { at: format_utc(now), previous, ..entry };
        let mut out = Vec::new();
        if torn {
            // A line that a power cut left half written stays, as a line of its own that does not hold.
            out.push(b'\n');
        }
        line::seal(&serde_json::to_vec(&entry).map_err(io::Error::other)?, &mut out);
        file.write_all(&out)?;
        file.sync_data()?;
        if new && let Some(directory) = self.path.parent() {
            // Made by root, it is the service's all the same.
            let owner = std::fs::metadata(directory)?;
            if let Err(error) = fchown(&*file, Some(owner.uid()), Some(owner.gid())) {
                tracing::warn!(path = %self.path.display(), %error, "the record stays its maker's");
            }
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// As [`append`](Self::append), for whoever refuses in any case: a record that cannot be written is said aloud.
    pub fn note(&self, entry: Entry, now: Stamp<Utc>) {
        if let Err(error) = self.append(entry.clone(), now) {
            tracing::error!(path = %self.path.display(), %error, rule = entry.rule, fact = entry.fact, "could not be recorded");
        }
    }

    /// Every line that holds, oldest first, and what does not. No file: nothing was ever recorded.
    pub fn read(&self) -> io::Result<(Vec<Entry>, Vec<Broken>)> {
        let bytes = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            other => other?,
        };
        let (mut entries, mut broken, mut previous) = (Vec::new(), Vec::new(), String::new());
        let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
        if lines.last().is_some_and(|l| l.is_empty()) {
            lines.pop();
        }
        for (index, text) in lines.into_iter().enumerate() {
            let mut fault = |fault: String| broken.push(Broken { file: self.path.display().to_string(), line: index + 1, fault });
            let opened = line::open(text).map_err(|e| e.to_string());
            match opened.and_then(|json| serde_json::from_slice::<Entry>(&json).map_err(|e| e.to_string())) {
                Ok(entry) => {
                    if entry.previous != previous {
                        fault("it does not follow the line before it: something was taken out, put in or changed".to_owned());
                    }
                    entries.push(entry);
                }
                Err(error) => fault(error),
            }
            previous = digest(text);
        }
        Ok((entries, broken))
    }
}

fn digest(line: &[u8]) -> String {
    Sha256::digest(line).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digest of the last line, and whether it has no end.
fn last_line(file: &mut File) -> io::Result<(String, bool)> {
    let length = file.seek(SeekFrom::End(0))?;
    // One line and the break before it.
    let from = length.saturating_sub(MAX_LINE_BYTES as u64 + 2);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let torn = tail.last().is_some_and(|b| *b != b'\n');
    let text = if torn { &tail[..] } else { &tail[..tail.len().saturating_sub(1)] };
    let start = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    Ok((if length == 0 { String::new() } else { digest(&text[start..]) }, torn))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Stamp<Utc> = Stamp::from_ns(1_795_292_218_123_000_000);

    #[test]
    fn lines_follow_each_other_and_what_was_touched_shows() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let record = Record { path: directory.path().join("record.jsonl") };
        assert_eq!(record.read().expect("nothing yet"), (vec![], vec![]));
        for i in 0..4 {
            let entry = Entry { purpose: "access-verification".to_owned(), ..Entry::refused("verification-only", format!("n {i}")) };
            record.append(entry, NOW).expect("writes");
        }
        record.append(Entry::erased("retention", "events-00000001.jsonl"), NOW).expect("writes");
        let (entries, broken) = record.read().expect("reads");
        assert!(broken.is_empty() && entries.len() == 5 && entries[4].what == "erased", "{broken:?}");
        assert_eq!((&*entries[0].previous, &*entries[2].fact, &*entries[3].at), ("", "n 2", "2026-11-21T20:16:58.123Z"));

        let whole = std::fs::read_to_string(record.path()).expect("text");
        let without_third: String = whole.lines().enumerate().filter(|(i, _)| *i != 2).map(|(_, l)| format!("{l}\n")).collect();
        std::fs::write(record.path(), without_third).expect("written");
        assert_eq!(record.read().expect("reads").1.iter().map(|b| b.line).collect::<Vec<_>>(), [3]);
        std::fs::write(record.path(), whole.replace("n 1", "n 9")).expect("written");
        assert_eq!(
            record.read().expect("reads").1.iter().map(|b| b.line).collect::<Vec<_>>(),
            [2, 3],
            "neither it nor the one after it holds"
        );

        // A power cut in the middle of a line: the next is written, and says what it follows.
        std::fs::write(record.path(), &whole[..whole.len() - 9]).expect("written");
        record.append(Entry::refused("purpose-named", "after"), NOW).expect("writes");
        let (entries, broken) = record.read().expect("reads");
        assert_eq!((entries.len(), broken.len(), &*entries[4].fact, broken[0].line), (5, 1, "after", 5));
    }
}
