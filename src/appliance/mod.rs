//! The appliance: the only place that sees every step. It builds them, connects them by bounded queues, starts and stops them.
//!
//! ```text
//! ingest-<stream> ─ring─▶ batch ─▶ detect-N ─▶ track ─▶ embed-M ─▶ decide ─▶ emit ─▶ emit-mqtt, emit-webhook
//!        └─ one doorbell ─┘           └── one turn a stream ──┘└─▶ mask (match) ─┘ (journal first)
//!                             policy ──▶ lease table ──▶ every step asks for its permit
//! ```
//!
//! `plan.rs` gathers what a pipeline needs (files, models, keys) and fails with advice; `wiring.rs` builds and connects the steps, `running.rs`
//! holds their threads and ends them in order, `plane.rs` is what runs; `view.rs` is what the console sees. A reload that changes streams only
//! changes those alone; any other builds a whole new plane from the new plan and goes back to the old if it cannot start.

mod devices;
mod plan;

mod plane;
mod public;
mod running;
mod verify;
mod view;
mod wiring;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::clock::{Monotonic, Now, SharedClock, Stamp};
use crate::console::rates::RateWindow;
use crate::emit::worker::Recent;
use crate::policy::pending::PendingWithdrawals;
use crate::progress::{Observer, ProgressRegistry};
use crate::shutdown::Shutdown;

pub use plan::{HEAD_START, Plan, Sources, StartError};
pub use plane::{Lasting, Plane, StreamRuntime};

/// After so many failures running a replay's source is given up: it takes about four seconds. A service tries for ever.
pub const GIVE_UP_ATTEMPTS: u32 = 5;

/// A running pipeline. Threads stop when it is stopped; dropping it stops it.
pub struct Appliance {
    plane: RwLock<Option<Arc<Plane>>>,
    plan: Mutex<Plan>,
    lasting: Lasting,
    clock: SharedClock,
    progress: ProgressRegistry,
    started_at: Now,
    observer: Mutex<Observer>,
    /// Held by a reload, and by the stop that must not overtake one.
    reloading: Mutex<()>,
    stopped: AtomicBool,
    failed: Shutdown,
    /// Frames arrived and looked at, per stream.
    rates: Mutex<Vec<(RateWindow, RateWindow)>>,
}

fn rates(plane: &Plane, now: Stamp<Monotonic>) -> Vec<(RateWindow, RateWindow)> {
    plane.streams.iter().map(|_| (RateWindow::starting_at(now), RateWindow::starting_at(now))).collect()
}

impl Appliance {
    /// Builds and starts everything; returns when every thread runs.
    pub fn start(plan: Plan) -> Result<Arc<Self>, StartError> {
        let clock = Arc::clone(&plan.clock);
        let progress = ProgressRegistry::new();
        let lasting = Lasting::default();
        let plane = Plane::start(&plan, &progress, &lasting)?;
        let started_at = clock.now();
        let rates = Mutex::new(rates(&plane, started_at.monotonic));
        Ok(Arc::new(Self {
            plane: RwLock::new(Some(Arc::new(plane))),
            plan: Mutex::new(plan),
            lasting,
            progress,
            started_at,
            observer: Mutex::default(),
            reloading: Mutex::new(()),
            stopped: AtomicBool::new(false),
            failed: Shutdown::new(),
            rates,
            clock,
        }))
    }

    /// The plane in force; `None` between stop and end.
    pub fn plane(&self) -> Option<Arc<Plane>> {
        self.plane.read().clone()
    }

    /// The newest events, of this plane and those before it; a subscription outlives reloads.
    pub fn recent(&self) -> &Recent {
        &self.lasting.recent
    }

    fn withdrawals(&self) -> &PendingWithdrawals {
        &self.lasting.withdrawals
    }

    /// Stops the sources, lets what arrived run through to the journal, and ends every thread.
    pub fn stop(&self) {
        self.stopped.store(true, SeqCst);
        // A reload under way finishes, or sees that it came too late; either way its plane is ended here.
        let _turn = self.reloading.lock();
        self.end_plane();
    }

    /// Waits until every source has ended by itself (files that are not repeated) or has failed [`GIVE_UP_ATTEMPTS`] times running, or
    /// `shutdown` is requested; false in the last case.
    pub fn wait_until_ended(&self, shutdown: &Shutdown) -> bool {
        loop {
            // No plane: a reload is under way.
            if self.plane().is_some_and(|p| p.sources_over(GIVE_UP_ATTEMPTS)) || self.failed.is_requested() {
                return true;
            }
            if shutdown.wait(Duration::from_millis(20)) {
                return false;
            }
        }
    }

    /// All workers' progress, for the watchdog.
    pub fn progress(&self) -> &ProgressRegistry {
        &self.progress
    }

    /// Starts a plane from `next`; if that fails, one from the old plan, so that a bad file changes nothing. Called with `reloading` held.
    fn replace(&self, next: Plan) -> Result<(), StartError> {
        // What most often is wrong is refused before the old plane is disturbed: files, models, keys. The journal, the sinks and the vault
        // can only be opened once the old plane has let go of them.
        next.prepare()?;
        let old = self.plan.lock().clone();
        self.end_plane();
        if self.stopped.load(SeqCst) {
            return Ok(());
        }
        let (plane, result) = match Plane::start(&next, &self.progress, &self.lasting) {
            Ok(plane) => {
                *self.plan.lock() = next;
                (plane, Ok(()))
            }
            Err(first) => {
                tracing::error!(error = %first, "the new pipeline does not start: going back to the old one");
                match Plane::start(&old, &self.progress, &self.lasting) {
                    Ok(plane) => (plane, Err(first)),
                    Err(second) => {
                        let error = StartError::NoWayBack { first: first.to_string(), second: second.to_string() };
                        // A service without a pipeline is not one: whoever started us is to start us again.
                        tracing::error!(%error, "ending");
                        self.failed.request();
                        return Err(error);
                    }
                }
            }
        };
        *self.rates.lock() = rates(&plane, self.clock.monotonic());
        let plane = Arc::new(plane);
        *self.plane.write() = Some(Arc::clone(&plane));
        // A sign may have been withdrawn through the old plane after this one had read the register.
        if let Err(error) = plane.policy.reload() {
            tracing::error!(%error, "the new pipeline's policy thread does not answer: its streams stay dark");
        }
        result
    }

    /// Requested when nothing runs any more and nothing can be started.
    pub fn failed(&self) -> &Shutdown {
        &self.failed
    }

    fn end_plane(&self) {
        let plane = self.plane.write().take();
        if let Some(plane) = plane {
            plane.stop();
        }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.stop();
    }
}
