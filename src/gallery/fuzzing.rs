//! What a fuzzer asks of everything that reads bytes which somebody else may have written, and whole examples to begin with. `fuzz/`, which takes this file in by its path, drives it with
//! libFuzzer; `fuzz.rs` drives it on each commit, and reads the corpus in `fuzz/corpus/`. Not part of the program: for tests and fuzzers alone.
//!
//! A target fails by panicking. It holds what it is given against the examples: what opens under keys that the bytes do not hold is one of them, unaltered.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::heads::{Head, Heads, opened};
use super::npy;
use super::record::{Channel, FORMAT, Header, Record};
use super::seal::{SealError, SealingKey};
use super::shard::disk::{Disk, DiskFile};
use super::shard::{Key, Plan, Row, ShardError, Shelf};
use super::{SubjectId, TemplateModel};
use crate::engine::manifest::Manifest;
use crate::purpose::Purpose;

const DIM: usize = 4;
const PAGE: usize = 4_096;
const PURPOSE: &str = "missing-person:mp-7";

/// Files in memory: what is made is not altered after.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<PathBuf, Arc<Mutex<Vec<u8>>>>>);

struct File(Arc<Mutex<Vec<u8>>>);

impl DiskFile for File {
    fn len(&self) -> Result<u64> {
        Ok(self.0.lock().len() as u64)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let bytes = self.0.lock();
        let from = usize::try_from(offset).map_err(Error::other)?.min(bytes.len());
        let count = into.len().min(bytes.len() - from);
        into[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        let (mut all, from) = (self.0.lock(), usize::try_from(offset).map_err(Error::other)?);
        let length = all.len().max(from + bytes.len());
        all.resize(length, 0);
        all[from..from + bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

impl Disk for Memory {
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let file = Arc::default();
        self.0.lock().insert(path.to_owned(), Arc::clone(&file));
        Ok(Box::new(File(file)))
    }
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let file = self.0.lock().get(path).cloned().ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(File(file)))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut files = self.0.lock();
        let file = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }
    fn remove(&self, path: &Path) -> Result<()> {
        self.0.lock().remove(path).map(drop).ok_or(ErrorKind::NotFound.into())
    }
    fn make_directory(&self, _path: &Path) -> Result<()> {
        Ok(())
    }
    fn list(&self, _directory: &Path) -> Result<Vec<PathBuf>> {
        Ok(self.0.lock().keys().cloned().collect())
    }
    fn sync_directory(&self, _directory: &Path) -> Result<()> {
        Ok(())
    }
}

/// Keys that no site has: they seal examples.
fn key(of: u8) -> SealingKey {
    SealingKey::new(&[of; 32]).expect("32 bytes are a key")
}

fn header(subject: u128, ordinal: u8, consent: Option<&str>) -> Header {
    Header {
        format: FORMAT,
        subject: SubjectId(format!("{subject:032x}").into()),
        purpose: PURPOSE.parse().expect("a purpose"),
        ordinal,
        model: "m".into(),
        model_sha256: "aa".into(),
        dim: DIM,
        enrolled_at_ns: 1,
        expires_at_ns: 2,
        channel: Channel::ImageFile,
        consent: consent.map(str::to_owned),
        source: None,
        zones: Some(vec!["hall".to_owned()]),
    }
}

fn model() -> TemplateModel {
    TemplateModel { name: "m".into(), sha256: "aa".into(), dim: DIM }
}

fn shelf(disk: Memory) -> Shelf {
    Shelf::new(Arc::new(disk), "/shards".into(), key(3))
}

fn shard_path() -> PathBuf {
    shelf(Memory::default()).path(&PURPOSE.parse::<Purpose>().expect("a purpose"), &model())
}

/// Values by subject and ordinal.
type Rows = BTreeMap<(String, u8), Vec<f32>>;

/// A shard of `people`, each with two templates.
fn whole_shard(people: u8) -> (Vec<u8>, Rows) {
    let (mut keys, mut rows, mut records, mut truth) = (Vec::new(), Vec::new(), Vec::new(), Rows::new());
    for person in 0..people {
        let subject = u128::from(person) + 1;
        let own = [person + 10; 32];
        let wrapped = key(4).seal(&subject.to_be_bytes(), &own).expect("sealed").try_into().expect("60 bytes");
        keys.push(Key { subject: subject.to_be_bytes(), wrapped });
        for ordinal in 0..2 {
            let values = vec![f32::from(person), f32::from(ordinal), 0.5, -0.5];
            let header = header(subject, ordinal, None);
            let record = header.seal(&key(person + 10), &values).expect("sealed");
            rows.push(Row { key: person.into(), bytes: u32::try_from(record.len()).expect("short") });
            truth.insert((header.subject.0.to_string(), ordinal), values);
            records.push(record);
        }
    }
    let plan = Plan {
        purpose: PURPOSE.to_owned(),
        model: model(),
        version: 2,
        mark: [9; 16],
        made_at_ns: 5,
        zones: vec!["hall".to_owned(), "stairs".to_owned()],
        keys,
        rows,
    };
    let disk = Arc::new(Memory::default());
    let on_disk = Shelf::new(Arc::clone(&disk) as Arc<dyn Disk>, "/shards".into(), key(3));
    let mut fetch = |row: usize, record: &mut Vec<u8>| -> std::result::Result<(), ShardError> {
        record.extend_from_slice(&records[row]);
        Ok(())
    };
    on_disk.build(&PURPOSE.parse().expect("a purpose"), &plan, &mut fetch).expect("built");
    let bytes = disk.0.lock()[&shard_path()].lock().clone();
    (bytes, truth)
}

fn whole_shards() -> &'static [(Vec<u8>, Rows)] {
    static WHOLE: OnceLock<Vec<(Vec<u8>, Rows)>> = OnceLock::new();
    WHOLE.get_or_init(|| [0, 1, 6].map(whole_shard).into())
}

