//! The vault, its file, and what happens to rows that somebody moved.

use super::super::identities::Identities;
use super::super::purge::purge;
use super::super::set::GallerySet;
use super::*;
use crate::clock::{Clock, Now, SimulatedClock};
use crate::policy::facts::Register;

struct Site {
    _directory: tempfile::TempDir,
    state: StateDirectory,
    key: SiteKey,
}

fn site() -> Site {
    let directory = tempfile::tempdir().expect("temporary directory");
    let state = StateDirectory::new(directory.path());
    let key = SiteKey::load_or_create(&state).expect("key");
    Site { _directory: directory, state, key }
}

impl Site {
    fn vault(&self) -> Vault {
        Vault::open(&self.state, &self.key).expect("opens")
    }
}

fn model() -> TemplateModel {
    TemplateModel { name: "test".into(), sha256: "aa".into(), dim: 4 }
}

fn purpose(text: &str) -> Purpose {
    text.parse().expect("purpose")
}

const NOW: Stamp<Utc> = Stamp::from_ns(1_000);
const END: Stamp<Utc> = Stamp::from_ns(2_000);

fn embedding(axis: usize) -> Embedding {
    let mut values = [0.0; 4];
    values[axis] = 2.0;
    Embedding::normalised(&mut values).expect("unit")
}

fn enrol(vault: &Vault, purpose: &Purpose, templates: &[Embedding]) -> SubjectId {
    enrol_until(vault, purpose, templates, END)
}

fn enrol_until(vault: &Vault, purpose: &Purpose, templates: &[Embedding], expires_at: Stamp<Utc>) -> SubjectId {
    let subject = SubjectId::random().expect("random");
    let new = NewSubject {
        subject: subject.clone(),
        purpose,
        model: &model(),
        templates: templates.iter().collect(),
        channel: Channel::ImageFile,
        consent: None,
        source: None,
        zones: &["hall"],
        enrolled_at: NOW,
        expires_at,
    };
    vault.enrol(&[new]).expect("enrolled");
    subject
}

#[test]
fn what_was_enrolled_is_there_after_reopening_and_plain_nowhere_in_the_file() {
    let site = site();
    let p = purpose("missing-person:1");
    let odd = Embedding::normalised(&mut [0.123_456_79, -0.3, 0.77, 0.5]).expect("unit");
    let pattern: Vec<u8> = odd.as_slice().iter().flat_map(|v| v.to_le_bytes()).collect();
    let subject = enrol(&site.vault(), &p, std::slice::from_ref(&odd));
    let vault = site.vault();
    let loaded = vault.load_purpose(&p, &model(), NOW).expect("loads");
    assert_eq!((loaded.version, loaded.templates.len(), loaded.damaged.len()), (1, 1, 0));
    assert_eq!(loaded.templates[0].subject, subject);
    assert_eq!(*loaded.templates[0].values, odd.as_slice());
    let list = vault.list(None).expect("lists");
    assert_eq!((list.len(), list[0].templates, list[0].enrolled_at, list[0].expires_at), (1, 1, NOW, END));
    assert_eq!(vault.load_purpose(&purpose("missing-person:2"), &model(), NOW).expect("loads").templates.len(), 0);
    drop(vault);
    let bytes = std::fs::read(site.state.vault()).expect("readable");
    assert!(!bytes.windows(8).any(|w| w == &pattern[..8]), "template bytes lie plain in the file");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(site.state.vault()).expect("exists").permissions().mode() & 0o777, 0o600);
}

#[test]
fn other_models_and_expired_templates_are_left_out() {
    let site = site();
    let (vault, p) = (site.vault(), purpose("missing-person:1"));
    enrol(&vault, &p, &[embedding(0), embedding(1)]);
    let other = TemplateModel { sha256: "bb".into(), ..model() };
    let loaded = vault.load_purpose(&p, &other, NOW).expect("loads");
    assert_eq!((loaded.templates.len(), loaded.other_model), (0, 2));
    let loaded = vault.load_purpose(&p, &model(), END).expect("loads");
    assert_eq!((loaded.templates.len(), loaded.expired), (0, 2));
    assert!(vault.purge_over(&Register::default(), NOW).expect("purges").is_empty());
    assert_eq!(vault.purge_over(&Register::default(), END).expect("purges").len(), 1);
    assert!(vault.subjects().expect("reads").is_empty() && vault.list(None).expect("lists").is_empty());
}

