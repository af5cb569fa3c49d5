//! `placard commission SITE_FILE`: a site's state from one file.
//!
//! The site file has `[site]`, the register's tables (`[rules]`, `[[zone]]`, `[[area]]`, `[[sign]]`, `[[purpose]]`; see `policy/facts.rs`)
//! and `[[model]]` entries. Everything is checked before anything is written; models come first, the register next, `site.toml` last,
//! so an interrupted commissioning leaves no site that looks complete, and doing it again finishes it. The site key is made once and never
//! replaced. What the register becomes, and who must sign for it, is in `commission/register.rs`.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::exits::store_failed;
use super::owner::{Owner, hand_over};
use super::{Context, Exit, Failed, Outcome};
use crate::clock::{Clock, Stamp, SystemClock, Utc, format_utc};
use crate::engine::bundled;
use crate::engine::manifest::Manifest;
use crate::engine::store::{self, AddOptions};
use crate::gallery::seal::SiteKey;
use crate::hex;
use crate::policy::cedar::CedarPlane;
use crate::policy::facts::{
    Alternative, AreaFact, Authorisation, Consent, Device, Flaw, Governance, Mode, Objection, Order, Person, PurposeFact, Register, Role,
    Rules, Sign, Site, View, Zone,
};
use crate::policy::file::{FileError, flaw_error, read_toml};
use crate::policy::intended_use;
use crate::policy::observed::Moment;
use crate::policy::profile::Library;
use crate::policy::rules::{Decision, DecisionPlane, Silent, never_announced};
use crate::policy::store::Outcome as Recorded;
use crate::state::StateDirectory;
use register::Written;

mod register;

#[derive(clap::Args)]
pub struct Args {
    /// The site, its zones, areas, signs, purposes and models, in TOML.
    site_file: PathBuf,
    /// Replace the register and the description of a site that is there already. Its key, gallery and journal stay; withdrawn signs stay
    /// withdrawn.
    #[arg(long)]
    force: bool,
}

/// What operators write: a register's tables and two more. (Flattened, the register would lose its line numbers.)
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteFile {
    site: Site,
    #[serde(default, rename = "model")]
    models: Vec<ModelEntry>,
    #[serde(default)]
    rules: Rules,
    #[serde(default, rename = "zone")]
    zones: Vec<Zone>,
    #[serde(default, rename = "area")]
    areas: Vec<AreaFact>,
    #[serde(default, rename = "sign")]
    signs: Vec<Sign>,
    #[serde(default, rename = "purpose")]
    purposes: Vec<PurposeFact>,
    #[serde(default, rename = "view")]
    views: Vec<View>,
    #[serde(default, rename = "order")]
    orders: Vec<Order>,
    #[serde(default, rename = "consent")]
    consents: Vec<Consent>,
    #[serde(default, rename = "alternative")]
    alternatives: Vec<Alternative>,
    #[serde(default)]
    governance: Vec<Governance>,
    #[serde(default, rename = "authorisation")]
    authorisations: Vec<Authorisation>,
    #[serde(default, rename = "objection")]
    objections: Vec<Objection>,
    #[serde(default, rename = "device")]
    devices: Vec<Device>,
    #[serde(default, rename = "person")]
    people: Vec<Person>,
}

/// `[[model]]`: paths count from the site file's directory. A bundled model needs no entry; one that names it says that it is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelEntry {
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    manifest: Option<PathBuf>,
}

/// What there is now.
pub(super) struct Commissioned {
    site: Site,
    register: Register,
    changed: bool,
    kept_withdrawn: Vec<String>,
    /// What became of what the site file says.
    outcome: Recorded,
    key_made: bool,
    models: Vec<Manifest>,
    streams: Vec<(String, Decision)>,
    /// What can never be pursued, because no sign announces it.
    silent: Vec<Silent>,
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let done = commission(&context.state, &args.site_file, args.force, SystemClock.utc())?;
    let owner = hand_over(&context.state)?;
    let mut out = std::io::stdout().lock();
    if context.json {
        print_json(&mut out, context, &done, owner.as_ref())?
    } else {
        print_text(&mut out, context, &done, owner.as_ref())?
    }
    Ok(Exit::Success)
}

fn config(error: FileError) -> Failed {
    Failed::new(Exit::Config, error)
}

