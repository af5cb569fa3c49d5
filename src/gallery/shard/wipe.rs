//! A shard's file is overwritten before it goes: blocks that the file system takes back hold no key of anybody.
//!
//! ```text
//! a shard         both states ← zero; sync     from here on it is no shard: it is not read, and made anew
//!                 keys ← zero; sync            what is sealed in its rows opens with nothing that is left of it
//! anything else   all of it ← zero; sync
//! ```
//!
//! A file system that writes elsewhere than it was asked to (copy on write), or a disk that levels its wear, may keep the old blocks all the same.

use std::path::Path;

use super::disk::{Disk, DiskFile, write_all_at};
use super::layout::{PAGE, STATES_AT};
use super::open::ShardFile;

/// Bytes that are written at once.
const PIECE: u64 = 1 << 20;

/// Leaves the file where it is, with nothing in it that opens anything.
pub(super) fn wipe(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    // Whether this site sealed it does not matter: where its keys lie, its length says.
    if let Ok(shard) = ShardFile::begin(disk, path, None) {
        let layout = &shard.layout;
        overwrite(&*shard.file, STATES_AT[0], STATES_AT[1] + PAGE as u64)?;
        shard.file.sync()?;
        overwrite(&*shard.file, layout.keys_at, layout.rows_at)?;
        return shard.file.sync();
    }
    let file = disk.open(path)?;
    overwrite(&*file, 0, file.len()?)?;
    file.sync()
}

fn overwrite(file: &dyn DiskFile, from: u64, to: u64) -> std::io::Result<()> {
    let zeros = vec![0; usize::try_from(PIECE.min(to.saturating_sub(from))).unwrap_or(0)];
    let mut at = from;
    while at < to {
        let count = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
        write_all_at(file, at, &zeros[..count])?;
        at += count as u64;
    }
    Ok(())
}
