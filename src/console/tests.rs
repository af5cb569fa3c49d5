//! The console from outside: over its socket and its loopback port, with a made-up appliance behind it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::client::{Client, ClientError, segment};
use super::fake::Fake;
use super::public::PublicView;
use super::server::MAX_TCP_CONNECTIONS;
use super::view::{CurveView, ReloadView, SignView, StatusView, StepView, StreamView, TransitionView};
use super::*;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    fake: Arc<Fake>,
    console: Console,
    client: Client,
    _directory: tempfile::TempDir,
}

fn start() -> Running {
    let directory = tempfile::tempdir().expect("temporary directory");
    let socket = directory.path().join("control.sock");
    let fake = Fake::new();
    let any = Some("127.0.0.1:0".parse().expect("address"));
    let addresses = Addresses { loopback: any, public: any };
    let console = Console::start(Arc::clone(&fake) as Arc<dyn Appliance>, &socket, addresses).expect("started");
    Running { fake, console, client: Client::new(socket).expect("runtime"), _directory: directory }
}

/// One HTTP/1.0 exchange over loopback: (status line, body).
fn fetch(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "{request} HTTP/1.0\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

#[test]
fn every_path_answers_what_the_appliance_says() {
    let running = start();
    let client = &running.client;
    let status: StatusView = client.get("/v1/status").expect("status");
    let expected = running.fake.status();
    assert_eq!((status.site.as_str(), &status.alarms), ("Central Station", &expected.alarms));
    let streams: Vec<StreamView> = client.get("/v1/streams").expect("streams");
    assert_eq!(streams.len(), 4);
    assert_eq!(streams[0].state, "recognise");
    let steps: Vec<StepView> = client.get("/v1/latency").expect("latency");
    assert_eq!(steps.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["detect", "track", "embed", "match", "journey"]);
    assert!(steps[0].p50_ms > 3.0 && steps[0].p50_ms <= steps[0].p99_ms && steps[4].negative == 1, "{steps:?}");
    let curves: Vec<CurveView> = client.get("/v1/latency/curves").expect("curves");
    assert!(
        curves[0].name == "detect" && curves[0].points.windows(2).all(|w| w[0].1 <= w[1].1) && curves[0].points[0].1 > 0.0,
        "{curves:?}"
    );
    let events: Vec<serde_json::Value> = client.get("/v1/events/recent?limit=2").expect("events");
    assert_eq!(events.len(), 2);
    let timeline: Vec<TransitionView> = client.get("/v1/policy/timeline").expect("timeline");
    assert_eq!(timeline[1].to, "recognise");
    let sign: SignView = client.post("/v1/signs/gate-1/withdraw").expect("withdrawn");
    assert_eq!((sign.state.as_str(), running.fake.withdrawn.load(SeqCst)), ("withdrawn", true));
    let reload: ReloadView = client.post("/v1/gallery/reload").expect("reloaded");
    assert_eq!(reload.applied, ["gallery"]);
}

#[test]
fn who_speaks_of_a_sign_and_why_is_handed_on() {
    let running = start();
    let post = |path: String| running.client.post::<SignView>(&path);
    let (by, reason) = (segment("吴 L. & Söhne+1"), segment("fell\ndown: 100 % gone?"));
    post(format!("/v1/signs/gate-1/withdraw?by={by}&reason={reason}")).expect("withdrawn");
    post("/v1/signs/gate-1/withdraw".to_owned()).expect("withdrawn, by nobody who says so");
    post(format!("/v1/signs/gate-1/withdraw?reason={}", "x".repeat(5_000))).expect("withdrawn, however much is said");
    post("/v1/signs/gate-1/post?by=l.wu".to_owned()).expect_err("the fake refuses");
    let inspected = post(format!("/v1/signs/gate-1/inspect?by=l.wu&at={}", segment("2026-11-21T08:30:00+08:00"))).expect("inspected");
    assert_eq!(inspected.state, "inspected");
    post(format!("/v1/signs/gate-1/inspect?photo_sha256={}", "0f".repeat(32))).expect("the fake takes it");
    let said = running.fake.said.lock();
    let expected = [
        "withdraw gate-1: 吴 L. & Söhne+1: fell down: 100 % gone?".to_owned(),
        "withdraw gate-1: control socket: ".to_owned(),
        format!("withdraw gate-1: control socket: {}", "x".repeat(1_000)),
        "post gate-1: l.wu".to_owned(),
        "inspect gate-1: l.wu: Some(\"2026-11-21T08:30:00+08:00\") None".to_owned(),
        format!("inspect gate-1: : None Some(\"{}\")", "0f".repeat(32)),
    ];
    assert_eq!(*said, expected, "an inspection gets no name that nobody gave");
    drop(said);
    let beaten: AlternativeView = running.client.post("/v1/alternatives/card%2D1/beat").expect("heard");
    assert_eq!((beaten.alternative.as_str(), beaten.counts_s), ("card-1", 300));
    let verified: VerificationView = running.client.post("/v1/streams/gate/verify?person=anna&within_s=60").expect("answered");
    assert_eq!(verified.outcome, "match");
    let refused = running.client.post::<VerificationView>("/v1/streams/gate/verify?person=ben");
    assert!(
        matches!(refused, Err(ClientError::Declined { kind, message, .. }) if kind == "refused" && message.contains("[consent-given]"))
    );
    let asked = running.fake.said.lock().split_off(expected.len() + 1);
    assert_eq!(asked, ["verify anna on gate within 8 s", "verify ben on gate within 5 s"], "nobody waits for longer than 8 s");
}

#[test]
fn refusals_keep_their_kind_and_their_words() {
    let running = start();
    let declined = |result: Result<serde_json::Value, ClientError>| match result {
        Err(ClientError::Declined { kind, message, .. }) => (kind, message),
        other => panic!("{other:?}"),
    };
    let client = &running.client;
    let pair = |kind: &str, message: &str| (kind.to_owned(), message.to_owned());
    assert_eq!(declined(client.post(&format!("/v1/signs/{}/withdraw", segment("a b/ü")))), pair("not-found", "no sign `a b/ü`"));
    assert_eq!(declined(client.post("/v1/signs/gate-1/post")), pair("refused", "posting needs a second person"));
    assert_eq!(declined(client.post("/v1/reload")), pair("invalid", "wall.toml:3:1: detect.modle: unknown key"));
    assert_eq!(declined(client.get("/v1/reload")).0, "refused");
    assert_eq!(declined(client.get("/v2/status")), pair("not-found", "nothing answers at /v2/status"));
    // One broken answer does not end the console.
    assert_eq!(declined(client.post("/v1/signs/panic/withdraw")).0, "failed");
    assert!(client.get::<StatusView>("/v1/status").is_ok());
}

#[test]
fn tcp_answers_health_and_metrics_only() {
    let running = start();
    let address = running.console.http_address().expect("bound");
    assert!(address.port() != 0);
    assert_eq!(fetch(address, "GET /live"), ("HTTP/1.0 200 OK".to_owned(), "live\n".to_owned()));
    assert_eq!(fetch(address, "GET /ready").1, "ready\n");
    running.fake.ready.store(false, SeqCst);
    let not_ready = fetch(address, "GET /ready");
    assert_eq!(not_ready, ("HTTP/1.0 503 Service Unavailable".to_owned(), "not ready: the policy thread is silent\n".to_owned()));
    for closed in ["GET /v1/status", "GET /v1/streams", "POST /v1/reload", "POST /v1/signs/gate-1/withdraw"] {
        assert!(fetch(address, closed).0.ends_with("404 Not Found"), "{closed}");
    }
    assert!(fetch(address, "POST /metrics").0.ends_with("405 Method Not Allowed"));
    assert!(!running.fake.withdrawn.load(SeqCst));
}

#[test]
fn metrics_follow_the_format() {
    let running = start();
    let (_, text) = fetch(running.console.http_address().expect("bound"), "GET /metrics");
    for line in [
        "# TYPE placard_batch_frames counter",
        "placard_batch_frames_total{stream=\"north-gate\"} 1234",
        "placard_batch_frames_total{stream=\"hall-2\"} 99",
        "placard_stream_state{stream=\"north-gate\",state=\"recognise\"} 1",
        "placard_stream_state{stream=\"north-gate\",state=\"off\"} 0",
        "placard_stream_live{stream=\"platform-7-east\"} 0",
        "placard_step_latency_negative_total{step=\"journey\"} 1",
        "# UNIT placard_step_latency_seconds seconds",
        "placard_step_latency_seconds_bucket{le=\"+Inf\",step=\"detect\"} 1000",
        "placard_step_latency_seconds_count{step=\"detect\"} 1000",
        "placard_policy_alive 1.0",
        "placard_batch_withheld_total 5",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    // Buckets only ever grow, and each family is described exactly once.
    let detect = text.lines().filter(|l| l.contains("_bucket{") && l.contains("step=\"detect\""));
    let counts: Vec<u64> = detect.filter_map(|l| l.rsplit(' ').next()?.parse().ok()).collect();
    assert!(counts.len() == 15 && counts.is_sorted() && counts[0] == 0, "{counts:?}");
    let mut families: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), all);
    assert!(text.lines().all(|l| l.starts_with('#') || l.starts_with("placard_")));
}