#[test]
fn what_has_expired_is_erased_with_its_key_and_name() {
    let site = site();
    let (vault, p) = (site.vault(), purpose("missing-person:1"));
    let subject = enrol(&vault, &p, &[embedding(0)]);
    let identities = || Identities::open(&site.state, &site.key).expect("opens");
    identities().put([(&subject, "somebody")]).expect("written");
    let at = |utc: Stamp<Utc>| Now { monotonic: Stamp::from_ns(utc.ns()), utc };
    assert_eq!(purge(&vault, &Register::default(), &site.state, &site.key, at(NOW)).expect("purges"), 0);
    assert_eq!(identities().name(&subject).expect("reads").as_deref(), Some("somebody"));
    assert_eq!(purge(&vault, &Register::default(), &site.state, &site.key, at(END)).expect("purges"), 1);
    assert!(vault.subjects().expect("reads").is_empty() && identities().name(&subject).expect("reads").is_none());
}

#[test]
fn a_clock_that_leapt_ahead_erases_nobody_and_finds_nobody_either() {
    let site = site();
    let (vault, p) = (site.vault(), purpose("missing-person:1"));
    let clock = SimulatedClock::starting_at(Stamp::from_ns(1_795_292_218_000_000_000));
    let end = clock.utc().plus(Duration::from_secs(30 * 86_400));
    let subject = enrol_until(&vault, &p, &[embedding(0)], end);
    assert_eq!(purge(&vault, &Register::default(), &site.state, &site.key, clock.now()).expect("purges"), 0);
    let right = clock.utc();
    clock.set_utc(end.plus(Duration::from_secs(86_400)));
    let error = purge(&vault, &Register::default(), &site.state, &site.key, clock.now()).expect_err("leapt").to_string();
    assert!(error.contains("days later than can be explained"), "{error}");
    assert!(vault.subjects().expect("reads").contains(&subject), "still there");
    let loaded = vault.load_purpose(&p, &model(), clock.utc()).expect("loads");
    assert_eq!((loaded.templates.len(), loaded.expired), (0, 1), "but not searched");
    clock.set_utc(right);
    assert_eq!(vault.load_purpose(&p, &model(), clock.utc()).expect("loads").templates.len(), 1, "found again");
    clock.advance(Duration::from_secs(31 * 86_400));
    assert_eq!(purge(&vault, &Register::default(), &site.state, &site.key, clock.now()).expect("purges"), 1, "time that has really passed");
}

/// Changes a stored record behind the vault's back: `edit` gets the header's text.
fn tamper(site: &Site, from: (&Purpose, &SubjectId), to: (&Purpose, &SubjectId), edit: impl Fn(String) -> String) {
    let database = Database::open(site.state.vault()).expect("opens");
    let write = database.begin_write().expect("begins");
    {
        let mut table = write.open_table(TEMPLATES).expect("table");
        let (from_purpose, to_purpose) = (from.0.to_string(), to.0.to_string());
        let record = table.remove((from_purpose.as_str(), &*from.1.0, 0)).expect("removes").expect("is there").value().to_vec();
        let length = usize::from(u16::from_le_bytes([record[0], record[1]]));
        let header = edit(String::from_utf8(record[2..2 + length].to_vec()).expect("JSON"));
        let mut forged = u16::try_from(header.len()).expect("short").to_le_bytes().to_vec();
        forged.extend_from_slice(header.as_bytes());
        forged.extend_from_slice(&record[2 + length..]);
        table.insert((to_purpose.as_str(), &*to.1.0, 0), forged.as_slice()).expect("inserts");
    }
    write.commit().expect("commits");
}

