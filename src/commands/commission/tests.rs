//! Sites from files: made, made again, made anew, and what no file undoes.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::policy::facts::testing::GOOD;
use crate::policy::facts::{Posting, Withdrawal, ZoneKind};
use crate::policy::lease::StreamState;
use crate::policy::rules::Rule;
use crate::policy::store::{Approval, PersonKey, Store};
use crate::policy::when::When;
use crate::policy::worker::{record_posting, record_withdrawal};

const SITE: &str = "[site]\nname = \"east\"\nmode = \"demo\"\ncontroller = \"Transit\"\ncontact = \"12345\"\n";

struct Desk {
    directory: tempfile::TempDir,
    state: StateDirectory,
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let state = StateDirectory::new(directory.path().join("state"));
        Self { directory, state }
    }
    fn commission(&self, text: &str, force: bool) -> Result<Commissioned, Failed> {
        let file = self.directory.path().join("site.toml");
        std::fs::write(&file, text).expect("write");
        let now = "2026-11-21T12:00:00Z".parse::<When>().expect("date").at();
        commission(&self.state, &file, force, now)
    }
    fn mode(&self, path: &str) -> u32 {
        std::fs::metadata(self.state.root().join(path)).expect("exists").permissions().mode() & 0o777
    }
}

#[test]
fn a_site_is_made_whole_and_again_is_no_change() {
    let desk = Desk::new();
    let text = format!("{SITE}{GOOD}");
    let done = desk.commission(&text, false).expect("commissions");
    assert!(done.changed && done.key_made && done.models.is_empty());
    assert_eq!(done.streams[0].1.state, StreamState::Recognise, "{}", done.streams[0].1.reason);
    assert_eq!((desk.mode("keys"), desk.mode("keys/site.key"), desk.mode("gallery")), (0o700, 0o600, 0o700));
    assert_eq!(Site::load(&desk.state.site()).expect("site"), done.site);
    let key = std::fs::read(desk.state.site_key()).expect("key");
    let again = desk.commission(&format!("# the same\n{text}"), false).expect("idempotent");
    assert!(!again.changed && !again.key_made);
    // As if power had failed before the last step.
    std::fs::remove_file(desk.state.site()).expect("remove");
    assert!(desk.commission(&text, false).expect("finishes").changed);
    assert_eq!(std::fs::read(desk.state.site_key()).expect("key"), key);
}

#[test]
fn another_site_is_not_overwritten_without_force_and_withdrawn_signs_stay_withdrawn() {
    let desk = Desk::new();
    let text = format!("{SITE}{GOOD}");
    desk.commission(&text, false).expect("commissions");
    let key = std::fs::read(desk.state.site_key()).expect("key");
    let withdrawal = Withdrawal { at: "2026-11-21".parse().expect("date"), by: "l.wu".to_owned(), reason: String::new() };
    assert!(record_withdrawal(&desk.state.register(), "hall-1", &withdrawal).expect("recorded").is_ok());
    let other = text.replace("name = \"east\"", "name = \"west\"");
    let refused = desk.commission(&other, false).err().expect("refused");
    assert_eq!(refused.exit, Exit::Refused);
    assert_eq!(Site::load(&desk.state.site()).expect("site").name, "east");
    let done = desk.commission(&other, true).expect("forced");
    assert_eq!(done.kept_withdrawn, ["hall-1"]);
    assert_eq!(done.streams[0].1.state, StreamState::Off);
    assert!(Register::load(&desk.state.register()).expect("register").signs[0].withdrawn.is_some());
    assert_eq!(std::fs::read(desk.state.site_key()).expect("key"), key);
}

