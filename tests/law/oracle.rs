//! The decision plane against an independent reading of the law, over random states: same state, same purposes, same pixels, and rules
//! and policies of one mind.
//!
//! The ordinary run takes a few seconds. The full one, whose figures stand in docs/measurements.md:
//! `PLACARD_ORACLE_STATES=10000000 cargo test --release --test law oracle -- --ignored --nocapture`
//! (in parts: `PLACARD_ORACLE_SKIP=N`). A failure prints the seed of its
//! state: `PLACARD_ORACLE_SEED=N cargo test --test law oracle::one`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use placard::policy::cedar::CedarPlane;
use placard::policy::lease::StreamState;
use placard::policy::observed::Moment;
use placard::policy::oracle::{Oracle, Verdict, cells};
use placard::policy::rules::{Decision, DecisionPlane};

use crate::states::{Random, STREAMS, State, States};

const FIRST_SEED: u64 = 0x5eed_0000_0000;

fn told(decision: &Decision) -> Verdict {
    let purposes: BTreeSet<String> = decision.grants.iter().map(|g| g.purpose.to_string()).collect();
    let shown = decision.area.iter().flat_map(|a| a.polygons()).fold(0, |all, p| all | cells(p));
    Verdict { state: decision.state, purposes, cells: shown }
}

/// What the oracle permits on each stream.
pub fn permitted(state: &State) -> Vec<Verdict> {
    let oracle = Oracle {
        register: &state.register,
        utc_ns: state.now.utc.ns(),
        monotonic_ns: state.now.monotonic.ns(),
        heard: &state.observed.heartbeats,
        seen: &state.observed.attestations,
    };
    STREAMS.iter().map(|s| oracle.permits(s)).collect()
}

/// How often each state occurred, and on how many streams more than one zone was in play.
#[derive(Default)]
struct Tally {
    states: BTreeMap<&'static str, u64>,
    granted: BTreeMap<String, u64>,
}

fn compare(seed: u64, states: &States, plane: &CedarPlane, tally: &mut Tally) -> Result<(), String> {
    let state = states.state(&mut Random(seed));
    let streams: Vec<Arc<str>> = STREAMS.iter().map(|s| Arc::from(*s)).collect();
    let moment = Moment { now: state.now, observed: &state.observed };
    let differed = plane.disagreements();
    let fault = |what: &str, detail: &dyn Debug| Err(format!("seed {seed}: {what}: {detail:#?}\n{:#?}", state.register));
    let decisions = match plane.decide_all(&state.register, &streams, moment) {
        Ok(decisions) => decisions,
        Err(error) => return fault("the plane erred", &error),
    };
    if plane.disagreements() != differed {
        return fault("rules and policies differ", &decisions);
    }
    for (decision, verdict) in decisions.iter().zip(permitted(&state)) {
        if told(decision) != verdict {
            return fault("the oracle says otherwise", &(verdict, decision));
        }
        *tally.states.entry(verdict.state.name()).or_default() += 1;
        for purpose in verdict.purposes {
            let kind = purpose.split(':').next().unwrap_or_default().to_owned();
            *tally.granted.entry(kind).or_default() += 1;
        }
    }
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn the_plane_and_the_oracle_agree_on_random_states() {
    let (states, plane, mut tally) = (States::new(), CedarPlane::bundled(), Tally::default());
    let count = 4_000;
    for seed in FIRST_SEED..FIRST_SEED + count {
        compare(seed, &states, &plane, &mut tally).unwrap_or_else(|fault| panic!("{fault}"));
    }
    // A comparison of nothing but refusals would prove little.
    for state in [StreamState::Off, StreamState::CaptureOnly, StreamState::Detect, StreamState::Recognise] {
        let share = tally.states.get(state.name()).copied().unwrap_or(0) as f64 / (2 * count) as f64;
        assert!(share > 0.01, "{}: {share}; {:?}", state.name(), tally.states);
    }
    for kind in placard::purpose::PurposeKind::ALL {
        assert!(tally.granted.get(kind.name()).copied().unwrap_or(0) > 20, "{}: {:?}", kind.name(), tally.granted);
    }
}

#[test]
fn one() {
    let Some(seed) = number("PLACARD_ORACLE_SEED") else { return };
    compare(seed, &States::new(), &CedarPlane::bundled(), &mut Tally::default()).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
#[ignore = "minutes: the full run"]
fn full() {
    const BATCH: u64 = 1_000;
    let count = number("PLACARD_ORACLE_STATES").unwrap_or(10_000_000);
    // A run in parts: each its own states.
    let skipped = number("PLACARD_ORACLE_SKIP").unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, started) = (AtomicU64::new(0), Instant::now());
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let work = || {
            let (states, plane, mut tally) = (States::new(), CedarPlane::bundled(), Tally::default());
            loop {
                let first = next.fetch_add(BATCH, Relaxed);
                if first >= count {
                    return tally;
                }
                for seed in first..(first + BATCH).min(count) {
                    compare(FIRST_SEED + skipped + seed, &states, &plane, &mut tally).unwrap_or_else(|fault| panic!("{fault}"));
                }
                if first.is_multiple_of(100_000) {
                    let rate = first as f64 / started.elapsed().as_secs_f64().max(1e-9);
                    let _nobody_reads = writeln!(std::io::stderr(), "{first} of {count} states, {rate:.0}/s");
                }
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|t| t.join().expect("no disagreement")).collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        tally.states.into_iter().for_each(|(k, n)| *all.states.entry(k).or_default() += n);
        tally.granted.into_iter().for_each(|(k, n)| *all.granted.entry(k).or_default() += n);
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = count as f64 / seconds;
    let _nobody_reads = writeln!(
        std::io::stderr(),
        "{count} states after {skipped}, {threads} threads, {seconds:.0} s, {rate:.0}/s: no disagreement; streams by state {:?}, grants {:?}",
        all.states,
        all.granted
    );
}
