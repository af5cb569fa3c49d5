//! The running service, spoken to as an operator does: `placard sign`, SIGHUP, `--print-events`.

#[path = "support/people.rs"]
mod people;
#[path = "support/site.rs"]
mod site;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::{Signal, kill};
use placard::clock::{Clock, SystemClock, format_utc};
use placard::console::public::PublicView;
use placard::console::view::StatusView;
use placard::policy::facts::{Register, Sign};
use serde_json::Value;
use site::{Models, Service, Site, Stream};

/// Each of these keeps a core busy.
static ONE_AT_A_TIME: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

const PURPOSE: &str = "missing-person:mp-7";
/// Who does not exist; see `people`.
const PERSON: u64 = 1;
const THRESHOLD: &str = "threshold = 0.5";

/// One stream that shows one enrolled person again and again.
fn site() -> Site {
    let stream = Stream::new("hall", "file:hall.mkv").with("repeat = true\ndetect_every = 3");
    let site = Site::commission(Models::Bundled, &[PURPOSE], &[stream], &format!("[decide]\n{THRESHOLD}\n"));
    std::fs::rename(people::clip_of(site.path(), PERSON), site.path().join("hall.mkv")).expect("renamed");
    let photograph = site.path().join("person.png");
    std::fs::rename(people::official_file(site.path(), PERSON), &photograph).expect("renamed");
    site.enrol(PURPOSE, &format!("A\t{}\n", photograph.display()), 64);
    site
}

impl Site {
    fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("service.log")).unwrap_or_default()
    }

    fn printed_events(&self) -> Vec<Value> {
        let log = self.log();
        let values = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        values.filter(|v| v["kind"] == "face-match").collect()
    }

    /// SIGHUP, after a change to the pipeline file that a new pipeline must be built for; waits until it is in force.
    fn reload_changed(&self, service: &Service, change: (&str, &str)) {
        let text = std::fs::read_to_string(self.pipeline()).expect("readable");
        assert!(text.contains(change.0));
        std::fs::write(self.pipeline(), text.replace(change.0, change.1)).expect("writable");
        self.reload(service);
    }

    fn reload(&self, service: &Service) {
        let reloads = |log: &str| log.matches(" reloaded").count();
        let before = reloads(&self.log());
        kill(service.pid(), Signal::SIGHUP).expect("it runs");
        service.wait_until("the pipeline is reloaded", |_| reloads(&self.log()) > before);
    }

    fn sign(&self) -> Sign {
        Register::load(&self.state().register()).expect("readable").sign("hall-sign").expect("there").clone()
    }

    /// `placard --json sign ARGUMENTS`: exit status, what was printed, what was complained of.
    fn placard_sign(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let output = self.command(&["--json", "sign"]).args(arguments).output().expect("runs");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), complaint)
    }
}

#[test]
fn events_are_printed_after_a_reload_that_changed_the_pipeline_as_before() {
    let _turn = ONE_AT_A_TIME.lock();
    let site = site();
    let service = site.start_with(&["--print-events"]);
    service.wait_until("an event is printed", |_| !site.printed_events().is_empty());
    site.reload_changed(&service, (THRESHOLD, "threshold = 0.45"));
    let reloaded_at = format_utc(SystemClock.utc());
    let later = |event: &Value| event["decided_at"].as_str().is_some_and(|at| at > reloaded_at.as_str());
    service.wait_until("an event of the new pipeline is printed", |_| site.printed_events().iter().any(later));
}

