//! `placard policy profiles`, `placard policy sign-profile`.

use std::path::Path;

use serde_json::json;

use super::{Said, config, library, register, table};
use crate::clock::{Clock, SystemClock};
use crate::commands::{Context, Exit};
use crate::hex;
use crate::policy::profile::signature::sign as sign_digest;
use crate::policy::profile::{Library, Profile, Texts};
use crate::state::replace_file;

#[derive(clap::Subcommand)]
pub(super) enum Action {
    /// Every profile there is, and what is wrong with those that are not used.
    List,
    /// A profile's values, and the rules that they come from.
    Show { name: String },
}

pub(super) fn run(context: &Context, action: &Action) -> Said {
    match action {
        Action::List => Ok((list(context), Exit::Success)),
        Action::Show { name } => {
            let profile = trusting(context).profile(name).map_err(|reason| config(anyhow::anyhow!("{reason}")))?;
            Ok((if context.json { as_json(&profile) } else { as_text(&profile) }, Exit::Success))
        }
    }
}

/// The site's profiles, as its policy thread believes them: by its legal people too, as far as the register can be read.
fn trusting(context: &Context) -> Library {
    let library = library(context);
    if let Ok(register) = register(context) {
        library.believe(&register, SystemClock.utc());
    }
    library
}

fn list(context: &Context) -> String {
    let library = trusting(context);
    let heads = ["PROFILE", "VERSION", "VALID FROM", "UNTIL", "SIGNED BY", "SUPERVISOR", "DIGEST"];
    let (mut rows, mut lines) = (vec![heads.map(str::to_owned).to_vec()], String::new());
    for name in library.names() {
        match library.profile(&name) {
            Ok(p) => {
                let until = p.valid_until.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
                lines.push_str(&as_json(&p));
                rows.push(vec![
                    name,
                    p.version_text.clone(),
                    p.valid_from.to_string(),
                    until,
                    p.signed_by.clone(),
                    p.supervisor.clone(),
                    hex::of(&p.digest),
                ]);
            }
            Err(reason) => {
                lines.push_str(&format!("{}\n", json!({ "profile": name, "refused": reason })));
                rows.push(vec![name, format!("refused: {}", reason.fact)]);
            }
        }
    }
    if context.json { lines } else { table(&rows) }
}

fn as_json(p: &Profile) -> String {
    let values: serde_json::Map<String, serde_json::Value> = p.values.rows().into_iter().map(|(k, v)| (k, json!(v))).collect();
    let rules: Vec<_> = p
        .sources
        .iter()
        .map(|s| json!({ "id": s.id, "force": s.force, "source": s.source, "applies_from": s.applies_from.as_ref().map(ToString::to_string) }))
        .collect();
    let said = json!({
        "profile": p.id, "version": p.version_text, "valid_from": p.valid_from.to_string(),
        "valid_until": p.valid_until.as_ref().map(ToString::to_string), "supervisor": p.supervisor, "signed_by": p.signed_by,
        "digest": hex::of(&p.digest), "values": values, "rules": rules,
    });
    format!("{said}\n")
}

fn as_text(p: &Profile) -> String {
    let until = p.valid_until.as_ref().map_or_else(String::new, |u| format!(" until {u}"));
    let mut text = format!(
        "{} {}: valid from {}{until}; supervisor: {}; signed by {}\nin `[rules] profiles`: {}@{}\n\n",
        p.id,
        p.version_text,
        p.valid_from,
        p.supervisor,
        p.signed_by,
        p.id,
        hex::of(&p.digest)
    );
    text.push_str(&table(&p.values.rows().into_iter().map(|(k, v)| vec![format!("  {k}"), v]).collect::<Vec<_>>()));
    text.push('\n');
    let rule = |s: &crate::policy::profile::Source| {
        let from = s.applies_from.as_ref().map_or_else(String::new, |w| format!(" (the law from {w}; Placard from the start)"));
        vec![format!("  {}", s.id), s.force.name().to_owned(), format!("{}{from}", s.source)]
    };
    text.push_str(&table(&p.sources.iter().map(rule).collect::<Vec<_>>()));
    text
}

/// The two files of a directory, and the profile in it, whoever signed it.
pub(super) fn unsigned(directory: &Path) -> Result<(Profile, String, String), crate::commands::Failed> {
    let read = |name: &str| {
        let file = directory.join(name);
        std::fs::read_to_string(&file).map_err(|e| config(anyhow::anyhow!("{}: cannot be read ({e})", file.display())))
    };
    let (values, policies) = (read("profile.toml")?, read("policies.cedar")?);
    let texts = Texts { values: &values, policies: &policies, signature: None };
    Ok((Profile::unverified(directory, texts).map_err(config)?, values, policies))
}

pub(super) fn sign(context: &Context, directory: &Path, key: &Path) -> Said {
    let (profile, _, _) = unsigned(directory)?;
    let private = std::fs::read(key).map_err(|e| config(anyhow::anyhow!("{}: cannot be read ({e})", key.display())))?;
    let (line, public) = sign_digest(&profile.digest, &profile.signed_by, &private).map_err(config)?;
    replace_file(&directory.join("signature"), line.as_bytes(), 0o644)?;
    let (id, version, by) = (&profile.id, &profile.version_text, &profile.signed_by);
    let text = if context.json {
        format!("{}\n", json!({ "profile": id, "version": version, "signed_by": by, "public_key": public }))
    } else {
        format!("Signed `{id}` version {version} as `{by}`; it counts where the public key {public} is trusted under that name\n")
    };
    Ok((text, Exit::Success))
}