#[test]
fn a_row_that_was_retagged_does_not_open() {
    let (p, q) = (purpose("missing-person:1"), purpose("crime-prevention:1"));
    let edits: [(&str, &str); 6] = [
        ("missing-person:1", "crime-prevention:1"),
        ("\"expires_at_ns\":2000", "\"expires_at_ns\":9000"),
        ("\"enrolled_at_ns\":1000", "\"enrolled_at_ns\":1001"),
        ("\"zones\":[\"hall\"]", "\"zones\":[\"hall\",\"stairs\"]"),
        ("\"model_sha256\":\"aa\"", "\"model_sha256\":\"ab\""),
        // The same meaning in other bytes is still not what was sealed.
        ("\"dim\":4", "\"dim\": 4"),
    ];
    for (index, (old, new)) in edits.into_iter().enumerate() {
        let site = site();
        let subject = enrol(&site.vault(), &p, &[embedding(0)]);
        let target = if index == 0 { &q } else { &p };
        tamper(&site, (&p, &subject), (target, &subject), |header| {
            assert!(header.contains(old), "{header}");
            header.replace(old, new)
        });
        let vault = site.vault();
        let loaded = vault.load_purpose(target, &model(), NOW).expect("loads");
        assert_eq!((loaded.templates.len(), loaded.damaged), (0, vec![subject]), "{new}");
    }
}

#[test]
fn a_row_moved_to_another_purpose_or_subject_does_not_open() {
    let (p, q) = (purpose("missing-person:1"), purpose("crime-prevention:1"));
    let site = site();
    let a = enrol(&site.vault(), &p, &[embedding(0)]);
    let b = enrol(&site.vault(), &q, &[embedding(1)]);
    tamper(&site, (&p, &a), (&q, &a), |header| header);
    tamper(&site, (&q, &b), (&p, &a), |header| header.replace(&*b.0, &a.0).replace("crime-prevention", "missing-person"));
    let vault = site.vault();
    for purpose in [&p, &q] {
        let loaded = vault.load_purpose(purpose, &model(), NOW).expect("loads");
        assert_eq!((loaded.templates.len(), loaded.damaged), (0, vec![a.clone()]), "{purpose}");
    }
}

#[test]
fn another_site_s_key_opens_nothing() {
    let (here, elsewhere) = (site(), site());
    let p = purpose("missing-person:1");
    enrol(&here.vault(), &p, &[embedding(0)]);
    let vault = Vault::open(&here.state, &elsewhere.key).expect("the file itself opens");
    let loaded = vault.load_rows(&p, &model(), NOW).expect("loads");
    assert_eq!((loaded.templates.len(), loaded.damaged.len()), (0, 1));
    drop(loaded);
    // Nor does it take the witness for its own, or make another.
    let mut vault = vault;
    let closed = vault.load_purpose(&p, &model(), NOW).map(drop).expect_err("closed").to_string();
    assert!(closed.contains("another site's"), "{closed}");
    let weighed = vault.weigh_older(&BTreeSet::new()).expect("weighed");
    assert!(matches!(vault.accept_older(&weighed), Err(VaultError::OtherKey { closed: 1, of: 1, .. })));
    drop(vault);
    assert_eq!(here.vault().load_purpose(&p, &model(), NOW).expect("as before").templates.len(), 1);
}

#[test]
fn deletion_destroys_the_key_first_and_a_row_without_key_is_gone() {
    let site = site();
    let (vault, p) = (site.vault(), purpose("missing-person:1"));
    let (a, b) = (enrol(&vault, &p, &[embedding(0), embedding(2)]), enrol(&vault, &p, &[embedding(1)]));
    // As if the power went between the two commits of a deletion: the key is gone, the rows are left.
    durable_write(&vault.database, &vault.path, |w| Ok(w.open_table(KEYS)?.remove(&*a.0)?.map(drop))).expect("removes");
    let loaded = vault.load_purpose(&p, &model(), NOW).expect("loads");
    assert_eq!((loaded.templates.len(), loaded.damaged.len()), (1, 0));
    assert_eq!(vault.list(Some(&p)).expect("lists").len(), 1);
    assert!(vault.delete(&BTreeSet::from([a.clone()])).expect("deletes"), "the rest of it can still be deleted");
    assert!(!vault.delete(&BTreeSet::from([a])).expect("deletes"), "and then there is nothing left");
    assert!(vault.delete(&BTreeSet::from([b])).expect("deletes"));
    let read = vault.database.begin_read().expect("begins");
    assert_eq!(read.open_table(TEMPLATES).expect("table").iter().expect("rows").count(), 0);
    assert_eq!(vault.version(&p).expect("reads"), 4, "two enrolments, two deletions; one that found nothing changes nothing");
}

