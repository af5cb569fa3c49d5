//! Who is seen from where, from enrolment to search: in the vault, in shards, and under permits.

use super::super::super::record::Header;
use super::super::super::scan::MAX_QUERIES;
use super::*;
use crate::area::Area;
use crate::frame::{StreamIndex, TableId};
use crate::policy::lease::testing::grant;
use crate::policy::lease::{Match, Permit, Place, StreamState};

const PURPOSE: &str = "missing-person:1";

fn enrol_in(vault: &Vault, zones: &[&str], template: &Embedding) -> SubjectId {
    let (subject, p, of) = (SubjectId::random().expect("random"), purpose(PURPOSE), model());
    let new = NewSubject {
        subject: subject.clone(),
        purpose: &p,
        model: &of,
        templates: vec![template],
        channel: Channel::ImageFile,
        consent: None,
        source: None,
        zones,
        enrolled_at: NOW,
        expires_at: END,
    };
    vault.enrol(&[new]).expect("enrolled");
    subject
}

/// As a vault of the first format has it.
fn enrol_of_old(vault: &Vault, template: &Embedding) -> SubjectId {
    let subject = enrol_in(vault, &["hall"], template);
    durable_write(&vault.database, &vault.path, |write| {
        let wrapped = write.open_table(KEYS)?.get(&*subject.0)?.expect("there").value().to_vec();
        let header = Header {
            format: 1,
            subject: subject.clone(),
            purpose: purpose(PURPOSE),
            ordinal: 0,
            model: "test".into(),
            model_sha256: "aa".into(),
            dim: 4,
            enrolled_at_ns: NOW.ns(),
            expires_at_ns: END.ns(),
            channel: Channel::ImageFile,
            consent: None,
            source: None,
            zones: None,
        };
        let record = header.seal(&vault.unwrap(&subject.0, &wrapped).expect("opens"), template.as_slice()).expect("sealed");
        write.open_table(TEMPLATES)?.insert((PURPOSE, &*subject.0, 0), record.as_slice())?;
        Ok(())
    })
    .expect("written");
    subject
}

fn near(number: usize) -> Embedding {
    Embedding::normalised(&mut [1.0, 0.001 * number as f32, 0.002 * (number % 7) as f32, 0.0]).expect("unit")
}

#[test]
fn a_search_from_a_zone_finds_those_who_may_be_looked_for_there_whatever_was_loaded() {
    let site = site();
    let vault = site.vault();
    let sets: [&[&str]; 5] = [&["hall"], &["stairs"], &["hall", "stairs"], &["roof", "hall"], &[]];
    let people: Vec<(SubjectId, &[&str])> =
        (0..60).map(|number| (enrol_in(&vault, sets[number * 7 % 5], &near(number)), sets[number * 7 % 5])).collect();
    let old = enrol_of_old(&vault, &near(60));
    let of_zone = |zones: &[&str]| -> BTreeSet<SubjectId> {
        let seen = people.iter().filter(|(_, own)| zones.iter().all(|zone| own.contains(zone))).map(|(subject, _)| subject.clone());
        // The old one is looked for wherever its purpose is granted.
        seen.chain([old.clone()]).collect()
    };
    let mut granted = grant(StreamState::Recognise, &[PURPOSE], Area::whole(), Stamp::from_ns(0));
    for sharded in [false, true] {
        if sharded {
            vault.refresh_shards(NOW).expect("made");
        }
        let (loaded, source) = vault.load_from(&purpose(PURPOSE), &model(), NOW).expect("loads");
        assert_eq!(source == super::super::Source::Shard, sharded, "{source:?}");
        let zones: Vec<_> = loaded.templates.iter().map(|t| t.zones.clone()).collect();
        assert!(zones.is_sorted() && zones.len() == 61, "slots are sorted by zone");
        let anew = GallerySet::new(model(), TableId::TESTS);
        anew.reload(&vault, &Register::default(), NOW).expect("reloads");
        for zones in [&["hall"][..], &["stairs"], &["roof"], &["hall", "stairs"], &["cellar"]] {
            granted.moved_to(Place::zones(zones.iter().copied()), Stamp::from_ns(0));
            let permits: Vec<Permit<Match>> = granted.table.match_permits(StreamIndex(0), Stamp::from_ns(0)).expect("granted");
            let found = anew.search(&permits[0], &near(3), -1.0, MAX_QUERIES * 2).expect("told").expect("a gallery");
            let found: BTreeSet<SubjectId> = found.candidates.into_iter().map(|c| c.subject).collect();
            assert_eq!(found, of_zone(zones), "from {zones:?}");
        }
        granted.moved_to(Place::nowhere(), Stamp::from_ns(0));
        let permits = granted.table.match_permits(StreamIndex(0), Stamp::from_ns(0)).expect("granted");
        assert!(anew.search(&permits[0], &near(3), -1.0, 99).expect("told").expect("a gallery").candidates.is_empty());
        let scan = anew.for_purpose(&purpose(PURPOSE)).expect("loaded");
        assert_eq!(scan.search(near(3).as_slice(), -1.0, 99).len(), 61, "a desk sees all");
        let roof = people.iter().find(|(_, own)| own.contains(&"roof")).expect("somebody").0.clone();
        assert!(scan.compare(&Place::zones(["roof"]), &roof.0, near(3).as_slice()).is_some());
        assert!(scan.compare(&Place::zones(["stairs"]), &roof.0, near(3).as_slice()).is_none(), "nor is a claim compared elsewhere");
    }
    let checked = site_checked(vault, &site);
    assert!(checked.found.is_empty(), "{:?}", checked.found);
}

fn site_checked(vault: Vault, site: &Site) -> Checked {
    drop(vault);
    site.vault().check().expect("checked")
}

#[test]
fn more_zones_than_are_told_apart_are_refused_and_a_shard_of_the_first_format_is_named_and_made_anew() {
    let site = site();
    let vault = site.vault();
    let names: Vec<String> = (0..64).map(|zone| format!("zone-{zone}")).collect();
    let zones: Vec<&str> = names.iter().map(String::as_str).collect();
    let (p, of, template) = (purpose(PURPOSE), model(), embedding(0));
    let new = NewSubject {
        subject: SubjectId::random().expect("random"),
        purpose: &p,
        model: &of,
        templates: vec![&template],
        channel: Channel::ImageFile,
        consent: None,
        source: None,
        zones: &zones,
        enrolled_at: NOW,
        expires_at: END,
    };
    assert!(matches!(vault.enrol(&[new]), Err(VaultError::Zones { count: 64 })));
    enrol_in(&vault, &["hall"], &template);
    vault.refresh_shards(NOW).expect("made");
    let path = std::fs::read_dir(site.state.shards()).expect("there").next().expect("one").expect("entry").path();
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[8] = 1;
    std::fs::write(&path, bytes).expect("written");
    drop(vault);
    let mut vault = site.vault();
    let found = vault.check().expect("checked").found;
    assert!(found.iter().any(|f| f.what.contains("its format is 1") && f.what.contains("compact")), "{found:?}");
    assert_eq!(vault.load_purpose(&p, &of, NOW).expect("loads").templates.len(), 1, "the vault is read instead");
    assert_eq!(vault.refresh_shards(NOW).expect("made anew"), 1);
}
