//! The claims that are open, one a stream at most, and what may open one.
//!
//! A claim rests on what its stream's lease rests on, and on a consent. All of that is looked at when it is opened and again at each
//! evaluation, of the register as it is then; what cannot be decided (a register that cannot be read, a clock that cannot be believed,
//! rules that err) opens none and ends those that are open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::Keeper;
use crate::clock::Now;
use crate::frame::StreamIndex;
use crate::policy::claim::{Claim, taken};
use crate::policy::facts::Register;
use crate::policy::lease::StreamState;
use crate::policy::observed::Moment;
use crate::policy::rules::{Decision, Reason, Rule};
use crate::purpose::Purpose;

fn grants_verification(decision: &Decision) -> bool {
    decision.state == StreamState::Recognise && decision.grants.iter().any(|g| g.purpose.kind().verifies())
}

impl Keeper {
    /// Opens a claim for `person` on `stream`: when this returns it is part of the stream's lease. Refuses with the rule, the fact and the
    /// remedy.
    pub fn open_claim(&mut self, stream: StreamIndex, id: u64, person: &str, within: Duration) -> Result<Claim, Reason> {
        self.forget_file();
        self.step();
        let now = self.clock.now();
        let name = Arc::clone(self.streams.get(stream.index()).ok_or_else(|| nothing_there(stream))?);
        if self.claims[stream.index()].is_some() {
            return Err(taken(&name));
        }
        catch_unwind(AssertUnwindSafe(|| self.may_verify(&name, now))).unwrap_or_else(|_panic| {
            Err(Reason::new(Rule::DecisionMade, "the rules panicked", "report it: this is a fault of the program"))
        })?;
        let loaded = self.loaded.as_ref().map_err(Clone::clone)?;
        let claim = Claim::open(id, &loaded.register, person, within, now)?;
        self.claims[stream.index()] = Some(claim);
        self.decide();
        // What was true above may not be any more.
        self.claims[stream.index()].clone().ok_or_else(|| self.board.streams()[stream.index()].reason.clone())
    }

    /// Ends claim `id`, wherever it is open.
    pub fn close_claim(&mut self, id: u64) {
        for claim in &mut self.claims {
            claim.take_if(|c| c.id == id);
        }
        self.decide();
    }

    /// Whether `access-verification` is granted on the stream, in the lease that it has now; why not, if not.
    fn may_verify(&mut self, stream: &str, now: Now) -> Result<(), Reason> {
        self.clock_believed(now)?;
        self.site.as_mut().map_or(Ok(()), |site| site.check())?;
        let loaded = self.loaded.as_ref().map_err(Clone::clone)?;
        let observed = self.observations.copy();
        let moment = Moment { now, observed: &observed };
        let asked = |register: &Register| {
            let decided = self.plane.decide(register, stream, moment);
            decided.map_err(|e| Reason::new(Rule::DecisionMade, e.to_string(), "an error is never a yes: mend the rules or the facts"))
        };
        if grants_verification(&asked(&loaded.register)?) {
            return Ok(());
        }
        // By itself, so that the reason is this purpose's and no other's.
        let mut alone = loaded.register.clone();
        alone.purposes.retain(|p| p.purpose == Purpose::access_verification());
        let decision = asked(&alone)?;
        if grants_verification(&decision) {
            let fact = format!("stream `{stream}` is in use for other purposes, in areas that are not the gate's");
            return Err(Reason::new(Rule::VerificationOnly, fact, "give the gate a stream of its own"));
        }
        if decision.state < StreamState::CaptureOnly || decision.reason.rule != Rule::Granted {
            return Err(decision.reason);
        }
        Err(Reason::new(Rule::PurposeNamed, format!("nobody is verified on stream `{stream}`"), "record the purpose `access-verification`"))
    }

    /// Ends the claims that may not stay open after `decisions`.
    pub(super) fn end_claims(&mut self, decisions: &[Decision], now: Now) {
        let register = self.loaded.as_ref().ok().map(|l| &l.register);
        for (claim, decision) in self.claims.iter_mut().zip(decisions) {
            claim.take_if(|c| !grants_verification(decision) || !register.is_some_and(|r| c.holds(r, now)));
        }
    }

    /// How long until the first claim ends by itself.
    pub(super) fn next_claim_end(&self, now: Now) -> Option<Duration> {
        let until = self.claims.iter().flatten().map(|c| c.until).min()?;
        Some(Duration::from_nanos(u64::try_from(until.since_ns(now.monotonic)).unwrap_or(0)))
    }
}

fn nothing_there(stream: StreamIndex) -> Reason {
    Reason::new(Rule::StreamHasArea, format!("there is no stream number {}", stream.0), "name one of the pipeline's streams")
}