#[test]
fn the_socket_is_private_and_only_a_dead_one_is_replaced() {
    let running = start();
    let socket = running.client.socket().to_owned();
    assert_eq!(std::fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o660);
    let second = Console::start(Fake::new(), &socket, Addresses::default());
    assert!(matches!(second, Err(ConsoleError::AlreadyRunning(_))), "a socket that answers is somebody's");
    assert!(running.client.get::<StatusView>("/v1/status").is_ok());
    drop(running.console);
    assert!(!socket.exists());
    let gone = running.client.get::<StatusView>("/v1/status").expect_err("nobody there");
    assert!(matches!(gone, ClientError::NotRunning { .. }) && gone.to_string().contains("placard run"), "{gone}");
    // As a crash leaves it: the file is there, nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    assert!(socket.exists());
    let _third = Console::start(Fake::new(), &socket, Addresses::default()).expect("replaces the dead socket");
    assert!(running.client.get::<StatusView>("/v1/status").is_ok());
}

#[test]
fn what_cannot_be_bound_says_what_to_do() {
    let nowhere =
        Console::start(Fake::new(), "/nonexistent/control.sock".as_ref(), Addresses::default()).err().expect("refused").to_string();
    assert!(nowhere.contains("its directory does not exist"), "{nowhere}");
    let directory = tempfile::tempdir().expect("temporary directory");
    let long =
        Console::start(Fake::new(), &directory.path().join("x".repeat(120)), Addresses::default()).err().expect("refused").to_string();
    assert!(long.contains("too long"), "{long}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound");
    let busy = Console::start(Fake::new(), &directory.path().join("s"), Addresses { public: None, loopback: Some(address) })
        .err()
        .expect("refused")
        .to_string();
    assert!(busy.contains("[http] listen"), "{busy}");
    assert!(!directory.path().join("s").exists());
}

