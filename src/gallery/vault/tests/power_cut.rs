//! The vault and its shards on one disk that loses power, runs full, fails and lies: seeded histories of enrolments and deletions.
//!
//! What must hold: who was acknowledged to be enrolled is there afterwards, with the same values; who was acknowledged to be deleted is not, and no
//! shard holds the id; a group is there as a whole or not at all; whatever a shard gives, the vault's own rows give too; no vault is taken for one that was put
//! back; and one that was put back, from before anything that was acknowledged, is never taken for the newest.
//!
//! `PLACARD_SEED=N` lives one history; `PLACARD_HISTORIES=A..B` a range; without, a portion that fits a commit's checks.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use redb::StorageBackend;

use super::super::super::shard::tests::faulty::{Dice, FaultyDisk, Trouble};
use super::super::Source;
use super::*;

const PORTION: u64 = 250;
const ALL: u64 = 10_000;
const FILE: &str = "/gallery/vault.redb";

fn trouble(dice: &mut Dice) -> Trouble {
    match dice.below(8) {
        0..3 => Trouble::Cut,
        3 => Trouble::Once(ErrorKind::Other),
        4 => Trouble::Once(ErrorKind::StorageFull),
        5 => Trouble::Full,
        6 => Trouble::Lies,
        _ => Trouble::None,
    }
}

fn open(disk: &FaultyDisk, key: &SiteKey) -> Result<Vault, VaultError> {
    let path = Path::new(FILE);
    let storage = |error: redb::Error| VaultError::storage(path, error);
    let file = disk.database_file(path).map_err(|error| VaultError::File { path: path.to_owned(), error })?;
    let new = StorageBackend::len(&file).map_err(|error| VaultError::File { path: path.to_owned(), error })? == 0;
    let database = Database::builder().create_with_backend(file).map_err(|e| storage(e.into()))?;
    let empty = || Ok(database.begin_read()?.list_tables()?.next().is_none());
    if empty().map_err(storage)? {
        durable_write(&database, path, |write| Ok(make_tables(write)?))?;
    }
    if new {
        let directory = path.parent().expect("a directory");
        let synced = crate::gallery::shard::disk::Disk::sync_directory(disk, directory);
        synced.map_err(|error| VaultError::File { path: path.to_owned(), error })?;
    }
    let shelf = Shelf::new(Arc::new(disk.clone()), "/gallery/shards".into(), key.derive("placard/1/shards")?);
    let heads = HeadsFile::new(Arc::new(disk.clone()), "/gallery/heads".into(), key)?;
    Vault::over(database, path.to_owned(), (shelf, heads), key, None)
}

/// Values by subject, a group each: all of it is there, or nothing.
type People = BTreeMap<SubjectId, Vec<f32>>;

struct Life {
    vault: Vault,
    purpose: Purpose,
    dice: Dice,
    there: People,
    gone: BTreeSet<SubjectId>,
    /// What was asked for last and not acknowledged.
    open: Option<People>,
    leaving: BTreeSet<SubjectId>,
    /// Acknowledged.
    changes: u64,
}

impl Life {
    fn enrol(&mut self) -> Result<(), VaultError> {
        let mut people = People::new();
        let mut embeddings = Vec::new();
        for _ in 0..=self.dice.below(3) {
            let mut values: Vec<f32> = (0..4).map(|_| self.dice.below(2_000) as f32 - 999.5).collect();
            let embedding = Embedding::normalised(&mut values).expect("unit");
            let subject = SubjectId::random().expect("random");
            people.insert(subject.clone(), embedding.as_slice().to_vec());
            embeddings.push((subject, embedding));
        }
        let model = model();
        let new = |(subject, embedding)| NewSubject {
            subject: SubjectId::clone(subject),
            purpose: &self.purpose,
            model: &model,
            templates: vec![embedding],
            channel: Channel::ImageFile,
            consent: None,
            source: None,
            zones: &["hall"],
            enrolled_at: NOW,
            expires_at: END,
        };
        let subjects: Vec<NewSubject<'_>> = embeddings.iter().map(|(s, e)| new((s, e))).collect();
        let done = self.vault.enrol(&subjects);
        match done {
            Ok(()) => {
                self.changes += 1;
                self.there.extend(people);
            }
            Err(_) => self.open = Some(people),
        }
        done
    }

