//! The journal: events on disk before anyone is told. One writer (the emit worker), any number of readers (the sinks).
//!
//! Invariants
//! - An event is acknowledged only after fdatasync of its whole group returned success; the [`JournalHead`] moves only then, and readers
//!   never look beyond it.
//! - A group that failed leaves nothing behind: the file is cut back to the last acknowledged byte, durably, before anything else is
//!   written. Until that succeeds nothing is written at all.
//! - A file whose fdatasync or write failed with anything but "no space" is *latched*: after the cut it is never written again, and
//!   the next group begins a new file. (After a failed fdatasync the kernel calls the lost pages clean, and a second fdatasync of the
//!   same file would report a success that never happened.) "No space" says nothing about written pages, so there the same file goes on.
//! - A file's number is never used again, also when its events are over: the newest file stays, empty, when all others go. So a place in the
//!   journal means one event for ever.
//! - At start-up what follows the last intact line of the newest file was never acknowledged, or is damaged: it is kept in a `.torn` file and
//!   cut off. Where it cannot be kept it stays, and a new file is begun: nothing is destroyed.

pub mod erasure;
pub mod files;
pub mod line;
pub mod reader;
pub mod retention;

#[cfg(test)]
pub(in crate::emit) mod faulty;
#[cfg(test)]
mod histories;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use files::{JournalDirectory, JournalFile, JournalSource, RealDirectory, RealSource};
use reader::{Corrupt, Item, JournalReader};

pub use reader::Position;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("journal {path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("journal {path} is being written by another process: stop it, or set `[emit.journal] directory`")]
    Locked { path: PathBuf },
    #[error("journal file {file}, byte {byte}: {operation}: {}", reason(source))]
    Write { file: String, byte: u64, operation: &'static str, source: io::Error },
    #[error("journal file {file}: {source}")]
    Recover { file: String, source: io::Error },
}

/// The system's words, and for the usual case ours.
fn reason(error: &io::Error) -> String {
    if is_full(error) { format!("no space ({error})") } else { error.to_string() }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[derive(Debug, Default)]
struct HeadState {
    end: Option<Position>,
    failing: Option<Arc<str>>,
    erasures: u64,
}

/// Where the journal ends, and how it is. Cloneable; sinks wait on it, status pages look at it.
#[derive(Clone, Debug, Default)]
pub struct JournalHead {
    shared: Arc<(Mutex<HeadState>, Condvar)>,
}

impl JournalHead {
    /// Everything before this place is durable and acknowledged.
    pub fn end(&self) -> Position {
        self.shared.0.lock().end.unwrap_or(Position::START)
    }
    /// Why the journal takes no events at the moment: `no space (…)`.
    pub fn failing(&self) -> Option<Arc<str>> {
        self.shared.0.lock().failing.clone()
    }
    /// Grows when events were erased: whoever holds some of before, read and not told yet, reads them again.
    pub fn erasures(&self) -> u64 {
        self.shared.0.lock().erasures
    }
    fn erased(&self) {
        self.shared.0.lock().erasures += 1;
    }
    /// Waits until the journal ends beyond `position`, at most `timeout`.
    pub fn wait_beyond(&self, position: Position, timeout: Duration) -> bool {
        let mut state = self.shared.0.lock();
        self.shared.1.wait_while_for(&mut state, |s| s.end.is_none_or(|end| end <= position), timeout);
        state.end.is_some_and(|end| end > position)
    }
    fn advance(&self, end: Position) {
        let mut state = self.shared.0.lock();
        (state.end, state.failing) = (Some(end), None);
        drop(state);
        self.shared.1.notify_all();
    }
    fn fail(&self, error: &JournalError) {
        let text = match error {
            JournalError::Write { source, .. } if is_full(source) => "no space".into(),
            other => other.to_string().into(),
        };
        self.shared.0.lock().failing = Some(text);
    }
}

/// What start-up found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Intact lines in the newest file.
    pub intact: u64,
    /// Damage between intact lines of the newest file: left in place, skipped by every reader.
    pub corrupt: Vec<Corrupt>,
    /// Bytes cut off the newest file's end (kept beside it).
    pub torn_bytes: u64,
}

struct Open {
    file: Box<dyn JournalFile>,
    /// Its acknowledged end.
    good: Position,
}

/// What a failed group left in the current file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dirt {
    None,
    /// Cut it off and go on in the same file.
    Cut,
    /// Cut it off and begin a new file.
    Latched,
}

