//! A rendered camera, the batch step, the attestation worker and a real policy thread over a register, by a clock that the test turns: what
//! happens to a sign darkens its stream in time, and what is undone lights it again.

use std::collections::BTreeMap;

use super::*;
use crate::batch::{Batch, BatchCounters, DetectEvery, Feed, Gatherer};
use crate::clock::{CaptureTime, Clock, SimulatedClock};
use crate::frame::{Colorimetry, FrameHeader, OwnedBuffer, PixelLayout, StreamIndex};
use crate::latency::Latencies;
use crate::policy::facts::Register;
use crate::policy::facts::testing::good;
use crate::policy::lease::{Detect, StreamState};
use crate::policy::rules::{PlainRules, Rule};
use crate::policy::store::put_as_stand_ins;
use crate::policy::when::When;
use crate::policy::worker::{PolicyHandle, PolicyThread};
use crate::progress::ProgressRegistry;
use crate::queue::{Doorbell, Ring};
use crate::render::acts::{Acts, Span, What};
use crate::render::scene::Scene;
use crate::render::sprite::Planes;
use crate::signs::attest::tests::{SIZE, Signed, WORDS, signed};

const NORTH: StreamIndex = StreamIndex(0);
const EVERY_S: u32 = 2;
const STEP_MS: u64 = 100;

/// The sign has these words, and was inspected with them.
fn reworded(register: &mut Register, words: &str) {
    let sign = &mut register.signs[0];
    words.clone_into(&mut sign.text);
    sign.inspected_text_sha256 = Some(sign.text_sha256());
}

struct World {
    clock: Arc<SimulatedClock>,
    register: std::path::PathBuf,
    policy: PolicyHandle,
    leases: LeaseTable,
    worker: AttestWorker,
    gatherer: Gatherer,
    ring: Arc<Ring<Frame>>,
    batch: Arc<BatchCounters>,
    scene: Scene,
    at_ms: u64,
    _directory: tempfile::TempDir,
}

impl World {
    /// A site whose one stream sees its sign, with what happens to it.
    fn new(acts: Vec<(What, Span)>) -> Self {
        let Signed { mut scene, code, key, watched } = signed("concourse", 4, EVERY_S);
        scene.perform(&Acts { sign: Some(code), acts }, &|| false).expect("drawn");
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("register.redb");
        let mut register = good();
        reworded(&mut register, WORDS);
        register.views.push(watched.view);
        let clock = SimulatedClock::starting_at("2026-11-21T12:00:00Z".parse::<When>().expect("date").at());
        put_as_stand_ins(&path, &register, clock.utc()).expect("stored");
        let names: [Arc<str>; 1] = ["north".into()];
        let (policy, leases) = PolicyThread::start(path.clone(), &names, clock.clone(), Box::new(PlainRules), None).expect("starts");
        let (sender, frames) = crossbeam::channel::bounded(1);
        let (wanted, bell, ring, batch) = (Wanted::default(), Doorbell::new(), Arc::new(Ring::new(4)), Arc::<BatchCounters>::default());
        let every = Arc::new(DetectEvery::new(1));
        let feed = Feed::new(NORTH, Arc::clone(&ring), every, true, Arc::clone(&batch));
        let feed = feed.watched_through(Hatch::new(wanted.clone(), sender));
        let worker = AttestWorker {
            attester: Attester::new(Some(key)),
            streams: vec![AttestedStream::new("north".into(), wanted, Arc::default())],
            frames,
            leases: leases.clone(),
            observations: policy.observations().clone(),
            clock: clock.clone(),
            recorder: Latencies::new().recorder("attest").expect("bounds"),
            progress: ProgressRegistry::new().register("attest"),
        };
        let gatherer = Gatherer::new(vec![feed], leases.clone(), bell);
        Self { clock, register: path, policy, leases, worker, gatherer, ring, batch, scene, at_ms: 0, _directory: directory }
    }

    /// A tenth of a second passes: a frame comes, the batch step and the worker do what they do, the policy thread decides.
    fn step(&mut self) -> StreamState {
        let now = self.clock.monotonic();
        self.worker.tick(now);
        // Frames that nobody is going to look at are not drawn; the detector's are not looked at here.
        if self.worker.streams[0].wanted.is_set() {
            let frame = self.frame(now);
            self.ring.push(frame);
        }
        let mut batch = Batch::new();
        self.gatherer.gather(&mut batch, 4, now);
        while let Ok(frame) = self.worker.frames.try_recv() {
            self.worker.look(&frame);
        }
        self.policy.reload().expect("answers");
        let state = self.leases.state(NORTH, self.clock.monotonic());
        self.clock.advance(Duration::from_millis(STEP_MS));
        self.at_ms += STEP_MS;
        state
    }

