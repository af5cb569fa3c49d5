//! The register's file: a redb database that is opened for a moment, by one process at a time to write, by several to read.
//!
//! ```text
//! changes-1   seq → change, as JSON (change.rs)
//! present-1   "register" → the register that the changes add up to, as TOML; "head" → the last change's digest
//! pending-1   digest → proposal and approvals so far, as JSON
//! ```
//!
//! What a write acknowledged is on the disk. redb writes to new pages and then turns to them, so that a power cut leaves the old contents or
//! the new; whoever opens the file after one repairs it. What is read is not believed here: that is `chain.rs`.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyDatabase, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};

use super::StoreError;
use super::digest::Digest;
use crate::shutdown::Shutdown;

const CHANGES: TableDefinition<u64, &[u8]> = TableDefinition::new("changes-1");
const PRESENT: TableDefinition<&str, &[u8]> = TableDefinition::new("present-1");
const PENDING: TableDefinition<&str, &[u8]> = TableDefinition::new("pending-1");

const REGISTER: &str = "register";
const HEAD: &str = "head";
const PAUSE: Duration = Duration::from_millis(5);
/// A register is small; redb would take a gigabyte.
const CACHE_BYTES: usize = 8 << 20;

/// Everything in the file, as it is.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub changes: Vec<Vec<u8>>,
    pub register: Vec<u8>,
    pub head: Vec<u8>,
    pub pending: Vec<Vec<u8>>,
}

/// What one transaction writes.
#[derive(Default)]
pub(super) struct Entry<'a> {
    /// Sequence, change, the register after it, the change's digest.
    pub change: Option<(u64, &'a [u8], &'a str, Digest)>,
    pub add_pending: Option<(Digest, &'a [u8])>,
    pub remove_pending: Option<Digest>,
}

/// The file, open for writing.
pub(super) struct Ledger(Database);

impl Ledger {
    /// Opens the file at `path`; makes it if `create`. Waits up to `patience` for readers to be done.
    pub fn open(path: &Path, create: bool, patience: Duration) -> Result<Self, StoreError> {
        let file_error = |source| StoreError::File { path: path.to_owned(), source };
        let (pause, mut pauses_left) = (Shutdown::new(), patience.as_millis() / PAUSE.as_millis());
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(create).truncate(false).mode(0o640);
            let file = options.open(path).map_err(|source| StoreError::of_file(path, source))?;
            if create {
                let directory = path.parent().unwrap_or(Path::new("."));
                // What root makes in somebody's directory is that user's; and the name must outlive a power cut.
                let owner = std::fs::metadata(directory).map_err(file_error)?;
                if nix::unistd::geteuid().is_root() {
                    std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid())).map_err(file_error)?;
                }
                std::fs::File::open(directory).and_then(|d| d.sync_all()).map_err(file_error)?;
            }
            let backend = redb::backends::FileBackend::new(file).map_err(|e| StoreError::of_database(path, e.into()))?;
            match Self::over(backend) {
                Ok(ledger) => return Ok(ledger),
                Err(redb::Error::DatabaseAlreadyOpen) if pauses_left > 0 => {
                    pauses_left -= 1;
                    pause.wait(PAUSE);
                }
                Err(error) => return Err(StoreError::of_database(path, error)),
            }
        }
    }

    /// Over any storage: tests bring one that fails.
    pub fn over(backend: impl StorageBackend) -> Result<Self, redb::Error> {
        let open = || Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        // A file that was damaged on purpose may lead redb anywhere.
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(opened) => Ok(Self(opened.map_err(redb::Error::from)?)),
            Err(_panic) => Err(redb::Error::Corrupted("the file is damaged".to_owned())),
        }
    }

    pub fn contents(&self) -> Result<Contents, redb::Error> {
        contents(&self.0)
    }

    /// All of `entry` or nothing; on the disk when this returns `Ok`.
    pub fn write(&self, entry: &Entry<'_>) -> Result<(), redb::Error> {
        let mut write = self.0.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        // Readers need no repair, even after a kill.
        write.set_quick_repair(true);
        {
            let (mut changes, mut present) = (write.open_table(CHANGES)?, write.open_table(PRESENT)?);
            let mut pending = write.open_table(PENDING)?;
            if let Some((seq, change, register, digest)) = entry.change {
                changes.insert(seq, change)?;
                present.insert(REGISTER, register.as_bytes())?;
                present.insert(HEAD, &digest.0[..])?;
            }
            if let Some((digest, proposal)) = entry.add_pending {
                pending.insert(&*digest.to_string(), proposal)?;
            }
            if let Some(digest) = entry.remove_pending {
                pending.remove(&*digest.to_string())?;
            }
        }
        Ok(write.commit()?)
    }
}

fn contents(database: &impl ReadableDatabase) -> Result<Contents, redb::Error> {
    let read = || {
        let read = database.begin_read()?;
        if read.list_tables()?.next().is_none() {
            return Ok(Contents::default());
        }
        let mut contents = Contents::default();
        for row in read.open_table(CHANGES)?.iter()? {
            let (seq, change) = row?;
            if seq.value() != contents.changes.len() as u64 {
                return Err(redb::Error::Corrupted(format!("change {} is missing", contents.changes.len())));
            }
            contents.changes.push(change.value().to_vec());
        }
        let present = read.open_table(PRESENT)?;
        let value = |key| -> Result<Vec<u8>, redb::Error> { Ok(present.get(key)?.map(|v| v.value().to_vec()).unwrap_or_default()) };
        (contents.register, contents.head) = (value(REGISTER)?, value(HEAD)?);
        for row in read.open_table(PENDING)?.iter()? {
            contents.pending.push(row?.1.value().to_vec());
        }
        Ok(contents)
    };
    // A file that was damaged on purpose may lead redb anywhere.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_panic| Err(redb::Error::Corrupted("the file is damaged".to_owned())))
}

/// Reads the file without changing it, unless a killed writer left it in need of repair. Never waits: [`StoreError::Busy`] while somebody
/// writes.
pub(super) fn read(path: &Path) -> Result<Contents, StoreError> {
    // Asked first, because redb's words for a file that is not there are not ours.
    std::fs::metadata(path).map_err(|source| StoreError::of_file(path, source))?;
    let open = || Builder::new().set_cache_size(CACHE_BYTES).open_read_only(path);
    let opened: Result<ReadOnlyDatabase, DatabaseError> = catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_panic| Err(redb::StorageError::Corrupted("the file is damaged".to_owned()).into()));
    match opened {
        Ok(database) => contents(&database).map_err(|e| StoreError::of_database(path, e)),
        Err(DatabaseError::RepairAborted) => {
            Ledger::open(path, false, Duration::ZERO)?.contents().map_err(|e| StoreError::of_database(path, e))
        }
        Err(error) => Err(StoreError::of_database(path, error.into())),
    }
}