pub struct Journal {
    directory: Box<dyn JournalDirectory>,
    source: Arc<dyn JournalSource>,
    open: Option<Open>,
    dirt: Dirt,
    rotate_bytes: u64,
    head: JournalHead,
}

impl Journal {
    /// Opens (or makes) the journal in `path`, repairs its newest file, and tells what it found.
    pub fn open(path: &Path, rotate_mib: u64) -> Result<(Self, Recovery), JournalError> {
        let directory = RealDirectory::open(path).map_err(|source| match source.kind() {
            ErrorKind::WouldBlock => JournalError::Locked { path: path.to_owned() },
            _ => JournalError::Directory { path: path.to_owned(), source },
        })?;
        let source = Arc::new(directory.source());
        Self::recover(Box::new(directory), source, rotate_mib.max(1) << 20)
    }

    /// A reader's view of the journal in `path`.
    pub fn source(path: &Path) -> Arc<dyn JournalSource> {
        Arc::new(RealSource::new(path))
    }

    pub(in crate::emit) fn recover(
        mut directory: Box<dyn JournalDirectory>,
        source: Arc<dyn JournalSource>,
        rotate_bytes: u64,
    ) -> Result<(Self, Recovery), JournalError> {
        let mut recovery = Recovery::default();
        let recover = |file: String| move |source| JournalError::Recover { file, source };
        let newest = directory.numbers().map_err(recover("directory".to_owned()))?.last().copied();
        let mut open = None;
        let mut end = Position::START;
        if let Some(number) = newest {
            let (good, length) = scan(Arc::clone(&source), number, &mut recovery).map_err(recover(directory.name(number)))?;
            end = good;
            open = reopen(directory.as_mut(), good, length, &mut recovery);
        }
        let head = JournalHead::default();
        head.advance(end);
        Ok((Self { directory, source, open, dirt: Dirt::None, rotate_bytes, head }, recovery))
    }

    /// What file `number` is called.
    pub fn name(&self, number: u64) -> String {
        self.directory.name(number)
    }

    pub fn head(&self) -> JournalHead {
        self.head.clone()
    }

    /// Writes whole lines and makes them durable: the place after them, or an error and nothing written. Only `emit` may call it: the
    /// permit is checked there.
    pub(in crate::emit) fn append(&mut self, lines: &[u8]) -> Result<Position, JournalError> {
        let done = self.try_append(lines);
        match &done {
            Ok(position) => self.head.advance(*position),
            Err(error) => {
                self.head.fail(error);
                // Leave a clean end at once if the disk allows; otherwise the next attempt begins with this.
                let _later = self.repair();
            }
        }
        done
    }

