//! The `ocelli` command.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use ocelli::process::printable;
use ocelli::process::printable::ReaderGone;
use ocelli::process::telemetry::{self, Flush, LogFormat};
use ocelli::{cli, commands};

/// Unless this is 1, ONNX Runtime 1.31 and later sends usage data to its vendor as soon as it is loaded, even if its API
/// disables telemetry later. A server of users' photos must not send anything.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

fn main() -> ExitCode {
    let _flush = Flush;
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return print_parse_error(&error),
    };
    let format = cli.log.log_format;
    silence_onnxruntime()
        .and_then(|()| commands::run(cli))
        .unwrap_or_else(|error| {
            telemetry::log_failure(format, &with_causes(&error));
            ExitCode::from(commands::status_of(&error))
        })
}

/// Prints help, or the error in the command line.
fn print_parse_error(error: &clap::Error) -> ExitCode {
    let format = if cli::wants_json(std::env::args_os()) {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    if error.use_stderr() && format == LogFormat::Json {
        telemetry::log_failure(format, error.to_string().trim_end());
    } else if let Err(write_error) = error.print() {
        return status_of_failed_print(error, write_error, format);
    }
    // Clap's statuses are 0 for help and 2 for errors.
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn status_of_failed_print(error: &clap::Error, write_error: io::Error, format: LogFormat) -> ExitCode {
    // A failure of standard error cannot be reported, and a reader of the help may close the pipe early.
    if error.use_stderr() {
        return ExitCode::from(commands::NOT_STARTED);
    }
    let write_error = anyhow::Error::new(ReaderGone::mark(write_error));
    if ReaderGone::caused(&write_error) {
        return ExitCode::SUCCESS;
    }
    telemetry::log_failure(format, &with_causes(&write_error));
    ExitCode::from(commands::NOT_STARTED)
}

/// An error and its causes, without those that its text contains already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    printable::lines(&text).into_owned()
}

/// Re-executes this program with telemetry disabled in the environment, because a program cannot safely change its own
/// environment. A value set by the user is kept.
fn silence_onnxruntime() -> anyhow::Result<()> {
    if std::env::var_os(NO_TELEMETRY).is_some_and(|value| !value.is_empty()) {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let program = std::env::current_exe();
    let failed = |error: io::Error| {
        anyhow::anyhow!(
            "cannot restart with ONNX Runtime's telemetry disabled: {error}; set {NO_TELEMETRY}=1"
        )
    };
    let mut again = Command::new(program.map_err(failed)?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(failed(again.args(arguments).env(NO_TELEMETRY, "1").exec()))
}
