//! `placard policy explain STREAM`: one screen.

use std::fmt::Write;

use serde_json::json;

use super::{Said, config, library, table};
use crate::clock::{Clock, Stamp, SystemClock, Utc, format_utc};
use crate::commands::status::rows::wrapped;
use crate::commands::{Context, Exit, Failed};
use crate::console::client::Client;
use crate::console::view::{StatusView, StreamView};
use crate::policy::cedar::{CedarPlane, Opinion};
use crate::policy::facts::Register;
use crate::policy::observed::Moment;
use crate::policy::rules::{Decision, DecisionPlane};
use crate::policy::store::Present;
use crate::policy::wall_clock::not_before;
use crate::policy::when::When;
use crate::purpose::Purpose;

const WIDTH: usize = 100;

/// Everything there is to say about one stream at one time.
struct Explained {
    stream: String,
    at: Stamp<Utc>,
    decision: Decision,
    /// Each purpose of the stream's zones by itself.
    purposes: Vec<(String, Decision)>,
    opinions: Vec<Opinion>,
    regimes: Vec<String>,
    /// What the running service says; it alone knows what cameras and gates have seen.
    running: Option<StreamView>,
}

pub(super) fn explain(context: &Context, stream: &str, purpose: Option<&Purpose>, at: Option<&When>) -> Said {
    let now = at.map_or_else(|| SystemClock.utc(), When::at);
    let plane = CedarPlane::new(library(context));
    let present = Present::load(&context.state.register()).map_err(config)?;
    let mut explained = look(&plane, present.register(), stream, purpose, now)?;
    if at.is_none()
        && let Err(reason) = not_before(now, present.chain().signed_at())
    {
        explained.decision = Decision::off(reason);
    }
    // Nobody running is no error: the facts say what they say.
    explained.running = if at.is_none() { running(context, stream) } else { None };
    Ok((if context.json { as_json(&explained) } else { as_text(&explained) }, Exit::Success))
}

fn running(context: &Context, stream: &str) -> Option<StreamView> {
    let status: StatusView = Client::new(context.state.control_socket()).ok()?.get("/v1/status").ok()?;
    status.streams.into_iter().find(|s| s.name == stream)
}

fn look(plane: &CedarPlane, register: &Register, stream: &str, only: Option<&Purpose>, now: Stamp<Utc>) -> Result<Explained, Failed> {
    let mut register = register.clone();
    if let Some(only) = only {
        register.purposes.retain(|p| p.purpose == *only);
    }
    let moment = Moment::unobserved(now);
    let here = |zone: &String| register.areas.iter().any(|a| a.stream == stream && a.zone == *zone);
    let mut names: Vec<Purpose> = Vec::new();
    for fact in register.purposes.iter().filter(|p| p.zones.iter().any(here)) {
        if !names.contains(&fact.purpose) {
            names.push(fact.purpose.clone());
        }
    }
    let mut purposes = Vec::new();
    for name in names {
        let mut alone = register.clone();
        alone.purposes.retain(|p| p.purpose == name);
        purposes.push((name.to_string(), plane.decide(&alone, stream, moment)?));
    }
    let regime = plane.library().regime_of(&register, now);
    let regimes = match &regime {
        Ok(regime) => regime.profiles.iter().map(|p| format!("{} {}", p.id, p.version_text)).collect(),
        Err(reason) => vec![format!("refused: {}", reason.fact)],
    };
    let opinions = plane.opinions(&register, stream, moment)?;
    let decision = plane.decide(&register, stream, moment)?;
    Ok(Explained { stream: stream.to_owned(), at: now, decision, purposes, opinions, regimes, running: None })
}

fn as_json(e: &Explained) -> String {
    let next = |d: &Decision| d.next_change.map(format_utc);
    let purposes: Vec<_> = e
        .purposes
        .iter()
        .map(|(name, d)| json!({ "purpose": name, "granted": !d.grants.is_empty(), "reason": d.reason, "next_change": next(d) }))
        .collect();
    let said = json!({
        "stream": e.stream, "at": format_utc(e.at), "state": e.decision.state, "reason": e.decision.reason, "next_change": next(&e.decision),
        "grants": e.decision.grants, "regimes": e.regimes, "purposes": purposes, "opinions": e.opinions,
        "running": e.running.as_ref().map(|r| json!({ "state": r.state, "reason": r.reason })),
    });
    format!("{said}\n")
}

