//! `placard policy simulate`: which events of a journal would not have been, had another profile been in force.
//!
//! Each event is held against the register as it was at the time of the event, with the other profile added to the register's own: an
//! event that the register itself does not account for is told apart. What did not happen leaves no event, so a looser profile shows
//! nothing here (`placard policy diff` does).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Said, config, diff, library, table};
use crate::clock::{Stamp, Utc};
use crate::commands::{Context, Exit};
use crate::policy::cedar::CedarPlane;
use crate::policy::facts::Register;
use crate::policy::observed::Observed;
use crate::policy::profile::Profile;
use crate::policy::rules::{DecisionPlane, PlaneError, Reason};
use crate::policy::store::Present;
use crate::policy::when::When;

/// What the events of one stream and purpose come to.
#[derive(Default)]
struct Told {
    events: u64,
    refused: u64,
    /// Refused by the register as it was, whatever the profile.
    refused_anyway: u64,
    reason: Option<Reason>,
    first_refused: String,
}

pub(super) fn simulate(context: &Context, profile: &str, journal: &Path, (from, to): (Option<&When>, Option<&When>)) -> Said {
    let (past, added) = (Present::history(&context.state.register()).map_err(config)?, diff::profile(context, profile)?);
    let file = std::fs::File::open(journal).map_err(|e| config(anyhow::anyhow!("{}: cannot be read ({e})", journal.display())))?;
    let within = |t: Stamp<Utc>| from.is_none_or(|f| t >= f.at()) && to.is_none_or(|u| t < u.at());
    let plane = CedarPlane::new(library(context));
    let (mut told, mut unread) = (BTreeMap::new(), 0_u64);
    for line in BufReader::new(file).lines() {
        match event(&line?) {
            Some((at, stream, purpose)) if within(at) => hold(&plane, &past, &added, (at, stream, purpose), &mut told)?,
            Some(_) => {}
            None => unread += 1,
        }
    }
    Ok((if context.json { as_json(&told, unread) } else { as_text(&told, unread, &added.id) }, Exit::Success))
}

/// When an event was decided, on which stream, for what.
fn event(line: &str) -> Option<(Stamp<Utc>, String, String)> {
    // A line may carry its checksum before or after the object.
    let object = line.get(line.find('{')?..=line.rfind('}')?)?;
    let event: Value = serde_json::from_str(object).ok()?;
    let text = |key: &str| event.get(key)?.as_str().map(str::to_owned);
    Some((text("decided_at")?.parse::<When>().ok()?.at(), text("stream")?, text("purpose")?))
}

type All = BTreeMap<(String, String), Told>;

fn hold(
    plane: &CedarPlane,
    past: &[(Stamp<Utc>, Register)],
    added: &Arc<Profile>,
    (at, stream, purpose): (Stamp<Utc>, String, String),
    all: &mut All,
) -> Result<(), PlaneError> {
    // Before its founding there was none, and none accounts for anything.
    let none = Register::default();
    let register = past.iter().rev().find(|(recorded_at, _)| *recorded_at <= at).map_or(&none, |(_, register)| register);
    // It was decided once, so cameras, signs and ways in were as they should be.
    let observed = Observed::all_well(register);
    let moment = observed.on(at);
    let granted = |d: &crate::policy::rules::Decision| d.grants.iter().any(|g| g.purpose.to_string() == purpose);
    let (before, after) = (plane.decide(register, &stream, moment)?, plane.decide_with(register, added, &stream, moment)?);
    let told = all.entry((stream.clone(), purpose.clone())).or_default();
    told.events += 1;
    if !granted(&before) {
        told.refused_anyway += 1;
    } else if !granted(&after) {
        told.refused += 1;
        if told.reason.is_none() {
            told.first_refused = crate::clock::format_utc(at);
            told.reason = Some(after.reason);
        }
    }
    Ok(())
}

fn as_json(all: &All, unread: u64) -> String {
    let line = |((stream, purpose), t): (&(String, String), &Told)| {
        let said = json!({
            "stream": stream, "purpose": purpose, "events": t.events, "would_be_refused": t.refused,
            "refused_by_the_register_of_the_time": t.refused_anyway, "first": t.first_refused, "reason": t.reason,
        });
        format!("{said}\n")
    };
    all.iter().map(line).chain(std::iter::once(format!("{}\n", json!({ "lines_not_read": unread })))).collect()
}

fn as_text(all: &All, unread: u64, profile: &str) -> String {
    let heads = ["STREAM", "PURPOSE", "EVENTS", "NOT WITH IT", "NOT ANYWAY", "WHY"];
    let row = |((stream, purpose), t): (&(String, String), &Told)| {
        let why = t.reason.as_ref().map_or_else(String::new, |r| format!("from {}: {r}", t.first_refused));
        vec![stream.clone(), purpose.clone(), t.events.to_string(), t.refused.to_string(), t.refused_anyway.to_string(), why]
    };
    let rows: Vec<Vec<String>> = std::iter::once(heads.map(str::to_owned).to_vec()).chain(all.iter().map(row)).collect();
    let unread = if unread > 0 { format!("{unread} lines are no events and were not read.\n") } else { String::new() };
    format!(
        "Events that would not have been, had `{profile}` been in force. NOT ANYWAY: the register, as it was at their time, does not account\n\
         for them; what cameras and gates saw then is not known, so gates that need another way in stand there.\n\n{}{unread}",
        table(&rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::testing::good;
    use crate::policy::profile::Library;

    #[test]
    fn events_are_held_against_another_profile() {
        let line = r#"{"id":"x","stream":"north","purpose":"missing-person:mp-7","decided_at":"2026-11-21T12:00:00.000Z"}"#;
        let read = event(line).expect("an event");
        assert_eq!((read.1.as_str(), read.2.as_str()), ("north", "missing-person:mp-7"));
        assert!(event("garbage").is_none() && event("{}").is_none());
        let (plane, mut all) = (CedarPlane::bundled(), All::new());
        let china = Library::bundled().profile("cn-pipl").expect("bundled");
        let on = |date: &str| date.parse::<When>().expect("date").at();
        // In force on the day of the event, and no more when somebody asks.
        let mut since = good();
        since.purposes.clear();
        let past = [(on("2026-11-20"), good()), (on("2026-12-01"), since)];
        hold(&plane, &past, &china, read.clone(), &mut all).expect("held");
        let later = (on("2026-12-02"), read.1.clone(), read.2.clone());
        hold(&plane, &past, &china, later, &mut all).expect("held");
        let before = (on("2026-11-19"), read.1, read.2);
        hold(&plane, &past, &china, before, &mut all).expect("held");
        let told = all.values().next().expect("one");
        assert_eq!((told.events, told.refused, told.refused_anyway), (3, 1, 2));
        assert!(as_text(&all, 1, "cn-pipl").contains("nothing is recorded of who decided"), "{}", as_text(&all, 1, "cn-pipl"));
    }
}
