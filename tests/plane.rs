//! The whole appliance in this process, with real steps and real files: what a hung, a dead and a panicking policy thread, reloads without
//! end, and a start that fails do to it. Time is simulated, so that a busy machine changes nothing: leases end when a test says so.

#[path = "support/site.rs"]
mod site;
#[path = "support/streams.rs"]
mod streams;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, bounded};
use placard::appliance::{Appliance, Lasting, Plan, Plane, Sources, StartError};
use placard::clock::{Clock, Monotonic, SimulatedClock, Stamp, SystemClock};
use placard::config::source::SourceSpec;
use placard::console::{Appliance as Console, InspectionNote};
use placard::frame::StreamIndex;
use placard::policy::lease::{Detect, MAX_LEASE};
use placard::progress::{Observer, ProgressRegistry};
use placard::shutdown::Shutdown;
use site::{Models, PATIENCE, Site, Stream};

const STREAMS: [StreamIndex; 2] = [StreamIndex(0), StreamIndex(1)];

/// Threads are counted by name, and every appliance keeps the machine busy.
static ONE_AT_A_TIME: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// A site whose two streams play a clip each, over and over at the clips' own pace.
struct World {
    site: Site,
    clock: Arc<SimulatedClock>,
    clips: [PathBuf; 3],
}

impl World {
    fn new() -> Self {
        let media = tempfile::tempdir().expect("a temporary directory").keep();
        let clip = |name, size| streams::make_clip(&media, name, 30, size, &format!("{} ! matroskamux", streams::H264));
        let clips = [clip("north.mkv", (320, 240)), clip("south.mkv", (320, 240)), clip("other.mkv", (352, 288))];
        let stream = |name, clip: &PathBuf| Stream::new(name, &format!("file:{}", clip.display())).with("repeat = true\ndetect_every = 4");
        let streams = [stream("north", &clips[0]), stream("south", &clips[1])];
        let site = Site::commission(Models::Bundled, &["missing-person:mp-7"], &streams, "");
        Self { site, clock: SimulatedClock::starting_at(SystemClock.utc()), clips }
    }

    fn plan(&self) -> Plan {
        Plan::new(&self.site.pipeline(), self.site.state(), self.clock.clone()).expect("a valid pipeline")
    }

    fn start(&self) -> Arc<Appliance> {
        Appliance::start(self.plan()).expect("starts")
    }

    /// Replaces text in the pipeline file.
    fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.site.pipeline()).expect("readable");
        assert!(text.contains(from), "`{from}` is not in {text}");
        std::fs::write(self.site.pipeline(), text.replacen(from, to, 1)).expect("writable");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Left behind it is only clutter.
        let _clutter = self.clips[0].parent().map(std::fs::remove_dir_all);
    }
}

/// Looks until `done`; fails when patience ends.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let (begun, pause) = (Instant::now(), Shutdown::new());
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        pause.wait(Duration::from_millis(20));
    }
}

fn looks(plane: &Plane) -> [u64; 2] {
    STREAMS.map(|s| plane.last_look.frames(s))
}
fn withheld(plane: &Plane) -> [u64; 2] {
    [0, 1].map(|i| plane.streams[i].batch.frames_withheld.get())
}
fn arrived(plane: &Plane) -> [u64; 2] {
    [0, 1].map(|i| plane.streams[i].ingest.frames_total.get())
}
fn more(counts: [u64; 2], than: [u64; 2], by: u64) -> bool {
    counts.iter().zip(than).all(|(count, than)| *count >= than + by)
}

fn until_lit(appliance: &Appliance) {
    let plane = appliance.plane().expect("a plane");
    let before = looks(&plane);
    until("both streams are looked at", || more(looks(&plane), before, 2));
}

/// Frames go on arriving and none is looked at; status says so, and why.
fn assert_dark(world: &World, appliance: &Appliance, dark_since: Stamp<Monotonic>, how: &str) {
    let plane = appliance.plane().expect("a plane");
    let before = withheld(&plane);
    // A stream has one frame in flight: when one is withheld, the one before is through.
    until("frames are withheld", || more(withheld(&plane), before, 1));
    let (looked, before) = (looks(&plane), withheld(&plane));
    until("more frames are withheld", || more(withheld(&plane), before, 8));
    assert_eq!(looks(&plane), looked, "{how}: a frame was looked at");
    for stream in STREAMS {
        let last = plane.last_look.at(stream).expect("it was lit before");
        assert!(last.since_ns(dark_since) <= 1_000_000_000, "{how}: looked at more than a second later");
        assert!(plane.policy.table().permit::<Detect>(stream, world.clock.monotonic()).is_err());
    }
    // After a panic leases end at once, and its heart was heard a moment ago.
    // It may have been heard once more after the clock was put forward; time that stands still would never make it silent.
    until("the status says that the policy thread is silent", || {
        world.clock.advance(MAX_LEASE);
        !appliance.status().policy.alive
    });
    let status = appliance.status();
    for (stream, withheld) in status.streams.iter().zip(before) {
        assert_eq!(stream.state, "off", "{how}: {}", stream.reason);
        assert!(stream.reason.contains("lease-renewed") && stream.withheld >= withheld, "{how}: {}", stream.reason);
    }
    assert!(!status.policy.alive && status.alarms.iter().any(|a| a.contains("policy thread is silent")), "{how}: {:?}", status.alarms);
    assert!(!appliance.readiness().ready, "{how}");
}

