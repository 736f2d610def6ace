//! `ocelli model list`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use bytesize::ByteSize;
use serde_json::{Value, json};

use crate::cli::ListArgs;
use crate::commands::settings;
use crate::hub::{self, CachedModel};
use crate::process::printable::Lines;

pub(super) fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let config = settings::hub()?;
    let models = hub::list(&config)?;
    let mut out = Lines(io::stdout().lock());
    if args.json {
        for model in &models {
            writeln!(out, "{}", described(model))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if models.is_empty() {
        writeln!(
            out,
            "no hub models in {}; download one with `ocelli model pull hf:owner/name`",
            config.cache.display()
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = |model: &CachedModel| format!("hf:{}", model.repository);
    let longest = models.iter().map(|model| name(model).len()).max();
    let width = longest.unwrap_or_default().max("model".len());
    writeln!(
        out,
        "{:<width$}  {:<12}  {:<12}  {:>10}  ONNX",
        "model", "commit", "revision", "size"
    )?;
    for model in &models {
        let revisions = model.revisions.join(", ");
        let files: Vec<&str> = model.onnx.iter().map(|(file, _)| file.as_str()).collect();
        writeln!(
            out,
            "{:<width$}  {:<12}  {:<12}  {:>10}  {}",
            name(model),
            model.commit.short(),
            if revisions.is_empty() { "-" } else { &revisions },
            ByteSize(model.bytes).to_string(),
            files.join(", ")
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn described(model: &CachedModel) -> Value {
    let files: Vec<Value> = model
        .onnx
        .iter()
        .map(|(file, bytes)| json!({"file": file, "bytes": bytes}))
        .collect();
    json!({
        "model": format!("hf:{}", model.repository),
        "commit": model.commit.as_str(),
        "revisions": model.revisions,
        "onnx": files,
        "bytes": model.bytes,
        "folder": model.folder.display().to_string(),
    })
}
