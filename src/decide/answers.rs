//! Who waits for the answer to a claim, and what they are told.
//!
//! Whoever asks takes a number here before the claim is opened, so that no answer comes before somebody listens. The decide worker tells
//! what it compared; a claim that held is answered once and no more. Shared between the console's threads and the decide worker; neither
//! holds the lock for longer than a look.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use crate::track::TrackId;

/// What one comparison said. No embedding, no picture.
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
    /// Faces that were compared already.
    compared: Vec<TrackId>,
    held: bool,
}

#[derive(Default)]
pub struct Answers {
    next: AtomicU64,
    waiting: Mutex<Vec<Waiting>>,
}

/// A number for a claim, and where its answers come. Dropped: nobody listens any more.
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
        let (sender, receiver) = unbounded();
        waiting.push(Waiting { claim, sender, compared: Vec::new(), held: false });
        Some(Expected { answers: self, claim, receiver })
    }

    /// Whether somebody waits to hear of `track` for `claim`: each face is compared once, and none after the claim held.
    pub fn wants(&self, claim: u64, track: TrackId) -> bool {
        self.waiting.lock().iter().any(|w| w.claim == claim && !w.held && !w.compared.contains(&track))
    }

    pub fn tell(&self, claim: u64, track: TrackId, answer: Answer) {
        let mut waiting = self.waiting.lock();
        let Some(waiting) = waiting.iter_mut().find(|w| w.claim == claim) else { return };
        waiting.held |= answer.matched;
        waiting.compared.push(track);
        // Whoever asked may have stopped listening.
        let _gone = waiting.sender.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_face_is_told_of_once_and_none_after_the_claim_held() {
        let answers = Answers::default();
        let [a, b] = [1, 2].map(TrackId::for_test);
        let expect = || answers.expect().expect("room");
        let (first, second) = (expect(), expect());
        assert_ne!(first.claim, second.claim);
        let no = Answer { matched: false, score: 0.2, threshold: 0.6 };
        assert!(answers.wants(first.claim, a));
        answers.tell(first.claim, a, no);
        assert!(!answers.wants(first.claim, a) && answers.wants(first.claim, b) && answers.wants(second.claim, a));
        answers.tell(first.claim, b, Answer { matched: true, ..no });
        assert!(!answers.wants(first.claim, TrackId::for_test(3)));
        assert_eq!(first.receiver.try_iter().map(|a| a.matched).collect::<Vec<_>>(), [false, true]);
        let claim = second.claim;
        drop(second);
        assert!(!answers.wants(claim, a), "nobody listens any more");
        answers.tell(claim, a, no);
        let others: Vec<_> = (1..MAX_WAITING).map(|_| expect()).collect();
        assert!(answers.expect().is_none(), "whoever withdraws a sign must find a thread free");
        drop(others);
        assert!(answers.expect().is_some());
    }
}