#[test]
fn a_register_that_cannot_be_read_is_not_replaced_even_by_force() {
    let desk = Desk::new();
    let text = format!("{SITE}{GOOD}");
    desk.commission(&text, false).expect("commissions");
    let at: When = "2026-11-21".parse().expect("date");
    let withdrawal = Withdrawal { at, by: "l.wu".to_owned(), reason: String::new() };
    assert!(record_withdrawal(&desk.state.register(), "hall-1", &withdrawal).expect("recorded").is_ok());
    let mut damaged = std::fs::read(desk.state.register()).expect("bytes");
    let places: Vec<usize> = (0..damaged.len() - 8).filter(|i| damaged[*i..].starts_with(b"position")).collect();
    assert!(places.len() >= 2, "in the change, and in the register beside it");
    places.iter().for_each(|i| damaged[*i..*i + 8].copy_from_slice(b"positoin"));
    std::fs::write(desk.state.register(), &damaged).expect("written");
    for force in [false, true] {
        let refused = desk.commission(&text, force).err().expect("refused");
        let complaint = refused.error.to_string();
        assert!(refused.exit == Exit::Refused && complaint.contains("register.redb:") && complaint.contains("move "), "{complaint}");
    }
    assert!(Register::load(&desk.state.register()).is_err(), "nothing was put in its place");
    std::fs::remove_file(desk.state.register()).expect("moved away by hand");
    desk.commission(&text, false).expect("the site is as it was, and has no register");
}

#[test]
fn what_is_known_of_past_withdrawals_stays_and_an_inspection_from_before_the_posting_does_not_count() {
    let desk = Desk::new();
    let text = format!("{SITE}{GOOD}");
    desk.commission(&text, false).expect("commissions");
    let when = |text: &str| text.parse::<When>().expect("date");
    let withdrawal = Withdrawal { at: when("2026-11-21"), by: "l.wu".to_owned(), reason: "fell down".to_owned() };
    assert!(record_withdrawal(&desk.state.register(), "hall-1", &withdrawal).expect("recorded").is_ok());
    // Later than what was commissioned, as far as two clocks differ.
    let posting = Posting { at: when("2026-11-21T12:00:30Z"), by: "w.chen".to_owned() };
    assert!(record_posting(&desk.state.register(), "hall-1", &posting, None).expect("recorded").is_ok_and(|o| o.in_force()));
    let posted = Register::load(&desk.state.register()).expect("register").signs[0].clone();
    assert_eq!((posted.posted_by.as_deref(), posted.posted_on.as_ref(), &posted.withdrawn), (Some("w.chen"), Some(&posting.at), &None));
    let past = &posted.past_withdrawals[0];
    assert_eq!((&*past.by, &*past.reason, &past.posted_at, &*past.posted_by), ("l.wu", "fell down", &posting.at, "w.chen"));
    let done = desk.commission(&text.replace("north entrance", "south entrance"), true).expect("forced");
    assert_eq!((done.streams[0].1.state, done.streams[0].1.reason.rule), (StreamState::Off, Rule::SignInspected));
    let sign = Register::load(&desk.state.register()).expect("register").signs[0].clone();
    assert_eq!(
        (sign.position.as_str(), sign.posted_on, sign.past_withdrawals),
        ("south entrance", posted.posted_on, posted.past_withdrawals)
    );
}

fn under(text: &str) -> String {
    text.replacen("[[zone]]", "[rules]\nprofiles = [\"cn-pipl\"]\n[[zone]]", 1)
}

/// Two approvers as a site file names them, and their keys.
fn approvers() -> (String, Vec<PersonKey>) {
    let keys: Vec<PersonKey> = (0..2).map(|_| PersonKey::generate().expect("made")).collect();
    let person = |(i, key): (usize, &PersonKey)| {
        let public = key.public();
        format!("[[person]]\nid = \"p{i}\"\nkey = \"{public}\"\nroles = [\"approver\"]\nfrom = 2026-01-01\ntrained_until = 2027-06-01\n")
    };
    (keys.iter().enumerate().map(person).collect(), keys)
}

