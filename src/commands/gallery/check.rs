//! `placard gallery check`: every page, key, row, block and digest is looked at; what is wrong is named by file, block and slot, with what to do.

use std::io::Write;

use anyhow::anyhow;
use serde_json::json;

use super::super::{Context, Exit, Failed, Outcome};
use crate::gallery::identities::Identities;
use crate::gallery::vault::{Checked, Found};

pub fn run(context: &Context) -> Outcome {
    let (mut vault, key) = super::open_existing(context)?;
    let mut checked = vault.check()?;
    if context.state.identities().exists() {
        let (names, kept) = (Identities::open(&context.state, &key)?, vault.subjects()?);
        let of_file = |place: String, what: String, remedy: &str, damage| Found {
            file: context.state.identities(),
            place,
            what,
            remedy: remedy.to_owned(),
            damage,
        };
        if names.is_under_site_key()? && context.state.gallery_key().exists() {
            let what = "is under the site's key alone, though the gallery was re-keyed";
            checked.found.push(of_file("key-1".to_owned(), what.to_owned(), "`placard gallery rekey` puts it under both", false));
        }
        for subject in names.subjects()? {
            if let Err(error) = names.name(&subject) {
                let remedy = "`placard delete` the subject and enrol it anew: nobody can read the name";
                checked.found.push(of_file(format!("names-1 {subject}"), error.to_string(), remedy, true));
            }
            if !kept.contains(&subject) {
                let what = "is a name of nobody who is enrolled: an enrolment or a deletion was cut short";
                let remedy = "the next enrolment removes it, or `placard gallery compact`";
                checked.found.push(of_file(format!("names-1 {subject}"), what.to_owned(), remedy, false));
            }
        }
    }
    show(context.json, &checked)?;
    if checked.damaged() {
        let damage = checked.found.iter().filter(|f| f.damage).count();
        return Err(Failed::new(Exit::Missing, anyhow!("{damage} findings of damage; the rest is whole and goes on being searched")));
    }
    Ok(Exit::Success)
}

fn show(as_json: bool, checked: &Checked) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    let Checked { subjects, rows, shards, shard_rows, found } = checked;
    if as_json {
        let outcome = if checked.damaged() { "damaged" } else { "whole" };
        let object = json!({
            "outcome": outcome, "subjects": subjects, "templates": rows, "shards": shards, "shard_templates": shard_rows, "found": found,
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    for Found { file, place, what, remedy, damage } in found {
        let kind = if *damage { "DAMAGE" } else { "note" };
        writeln!(out, "{kind}  {}: {place} {what}\n        {remedy}", file.display())?;
    }
    writeln!(
        out,
        "{subjects} subjects, {rows} templates in the vault, {shard_rows} in {shards} shards: {}",
        match found.len() {
            0 => "whole".to_owned(),
            count => format!("{count} findings"),
        }
    )?;
    Ok(())
}
