//! What the commands of the register's tables share: list, show, add and remove facts, each change a proposal that goes through the running
//! service where one runs and into the register's file where none does.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::change::{login, outcome_json, outcome_text};
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::console::client::{Client, ClientError};
use crate::console::view::{ChangeView, RegisterView, StreamChange};
use crate::policy::cedar::CedarPlane;
use crate::policy::facts::Register;
use crate::policy::file::read_toml;
use crate::policy::observed::Moment;
use crate::policy::profile::Library;
use crate::policy::rules::DecisionPlane;
use crate::policy::store::{
    Approval, Digest, Fact, Needs, Outcome as Recorded, PersonKey, Present, Proposal, Rejection, Request, Store, StoreError, difference,
};
use crate::policy::when::When;

/// In whose name a change is asked for, why, and with whose signature.
#[derive(clap::Args, Debug, Default)]
pub struct Told {
    /// Who asks for it, if not you.
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// Why.
    #[arg(long, default_value = "", value_name = "TEXT")]
    why: String,
    /// Sign at once with this key (`placard person key`), as the person of the register whose it is.
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
}

/// What every table can do. `A`: the flags that make one of its facts.
#[derive(clap::Subcommand, Debug)]
pub enum Action<A: clap::Args> {
    /// List them.
    List,
    /// Show one, as a site file would have it.
    Show { name: String },
    /// Propose one, from flags or from a file. One of the same name is replaced.
    Add {
        #[command(flatten)]
        flags: A,
        /// The fact's keys, in TOML.
        #[arg(long, value_name = "FACT.toml")]
        file: Option<PathBuf>,
        #[command(flatten)]
        told: Told,
    },
    /// Propose that it goes.
    Remove {
        name: String,
        #[command(flatten)]
        told: Told,
    },
}

/// Flags that make a fact.
pub trait Flags: clap::Args {
    type Fact: Fact;
    /// A second fact of the same name stands beside the first.
    const MANY: bool = false;
    fn fact(self, register: &Register) -> Result<Self::Fact, Failed>;
    /// One line for people.
    fn line(fact: &Self::Fact) -> String;
}

pub fn run<A: Flags>(context: &Context, action: Action<A>) -> Outcome {
    let table = A::Fact::TABLE.name();
    match action {
        Action::List => list::<A>(context),
        Action::Show { name } => {
            let register = present(context)?.0;
            let found: Vec<&A::Fact> = A::Fact::listed(&register).iter().filter(|f| f.name() == name).collect();
            if found.is_empty() {
                return Err(nothing_of(table, &name, A::Fact::listed(&register).iter().map(Fact::name)));
            }
            let mut out = std::io::stdout().lock();
            for fact in found {
                match context.json {
                    true => writeln!(out, "{}", json!(fact))?,
                    false => writeln!(out, "[[{table}]]\n{}", toml::to_string(fact)?)?,
                }
            }
            Ok(Exit::Success)
        }
        Action::Add { flags, file, told } => {
            let why = told.reason(&format!("{table} added"));
            let done = propose(context, &told, &why, |register| {
                let fact = match &file {
                    Some(path) => from_file::<A::Fact>(path)?,
                    None => flags.fact(register)?,
                };
                put(register, fact, A::MANY);
                Ok(())
            })?;
            print(context, &done)
        }
        Action::Remove { name, told } => {
            let why = told.reason(&format!("{table} `{name}` removed"));
            let done = propose(context, &told, &why, |register| {
                let list = A::Fact::list(register);
                let before = list.len();
                let names: Vec<String> = list.iter().map(Fact::name).collect();
                list.retain(|f| f.name() != name);
                if list.len() == before { Err(nothing_of(table, &name, names.into_iter())) } else { Ok(()) }
            })?;
            print(context, &done)
        }
    }
}

fn list<A: Flags>(context: &Context) -> Outcome {
    let register = present(context)?.0;
    let facts = A::Fact::listed(&register);
    let mut out = std::io::stdout().lock();
    for fact in facts {
        match context.json {
            true => writeln!(out, "{}", json!(fact))?,
            false => writeln!(out, "{:<24} {}", fact.name(), A::line(fact))?,
        }
    }
    if facts.is_empty() && !context.json {
        writeln!(out, "No [[{}]] in the register.", A::Fact::TABLE.name())?;
    }
    Ok(Exit::Success)
}

