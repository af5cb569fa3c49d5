//! `placard zone`: the kinds of places that a site has (C01).

use super::fact::{self, Action, Flags, needed};
use super::{Context, Failed, Outcome};
use crate::policy::facts::{Register, Zone, ZoneKind};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action<ZoneFlags>,
}

#[derive(clap::Args, Debug)]
struct ZoneFlags {
    /// The zone's id: letters, digits, `-`, `_`, `.`.
    id: Option<String>,
    /// public, access, staff or private (never looked at).
    #[arg(long, value_parser = kind)]
    kind: Option<ZoneKind>,
}

fn kind(text: &str) -> Result<ZoneKind, String> {
    [ZoneKind::Public, ZoneKind::Access, ZoneKind::Staff, ZoneKind::Private]
        .into_iter()
        .find(|k| k.to_string() == text)
        .ok_or_else(|| "public, access, staff or private".to_owned())
}

impl Flags for ZoneFlags {
    type Fact = Zone;
    fn fact(self, _register: &Register) -> Result<Zone, Failed> {
        Ok(Zone { id: needed(self.id, "the zone's id")?, kind: needed(self.kind, "--kind")? })
    }
    fn line(zone: &Zone) -> String {
        zone.kind.to_string()
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    fact::run(context, args.action)
}
