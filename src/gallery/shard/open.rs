//! Reading a shard's file: everything is checked before it is believed, and what is damaged is named and left out while the rest is read.
//!
//! ```text
//! header, states, block table   when the file is opened: digest, the site's seal, lengths       → the file is refused
//! crc32c of a block             when it is read                                                 → found, its rows are still tried
//! row                           when it is read: its own key, its own associated data           → found, left out
//! SHA-256 of a block, root      by `check`                                                      → found
//! ```
//!
//! A row that is given out is the one that was enrolled: the cipher says so, whatever the checksums say. A row that was lost is noticed: by
//! its block's checksum, or by the count of those in use. Read by positioned reads, a block at a time, into memory of its own, and not through
//! a mapping: rows are opened once, into locked memory, so a mapping would save nothing; but a bad sector under one is a signal that ends
//! the process, where a failed read is an error that costs one block, and a file that is changed under a mapping is undefined.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::disk::{Disk, DiskFile, read_exact_at};
use super::layout::{ENTRY, Header, KEY, Layout, Malformed, PAGE, SLOT_HEAD, SLOTS_A_BLOCK, STATES_AT, State, WRAPPED, root_of, u32_at};
use super::{Finding, KEYS_A_BLOCK, Place, Problem, ShardError};
use crate::gallery::record::{self, Record};
use crate::gallery::seal::{SealError, SealingKey};

/// Unwraps a subject's key.
pub(crate) type Unwrap<'a> = &'a dyn Fn(&str, &[u8]) -> Result<SealingKey, SealError>;

pub(crate) struct ShardFile {
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) header: Header,
    pub(super) digest: [u8; 32],
    pub(super) layout: Layout,
    pub(super) state: State,
    /// Which of the two states is in force.
    pub(super) current: usize,
    pub(super) table: Vec<u8>,
}

/// A key as the table has it; `None` where it is zero.
struct TableKey {
    subject: String,
    wrapped: [u8; WRAPPED],
}

fn table_key(bytes: &[u8]) -> Option<TableKey> {
    let (subject, rest) = bytes.split_first_chunk::<16>()?;
    let (wrapped, _) = rest.split_first_chunk::<WRAPPED>()?;
    let erased = subject.iter().chain(wrapped).all(|b| *b == 0);
    (!erased).then(|| TableKey { subject: format!("{:032x}", u128::from_be_bytes(*subject)), wrapped: *wrapped })
}

impl ShardFile {
    /// `site`: without it a state's seal is not looked at, which is enough to look for damage and not for alterations.
    pub fn open(disk: &dyn Disk, path: &Path, site: Option<&SealingKey>) -> Result<Self, ShardError> {
        let mut shard = Self::begin(disk, path, site)?;
        // No longer than the file, which was just measured.
        shard.table = vec![0; usize::try_from(shard.layout.table_bytes).map_err(|_| ShardError::TooMany)?];
        read_exact_at(&*shard.file, shard.layout.table_at, &mut shard.table)
            .map_err(|error| ShardError::File { path: path.to_owned(), error })?;
        Ok(shard)
    }

    /// What a shard says of itself, in three reads: its table stays unread, so no block of it fits.
    pub(super) fn begin(disk: &dyn Disk, path: &Path, site: Option<&SealingKey>) -> Result<Self, ShardError> {
        let failed = |error| ShardError::File { path: path.to_owned(), error };
        let malformed = |malformed| ShardError::Malformed { path: path.to_owned(), malformed };
        let file = disk.open(path).map_err(failed)?;
        let length = file.len().map_err(failed)?;
        if length < (3 * PAGE) as u64 {
            return Err(malformed(Malformed::Length { found: length, want: (3 * PAGE) as u64 }));
        }
        let mut page = [0; PAGE];
        read_exact_at(&*file, 0, &mut page).map_err(failed)?;
        let (header, digest) = Header::decode(&page).map_err(malformed)?;
        let layout = Layout::of(&header).ok_or_else(|| malformed(Malformed::Header("no file is so long")))?;
        if layout.length != length {
            return Err(malformed(Malformed::Length { found: length, want: layout.length }));
        }
        let mut states: Vec<(usize, State)> = Vec::new();
        for (place, at) in STATES_AT.into_iter().enumerate() {
            // One of the two may be on a bad sector.
            if read_exact_at(&*file, at, &mut page).is_ok() {
                states.extend(State::decode(&page, &digest, site).map(|state| (place, state)));
            }
        }
        let (current, state) = states.into_iter().max_by_key(|(_, s)| s.sequence).ok_or_else(|| malformed(Malformed::State))?;
        Ok(Self { path: path.to_owned(), file, header, digest, layout, state, current, table: Vec::new() })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }
    pub fn state(&self) -> &State {
        &self.state
    }
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn entry(&self, index: u32) -> &[u8] {
        let at = index as usize * ENTRY;
        self.table.get(at..at + ENTRY).unwrap_or(&[])
    }

