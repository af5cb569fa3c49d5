//! What is left of a key, directed: in a file that is replaced, in one that is damaged or altered, and on a disk that was not told to keep what it was given.

use super::*;

fn erase(site: &Site, vault: &Vault, disk: &FaultyDisk, person: [u8; 16]) {
    let next = Next { from: vault.mark, mark: [9; 16], version: vault.version + 1 };
    site.shelf(disk).erase(&[person].into(), &[(site.purpose.to_string(), next)].into()).expect("erased");
}

fn keys_at(site: &Site, disk: &FaultyDisk) -> (usize, usize) {
    let layout = site.shelf(disk).open(&site.purpose, &site.model).expect("opens").expect("there").layout;
    (usize::try_from(layout.keys_at).expect("fits"), usize::try_from(layout.rows_at).expect("fits"))
}

#[test]
fn a_file_that_is_replaced_emptied_or_unwanted_leaves_no_key_in_its_freed_blocks() {
    let (site, vault, disk) = site_with(40);
    let held = |disk: &FaultyDisk| {
        let freed = disk.freed();
        assert!(!freed.is_empty(), "a file went");
        vault.people.values().any(|p| freed.iter().any(|file| file.windows(WRAPPED).any(|w| w == p.wrapped)))
    };
    site.build(&disk, &vault).expect("built again");
    assert!(!held(&disk), "replaced");
    let again = with(disk.seen());
    site.shelf(&again).empty().expect("emptied");
    assert!(!held(&again) && again.seen().is_empty());
    let again = with(disk.seen());
    site.shelf(&again).retain(&|_| false).expect("swept");
    assert!(!held(&again));
    // Half a file that a making left.
    let half = disk.seen()[&site.path()].clone();
    let again = with([(site.path().with_extension("shard.new"), half[..half.len() / 2].to_vec())].into());
    site.shelf(&again).erase(&BTreeSet::from([[1; 16]]), &BTreeMap::new()).expect("erased");
    assert!(!held(&again));
}

#[test]
fn whom_a_damaged_block_of_keys_names_nobody_knows_so_the_whole_file_goes() {
    let (site, vault, disk) = site_with(40);
    let (keys_at, _) = keys_at(&site, &disk);
    let (first, person) = vault.people.iter().next().expect("somebody");
    let mut files = disk.seen();
    // One bit of the id by which the key would be found.
    files.get_mut(&site.path()).expect("there")[keys_at] ^= 1;
    let disk = with(files);
    erase(&site, &vault, &disk, *first);
    assert!(!is_in(&disk.seen(), &person.wrapped), "the key is in no file");
    assert!(disk.seen().is_empty() && disk.freed().iter().all(|file| !file.windows(WRAPPED).any(|w| w == person.wrapped)));
}

#[test]
fn what_somebody_altered_is_not_sealed_anew_by_an_erasure() {
    let (site, vault, disk) = site_with(40);
    let (keys_at, rows_at) = keys_at(&site, &disk);
    let subject = *vault.people.keys().next().expect("somebody");
    let erased = |alter: &dyn Fn(&mut Vec<u8>)| {
        let mut files = disk.seen();
        alter(files.get_mut(&site.path()).expect("there"));
        let disk = with(files);
        erase(&site, &vault, &disk, subject);
        disk.seen()
    };
    assert_eq!(erased(&|_| {}).len(), 1, "whole: erased in place");
    // A row of somebody else in the same block; a block with a checksum that fits; the table's own root.
    let crc_too = |file: &mut Vec<u8>, (at, length): (usize, usize), entry: usize| {
        file[at + length - 1] ^= 1;
        let crc = super::super::crc::crc32c(&file[at..at + length]);
        file[entry..entry + 4].copy_from_slice(&crc.to_le_bytes());
    };
    let stride = site.shelf(&disk).open(&site.purpose, &site.model).expect("opens").expect("there").header.stride as usize;
    assert!(erased(&|file| file[rows_at + 3 * stride + 9] ^= 1).is_empty(), "a row that was altered");
    assert!(erased(&|file| crc_too(file, (keys_at, 40 * KEY), 12_288)).is_empty(), "keys, with a checksum that fits");
    assert!(erased(&|file| crc_too(file, (rows_at, 32 * stride), 12_288 + 64)).is_empty(), "rows, with a checksum that fits");
}

#[test]
fn what_was_built_is_on_the_disk_whatever_a_power_cut_takes() {
    let (site, vault, disk) = site_with(40);
    for seed in 0..24 {
        let after = with(disk.after_a_cut(&mut Dice::new(seed)));
        let shard = site.shelf(&after).open(&site.purpose, &site.model).expect("opens").expect("there");
        assert_eq!(site.load(&shard), (vault.rows(), vec![]), "seed {seed}");
    }
}
