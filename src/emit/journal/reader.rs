//! Reads journal files line by line, up to a limit that the writer has acknowledged.
//!
//! Invariants: every intact line before the limit is returned exactly once, in order, unless what it held was erased; what is not an intact line is skipped as one
//! [`Corrupt`] item that names file, line and byte; memory stays below twice [`MAX_LINE_BYTES`] whatever the files hold; no input
//! panics. Used by sink threads and at start-up.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::erasure;
use super::files::JournalSource;
use super::line::{self, LineFault, MAX_LINE_BYTES};

/// A place between two lines. Ordered as the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Number of the file; 0 is before all files.
    pub file: u64,
    /// Bytes from the file's beginning.
    pub offset: u64,
    /// Lines from the file's beginning: for messages.
    pub line: u64,
}

impl Position {
    pub const START: Self = Self { file: 0, offset: 0, line: 0 };
    const fn start_of(file: u64) -> Self {
        Self { file, offset: 0, line: 0 }
    }
}

/// One event as the journal holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: String,
    pub stream: String,
    /// The event's JSON object, checksum removed.
    pub json: Vec<u8>,
    /// The place after the line.
    pub end: Position,
}

/// A stretch that is not an event. `line` counts from 1, `byte` and `length` are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}, byte {byte}: {length} bytes skipped: {fault}")]
pub struct Corrupt {
    pub file: String,
    pub line: u64,
    pub byte: u64,
    pub length: u64,
    pub fault: LineFault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Record(Record),
    /// An event stood here and was erased ([`erasure`](super::erasure)); the place after it.
    Erased(Position),
    Corrupt(Corrupt),
}

const CHUNK_BYTES: usize = 64 << 10;

pub struct JournalReader {
    source: Arc<dyn JournalSource>,
    /// Of the first byte in `buffer`.
    at: Position,
    buffer: Vec<u8>,
    /// Bytes of an over-long line already dropped from `buffer`.
    dropped: u64,
    chunk: Box<[u8]>,
}

#[derive(Deserialize)]
struct Routing {
    id: String,
    stream: String,
}

/// What a line holds.
enum Content {
    Event { routing: Routing, json: Vec<u8> },
    Erased,
}

fn content_of(line: &[u8]) -> Result<Content, LineFault> {
    let json = line::open(line)?;
    match serde_json::from_slice::<Routing>(&json) {
        Ok(routing) => Ok(Content::Event { routing, json }),
        Err(_) if erasure::is_erased(&json) => Ok(Content::Erased),
        Err(_) => Err(LineFault::NotAnEvent),
    }
}

impl JournalReader {
    /// Starts at the oldest line.
    pub fn from_start(source: Arc<dyn JournalSource>) -> Self {
        Self { source, at: Position::START, buffer: Vec::new(), dropped: 0, chunk: vec![0; CHUNK_BYTES].into() }
    }

    /// Starts at a saved place. A place that does not exist (the journal was replaced or edited) falls back to the beginning of its file,
    /// or to the oldest line: rather twice than never. The second value says so.
    pub fn resume(source: Arc<dyn JournalSource>, at: Position) -> io::Result<(Self, bool)> {
        let newest = source.numbers()?.last().copied().unwrap_or(0);
        // No line is empty, so a place with more lines than bytes is none; nor is one that no file can have.
        let start = if at.file > newest || at.line > at.offset || i64::try_from(at.offset).is_err() {
            Position::START
        } else if at.offset == 0 {
            at
        } else {
            let mut before = [0_u8];
            match source.read(at.file, at.offset - 1, &mut before) {
                Ok(1) if before == *b"\n" => at,
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                // A file that is gone was read to its end by all who needed it: the next one follows.
                Err(_) => at,
                Ok(_) => Position::start_of(at.file),
            }
        };
        let mut reader = Self::from_start(source);
        reader.at = start;
        Ok((reader, start == at))
    }

    /// The place after the last item.
    pub fn position(&self) -> Position {
        self.at
    }

    /// Goes back to `at`, a place that it has passed, and reads the files anew from there: what it holds of them may have been erased meanwhile.
    pub fn read_again(&mut self, at: Position) {
        (self.at, self.dropped) = (at, 0);
        self.buffer.clear();
    }

