//! Who waits for the answer to a claim, and what they are told.
//!
//! Whoever asks takes a number here before the claim is opened, so that no answer comes before somebody listens. The decide worker takes the
//! claim up, once; the emit worker tells the answer when it is durable in the journal, so that nobody opens a gate on what is recorded
//! nowhere. What could not be recorded is not told, and the claim may be taken up again while it is open. Shared between the console's
//! threads, the decide worker and the emit worker; none holds the lock for longer than a look.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

/// What the comparison said. No embedding, no picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    pub matched: bool,
    /// Cosine similarity, and the least that makes a match on this stream.
    pub score: f32,
    pub threshold: f32,
}

/// No more wait at once: each keeps one of the console's threads busy.
pub const MAX_WAITING: usize = 12;

struct Waiting {
    claim: u64,
    sender: Sender<Answer>,
    /// Compared: the answer is on its way to the journal, or told.
    taken_up: bool,
}

#[derive(Default)]
pub struct Answers {
    next: AtomicU64,
    waiting: Mutex<Vec<Waiting>>,
}

/// A number for a claim, and where its answer comes. Dropped: nobody listens any more.
pub struct Expected<'a> {
    answers: &'a Answers,
    pub claim: u64,
    pub receiver: Receiver<Answer>,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.answers.waiting.lock().retain(|w| w.claim != self.claim);
    }
}

impl Answers {
    /// `None`: [`MAX_WAITING`] wait already.
    pub fn expect(&self) -> Option<Expected<'_>> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        let claim = self.next.fetch_add(1, Relaxed);
        let (sender, receiver) = bounded(1);
        waiting.push(Waiting { claim, sender, taken_up: false });
        Some(Expected { answers: self, claim, receiver })
    }

    /// Whether somebody waits to hear of `claim`, of which nothing was compared yet.
    pub fn wants(&self, claim: u64) -> bool {
        self.waiting.lock().iter().any(|w| w.claim == claim && !w.taken_up)
    }

    /// One face was compared for `claim`: no other will be.
    pub fn take_up(&self, claim: u64) {
        self.of(claim, |waiting| waiting.taken_up = true);
    }

    /// What was compared could not be recorded: the claim may be taken up again.
    pub fn put_back(&self, claim: u64) {
        self.of(claim, |waiting| waiting.taken_up = false);
    }

    /// Only for what is durable in the journal.
    pub fn tell(&self, claim: u64, answer: Answer) {
        self.of(claim, |waiting| {
            // Whoever asked may have stopped listening.
            let _gone = waiting.sender.try_send(answer);
        });
    }

    fn of(&self, claim: u64, change: impl FnOnce(&mut Waiting)) {
        if let Some(waiting) = self.waiting.lock().iter_mut().find(|w| w.claim == claim) {
            change(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_taken_up_once_and_again_only_if_it_was_put_back() {
        let answers = Answers::default();
        let expect = || answers.expect().expect("room");
        let (first, second) = (expect(), expect());
        assert_ne!(first.claim, second.claim);
        assert!(answers.wants(first.claim));
        answers.take_up(first.claim);
        assert!(!answers.wants(first.claim) && answers.wants(second.claim));
        answers.put_back(first.claim);
        assert!(answers.wants(first.claim));
        answers.take_up(first.claim);
        let no = Answer { matched: false, score: 0.2, threshold: 0.6 };
        answers.tell(first.claim, no);
        answers.tell(first.claim, Answer { matched: true, ..no });
        assert_eq!(first.receiver.try_iter().collect::<Vec<_>>(), [no], "one claim, one answer");
        let claim = second.claim;
        drop(second);
        assert!(!answers.wants(claim), "nobody listens any more");
        answers.tell(claim, no);
        let others: Vec<_> = (1..MAX_WAITING).map(|_| expect()).collect();
        assert!(answers.expect().is_none(), "whoever withdraws a sign must find a thread free");
        drop(others);
        assert!(answers.expect().is_some());
    }
}
