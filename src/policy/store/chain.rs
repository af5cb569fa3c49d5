//! The chain of changes, believed link by link: from the founding, which the site's key signed, each change must follow the one before,
//! apply to the register as it was, and bear the signatures that it needed of people whose role counted at that time.
//!
//! The same [`Chain::follow`] judges a change before it is recorded and each time it is read, so that what was recorded is never refused
//! later, and what could not have been recorded is never believed.
//!
//! Dates: each change says when it was recorded. What widens is not recorded before the last change that took two people, so that keys whose
//! role or training ran out cannot be used with a clock that was set back; whoever signs must be in office by that time too. What stops
//! or narrows may be dated anyhow: it must work when the clock is wrong. Therefore it moves nobody's time either, whoever signs it: one
//! person whose clock runs ahead locks no site. A proposal that takes signatures is not dated later than it is recorded, or else it would
//! never grow too old; and while the clock has leapt ahead (`policy/leap.rs`) nothing that takes two is recorded (`store.rs`).
//!
//! What a stop could light is held back (`lighting.rs`), unless two approvers signed the stop itself: as it was judged when it was recorded, where
//! the change says so. A signature under a stop that does not count confirms nothing and stops nothing either: the stop is in force, unconfirmed, and
//! who tried to sign is in the change.

use std::collections::BTreeSet;

use super::change::{Approval, Change, Event, Founding, Judgement, Pending, Proposal, Rejection};
use super::digest::Digest;
use super::direction::Needs;
use super::fold::{Applied, DoesNotApply, Judged};
use super::keys::verifies;
use super::lighting::JUDGEMENT;
use super::site::SiteIdentity;
use crate::clock::{Stamp, Utc};
use crate::policy::facts::{Mode, NotInForce, Person, Register, Role};
use crate::policy::when::When;

/// A proposal that needs signatures gathers them within this time.
pub const MAX_PENDING_DAYS: i64 = 30;
const DAY_NS: i64 = 86_400_000_000_000;
/// How far two clocks may differ.
const SLACK_NS: i64 = 5 * 60 * 1_000_000_000;
/// How far a proposal may be dated ahead of the clock by which it is judged.
const AHEAD_NS: i64 = 60 * 1_000_000_000;

/// Why a change is not believed, or would not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    #[error("it is no change as this program writes them: {0}")]
    Unreadable(String),
    #[error("it does not follow the change before it")]
    OutOfOrder,
    #[error("a register begins with its founding, and an operational one is founded once")]
    Founding,
    #[error("it was founded for another site: this site's key did not sign it")]
    ForeignSite,
    #[error("an operational site names at least two people with the role approver, and no stand-ins")]
    TooFewApprovers,
    #[error("{0}")]
    DoesNotApply(#[from] DoesNotApply),
    #[error("proposal {0} was decided already: what was signed once is in force once")]
    Replayed(String),
    #[error("proposal {0} is older than {MAX_PENDING_DAYS} days: propose anew")]
    TooOld(String),
    #[error(
        "proposal {proposal} is dated {at}, which is still to come, so that it would never grow too old: set the clock that is wrong (NTP), and \
         propose anew"
    )]
    DatedAhead { proposal: String, at: When },
    #[error("there is nobody called `{0}` in the register")]
    Stranger(String),
    #[error("the signature of `{0}` is not under this proposal for this site, or not theirs")]
    BadSignature(String),
    #[error("`{0}` signed twice: two signatures are two people's")]
    SamePerson(String),
    #[error("{0}")]
    NotInForce(#[from] NotInForce),
    #[error("{needs}; {have} did", needs = needs.describe())]
    TooFewSignatures { needs: Needs, have: usize },
    #[error(
        "it is dated {at}, which is before {signed_at}, when two people last signed a change of the register: one of two clocks is, or was, \
         wrong. Set this machine's clock (NTP) and propose again; if it is right, that change was recorded by a clock that ran ahead, and \
         nothing widens before its time. What stops or narrows is recorded meanwhile"
    )]
    Backdated { at: When, signed_at: When },
    #[error("`{0}` is a stand-in: those are made with the site, and count in no operational one")]
    StandIn(String),
    #[error("order `{order}` says that `{who}` approved it, who has not signed for it")]
    NotTheirOrder { order: String, who: String },
    #[error(
        "`{0}` neither proposed it, unsigned, nor signed for rejecting it: `placard approve reject DIGEST --key FILE`, with the key of somebody in office"
    )]
    NotTheirsToReject(String),
    #[error(
        "what it says its stops could light is not signed by this site's key, is not what the rules say, or is by rules that this program does not know: a later version wrote it"
    )]
    Judgement,
    #[error("an operational site needs a photograph of each sign: `placeholder_photographs` cannot be set there")]
    Placeholders,
}

