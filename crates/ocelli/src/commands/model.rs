//! `ocelli model`.

mod list;
mod pull;
mod remove;

use std::process::ExitCode;

use crate::cli::{ModelCommand, ModelCommandArgs};

pub(super) fn run(args: &ModelCommandArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        ModelCommand::Pull(args) => pull::run(args),
        ModelCommand::List(args) => list::run(args),
        ModelCommand::Remove(args) => remove::run(args),
    }
}
