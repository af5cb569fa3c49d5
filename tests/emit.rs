//! Emission end to end: real policy thread, real files, a real broker, a process that is really killed, a disk that is really full.
#![allow(clippy::print_stderr, reason = "a skipped test must say so")]

#[path = "emit/broker.rs"]
mod broker;
#[path = "emit/outages.rs"]
mod outages;
#[path = "emit/receiver.rs"]
mod receiver;
#[path = "emit/site.rs"]
mod site;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, unbounded};
use placard::config::schema::{Mqtt, Webhook};
use placard::emit::event::Event;
use placard::emit::journal::reader::Record;
use placard::emit::mqtt::MqttSink;
use placard::emit::sink::{Sink, SinkError, load_cursor};
use placard::emit::webhook::WebhookSink;
use placard::emit::worker::Recent;
use placard::frame::StreamIndex;
use placard::policy::inspection::Inspection;
use placard::policy::lease::StreamState;

use broker::{Broker, mosquitto};
use receiver::{Act, HttpReceiver, Request};
use site::{DEADLINE, Site, draft, journalled, wait_until};

fn mqtt(port: u16) -> Mqtt {
    Mqtt {
        url: format!("mqtt://127.0.0.1:{port}"),
        client_id: None,
        topic_prefix: "placard".to_owned(),
        credential_file: None,
        ca_file: None,
    }
}

fn sequences(events: &[Event]) -> Vec<u64> {
    events.iter().map(|e| e.frame_sequence).collect()
}

/// Order of first arrival: what an at-least-once receiver keeps.
fn first_arrivals(events: &[Event]) -> Vec<u64> {
    let mut seen = HashSet::new();
    events.iter().filter(|e| seen.insert(e.id.clone())).map(|e| e.frame_sequence).collect()
}

#[test]
fn a_broker_that_is_away_gets_everything_later_in_order() {
    let Some(program) = mosquitto() else { return };
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut broker = Broker::start(program, directory.path(), "");
    let subscriber = broker.subscribe(&[]);
    let site = Site::start(directory.path(), vec![Box::new(MqttSink::new(&mqtt(broker.port), "test").expect("valid"))]);
    subscriber.wait_available("online");
    site.hit(0..5);
    let mut arrived = subscriber.events_until(4);

    broker.down();
    drop(subscriber);
    site.hit(5..25);
    site.wait_acknowledged(25);
    wait_until("the sink notices", || site.emitter.status().sinks[0].failing.is_some());
    assert_eq!(journalled(directory.path()).len(), 25, "events go on being journalled");
    assert!(site.emitter.is_ready() && site.emitter.alarms().len() == 1, "{:?}", site.emitter.alarms());

    broker.up();
    let subscriber = broker.subscribe(&[]);
    arrived.extend(subscriber.events_until(24));
    assert_eq!(first_arrivals(&arrived), (0..25).collect::<Vec<_>>());
    wait_until("the sink recovers", || site.emitter.status().sinks[0].delivered == 25);
    assert!(site.emitter.alarms().is_empty());
    site.stop();
    subscriber.wait_available("offline");
}