    fn try_append(&mut self, lines: &[u8]) -> Result<Position, JournalError> {
        self.repair()?;
        if self.open.as_ref().is_some_and(|o| o.good.offset >= self.rotate_bytes) {
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(self.begin_file()?);
        }
        let Some(Open { file, good }) = &mut self.open else { unreachable!("a file was just begun") };
        let name = self.directory.name(good.file);
        let fail = |operation, source| JournalError::Write { file: name.clone(), byte: good.offset, operation, source };
        let mut rest = lines;
        while !rest.is_empty() {
            let taken = match file.append(rest) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Ok(0) => Err(io::Error::from(ErrorKind::WriteZero)),
                other => other,
            };
            let taken = taken.map_err(|e| {
                self.dirt = if is_full(&e) { Dirt::Cut } else { Dirt::Latched };
                fail("write", e)
            })?;
            rest = rest.get(taken..).unwrap_or_default();
        }
        file.sync().map_err(|e| {
            self.dirt = Dirt::Latched;
            fail("fdatasync", e)
        })?;
        good.offset += lines.len() as u64;
        good.line += lines.iter().filter(|b| **b == b'\n').count() as u64;
        Ok(*good)
    }

    /// Removes what a failed group left.
    fn repair(&mut self) -> Result<(), JournalError> {
        if self.dirt == Dirt::None {
            return Ok(());
        }
        if let Some(Open { file, good }) = &mut self.open {
            file.truncate(good.offset).map_err(|source| {
                // If even this failed, nothing about the file's pages can be trusted any more.
                self.dirt = Dirt::Latched;
                JournalError::Write { file: self.directory.name(good.file), byte: good.offset, operation: "cutting back", source }
            })?;
        }
        if self.dirt == Dirt::Latched {
            self.open = None;
        }
        self.dirt = Dirt::None;
        Ok(())
    }

    fn begin_file(&mut self) -> Result<Open, JournalError> {
        let directory = &mut self.directory;
        let last = self.head.end().file;
        let fail = |file, source| JournalError::Write { file, byte: 0, operation: "beginning a file", source };
        let newest = directory.numbers().map_err(|e| fail(directory.name(last.saturating_add(1)), e))?.last().copied();
        let highest = newest.unwrap_or(0).max(last);
        let used_up = || io::Error::other("no file number is left after this one: move that file out of the journal");
        let number = highest.checked_add(1).ok_or_else(|| fail(directory.name(highest), used_up()))?;
        let file = directory.create(number).map_err(|e| fail(directory.name(number), e))?;
        Ok(Open { file, good: Position { file: number, offset: 0, line: 0 } })
    }
}

/// Finds the end of the last intact line of file `number`, and the file's length.
fn scan(source: Arc<dyn JournalSource>, number: u64, recovery: &mut Recovery) -> io::Result<(Position, u64)> {
    let beyond = Position { file: number, offset: u64::MAX, line: 0 };
    let (mut reader, _) = JournalReader::resume(source, Position { file: number, offset: 0, line: 0 })?;
    let mut good = reader.position();
    let mut since_good = Vec::new();
    while let Some(item) = reader.next(beyond)? {
        match item {
            Item::Record(record) => {
                recovery.intact += 1;
                recovery.corrupt.append(&mut since_good);
                good = record.end;
            }
            Item::Erased(end) => {
                recovery.corrupt.append(&mut since_good);
                good = end;
            }
            Item::Corrupt(corrupt) => since_good.push(corrupt),
        }
    }
    Ok((good, reader.position().offset))
}

/// Opens the newest file for more, cut to `good`; `None`: leave it alone and begin a new one.
fn reopen(directory: &mut dyn JournalDirectory, good: Position, length: u64, recovery: &mut Recovery) -> Option<Open> {
    let torn = length.saturating_sub(good.offset);
    let cut = (|| {
        let mut file = directory.reopen(good.file)?;
        if torn == 0 {
            // What another process wrote may be intact and yet not durable.
            file.sync()?;
            return Ok(file);
        }
        let mut tail = vec![0; usize::try_from(torn.min(64 << 20)).unwrap_or(0)];
        let mut filled = 0;
        while filled < tail.len() {
            match directory.read(good.file, good.offset + filled as u64, &mut tail[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        directory.set_aside(good.file, &tail[..filled])?;
        file.truncate(good.offset)?;
        Ok::<_, io::Error>(file)
    })();
    match cut {
        Ok(file) => {
            recovery.torn_bytes = torn;
            Some(Open { file, good })
        }
        Err(error) => {
            tracing::warn!(file = directory.name(good.file), byte = good.offset, %error, "journal file cannot be continued; beginning a new one");
            None
        }
    }
}
