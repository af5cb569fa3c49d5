//! `rendered:SCENE?seed=N` as a camera: frames of the rendered concourse, on time.
//!
//! Invariants: a frame's sequence number is its number in the scene, also after the source was opened anew, so that the truth about it
//! can be looked up; frame *i* is due *i* / [`FPS`] seconds after the start and is never delivered early. A machine that falls more than a
//! second behind starts a new schedule instead of hurrying after the old one. With `realtime = false` frames follow one another as
//! fast as they are taken. Buffers come back from their last reader and are drawn into again. A scene that comes again after some
//! `turns` is drawn once, whole, before its first frame; an endless one as its people come.
//!
//! Runs on the stream's ingest thread.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Delivery, End, IngestError, Outlet, Source};
use crate::clock::{CaptureTime, Monotonic, Stamp};
use crate::config::schema::Stream;
use crate::config::source::{Share, SourceSpec};
use crate::frame::{Colorimetry, ColourMatrix, FrameBuffer, FrameHeader, PixelLayout};
use crate::render::acts::Acts;
use crate::render::scene::{Scene, SceneError};
use crate::render::sprite::Planes;
use crate::shutdown::Shutdown;

/// Frames per second of every rendered stream.
pub const FPS: u32 = 15;
/// Pixels.
pub const WIDTH: u32 = 1_280;
pub const HEIGHT: u32 = 720;
const FRAME_NS: i64 = 1_000_000_000 / FPS as i64;
/// Further behind than this, the schedule starts anew.
const PATIENCE_NS: i64 = 1_000_000_000;
/// People are drawn this many frames before they are needed, while there is time.
const AHEAD: u64 = 20;

pub struct RenderedSource {
    stream: String,
    scene: String,
    seed: u64,
    turns: Option<NonZeroU32>,
    masked: Option<Share>,
    acts: Vec<(String, String)>,
    spec: SourceSpec,
    realtime: bool,
    /// Pixels.
    width: u32,
    height: u32,
}

/// Buffers that readers are done with.
type Pool = Arc<Mutex<Vec<Planes>>>;

struct PooledPlanes {
    planes: Planes,
    pool: Pool,
}

impl FrameBuffer for PooledPlanes {
    fn plane(&self, plane: usize) -> &[u8] {
        &self.planes[plane]
    }
}

impl Drop for PooledPlanes {
    fn drop(&mut self) {
        self.pool.lock().push(std::mem::take(&mut self.planes));
    }
}

impl RenderedSource {
    pub fn new(stream: &Stream, spec: &SourceSpec, scene: &str, (seed, turns): (u64, Option<NonZeroU32>)) -> Self {
        Self {
            stream: stream.name.clone(),
            scene: scene.to_owned(),
            seed,
            turns,
            masked: None,
            acts: Vec::new(),
            spec: spec.clone(),
            realtime: stream.realtime,
            width: WIDTH,
            height: HEIGHT,
        }
    }

    /// This share of the scene's people wear a mask; `None`: as many as the scene has it.
    pub const fn wearing_masks(mut self, masked: Option<Share>) -> Self {
        self.masked = masked;
        self
    }

    /// What is on the scene's sign, and what happens to it.
    pub fn performing(mut self, acts: &[(String, String)]) -> Self {
        self.acts = acts.to_vec();
        self
    }

    fn header(&self, outlet: &Outlet) -> FrameHeader {
        let now = outlet.clock.monotonic();
        FrameHeader {
            stream: outlet.stream,
            sequence: 0,
            captured_at: CaptureTime::Arrival(now),
            arrived_at: now,
            width: self.width,
            height: self.height,
            layout: PixelLayout::I420,
            colorimetry: Colorimetry { matrix: ColourMatrix::Bt709, full_range: false },
            strides: [self.width as usize, self.width as usize / 2, self.width as usize / 2],
        }
    }
}

