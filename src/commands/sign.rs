//! `placard sign`: list the signs, add one (`enter.rs`), withdraw one, post it again, record that one was inspected; what they say and the signs themselves (`print.rs`), and where cameras see them (`view.rs`).
//!
//! Where the service runs it is told through its control socket, so that a withdrawal takes effect before this command returns; where it
//! does not, the register's file is changed. A withdrawal never fails for want of a well service: if the socket does not answer, the file
//! is changed all the same, and the policy thread reads it within 40 ms or has lost its leases already.

mod enter;
mod photo;
mod print;
mod view;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::change::{login, outcome_text};
use super::fact::present;
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, Stamp, SystemClock, Utc, format_utc};
use crate::console::client::{Client, ClientError, segment};
use crate::console::view::SignView;
use crate::policy::facts::{Objection, Posting, Register, Withdrawal};
use crate::policy::inspection::{Inspection, NotInspected, record_inspection};
use crate::policy::rules::sign_holds;
use crate::policy::store::{Hold, Outcome as Recorded, StoreError};
use crate::policy::when::When;
use crate::policy::worker::{record_posting, record_withdrawal};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List the signs and whether each counts.
    List,
    /// Propose a sign: with the words that it has to say in its zone, or as a file has it.
    Add(enter::AddArgs),
    /// Propose that a sign goes from the register (`withdraw` stops at once).
    Remove(enter::RemoveArgs),
    /// A sign is gone, covered or wrong: whatever rests on it ends at once.
    Withdraw {
        /// The sign's id (`placard sign list`).
        id: String,
        /// Who says so.
        #[arg(long, value_name = "WHO")]
        by: Option<String>,
        /// Why.
        #[arg(long, default_value = "", value_name = "TEXT")]
        reason: String,
    },
    /// A withdrawn sign hangs again; it counts once somebody has inspected it.
    Post {
        /// The sign's id.
        id: String,
        /// Who says so.
        #[arg(long, value_name = "WHO")]
        by: Option<String>,
    },
    /// Somebody saw the sign in its place, whole and legible: it counts for as long as the register lets an inspection hold.
    Inspect {
        /// The sign's id.
        id: String,
        /// Who saw it.
        #[arg(long, value_name = "WHO")]
        by: String,
        /// A photograph of the sign in its place; its SHA-256 is recorded, the picture is not kept.
        #[arg(long, value_name = "FILE")]
        photo: Option<PathBuf>,
        /// When it was seen, if not now: 2026-11-21T08:30:00+08:00.
        #[arg(long, value_name = "TIME")]
        at: Option<When>,
    },
    /// Whether a photograph is the one that a sign's inspection was recorded with, unaltered.
    Photo(photo::Args),
    /// The words that a sign has to say, as they are to stand in the register.
    Text(print::TextArgs),
    /// Draw a sign as SVG and PDF: its words, whose it is, what rights there are, and a code that only this site can make.
    Print(print::PrintArgs),
    /// Learn from a stream's pictures where its sign hangs; from then on the stream is dark while its code cannot be read there.
    View(view::Args),
    /// Show the public key that this site's codes are checked with.
    Key,
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let done = match args.action {
        Action::List => return list(context),
        Action::Photo(args) => return photo::run(context, &args),
        Action::Add(args) => return enter::add(context, args),
        Action::Remove(args) => return enter::remove(context, &args),
        Action::Text(args) => return print::text(context, &args),
        Action::Print(args) => return print::print(context, &args),
        Action::View(args) => return view::run(context, &args),
        Action::Key => return print::key(context),
        Action::Withdraw { id, by, reason } => withdraw(context, &id, &named(by.unwrap_or_else(login))?, &reason)?,
        Action::Post { id, by } => post(context, &id, &named(by.unwrap_or_else(login))?)?,
        Action::Inspect { id, by, photo, at } => inspect(context, &id, &named(by)?, photo.as_deref(), at)?,
    };
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", done.json)?;
    } else {
        writeln!(out, "{}", done.text)?;
    }
    Ok(Exit::Success)
}

/// What is printed at the end, in both forms.
struct Done {
    text: String,
    json: Value,
}

/// Nobody's word is no record.
fn named(by: String) -> Result<String, Failed> {
    if by.trim().is_empty() { Err(Failed::new(Exit::Usage, anyhow::anyhow!("--by is blank: say who"))) } else { Ok(by) }
}

fn unknown(id: &str, nearest: Option<String>) -> Failed {
    let hint = nearest.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
    Failed::new(Exit::Usage, anyhow::anyhow!("there is no sign `{id}`{hint}"))
}

/// From the file; through the service where this user may not read the site's key.
fn load(context: &Context) -> Result<Register, Failed> {
    match Register::load(&context.state.register()) {
        Err(error @ (StoreError::NoIdentity { .. } | StoreError::File { .. })) => {
            present(context).map(|(register, _)| register).map_err(|_| Failed::new(Exit::Config, error))
        }
        other => other.map_err(|e| Failed::new(Exit::Config, e)),
    }
}