    /// Block `index` of the table, read; and whether its checksum fits.
    pub(super) fn block(&self, index: u32) -> std::io::Result<(Vec<u8>, bool)> {
        let (at, bytes) = self.layout.block(&self.header, index);
        let mut block = vec![0; bytes];
        read_exact_at(&*self.file, at, &mut block)?;
        let fits = u32_at(self.entry(index), 0) == Some(super::crc::crc32c(&block));
        Ok((block, fits))
    }

    fn place_of(&self, index: u32) -> Place {
        match index.checked_sub(self.layout.key_blocks) {
            None => Place::KeyBlock { block: index },
            Some(block) => Place::Block { block },
        }
    }

    /// Block `index`; what is wrong with it goes to `findings`.
    fn noted_block(&self, index: u32, findings: &mut Vec<Finding>) -> Option<Vec<u8>> {
        let place = self.place_of(index);
        match self.block(index) {
            Err(error) => {
                findings.push(Finding { place, problem: Problem::Unreadable(error.to_string()) });
                None
            }
            Ok((block, fits)) => {
                if !fits {
                    findings.push(Finding { place, problem: Problem::Checksum });
                }
                Some(block)
            }
        }
    }

    /// Opens every row and hands it to `each`. What is answered is what is wrong; where that is nothing, `each` was given every row that the shard
    /// says it has, each once.
    pub fn load(&self, unwrap: Unwrap<'_>, each: &mut dyn FnMut(record::Header, Zeroizing<Vec<f32>>)) -> Vec<Finding> {
        let mut findings = Vec::new();
        let keys = self.keys(&mut findings);
        let mut rows = Rows { of: self, keys: &keys, unwrap, unwrapped: None, ordinals: vec![0; keys.len()], used: 0, findings };
        for block in 0..self.layout.row_blocks {
            let Some(bytes) = self.noted_block(self.layout.key_blocks + block, &mut rows.findings) else { continue };
            for (slot, bytes) in (block * SLOTS_A_BLOCK..).zip(bytes.chunks_exact(self.header.stride as usize)) {
                if let Err(problem) = rows.open(bytes, each) {
                    rows.findings.push(Finding { place: Place::Slot { block, slot }, problem });
                }
            }
        }
        let found = (keys.iter().flatten().count(), rows.used);
        let mut findings = rows.findings;
        let want = (self.state.live_keys as usize, self.state.live_slots as usize);
        if found != want {
            findings.push(Finding { place: Place::Counts, problem: Problem::Counts { found, want } });
        }
        findings
    }

    /// All keys by place; those of a block that cannot be read are as if they were erased.
    fn keys(&self, findings: &mut Vec<Finding>) -> Vec<Option<TableKey>> {
        // Bounded by the file's length: 80 bytes of it each.
        let mut keys = Vec::with_capacity(self.header.keys as usize);
        for block in 0..self.layout.key_blocks {
            if let Some(bytes) = self.noted_block(block, findings) {
                keys.extend(bytes.chunks_exact(KEY).map(table_key));
            }
            let filled = (block + 1).saturating_mul(KEYS_A_BLOCK).min(self.header.keys);
            keys.resize_with(filled as usize, || None);
        }
        keys
    }

