//! The register's truth: a file of changes, each proposed by somebody, signed by as many people as it needs, and durable before it is
//! acknowledged.
//!
//! ```text
//! proposal (edits of facts) ── stops, or narrows and opens nothing else: nobody need sign ┐
//!     └─ widens ──▶ pending ── two approvers sign its digest (Ed25519) ──▶ judged ──▶ change ──▶ hash chain ──▶ Register
//!                        └─ rejected ──▶ change: never again                 (chain.rs)        (ledger.rs, redb)
//! ```
//!
//! `change.rs` is what is written and signed, `direction.rs` and `lighting.rs` who must sign, `fold.rs` what an edit does, `chain.rs` what is believed,
//! `ledger.rs` the file, `site.rs` whose file it is, `keys.rs` people's keys, `stand_in.rs` the two who sign for nobody.
//!
//! Reading verifies everything: order, signatures, roles and training at the time, and that the register that is kept beside the changes is
//! what they add up to. So whoever can write the file, and holds no keys, opens nothing. What they can do is take it away, or put an
//! older copy in its place: a running policy thread notices, because what it has verified once must still be there ([`Reader`]); a start
//! cannot, until there is an evidence log to compare with.
//!
//! Writers take turns by `.register.lock` beside the file, in this process and in others.

mod chain;
mod change;
mod digest;
mod direction;
mod fold;
mod keys;
mod ledger;
mod lighting;
#[cfg(test)]
mod power_cut;
mod reader;
mod site;
mod stand_in;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use chain::{Chain, Disbelief, MAX_PENDING_DAYS, Tried};
pub use change::{Approval, Change, Edit, Event, Founding, Judgement, Pending, Proposal, Rejection, Table};
pub use digest::{Digest, NotADigest};
pub use direction::{Direction, Fact, Needs};
pub use fold::{Applied, DoesNotApply, difference};
pub use keys::{KeyError, PersonKey, verifies};
pub(in crate::policy) use lighting::hold_back;
pub use lighting::{Hold, JUDGEMENT};
pub use reader::{Present, Reader};
pub use site::{NoIdentity, SiteIdentity};
pub use stand_in::people as stand_ins;

use super::facts::{Mode, Person, Register, Site};
use super::file::{FileError, WriterTurn};
use super::leap;
use super::when::When;
use crate::clock::{Stamp, Utc};
use crate::state::StateDirectory;
use serde::{Deserialize, Serialize};

use chain::Weighed;
use ledger::{Entry, Ledger};

/// How long a writer waits for readers, and a command for a writer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Signatures that are kept with a stop.
const MOST_SIGNATURES: usize = 8;
/// More proposals than this wait for nobody.
const MAX_PENDING: usize = 64;
/// Of those that nobody has signed: anybody may propose, and must leave room for what is signed.
const MAX_UNSIGNED: usize = 32;
/// Of one proposer, by the name that they give.
const MAX_UNSIGNED_OF_ONE: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: there is no register: `placard commission SITE_FILE` makes a site's state", .0.display())]
    Missing(PathBuf),
    #[error("{}: cannot be used ({source})", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: somebody is writing it; try again", .0.display())]
    Busy(PathBuf),
    #[error("{}: {error}", path.display())]
    Storage { path: PathBuf, error: Box<redb::Error> },
    #[error("{}: nobody knows whose register this is: {error}", path.display())]
    NoIdentity { path: PathBuf, error: NoIdentity },
    #[error("{}: change {seq} is not believed, and so is nothing after it: {why}", path.display())]
    Disbelieved { path: PathBuf, seq: u64, why: Box<Disbelief> },
    #[error("{}: {problem}", path.display())]
    Altered { path: PathBuf, problem: &'static str },
    #[error(transparent)]
    Turn(FileError),
    #[error("refused: {0}")]
    Refused(#[from] Box<Disbelief>),
    #[error("there is no proposal `{0}` that waits for signatures: `placard approve list` shows those that do")]
    NoProposal(String),
    #[error(
        "{MAX_PENDING} proposals wait for signatures already, or {MAX_UNSIGNED} that nobody has signed: sign or reject some (`placard approve list`), or sign \
         yours as you propose it (`--key-file FILE`)"
    )]
    TooManyPending,
    #[error(
        "{MAX_UNSIGNED_OF_ONE} proposals of `{0}` that nobody has signed wait already: have them signed, or reject them (`placard approve list`)"
    )]
    TooManyOf(String),
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("nothing that takes two people's signatures is recorded by a clock that is not believed; stopping and narrowing work. {0}")]
    Clock(#[from] leap::Disbelief),
}

