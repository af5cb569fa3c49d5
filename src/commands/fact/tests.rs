//! Commands on the register, as somebody types them: each enters, changes and takes away its fact, through proposals like every other.

use clap::Parser;

use super::super::{Cli, Exit, Failed, Outcome, dispatch};
use crate::clock::{Clock, SystemClock};
use crate::policy::facts::testing::good;
use crate::policy::facts::{Capability, Mode, Register, Site, View};
use crate::policy::rules::sign_holds;
use crate::policy::store::put_as_stand_ins;
use crate::purpose::PurposeKind;
use crate::state::StateDirectory;

struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut register = good();
        register.views.push(View {
            stream: "north".to_owned(),
            sign: "hall-1".to_owned(),
            code: [[0.1, 0.2], [0.2, 0.2], [0.2, 0.35], [0.1, 0.35]],
            tolerance: 0.01,
            attest_every_s: 10,
            fingerprint: None,
        });
        let state = StateDirectory::new(directory.path());
        put_as_stand_ins(&state.register(), &register, SystemClock.utc()).expect("stored");
        Self { directory }
    }
    fn run(&self, line: &str) -> Outcome {
        let state = self.directory.path().to_str().expect("a path").to_owned();
        let words = ["placard", "--json", "--state", &state].into_iter().map(str::to_owned);
        let cli = Cli::try_parse_from(words.chain(line.split_whitespace().map(str::to_owned))).expect("a command line");
        dispatch(cli)
    }
    fn done(&self, line: &str) -> Register {
        let exit = self.run(line).unwrap_or_else(|e| panic!("{line}: {}", e.message()));
        assert_eq!(exit, Exit::Success, "{line}");
        Register::load(&StateDirectory::new(self.directory.path()).register()).expect("a register")
    }
    fn refused(&self, line: &str) -> Failed {
        self.run(line).err().unwrap_or_else(|| panic!("{line}: was done"))
    }
}

#[test]
fn an_authorisation_is_entered_pending_given_shortened_and_refused_for_good() {
    let desk = Desk::new();
    let add = "authorisation add au-1 --authority Court --purpose missing-person:mp-7 --zone hall --from 2026-11-01 --until 2027-11-01 \
               --assessment f-1 --registration r-1 --pending-since 2026-11-20";
    let leave = |r: &Register| r.authorisations[0].clone();
    assert!(leave(&desk.done(add)).pending_since.is_some());
    assert_eq!(leave(&desk.done("authorisation given au-1")).pending_since, None);
    let shorter = leave(&desk.done("authorisation expire au-1 --until 2026-12-01"));
    assert_eq!((shorter.until.to_string(), shorter.refused), ("2026-12-01".to_owned(), None));
    let first = leave(&desk.done("authorisation refuse au-1 --by l.wu --why appeal"));
    assert_eq!(first.refused.as_ref().map(|r| (&*r.by, &*r.reason)), Some(("l.wu", "appeal")));
    assert_eq!(leave(&desk.done("authorisation refuse au-1 --by w.chen")), first, "it was refused then, by that word");
    desk.done("authorisation list");
    desk.done("authorisation show au-1");
    let unknown = desk.refused("authorisation refuse au-2");
    assert!(unknown.exit == Exit::Usage && unknown.message().contains("did you mean `au-1`"), "{}", unknown.message());
    let nowhere =
        desk.refused("authorisation add au-3 --authority Court --purpose missing-person:mp-7 --from 2026-11-01 --until 2027-11-01");
    assert!(nowhere.message().contains("--zone"), "{}", nowhere.message());
}

#[test]
fn records_devices_and_views_are_entered_and_taken_away() {
    let desk = Desk::new();
    let minutes = desk.directory.path().join("minutes.pdf");
    std::fs::write(&minutes, b"carried").expect("written");
    let add = format!(
        "governance add g-1 --zone hall --document {} --decided-on 2026-10-01 --decided-by Board --votes-for 51 --votes-total 100",
        minutes.display()
    );
    let register = desk.done(&add);
    assert_eq!((&*register.governance[0].document_sha256, register.governance[0].votes_for), (&*crate::hex::sha256(b"carried"), Some(51)));
    assert!(desk.done("governance remove g-1").governance.is_empty());
    assert_eq!(
        desk.refused("governance add g-1 --zone hall --document /nowhere --decided-on 2026-10-01 --decided-by B").exit,
        Exit::Missing
    );
    let device = desk.done("device add north --capability camera --onvif http://192.0.2.7/onvif/device_service").devices[0].clone();
    assert_eq!((device.capability, device.check_every_s), (Capability::Camera, 300));
    let again = desk.done("device add north --capability recording").devices;
    assert_eq!((again.len(), again[0].capability), (1, Capability::Recording));
    assert!(desk.done("device remove north").devices.is_empty());
    desk.done("view list");
    assert!(desk.done("view remove north/hall-1").views.is_empty());
    assert!(desk.refused("view add").message().contains("placard sign view"));
}

