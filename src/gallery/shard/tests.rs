//! A shard's file: what is in it, what is found when it is damaged, and what is left of whom it forgets. Histories on failing disks: `histories`.

pub(in crate::gallery) mod faulty;
mod histories;
mod leaving;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use self::faulty::{Dice, FaultyDisk, Trouble};
use super::disk::RealDisk;
use super::layout::{KEY, Layout, PAGE, SLOTS_A_BLOCK};
use super::*;
use crate::gallery::record::{Channel, FORMAT, Header as RecordHeader};
use crate::gallery::seal::{SealingKey, SiteKey, random_key};
use crate::gallery::{SubjectId, TemplateModel};
use crate::purpose::Purpose;
use crate::state::StateDirectory;

const DIM: usize = 6;

fn shelf_directory() -> PathBuf {
    PathBuf::from("/shards")
}

/// Keys of a site, and what its vault would hold.
struct Site {
    wrapping: SealingKey,
    seal: [u8; 32],
    purpose: Purpose,
    model: TemplateModel,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let key = SiteKey::create(&StateDirectory::new(directory.path())).expect("made");
        let seal = *key.derive_seed("placard/1/shards").expect("seed");
        let model = TemplateModel { name: "test".into(), sha256: "aa".into(), dim: DIM };
        Self {
            wrapping: key.derive("placard/1/vault").expect("key"),
            seal,
            purpose: "missing-person:mp-7".parse().expect("purpose"),
            model,
        }
    }
    fn sealing(&self) -> SealingKey {
        SealingKey::new(&self.seal).expect("key")
    }
    fn shelf(&self, disk: &FaultyDisk) -> Shelf {
        Shelf::new(Arc::new(disk.clone()), shelf_directory(), self.sealing())
    }
    fn unwrap(&self, subject: &str, wrapped: &[u8]) -> Result<SealingKey, SealError> {
        let plain = self.wrapping.open(subject.as_bytes(), wrapped)?;
        SealingKey::new(plain.as_slice().try_into().map_err(|_| SealError::NotAuthentic)?)
    }
    fn person(&self, dice: &mut Dice) -> Person {
        let bits: Vec<u8> = (0..16).map(|_| u8::try_from(dice.below(256)).expect("a byte")).collect();
        let subject: [u8; 16] = bits.try_into().expect("16");
        let id = SubjectId(format!("{:032x}", u128::from_be_bytes(subject)).into());
        let key = random_key().expect("random");
        let wrapped = self.wrapping.seal(id.0.as_bytes(), &key[..]).expect("sealed").try_into().expect("60 bytes");
        let sealing = SealingKey::new(&key).expect("key");
        let templates = 1 + dice.below(3);
        let rows = (0..u8::try_from(templates).expect("few")).map(|ordinal| {
            let values: Vec<f32> = (0..DIM).map(|_| dice.below(1 << 20) as f32 / 1e6).collect();
            let header = RecordHeader {
                format: FORMAT,
                subject: id.clone(),
                purpose: self.purpose.clone(),
                ordinal,
                model: self.model.name.to_string(),
                model_sha256: self.model.sha256.to_string(),
                dim: DIM,
                enrolled_at_ns: 1,
                expires_at_ns: i64::try_from(dice.below(1 << 40)).expect("fits"),
                channel: Channel::ImageFile,
                consent: None,
                source: None,
                zones: Some(vec!["hall".to_owned()]),
            };
            (header.seal(&sealing, &values).expect("sealed"), values)
        });
        Person { subject, wrapped, rows: rows.collect() }
    }
    fn plan(&self, vault: &Vault) -> (Plan, Vec<Vec<u8>>) {
        let keys = vault.people.values().map(|p| Key { subject: p.subject, wrapped: p.wrapped }).collect();
        let of = |(key, p): (usize, &Person)| p.rows.iter().map(move |(record, _)| (key, record.clone())).collect::<Vec<_>>();
        let records: Vec<(usize, Vec<u8>)> = vault.people.values().enumerate().flat_map(of).collect();
        let row = |(key, record): &(usize, Vec<u8>)| Row {
            key: u32::try_from(*key).expect("few"),
            bytes: u32::try_from(record.len()).expect("short"),
        };
        let rows = records.iter().map(row).collect();
        let plan = Plan {
            purpose: self.purpose.to_string(),
            model: self.model.clone(),
            version: vault.version,
            mark: vault.mark,
            made_at_ns: 5,
            zones: vec!["hall".to_owned(), "stairs".to_owned()],
            keys,
            rows,
        };
        (plan, records.into_iter().map(|(_, record)| record).collect())
    }
    fn build(&self, disk: &FaultyDisk, vault: &Vault) -> Result<State, ShardError> {
        let (plan, records) = self.plan(vault);
        let mut fetch = |row: usize, record: &mut Vec<u8>| -> Result<(), ShardError> {
            record.extend_from_slice(&records[row]);
            Ok(())
        };
        self.shelf(disk).build(&self.purpose, &plan, &mut fetch)
    }
    fn path(&self) -> PathBuf {
        Shelf::new(Arc::new(RealDisk), shelf_directory(), self.sealing()).path(&self.purpose, &self.model)
    }
    fn load(&self, shard: &ShardFile) -> (Rows, Vec<Finding>) {
        let mut rows = Rows::new();
        let mut each = |header: RecordHeader, values: Zeroizing<Vec<f32>>| {
            assert_eq!(rows.insert((header.subject.0.to_string(), header.ordinal), values.to_vec()), None, "each row once");
        };
        let findings = shard.load(&|subject, wrapped| self.unwrap(subject, wrapped), &mut each);
        (rows, findings)
    }
}

