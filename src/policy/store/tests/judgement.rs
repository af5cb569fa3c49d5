//! What a recorded stop holds back follows from what was recorded, and from no later program's judgement.

use std::os::unix::fs::PermissionsExt as _;

use super::super::fold::Judged;
use super::lighting::{apart, withdrawal};
use super::*;
use crate::policy::store::change::json;

/// A register that was written before judgements were recorded: everything, a stop by nobody, which pauses `north`, and one by two approvers,
/// which pauses nothing. One change a line, as the file has them.
const EARLIER: &str = include_str!("earlier/changes.jsonl");
/// What they add up to.
const ADDS_UP_TO: &str = include_str!("earlier/register.toml");

/// A state directory whose site key everybody knows, and the identity that follows from it.
fn known_site() -> (tempfile::TempDir, PathBuf, SiteIdentity) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let key = StateDirectory::new(directory.path()).site_key();
    std::fs::create_dir_all(key.parent().expect("a directory")).expect("made");
    std::fs::write(&key, "5a".repeat(32)).expect("written");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("private");
    let path = directory.path().join("register.redb");
    let site = identity(&path).expect("a key");
    (directory, path, site)
}

/// Puts `changes` into a new file, with what `chain` says that they add up to.
fn put(path: &Path, changes: &[Vec<u8>], chain: &Chain) {
    let ledger = Ledger::open(path, true, PATIENCE).expect("made");
    let register = chain.register().to_toml();
    for (seq, change) in (0..).zip(changes) {
        let entry = Entry { change: Some((seq, change, &register, chain.head())), ..Entry::default() };
        ledger.write(&entry).expect("written");
    }
}

/// The lawful register, after which a sign's withdrawal pauses `north`, and the withdrawal, as `judgement` alters what is recorded with it.
fn stopped(judgement: impl FnOnce(&mut Judgement, &SiteIdentity, &dyn Fn(&Judgement) -> Vec<u8>)) -> (Chain, SiteIdentity, Vec<u8>) {
    let (desk, mut store) = Desk::operational();
    let wish = proposal(&store, |r| *r = Register { people: r.people.clone(), ..apart() });
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    store.submit(wish, both, now()).expect("in force");
    let before = store.chain().clone();
    let stop = proposal(&store, |r| r.signs[0].withdrawn = Some(withdrawal()));
    let digest = stop.digest();
    store.submit(stop, Vec::new(), now()).expect("in force");
    drop(store);
    let recorded = ledger::read(&desk.path()).expect("readable").changes.pop().expect("the stop");
    let mut change: Change = serde_json::from_slice(&recorded).expect("a change");
    let site = identity(&desk.path()).expect("a key");
    let (seq, head) = (change.seq, change.before);
    let Event::Changed { judged: Some(judged), .. } = &mut change.event else { panic!("judged: {change:?}") };
    assert_eq!((judged.version, judged.opens, &*judged.held), (JUDGEMENT, false, &["north".to_owned()][..]));
    judgement(judged, &site, &|judged| judged.message(seq, &head, &digest));
    (before, site, json(&change))
}

fn paused(chain: &Chain) -> Vec<&str> {
    let unsettled = chain.register().objections.iter().filter(|o| o.settled.is_none());
    unsettled.filter_map(|o| o.stream.as_deref()).collect()
}

