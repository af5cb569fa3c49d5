//! A lawful site with one stream, and emission started on it: a real policy thread, a real journal. Its clock stands still, so that no lease
//! ends by itself: on a starved machine the policy thread may come late, and what a lapsed lease withholds is not these tests' matter.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, bounded};
use placard::clock::{CaptureTime, Clock, Now, SharedClock, SimulatedClock, Stamp, SystemClock, format_utc};
use placard::emit::backoff::Pauses;
use placard::emit::emitter::{Emitter, Settings};
use placard::emit::event::Event;
use placard::emit::journal::Journal;
use placard::emit::journal::reader::{Item, JournalReader, Position};
use placard::emit::journal::retention::Retention;
use placard::emit::sink::Sink;
use placard::emit::worker::Recent;
use placard::emit::{Context, Draft, StreamNames};
use placard::frame::{BoundingBox, StreamIndex};
use placard::gallery::{Candidate, SubjectId};
use placard::latency::Latencies;
use placard::policy::cedar::CedarPlane;
use placard::policy::lease::LeaseTable;
use placard::policy::worker::{PolicyHandle, PolicyThread};
use placard::progress::ProgressRegistry;
use placard::shutdown::Shutdown;

pub const PURPOSE: &str = "missing-person:mp-7";
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds; panics, saying `what` was waited for, after the deadline.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    let pause = Shutdown::new();
    while !condition() {
        assert!(Instant::now() < until, "waited {DEADLINE:?} for: {what}");
        pause.wait(Duration::from_millis(5));
    }
}

fn register() -> String {
    let inspected = format_utc(Stamp::from_ns(SystemClock.utc().ns() - 3_600_000_000_000));
    format!(
        r#"
        [[zone]]
        id = "hall"
        kind = "public"

        [[area]]
        stream = "north"
        zone = "hall"
        polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]

        [[sign]]
        id = "hall-1"
        zone = "hall"
        {words}
        position = "north entrance"
        photo_sha256 = "{photo}"
        posted_on = "2026-01-01"
        inspected_at = "{inspected}"
        inspected_by = "w.chen"

        [[purpose]]
        purpose = "{PURPOSE}"
        zones = ["hall"]
        basis = {{ kind = "public-safety", statute = "PIPL Art. 26", authority = "test", from = "2026-01-01", until = "2099-01-01" }}
        assessment = "pia-1"
        review_on = "2099-01-01"
        "#,
        photo = "ab".repeat(32),
        words = include_str!("../support/sign-words.toml")
    )
}

pub struct Site {
    pub clock: SharedClock,
    pub policy: PolicyHandle,
    pub leases: LeaseTable,
    pub emitter: Emitter,
    pub tasks: Sender<Draft>,
    pub shutdown: Shutdown,
}

impl Site {
    /// Journal in `directory/journal`.
    pub fn start(directory: &Path, sinks: Vec<Box<dyn Sink>>) -> Self {
        Self::start_watched(directory, sinks, Arc::default())
    }

    /// As [`Site::start`]; whoever subscribed to `recent` sees the events of this one too.
    pub fn start_watched(directory: &Path, sinks: Vec<Box<dyn Sink>>, recent: Arc<Recent>) -> Self {
        let path = directory.join("register.redb");
        let register = toml::from_str(&register()).expect("a register's tables");
        placard::policy::store::put_as_stand_ins(&path, &register, SystemClock.utc()).expect("stored");
        let clock: SharedClock = SimulatedClock::starting_at(SystemClock.utc());
        let (policy, leases) =
            PolicyThread::start(path, &["north".into()], Arc::clone(&clock), Box::new(CedarPlane::bundled()), None).expect("policy thread");
        let (tasks, queue) = bounded(1_024);
        let shutdown = Shutdown::new();
        let settings = Settings {
            directory: directory.join("journal"),
            rotate_mib: 1,
            retention: Retention::default(),
            record: None,
            context: Context { streams: vec![StreamNames { name: "north".into(), zone: Some("hall".into()) }].into(), table: leases.id() },
            sinks,
            pauses: Pauses { first: Duration::from_millis(10), longest: Duration::from_millis(100) },
            recent,
            leases: leases.clone(),
            answers: Arc::default(),
            latencies: Latencies::new(),
            clock: Arc::clone(&clock),
            progress: ProgressRegistry::new(),
            shutdown: shutdown.clone(),
        };
        let emitter = Emitter::start(queue, settings).expect("emission starts");
        Self { clock, policy, leases, emitter, tasks, shutdown }
    }

    /// The lease in force now.
    pub fn lease_epoch(&self) -> u64 {
        self.leases.epoch(StreamIndex(0))
    }

    /// A hit of this moment.
    fn draft(&self, number: u64) -> Draft {
        draft(number, self.clock.now(), self.lease_epoch())
    }

    /// Hands over hits whose tracks are numbered.
    pub fn hit(&self, numbers: std::ops::Range<u64>) {
        numbers.for_each(|n| self.tasks.send(self.draft(n)).expect("the worker listens"));
    }

    /// As the decide step does it: what does not fit at once would be shed, and here all must fit.
    pub fn hit_without_waiting(&self, numbers: std::ops::Range<u64>) {
        numbers.for_each(|n| self.tasks.try_send(self.draft(n)).expect("room in the queue"));
    }

    pub fn wait_acknowledged(&self, events: u64) {
        wait_until(&format!("{events} events acknowledged"), || self.emitter.counters.events.get() >= events);
    }

    pub fn stop(self) {
        let Self { policy, mut emitter, tasks, shutdown, .. } = self;
        drop(tasks);
        shutdown.request();
        emitter.join();
        policy.stop();
    }
}

pub fn draft(number: u64, now: Now, lease_epoch: u64) -> Draft {
    Draft {
        stream: StreamIndex(0),
        purpose: PURPOSE.parse().expect("purpose"),
        lease_epoch,
        candidates: vec![Candidate { subject: SubjectId("s-1".into()), score: 0.75 }],
        threshold: 0.5,
        gallery_version: 12,
        model: "embedder".into(),
        track: format!("{number:016x}"),
        captured_at: CaptureTime::Arrival(now.monotonic),
        decided_at: now,
        frame_sequence: number,
        bounding_box: BoundingBox { x0: 10.0, y0: 20.0, x1: 50.0, y1: 70.0 },
        picture_px: Some((1_024, 512)),
        quality: 0.9,
        shots: 3,
    }
}

/// Every event in the journal of `directory`; damaged lines fail the test.
pub fn journalled(directory: &Path) -> Vec<Event> {
    let mut reader = JournalReader::from_start(Journal::source(&directory.join("journal")));
    let end = Position { file: u64::MAX, offset: 0, line: 0 };
    let mut events = Vec::new();
    while let Some(item) = reader.next(end).expect("readable") {
        let Item::Record(record) = item else { panic!("damaged: {item:?}") };
        events.push(serde_json::from_slice(&record.json).expect("an event"));
    }
    events
}
