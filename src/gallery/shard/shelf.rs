//! The directory `gallery/shards`: a file for each purpose and model.
//!
//! A name is the purpose's kind and a digest, so that nobody reads a case's number from a listing; inside, the header says it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::build::{Fetch, Plan, build, discard};
use super::disk::Disk;
use super::open::ShardFile;
use super::{Header, Next, ShardError, State};
use crate::gallery::TemplateModel;
use crate::gallery::seal::SealingKey;
use crate::purpose::Purpose;

const SHARD: &str = "shard";

/// A file, and the shard in it or what is wrong with it.
pub(crate) type Opened = (PathBuf, Result<ShardFile, ShardError>);

/// What a shard says of itself.
pub(crate) struct Head {
    pub path: PathBuf,
    pub header: Header,
    pub state: State,
}

pub(crate) struct Shelf {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    site: SealingKey,
    /// As they were read last; unset once a file has changed.
    heads: Mutex<Option<Arc<Vec<Head>>>>,
}

impl Shelf {
    pub fn new(disk: Arc<dyn Disk>, directory: PathBuf, site: SealingKey) -> Self {
        Self { disk, directory, site, heads: Mutex::default() }
    }

    pub fn path(&self, purpose: &Purpose, model: &TemplateModel) -> PathBuf {
        let parts = [purpose.to_string(), model.name.to_string(), model.sha256.to_string(), model.dim.to_string()];
        let digest: [u8; 32] = Sha256::digest(parts.join("\n")).into();
        let digits = crate::hex::of(&digest[..8]);
        self.directory.join(format!("{}-{digits}.{SHARD}", purpose.kind().name()))
    }

    /// Files of the directory, and whether they are shards. Others are what a making left that was cut short.
    fn files(&self) -> Result<Vec<(PathBuf, bool)>, ShardError> {
        let failed = |error| ShardError::File { path: self.directory.clone(), error };
        let is_shard = |path: &Path| path.extension().is_some_and(|e| e == SHARD);
        Ok(self.disk.list(&self.directory).map_err(failed)?.into_iter().map(|path| (path.clone(), is_shard(&path))).collect())
    }

    /// Every shard there is, opened or not.
    pub fn all(&self) -> Result<Vec<Opened>, ShardError> {
        let shards = self.files()?.into_iter().filter(|(_, shard)| *shard);
        Ok(shards.map(|(path, _)| (path.clone(), ShardFile::open(&*self.disk, &path, Some(&self.site)))).collect())
    }

    /// What every shard says of itself that can be read; each file is looked at once, until one changes.
    pub fn heads(&self) -> Result<Arc<Vec<Head>>, ShardError> {
        let mut known = self.heads.lock();
        if let Some(heads) = &*known {
            return Ok(Arc::clone(heads));
        }
        let head = |(path, _): (PathBuf, bool)| {
            let ShardFile { header, state, .. } = ShardFile::begin(&*self.disk, &path, Some(&self.site)).ok()?;
            Some(Head { path, header, state })
        };
        let heads = Arc::new(self.files()?.into_iter().filter(|(_, shard)| *shard).filter_map(head).collect());
        *known = Some(Arc::clone(&heads));
        Ok(heads)
    }

    /// The shard of `purpose` and `model`, if there is one.
    pub fn open(&self, purpose: &Purpose, model: &TemplateModel) -> Result<Option<ShardFile>, ShardError> {
        match ShardFile::open(&*self.disk, &self.path(purpose, model), Some(&self.site)) {
            Err(ShardError::File { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// See [`build`].
    pub fn build<E: From<ShardError>>(&self, purpose: &Purpose, plan: &Plan, fetch: Fetch<'_, E>) -> Result<State, E> {
        *self.heads.lock() = None;
        self.disk.make_directory(&self.directory).map_err(|error| ShardError::File { path: self.directory.clone(), error })?;
        build(&*self.disk, &self.path(purpose, &plan.model), plan, &self.site, fetch)
    }

    /// Erases `subjects` from every file here; `next`: how the vault's marks are about to change, by purpose. A file that cannot be read or
    /// changed is overwritten and removed as a whole. When it returns, no file here holds a key of theirs, and none will after a power cut.
    pub fn erase(&self, subjects: &BTreeSet<[u8; 16]>, next: &BTreeMap<String, Next>) -> Result<(), ShardError> {
        *self.heads.lock() = None;
        let mut touched = false;
        for (path, is_shard) in self.files()? {
            touched = true;
            let erased = match ShardFile::open(&*self.disk, &path, Some(&self.site)) {
                Ok(mut shard) if is_shard => {
                    let next = next.get(&shard.header().purpose);
                    shard.erase(subjects, next, &self.site).map(drop)
                }
                _ => Err(ShardError::TooMany),
            };
            if erased.is_err() && !path.is_dir() {
                discard(&*self.disk, &path).map_err(|error| ShardError::File { path, error })?;
            }
        }
        // A name that was given by a rename, and never synced, may otherwise lead to the file before.
        if touched { self.sync() } else { Ok(()) }
    }

    /// Overwrites every key of every file here, and removes the files.
    pub fn empty(&self) -> Result<(), ShardError> {
        self.retain(&|_| false).map(drop)
    }

    /// Overwrites and removes the files whose purpose and model `keep` does not want, and what makings left behind.
    pub fn retain(&self, keep: &dyn Fn(&Path) -> bool) -> Result<usize, ShardError> {
        *self.heads.lock() = None;
        let mut removed = 0;
        for (path, is_shard) in self.files()? {
            // A directory is nothing of ours, and must not keep anybody from being deleted.
            if !path.is_dir() && (!is_shard || !keep(&path)) {
                discard(&*self.disk, &path).map_err(|error| ShardError::File { path, error })?;
                removed += 1;
            }
        }
        if removed > 0 {
            self.sync()?;
        }
        Ok(removed)
    }

    fn sync(&self) -> Result<(), ShardError> {
        self.disk.sync_directory(&self.directory).map_err(|error| ShardError::File { path: self.directory.clone(), error })
    }
}