struct Person {
    subject: [u8; 16],
    wrapped: [u8; WRAPPED],
    /// Sealed, and plain.
    rows: Vec<(Vec<u8>, Vec<f32>)>,
}

/// The truth, in memory: it never fails.
#[derive(Default)]
struct Vault {
    people: BTreeMap<[u8; 16], Person>,
    version: u64,
    mark: [u8; 16],
}

/// By subject and ordinal.
type Rows = BTreeMap<(String, u8), Vec<f32>>;

impl Vault {
    fn enrol(&mut self, people: impl IntoIterator<Item = Person>, dice: &mut Dice) {
        self.people.extend(people.into_iter().map(|p| (p.subject, p)));
        self.version += 1;
        self.mark = std::array::from_fn(|_| u8::try_from(dice.below(256)).expect("a byte"));
    }
    fn rows(&self) -> Rows {
        let of = |p: &Person| {
            let id = format!("{:032x}", u128::from_be_bytes(p.subject));
            (0_u8..).zip(p.rows.clone()).map(move |(ordinal, (_, values))| ((id.clone(), ordinal), values)).collect::<Vec<_>>()
        };
        self.people.values().flat_map(of).collect()
    }
}

fn site_with(people: usize) -> (Site, Vault, FaultyDisk) {
    let (site, mut vault, mut dice) = (Site::new(), Vault::default(), Dice::new(1));
    let all: Vec<Person> = (0..people).map(|_| site.person(&mut dice)).collect();
    vault.enrol(all, &mut dice);
    let disk = FaultyDisk::new(Trouble::None, 0, 1);
    site.build(&disk, &vault).expect("built");
    (site, vault, disk)
}

fn with(files: BTreeMap<PathBuf, Vec<u8>>) -> FaultyDisk {
    FaultyDisk::with(files, Trouble::None, 0, 1)
}

fn is_in(files: &BTreeMap<PathBuf, Vec<u8>>, bytes: &[u8]) -> bool {
    files.values().any(|file| file.windows(bytes.len()).any(|w| w == bytes))
}

#[test]
fn what_is_built_is_loaded_as_it_was_and_plain_nowhere_in_the_file() {
    for people in [0, 1, 40, 600] {
        let (site, vault, disk) = site_with(people);
        let shard = site.shelf(&disk).open(&site.purpose, &site.model).expect("opens").expect("there");
        assert_eq!(site.load(&shard), (vault.rows(), vec![]), "{people} people");
        assert_eq!(shard.check(Some(&|s, w| site.unwrap(s, w))), []);
        assert_eq!((shard.state().mark, shard.state().live_keys as usize), (vault.mark, people));
        let files = disk.seen();
        for row in vault.people.values().flat_map(|p| &p.rows) {
            let plain: Vec<u8> = row.1.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert!(!is_in(&files, &plain[..12]));
        }
        let names: Vec<&PathBuf> = files.keys().collect();
        assert_eq!(names, [&site.path()], "no temporary file is left");
        assert!(!names[0].to_string_lossy().contains("mp-7"), "a listing tells no case");
    }
}

