//! A gate as its controller uses it: the program itself, a camera that sees somebody who does not exist, cards, claims and consents. And what
//! goes from the gallery's files while the service runs, when what it rested on ends.

#[path = "support/people.rs"]
mod people;
#[path = "support/site.rs"]
mod site;

use std::process::Output;
use std::time::{Duration, Instant};

use placard::emit::event::{Verification, What};
use placard::gallery::is_mentioned;
use placard::gallery::seal::SiteKey;
use placard::gallery::vault::Vault;
use placard::shutdown::Shutdown;
use serde_json::Value;
use site::{Models, PATIENCE, Site, Stream};

/// Walks up to the gate, again and again.
const ANNA: (u64, &str) = (3, "0123456789abcdef0123456789abcdef");
/// Enrolled as well, and never there.
const BEN: (u64, &str) = (4, "fedcba9876543210fedcba9876543210");

fn consent(id: &str, subject: &str) -> String {
    format!(
        "\n[[consent]]\nid = \"{id}\"\nsubject = \"{subject}\"\npurpose = \"access-verification\"\nnotice_sha256 = \"{}\"\n\
         method = \"written\"\nseparate = true\ngiven_at = 2020-01-01\nuntil = 2200-01-01\n",
        "5e1f".repeat(16)
    )
}

impl Site {
    fn answer(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let Output { status, stdout, stderr } = self.command(&["--json"]).args(arguments).output().expect("runs");
        let (out, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr).into_owned());
        (status.code(), serde_json::from_str(out.lines().last().unwrap_or("null")).expect("JSON"), errors)
    }
    fn enrol_with(&self, purpose: &str, person: u64, arguments: &[&str]) -> String {
        let file = people::official_file(self.path(), person);
        let (exit, answer, errors) =
            self.answer(&[&["enrol", "--adult", "--purpose", purpose], arguments, &[file.to_str().expect("text")]].concat());
        assert_eq!(exit, Some(0), "{answer} {errors}");
        answer["subject"].as_str().expect("enrolled").to_owned()
    }
    /// Asks until somebody was seen: the machine may be busy.
    fn verify(&self, person: &str) -> (Option<i32>, Value) {
        let begun = Instant::now();
        loop {
            let (exit, answer, errors) = self.answer(&["verify", "--stream", "gate", "--within", "8", person]);
            assert!(answer["outcome"].is_string(), "{errors}");
            if answer["outcome"] != "nobody-seen" || begun.elapsed() > PATIENCE {
                return (exit, answer);
            }
        }
    }
    /// Until no file of the gallery holds a trace of `subject`, nor a byte that spells its id.
    fn wait_until_gone(&self, subject: &str) {
        let (begun, pause) = (Instant::now(), Shutdown::new());
        let id = subject.parse().expect("an id");
        let key = SiteKey::load(&self.state()).expect("a key");
        while begun.elapsed() < PATIENCE {
            let traces = Vault::open(&self.state(), &key).and_then(|vault| vault.traces(&id));
            if traces.is_ok_and(|traces| !traces.any()) && !is_mentioned(&self.state(), &id).expect("readable") {
                return;
            }
            pause.wait(Duration::from_millis(50));
        }
        panic!("{subject} is still there");
    }
}

