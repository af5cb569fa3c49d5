//! `placard device`: what delivers each stream's picture (C02): list, enter, propose that one goes; and ask a camera over ONVIF what it does by
//! itself, as the running service does for every `[[device]]`.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::fact::{self, Flags, needed};
use super::{Context, Exit, Failed, Outcome};
use crate::ingest::credential::Credential;
use crate::ingest::onvif;
use crate::policy::facts::{Capability, Device, Register};
use crate::policy::observed::DeviceFinding;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    #[command(flatten)]
    Fact(fact::Action<DeviceFlags>),
    /// Ask whether the camera's own face analytics and recording are off. Exit status 4 where they are not, or where it does not say.
    Ask {
        /// Its ONVIF device service: http://192.0.2.7/onvif/device_service
        url: String,
        /// File with `user:password` on its first line, mode 0600.
        #[arg(long, value_name = "FILE")]
        credential_file: Option<PathBuf>,
    },
}

#[derive(clap::Args, Debug)]
struct DeviceFlags {
    /// The stream that it delivers.
    stream: Option<String>,
    /// camera, recording or rendered.
    #[arg(long, value_parser = capability)]
    capability: Option<Capability>,
    /// Its ONVIF device service, which is asked what it does by itself.
    #[arg(long, value_name = "URL")]
    onvif: Option<String>,
    /// SHA-256 of the certificate that it shows (`placard status --json`).
    #[arg(long, value_name = "HEX")]
    tls_sha256: Option<String>,
    /// Seconds between two questions.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    check_every_s: u32,
}

fn capability(text: &str) -> Result<Capability, String> {
    serde_json::from_value(text.into()).map_err(|_| "camera, recording or rendered".to_owned())
}

impl Flags for DeviceFlags {
    type Fact = Device;
    fn fact(self, _register: &Register) -> Result<Device, Failed> {
        Ok(Device {
            stream: needed(self.stream, "the stream")?,
            capability: needed(self.capability, "--capability")?,
            onvif: self.onvif,
            tls_sha256: self.tls_sha256,
            check_every_s: self.check_every_s,
        })
    }
    fn line(device: &Device) -> String {
        let capability = json!(device.capability);
        let asked =
            device.onvif.as_ref().map_or("not asked what it does".to_owned(), |url| format!("{url}, every {} s", device.check_every_s));
        format!(
            "{}; {asked}{}",
            capability.as_str().unwrap_or_default(),
            if device.tls_sha256.is_some() { "; certificate pinned" } else { "" }
        )
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        Action::Fact(action) => fact::run(context, action),
        Action::Ask { url, credential_file } => ask(context, &url, credential_file.as_deref()),
    }
}

fn ask(context: &Context, url: &str, credential_file: Option<&std::path::Path>) -> Outcome {
    let read = credential_file.map(Credential::read).transpose();
    let credential = read.map_err(|error| Failed::new(Exit::Config, error))?;
    let finding = onvif::ask(url, credential.as_ref());
    let (clean, kind, what) = match &finding {
        DeviceFinding::Clean => (true, "clean", None),
        DeviceFinding::FaceAnalytics(name) => (false, "face-analytics", Some(name)),
        DeviceFinding::Records(job) => (false, "records", Some(job)),
        DeviceFinding::NoAnswer(why) => (false, "no-answer", Some(why)),
    };
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", json!({ "url": url, "clean": clean, "finding": kind, "what": what }))?;
    } else {
        let text = match &finding {
            DeviceFinding::Clean => "neither face analytics nor a recording of its own is on".to_owned(),
            DeviceFinding::FaceAnalytics(name) => {
                format!("looks for faces by itself (`{name}`): remove that module or rule in its settings")
            }
            DeviceFinding::Records(job) => format!("records by itself (job `{job}`): end its recording"),
            DeviceFinding::NoAnswer(why) => format!("does not say what it does by itself: {why}"),
        };
        writeln!(out, "{url}: {text}")?;
    }
    Ok(if clean { Exit::Success } else { Exit::Refused })
}