#[test]
fn whoever_is_erased_leaves_neither_key_nor_row_and_the_others_stay() {
    let (site, mut vault, disk) = site_with(600);
    let gone: BTreeSet<[u8; 16]> = vault.people.keys().copied().step_by(7).collect();
    let next = Next { from: vault.mark, mark: [9; 16], version: 2 };
    site.shelf(&disk).erase(&gone, &[(site.purpose.to_string(), next)].into()).expect("erased");
    let files = disk.seen();
    for person in gone.iter().filter_map(|subject| vault.people.remove(subject)) {
        assert!(!is_in(&files, &person.subject) && !is_in(&files, &person.wrapped));
        assert!(person.rows.iter().all(|(record, _)| !is_in(&files, &record[record.len() - 20..])));
    }
    let shard = site.shelf(&disk).open(&site.purpose, &site.model).expect("opens").expect("there");
    assert_eq!(site.load(&shard), (vault.rows(), vec![]));
    assert_eq!(shard.check(Some(&|s, w| site.unwrap(s, w))), []);
    assert_eq!((shard.state().mark, shard.state().version), ([9; 16], 2));
    // One that was of an older vault does not become one of the next.
    let next = Next { from: [3; 16], mark: [4; 16], version: 7 };
    site.shelf(&disk).erase(&BTreeSet::new(), &[(site.purpose.to_string(), next)].into()).expect("nobody to erase");
    let shard = site.shelf(&disk).open(&site.purpose, &site.model).expect("opens").expect("there");
    assert_eq!((shard.state().mark, shard.state().version), ([9; 16], 2));
}

#[test]
fn a_damaged_block_is_named_with_its_slots_and_the_rest_is_read() {
    let (site, vault, disk) = site_with(100);
    let whole = site.shelf(&disk).open(&site.purpose, &site.model).expect("opens").expect("there");
    let rows_at = usize::try_from(whole.layout.rows_at).expect("fits");
    let (stride, mut files) = (whole.header.stride as usize, disk.seen());
    let slot = SLOTS_A_BLOCK as usize + 5;
    // A bit of the sealed template, which is the last thing in the slot.
    let length = u32::from_le_bytes(files[&site.path()][rows_at + slot * stride + 4..][..4].try_into().expect("4")) as usize;
    files.get_mut(&site.path()).expect("there")[rows_at + slot * stride + 8 + length - 1] ^= 4;
    let disk = with(files);
    let shard = site.shelf(&disk).open(&site.purpose, &site.model).expect("opens").expect("there");
    let (rows, findings) = site.load(&shard);
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["block 1 is damaged: its crc32c differs", "block 1, slot 37 does not open: it was altered, or sealed elsewhere"]);
    assert_eq!(rows.len(), vault.rows().len() - 1);
    assert!(rows.iter().all(|(key, values)| vault.rows()[key] == *values));
}

#[test]
fn a_row_that_was_retagged_moved_or_altered_on_purpose_does_not_open() {
    let (site, vault, disk) = site_with(3);
    let whole = site.shelf(&disk).open(&site.purpose, &site.model).expect("opens").expect("there");
    let (rows_at, stride) = (usize::try_from(whole.layout.rows_at).expect("fits"), whole.header.stride as usize);
    let files = disk.seen();
    let file = &files[&site.path()];
    let problems = |altered: Vec<u8>| {
        let disk = with([(site.path(), altered)].into());
        let shard = site.shelf(&disk).open(&site.purpose, &site.model).expect("opens").expect("there");
        let (rows, findings) = site.load(&shard);
        assert!(rows.iter().all(|(key, values)| vault.rows().get(key) == Some(values)));
        assert!(!findings.is_empty());
        let root = shard.check(None);
        assert!(!root.is_empty(), "without any key it is seen too");
        findings.into_iter().map(|f| f.problem).collect::<Vec<_>>()
    };
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = file[rows_at..].windows(from.len()).position(|w| w == from.as_bytes()).expect("there") + rows_at;
        let mut altered = file.clone();
        altered[at..at + to.len()].copy_from_slice(to.as_bytes());
        altered
    };
    assert!(problems(replaced("missing-person:mp-7", "missing-person:mp-8")).contains(&Problem::Foreign));
    assert!(problems(replaced("image-file", "imagefile!")).contains(&Problem::Torn));
    assert!(problems(replaced("[\"hall\"]", "[\"roof\"]")).contains(&Problem::Foreign), "a zone that the header does not name");
    assert!(problems(replaced("[\"hall\"]", "[      ]")).contains(&Problem::Sealed));
    assert!(problems(replaced("\"enrolled_at_ns\":1", "\"enrolled_at_ns\":2")).contains(&Problem::Sealed));
    let mut moved = file.clone();
    moved.copy_within(rows_at..rows_at + stride, rows_at + stride);
    assert!(problems(moved).contains(&Problem::Twice));
    let keys_at = usize::try_from(whole.layout.keys_at).expect("fits");
    let mut swapped = file.clone();
    for byte in 16..76 {
        swapped.swap(keys_at + byte, keys_at + KEY + byte);
    }
    assert!(problems(swapped).contains(&Problem::KeySealed));
}

