//! The witness of generations: an older vault is noticed whatever else has gone, and a vault with its own witness never is.

use super::super::PutBack;
use super::*;

fn closed(vault: &Vault, p: &Purpose) -> String {
    vault.load_purpose(p, &model(), NOW).map(drop).expect_err("closed").to_string()
}

fn backup(site: &Site) -> Vec<u8> {
    std::fs::read(site.state.vault()).expect("read")
}

fn put_back(site: &Site, backup: &[u8]) {
    std::fs::write(site.state.vault(), backup).expect("put back");
}

#[test]
fn a_vault_from_before_the_first_rekeying_is_noticed_and_taken_under_the_key_in_force() {
    let site = site();
    let p = purpose("missing-person:1");
    let vault = site.vault();
    let (stays, gone) = (enrol(&vault, &p, &[embedding(0)]), enrol(&vault, &p, &[embedding(1)]));
    drop(vault);
    let old = backup(&site);
    site.vault().rekey(&site.state, &site.key, None, NOW).expect("re-keyed");
    assert!(
        matches!(site.vault().load_purpose(&p, &model(), NOW), Ok(loaded) if loaded.templates.len() == 2),
        "and the re-keyed one opens"
    );
    // At once, and after somebody was deleted and somebody came.
    put_back(&site, &old);
    assert!(closed(&site.vault(), &p).contains("of generation 2 for missing-person:1"));
    std::fs::remove_file(site.state.heads()).expect("removed");
    std::fs::remove_dir_all(site.state.shards()).expect("removed");
    let mut vault = site.vault();
    assert!(matches!(vault.in_step(), Err(VaultError::PutBack(PutBack::BeforeRekeying { .. }))), "even without any witness");
    let weighed = vault.weigh_older(&BTreeSet::new()).expect("weighed");
    vault.accept_older(&weighed).expect("taken");
    drop(vault);
    site.vault().delete(&BTreeSet::from([gone.clone()])).expect("deleted");
    let later = enrol(&site.vault(), &p, &[embedding(2)]);
    site.vault().refresh_shards(NOW).expect("made");
    put_back(&site, &old);
    let mut vault = site.vault();
    let weighed = vault.weigh_older(&BTreeSet::new()).expect("weighed");
    assert_eq!(
        (&weighed.deleted, &weighed.lost),
        (&BTreeSet::from([gone.clone()]), &BTreeSet::from([later])),
        "shards are read under the key in force"
    );
    vault.accept_older(&weighed).expect("taken");
    vault.rebuild_shards(NOW).expect("made");
    vault.rewrite().expect("written");
    // Without the gallery's key it opens no more, with it all of it does.
    let vault = site.vault();
    assert_eq!(vault.load_purpose(&p, &model(), NOW).expect("open").templates[0].subject, stays);
    drop(vault);
    assert!(site.vault().check().expect("checked").found.is_empty());
    std::fs::remove_file(site.state.gallery_key()).expect("removed");
    assert!(Vault::open(&site.state, &site.key).is_err(), "it is under both keys again");
}