/// A signature under a stop that did not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tried {
    /// In whose name.
    pub person: String,
    /// Why it did not count.
    pub why: String,
}

/// What a proposal makes of the register with the signatures that it has.
#[derive(Debug)]
pub(super) struct Weighed {
    pub applied: Applied,
    pub tried: Vec<Tried>,
}

/// What changes were judged by that say nothing of it: the first rules, which every program must go on knowing that reads such a register.
const UNSAID: u32 = 1;
const _: () = assert!(UNSAID == JUDGEMENT, "keep the first rules, for what was judged by them, before there are others");

/// Everything that follows from the changes so far.
#[derive(Clone)]
pub struct Chain {
    site: Digest,
    mode: Mode,
    register: Register,
    /// Of each change.
    digests: Vec<Digest>,
    /// Proposals that are in force, or never will be.
    decided: BTreeSet<Digest>,
    /// When the last change that took two people was recorded, the founding among them.
    signed_at: Option<Stamp<Utc>>,
    /// The rules that this program judges by ([`JUDGEMENT`]).
    judges_by: u32,
    /// The last rules that any change was judged by: nothing that comes later is judged by earlier ones.
    judged_by: u32,
}

impl Chain {
    /// Of no change yet.
    pub fn new(site: &SiteIdentity) -> Self {
        let (register, decided) = (Register::default(), BTreeSet::new());
        let (digests, judges_by) = (Vec::new(), JUDGEMENT);
        Self { site: site.id(), mode: Mode::Operational, register, digests, decided, signed_at: None, judges_by, judged_by: UNSAID }
    }

    /// As a later program reads it, whose rules are others.
    #[cfg(test)]
    pub(super) fn judging_by(self, judges_by: u32) -> Self {
        Self { judges_by, ..self }
    }

    pub fn register(&self) -> &Register {
        &self.register
    }
    pub fn mode(&self) -> Mode {
        self.mode
    }
    /// When the last change that took two people was recorded: no clock that is right says less.
    pub fn signed_at(&self) -> Option<Stamp<Utc>> {
        self.signed_at
    }
    /// How many changes there are.
    pub fn length(&self) -> u64 {
        self.digests.len() as u64
    }
    /// Digest of the last one; zeros before the first.
    pub fn head(&self) -> Digest {
        self.digests.last().copied().unwrap_or_default()
    }
    /// Whether `changes` begin with those that this was made of.
    pub(super) fn begins(&self, changes: &[Vec<u8>]) -> bool {
        changes.len() >= self.digests.len() && changes.iter().zip(&self.digests).all(|(c, d)| Change::digest_of(c) == *d)
    }
    pub fn site(&self) -> Digest {
        self.site
    }

    /// Takes the next change, as the file has it; answers when it was recorded. On an error everything stays as it was.
    pub(super) fn follow(&mut self, site: &SiteIdentity, bytes: &[u8]) -> Result<Stamp<Utc>, Disbelief> {
        let change: Change = serde_json::from_slice(bytes).map_err(|e| Disbelief::Unreadable(e.to_string()))?;
        if change.bytes() != bytes {
            return Err(Disbelief::Unreadable("it is written in another way".to_owned()));
        }
        if change.seq != self.length() || change.before != self.head() {
            return Err(Disbelief::OutOfOrder);
        }
        let at = change.recorded_at.at();
        match &change.event {
            Event::Founded(founding) => {
                self.found(site, &change, founding)?;
                // A new beginning, also of time.
                self.signed_at = Some(at);
            }
            _ if self.digests.is_empty() => return Err(Disbelief::Founding),
            Event::Changed { proposal, approvals, judged } => {
                let digest = proposal.digest();
                let theirs = |j: &Judgement| site.signed(&j.message(change.seq, &change.before, &digest), &j.signature);
                // People's signatures first, so that what is told is the nearest fault; nothing is taken before both were looked at.
                let Weighed { applied, .. } = self.weigh(proposal, approvals, judged.as_ref(), at)?;
                let judged_by = judged.as_ref().map_or(UNSAID, |judgement| judgement.version);
                let known = self.judged_by.max(UNSAID)..=self.judges_by;
                if judged.as_ref().is_some_and(|judgement| !theirs(judgement)) || !known.contains(&judged_by) {
                    return Err(Disbelief::Judgement);
                }
                self.judged_by = judged_by;
                self.register = applied.register;
                self.decided.insert(digest);
                if applied.needs > Needs::OneApprover {
                    self.signed_at = self.signed_at.max(Some(at));
                }
            }
            Event::Rejected(rejection) => {
                if let Some(approval) = &rejection.approval {
                    self.signed_by(approval, &rejection.message(&self.site, &approval.at), &Role::ALL, at)?;
                }
                if !self.decided.insert(rejection.proposal) {
                    return Err(Disbelief::Replayed(rejection.proposal.short()));
                }
            }
        }
        self.digests.push(Change::digest_of(bytes));
        Ok(at)
    }

