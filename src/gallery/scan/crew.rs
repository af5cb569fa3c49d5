//! Threads that search together. Made once; between searches they wait, with the scratch memory of the last search.
//!
//! ```text
//! caller: task ← queries, shard ── begin ──▶ every thread, the caller too: spans until none is left ── end ──▶ caller: merges, wipes
//! ```
//!
//! One search at a time has the crew; a search that finds it busy runs on its caller's thread alone, with memory of its own, so nobody waits. A crew
//! of one has no threads. Lock order: `turn`, then `task`, then `state` or one `seat`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, RwLock};

use super::best::{Best, Hit};
use super::filter::Filter;
use super::kernel::Kernel;
use super::pass::{Bars, CHUNK, Goal, Seat, Way};
use super::plane::{BLOCK, Depth};
use super::query::{MAX_QUERIES, Queries};
use super::shard::Shard;

/// From this threshold on the 4-bit plane is read: below, too many rows would have to be looked at exactly.
pub(crate) const NIBBLE_FROM: f32 = 0.2;
/// Rows for which it does not pay to wake anybody.
const ALONE: usize = 64 * CHUNK * BLOCK;

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Least score.
    pub(crate) threshold: f32,
    /// Subjects for each query.
    pub(crate) top_k: usize,
    pub(crate) filter: Filter,
    /// Unset: by the threshold. The results are the same.
    pub(crate) depth: Option<Depth>,
    /// Unset: the shard's own. The results are the same.
    pub(crate) kernel: Option<Kernel>,
}

/// What one search cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Blocks read by all threads.
    pub(crate) blocks: u64,
    /// Rows scored exactly, over all queries.
    pub(crate) rescored: u64,
}

/// Hits of each query, best first. Memory is reused.
#[derive(Default)]
pub(crate) struct Found {
    of: Vec<Best>,
}

impl Found {
    pub(crate) fn hits(&self, query: usize) -> &[Hit] {
        self.of[query].hits()
    }
}

/// What is being searched, and for whom.
#[derive(Default)]
struct Task {
    shard: Option<Arc<Shard>>,
    queries: Queries,
    goal: Option<Goal>,
}

#[derive(Default)]
struct State {
    /// Counts searches that the crew was called for.
    called: u64,
    working: usize,
    ends: bool,
    failed: bool,
}

struct Shared {
    task: RwLock<Task>,
    state: Mutex<State>,
    begin: Condvar,
    end: Condvar,
    next: AtomicUsize,
    bars: Bars,
    /// One for each thread, the caller's first.
    seats: Vec<Mutex<Seat>>,
}

impl Shared {
    fn new(threads: usize) -> Self {
        Self {
            task: RwLock::default(),
            state: Mutex::default(),
            begin: Condvar::new(),
            end: Condvar::new(),
            next: AtomicUsize::new(0),
            bars: Bars::new(),
            seats: (0..threads).map(|_| Mutex::new(Seat::new())).collect(),
        }
    }

    fn walk(&self, seat: usize, threads: usize) {
        let task = self.task.read();
        let (Some(shard), Some(goal)) = (&task.shard, &task.goal) else { return };
        let way = Way { shard, queries: &task.queries, goal, bars: &self.bars, next: &self.next, threads };
        way.walk(&mut self.seats[seat].lock());
    }
}

/// Says that a thread is done with its part, also where it panics.
struct Working<'a>(&'a Shared);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.failed |= std::thread::panicking();
        state.working -= 1;
        if state.working == 0 {
            self.0.end.notify_one();
        }
    }
}