pub(super) fn put<F: Fact>(register: &mut Register, fact: F, many: bool) {
    let same = F::listed(register).iter().position(|f| f.name() == fact.name()).filter(|_| !many);
    match same {
        Some(i) => F::list(register)[i] = fact,
        None => F::list(register).push(fact),
    }
}

pub(super) fn from_file<F: Fact>(path: &Path) -> Result<F, Failed> {
    super::exits::present(path)?;
    read_toml::<F>(path).map(|(fact, _)| fact).map_err(|e| Failed::new(Exit::Config, e))
}

pub(super) fn nothing_of(table: &str, name: &str, names: impl Iterator<Item = String>) -> Failed {
    let nearest = names.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let hint = nearest.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
    Failed::new(Exit::Usage, anyhow::anyhow!("there is no {table} `{name}` in the register{hint}"))
}

/// A flag that a fact cannot do without.
pub(super) fn needed<T>(value: Option<T>, flag: &str) -> Result<T, Failed> {
    value.ok_or_else(|| Failed::new(Exit::Usage, anyhow::anyhow!("give {flag}, or a whole fact with --file FACT.toml")))
}

impl Told {
    pub(super) fn by(&self) -> String {
        self.by.clone().filter(|b| !b.trim().is_empty()).unwrap_or_else(login)
    }
    pub(super) fn reason(&self, otherwise: &str) -> String {
        if self.why.is_empty() { otherwise.to_owned() } else { self.why.clone() }
    }
    fn approvals(&self, register: &Register, site: &Digest, proposal: &Digest) -> Result<Vec<Approval>, Failed> {
        self.key_file.iter().map(|file| sign(file, register, site, proposal)).collect()
    }
}

/// Signs as whoever's key it is.
pub(super) fn sign(file: &Path, register: &Register, site: &Digest, proposal: &Digest) -> Result<Approval, Failed> {
    let (person, key) = key_of(file, register)?;
    Ok(Approval::sign(&person, &key, site, proposal, When::to_the_millisecond(SystemClock.utc())))
}

/// Signs, as whoever's key it is, for rejecting a proposal.
pub(super) fn sign_rejection(file: &Path, register: &Register, site: &Digest, proposal: &Digest) -> Result<Approval, Failed> {
    let (person, key) = key_of(file, register)?;
    Ok(Rejection::sign(&person, &key, site, proposal, When::to_the_millisecond(SystemClock.utc())))
}

fn key_of(file: &Path, register: &Register) -> Result<(String, PersonKey), Failed> {
    super::exits::present(file)?;
    let key = PersonKey::load(file).map_err(|e| Failed::new(Exit::Config, e))?;
    let public = key.public().to_string();
    let person = register.people.iter().find(|p| p.key == public).ok_or_else(|| {
        let text = format!("{}: nobody in the register has this key (public half {public}): `placard person list`", file.display());
        Failed::new(Exit::Refused, anyhow::anyhow!(text))
    })?;
    Ok((person.id.clone(), key))
}

/// What a change did.
pub(super) struct Changed {
    pub outcome: Recorded,
    pub streams: Vec<StreamChange>,
    /// In force now.
    pub register: Register,
    /// Whether the running service did it.
    pub service: bool,
}

/// `None`: nobody answers, so the file is asked.
fn service(context: &Context) -> Result<Option<Client>, Failed> {
    let client = Client::new(context.state.control_socket())?;
    match std::os::unix::net::UnixStream::connect(client.socket()) {
        Ok(_answers) => Ok(Some(client)),
        Err(_) => Ok(None),
    }
}

fn declined(error: ClientError) -> Failed {
    let exit = match &error {
        ClientError::Declined { kind, .. } if kind == "not-found" => Exit::Usage,
        ClientError::Declined { kind, .. } if kind == "refused" => Exit::Refused,
        ClientError::Declined { kind, .. } if kind == "invalid" => Exit::Config,
        _ => Exit::Failure,
    };
    Failed::new(exit, error)
}

pub(super) fn store_failed(error: StoreError) -> Failed {
    let exit = match &error {
        StoreError::Refused(_) | StoreError::TooManyPending | StoreError::TooManyOf(_) => Exit::Refused,
        StoreError::NoProposal(_) => Exit::Usage,
        _ => Exit::Config,
    };
    Failed::new(exit, error)
}

