//! The vault and its shards: which of the two is read, and what of somebody is left in either.

use super::super::Source;
use super::*;

fn shards(site: &Site) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(site.state.shards()).map_or_else(|_| Vec::new(), |all| all.map(|e| e.expect("entry").path()).collect())
}

fn loaded(vault: &Vault, purpose: &Purpose) -> (Vec<(SubjectId, Vec<f32>)>, Source) {
    let (loaded, source) = vault.load_from(purpose, &model(), NOW).expect("loads");
    (loaded.templates.iter().map(|t| (t.subject.clone(), t.values.to_vec())).collect(), source)
}

#[test]
fn a_shard_is_read_while_it_is_of_the_vault_as_it_is_and_gives_the_same() {
    let site = site();
    let (vault, p) = (site.vault(), purpose("missing-person:1"));
    let people: Vec<SubjectId> = (0..4).map(|axis| enrol(&vault, &p, &[embedding(axis), embedding((axis + 1) % 4)])).collect();
    let (from_rows, source) = loaded(&vault, &p);
    assert_eq!((from_rows.len(), source), (8, Source::Rows));
    assert_eq!(vault.refresh_shards(NOW).expect("made"), 1);
    assert_eq!(loaded(&vault, &p), (from_rows.clone(), Source::Shard));
    assert_eq!(vault.refresh_shards(NOW).expect("fresh"), 0);
    // Whoever is deleted leaves it in place, and it stays of use.
    vault.delete(&BTreeSet::from([people[1].clone()])).expect("deleted");
    let left: Vec<_> = from_rows.iter().filter(|(subject, _)| *subject != people[1]).cloned().collect();
    assert_eq!(loaded(&vault, &p), (left.clone(), Source::Shard));
    assert!(
        !super::super::super::is_mentioned(&site.state, &people[1]).expect("read") || vault.traces(&people[1]).expect("read").any() || {
            // redb's freed pages may spell the id until the file is written anew; the shards may not.
            vault.rewrite().expect("written");
            !super::super::super::is_mentioned(&site.state, &people[1]).expect("read")
        }
    );
    let vault = site.vault();
    assert_eq!(loaded(&vault, &p), (left, Source::Shard), "a vault that was written anew keeps its marks");
    // Whoever comes makes it old.
    enrol(&vault, &p, &[embedding(1)]);
    assert_eq!(loaded(&vault, &p).1, Source::Rows);
    vault.refresh_shards(NOW).expect("made");
    assert_eq!((loaded(&vault, &p).0.len(), loaded(&vault, &p).1), (7, Source::Shard));
}

#[test]
fn a_damaged_shard_costs_nobody_their_place() {
    let site = site();
    let (vault, p) = (site.vault(), purpose("missing-person:1"));
    enrol(&vault, &p, &[embedding(0)]);
    enrol(&vault, &p, &[embedding(1)]);
    vault.refresh_shards(NOW).expect("made");
    let [path] = &shards(&site)[..] else { panic!("one shard") };
    let (good, all) = (std::fs::read(path).expect("read"), loaded(&vault, &p).0);
    for at in [20, 100, 4_096 + 40, good.len() - 200, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(path, bad).expect("written");
        let (rows, source) = loaded(&vault, &p);
        assert_eq!(rows, all);
        assert!(matches!(source, Source::RowsBecause(_)), "byte {at}: {source:?}");
        let found = vault.check_shards().expect("checked");
        assert!(found.iter().any(|(_, looked)| looked.as_ref().map_or(true, |(_, findings)| !findings.is_empty())), "byte {at}");
    }
    assert_eq!(vault.build_shards(&p, NOW).expect("made anew").len(), 1);
    assert_eq!(loaded(&vault, &p), (all, Source::Shard));
}

