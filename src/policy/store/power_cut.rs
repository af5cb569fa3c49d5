//! The register's file on a disk that loses power, tears writes, runs full and fails: whatever happens, what was acknowledged is there
//! afterwards, and what is there is a chain that is believed.
//!
//! The disk keeps what was synced, and of what was written since, at a cut, any part: some writes whole, some torn at a sector, some not at
//! all, in any order. Everything follows from a seed.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::*;
use crate::policy::facts::{Objection, Role, Zone, ZoneKind};
use crate::seal::SiteKey;

const SECTOR: usize = 512;

/// xorshift64*: the same history from the same seed.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n.max(1)
    }
}

#[derive(Debug)]
enum Unsynced {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What the disk does from its `fails_at`-th call that changes it on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// Everything fails from then on: the power is gone.
    Cut,
    /// That one call fails.
    Once(io::ErrorKind),
}

#[derive(Debug)]
struct Platter {
    synced: Vec<u8>,
    seen: Vec<u8>,
    unsynced: Vec<Unsynced>,
    calls: u64,
    reads: u64,
    /// The reading that fails; 0: none.
    read_fails_at: u64,
    fails_at: u64,
    trouble: Trouble,
}

impl Platter {
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.trouble {
            Trouble::Cut if self.calls >= self.fails_at => Err(io::ErrorKind::TimedOut.into()),
            Trouble::Once(kind) if self.calls == self.fails_at => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn apply(image: &mut Vec<u8>, write: &Unsynced, torn_at: usize) {
        match write {
            Unsynced::Length(length) => image.resize(*length, 0),
            Unsynced::Write { offset, bytes } => {
                let bytes = &bytes[..torn_at.min(bytes.len())];
                if image.len() < offset + bytes.len() {
                    image.resize(offset + bytes.len(), 0);
                }
                image[*offset..*offset + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// What is on the disk when the power comes back.
    fn after_a_cut(&self, dice: &mut Dice) -> Vec<u8> {
        let mut image = self.synced.clone();
        for write in &self.unsynced {
            match (dice.below(3), write) {
                (0, Unsynced::Write { .. }) => {}
                (1, Unsynced::Write { bytes, .. }) => {
                    let sectors = bytes.len() / SECTOR;
                    Self::apply(&mut image, write, SECTOR * dice.below(sectors as u64 + 1) as usize);
                }
                _ => Self::apply(&mut image, write, usize::MAX),
            }
        }
        image
    }
}

#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    fn with(image: Vec<u8>, trouble: Trouble, fails_at: u64) -> Self {
        let platter =
            Platter { seen: image.clone(), synced: image, unsynced: Vec::new(), calls: 0, reads: 0, read_fails_at: 0, fails_at, trouble };
        Self(Arc::new(Mutex::new(platter)))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.reads += 1;
        if platter.reads == platter.read_fails_at {
            return Err(io::Error::other("injected failure to read"));
        }
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = platter.seen.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.call()?;
        let length = Unsynced::Length(usize::try_from(len).map_err(io::Error::other)?);
        Platter::apply(&mut platter.seen, &length, usize::MAX);
        platter.unsynced.push(length);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.call()?;
        platter.synced = platter.seen.clone();
        platter.unsynced.clear();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.0.lock();
        let failed = platter.call();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let write = Unsynced::Write { offset, bytes: data.to_vec() };
        // A write that fails may have been done all the same.
        Platter::apply(&mut platter.seen, &write, usize::MAX);
        platter.unsynced.push(write);
        failed
    }
}

struct Site {
    directory: tempfile::TempDir,
    keys: [PersonKey; 2],
}

fn day(text: &str) -> When {
    text.parse().expect("date")
}
fn now() -> Stamp<Utc> {
    day("2026-11-21").at()
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        SiteKey::create(&StateDirectory::new(directory.path())).expect("made");
        Self { directory, keys: [(); 2].map(|()| PersonKey::generate().expect("made")) }
    }
    fn path(&self) -> PathBuf {
        self.directory.path().join("register.redb")
    }
    fn people(&self) -> Vec<Person> {
        let one = |(i, key): (usize, &PersonKey)| Person {
            id: format!("p{i}"),
            key: key.public().to_string(),
            roles: vec![Role::Approver],
            from: day("2026-01-01"),
            until: None,
            trained_until: day("2027-01-01"),
            stand_in: false,
        };
        self.keys.iter().enumerate().map(one).collect()
    }
    fn store(&self, disk: &Disk) -> Result<Store, StoreError> {
        let ledger = Ledger::over(disk.clone()).map_err(|e| StoreError::of_database(&self.path(), e))?;
        let site = identity(&self.path())?;
        let contents = ledger.contents().map_err(|e| StoreError::of_database(&self.path(), e))?;
        if contents.changes.is_empty() {
            let mut store = Store::empty(&self.path(), ledger, site, None);
            store.found_again(Mode::Operational, self.people(), now())?;
            return Ok(store);
        }
        Store::over(&self.path(), ledger, site, None)
    }
    /// One of the things that people do.
    fn step(&self, store: &mut Store, dice: &mut Dice, number: u64) -> Result<Outcome, StoreError> {
        let at = When::from_stamp(now());
        let mut register = store.register().clone();
        match dice.below(4) {
            0 => {
                let (id, stream) = (format!("o-{number}"), Some("north".to_owned()));
                register.objections.push(Objection { id, stream, purpose: None, at: at.clone(), settled: None });
            }
            1 if !store.pending().is_empty() => {
                let digest = store.pending()[0].proposal.digest();
                let approval = Some(Rejection::sign("p0", &self.keys[0], &store.site(), &digest, at));
                let rejection = Rejection { proposal: digest, by: "p0".to_owned(), why: "no".to_owned(), approval };
                return store.reject(rejection, now()).map(|()| Outcome::Unchanged);
            }
            _ => register.zones.push(Zone { id: format!("z-{number}"), kind: ZoneKind::Public }),
        }
        let proposal = Proposal::new(difference(store.register(), &register), "p0", "test", at.clone())?;
        let digest = proposal.digest();
        let [a, b] = [0, 1].map(|i| Approval::sign(&format!("p{i}"), &self.keys[i], &store.site(), &digest, at.clone()));
        match dice.below(2) {
            0 => store.submit(proposal, vec![a, b], now()),
            _ => {
                let outcome = store.submit(proposal, vec![a], now())?;
                if outcome.in_force() { Ok(outcome) } else { store.approve(&digest, b, now()) }
            }
        }
    }
}

/// Lives one history on a disk that fails; checks what is there afterwards. Answers how many changes were acknowledged.
fn live(site: &Site, seed: u64, trouble: Trouble, fails_at: u64) -> u64 {
    let mut dice = Dice::new(seed);
    let disk = Disk::with(Vec::new(), trouble, fails_at);
    let mut acknowledged: Option<(Chain, Vec<Digest>)> = None;
    let pending = |store: &Store| store.pending().iter().map(|p| p.proposal.digest()).collect::<Vec<_>>();
    if let Ok(mut store) = site.store(&disk) {
        acknowledged = Some((store.chain().clone(), pending(&store)));
        for number in 0..8 {
            if site.step(&mut store, &mut dice, number).is_err() {
                break;
            }
            acknowledged = Some((store.chain().clone(), pending(&store)));
        }
        // As kill -9 does: nothing is put in order.
        let image = disk.0.lock().after_a_cut(&mut dice);
        std::mem::drop(store);
        check(site, image, acknowledged.as_ref(), seed);
    } else {
        let image = disk.0.lock().after_a_cut(&mut dice);
        check(site, image, None, seed);
    }
    acknowledged.map_or(0, |(chain, _)| chain.length())
}

fn check(site: &Site, image: Vec<u8>, acknowledged: Option<&(Chain, Vec<Digest>)>, seed: u64) {
    let disk = Disk::with(image, Trouble::None, 0);
    let store = match site.store(&disk) {
        Ok(store) => store,
        // A file that was never acknowledged to be there may be none.
        Err(_) if acknowledged.is_none() => return,
        Err(error) => panic!("seed {seed}: {error}"),
    };
    let Some((chain, pending)) = acknowledged else { return };
    let contents = store.ledger.contents().expect("readable");
    assert!(chain.begins(&contents.changes), "seed {seed}: what was acknowledged is there");
    let more = store.chain().length() - chain.length();
    assert!(more <= 1, "seed {seed}: {more} changes that nobody asked for");
    if more == 0 {
        let there: Vec<Digest> = store.pending().iter().map(|p| p.proposal.digest()).collect();
        assert!(pending.iter().all(|p| there.contains(p)), "seed {seed}: a proposal that was acknowledged is there");
        assert_eq!(store.register(), chain.register(), "seed {seed}");
    }
}

#[test]
fn whatever_a_power_cut_leaves_holds_all_that_was_acknowledged_and_is_believed() {
    let site = Site::new();
    let whole = live(&site, 1, Trouble::None, 0);
    assert!(whole > 3, "{whole}");
    let mut acknowledged = 0;
    for seed in 0..120 {
        let mut dice = Dice::new(seed ^ 0xc0ffee);
        acknowledged += live(&site, seed, Trouble::Cut, 1 + dice.below(160));
    }
    assert!(acknowledged > 120, "the histories get somewhere: {acknowledged}");
}

#[test]
fn a_register_is_read_whole_or_not_at_all_whichever_reading_fails() {
    let (site, mut dice) = (Site::new(), Dice::new(7));
    let disk = Disk::with(Vec::new(), Trouble::None, 0);
    let mut store = site.store(&disk).expect("founded");
    for number in 0..8 {
        site.step(&mut store, &mut dice, number).expect("does");
    }
    let good = store.chain().register().clone();
    drop(store);
    let image = disk.0.lock().synced.clone();
    let (mut refused, mut at) = (0, 0);
    loop {
        at += 1;
        let disk = Disk::with(image.clone(), Trouble::None, 0);
        disk.0.lock().read_fails_at = at;
        match site.store(&disk) {
            Ok(store) => assert_eq!(*store.register(), good, "reading {at}: another register than is there"),
            Err(_) => refused += 1,
        }
        if disk.0.lock().reads < at {
            break;
        }
    }
    assert!(refused > 1, "{refused} of {} readings", at - 1);
}

#[test]
fn a_disk_that_fails_once_at_each_call_loses_nothing_that_was_acknowledged() {
    let site = Site::new();
    for call in 1..90 {
        let kind = if call % 2 == 0 { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        live(&site, call, Trouble::Once(kind), call);
    }
}