/// What each row must be, of whoever's shard: the values follow from subject and ordinal.
fn right(subject: &str, ordinal: u8, values: &[f32]) -> bool {
    u128::from_str_radix(subject, 16).is_ok_and(|subject| values == [(subject - 1) as f32, f32::from(ordinal), 0.5, -0.5])
}

/// A shard's file, opened as it is, and with a header's digest that fits, so that what lies behind it is reached.
pub fn shard(bytes: &[u8]) {
    let mut fitted = bytes.to_vec();
    if fitted.len() >= PAGE {
        let digest = Sha256::digest(&fitted[..PAGE - 32]);
        fitted[PAGE - 32..PAGE].copy_from_slice(&digest);
    }
    let unwrap = |subject: &str, wrapped: &[u8]| -> std::result::Result<SealingKey, SealError> {
        let bits = u128::from_str_radix(subject, 16).map_err(|_| SealError::NotAuthentic)?;
        let own = key(4).open(&bits.to_be_bytes(), wrapped)?;
        SealingKey::new(own.as_slice().try_into().map_err(|_| SealError::NotAuthentic)?)
    };
    for bytes in [bytes.to_vec(), fitted] {
        let disk = Memory::default();
        disk.0.lock().insert(shard_path(), Arc::new(Mutex::new(bytes)));
        let Ok(Some(shard)) = shelf(disk).open(&PURPOSE.parse().expect("a purpose"), &model()) else { continue };
        let mut rows = Rows::new();
        let mut each = |header: Header, values: Zeroizing<Vec<f32>>| {
            assert!(right(&header.subject.0, header.ordinal, &values), "a row that nobody enrolled");
            assert!(rows.insert((header.subject.0.to_string(), header.ordinal), values.to_vec()).is_none(), "a row twice");
        };
        let findings = shard.load(&unwrap, &mut each);
        assert!(!findings.is_empty() || rows.len() == shard.state().live_slots as usize, "less than all, and nothing found");
        let _checked = shard.check(None);
        let _subjects = shard.subjects();
    }
}

/// A vault's record.
pub fn record(bytes: &[u8]) {
    static KEY: OnceLock<SealingKey> = OnceLock::new();
    if let Ok(record) = Record::read(bytes)
        && let Ok(values) = record.open(KEY.get_or_init(|| key(10)))
    {
        let Header { subject, ordinal, .. } = &record.header;
        assert!(right(&subject.0, *ordinal, &values), "opened, and was altered");
    }
}

/// The beginning of an `.npy` file.
pub fn npy(bytes: &[u8]) {
    if let Ok(shape) = npy::header(bytes) {
        assert!(shape.values > 0 && shape.begins_at <= bytes.len() as u64);
        assert!(shape.rows.checked_mul(shape.values as u64 * 4).is_some());
    }
}

/// A model's manifest.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(manifest) = Manifest::from_toml(text) {
        assert!(manifest.check().is_ok(), "taken, and not checked");
    }
}

/// The witness of generations: its facts, and a copy of them under a key that the bytes do not hold.
pub fn heads(bytes: &[u8]) {
    if let Some(heads) = Heads::decode(bytes) {
        let again = heads.encode();
        assert!(again.len() == bytes.len() && Heads::decode(&again) == Some(heads), "read, and not what was written");
    }
    assert!(opened(bytes, &key(5)).is_none(), "opened, and nobody sealed it");
}

/// Of the bundled models.
const MANIFESTS: [&str; 3] = [
    include_str!("../../models/concourse-detector.toml"),
    include_str!("../../models/concourse-embedder.toml"),
    include_str!("../../models/concourse-mask.toml"),
];

/// A name, and what is given bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target by name.
pub const TARGETS: [Target; 5] = [("shard", shard), ("record", record), ("npy", npy), ("manifest", manifest), ("heads", heads)];

fn npy_file(version: u8, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("short").to_le_bytes();
    [b"\x93NUMPY", &[version, 0][..], &length[..if version == 1 { 2 } else { 4 }], text.as_bytes()].concat()
}

/// Whole examples of what a target reads.
pub fn examples(target: &str) -> Vec<Vec<u8>> {
    match target {
        "shard" => whole_shards().iter().map(|(bytes, _)| bytes.clone()).collect(),
        "record" => {
            let of = |consent| header(1, 1, consent).seal(&key(10), &[0.0, 1.0, 0.5, -0.5]).expect("sealed");
            vec![of(None), of(Some("c-1"))]
        }
        "npy" => {
            let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (100, 512), }\n";
            let short = "{'shape':(3,4),'fortran_order':False,'descr':'<f4'}";
            vec![npy_file(1, text), npy_file(2, text), npy_file(3, short)]
        }
        "manifest" => MANIFESTS.map(|text| text.as_bytes().to_vec()).into(),
        "heads" => {
            let head = |version| Head { version, mark: [7; 16] };
            let purposes: BTreeMap<String, Head> = [(PURPOSE.to_owned(), head(3)), ("epidemic:e-1".to_owned(), head(9))].into();
            let some = Heads { purposes, gone: [([1; 16], 5), ([2; 16], -5)].into() };
            vec![Heads::default().encode(), some.encode()]
        }
        _ => Vec::new(),
    }
}
