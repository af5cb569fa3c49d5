//! The journal's files behind small traits, so that a seeded faulty twin (`faulty.rs`) can stand in for the disk.
//!
//! ```text
//! journal/  events-00000001.jsonl     0600; numbers grow, a file is never reopened once a later one exists
//!           events-00000001.torn      what was cut off its end at start-up, for inspection
//!           events-00000001.anew      for a moment: the same without events that are erased (`erasure.rs`)
//!           <sink>.cursor             where a sink stands
//!           lock                      held by the one process that writes
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// Of a file that is written anew, what is copied between two looks at the clock.
pub(super) const COPIED_BYTES: usize = 4 << 20;

/// Reading, from any thread.
pub trait JournalSource: Send + Sync {
    /// Numbers of the files that exist, ascending.
    fn numbers(&self) -> io::Result<Vec<u64>>;
    /// Reads at `offset`; 0 at the end. `NotFound` where there is no such file.
    fn read(&self, number: u64, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// What to call file `number` in messages.
    fn name(&self, number: u64) -> String {
        format!("events-{number:08}.jsonl")
    }
}

/// Writing, from the one thread that owns the journal.
pub trait JournalDirectory: JournalSource {
    /// Makes a new, empty file whose directory entry is durable. `AlreadyExists` if there is one.
    fn create(&mut self, number: u64) -> io::Result<Box<dyn JournalFile>>;
    /// Opens an existing file for appending at its end.
    fn reopen(&mut self, number: u64) -> io::Result<Box<dyn JournalFile>>;
    /// Puts bytes in the place of as many, at the offsets given, of a file that nobody has open; all of it, durably, or nothing. What was cut off
    /// that file's end goes. `pace` is told again and again that it goes on.
    fn overwrite(&mut self, number: u64, patches: &[(u64, Vec<u8>)], pace: &dyn Fn()) -> io::Result<()>;
    /// Removes file `number`, and what was cut off it; durable when it returns.
    fn remove(&mut self, number: u64) -> io::Result<()>;
    /// Keeps bytes that are about to be cut off file `number`.
    fn set_aside(&mut self, number: u64, bytes: &[u8]) -> io::Result<()>;
}

/// One open file, written at its end only.
pub trait JournalFile: Send {
    /// Appends; may take fewer bytes than given.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Makes everything appended durable (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `length` and makes that durable. The next append goes there.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A directory on a real file system.
pub struct RealDirectory {
    path: PathBuf,
    /// Held while this process may write.
    _lock: Flock<File>,
}

/// The reader's view of a real directory.
#[derive(Clone, Debug)]
pub struct RealSource {
    path: PathBuf,
}

impl RealDirectory {
    /// Makes the directory where it does not exist (0700) and locks it: `WouldBlock` where another process writes there.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| io::Error::from(errno))?;
        // What a power cut left of an erasure holds what was to be erased; it is begun anew.
        for entry in std::fs::read_dir(path)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(|name| name.starts_with("events-") && name.ends_with(".anew")) {
                std::fs::remove_file(path.join(name))?;
            }
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }
    pub fn source(&self) -> RealSource {
        RealSource { path: self.path.clone() }
    }
}

impl RealSource {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
    fn file(&self, number: u64) -> PathBuf {
        self.path.join(self.name(number))
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl JournalSource for RealSource {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|n| n.strip_prefix("events-")).and_then(|n| n.strip_suffix(".jsonl"));
            let digits = digits.filter(|d| d.len() >= 8 && d.bytes().all(|b| b.is_ascii_digit()));
            numbers.extend(digits.and_then(|d| d.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
    fn read(&self, number: u64, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = File::open(self.file(number))?;
        loop {
            match file.read_at(into, offset) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl JournalSource for RealDirectory {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        self.source().numbers()
    }
    fn read(&self, number: u64, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.source().read(number, offset, into)
    }
}

impl JournalDirectory for RealDirectory {
    fn create(&mut self, number: u64) -> io::Result<Box<dyn JournalFile>> {
        let path = self.source().file(number);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = file.sync_all().and_then(|()| sync_directory(&self.path)) {
            // An empty file with this number is harmless; without it the next attempt can use the number again.
            let _leftover = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Box::new(RealFile { file }))
    }
    fn reopen(&mut self, number: u64) -> io::Result<Box<dyn JournalFile>> {
        let file = OpenOptions::new().append(true).open(self.source().file(number))?;
        Ok(Box::new(RealFile { file }))
    }
    fn overwrite(&mut self, number: u64, patches: &[(u64, Vec<u8>)], pace: &dyn Fn()) -> io::Result<()> {
        let (path, beside) = (self.source().file(number), self.path.join(format!("events-{number:08}.anew")));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            let original = File::open(&path)?;
            // Synced piece by piece: all of it at the end could take a slow disk longer than a watchdog waits.
            while io::copy(&mut (&original).take(COPIED_BYTES as u64), &mut file)? > 0 {
                file.sync_data()?;
                pace();
            }
            for (offset, bytes) in patches {
                file.write_all_at(bytes, *offset)?;
            }
            file.sync_all()?;
            pace();
            self.remove_torn(number)?;
            std::fs::rename(&beside, &path)?;
            sync_directory(&self.path)
        })();
        if written.is_err() {
            // It holds what was to be erased; where it cannot be removed either the next attempt begins it anew.
            let _leftover = std::fs::remove_file(&beside);
        }
        written
    }
    fn remove(&mut self, number: u64) -> io::Result<()> {
        self.remove_torn(number)?;
        std::fs::remove_file(self.source().file(number))?;
        sync_directory(&self.path)
    }
    fn set_aside(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path.join(format!("events-{number:08}.torn"));
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        sync_directory(&self.path)
    }
}

impl RealDirectory {
    fn remove_torn(&self, number: u64) -> io::Result<()> {
        match std::fs::remove_file(self.path.join(format!("events-{number:08}.torn"))) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

struct RealFile {
    file: File,
}

impl JournalFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_all()
    }
}
