//! The appliance: the only place that sees every step. It builds them, connects them by bounded queues, starts and stops them.
//!
//! ```text
//! ingest-<stream> ─ring─▶ batch ─▶ detect-N ─▶ track ─▶ embed-M ─▶ decide ─▶ emit ─▶ emit-mqtt, emit-webhook
//!        └─ one doorbell ─┘           └── one turn a stream ──┘        (match)     (journal first)
//!                             policy ──▶ lease table ──▶ every step asks for its permit
//! ```
//!
//! `plan.rs` gathers what a pipeline needs (files, models, keys) and fails with advice; `plane.rs` starts and drains the threads; `view.rs` is
//! what the console sees. A reload builds a whole new plane beside the old one's plan and goes back to the old if it cannot start.

mod plan;
mod plane;
mod view;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::clock::{Monotonic, Now, SharedClock, Stamp};
use crate::console::rates::RateWindow;
use crate::progress::{Observer, ProgressRegistry};
use crate::shutdown::Shutdown;

pub use plan::{HEAD_START, Plan, Sources, StartError};
pub use plane::{Plane, StreamRuntime};

/// A running pipeline. Threads stop when it is stopped; dropping it stops it.
pub struct Appliance {
    plane: RwLock<Option<Arc<Plane>>>,
    plan: Mutex<Plan>,
    clock: SharedClock,
    progress: ProgressRegistry,
    started_at: Now,
    observer: Mutex<Observer>,
    heartbeat: Mutex<(u64, Stamp<Monotonic>)>,
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
        let plane = Plane::start(&plan, &progress)?;
        let started_at = clock.now();
        let rates = Mutex::new(rates(&plane, started_at.monotonic));
        Ok(Arc::new(Self {
            plane: RwLock::new(Some(Arc::new(plane))),
            plan: Mutex::new(plan),
            progress,
            started_at,
            observer: Mutex::default(),
            heartbeat: Mutex::new((0, started_at.monotonic)),
            rates,
            clock,
        }))
    }

    /// The plane in force; `None` between stop and end.
    pub fn plane(&self) -> Option<Arc<Plane>> {
        self.plane.read().clone()
    }

    /// Stops the sources, lets what arrived run through to the journal, and ends every thread.
    pub fn stop(&self) {
        let plane = self.plane.write().take();
        if let Some(plane) = plane {
            plane.stop();
        }
    }

    /// Waits until every source has ended by itself (files that are not repeated), or `shutdown` is requested; true in the first case.
    pub fn wait_until_ended(&self, shutdown: &Shutdown) -> bool {
        loop {
            if self.plane().is_none_or(|p| p.sources_ended()) {
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

    /// Starts a plane from `next`; if that fails, one from the old plan, so that a bad file changes nothing.
    fn replace(&self, next: Plan) -> Result<(), StartError> {
        // Everything that can be refused before the old plane is disturbed: files, models, keys.
        next.prepare()?;
        let mut plan = self.plan.lock();
        self.stop();
        let started = Plane::start(&next, &self.progress);
        let result = match started {
            Ok(plane) => {
                *plan = next;
                Ok(plane)
            }
            Err(error) => {
                tracing::error!(%error, "the new pipeline does not start: going back to the old one");
                Plane::start(&plan, &self.progress)
                    .map_err(|second| StartError::NoWayBack { first: error.to_string(), second: second.to_string() })
                    .and_then(|plane| {
                        *self.plane.write() = Some(Arc::new(plane));
                        Err(error)
                    })
            }
        };
        let plane = result?;
        *self.rates.lock() = rates(&plane, self.clock.monotonic());
        *self.plane.write() = Some(Arc::new(plane));
        Ok(())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.stop();
    }
}
