//! `placard gallery export-proof`: what an auditor keeps and compares: for every shard its root hash and counts, signed with a key that only this
//! site's key leads to, once every block was found to be what its root says. Two proofs with the same root are of the same sealed bytes; no template, key, name or id leaves.

use std::io::Write;
use std::path::Path;

use aws_lc_rs::signature::KeyPair;
use serde_json::json;

use super::super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, SystemClock, format_utc};
use crate::gallery::vault::VaultError;
use crate::hex;
use crate::policy::facts::Site;
use crate::state::replace_file;

pub fn run(context: &Context, out: Option<&Path>) -> Outcome {
    let (vault, key) = super::open_existing(context)?;
    vault.refresh_shards(SystemClock.utc())?;
    let shards = vault.proven_shards().map_err(|error| match error {
        damaged @ VaultError::Shard(_) => Failed::new(Exit::Missing, damaged),
        other => other.into(),
    })?;
    let site = Site::load(&context.state.site()).ok().map(|site| site.name);
    let statement = json!({
        "format": "placard/1/gallery-proof", "site": site, "at": format_utc(SystemClock.utc()), "persons": vault.subjects()?.len(),
        "shards": shards.iter().map(|s| json!({
            "purpose": s.purpose, "model": s.model, "model_sha256": s.model_sha256, "version": s.version, "keys": s.keys,
            "templates": s.templates, "root": s.root,
        })).collect::<Vec<_>>(),
    })
    .to_string();
    drop(vault);
    let pair = key.gallery_proof_pair()?;
    let object = json!({
        "outcome": "proof", "statement": statement, "key": hex::of(pair.public_key().as_ref()), "signature": hex::of(pair.sign(statement.as_bytes()).as_ref()),
    });
    match out {
        Some(path) => replace_file(path, format!("{object}\n").as_bytes(), 0o644)?,
        None => writeln!(std::io::stdout().lock(), "{object}")?,
    }
    if out.is_some() && !context.json {
        writeln!(std::io::stdout().lock(), "{} shards; Ed25519 over the statement's bytes", shards.len())?;
    }
    Ok(Exit::Success)
}