    /// The next item before `limit`, which must be a place the writer gave out; `None` when everything before it was read. After an
    /// error nothing is skipped: call again.
    pub fn next(&mut self, limit: Position) -> io::Result<Option<Item>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
                return Ok(Some(self.take_line(end)));
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                self.drop_buffer();
            }
            if self.at.file > limit.file || (self.at.file == limit.file && self.at.offset + self.buffered() >= limit.offset) {
                return Ok(self.take_rest(limit));
            }
            if self.fill(limit)? == 0 {
                if let Some(item) = self.take_rest(limit) {
                    return Ok(Some(item));
                }
                if !self.next_file(limit)? {
                    return Ok(None);
                }
            }
        }
    }

    fn buffered(&self) -> u64 {
        self.buffer.len() as u64
    }

    fn fill(&mut self, limit: Position) -> io::Result<usize> {
        let from = self.at.offset + self.buffered();
        let most = if self.at.file == limit.file { limit.offset - from } else { CHUNK_BYTES as u64 };
        let most = usize::try_from(most).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let count = match self.source.read(self.at.file, from, &mut self.chunk[..most]) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            other => other?,
        };
        self.buffer.extend_from_slice(&self.chunk[..count]);
        Ok(count)
    }

    /// Moves to the next file that exists; false if there is none before `limit`.
    fn next_file(&mut self, limit: Position) -> io::Result<bool> {
        if self.at.file >= limit.file {
            // The limit's file is shorter than the limit: somebody cut it. There is nothing to read there.
            return Ok(false);
        }
        let next = self.source.numbers()?.into_iter().find(|n| *n > self.at.file && *n <= limit.file);
        if let Some(number) = next {
            self.at = Position::start_of(number);
        }
        Ok(next.is_some())
    }

    fn take_line(&mut self, end: usize) -> Item {
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let content = &line[..end];
        let opened = if self.dropped > 0 || content.len() > MAX_LINE_BYTES { Err(LineFault::TooLong) } else { content_of(content) };
        let length = line.len() as u64;
        match opened {
            Ok(content) => {
                self.at.offset += length;
                self.at.line += 1;
                match content {
                    Content::Event { routing: Routing { id, stream }, json } => Item::Record(Record { id, stream, json, end: self.at }),
                    Content::Erased => Item::Erased(self.at),
                }
            }
            Err(fault) => Item::Corrupt(self.corrupt(length, fault)),
        }
    }

    /// What stands after the last line break of a finished stretch.
    fn take_rest(&mut self, limit: Position) -> Option<Item> {
        let length = self.buffered();
        if length + self.dropped == 0 {
            return None;
        }
        self.buffer.clear();
        let fault = if self.dropped > 0 { LineFault::TooLong } else { LineFault::Unterminated };
        let item = Item::Corrupt(self.corrupt(length, fault));
        debug_assert!(self.at.file != limit.file || self.at.offset <= limit.offset);
        Some(item)
    }

    fn corrupt(&mut self, length: u64, fault: LineFault) -> Corrupt {
        let byte = self.at.offset - self.dropped;
        self.at.offset += length;
        self.at.line += 1;
        let length = length + std::mem::take(&mut self.dropped);
        Corrupt { file: self.source.name(self.at.file), line: self.at.line, byte, length, fault }
    }

    fn drop_buffer(&mut self) {
        self.dropped += self.buffered();
        self.at.offset += self.buffered();
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::RealSource;
    use super::super::{Journal, JournalError};
    use super::*;

    #[test]
    fn an_impossible_place_is_the_journal_s_beginning() {
        let directory = tempfile::tempdir().expect("temporary directory");
        std::fs::write(directory.path().join("events-00000001.jsonl"), "x\ny\n").expect("written");
        let impossible = [(1, u64::MAX, 1), (1, 1 << 63, 1), (1, 2, u64::MAX), (u64::MAX, 2, 1)];
        for (file, offset, line) in impossible {
            let at = Position { file, offset, line };
            let source = Arc::new(RealSource::new(directory.path()));
            let (mut reader, exact) = JournalReader::resume(source, at).expect("readable");
            assert_eq!((reader.position(), exact), (Position::START, false), "{at:?}");
            let end = Position { file: 1, offset: 4, line: 2 };
            assert!(reader.next(end).expect("readable").is_some(), "it goes on from there");
        }
        let source = Arc::new(RealSource::new(directory.path()));
        let kept = Position { file: 1, offset: 2, line: 1 };
        assert!(JournalReader::resume(source, kept).expect("readable").1);
    }

    #[test]
    fn the_highest_file_number_is_refused_in_words() {
        let directory = tempfile::tempdir().expect("temporary directory");
        std::fs::write(directory.path().join("events-18446744073709551615.jsonl"), "").expect("written");
        let opened = Journal::open(directory.path(), 1)
            .and_then(|(mut journal, _)| journal.append(&vec![b'\n'; 2 << 20]).and_then(|_| journal.append(b"\n")));
        let error: JournalError = opened.expect_err("nothing comes after it");
        assert!(error.to_string().contains("18446744073709551615") && error.to_string().contains("move that file"), "{error}");
    }
}
