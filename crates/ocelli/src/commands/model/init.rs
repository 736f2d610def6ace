//! `ocelli model init`: writes a model as a package.

use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use ocelli_vision::{ModelPackage, auto};

use super::staging::{PackagePart, Staging};
use crate::cli::InitArgs;
use crate::commands::{settings, shell};
use crate::models::source::Opened;
use crate::process::printable::Lines;

const ONNX_FILE: &str = "model.onnx";
const MANIFEST_FILE: &str = "model.toml";

pub(super) fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let mut opened = settings::open(args.spec.as_deref(), &args.hints)?;
    // As --model-dir does.
    if let Some((name, version)) = args.out.as_deref().and_then(names_of) {
        opened.package = opened.package.renamed(&name, version.as_deref())?;
    }
    let package = &opened.package;
    let dir = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(&package.card.manifest.name));
    let labels = label_files(package);
    let mut parts: Vec<PackagePart<'_>> = labels
        .iter()
        .map(|(name, text)| PackagePart {
            name: name.clone(),
            content: text.as_bytes(),
            original: None,
        })
        .collect();
    parts.extend(weights(&opened));
    // Last, so that a folder with a manifest is complete.
    parts.push(PackagePart {
        name: MANIFEST_FILE.to_owned(),
        content: package.card.toml.as_bytes(),
        original: None,
    });
    refuse_two_of_a_name(&opened)?;
    if !args.force {
        refuse_to_overwrite(&dir, &parts)?;
    }
    let ways = write(&dir, &parts)?;
    let mut out = Lines(io::stdout().lock());
    for (part, way) in parts.iter().zip(ways) {
        writeln!(out, "{way:<9} {}", dir.join(&part.name).display())?;
    }
    if !opened.notes.is_empty() {
        writeln!(out)?;
    }
    for note in &opened.notes {
        writeln!(out, "  - {note}")?;
    }
    let manifest = dir.join(MANIFEST_FILE);
    let dir = dir.to_string_lossy();
    let dir = shell::word(&dir);
    writeln!(
        out,
        "\nEdit {}, then `ocelli model check {dir} PHOTO` and `ocelli serve --model {dir}`.",
        manifest.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Name and version of a model in this folder, as in a model folder: `NAME` or `NAME/VERSION`.
fn names_of(dir: &Path) -> Option<(String, Option<String>)> {
    // A path such as `.` has no name of its own.
    let absolute = std::path::absolute(dir).ok()?;
    let name = absolute.file_name()?.to_str()?;
    if !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some((auto::model_name(name), None));
    }
    let above = absolute.parent()?.file_name()?.to_str()?;
    Some((auto::model_name(above), Some(name.to_owned())))
}

/// Refuses weights that would overwrite another file of the package.
fn refuse_two_of_a_name(opened: &Opened) -> anyhow::Result<()> {
    let package = &opened.package;
    let labels = package
        .card
        .manifest
        .outputs
        .iter()
        .filter_map(|output| output.labels.as_deref());
    let own: Vec<&str> = [ONNX_FILE, MANIFEST_FILE].into_iter().chain(labels).collect();
    let twin = package
        .external
        .iter()
        .find(|file| own.iter().any(|name| Path::new(name) == plain(&file.name)));
    let Some(twin) = twin else {
        return Ok(());
    };
    anyhow::bail!(
        "the ONNX file has weights in {:?}, a name that the package uses itself; export the model again with its weights \
         inside, or in a file of another name",
        twin.name
    )
}

/// A path without `.` components.
fn plain(name: &str) -> PathBuf {
    Path::new(name)
        .components()
        .filter(|part| !matches!(part, Component::CurDir))
        .collect()
}

/// The label files, with one label per line; outputs may share a file.
fn label_files(package: &ModelPackage) -> Vec<(String, String)> {
    let card = &package.card;
    let mut files: Vec<(String, String)> = Vec::new();
    for (output, labels) in card.manifest.outputs.iter().zip(&card.labels) {
        if let Some(name) = &output.labels
            && files.iter().all(|(known, _)| known != name)
        {
            let mut text: String = labels.iter().map(|label| format!("{label}\n")).collect();
            // The reader ignores one empty line at the end, as editors leave it.
            if labels.last().is_some_and(String::is_empty) {
                text.push('\n');
            }
            files.push((name.clone(), text));
        }
    }
    files
}

/// The ONNX file and its external weights.
fn weights(opened: &Opened) -> Vec<PackagePart<'_>> {
    let package = &opened.package;
    let folder = opened.onnx.as_deref().and_then(Path::parent);
    let external = package.external.iter().map(|file| PackagePart {
        name: file.name.clone(),
        content: &file.bytes,
        original: folder.map(|folder| folder.join(&file.name)),
    });
    let onnx = PackagePart {
        name: ONNX_FILE.to_owned(),
        content: &package.onnx,
        original: opened.onnx.clone(),
    };
    external.chain([onnx]).collect()
}

fn refuse_to_overwrite(dir: &Path, parts: &[PackagePart<'_>]) -> anyhow::Result<()> {
    let there: Vec<String> = parts
        .iter()
        .map(|part| dir.join(&part.name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    anyhow::ensure!(
        there.is_empty(),
        "{} would be overwritten; choose another folder with --out, or use --force",
        there.join(", ")
    );
    Ok(())
}

/// Writes all parts and returns how each was written.
///
/// # Errors
/// When a part cannot be written; then none is.
fn write(dir: &Path, parts: &[PackagePart<'_>]) -> anyhow::Result<Vec<&'static str>> {
    let mut staging = Staging::default();
    let ways = parts
        .iter()
        .map(|part| {
            let way = staging.add(dir, part);
            way.map_err(|error| unwritable(&dir.join(&part.name), &error))
        })
        .collect::<anyhow::Result<_>>()?;
    staging
        .commit()
        .map_err(|(path, error)| unwritable(&path, &error))?;
    Ok(ways)
}

fn unwritable(path: &Path, error: &io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or choose a folder on a larger disk with --out"
        }
        io::ErrorKind::FileTooLarge => {
            "raise the limit on the size of files (ulimit -f), or choose a folder on another disk with --out"
        }
        io::ErrorKind::IsADirectory => "remove this folder, or choose another one with --out",
        _ => "choose a writable folder with --out",
    };
    anyhow::anyhow!("cannot write {}: {error}; {remedy}", path.display())
}
