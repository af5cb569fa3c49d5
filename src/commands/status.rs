//! `placard status`: what the running service does, and why, on one screen of at most 100 columns.

pub(super) mod rows;

use std::io::Write;

use super::{Context, Exit, Failed, Outcome};
use crate::console::client::{Client, ClientError};
use crate::console::view::StatusView;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(context: &Context, _args: Args) -> Outcome {
    let client = connect(context)?;
    if context.json {
        // As it came, so that fields of a newer service are not lost.
        let status: serde_json::Value = client.get("/v1/status").map_err(failed)?;
        writeln!(std::io::stdout().lock(), "{status}")?;
    } else {
        let status: StatusView = client.get("/v1/status").map_err(failed)?;
        std::io::stdout().lock().write_all(text(&status).as_bytes())?;
    }
    Ok(Exit::Success)
}

/// A client for the service of `--state`.
pub(super) fn connect(context: &Context) -> Result<Client, Failed> {
    Client::new(context.state.control_socket()).map_err(failed)
}

/// The exit status that tells scripts what went wrong.
pub(super) fn failed(error: ClientError) -> Failed {
    let exit = match &error {
        ClientError::NotRunning { .. } => Exit::NotRunning,
        ClientError::Forbidden(_) => Exit::Refused,
        ClientError::Declined { kind, .. } if kind == "refused" => Exit::Refused,
        ClientError::Declined { kind, .. } if kind == "invalid" => Exit::Config,
        _ => Exit::Failure,
    };
    Failed::new(exit, error)
}

fn text(status: &StatusView) -> String {
    let mut lines = rows::header(status);
    lines.push(String::new());
    lines.push(rows::STREAMS.line());
    for stream in &status.streams {
        lines.push(rows::STREAMS.row(&rows::stream(stream)));
        lines.extend(rows::wrapped(&rows::why(stream), 4, rows::WIDTH));
    }
    if !status.steps.is_empty() {
        lines.push(String::new());
        lines.push(rows::STEPS.line());
        lines.extend(rows::in_journey_order(&status.steps).into_iter().map(|step| rows::STEPS.row(&rows::step(step))));
    }
    if !status.networks.is_empty() {
        lines.push(String::new());
        lines.push(rows::NETWORKS.line());
        lines.extend(status.networks.iter().map(|network| rows::NETWORKS.row(&rows::network(network))));
    }
    if !status.alarms.is_empty() {
        lines.extend([String::new(), "ALARMS".to_owned()]);
        lines.extend(status.alarms.iter().flat_map(|alarm| rows::wrapped(&rows::plain(alarm), 4, rows::WIDTH)));
    }
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Appliance;
    use crate::console::fake::Fake;
    use crate::console::view::{StepView, StreamView};
    use crate::state::StateDirectory;

    #[test]
    fn everything_fits_a_hundred_columns() {
        let mut status = Fake::new().status();
        status.streams.push(StreamView {
            name: "x".repeat(32),
            reason: "a reason that goes on and on ".repeat(12),
            health_detail: "line\u{1b}[31mbreak\nwith escape".to_owned(),
            state: "capture-only".to_owned(),
            health: "connecting".to_owned(),
            width: 8_192,
            height: 8_192,
            frames: u64::MAX,
            overwritten: 123_456_789,
            fps_in: 240.0,
            ..StreamView::default()
        });
        status.alarms.push("an alarm of great length ".repeat(10));
        status.pipeline = "/very/long/path".repeat(12);
        let shown = text(&status);
        for line in shown.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
        assert!(!shown.contains('\u{1b}'));
        let gate = shown.lines().find(|l| l.starts_with("north-gate")).expect("a row");
        assert!(gate.contains("recognise") && gate.contains("live") && gate.contains("1920×1080"), "{gate}");
        assert!(shown.contains("no sign covers this stream's area"));
        assert!(shown.contains("Could not connect to server"));
        let network = shown.lines().find(|l| l.starts_with("yunet-n")).expect("a row");
        assert!(network.contains("face detector") && network.contains("fused executor, int8 (avx512-vnni)"), "{network}");
    }

    #[test]
    fn steps_stand_in_the_order_of_the_journey() {
        let step = |name: &str, count| StepView { name: name.to_owned(), count, p50_ms: 1.0, ..StepView::default() };
        let steps = ["emit", "capture-to-emission", "detect", "capture-to-done", "batch"].map(|name| step(name, 7));
        let names: Vec<&str> = rows::in_journey_order(&steps).iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["batch", "detect", "emit", "capture-to-done", "capture-to-emission"]);
        assert_eq!(rows::step(&step("emit", 0))[2], "–", "nothing was measured: not zero");
    }

    #[test]
    fn no_service_is_an_exit_of_its_own() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let context = Context { state: StateDirectory::new(directory.path()), json: false };
        let error = run(&context, Args {}).expect_err("nothing runs");
        assert_eq!(error.exit, Exit::NotRunning);
        assert!(error.error.to_string().contains("placard run"));
    }
}
