//! `placard status`: Show what the running service does, and why.

use super::{Context, Exit, Failed, Outcome};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_context: &Context, _args: Args) -> Outcome {
    Err(Failed::new(Exit::Failure, anyhow::anyhow!("`placard status` is not built yet")))
}
