//! Nothing is allocated per frame: counted, thread by thread, over the threads that a frame passes through.
//!
//! A thread allocates a few times in its life (the first time it really has to wait at a queue, for example), and on a busy machine nobody
//! knows when. So frames are counted in rounds: there must be a round that allocates nothing, and with any allocation per frame, or per
//! many frames, there never is.
//!
//! What is counted is what this program's own code asks its allocator for, in the steps themselves: ingest, batch, detection with
//! everything before and after the network. Outside the count: what GStreamer and ONNX Runtime allocate (libraries with an allocator of
//! their own), the few small objects that the runtime's binding makes around each run, and the policy thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;
use placard::batch::{BatchCounters, Batcher, DetectEvery, Feed, FreeWorkers, Gatherer};
use placard::clock::{CaptureTime, SharedClock, SimulatedClock, Stamp, Utc};
use placard::config::schema;
use placard::detect::Detected;
use placard::detect::detector::Detector;
use placard::detect::worker::{DetectWorker, LastLook};
use placard::engine::manifest::Manifest;
use placard::engine::{EngineError, Network, Output, known};
use placard::frame::{Colorimetry, Frame, FrameBuffer, FrameHeader, PixelLayout, StreamIndex};
use placard::ingest::Outlet;
use placard::latency::Latencies;
use placard::policy::cedar::CedarPlane;
use placard::policy::lease::LeaseTable;
use placard::policy::when::When;
use placard::policy::worker::{PolicyHandle, PolicyThread};
use placard::progress::ProgressRegistry;
use placard::queue::{Doorbell, Ring};
use placard::shutdown::Shutdown;

/// What the threads of one test allocated while it was armed.
struct Watch {
    armed: AtomicBool,
    allocations: AtomicU64,
    /// Where the first few came from.
    places: Mutex<Vec<String>>,
}

impl Watch {
    const fn new() -> Self {
        Self { armed: AtomicBool::new(false), allocations: AtomicU64::new(0), places: Mutex::new(Vec::new()) }
    }
    /// From now on the calling thread's allocations count.
    fn this_thread(&'static self) {
        WATCH.set(Some(self));
    }
    fn arm(&self, armed: bool) {
        self.armed.store(armed, SeqCst);
    }
    /// Begins a round; true if the one before allocated nothing.
    fn next_round(&self) -> bool {
        self.armed.swap(true, SeqCst) && self.allocations.swap(0, SeqCst) == 0
    }
    fn explain(&self) -> String {
        format!("each of {ROUNDS} rounds of {ROUND} frames allocated; the first places:\n{}", self.places.lock().join("\n\n"))
    }
}

thread_local! {
    static WATCH: Cell<Option<&'static Watch>> = const { Cell::new(None) };
}

struct Counting;

fn note() {
    // A thread that is ending has no such value any more, and is not watched.
    let watch = WATCH.try_with(Cell::get).ok().flatten();
    if let Some(watch) = watch.filter(|watch| watch.armed.load(SeqCst))
        && watch.allocations.fetch_add(1, SeqCst) < 4
    {
        // Taking down the place allocates, too.
        WATCH.set(None);
        watch.places.lock().push(std::backtrace::Backtrace::force_capture().to_string());
        WATCH.set(Some(watch));
    }
}

// SAFETY: every call goes to the system's allocator as it came; `note` neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are handed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A site with one lit stream. Its clock stands still, so the lease lasts.
struct Lit {
    _directory: tempfile::TempDir,
    policy: PolicyHandle,
    leases: LeaseTable,
    clock: SharedClock,
}

fn lit() -> Lit {
    let register = r#"
[[zone]]
id = "hall"
kind = "public"
[[area]]
stream = "north"
zone = "hall"
polygon = [[0.1, 0.1], [0.9, 0.2], [0.5, 0.9]]
[[sign]]
id = "hall-1"
zone = "hall"
WORDS
position = "north entrance"
photo_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
posted_on = 2026-11-01
inspected_at = 2026-11-20T09:00:00Z
inspected_by = "w.chen"
[[purpose]]
purpose = "missing-person:mp-7"
zones = ["hall"]
basis = { kind = "public-safety", statute = "PIPL Art. 26", authority = "Transit police", from = 2026-11-01, until = 2026-12-15 }
assessment = "pia-3"
review_on = 2027-01-01
"#;
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("register.redb");
    let now: Stamp<Utc> = "2026-11-21T12:00:00Z".parse::<When>().expect("date").at();
    let clock: SharedClock = SimulatedClock::starting_at(now);
    let register = toml::from_str(&register.replace("WORDS", include_str!("support/sign-words.toml"))).expect("a register's tables");
    placard::policy::store::put_as_stand_ins(&path, &register, now).expect("stored");
    let (policy, leases) = PolicyThread::start(path, &["north".into()], Arc::clone(&clock), Box::new(CedarPlane::bundled()), None)
        .expect("start the policy thread");
    Lit { _directory: directory, policy, leases, clock }
}

