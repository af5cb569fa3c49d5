//! `placard gallery create` and `compact`: the files themselves.

use std::io::Write;

use serde_json::json;

use super::super::enrol::tell_service;
use super::super::owner::hand_over;
use super::super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::gallery::identities::Identities;
use crate::policy::enrolment::EnrolmentDesk;
use crate::policy::facts::Register;

pub fn create(context: &Context) -> Outcome {
    let register = Register::load(&context.state.register()).map_err(|e| Failed::new(Exit::Config, e))?;
    let (vault, key) = super::open(context)?;
    drop(Identities::open(&context.state, &key)?);
    drop(vault);
    hand_over(&context.state)?;
    let clock: SharedClock = SystemClock::shared();
    let mut out = std::io::stdout().lock();
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for fact in register.purposes.iter().filter(|f| f.purpose.kind().identifies()) {
        match EnrolmentDesk::open(&register, &fact.purpose, clock.clone()) {
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

pub fn compact(context: &Context) -> Outcome {
    let (vault, key) = super::open_existing(context)?;
    let before = bytes(context);
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
        writeln!(out, "{}", json!({ "outcome": "compacted", "shards": made, "bytes_before": before, "bytes_after": after }))?;
    } else {
        writeln!(out, "{made} shards made anew, the vault and the file of names written anew: {before} bytes before, {after} now")?;
    }
    Ok(Exit::Success)
}

fn bytes(context: &Context) -> u64 {
    let shards = std::fs::read_dir(context.state.shards()).into_iter().flatten().flatten().map(|e| e.path());
    let all = shards.chain([context.state.vault(), context.state.identities()]);
    all.filter_map(|path| std::fs::metadata(path).ok()).map(|m| m.len()).sum()
}