    fn delete(&mut self) -> Result<(), VaultError> {
        let chosen: BTreeSet<SubjectId> = self.there.keys().filter(|_| self.dice.below(3) == 0).cloned().collect();
        let done = self.vault.delete(&chosen);
        match done {
            Ok(_) => {
                self.changes += u64::from(!chosen.is_empty());
                self.there.retain(|subject, _| !chosen.contains(subject));
                self.gone.extend(chosen);
            }
            Err(_) => self.leaving = chosen,
        }
        done.map(drop)
    }

    /// True to go on.
    fn step(&mut self) -> bool {
        match self.dice.below(5) {
            0 | 1 => self.enrol().is_ok(),
            2 => self.delete().is_ok(),
            // What cannot be made is read from the vault.
            3 => {
                let _made = self.vault.refresh_shards(NOW);
                true
            }
            _ => {
                if let Ok((loaded, source)) = self.vault.load_from(&self.purpose, &model(), NOW) {
                    assert_eq!(people(&loaded), self.there, "{source:?}");
                }
                true
            }
        }
    }
}

fn people(loaded: &PurposeTemplates) -> People {
    loaded.templates.iter().map(|t| (t.subject.clone(), t.values.to_vec())).collect()
}

fn live(key: &SiteKey, seed: u64) -> usize {
    let mut dice = Dice::new(seed);
    let trouble = trouble(&mut dice);
    let disk = FaultyDisk::new(trouble, 1 + dice.below(260), seed | 1);
    let purpose = purpose("missing-person:1");
    let vault = open(&disk, key);
    let Ok(vault) = vault else {
        let image = disk.after_a_cut(&mut dice);
        drop(open(&FaultyDisk::with(image, Trouble::None, 0, 1), key));
        return 0;
    };
    let (there, gone) = (People::new(), BTreeSet::new());
    let mut life = Life { vault, purpose, dice, there, gone, open: None, leaving: BTreeSet::new(), changes: 0 };
    let (kept_at, mut kept) = (life.dice.below(10), None);
    for step in 0..10 {
        if step == kept_at {
            kept = Some((disk.seen().remove(Path::new(FILE)).expect("there"), life.changes));
        }
        if !life.step() {
            break;
        }
    }
    // As kill -9 does: nothing is put in order.
    let image = disk.after_a_cut(&mut life.dice);
    let Life { vault, purpose, there, gone, open: unknown, leaving, changes, .. } = life;
    drop(vault);
    if let Some((older, _)) = kept.filter(|(_, then)| *then < changes && trouble != Trouble::Lies) {
        let put_back = [(FILE.into(), older)].into_iter();
        let files = image.clone().into_iter().filter(|(path, _)| path.as_path() != Path::new(FILE)).chain(put_back).collect();
        let vault = open(&FaultyDisk::with(files, Trouble::None, 0, 1), key).expect("opens");
        assert!(matches!(vault.in_step(), Err(VaultError::PutBack(_))), "seed {seed}: an older vault is taken for the newest");
    }
    for subject in &gone {
        let bits = u128::from_str_radix(&subject.0, 16).expect("an id").to_be_bytes();
        let mut shards = image.iter().filter(|(path, _)| path.as_path() != Path::new(FILE));
        assert!(
            trouble == Trouble::Lies || !shards.any(|(_, file)| file.windows(16).any(|w| w == bits)),
            "seed {seed}: a shard knows {subject}"
        );
    }
    let after = open(&FaultyDisk::with(image, Trouble::None, 0, 1), key);
    let (vault, honest) = match after {
        Ok(vault) => (vault, trouble != Trouble::Lies),
        Err(_) if trouble == Trouble::Lies => return 0,
        Err(error) => panic!("seed {seed}: {error}"),
    };
    let rows = vault.load_rows(&purpose, &model(), NOW).expect("reads");
    let (loaded, source) = match vault.load_from(&purpose, &model(), NOW) {
        Ok(loaded) => loaded,
        // What it lost is known by a shard that it kept, and closed.
        Err(VaultError::PutBack(_)) if !honest => return 0,
        Err(error) => panic!("seed {seed}: {error}"),
    };
    assert_eq!(people(&loaded), people(&rows), "seed {seed}: {source:?} gives the vault's rows");
    if honest {
        judge(seed, people(&rows), &there, unknown, &leaving);
        assert!(gone.iter().all(|subject| !vault.traces(subject).expect("reads").key), "seed {seed}: who was deleted has no key");
    }
    there.len()
}

