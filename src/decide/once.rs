//! A person who stays in the picture is one task, not one a second.
//!
//! Invariant: memory is bounded by [`CAPACITY`] entries and by time: an entry is forgotten [`Once::new`]'s duration after it was made, by
//! when the track's id has been rotated away. Forgetting early costs a repeated task, never a lost one.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::clock::{Monotonic, Stamp};
use crate::decide::ReviewTask;
use crate::frame::StreamIndex;
use crate::gallery::SubjectId;
use crate::purpose::Purpose;
use crate::track::TrackId;

/// Entries kept at most; the oldest gives way.
pub const CAPACITY: usize = 16_384;

/// One track, one purpose, one subject.
type Key = (StreamIndex, TrackId, Purpose, SubjectId);

/// Which tasks were handed on already.
pub struct Once {
    known: HashSet<Key>,
    /// Oldest first.
    by_age: VecDeque<(Stamp<Monotonic>, Key)>,
    forget_after: Duration,
}

fn key(task: &ReviewTask) -> Option<Key> {
    task.candidates.first().map(|best| (task.stream, task.track, task.purpose.clone(), best.subject.clone()))
}

impl Once {
    /// `forget_after` should exceed the time after which track ids are rotated.
    pub fn new(forget_after: Duration) -> Self {
        Self { known: HashSet::new(), by_age: VecDeque::new(), forget_after }
    }

    /// Whether `task` says something that [`remember`](Self::remember) has not heard yet.
    pub fn is_new(&mut self, task: &ReviewTask, now: Stamp<Monotonic>) -> bool {
        while let Some((made_at, _)) = self.by_age.front() {
            if now < made_at.plus(self.forget_after) {
                break;
            }
            self.forget_oldest();
        }
        key(task).is_some_and(|key| !self.known.contains(&key))
    }

    /// To be called once the task was handed on: a task that was shed comes again with the track's next search.
    pub fn remember(&mut self, task: &ReviewTask, now: Stamp<Monotonic>) {
        let Some(key) = key(task) else { return };
        if self.known.insert(key.clone()) {
            self.by_age.push_back((now, key));
        }
        if self.by_age.len() > CAPACITY {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_front() {
            self.known.remove(&key);
        }
    }
}