/// A broker that wants TLS and a password, and the sink's settings that suit it.
fn tls_broker(directory: &Path) -> Option<(Broker, Mqtt)> {
    let program = mosquitto()?;
    std::fs::write(directory.join("san.ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n").expect("written");
    write_private(&directory.join("credential"), "placard:correct horse\n");
    let steps = [
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
        "openssl req -newkey rsa:2048 -nodes -keyout broker.key -out broker.csr -subj /CN=localhost",
        "openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san.ext -out broker.pem",
        "mosquitto_passwd -b -c passwords placard 'correct horse'",
    ];
    let quiet = |step| Command::new("sh").args(["-c", step]).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !steps.into_iter().all(|step| quiet(step).is_ok_and(|s| s.success())) {
        eprintln!("SKIPPED: no openssl or mosquitto_passwd");
        return None;
    }
    let file = |name| directory.join(name).display().to_string();
    let extra = format!("certfile {}\nkeyfile {}\npassword_file {}\n", file("broker.pem"), file("broker.key"), file("passwords"));
    let broker = Broker::start(program, directory, &extra);
    let settings = Mqtt {
        url: format!("mqtts://127.0.0.1:{}", broker.port),
        credential_file: Some(directory.join("credential")),
        ca_file: Some(directory.join("ca.pem")),
        ..mqtt(0)
    };
    Some((broker, settings))
}

#[test]
fn mqtt_over_tls_with_a_password() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let Some((broker, settings)) = tls_broker(directory.path()) else { return };
    let ca_file = directory.path().join("ca.pem").display().to_string();
    let subscriber = broker.subscribe(&["--cafile", &ca_file, "-u", "placard", "-P", "correct horse"]);
    let site = Site::start(directory.path(), vec![Box::new(MqttSink::new(&settings, "test").expect("valid"))]);
    site.hit(0..3);
    assert_eq!(first_arrivals(&subscriber.events_until(2)), [0, 1, 2]);
    site.stop();
}

#[test]
fn refusals_say_what_is_wrong_and_not_the_password() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let Some((broker, settings)) = tls_broker(directory.path()) else { return };
    let record = Record { id: "x".into(), stream: "north".into(), json: b"{}".to_vec(), end: placard::emit::journal::Position::START };
    std::fs::write(directory.path().join("credential"), "placard:wrong horse\n").expect("written");
    let error = MqttSink::new(&settings, "test").expect("valid").deliver(&record).expect_err("wrong password").to_string();
    assert!(error.contains("NotAuthorized") && !error.contains("horse"), "{error}");
    let untrusting = Mqtt { ca_file: None, ..settings };
    let error = MqttSink::new(&untrusting, "test").expect("valid").deliver(&record).expect_err("unknown authority").to_string();
    assert!(error.contains("certificate"), "{error}");
    // The webhook's TLS judges by the same authority: when it trusts it, the handshake passes, and then the broker does not speak HTTP.
    let https = webhook(&format!("https://127.0.0.1:{}/", broker.port));
    let error = WebhookSink::new(&https).expect("valid").deliver(&record).expect_err("unknown authority").to_string();
    assert!(error.contains("certificate"), "{error}");
    let trusting = Webhook { ca_file: Some(directory.path().join("ca.pem")), ..https };
    let error = WebhookSink::new(&trusting).expect("valid").deliver(&record).expect_err("not HTTP").to_string();
    assert!(!error.contains("certificate"), "{error}");
}

fn webhook(url: &str) -> Webhook {
    Webhook { url: url.to_owned(), timeout_ms: 3_000, credential_file: None, ca_file: None }
}

/// A file that only its owner can read: the sinks take no other.
fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("set");
}

#[test]
fn a_webhook_that_fails_in_every_way_gets_each_event_at_last_in_order() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let token = directory.path().join("token");
    write_private(&token, "s3cret\n");
    let script =
        [Act::Hang, Act::Answer(200), Act::Stall, Act::Answer(500), Act::Answer(200), Act::Answer(404), Act::Answer(429), Act::Answer(302)];
    let receiver = HttpReceiver::start(&script);
    let config = Webhook { credential_file: Some(token), ..webhook(&receiver.url) };
    let site = Site::start(directory.path(), vec![Box::new(WebhookSink::new(&config).expect("valid"))]);
    site.hit(0..4);
    wait_until("four deliveries", || site.emitter.status().sinks[0].delivered == 4);
    let status = site.emitter.status();
    assert_eq!((status.sinks[0].errors, status.sinks[0].failing.clone()), (6, None));
    site.stop();

    let requests: Vec<Request> = receiver.requests.try_iter().collect();
    let event = |r: &Request| serde_json::from_slice::<Event>(&r.body).expect("one event a request");
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("idempotency-key"), Some(event(request).id.as_str()), "repetitions can be recognised");
        assert!(request.headers[0].starts_with("POST /hits "));
    }
    let attempts: Vec<(u64, Act)> = requests.iter().map(|r| (event(r).frame_sequence, r.act)).collect();
    let mut script = script.into_iter();
    let mut next = || script.next().unwrap_or(Act::Answer(200));
    let expected: Vec<(u64, Act)> = [0, 0, 1, 1, 1, 2, 2, 2, 2, 3].into_iter().map(|n| (n, next())).collect();
    assert_eq!(attempts, expected);
}

