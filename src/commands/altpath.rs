//! `placard altpath`: ways into an access zone that read nobody's body (C13). Declared here; alive while they send heartbeats.

use super::fact::{self, Action, Flags, needed};
use super::{Context, Failed, Outcome};
use crate::policy::facts::{Alternative, AlternativeKind, Register};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action<AlternativeFlags>,
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
    fact::run(context, args.action)
}