fn judge(seed: u64, mut found: People, there: &People, unknown: Option<People>, leaving: &BTreeSet<SubjectId>) {
    let group: Vec<SubjectId> = unknown.into_iter().flatten().map(|(subject, _)| subject).collect();
    let came = group.iter().filter(|subject| found.remove(*subject).is_some()).count();
    assert!(came == 0 || came == group.len(), "seed {seed}: {came} of a group of {}", group.len());
    let left = leaving.iter().filter(|subject| !found.contains_key(*subject)).count();
    assert!(left == 0 || left == leaving.len(), "seed {seed}: {left} of {} who were to go", leaving.len());
    let mut want = there.clone();
    if left > 0 {
        want.retain(|subject, _| !leaving.contains(subject));
    }
    assert_eq!(found, want, "seed {seed}: who was acknowledged, and nobody else");
}

/// Somebody is deleted, and the power goes at the `at`th thing that is asked of the disk.
fn cut_in_a_deletion(key: &SiteKey, image: &BTreeMap<std::path::PathBuf, Vec<u8>>, going: &SubjectId, at: u64) -> Option<(bool, bool)> {
    let disk = FaultyDisk::with(image.clone(), Trouble::Cut, at, at);
    let p = purpose("missing-person:1");
    let told = open(&disk, key).ok().map(|vault| vault.delete(&BTreeSet::from([going.clone()])).is_ok())?;
    let vault = open(&FaultyDisk::with(disk.after_a_cut(&mut Dice::new(at)), Trouble::None, 0, 1), key).expect("opens");
    let traces = vault.traces(going).expect("reads");
    assert!(traces == Traces::default() || (traces.key && traces.rows.len() == 1), "cut {at}: half of it is there: {traces:?}");
    assert!(!told || !traces.any(), "cut {at}: acknowledged, and there");
    let (loaded, source) = vault.load_from(&p, &model(), NOW).expect("loads");
    assert_eq!(loaded.templates.len(), if traces.any() { 3 } else { 2 }, "cut {at}");
    assert!(!matches!(source, Source::RowsBecause(_)), "cut {at}: {source:?}: what a cut left of a shard is not read around for ever");
    vault.refresh_shards(NOW).expect("made");
    assert_eq!(vault.load_from(&p, &model(), NOW).expect("loads").1, Source::Shard, "cut {at}");
    let owed = crate::gallery::file::owes_rewrite(&vault.database, &vault.path).expect("reads");
    assert_eq!(owed, !traces.any(), "cut {at}: freed pages are owed to be written anew, and only then");
    Some((told, !traces.any()))
}

#[test]
fn a_deletion_that_was_cut_short_is_ended_at_the_next_opening() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let key = SiteKey::create(&StateDirectory::new(directory.path())).expect("key");
    let disk = FaultyDisk::new(Trouble::None, 0, 1);
    let vault = open(&disk, &key).expect("opens");
    let p = purpose("missing-person:1");
    let people: Vec<SubjectId> = (0..3).map(|axis| enrol(&vault, &p, &[embedding(axis)])).collect();
    vault.refresh_shards(NOW).expect("made");
    drop(vault);
    let ends: Vec<(bool, bool)> = (1..220).filter_map(|at| cut_in_a_deletion(&key, &disk.seen(), &people[1], at)).collect();
    assert!(ends.iter().filter(|(told, gone)| !told && *gone).count() > 10, "ended by the next opening: {ends:?}");
    assert!(ends.contains(&(false, false)) && ends.contains(&(true, true)), "{ends:?}");
}

fn run(seeds: Range<u64>) -> usize {
    let directory = tempfile::tempdir().expect("temporary directory");
    let key = SiteKey::create(&StateDirectory::new(directory.path())).expect("key");
    seeds.map(|seed| live(&key, seed)).sum()
}

fn asked() -> Option<Range<u64>> {
    if let Some(seed) = std::env::var("PLACARD_SEED").ok().and_then(|s| s.parse().ok()) {
        return Some(seed..seed + 1);
    }
    let range = std::env::var("PLACARD_HISTORIES").ok()?;
    let (from, to) = range.split_once("..").expect("PLACARD_HISTORIES=A..B");
    Some(from.parse().expect("a number")..to.parse().expect("a number"))
}

#[test]
fn whatever_a_disk_does_who_was_acknowledged_is_there_and_who_was_deleted_is_not() {
    let there = run(asked().unwrap_or(0..PORTION));
    assert!(asked().is_some() || there > 200, "the histories get somewhere: {there}");
}

#[test]
#[ignore = "10,000 histories; a commit's checks live the first 250"]
fn all_histories() {
    assert!(run(asked().unwrap_or(0..ALL)) > 0);
}
