//! Which key a file of the gallery is under: the site's, until the gallery was re-keyed; then the site's together with `keys/gallery.key`.
//!
//! ```text
//! root = site key                                              no id in the file
//! root = HKDF-SHA-256(salt: gallery key, site key)             the file names it by its id, table key-1
//! ```
//!
//! A file names its root by an id that says nothing about it, so re-keying may be cut short anywhere: while it goes on, `gallery.key.new` lies beside
//! `gallery.key`, each file opens with the one that it names, and doing it again ends it.

use std::path::PathBuf;

use redb::{Database, ReadableDatabase, TableDefinition, WriteTransaction};

use super::seal::{SealError, SiteKey, random_key};
use super::vault::VaultError;
use crate::state::{StateDirectory, replace_file};

pub(super) const KEY: TableDefinition<&str, &[u8]> = TableDefinition::new("key-1");
const ID: &str = "id";

pub(super) type KeyId = [u8; 16];

/// The root of a gallery's file.
pub(super) enum Root<'a> {
    Site(&'a SiteKey),
    Own(SiteKey),
}

impl std::ops::Deref for Root<'_> {
    type Target = SiteKey;
    fn deref(&self) -> &SiteKey {
        match self {
            Self::Site(key) => key,
            Self::Own(key) => key,
        }
    }
}

/// The root that the gallery was re-keyed to last; `None`: it never was.
pub(super) fn in_force(state: &StateDirectory, site: &SiteKey) -> Result<Option<SiteKey>, SealError> {
    let path = state.gallery_key();
    if path.exists() { Ok(Some(site.with(&SiteKey::read(path)?)?)) } else { Ok(None) }
}

/// The key that a new file is under: the site's, unless the gallery was re-keyed.
pub(super) fn for_new(state: &StateDirectory, site: &SiteKey) -> Result<Option<KeyId>, VaultError> {
    Ok(in_force(state, site)?.map(|root| root.id()).transpose()?)
}

/// The key that `database` says it is under; unset: the site's.
pub(super) fn named(database: &Database) -> Result<Option<KeyId>, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(KEY) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    Ok(table.get(ID)?.and_then(|id| id.value().try_into().ok()))
}

/// Names the key, in the transaction that puts everything under it.
pub(super) fn name(write: &WriteTransaction, id: &KeyId) -> Result<(), redb::Error> {
    write.open_table(KEY)?.insert(ID, &id[..])?;
    Ok(())
}

/// Takes the name over into a file that is written anew.
pub(super) fn copy(read: &redb::ReadTransaction, write: &WriteTransaction) -> Result<(), redb::Error> {
    let table = match read.open_table(KEY) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        table => table?,
    };
    match table.get(ID)?.and_then(|id| id.value().try_into().ok()) {
        Some(id) => name(write, &id),
        None => Ok(()),
    }
}

/// The root of that id.
pub(super) fn root<'a>(state: &StateDirectory, site: &'a SiteKey, id: Option<KeyId>) -> Result<Root<'a>, SealError> {
    let Some(id) = id else { return Ok(Root::Site(site)) };
    for path in [state.gallery_key(), unfinished(state)] {
        if !path.exists() {
            continue;
        }
        let own = site.with(&SiteKey::read(path)?)?;
        if own.id()? == id {
            return Ok(Root::Own(own));
        }
    }
    Err(SealError::GalleryKey { path: state.gallery_key() })
}

pub(super) fn unfinished(state: &StateDirectory) -> PathBuf {
    state.gallery_key().with_extension("key.new")
}

/// The root that a gallery is to be under: the one of a re-keying that was cut short, or a new one.
pub(super) fn next(state: &StateDirectory, site: &SiteKey) -> Result<SiteKey, VaultError> {
    let path = unfinished(state);
    if !path.exists() {
        let written = replace_file(&path, &random_key()?[..], 0o600);
        written.map_err(|error| VaultError::File { path: path.clone(), error })?;
    }
    Ok(site.with(&SiteKey::read(path)?)?)
}

/// Every file is under the next root: from now on it is the one.
pub(super) fn finish(state: &StateDirectory) -> Result<(), VaultError> {
    let (from, to) = (unfinished(state), state.gallery_key());
    let directory = to.parent().unwrap_or(std::path::Path::new(".")).to_owned();
    let moved = std::fs::rename(&from, &to).and_then(|()| std::fs::File::open(directory)?.sync_all());
    moved.map_err(|error| VaultError::File { path: to, error })
}
