//! `placard governance`: that somebody was asked about looking at a zone, and decided (C25). Two approvers enter a record and take one away; one that goes may
//! be a vote that went against it.

use super::fact::{self, Action, Flags, needed};
use super::{Context, Exit, Failed, Outcome};
use crate::policy::facts::{Governance, Register};
use crate::policy::when::When;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action<GovernanceFlags>,
}

#[derive(clap::Args, Debug)]
struct GovernanceFlags {
    /// The record's id.
    id: Option<String>,
    /// Which zone was decided on; may be given again.
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,
    /// The document: its SHA-256 is recorded, the file is not kept.
    #[arg(long, value_name = "FILE", conflicts_with = "document_sha256")]
    document: Option<std::path::PathBuf>,
    /// SHA-256 of the document.
    #[arg(long, value_name = "HEX")]
    document_sha256: Option<String>,
    #[arg(long, value_name = "DATE")]
    decided_on: Option<When>,
    #[arg(long, value_name = "WHO")]
    decided_by: Option<String>,
    /// Where it was a vote: how many were for it …
    #[arg(long, value_name = "COUNT", requires = "votes_total")]
    votes_for: Option<u32>,
    /// … of how many who had one.
    #[arg(long, value_name = "COUNT", requires = "votes_for")]
    votes_total: Option<u32>,
}

impl Flags for GovernanceFlags {
    type Fact = Governance;
    fn fact(self, _register: &Register) -> Result<Governance, Failed> {
        needed(self.zones.first(), "--zone")?;
        let digest = |path: &std::path::Path| {
            super::exits::present(path)?;
            let bytes = std::fs::read(path).map_err(|e| Failed::new(Exit::Failure, anyhow::anyhow!("{}: {e}", path.display())))?;
            Ok::<String, Failed>(crate::hex::sha256(&bytes))
        };
        let document_sha256 = match &self.document {
            Some(path) => digest(path)?,
            None => needed(self.document_sha256, "--document or --document-sha256")?,
        };
        Ok(Governance {
            id: needed(self.id, "the record's id")?,
            zones: self.zones,
            document_sha256,
            decided_on: needed(self.decided_on, "--decided-on")?,
            decided_by: needed(self.decided_by, "--decided-by")?,
            votes_for: self.votes_for,
            votes_total: self.votes_total,
        })
    }
    fn line(record: &Governance) -> String {
        let vote = record.votes_for.zip(record.votes_total).map_or(String::new(), |(yes, all)| format!(", {yes} of {all} votes"));
        format!("{}: {} on {}{vote}", record.zones.join(", "), record.decided_by, record.decided_on)
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    fact::run(context, args.action)
}