/// `Ok(None)`: nobody could be asked.
fn ask_service(context: &Context, path: &str) -> Result<Option<SignView>, Failed> {
    let asked = Client::new(context.state.control_socket()).and_then(|c| c.post::<SignView>(path));
    match asked {
        Ok(view) => Ok(Some(view)),
        Err(ClientError::Declined { kind, message, .. }) => {
            let exit = match kind.as_str() {
                "not-found" => Exit::Usage,
                "refused" => Exit::Refused,
                _ => Exit::Failure,
            };
            Err(Failed::new(exit, anyhow::anyhow!(message)))
        }
        Err(ClientError::NotRunning { .. }) => Ok(None),
        Err(other) => {
            tracing::warn!(error = %other, "the service could not be asked; the register's file is changed instead");
            Ok(None)
        }
    }
}

fn withdraw(context: &Context, id: &str, by: &str, reason: &str) -> Result<Done, Failed> {
    let asked_at = SystemClock.monotonic();
    let path = format!("/v1/signs/{}/withdraw?by={}&reason={}", segment(id), segment(by), segment(reason));
    if let Some(view) = ask_service(context, &path)? {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since boot")]
        let dark_after_ms = (view.at_monotonic_ms - asked_at.ns() as f64 / 1e6).max(0.0);
        let held = held(&load(context).unwrap_or_default(), id);
        let text = format!("sign `{id}` withdrawn; dark after {dark_after_ms:.1} ms: {}{}", names(&view.streams), held_text(&held));
        let json = json!({
            "sign": id, "state": "withdrawn", "streams": view.streams, "held": held, "dark_after_ms": dark_after_ms, "service": true,
        });
        return Ok(Done { text, json });
    }
    let withdrawal = Withdrawal { at: When::from_stamp(SystemClock.utc()), by: by.to_owned(), reason: reason.to_owned() };
    let recorded = record_withdrawal(&context.state.register(), id, &withdrawal).map_err(|e| Failed::new(Exit::Config, e))?;
    recorded.map_err(|nearest| unknown(id, nearest))?;
    let register = load(context)?;
    let (streams, held) = (streams_of(&register, id), held(&register, id));
    let text = format!("sign `{id}` withdrawn in the register (no service answered): {}{}", names(&streams), held_text(&held));
    Ok(Done { text, json: json!({ "sign": id, "state": "withdrawn", "streams": streams, "held": held, "service": false }) })
}

/// Objections by which a stop paused streams that show the sign's zone, lest something else be lit there.
fn held(register: &Register, id: &str) -> Vec<Hold> {
    let streams = streams_of(register, id);
    let pauses = register.objections.iter().filter(|o| o.settled.is_none() && o.id.starts_with(Hold::PREFIX));
    let hold = |o: &Objection| Some(Hold { stream: o.stream.clone()?, objection: o.id.clone() });
    pauses.filter_map(hold).filter(|hold| streams.contains(&hold.stream)).collect()
}

fn held_text(held: &[Hold]) -> String {
    held.iter().map(super::change::held_text).collect()
}

fn post(context: &Context, id: &str, by: &str) -> Result<Done, Failed> {
    let answered = ask_service(context, &format!("/v1/signs/{}/post?by={}", segment(id), segment(by)))?;
    let mut waits = answered.as_ref().and_then(waits_for);
    if answered.is_none() {
        let posting = Posting { at: When::to_the_millisecond(SystemClock.utc()), by: by.to_owned() };
        let recorded = record_posting(&context.state.register(), id, &posting, None).map_err(|e| Failed::new(Exit::Config, e))?;
        let outcome = recorded.map_err(|nearest| unknown(id, nearest))?;
        waits = waiting(context, &outcome)?;
        tracing::warn!(sign = id, by, in_force = outcome.in_force(), "sign posted again");
    }
    let register = load(context)?;
    let standing = standing(&register, id, SystemClock.utc());
    let streams = streams_of(&register, id);
    let text = match &waits {
        Some(waits) => format!("sign `{id}`: posting it is {waits}"),
        None => format!("sign `{id}` posted: {}; {}", names(&streams), standing.text),
    };
    let json = json!({
        "sign": id, "state": "posted", "counts": standing.counts, "streams": streams, "waits": waits, "service": answered.is_some(),
    });
    Ok(Done { text, json })
}

/// What the service said that a change waits for.
fn waits_for(view: &SignView) -> Option<String> {
    Some(view.waits.clone()).filter(|w| !w.is_empty())
}

fn waiting(context: &Context, outcome: &Recorded) -> Result<Option<String>, Failed> {
    Ok(if outcome.in_force() { None } else { Some(outcome_text(outcome, &load(context)?)) })
}

