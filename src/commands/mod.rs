//! The command line: one file per subcommand. Each has `Args` and `run(&Context, Args) -> Outcome`.

pub mod altpath;
pub mod approve;
pub mod area;
pub mod authorisation;
pub mod basis;
pub mod bench;
mod change;
pub mod check;
pub mod commission;
pub mod completions;
pub mod consent;
pub mod delete;
#[cfg(feature = "rtsp-server")]
pub mod demo;
pub mod device;
pub mod enrol;
mod evaluate;
mod exits;
mod fact;
pub mod gallery;
pub mod governance;
pub mod model;
pub mod objection;
pub mod order;
mod owner;
pub mod person;
pub mod policy;
pub mod portrait;
pub mod probe;
pub mod purpose;
pub mod record;
pub mod register;
pub mod render;
pub mod rules;
pub mod run;
pub mod search;
#[cfg(feature = "rtsp-server")]
pub mod serve_clips;
pub mod sign;
pub mod status;
pub mod top;
pub mod verify;
pub mod view;
pub mod zone;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::console::client::ClientError;
use crate::policy::rules::Reason;
use crate::state::StateDirectory;

/// How a command ended, as the process's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    /// Something went wrong while doing it.
    Failure = 1,
    /// The command line makes no sense (clap's own status).
    Usage = 2,
    /// A pipeline file, the site's register or its key is missing or invalid.
    Config = 3,
    /// The law, or a quality gate, refused.
    Refused = 4,
    /// The service is not running.
    NotRunning = 5,
    /// A file, model, library, element or device that is needed is not there, or is damaged.
    Missing = 6,
}

/// Why a command failed, and the exit status that says which kind of failure it was.
#[derive(Debug)]
pub struct Failed {
    pub exit: Exit,
    pub error: anyhow::Error,
}

impl Failed {
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    /// The law, or a rule of the site, says no: which rule, which fact, and what would change it.
    pub fn refused(reason: &Reason) -> Self {
        Self::new(Exit::Refused, anyhow::Error::new(reason.clone()).context("refused"))
    }

    /// Whose rule it was, where a rule said no.
    fn reason(&self) -> Option<&Reason> {
        self.error.chain().find_map(|cause| match cause.downcast_ref::<ClientError>() {
            Some(ClientError::Declined { reason, .. }) => reason.as_ref(),
            _ => cause.downcast_ref::<Reason>().or_else(|| cause.downcast_ref::<record::Refused>()?.rule()),
        })
    }

    /// The error and its causes, each once: many an error names its cause in its own words already.
    pub fn message(&self) -> String {
        let mut text = String::new();
        for cause in self.error.chain() {
            let words = cause.to_string();
            if !text.contains(&words) {
                text.push_str(if text.is_empty() { "" } else { ": " });
                text.push_str(&words);
            }
        }
        text
    }
}

impl Failed {
    /// As one line of JSON; what a rule refused with `rule`, `fact` and `remedy` beside the words.
    pub fn json(&self) -> String {
        let mut object = serde_json::json!({ "error": self.message(), "exit": self.exit as u8 });
        if let Some(Reason { rule, fact, remedy }) = self.reason() {
            (object["rule"], object["fact"], object["remedy"]) = (serde_json::json!(rule), fact.as_str().into(), remedy.as_str().into());
        }
        object.to_string()
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { exit: Exit::Failure, error: error.into() }
    }
}

pub type Outcome = Result<Exit, Failed>;

