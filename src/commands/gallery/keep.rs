//! `placard gallery create`, `compact` and `rekey`: the files themselves.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::json;

use super::super::enrol::tell_service;
use super::super::owner::hand_over;
use super::super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::gallery::SubjectId;
use crate::gallery::identities::Identities;
use crate::gallery::vault::Accepted;
use crate::policy::enrolment::EnrolmentDesk;
use crate::policy::profile::Library;
use crate::policy::store::Present;

pub fn create(context: &Context) -> Outcome {
    let present = Present::load(&context.state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
    let library = Library::of_site(&context.state);
    let (vault, key) = super::open(context)?;
    drop(Identities::open(&context.state, &key)?);
    drop(vault);
    hand_over(&context.state)?;
    let clock: SharedClock = SystemClock::shared();
    let mut out = std::io::stdout().lock();
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for fact in present.register().purposes.iter().filter(|f| f.purpose.kind().identifies()) {
        match EnrolmentDesk::of_site(&present, &fact.purpose, clock.clone(), &library) {
            Ok(_) => open.push(fact.purpose.to_string()),
            Err(reason) => closed.push((fact.purpose.to_string(), reason.to_string())),
        }
    }
    if context.json {
        let closed: Vec<_> = closed.iter().map(|(purpose, reason)| json!({ "purpose": purpose, "reason": reason })).collect();
        writeln!(out, "{}", json!({ "outcome": "created", "vault": context.state.vault(), "open": open, "closed": closed }))?;
        return Ok(Exit::Success);
    }
    writeln!(out, "{} and {} are there", context.state.vault().display(), context.state.identities().display())?;
    for purpose in &open {
        writeln!(out, "  {purpose}: `placard enrol --purpose {purpose}` or `placard gallery import` take people in")?;
    }
    for (purpose, reason) in &closed {
        writeln!(out, "  {purpose}: nobody may be enrolled: {reason}")?;
    }
    Ok(Exit::Success)
}

/// `older_vault`: a vault that was put back is taken as the newest there is.
pub fn compact(context: &Context, older_vault: bool) -> Outcome {
    let (mut vault, key) = super::open_existing(context)?;
    let before = bytes(context);
    let mut accepted = Accepted::default();
    if older_vault {
        let names = if context.state.identities().exists() { Some(Identities::open(&context.state, &key)?) } else { None };
        let named: BTreeSet<SubjectId> = names.as_ref().map(Identities::subjects).transpose()?.into_iter().flatten().collect();
        accepted = vault.weigh_older(&named)?;
        // While their names can be read, and before anything is changed: where this cannot be told, nothing is.
        tell_older(context.json, &accepted, names.as_ref())?;
        drop(names);
        vault.accept_older(&accepted)?;
    }
    // Before any name goes.
    vault.in_step()?;
    let Accepted { deleted, lost } = accepted;
    if context.state.identities().exists() {
        let (names, kept) = (Identities::open(&context.state, &key)?, vault.subjects()?);
        names.retain(|subject| kept.contains(subject))?;
        names.rewrite()?;
    }
    let made = vault.rebuild_shards(SystemClock.utc())?;
    vault.rewrite()?;
    tell_service(&context.state);
    let after = bytes(context);
    let mut out = std::io::stdout().lock();
    if context.json {
        let object = json!({
            "outcome": "compacted", "shards": made, "bytes_before": before, "bytes_after": after, "deleted_again": deleted, "lost": lost,
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "{made} shards made anew, the vault and the file of names written anew: {before} bytes before, {after} now")?;
    }
    Ok(Exit::Success)
}

/// Who is deleted again, and who is lost, by name where there is one.
fn tell_older(as_json: bool, accepted: &Accepted, names: Option<&Identities>) -> Result<(), Failed> {
    let name = |subject: &SubjectId| names.and_then(|names| names.name(subject).ok().flatten());
    let mut out = std::io::stdout().lock();
    if as_json {
        let all = |subjects: &BTreeSet<SubjectId>| -> Vec<_> {
            subjects.iter().map(|subject| json!({ "subject": subject, "name": name(subject) })).collect()
        };
        writeln!(out, "{}", json!({ "outcome": "older-vault", "deleted_again": all(&accepted.deleted), "lost": all(&accepted.lost) }))?;
    } else {
        for subject in &accepted.deleted {
            writeln!(out, "deleted since, and deleted again: {subject} {}", name(subject).unwrap_or_default())?;
        }
        for subject in &accepted.lost {
            writeln!(
                out,
                "enrolled since and lost, to be enrolled anew: {subject} {}",
                name(subject).unwrap_or_else(|| "(no name is known)".to_owned())
            )?;
        }
    }
    Ok(out.flush()?)
}

fn bytes(context: &Context) -> u64 {
    let shards = std::fs::read_dir(context.state.shards()).into_iter().flatten().flatten().map(|e| e.path());
    let all = shards.chain([context.state.vault(), context.state.identities()]);
    all.filter_map(|path| std::fs::metadata(path).ok()).map(|m| m.len()).sum()
}

pub fn rekey(context: &Context) -> Outcome {
    let (vault, key) = super::open_existing(context)?;
    let names = if context.state.identities().exists() { Some(Identities::open(&context.state, &key)?) } else { None };
    let keys = vault.rekey(&context.state, &key, names, SystemClock.utc())?;
    tell_service(&context.state);
    let path = context.state.gallery_key();
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", json!({ "outcome": "rekeyed", "keys": keys, "key_file": path }))?;
        return Ok(Exit::Success);
    }
    writeln!(
        out,
        "{keys} keys wrapped anew; no template was opened. From now on the gallery opens with {} and the site's key together",
        path.display()
    )?;
    writeln!(out, "  back that file up as you do the site's key; copies of the gallery from before open with the key from before")?;
    Ok(Exit::Success)
}