#[test]
fn subjects_are_refused_whole() {
    let site = site();
    let (vault, p) = (site.vault(), purpose("missing-person:1"));
    let taken = enrol(&vault, &p, &[embedding(0)]);
    fn new<'a>(subject: &SubjectId, purpose: &'a Purpose, model: &'a TemplateModel, templates: &'a [Embedding]) -> NewSubject<'a> {
        NewSubject {
            subject: subject.clone(),
            purpose,
            model,
            templates: templates.iter().collect(),
            channel: Channel::ImageFile,
            consent: None,
            source: None,
            zones: &["hall"],
            enrolled_at: NOW,
            expires_at: END,
        }
    }
    let (fresh, one, model) = (SubjectId::random().expect("random"), [embedding(0)], model());
    let both = vault.enrol(&[new(&fresh, &p, &model, &one), new(&taken, &p, &model, &one)]);
    assert!(matches!(both, Err(VaultError::SubjectExists { subject }) if subject == taken));
    assert!(matches!(vault.enrol(&[new(&fresh, &p, &model, &one), new(&fresh, &p, &model, &one)]), Err(VaultError::SubjectExists { .. })));
    assert!(matches!(vault.enrol(&[new(&fresh, &p, &model, &[])]), Err(VaultError::TemplateCount { count: 0 })));
    let short = [Embedding::normalised(&mut [1.0; 3]).expect("unit")];
    assert!(matches!(vault.enrol(&[new(&fresh, &p, &model, &short)]), Err(VaultError::Dimension { found: 3, dim: 4, .. })));
    for source in ["", "two\nlines", &"x".repeat(MAX_SOURCE + 1)] {
        let told = NewSubject { source: Some(source), ..new(&fresh, &p, &model, &one) };
        assert!(matches!(vault.enrol(&[told]), Err(VaultError::Source { .. })), "{source}");
    }
    assert_eq!((vault.subjects().expect("reads").len(), vault.version(&p).expect("reads")), (1, 1));
}

#[test]
fn a_second_opener_is_told_to_wait_and_gets_its_turn() {
    let site = site();
    let held = site.vault();
    assert!(matches!(Vault::open(&site.state, &site.key), Err(VaultError::Busy { .. })));
    let stop = Shutdown::new();
    stop.request();
    let refused = Vault::open_patiently(&site.state, &site.key, Duration::from_secs(60), &stop);
    assert!(matches!(refused, Err(VaultError::Busy { .. })), "a shutdown ends the wait");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Vault::open_patiently(&site.state, &site.key, Duration::from_secs(60), &Shutdown::new()).map(drop));
        drop(held);
        assert!(waiting.join().expect("no panic").is_ok());
    });
}

#[test]
fn names_lie_apart_under_another_key() {
    let site = site();
    let (a, b) = (SubjectId::random().expect("random"), SubjectId::random().expect("random"));
    let names = Identities::open(&site.state, &site.key).expect("opens");
    names.put([(&a, "Zhang San"), (&b, "Li Si")]).expect("written");
    assert_eq!(names.name(&a).expect("opens").as_deref(), Some("Zhang San"));
    assert_eq!(names.name(&SubjectId::random().expect("random")).expect("reads"), None);
    names.retain(|subject| *subject == *b.0).expect("swept");
    assert_eq!((names.name(&a).expect("reads"), names.name(&b).expect("reads").is_some()), (None, true));
    drop(names);
    let bytes = std::fs::read(site.state.identities()).expect("readable");
    assert!(!bytes.windows(5).any(|w| w == b"Li Si"));
    let other = self::site();
    let foreign = Identities::open(&site.state, &other.key).expect("opens");
    assert!(foreign.name(&b).is_err(), "another site's key opens no name");
}