#[test]
fn an_older_vault_is_noticed_where_the_purpose_s_last_person_and_shard_have_gone() {
    let site = site();
    let (p, other) = (purpose("missing-person:1"), purpose("missing-person:2"));
    let gone = enrol(&site.vault(), &p, &[embedding(0)]);
    let stays = enrol(&site.vault(), &other, &[embedding(1)]);
    site.vault().refresh_shards(NOW).expect("made");
    let old = backup(&site);
    let vault = site.vault();
    vault.delete(&BTreeSet::from([gone.clone()])).expect("deleted");
    vault.refresh_shards(NOW).expect("swept");
    assert_eq!(vault.shards().expect("read").len(), 1, "the other purpose's alone");
    vault.rewrite().expect("written");
    assert!(site.vault().check().expect("checked").found.is_empty(), "the newest is whole");
    put_back(&site, &old);
    let mut vault = site.vault();
    for part in ["is of generation 1 for missing-person:1", "heads of generation 2", "compact --older-vault"] {
        assert!(closed(&vault, &p).contains(part), "{}", closed(&vault, &p));
    }
    assert!(
        vault
            .check()
            .expect("checked")
            .found
            .iter()
            .any(|f| f.damage && f.file == site.state.heads() && f.what.contains("missing-person:1"))
    );
    let never = SubjectId::random().expect("random");
    let weighed = vault.weigh_older(&BTreeSet::from([gone.clone(), stays.clone(), never.clone()])).expect("weighed");
    assert_eq!(
        weighed,
        Accepted { deleted: BTreeSet::from([gone.clone()]), lost: BTreeSet::from([never]) },
        "no shard is needed to know who was deleted"
    );
    vault.accept_older(&weighed).expect("taken");
    assert!(!vault.traces(&gone).expect("reads").any() && vault.subjects().expect("reads") == BTreeSet::from([stays]));
    drop(vault);
    site.vault().in_step().expect("taken for good");
    // Whose end has passed comes back from no vault, so nothing of theirs is kept.
    let digest = site.vault().heads.digest(&gone);
    assert!(site.vault().heads.known().expect("opens").gone.contains_key(&digest));
    site.vault().refresh_shards(END).expect("made");
    assert!(!site.vault().heads.known().expect("opens").gone.contains_key(&digest));
}

#[test]
fn a_witness_that_is_gone_or_damaged_is_told_and_one_damaged_copy_costs_nothing() {
    let site = site();
    let p = purpose("missing-person:1");
    let subject = enrol(&site.vault(), &p, &[embedding(0)]);
    let witness = std::fs::read(site.state.heads()).expect("read");
    let half = witness.len() / 2;
    let mut one = witness.clone();
    one[half + 30] ^= 1;
    std::fs::write(site.state.heads(), &one).expect("written");
    let mut vault = site.vault();
    assert_eq!(vault.load_purpose(&p, &model(), NOW).expect("open").templates.len(), 1);
    let found = vault.check().expect("checked").found;
    assert!(found.len() == 1 && found[0].place == "copy 2", "{found:?}");
    enrol(&vault, &p, &[embedding(1)]);
    assert!(vault.check().expect("checked").found.is_empty(), "the next change made both anew");
    drop(vault);
    let mut both = one;
    both[30] ^= 1;
    let heads = site.state.heads();
    for (what, spoil) in [
        ("does not open", Box::new(|| std::fs::write(&heads, &both).expect("written")) as Box<dyn Fn()>),
        ("is gone", Box::new(|| std::fs::remove_file(&heads).expect("removed"))),
    ] {
        spoil();
        let vault = site.vault();
        assert!(closed(&vault, &p).contains(what), "{}", closed(&vault, &p));
        // Deleting goes on, and does not make it say that this is the newest.
        vault.delete(&BTreeSet::from([subject.clone()])).expect("deleted");
        drop(vault);
        let mut vault = site.vault();
        assert!(closed(&vault, &p).contains(what) && vault.check().expect("checked").damaged());
        let weighed = vault.weigh_older(&BTreeSet::new()).expect("weighed");
        assert_eq!(weighed, Accepted::default());
        vault.accept_older(&weighed).expect("taken");
        drop(vault);
        assert_eq!(site.vault().load_purpose(&p, &model(), NOW).expect("open").templates.len(), 1);
    }
    // A vault of a version without witnesses is given one.
    let vault = site.vault();
    durable_write(&vault.database, &vault.path, |write| Ok(write.delete_table(HEADED).map(drop)?)).expect("written");
    drop(vault);
    std::fs::remove_file(site.state.heads()).expect("removed");
    site.vault().in_step().expect("adopted");
    assert!(site.state.heads().exists());
}

