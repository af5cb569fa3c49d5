//! Making a shard's file: what is sealed is copied as it is, so nothing is opened, and no key but the site's own seal on the state is needed.
//!
//! Under a temporary name, synced; then the keys of the file that was there are overwritten (`wipe.rs`), the new one takes its name, and the directory is synced: a
//! power cut leaves the file that was there, one that is no shard any more, or the new one, whole. What it may leave under the temporary name holds keys, so
//! whoever deletes overwrites and removes it first ([`super::Shelf::erase`]).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::ShardError;
use super::disk::{Disk, write_all_at};
use super::layout::{
    ENTRY, Header, KEY, KEYS_A_BLOCK, Layout, MAX_STRIDE, PAGE, SLOT_HEAD, SLOTS_A_BLOCK, STATES_AT, State, WRAPPED, entry_of, root_of,
};
use super::wipe::wipe;
use crate::gallery::TemplateModel;
use crate::gallery::seal::SealingKey;

/// A subject's id as bits, and its key as the vault has it.
#[derive(Clone)]
pub(crate) struct Key {
    pub subject: [u8; 16],
    pub wrapped: [u8; WRAPPED],
}

/// A row to be: whose it is, and how long its record is.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// Place in [`Plan::keys`].
    pub key: u32,
    pub bytes: u32,
}

/// What is to be in a shard. Rows lie in the order given; a key's rows lie side by side.
pub(crate) struct Plan {
    pub purpose: String,
    pub model: TemplateModel,
    pub version: u64,
    pub mark: [u8; 16],
    pub made_at_ns: i64,
    /// What the rows name, sorted.
    pub zones: Vec<String>,
    pub keys: Vec<Key>,
    pub rows: Vec<Row>,
}

/// Gives the record of a row, by its place in [`Plan::rows`].
pub(crate) type Fetch<'a, E> = &'a mut dyn FnMut(usize, &mut Vec<u8>) -> Result<(), E>;

pub(super) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("shard.new")
}

impl Plan {
    fn header(&self) -> Result<Header, ShardError> {
        let longest = self.rows.iter().map(|row| row.bytes).max().unwrap_or(0);
        let head = u32::try_from(SLOT_HEAD).unwrap_or(u32::MAX);
        let stride = longest.checked_add(head).and_then(|bytes| bytes.checked_next_multiple_of(64)).filter(|s| *s <= MAX_STRIDE);
        let count = |length: usize| u32::try_from(length).map_err(|_| ShardError::TooMany);
        Ok(Header {
            purpose: self.purpose.clone(),
            model: self.model.name.to_string(),
            model_sha256: self.model.sha256.to_string(),
            dim: count(self.model.dim)?,
            keys: count(self.keys.len())?,
            slots: count(self.rows.len())?,
            stride: stride.ok_or(ShardError::RecordTooLong { bytes: longest })?,
            made_at_ns: self.made_at_ns,
            zones: self.zones.clone(),
        })
    }

    fn key_blocks(&self) -> impl Iterator<Item = Vec<u8>> {
        // A key without rows: no slot there is.
        let mut first = vec![u32::MAX; self.keys.len()];
        for (slot, row) in (0_u32..).zip(&self.rows) {
            if let Some(first) = first.get_mut(row.key as usize).filter(|first| **first == u32::MAX) {
                *first = slot;
            }
        }
        let mut slots = first.into_iter();
        self.keys.chunks(KEYS_A_BLOCK as usize).map(move |keys| {
            let mut block = Vec::with_capacity(keys.len() * KEY);
            for (key, slot) in keys.iter().zip(slots.by_ref()) {
                block.extend_from_slice(&key.subject);
                block.extend_from_slice(&key.wrapped);
                block.extend_from_slice(&slot.to_le_bytes());
            }
            block
        })
    }
}