/// A sink that hands on what it is told, or blocks, as the test likes.
struct TestSink {
    told: Sender<String>,
    gate: Option<Receiver<()>>,
}

impl Sink for TestSink {
    fn name(&self) -> &'static str {
        "test"
    }
    fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        if let Some(gate) = &self.gate {
            // Opens when the test drops the other end.
            let _open = gate.recv();
        }
        self.told.send(record.id.clone()).map_err(|_| SinkError::Unavailable("test over".to_owned()))
    }
}

#[test]
fn a_sink_that_hangs_holds_up_nobody_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (told, ids) = unbounded();
    let (release, gate) = unbounded::<()>();
    let site = Site::start(directory.path(), vec![Box::new(TestSink { told, gate: Some(gate) })]);
    for group in 0..4 {
        site.hit(group * 500..(group + 1) * 500);
        site.wait_acknowledged((group + 1) * 500);
    }
    assert_eq!(site.emitter.status().sinks[0].delivered, 0);
    drop(release);
    let expected: Vec<String> = journalled(directory.path()).iter().map(|e| e.id.to_string()).collect();
    let delivered: Vec<String> = (0..2_000).map(|_| ids.recv_timeout(DEADLINE).expect("delivered")).collect();
    assert_eq!(delivered, expected);
    assert!(directory.path().join("journal/events-00000002.jsonl").exists(), "2,000 events of some 800 bytes rotate at 1 MiB");
    site.stop();
}

#[test]
fn a_sink_goes_on_where_it_stopped_and_a_lost_cursor_repeats_rather_than_skips() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (told, ids) = unbounded();
    let run = |hits: std::ops::Range<u64>, expected: usize| {
        let site = Site::start(directory.path(), vec![Box::new(TestSink { told: told.clone(), gate: None })]);
        site.hit(hits);
        wait_until("deliveries", || site.emitter.status().sinks[0].delivered == expected as u64);
        site.stop();
        ids.try_iter().collect::<Vec<_>>()
    };
    let first = run(0..3, 3);
    let second = run(3..5, 2);
    let all: Vec<String> = journalled(directory.path()).iter().map(|e| e.id.to_string()).collect();
    assert_eq!([first, second].concat(), all, "nothing twice after an orderly stop");
    let cursor = directory.path().join("journal/test.cursor");
    std::fs::write(&cursor, "nonsense").expect("written");
    assert_eq!(run(0..0, 5), all);
    std::fs::remove_file(&cursor).expect("removed");
    assert_eq!(run(0..0, 5), all);
}

#[test]
fn whoever_watches_events_sees_those_after_a_reload_too() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let recent = Arc::<Recent>::default();
    let watched = recent.subscribe(16);
    for run in 0..3 {
        let site = Site::start_watched(directory.path(), Vec::new(), Arc::clone(&recent));
        site.hit(run * 2..run * 2 + 2);
        site.wait_acknowledged(2);
        site.stop();
    }
    assert_eq!(watched.try_iter().map(|e| e.frame_sequence).collect::<Vec<_>>(), (0..6).collect::<Vec<_>>());
    assert_eq!(recent.newest(16).len(), 6);
}

