//! What `placard gallery import` prints: whoever was refused, whoever is known elsewhere, and sums.

use std::io::Write;

use serde_json::json;

use super::{Enrolled, Told};
use crate::clock::format_utc;
use crate::commands::Failed;
use crate::purpose::Purpose;

pub(super) fn person(as_json: bool, purpose: &Purpose, (person, became): &Told) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    match became {
        Ok(Enrolled { subject, expires_at, also }) if as_json => {
            let until = format_utc(*expires_at);
            let object = json!({
                "outcome": "enrolled", "subject": subject, "name": person.name, "purpose": purpose, "expires_at": until, "also": also,
            });
            writeln!(out, "{object}")?;
        }
        // A hundred thousand lines tell an operator nothing.
        Ok(Enrolled { subject, also, .. }) => {
            also.iter().try_for_each(|also| writeln!(out, "enrolled {} (line {}) as {subject}: {also}", person.name, person.line))?;
        }
        Err(why) if as_json => {
            let object = json!({ "outcome": "refused", "name": person.name, "line": person.line, "purpose": purpose, "reason": why });
            writeln!(out, "{object}")?;
        }
        Err(why) => writeln!(out, "refused {} (line {}): {why}", person.name, person.line)?,
    }
    out.flush()?;
    Ok(())
}

pub(super) fn done_before(as_json: bool, purpose: &Purpose, people: usize) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!({ "outcome": "done-before", "purpose": purpose, "people": people }))?;
    } else {
        let all = format!("all {people} people of these files were dealt with by an import before: there is nothing to do");
        writeln!(out, "{all} (`placard gallery list` shows who is there; --again imports them anew)")?;
    }
    Ok(())
}

pub(super) fn sum(as_json: bool, enrolled: u64, refused: u64, before: usize) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!({ "outcome": "sum", "enrolled": enrolled, "refused": refused, "before": before }))?;
    } else {
        let before = if before > 0 { format!("; {before} were dealt with by an import of the same files before") } else { String::new() };
        writeln!(out, "{enrolled} enrolled, {refused} refused{before}")?;
    }
    Ok(())
}
