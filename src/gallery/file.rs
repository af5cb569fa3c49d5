//! The database files of the gallery: opened by one process at a time, private, durable, and written anew where nothing may be left behind.
//!
//! Rewriting: everything in force is copied to a new file beside the old one, which then takes its name; the old one is overwritten and goes. A power cut
//! leaves one of the two in force, whole; what it may leave of the other (`.redb.new`, `.redb.old`) is overwritten and removed by whoever opens the
//! database next. Removing something *owes* a rewriting, which is written down in the same transaction (table `owed-1`): where a crash comes first, the next opening does it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};

use super::SubjectId;
use super::keyring::{self, KeyId};
use super::seal::make_private_directory;
use super::vault::VaultError;
use crate::state::StateDirectory;

/// What is still to be done to a file: see [`REWRITE`] and `vault/owed.rs`.
pub(super) const OWED: TableDefinition<&str, &[u8]> = TableDefinition::new("owed-1");
/// Freed pages of the file hold what was removed: it is to be written anew.
const REWRITE: &str = "rewrite";

/// Notes it, in the transaction that removes something.
pub(super) fn owe_rewrite(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(OWED)?.insert(REWRITE, &[][..])?;
    Ok(())
}

pub(super) fn owes_rewrite(database: &Database, path: &Path) -> Result<bool, VaultError> {
    let owed = || -> Result<bool, redb::Error> {
        match database.begin_read()?.open_table(OWED) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            table => Ok(table?.get(REWRITE)?.is_some()),
        }
    };
    owed().map_err(|error| VaultError::storage(path, error))
}

/// Opens or makes a database that its owner alone can read, and its tables. A new file's directory entry is made durable too. `key`: which key a new file is
/// under; it is named in the first transaction.
pub(super) fn open_database(
    path: &Path,
    key: impl FnOnce() -> Result<Option<KeyId>, VaultError>,
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
    for leftover in [temporary(path), replaced(path)] {
        discard(&leftover, path).map_err(file_error)?;
    }
    let empty = || Ok(database.begin_read()?.list_tables()?.next().is_none());
    if empty().map_err(|error: redb::Error| VaultError::storage(path, error))? {
        let key = key()?;
        durable_write(&database, path, |write| {
            make_tables(write)?;
            key.map_or(Ok(()), |key| keyring::name(write, &key))
        })?;
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

fn replaced(path: &Path) -> PathBuf {
    path.with_extension("redb.old")
}

/// Overwrites a file and removes it; nothing where there is none. Where it is a second name of the file that is `in_force` (a rewriting was cut
/// between the two), the name goes and the file stays as it is.
fn discard(path: &Path, in_force: &Path) -> std::io::Result<()> {
    let gone = |done: std::io::Result<()>| match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    // A link is not followed.
    let mut options = OpenOptions::new();
    match options.write(true).custom_flags(nix::libc::O_NOFOLLOW).open(path) {
        Ok(file) if is_same(&file, in_force)? => {}
        Ok(file) => told(path, overwrite(&file)),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => told(path, Err(error)),
    }
    gone(std::fs::remove_file(path))
}

fn is_same(file: &File, in_force: &Path) -> std::io::Result<bool> {
    let this = file.metadata()?;
    match std::fs::metadata(in_force) {
        Ok(that) => Ok((this.dev(), this.ino()) == (that.dev(), that.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn overwrite(mut file: &File) -> std::io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut left = file.metadata()?.len();
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all(&zeros[..count])?;
        left -= count as u64;
    }
    file.sync_all()
}

/// What cannot be overwritten goes all the same: the alternative is to keep it.
fn told(path: &Path, overwritten: std::io::Result<()>) {
    if let Err(error) = overwritten {
        tracing::warn!(path = %path.display(), %error, "a file of the gallery could not be overwritten before it went: its blocks may keep what was removed");
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

/// Puts a new file with what `copy` takes over in the place of `database`, durably, and overwrites the old one. `database` stays locked until the new one is in
/// its place.
pub(super) fn rewrite(
    database: Database,
    path: &Path,
    copy: impl FnOnce(&ReadTransaction, &WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), VaultError> {
    let file_error = |error| VaultError::File { path: path.to_owned(), error };
    let (new_path, old_path) = (temporary(path), replaced(path));
    for leftover in [&new_path, &old_path] {
        discard(leftover, path).map_err(file_error)?;
    }
    let old_file = OpenOptions::new().write(true).open(path).map_err(file_error)?;
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
    drop(read);
    // By a second name the old file is found again after a power cut. Some file systems know no second names.
    let _kept = std::fs::hard_link(path, &old_path);
    std::fs::rename(&new_path, path).map_err(file_error)?;
    sync(path.parent().unwrap_or(Path::new("."))).map_err(file_error)?;
    drop(database);
    // Whoever opened the old file meanwhile sees that it is not the one any more, and lets go.
    told(&old_path, old_file.lock().and_then(|()| overwrite(&old_file)));
    drop(old_file);
    discard(&old_path, path).map_err(file_error)
}

/// Whether any byte of the gallery's files still spells the subject's id, in force or in a freed page.
pub fn is_mentioned(state: &StateDirectory, subject: &SubjectId) -> std::io::Result<bool> {
    let id = subject.0.as_bytes();
    let shards = match std::fs::read_dir(state.shards()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        listed => listed?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?,
    };
    for path in [state.vault(), state.identities(), state.heads()].iter().chain(&shards) {
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

#[cfg(test)]
mod tests {
    use redb::{ReadableDatabase as _, TableDefinition};

    use super::*;

    const ROWS: TableDefinition<&str, u64> = TableDefinition::new("rows");

    fn open(path: &Path) -> Database {
        open_database(path, || Ok(None), |write| write.open_table(ROWS).map(drop)).expect("opens")
    }

    fn value(database: &Database) -> Option<u64> {
        let read = database.begin_read().expect("reads");
        read.open_table(ROWS).expect("there").get("kept").expect("reads").map(|v| v.value())
    }

    #[test]
    fn a_rewriting_that_was_cut_between_its_two_names_leaves_the_file_in_force_as_it_is() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("vault.redb");
        let database = open(&path);
        durable_write(&database, &path, |write| Ok(write.open_table(ROWS)?.insert("kept", 7).map(drop)?)).expect("written");
        drop(database);
        // The second name is there, and the new file has not taken the first.
        let cut = || {
            std::fs::write(temporary(&path), b"half a database").expect("written");
            std::fs::hard_link(&path, replaced(&path)).expect("a second name");
        };
        cut();
        let database = open(&path);
        assert_eq!(value(&database), Some(7), "after the next opening");
        assert!(!temporary(&path).exists() && !replaced(&path).exists());
        cut();
        let copy = |_: &ReadTransaction, write: &WriteTransaction| Ok(write.open_table(ROWS)?.insert("kept", 7).map(drop)?);
        rewrite(database, &path, copy).expect("rewritten");
        assert_eq!(value(&open(&path)), Some(7), "after the next rewriting");
        // And what is another file is overwritten before it goes.
        std::fs::write(replaced(&path), b"a template").expect("written");
        let kept = File::open(replaced(&path)).expect("opens");
        drop(open(&path));
        assert_eq!(std::io::read_to_string(kept).expect("reads"), "\0".repeat(10));
    }
}
