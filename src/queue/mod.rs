//! Bounded queues. A [`Ring`] per stream keeps the newest frames and counts what it overwrote; a [`Doorbell`] wakes the one reader
//! of many rings. Between later steps: `crossbeam` bounded channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;

use crate::counters::Counter;

/// Bounded, lock-free, newest wins: pushing into a full ring drops the oldest entry and counts it. A sender that must lose nothing (file
/// replay) uses [`Ring::push_if_room`] instead, and its reader takes entries one by one with [`Ring::pop`].
#[derive(Debug)]
pub struct Ring<T> {
    entries: ArrayQueue<T>,
    /// Set while a sender waits for room; a reader that takes an entry then rings `room`.
    waiting_for_room: AtomicBool,
    room: Arc<Doorbell>,
    pub overwritten: Counter,
}

impl<T> Ring<T> {
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: ArrayQueue::new(capacity.max(1)),
            waiting_for_room: AtomicBool::new(false),
            room: Doorbell::new(),
            overwritten: Counter::default(),
        }
    }
    pub fn push(&self, entry: T) {
        if self.entries.force_push(entry).is_some() {
            self.overwritten.increment();
        }
    }
    /// Pushes if there is room now or within `timeout`; hands the entry back otherwise. For one sender per ring.
    pub fn push_if_room(&self, entry: T, timeout: Duration) -> Result<(), T> {
        let Err(entry) = self.entries.push(entry) else { return Ok(()) };
        self.waiting_for_room.store(true, SeqCst);
        // Looks again after announcing itself: room made in between would not be rung.
        let Err(entry) = self.entries.push(entry) else { return Ok(()) };
        self.room.wait(timeout);
        self.entries.push(entry)
    }
    pub fn pop(&self) -> Option<T> {
        let entry = self.entries.pop();
        if entry.is_some() && self.waiting_for_room.load(SeqCst) && self.waiting_for_room.swap(false, SeqCst) {
            self.room.ring();
        }
        entry
    }
    /// The newest entry; older ones are dropped and counted as overwritten.
    pub fn pop_newest(&self) -> Option<T> {
        let mut newest = self.pop()?;
        while let Some(newer) = self.pop() {
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