#[test]
fn a_vault_that_was_put_back_is_closed_until_somebody_takes_it_as_it_is() {
    let site = site();
    let p = purpose("missing-person:1");
    let vault = site.vault();
    let (kept, gone) = (enrol(&vault, &p, &[embedding(0)]), enrol(&vault, &p, &[embedding(3)]));
    drop(vault);
    let backup = std::fs::read(site.state.vault()).expect("read");
    let vault = site.vault();
    let later = enrol(&vault, &p, &[embedding(1)]);
    vault.delete(&BTreeSet::from([gone.clone()])).expect("deleted");
    vault.refresh_shards(NOW).expect("made");
    assert_eq!(loaded(&vault, &p).0.len(), 2);
    drop(vault);
    std::fs::write(site.state.vault(), backup).expect("put back");
    let mut vault = site.vault();
    let closed = vault.load_purpose(&p, &model(), NOW).map(drop).expect_err("closed").to_string();
    for part in ["is of generation 2 for missing-person:1", "of generation 4", "compact --older-vault"] {
        assert!(closed.contains(part), "{closed}");
    }
    assert!(
        matches!(vault.refresh_shards(NOW), Err(VaultError::PutBack(_)))
            && matches!(vault.rebuild_shards(NOW), Err(VaultError::PutBack(_)))
    );
    let (template, of) = (embedding(2), model());
    let new = NewSubject {
        subject: SubjectId::random().expect("random"),
        purpose: &p,
        model: &of,
        templates: vec![&template],
        channel: Channel::ImageFile,
        consent: None,
        source: None,
        zones: &["hall"],
        enrolled_at: NOW,
        expires_at: END,
    };
    assert!(matches!(vault.enrol(&[new]), Err(VaultError::PutBack(_))), "or the generations would meet, and nobody would know");
    let accepted = vault.weigh_older(&BTreeSet::new()).expect("weighed");
    assert_eq!((&accepted.deleted, &accepted.lost), (&BTreeSet::from([gone.clone()]), &BTreeSet::from([later])));
    assert!(vault.traces(&gone).expect("reads").any(), "weighing changes nothing");
    vault.accept_older(&accepted).expect("taken");
    vault.refresh_shards(NOW).expect("made");
    let (rows, source) = loaded(&vault, &p);
    assert_eq!((rows.len(), source, &rows[0].0), (1, Source::Shard, &kept));
    assert!(!vault.traces(&gone).expect("reads").any());
    enrol(&vault, &p, &[embedding(2)]);
    assert_eq!(vault.version(&p).expect("reads"), 7, "beyond whatever was seen");
}

#[test]
fn two_histories_of_one_length_are_told_apart_and_deleting_goes_on_in_either() {
    let site = site();
    let p = purpose("missing-person:1");
    let vault = site.vault();
    let (a, b) = (enrol(&vault, &p, &[embedding(0)]), enrol(&vault, &p, &[embedding(1)]));
    drop(vault);
    let (backup, witness) = (std::fs::read(site.state.vault()).expect("read"), std::fs::read(site.state.heads()).expect("read"));
    let vault = site.vault();
    enrol(&vault, &p, &[embedding(2)]);
    vault.refresh_shards(NOW).expect("made");
    drop(vault);
    std::fs::write(site.state.vault(), &backup).expect("put back");
    for (gone, left) in [(a, 1), (b, 0)] {
        assert!(site.vault().delete(&BTreeSet::from([gone])).expect("deleted"), "nobody is kept from being deleted");
        let vault = site.vault();
        assert_eq!(vault.list(None).expect("lists").len(), left);
        assert!(matches!(vault.load_purpose(&p, &model(), NOW), Err(VaultError::PutBack(_))), "and it is still known to be older");
    }
    // As old as the shard, by another way; with the witness of that time.
    std::fs::write(site.state.vault(), backup).expect("put back");
    std::fs::write(site.state.heads(), witness).expect("put back");
    let shards = std::fs::read_dir(site.state.shards()).expect("there").map(|e| e.expect("entry").path()).collect::<Vec<_>>();
    std::fs::rename(&shards[0], site.state.root().join("kept.shard")).expect("moved");
    enrol(&site.vault(), &p, &[embedding(3)]);
    std::fs::rename(site.state.root().join("kept.shard"), &shards[0]).expect("moved back");
    let closed = site.vault().load_purpose(&p, &model(), NOW).map(drop).expect_err("closed").to_string();
    assert!(closed.contains("of generation 3 for") && closed.contains("another generation 3"), "{closed}");
}

#[test]
fn looking_after_the_shards_of_many_purposes_opens_each_once() {
    let (site, disk) =
        (site(), crate::gallery::shard::tests::faulty::FaultyDisk::new(crate::gallery::shard::tests::faulty::Trouble::None, 0, 1));
    drop(site.vault());
    let database = Database::open(site.state.vault()).expect("opens");
    let shelf = Shelf::new(Arc::new(disk.clone()), "/shards".into(), site.key.derive("placard/1/shards").expect("key"));
    let heads = HeadsFile::new(Arc::new(crate::gallery::shard::disk::RealDisk), site.state.heads(), &site.key).expect("key");
    let vault = Vault::over(database, site.state.vault(), (shelf, heads), &site.key, None).expect("opens");
    let purposes: Vec<Purpose> = (0..40).map(|case| purpose(&format!("missing-person:{case}"))).collect();
    purposes.iter().for_each(|p| drop(enrol(&vault, p, &[embedding(0)])));
    assert_eq!(vault.refresh_shards(NOW).expect("made"), 40);
    let before = disk.opened();
    assert_eq!(vault.refresh_shards(NOW).expect("fresh"), 0);
    purposes.iter().for_each(|p| assert_eq!(loaded(&vault, p).1, Source::Shard));
    let opened = disk.opened() - before;
    assert!((40..=130).contains(&opened), "{opened} openings for 40 shards");
}