#[test]
fn a_set_reloads_what_changed_and_keeps_what_did_not() {
    let site = site();
    let (vault, p, q) = (site.vault(), purpose("missing-person:1"), purpose("crime-prevention:1"));
    enrol(&vault, &p, &[embedding(0)]);
    let set = GallerySet::new(model(), crate::frame::TableId::TESTS);
    assert!(set.for_purpose(&p).is_none());
    assert_eq!(set.reload(&vault, &Register::default(), NOW).expect("reloads").changed, std::slice::from_ref(&p));
    let first = set.for_purpose(&p).expect("loaded");
    assert!(set.for_purpose(&q).is_none());
    assert_eq!(set.reload(&vault, &Register::default(), NOW).expect("reloads").changed, []);
    assert!(std::sync::Arc::ptr_eq(&first, &set.for_purpose(&p).expect("loaded")), "nothing changed, nothing was replaced");
    let subject = enrol(&vault, &q, &[embedding(1)]);
    let done = set.reload(&vault, &Register::default(), NOW).expect("reloads");
    assert_eq!((done.changed, done.templates), (vec![q.clone()], 2));
    assert!(std::sync::Arc::ptr_eq(&first, &set.for_purpose(&p).expect("loaded")));
    assert_eq!(set.for_purpose(&q).expect("loaded").search(embedding(1).as_slice(), 0.9, 1)[0].subject, subject);
    vault.delete(&BTreeSet::from([subject])).expect("deletes");
    set.reload(&vault, &Register::default(), NOW).expect("reloads");
    assert!(set.for_purpose(&q).is_none_or(|s| s.len() == 0));
    assert_eq!(first.len(), 1, "a search under way keeps its scan");
    set.retire_expired(Stamp::from_ns(END.ns() - 1));
    assert_eq!(set.for_purpose(&p).map(|s| s.len()), Some(1));
    set.retire_expired(END);
    assert_eq!(set.for_purpose(&p).map(|s| s.len()), Some(0), "expired while loaded");
}

fn holds(path: &Path, what: &str) -> bool {
    std::fs::read(path).expect("readable").windows(what.len()).any(|w| w == what.as_bytes())
}

#[test]
fn a_file_that_was_written_anew_holds_no_byte_of_who_was_deleted_and_all_of_the_others() {
    let site = site();
    let (vault, p, q) = (site.vault(), purpose("missing-person:1"), purpose("crime-prevention:1"));
    let (gone, kept) = (enrol(&vault, &p, &[embedding(0), embedding(1)]), enrol(&vault, &q, &[embedding(2)]));
    let names = Identities::open(&site.state, &site.key).expect("opens");
    names.put([(&gone, "Zhang San"), (&kept, "Li Si")]).expect("written");
    assert_eq!(vault.traces(&gone).expect("reads"), Traces { key: true, rows: BTreeMap::from([(p.to_string(), 2)]) });
    let own = vault.own_templates(&gone).expect("opens");
    assert_eq!(own.iter().map(|o| o.embedding.as_slice()).collect::<Vec<_>>(), [embedding(0).as_slice(), embedding(1).as_slice()]);
    let versions = |vault: &Vault| vault.purposes().expect("reads");
    vault.delete(&BTreeSet::from([gone.clone()])).expect("deletes");
    assert!(names.remove(&gone).expect("removes") && !names.remove(&gone).expect("removes"));
    let before = versions(&vault);
    let mentioned = |subject: &SubjectId| super::super::is_mentioned(&site.state, subject).expect("readable");
    assert!(mentioned(&gone), "a freed page keeps what was in it");
    vault.rewrite().expect("written");
    names.rewrite().expect("written");
    for path in [site.state.vault(), site.state.identities()] {
        assert!(!holds(&path, &gone.0) && holds(&path, &kept.0), "{}", path.display());
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }
    assert!(mentioned(&kept) && !mentioned(&gone));
    let vault = site.vault();
    assert_eq!((vault.traces(&gone).expect("reads"), versions(&vault)), (Traces::default(), before));
    assert_eq!(vault.load_purpose(&q, &model(), NOW).expect("loads").templates[0].subject, kept);
    let names = Identities::open(&site.state, &site.key).expect("opens");
    assert_eq!((names.name(&gone).expect("reads"), names.name(&kept).expect("reads").as_deref()), (None, Some("Li Si")));
}

