//! `placard policy`: why a stream is on or off, what would change it, and what other rules would have said.
//!
//! Looks at files alone: the register, the profiles and, for `simulate`, a journal. Nothing here changes what is in force.

use std::io::Write;
use std::path::PathBuf;

use super::{Context, Exit, Failed, Outcome};
use crate::policy::facts::Register;
use crate::policy::profile::Library;
use crate::policy::when::When;
use crate::purpose::Purpose;

mod diff;
mod explain;
mod law;
mod profiles;
mod simulate;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Say on one screen what may be done on a stream, by which rule and fact, what would change it, and what each regime says.
    Explain {
        /// The stream's name in the pipeline file.
        stream: String,
        /// This purpose alone.
        #[arg(long)]
        purpose: Option<Purpose>,
        /// At another time than now: 2026-11-21, or 2026-11-21T08:30:00+08:00.
        #[arg(long, value_name = "TIME")]
        at: Option<When>,
    },
    /// Compare two profiles (names or directories) or two registers (files, also as `placard register show` prints them): what differs, and which is stricter.
    Diff { old: String, new: String },
    /// Hold a journal's events against another profile: which would not have been, and why.
    Simulate {
        /// A profile's name, or a directory that holds one, signed or not. It is added to those of the register.
        #[arg(long, value_name = "PROFILE")]
        profile: String,
        /// A file of the journal (events-….jsonl).
        #[arg(long, value_name = "FILE")]
        journal: PathBuf,
        /// Events decided from then on.
        #[arg(long, value_name = "TIME")]
        from: Option<When>,
        /// Events decided before then.
        #[arg(long, value_name = "TIME")]
        to: Option<When>,
    },
    /// The regimes' profiles.
    Profiles {
        #[command(subcommand)]
        action: profiles::Action,
    },
    /// Write docs/law.md from docs/controls.md.
    #[command(hide = true)]
    Law {
        /// The directory that holds both.
        #[arg(long, value_name = "DIR")]
        write: PathBuf,
    },
    /// Check a profile's directory and sign it, and print the public key to trust.
    SignProfile {
        directory: PathBuf,
        /// An Ed25519 key: PKCS#8 in DER, or 64 hex digits.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let (text, exit) = match args.action {
        Action::Explain { stream, purpose, at } => explain::explain(context, &stream, purpose.as_ref(), at.as_ref())?,
        Action::Diff { old, new } => diff::diff(context, &old, &new)?,
        Action::Simulate { profile, journal, from, to } => simulate::simulate(context, &profile, &journal, (from.as_ref(), to.as_ref()))?,
        Action::Profiles { action } => profiles::run(context, &action)?,
        Action::Law { write } => law::write(&write)?,
        Action::SignProfile { directory, key } => profiles::sign(context, &directory, &key)?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(exit)
}

/// What a subcommand prints, and how it ends.
type Said = Result<(String, Exit), Failed>;

fn config(error: impl Into<anyhow::Error>) -> Failed {
    Failed::new(Exit::Config, error)
}

fn register(context: &Context) -> Result<Register, Failed> {
    Register::load(&context.state.register()).map_err(config)
}

fn library(context: &Context) -> Library {
    Library::of_site(&context.state)
}

/// Columns as wide as their widest word, two spaces apart.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|w| w.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(word, width)| format!("{word:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
