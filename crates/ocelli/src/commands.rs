//! The subcommands: they translate arguments into calls of the library.

mod bench;
mod bind;
mod files;
mod listener;
mod model;
mod photos;
mod predict;
mod predict_output;
mod queue;
mod serve;
mod settings;
mod shell;
mod web;
mod worker;

use std::process::ExitCode;

use anyhow::Context as _;
use ocelli_bench::BenchError;

use crate::cli::{Cli, Command};
use crate::process::printable::ReaderGone;
use crate::process::{lifecycle, telemetry};

/// Exit status when nothing was done: the options, the model or the machine do not allow it.
pub const NOT_STARTED: u8 = 2;

/// Exit status when something was done and it failed.
const FAILED: u8 = 1;

/// The exit status of a command that ends with `error`.
#[must_use]
pub fn status_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(BenchError::WarmUp { .. }) => FAILED,
        _ => NOT_STARTED,
    }
}

/// Runs a subcommand to its end.
///
/// # Errors
/// When the subcommand cannot start or finish.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { command, log } = cli;
    telemetry::init(
        log.log_level.unwrap_or(command.default_log_level()),
        log.log_format,
    );
    files::allow_least()?;
    lifecycle::outlive_file_limit().context("cannot prepare for a full disk")?;
    let ended = match command {
        Command::Serve(args) => serve::run(&args),
        Command::Web(args) => web::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Queue(args) => queue::run(&args.command),
        Command::Model(args) => model::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    match ended {
        Err(error) if ReaderGone::caused(&error) => Ok(ExitCode::SUCCESS),
        ended => ended,
    }
}
