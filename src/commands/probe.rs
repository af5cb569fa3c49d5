//! `placard probe`: what this machine has for Placard to use, and, given a source, what that source delivers. Never shows a pixel.

mod machine;
mod source;

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::{Context, Exit, Outcome};
use crate::config::schema::{Capture, Transport};
pub(super) use machine::Machine;
use source::Opened;

#[derive(clap::Args)]
pub struct Args {
    /// Open this source too, as `source = "…"` in a pipeline file: rtsp://…, v4l2:/dev/video0, file:PATH, image:PATH.
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    /// How long to watch it.
    #[arg(long, default_value_t = 3, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// File with `user:password` for the camera.
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// RTSP over UDP instead of TCP.
    #[arg(long)]
    udp: bool,
    /// Read a V4L2 device without GStreamer.
    #[arg(long)]
    native: bool,
    /// Decoder element to use instead of the highest-ranked one.
    #[arg(long, value_name = "ELEMENT")]
    decoder: Option<String>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Opened>,
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let machine = Machine::inspect();
    let source = args.source.as_deref().map(|text| source::open(text, &args)).transpose()?;
    let exit = if source.as_ref().is_some_and(|s| s.frames == 0) { Exit::Failure } else { Exit::Success };
    let report = Report { machine, source };
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        return Ok(exit);
    }
    match &report.source {
        // Asked about one source, nobody wants to scroll past the machine.
        Some(opened) => opened.print(&mut out)?,
        None => report.machine.print(&mut out)?,
    }
    Ok(exit)
}

impl Args {
    fn transport(&self) -> Transport {
        if self.udp { Transport::Udp } else { Transport::Tcp }
    }
    fn capture(&self) -> Capture {
        if self.native { Capture::Native } else { Capture::Gstreamer }
    }
}
