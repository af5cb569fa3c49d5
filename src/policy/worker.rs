//! The policy thread (`policy`) and the handle by which others talk to it.
//!
//! The thread wakes on messages and at least every [`TICK`] (five times in a lease's longest life), reads the register again if
//! its file changed, decides, and renews. Nothing a worker does waits for it. When it stops, hangs, panics or cannot read, leases
//! end: at once where it still can end them, within [`MAX_LEASE`](super::lease::MAX_LEASE) where it cannot.
//!
//! It is seldom busy and must not be late: where the machine is short of processor time a lease that is renewed too late costs frames (never
//! the law). So it asks the kernel for precedence, and does without where that is not allowed.
//!
//! Narrowing: revoke first, then write, then acknowledge. Widening: write first, then decide.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use crate::clock::{Monotonic, SharedClock, Stamp, Utc};
use crate::frame::StreamIndex;
use crate::progress::Progress;

use super::board::{Approvals, Board, Change, PolicyCounters, StreamPolicy};
use super::claim::Claim;
use super::facts::{Device, Posting, Register, Sign, Withdrawal};
use super::inspection::{Inspection, NotInspected, record_inspection};
use super::intended_use::SiteGuard;
use super::keeper::{CannotWithdraw, Darkened, Keeper};
use super::lease::{LeaseTable, StreamState};
use super::observed::Observations;
use super::pending::PendingWithdrawals;
use super::refused::RefusedUse;
use super::rules::{DecisionPlane, Reason, Rule};
use super::store::{Outcome, Present, Request, Store, StoreError};
use super::when::When;

