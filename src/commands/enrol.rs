//! `placard enrol`: Add a subject to the gallery from image files.

use super::{Context, Exit, Failed, Outcome};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_context: &Context, _args: Args) -> Outcome {
    Err(Failed::new(Exit::Failure, anyhow::anyhow!("`placard enrol` is not built yet")))
}
