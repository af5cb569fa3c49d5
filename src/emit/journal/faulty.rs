//! Test only: a disk that fails, from a seed.
//!
//! Faults: short writes, EIO and "no space" on write (after some bytes were taken), failing fdatasync (after which the dirty bytes are
//! called clean but are lost, as on Linux), failing truncation, failing creation, and power cuts at any operation or byte. After a
//! power cut, bytes that were not made durable are there, missing, zeroed or partly there, and so is a truncation.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::files::{JournalDirectory, JournalFile, JournalSource};

/// xorshift64*: small, seeded, good enough to choose faults.
#[derive(Clone, Debug)]
pub(in crate::emit) struct Dice(u64);

impl Dice {
    pub(in crate::emit) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    pub(in crate::emit) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    /// 0…n−1.
    pub(in crate::emit) fn below(&mut self, n: usize) -> usize {
        usize::try_from((self.next() >> 32) % n.max(1) as u64).expect("below n")
    }
    /// True once in `n` throws; never for 0.
    pub(in crate::emit) fn once_in(&mut self, n: usize) -> bool {
        n > 0 && self.below(n) == 0
    }
}

/// How often each fault comes: once in so many operations; 0 never.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::emit) struct Faults {
    pub short_write: usize,
    pub write_error: usize,
    pub no_space: usize,
    pub sync_error: usize,
    pub truncate_error: usize,
    pub create_error: usize,
    pub power_cut: usize,
}

#[derive(Default)]
struct Image {
    /// What the running system sees.
    cache: Vec<u8>,
    /// What the platter is known to hold.
    durable: Vec<u8>,
    /// Bytes of `cache` from here to there were dirty when a sync failed: no later sync writes them.
    lost: Vec<std::ops::Range<usize>>,
}

impl Image {
    /// A successful sync: everything but the lost ranges reaches the platter.
    fn harden(&mut self) {
        self.durable = self.cache.clone();
        for lost in &self.lost {
            let end = lost.end.min(self.durable.len());
            if lost.start < end {
                self.durable[lost.start..end].fill(0);
            }
        }
    }
    /// A failed sync.
    fn lose(&mut self) {
        let clean = self.durable.len().min(self.cache.len());
        self.lost.push(clean..self.cache.len());
    }
    fn truncate(&mut self, length: usize) {
        self.cache.truncate(length);
        self.lost.iter_mut().for_each(|l| l.end = l.end.min(length));
        self.lost.retain(|l| l.start < l.end);
    }
    /// What is found after a power cut.
    fn after_power_cut(&self, dice: &mut Dice) -> Vec<u8> {
        if self.cache.len() < self.durable.len() {
            return if dice.once_in(2) { self.cache.clone() } else { self.durable.clone() };
        }
        let length = self.durable.len() + dice.below(self.cache.len() - self.durable.len() + 1);
        let mut found = self.cache[..length].to_vec();
        found[..self.durable.len()].copy_from_slice(&self.durable);
        // Blocks reach the platter in any order.
        for block in found[self.durable.len()..].chunks_mut(64) {
            if dice.once_in(3) {
                block.fill(0);
            }
        }
        found
    }
}

struct Disk {
    files: BTreeMap<u64, Image>,
    set_aside: BTreeMap<u64, Vec<u8>>,
    dice: Dice,
    faults: Faults,
    dead: bool,
    unreadable: Option<u64>,
}

impl Disk {
    /// Any operation may be the last one.
    fn alive(&mut self) -> io::Result<()> {
        if !self.dead && self.dice.once_in(self.faults.power_cut) {
            self.dead = true;
        }
        if self.dead { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }
    fn image(&mut self, number: u64) -> io::Result<&mut Image> {
        self.files.get_mut(&number).ok_or_else(|| io::Error::from(ErrorKind::NotFound))
    }
}

#[derive(Clone)]
pub(in crate::emit) struct FaultyDisk(Arc<Mutex<Disk>>);

impl FaultyDisk {
    pub(in crate::emit) fn new(seed: u64, faults: Faults) -> Self {
        let dice = Dice::new(seed);
        Self(Arc::new(Mutex::new(Disk { files: BTreeMap::new(), set_aside: BTreeMap::new(), dice, faults, dead: false, unreadable: None })))
    }
    pub(in crate::emit) fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }
    pub(in crate::emit) fn is_dead(&self) -> bool {
        self.0.lock().dead
    }
    pub(in crate::emit) fn cut_power(&self) {
        self.0.lock().dead = true;
    }
    /// The same platter, powered up again.
    pub(in crate::emit) fn power_up(&self) {
        let mut disk = self.0.lock();
        let Disk { files, dice, .. } = &mut *disk;
        for image in files.values_mut() {
            let found = image.after_power_cut(dice);
            *image = Image { cache: found.clone(), durable: found, lost: Vec::new() };
        }
        disk.dead = false;
    }
    /// The process died, the machine did not: caches stay.
    pub(in crate::emit) fn bytes(&self, number: u64) -> Vec<u8> {
        self.0.lock().files.get(&number).map(|i| i.cache.clone()).unwrap_or_default()
    }
    pub(in crate::emit) fn put(&self, number: u64, bytes: &[u8]) {
        let image = Image { cache: bytes.to_vec(), durable: bytes.to_vec(), lost: Vec::new() };
        self.0.lock().files.insert(number, image);
    }
    /// Reading file `number` fails, or works again.
    pub(in crate::emit) fn set_unreadable(&self, number: Option<u64>) {
        self.0.lock().unreadable = number;
    }
    pub(in crate::emit) fn set_aside_bytes(&self, number: u64) -> Vec<u8> {
        self.0.lock().set_aside.get(&number).cloned().unwrap_or_default()
    }
}