/// The digest is made here: the photograph lies with whoever runs the command, not with the service.
fn digest(photo: &Path) -> Result<String, Failed> {
    let hashed = std::fs::read(photo).and_then(|bytes| match bytes.len() {
        0 => Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file is empty")),
        _ => Ok(crate::hex::sha256(&bytes)),
    });
    match hashed {
        Ok(digest) => Ok(digest),
        Err(error) => {
            let absent = matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof);
            let exit = if absent { Exit::Missing } else { Exit::Failure };
            Err(Failed::new(exit, anyhow::anyhow!("photograph {}: {error}", photo.display())))
        }
    }
}

fn inspect(context: &Context, id: &str, by: &str, photo: Option<&Path>, at: Option<When>) -> Result<Done, Failed> {
    let photo_sha256 = photo.map(digest).transpose()?;
    let refused = |e: NotInspected| {
        let exit = if matches!(e, NotInspected::UnknownSign { .. }) { Exit::Usage } else { Exit::Refused };
        Failed::new(exit, e)
    };
    // Judged here first, so that what is no inspection is refused in the same words whether or not the service runs.
    let inspection = Inspection::new(by, at, photo_sha256.clone(), SystemClock.utc()).map_err(refused)?;
    let mut path = format!("/v1/signs/{}/inspect?by={}&at={}", segment(id), segment(by), segment(inspection.at().text()));
    if let Some(digest) = &photo_sha256 {
        path = format!("{path}&photo_sha256={digest}");
    }
    let answered = ask_service(context, &path)?;
    let mut waits = answered.as_ref().and_then(waits_for);
    if answered.is_none() {
        let recorded = record_inspection(&context.state.register(), id, &inspection).map_err(|e| Failed::new(Exit::Config, e))?;
        waits = waiting(context, &recorded.map_err(refused)?)?;
    }
    let register = load(context)?;
    let standing = standing(&register, id, SystemClock.utc());
    let text = match &waits {
        Some(waits) => format!("sign `{id}`: its inspection by {} is {waits}", inspection.by()),
        None => format!("sign `{id}` inspected by {} at {}: {}", inspection.by(), inspection.at(), standing.text),
    };
    let json = json!({
        "sign": id, "state": "inspected", "by": inspection.by(), "at": inspection.at().text(), "photo_sha256": photo_sha256,
        "counts": standing.counts, "until": standing.until, "streams": streams_of(&register, id), "waits": waits, "service": answered.is_some(),
    });
    Ok(Done { text, json })
}

fn names(streams: &[String]) -> String {
    if streams.is_empty() { "no stream rests on it".to_owned() } else { format!("stream {}", streams.join(", ")) }
}

/// Streams with an area in the sign's zone.
fn streams_of(register: &Register, id: &str) -> Vec<String> {
    let zone = register.sign(id).map(|s| s.zone.as_str());
    let mut streams: Vec<String> = register.areas.iter().filter(|a| Some(a.zone.as_str()) == zone).map(|a| a.stream.clone()).collect();
    streams.sort();
    streams.dedup();
    streams
}

struct Standing {
    counts: bool,
    text: String,
    until: Option<String>,
}

fn standing(register: &Register, id: &str, now: Stamp<Utc>) -> Standing {
    let holds = register.sign(id).map(|sign| sign_holds(sign, &register.rules, now));
    match holds {
        Some(Ok(until)) => {
            let until = format_utc(until);
            Standing { counts: true, text: format!("counts until {until}, when its inspection is too old"), until: Some(until) }
        }
        Some(Err(reason)) => Standing { counts: false, text: reason.to_string(), until: None },
        None => Standing { counts: false, text: "not in the register".to_owned(), until: None },
    }
}

fn list(context: &Context) -> Outcome {
    let register = load(context)?;
    let now = SystemClock.utc();
    let mut out = std::io::stdout().lock();
    if register.signs.is_empty() && !context.json {
        writeln!(out, "No signs in {}: nothing may be looked at.", context.state.register().display())?;
    }
    for sign in &register.signs {
        let standing = standing(&register, &sign.id, now);
        let streams = streams_of(&register, &sign.id);
        if context.json {
            let line = json!({
                "sign": sign.id, "zone": sign.zone, "counts": standing.counts, "until": standing.until, "reason": standing.text,
                "streams": streams, "position": sign.position, "languages": sign.languages, "announces": sign.announces, "withdrawn": sign.withdrawn,
                "posted_on": sign.posted_on, "posted_by": sign.posted_by, "past_withdrawals": sign.past_withdrawals,
            });
            writeln!(out, "{line}")?;
        } else {
            let mark = if standing.counts { "counts" } else { "DOES NOT COUNT" };
            writeln!(out, "{:<20} zone {:<16} {mark} ({})", sign.id, sign.zone, names(&streams))?;
            writeln!(out, "{:<20} {}; {}", "", sign.position, standing.text)?;
        }
    }
    Ok(Exit::Success)
}
