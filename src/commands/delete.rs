//! `placard delete`: a subject leaves the gallery, for every purpose, and is looked for again to show that it is gone.
//!
//! No reason is asked for and no rule stands in the way: what was enrolled may be deleted whatever purposes and signs say. In this order:
//!
//! 1. the subject's key is destroyed and its templates and its name are removed, each durably; then both files are written anew, so
//!    that no freed page of them holds the id or what was sealed;
//! 2. the running service, if there is one, loads the gallery anew and says which version it searches now;
//! 3. the vault is opened once more: no trace may be left, no byte of the files may spell the id, and, where the register lets the purpose be searched, the subject's own
//!    templates (kept in memory until here, wiped then) must not find it.
//!
//! "deleted" is printed after that and not before. What this does not touch: events in the journal keep the opaque id of past hits.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};

use anyhow::anyhow;
use serde_json::{Value, json};

use super::enrol::{PATIENCE, vault_failed};
use super::exits::key_failed;
use super::owner::hand_over;
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::console::client::{Client, ClientError};
use crate::console::view::ReloadView;
use crate::gallery::identities::Identities;
use crate::gallery::seal::SiteKey;
use crate::gallery::set::GallerySet;
use crate::gallery::vault::{OwnTemplate, Traces, Vault, VaultError};
use crate::gallery::{SubjectId, is_mentioned};
use crate::policy::enrolment::EnrolmentDesk;
use crate::policy::profile::Library;
use crate::policy::store::Present;
use crate::purpose::Purpose;
use crate::shutdown::Shutdown;

/// A template finds itself with similarity 1, but for rounding.
const ITSELF: f32 = 0.999;

#[derive(clap::Args)]
pub struct Args {
    /// The subject's id, as `placard enrol` and `placard search` print it.
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let subject: SubjectId = args.subject.parse().map_err(|e| {
        let remedy = "`placard enrol` and `placard search` print the ids";
        Failed::new(Exit::Usage, anyhow!("{e} [subject-known]; {remedy}"))
    })?;
    let key = SiteKey::load(&context.state).map_err(key_failed)?;
    let (traces, name) = look(context, &key, &subject)?;
    // A deletion that was cut short may have left the id in a freed page, where nothing finds it: that goes too.
    if !traces.any() && !is_mentioned(&context.state, &subject)? {
        // It may have been deleted while the service could not be told.
        let service = tell_service(context);
        let fact = format!("there is no subject {subject} in the gallery [subject-known]");
        let remedy = "nothing was deleted; `placard search` prints the ids of those who are enrolled";
        return Err(Failed::new(Exit::Usage, anyhow!("{fact}; {remedy} ({})", service.text())));
    }
    if !args.yes && !confirmed(&subject, name.as_deref(), &traces)? {
        return Err(Failed::new(Exit::Refused, anyhow!("nothing was deleted: the answer was not `yes` [deletion-confirmed]")));
    }
    let own = erase(context, &key, &subject)?;
    hand_over(&context.state)?;
    let service = tell_service(context);
    let proof = prove(context, &key, &subject, &traces, own, &service)?;
    tracing::warn!(%subject, templates = traces.rows.values().sum::<usize>(), "subject deleted");
    show(context.json, &subject, &traces, name.is_some(), &proof, &service)?;
    match service {
        Service::NotTold(error) => Err(Failed::new(
            Exit::Failure,
            anyhow!(
                "the subject is gone from the gallery's files, but the running service could not be told and may go on finding it ({error}): run `systemctl reload placard`, then this again"
            ),
        )),
        Service::Loaded(_) | Service::NotRunning => Ok(Exit::Success),
    }
}

/// What there is of the subject. The vault is let go of again: whoever is asked may take their time.
fn look(context: &Context, key: &SiteKey, subject: &SubjectId) -> Result<(Traces, Option<String>), Failed> {
    if !context.state.vault().exists() {
        return Ok((Traces::default(), None));
    }
    let vault = Vault::open_patiently(&context.state, key, PATIENCE, &Shutdown::new()).map_err(vault_failed)?;
    let name = match names(context, key)? {
        // A name that does not open is deleted like any other.
        Some(names) => names.name(subject).unwrap_or_else(|error| Some(format!("a name that cannot be read: {error}"))),
        None => None,
    };
    Ok((vault.traces(subject).map_err(vault_failed)?, name))
}

