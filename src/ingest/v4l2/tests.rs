//! A camera that is unplugged and plugged in again, without a kernel: the supervising loop and the native reader over a stand-in for the
//! device. (The same on real V4L2 devices: `tests/appliance.rs`.)

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32};

use crossbeam::channel::{Receiver, Sender, unbounded};
use memmap2::MmapMut;
use nix::libc;
use parking_lot::Mutex;

use super::super::supervise::{self, Backoff};
use super::super::{IngestCounters, SourceState, StreamHealth};
use super::*;
use crate::clock::SystemClock;
use crate::frame::{Colorimetry, Frame, PixelLayout};
use crate::progress::{Observer, ProgressRegistry};
use crate::queue::{Doorbell, Ring};

const YUYV: Geometry =
    Geometry { layout: PixelLayout::Yuy2, width: 32, height: 16, stride: 64, bytes: 1_024, colorimetry: Colorimetry::assumed_for(16) };

enum Event {
    Frame,
    Unplug,
}

/// One camera and its socket, whatever becomes of the device file.
struct Socket {
    plugged: AtomicBool,
    opened: AtomicU32,
    events: Receiver<Event>,
}

/// The device as one connection has it.
struct Stand {
    socket: Arc<Socket>,
    queued: Mutex<VecDeque<u32>>,
    /// What the last wait saw and nobody took yet.
    pending: Mutex<Option<Event>>,
    sequence: AtomicU32,
}

impl Queue for Stand {
    fn enqueue(&self, index: u32) -> io::Result<()> {
        self.queued.lock().push_back(index);
        Ok(())
    }
}

impl Camera for Stand {
    fn check_capabilities(&self) -> Result<String, String> {
        Ok("stand".to_owned())
    }
    fn negotiate(&self, _: Option<V4l2Format>) -> Result<Geometry, String> {
        Ok(YUYV)
    }
    fn ask_rate(&self, _: u32) -> io::Result<()> {
        Ok(())
    }
    fn request_buffers(&self, count: u32) -> io::Result<u32> {
        Ok(count)
    }
    fn map(&self, _: u32) -> io::Result<MmapRaw> {
        MmapMut::map_anon(1_024).map(MmapRaw::from)
    }
    fn stream_on(&self) -> io::Result<()> {
        Ok(())
    }
    fn stream_off(&self) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::ENODEV))
    }
    fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let mut pending = self.pending.lock();
        if pending.is_none() {
            *pending = self.socket.events.recv_timeout(timeout).ok();
        }
        Ok(pending.is_some())
    }
    fn dequeue(&self) -> io::Result<Option<Filled>> {
        let mut pending = self.pending.lock();
        if matches!(*pending, Some(Event::Unplug)) {
            self.socket.plugged.store(false, SeqCst);
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let Some(index) = self.queued.lock().pop_front() else { return Ok(None) };
        *pending = None;
        let sequence = self.sequence.fetch_add(1, SeqCst);
        Ok(Some(Filled { index, bytes: 1_024, damaged: false, sequence, stamp: None }))
    }
}

