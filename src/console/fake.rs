//! A made-up appliance for the console's own tests, and for looking at `placard top` without cameras:
//! `PLACARD_TEST_SOCKET=/tmp/f/control.sock cargo test --lib console::fake::serve -- --ignored`, then `placard --state /tmp/f top`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;

use super::public::{PublicView, PublicZone};
use super::view::{
    AlternativeView, ChangeView, CounterView, GalleryView, NetworkView, PolicyView, Readiness, RegisterView, ReloadView, SignView,
    StatusView, StepView, StreamView, TransitionView, VerificationView,
};
use super::{ActionError, Addresses, Appliance, Console, Gone, InspectionNote};
use crate::counters::Counters;
use crate::latency::{Latencies, StepSnapshot};
use crate::policy::store::Request;
use crate::shutdown::Shutdown;

crate::counters! {
    /// Made-up counts.
    pub(crate) struct FakeCounters for "batch" {
        frames_total: "Frames taken from the rings.",
        withheld_total: "Frames released unread for want of a permit.",
    }
}

pub(crate) struct Fake {
    pub withdrawn: AtomicBool,
    pub ready: AtomicBool,
    pub ticks: AtomicU64,
    pub counters: Vec<FakeCounters>,
    /// What was said of signs, in order.
    pub said: Mutex<Vec<String>>,
    latencies: Latencies,
    began: Instant,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        let latencies = Latencies::new();
        for (step, ms) in [("detect", 4.1), ("track", 0.08), ("embed", 2.3), ("match", 0.6), ("journey", 14.2)] {
            let mut recorder = latencies.recorder(step).expect("bounds are valid");
            (1..=1_000_i64).for_each(|i| recorder.record_ns((ms * 1e6) as i64 * (500 + i) / 1_000));
        }
        latencies.recorder("journey").expect("bounds are valid").record_ns(-5);
        let of = |stream: &str| FakeCounters { stream: Some(stream.into()), ..FakeCounters::default() };
        let counters = vec![of("north-gate"), of("hall-2"), FakeCounters::default()];
        counters[2].withheld_total.add(5);
        counters[0].frames_total.add(1_234);
        counters[1].frames_total.add(99);
        let (withdrawn, ready, ticks) = (AtomicBool::new(false), AtomicBool::new(true), AtomicU64::new(0));
        Arc::new(Self { withdrawn, ready, ticks, counters, said: Mutex::default(), latencies, began: Instant::now() })
    }

    fn streams(&self) -> Vec<StreamView> {
        let frames = self.began.elapsed().as_millis() as u64 / 40;
        let one = |name: &str, source: &str, health: &str, state: &str, reason: &str| StreamView {
            name: name.to_owned(),
            source: source.to_owned(),
            health: health.to_owned(),
            state: state.to_owned(),
            reason: reason.to_owned(),
            width: 1_920,
            height: 1_080,
            decoder: "avdec_h264".to_owned(),
            fps_in: 25.0,
            fps_detected: 12.5,
            frames,
            tracks: frames / 50,
            ..StreamView::default()
        };
        let withdrawn = self.withdrawn.load(SeqCst);
        let gate =
            if withdrawn { ("off", "sign `gate-1` was withdrawn") } else { ("recognise", "missing-person:mp-7 under Police Act § 12") };
        vec![
            StreamView {
                purposes: if withdrawn { vec![] } else { vec!["missing-person:mp-7".to_owned()] },
                next_change: "2026-12-01T00:00:00.000Z".to_owned(),
                hits: 3,
                ..one("north-gate", "rtsp://10.0.0.7/stream1", "live", gate.0, gate.1)
            },
            StreamView { overwritten: 17, ..one("hall-2", "v4l2:/dev/video0", "live", "detect", "mask-check: no identity") },
            StreamView {
                fps_in: 0.0,
                fps_detected: 0.0,
                reconnects: 12,
                health_detail: "Could not connect to server: connection refused (rtspsrc)".to_owned(),
                ..one("platform-7-east", "rtsp://10.0.0.9/a", "failed", "capture-only", "no sign covers this stream's area")
            },
            StreamView {
                withheld: 4_120,
                ..one(
                    "depot",
                    "file:/srv/depot.mkv",
                    "ended",
                    "off",
                    "the inspection of sign `depot` is 92 days old; 90 are allowed: inspect it",
                )
            },
        ]
    }
}

impl Appliance for Fake {
    fn status(&self) -> StatusView {
        StatusView {
            name: "wall".to_owned(),
            site: "Central Station".to_owned(),
            mode: "commissioning".to_owned(),
            version: "0.1.0".to_owned(),
            pid: 4_242,
            pipeline: "/etc/placard/wall.toml".to_owned(),
            started_at: "2026-11-21T20:16:58.123Z".to_owned(),
            uptime_s: self.began.elapsed().as_secs_f64(),
            policy: PolicyView {
                alive: self.ready.load(SeqCst),
                heartbeat_age_ms: 120.5,
                profile: "ab".repeat(32),
                stand_ins: true,
                waiting: 1,
            },
            streams: self.streams(),
            steps: self.latencies().iter().map(StepView::from).collect(),
            galleries: vec![GalleryView { purpose: "missing-person:mp-7".to_owned(), templates: 41, version: 9 }],
            networks: vec![NetworkView {
                task: "face detector".to_owned(),
                model: "yunet-n".to_owned(),
                runs_on: "fused executor, int8 (avx512-vnni)".to_owned(),
                workers: 2,
            }],
            counters: vec![CounterView {
                component: "batch".to_owned(),
                name: "frames_total".to_owned(),
                value: 7,
                ..CounterView::default()
            }],
            alarms: vec!["sign `depot` needs an inspection".to_owned()],
        }
    }
    fn public(&self) -> Option<PublicView> {
        let running = !self.withdrawn.load(SeqCst);
        let hall = PublicZone {
            id: "hall".to_owned(),
            kind: "public".to_owned(),
            state: if running { "recognise" } else { "off" }.to_owned(),
            purposes: if running { vec!["missing-person".to_owned()] } else { Vec::new() },
            declared: vec!["missing-person".to_owned()],
            signs: usize::from(running),
        };
        Some(PublicView { site: "Central Station".to_owned(), zones: vec![hall], ..PublicView::default() })
    }

