//! The `ocelli` command.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use ocelli::telemetry::{self, Flush};
use ocelli::{cli, commands, printable};

/// Nothing was done: the options, the model or the machine do not allow it.
const NOT_STARTED: u8 = 2;

/// Unless this is 1, ONNX Runtime from 1.31 on tells its maker that and how it is used, from the moment it is loaded and
/// whatever its own interface is told later. A server of people's photos tells nobody anything.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

fn main() -> ExitCode {
    let _last_words = Flush;
    let command = cli::parse(std::env::args_os())
        .unwrap_or_else(|error| cli::improve(error).exit())
        .command;
    silence_onnxruntime()
        .and_then(|()| commands::run(command))
        .unwrap_or_else(|error| {
            telemetry::say(&format!("ocelli: {}", said(&error)));
            ExitCode::from(NOT_STARTED)
        })
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
