//! What to tell somebody whose package lacks a file: mostly that the file is there under another name or form.

use std::{fs, path::Path};

use crate::{FileError, PackageError};

/// How many files of the folder are looked at.
const MOST_ENTRIES: usize = 1000;

/// Files of other frameworks, by how their names end. Many are pickles, which run programs when they are opened.
const FOREIGN: [&str; 10] = [
    ".pt",
    ".pth",
    ".bin",
    ".pkl",
    ".ckpt",
    ".mar",
    ".h5",
    ".keras",
    ".safetensors",
    ".tflite",
];

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
    let ending = |ends: &[&str]| {
        names
            .iter()
            .find(|name| ends.iter().any(|end| name.ends_with(end)))
    };
    let remedy = match (wants_onnx, ending(&[".onnx"]), ending(&FOREIGN)) {
        (true, Some(other), _) => format!("rename {other} to model.onnx"),
        (true, None, Some(foreign)) => {
            format!(
                "{foreign} is another framework's file, which Ocelli never opens; make an ONNX file of it with tools/to_onnx.py"
            )
        }
        _ => "a package is a folder with model.toml, model.onnx and its labels".to_owned(),
    };
    PackageError::Missing {
        path: path.clone(),
        remedy,
    }
}

/// Names in the folder, in order; what cannot be listed has none.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().take(MOST_ENTRIES);
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
