//! Bounded queues. A [`Ring`] per stream keeps the newest frames and counts what it overwrote; a [`Doorbell`] wakes the one reader
//! of many rings. Between later steps: `crossbeam` bounded channels.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;

use crate::counters::Counter;

/// Bounded, lock-free, newest wins: pushing into a full ring drops the oldest entry and counts it.
#[derive(Debug)]
pub struct Ring<T> {
    entries: ArrayQueue<T>,
    pub overwritten: Counter,
}

impl<T> Ring<T> {
    pub fn new(capacity: usize) -> Self {
        Self { entries: ArrayQueue::new(capacity.max(1)), overwritten: Counter::default() }
    }
    pub fn push(&self, entry: T) {
        if self.entries.force_push(entry).is_some() {
            self.overwritten.increment();
        }
    }
    pub fn pop(&self) -> Option<T> {
        self.entries.pop()
    }
    /// The newest entry; older ones are dropped and counted as overwritten.
    pub fn pop_newest(&self) -> Option<T> {
        let mut newest = self.entries.pop()?;
        while let Some(newer) = self.entries.pop() {
            newest = newer;
            self.overwritten.increment();
        }
        Some(newest)
    }
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    pub fn capacity(&self) -> usize {
        self.entries.capacity()
    }
}

/// Wakes one waiting thread. Rings that nobody waits on cost one failed `try_send`.
#[derive(Clone, Debug)]
pub struct Doorbell {
    ring: Sender<()>,
    wait: Receiver<()>,
}

impl Doorbell {
    pub fn new() -> Arc<Self> {
        let (ring, wait) = bounded(1);
        Arc::new(Self { ring, wait })
    }
    pub fn ring(&self) {
        // Full means a wake-up is already pending: nothing to add.
        let _pending = self.ring.try_send(());
    }
    /// True if rung within `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.wait.recv_timeout(timeout).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_wins_and_every_overwrite_is_counted() {
        let ring = Ring::new(2);
        (0..5).for_each(|i| ring.push(i));
        assert_eq!(ring.overwritten.get(), 3);
        assert_eq!(ring.pop(), Some(3));
        ring.push(5);
        assert_eq!(ring.pop_newest(), Some(5));
        assert_eq!(ring.overwritten.get(), 4);
        assert_eq!(ring.pop(), None);
    }
}
