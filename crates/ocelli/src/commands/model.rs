//! `ocelli model`.

mod check;
mod check_report;
mod init;
mod list;
mod npy;
mod pull;
mod remove;
mod show;
mod staging;

use std::process::ExitCode;

use crate::cli::{ModelCommand, ModelCommandArgs};

pub(super) fn run(args: &ModelCommandArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        ModelCommand::Show(args) => show::run(args),
        ModelCommand::Check(args) => check::run(args),
        ModelCommand::Init(args) => init::run(args),
        ModelCommand::Pull(args) => pull::run(args),
        ModelCommand::List(args) => list::run(args),
        ModelCommand::Remove(args) => remove::run(args),
    }
}
