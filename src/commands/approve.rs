//! `placard approve`: proposals that wait for signatures: list, show, sign, reject.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::fact::{Told, present, print, request, sign, sign_rejection};
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::console::view::RegisterView;
use crate::policy::store::{Approval, Pending, Rejection, Request};
use crate::policy::when::When;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List what waits.
    List,
    /// Show what a proposal would change, and the bytes that are signed.
    Show {
        /// The proposal's digest, or how it begins.
        digest: String,
    },
    /// Sign a proposal: look at it first (`placard approve show`).
    Sign {
        digest: String,
        /// Their key: the register knows whose it is.
        #[arg(long = "key", value_name = "FILE")]
        key_file: PathBuf,
    },
    /// A proposal will never be in force: by the key of somebody in office, or by whoever proposed it, while nobody has signed it.
    Reject {
        digest: String,
        #[command(flatten)]
        told: Told,
    },
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        Action::List => list(context),
        Action::Show { digest } => show(context, &digest),
        Action::Sign { digest, key_file } => {
            let (register, view) = present(context)?;
            let proposal = waiting(&view, &digest)?.proposal.digest();
            let approval = sign(&key_file, &register, &view.site, &proposal)?;
            print(context, &request(context, Request::Approve { proposal, approval })?)
        }
        Action::Reject { digest, told } => {
            let (register, view) = present(context)?;
            let proposal = waiting(&view, &digest)?.proposal.digest();
            let signed = |file: &PathBuf| sign_rejection(file, &register, &view.site, &proposal);
            let approval = told.key_file.as_ref().map(signed).transpose()?;
            let rejection = Rejection { proposal, by: told.by(), why: told.reason(""), approval };
            print(context, &request(context, Request::Reject(rejection))?)
        }
    }
}

fn waiting<'a>(view: &'a RegisterView, digest: &str) -> Result<&'a Pending, Failed> {
    let mut found = view.pending.iter().filter(|p| digest.len() >= 6 && p.proposal.digest().to_string().starts_with(digest));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(Failed::new(Exit::Usage, anyhow::anyhow!("more than one proposal begins with `{digest}`: give more digits")))
        }
        (None, _) => {
            let text = format!("no proposal that waits begins with `{digest}` (at least 6 digits): `placard approve list` shows them");
            Err(Failed::new(Exit::Usage, anyhow::anyhow!(text)))
        }
    }
}

fn list(context: &Context) -> Outcome {
    let (register, view) = present(context)?;
    let mut out = std::io::stdout().lock();
    for pending in &view.pending {
        let digest = pending.proposal.digest();
        let judged = pending.proposal.applied_to(&register);
        let signed: Vec<&str> = pending.approvals.iter().map(|a| a.person.as_str()).collect();
        let (needs, problem) = match &judged {
            Ok((_, needs)) => (needs.describe().to_owned(), None),
            Err(problem) => ("can never be in force".to_owned(), Some(problem.to_string())),
        };
        if context.json {
            let proposal = &pending.proposal;
            let line = json!({
                "proposal": digest, "by": proposal.by, "at": proposal.at, "why": proposal.why, "edits": proposal.edits,
                "needs": needs, "signed": signed, "problem": problem,
            });
            writeln!(out, "{line}")?;
            continue;
        }
        let edits = pending.proposal.edits.len();
        writeln!(out, "{}  {} by {}: {} ({edits} facts)", digest.short(), pending.proposal.at, pending.proposal.by, pending.proposal.why)?;
        let signed = if signed.is_empty() { "nobody".to_owned() } else { signed.join(", ") };
        writeln!(out, "              {needs}; signed by {signed}{}", problem.map_or(String::new(), |p| format!("; {p}")))?;
    }
    if view.pending.is_empty() && !context.json {
        writeln!(out, "Nothing waits for a signature.")?;
    }
    Ok(Exit::Success)
}

fn show(context: &Context, digest: &str) -> Outcome {
    let (register, view) = present(context)?;
    let pending = waiting(&view, digest)?;
    let (proposal, digest) = (&pending.proposal, pending.proposal.digest());
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", json!({ "proposal": digest, "site": view.site, "content": proposal, "approvals": pending.approvals }))?;
        return Ok(Exit::Success);
    }
    writeln!(out, "proposal  {digest}\nsite      {}\nby        {} at {}\nwhy       {}", view.site, proposal.by, proposal.at, proposal.why)?;
    match proposal.applied_to(&register) {
        Ok((_, needs)) => writeln!(out, "needs     {}", needs.describe())?,
        Err(problem) => writeln!(out, "needs     can never be in force: {problem}")?,
    }
    for edit in &proposal.edits {
        let verb = match (&edit.replaces, &edit.fact) {
            (Some(_), Some(_)) => "replace",
            (Some(_), None) => "remove",
            _ => "add",
        };
        let replaced = edit.replaces.map_or(String::new(), |d| format!(" (instead of fact {})", d.short()));
        writeln!(out, "\n# {verb}{replaced}\n[[{}]]\n{}", edit.table.name(), edit.fact.as_deref().unwrap_or_default())?;
    }
    let message = Approval::message("WHO", &view.site, &digest, &When::to_the_millisecond(SystemClock.utc()));
    writeln!(out, "# What WHO signs (Ed25519):\n{}", String::from_utf8_lossy(&message))?;
    Ok(Exit::Success)
}