#[test]
fn a_hung_dead_or_panicking_policy_thread_ends_every_look_and_a_thawed_one_resumes() {
    let _turn = ONE_AT_A_TIME.lock();
    let world = World::new();
    type Blow = fn(&Plane);
    let blows: [(&str, Blow); 3] =
        [("hung", |p| p.policy.freeze().expect("freezes")), ("stopped", |p| p.policy.stop()), ("panicking", |p| p.policy.break_down())];
    for (how, blow) in blows {
        let appliance = world.start();
        until_lit(&appliance);
        let plane = appliance.plane().expect("a plane");
        let struck_at = world.clock.monotonic();
        blow(&plane);
        // No lease is longer than this, so whatever happened to the thread, it is over now.
        world.clock.advance(MAX_LEASE);
        assert_dark(&world, &appliance, struck_at, how);
        if how == "hung" {
            plane.policy.thaw();
            until_lit(&appliance);
            until("status says so", || appliance.status().streams.iter().all(|s| s.state == "recognise"));
            assert!(appliance.status().policy.alive);
        }
        if how == "panicking" {
            let reasons = appliance.readiness().reasons.join(" ");
            assert!(reasons.contains("worker policy is lost"), "{reasons}");
        }
        appliance.stop();
    }
}

/// What a thread does over and over while the pipeline is reloaded; counts its rounds.
fn poll(appliance: &Appliance, done: &AtomicBool, rounds: &AtomicU64) {
    while !done.load(SeqCst) {
        let _ = (appliance.status(), appliance.readiness(), appliance.latencies());
        let _ = (appliance.recent_events(10), appliance.policy_timeline(10));
        appliance.visit_counters(&mut |counters| counters.visit(&mut |_| ()));
        appliance.tick();
        rounds.fetch_add(1, SeqCst);
    }
}

const RELOADS: usize = 50;
/// The sign is withdrawn while this reload is under way.
const WITHDRAWN_DURING: usize = 20;

fn reload_without_end(world: &World, appliance: &Appliance, tell: &Sender<String>) {
    let (done, rounds) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
    let (withdraw, told) = bounded::<()>(1);
    std::thread::scope(|scope| {
        rounds.iter().for_each(|r| drop(scope.spawn(|| poll(appliance, &done, r))));
        let withdrawing = scope.spawn(|| {
            told.recv().expect("told");
            // However the reload stands.
            until("the sign is withdrawn", || appliance.withdraw_sign("hall-sign", "test", "fell down").is_ok());
        });
        for n in 0..RELOADS {
            tell.send(format!("reload {n}")).expect("watched");
            match n % 3 {
                0 => world.edit("detect_every = 4", "detect_every = 3"),
                1 => world.edit("detect_every = 3", "detect_every = 4"),
                _ => world.edit("name = \"test", "name = \"test-"),
            }
            if n == WITHDRAWN_DURING {
                withdraw.send(()).expect("listening");
            }
            appliance.reload().expect("a valid pipeline");
        }
        withdrawing.join().expect("no panic");
        tell.send("ending the threads that poll".to_owned()).expect("watched");
        done.store(true, SeqCst);
    });
    assert!(rounds.iter().all(|r| r.load(SeqCst) > 1), "{rounds:?}");
}