    /// A demonstration may become operational: then nothing of it stays but the changes, and it is off until two approvers say otherwise.
    fn found(&mut self, site: &SiteIdentity, change: &Change, founding: &Founding) -> Result<(), Disbelief> {
        if !self.digests.is_empty() && self.mode == Mode::Operational {
            return Err(Disbelief::Founding);
        }
        if founding.site != site.id() || !site.signed(&founding.message(change.seq, &change.before), &founding.signature) {
            return Err(Disbelief::ForeignSite);
        }
        let register = Register { people: founding.people.clone(), ..Register::default() };
        if let Some(flaw) = register.flaws().into_iter().next() {
            let (table, number, key, problem) = (flaw.table, flaw.entry + 1, flaw.key, flaw.problem);
            return Err(DoesNotApply::Flawed { table, number, key, problem }.into());
        }
        if founding.mode == Mode::Operational {
            let approvers = founding.people.iter().filter(|p| p.roles.contains(&Role::Approver)).count();
            if approvers < 2 || founding.people.iter().any(|p| p.stand_in) {
                return Err(Disbelief::TooFewApprovers);
            }
        }
        (self.mode, self.register) = (founding.mode, register);
        Ok(())
    }

    /// What `proposal` makes of the register, if `approvals` suffice.
    pub(super) fn judge(&self, proposal: &Proposal, approvals: &[Approval], at: Stamp<Utc>) -> Result<Weighed, Disbelief> {
        self.weigh(proposal, approvals, None, at)
    }

    /// What is recorded with `proposal`, as it was judged, when it is the next change.
    pub(super) fn judgement(&self, site: &SiteIdentity, proposal: &Digest, applied: &Applied) -> Judgement {
        let held = applied.held.iter().map(|hold| hold.stream.clone()).collect();
        let mut judgement = Judgement { version: self.judges_by, opens: applied.opens, held, signature: String::new() };
        judgement.signature = site.sign(&judgement.message(self.length(), &self.head(), proposal));
        judgement
    }

    fn weigh(&self, proposal: &Proposal, approvals: &[Approval], then: Option<&Judgement>, at: Stamp<Utc>) -> Result<Weighed, Disbelief> {
        let digest = proposal.digest();
        let mut applied = self.would_become(proposal, then.map_or(Judged::Now, Judged::Then))?;
        let needs = applied.needs;
        if needs > Needs::Nobody && proposal.at.at().since_ns(at) > AHEAD_NS {
            return Err(Disbelief::DatedAhead { proposal: digest.short(), at: proposal.at.clone() });
        }
        if needs > Needs::OneApprover
            && let Some(signed_at) = self.signed_at.filter(|signed| signed.since_ns(at) > SLACK_NS)
        {
            return Err(Disbelief::Backdated { at: When::to_the_millisecond(at), signed_at: When::to_the_millisecond(signed_at) });
        }
        let (mut signers, mut tried): (Vec<&Person>, Vec<Tried>) = (Vec::new(), Vec::new());
        for approval in approvals {
            let person = self.signer(approval, &digest, needs, at).and_then(|person| {
                let again = signers.iter().any(|s| s.id == person.id || s.key == person.key);
                if again { Err(Disbelief::SamePerson(person.id.clone())) } else { Ok(person) }
            });
            match person {
                Ok(person) => signers.push(person),
                // A stop never waits for a signature, nor falls with one.
                Err(why) if needs == Needs::Nobody => tried.push(Tried { person: approval.person.clone(), why: why.to_string() }),
                Err(why) => return Err(why),
            }
        }
        if signers.len() < needs.signatures() {
            return Err(Disbelief::TooFewSignatures { needs, have: signers.len() });
        }
        let approvers = signers.iter().filter(|p| p.may(&[Role::Approver], at).is_ok()).count();
        let confirmed = approvers >= Needs::TwoApprovers.signatures();
        match then {
            None if confirmed && !applied.held.is_empty() => applied = proposal.apply_to(&self.register, Judged::Confirmed)?,
            // By the very rules of this program: whoever holds the site's key alone says nothing else than they do.
            Some(then) if then.version == self.judges_by => {
                let anew = proposal.apply_to(&self.register, if confirmed { Judged::Confirmed } else { Judged::Now })?;
                let held = anew.held.iter().map(|hold| &hold.stream);
                if anew != applied || anew.opens != then.opens || !held.eq(&then.held) {
                    return Err(Disbelief::Judgement);
                }
            }
            _ => {}
        }
        self.approved_by_signers(&applied.register, &signers)?;
        if needs > Needs::Nobody && at.since_ns(proposal.at.at()) > MAX_PENDING_DAYS * DAY_NS {
            return Err(Disbelief::TooOld(digest.short()));
        }
        Ok(Weighed { applied, tried })
    }