impl Source for RenderedSource {
    fn run_once(&mut self, outlet: &Outlet, shutdown: &Shutdown) -> Result<End, IngestError> {
        let size = (self.width as usize, self.height as usize);
        let stop = || {
            outlet.wake();
            shutdown.is_requested()
        };
        let opened = Acts::named(&self.acts).and_then(|acts| {
            let mut scene = Scene::open_unless(&self.scene, self.seed, size, &stop)?;
            scene.perform(&acts, &stop)?;
            Ok(scene)
        });
        let mut scene = match opened {
            Ok(scene) => scene,
            Err(SceneError::Interrupted) => return Ok(End::Shutdown),
            Err(reason) => {
                let (stream, source_text) = (self.stream.clone(), self.spec.to_string());
                return Err(IngestError::Rendered { stream, source_text, reason });
            }
        };
        let first = outlet.arrived();
        if let Some(share) = self.masked {
            scene.wear_masks(share.as_f32());
        }
        scene.repeat_after(self.turns.map_or(0, NonZeroU32::get));
        // The first people, or all; one drawing at a time: stopping must not wait for them.
        let ready = scene.period_s().map_or(1, |period_s| (period_s * f64::from(FPS)).ceil() as u64);
        for number in first..first + ready {
            while !stop() && scene.prepare(number, f64::from(FPS), 1) > 0 {}
        }
        let pool = Pool::default();
        let mut due = outlet.clock.monotonic();
        while !shutdown.is_requested() {
            let number = outlet.arrived();
            let mut planes = pool.lock().pop().unwrap_or_default();
            scene.draw(number, f64::from(FPS), &mut planes);
            outlet.rest();
            if self.realtime && wait_until(&mut due, outlet, shutdown) {
                break;
            }
            outlet.wake();
            let buffer = Box::new(PooledPlanes { planes, pool: Arc::clone(&pool) });
            if outlet.deliver(self.header(outlet), buffer, shutdown)? == Delivery::Stopped {
                break;
            }
            scene.prepare(number + AHEAD, f64::from(FPS), 1);
        }
        Ok(End::Shutdown)
    }
}

/// Waits for the frame's time and sets the next one's; true if shutdown came first.
fn wait_until(due: &mut Stamp<Monotonic>, outlet: &Outlet, shutdown: &Shutdown) -> bool {
    let now = outlet.clock.monotonic();
    let ahead_ns = due.since_ns(now);
    if ahead_ns < -PATIENCE_NS {
        *due = now;
    }
    *due = Stamp::from_ns(due.ns().saturating_add(FRAME_NS));
    match u64::try_from(ahead_ns) {
        Ok(ns) if ns > 0 => shutdown.wait(Duration::from_nanos(ns)),
        _ => shutdown.is_requested(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::area::Area;
    use crate::clock::SystemClock;
    use crate::frame::{Frame, StreamIndex, TableId};
    use crate::ingest::WhenFull;
    use crate::policy::lease::testing::grant;
    use crate::policy::lease::{Detect, StreamState};
    use crate::queue::{Doorbell, Ring};

    fn source(text: &str) -> RenderedSource {
        let mut stream = Stream::new("hall", text);
        stream.realtime = false;
        let spec = SourceSpec::parse(text, Path::new("/")).expect("a source");
        let SourceSpec::Rendered { scene, seed, turns, .. } = &spec else { panic!("a rendered one") };
        RenderedSource { width: 320, height: 180, ..RenderedSource::new(&stream, &spec, scene, (*seed, *turns)) }
    }

    #[test]
    fn every_frame_of_the_scene_arrives_under_its_number_and_buffers_come_back() {
        let ring: Arc<Ring<Frame>> = Arc::new(Ring::new(2));
        let outlet = Outlet::new("hall", StreamIndex(0), Arc::clone(&ring), Doorbell::new(), SystemClock::shared())
            .with_ring_policy(WhenFull::WaitsForRoom)
            .governed_by(TableId::TESTS);
        let shutdown = Shutdown::new();
        let mut expected = Scene::open("corridor", 3, 320, 180).expect("a scene");
        let mut planes = Planes::default();
        let now = Stamp::from_ns(1_000_000_000);
        let granted = grant(StreamState::Detect, &["mask-check"], Area::whole(), now);
        let permit = granted.table.permit::<Detect>(StreamIndex(0), now).expect("live");
        std::thread::scope(|scope| {
            let running = scope.spawn(|| source("rendered:corridor?seed=3").run_once(&outlet, &shutdown));
            let mut addresses = std::collections::BTreeSet::new();
            let mut number = 0;
            while number < 8 {
                let Some(frame) = ring.pop() else {
                    std::thread::yield_now();
                    continue;
                };
                expected.draw(number, f64::from(FPS), &mut planes);
                let pixels = frame.read(&permit).expect("permitted");
                assert_eq!(pixels.header.sequence, number);
                assert!((0..3).all(|i| pixels.planes[i] == planes[i]), "frame {number}");
                addresses.insert(pixels.planes[0].as_ptr() as usize);
                number += 1;
            }
            shutdown.request();
            while ring.pop().is_some() {}
            assert!(matches!(running.join().expect("no panic"), Ok(End::Shutdown)));
            assert!(addresses.len() <= 5, "{} buffers for 8 frames", addresses.len());
        });
    }

    #[test]
    fn an_unknown_scene_is_refused_for_good() {
        let outlet = Outlet::new("hall", StreamIndex(0), Arc::new(Ring::new(2)), Doorbell::new(), SystemClock::shared());
        let error = source("rendered:nowhere").run_once(&outlet, &Shutdown::new()).expect_err("no such scene");
        assert!(error.is_permanent() && error.to_string().contains("rendered:nowhere?seed=0"), "{error}");
    }
}
