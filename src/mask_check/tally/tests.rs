//! What a tally answers, and when it stops holding anything.

use super::*;
use crate::area::Area;
use crate::clock::{Clock, SimulatedClock, Utc};
use crate::policy::lease::testing::{Granted, grant};
use crate::policy::lease::{StreamState, Withheld};
use crate::track::testing::{Street, at_ms, face};

/// Gives the next of the test's probabilities; may have the lease revoked meanwhile.
struct Stub {
    probabilities: Vec<f32>,
    calls: usize,
    meanwhile: Option<Box<dyn FnMut()>>,
}

impl MaskShot for Stub {
    fn probability(&mut self, frame: &Frame, permit: &Permit<MaskCheck>, _landmarks: &Landmarks) -> Result<f32, MaskError> {
        assert_eq!(permit.stream(), frame.header().stream);
        self.calls += 1;
        self.meanwhile.iter_mut().for_each(|meanwhile| meanwhile());
        if self.probabilities.is_empty() {
            return Err(MaskError::Logits { stream: 0, sequence: 0, got: 0, want: 2 });
        }
        Ok(self.probabilities.remove(0))
    }
}

struct Bench {
    street: Street,
    granted: Granted,
    clock: Arc<SimulatedClock>,
    tally: Tally<Stub>,
    counters: Arc<MaskCounters>,
}

fn bench(state: StreamState, purposes: &[&str], threshold: f32) -> Bench {
    let clock = SimulatedClock::starting_at(Stamp::<Utc>::from_ns(0));
    // For ten minutes.
    let until = clock.monotonic().plus(Duration::from_secs(600));
    let granted = grant(state, purposes, Area::whole(), until);
    let counters: Arc<MaskCounters> = Arc::default();
    let settings: schema::Mask = toml::from_str("model = \"masks\"").expect("all else has a default");
    let model = MaskModel { name: "masks".into(), sha256: "ab".into() };
    let stub = Stub { probabilities: Vec::new(), calls: 0, meanwhile: None };
    let thresholds = Arc::new(Thresholds::new([threshold]));
    let tally = Tally::new(stub, model, &settings, granted.table.clone(), clock.clone(), vec![Arc::clone(&counters)], thresholds);
    Bench { street: Street::new(), granted, clock, tally, counters }
}

impl Bench {
    fn epoch(&self) -> u64 {
        self.granted.table.epoch(StreamIndex(0))
    }

    fn send(&mut self, of: Use, lease_epoch: u64, shots: &[(u64, f32)], conclude: &[u64], ended: &[u64]) -> Vec<Finding> {
        let ids = |of: &[u64]| of.iter().copied().map(TrackId::for_test).collect();
        self.tally.classifier.probabilities = shots.iter().map(|s| s.1).collect();
        let frame = (!shots.is_empty()).then(|| Arc::new(self.street.frame(0)));
        let shot = |&(track, _): &(u64, f32)| Shot { track: TrackId::for_test(track), face: face(300.0, 200.0), quality: 1.0 };
        let shots = shots.iter().map(shot).collect();
        let selection = Selection {
            of,
            stream: StreamIndex(0),
            lease_epoch,
            frame,
            shots,
            presented: None,
            conclude: ids(conclude),
            ended: ids(ended),
        };
        let mut findings = Vec::new();
        self.tally.process(selection, &mut |finding| findings.push(finding));
        findings
    }

    fn look(&mut self, shots: &[(u64, f32)], conclude: &[u64]) -> Vec<Finding> {
        self.send(Use::MaskCheck, self.epoch(), shots, conclude, &[])
    }

    fn counts(&self) -> [u64; 7] {
        let c = &self.counters;
        [&c.shots, &c.masked, &c.bare, &c.undecided, &c.withheld, &c.dropped, &c.errors].map(crate::counters::Counter::get)
    }
}

#[test]
fn a_person_is_one_answer_the_mean_of_their_shots() {
    let mut b = bench(StreamState::Detect, &["mask-check"], 0.8);
    assert!(b.look(&[(1, 1.0), (2, 0.1)], &[]).is_empty());
    assert!(b.look(&[(1, 0.6), (2, 0.0), (3, 0.9)], &[]).is_empty());
    let findings = b.look(&[(1, 0.95)], &[1, 2]);
    let told: Vec<(bool, usize)> = findings.iter().map(|f| (f.worn, f.shots)).collect();
    assert_eq!(told, [(true, 3), (false, 2)]);
    assert!((findings[0].confidence - 0.85).abs() < 1e-5 && (findings[1].confidence - 0.95).abs() < 1e-5, "{findings:?}");
    assert_eq!((findings[0].purpose.to_string(), findings[0].lease_epoch), ("mask-check".to_owned(), b.epoch()));
    // Neither answer is probable enough; and there is nothing more to say of those who were told of.
    assert!(b.look(&[(3, 0.5)], &[3, 1, 2]).is_empty());
    assert_eq!(b.counts(), [7, 1, 1, 1, 0, 0, 0]);
    assert!(b.tally.open.is_empty());
}