#[test]
fn rules_name_regimes_that_there_are_and_leave_alone_what_is_not_said() {
    let desk = Desk::new();
    desk.done("rules show");
    assert_eq!(desk.done("rules add-profile cn-pipl").rules.profiles, ["cn-pipl"]);
    assert_eq!(desk.done("rules add-profile cn-pipl").rules.profiles, ["cn-pipl"], "once is enough");
    let unknown = desk.refused("rules add-profile cn-pip");
    assert!(
        unknown.json().contains("\"rule\":\"profile-known\"") && unknown.message().contains("did you mean `cn-pipl`"),
        "{}",
        unknown.json()
    );
    let rules = desk.done("rules set --sign-inspect-max-days 7 --attested-signs-only true").rules;
    assert_eq!((rules.sign_inspect_max_days, rules.attested_signs_only, rules.registered_devices_only), (7, true, false));
    assert_eq!(desk.refused("rules set --sign-inspect-max-days 3650").exit, Exit::Refused);
    assert!(desk.done("rules remove-profile cn-pipl").rules.profiles.is_empty());
    assert_eq!(desk.refused("rules remove-profile cn-pipl").exit, Exit::Usage);
}

#[test]
fn a_sign_is_added_with_its_words_and_counts_when_it_hangs_and_was_seen() {
    let desk = Desk::new();
    let no_site = desk.refused("sign add hall-2 --zone hall --position door --language zh,en");
    assert_eq!(no_site.exit, Exit::Config);
    let site = Site { name: "east".into(), mode: Mode::Demo, controller: "Police".into(), contact: "desk 1".into(), status_page: None };
    site.store(&StateDirectory::new(desk.directory.path()).site()).expect("stored");
    let counts = |register: &Register| sign_holds(&register.signs[1], &register.rules, SystemClock.utc()).is_ok();
    let added = desk.done("sign add hall-2 --zone hall --position door --language zh,en");
    let sign = added.signs[1].clone();
    assert!(!counts(&added) && sign.unsaid().is_none(), "{sign:?}");
    assert_eq!(sign.announces_in(PurposeKind::MissingPerson).into_iter().collect::<Vec<_>>(), ["en", "zh"]);
    desk.done("sign post hall-2 --by l.wu");
    let photograph = desk.directory.path().join("photo.jpg");
    std::fs::write(&photograph, b"a photograph").expect("written");
    let seen = desk.done(&format!("sign inspect hall-2 --by w.chen --photo {}", photograph.display()));
    assert!(counts(&seen));
    // Another contact, and with it other words, which nobody has seen there.
    Site { contact: "desk 2".into(), ..site }.store(&StateDirectory::new(desk.directory.path()).site()).expect("stored");
    assert!(!counts(&desk.done("sign text hall-2 --record")));
    assert!(counts(&desk.done("sign inspect hall-2 --by w.chen")));
    assert!(desk.refused("sign add hall-2 --zone hall --position door --language en").message().contains("sign text hall-2"));
    assert_eq!(desk.done("sign remove hall-2").signs.len(), 1);
}

#[test]
fn what_was_ended_is_not_renewed() {
    let desk = Desk::new();
    desk.done(
        "order add o-1 --issuer Health --zone hall --from 2026-11-20 --until 2026-11-24 --approved-by stand-in-1 --approved-by stand-in-2",
    );
    let renew = "order renew o-1 --number o-1/2 --from 2026-11-24 --until 2026-11-26";
    assert_eq!(desk.done(renew).orders[0].renewals.len(), 1);
    desk.done("order end o-1 --by l.wu");
    let refused = desk.refused("order renew o-1 --number o-1/3 --from 2026-11-26 --until 2026-11-27");
    let said: serde_json::Value = serde_json::from_str(&refused.json()).expect("JSON");
    assert_eq!((refused.exit, said["rule"].as_str()), (Exit::Refused, Some("order-in-force")), "{said}");
    assert!(
        said["fact"].as_str().is_some_and(|f| f.contains("l.wu")) && said["remedy"].as_str().is_some_and(|r| r.contains("order add")),
        "{said}"
    );
}