/// Opened only by who holds the vault, so nobody else has it open for longer than a look.
fn names(context: &Context, key: &SiteKey) -> Result<Option<Identities>, Failed> {
    let there = context.state.identities().exists();
    there.then(|| Identities::open(&context.state, key).map_err(vault_failed)).transpose()
}

fn confirmed(subject: &SubjectId, name: Option<&str>, traces: &Traces) -> Result<bool, Failed> {
    if !std::io::stdin().is_terminal() {
        let text = "nothing was deleted: nobody can be asked, standard input is no terminal [deletion-confirmed]; add --yes";
        return Err(Failed::new(Exit::Refused, anyhow!(text)));
    }
    let whom = name.map_or_else(String::new, |n| format!(" ({n})"));
    let mut ask = std::io::stderr().lock();
    write!(ask, "Delete subject {subject}{whom}: {}? This cannot be undone. Type yes: ", templates(traces))?;
    ask.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "yes" | "y"))
}

fn templates(traces: &Traces) -> String {
    let of = |(purpose, count): (&String, &usize)| format!("{count} template{} for {purpose}", if *count == 1 { "" } else { "s" });
    match traces.rows.is_empty() {
        true if traces.key => "a key without templates".to_owned(),
        true => "what an earlier deletion left in a freed page".to_owned(),
        false => traces.rows.iter().map(of).collect::<Vec<_>>().join(", "),
    }
}

/// On the disk when it returns. Gives back the subject's own templates, to look for it by.
fn erase(context: &Context, key: &SiteKey, subject: &SubjectId) -> Result<Vec<OwnTemplate>, Failed> {
    let vault = Vault::open_patiently(&context.state, key, PATIENCE, &Shutdown::new()).map_err(vault_failed)?;
    let own = vault.own_templates(subject).map_err(vault_failed)?;
    vault.delete(&BTreeSet::from([subject.clone()])).map_err(vault_failed)?;
    if let Some(names) = names(context, key)? {
        names.remove(subject).map_err(vault_failed)?;
        names.rewrite().map_err(vault_failed)?;
    }
    vault.rewrite().map_err(vault_failed)?;
    Ok(own)
}

/// What the running service said.
enum Service {
    /// It searches these versions.
    Loaded(BTreeMap<String, u64>),
    NotRunning,
    NotTold(String),
}

impl Service {
    fn text(&self) -> String {
        match self {
            Self::Loaded(_) => "the running service has loaded the gallery anew".to_owned(),
            Self::NotRunning => "no service runs here that could still hold it".to_owned(),
            Self::NotTold(error) => format!("the running service could not be told: {error}"),
        }
    }
    const fn name(&self) -> &'static str {
        match self {
            Self::Loaded(_) => "loaded",
            Self::NotRunning => "not-running",
            Self::NotTold(_) => "not-told",
        }
    }
}

fn tell_service(context: &Context) -> Service {
    let told = Client::new(context.state.control_socket()).and_then(|client| client.post::<ReloadView>("/v1/gallery/reload"));
    match told {
        Ok(view) => Service::Loaded(view.galleries.into_iter().map(|g| (g.purpose, g.version)).collect()),
        Err(ClientError::NotRunning { .. }) => Service::NotRunning,
        Err(error) => Service::NotTold(error.to_string()),
    }
}

/// What was looked at to see that the subject is gone, one for each of its purposes and models.
struct Sought {
    purpose: Purpose,
    /// Templates of others that were searched, or the reason why nothing was.
    searched: Result<usize, String>,
}