    /// Whose keys are in it. Blocks that cannot be read name nobody.
    pub fn subjects(&self) -> Vec<String> {
        self.keys(&mut Vec::new()).into_iter().flatten().map(|key| key.subject).collect()
    }

    /// Reads all of it; an error where any digest does not fit.
    pub fn whole(&self) -> Result<(), ShardError> {
        match self.check(None).into_iter().next() {
            Some(finding) => Err(ShardError::Damaged { path: self.path.clone(), finding }),
            None => Ok(()),
        }
    }

    /// Reads all of it and compares every digest, up to the root. With `unwrap` every row is opened too.
    pub fn check(&self, unwrap: Option<Unwrap<'_>>) -> Vec<Finding> {
        let mut findings = match unwrap {
            Some(unwrap) => self.load(unwrap, &mut |_, _| {}),
            None => Vec::new(),
        };
        for index in 0..self.layout.blocks() {
            let place = self.place_of(index);
            let known = findings.iter().any(|f| f.place == place);
            match self.block(index) {
                Err(error) if !known => findings.push(Finding { place, problem: Problem::Unreadable(error.to_string()) }),
                Ok((block, fits)) if !known => {
                    if !fits {
                        findings.push(Finding { place, problem: Problem::Checksum });
                    } else if super::layout::entry_of(&block)[32..] != self.entry(index)[32..] {
                        findings.push(Finding { place, problem: Problem::Digest });
                    }
                }
                _ => {}
            }
        }
        if root_of(&self.digest, &self.table) != self.state.root {
            findings.push(Finding { place: Place::Root, problem: Problem::Digest });
        }
        findings
    }
}

/// What is known while rows are read.
struct Rows<'a> {
    of: &'a ShardFile,
    keys: &'a [Option<TableKey>],
    unwrap: Unwrap<'a>,
    /// The key that was unwrapped last: a subject's rows lie side by side.
    unwrapped: Option<(u32, Option<SealingKey>)>,
    /// Templates that a key has given so far, a bit for each ordinal.
    ordinals: Vec<u64>,
    /// Slots that are not zero.
    used: usize,
    findings: Vec<Finding>,
}

impl Rows<'_> {
    fn open(&mut self, slot: &[u8], each: &mut dyn FnMut(record::Header, Zeroizing<Vec<f32>>)) -> Result<(), Problem> {
        let (Some(number), Some(length)) = (u32_at(slot, 0), u32_at(slot, 4)) else { return Err(Problem::Torn) };
        if slot.iter().all(|b| *b == 0) {
            return Ok(());
        }
        self.used += 1;
        let bytes = slot.get(SLOT_HEAD..).and_then(|rest| rest.get(..length as usize)).filter(|b| !b.is_empty()).ok_or(Problem::Torn)?;
        let key = self.keys.get(number as usize).ok_or(Problem::Torn)?.as_ref().ok_or(Problem::KeyErased)?;
        let record = Record::read(bytes).map_err(|_| Problem::Torn)?;
        let Header { purpose, model, model_sha256, dim, zones, .. } = &self.of.header;
        let at_home = *record.header.subject.0 == *key.subject
            && record.header.purpose.to_string() == *purpose
            && record.header.model == *model
            && record.header.model_sha256 == *model_sha256
            && record.header.dim == *dim as usize
            && record.header.zones.iter().flatten().all(|zone| zones.binary_search(zone).is_ok());
        if !at_home {
            return Err(Problem::Foreign);
        }
        if self.unwrapped.as_ref().is_none_or(|(of, _)| *of != number) {
            self.unwrapped = Some((number, (self.unwrap)(&key.subject, &key.wrapped).ok()));
        }
        let Some((_, Some(sealing))) = &self.unwrapped else { return Err(Problem::KeySealed) };
        let values = record.open(sealing).map_err(|_| Problem::Sealed)?;
        let bit = 1_u64.checked_shl(record.header.ordinal.into()).ok_or(Problem::Foreign)?;
        let seen = self.ordinals.get_mut(number as usize).ok_or(Problem::Torn)?;
        if *seen & bit != 0 {
            return Err(Problem::Twice);
        }
        *seen |= bit;
        each(record.header, values);
        Ok(())
    }
}