#[test]
fn withdrawing_the_sign_withholds_what_was_not_yet_told() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let site = Site::start(directory.path(), Vec::new());
    site.hit(0..2);
    site.wait_acknowledged(2);
    site.policy.withdraw_sign("hall-1", "tester", "test").expect("withdrawn");
    site.hit(2..5);
    wait_until("the hits are withheld", || site.emitter.counters.withheld.get() == 3);
    site.policy.post_sign("hall-1", "tester").expect("posted");
    let inspection = Inspection::new("tester", None, None, site.clock.utc()).expect("valid");
    site.policy.inspect_sign("hall-1", &inspection).expect("recorded");
    let lit = || site.leases.state(StreamIndex(0), site.clock.monotonic()) == StreamState::Recognise;
    wait_until("leave is given again", lit);
    site.hit(5..6);
    site.wait_acknowledged(3);
    assert_eq!(sequences(&journalled(directory.path())), [0, 1, 5]);
    site.stop();
}

#[test]
fn two_writers_on_one_journal_are_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let site = Site::start(directory.path(), Vec::new());
    let second = placard::emit::journal::Journal::open(&directory.path().join("journal"), 1).err().expect("locked");
    assert!(second.to_string().contains("another process"), "{second}");
    site.stop();
    placard::emit::journal::Journal::open(&directory.path().join("journal"), 1).expect("free again");
}

/// Everything that this thread starts sees a small tmpfs at `path`; nobody else does.
fn small_tmpfs(path: &Path) -> bool {
    std::fs::create_dir_all(path).expect("directory");
    let mount = |arguments: &[&str]| Command::new("mount").args(arguments).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok()
        && mount(&["--make-rprivate", "/"])
        && mount(&["-t", "tmpfs", "-o", "size=512k", "tmpfs", &path.display().to_string()])
}

#[test]
fn a_really_full_disk_delays_events_and_loses_none() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().to_owned();
    // A thread of its own, because the mount namespace is the thread's.
    let test = std::thread::spawn(move || {
        if !small_tmpfs(&path.join("journal")) {
            eprintln!("SKIPPED: no leave to mount a tmpfs");
            return;
        }
        let (told, ids) = unbounded();
        let site = Site::start(&path, vec![Box::new(TestSink { told, gate: None })]);
        site.hit(0..10);
        site.wait_acknowledged(10);
        let ballast = path.join("journal/ballast");
        let mut file = std::fs::File::create(&ballast).expect("created");
        while file.write_all(&[0; 4_096]).is_ok() {}
        drop(file);
        site.hit(10..200);
        wait_until("the journal fails", || site.emitter.counters.journal_errors.get() >= 3);
        assert_eq!(site.emitter.status().journal_failing.as_deref(), Some("no space"));
        assert!(!site.emitter.is_ready() && site.emitter.alarms()[0].contains("no space"), "{:?}", site.emitter.alarms());
        let on_disk = journalled(&path);
        assert_eq!(on_disk.len() as u64, site.emitter.counters.events.get(), "what is there is acknowledged, and nothing is torn");
        std::fs::remove_file(&ballast).expect("removed");
        site.wait_acknowledged(200);
        assert!(site.emitter.is_ready());
        let kept = journalled(&path);
        assert_eq!(sequences(&kept), (0..200).collect::<Vec<_>>());
        // The cursor lies on the same disk: that it could not be saved meanwhile lost nothing and repeated nothing.
        let delivered: Vec<String> = (0..200).map(|_| ids.recv_timeout(DEADLINE).expect("delivered")).collect();
        assert_eq!(delivered, kept.iter().map(|e| e.id.to_string()).collect::<Vec<_>>());
        site.stop();
    });
    test.join().expect("the test's thread");
}

const CHILD_DIRECTORY: &str = "PLACARD_TEST_EMIT_CHILD";
const CHILD_BROKER: &str = "PLACARD_TEST_EMIT_BROKER";