/// Says the same of every picture: two faces, one of them outside the area.
struct Scripted {
    manifest: Manifest,
    scores: Vec<f32>,
    boxes: Vec<f32>,
}

impl Network for Scripted {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    fn run(&mut self, _: &[f32], _: [usize; 4], read: &mut dyn FnMut(&[Output<'_>])) -> Result<(), EngineError> {
        read(&[
            Output { name: "scores", shape: &[1, 2, 2], data: &self.scores },
            Output { name: "boxes", shape: &[1, 2, 4], data: &self.boxes },
        ]);
        Ok(())
    }
}

fn detector() -> Detector {
    let manifest = known::by_name("rfb-320").expect("known");
    let (scores, boxes) = (vec![0.1, 0.9, 0.1, 0.9], vec![0.4, 0.3, 0.6, 0.5, 0.0, 0.9, 0.05, 1.0]);
    let config: schema::Detect = toml::from_str("model = 'rfb-320'").expect("valid");
    Detector::new(Box::new(Scripted { manifest, scores, boxes }), &config, 0.5, Arc::default()).expect("fits")
}

/// A decoder's buffer, in a box that comes back, as those of the sources do.
struct Picture {
    planes: [Vec<u8>; 2],
    home: Option<Arc<ArrayQueue<Box<Picture>>>>,
}

impl FrameBuffer for Picture {
    fn plane(&self, plane: usize) -> &[u8] {
        &self.planes[plane]
    }
    fn recycle(mut self: Box<Self>) {
        if let Some(home) = self.home.take() {
            let _freed = home.push(self);
        }
    }
}

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;

fn header(layout: PixelLayout, clock: &SharedClock) -> FrameHeader {
    let now = clock.monotonic();
    let stride = |plane| layout.plane_size(plane, WIDTH, HEIGHT).0;
    FrameHeader {
        stream: StreamIndex(0),
        sequence: 0,
        captured_at: CaptureTime::Arrival(now),
        arrived_at: now,
        width: WIDTH,
        height: HEIGHT,
        layout,
        colorimetry: Colorimetry::assumed_for(HEIGHT),
        strides: [stride(0), stride(1), 0],
    }
}

/// Delivers a frame for every word it hears.
fn source(outlet: &Outlet, layout: PixelLayout, next: &Receiver<()>, clock: &SharedClock) {
    let home = Arc::new(ArrayQueue::new(4));
    for _ in 0..4 {
        let planes = [0, 1].map(|plane| {
            let (row_bytes, rows) = layout.plane_size(plane, WIDTH, HEIGHT);
            vec![90; row_bytes * rows]
        });
        assert!(home.push(Box::new(Picture { planes, home: None })).is_ok());
    }
    let shutdown = Shutdown::new();
    for () in next {
        let mut picture = home.pop().expect("all but one are back");
        picture.home = Some(Arc::clone(&home));
        outlet.deliver(header(layout, clock), picture, &shutdown).expect("whole");
    }
}

static JOURNEY: Watch = Watch::new();
const ROUND: usize = 200;
const ROUNDS: usize = 12;

/// The measure itself: a round with an allocation is told from one without.
fn the_count_counts() {
    JOURNEY.this_thread();
    JOURNEY.next_round();
    drop(std::hint::black_box(Box::new(7_u8)));
    assert!(!JOURNEY.next_round());
    assert!(JOURNEY.next_round());
    JOURNEY.arm(false);
}

/// Ingest's outlet, the batch thread and a detect worker, each on its own thread, with the real code and a scripted network.
#[test]
fn a_frame_passes_through_batch_and_detection_without_an_allocation() {
    let site = lit();
    let (bell, latencies, progress) = (Doorbell::new(), Latencies::new(), ProgressRegistry::new());
    for layout in [PixelLayout::Nv12, PixelLayout::Yuy2] {
        let drain = Shutdown::new();
        let ring = Arc::new(Ring::new(2));
        let outlet = Outlet::new("north", StreamIndex(0), Arc::clone(&ring), Arc::clone(&bell), Arc::clone(&site.clock))
            .governed_by(site.leases.id())
            .with_progress(progress.register("ingest-north"));
        let feed = Feed::new(StreamIndex(0), ring, Arc::new(DetectEvery::new(1)), true, Arc::<BatchCounters>::default());
        let workers = FreeWorkers::new(Arc::clone(&bell));
        let ((batches_in, batches_out), (detected_in, detected_out)) = (bounded(1), bounded::<Detected>(2));
        let batcher = Batcher {
            gatherer: Gatherer::new(vec![feed], site.leases.clone(), Arc::clone(&bell)),
            bell: Arc::clone(&bell),
            workers: workers.clone(),
            batches: batches_in,
            max_batch: 4,
            max_wait: Duration::ZERO,
            clock: Arc::clone(&site.clock),
            recorder: latencies.recorder("batch").expect("bounds"),
            drain: drain.clone(),
            progress: progress.register("batch"),
        };
        let worker = DetectWorker {
            find: detector(),
            batches: batches_out,
            detected: detected_in,
            seat: workers.seat(),
            clock: Arc::clone(&site.clock),
            recorder: latencies.recorder("detect").expect("bounds"),
            counters: Arc::default(),
            last_look: Arc::new(LastLook::new(1)),
            progress: progress.register("detect-0"),
        };
        let (go, next) = bounded(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                JOURNEY.this_thread();
                source(&outlet, layout, &next, &site.clock);
            });
            scope.spawn(|| {
                JOURNEY.this_thread();
                placard::batch::run(batcher);
            });
            scope.spawn(|| {
                JOURNEY.this_thread();
                placard::detect::worker::run(worker);
            });
            // Whatever goes wrong here, the threads are let go first.
            let played = catch_unwind(AssertUnwindSafe(|| {
                let mut frames = 0..ROUNDS * ROUND;
                let mut clean = false;
                while !clean && let Some(frame) = frames.next() {
                    // Woken for nothing, too.
                    bell.ring();
                    go.send(()).expect("the source listens");
                    let detected = detected_out.recv_timeout(Duration::from_secs(60)).expect("the frame is looked at");
                    assert_eq!((detected.frame.header().sequence, detected.faces.len()), (frame as u64, 1), "{layout:?}");
                    clean = (frame + 1) % ROUND == 0 && JOURNEY.next_round();
                }
                clean
            }));
            JOURNEY.arm(false);
            drop(go);
            drain.request();
            bell.ring();
            let clean = played.unwrap_or_else(|panic| resume_unwind(panic));
            assert!(clean, "{layout:?}: {}", JOURNEY.explain());
        });
    }
    the_count_counts();
    site.policy.stop();
}