/// The register in force, and what else is known of it.
pub(super) fn present(context: &Context) -> Result<(Register, RegisterView), Failed> {
    let view = match service(context)? {
        Some(client) => client.get::<RegisterView>("/v1/register").map_err(declined)?,
        None => {
            let path = context.state.register();
            RegisterView::of(&Present::load(&path).map_err(store_failed)?)
        }
    };
    let register = toml::from_str(&view.register).map_err(|e| Failed::new(Exit::Failure, anyhow::anyhow!("the register: {e}")))?;
    Ok((register, view))
}

/// Proposes what `edit` makes of the register.
pub(super) fn propose(
    context: &Context,
    told: &Told,
    why: &str,
    edit: impl FnOnce(&mut Register) -> Result<(), Failed>,
) -> Result<Changed, Failed> {
    let (before, view) = present(context)?;
    let mut after = before.clone();
    edit(&mut after)?;
    let edits = difference(&before, &after);
    if edits.is_empty() {
        return Ok(Changed { outcome: Recorded::Unchanged, streams: Vec::new(), register: before, service: false });
    }
    let proposal = Proposal::new(edits, &told.by(), why, When::to_the_millisecond(SystemClock.utc()))?;
    let approvals = match told.approvals(&before, &view.site, &proposal.digest()) {
        // A stop waits for no signature: a key that is not there, or nobody's any more, hinders none.
        Err(failed) if proposal.applied_to(&before).is_ok_and(|(_, needs)| needs == Needs::Nobody) => {
            writeln!(std::io::stderr().lock(), "placard: it is done without a signature: {:#}", failed.error)?;
            Vec::new()
        }
        signed => signed?,
    };
    request(context, Request::Submit { proposal, approvals })
}

/// Has it done by the service, or does it.
pub(super) fn request(context: &Context, request: Request) -> Result<Changed, Failed> {
    if let Some(client) = service(context)? {
        let view: ChangeView = client.post_json("/v1/register/changes", &request).map_err(declined)?;
        let register = present(context)?.0;
        return Ok(Changed { outcome: view.outcome, streams: view.streams, register, service: true });
    }
    let now = SystemClock.utc();
    let mut store = Store::open(&context.state.register()).map_err(store_failed)?;
    let before = store.register().clone();
    let outcome = store.handle(request, now).map_err(store_failed)?;
    let register = store.register().clone();
    let plane = CedarPlane::new(Library::of_site(&context.state));
    let state = |r: &Register, stream: &str| plane.decide(r, stream, Moment::unobserved(now));
    let mut names: Vec<&str> = before.areas.iter().chain(&register.areas).map(|a| a.stream.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut streams = Vec::new();
    for name in names {
        let (old, new) = (state(&before, name)?, state(&register, name)?);
        if (old.state, &old.grants) != (new.state, &new.grants) {
            let (before, after) = (old.state.name().to_owned(), new.state.name().to_owned());
            streams.push(StreamChange { stream: name.to_owned(), before, after, reason: new.reason.to_string() });
        }
    }
    Ok(Changed { outcome, streams, register, service: false })
}

pub(super) fn print(context: &Context, done: &Changed) -> Outcome {
    let mut out = std::io::stdout().lock();
    if context.json {
        let mut object = outcome_json(&done.outcome);
        add(&mut object, "streams", &done.streams);
        add(&mut object, "service", &done.service);
        writeln!(out, "{object}")?;
        return Ok(Exit::Success);
    }
    writeln!(out, "{}", outcome_text(&done.outcome, &done.register))?;
    if done.outcome.in_force() && done.outcome != Recorded::Unchanged {
        for change in &done.streams {
            let when = if done.service { "now" } else { "when the service runs, as the facts are now" };
            writeln!(out, "  stream {:<16} {} → {} {when}: {}", change.stream, change.before, change.after, change.reason)?;
        }
        if done.streams.is_empty() {
            writeln!(out, "  no stream's state changes by it")?;
        }
    }
    Ok(Exit::Success)
}

fn add(object: &mut Value, key: &str, value: &impl Serialize) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), json!(value));
    }
}

#[cfg(test)]
mod tests;