fn try_enrol(vault: &Vault, purpose: &Purpose, zones: &[&str]) -> Result<(), VaultError> {
    let (template, of) = (embedding(0), model());
    vault.enrol(&[NewSubject {
        subject: SubjectId::random().expect("random"),
        purpose,
        model: &of,
        templates: vec![&template],
        channel: Channel::ImageFile,
        consent: None,
        source: None,
        zones,
        enrolled_at: NOW,
        expires_at: END,
    }])
}

#[test]
fn a_purpose_that_is_full_of_zones_refuses_by_name_and_costs_the_others_nothing() {
    let site = site();
    let (full, other) = (purpose("missing-person:full"), purpose("missing-person:other"));
    let vault = site.vault();
    // Names of 100 bytes: 35 of them fit.
    let names: Vec<String> = (0..36).map(|zone| format!("{zone:0100}")).collect();
    for name in &names[..35] {
        try_enrol(&vault, &full, &[name]).expect("there is room");
    }
    let refused = try_enrol(&vault, &full, &[&names[35]]).expect_err("one beyond").to_string();
    for part in ["missing-person:full is full of zones", "36 zones", "3672 bytes", "--zone", "Nobody was enrolled"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(vault.has_room(&full, &model(), &[&names[35]]).is_err() && vault.has_room(&full, &model(), &[&names[3]]).is_ok());
    assert!(vault.has_room(&full, &TemplateModel { name: "m".repeat(127).into(), ..model() }, &["hall"]).is_err());
    try_enrol(&vault, &other, &[&names[35]]).expect("another purpose has its own");
    // 63 zones and no more, whoever names them.
    for zone in 0..62 {
        try_enrol(&vault, &other, &[&zone.to_string()]).expect("there is room");
    }
    assert!(matches!(try_enrol(&vault, &other, &["one", "more"]), Err(VaultError::PurposeZones { count: 65, .. })));
    // Who leaves makes room.
    let first =
        vault.list(Some(&full)).expect("lists").into_iter().find(|e| e.zones.as_deref() == Some(&names[..1])).expect("there").subject;
    vault.delete(&BTreeSet::from([first])).expect("deleted");
    try_enrol(&vault, &full, &[&names[35]]).expect("room again");
    assert_eq!(vault.refresh_shards(NOW).expect("made"), 2);
    // A vault from before this was refused: its shard cannot be made, the others are.
    durable_write(&vault.database, &vault.path, |write| {
        let rows: Vec<((String, String), Vec<u8>)> = write
            .open_table(TEMPLATES)?
            .range((full.to_string().as_str(), "", 0)..=(full.to_string().as_str(), AFTER_ALL_SUBJECTS, 0))?
            .map(|row| row.map(|(key, record)| ((key.value().0.to_owned(), key.value().1.to_owned()), record.value().to_vec())))
            .collect::<Result<_, _>>()?;
        for ((p, subject), record) in rows {
            let key = super::super::KEYS;
            let wrapped = write.open_table(key)?.get(subject.as_str())?.expect("there").value().to_vec();
            let sealing = vault.unwrap(&subject, &wrapped).expect("opens");
            let read = Record::read(&record).expect("reads");
            let values = read.open(&sealing).expect("opens");
            let longer = read.header.zones.iter().flatten().map(|zone| format!("{zone}, by a longer name")).collect();
            let header = Header { zones: Some(longer), ..read.header };
            let record = header.seal(&sealing, &values).expect("sealed");
            write.open_table(TEMPLATES)?.insert((p.as_str(), subject.as_str(), 0), record.as_slice())?;
        }
        let mark = random_mark().expect("random");
        [&full, &other].iter().try_for_each(|p| set_version(write, &p.to_string(), 200, &mark))
    })
    .expect("written");
    drop(vault);
    let vault = site.vault();
    assert_eq!(vault.refresh_shards(NOW).expect("the others are made"), 1);
    assert_eq!(vault.load_purpose(&full, &model(), NOW).expect("read from the vault").templates.len(), 35);
    assert_eq!(vault.rebuild_shards(NOW).expect("the others are made"), 1);
}