#[cfg(feature = "gst")]
static GSTREAMER: Watch = Watch::new();

/// A whole source, as its ingest thread runs it: pulled, mapped, boxed, delivered, given back.
#[cfg(feature = "gst")]
#[test]
fn a_frame_comes_out_of_gstreamer_without_an_allocation_of_ours() {
    let mut stream = schema::Stream::new("north", "gst");
    stream.gst = Some("videotestsrc ! video/x-raw,format=NV12,width=64,height=48,framerate=1000/1".to_owned());
    stream.realtime = false;
    let spec = placard::config::source::SourceSpec::parse(&stream.source, Path::new("/")).expect("a source");
    let (ring, bell, shutdown) = (Arc::new(Ring::<Frame>::new(4)), Doorbell::new(), Shutdown::new());
    let outlet = Outlet::new("north", StreamIndex(0), Arc::clone(&ring), Arc::clone(&bell), placard::clock::SystemClock::shared());
    std::thread::scope(|scope| {
        let source = scope.spawn(|| {
            let mut source = placard::ingest::open::open(&stream, &spec).expect("a source");
            GSTREAMER.this_thread();
            source.run_once(&outlet, &shutdown).expect("plays")
        });
        let (mut frames, mut clean) = (0, false);
        while !clean && frames < ROUNDS * ROUND && !source.is_finished() {
            while let Some(frame) = ring.pop() {
                drop(frame);
                frames += 1;
                clean |= frames % ROUND == 0 && GSTREAMER.next_round();
            }
            bell.wait(Duration::from_millis(100));
        }
        GSTREAMER.arm(false);
        shutdown.request();
        source.join().expect("no panic");
        assert!(clean, "{frames} frames: {}", GSTREAMER.explain());
    });
}
