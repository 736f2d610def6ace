//! The `ocelli` command.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use ocelli::process::printable;
use ocelli::process::printable::ReaderGone;
use ocelli::process::telemetry::{self, Flush, LogFormat};
use ocelli::{cli, commands};

/// Unless this is 1, ONNX Runtime from 1.31 on tells its maker that and how it is used, from the moment it is loaded and
/// whatever its own interface is told later. A server of people's photos tells nobody anything.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

fn main() -> ExitCode {
    let _last_words = Flush;
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let format = cli.log.log_format;
    silence_onnxruntime()
        .and_then(|()| commands::run(cli))
        .unwrap_or_else(|error| {
            telemetry::say_failure(format, &said(&error));
            ExitCode::from(commands::status_of(&error))
        })
}

/// Prints the help or what is wrong with the command line.
fn misused(error: &clap::Error) -> ExitCode {
    let format = if cli::wants_json(std::env::args_os()) {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    if error.use_stderr() && format == LogFormat::Json {
        telemetry::say_failure(format, error.to_string().trim_end());
    } else if let Err(unprinted) = error.print() {
        return unread(error, unprinted, format);
    }
    // The parser's own statuses are 0 for help and 2 for mistakes.
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// What it means that a help text or a mistake could not be printed.
fn unread(error: &clap::Error, unprinted: io::Error, format: LogFormat) -> ExitCode {
    // Nothing can be said of a standard error that cannot be written, and a reader of the help may stop reading.
    if error.use_stderr() {
        return ExitCode::from(commands::NOT_STARTED);
    }
    let unprinted = anyhow::Error::new(ReaderGone::mark(unprinted));
    if ReaderGone::caused(&unprinted) {
        return ExitCode::SUCCESS;
    }
    telemetry::say_failure(format, &said(&unprinted));
    ExitCode::from(commands::NOT_STARTED)
}

/// An error and its causes, without those that its text names already.
fn said(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    printable::lines(&text).into_owned()
}

/// Starts this program anew, in the same process, with an environment that keeps ONNX Runtime quiet: a program cannot
/// safely change the environment that it has. Somebody who has set the variable has decided.
fn silence_onnxruntime() -> anyhow::Result<()> {
    if std::env::var_os(NO_TELEMETRY).is_some_and(|value| !value.is_empty()) {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let program = std::env::current_exe();
    let failed = |error: io::Error| {
        anyhow::anyhow!("cannot start again without ONNX Runtime's telemetry: {error}; set {NO_TELEMETRY}=1")
    };
    let mut again = Command::new(program.map_err(failed)?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(failed(again.args(arguments).env(NO_TELEMETRY, "1").exec()))
}