impl JournalSource for FaultyDisk {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        Ok(self.0.lock().files.keys().copied().collect())
    }
    fn read(&self, number: u64, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.0.lock();
        if disk.unreadable == Some(number) {
            return Err(io::Error::other("injected failure to read"));
        }
        let cache = &disk.image(number)?.cache;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(cache.len());
        let count = into.len().min(cache.len() - from);
        into[..count].copy_from_slice(&cache[from..from + count]);
        Ok(count)
    }
}

impl JournalDirectory for FaultyDisk {
    fn create(&mut self, number: u64) -> io::Result<Box<dyn JournalFile>> {
        let mut disk = self.0.lock();
        disk.alive()?;
        let every = disk.faults.create_error;
        if disk.dice.once_in(every) {
            return Err(io::Error::from(ErrorKind::StorageFull));
        }
        if disk.files.contains_key(&number) {
            return Err(io::Error::from(ErrorKind::AlreadyExists));
        }
        disk.files.insert(number, Image::default());
        Ok(Box::new(FaultyFile { disk: self.clone(), number }))
    }
    fn reopen(&mut self, number: u64) -> io::Result<Box<dyn JournalFile>> {
        let mut disk = self.0.lock();
        disk.alive()?;
        disk.image(number)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), number }))
    }
    fn overwrite(&mut self, number: u64, patches: &[(u64, Vec<u8>)], _pace: &dyn Fn()) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.alive()?;
        let every = disk.faults.create_error;
        if disk.dice.once_in(every) {
            return Err(io::Error::from(ErrorKind::StorageFull));
        }
        let Image { cache, durable, .. } = disk.image(number)?;
        for (offset, bytes) in patches {
            let at = usize::try_from(*offset).expect("small");
            cache[at..at + bytes.len()].copy_from_slice(bytes);
        }
        // Written beside, synced, renamed.
        *durable = cache.clone();
        disk.set_aside.remove(&number);
        Ok(())
    }
    fn remove(&mut self, number: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.alive()?;
        disk.set_aside.remove(&number);
        disk.files.remove(&number).map(drop).ok_or_else(|| io::Error::from(ErrorKind::NotFound))
    }
    fn set_aside(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.alive()?;
        let every = disk.faults.create_error;
        if disk.dice.once_in(every) {
            return Err(io::Error::from(ErrorKind::StorageFull));
        }
        disk.set_aside.entry(number).or_default().extend_from_slice(bytes);
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    number: u64,
}

impl JournalFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.disk.0.lock();
        let faults = disk.faults;
        let take = if disk.dice.once_in(faults.short_write) { disk.dice.below(bytes.len()).max(1) } else { bytes.len() };
        let alive = disk.alive();
        let failure = if disk.dice.once_in(faults.no_space) {
            Some(ErrorKind::StorageFull)
        } else if disk.dice.once_in(faults.write_error) {
            Some(ErrorKind::Other)
        } else {
            None
        };
        if alive.is_err() || failure.is_some() {
            // Part of it may have got there.
            let part = disk.dice.below(take + 1);
            disk.image(self.number)?.cache.extend_from_slice(&bytes[..part]);
        }
        alive?;
        if let Some(kind) = failure {
            return Err(io::Error::from(kind));
        }
        disk.image(self.number)?.cache.extend_from_slice(&bytes[..take]);
        Ok(take)
    }
    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk.0.lock();
        disk.alive()?;
        let every = disk.faults.sync_error;
        let fails = disk.dice.once_in(every);
        let image = disk.image(self.number)?;
        if fails {
            image.lose();
            return Err(io::Error::other("injected fdatasync failure"));
        }
        image.harden();
        Ok(())
    }
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut disk = self.disk.0.lock();
        disk.alive()?;
        let every = disk.faults.truncate_error;
        let fails = disk.dice.once_in(every);
        let image = disk.image(self.number)?;
        image.truncate(usize::try_from(length).expect("small"));
        if fails {
            return Err(io::Error::other("injected failure to cut"));
        }
        image.harden();
        Ok(())
    }
}
