//! Signs that are watched, through the whole appliance: a rendered camera, the real wiring, the real policy thread. What happens to the sign
//! or the camera darkens the stream within `attest_every_s` and a second; what is undone lights it again; in between nobody but attestation
//! opens a picture. And the operator's way: `sign view` learns where the sign hangs, `status` and `policy explain` say why it is dark.
//!
//! Time is simulated and pictures come one by one, when the test lets them ([`Turnstile`]): a busy machine makes this slower and changes
//! nothing. Where something must happen by a time the clock stands still at that time until it has.

#[path = "support/site.rs"]
mod site;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use placard::appliance::{Appliance, Plan, Plane};
use placard::clock::{Clock, Monotonic, SimulatedClock, Stamp, SystemClock, Utc};
use placard::console::Appliance as Console;
use placard::console::view::StreamView;
use placard::frame::StreamIndex;
use placard::gallery::seal::SiteKey;
use placard::ingest::IngestCounters;
use placard::policy::facts::Register;
use placard::shutdown::Shutdown;
use placard::signs::code::Signer;
use site::{Models, PATIENCE, Site, Stream};

const NORTH: StreamIndex = StreamIndex(0);
const EVERY_S: u64 = 2;
/// Between two pictures, as the scene has it.
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 15);
/// The worker looks at its clock ten times a second of real time; a picture that it waits for comes after that.
const BREATH: Duration = Duration::from_millis(130);

/// A clock that the camera's thread waits in until the test lets the next picture come. To everybody else it is the simulated one.
struct Turnstile {
    clock: Arc<SimulatedClock>,
    granted: AtomicU64,
    open: AtomicBool,
    arrived: OnceLock<Arc<IngestCounters>>,
    pause: Shutdown,
}

impl Turnstile {
    fn new() -> Arc<Self> {
        let clock = SimulatedClock::starting_at(SystemClock.utc());
        Arc::new(Self { clock, granted: AtomicU64::new(0), open: AtomicBool::new(false), arrived: OnceLock::new(), pause: Shutdown::new() })
    }
    fn arrived(&self) -> Option<u64> {
        self.arrived.get().map(|counters| counters.frames_total.get())
    }
    fn may_pass(&self) -> bool {
        self.open.load(SeqCst) || self.arrived().is_some_and(|arrived| arrived < self.granted.load(SeqCst))
    }
}

impl Clock for Turnstile {
    fn monotonic(&self) -> Stamp<Monotonic> {
        let camera = std::thread::current().name().is_some_and(|name| name.starts_with("ingest-"));
        while camera && !self.may_pass() {
            self.pause.wait(Duration::from_millis(2));
        }
        self.clock.monotonic()
    }
    fn utc(&self) -> Stamp<Utc> {
        self.clock.utc()
    }
}

/// A site with one stream, which was commissioned to see its sign; what happens to it then.
fn commissioned(acts: &str) -> Site {
    let source = "rendered:concourse?seed=4";
    let site = Site::commission(Models::Bundled, &["missing-person:mp-7"], &[Stream::new("north", source)], "");
    let register = Register::load(&site.state().register()).expect("a register");
    let sign = register.sign("hall-sign").expect("the sign");
    let signer = Signer::of(&SiteKey::load_or_create(&site.state()).expect("a key")).expect("a signer");
    let code = signer.issue(&sign.id, &sign.zone, &sign.text, SystemClock.utc()).expect("a code");
    rewrite(&site, source, &format!("{source}&sign={code}"));
    let pipeline = site.pipeline();
    let pipeline = pipeline.to_str().expect("a name");
    let every = EVERY_S.to_string();
    let arguments = ["sign", "view", "north", "hall-sign", "--pipeline", pipeline, "--seconds", "10", "--every", &every];
    let learned = run(&site, &arguments);
    assert!(learned.contains("stream `north` sees sign `hall-sign`") && learned.contains("in force"), "{learned}");
    rewrite(&site, &code, &format!("{code}{acts}"));
    site
}

fn rewrite(site: &Site, from: &str, to: &str) {
    let text = std::fs::read_to_string(site.pipeline()).expect("readable");
    assert!(text.contains(from), "`{from}` is not in {text}");
    std::fs::write(site.pipeline(), text.replacen(from, to, 1)).expect("writable");
}

fn run(site: &Site, arguments: &[&str]) -> String {
    let output = site.command(arguments).output().expect("runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}\n{err}");
    out.into_owned()
}

struct World {
    appliance: Arc<Appliance>,
    plane: Arc<Plane>,
    turnstile: Arc<Turnstile>,
    /// When the last look was seen to have been made, and how many there were.
    looked: (Stamp<Monotonic>, u64),
    _site: Site,
}

impl World {
    fn start(acts: &str) -> Self {
        let (site, turnstile) = (commissioned(acts), Turnstile::new());
        rewrite(&site, "name = \"north\"\n", "name = \"north\"\nrealtime = false\ndetect_every = 5\n");
        let plan = Plan::new(&site.pipeline(), site.state(), turnstile.clone()).expect("a valid pipeline");
        let appliance = Appliance::start(plan).expect("starts");
        let plane = appliance.plane().expect("a plane");
        assert!(turnstile.arrived.set(Arc::clone(&plane.streams[0].ingest)).is_ok());
        let looked = (turnstile.clock.monotonic(), 0);
        Self { appliance, plane, turnstile, looked, _site: site }
    }

