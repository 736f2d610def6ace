//! Errors about files that a package lacks: often a file is there under another name or in another form.

use std::{fs, path::Path};

use crate::{FileError, Format, PackageError};

/// How many files of the folder are looked at.
const MOST_ENTRIES: usize = 1000;

/// The same error, or what to do where the file is missing from the package `dir`.
pub(super) fn explain(error: FileError, dir: &Path) -> PackageError {
    let FileError::Read { path, .. } = &error else {
        return error.into();
    };
    if !error.is_missing() {
        return error.into();
    }
    let wants_onnx = path.extension().is_some_and(|end| end == "onnx");
    let names = names(dir);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let remedy = match (
        wants_onnx,
        names.iter().find(|name| name.ends_with(".onnx")),
        Format::among(&names),
    ) {
        (true, Some(other), _) => format!("rename {other} to model.onnx"),
        (true, None, Some((foreign, format))) => format!("{foreign} {format}"),
        _ => "a package is a folder with model.toml, model.onnx and its labels".to_owned(),
    };
    PackageError::Missing {
        path: path.clone(),
        remedy,
    }
}

/// The names in the folder, in order; none if it cannot be listed.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().take(MOST_ENTRIES);
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
