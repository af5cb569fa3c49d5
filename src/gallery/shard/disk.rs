//! The few things that a shard's file needs of a disk, as a trait, so that tests can put a disk under it that fails (`tests/faulty.rs`).
//!
//! Reads and writes may be short, as the system's are; [`read_exact_at`] and [`write_all_at`] go on until all is done or something fails.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::gallery::seal::make_private_directory;

/// An open file.
pub(crate) trait DiskFile: Send + Sync {
    fn len(&self) -> Result<u64>;
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize>;
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize>;
    /// What was written is on the disk when this returns.
    fn sync(&self) -> Result<()>;
}

pub(crate) trait Disk: Send + Sync {
    /// Readable by its owner alone; there must be none of that name.
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    fn remove(&self, path: &Path) -> Result<()>;
    /// One that its owner alone can enter, if there is none yet.
    fn make_directory(&self, path: &Path) -> Result<()>;
    /// Files in a directory, in order; none where there is no such directory.
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>>;
    /// Names that were made, changed and removed in it are on the disk when this returns.
    fn sync_directory(&self, directory: &Path) -> Result<()>;
}

pub(in crate::gallery) fn read_exact_at(file: &dyn DiskFile, mut offset: u64, mut into: &mut [u8]) -> Result<()> {
    while !into.is_empty() {
        match file.read_at(offset, into) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                offset += read as u64;
                into = into.get_mut(read..).ok_or_else(|| Error::other("the disk claims to have read more than was asked for"))?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(in crate::gallery) fn write_all_at(file: &dyn DiskFile, mut offset: u64, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match file.write_at(offset, bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                bytes = bytes.get(written..).ok_or_else(|| Error::other("the disk claims to have written more than was given"))?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The machine's own.
pub(crate) struct RealDisk;

impl DiskFile for File {
    fn len(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        FileExt::read_at(self, into, offset)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }
    fn sync(&self) -> Result<()> {
        self.sync_all()
    }
}

impl Disk for RealDisk {
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        // What root writes into somebody's directory is for that user to read and to replace.
        let owner = std::fs::metadata(directory)?;
        if nix::unistd::geteuid().is_root() && owner.uid() != 0 {
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(Box::new(file))
    }
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        // A link is not followed: what is overwritten here must be a shard of this directory.
        let mut options = OpenOptions::new();
        Ok(Box::new(options.read(true).write(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<()> {
        std::fs::remove_file(path)
    }
    fn make_directory(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        make_private_directory(path)?;
        let parent = path.parent().unwrap_or(Path::new("."));
        let owner = std::fs::metadata(parent)?;
        if nix::unistd::geteuid().is_root() && owner.uid() != 0 {
            std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        self.sync_directory(parent)
    }
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }
    fn sync_directory(&self, directory: &Path) -> Result<()> {
        match File::open(directory) {
            // Nothing was ever put there.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            opened => opened?.sync_all(),
        }
    }
}
