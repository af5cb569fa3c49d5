//! `placard gallery list` and `stats`: who is there, and how many.

use std::io::Write;

use serde_json::{Value, json};

use super::super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock, format_utc};
use crate::gallery::identities::Identities;
use crate::gallery::vault::ShardFacts;
use crate::gallery::{Kept, kept};
use crate::policy::enrolment::Filing;
use crate::policy::facts::Register;
use crate::policy::profile::Library;
use crate::purpose::Purpose;

pub fn list(context: &Context, purpose: Option<&Purpose>, names: bool) -> Outcome {
    let (vault, key) = super::open_existing(context)?;
    let all = vault.list(purpose)?;
    let names = if names && context.state.identities().exists() { Some(Identities::open(&context.state, &key)?) } else { None };
    drop(vault);
    let mut out = std::io::stdout().lock();
    for entry in &all {
        let name = names.as_ref().map(|names| names.name(&entry.subject)).transpose()?.flatten();
        let (from, until) = (format_utc(entry.enrolled_at), format_utc(entry.expires_at));
        if context.json {
            let mut object = json!({
                "subject": entry.subject, "purpose": entry.purpose, "templates": entry.templates, "model": entry.model,
                "channel": entry.channel, "consent": entry.consent, "zones": entry.zones, "enrolled_at": from, "expires_at": until,
            });
            if names.is_some() {
                object["name"] = name.into();
            }
            writeln!(out, "{object}")?;
        } else {
            let name = name.map_or_else(String::new, |name| format!("  {name}"));
            writeln!(out, "{}  {}  {} templates, {}  until {until}{name}", entry.subject, entry.purpose, entry.templates, entry.model)?;
        }
    }
    if !context.json {
        writeln!(out, "{} subjects", all.len())?;
    }
    Ok(Exit::Success)
}

/// What a purpose holds.
struct Row {
    purpose: Purpose,
    subjects: usize,
    templates: usize,
    version: u64,
    cap: Option<u32>,
}

/// What the site's regimes let anybody store without a filing.
fn filing(context: &Context, register: &Register) -> Option<Filing> {
    let regime = Library::of_site(&context.state).regime_of(register, SystemClock.utc()).ok();
    regime.and_then(|regime| Filing::of(&regime.values))
}

/// After somebody was enrolled: says it where a filing is near.
pub(in crate::commands) fn warn_of_filing(context: &Context) -> Result<(), Failed> {
    let register = Register::load(&context.state.register()).unwrap_or_default();
    let Some(filing) = filing(context, &register) else { return Ok(()) };
    let (vault, _) = super::open_existing(context)?;
    if let Some(warning) = filing.warning(vault.subjects()?.len()) {
        tracing::warn!("{warning}");
    }
    Ok(())
}

pub fn stats(context: &Context) -> Outcome {
    let (vault, _) = super::open_existing(context)?;
    let register = Register::load(&context.state.register()).unwrap_or_default();
    let mut rows = Vec::new();
    for (purpose, version) in vault.purposes()? {
        let enrolled = vault.list(Some(&purpose))?;
        let cap = register.purposes.iter().filter(|f| f.purpose == purpose).filter_map(|f| f.gallery_cap).min();
        rows.push(Row { subjects: enrolled.len(), templates: enrolled.iter().map(|e| e.templates).sum(), purpose, version, cap });
    }
    let persons = vault.subjects()?.len();
    let shards = vault.shards()?;
    drop(vault);
    let filing = filing(context, &register);
    show(context.json, persons, filing, &rows, &shards)?;
    Ok(Exit::Success)
}

fn show(as_json: bool, persons: usize, filing: Option<Filing>, rows: &[Row], shards: &[ShardFacts]) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let row =
            |r: &Row| json!({ "purpose": r.purpose, "subjects": r.subjects, "templates": r.templates, "version": r.version, "cap": r.cap });
        let filing =
            filing.map(|f| json!({ "persons": f.persons, "warn_at": f.warn_at(), "left": (f.persons as usize).saturating_sub(persons), "warning": f.warning(persons) }));
        let object = json!({
            "outcome": "counted", "persons": persons, "filing": filing,
            "purposes": rows.iter().map(row).collect::<Vec<Value>>(), "shards": shards, "memory": memory(shards),
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    let limit = filing.map_or("no limit by the site's regimes".to_owned(), |f| format!("{} before a filing is needed", f.persons));
    writeln!(out, "{persons} persons stored; {limit}")?;
    if let Some(warning) = filing.and_then(|f| f.warning(persons)) {
        writeln!(out, "NEAR THE LIMIT: {warning}")?;
    }
    for Row { purpose, subjects, templates, version, cap } in rows {
        let cap = cap.map_or_else(String::new, |cap| format!(", room for {cap}"));
        writeln!(out, "  {purpose}: {subjects} subjects, {templates} templates, version {version}{cap}")?;
    }
    let kept = match memory(shards) {
        Kept::Secret => "secret (memfd_secret): in no map but the process's own",
        Kept::Locked => "locked, left out of core dumps",
        Kept::Swappable => "NOT locked: it may be swapped out; raise LimitMEMLOCK of the unit, or turn swap off",
    };
    writeln!(out, "  in this user's memory a gallery of that size would be {kept}")?;
    for shard in shards {
        let state = if shard.fresh { "in use" } else { "behind the vault" };
        writeln!(out, "  {}: {} of {} templates, {} bytes, {state}", shard.file.display(), shard.templates, shard.slots, shard.bytes)?;
    }
    Ok(())
}

/// How the largest of them would be kept in the memory of a process of this user's; tried.
fn memory(shards: &[ShardFacts]) -> Kept {
    let largest = shards.iter().max_by_key(|shard| shard.templates);
    largest.map_or_else(|| kept(512, 1), |shard| kept(shard.dim as usize, shard.templates as usize))
}
