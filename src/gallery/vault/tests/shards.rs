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
fn a_vault_that_was_put_back_does_not_believe_its_later_shard() {
    let site = site();
    let p = purpose("missing-person:1");
    let vault = site.vault();
    let kept = enrol(&vault, &p, &[embedding(0)]);
    drop(vault);
    let backup = std::fs::read(site.state.vault()).expect("read");
    let vault = site.vault();
    enrol(&vault, &p, &[embedding(1)]);
    vault.refresh_shards(NOW).expect("made");
    assert_eq!(loaded(&vault, &p).0.len(), 2);
    drop(vault);
    std::fs::write(site.state.vault(), backup).expect("put back");
    let vault = site.vault();
    // The same version may come again; the mark does not.
    enrol(&vault, &p, &[embedding(2)]);
    let (rows, source) = loaded(&vault, &p);
    assert_eq!((rows.len(), source), (2, Source::Rows));
    assert!(rows.iter().any(|(subject, _)| *subject == kept));
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