pub(crate) struct Crew {
    shared: Arc<Shared>,
    turn: Mutex<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// `threads` search together, the caller among them; at least one. Their names are `scan-1` and on.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared::new(threads));
        let spawn = |seat: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("scan-{seat}")).spawn(move || wait_and_walk(&shared, seat, threads))
        };
        let spawned = (1..threads).map(spawn).collect::<std::io::Result<Vec<_>>>();
        // Those that could be made must not wait for ever.
        let crew = |threads| Self { shared: Arc::clone(&shared), turn: Mutex::new(()), threads };
        spawned.map(crew).inspect_err(|_| {
            shared.state.lock().ends = true;
            shared.begin.notify_all();
        })
    }

    /// One that has no threads of its own.
    pub(crate) fn alone() -> Self {
        Self { shared: Arc::new(Shared::new(1)), turn: Mutex::new(()), threads: Vec::new() }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// For each of `queries` the best `top_k` subjects of `threshold` and more. A query that is no unit vector of the shard's dimension
    /// finds nobody.
    pub(crate) fn search(&self, shard: &Arc<Shard>, queries: &[&[f32]], search: &Search, found: &mut Found) -> Cost {
        // What no score reaches: a NaN as well.
        let top_k = if search.threshold.is_nan() { 0 } else { search.top_k };
        found.reset(queries.len(), top_k.min(shard.slots()));
        let mut cost = Cost::default();
        if top_k == 0 || shard.len() == 0 {
            return cost;
        }
        let depth = search.depth.unwrap_or(if search.threshold >= NIBBLE_FROM { Depth::Nibble } else { Depth::Byte });
        let kernel = search.kernel.unwrap_or(shard.kernel());
        let goal = Goal { threshold: search.threshold, top_k, filter: search.filter, depth, kernel };
        for (queries, found) in queries.chunks(MAX_QUERIES).zip(found.of.chunks_mut(MAX_QUERIES)) {
            let turn = self.turn.try_lock();
            let done = turn.is_some().then(|| self.search_some(shard, queries, &goal, found)).flatten();
            // Busy, or one of the threads broke down: nobody waits, and nobody is overlooked.
            let more = done.or_else(|| Self::alone().search_some(shard, queries, &goal, found)).unwrap_or_default();
            cost = Cost { blocks: cost.blocks + more.blocks, rescored: cost.rescored + more.rescored };
        }
        cost
    }

    /// The caller has the turn. `None`: one of the threads broke down.
    fn search_some(&self, shard: &Arc<Shard>, queries: &[&[f32]], goal: &Goal, found: &mut [Best]) -> Option<Cost> {
        let shared = &*self.shared;
        {
            let mut task = shared.task.write();
            task.queries.prepare(shard.dim(), queries);
            task.goal = Some(*goal);
            task.shard = Some(Arc::clone(shard));
        }
        shared.next.store(0, Relaxed);
        shared.bars.reset(goal.threshold);
        let mut failed = false;
        let mut threads = 1;
        if shard.len() > ALONE && !self.threads.is_empty() {
            let mut state = shared.state.lock();
            if !state.failed {
                threads = self.threads();
                (state.called, state.working) = (state.called + 1, threads - 1);
                shared.begin.notify_all();
            }
        }
        shared.walk(0, threads);
        if threads > 1 {
            let mut state = shared.state.lock();
            shared.end.wait_while(&mut state, |state| state.working > 0);
            failed = state.failed;
        }
        let mut task = shared.task.write();
        task.queries.wipe();
        task.shard = None;
        if failed {
            tracing::error!("a thread of the scan broke down: searches go on without");
            return None;
        }
        let mut cost = Cost::default();
        for seat in &shared.seats[..threads] {
            let seat = seat.lock();
            for (all, part) in found.iter_mut().zip(&seat.best) {
                part.hits().iter().for_each(|hit| all.offer(*hit));
            }
            cost = Cost { blocks: cost.blocks + seat.blocks, rescored: cost.rescored + seat.rescored };
        }
        Some(cost)
    }
}

impl Found {
    fn reset(&mut self, queries: usize, capacity: usize) {
        self.of.resize_with(queries, Best::default);
        self.of.iter_mut().for_each(|best| best.reset(capacity));
    }
}

fn wait_and_walk(shared: &Shared, seat: usize, threads: usize) {
    let mut seen = 0;
    loop {
        {
            let mut state = shared.state.lock();
            shared.begin.wait_while(&mut state, |state| state.called == seen && !state.ends);
            if state.ends {
                return;
            }
            seen = state.called;
        }
        let _working = Working(shared);
        shared.walk(seat, threads);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.state.lock().ends = true;
        self.shared.begin.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so in its search.
            let _ = thread.join();
        }
    }
}