#[test]
fn a_rewriting_that_a_crash_skipped_is_done_at_the_next_opening_and_the_old_file_is_overwritten() {
    use std::io::{Read, Seek};
    let site = site();
    let (vault, p) = (site.vault(), purpose("missing-person:1"));
    let (gone, kept) = (enrol(&vault, &p, &[embedding(0)]), enrol(&vault, &p, &[embedding(1)]));
    let names = Identities::open(&site.state, &site.key).expect("opens");
    names.put([(&gone, "Zhang San"), (&kept, "Li Si")]).expect("written");
    vault.delete(&BTreeSet::from([gone.clone()])).expect("deleted");
    names.retain(|subject| *subject == *kept.0).expect("swept");
    drop((vault, names));
    let mut old: Vec<std::fs::File> =
        [site.state.vault(), site.state.identities()].iter().map(|path| std::fs::File::open(path).expect("there")).collect();
    let mentioned = || super::super::super::is_mentioned(&site.state, &gone).expect("read");
    assert!(mentioned(), "a freed page spells the id");
    drop(Identities::open(&site.state, &site.key).expect("opens"));
    drop(site.vault());
    assert!(!mentioned(), "both files were written anew");
    for file in &mut old {
        let mut bytes = Vec::new();
        file.rewind().expect("rewinds");
        file.read_to_end(&mut bytes).expect("read");
        assert!(!bytes.is_empty() && bytes.iter().all(|b| *b == 0), "and what the old file lay in was overwritten");
    }
    // What a cut left of an old file goes too.
    let leftover = site.state.vault().with_extension("redb.old");
    std::fs::write(&leftover, &*gone.0).expect("written");
    assert_eq!(site.vault().subjects().expect("reads"), BTreeSet::from([kept]));
    assert!(!leftover.exists());
}

#[test]
fn a_file_that_is_made_after_a_rekeying_is_under_both_keys() {
    let site = site();
    enrol(&site.vault(), &purpose("missing-person:1"), &[embedding(0)]);
    site.vault().rekey(&site.state, &site.key, None, NOW).expect("re-keyed");
    let subject = SubjectId::random().expect("random");
    Identities::open(&site.state, &site.key).expect("made").put([(&subject, "Li Si")]).expect("written");
    let kept = site.state.gallery_key().with_extension("kept");
    std::fs::rename(site.state.gallery_key(), &kept).expect("moved");
    assert!(Identities::open(&site.state, &site.key).is_err(), "the site's key alone does not open it");
    std::fs::rename(kept, site.state.gallery_key()).expect("moved back");
    let names = Identities::open(&site.state, &site.key).expect("opens");
    assert_eq!((names.name(&subject).expect("opens").as_deref(), names.is_under_site_key().expect("reads")), (Some("Li Si"), false));
    // A vault that is made anew beside the key as well.
    std::fs::remove_file(site.state.vault()).expect("removed");
    std::fs::remove_dir_all(site.state.shards()).expect("removed");
    drop(site.vault());
    std::fs::remove_file(site.state.gallery_key()).expect("removed");
    assert!(Vault::open(&site.state, &site.key).is_err());
}

#[test]
fn what_is_over_leaves_the_shard_too_and_so_does_a_purpose_that_has_nobody() {
    let site = site();
    let (vault, p) = (site.vault(), purpose("missing-person:1"));
    enrol_until(&vault, &p, &[embedding(0)], Stamp::from_ns(1_500));
    vault.refresh_shards(NOW).expect("made");
    let [path] = &shards(&site)[..] else { panic!("one shard") };
    let before = std::fs::read(path).expect("read");
    vault.purge_over(&Register::default(), Stamp::from_ns(1_600)).expect("purged");
    let after = std::fs::read(path).expect("read");
    assert_eq!(before.len(), after.len(), "in place");
    assert!(after[after.len() - 700..].iter().all(|b| *b == 0), "what was sealed is zero");
    vault.refresh_shards(NOW).expect("swept");
    assert!(shards(&site).is_empty());
}