impl StoreError {
    fn of_file(path: &Path, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            _ => Self::File { path: path.to_owned(), source },
        }
    }
    fn of_database(path: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Busy(path.to_owned()),
            error => Self::Storage { path: path.to_owned(), error: Box::new(error) },
        }
    }
    fn refused(why: Disbelief) -> Self {
        Self::Refused(Box::new(why))
    }
}

/// What became of a proposal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Durably. `stand_ins`: those signed who are nobody. `held`: streams that it paused beside what it stops. `tried`: signatures under a stop
    /// that did not count.
    InForce {
        seq: u64,
        proposal: Digest,
        stand_ins: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        held: Vec<Hold>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tried: Vec<Tried>,
    },
    /// Durably kept until as many have signed as `needs` asks for.
    Pending { proposal: Digest, needs: Needs, signed: Vec<String> },
    /// It never will be.
    Rejected { proposal: Digest },
    /// It would have changed nothing.
    #[default]
    Unchanged,
}

/// What somebody asks of the register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Submit { proposal: Proposal, approvals: Vec<Approval> },
    Approve { proposal: Digest, approval: Approval },
    Reject(Rejection),
}

impl Outcome {
    pub fn in_force(&self) -> bool {
        !matches!(self, Self::Pending { .. } | Self::Rejected { .. })
    }
}

/// The register's file, open for writing: its one writer, until this is dropped. Open, do the work, drop.
pub struct Store {
    path: PathBuf,
    ledger: Ledger,
    site: SiteIdentity,
    chain: Chain,
    pending: Vec<Pending>,
    _turn: Option<WriterTurn>,
}