fn as_text(e: &Explained) -> String {
    let mut text = format!("{} at {}: {}\n", e.stream, format_utc(e.at), e.decision.state.name());
    let mut say = |label: &str, words: &str| {
        for (i, line) in wrapped(words, 11, WIDTH).into_iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let _infallible = writeln!(text, "  {label:<8} {}", line.trim_start());
        }
    };
    let reason = &e.decision.reason;
    say("why", &reason.fact);
    say("rule", reason.rule.name());
    if !reason.remedy.is_empty() {
        say("change", &reason.remedy);
    }
    say(
        "next",
        &e.decision
            .next_change
            .map_or_else(|| "nothing changes by time alone".to_owned(), |t| format!("changes by itself at {}", format_utc(t))),
    );
    say("regimes", &e.regimes.join(", "));
    match &e.running {
        Some(running) => say("service", &format!("in force now: {}; {}", running.state, running.reason)),
        None => say("service", "not asked or not running: what cameras and gates have seen is not part of this answer"),
    }
    if !e.purposes.is_empty() {
        text.push_str("\nPURPOSES\n");
        for (name, decision) in &e.purposes {
            let verdict = if decision.grants.is_empty() { "no " } else { "yes" };
            let _infallible = writeln!(text, "  {verdict}  {name}");
            for line in wrapped(&decision.reason.to_string(), 7, WIDTH) {
                let _infallible = writeln!(text, "{line}");
            }
        }
    }
    if !e.opinions.is_empty() {
        let _infallible = write!(text, "\n{}", opinions(&e.opinions));
    }
    text
}

/// One row a zone and action, one column a regime.
fn opinions(all: &[Opinion]) -> String {
    let mut profiles: Vec<&str> = Vec::new();
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for o in all {
        if !profiles.contains(&o.profile.as_str()) {
            profiles.push(&o.profile);
        }
        let what = o.purpose.as_ref().map_or_else(|| o.action.to_owned(), |p| format!("{} {p}", o.action));
        let key = format!("{}\u{0}{what}", o.zone);
        let said = match (o.permitted, o.policies.first()) {
            (true, _) => "yes".to_owned(),
            (false, None) => "no".to_owned(),
            (false, Some(policy)) => format!("no: {policy}"),
        };
        match rows.last_mut().filter(|(last, cells)| *last == key && cells.len() < profiles.len() + 3) {
            Some((_, cells)) => cells.push(said),
            None => {
                let rules = if o.rules { "yes" } else { "no" }.to_owned();
                rows.push((key, vec![o.zone.clone(), what, rules, said]));
            }
        }
    }
    let head: Vec<String> = ["ZONE", "ACTION", "RULES"].into_iter().chain(profiles).map(str::to_owned).collect();
    table(&std::iter::once(head).chain(rows.into_iter().map(|(_, cells)| cells)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::testing::good;

    fn at(text: &str) -> Stamp<Utc> {
        text.parse::<When>().expect("date").at()
    }

    #[test]
    fn one_screen_says_state_rule_fact_change_and_what_each_regime_says() {
        let (plane, mut register) = (CedarPlane::bundled(), good());
        register.rules.profiles = vec!["cn-pipl".to_owned()];
        let refused = as_text(&look(&plane, &register, "north", None, at("2026-11-21T12:00:00Z")).expect("looks"));
        assert!(refused.starts_with("north at 2026-11-21T12:00:00.000Z: off\n"), "{refused}");
        assert!(refused.contains("rule     governance-recorded") && refused.contains("change   record the decision"), "{refused}");
        assert!(refused.contains("regimes  baseline 2026.1, cn-pipl 2026.1") && refused.contains("ZONE  ACTION   RULES"), "{refused}");
        assert!(refused.lines().count() < 24 && refused.lines().all(|l| l.chars().count() <= WIDTH), "{refused}");
        register.rules.profiles.clear();
        let granted = look(&plane, &register, "north", None, at("2026-11-21T12:00:00Z")).expect("looks");
        let text = as_text(&granted);
        assert!(text.contains("recognise missing-person:mp-7  yes    yes"), "{text}");
        assert!(text.contains("changes by itself at 2026-12-15T00:00:00.000Z"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&as_json(&granted)).expect("JSON");
        assert_eq!((&json["state"], &json["reason"]["rule"]), (&json!("recognise"), &json!("granted")));
        let ended = look(&plane, &register, "north", None, at("2026-12-16")).expect("looks");
        assert_eq!(ended.purposes[0].1.reason.rule.name(), "basis-in-force");
        let other: Purpose = "crime-prevention:c".parse().expect("purpose");
        let other = look(&plane, &register, "north", Some(&other), at("2026-11-21T12:00:00Z")).expect("looks");
        assert_eq!(other.decision.reason.rule.name(), "purpose-named");
    }
}
