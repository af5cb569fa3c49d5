//! `placard record`: what was refused, and what was erased when its time was over, oldest first; and whether the record is whole.

use std::io::Write;

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

/// Says no, and keeps that it was said.
pub(super) fn refused(context: &Context, purpose: &Purpose, reason: &Reason) -> Failed {
    let entry = Entry { purpose: purpose.to_string(), by: super::change::login(), ..Entry::refused(reason.rule.name(), &reason.fact) };
    Record::of(&context.state).note(entry, SystemClock.utc());
    Failed::new(Exit::Refused, anyhow::anyhow!("refused: {reason}"))
}
