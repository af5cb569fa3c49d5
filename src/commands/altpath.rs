//! `placard altpath`: ways into an access zone that read nobody's body (C13). Declared here; alive while they send heartbeats.
//!
//! `beat` is for the controller of a card reader, a keypad or a counter: run it after each successful self-test, at least every `heartbeat_s` of
//! the register's entry. The running service alone takes it, and keeps it in memory; with no service there is nobody to recognise anyone.

use std::io::Write;

use super::fact::{self, Action, Flags, needed};
use super::{Context, Exit, Failed, Outcome};
use crate::console::client::{Client, ClientError, segment};
use crate::console::view::AlternativeView;
use crate::policy::facts::{Alternative, AlternativeKind, Register};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: WayIn,
}

#[derive(clap::Subcommand)]
enum WayIn {
    #[command(flatten)]
    Record(Action<AlternativeFlags>),
    /// A way in says that it works; this counts for the `heartbeat_s` of its entry in the register.
    Beat {
        /// Its id.
        id: String,
    },
}

#[derive(clap::Args, Debug)]
struct AlternativeFlags {
    id: Option<String>,
    /// The access zone that it leads into.
    #[arg(long)]
    zone: Option<String>,
    /// card, code, document or staff.
    #[arg(long, value_parser = kind)]
    kind: Option<AlternativeKind>,
    /// How long a heartbeat counts.
    #[arg(long, value_name = "SECONDS")]
    heartbeat_s: Option<u32>,
}

fn kind(text: &str) -> Result<AlternativeKind, String> {
    serde_json::from_value(text.into()).map_err(|_| "card, code, document or staff; no biometric is another way".to_owned())
}

impl Flags for AlternativeFlags {
    type Fact = Alternative;
    fn fact(self, _register: &Register) -> Result<Alternative, Failed> {
        Ok(Alternative {
            id: needed(self.id, "its id")?,
            zone: needed(self.zone, "--zone")?,
            kind: needed(self.kind, "--kind")?,
            heartbeat_s: needed(self.heartbeat_s, "--heartbeat-s")?,
        })
    }
    fn line(way: &Alternative) -> String {
        format!("into {}, heartbeat every {} s", way.zone, way.heartbeat_s)
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        WayIn::Record(action) => fact::run(context, action),
        WayIn::Beat { id } => beat(context, &id),
    }
}

fn beat(context: &Context, id: &str) -> Outcome {
    let client = Client::new(context.state.control_socket())?;
    let answered = client.post::<AlternativeView>(&format!("/v1/alternatives/{}/beat", segment(id)));
    let view = answered.map_err(|error| {
        let exit = match &error {
            ClientError::NotRunning { .. } => Exit::NotRunning,
            ClientError::Declined { kind, .. } if kind == "not-found" => Exit::Usage,
            ClientError::Declined { kind, .. } if kind == "invalid" => Exit::Config,
            _ => Exit::Failure,
        };
        Failed::new(exit, error)
    })?;
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", serde_json::to_string(&view)?)?;
    } else {
        writeln!(out, "`{}` is alive: zone `{}` has a way in without a face for {} s", view.alternative, view.zone, view.counts_s)?;
    }
    Ok(Exit::Success)
}