#[test]
fn fifty_reloads_while_others_ask_and_a_sign_is_withdrawn_neither_hang_nor_light_a_stream() {
    let _turn = ONE_AT_A_TIME.lock();
    let world = World::new();
    let (tell, steps) = bounded(4);
    let test = std::thread::spawn(move || {
        let appliance = world.start();
        until_lit(&appliance);
        reload_without_end(&world, &appliance, &tell);
        // Withdrawn half-way: the pipelines started since have not looked once.
        appliance.reload().expect("valid");
        let plane = appliance.plane().expect("a plane");
        let before = withheld(&plane);
        until("frames are withheld", || more(withheld(&plane), before, 4));
        assert_eq!(looks(&plane), [0, 0]);
        assert!(appliance.status().streams.iter().all(|s| s.state == "off" && s.reason.contains("withdrawn")));
        appliance.post_sign("hall-sign", "test").expect("posted");
        appliance.inspect_sign("hall-sign", InspectionNote { by: "test".to_owned(), ..InspectionNote::default() }).expect("inspected");
        until_lit(&appliance);
        tell.send("stopping".to_owned()).expect("watched");
        appliance.stop();
    });
    // The watchdog: a thread that waits for ever is not joined, it is reported.
    let mut last = "the start".to_owned();
    loop {
        match steps.recv_timeout(2 * PATIENCE) {
            Ok(step) => last = step,
            Err(crossbeam::channel::RecvTimeoutError::Timeout) => {
                panic!("deadlock? nothing has moved for {} s since: {last}", 2 * PATIENCE.as_secs())
            }
            Err(crossbeam::channel::RecvTimeoutError::Disconnected) => break,
        }
    }
    test.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn a_reload_restarts_the_streams_that_it_changes_and_no_others() {
    let _turn = ONE_AT_A_TIME.lock();
    let world = World::new();
    let appliance = world.start();
    until_lit(&appliance);
    let plane = appliance.plane().expect("a plane");
    let restarts = || [0, 1].map(|i| plane.streams[i].ingest.restarts_total.get());
    let permits = || STREAMS.map(|s| plane.policy.table().permit::<Detect>(s, world.clock.monotonic()).expect("lit"));
    let [north, south] = permits();
    let connections = || [0, 1].map(|i| plane.streams[i].ingest.connections_total.get());
    let before = connections();
    world.edit("south.mkv", "other.mkv");
    assert_eq!(appliance.reload().expect("valid").applied[0], "stream `south`");
    let frames = arrived(&plane);
    assert!(Arc::ptr_eq(&plane, &appliance.plane().expect("a plane")), "the same pipeline");
    assert!(north.stands() && !south.stands(), "the lease, and with it the tracks, of the changed stream alone ended");
    assert_eq!((restarts(), connections()[0]), ([0, 1], before[0]));
    until("both streams go on", || more(arrived(&plane), frames, 8));
    until_lit(&appliance);
    assert_eq!(plane.streams.iter().map(|s| s.health().width).collect::<Vec<_>>(), [320, 352]);
    assert!(appliance.status().streams[1].source.contains("other.mkv"));
    // What is not the source's takes effect without touching it; what only looks different changes nothing.
    let [north, south] = permits();
    world.edit("detect_every = 4", "detect_every = 1\nthreshold = 0.9");
    world.edit("name = \"test\"", "# nothing new\nname = \"test\"");
    assert_eq!(appliance.reload().expect("valid").applied[0], "stream `north`");
    assert!(north.stands() && south.stands());
    let (looked, batched) = (looks(&plane)[0], plane.streams[0].batch.frames_skipped.get());
    until("north is looked at, frame by frame", || looks(&plane)[0] >= looked + 8);
    assert!(plane.streams[0].batch.frames_skipped.get() <= batched + 4, "at most those that were passed over already");
    assert_eq!(restarts(), [0, 1]);
    // A reload that changes more gets a new pipeline.
    world.edit("name = \"test\"", "name = \"test-2\"");
    assert_eq!(appliance.reload().expect("valid").applied[0], "pipeline file");
    assert!(!Arc::ptr_eq(&plane, &appliance.plane().expect("a plane")) && !north.stands());
    until_lit(&appliance);
    appliance.stop();
}

/// Names of this process's threads that belong to a pipeline.
fn pipeline_threads() -> BTreeSet<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("readable").flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).map(|name| name.trim().to_owned());
    let ours = ["policy", "emit", "decide", "embed-", "track", "detect-", "batch", "ingest-"];
    names.filter(|name| ours.iter().any(|own| name == own || (own.ends_with('-') && name.starts_with(own)))).collect()
}

#[test]
fn a_start_that_fails_at_its_last_step_leaves_no_thread_behind() {
    let _turn = ONE_AT_A_TIME.lock();
    let world = World::new();
    // The second stream is no file: found out when the first one plays already.
    let mut plan = Plan { sources: Sources::Paced { fps: 10.0, frames: u64::MAX, stands_for: Vec::new() }, ..world.plan() };
    plan.loaded.limits.streams[1].source = SourceSpec::parse("rtsp://127.0.0.1:1/nobody", Path::new("/")).expect("a source");
    let progress = ProgressRegistry::new();
    for _ in 0..3 {
        let error = Plane::start(&plan, &progress, &Lasting::default()).err().expect("fails");
        assert!(matches!(&error, StartError::NotAFile { stream, .. } if stream == "south"), "{error}");
        assert_eq!(pipeline_threads(), BTreeSet::new());
        assert!(Observer::default().look(&progress).is_empty(), "every worker said that it ended");
    }
    // Journal, vault and the rest are free again.
    let plane = Plane::start(&world.plan(), &progress, &Lasting::default()).expect("starts");
    // A thread takes its name itself, a moment after it was started.
    until("threads are recognised by their names", || pipeline_threads().contains("ingest-north"));
    plane.stop();
    assert_eq!(pipeline_threads(), BTreeSet::new());
}