/// Not a test by itself: what the tests below start and kill. Emits without end and prints each acknowledged id.
#[test]
#[ignore = "started by the tests that kill it"]
fn child_emits_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY).map(PathBuf::from) else { return };
    let port = std::env::var(CHILD_BROKER).ok().map(|p| p.parse().expect("a port"));
    let sinks: Vec<Box<dyn Sink>> =
        port.into_iter().map(|p| Box::new(MqttSink::new(&mqtt(p), "child").expect("valid")) as Box<dyn Sink>).collect();
    let site = Site::start(&directory, sinks);
    let acknowledged = site.emitter.recent.subscribe(100_000);
    let (tasks, now, lease_epoch) = (site.tasks.clone(), site.clock.now(), site.lease_epoch());
    std::thread::spawn(move || (0..).find(|n| tasks.send(draft(*n, now, lease_epoch)).is_err()));
    let mut out = std::io::stdout().lock();
    for event in acknowledged {
        writeln!(out, "ACK {}", event.id).and_then(|()| out.flush()).expect("the parent listens");
    }
}

struct Emitting {
    child: std::process::Child,
    acknowledged: Box<dyn Iterator<Item = String>>,
}

fn start_child(directory: &Path, port: Option<u16>) -> Emitting {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["child_emits_until_it_is_killed", "--exact", "--ignored", "--nocapture"]);
    command.env(CHILD_DIRECTORY, directory).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(port) = port {
        command.env(CHILD_BROKER, port.to_string());
    }
    let mut child = command.spawn().expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    // A line that was cut off by the kill has no full id, and counts as not said.
    let acknowledged = lines.filter_map(|l| l.split_once("ACK ").map(|(_, id)| id.to_owned())).filter(|id| id.len() == 32);
    Emitting { child, acknowledged: Box::new(acknowledged) }
}

impl Emitting {
    /// kill -9 after `count` acknowledgements; returns all that were said before it died.
    fn kill_after(mut self, count: usize) -> Vec<String> {
        let mut ids: Vec<String> = self.acknowledged.by_ref().take(count).collect();
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        ids.extend(self.acknowledged);
        ids
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut said = Vec::new();
    for round in 0..8 {
        said.extend(start_child(directory.path(), None).kill_after(20 + round * 37));
        // Opening repairs what the kill left, as the next start would.
        drop(placard::emit::journal::Journal::open(&directory.path().join("journal"), 1).expect("opens"));
        let events = journalled(directory.path());
        let ids: HashSet<&str> = events.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(ids.len(), events.len(), "round {round}: nothing stands twice");
        let missing = said.iter().filter(|id| !ids.contains(id.as_str())).count();
        assert_eq!(missing, 0, "round {round}: {missing} of {} acknowledged events are gone", said.len());
    }
    assert!(said.len() > 8 * 20);
}

#[test]
fn the_last_will_tells_that_the_process_died() {
    let Some(program) = mosquitto() else { return };
    let directory = tempfile::tempdir().expect("temporary directory");
    let broker = Broker::start(program, directory.path(), "");
    let subscriber = broker.subscribe(&[]);
    let child = start_child(directory.path(), Some(broker.port));
    subscriber.wait_available("online");
    assert!(!child.kill_after(10).is_empty());
    subscriber.wait_available("offline");
    drop(subscriber);
    let late = broker.subscribe(&["--id", "latecomer", "--retained-only"]);
    let message = late.wait_available("offline");
    assert!(message.retained, "whoever comes later learns it too");
}

/// The next start delivers what the dead process had acknowledged and not yet sent, over the end of a journal file as within one.
#[test]
fn what_a_dead_process_had_not_sent_is_sent_by_the_next() {
    let Some(program) = mosquitto() else { return };
    let directory = tempfile::tempdir().expect("temporary directory");
    let broker = Broker::start(program, directory.path(), "");
    let subscriber = broker.subscribe(&[]);
    let child = start_child(directory.path(), Some(broker.port));
    subscriber.wait_available("online");
    // More than one journal file holds.
    let acknowledged = child.kill_after(1_500);
    let site = Site::start(directory.path(), vec![Box::new(MqttSink::new(&mqtt(broker.port), "child").expect("valid"))]);
    let journal = journalled(directory.path());
    let ids: HashSet<&str> = journal.iter().map(|e| e.id.as_str()).collect();
    assert!(acknowledged.iter().all(|id| ids.contains(id.as_str())), "what was acknowledged is in the journal");
    let expected = sequences(&journal);
    let arrived = subscriber.events_until(*expected.last().expect("not empty"));
    assert_eq!(first_arrivals(&arrived), expected, "every event, in the journal's order");
    site.stop();
    // A cursor counts lines and bytes from the beginning of its file, not of the journal.
    let cursor = load_cursor(&directory.path().join("journal/mqtt.cursor")).expect("saved");
    let file = directory.path().join(format!("journal/events-{:08}.jsonl", cursor.file));
    assert!(cursor.file >= 2, "{cursor:?}");
    assert_eq!(cursor.offset, std::fs::metadata(file).expect("there").len(), "nothing would be sent again");
}

#[test]
fn the_event_schema_is_written_down() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.schema.json");
    let schema = format!("{:#}\n", Event::schema());
    if std::env::var_os("PLACARD_UPDATE_DOCS").is_some() {
        std::fs::write(&file, &schema).expect("written");
    }
    let written = std::fs::read_to_string(&file).expect("docs/events.schema.json");
    assert_eq!(written, schema, "run `PLACARD_UPDATE_DOCS=1 cargo test --test emit the_event_schema`");
}

