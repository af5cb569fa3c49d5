//! `placard bench`: measures this machine with the operator's own pipeline file.

mod journey;
mod trial;

use super::{Context, Outcome};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Open loop, from a frame's scheduled arrival to the last thing done with it; frames that were dropped are counted as missed.
    Journey(journey::Args),
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.what {
        What::Journey(args) => journey::run(context, &args),
    }
}
