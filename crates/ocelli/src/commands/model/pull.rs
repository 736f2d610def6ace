//! `ocelli model pull`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use bytesize::ByteSize;

use crate::cli::PullArgs;
use crate::commands::settings;
use crate::hub;
use crate::telemetry;

pub(super) fn run(args: &PullArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log);
    let fetched = hub::fetch(&args.spec.parse()?, &settings::hub()?)?;
    let source = match fetched.fetched {
        0 => "all of it was in the cache".to_owned(),
        bytes => format!("{} were fetched", ByteSize(bytes)),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{}", fetched.spec)?;
    writeln!(
        out,
        "  revision  {} is commit {}",
        fetched.spec.revision(),
        fetched.commit
    )?;
    writeln!(out, "  model     {}: {}", fetched.onnx.display(), fetched.why)?;
    writeln!(out, "  size      {}; {source}", ByteSize(fetched.bytes))?;
    writeln!(out, "  folder    {}", fetched.folder.display())?;
    Ok(ExitCode::SUCCESS)
}
