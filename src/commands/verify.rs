//! `placard verify --stream GATE PERSON`: whether whoever stands in front of a gate's camera is the one whom they claim to be (1:1).
//!
//! For a gate's controller: somebody shows a card, the controller asks. The running service alone can answer, because it alone has the camera
//! and knows whether the other way in is alive. One face, the nearest, is compared once, with that one person's templates and nobody else's.

use std::io::Write;

use super::{Context, Exit, Failed, Outcome, status};
use crate::console::client::{ClientError, segment};
use crate::console::view::VerificationView;

#[derive(clap::Args)]
pub struct Args {
    /// The gate's stream, as the pipeline file names it.
    #[arg(long, value_name = "NAME")]
    stream: String,
    /// Whom somebody claims to be: a subject's id, or the id of its consent.
    person: String,
    /// How long their face is looked for.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=8))]
    within: u64,
}

/// Success is a match; whatever else happens, the gate stays shut and the other way in is theirs.
pub fn run(context: &Context, args: Args) -> Outcome {
    let client = status::connect(context)?;
    let path = format!("/v1/streams/{}/verify?person={}&within_s={}", segment(&args.stream), segment(&args.person), args.within);
    let view: VerificationView = client.post(&path).map_err(|error| match &error {
        ClientError::Declined { kind, .. } if kind == "not-found" => Failed::new(Exit::Usage, error),
        _ => status::failed(error),
    })?;
    let mut out = std::io::stdout().lock();
    if context.json {
        writeln!(out, "{}", serde_json::to_string(&view)?)?;
    } else {
        writeln!(out, "{}", text(&view))?;
    }
    Ok(if view.outcome == "match" { Exit::Success } else { Exit::Refused })
}

fn text(view: &VerificationView) -> String {
    let VerificationView { stream, subject, .. } = view;
    let (score, threshold) = (view.score.unwrap_or(0.0), view.threshold.unwrap_or(0.0));
    match view.outcome.as_str() {
        "match" => format!("match: whoever is at `{stream}` is like {subject}: {score:.2}, {threshold:.2} is needed"),
        "no-match" => {
            format!("no match: whoever is nearest at `{stream}` is like {subject} by {score:.2}, {threshold:.2} is needed")
        }
        _ => format!("nobody was seen at `{stream}`, near and clear enough, to be compared with {subject}: let them in another way"),
    }
}