#[test]
fn no_file_makes_it_panic_or_take_memory_it_has_no_bytes_for() {
    let (site, _, disk) = site_with(40);
    let file = disk.seen()[&site.path()].clone();
    let open = |bytes: Vec<u8>| {
        let disk = with([(site.path(), bytes)].into());
        site.shelf(&disk).open(&site.purpose, &site.model).map(|shard| shard.map(|s| site.load(&s)))
    };
    for length in [0, 1, PAGE - 1, PAGE, 3 * PAGE - 1, 3 * PAGE, file.len() - 1, file.len() + 1] {
        let mut bytes = file.clone();
        bytes.resize(length, 0);
        assert!(open(bytes).is_err(), "{length} bytes");
    }
    // Counts that would be terabytes, with a digest that fits.
    let whole = site.shelf(&disk).open(&site.purpose, &site.model).expect("opens").expect("there");
    for (keys, slots, stride) in [(u32::MAX, u32::MAX, 1 << 17), (u32::MAX, 0, 64), (0, u32::MAX, 64), (1, 1, 0), (1, 1, 65)] {
        let header = Header { keys, slots, stride, ..whole.header.clone() };
        let mut bytes = file.clone();
        bytes[..PAGE].copy_from_slice(&header.encode().expect("fits").0);
        assert!(open(bytes).is_err());
        assert!(Layout::of(&header).is_none_or(|l| l.length > file.len() as u64 || stride % 64 != 0 || stride == 0));
    }
    let mut dice = Dice::new(77);
    for _ in 0..400 {
        let mut bytes = file.clone();
        for _ in 0..=dice.below(20) {
            let at = dice.index(bytes.len());
            bytes[at] = u8::try_from(dice.below(256)).expect("a byte");
        }
        drop(open(bytes));
    }
}

#[test]
fn on_a_real_disk_the_file_is_its_owner_s_alone_and_a_link_is_not_followed() {
    use std::os::unix::fs::PermissionsExt;
    let (site, vault, _) = site_with(5);
    let directory = tempfile::tempdir().expect("temporary directory");
    let shelf = Shelf::new(Arc::new(RealDisk), directory.path().to_owned(), site.sealing());
    let (plan, records) = site.plan(&vault);
    let mut fetch = |row: usize, record: &mut Vec<u8>| -> Result<(), ShardError> {
        record.extend_from_slice(&records[row]);
        Ok(())
    };
    shelf.build(&site.purpose, &plan, &mut fetch).expect("built");
    let path = shelf.path(&site.purpose, &site.model);
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let shard = shelf.open(&site.purpose, &site.model).expect("opens").expect("there");
    assert_eq!(site.load(&shard), (vault.rows(), vec![]));
    let gone: BTreeSet<[u8; 16]> = vault.people.keys().copied().collect();
    shelf.erase(&gone, &BTreeMap::new()).expect("erased");
    let bytes = [(path.clone(), std::fs::read(&path).expect("read"))].into();
    assert!(vault.people.values().all(|p| !is_in(&bytes, &p.wrapped)));
    let elsewhere = directory.path().join("elsewhere");
    std::fs::rename(&path, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &path).expect("linked");
    assert!(shelf.open(&site.purpose, &site.model).is_err());
    assert_eq!(shelf.retain(&|_| true).expect("swept"), 1, "what is no shard goes");
    assert!(!elsewhere.exists() && !Path::new(&path).exists());
}
