//! What the law wants known besides events: what was refused, who was looked for with a picture, and what was erased when its time was over
//! (C18, C22).
//!
//! ```text
//! STATE/record.jsonl   {"at":"…","what":"refused","rule":"verification-only", … ,"previous":"…","crc":"…"}
//! ```
//!
//! Lines as the journal's (`journal/line.rs`), only ever appended, each with the SHA-256 digest of the line before it, so that taking one out,
//! or changing one, shows at the next. Whoever can write the file can write all of it anew: a witness for its end is the evidence
//! log's affair. No picture, no embedding, no name; a person by their opaque id, if at all.
//!
//! Service and commands write it, one at a time (`flock`), and durably before they go on. Nobody waits for a lock that somebody keeps: after
//! [`PATIENCE`] it is a fault, which is told (log, alarm) and counted. What is to be erased is then not erased, for it must be on record first
//! ([`Record::append`]); what is refused is refused all the same, and its lines wait in memory, [`MAX_WAITING`] of them, until the record can be
//! written ([`Record::note`], [`Record::catch_up`]).
//!
//! Lines go when they are as old as `[emit.record] retain_days` (three years at least, which records of processing must be kept): the file is
//! written anew beside the old one and renamed, and its first line says how many went, and holds the digest of the last of them, so that the rest still
//! follows. Reading takes the lock where it can be had, and goes without where not: an end without a line break is being written, or was when the
//! power went, and is no fault.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::journal::line::{self, MAX_LINE_BYTES};
use crate::clock::{Stamp, Utc, format_utc};
use crate::hex;
use crate::policy::when::When;
use crate::purpose::Purpose;
use crate::shutdown::Shutdown;
use crate::state::{StateDirectory, replace_file};

/// How long somebody else's lock is waited for.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(5);
/// Lines that wait in memory; more are lost, and counted.
const MAX_WAITING: usize = 256;
/// Of one member of a line. Longer ones end in `…`.
const MAX_CHARS: usize = 1_000;
/// What begins a file whose older lines went.
const RETIRED: &str = "retired";
/// A line that is over goes when the oldest is so by this: the file is written anew once a day, not once a minute.
const DAY: Duration = Duration::from_secs(24 * 3_600);

crate::counters! {
    pub struct RecordCounters for "record" {
        faults: "Attempts to write record.jsonl that failed: what was refused waits to be written, what was to be erased stays.",
        lost: "Lines that were never written, because too many waited.",
    }
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// RFC 3339, UTC.
    #[serde(default)]
    pub at: String,
    /// `refused`, `searched` or `erased`; `retired` in the first line of a file whose older lines went.
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
    /// SHA-256 of the line before this one, its end not counted; empty in the first; of a `retired` line, of the last one that went.
    #[serde(default)]
    pub previous: String,
}