/// Looks again, in the files as they are on the disk and with the subject's own templates. `Err`: it is not gone.
fn prove(
    context: &Context,
    key: &SiteKey,
    subject: &SubjectId,
    before: &Traces,
    own: Vec<OwnTemplate>,
    service: &Service,
) -> Result<Vec<Sought>, Failed> {
    let not_gone = |what: String| Failed::new(Exit::Failure, anyhow!("subject {subject} is NOT gone: {what}; run this again"));
    let vault = Vault::open_patiently(&context.state, key, PATIENCE, &Shutdown::new()).map_err(vault_failed)?;
    let after = vault.traces(subject).map_err(vault_failed)?;
    if after.any() {
        return Err(not_gone(format!("the vault still holds {}", templates(&after))));
    }
    if let Some(names) = names(context, key)?
        && names.name(subject).map_err(vault_failed)?.is_some()
    {
        return Err(not_gone("its name is still there".to_owned()));
    }
    if is_mentioned(&context.state, subject)? {
        return Err(not_gone("the gallery's files still hold its id".to_owned()));
    }
    if let Service::Loaded(versions) = service {
        for (purpose, version) in vault.purposes().map_err(vault_failed)? {
            let behind = versions.get(&purpose.to_string()).is_some_and(|loaded| *loaded < version);
            if behind && before.rows.contains_key(&purpose.to_string()) {
                return Err(not_gone(format!("the running service still searches an older gallery for {purpose}")));
            }
        }
    }
    let mut sought: Vec<Sought> = Vec::new();
    for template in own {
        let searched = search(context, &vault, subject, &template)?;
        if matches!(&searched, Ok((_, true))) {
            return Err(not_gone(format!("a search for {} still finds it", template.purpose)));
        }
        if !sought.iter().any(|s| s.purpose == template.purpose) {
            sought.push(Sought { purpose: template.purpose, searched: searched.map(|(others, _)| others) });
        }
    }
    Ok(sought)
}

/// How many templates were searched, and whether the subject was among those found. The inner error: the register does not allow a search.
fn search(context: &Context, vault: &Vault, subject: &SubjectId, own: &OwnTemplate) -> Result<Result<(usize, bool), String>, Failed> {
    let clock = SystemClock::shared();
    let Ok(present) = Present::load(&context.state.register()) else { return Ok(Err("the register cannot be read".to_owned())) };
    let mut desk = match EnrolmentDesk::of_site(&present, &own.purpose, clock, &Library::of_site(&context.state)) {
        Ok(desk) => desk,
        Err(reason) => return Ok(Err(reason.to_string())),
    };
    let loaded = match vault.load_purpose(&own.purpose, &own.model, SystemClock.utc()) {
        // Nobody is searched in it; deleting goes on.
        Err(put_back @ VaultError::PutBack(_)) => return Ok(Err(put_back.to_string())),
        loaded => loaded.map_err(vault_failed)?,
    };
    let others = loaded.templates.len();
    let set = GallerySet::of_purpose(own.model.clone(), desk.table(), &own.purpose, &loaded)?;
    drop(loaded);
    loop {
        // A machine so busy that a lease runs out meanwhile asks again; the desk says whether the purpose still holds.
        let permit = match desk.match_permit() {
            Ok(permit) => permit,
            Err(closed) => return Ok(Err(closed.to_string())),
        };
        if let Ok(found) = set.search(&permit, &own.embedding, ITSELF, others) {
            return Ok(Ok((others, found.is_some_and(|f| f.candidates.iter().any(|c| c.subject == *subject)))));
        }
    }
}

fn show(as_json: bool, subject: &SubjectId, traces: &Traces, named: bool, proof: &[Sought], service: &Service) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let sought = |s: &Sought| match &s.searched {
            Ok(others) => json!({ "purpose": s.purpose, "searched": true, "templates": others, "found": false }),
            Err(reason) => json!({ "purpose": s.purpose, "searched": false, "reason": reason }),
        };
        let purposes: Vec<Value> = traces.rows.iter().map(|(p, n)| json!({ "purpose": p, "templates": n })).collect();
        let object = json!({
            "outcome": "deleted", "subject": subject, "purposes": purposes, "name": named, "traces": false,
            "sought": proof.iter().map(sought).collect::<Vec<_>>(), "service": service.name(),
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    let name = if named { ", its name" } else { "" };
    writeln!(out, "deleted {subject}: {}, its key{name}; the files were written anew and are on the disk", templates(traces))?;
    writeln!(out, "  looked again: no trace of it in the vault or the file of names, and no byte that spells its id")?;
    for Sought { purpose, searched } in proof {
        match searched {
            Ok(others) => writeln!(out, "  searched for it with its own templates: not found among {others} left for {purpose}")?,
            Err(reason) => writeln!(out, "  not searched for {purpose}, which nobody may be searched for now: {reason}")?,
        }
    }
    writeln!(out, "  {}", service.text())?;
    Ok(())
}