#[test]
fn an_event_in_the_journal_is_plain_json_and_fits_its_schema() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let site = Site::start(directory.path(), Vec::new());
    site.hit(7..8);
    site.wait_acknowledged(1);
    let line = std::fs::read_to_string(directory.path().join("journal/events-00000001.jsonl")).expect("readable");
    let value: serde_json::Value = serde_json::from_str(line.trim_end()).expect("plain JSON");
    let schema = Event::schema();
    // What every event has, and what its kind has.
    let kinds = schema["oneOf"].as_array().expect("one of the kinds");
    let kind = kinds.iter().find(|k| k["properties"]["kind"]["const"] == value["kind"]).expect("a kind that is written down");
    // The kind's own members stand beside it, or in the definition that it refers to.
    let own = kind["$ref"].as_str().map_or(kind, |r| &schema["$defs"][r.rsplit('/').next().expect("a name")]);
    let of = |part: &str| {
        let keys = |s: &serde_json::Value| match &s[part] {
            serde_json::Value::Object(properties) => properties.keys().cloned().collect(),
            serde_json::Value::Array(names) => names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        [&schema, kind, own].into_iter().flat_map(keys).collect::<HashSet<String>>()
    };
    let (known, present) = (of("properties"), value.as_object().expect("an object"));
    assert!(present.keys().filter(|k| *k != "crc").all(|k| known.contains(k)), "{present:?}");
    assert!(of("required").iter().all(|k| present.contains_key(k)));
    assert_eq!(value["Frame"][0]["Object"][0]["Appearance"]["Shape"]["BoundingBox"]["@left"], 10.0);
    let scale = &value["Frame"][0]["Transformation"]["Scale"];
    assert_eq!((&scale["@x"], &scale["@y"]), (&(2.0 / 1_024.0).into(), &(-2.0 / 512.0).into()));
    assert_eq!((&value["review"], &value["confirmations"]), (&"pending".into(), &1.into()), "a task for a human, always");
    let again: Event = serde_json::from_value(value).expect("reads back");
    assert_eq!(Arc::new(again), site.emitter.recent(1)[0].clone());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(directory.path().join("journal/events-00000001.jsonl")).expect("there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    site.stop();
}