impl Store {
    /// Waits for this caller's turn; believes the file or refuses.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = &path.canonicalize().map_err(|source| StoreError::of_file(path, source))?;
        let site = identity(path)?;
        let turn = WriterTurn::take(path).map_err(StoreError::Turn)?;
        let ledger = Ledger::open(path, false, PATIENCE)?;
        Self::over(path, ledger, site, Some(turn))
    }

    fn over(path: &Path, ledger: Ledger, site: SiteIdentity, turn: Option<WriterTurn>) -> Result<Self, StoreError> {
        let contents = ledger.contents().map_err(|e| StoreError::of_database(path, e))?;
        let present = Present::verified(path, &site, contents, None)?;
        Ok(Self { path: path.to_owned(), ledger, site, chain: present.chain, pending: present.pending, _turn: turn })
    }

    /// Makes the register of a site: empty but for those whom it believes. The site's key must be there.
    pub fn found(path: &Path, mode: Mode, people: Vec<Person>, at: Stamp<Utc>) -> Result<Self, StoreError> {
        let site = identity(path)?;
        let turn = WriterTurn::take(path).map_err(StoreError::Turn)?;
        let ledger = Ledger::open(path, true, PATIENCE)?;
        // A file without a founding is what a power cut leaves of this.
        let contents = ledger.contents().map_err(|e| StoreError::of_database(path, e))?;
        if !contents.changes.is_empty() {
            return Err(StoreError::Exists(path.to_owned()));
        }
        let mut store = Self::empty(path, ledger, site, Some(turn));
        store.found_again(mode, people, at)?;
        Ok(store)
    }

    fn empty(path: &Path, ledger: Ledger, site: SiteIdentity, turn: Option<WriterTurn>) -> Self {
        let chain = Chain::new(&site);
        Self { path: path.to_owned(), ledger, site, chain, pending: Vec::new(), _turn: turn }
    }

    /// Of a demonstration or commissioning site alone: begins anew in another mode. What was in force is so no longer.
    pub fn found_again(&mut self, mode: Mode, people: Vec<Person>, at: Stamp<Utc>) -> Result<(), StoreError> {
        let mut founding = Founding { site: self.site.id(), mode, people, signature: String::new() };
        founding.signature = self.site.sign(&founding.message(self.chain.length(), &self.chain.head()));
        self.append(Event::Founded(founding), at, None).map(drop)
    }

    pub fn register(&self) -> &Register {
        self.chain.register()
    }
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
    /// Proposals that wait for signatures, oldest first.
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }
    /// Whom people sign for.
    pub fn site(&self) -> Digest {
        self.site.id()
    }

    /// Proposes `edits` in the name of `by`. Where the site has stand-ins they sign.
    pub fn change(&mut self, edits: Vec<Edit>, by: &str, why: &str, at: Stamp<Utc>) -> Result<Outcome, StoreError> {
        if edits.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let proposal = Proposal::new(edits, by, why, When::to_the_millisecond(at))?;
        self.submit(proposal, Vec::new(), at)
    }

    /// Takes a proposal and the signatures that it has: in force if they suffice, kept for others to sign if not. A signature that does not
    /// count is refused, and nothing is kept; but a stop is in force with it as it is without.
    pub fn submit(&mut self, proposal: Proposal, mut approvals: Vec<Approval>, at: Stamp<Utc>) -> Result<Outcome, StoreError> {
        let Applied { needs, held, .. } = self.chain.would_be(&proposal).map_err(StoreError::refused)?;
        self.clock_allows(needs, at)?;
        if needs == Needs::Nobody && approvals.len() > MOST_SIGNATURES {
            // A stop takes anything that is handed in with it, and keeps it: so much and no more, for each is looked at whenever the file is read.
            tracing::warn!(
                dropped = approvals.len() - MOST_SIGNATURES,
                "a stop needs no signature: those beyond the first few are not kept"
            );
            approvals.truncate(MOST_SIGNATURES);
        }
        let wanted = needs > Needs::Nobody || !held.is_empty();
        let stand_ins = approvals.is_empty() && wanted && self.chain.mode() != Mode::Operational;
        let signed =
            stand_ins.then(|| stand_in::approvals(&self.path, &self.site.id(), &proposal, &When::to_the_millisecond(at))).flatten();
        // A stop does without, rather than wait for a signature that does not count.
        let counts = |signed: &Vec<Approval>| {
            needs > Needs::Nobody || self.chain.judge(&proposal, signed, at).is_ok_and(|weighed| weighed.tried.is_empty())
        };
        let signed = signed.filter(counts);
        let stand_ins = signed.is_some();
        approvals.extend(signed.into_iter().flatten());
        self.take(Pending { proposal, approvals }, needs, stand_ins, at)
    }

    /// Adds somebody's signature to a proposal that waits.
    pub fn approve(&mut self, proposal: &Digest, approval: Approval, at: Stamp<Utc>) -> Result<Outcome, StoreError> {
        let mut pending = self.waiting(proposal)?.clone();
        let Applied { needs, .. } = self.chain.would_be(&pending.proposal).map_err(StoreError::refused)?;
        self.clock_allows(needs, at)?;
        self.chain.sift(&mut pending, at);
        pending.approvals.push(approval);
        self.take(pending, needs, false, at)
    }

    /// Does what somebody asks.
    pub fn handle(&mut self, request: Request, at: Stamp<Utc>) -> Result<Outcome, StoreError> {
        match request {
            Request::Submit { proposal, approvals } => self.submit(proposal, approvals, at),
            Request::Approve { proposal, approval } => self.approve(&proposal, approval, at),
            Request::Reject(rejection) => {
                let proposal = rejection.proposal;
                self.reject(rejection, at).map(|()| Outcome::Rejected { proposal })
            }
        }
    }

    /// Whether what needs that many may be recorded at `at`: not while the wall clock has leapt ahead, which could neither be taken back nor
    /// undone until that time has come.
    fn clock_allows(&self, needs: Needs, at: Stamp<Utc>) -> Result<(), StoreError> {
        if needs <= Needs::OneApprover {
            return Ok(());
        }
        Ok(leap::standing_at(&StateDirectory::new(self.path.parent().unwrap_or(Path::new("."))), at)?)
    }

    fn waiting(&self, proposal: &Digest) -> Result<&Pending, StoreError> {
        let found = self.pending.iter().find(|p| p.proposal.digest() == *proposal);
        found.ok_or_else(|| StoreError::NoProposal(proposal.to_string()))
    }

    fn take(&mut self, pending: Pending, needs: Needs, stand_ins: bool, at: Stamp<Utc>) -> Result<Outcome, StoreError> {
        let digest = pending.proposal.digest();
        match self.chain.judge(&pending.proposal, &pending.approvals, at) {
            Ok(Weighed { applied, tried }) => {
                let judged = Some(self.chain.judgement(&self.site, &digest, &applied));
                let event = Event::Changed { proposal: pending.proposal, approvals: pending.approvals, judged };
                let seq = self.append(event, at, Some(digest))?;
                for Tried { person, why } in &tried {
                    tracing::warn!(change = seq, person, why, "a signature under a stop did not count: the stop is in force without it");
                }
                Ok(Outcome::InForce { seq, proposal: digest, stand_ins, held: applied.held, tried })
            }
            Err(Disbelief::TooFewSignatures { .. }) => self.keep(pending, needs),
            Err(why) => Err(StoreError::refused(why)),
        }
    }

    fn keep(&mut self, pending: Pending, needs: Needs) -> Result<Outcome, StoreError> {
        let digest = pending.proposal.digest();
        let others: Vec<Pending> = self.pending.iter().filter(|p| p.proposal.digest() != digest).cloned().collect();
        let unsigned = || others.iter().filter(|p| p.approvals.is_empty());
        let full = pending.approvals.is_empty() && unsigned().count() >= MAX_UNSIGNED;
        if others.len() >= MAX_PENDING || full {
            return Err(StoreError::TooManyPending);
        }
        if pending.approvals.is_empty() && unsigned().filter(|p| p.proposal.by == pending.proposal.by).count() >= MAX_UNSIGNED_OF_ONE {
            return Err(StoreError::TooManyOf(pending.proposal.by));
        }
        self.write(&Entry { add_pending: Some((digest, &change::json(&pending))), ..Entry::default() })?;
        let signed = pending.approvals.iter().map(|a| a.person.clone()).collect();
        self.pending = others;
        self.pending.push(pending);
        Ok(Outcome::Pending { proposal: digest, needs, signed })
    }

    /// A proposal that waits will never be in force. Nothing opens by it, but work is lost: whose word counts, [`Chain::may_reject`] says.
    pub fn reject(&mut self, rejection: Rejection, at: Stamp<Utc>) -> Result<(), StoreError> {
        let proposal = rejection.proposal;
        self.chain.may_reject(self.waiting(&proposal)?, &rejection, at).map_err(StoreError::refused)?;
        self.append(Event::Rejected(rejection), at, Some(proposal)).map(drop)
    }

    fn append(&mut self, event: Event, at: Stamp<Utc>, decided: Option<Digest>) -> Result<u64, StoreError> {
        let seq = self.chain.length();
        let change = Change { seq, before: self.chain.head(), recorded_at: When::to_the_millisecond(at), event };
        let bytes = change.bytes();
        // Judged as every reader will judge it, before anything is written.
        let mut chain = self.chain.clone();
        chain.follow(&self.site, &bytes).map_err(StoreError::refused)?;
        let register = chain.register().to_toml();
        self.write(&Entry { change: Some((seq, &bytes, &register, chain.head())), add_pending: None, remove_pending: decided })?;
        self.chain = chain;
        self.pending.retain(|p| Some(p.proposal.digest()) != decided);
        Ok(seq)
    }

    fn write(&self, entry: &Entry<'_>) -> Result<(), StoreError> {
        self.ledger.write(entry).map_err(|e| StoreError::of_database(&self.path, e))
    }
}