#[test]
fn a_gate_opens_to_the_one_who_claims_it_with_consent_and_only_while_there_is_another_way_in() {
    let alternative = "[[alternative]]\nid = \"card-1\"\nzone = \"hall\"\nkind = \"card\"\nheartbeat_s = 300\n";
    let facts = format!("{alternative}{}{}", consent("anna", ANNA.1), consent("ben", BEN.1));
    let streams = [Stream::new("gate", "file:gate.mkv").with("repeat = true\ndetect_every = 2")];
    let site = Site::commission_with(Models::Bundled, &["access-verification"], &streams, "[decide]\nthreshold = 0.55\n", &facts);
    std::fs::rename(people::clip_of(site.path(), ANNA.0), site.path().join("gate.mkv")).expect("renamed");
    for ((person, subject), consent) in [(ANNA, "anna"), (BEN, "ben")] {
        assert_eq!(site.enrol_with("access-verification", person, &["--consent", consent]), subject);
    }
    // Nobody searches in it, also not the desk.
    let photograph = people::official_file(site.path(), ANNA.0);
    let (exit, _, errors) = site.answer(&["search", "--purpose", "access-verification", photograph.to_str().expect("text")]);
    assert!(exit == Some(4) && errors.contains("verification-only"), "{errors}");
    let (exit, ..) = site.answer(&["verify", "--stream", "gate", "anna"]);
    assert_eq!(exit, Some(5), "nobody answers while no service runs");

    let service = site.start();
    let refusal = |arguments: &[&str]| {
        let (exit, _, errors) = site.answer(arguments);
        (exit, errors)
    };
    let (exit, errors) = refusal(&["verify", "--stream", "gate", "anna"]);
    assert!(exit == Some(4) && errors.contains("[alternative-alive]") && errors.contains("altpath beat"), "{errors}");
    assert_eq!(refusal(&["altpath", "beat", "card-2"]).0, Some(2));
    assert_eq!(site.answer(&["altpath", "beat", "card-1"]).0, Some(0));
    service.wait_until("somebody walked up", |s| s.streams[0].state == "recognise" && s.streams[0].tracks > 0);

    let (exit, answer) = site.verify("anna");
    assert_eq!((exit, &answer["outcome"], &answer["subject"]), (Some(0), &"match".into(), &ANNA.1.into()), "{answer}");
    let (exit, answer) = site.verify("ben");
    assert_eq!((exit, &answer["outcome"], &answer["subject"]), (Some(4), &"no-match".into(), &BEN.1.into()), "{answer}");
    let (exit, errors) = refusal(&["verify", "--stream", "gate", "carla"]);
    assert!(exit == Some(4) && errors.contains("[consent-given]"), "{errors}");
    assert_eq!(refusal(&["verify", "--stream", "north", "anna"]).0, Some(2), "no such stream");

    // She takes her consent back: nothing is verified any more, and she is gone from the gallery's files.
    assert_eq!(site.answer(&["consent", "withdraw", "anna"]).0, Some(0));
    let (exit, errors) = refusal(&["verify", "--stream", "gate", "anna"]);
    assert!(exit == Some(4) && errors.contains("[consent-given]"), "{errors}");
    site.wait_until_gone(ANNA.1);
    drop(service);

    // What was refused stands in the record, which is whole: the search at the desk, and what was asked at the gate.
    let (exit, kept, _) = site.answer(&["record"]);
    assert_eq!((exit, &kept["broken"]), (Some(0), &Value::Array(Vec::new())), "{kept}");
    let of = |rule: &str| {
        kept["entries"].as_array().expect("a list").iter().filter(|e| e["rule"] == rule && e["purpose"] == "access-verification").count()
    };
    assert_eq!((of("verification-only"), of("alternative-alive"), of("consent-given")), (1, 1, 2), "{kept}");
    assert_eq!(kept["entries"].as_array().expect("a list").iter().filter(|e| e["what"] == "erased").count(), 1, "{kept}");
    // Recorded as hits are, and nobody was searched for.
    let events = site.events();
    let verified: Vec<&Verification> =
        events.iter().filter_map(|e| if let What::Verification(v) = &e.what { Some(v) } else { None }).collect();
    // On a busy machine one may have been recorded after whoever asked had stopped waiting; none was told without being recorded.
    assert!(verified.len() == events.len() && verified.len() >= 2, "{verified:?}");
    assert!(verified.iter().any(|v| v.matched && *v.subject == *ANNA.1 && v.score >= v.threshold));
    assert!(verified.iter().all(|v| v.matched == (*v.subject == *ANNA.1)), "{verified:?}");
    assert!(events.iter().all(|e| e.track().is_empty() != matches!(&e.what, What::Verification(v) if v.matched)), "no trace of strangers");
    assert!(events.iter().all(|e| e.purpose == "access-verification" && e.candidates().is_empty()));
}

#[test]
fn when_an_emergency_is_ended_who_was_enrolled_for_it_goes_from_the_files_and_from_the_search() {
    let streams = [Stream::new("hall", "file:hall.mkv").with("repeat = true\ndetect_every = 4")];
    let site = Site::commission(Models::Bundled, &["emergency:o-9", "crime-prevention:c-1"], &streams, "[decide]\nthreshold = 0.55\n");
    std::fs::rename(people::clip_of(site.path(), ANNA.0), site.path().join("hall.mkv")).expect("renamed");
    let sought = site.enrol_with("emergency:o-9", ANNA.0, &[]);
    let other = site.enrol_with("crime-prevention:c-1", BEN.0, &[]);
    let service = site.start();
    service.wait_until("she is hit", |s| s.streams[0].state == "recognise" && !site.events().is_empty());
    assert_eq!(site.answer(&["order", "end", "o-9"]).0, Some(0));
    site.wait_until_gone(&sought);
    service.wait_until("one is searched for", |s| s.galleries.iter().map(|g| g.templates).sum::<u64>() == 1);
    let key = SiteKey::load(&site.state()).expect("a key");
    let vault = Vault::open_patiently(&site.state(), &key, PATIENCE, &Shutdown::new()).expect("opens");
    assert!(vault.traces(&other.parse().expect("an id")).expect("read").key, "nobody else's goes");
    drop(vault);
}
