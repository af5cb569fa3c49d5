//! `placard bench`: Measure this machine: open-loop latency of a pipeline.

use super::{Context, Exit, Failed, Outcome};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_context: &Context, _args: Args) -> Outcome {
    Err(Failed::new(Exit::Failure, anyhow::anyhow!("`placard bench` is not built yet")))
}
