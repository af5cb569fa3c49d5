//! Deleting subjects from a shard's file, in place: what held them is overwritten where it lies, so that no copy of it is left behind in a block
//! that the file system has taken back.
//!
//! ```text
//! 1  their keys ← zero; sync; read again     from here on nothing of theirs in this file opens
//! 2  their slots ← zero
//! 3  checksums and digests of the blocks, and the other of the two states, with the next mark; sync
//! ```
//!
//! What is resealed was whole before: the root must be the state's, and each block that changes must be what its entry says. Otherwise what somebody altered
//! would be signed as if it had been so all the time.
//!
//! A power cut before the end of 1 leaves a key that is whole, torn or zero, and a deletion that nobody was told of, and that the vault still owes:
//! it is ended when the vault is opened next. One after 1 leaves checksums or counts that do not fit: found at the next opening, and the file is made anew. On any error
//! the whole file is to be removed ([`super::Shelf::erase`] does): it can always be made again.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{read_exact_at, write_all_at};
use super::layout::{ENTRY, KEY, KEYS_A_BLOCK, SLOTS_A_BLOCK, STATES_AT, State, entry_of, root_of, u32_at};
use super::open::ShardFile;
use super::{Malformed, Next, ShardError};
use crate::gallery::seal::SealingKey;

impl ShardFile {
    /// Erases the keys and rows of `subjects`. A shard that is of the vault as it is becomes one of the vault as it is about to be; one that is of an
    /// older vault stays that. Durable when it returns; answers how many keys were there.
    pub fn erase(&mut self, subjects: &BTreeSet<[u8; 16]>, next: Option<&Next>, site: &SealingKey) -> Result<usize, ShardError> {
        let path = self.path.clone();
        let failed = |error| ShardError::File { path: path.clone(), error };
        if root_of(&self.digest, &self.table) != self.state.root {
            return Err(self.altered("its table of blocks is not what its root says"));
        }
        let mut changed: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let erased = self.erase_keys(subjects, &mut changed)?;
        if !erased.is_empty() {
            let slots = self.erase_slots(&erased, &mut changed)?;
            for (index, block) in &changed {
                let entry = entry_of(block);
                let at = *index as usize * ENTRY;
                self.table[at..at + ENTRY].copy_from_slice(&entry);
                write_all_at(&*self.file, self.layout.table_at + at as u64, &entry).map_err(failed)?;
            }
            self.state.live_keys = self.state.live_keys.saturating_sub(u32::try_from(erased.len()).unwrap_or(u32::MAX));
            self.state.live_slots = self.state.live_slots.saturating_sub(slots);
        }
        let root = root_of(&self.digest, &self.table);
        let fresh = next.filter(|next| next.from == self.state.mark);
        let (version, mark) = fresh.map_or((self.state.version, self.state.mark), |next| (next.version, next.mark));
        self.state = State { sequence: self.state.sequence.saturating_add(1), version, mark, root, ..self.state.clone() };
        self.current = 1 - self.current;
        let page = self.state.encode(&self.digest, site)?;
        write_all_at(&*self.file, STATES_AT[self.current], &page).and_then(|()| self.file.sync()).map_err(failed)?;
        Ok(erased.len())
    }

    /// Step 1. Answers the places of the keys, with the first slot of each.
    fn erase_keys(
        &mut self,
        subjects: &BTreeSet<[u8; 16]>,
        changed: &mut BTreeMap<u32, Vec<u8>>,
    ) -> Result<BTreeMap<u32, u32>, ShardError> {
        let failed = |error| ShardError::File { path: self.path.clone(), error };
        let mut erased = BTreeMap::new();
        for index in 0..self.layout.key_blocks {
            let (mut block, fits) = self.block(index).map_err(failed)?;
            // Whom a damaged block names nobody knows.
            if !fits {
                return Err(self.altered("a block of keys is damaged"));
            }
            let going = |key: &[u8]| key.first_chunk::<16>().is_some_and(|subject| subjects.contains(subject));
            let places: Vec<usize> = (0..block.len() / KEY).filter(|place| going(&block[place * KEY..])).collect();
            if places.is_empty() {
                continue;
            }
            if entry_of(&block)[..] != *self.entry(index) {
                return Err(self.altered("a block of keys is not what its digest says"));
            }
            let (at, _) = self.layout.block(&self.header, index);
            for place in places {
                let key = &mut block[place * KEY..(place + 1) * KEY];
                let first = u32_at(key, KEY - 4).unwrap_or(0);
                key.fill(0);
                write_all_at(&*self.file, at + (place * KEY) as u64, &[0; KEY]).map_err(failed)?;
                erased.insert(index * KEYS_A_BLOCK + u32::try_from(place).unwrap_or(u32::MAX), first);
            }
            changed.insert(index, block);
        }
        if !erased.is_empty() {
            self.file.sync().map_err(failed)?;
        }
        for (index, block) in changed {
            let mut again = vec![0; block.len()];
            read_exact_at(&*self.file, self.layout.block(&self.header, *index).0, &mut again).map_err(failed)?;
            if again != *block {
                return Err(failed(std::io::Error::other("keys that were overwritten are still there")));
            }
        }
        Ok(erased)
    }

    /// Step 2. Answers how many slots were in use.
    fn erase_slots(&self, keys: &BTreeMap<u32, u32>, changed: &mut BTreeMap<u32, Vec<u8>>) -> Result<u32, ShardError> {
        let failed = |error| ShardError::File { path: self.path.clone(), error };
        let stride = self.header.stride as usize;
        let mut slots = 0;
        // A subject's rows begin at its first slot, and may go on into the next block.
        let mut due: BTreeSet<u32> = keys.values().map(|first| first / SLOTS_A_BLOCK).collect();
        while let Some(number) = due.pop_first() {
            let index = self.layout.key_blocks + number;
            if number >= self.layout.row_blocks {
                continue;
            }
            let (mut block, _) = self.block(index).map_err(failed)?;
            if entry_of(&block)[..] != *self.entry(index) {
                return Err(self.altered("a block of rows is not what its digest says"));
            }
            let (at, _) = self.layout.block(&self.header, index);
            let last = block.len() / stride - 1;
            for place in 0..=last {
                let slot = &mut block[place * stride..(place + 1) * stride];
                let used = u32_at(slot, 4) != Some(0);
                if !used || !u32_at(slot, 0).is_some_and(|key| keys.contains_key(&key)) {
                    continue;
                }
                slot.fill(0);
                write_all_at(&*self.file, at + (place * stride) as u64, slot).map_err(failed)?;
                slots += 1;
                if place == last {
                    due.insert(number + 1);
                }
            }
            changed.insert(index, block);
        }
        Ok(slots)
    }

    fn altered(&self, what: &'static str) -> ShardError {
        ShardError::Malformed { path: self.path.clone(), malformed: Malformed::Altered(what) }
    }
}
