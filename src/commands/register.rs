//! `placard register`: the register in force, for people: as a site file has it, or as JSON.

use std::io::Write;

use serde_json::json;

use super::fact::present;
use super::{Context, Exit, Outcome};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Print every fact in force, verified.
    Show,
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let Action::Show = args.action;
    let (register, view) = present(context)?;
    let mut out = std::io::stdout().lock();
    if context.json {
        let sha256 = view.sha256.clone();
        let object = json!({
            "site": view.site, "mode": view.mode, "changes": view.changes, "head": view.head, "sha256": sha256,
            "waiting": view.pending.len(), "register": register,
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "# The register of site {} ({}), change {}; sha256 {}", view.site.short(), view.mode, view.changes, view.sha256)?;
        writeln!(out, "# {} proposals wait for signatures (`placard approve list`)\n", view.pending.len())?;
        write!(out, "{}", view.register)?;
    }
    Ok(Exit::Success)
}