#[test]
fn a_register_that_was_written_before_judgements_were_recorded_says_what_it_said() {
    let (_directory, path, site) = known_site();
    let changes: Vec<Vec<u8>> = EARLIER.lines().map(|line| line.as_bytes().to_vec()).collect();
    assert!(changes.len() == 4 && !EARLIER.contains("judged"), "of the earlier form");
    let mut chain = Chain::new(&site);
    let held: Vec<usize> = changes
        .iter()
        .map(|change| {
            chain.follow(&site, change).expect("believed");
            paused(&chain).len()
        })
        .collect();
    assert_eq!(held, [0, 0, 1, 1]);
    assert_eq!(chain.register().to_toml(), ADDS_UP_TO);
    put(&path, &changes, &chain);
    let mut store = Store::open(&path).expect("believed as a whole");
    // It goes on, and from here on says what was judged.
    let objection =
        Objection { id: "o-1".to_owned(), stream: Some("north".to_owned()), purpose: None, at: when("2026-11-21"), settled: None };
    let stop = proposal(&store, |r| r.objections.push(objection));
    assert!(store.submit(stop, Vec::new(), now()).expect("in force").in_force());
    drop(store);
    let last = ledger::read(&path).expect("readable").changes.pop().expect("one");
    assert!(String::from_utf8_lossy(&last).contains(r#""judged":{"version":1,"opens":false,"held":[]"#));
    assert_eq!(Register::load(&path).expect("believed").objections.len(), 2);
}

/// The withdrawal with another judgement under the site's own signature.
fn judged_otherwise(held: &[&str], opens: bool, version: u32) -> (Chain, SiteIdentity, Vec<u8>) {
    stopped(|judged, site, message| {
        judged.held = held.iter().map(|s| (*s).to_owned()).collect();
        (judged.opens, judged.version) = (opens, version);
        judged.signature = site.sign(&message(judged));
    })
}

#[test]
fn a_program_that_judges_otherwise_reads_what_an_old_stop_held_and_no_more() {
    for held in [&[][..], &["north", "south"], &["north"]] {
        let (chain, site, change) = judged_otherwise(held, false, JUDGEMENT);
        let mut later = chain.judging_by(JUDGEMENT + 1);
        later.follow(&site, &change).expect("believed as it was written");
        assert_eq!(paused(&later), held);
        assert!(later.register().signs[0].withdrawn.is_some(), "the stop itself holds in any case");
    }
}

/// The site's key is the service's: without this it would light alone what takes two people.
#[test]
fn what_was_judged_by_the_rules_of_this_program_must_be_what_they_say() {
    let others: [(&[&str], bool); 4] = [(&[], false), (&["north", "south"], false), (&["south"], false), (&["north"], true)];
    for (held, opens) in others {
        let (mut chain, site, change) = judged_otherwise(held, opens, JUDGEMENT);
        assert_eq!(chain.follow(&site, &change), Err(Disbelief::Judgement), "{held:?}, {opens}");
    }
    let (mut chain, site, change) = judged_otherwise(&["north"], false, JUDGEMENT);
    assert!(chain.follow(&site, &change).is_ok(), "as it was recorded");
    for version in [0, JUDGEMENT + 1, u32::MAX] {
        let (mut chain, site, change) = judged_otherwise(&["north"], false, version);
        assert_eq!(chain.follow(&site, &change), Err(Disbelief::Judgement), "rules {version}, which nobody here knows");
    }
}

/// Else a change that is added later could be said to have been judged by rules that saw less.
#[test]
fn nothing_is_judged_by_earlier_rules_than_what_was_before_it() {
    let (chain, site, change) = judged_otherwise(&["north"], false, JUDGEMENT + 1);
    let mut later = chain.clone().judging_by(JUDGEMENT + 1);
    later.follow(&site, &change).expect("its own rules");
    let objection =
        Objection { id: "o-1".to_owned(), stream: Some("south".to_owned()), purpose: None, at: when("2026-11-21"), settled: None };
    let mut next: Change = serde_json::from_slice(&change).expect("a change");
    (next.seq, next.before) = (later.length(), later.head());
    let Event::Changed { proposal, .. } = &mut next.event else { panic!("no change") };
    let after = Register { objections: [&later.register().objections[..], &[objection]].concat(), ..later.register().clone() };
    proposal.edits = difference(later.register(), &after);
    let mut follows = |version| {
        let mut judgement = Judgement { version, ..Judgement::default() };
        let Event::Changed { proposal, judged, .. } = &mut next.event else { unreachable!() };
        judgement.signature = site.sign(&judgement.message(next.seq, &next.before, &proposal.digest()));
        *judged = Some(judgement);
        later.clone().follow(&site, &json(&next)).map(|_| ())
    };
    assert_eq!(follows(JUDGEMENT), Err(Disbelief::Judgement));
    assert_eq!(follows(JUDGEMENT + 1), Ok(()));
}

#[test]
fn a_narrowing_is_read_as_it_was_judged_too() {
    let (desk, mut store) = Desk::operational();
    let wish = proposal(&store, |r| *r = Register { people: r.people.clone(), ..apart() });
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    store.submit(wish, both, now()).expect("in force");
    let narrowed = proposal(&store, |r| drop(r.purposes.remove(0)));
    let chain = store.chain().clone();
    let needed = |opens| {
        let judged = Judgement { version: 1, opens, ..Judgement::default() };
        let applied = narrowed.apply_to(chain.register(), Judged::Then(&judged)).expect("applies");
        applied.needs
    };
    assert_eq!(chain.would_be(&narrowed).expect("applies").needs, Needs::ApproversForWhatItOpens, "as it is judged today");
    assert_eq!(needed(false), Needs::Nobody, "where it was recorded that nothing opens");
    assert_eq!(needed(true), Needs::ApproversForWhatItOpens);
    // What widens is no judgement: two sign, whatever is recorded with it.
    let wider = proposal(&store, |r| r.purposes[0].review_on = Some(when("2028-01-01")));
    let judged = Judgement::default();
    assert_eq!(wider.apply_to(chain.register(), Judged::Then(&judged)).expect("applies").needs, Needs::TwoApprovers);
}

#[test]
fn whoever_has_not_the_sites_key_does_not_say_what_a_stop_lights() {
    let (mut chain, site, change) = stopped(|judged, _, _| judged.held.clear());
    assert_eq!(chain.follow(&site, &change), Err(Disbelief::Judgement));
    let (mut chain, site, change) = stopped(|judged, _, message| {
        judged.held.clear();
        judged.signature = PersonKey::generate().expect("made").sign(&message(judged));
    });
    assert_eq!(chain.follow(&site, &change), Err(Disbelief::Judgement));
    // Of another place in the file.
    let (mut chain, site, change) = stopped(|judged, site, _| {
        judged.signature = site.sign(&judged.message(7, &Digest::default(), &Digest::default()));
    });
    assert_eq!(chain.follow(&site, &change), Err(Disbelief::Judgement));
    assert!(paused(&chain).is_empty() && chain.register().signs[0].withdrawn.is_none(), "nothing of it was taken");
}

#[test]
fn a_stop_with_signatures_that_do_not_count_is_in_force_unconfirmed_and_says_who_tried() {
    let (desk, mut store) = Desk::operational();
    let wish = proposal(&store, |r| *r = Register { people: r.people.clone(), ..apart() });
    let both = vec![desk.sign(&store, "a", &wish), desk.sign(&store, "b", &wish)];
    store.submit(wish, both, now()).expect("in force");
    let stop = proposal(&store, |r| r.signs[0].withdrawn = Some(withdrawal()));
    let by_a = desk.sign(&store, "a", &stop);
    let forged = Approval { person: "b".to_owned(), ..by_a.clone() };
    let stranger = Approval { person: "x".to_owned(), ..by_a.clone() };
    let approvals = vec![by_a.clone(), forged, stranger, by_a, desk.sign(&store, "o", &stop)];
    let outcome = store.submit(stop, approvals.clone(), now()).expect("a stop is never refused for a signature");
    let Outcome::InForce { held, tried, seq, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(held.len(), 1, "one approver and four who do not count have confirmed nothing");
    assert_eq!(tried.iter().map(|t| &*t.person).collect::<Vec<_>>(), ["b", "x", "a", "o"], "{tried:?}");
    assert!(tried[0].why.contains("not theirs") && tried[2].why.contains("twice"), "{tried:?}");
    drop(store);
    // On record: in the change, which whoever reads it believes.
    let changes = ledger::read(&desk.path()).expect("readable").changes;
    let change: Change = serde_json::from_slice(&changes[usize::try_from(seq).expect("small")]).expect("a change");
    assert!(matches!(change.event, Event::Changed { approvals: kept, .. } if kept == approvals));
    let mut store = Store::open(&desk.path()).expect("believed");
    assert!(store.register().signs[0].withdrawn.is_some() && !store.register().objections.is_empty());
    // As many as anybody hands in are not kept for ever, and hinder nothing.
    let another = proposal(&store, |r| r.signs[1].withdrawn = Some(withdrawal()));
    let forged = Approval { person: "b".to_owned(), ..desk.sign(&store, "a", &another) };
    let outcome = store.submit(another, vec![forged; 100], now()).expect("in force");
    assert!(matches!(outcome, Outcome::InForce { tried, .. } if tried.len() == MOST_SIGNATURES));
    // A narrowing likewise; what widens, or takes two, is refused as ever.
    let narrower = proposal(&store, |r| r.rules.sign_inspect_max_days = 7);
    let forged = Approval { person: "b".to_owned(), ..desk.sign(&store, "a", &narrower) };
    let outcome = store.submit(narrower, vec![forged], now());
    assert!(!matches!(outcome, Ok(ref o) if o.in_force()), "it could light something, so it takes two: {outcome:?}");
    let earlier = proposal(&store, |r| r.purposes[0].review_on = Some(when("2026-11-30")));
    let forged = Approval { person: "b".to_owned(), ..desk.sign(&store, "a", &earlier) };
    let outcome = store.submit(earlier, vec![forged], now());
    assert!(matches!(&outcome, Err(StoreError::Refused(_)) | Ok(Outcome::InForce { .. })), "{outcome:?}");
    let longer = proposal(&store, |r| r.purposes[0].review_on = Some(when("2028-01-01")));
    let forged = Approval { person: "b".to_owned(), ..desk.sign(&store, "a", &longer) };
    assert_eq!(refusal(store.submit(longer, vec![forged], now())), Disbelief::BadSignature("b".to_owned()));
}
