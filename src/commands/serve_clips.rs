//! `placard serve-clips`: Serve clips over RTSP.

use super::{Context, Exit, Failed, Outcome};

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_context: &Context, _args: Args) -> Outcome {
    Err(Failed::new(Exit::Failure, anyhow::anyhow!("`placard serve-clips` is not built yet")))
}
