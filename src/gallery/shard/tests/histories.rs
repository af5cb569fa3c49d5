//! Seeded histories: people come and go while the disk loses power, fails, runs full, lies, flips bits and reads elsewhere.
//!
//! What must hold after each: a shard that is whole and of the vault's mark gives exactly the vault's rows; whatever else it gives is named;
//! no row it gives is another than was enrolled; and of whoever's deletion was acknowledged no key lies in any file.
//!
//! `PLACARD_SEED=N` lives one of them, `PLACARD_HISTORIES=A..B` a range; without, a portion that fits a commit's checks.

use std::io::ErrorKind;
use std::ops::Range;

use super::*;

/// One portion of [`ALL`], for each commit.
const PORTION: u64 = 1_500;
const ALL: u64 = 12_000;

const TROUBLES: [Trouble; 9] = [
    Trouble::None,
    Trouble::Cut,
    Trouble::Once(ErrorKind::Other),
    Trouble::Once(ErrorKind::Interrupted),
    Trouble::Once(ErrorKind::StorageFull),
    Trouble::Full,
    Trouble::Lies,
    Trouble::Elsewhere,
    Trouble::Flip,
];

/// What a history came to.
#[derive(Debug, Default)]
struct Sum {
    built: u64,
    erased: u64,
    whole: u64,
    found: u64,
    refused: u64,
    behind: u64,
}

struct History<'a> {
    site: &'a Site,
    seed: u64,
    dice: Dice,
    disk: FaultyDisk,
    vault: Vault,
    /// Deleted, and told so.
    gone: Vec<Person>,
    honest: bool,
}

impl History<'_> {
    fn step(&mut self, sum: &mut Sum) {
        match self.dice.below(5) {
            0 | 1 => {
                let count = 1 + self.dice.below(6);
                let people: Vec<Person> = (0..count).map(|_| self.site.person(&mut self.dice)).collect();
                self.vault.enrol(people, &mut self.dice);
            }
            2 => sum.built += u64::from(self.site.build(&self.disk, &self.vault).is_ok()),
            3 => sum.erased += u64::from(self.delete()),
            _ => self.look(&self.disk.clone(), sum),
        }
    }

    /// As the vault deletes: shards first, then itself. True if it was acknowledged.
    fn delete(&mut self) -> bool {
        let chosen: BTreeSet<[u8; 16]> = self.vault.people.keys().copied().filter(|_| self.dice.below(3) == 0).collect();
        let mark = std::array::from_fn(|_| u8::try_from(self.dice.below(256)).expect("a byte"));
        let next = Next { from: self.vault.mark, mark, version: self.vault.version + 1 };
        let done = self.site.shelf(&self.disk).erase(&chosen, &[(self.site.purpose.to_string(), next)].into());
        if done.is_err() || chosen.is_empty() {
            return false;
        }
        (self.vault.mark, self.vault.version) = (mark, self.vault.version + 1);
        self.gone.extend(chosen.iter().filter_map(|subject| self.vault.people.remove(subject)));
        true
    }

    /// What a service would do with what lies there.
    fn look(&self, disk: &FaultyDisk, sum: &mut Sum) {
        let seed = self.seed;
        let shard = match self.site.shelf(disk).open(&self.site.purpose, &self.site.model) {
            Ok(Some(shard)) => shard,
            Ok(None) => return,
            Err(_) => {
                sum.refused += 1;
                return;
            }
        };
        let current = shard.state().mark == self.vault.mark;
        let (rows, findings) = self.site.load(&shard);
        let truth = self.vault.rows();
        for (key, values) in &rows {
            let right = truth.get(key).or_else(|| self.of_the_gone(key));
            assert_eq!(right, Some(values), "seed {seed}: a row that nobody enrolled");
        }
        match (current, findings.is_empty()) {
            (true, true) => {
                assert!(rows == truth, "seed {seed}: a shard that claims to be whole has {} rows of {}", rows.len(), truth.len());
                sum.whole += 1;
            }
            (true, false) => sum.found += 1,
            (false, _) => sum.behind += 1,
        }
    }

    fn of_the_gone(&self, key: &(String, u8)) -> Option<&Vec<f32>> {
        let person = self.gone.iter().find(|p| format!("{:032x}", u128::from_be_bytes(p.subject)) == key.0)?;
        person.rows.get(usize::from(key.1)).map(|(_, values)| values)
    }
}

fn live(site: &Site, seed: u64, sum: &mut Sum) {
    let mut dice = Dice::new(seed);
    let trouble = TROUBLES[dice.index(TROUBLES.len())];
    let at = 1 + dice.below(120);
    let disk = FaultyDisk::new(trouble, at, seed);
    let honest = trouble != Trouble::Lies;
    let mut history = History { site, seed, dice, disk, vault: Vault::default(), gone: Vec::new(), honest };
    for _ in 0..14 {
        history.step(sum);
    }
    let mut files = history.disk.after_a_cut(&mut history.dice);
    if history.honest {
        for person in &history.gone {
            let there = is_in(&files, &person.wrapped) || is_in(&history.disk.seen(), &person.wrapped);
            assert!(!there, "seed {seed}, {trouble:?}: a key of somebody whose deletion was acknowledged");
        }
    }
    history.look(&with(files.clone()), sum);
    // A bit rots while the machine is off.
    if let Some(file) = files.values_mut().filter(|f| !f.is_empty()).last() {
        let bit = history.dice.index(file.len() * 8);
        file[bit / 8] ^= 1 << (bit % 8);
        history.look(&with(files), sum);
    }
}

fn run(seeds: Range<u64>) -> Sum {
    let (site, mut sum) = (Site::new(), Sum::default());
    for seed in seeds {
        live(&site, seed, &mut sum);
    }
    sum
}

fn asked() -> Option<Range<u64>> {
    let number = |name: &str| std::env::var(name).ok();
    if let Some(seed) = number("PLACARD_SEED").and_then(|s| s.parse().ok()) {
        return Some(seed..seed + 1);
    }
    let range = number("PLACARD_HISTORIES")?;
    let (from, to) = range.split_once("..").expect("PLACARD_HISTORIES=A..B");
    Some(from.parse().expect("a number")..to.parse().expect("a number"))
}

#[test]
fn whatever_a_disk_does_a_shard_gives_what_was_enrolled_or_is_named() {
    let sum = run(asked().unwrap_or(0..PORTION));
    if asked().is_none() {
        assert!(sum.built > PORTION && sum.erased > PORTION / 2 && sum.whole > PORTION / 2, "the histories get somewhere: {sum:?}");
        assert!(sum.found > PORTION / 20 && sum.refused > PORTION / 50 && sum.behind > PORTION / 4, "and meet trouble: {sum:?}");
    }
}

#[test]
#[ignore = "12,000 histories; a commit's checks live the first 1,500"]
fn all_histories() {
    let sum = run(asked().unwrap_or(0..ALL));
    assert!(sum.built > ALL, "{sum:?}");
}
