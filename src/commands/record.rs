//! `placard record`: what was refused, who was searched for with a picture, and what was erased when its time was over, oldest first; and whether the record is whole.

use std::io::Write;
use std::path::PathBuf;

use super::portrait::Refusal;
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock as _, SystemClock};
use crate::emit::record::{Entry, Record};
use crate::policy::rules::Reason;
use crate::purpose::Purpose;
use crate::state::StateDirectory;

#[derive(clap::Args)]
pub struct Args {
    /// The newest that many lines.
    #[arg(long, value_name = "N", default_value_t = 50)]
    last: usize,
}

/// Exit status 1 where a line does not hold.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let record = Record::of(&context.state);
    let failed = |error: std::io::Error| Failed::new(Exit::Missing, anyhow::anyhow!("{}: {error}", record.path().display()));
    let (entries, broken) = record.read().map_err(failed)?;
    let shown = &entries[entries.len().saturating_sub(args.last)..];
    let mut out = std::io::stdout().lock();
    if context.json {
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        writeln!(out, "{}", serde_json::json!({ "entries": shown, "of": entries.len(), "broken": broken }))?;
    } else {
        for Entry { at, what, rule, fact, purpose, stream, by, .. } in shown {
            let about: Vec<&str> = [purpose, stream, by].into_iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
            writeln!(
                out,
                "{at}  {what:<8} [{rule}] {}{}{}",
                fact.escape_debug(),
                if about.is_empty() { "" } else { "  " },
                about.join(" · ").escape_debug()
            )?;
        }
        if entries.is_empty() {
            writeln!(out, "nothing was refused or erased yet")?;
        }
        for fault in &broken {
            writeln!(out, "DOES NOT HOLD: {fault}")?;
        }
    }
    Ok(if broken.is_empty() { Exit::Success } else { Exit::Failure })
}

/// Keeps that the time of `count` subjects was over, and that they are gone.
pub(in crate::commands) fn erased(state: &StateDirectory, count: usize) {
    Record::of(state).note(Entry::subjects_over(count), SystemClock.utc());
}

/// Why somebody's face was not looked at, or not enrolled.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("refused: {0}")]
    Rule(Reason),
    #[error("{}: {refusal}", image.display())]
    Picture { image: PathBuf, refusal: Refusal },
}

impl Refused {
    /// Whose rule it was, if it was one.
    pub(super) const fn rule(&self) -> Option<&Reason> {
        match self {
            Self::Rule(reason) => Some(reason),
            Self::Picture { .. } => None,
        }
    }

    /// The rule's or the fault's name, and the fact; no file's name, which may be a person's.
    fn said(&self) -> (&'static str, String) {
        match self {
            Self::Rule(reason) => (reason.rule.name(), reason.fact.clone()),
            Self::Picture { refusal, .. } => (refusal.view().code, refusal.to_string()),
        }
    }
}

/// A rule says no.
pub(super) fn refused(reason: Reason) -> Failed {
    Failed::new(Exit::Refused, Refused::Rule(reason))
}

/// Does what was asked of people's faces for `purpose`; where it is refused, that is kept, whatever refused it.
pub(super) fn noting(context: &Context, purpose: &Purpose, asked: impl FnOnce() -> Outcome) -> Outcome {
    asked().inspect_err(|failed| {
        if failed.exit == Exit::Refused {
            let (rule, fact) = failed.error.downcast_ref().map_or_else(|| ("refused", failed.message()), Refused::said);
            keep_refusals(&context.state, purpose, vec![(rule, fact)]);
        }
    })
}

/// Keeps who was refused, and why: the rule's or the fault's name, and the fact.
pub(super) fn keep_refusals(state: &StateDirectory, purpose: &Purpose, refusals: Vec<(&str, String)>) {
    let (purpose, by) = (purpose.to_string(), super::change::login());
    let entry = |(rule, fact)| Entry { purpose: purpose.clone(), by: by.clone(), ..Entry::refused(rule, fact) };
    Record::of(state).note_all(refusals.into_iter().map(entry).collect(), SystemClock.utc());
}

/// Keeps that a gallery was searched with somebody's picture. What cannot be kept is not shown.
pub(super) fn searched(state: &StateDirectory, purpose: &Purpose, fact: String) -> Result<(), Failed> {
    let (record, entry) = (Record::of(state), Entry { by: super::change::login(), ..Entry::searched(purpose, fact) });
    let failed = |error| {
        let why = anyhow::anyhow!("{}: {error}: the search cannot be put on record, so nothing of it is shown", record.path().display());
        Failed::new(Exit::Failure, why)
    };
    record.append(entry, SystemClock.utc()).map_err(failed)
}
