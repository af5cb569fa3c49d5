//! `placard gallery`: the templates as an operator keeps them: make, import, list, count, compact, check, re-key, prove.
//!
//! All of it works on the files and holds the vault meanwhile; a running service is told afterwards.

mod check;
mod import;
mod keep;
mod look;
mod people;
mod proof;

use std::path::PathBuf;

pub(in crate::commands) use look::warn_of_filing;

use super::enrol::{PATIENCE, site_key, vault_failed};
use super::exits::key_failed;
use super::{Context, Exit, Failed, Outcome};
use crate::gallery::seal::SiteKey;
use crate::gallery::vault::Vault;
use crate::policy::facts::Site;
use crate::purpose::Purpose;
use crate::shutdown::Shutdown;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make the gallery's files, and say which purposes of the register may have a gallery.
    Create,
    /// Enrol many: templates that were made elsewhere with the same model (an .npy file and a list of whose they are), or a directory of pictures.
    Import(import::Args),
    /// List who is enrolled: ids, purposes, until when.
    List {
        /// This purpose alone.
        #[arg(long)]
        purpose: Option<Purpose>,
        /// Names too, from the file of names.
        #[arg(long)]
        names: bool,
    },
    /// Count: persons, templates, shards, and the room that is left by the regime and the purposes' caps.
    Stats,
    /// Make every shard anew and write the vault's file without what was deleted.
    Compact {
        /// Take a vault that was put back, though a shard is of a later generation: whoever that shard does not have any more is deleted again, and who is lost is named.
        #[arg(long)]
        older_vault: bool,
    },
    /// Look for damage in every file, block and row, and say what to do. Exit status 6 where there is any.
    Check,
    /// Wrap every subject's key under a new key of the gallery's own (keys/gallery.key); no template is opened or sealed again. The site's key stays: signs and register
    /// hang on it, and the gallery opens with both together.
    Rekey,
    /// Write what an auditor compares: root hashes and counts, signed with this site's key. No template leaves.
    ExportProof {
        /// Where to; unset: standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        Action::Create => keep::create(context),
        Action::Import(args) => import::run(context, &args),
        Action::List { purpose, names } => look::list(context, purpose.as_ref(), names),
        Action::Stats => look::stats(context),
        Action::Compact { older_vault } => keep::compact(context, older_vault),
        Action::Rekey => keep::rekey(context),
        Action::Check => check::run(context),
        Action::ExportProof { out } => proof::run(context, out.as_deref()),
    }
}

/// The vault, as this site's key opens it.
fn open(context: &Context) -> Result<(Vault, SiteKey), Failed> {
    let site = Site::load(&context.state.site()).ok();
    let key = site_key(&context.state, site.as_ref())?;
    let vault = Vault::open_patiently(&context.state, &key, PATIENCE, &Shutdown::new()).map_err(vault_failed)?;
    Ok((vault, key))
}

/// [`open`], where there is a vault; nothing is made.
fn open_existing(context: &Context) -> Result<(Vault, SiteKey), Failed> {
    if !context.state.vault().exists() {
        let error = anyhow::anyhow!(
            "there is no {}: `placard gallery create`, `gallery import` or `enrol` make it",
            context.state.vault().display()
        );
        return Err(Failed::new(Exit::Missing, error));
    }
    // What is there was sealed under a key that is there too: another one, made now, would open nothing.
    let key = SiteKey::load(&context.state).map_err(key_failed)?;
    let vault = Vault::open_patiently(&context.state, &key, PATIENCE, &Shutdown::new()).map_err(vault_failed)?;
    Ok((vault, key))
}