/// Connections to `port` that the console has taken from the kernel: those have an inode, the waiting ones have none.
fn taken(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("the kernel's table");
    let local = format!(":{port:04X}");
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|f| f.len() > 9 && f[1].ends_with(&local) && f[3] == "01" && f[9] != "0").count()
}

#[test]
fn two_hundred_half_requests_delay_no_withdrawal_and_hold_no_more_than_their_share() {
    let running = start();
    let address = running.console.http_address().expect("bound");
    let half = b"GET /live HTTP/1.1\r\nhost: local";
    let mut loopback: Vec<TcpStream> = Vec::new();
    for _ in 0..180 {
        let mut stream = TcpStream::connect(address).expect("the kernel takes them");
        stream.write_all(half).expect("sent");
        loopback.push(stream);
    }
    let mut control: Vec<UnixStream> = Vec::new();
    for _ in 0..20 {
        let mut stream = UnixStream::connect(running.client.socket()).expect("connected");
        stream.write_all(half).expect("sent");
        control.push(stream);
    }
    let begun = Instant::now();
    let mut held = 0;
    while held < MAX_TCP_CONNECTIONS {
        held = taken(address.port());
        assert!(held <= MAX_TCP_CONNECTIONS, "{held} descriptors");
        assert!(begun.elapsed() < PATIENCE, "{held} of {MAX_TCP_CONNECTIONS} connections taken");
        std::thread::yield_now();
    }
    let sign: SignView = running.client.post("/v1/signs/gate-1/withdraw").expect("withdrawn in time");
    assert_eq!((sign.state.as_str(), running.fake.withdrawn.load(SeqCst)), ("withdrawn", true));
    assert!(taken(address.port()) <= MAX_TCP_CONNECTIONS);
    // Whoever does not finish asking is hung up on, on both.
    for stream in &loopback {
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
    }
    control[0].set_read_timeout(Some(PATIENCE)).expect("set");
    let mut rest = Vec::new();
    loopback[0].read_to_end(&mut rest).expect("hung up on");
    control[0].read_to_end(&mut rest).expect("hung up on");
    // And the last of them has had its turn when all before it have.
    loopback[179].write_all(b"\r\n\r\n").expect("sent");
    rest.clear();
    loopback[179].read_to_end(&mut rest).expect("answered");
    assert!(rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_request_without_end_is_refused() {
    let running = start();
    let mut stream = TcpStream::connect(running.console.http_address().expect("bound")).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let (mut sent, line) = (0, [b'x'; 4_096]);
    stream.write_all(b"GET /").expect("sent");
    // The console stops reading, answers and hangs up; how much the kernel still takes meanwhile is its own affair.
    while sent < 64 << 20 {
        match stream.write(&line) {
            Ok(bytes) => sent += bytes,
            Err(_hung_up) => break,
        }
    }
    assert!(sent < 64 << 20, "everything was taken");
}

#[test]
fn the_public_page_is_read_only_and_knows_nothing_of_the_control_api() {
    let running = start();
    let public = running.console.public_address().expect("bound");
    let (head, body) = fetch(public, "GET /");
    assert!(head.contains("200") && body.contains("Central Station") && body.contains("Running: faces are recognised"), "{head} {body}");
    let (head, body) = fetch(public, "GET /status.json");
    let view: PublicView = serde_json::from_str(&body).expect("JSON");
    assert!(head.contains("200") && Some(view) == running.fake.public(), "{body}");
    for path in ["/v1/status", "/v1/streams", "/v1/events/recent", "/v1/register", "/metrics", "/live", "/status.json/.."] {
        assert!(fetch(public, &format!("GET {path}")).0.contains("404"), "{path}");
    }
    for path in ["/", "/status.json", "/v1/signs/s/withdraw"] {
        let (head, _) = fetch(public, &format!("POST {path}"));
        assert!(head.contains("404") || head.contains("405"), "{path}: {head}");
    }
    assert!(running.fake.said.lock().is_empty(), "nothing was done");
}

fn wait_until(what: &str, condition: &dyn Fn() -> bool) {
    let (begun, pause) = (Instant::now(), crate::shutdown::Shutdown::new());
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited for: {what}");
        pause.wait(Duration::from_millis(2));
    }
}

#[test]
fn whoever_hangs_up_is_not_waited_for_and_nobody_claims_in_long_words() {
    let running = start();
    let said = |text: &str| running.fake.said.lock().iter().any(|line| line.contains(text));
    let mut stream = UnixStream::connect(running.client.socket()).expect("connects");
    stream.write_all(b"POST /v1/streams/gate/verify?person=slow HTTP/1.1\r\nhost: placard\r\n\r\n").expect("asked");
    wait_until("the claim is open", &|| said("verify slow"));
    assert!(!said("hung up"));
    drop(stream);
    wait_until("it ends with its caller", &|| said("hung up"));
    let long = "x".repeat(129);
    let refused = running.client.post::<VerificationView>(&format!("/v1/streams/gate/verify?person={long}"));
    assert!(
        matches!(&refused, Err(ClientError::Declined { kind, message, .. }) if kind == "invalid" && message.contains("128")),
        "{refused:?}"
    );
    assert!(!said(&long));
}