/// A stream on such a camera, its thread, and what the thread shows.
struct Watched {
    events: Sender<Event>,
    socket: Arc<Socket>,
    ring: Arc<Ring<Frame>>,
    bell: Arc<Doorbell>,
    counters: Arc<IngestCounters>,
    health: Arc<StreamHealth>,
    pauses: Arc<Mutex<Vec<Duration>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Watched {
    /// The camera comes back during its `back_after`-th pause. Pauses take no time.
    fn start(name: &str, registry: &ProgressRegistry, shutdown: &Shutdown, back_after: usize) -> Self {
        let (events, received) = unbounded();
        let socket = Arc::new(Socket { plugged: AtomicBool::new(true), opened: AtomicU32::new(0), events: received });
        let (ring, bell) = (Arc::new(Ring::new(64)), Doorbell::new());
        let outlet = Outlet::new(name, StreamIndex(0), Arc::clone(&ring), Arc::clone(&bell), SystemClock::shared())
            .with_progress(registry.register(&format!("ingest-{name}")));
        let (counters, health) = (Arc::clone(&outlet.counters), Arc::clone(&outlet.health));
        let pauses = Arc::<Mutex<Vec<Duration>>>::default();
        let (noted, camera, shutdown) = (Arc::clone(&pauses), Arc::clone(&socket), shutdown.clone());
        let stream = Stream::new(name, "v4l2:/dev/video7");
        let thread = std::thread::spawn(move || {
            let plug = Arc::clone(&camera);
            let mut pause = |duration| {
                noted.lock().push(duration);
                if noted.lock().len() >= back_after {
                    plug.plugged.store(true, SeqCst);
                }
                shutdown.is_requested()
            };
            let mut opener = || {
                let camera = Arc::clone(&camera);
                let open = move |_: &Path| {
                    if !camera.plugged.load(SeqCst) {
                        return Err(io::Error::from_raw_os_error(libc::ENOENT));
                    }
                    camera.opened.fetch_add(1, SeqCst);
                    let (queued, pending, sequence) = (Mutex::default(), Mutex::default(), AtomicU32::new(0));
                    Ok(Stand { socket: Arc::clone(&camera), queued, pending, sequence })
                };
                let reader = Reader { stream: stream.clone(), device: "/dev/video7".into(), open: Box::new(open) };
                Ok(Box::new(reader) as Box<dyn Source>)
            };
            supervise::run(&mut opener, &outlet, &shutdown, Backoff::new(Duration::from_secs(10)), &mut pause);
        });
        Self { events, socket, ring, bell, counters, health, pauses, thread }
    }

    /// Lets one frame come and takes it; its number.
    fn frame(&self) -> u64 {
        self.events.send(Event::Frame).expect("somebody holds the socket");
        loop {
            if let Some(frame) = self.ring.pop() {
                return frame.header().sequence;
            }
            // Woken by the frame's delivery.
            self.bell.wait(Duration::from_secs(60));
        }
    }
}

#[test]
fn a_camera_unplugged_and_back_delivers_again_and_its_neighbour_loses_nothing() {
    let (registry, shutdown) = (ProgressRegistry::new(), Shutdown::new());
    let camera = Watched::start("door", &registry, &shutdown, 5);
    let neighbour = Watched::start("hall", &registry, &shutdown, usize::MAX);
    for expected in 0..20 {
        assert_eq!((camera.frame(), neighbour.frame()), (expected, expected));
    }
    camera.events.send(Event::Unplug).expect("somebody holds the socket");
    // It is away until its fifth pause; meanwhile the neighbour goes on, and nobody counts as hung.
    for expected in 20..60 {
        assert_eq!(neighbour.frame(), expected);
    }
    for expected in 20..40 {
        assert_eq!(camera.frame(), expected, "numbers run on across the connection");
    }
    assert_eq!(camera.socket.opened.load(SeqCst), 2);
    assert_eq!((camera.counters.reconnects_total.get(), camera.counters.errors_total.get()), (5, 5));
    assert_eq!((neighbour.counters.reconnects_total.get(), neighbour.counters.frames_total.get()), (0, 60));
    assert_eq!((camera.ring.overwritten.get(), neighbour.ring.overwritten.get()), (0, 0));
    // 250 ms doubled, of which each pause takes the upper half at random: no two cameras come back in step.
    let pauses = camera.pauses.lock().clone();
    for (pause, full_ms) in pauses.iter().zip([250_u128, 500, 1_000, 2_000, 4_000]) {
        assert!((full_ms / 2..=full_ms).contains(&pause.as_millis()), "{pauses:?}");
    }
    let health = camera.health.snapshot();
    assert_eq!(
        (health.state, health.width, health.caps.as_deref()),
        (SourceState::Live, 32, Some("video/x-raw, format=YUY2, width=32, height=16"))
    );
    assert!(health.last_error.is_some_and(|e| e.contains("/dev/video7") && e.contains("open")));
    assert_eq!(Observer::default().ailing(&registry), []);
    shutdown.request();
    for camera in [camera, neighbour] {
        camera.thread.join().expect("no panic");
    }
    assert_eq!(Observer::default().look(&registry), [], "both threads ended on purpose");
}

#[test]
fn a_camera_that_stays_away_is_resting_not_hung() {
    let (registry, shutdown) = (ProgressRegistry::new(), Shutdown::new());
    let camera = Watched::start("door", &registry, &shutdown, usize::MAX);
    camera.frame();
    // No frame for as long as anybody looks: the thread waits for its camera.
    let mut observer = Observer::default();
    for _ in 0..50 {
        // Between two waits it is at work for a moment, and moves.
        let ailing = observer.ailing(&registry);
        assert!(ailing.iter().all(|a| a.condition != crate::progress::Condition::Lost), "{ailing:?}");
    }
    shutdown.request();
    camera.thread.join().expect("no panic");
}
