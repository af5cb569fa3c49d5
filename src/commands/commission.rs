//! `placard commission`: Make a site's state from one file.

use super::{Context, Exit, Failed, Outcome};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_context: &Context, _args: Args) -> Outcome {
    Err(Failed::new(Exit::Failure, anyhow::anyhow!("`placard commission` is not built yet")))
}
