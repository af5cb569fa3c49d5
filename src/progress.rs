//! Who is still working: what the watchdog and `/ready` look at.
//!
//! Every worker thread registers once and holds its [`Progress`]. It calls [`Progress::beat`] when it has finished a piece of work and
//! [`Progress::rest`] before it waits for the next one; the first `beat` or [`Progress::start`] after a wait ends the rest. A
//! worker that is busy and has not moved since the last look is stuck; one that rests is not, however long nothing comes
//! (a camera that goes dark idles its workers for hours). Two relaxed atomic operations a piece of work; no lock, no allocation.
//!
//! A thread that ends drops its `Progress`: *finished* on purpose after [`Progress::finish`], otherwise *lost* (it panicked or returned
//! early), which is never healthy. One that was registered and never used is forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Serialize;

const BUSY: u8 = 0;
const RESTING: u8 = 1;
const FINISHED: u8 = 2;
const LOST: u8 = 3;

struct Worker {
    name: Arc<str>,
    beats: AtomicU64,
    state: AtomicU8,
}

/// A worker's end. Dropping it without [`finish`](Progress::finish) reports the worker lost.
pub struct Progress {
    worker: Arc<Worker>,
}

impl Progress {
    /// A piece of work has begun: from now on the worker owes a beat.
    pub fn start(&self) {
        self.beat();
    }
    /// A piece of work is done.
    pub fn beat(&self) {
        self.worker.state.store(BUSY, Relaxed);
        self.worker.beats.fetch_add(1, Relaxed);
    }
    /// About to wait for work: owes nothing until it comes.
    pub fn rest(&self) {
        self.worker.beats.fetch_add(1, Relaxed);
        self.worker.state.store(RESTING, Relaxed);
    }
    /// The thread ends as it should.
    pub fn finish(self) {
        self.worker.state.store(FINISHED, Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.worker.state.load(Relaxed) == FINISHED {
            return;
        }
        // Never used: the worker was registered, but its appliance could not be built. Nobody misses it.
        let unused = self.worker.beats.load(Relaxed) == 0 && !std::thread::panicking();
        self.worker.state.store(if unused { FINISHED } else { LOST }, Relaxed);
    }
}

/// All workers of one appliance. Cloneable; clones see the same workers.
#[derive(Clone, Default)]
pub struct ProgressRegistry {
    workers: Arc<Mutex<Vec<Arc<Worker>>>>,
}

/// How a worker looks now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Moved since the last look.
    Moving,
    /// Waits for work.
    Resting,
    /// Has work and has not moved since the last look.
    Stuck,
    /// Its thread ended without saying so.
    Lost,
}

/// A worker that keeps the appliance from being well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ailing {
    pub worker: Arc<str>,
    pub condition: Condition,
}

/// Remembers what it saw, to tell movement. Each observer (watchdog, `/ready`) has its own.
#[derive(Default)]
pub struct Observer {
    seen: Vec<(Arc<Worker>, u64)>,
}

impl ProgressRegistry {
    pub fn new() -> Self {
        Self::default()
    }
    /// Registers the calling worker; it counts as resting until its first [`Progress::start`] or [`Progress::beat`].
    pub fn register(&self, name: &str) -> Progress {
        let worker = Arc::new(Worker { name: name.into(), beats: AtomicU64::new(0), state: AtomicU8::new(RESTING) });
        self.workers.lock().push(Arc::clone(&worker));
        Progress { worker }
    }
}

impl Observer {
    /// Every worker's condition since this observer's last look. Workers seen for the first time count as moving.
    pub fn look(&mut self, registry: &ProgressRegistry) -> Vec<(Arc<str>, Condition)> {
        let mut workers = registry.workers.lock();
        workers.retain(|w| w.state.load(Relaxed) != FINISHED);
        let mut conditions = Vec::with_capacity(workers.len());
        let mut seen = Vec::with_capacity(workers.len());
        for worker in workers.iter() {
            let beats = worker.beats.load(Relaxed);
            let before = self.seen.iter().find(|(w, _)| Arc::ptr_eq(w, worker)).map(|(_, beats)| *beats);
            let condition = match worker.state.load(Relaxed) {
                LOST => Condition::Lost,
                RESTING => Condition::Resting,
                _ if before == Some(beats) => Condition::Stuck,
                _ => Condition::Moving,
            };
            conditions.push((Arc::clone(&worker.name), condition));
            seen.push((Arc::clone(worker), beats));
        }
        self.seen = seen;
        conditions
    }

    /// Those who are stuck or lost; empty means all is well.
    pub fn ailing(&mut self, registry: &ProgressRegistry) -> Vec<Ailing> {
        let all = self.look(registry).into_iter();
        let bad = all.filter(|(_, c)| matches!(c, Condition::Stuck | Condition::Lost));
        bad.map(|(worker, condition)| Ailing { worker, condition }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(observer: &mut Observer, registry: &ProgressRegistry) -> Vec<Condition> {
        observer.look(registry).into_iter().map(|(_, c)| c).collect()
    }

    #[test]
    fn busy_without_a_beat_is_stuck_and_resting_is_not() {
        let registry = ProgressRegistry::new();
        let (detect, embed) = (registry.register("detect-0"), registry.register("embed-0"));
        let mut observer = Observer::default();
        assert_eq!(conditions(&mut observer, &registry), [Condition::Resting, Condition::Resting]);
        detect.start();
        assert_eq!(observer.ailing(&registry), [], "work that has just begun is not late");
        assert_eq!(observer.ailing(&registry), [Ailing { worker: "detect-0".into(), condition: Condition::Stuck }]);
        detect.beat();
        embed.beat();
        assert_eq!(conditions(&mut observer, &registry), [Condition::Moving, Condition::Moving]);
        embed.rest();
        assert_eq!(conditions(&mut observer, &registry), [Condition::Stuck, Condition::Resting]);
        // Another observer has looked at nothing yet.
        assert_eq!(Observer::default().ailing(&registry), []);
    }

    #[test]
    fn a_thread_that_ends_on_purpose_is_forgotten_and_one_that_panics_is_lost() {
        let registry = ProgressRegistry::new();
        registry.register("ingest").finish();
        drop(registry.register("never-started"));
        let worker = registry.register("embed-0");
        let thread = std::thread::Builder::new().name("embed-0".into()).spawn(move || {
            worker.start();
            panic!("on purpose");
        });
        assert!(thread.expect("spawned").join().is_err());
        let mut observer = Observer::default();
        let lost = Ailing { worker: "embed-0".into(), condition: Condition::Lost };
        assert_eq!(observer.ailing(&registry), std::slice::from_ref(&lost));
        assert_eq!(observer.ailing(&registry), [lost], "lost stays lost");
    }
}
