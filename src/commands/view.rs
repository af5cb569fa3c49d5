//! `placard view`: where cameras see their signs (C14). `placard sign view` learns one from the pictures and enters it; here views are listed, entered from a file,
//! and proposed to go. A stream whose view goes counts by its sign's inspection alone, so that takes two approvers.

use super::fact::{self, Action, Flags};
use super::{Context, Exit, Failed, Outcome};
use crate::policy::facts::{Register, View};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action<ViewFlags>,
}

/// Nobody types corners and fingerprints.
#[derive(clap::Args, Debug)]
struct ViewFlags {}

impl Flags for ViewFlags {
    type Fact = View;
    fn fact(self, _register: &Register) -> Result<View, Failed> {
        let how = anyhow::anyhow!(
            "a view is learned from the pictures (`placard sign view STREAM SIGN --pipeline FILE`), or given with --file FACT.toml"
        );
        Err(Failed::new(Exit::Usage, how))
    }
    fn line(view: &View) -> String {
        let drift = if view.fingerprint.is_some() { "code and picture" } else { "code alone" };
        format!("stream {} reads sign {} every {} s ({drift})", view.stream, view.sign, view.attest_every_s)
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    fact::run(context, args.action)
}