#[test]
fn what_a_power_cut_left_of_a_new_file_is_removed_and_a_replaced_file_is_not_written_to() {
    let site = site();
    drop(site.vault());
    let leftover = site.state.vault().with_extension("redb.new");
    std::fs::write(&leftover, "half a database").expect("written");
    let vault = site.vault();
    assert!(!leftover.exists());
    assert!(matches!(Vault::open(&site.state, &site.key), Err(VaultError::Busy { .. })));
    vault.rewrite().expect("written");
    // Whoever waited finds the new file, unlocked.
    enrol(&site.vault(), &purpose("missing-person:1"), &[embedding(0)]);
    assert_eq!(site.vault().subjects().expect("reads").len(), 1);
}

const ORDER_OF_AN_EMERGENCY: &str = r#"
[[order]]
id = "2026-31"
issuer = "City"
zones = ["hall"]
from = 2026-11-20
until = 2026-11-25
approved_by = ["a", "b"]
"#;

#[test]
fn what_was_enrolled_for_an_emergency_goes_with_its_order_whatever_the_clock_says() {
    let utc = |text: &str| text.parse::<crate::policy::when::When>().expect("date").at();
    let (begun, site) = (utc("2026-11-21"), site());
    let p = purpose("emergency:2026-31");
    let mut register: Register = toml::from_str(ORDER_OF_AN_EMERGENCY).expect("a register");
    let clock = SimulatedClock::starting_at(begun);
    let vault = site.vault();
    let far = utc("2026-12-20");
    let enrolled = enrol_until(&vault, &p, &[embedding(0)], far);
    let other = enrol_until(&vault, &purpose("crime-prevention:1"), &[embedding(1)], far);
    let set = GallerySet::new(model(), crate::frame::TableId::TESTS);
    let searched = |register: &Register| set.reload(&vault, register, clock.utc()).expect("reloads").templates;
    assert_eq!((searched(&register), purge(&vault, &register, &site.state, &site.key, clock.now()).expect("purges")), (2, 0));
    // The order is not in the register: not searched, not erased either.
    assert_eq!(searched(&Register::default()), 1);
    assert_eq!(purge(&vault, &Register::default(), &site.state, &site.key, clock.now()).expect("purges"), 0);
    // Ended early, and then somebody sets the clock back to before the order began.
    let ended = r#"ended = { at = 2026-11-22, by = "w.chen" }"#;
    register = toml::from_str(&format!("{ORDER_OF_AN_EMERGENCY}{ended}\n")).expect("a register");
    clock.set_utc(utc("2026-11-19"));
    assert_eq!(searched(&register), 1, "not searched from the next reload on");
    assert_eq!(purge(&vault, &register, &site.state, &site.key, clock.now()).expect("purges"), 1);
    assert!(!vault.traces(&enrolled).expect("reads").any() && vault.traces(&other).expect("reads").key);
    assert!(set.for_purpose(&p).is_none_or(|scan| scan.len() == 0 && !scan.knows(&enrolled.0)), "gone from the shard");
    vault.rewrite().expect("written anew");
    assert!(!crate::gallery::is_mentioned(&site.state, &enrolled).expect("readable"), "and from every page of the files");
    let vault = site.vault();
    let searched = |register: &Register| set.reload(&vault, register, clock.utc()).expect("reloads").templates;
    // An order that ends by itself takes its templates along too, and a clock set back afterwards finds nothing.
    let register: Register = toml::from_str(ORDER_OF_AN_EMERGENCY).expect("a register");
    let enrolled = enrol_until(&vault, &p, &[embedding(0)], far);
    clock.set_utc(begun);
    clock.advance(std::time::Duration::from_secs(4 * 86_400));
    assert_eq!(purge(&vault, &register, &site.state, &site.key, clock.now()).expect("purges"), 1);
    clock.set_utc(begun);
    assert!(!vault.traces(&enrolled).expect("reads").any());
    assert_eq!(searched(&register), 1);
}