    /// Two people agree that the register says something else.
    fn change(&self, edit: impl FnOnce(&mut Register)) {
        let mut register = Register::load(&self.register).expect("valid");
        edit(&mut register);
        put_as_stand_ins(&self.register, &register, self.clock.utc()).expect("stored");
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    fn frame(&mut self, now: Stamp<Monotonic>) -> Frame {
        let mut planes = Planes::default();
        self.scene.draw(self.at_ms * 15 / 1_000, 15.0, &mut planes);
        let header = FrameHeader {
            stream: NORTH,
            sequence: self.at_ms,
            captured_at: CaptureTime::Arrival(now),
            arrived_at: now,
            width: SIZE.0 as u32,
            height: SIZE.1 as u32,
            layout: PixelLayout::I420,
            colorimetry: Colorimetry::assumed_for(720),
            strides: [SIZE.0, SIZE.0 / 2, SIZE.0 / 2],
        };
        Frame::new(header, self.leases.id(), Box::new(OwnedBuffer { planes: planes.into() })).expect("valid")
    }

    fn rule(&self) -> Rule {
        self.policy.snapshot()[0].reason.rule
    }
}

#[test]
fn what_happens_to_a_sign_or_a_camera_darkens_the_stream_in_time_and_what_is_undone_lights_it() {
    let span = |from_s| Span { from_s, to_s: Some(from_s + 8) };
    let acts = [(What::Covered, 6), (What::Foreign, 20), (What::Moved, 34), (What::Panned, 48)];
    let mut world = World::new(acts.iter().map(|(what, from_s)| (*what, span(*from_s))).collect());
    let mut first_dark: BTreeMap<&str, (u64, Rule)> = BTreeMap::new();
    let limit_ms = u64::from(EVERY_S) * 1_000 + 1_000;
    while world.at_ms < 60_000 {
        let at_ms = world.at_ms;
        let state = world.step();
        let act = acts.iter().find(|(_, from_s)| (*from_s * 1_000..(*from_s + 9) * 1_000).contains(&(at_ms as u32)));
        match act {
            // It takes one look to be lit at first.
            None if at_ms >= 1_000 => assert_eq!(state, StreamState::Recognise, "at {at_ms} ms: {:?}", world.policy.snapshot()[0].reason),
            None => {}
            Some((what, from_s)) => {
                let since_ms = at_ms - u64::from(*from_s) * 1_000;
                if state == StreamState::Off {
                    first_dark.entry(what.name()).or_insert((since_ms, world.rule()));
                }
                let dark = (limit_ms..8_000).contains(&since_ms);
                assert!(!dark || state == StreamState::Off, "{} for {since_ms} ms and still lit", what.name());
            }
        }
    }
    for (what, _) in acts {
        let (after_ms, rule) = first_dark[what.name()];
        let expected = if what == What::Panned { Rule::ViewSteady } else { Rule::SignAttested };
        assert_eq!(rule, expected, "{} after {after_ms} ms", what.name());
    }
    let counted = &world.worker.streams[0].counters;
    assert!([&counted.seen, &counted.missing, &counted.foreign, &counted.moved, &counted.drifted].iter().all(|c| c.get() > 0));
    assert_eq!(world.batch.frames_attested.get(), counted.looks.get(), "each frame that was handed over was looked at");
    assert_eq!(world.batch.frames_batched.get() + world.batch.frames_withheld.get(), 0, "and no other step had it");
}

#[test]
fn other_words_in_the_register_make_the_sign_on_the_wall_foreign_and_no_frames_make_it_missing() {
    let mut world = World::new(Vec::new());
    world.steps(10);
    assert_eq!(world.leases.state(NORTH, world.clock.monotonic()), StreamState::Recognise);
    let permit = world.leases.permit::<Detect>(NORTH, world.clock.monotonic()).expect("lit");
    world.change(|r| reworded(r, &format!("{WORDS}, also at night")));
    let states: Vec<StreamState> = (0..10).map(|_| world.step()).collect();
    assert!(states[1..].iter().all(|s| *s == StreamState::Off), "{states:?}");
    assert!(
        !permit.stands() && world.policy.snapshot()[0].reason.fact.contains("not this sign's"),
        "{:?}",
        world.policy.snapshot()[0].reason
    );
    world.change(|r| reworded(r, WORDS));
    world.steps(10);
    assert_eq!(world.leases.state(NORTH, world.clock.monotonic()), StreamState::Recognise);
    // The camera hangs: nothing arrives, only time passes.
    let limit = 10 * EVERY_S + 10;
    for _ in 0..limit {
        world.worker.tick(world.clock.monotonic());
        world.policy.reload().expect("answers");
        world.clock.advance(Duration::from_millis(STEP_MS));
    }
    world.policy.reload().expect("answers");
    assert_eq!((world.leases.state(NORTH, world.clock.monotonic()), world.rule()), (StreamState::Off, Rule::SignAttested));
}

#[test]
fn a_private_zone_and_a_sign_that_was_taken_down_are_not_looked_at() {
    let mut world = World::new(Vec::new());
    world.step();
    assert_eq!(world.worker.streams[0].counters.looks.get(), 1);
    let leased = |world: &World| world.leases.attest_permit(NORTH, world.clock.monotonic()).is_ok();
    assert!(leased(&world));
    world.change(|r| r.zones[0].kind = crate::policy::facts::ZoneKind::Private);
    world.policy.reload().expect("answers");
    assert!(!leased(&world));
    world.change(|r| r.zones[0].kind = crate::policy::facts::ZoneKind::Public);
    world.policy.reload().expect("answers");
    assert!(leased(&world));
    world.policy.withdraw_sign("hall-1", "test", "").expect("withdrawn");
    assert!(!leased(&world));
    world.steps(10);
    let counted = &world.worker.streams[0].counters;
    assert_eq!(counted.looks.get(), 1);
    world.policy.stop();
    assert!(!leased(&world));
}