#[test]
fn an_operational_site_is_dark_until_two_approvers_have_signed_and_takes_no_placeholder_for_a_photograph() {
    let text = format!("{SITE}{GOOD}").replace(&"0123456789abcdef".repeat(4), &"0".repeat(64));
    assert_eq!(Desk::new().commission(&text, false).expect("a demo").streams[0].1.state, StreamState::Recognise);
    let (people, keys) = approvers();
    let unruled = text.replace("\"demo\"", "\"operational\"");
    let lawless = Desk::new().commission(&unruled, false).err().expect("under no regime").error.to_string();
    assert!(lawless.contains("names the regime") && lawless.contains("cn-pipl, eu-ai-act"), "{lawless}");
    let operational = under(&unruled);
    let alone = Desk::new().commission(&operational, false).err().expect("refused");
    assert!(alone.exit == Exit::Config && alone.error.to_string().contains("placard person key"), "{}", alone.error);
    let (desk, operational) = (Desk::new(), format!("{operational}{people}"));
    let done = desk.commission(&operational, false).expect("commissions");
    let Recorded::Pending { proposal, .. } = &done.outcome else { panic!("{:?}", done.outcome) };
    assert!(done.changed && done.streams.is_empty() && done.register.zones.is_empty(), "nothing is in force");
    assert!(!desk.state.stand_in_key(1).exists());
    let again = desk.commission(&operational, false).expect("the same");
    assert!(!again.changed && again.outcome == done.outcome, "{:?}", again.outcome);
    for (i, key) in keys.iter().enumerate() {
        let mut store = Store::open(&desk.state.register()).expect("opens");
        let at: When = "2026-11-21T12:00:00Z".parse().expect("date");
        let approval = Approval::sign(&format!("p{i}"), key, &store.site(), proposal, at.clone());
        let outcome = store.approve(proposal, approval, at.at()).expect("signed");
        assert_eq!(outcome.in_force(), i == 1);
    }
    let done = desk.commission(&operational, false).expect("the same");
    assert!(!done.changed);
    assert_eq!((done.streams[0].1.state, done.streams[0].1.reason.rule), (StreamState::Off, Rule::SignPhotographed));
    assert!(!Register::load(&desk.state.register()).expect("register").rules.placeholder_photographs);
    let claims = operational.replace("[rules]", "[rules]\nplaceholder_photographs = true");
    let refused = Desk::new().commission(&claims, false).err().expect("refused").error.to_string();
    assert!(refused.contains("placeholder_photographs") && refused.contains("operational"), "{refused}");
}

#[test]
fn a_demonstration_becomes_operational_by_beginning_anew_and_never_the_other_way() {
    let desk = Desk::new();
    let (people, _keys) = approvers();
    let demo = format!("{SITE}{GOOD}");
    desk.commission(&demo, false).expect("commissions");
    let withdrawal = Withdrawal { at: "2026-11-21".parse().expect("date"), by: "l.wu".to_owned(), reason: String::new() };
    assert!(record_withdrawal(&desk.state.register(), "hall-1", &withdrawal).expect("recorded").is_ok());
    let operational = format!("{}{people}", under(&demo.replace("\"demo\"", "\"operational\"")));
    assert_eq!(desk.commission(&operational, false).err().expect("refused").exit, Exit::Refused);
    let done = desk.commission(&operational, true).expect("founded anew");
    assert!(done.streams.is_empty() && done.register.people.iter().all(|p| !p.stand_in), "dark, and the stand-ins are gone");
    assert_eq!(done.kept_withdrawn, ["hall-1"]);
    let back = desk.commission(&demo, true).err().expect("refused");
    assert!(back.exit == Exit::Refused && back.error.to_string().contains("stays one"), "{}", back.error);
}

#[test]
fn a_bad_site_file_leaves_nothing_behind_and_names_the_line() {
    let desk = Desk::new();
    let cases = [
        (format!("{SITE}{GOOD}").replace("zones = [\"hall\"]", "zones = [\"hal\"]"), "site.toml:44: `zones` of [[purpose]] number 1"),
        (format!("{SITE}{GOOD}").replacen("controller", "controler", 1), "site.toml:4: unknown field `controler`"),
        (format!("{SITE}{GOOD}").replace("\"demo\"", "\"live\""), "site.toml:3: unknown variant `live`"),
        (GOOD.to_owned(), "missing field `site`"),
    ];
    for (text, expected) in cases {
        let failed = desk.commission(&text, false).err().expect("refused");
        assert_eq!(failed.exit, Exit::Config);
        assert!(failed.error.to_string().contains(expected), "{}", failed.error);
        assert!(!desk.state.root().exists());
    }
    let missing = format!("{SITE}[[model]]\nfile = \"nowhere.onnx\"\n{GOOD}");
    assert_eq!(desk.commission(&missing, false).err().expect("refused").exit, Exit::Missing);
    assert!(!desk.state.site().exists() && !desk.state.register().exists());
}

