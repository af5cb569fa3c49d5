//! The database files of the gallery: opened by one process at a time, private, durable, and written anew where nothing may be left behind.
//!
//! Rewriting: everything in force is copied to a new file beside the old one, which then takes its name. A power cut leaves one of
//! the two, whole; what it may leave of the new one under its temporary name is removed by whoever opens the database next. The blocks of the
//! old file go back to the file system, which may keep what was in them until it uses them again.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::SubjectId;
use super::seal::make_private_directory;
use super::vault::VaultError;
use crate::state::StateDirectory;

/// Opens or makes a database that its owner alone can read, and its tables. A new file's directory entry is made durable too.
pub(super) fn open_database(
    path: &Path,
    make_tables: impl Fn(&WriteTransaction) -> Result<(), redb::TableError>,
) -> Result<Database, VaultError> {
    let file_error = |error| VaultError::File { path: path.to_owned(), error };
    let directory = path.parent().unwrap_or(Path::new("."));
    make_private_directory(directory).map_err(file_error)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(file_error)?;
    let opened = file.metadata().map_err(file_error)?;
    let database = database_in(file, path)?;
    // Another process may have put a new file in this one's place between its opening and its locking.
    let named = std::fs::metadata(path).map_err(file_error)?;
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        return Err(VaultError::Busy { path: path.to_owned() });
    }
    remove_leftover(&temporary(path)).map_err(file_error)?;
    let empty = || Ok(database.begin_read()?.list_tables()?.next().is_none());
    if empty().map_err(|error: redb::Error| VaultError::storage(path, error))? {
        durable_write(&database, path, |write| Ok(make_tables(write)?))?;
        sync(directory).map_err(file_error)?;
    }
    Ok(database)
}

fn database_in(file: File, path: &Path) -> Result<Database, VaultError> {
    let backend = redb::backends::FileBackend::new(file).map_err(|e| VaultError::storage(path, e.into()))?;
    Database::builder().create_with_backend(backend).map_err(|e: DatabaseError| VaultError::storage(path, e.into()))
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("redb.new")
}

fn remove_leftover(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// One transaction, on the disk when this returns `Ok`; nothing of it when it returns `Err`.
pub(super) fn durable_write<T>(
    database: &Database,
    path: &Path,
    work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, VaultError> {
    let attempt = || {
        let mut write = database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        let done = work(&write)?;
        write.commit()?;
        Ok(done)
    };
    attempt().map_err(|error: redb::Error| VaultError::storage(path, error))
}

/// Puts a new file with what `copy` takes over in the place of `database`, durably. `database` stays locked until that is done.
pub(super) fn rewrite(
    database: Database,
    path: &Path,
    copy: impl FnOnce(&ReadTransaction, &WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), VaultError> {
    let file_error = |error| VaultError::File { path: path.to_owned(), error };
    let new_path = temporary(path);
    remove_leftover(&new_path).map_err(file_error)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&new_path).map_err(file_error)?;
    // What root writes stays for the file's user to read.
    let old = std::fs::metadata(path).map_err(file_error)?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid())).map_err(file_error)?;
    }
    let read = database.begin_read().map_err(|e| VaultError::storage(path, e.into()))?;
    let new = database_in(file, &new_path)?;
    durable_write(&new, &new_path, |write| copy(&read, write))?;
    drop(new);
    std::fs::rename(&new_path, path).map_err(file_error)?;
    sync(path.parent().unwrap_or(Path::new("."))).map_err(file_error)
}

/// Whether any byte of the gallery's files still spells the subject's id, in force or in a freed page.
pub fn is_mentioned(state: &StateDirectory, subject: &SubjectId) -> std::io::Result<bool> {
    let id = subject.0.as_bytes();
    let shards = match std::fs::read_dir(state.shards()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        listed => listed?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?,
    };
    for path in [state.vault(), state.identities()].iter().chain(&shards) {
        if mentions(path, id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn mentions(path: &Path, what: &[u8]) -> std::io::Result<bool> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    // The end of one piece is looked at again with the next: the id may lie across.
    let (mut piece, mut kept) = (vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut piece[kept..])?;
        if read == 0 {
            return Ok(false);
        }
        let filled = kept + read;
        if piece[..filled].windows(what.len()).any(|w| w == what) {
            return Ok(true);
        }
        kept = filled.min(what.len().saturating_sub(1));
        piece.copy_within(filled - kept..filled, 0);
    }
}