#[test]
fn a_withdrawn_consent_ends_the_search_at_the_next_reload_and_erases() {
    let (site, p) = (site(), purpose("missing-person:1"));
    let vault = site.vault();
    let subject = SubjectId::random().expect("random");
    let text = |more: &str| {
        format!(
            "[[consent]]\nid = \"mother\"\nsubject = \"{subject}\"\npurpose = \"missing-person:1\"\nnotice_sha256 = \"{}\"\n\
             method = \"written\"\nseparate = true\ngiven_at = 1970-01-01\nuntil = 2200-01-01\n\
             guardian = {{ reference = \"g\", relation = \"mother\", given_at = 1970-01-01 }}\n{more}",
            "5e1f".repeat(16)
        )
    };
    let register = |more: &str| -> Register { toml::from_str(&text(more)).expect("a register") };
    let (model, template) = (model(), embedding(0));
    let new = NewSubject {
        subject: subject.clone(),
        purpose: &p,
        model: &model,
        templates: vec![&template],
        channel: Channel::ImageFile,
        consent: Some("mother"),
        source: None,
        zones: &["hall"],
        enrolled_at: NOW,
        expires_at: END,
    };
    vault.enrol(&[new]).expect("enrolled");
    assert_eq!(vault.list(Some(&p)).expect("lists")[0].consent.as_deref(), Some("mother"), "where it came from stays known");
    let set = GallerySet::new(model.clone(), crate::frame::TableId::TESTS);
    let given = register("");
    assert_eq!(set.reload(&vault, &given, NOW).expect("reloads").templates, 1);
    // The record disappears, which no vault's version shows.
    assert_eq!(set.reload(&vault, &Register::default(), NOW).expect("reloads").templates, 0);
    assert_eq!(set.reload(&vault, &given, NOW).expect("reloads").templates, 1);
    let withdrawn = register("withdrawn = { at = 1970-01-01, by = \"mother\" }\n");
    let done = set.reload(&vault, &withdrawn, NOW).expect("reloads");
    assert_eq!((done.templates, done.unfounded), (0, 1));
    assert_eq!(set.reload(&vault, &Register::default(), NOW).expect("reloads").templates, 0, "nor where the record is gone");
    let at = Now { utc: NOW, monotonic: Stamp::from_ns(1) };
    assert_eq!(purge(&vault, &Register::default(), &site.state, &site.key, at).expect("purges"), 0);
    assert_eq!(purge(&vault, &withdrawn, &site.state, &site.key, at).expect("purges"), 1);
    assert!(!vault.traces(&subject).expect("reads").any());
}

mod generations;
mod power_cut;
mod shards;
mod swap;
mod zones;

#[test]
fn what_was_enrolled_under_an_authorisation_goes_when_that_is_refused() {
    use crate::policy::facts::Authorisation;
    use crate::policy::refused::testing::{authorisation, refused};
    let utc = |text: &str| text.parse::<crate::policy::when::When>().expect("date").at();
    let (site, clock) = (site(), SimulatedClock::starting_at(utc("2026-11-21")));
    let (case, other_case, vault) = (purpose("crime-prevention:7"), purpose("crime-prevention:8"), site.vault());
    let enrolled = enrol_until(&vault, &case, &[embedding(0)], utc("2026-12-20"));
    let other = enrol_until(&vault, &other_case, &[embedding(1)], utc("2026-12-20"));
    let set = GallerySet::new(model(), crate::frame::TableId::TESTS);
    let searched = |register: &Register| set.reload(&vault, register, clock.utc()).expect("reloads").templates;
    let since_ever = |given: Authorisation| Authorisation { from: "1970-01-01".parse().expect("date"), ..given };
    let mut register = Register { authorisations: vec![since_ever(authorisation("u-1", &case))], ..Register::default() };
    assert_eq!((searched(&register), purge(&vault, &register, &site.state, &site.key, clock.now()).expect("purges")), (2, 0));
    register.authorisations = vec![since_ever(refused("u-1", &case))];
    assert_eq!(searched(&register), 1, "not searched from the next reload on");
    assert_eq!(purge(&vault, &register, &site.state, &site.key, clock.now()).expect("purges"), 1);
    assert!(!vault.traces(&enrolled).expect("reads").any() && vault.traces(&other).expect("reads").key);
    vault.rewrite().expect("written anew");
    assert!(!crate::gallery::is_mentioned(&site.state, &enrolled).expect("readable"), "from every page of the files");
}
