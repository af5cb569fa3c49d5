//! Arguments → command → exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use placard::commands::{Cli, dispatch};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    match dispatch(cli) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failed) => {
            #[expect(clippy::print_stderr, reason = "the one place where a command's error is shown")]
            {
                eprintln!("placard: {:#}", failed.error);
            }
            ExitCode::from(failed.exit as u8)
        }
    }
}

/// `PLACARD_LOG=debug`, `PLACARD_LOG=placard::ingest=trace`; to standard error, so that `--json` output stays clean.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PLACARD_LOG").unwrap_or_else(|_| "placard=info,warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
}