/// Also a bench makes its site this way.
pub(super) fn commission(state: &StateDirectory, site_file: &Path, force: bool, now: Stamp<Utc>) -> Result<Commissioned, Failed> {
    let (file, text): (SiteFile, String) = read_toml(site_file).map_err(config)?;
    let SiteFile {
        site,
        models,
        rules,
        zones,
        areas,
        signs,
        purposes,
        views,
        orders,
        consents,
        alternatives,
        governance,
        authorisations,
        objections,
        devices,
        people,
    } = file;
    let mut register = Register {
        rules,
        zones,
        areas,
        signs,
        purposes,
        views,
        orders,
        consents,
        alternatives,
        governance,
        authorisations,
        objections,
        devices,
        people,
    };
    let rules = &mut register.rules;
    if rules.placeholder_photographs && site.mode == Mode::Operational {
        let problem = "an operational site needs a photograph of each sign".to_owned();
        let flaw = Flaw { table: "rules", entry: 0, key: "placeholder_photographs", problem };
        return Err(config(flaw_error(site_file, &text, &flaw)));
    }
    if site.mode == Mode::Operational && !rules.names_a_regime() {
        let names = Library::regimes().join(", ");
        let problem =
            format!("an operational site names the regime that it is under, such as profiles = [\"cn-pipl\"]: {names}, or one of its own");
        let flaw = Flaw { table: "rules", entry: 0, key: "profiles", problem };
        return Err(config(flaw_error(site_file, &text, &flaw)));
    }
    rules.placeholder_photographs = site.mode != Mode::Operational;
    if let Some(flaw) = register.flaws().first().or(register.dangling().first()) {
        return Err(config(flaw_error(site_file, &text, flaw)));
    }
    check_people(site_file, &text, &site, &register)?;

    make_directories(state)?;
    let key_made = !state.site_key().exists();
    SiteKey::load_or_create(state)?;
    // Nobody else writes the register between looking at the old one and writing the new.
    let intended = register::Intended::beside_what_is(state, &site, register, force)?;
    let base = site_file.parent().unwrap_or(Path::new("."));
    let models = models.iter().map(|m| add_model(state, base, m, &site)).collect::<Result<_, _>>()?;
    let Written { register, changed, kept_withdrawn, outcome } = intended.write(state, &site, now)?;
    if changed {
        site.store(&state.site())?;
    }
    let plane = CedarPlane::new(Library::of_site(state));
    let streams = decide(&plane, &register, now)?;
    // Where the regime is refused, every stream says so.
    let silent = plane.library().regime_of(&register, now).map(|regime| never_announced(&register, &regime)).unwrap_or_default();
    Ok(Commissioned { site, register, changed, kept_withdrawn, outcome, key_made, models, streams, silent })
}

/// An operational site names those who approve: it has no stand-ins.
fn check_people(site_file: &Path, text: &str, site: &Site, register: &Register) -> Result<(), Failed> {
    let flaw = |entry, key, problem: &str| Flaw { table: "person", entry, key, problem: problem.to_owned() };
    if let Some(entry) = register.people.iter().position(|p| p.stand_in) {
        return Err(config(flaw_error(site_file, text, &flaw(entry, "stand_in", "stand-ins are made by this command, never named"))));
    }
    let approvers = register.people.iter().filter(|p| p.roles.contains(&Role::Approver)).count();
    if site.mode == Mode::Operational && approvers < 2 {
        let problem = anyhow::anyhow!(
            "{}: an operational site needs at least two [[person]] with the role approver, each with a key of their own: two people approve what \
             widens, and there are no stand-ins. Each makes a key (`placard person key FILE`) and tells the public half",
            site_file.display()
        );
        return Err(Failed::new(Exit::Config, problem));
    }
    Ok(())
}

/// What the rules say now, per stream that has an area.
fn decide(plane: &CedarPlane, register: &Register, now: Stamp<Utc>) -> Result<Vec<(String, Decision)>, Failed> {
    let mut names: Vec<&str> = Vec::new();
    for area in &register.areas {
        if !names.contains(&area.stream.as_str()) {
            names.push(&area.stream);
        }
    }
    let decide = |name: &str| Ok((name.to_owned(), plane.decide(register, name, Moment::unobserved(now))?));
    names.into_iter().map(decide).collect()
}

fn make_directories(state: &StateDirectory) -> std::io::Result<()> {
    let private = |path: &Path, mode| {
        let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        made.map_err(|error| {
            std::io::Error::new(error.kind(), format!("{}: cannot be made ({error}): name another directory with --state", path.display()))
        })
    };
    private(state.root(), 0o750)?;
    private(&state.models(), 0o750)?;
    private(&state.journal(), 0o750)?;
    for path in [state.root().join("keys"), state.root().join("gallery")] {
        private(&path, 0o700)?;
    }
    Ok(())
}