#[test]
fn who_withdrew_a_sign_and_why_stands_in_register_status_and_log() {
    let _turn = ONE_AT_A_TIME.lock();
    let site = site();
    let service = site.start();
    let (exit, answer, complaint) = site.placard_sign(&["withdraw", "hall-sign", "--by", "吴 L.", "--reason", "fell down & broke"]);
    assert_eq!((exit, &answer["service"], &answer["streams"][0]), (Some(0), &true.into(), &"hall".into()), "{complaint}");
    let withdrawn = site.sign().withdrawn.expect("withdrawn");
    assert_eq!((withdrawn.by.as_str(), withdrawn.reason.as_str()), ("吴 L.", "fell down & broke"));
    service.wait_until("the status says who and why", |status| status.streams[0].reason.contains("by 吴 L. (fell down & broke)"));
    assert!(
        site.log().lines().any(|l| l.contains("sign withdrawn") && l.contains("吴 L.") && l.contains("fell down & broke")),
        "{}",
        site.log()
    );
    let (exit, _, complaint) = site.placard_sign(&["post", "hall-sign", "--by", "w.chen"]);
    assert_eq!(exit, Some(0), "{complaint}");
    assert!(site.log().lines().any(|l| l.contains("posted again") && l.contains("w.chen")));
    service.wait_until("the status asks for an inspection", |status| status.streams[0].reason.contains("placard sign inspect hall-sign"));
    let sign = site.sign();
    assert_eq!((sign.withdrawn, sign.posted_by.as_deref()), (None, Some("w.chen")));
    let past = &sign.past_withdrawals[0];
    assert_eq!((&*past.by, &*past.reason, &*past.posted_by), ("吴 L.", "fell down & broke", "w.chen"));

    let photograph = site.path().join("person.png");
    let photo = photograph.display().to_string();
    let (exit, answer, complaint) = site.placard_sign(&["inspect", "hall-sign", "--by", "l.wu", "--photo", &photo]);
    assert_eq!((exit, &answer["service"], &answer["counts"]), (Some(0), &true.into(), &true.into()), "{complaint}");
    service.wait_until("the stream is lit again", |status| status.streams[0].state == "recognise");
    let sign = site.sign();
    assert_eq!(sign.inspected_by.as_deref(), Some("l.wu"));
    assert_eq!(sign.photo_sha256.as_deref(), answer["photo_sha256"].as_str());
    drop(service);
    // Without a service: the register's file itself.
    let (exit, answer, complaint) = site.placard_sign(&["inspect", "hall-sign", "--by", "w.chen"]);
    assert_eq!((exit, &answer["service"]), (Some(0), &false.into()), "{complaint}");
    let inspected = site.sign();
    assert_eq!((inspected.inspected_by.as_deref(), &inspected.photo_sha256), (Some("w.chen"), &sign.photo_sha256));
    let refused = |arguments: &[&str], status: i32, words: &str| {
        let (exit, _, complaint) = site.placard_sign(arguments);
        assert!(exit == Some(status) && complaint.contains(words), "{arguments:?}: {exit:?}, {complaint}");
    };
    refused(&["inspect", "hall-sign", "--by", "x", "--at", "2020-01-01"], 4, "was inspected later");
    refused(&["inspect", "hall-sign", "--by", "x", "--at", "2200-01-01"], 4, "still to come");
    refused(&["inspect", "hall-sign", "--by", " "], 2, "--by is blank");
    refused(&["inspect", "hall-sing", "--by", "x"], 2, "did you mean `hall-sign`");
    refused(&["inspect", "hall-sign", "--by", "x", "--photo", "/nonexistent.jpg"], 6, "/nonexistent.jpg");
    refused(&["inspect", "hall-sign"], 2, "--by");
    assert_eq!(site.sign(), inspected, "refusals record nothing");
}

#[test]
fn a_withdrawal_that_could_not_be_written_is_told_and_outlives_a_reload() {
    let _turn = ONE_AT_A_TIME.lock();
    let site = site();
    let service = site.start();
    service.wait_until("the stream is lit", |status| status.streams[0].state == "recognise");
    // A directory in the lock file's place: nobody can write the register, not even root.
    let lock = site.state().register().with_file_name(".register.lock");
    let _not_there_yet = std::fs::remove_file(&lock);
    std::fs::create_dir(&lock).expect("made");
    let (exit, _, complaint) = site.placard_sign(&["withdraw", "hall-sign", "--by", "l.wu"]);
    assert!(exit == Some(1) && complaint.contains("could not be recorded"), "{exit:?}: {complaint}");
    assert_eq!(site.sign().withdrawn, None);
    site.reload_changed(&service, (THRESHOLD, "threshold = 0.45"));
    service.wait_until("the new pipeline is dark, and says what is wrong", |status| {
        let dark = status.streams.first().is_some_and(|s| s.state == "off" && s.reason.contains("by l.wu"));
        dark && status.alarms.iter().any(|a| a.contains("`hall-sign` holds, but is not in the register"))
    });
    std::fs::remove_dir(&lock).expect("removed");
    site.reload(&service);
    assert_eq!(site.sign().withdrawn.map(|w| w.by).as_deref(), Some("l.wu"));
    service.wait_until("nothing is wrong any more", |status| !status.alarms.iter().any(|a| a.contains("hall-sign")));
}

