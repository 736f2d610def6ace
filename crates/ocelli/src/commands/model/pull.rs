//! `ocelli model pull`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use bytesize::ByteSize;
use ocelli_vision::Task;
use ocelli_vision::auto::Hints;

use crate::cli::PullArgs;
use crate::commands::settings;
use crate::hub;
use crate::models::source;
use crate::models::source::Opened;
use crate::process::printable::Lines;

pub(super) fn run(args: &PullArgs) -> anyhow::Result<ExitCode> {
    let fetched = hub::fetch(&args.spec.parse()?, &settings::hub()?)?;
    let source = match fetched.fetched {
        0 => "already in the cache".to_owned(),
        bytes => format!("{} downloaded", ByteSize(bytes)),
    };
    let mut out = Lines(io::stdout().lock());
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
    // The download has succeeded even if the model needs more options to be served.
    match source::fetched_here(&fetched, Hints::default()) {
        Ok(opened) => writeln!(out, "  serves    {}", described(&opened))?,
        Err(error) => writeln!(out, "  warning   cannot be served without more options: {error}")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Such as `classification of 1000 classes, from a Hugging Face folder`.
fn described(opened: &Opened) -> String {
    let card = &opened.package.card;
    let task = match card.manifest.task {
        Task::Classification => "classification",
        Task::Multilabel => "multi-label classification",
        Task::Embedding => "feature vectors",
    };
    let classes = card.labels.first().map_or(0, Vec::len);
    let classes = match classes {
        0 => String::new(),
        classes => format!(" of {classes} classes"),
    };
    let kind = opened.kind.map(|kind| format!(", from a {kind}"));
    format!("{task}{classes}{}", kind.unwrap_or_default())
}