impl Entry {
    pub fn refused(rule: &str, fact: impl Into<String>) -> Self {
        Self { what: "refused".to_owned(), rule: rule.to_owned(), fact: fact.into(), ..Self::default() }
    }
    /// A gallery was searched with somebody's picture, which is not named here, nor is who was found.
    pub fn searched(purpose: &Purpose, fact: impl Into<String>) -> Self {
        let (what, rule) = ("searched".to_owned(), "purpose-named".to_owned());
        Self { what, rule, fact: fact.into(), purpose: purpose.to_string(), ..Self::default() }
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

/// Cloneable; all clones share what waits to be written.
#[derive(Clone, Debug)]
pub struct Record {
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    counters: RecordCounters,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Dated already.
    lines: VecDeque<Entry>,
    why: String,
}

impl Record {
    pub fn of(state: &StateDirectory) -> Self {
        Self { path: state.record(), shared: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn counters(&self) -> &RecordCounters {
        &self.shared.counters
    }

    /// What waits to be recorded, and why; one sentence for an alarm.
    pub fn fault(&self) -> Option<String> {
        let waiting = self.shared.waiting.lock();
        let (count, path) = (waiting.lines.len(), self.path.display());
        (count > 0).then(|| format!("{count} refusals and erasures are not on record yet: {path}: {}.", waiting.why))
    }

    /// Durable when it returns, after everything that waited; on an error it is not on record, and nothing of it waits.
    pub fn append(&self, entry: Entry, now: Stamp<Utc>) -> io::Result<()> {
        let mut waiting = self.shared.waiting.lock();
        waiting.lines.push_back(dated(entry, now));
        self.write_all(&mut waiting, PATIENCE).inspect_err(|_| drop(waiting.lines.pop_back()))
    }

    /// As [`append`](Self::append), for whoever refuses in any case: what cannot be written now waits, and that is said aloud.
    pub fn note(&self, entry: Entry, now: Stamp<Utc>) {
        self.note_all(vec![entry], now);
    }

    /// As [`note`](Self::note), for many that were refused together: durable at once, not one by one.
    pub fn note_all(&self, entries: Vec<Entry>, now: Stamp<Utc>) {
        let mut entries = entries.into_iter().peekable();
        while let Some(first) = entries.peek() {
            let (rule, fact) = (first.rule.clone(), first.fact.clone());
            let mut waiting = self.shared.waiting.lock();
            // Whoever waited in vain a moment ago does not wait again.
            let patience = if waiting.lines.is_empty() { PATIENCE } else { Duration::ZERO };
            for entry in entries.by_ref().take(MAX_WAITING / 2) {
                if waiting.lines.len() == MAX_WAITING {
                    let lost = waiting.lines.pop_front();
                    self.shared.counters.lost.increment();
                    tracing::error!(path = %self.path.display(), ?lost, "never recorded: too much waits");
                }
                waiting.lines.push_back(dated(entry, now));
            }
            if let Err(error) = self.write_all(&mut waiting, patience) {
                tracing::error!(path = %self.path.display(), %error, rule, fact, "not recorded yet");
            }
        }
    }

    /// Writes what waits, if that can be done without waiting for anybody.
    pub fn catch_up(&self) {
        let mut waiting = self.shared.waiting.lock();
        let count = waiting.lines.len();
        if count > 0 && self.write_all(&mut waiting, Duration::ZERO).is_ok() {
            tracing::info!(lines = count, "what waited is on record");
        }
    }

    /// All that waits, durably, or nothing.
    fn write_all(&self, waiting: &mut Waiting, patience: Duration) -> io::Result<()> {
        let written = self.write(waiting.lines.make_contiguous(), patience);
        match &written {
            Ok(()) => waiting.lines.clear(),
            Err(error) => {
                self.shared.counters.faults.increment();
                waiting.why = error.to_string();
            }
        }
        written
    }

    fn write(&self, entries: &[Entry], patience: Duration) -> io::Result<()> {
        let new = !self.path.exists();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = self.locked(&options, FlockArg::LockExclusiveNonblock, patience)?;
        let (mut previous, torn) = last_line(&mut file)?;
        let end = file.seek(SeekFrom::End(0))?;
        let mut out = Vec::new();
        if torn {
            // A line that a power cut left half written stays, as a line of its own that does not hold.
            out.push(b'\n');
        }
        for entry in entries {
            let from = out.len();
            let entry = Entry { previous, ..entry.clone() };
            line::seal(&serde_json::to_vec(&entry).map_err(io::Error::other)?, &mut out);
            previous = hex::sha256(&out[from..out.len() - 1]);
        }
        let written = file.write_all(&out).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // So that another attempt does not find half of this one.
            let _as_torn = file.set_len(end);
            return Err(error);
        }
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

    /// The file as it is now, locked: never one that was replaced while it was waited for.
    fn locked(&self, options: &OpenOptions, how: FlockArg, patience: Duration) -> io::Result<Flock<File>> {
        let (pause, mut left) = (Shutdown::new(), patience.as_millis() / PAUSE.as_millis());
        loop {
            let file = options.open(&self.path)?;
            let inode = file.metadata()?.ino();
            let taken = Flock::lock(file, how);
            let replaced = || std::fs::metadata(&self.path).map_or(true, |now| now.ino() != inode);
            match taken {
                Ok(file) if !replaced() => return Ok(file),
                Ok(_) | Err((_, Errno::EWOULDBLOCK)) if left > 0 => {
                    left -= 1;
                    pause.wait(PAUSE);
                }
                Ok(_) | Err((_, Errno::EWOULDBLOCK)) => {
                    let who = "another process holds its lock (`fuser` says which): end it, or let it go on";
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, who));
                }
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }

    /// Takes out the lines that are older than `keep`, once the oldest is so by a day: how many. The clock must be believed.
    pub fn retire(&self, now: Stamp<Utc>, keep: Duration) -> io::Result<usize> {
        // Looked at often, so nothing but its beginning is read.
        let oldest = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            file => first_dated(&file?)?,
        };
        if oldest.is_none_or(|at| at.plus(keep).plus(DAY) > now) {
            return Ok(0);
        }
        let mut file = self.locked(OpenOptions::new().read(true), FlockArg::LockExclusiveNonblock, PATIENCE)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (mut going, mut from, mut last) = (0, 0, &bytes[..0]);
        let (mut at, mut passed) = (0, 0);
        for text in bytes.split_inclusive(|b| *b == b'\n') {
            let stays = parsed(text).is_ok_and(|entry| entry.what != RETIRED && entry.date().is_none_or(|at| at.plus(keep) > now));
            if stays {
                break;
            }
            (at, passed) = (at + text.len(), passed + 1);
            if parsed(text).is_ok() {
                // What is damaged goes with what comes after it.
                (going, from, last) = (passed, at, text);
            }
        }
        if going == 0 {
            return Ok(0);
        }
        let previous = hex::sha256(last.strip_suffix(b"\n").unwrap_or(last));
        let fact = format!("{going} lines of this record that were older than {} days", keep.as_secs() / DAY.as_secs());
        let entry = Entry { what: RETIRED.to_owned(), rule: "retention".to_owned(), fact, previous, ..Entry::default() };
        let mut anew = Vec::new();
        line::seal(&serde_json::to_vec(&dated(entry, now)).map_err(io::Error::other)?, &mut anew);
        anew.extend_from_slice(&bytes[from..]);
        replace_file(&self.path, &anew, 0o600)?;
        Ok(going)
    }

    /// Every line that holds, oldest first, and what does not. No file: nothing was ever recorded.
    pub fn read(&self) -> io::Result<(Vec<Entry>, Vec<Broken>)> {
        // Held while it is read, so that nobody writes meanwhile; who must not wait for it reads what is there.
        let locked = self.locked(OpenOptions::new().read(true), FlockArg::LockSharedNonblock, PATIENCE);
        let bytes = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            other => other?,
        };
        drop(locked);
        let (mut entries, mut broken, mut previous) = (Vec::new(), Vec::new(), String::new());
        for (index, text) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            // Without an end it is being written, or was when the power went: nobody was told that it is there.
            let Some(text) = text.strip_suffix(b"\n") else { break };
            let mut fault = |fault: String| broken.push(Broken { file: self.path.display().to_string(), line: index + 1, fault });
            match parsed(text) {
                Ok(entry) if index == 0 && entry.what == RETIRED => {
                    previous.clone_from(&entry.previous);
                    entries.push(entry);
                    continue;
                }
                Ok(entry) => {
                    if entry.previous != previous {
                        fault("it does not follow the line before it: something was taken out, put in or changed".to_owned());
                    }
                    entries.push(entry);
                }
                Err(error) => fault(error),
            }
            previous = hex::sha256(text);
        }
        Ok((entries, broken))
    }
}

impl Entry {
    fn date(&self) -> Option<Stamp<Utc>> {
        self.at.parse::<When>().ok().map(|when| when.at())
    }
}

/// As it is written: with its date, and no longer than need be.
fn dated(entry: Entry, now: Stamp<Utc>) -> Entry {
    let short = |text: String| match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    let Entry { what, rule, fact, purpose, stream, by, previous, .. } = entry;
    let [fact, purpose, stream, by] = [fact, purpose, stream, by].map(short);
    Entry { at: format_utc(now), what, rule, fact, purpose, stream, by, previous }
}

fn parsed(text: &[u8]) -> Result<Entry, String> {
    let json = line::open(text.strip_suffix(b"\n").unwrap_or(text)).map_err(|e| e.to_string())?;
    serde_json::from_slice(&json).map_err(|e| e.to_string())
}

/// When the oldest line that says so was written.
fn first_dated(file: &File) -> io::Result<Option<Stamp<Utc>>> {
    let mut start = Vec::new();
    file.take(MAX_LINE_BYTES as u64).read_to_end(&mut start)?;
    let mut dates = start.split_inclusive(|b| *b == b'\n').filter_map(|text| parsed(text).ok());
    Ok(dates.find(|entry| entry.what != RETIRED).and_then(|entry| entry.date()))
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
    Ok((if length == 0 { String::new() } else { hex::sha256(&text[start..]) }, torn))
}

#[cfg(test)]
mod tests;
