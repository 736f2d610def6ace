//! `ocelli model`.

mod pull;

use std::process::ExitCode;

use crate::cli::{ModelCommand, ModelCommandArgs};

pub(super) fn run(args: &ModelCommandArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        ModelCommand::Pull(args) => pull::run(args),
    }
}