/// Writes `plan` to `path`, in place of what may be there. `fetch` gives the record of a row, by its place in [`Plan::rows`]. Durable when it
/// returns; on an error what was there is there still.
pub(crate) fn build<E: From<ShardError>>(
    disk: &dyn Disk,
    path: &Path,
    plan: &Plan,
    site: &SealingKey,
    fetch: Fetch<'_, E>,
) -> Result<State, E> {
    let new = temporary(path);
    let failed = |error| ShardError::File { path: new.clone(), error };
    discard(disk, &new).map_err(failed)?;
    let state = write(disk, &new, plan, site, fetch)?;
    overwritten(path, wipe(disk, path));
    let directory = path.parent().unwrap_or(Path::new("."));
    disk.rename(&new, path).and_then(|()| disk.sync_directory(directory)).map_err(failed)?;
    Ok(state)
}

/// Overwrites a file and removes it; nothing where there is none.
pub(super) fn discard(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    overwritten(path, wipe(disk, path));
    match disk.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What cannot be overwritten goes all the same: the alternative is to keep it.
fn overwritten(path: &Path, wiped: std::io::Result<()>) {
    match wiped {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a file of the gallery could not be overwritten before it went: its blocks may keep wrapped keys");
        }
        _ => {}
    }
}

fn write<E: From<ShardError>>(disk: &dyn Disk, new: &Path, plan: &Plan, site: &SealingKey, fetch: Fetch<'_, E>) -> Result<State, E> {
    let failed = |error| ShardError::File { path: new.to_owned(), error };
    let header = plan.header()?;
    let layout = Layout::of(&header).ok_or(ShardError::TooMany)?;
    let (page, digest) = header.encode().ok_or(ShardError::NameTooLong)?;
    let file = disk.create_new(new).map_err(failed)?;
    let mut table: Vec<u8> = Vec::with_capacity(layout.blocks() as usize * ENTRY);
    let mut blocks = 0;
    let mut put = |block: &[u8], table: &mut Vec<u8>| {
        let (at, bytes) = layout.block(&header, blocks);
        debug_assert_eq!(bytes, block.len());
        blocks += 1;
        table.extend_from_slice(&entry_of(block));
        write_all_at(&*file, at, block)
    };
    for block in plan.key_blocks() {
        put(&block, &mut table).map_err(failed)?;
    }
    let (stride, mut record, mut block) = (header.stride as usize, Vec::new(), Vec::new());
    for (number, rows) in plan.rows.chunks(SLOTS_A_BLOCK as usize).enumerate() {
        block.clear();
        for (place, row) in rows.iter().enumerate() {
            record.clear();
            fetch(number * SLOTS_A_BLOCK as usize + place, &mut record)?;
            if record.len() != row.bytes as usize {
                return Err(ShardError::RecordTooLong { bytes: u32::try_from(record.len()).unwrap_or(u32::MAX) }.into());
            }
            block.extend_from_slice(&row.key.to_le_bytes());
            block.extend_from_slice(&row.bytes.to_le_bytes());
            block.extend_from_slice(&record);
            block.resize((place + 1) * stride, 0);
        }
        put(&block, &mut table).map_err(failed)?;
    }
    let root = root_of(&digest, &table);
    let (version, mark) = (plan.version, plan.mark);
    let state = State { sequence: 1, version, mark, live_keys: header.keys, live_slots: header.slots, root };
    let mut first = [0; PAGE];
    let sealed = state.encode(&digest, site).map_err(ShardError::from)?;
    first[..sealed.len()].copy_from_slice(&sealed);
    let written = write_all_at(&*file, layout.table_at, &table)
        .and_then(|()| write_all_at(&*file, STATES_AT[0], &first))
        .and_then(|()| write_all_at(&*file, STATES_AT[1], &[0; PAGE]))
        .and_then(|()| write_all_at(&*file, 0, &page))
        .and_then(|()| fill(&*file, &layout))
        .and_then(|()| file.sync());
    written.map_err(failed)?;
    Ok(state)
}

/// An empty part leaves the file shorter than its map: the last byte says how long it is.
fn fill(file: &dyn super::disk::DiskFile, layout: &Layout) -> std::io::Result<()> {
    if file.len()? < layout.length { write_all_at(file, layout.length - 1, &[0]) } else { Ok(()) }
}
