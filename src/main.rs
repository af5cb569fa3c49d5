//! Arguments → command → exit code.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use clap::Parser;
use placard::commands::{Cli, dispatch};

/// From 1.29 on, ONNX Runtime keeps a device id and uploads what it runs to its maker, unless this is `1` *before* the library is loaded.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

fn main() -> ExitCode {
    if std::env::var_os(NO_TELEMETRY).is_none_or(|value| value != "1") {
        return start_without_telemetry();
    }
    let cli = Cli::parse();
    start_log();
    let json = cli.json;
    match dispatch(cli) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failed) => {
            #[expect(clippy::print_stderr, reason = "the one place where a command's error is shown")]
            {
                if json {
                    eprintln!("{}", failed.json());
                } else {
                    eprintln!("placard: {}", failed.message());
                }
            }
            ExitCode::from(failed.exit as u8)
        }
    }
}

/// This program again, in the same process, with telemetry switched off. A variable set from within would not be safe: libraries read
/// the environment from threads of their own. Returns only if that fails, and then nothing runs (C31).
fn start_without_telemetry() -> ExitCode {
    let failed = std::env::current_exe().map(|program| {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| program.clone().into_os_string());
        std::process::Command::new(&program).arg0(name).args(arguments).env(NO_TELEMETRY, "1").exec()
    });
    let (Ok(error) | Err(error)) = failed;
    #[expect(clippy::print_stderr, reason = "nothing else runs yet")]
    {
        eprintln!("placard: cannot switch off telemetry: {error}; set {NO_TELEMETRY}=1");
    }
    ExitCode::FAILURE
}

/// `PLACARD_LOG=debug`, `PLACARD_LOG=placard::ingest=trace`; to standard error, so that `--json` output stays clean.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PLACARD_LOG").unwrap_or_else(|_| "placard=info,warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
}