fn identity(register: &Path) -> Result<SiteIdentity, StoreError> {
    SiteIdentity::beside(register).map_err(|error| StoreError::NoIdentity { path: register.to_owned(), error })
}

/// Makes the register at `path` say what `register` says: by the word of the stand-ins, so in demonstration and commissioning sites alone.
/// Founds it, and makes the site's key, where there is none. `register.people` join the stand-ins.
pub fn put_as_stand_ins(path: &Path, register: &Register, at: Stamp<Utc>) -> Result<Outcome, StoreError> {
    let stand_ins = stand_ins_of(path)?;
    let mut store = if path.exists() { Store::open(path)? } else { Store::found(path, Mode::Demo, stand_ins.clone(), at)? };
    let others = register.people.iter().filter(|p| !p.stand_in).cloned();
    let wanted = Register { people: stand_ins.into_iter().chain(others).collect(), ..register.clone() };
    let edits = difference(store.register(), &wanted);
    store.change(edits, "stand-ins", "the register as a whole", at)
}

/// The stand-ins of the site whose register is, or will be, at `path`. Makes their keys and the site's where there are none.
pub fn stand_ins_of(path: &Path) -> Result<Vec<Person>, StoreError> {
    let state = StateDirectory::new(path.parent().unwrap_or(Path::new(".")));
    let no_identity = |e| StoreError::NoIdentity { path: path.to_owned(), error: NoIdentity::Seal(e) };
    crate::seal::SiteKey::load_or_create(&state).map_err(no_identity)?;
    Ok(stand_ins(path)?)
}

impl Register {
    /// Reads and verifies the register, all of it or none. Waits for a moment while somebody writes it.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        Present::load(path).map(|p| p.register().clone())
    }

    /// Opens the register, lets `edit` change it, and proposes what is different in the name of `by`. `edit` says by its answer what the
    /// caller wants to know.
    pub fn propose<T>(
        path: &Path,
        by: &str,
        why: &str,
        at: Stamp<Utc>,
        edit: impl FnOnce(&mut Self) -> T,
    ) -> Result<(T, Outcome), StoreError> {
        let mut store = Store::open(path)?;
        let mut register = store.register().clone();
        let answer = edit(&mut register);
        let edits = difference(store.register(), &register);
        Ok((answer, store.change(edits, by, why, at)?))
    }
}

/// Of description and register one says `operational` and the other does not: somebody changed one without the other.
fn mode_agrees(path: &Path, mode: Mode) -> bool {
    let described = StateDirectory::new(path.parent().unwrap_or(Path::new("."))).site();
    match Site::load(&described) {
        Ok(site) => (site.mode == Mode::Operational) == (mode == Mode::Operational),
        // No description: the register says what it is.
        Err(_) => true,
    }
}
