//! `placard device`: ask a camera over ONVIF what it does by itself (C02), as the running service does for every `[[device]]`.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::{Context, Exit, Failed, Outcome};
use crate::ingest::credential::Credential;
use crate::ingest::onvif;
use crate::policy::observed::DeviceFinding;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Ask whether the camera's own face analytics and recording are off. Exit status 4 where they are not, or where it does not say.
    Ask {
        /// Its ONVIF device service: http://192.0.2.7/onvif/device_service
        url: String,
        /// File with `user:password` on its first line, mode 0600.
        #[arg(long, value_name = "FILE")]
        credential_file: Option<PathBuf>,
    },
}

pub fn run(context: &Context, args: Args) -> Outcome {
    let Action::Ask { url, credential_file } = args.action;
    let read = credential_file.as_deref().map(Credential::read).transpose();
    let credential = read.map_err(|error| Failed::new(Exit::Config, error))?;
    let finding = onvif::ask(&url, credential.as_ref());
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
