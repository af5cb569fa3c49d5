//! One token that every thread watches. The first signal asks; the second stops at once (in `commands/run.rs`).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Cloneable; all clones see the same request.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn request(&self) {
        *self.inner.0.lock() = true;
        self.inner.1.notify_all();
    }
    pub fn is_requested(&self) -> bool {
        *self.inner.0.lock()
    }
    /// Waits up to `timeout`; true once shutdown is requested. The interruptible replacement for a sleep.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut requested = self.inner.0.lock();
        if !*requested {
            self.inner.1.wait_while_for(&mut requested, |r| !*r, timeout);
        }
        *requested
    }
}