#[derive(Parser)]
#[command(name = "placard", version, about, max_term_width = 110)]
#[command(
    after_help = "Exit status: 0 done · 1 failed · 2 wrong usage · 3 invalid configuration · 4 refused · 5 service not running · 6 something missing"
)]
pub struct Cli {
    /// The site's state directory.
    #[arg(long, global = true, env = "PLACARD_STATE", default_value = crate::state::DEFAULT, value_name = "DIR")]
    pub state: PathBuf,
    /// Print one JSON object (or one per line) instead of text; a failure is one on standard error.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command gets.
pub struct Context {
    pub state: StateDirectory,
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run a pipeline.
    Run(run::Args),
    /// Validate a pipeline file without starting it.
    Check(check::Args),
    /// List cameras, decoders, CPU and GPU features.
    Probe(probe::Args),
    /// Make a site's state from one file.
    Commission(commission::Args),
    /// Add a subject to the gallery from image files.
    Enrol(enrol::Args),
    /// Delete a subject from the gallery, and look for it again to show that it is gone.
    Delete(delete::Args),
    /// What delivers each stream; ask a camera what it does by itself: face analytics, recording.
    Device(device::Args),
    /// The gallery's files: make, import, list, count, compact, check, re-key, prove.
    Gallery(gallery::Args),
    /// Search the gallery with an image.
    Search(search::Args),
    /// Verify at a gate that somebody is whom they claim to be: 1:1, with their consent.
    Verify(verify::Args),
    /// Add, list and show models.
    Model(model::Args),
    /// Withdraw a sign, post it again, or record that somebody inspected it.
    Sign(sign::Args),
    /// Zones: what kinds of places there are.
    Zone(zone::Args),
    /// Areas: which part of a stream's picture shows which zone.
    Area(area::Args),
    /// Purposes: what recognition is for, and where.
    Purpose(purpose::Args),
    /// The legal basis of a purpose.
    Basis(basis::Args),
    /// Orders of a public emergency: enter, renew, end.
    Order(order::Args),
    /// Consents: enter one, take one back.
    Consent(consent::Args),
    /// A court's or authority's leave for a purpose: enter one, refuse one.
    Authorisation(authorisation::Args),
    /// Who decided on looking at a zone.
    Governance(governance::Args),
    /// Where cameras see their signs: list, show, remove.
    View(view::Args),
    /// The regimes that the site is under, and what every stream needs.
    Rules(rules::Args),
    /// Ways in that read nobody's body.
    Altpath(altpath::Args),
    /// What was refused, and what was erased when its time was over.
    Record(record::Args),
    /// Objections: enter one, settle one.
    Objection(objection::Args),
    /// People whose signature counts, and the keys that they sign with.
    Person(person::Args),
    /// Proposals that wait for signatures: list, show, sign, reject.
    Approve(approve::Args),
    /// The register in force.
    Register(register::Args),
    /// Say why a stream is on or off and what would change it; profiles, comparisons, simulations.
    Policy(policy::Args),
    /// Show what the running service does, and why.
    Status(status::Args),
    /// Watch the running service live.
    Top(top::Args),
    /// Measure this machine: open-loop latency of a pipeline.
    Bench(bench::Args),
    /// Draw people who do not exist: clips, pictures and photographs with their truth.
    Render(render::Args),
    /// Run the demonstration site.
    #[cfg(feature = "rtsp-server")]
    Demo(demo::Args),
    /// Print shell completions.
    Completions(completions::Args),
    /// Serve clips over RTSP (for demonstrations and tests).
    #[cfg(feature = "rtsp-server")]
    #[command(hide = true)]
    ServeClips(serve_clips::Args),
}

/// Runs the parsed command.
pub fn dispatch(cli: Cli) -> Outcome {
    let context = Context { state: StateDirectory::new(cli.state), json: cli.json };
    match cli.command {
        Command::Run(args) => run::run(&context, args),
        Command::Check(args) => check::run(&context, args),
        Command::Probe(args) => probe::run(&context, args),
        Command::Commission(args) => commission::run(&context, args),
        Command::Enrol(args) => enrol::run(&context, args),
        Command::Delete(args) => delete::run(&context, args),
        Command::Device(args) => device::run(&context, args),
        Command::Gallery(args) => gallery::run(&context, args),
        Command::Search(args) => search::run(&context, &args),
        Command::Verify(args) => verify::run(&context, args),
        Command::Model(args) => model::run(&context, args),
        Command::Sign(args) => sign::run(&context, args),
        Command::Zone(args) => zone::run(&context, args),
        Command::Area(args) => area::run(&context, args),
        Command::Purpose(args) => purpose::run(&context, args),
        Command::Basis(args) => basis::run(&context, args),
        Command::Order(args) => order::run(&context, args),
        Command::Consent(args) => consent::run(&context, args),
        Command::Authorisation(args) => authorisation::run(&context, args),
        Command::Governance(args) => governance::run(&context, args),
        Command::View(args) => view::run(&context, args),
        Command::Rules(args) => rules::run(&context, args),
        Command::Altpath(args) => altpath::run(&context, args),
        Command::Record(args) => record::run(&context, &args),
        Command::Objection(args) => objection::run(&context, args),
        Command::Person(args) => person::run(&context, args),
        Command::Approve(args) => approve::run(&context, args),
        Command::Register(args) => register::run(&context, args),
        Command::Policy(args) => policy::run(&context, args),
        Command::Status(args) => status::run(&context, args),
        Command::Top(args) => top::run(&context, args),
        Command::Bench(args) => bench::run(&context, args),
        Command::Render(args) => render::run(&context, args),
        #[cfg(feature = "rtsp-server")]
        Command::Demo(args) => demo::run(&context, args),
        Command::Completions(args) => completions::run(&context, args),
        #[cfg(feature = "rtsp-server")]
        Command::ServeClips(args) => serve_clips::run(&context, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let missing = crate::config::load(std::path::Path::new("/nowhere/p.toml")).expect_err("not there");
        let message = Failed::new(Exit::Config, missing).message();
        assert_eq!(message, "/nowhere/p.toml: cannot be read: No such file or directory (os error 2)");
        let wrapped = anyhow::Error::from(std::io::Error::other("disk on fire")).context("journal");
        let failed = Failed::new(Exit::Failure, wrapped);
        assert_eq!(failed.message(), "journal: disk on fire");
        assert_eq!(failed.json(), r#"{"error":"journal: disk on fire","exit":1}"#);
    }

    #[test]
    fn a_refusal_tells_rule_fact_and_remedy_apart() {
        let reason = Reason::new(crate::policy::rules::Rule::SignAnnounces, "sign `s` is silent", "say it");
        let refused = Failed::refused(&reason);
        assert_eq!(refused.message(), "refused: sign `s` is silent [sign-announces]; say it");
        let object: serde_json::Value = serde_json::from_str(&refused.json()).expect("JSON");
        let field = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (field("rule"), field("fact"), field("remedy")),
            ("sign-announces".into(), "sign `s` is silent".into(), "say it".into())
        );
        assert_eq!(object["exit"], 4);
        // As a service tells it.
        let declined = ClientError::Declined { kind: "refused".to_owned(), message: "refused: …".to_owned(), reason: Some(reason) };
        assert!(Failed::new(Exit::Refused, declined).json().contains("\"rule\":\"sign-announces\""));
    }
}
