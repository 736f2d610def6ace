//! The `ocelli` command.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use ocelli::cli::Cli;
use ocelli::commands;

/// Nothing was done: the options, the model or the machine do not allow it.
const NOT_STARTED: u8 = 2;

fn main() -> ExitCode {
    commands::run(Cli::parse().command).unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(io::stderr(), "ocelli: {error:#}");
        ExitCode::from(NOT_STARTED)
    })
}
