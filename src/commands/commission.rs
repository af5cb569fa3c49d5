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
use crate::policy::rules::{Decision, DecisionPlane};
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
    Ok(Commissioned { site, register, changed, kept_withdrawn, outcome, key_made, models, streams })
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
    writeln!(out, "Next: placard check PIPELINE, then placard run PIPELINE")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::policy::facts::testing::GOOD;
    use crate::policy::facts::{Posting, Withdrawal};
    use crate::policy::lease::StreamState;
    use crate::policy::rules::Rule;
    use crate::policy::store::{Approval, PersonKey, Store};
    use crate::policy::when::When;
    use crate::policy::worker::{record_posting, record_withdrawal};

    const SITE: &str = "[site]\nname = \"east\"\nmode = \"demo\"\ncontroller = \"Transit\"\ncontact = \"12345\"\n";

    struct Desk {
        directory: tempfile::TempDir,
        state: StateDirectory,
    }

    impl Desk {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("temporary directory");
            let state = StateDirectory::new(directory.path().join("state"));
            Self { directory, state }
        }
        fn commission(&self, text: &str, force: bool) -> Result<Commissioned, Failed> {
            let file = self.directory.path().join("site.toml");
            std::fs::write(&file, text).expect("write");
            let now = "2026-11-21T12:00:00Z".parse::<When>().expect("date").at();
            commission(&self.state, &file, force, now)
        }
        fn mode(&self, path: &str) -> u32 {
            std::fs::metadata(self.state.root().join(path)).expect("exists").permissions().mode() & 0o777
        }
    }

    #[test]
    fn a_site_is_made_whole_and_again_is_no_change() {
        let desk = Desk::new();
        let text = format!("{SITE}{GOOD}");
        let done = desk.commission(&text, false).expect("commissions");
        assert!(done.changed && done.key_made && done.models.is_empty());
        assert_eq!(done.streams[0].1.state, StreamState::Recognise, "{}", done.streams[0].1.reason);
        assert_eq!((desk.mode("keys"), desk.mode("keys/site.key"), desk.mode("gallery")), (0o700, 0o600, 0o700));
        assert_eq!(Site::load(&desk.state.site()).expect("site"), done.site);
        let key = std::fs::read(desk.state.site_key()).expect("key");
        let again = desk.commission(&format!("# the same\n{text}"), false).expect("idempotent");
        assert!(!again.changed && !again.key_made);
        // As if power had failed before the last step.
        std::fs::remove_file(desk.state.site()).expect("remove");
        assert!(desk.commission(&text, false).expect("finishes").changed);
        assert_eq!(std::fs::read(desk.state.site_key()).expect("key"), key);
    }

    #[test]
    fn another_site_is_not_overwritten_without_force_and_withdrawn_signs_stay_withdrawn() {
        let desk = Desk::new();
        let text = format!("{SITE}{GOOD}");
        desk.commission(&text, false).expect("commissions");
        let key = std::fs::read(desk.state.site_key()).expect("key");
        let withdrawal = Withdrawal { at: "2026-11-21".parse().expect("date"), by: "l.wu".to_owned(), reason: String::new() };
        assert!(record_withdrawal(&desk.state.register(), "hall-1", &withdrawal).expect("recorded").is_ok());
        let other = text.replace("name = \"east\"", "name = \"west\"");
        let refused = desk.commission(&other, false).err().expect("refused");
        assert_eq!(refused.exit, Exit::Refused);
        assert_eq!(Site::load(&desk.state.site()).expect("site").name, "east");
        let done = desk.commission(&other, true).expect("forced");
        assert_eq!(done.kept_withdrawn, ["hall-1"]);
        assert_eq!(done.streams[0].1.state, StreamState::Off);
        assert!(Register::load(&desk.state.register()).expect("register").signs[0].withdrawn.is_some());
        assert_eq!(std::fs::read(desk.state.site_key()).expect("key"), key);
    }

    #[test]
    fn a_register_that_cannot_be_read_is_not_replaced_even_by_force() {
        let desk = Desk::new();
        let text = format!("{SITE}{GOOD}");
        desk.commission(&text, false).expect("commissions");
        let at: When = "2026-11-21".parse().expect("date");
        let withdrawal = Withdrawal { at, by: "l.wu".to_owned(), reason: String::new() };
        assert!(record_withdrawal(&desk.state.register(), "hall-1", &withdrawal).expect("recorded").is_ok());
        let mut damaged = std::fs::read(desk.state.register()).expect("bytes");
        let places: Vec<usize> = (0..damaged.len() - 8).filter(|i| damaged[*i..].starts_with(b"position")).collect();
        assert!(places.len() >= 2, "in the change, and in the register beside it");
        places.iter().for_each(|i| damaged[*i..*i + 8].copy_from_slice(b"positoin"));
        std::fs::write(desk.state.register(), &damaged).expect("written");
        for force in [false, true] {
            let refused = desk.commission(&text, force).err().expect("refused");
            let complaint = refused.error.to_string();
            assert!(refused.exit == Exit::Refused && complaint.contains("register.redb:") && complaint.contains("move "), "{complaint}");
        }
        assert!(Register::load(&desk.state.register()).is_err(), "nothing was put in its place");
        std::fs::remove_file(desk.state.register()).expect("moved away by hand");
        desk.commission(&text, false).expect("the site is as it was, and has no register");
    }

    #[test]
    fn what_is_known_of_past_withdrawals_stays_and_an_inspection_from_before_the_posting_does_not_count() {
        let desk = Desk::new();
        let text = format!("{SITE}{GOOD}");
        desk.commission(&text, false).expect("commissions");
        let when = |text: &str| text.parse::<When>().expect("date");
        let withdrawal = Withdrawal { at: when("2026-11-21"), by: "l.wu".to_owned(), reason: "fell down".to_owned() };
        assert!(record_withdrawal(&desk.state.register(), "hall-1", &withdrawal).expect("recorded").is_ok());
        // Later than what was commissioned, as far as two clocks differ.
        let posting = Posting { at: when("2026-11-21T12:00:30Z"), by: "w.chen".to_owned() };
        assert!(record_posting(&desk.state.register(), "hall-1", &posting, None).expect("recorded").is_ok_and(|o| o.in_force()));
        let posted = Register::load(&desk.state.register()).expect("register").signs[0].clone();
        assert_eq!((posted.posted_by.as_deref(), posted.posted_on.as_ref(), &posted.withdrawn), (Some("w.chen"), Some(&posting.at), &None));
        let past = &posted.past_withdrawals[0];
        assert_eq!((&*past.by, &*past.reason, &past.posted_at, &*past.posted_by), ("l.wu", "fell down", &posting.at, "w.chen"));
        let done = desk.commission(&text.replace("north entrance", "south entrance"), true).expect("forced");
        assert_eq!((done.streams[0].1.state, done.streams[0].1.reason.rule), (StreamState::Off, Rule::SignInspected));
        let sign = Register::load(&desk.state.register()).expect("register").signs[0].clone();
        assert_eq!(
            (sign.position.as_str(), sign.posted_on, sign.past_withdrawals),
            ("south entrance", posted.posted_on, posted.past_withdrawals)
        );
    }

    /// Two approvers as a site file names them, and their keys.
    fn approvers() -> (String, Vec<PersonKey>) {
        let keys: Vec<PersonKey> = (0..2).map(|_| PersonKey::generate().expect("made")).collect();
        let person = |(i, key): (usize, &PersonKey)| {
            let public = key.public();
            format!(
                "[[person]]\nid = \"p{i}\"\nkey = \"{public}\"\nroles = [\"approver\"]\nfrom = 2026-01-01\ntrained_until = 2027-06-01\n"
            )
        };
        (keys.iter().enumerate().map(person).collect(), keys)
    }

    #[test]
    fn an_operational_site_is_dark_until_two_approvers_have_signed_and_takes_no_placeholder_for_a_photograph() {
        let text = format!("{SITE}{GOOD}").replace(&"0123456789abcdef".repeat(4), &"0".repeat(64));
        assert_eq!(Desk::new().commission(&text, false).expect("a demo").streams[0].1.state, StreamState::Recognise);
        let (people, keys) = approvers();
        let operational = text.replace("\"demo\"", "\"operational\"");
        let alone = Desk::new().commission(&operational, false).err().expect("refused");
        assert!(alone.exit == Exit::Config && alone.error.to_string().contains("placard person key"), "{}", alone.error);
        let (desk, operational) = (Desk::new(), format!("{operational}{people}"));
        let done = desk.commission(&operational, false).expect("commissions");
        let Recorded::Pending { proposal, .. } = &done.outcome else { panic!("{:?}", done.outcome) };
        assert!(done.changed && done.streams.is_empty() && done.register.zones.is_empty(), "nothing is in force");
        assert!(!desk.state.stand_in_key(1).exists());
        let again = desk.commission(&operational, false).expect("the same");
        assert!(!again.changed && again.outcome == done.outcome, "{:?}", again.outcome);
        for (i, key) in keys.iter().enumerate() {
            let mut store = Store::open(&desk.state.register()).expect("opens");
            let at: When = "2026-11-21T12:00:00Z".parse().expect("date");
            let approval = Approval::sign(&format!("p{i}"), key, &store.site(), proposal, at.clone());
            let outcome = store.approve(proposal, approval, at.at()).expect("signed");
            assert_eq!(outcome.in_force(), i == 1);
        }
        let done = desk.commission(&operational, false).expect("the same");
        assert!(!done.changed);
        assert_eq!((done.streams[0].1.state, done.streams[0].1.reason.rule), (StreamState::Off, Rule::SignPhotographed));
        assert!(!Register::load(&desk.state.register()).expect("register").rules.placeholder_photographs);
        let claims = operational.replace("[[zone]]", "[rules]\nplaceholder_photographs = true\n[[zone]]");
        let refused = Desk::new().commission(&claims, false).err().expect("refused").error.to_string();
        assert!(refused.contains("placeholder_photographs") && refused.contains("operational"), "{refused}");
    }

    #[test]
    fn a_demonstration_becomes_operational_by_beginning_anew_and_never_the_other_way() {
        let desk = Desk::new();
        let (people, _keys) = approvers();
        let demo = format!("{SITE}{GOOD}");
        desk.commission(&demo, false).expect("commissions");
        let withdrawal = Withdrawal { at: "2026-11-21".parse().expect("date"), by: "l.wu".to_owned(), reason: String::new() };
        assert!(record_withdrawal(&desk.state.register(), "hall-1", &withdrawal).expect("recorded").is_ok());
        let operational = format!("{}{people}", demo.replace("\"demo\"", "\"operational\""));
        assert_eq!(desk.commission(&operational, false).err().expect("refused").exit, Exit::Refused);
        let done = desk.commission(&operational, true).expect("founded anew");
        assert!(done.streams.is_empty() && done.register.people.iter().all(|p| !p.stand_in), "dark, and the stand-ins are gone");
        assert_eq!(done.kept_withdrawn, ["hall-1"]);
        let back = desk.commission(&demo, true).err().expect("refused");
        assert!(back.exit == Exit::Refused && back.error.to_string().contains("stays one"), "{}", back.error);
    }

    #[test]
    fn a_bad_site_file_leaves_nothing_behind_and_names_the_line() {
        let desk = Desk::new();
        let cases = [
            (format!("{SITE}{GOOD}").replace("zones = [\"hall\"]", "zones = [\"hal\"]"), "site.toml:29: `zones` of [[purpose]] number 1"),
            (format!("{SITE}{GOOD}").replace("controller", "controler"), "site.toml:4: unknown field `controler`"),
            (format!("{SITE}{GOOD}").replace("\"demo\"", "\"live\""), "site.toml:3: unknown variant `live`"),
            (GOOD.to_owned(), "missing field `site`"),
        ];
        for (text, expected) in cases {
            let failed = desk.commission(&text, false).err().expect("refused");
            assert_eq!(failed.exit, Exit::Config);
            assert!(failed.error.to_string().contains(expected), "{}", failed.error);
            assert!(!desk.state.root().exists());
        }
        let missing = format!("{SITE}[[model]]\nfile = \"nowhere.onnx\"\n{GOOD}");
        assert_eq!(desk.commission(&missing, false).err().expect("refused").exit, Exit::Missing);
        assert!(!desk.state.site().exists() && !desk.state.register().exists());
    }
}