#[test]
fn without_the_purpose_nothing_is_looked_at() {
    for (state, purposes) in [(StreamState::Recognise, &["missing-person:1"][..]), (StreamState::CaptureOnly, &["mask-check"])] {
        let mut b = bench(state, purposes, 0.8);
        assert!(b.look(&[(1, 1.0)], &[1]).is_empty());
        assert_eq!((b.tally.classifier.calls, b.counts()), (0, [0, 0, 0, 0, 2, 0, 0]), "{purposes:?}");
    }
    // What was chosen to be embedded is not looked at either, nor what was chosen under another lease.
    let mut b = bench(StreamState::Recognise, &["missing-person:1", "mask-check"], 0.8);
    let epoch = b.epoch();
    assert!(b.send(Use::Embedding, epoch, &[(1, 1.0)], &[1], &[]).is_empty());
    assert!(b.send(Use::MaskCheck, epoch - 1, &[(1, 1.0)], &[1], &[]).is_empty());
    assert_eq!((b.tally.classifier.calls, b.counts()), (0, [0, 0, 0, 0, 4, 0, 0]));
    assert_eq!(b.look(&[(1, 1.0)], &[1]).len(), 1, "both purposes, each under its own permit");
}

#[test]
fn a_lease_that_ends_takes_everything_with_it() {
    let mut b = bench(StreamState::Detect, &["mask-check"], 0.8);
    b.look(&[(1, 1.0), (2, 1.0)], &[]);
    b.granted.revoke();
    b.tally.purge_dead(b.clock.monotonic());
    assert!(b.tally.open.is_empty());
    assert_eq!(b.tally.leases.permit::<MaskCheck>(StreamIndex(0), b.clock.monotonic()).err(), Some(Withheld::NoLease));
    b.granted.renew(b.clock.monotonic().plus(Duration::from_secs(600)));
    assert!(b.look(&[], &[1, 2]).is_empty(), "what was seen before says nothing now");
    assert_eq!(b.counts(), [2, 0, 0, 0, 0, 2, 0]);

    // While the network runs.
    let table = b.granted.table.clone();
    let mut granted = std::mem::replace(&mut b.granted, grant(StreamState::Detect, &["mask-check"], Area::whole(), at_ms(0)));
    assert!(table.permit::<MaskCheck>(StreamIndex(0), b.clock.monotonic()).is_ok());
    let lease_epoch = table.epoch(StreamIndex(0));
    b.tally.classifier.meanwhile = Some(Box::new(move || granted.revoke()));
    assert!(b.send(Use::MaskCheck, lease_epoch, &[(5, 1.0)], &[5], &[]).is_empty());
    assert_eq!((b.counters.withheld.get(), b.tally.open.len()), (1, 0));
}

#[test]
fn what_ends_fails_or_waits_too_long_is_dropped_and_counted() {
    let mut b = bench(StreamState::Detect, &["mask-check"], 0.8);
    b.look(&[(1, 1.0), (2, 1.0)], &[]);
    let epoch = b.epoch();
    b.send(Use::MaskCheck, epoch, &[], &[], &[1]);
    assert_eq!(b.tally.open.len(), 1);
    b.clock.advance(Duration::from_millis(3_499));
    b.tally.purge_dead(b.clock.monotonic());
    assert_eq!(b.tally.open.len(), 1);
    b.clock.advance(Duration::from_millis(1));
    b.tally.purge_dead(b.clock.monotonic());
    assert_eq!((b.tally.open.len(), b.counts()), (0, [2, 0, 0, 0, 0, 2, 0]));
    for batch in 0..24_u64 {
        let shots: Vec<(u64, f32)> = (0..50).map(|i| (batch * 50 + i, 0.5)).collect();
        b.look(&shots, &[]);
    }
    assert_eq!((b.tally.open.len(), b.tally.open.capacity()), (MOST_TRACKS, MOST_TRACKS));
    let blind = Shot { track: TrackId::for_test(9), face: crate::detect::Face { landmarks: None, ..face(1.0, 1.0) }, quality: 1.0 };
    let frame = Some(Arc::new(b.street.frame(0)));
    let selection = Selection {
        of: Use::MaskCheck,
        stream: StreamIndex(0),
        lease_epoch: b.epoch(),
        frame,
        shots: vec![blind],
        presented: None,
        conclude: vec![],
        ended: vec![],
    };
    b.tally.process(selection, &mut |_| panic!("nothing to tell"));
    assert_eq!(b.counters.errors.get(), 1);
}
