//! Shards for the fuzzer: whole ones, and what opening an altered one must not do.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::*;

type Whole = (Site, Vec<(Vec<u8>, Rows)>);

/// One site for all executions, and its shards with the rows that they hold.
fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let site = Site::new();
        let shards = [0, 1, 6].map(|people| {
            let (mut vault, mut dice) = (Vault::default(), Dice::new(people));
            let all: Vec<Person> = (0..people).map(|_| site.person(&mut dice)).collect();
            vault.enrol(all, &mut dice);
            let disk = FaultyDisk::new(Trouble::None, 0, 1);
            site.build(&disk, &vault).expect("built");
            (disk.seen().remove(&site.path()).expect("there"), vault.rows())
        });
        (site, shards.into())
    })
}

pub fn examples() -> Vec<Vec<u8>> {
    whole().1.iter().map(|(bytes, _)| bytes.clone()).collect()
}

/// As it is, and with a header's digest that fits: so that what lies behind it is reached.
pub fn open(bytes: &[u8]) {
    let (site, shards) = whole();
    let mut fitted = bytes.to_vec();
    if fitted.len() >= PAGE {
        let digest = Sha256::digest(&fitted[..PAGE - 32]);
        fitted[PAGE - 32..PAGE].copy_from_slice(&digest);
    }
    for bytes in [bytes.to_vec(), fitted] {
        let disk = with([(site.path(), bytes)].into());
        let Ok(Some(shard)) = site.shelf(&disk).open(&site.purpose, &site.model) else { continue };
        let (rows, findings) = site.load(&shard);
        let right = |(key, values): (&(String, u8), &Vec<f32>)| shards.iter().any(|(_, rows)| rows.get(key) == Some(values));
        assert!(rows.iter().all(right), "a row that nobody enrolled");
        assert!(!findings.is_empty() || shards.iter().any(|(_, whole)| *whole == rows), "less than all, and nothing found");
        let _checked = shard.check(None);
    }
}