fn add_model(state: &StateDirectory, base: &Path, entry: &ModelEntry, site: &Site) -> Result<Manifest, Failed> {
    let options = AddOptions { name: entry.name.clone(), manifest: entry.manifest.as_ref().map(|m| base.join(m)), onnxruntime: None };
    let bundled = entry.name.as_deref().filter(|_| entry.file.is_none()).and_then(store::add_bundled);
    let added = match (bundled, &entry.file) {
        (Some(bundled), _) => bundled,
        (None, Some(file)) => store::add(state, &base.join(file), &options),
        (None, None) => {
            let names: Vec<&str> = bundled::names().collect();
            let error = anyhow::anyhow!("[[model]]: give a model's `file`, or as `name` that of a bundled one ({})", names.join(", "));
            return Err(Failed::new(Exit::Config, error));
        }
    };
    let added = added.map_err(store_failed)?;
    intended_use::check(&added.manifest, Some(site)).map_err(|refused| Failed::new(Exit::Refused, refused))?;
    Ok(added.manifest)
}

fn print_json(out: &mut impl Write, context: &Context, done: &Commissioned, owner: Option<&Owner>) -> Result<(), Failed> {
    let streams = done
        .streams
        .iter()
        .map(|(name, d)| json!({ "stream": name, "state": d.state, "reason": d.reason, "next_change": d.next_change.map(format_utc) }));
    let object = json!({
        "site": done.site, "state": context.state.root(), "changed": done.changed, "key_made": done.key_made,
        "owner": owner.map(|o| &o.name),
        "register_sha256": hex::of(&done.register.hash()), "zones": done.register.zones.len(), "areas": done.register.areas.len(),
        "signs": done.register.signs.len(), "purposes": done.register.purposes.len(), "kept_withdrawn": done.kept_withdrawn,
        "outcome": super::change::outcome_json(&done.outcome),
        "models": done.models.iter().map(|m| &m.name).collect::<Vec<_>>(), "streams": streams.collect::<Vec<_>>(),
        "never_announced": done.silent,
    });
    writeln!(out, "{object}")?;
    Ok(())
}

fn print_text(out: &mut impl Write, context: &Context, done: &Commissioned, owner: Option<&Owner>) -> Result<(), Failed> {
    let Commissioned { site, register, .. } = done;
    let what = if done.changed { "commissioned" } else { "is commissioned already; nothing changed" };
    writeln!(out, "Site `{}` ({}) {what}: {}", site.name, site.mode.name(), context.state.root().display())?;
    writeln!(out, "  controller  {} ({})", site.controller, site.contact)?;
    writeln!(out, "  key         {} ({})", context.state.site_key().display(), if done.key_made { "made" } else { "kept" })?;
    if let Some(Owner { name, .. }) = owner {
        writeln!(out, "  owner       {name}: the files are the service's, not root's")?;
    }
    for model in &done.models {
        writeln!(out, "  model       {} ({})", model.name, model.licence)?;
    }
    let (zones, areas, signs, purposes) = (register.zones.len(), register.areas.len(), register.signs.len(), register.purposes.len());
    writeln!(
        out,
        "  register    zones {zones}, areas {areas}, signs {signs}, purposes {purposes}; sha256 {}",
        &hex::of(&register.hash())[..16]
    )?;
    writeln!(out, "  approval    {}", super::change::outcome_text(&done.outcome, register))?;
    for sign in &done.kept_withdrawn {
        writeln!(out, "  sign        {sign} was withdrawn and stays so: `placard sign post {sign}` when it hangs again")?;
    }
    for sign in register.signs.iter().filter(|s| s.photo_is_a_placeholder()) {
        writeln!(out, "  sign        {}: photo_sha256 is a placeholder; photograph the sign, then `sha256sum`", sign.id)?;
    }
    for (name, decision) in &done.streams {
        writeln!(out, "  stream      {name:<16} {:<12} {}", decision.state.name(), decision.reason)?;
    }
    for Silent { zone, purpose, reason } in &done.silent {
        writeln!(out, "  purpose     {purpose} can never be pursued in zone `{zone}`: {reason}")?;
    }
    writeln!(out, "Next: placard check PIPELINE, then placard run PIPELINE")?;
    Ok(())
}

#[cfg(test)]
mod tests;
