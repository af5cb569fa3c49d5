//! A disk that loses power, tears writes, writes and reads short, runs full, fails, lies about what it has synced, flips bits and reads elsewhere.
//!
//! It keeps what was synced; of what was written since, at a cut, any part: some writes whole, some torn at a sector, some not at all, in any
//! order. A name that was made, changed or removed since its directory was synced may be as before or as after. Everything follows from a seed.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::gallery::shard::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// xorshift64*: the same history from the same seed.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(0x1234_5678).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % n.max(1)
    }
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("fits")
    }
}

/// What the disk does, at its `at`-th call or from it on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    None,
    /// Everything fails from then on: the power is gone.
    Cut,
    /// That one call fails, whether it reads or writes.
    Once(ErrorKind),
    /// From then on nothing more fits; reading and removing go on.
    Full,
    /// From then on what is said to be synced is not.
    Lies,
    /// That one read gives what lies elsewhere.
    Elsewhere,
    /// That one read has a bit flipped.
    Flip,
}

#[derive(Clone, Debug)]
struct Platter {
    synced: Vec<u8>,
    seen: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

#[derive(Clone, Debug)]
enum Unsynced {
    Write(usize, Vec<u8>),
    Length(usize),
}

type Names = BTreeMap<PathBuf, usize>;

#[derive(Debug)]
struct Contents {
    platters: Vec<Platter>,
    seen: Names,
    synced: Names,
    calls: u64,
    opened: u64,
    at: u64,
    trouble: Trouble,
    /// Reads and writes are short now and then.
    short: bool,
    dice: Dice,
}

impl std::fmt::Debug for Dice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Contents {
    fn call(&mut self, writes: bool) -> Result<()> {
        self.calls += 1;
        match self.trouble {
            Trouble::Cut if self.calls >= self.at => Err(ErrorKind::TimedOut.into()),
            Trouble::Full if self.calls >= self.at && writes => Err(ErrorKind::StorageFull.into()),
            Trouble::Once(kind) if self.calls == self.at => Err(kind.into()),
            _ => Ok(()),
        }
    }
    fn lies(&self) -> bool {
        self.trouble == Trouble::Lies && self.calls >= self.at
    }
}

fn apply(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if image.len() < offset + bytes.len() {
        image.resize(offset + bytes.len(), 0);
    }
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

#[derive(Clone, Debug)]
pub struct FaultyDisk(Arc<Mutex<Contents>>);

impl FaultyDisk {
    pub fn new(trouble: Trouble, at: u64, seed: u64) -> Self {
        Self::with(BTreeMap::new(), trouble, at, seed)
    }

    pub fn with(files: BTreeMap<PathBuf, Vec<u8>>, trouble: Trouble, at: u64, seed: u64) -> Self {
        let (names, platters): (Names, Vec<Platter>) = files
            .into_iter()
            .enumerate()
            .map(|(number, (path, bytes))| ((path, number), Platter { synced: bytes.clone(), seen: bytes, unsynced: Vec::new() }))
            .unzip();
        let dice = Dice::new(seed);
        let contents = Contents {
            platters,
            seen: names.clone(),
            synced: names,
            calls: 0,
            opened: 0,
            at,
            trouble,
            short: seed.is_multiple_of(3),
            dice,
        };
        Self(Arc::new(Mutex::new(contents)))
    }

    /// What is on the disk when the power comes back.
    pub fn after_a_cut(&self, dice: &mut Dice) -> BTreeMap<PathBuf, Vec<u8>> {
        let contents = self.0.lock();
        let mut names = contents.synced.clone();
        if dice.below(2) == 0 {
            names = contents.seen.clone();
        }
        let image = |platter: &Platter, dice: &mut Dice| {
            let mut image = platter.synced.clone();
            for unsynced in &platter.unsynced {
                let (offset, bytes) = match unsynced {
                    Unsynced::Write(offset, bytes) => (offset, bytes),
                    // Lengths are the file system's own, which keeps them in order.
                    Unsynced::Length(length) => {
                        image.resize(*length, 0);
                        continue;
                    }
                };
                let kept = match dice.below(3) {
                    0 => 0,
                    // A sector is written whole or not at all, wherever in a write it begins.
                    1 => {
                        let ends = (offset / SECTOR + dice.index(bytes.len() / SECTOR + 2)) * SECTOR;
                        ends.saturating_sub(*offset).min(bytes.len())
                    }
                    _ => bytes.len(),
                };
                apply(&mut image, *offset, &bytes[..kept]);
            }
            image
        };
        names.into_iter().map(|(path, number)| (path, image(&contents.platters[number], dice))).collect()
    }

    /// What lies in the blocks of files that have no name any more.
    pub fn freed(&self) -> Vec<Vec<u8>> {
        let contents = self.0.lock();
        let named: Vec<&usize> = contents.seen.values().collect();
        let freed = contents.platters.iter().enumerate().filter(|(number, _)| !named.contains(&number));
        freed.map(|(_, platter)| platter.seen.clone()).collect()
    }

    /// How often a file was opened.
    pub fn opened(&self) -> u64 {
        self.0.lock().opened
    }

    /// As the programs see it.
    pub fn seen(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let contents = self.0.lock();
        contents.seen.iter().map(|(path, number)| (path.clone(), contents.platters[*number].seen.clone())).collect()
    }
}

#[derive(Debug)]
pub struct Handle {
    disk: FaultyDisk,
    number: usize,
}

impl DiskFile for Handle {
    fn len(&self) -> Result<u64> {
        let mut contents = self.disk.0.lock();
        contents.call(false)?;
        Ok(contents.platters[self.number].seen.len() as u64)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let mut contents = self.disk.0.lock();
        contents.call(false)?;
        let now = contents.calls == contents.at;
        let (trouble, length) = (contents.trouble, contents.platters[self.number].seen.len());
        let mut from = usize::try_from(offset).map_err(Error::other)?.min(length);
        let mut count = into.len().min(length - from);
        if contents.short && count > 1 && contents.dice.below(4) == 0 {
            count = 1 + contents.dice.index(count);
        }
        if now && trouble == Trouble::Elsewhere {
            from = contents.dice.index((length - count) / SECTOR + 1) * SECTOR;
        }
        into[..count].copy_from_slice(&contents.platters[self.number].seen[from..from + count]);
        if now && trouble == Trouble::Flip && count > 0 {
            let bit = contents.dice.index(count * 8);
            into[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(count)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        let mut contents = self.disk.0.lock();
        let failed = contents.call(true);
        let mut count = bytes.len();
        if contents.short && count > 1 && contents.dice.below(4) == 0 {
            count = 1 + contents.dice.index(count);
        }
        let offset = usize::try_from(offset).map_err(Error::other)?;
        // A write that fails may have been done all the same; where nothing fits any more, part of it.
        if failed.is_err() && contents.trouble == Trouble::Full {
            count = contents.dice.index(count + 1);
        }
        let platter = &mut contents.platters[self.number];
        apply(&mut platter.seen, offset, &bytes[..count]);
        platter.unsynced.push(Unsynced::Write(offset, bytes[..count].to_vec()));
        failed.map(|()| count)
    }
    fn sync(&self) -> Result<()> {
        let mut contents = self.disk.0.lock();
        contents.call(false)?;
        if !contents.lies() {
            let platter = &mut contents.platters[self.number];
            platter.synced = platter.seen.clone();
            platter.unsynced.clear();
        }
        Ok(())
    }
}

/// A file of a [`FaultyDisk`] for redb.
impl redb::StorageBackend for Handle {
    fn len(&self) -> Result<u64> {
        DiskFile::len(self)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            match self.read_at(offset + done as u64, &mut out[done..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => done += read,
            }
        }
        Ok(())
    }
    fn set_len(&self, length: u64) -> Result<()> {
        let mut contents = self.disk.0.lock();
        contents.call(true)?;
        let length = usize::try_from(length).map_err(Error::other)?;
        let platter = &mut contents.platters[self.number];
        platter.seen.resize(length, 0);
        platter.unsynced.push(Unsynced::Length(length));
        Ok(())
    }
    fn sync_data(&self) -> Result<()> {
        self.sync()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            match self.write_at(offset + done as u64, &data[done..])? {
                0 => return Err(ErrorKind::WriteZero.into()),
                written => done += written,
            }
        }
        Ok(())
    }
}

impl FaultyDisk {
    /// The file of that name, which is made if there is none: as a database opens it.
    pub fn database_file(&self, path: &Path) -> Result<Handle> {
        let mut contents = self.0.lock();
        if !contents.seen.contains_key(path) {
            contents.call(true)?;
            let number = contents.platters.len();
            contents.platters.push(Platter { synced: Vec::new(), seen: Vec::new(), unsynced: Vec::new() });
            contents.seen.insert(path.to_owned(), number);
        }
        let number = contents.seen[path];
        Ok(Handle { disk: self.clone(), number })
    }
}

impl Disk for FaultyDisk {
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let mut contents = self.0.lock();
        contents.call(true)?;
        if contents.seen.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let number = contents.platters.len();
        contents.platters.push(Platter { synced: Vec::new(), seen: Vec::new(), unsynced: Vec::new() });
        contents.seen.insert(path.to_owned(), number);
        Ok(Box::new(Handle { disk: self.clone(), number }))
    }
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let mut contents = self.0.lock();
        contents.call(false)?;
        contents.opened += 1;
        let number = *contents.seen.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(Handle { disk: self.clone(), number }))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut contents = self.0.lock();
        contents.call(false)?;
        let number = contents.seen.remove(from).ok_or(ErrorKind::NotFound)?;
        contents.seen.insert(to.to_owned(), number);
        Ok(())
    }
    fn remove(&self, path: &Path) -> Result<()> {
        let mut contents = self.0.lock();
        contents.call(false)?;
        contents.seen.remove(path).map(drop).ok_or(ErrorKind::NotFound.into())
    }
    fn make_directory(&self, _path: &Path) -> Result<()> {
        self.0.lock().call(true)
    }
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let mut contents = self.0.lock();
        contents.call(false)?;
        Ok(contents.seen.keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }
    fn sync_directory(&self, _directory: &Path) -> Result<()> {
        let mut contents = self.0.lock();
        contents.call(false)?;
        if !contents.lies() {
            contents.synced = contents.seen.clone();
        }
        Ok(())
    }
}