#[test]
fn a_deleted_subject_is_hit_no_more_while_the_service_runs_on() {
    let _turn = ONE_AT_A_TIME.lock();
    let site = site();
    let service = site.start();
    service.wait_until("the subject is hit", |_| !site.events().is_empty());
    let subject = site.events()[0].candidates()[0].subject.clone();
    service.wait_until("the service says what it searches", |status| status.galleries.iter().any(|g| g.templates == 1));
    let output = site.command(&["--json", "delete", &subject, "--yes"]).output().expect("runs");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{answer} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((answer["outcome"].as_str(), answer["service"].as_str()), (Some("deleted"), Some("loaded")));
    service.wait_until("nobody is left to search", |status| status.galleries.iter().all(|g| g.templates == 0));
    // The person in the picture was recognised once and is left alone since; a lease that begins anew begins with new tracks.
    let mut searched = 0;
    service.wait_until("the searches are counted", |status| {
        searched = counter(status, "match", "queries");
        true
    });
    let hits = site.events().len();
    for arguments in
        [&["withdraw", "hall-sign", "--by", "test"], &["post", "hall-sign", "--by", "test"], &["inspect", "hall-sign", "--by", "test"]]
    {
        let (exit, _, complaint) = site.placard_sign(arguments);
        assert_eq!(exit, Some(0), "{arguments:?}: {complaint}");
    }
    service.wait_until("the person is searched for again", |status| counter(status, "match", "queries") > searched);
    drop(service);
    assert_eq!(site.events().len(), hits, "a hit after the deletion was acknowledged");
}

fn counter(status: &StatusView, component: &str, name: &str) -> u64 {
    status.counters.iter().filter(|c| c.component == component && c.name == name).map(|c| c.value).sum()
}

/// One HTTP/1.0 question: head and body.
fn fetch(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    write!(stream, "GET {path} HTTP/1.0\r\nhost: placard\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_public_page_says_what_the_policy_thread_does_and_names_no_case() {
    let _turn = ONE_AT_A_TIME.lock();
    let site = site();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let text = std::fs::read_to_string(site.pipeline()).expect("readable");
    let text = text.replace("listen = \"none\"", &format!("listen = \"none\"\npublic = \"127.0.0.1:{port}\""));
    std::fs::write(site.pipeline(), text).expect("writable");
    let service = site.start();
    let public = || -> PublicView { serde_json::from_str(&fetch(port, "/status.json").1).expect("JSON") };
    service.wait_until("the engine and the page both recognise", |status| {
        let zone = &public().zones[0];
        status.streams[0].state == "recognise" && zone.state == "recognise" && zone.purposes == ["missing-person"]
    });
    let view = public();
    assert_eq!((&*view.site, &*view.controller, &*view.contact, view.zones[0].signs), ("test", "test", "test@test.invalid", 1));
    let (head, page) = fetch(port, "/");
    assert!(head.contains("content-security-policy") && page.contains("Running: faces are recognised"), "{head} {page}");
    assert!(!page.contains("mp-7") && !fetch(port, "/status.json").1.contains("mp-7"), "no case is named");
    assert!(!page.contains("hall.mkv") && !page.contains("hall-sign"), "nor a camera, nor where its sign hangs");
    if let Some(file) = std::env::var_os("PLACARD_WRITE_PAGE") {
        std::fs::write(file, &page).expect("writable");
    }
    let (exit, _, complaint) = site.placard_sign(&["withdraw", "hall-sign", "--by", "w.chen", "--reason", "rebuilt"]);
    assert_eq!(exit, Some(0), "{complaint}");
    service.wait_until("the page says that it is paused", |status| status.streams[0].state == "off" && public().zones[0].state == "off");
    let zone = public().zones.remove(0);
    assert_eq!((zone.purposes, zone.declared, zone.signs), (vec![], vec!["missing-person".to_owned()], 0));
    assert!(fetch(port, "/").1.contains("Paused: no picture is looked at"));
    assert!(fetch(port, "/v1/status").0.contains("404") && fetch(port, "/metrics").0.contains("404"));
}
