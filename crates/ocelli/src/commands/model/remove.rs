//! `ocelli model remove`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use bytesize::ByteSize;

use crate::cli::RemoveArgs;
use crate::commands::settings;
use crate::hub::{self, HubSpec};
use crate::process::printable::Lines;

pub(super) fn run(args: &RemoveArgs) -> anyhow::Result<ExitCode> {
    let spec: HubSpec = args.spec.parse()?;
    let removed = hub::remove(&spec, &settings::hub()?)?;
    writeln!(
        Lines(io::stdout().lock()),
        "removed {spec}: {} freed (files: {}, commits: {})",
        ByteSize(removed.bytes),
        removed.files,
        removed.commits
    )?;
    Ok(ExitCode::SUCCESS)
}
