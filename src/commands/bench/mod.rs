//! `placard bench`: measures this machine, with the operator's own pipeline file or a made-up one.

mod gallery;
mod journey;
mod revoke;
mod trial;

use super::{Context, Outcome};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// How long a search of many templates takes, beside what this machine's memory and multipliers allow.
    Gallery(gallery::Args),
    /// Open loop, from a frame's scheduled arrival to the last thing done with it; frames that were dropped are counted as missed.
    Journey(journey::Args),
    /// How long people are still looked at after the leave to look has ended, with every step busy: sign withdrawn; policy thread stopped,
    /// killed, dead-locked.
    Revoke(revoke::Args),
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.what {
        What::Gallery(args) => gallery::run(context, &args),
        What::Journey(args) => journey::run(context, &args),
        What::Revoke(args) => revoke::run(context, &args),
    }
}