/// The longest time between two evaluations.
pub const TICK: Duration = Duration::from_millis(40);
/// How long the handle waits for the thread's answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What the thread asks for: niceness, −20 to 19; others have 0. The service's unit can allow it (`LimitNICE`).
const NICENESS: i32 = -5;

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the policy thread could not be started: {0}")]
    Spawn(std::io::Error),
    #[error("the policy thread does not answer; no lease outlives it by more than 200 ms")]
    NotAnswering,
    #[error("there is no sign `{id}`{}", nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean `{n}`?")))]
    UnknownSign { id: String, nearest: Option<String> },
    #[error("every stream is off already; when the register can be read again the sign counts as withdrawn: {0}")]
    Unreadable(Reason),
    #[error(
        "sign `{id}` counts as withdrawn from now on, but this could not be recorded; it is tried again, and until it succeeds a restart forgets it: {source}"
    )]
    NotRecorded { id: String, source: StoreError },
    #[error("refused: {0}")]
    ClaimRefused(Reason),
    #[error(transparent)]
    NotInspected(#[from] NotInspected),
    #[error(transparent)]
    Register(#[from] StoreError),
}

/// What withdrawing a sign did.
#[derive(Clone, Debug)]
pub struct SignWithdrawn {
    /// Streams whose state fell.
    pub streams: Vec<Arc<str>>,
    /// When their leases had ended; `None` when the policy thread did not answer (then they have lapsed by themselves).
    pub revoked_at: Option<Stamp<Monotonic>>,
}

enum Message {
    Reload { reply: Sender<()> },
    Withdraw { id: String, withdrawal: Withdrawal, reply: Sender<Result<Darkened, CannotWithdraw>> },
    Posted { id: String, reply: Sender<()> },
    EndLease { stream: StreamIndex, reply: Sender<()> },
    OpenClaim { asked: ClaimAsked, reply: Sender<Result<Claim, Reason>> },
    CloseClaim { id: u64, reply: Sender<()> },
    Freeze { reply: Sender<()> },
    Hang { reply: Sender<()> },
    BreakDown,
    Stop,
}

struct ClaimAsked {
    stream: StreamIndex,
    id: u64,
    person: String,
    within: Duration,
    /// Whoever asked has stopped waiting: nothing is opened for them, nor stays open.
    gone: Arc<AtomicBool>,
}

/// The thread itself. See [`PolicyThread::start`].
pub struct PolicyThread {
    keeper: Keeper,
    messages: Receiver<Message>,
    thaw: Receiver<()>,
    progress: Option<Progress>,
}

struct Inner {
    sender: Sender<Message>,
    thaw: Sender<()>,
    board: Arc<Board>,
    table: LeaseTable,
    clock: SharedClock,
    register: PathBuf,
    pending: PendingWithdrawals,
    observations: Observations,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Cloneable. When the last clone goes, the thread ends and every lease with it.
#[derive(Clone)]
pub struct PolicyHandle {
    inner: Arc<Inner>,
}

impl PolicyThread {
    /// Decides once, then starts the thread: when this returns, what the register allows is allowed. `streams`: the pipeline's
    /// names, in its order (a stream's [`StreamIndex`] is its place in it).
    pub fn start(
        register: PathBuf,
        streams: &[Arc<str>],
        clock: SharedClock,
        plane: Box<dyn DecisionPlane>,
        progress: Option<Progress>,
    ) -> Result<(PolicyHandle, LeaseTable), PolicyError> {
        Self::start_with(register, streams, clock, plane, progress, PendingWithdrawals::default(), None)
    }

    /// As [`PolicyThread::start`], after another policy thread: what was withdrawn with it and could not be written stays withdrawn.
    /// Every stream is off where `site` refuses.
    pub fn start_with(
        register: PathBuf,
        streams: &[Arc<str>],
        clock: SharedClock,
        plane: Box<dyn DecisionPlane>,
        progress: Option<Progress>,
        pending: PendingWithdrawals,
        site: Option<SiteGuard>,
    ) -> Result<(PolicyHandle, LeaseTable), PolicyError> {
        pending.write_again(&register);
        let (keeper, table) = Keeper::new(register.clone(), streams.into(), Arc::clone(&clock), plane, pending.clone());
        let observations = Observations::default();
        let mut keeper = keeper.guarded_by(site).observing(observations.clone());
        let board = Arc::clone(&keeper.board);
        keeper.step();
        let (sender, messages) = bounded(16);
        let (thaw, thawed) = bounded(1);
        let policy = Self { keeper, messages, thaw: thawed, progress };
        let thread = std::thread::Builder::new().name("policy".to_owned()).spawn(move || policy.run()).map_err(PolicyError::Spawn)?;
        let inner =
            Inner { sender, thaw, board, table: table.clone(), clock, register, pending, observations, thread: Mutex::new(Some(thread)) };
        Ok((PolicyHandle { inner: Arc::new(inner) }, table))
    }

    fn run(mut self) {
        // To Linux, "this process" is the calling thread alone.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "the policy thread runs at ordinary priority");
        }
        let mut wait = Duration::ZERO;
        loop {
            self.progress.iter().for_each(Progress::rest);
            let message = self.messages.recv_timeout(wait);
            self.progress.iter().for_each(Progress::start);
            match message {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(message) => self.answer(message),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let until_change = self.keeper.step();
            wait = until_change.map_or(TICK, |t| t.clamp(Duration::from_millis(1), TICK));
        }
        self.progress.into_iter().for_each(Progress::finish);
        // Dropping the keeper ends every lease.
    }

    /// Whoever asked may have stopped waiting; then the answer is dropped.
    fn answer(&mut self, message: Message) {
        match message {
            Message::Reload { reply } => {
                self.keeper.forget_file();
                self.keeper.step();
                let _asker_gone = reply.try_send(());
            }
            Message::Withdraw { id, withdrawal, reply } => {
                let _asker_gone = reply.try_send(self.keeper.withdraw(&id, withdrawal));
            }
            Message::Posted { id, reply } => {
                self.keeper.forget_withdrawal(&id);
                self.keeper.step();
                let _asker_gone = reply.try_send(());
            }
            Message::EndLease { stream, reply } => {
                self.keeper.end_lease(stream);
                self.keeper.step();
                let _asker_gone = reply.try_send(());
            }
            Message::OpenClaim { asked, .. } if asked.gone.load(SeqCst) => {
                tracing::warn!(claim = asked.id, "whoever claimed something has stopped waiting: nothing was opened");
                self.keeper.board.counters.claims_refused_total.increment();
            }
            Message::OpenClaim { asked: ClaimAsked { stream, id, person, within, gone }, reply } => {
                let opened = self.keeper.open_claim(stream, id, &person, within);
                let counters = &self.keeper.board.counters;
                match opened {
                    Ok(_) => counters.claims_total.increment(),
                    Err(_) => counters.claims_refused_total.increment(),
                }
                // A claim that nobody waits for any more is none. Looked at after the answer was given: whoever gave up
                // before that is seen here, whoever does after it asks for the claim's end.
                if reply.try_send(opened).is_err() || gone.load(SeqCst) {
                    self.keeper.close_claim(id);
                }
            }
            Message::CloseClaim { id, reply } => {
                self.keeper.close_claim(id);
                let _asker_gone = reply.try_send(());
            }
            Message::BreakDown => panic!("asked to break down"),
            Message::Freeze { reply } => {
                let _asker_gone = reply.try_send(());
                // Until thawed, or until nobody is left who could.
                let _thawed = self.thaw.recv();
            }
            Message::Hang { reply } => self.keeper.board.hold(|| {
                let _asker_gone = reply.try_send(());
                let _thawed = self.thaw.recv();
            }),
            Message::Stop => {}
        }
    }
}

impl PolicyHandle {
    fn ask<T>(&self, message: impl FnOnce(Sender<T>) -> Message) -> Result<T, PolicyError> {
        let (reply, answer) = bounded(1);
        self.inner.sender.send_timeout(message(reply), ANSWER).map_err(|_| PolicyError::NotAnswering)?;
        answer.recv_timeout(ANSWER).map_err(|_| PolicyError::NotAnswering)
    }

    /// Reads the register now and decides; returns when leases are as it says. First writes what could not be written so far.
    pub fn reload(&self) -> Result<(), PolicyError> {
        self.inner.pending.write_again(&self.inner.register);
        self.ask(|reply| Message::Reload { reply })
    }

    /// Withdraws a sign. First every lease that rests on it ends, then the withdrawal is made durable, then this returns. A sign that is
    /// withdrawn already stays as it is.
    pub fn withdraw_sign(&self, id: &str, by: &str, reason: &str) -> Result<SignWithdrawn, PolicyError> {
        let at = When::from_stamp(self.inner.clock.utc());
        let withdrawal = Withdrawal { at, by: by.to_owned(), reason: reason.to_owned() };
        let told = self.ask(|reply| Message::Withdraw { id: id.to_owned(), withdrawal: withdrawal.clone(), reply });
        let withdrawn = match told {
            Ok(Ok(Darkened { streams, at })) => SignWithdrawn { streams, revoked_at: Some(at) },
            Ok(Err(CannotWithdraw::Unknown { nearest })) => return Err(PolicyError::UnknownSign { id: id.to_owned(), nearest }),
            Ok(Err(CannotWithdraw::Unreadable(reason))) => {
                self.inner.pending.not_written(&self.inner.register, id, reason.to_string());
                return Err(PolicyError::Unreadable(reason));
            }
            // A thread that does not answer grants nothing any more; the record is worth making all the same.
            Err(_) => {
                self.inner.pending.insert(id, withdrawal.clone());
                SignWithdrawn { streams: Vec::new(), revoked_at: None }
            }
        };
        self.inner.pending.record(&self.inner.register, id, &withdrawal)?;
        tracing::warn!(sign = id, by, reason, streams = ?withdrawn.streams, "sign withdrawn");
        Ok(withdrawn)
    }

    /// Posts a withdrawn sign again: recorded first, then it hangs again. It counts when it has been inspected since. It widens: where the
    /// site has no stand-ins, two approvers sign first.
    pub fn post_sign(&self, id: &str, by: &str) -> Result<Outcome, PolicyError> {
        let posting = Posting { at: When::to_the_millisecond(self.inner.clock.utc()), by: by.to_owned() };
        let recorded = {
            let _turn = self.inner.pending.hold_writing();
            let recorded = record_posting(&self.inner.register, id, &posting, self.inner.pending.get(id).as_ref())?;
            if recorded.as_ref().is_ok_and(Outcome::in_force) {
                self.inner.pending.remove(id);
            }
            recorded
        };
        let outcome = recorded.map_err(|nearest| PolicyError::UnknownSign { id: id.to_owned(), nearest })?;
        if outcome.in_force() {
            tracing::warn!(sign = id, by, "sign posted again");
            // It is on disk: a thread that does not answer reads it when it is started again.
            if let Err(error) = self.ask(|reply| Message::Posted { id: id.to_owned(), reply }) {
                tracing::warn!(sign = id, %error, "the posting is recorded, but not looked at yet");
            }
        }
        Ok(outcome)
    }

    /// Records that somebody saw the sign in its place; returns when that counts, or waits for signatures.
    pub fn inspect_sign(&self, id: &str, inspection: &Inspection) -> Result<Outcome, PolicyError> {
        let outcome = record_inspection(&self.inner.register, id, inspection)??;
        if outcome.in_force() {
            tracing::warn!(sign = id, by = inspection.by(), at = %inspection.at(), "sign inspected");
            if let Err(error) = self.reload() {
                tracing::warn!(sign = id, %error, "the inspection is recorded, but not looked at yet");
            }
        }
        Ok(outcome)
    }

    /// Does what somebody asks of the register; returns when what follows from it holds, or when it waits for signatures, durably. Where the policy
    /// thread does not answer everything is dark, and the change is recorded all the same.
    pub fn change_register(&self, request: Request) -> Result<Outcome, PolicyError> {
        let outcome = Store::open(&self.inner.register)?.handle(request, self.inner.clock.utc())?;
        tracing::warn!(?outcome, "the register was asked to change");
        if matches!(outcome, Outcome::InForce { .. })
            && let Err(error) = self.reload()
        {
            // It is on the disk, and a thread that does not answer grants nothing any more.
            tracing::error!(%error, "the change is recorded; the policy thread will see it when it answers");
        }
        Ok(outcome)
    }

    /// Who signs for the register, as last read.
    pub fn approvals(&self) -> Approvals {
        self.inner.board.approvals()
    }

    /// The register as its file has it, verified.
    pub fn register(&self) -> Result<Present, PolicyError> {
        Ok(Present::load(&self.inner.register)?)
    }

    /// Sign ids, and why their withdrawal is not in the register's file.
    pub fn unwritten_withdrawals(&self) -> Vec<(String, String)> {
        self.inner.pending.unwritten()
    }

    /// Ends the lease on `stream`; what still holds is granted anew, as another lease. For a stream that looks at something else from now
    /// on: nothing gathered before goes on.
    pub fn end_lease(&self, stream: StreamIndex) -> Result<(), PolicyError> {
        self.ask(|reply| Message::EndLease { stream, reply })
    }

    /// Opens a claim on `stream`: somebody in front of its camera says that they are `person` (a subject, or the id of its consent). `id`: by
    /// which whoever asks knows the answer. It ends by itself after `within`, or [`MAX_CLAIM`](super::claim::MAX_CLAIM).
    pub fn open_claim(&self, stream: StreamIndex, id: u64, person: &str, within: Duration) -> Result<Claim, PolicyError> {
        let gone = Arc::new(AtomicBool::new(false));
        let asked = ClaimAsked { stream, id, person: person.to_owned(), within, gone: Arc::clone(&gone) };
        let told = self.ask(|reply| Message::OpenClaim { asked, reply });
        if told.is_err() {
            gone.store(true, SeqCst);
            // Whatever of it was opened a moment ago is ended.
            let (reply, _answer) = bounded(1);
            let _stopped = self.inner.sender.send_timeout(Message::CloseClaim { id, reply }, ANSWER);
        }
        told?.map_err(PolicyError::ClaimRefused)
    }

    /// Ends claim `id`; when this returns nobody is compared for it any more.
    pub fn close_claim(&self, id: u64) -> Result<(), PolicyError> {
        self.ask(|reply| Message::CloseClaim { id, reply })
    }

    /// Every stream's state and reason, in the pipeline's order.
    pub fn snapshot(&self) -> Vec<StreamPolicy> {
        let now = self.inner.clock.monotonic();
        let mut streams = self.inner.board.streams();
        for (index, stream) in streams.iter_mut().enumerate() {
            let in_force = u16::try_from(index).map_or(StreamState::Off, |i| self.inner.table.state(StreamIndex(i), now));
            if in_force < stream.state {
                stream.state = in_force;
                let fact = "the lease has run out: the policy thread has stopped renewing it";
                stream.reason = Reason::new(Rule::LeaseRenewed, fact, "the watchdog restarts the service");
                stream.next_expiry = None;
                stream.purposes.clear();
                stream.zones.clear();
            }
        }
        streams
    }

    /// Changes of state since the service started, oldest first; bounded.
    pub fn timeline(&self) -> Vec<Change> {
        self.inner.board.timeline()
    }
    /// Where cameras and gates say what they see; it counts from the next evaluation on.
    pub fn observations(&self) -> &Observations {
        &self.inner.observations
    }
    /// Uses that an authority refused: what came of them is erased.
    pub fn refused_uses(&self) -> Arc<Vec<RefusedUse>> {
        self.inner.board.refused()
    }
    /// The devices that the register names.
    pub fn devices(&self) -> Arc<[Device]> {
        self.inner.board.devices()
    }
    pub fn table(&self) -> &LeaseTable {
        &self.inner.table
    }
    pub fn counters(&self) -> Arc<PolicyCounters> {
        Arc::clone(&self.inner.board.counters)
    }
    /// Grows with every evaluation.
    pub fn heartbeat(&self) -> u64 {
        self.inner.board.heartbeat()
    }

    /// When the last evaluation was done.
    pub fn last_beat(&self) -> Stamp<Monotonic> {
        self.inner.board.last_beat()
    }
    /// SHA-256 of the register that decisions rest on; `None` while it cannot be read.
    pub fn register_hash(&self) -> Option<[u8; 32]> {
        self.inner.board.register_hash()
    }

    /// Ends the thread and waits for it. Every lease ends with it. A withdrawal that could not be written has its last chance.
    pub fn stop(&self) {
        self.inner.pending.write_again(&self.inner.register);
        self.thaw();
        // Gone already: the join below tells.
        let _gone = self.inner.sender.send(Message::Stop);
        if let Some(thread) = self.inner.thread.lock().take() {
            // A thread that panicked has ended too, and its leases with it.
            let _panicked = thread.join();
        }
    }

    /// Test hook: the thread stops between two evaluations and holds nothing, as when it is stopped by a signal or is given no processor time.
    #[doc(hidden)]
    pub fn freeze(&self) -> Result<(), PolicyError> {
        self.ask(|reply| Message::Freeze { reply })
    }
    /// Test hook: the thread waits for ever with the lock of what it writes in its hand, as in a dead-lock, until [`thaw`](Self::thaw). Nobody who
    /// reads asks for that lock, no worker and no status page.
    #[doc(hidden)]
    pub fn hang(&self) -> Result<(), PolicyError> {
        self.ask(|reply| Message::Hang { reply })
    }
    /// Test hook: the thread panics.
    #[doc(hidden)]
    pub fn break_down(&self) {
        let _already = self.inner.sender.send(Message::BreakDown);
    }
    /// Test hook: the frozen or hung thread goes on.
    #[doc(hidden)]
    pub fn thaw(&self) {
        let _already = self.inner.thaw.try_send(());
    }
}

/// Records the withdrawal, durably. Used by the running service and, when none runs, by `placard sign`. The inner error: there is no such
/// sign, but perhaps this one was meant.
pub fn record_withdrawal(register: &Path, id: &str, withdrawal: &Withdrawal) -> Result<Result<Outcome, Option<String>>, StoreError> {
    let why = if withdrawal.reason.is_empty() { "sign withdrawn" } else { &withdrawal.reason };
    edit_sign(register, id, (&withdrawal.by, why), withdrawal.at.at(), |sign| {
        sign.withdrawn.get_or_insert_with(|| withdrawal.clone());
    })
}

/// Records that the sign hangs again, and whose withdrawal that ended, durably, or keeps that until two approvers have signed. `unwritten`: a
/// withdrawal that the file does not show. The inner error as for [`record_withdrawal`].
pub fn record_posting(
    register: &Path,
    id: &str,
    posting: &Posting,
    unwritten: Option<&Withdrawal>,
) -> Result<Result<Outcome, Option<String>>, StoreError> {
    edit_sign(register, id, (&posting.by, "sign posted again"), posting.at.at(), |sign| sign.post(posting, unwritten))
}

fn edit_sign(
    register: &Path,
    id: &str,
    (by, why): (&str, &str),
    at: Stamp<Utc>,
    edit: impl FnOnce(&mut Sign),
) -> Result<Result<Outcome, Option<String>>, StoreError> {
    let (found, outcome) = Register::propose(register, by, why, at, |r| match r.sign_mut(id) {
        Some(sign) => {
            edit(sign);
            Ok(())
        }
        None => Err(r.nearest_sign(id).map(str::to_owned)),
    })?;
    Ok(found.map(|()| outcome))
}

#[cfg(test)]
mod tests;