    fn latencies(&self) -> Vec<StepSnapshot> {
        self.latencies.snapshot().expect("bounds are valid")
    }
    fn recent_events(&self, limit: usize) -> Vec<serde_json::Value> {
        let event = |i: usize| {
            json!({
                "decided_at": format!("2026-11-21T20:17:{i:02}.000Z"), "stream": "north-gate", "kind": "face-match",
                "purpose": "missing-person:mp-7", "candidates": [{"subject": "7f3a", "score": 0.71}]
            })
        };
        (0..5).map(event).take(limit).collect()
    }
    fn policy_timeline(&self, limit: usize) -> Vec<TransitionView> {
        let to = |state: &str| TransitionView {
            stream: "north-gate".to_owned(),
            from: "off".to_owned(),
            to: state.to_owned(),
            ..TransitionView::default()
        };
        ["detect", "recognise"].map(to).into_iter().take(limit).collect()
    }
    fn visit_counters(&self, each: &mut dyn FnMut(&dyn Counters)) {
        self.counters.iter().for_each(|c| each(c));
    }
    fn readiness(&self) -> Readiness {
        let ready = self.ready.load(SeqCst);
        let reasons = if ready { vec![] } else { vec!["the policy thread is silent".to_owned()] };
        Readiness { ready, reasons }
    }
    fn withdraw_sign(&self, sign: &str, by: &str, reason: &str) -> Result<SignView, ActionError> {
        self.said.lock().push(format!("withdraw {sign}: {by}: {reason}"));
        match sign {
            "gate-1" => {
                self.withdrawn.store(true, SeqCst);
                Ok(SignView {
                    sign: sign.to_owned(),
                    state: "withdrawn".to_owned(),
                    streams: vec!["north-gate".to_owned()],
                    ..SignView::default()
                })
            }
            "panic" => panic!("on purpose"),
            _ => Err(ActionError::NotFound(format!("no sign `{sign}`"))),
        }
    }
    fn inspect_sign(&self, sign: &str, inspection: InspectionNote) -> Result<SignView, ActionError> {
        let InspectionNote { by, at, photo_sha256 } = inspection;
        self.said.lock().push(format!("inspect {sign}: {by}: {at:?} {photo_sha256:?}"));
        Ok(SignView { sign: sign.to_owned(), state: "inspected".to_owned(), ..SignView::default() })
    }
    fn register(&self) -> Result<RegisterView, ActionError> {
        Ok(RegisterView { mode: "demo".to_owned(), ..RegisterView::default() })
    }
    fn change_register(&self, request: Request) -> Result<ChangeView, ActionError> {
        self.said.lock().push(format!("{request:?}"));
        Ok(ChangeView::default())
    }
    fn post_sign(&self, sign: &str, by: &str) -> Result<SignView, ActionError> {
        self.said.lock().push(format!("post {sign}: {by}"));
        Err(ActionError::Refused("posting needs a second person".to_owned()))
    }
    fn beat_alternative(&self, alternative: &str) -> Result<AlternativeView, ActionError> {
        self.said.lock().push(format!("beat {alternative}"));
        Ok(AlternativeView { alternative: alternative.to_owned(), zone: "gate".to_owned(), counts_s: 300 })
    }
    fn verify(&self, stream: &str, person: &str, within: Duration, gone: &Gone) -> Result<VerificationView, ActionError> {
        self.said.lock().push(format!("verify {person} on {stream} within {} s", within.as_secs()));
        match person {
            "slow" => {
                let _disconnected = gone.recv();
                self.said.lock().push("whoever asked has hung up".to_owned());
                Ok(VerificationView::default())
            }
            "anna" => Ok(VerificationView { stream: stream.to_owned(), outcome: "match".to_owned(), ..VerificationView::default() }),
            _ => Err(ActionError::Refused("`ben` has not consented [consent-given]; let them in another way".to_owned())),
        }
    }
    fn reload(&self) -> Result<ReloadView, ActionError> {
        Err(ActionError::Invalid("wall.toml:3:1: detect.modle: unknown key".to_owned()))
    }
    fn reload_gallery(&self) -> Result<ReloadView, ActionError> {
        Ok(ReloadView { applied: vec!["gallery".to_owned()], ..ReloadView::default() })
    }
    fn tick(&self) {
        self.ticks.fetch_add(1, SeqCst);
    }
}

/// Not a test: see the top of this file.
#[test]
#[ignore = "serves a made-up appliance for ten minutes"]
fn serve() {
    let Some(socket) = std::env::var_os("PLACARD_TEST_SOCKET") else { return };
    let console = Console::start(Fake::new(), socket.as_ref(), Addresses::default()).expect("started");
    Shutdown::new().wait(Duration::from_secs(600));
    drop(console);
}