#[test]
fn commissioning_anew_undoes_no_stop_whatever_the_file_says_or_leaves_out() {
    let desk = Desk::new();
    let date = |text: &str| text.parse::<When>().expect("date");
    let second = "[[zone]]\nid = \"yard\"\nkind = \"public\"\n[[area]]\nstream = \"south\"\nzone = \"yard\"\n\
                  polygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 0.5]]\n\
                  [[order]]\nid = \"o-1\"\nissuer = \"i\"\nzones = [\"hall\"]\nfrom = 2026-11-20\nuntil = 2026-11-24\napproved_by = [\"a\", \"b\"]\n\
                  [[authorisation]]\nid = \"u-1\"\nauthority = \"court\"\npurpose = \"missing-person:mp-7\"\nzones = [\"hall\"]\n\
                  from = 2026-11-20\nuntil = 2026-12-20\nassessment = \"f\"\nregistration = \"r\"\n";
    let (full, bare) = (format!("{SITE}{GOOD}{second}"), SITE.to_owned());
    desk.commission(&full, false).expect("commissions");
    let stopped = |by: &str| Withdrawal { at: date("2026-11-21"), by: by.to_owned(), reason: String::new() };
    let now = date("2026-11-21T12:00:00Z").at();
    let stop = |register: &mut Register| {
        register.signs[0].withdrawn = Some(stopped("l.wu"));
        register.zones[1].kind = ZoneKind::Private;
        register.orders[0].ended = Some(stopped("l.wu"));
        register.authorisations[0].refused = Some(stopped("l.wu"));
    };
    assert!(Register::propose(&desk.state.register(), "l.wu", "stop", now, stop).expect("stopped").1.in_force());
    let stopped = Register::load(&desk.state.register()).expect("register");
    for text in [&full, &bare, &full] {
        desk.commission(text, true).expect("forced");
        let register = Register::load(&desk.state.register()).expect("register");
        let kind = register.zone("yard").map(|z| z.kind);
        assert_eq!((kind, register.areas.iter().filter(|a| a.zone == "yard").count()), (Some(ZoneKind::Private), 1));
        assert_eq!(register.sign("hall-1").and_then(|s| s.withdrawn.clone()), stopped.signs[0].withdrawn);
        assert_eq!(
            (&register.orders[0].ended, &register.authorisations[0].refused),
            (&stopped.orders[0].ended, &stopped.authorisations[0].refused)
        );
    }
}

#[test]
fn an_inspection_that_a_site_file_repeats_is_of_the_words_that_were_there_and_new_ones_make_a_new_one() {
    let desk = Desk::new();
    let digest = GOOD.lines().find(|l| l.starts_with("inspected_text_sha256")).expect("a digest").to_owned();
    let text = format!("{SITE}{GOOD}").replace(&digest, "");
    let done = desk.commission(&text, false).expect("commissions");
    assert_eq!(done.streams[0].1.state, StreamState::Recognise, "of the text beside it: {}", done.streams[0].1.reason);
    let other = text.replace("Faces are recognised here", "Nothing to see here");
    let done = desk.commission(&other, true).expect("forced");
    let (state, reason) = (done.streams[0].1.state, &done.streams[0].1.reason);
    assert_eq!((state, reason.rule), (StreamState::Off, Rule::SignInspected), "{reason}");
    assert!(reason.fact.contains("another text"), "{reason}");
    let done = desk.commission(&other.replace("inspected_at = 2026-11-20T09", "inspected_at = 2026-11-20T10"), true).expect("forced");
    assert_eq!(done.streams[0].1.state, StreamState::Recognise, "seen again, with its new words: {}", done.streams[0].1.reason);
    let silent = text.replacen("missing persons", "lost luggage", 1);
    let done = Desk::new().commission(&silent.replacen("寻找走失人员", "寻找行李", 1), false).expect("commissions");
    assert_eq!((done.streams[0].1.reason.rule, done.silent.len()), (Rule::SignAnnounces, 1), "{:?}", done.silent);
}