    /// An emergency order, or its renewal, names who approved it: in an operational site those who sign for it (C26).
    fn approved_by_signers(&self, after: &Register, signers: &[&Person]) -> Result<(), Disbelief> {
        if self.mode != Mode::Operational {
            return Ok(());
        }
        for order in &after.orders {
            let old = self.register.orders.iter().find(|o| o.id == order.id);
            let as_before =
                old.is_some_and(|o| o.renewals == order.renewals && o.approved_by == order.approved_by && o.until.at() >= order.until.at());
            let stranger = order.approved_by.iter().find(|who| !signers.iter().any(|s| s.id == **who));
            if let Some(who) = stranger.filter(|_| !as_before) {
                return Err(Disbelief::NotTheirOrder { order: order.id.clone(), who: who.clone() });
            }
        }
        Ok(())
    }

    /// What `proposal` would make of the register, and what it takes.
    pub fn would_be(&self, proposal: &Proposal) -> Result<Applied, Disbelief> {
        self.would_become(proposal, Judged::Now)
    }

    fn would_become(&self, proposal: &Proposal, judged: Judged<'_>) -> Result<Applied, Disbelief> {
        let digest = proposal.digest();
        if self.decided.contains(&digest) {
            return Err(Disbelief::Replayed(digest.short()));
        }
        let applied = proposal.apply_to(&self.register, judged)?;
        let after = &applied.register;
        if let Some(person) = after.people.iter().find(|p| p.stand_in && !self.register.people.contains(p)) {
            return Err(Disbelief::StandIn(person.id.clone()));
        }
        if self.mode == Mode::Operational && after.rules.placeholder_photographs {
            return Err(Disbelief::Placeholders);
        }
        Ok(applied)
    }

    /// Whose approval it is, if it counts at `at`.
    pub(super) fn signer(&self, approval: &Approval, proposal: &Digest, needs: Needs, at: Stamp<Utc>) -> Result<&Person, Disbelief> {
        let message = Approval::message(&approval.person, &self.site, proposal, &approval.at);
        self.signed_by(approval, &message, needs.roles(), at)
    }

    /// Whether whoever asks may reject what waits: in an operational site somebody in office, by their signature; or whoever proposed it, by
    /// their name, as long as nobody has signed it: they take back what is nobody else's yet.
    pub(super) fn may_reject(&self, pending: &Pending, rejection: &Rejection, at: Stamp<Utc>) -> Result<(), Disbelief> {
        match &rejection.approval {
            _ if self.mode != Mode::Operational => Ok(()),
            Some(approval) => self.signed_by(approval, &rejection.message(&self.site, &approval.at), &Role::ALL, at).map(drop),
            None if rejection.by == pending.proposal.by && pending.approvals.is_empty() => Ok(()),
            None => Err(Disbelief::NotTheirsToReject(rejection.by.clone())),
        }
    }

    /// Whose signature under `message` it is, if it counts at `at`, with one of `roles`.
    fn signed_by(&self, approval: &Approval, message: &[u8], roles: &[Role], at: Stamp<Utc>) -> Result<&Person, Disbelief> {
        let id = &approval.person;
        let person = self.register.people.iter().find(|p| p.id == *id).ok_or_else(|| Disbelief::Stranger(id.clone()))?;
        if person.stand_in && self.mode == Mode::Operational {
            return Err(Disbelief::StandIn(id.clone()));
        }
        let key: Digest = person.key.parse().map_err(|_| Disbelief::BadSignature(id.clone()))?;
        if !verifies(&key, message, &approval.signature) {
            return Err(Disbelief::BadSignature(id.clone()));
        }
        // When they signed, and still when it comes into force, or when the register was last changed if that is later; a signature from
        // later than now is dated wrongly.
        person.may(roles, approval.at.at())?;
        person.may(roles, self.signed_at.map_or(at, |signed| signed.max(at)))?;
        if approval.at.at().since_ns(at) > SLACK_NS {
            return Err(Disbelief::BadSignature(id.clone()));
        }
        Ok(person)
    }

    /// Drops the approvals of a pending proposal that do not count any more.
    pub(super) fn sift(&self, pending: &mut Pending, at: Stamp<Utc>) {
        let digest = pending.proposal.digest();
        let Ok(Applied { needs, .. }) = self.would_be(&pending.proposal) else { return };
        pending.approvals.retain(|a| self.signer(a, &digest, needs, at).is_ok());
    }
}
