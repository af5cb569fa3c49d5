//! Detections against a scene's truth, frame by frame: ingest and detector as the appliance wires them, under a permit of the site's own
//! policy thread.

use std::sync::Arc;

use placard::clock::SystemClock;
use placard::config::load;
use placard::detect::detector::Detector;
use placard::engine::manifest::Task;
use placard::engine::store;
use placard::frame::StreamIndex;
use placard::ingest::{self, Outlet};
use placard::policy::cedar::CedarPlane;
use placard::policy::lease::Detect;
use placard::policy::worker::PolicyThread;
use placard::queue::{Doorbell, Ring};
use placard::render::portraits::Scene;
use placard::shutdown::Shutdown;

use super::site::Site;

/// (found, missed, spurious) over all frames; a face is found where a box overlaps it by half (IoU).
pub fn compare(site: &Site, stream: &str, scene: &Scene) -> (usize, usize, usize) {
    let loaded = load::load(&site.pipeline()).expect("valid");
    let clock = SystemClock::shared();
    let (policy, leases) =
        PolicyThread::start(site.state().register(), &[stream.into()], Arc::clone(&clock), Box::new(CedarPlane::bundled()), None)
            .expect("starts");
    let network =
        store::load_network(&site.state(), &loaded.pipeline.detect.model, Task::FaceDetector, &loaded.pipeline.engine).expect("loads");
    let settings = &loaded.pipeline.detect;
    let mut detector = Detector::new(network, settings, settings.score_threshold, Arc::default()).expect("a detector");
    let (ring, bell, shutdown) = (Arc::new(Ring::new(2)), Doorbell::new(), Shutdown::new());
    let outlet = Outlet::new(stream, StreamIndex(0), Arc::clone(&ring), Arc::clone(&bell), Arc::clone(&clock)).governed_by(leases.id());
    let source = ingest::spawn(&loaded.pipeline.streams[0], &loaded.limits.streams[0].source, outlet, &shutdown).expect("starts");
    let begun = std::time::Instant::now();
    let (mut found, mut missed, mut spurious, mut frames) = (0, 0, 0, 0);
    loop {
        let Some(frame) = ring.pop() else {
            if source.is_finished() && ring.is_empty() {
                break;
            }
            bell.wait(std::time::Duration::from_millis(50));
            continue;
        };
        // A starved policy thread may renew late: then the frame waits, as it never would in the appliance.
        let permit = loop {
            match leases.permit::<Detect>(StreamIndex(0), clock.monotonic()) {
                Ok(permit) => break permit,
                Err(withheld) => assert!(begun.elapsed() < super::site::PATIENCE, "{withheld}"),
            }
            shutdown.wait(std::time::Duration::from_millis(10));
        };
        let mut faces = detector.detect(&frame, &permit).expect("detects");
        frames += 1;
        for truth in scene.truth(frame.header().sequence) {
            match faces.iter().position(|f| f.bounding_box.iou(&truth.bounding_box) >= 0.5) {
                Some(at) => {
                    faces.swap_remove(at);
                    found += 1;
                }
                None => missed += 1,
            }
        }
        spurious += faces.len();
    }
    source.join();
    policy.stop();
    assert_eq!(frames, scene.frame_count(), "every frame arrived");
    (found, missed, spurious)
}