    fn now(&self) -> Stamp<Monotonic> {
        self.turnstile.clock.monotonic()
    }
    fn stream(&self) -> StreamView {
        self.appliance.status().streams.remove(0)
    }
    fn looks(&self) -> u64 {
        let mut looks = 0;
        self.appliance.visit_counters(&mut |counters| {
            if counters.component() == "attest" {
                counters.visit(&mut |reading| {
                    if let placard::counters::Reading::Counter { name: "looks", value, .. } = reading {
                        looks = value;
                    }
                });
            }
        });
        looks
    }

    fn until(&self, what: &str, done: impl FnMut() -> bool) {
        let stream = || self.stream();
        assert!(self.within(PATIENCE, done), "waited in vain until {what}; {:?}", stream());
    }
    fn within(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let begun = Instant::now();
        loop {
            if done() {
                return true;
            }
            if begun.elapsed() > limit {
                return false;
            }
            self.turnstile.pause.wait(Duration::from_millis(3));
        }
    }

    /// One picture comes and is out of the ring again.
    fn picture(&self) {
        let granted = self.turnstile.granted.fetch_add(1, SeqCst) + 1;
        self.until("the picture came", || self.turnstile.arrived() == Some(granted));
        self.until("somebody took it", || self.plane.streams[0].ring.is_empty());
    }

    /// Time goes on by a picture; where a look is owed the clock stands still until it was made.
    fn step(&mut self) {
        self.turnstile.clock.advance(FRAME);
        self.picture();
        let owed = Duration::from_secs(EVERY_S) / 4;
        let begun = Instant::now();
        while self.now() >= self.looked.0.plus(owed) {
            let looks = self.looks();
            if looks > self.looked.1 {
                self.looked = (self.now(), looks);
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody looks for the sign: {:?}", self.stream());
            if !self.within(BREATH, || self.looks() > looks) {
                self.picture();
            }
        }
    }

    /// Until the scene has come to its second.
    fn until_second(&mut self, second: u64) {
        while self.turnstile.arrived() < Some(second * 15) {
            self.step();
        }
    }

    fn is_lit(&self) -> bool {
        self.stream().state == "recognise"
    }
    /// Frames that anybody but attestation was given, and frames that attestation was.
    fn opened(&self) -> (u64, u64) {
        let batch = &self.plane.streams[0].batch;
        (batch.frames_batched.get(), batch.frames_attested.get())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.turnstile.open.store(true, SeqCst);
        self.appliance.stop();
    }
}

/// What happens, from when to when, seconds of the scene, and what is then said.
const ACTS: [(&str, u64, &str); 4] = [
    ("covered", 5, "sign `hall-sign` cannot be read"),
    ("foreign", 18, "where sign `hall-sign` should hang"),
    ("moved", 31, "sign `hall-sign` is not where it was"),
    ("panned", 44, "stream `north` shows another view"),
];
const LASTS_S: u64 = 9;

#[test]
fn a_sign_that_is_covered_exchanged_or_moved_and_a_turned_camera_darken_the_stream_in_time_and_are_forgiven() {
    let acts: String = ACTS.iter().map(|(what, from, _)| format!("&{what}={from}-{}", from + LASTS_S)).collect();
    let mut world = World::start(&acts);
    assert!(!world.is_lit(), "nobody has read the sign yet");
    for (what, from, said) in ACTS {
        world.until_second(from - 2);
        world.until("it is lit", || world.is_lit());
        world.until_second(from);
        world.until(&format!("it is lit before anything is {what}"), || world.is_lit());
        // The next picture is the first that shows it.
        let limit = world.now().plus(Duration::from_secs(EVERY_S + 1));
        while world.now().plus(FRAME) < limit {
            world.step();
        }
        let dark = |stream: StreamView| stream.state == "off" && stream.reason.contains(said);
        world.until(&format!("{what}: it is dark and says so"), || dark(world.stream()));
        // Dark: what was on its way runs through, then only attestation opens anything.
        world.until_second(from + LASTS_S - 4);
        let (others, attested) = world.opened();
        let last = world.plane.last_look.frames(NORTH);
        // Not to the end: the first picture after it may be read before anybody asks here.
        world.until_second(from + LASTS_S - 1);
        assert_eq!((world.opened().0, world.plane.last_look.frames(NORTH)), (others, last), "{what}: somebody looked at people");
        assert!(world.opened().1 > attested, "{what}: nobody looks for the sign any more");
        assert!(!world.is_lit(), "{what}");
    }
    let end = ACTS[3].1 + LASTS_S;
    world.until_second(end + 2);
    world.until("it is lit again", || world.is_lit());
    let rules: Vec<String> = world.appliance.policy_timeline(100).into_iter().filter(|t| t.to == "off").map(|t| t.rule).collect();
    let expected = ["sign-attested", "sign-attested", "sign-attested", "view-steady"];
    assert!(rules.ends_with(&expected.map(str::to_owned)), "{rules:?}");
}

#[test]
fn status_and_explain_say_that_the_sign_cannot_be_read() {
    let site = commissioned("&covered=0-");
    let service = site.start();
    let said = "sign `hall-sign` cannot be read in the picture of `north`";
    service.wait_until("it says what is amiss", |status| status.streams[0].reason.contains(said));
    service.wait_until("it is off", |status| status.streams[0].state == "off" && status.streams[0].detected == 0);
    let explained = run(&site, &["policy", "explain", "north"]);
    let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(explained.contains("in force now: off") && explained.contains(said), "{explained}");
    assert!(explained.contains("sign-attested"), "{explained}");
}
