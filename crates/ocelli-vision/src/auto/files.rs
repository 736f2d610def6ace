//! A model's files: nothing outside its folder, nothing larger than it may be, and nothing that holds Python objects.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::AutoError;
use crate::{
    ExternalData, FileError, Format,
    files::Files,
    graph::{Graph, GraphError},
    package::{MAX_TEXT_BYTES, read_external, read_onnx},
};

/// Files of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;

pub(super) struct Folder {
    dir: PathBuf,
    root: PathBuf,
    files: Files,
}

impl Folder {
    /// `root` is a larger folder that links may lead into, as the cache of a hub needs; by default `dir` itself.
    pub(super) fn open(dir: &Path, root: Option<&Path>) -> Result<Self, AutoError> {
        let root = root.unwrap_or(dir);
        Ok(Self {
            files: Files::within(root)?,
            dir: dir.into(),
            root: root.into(),
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The text of a file, if there is one of that name.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, AutoError> {
        match self.files.read_text(&self.path(name), MAX_TEXT_BYTES) {
            Err(error) if error.is_missing() => Ok(None),
            read => Ok(Some(read?)),
        }
    }

    pub(super) fn onnx(&self, name: &str) -> Result<Vec<u8>, AutoError> {
        refuse_foreign(&self.path(name))?;
        Ok(read_onnx(&self.files, &self.path(name))?)
    }

    /// The files with weights that the ONNX file of that name needs, whose graph this is.
    pub(super) fn external(&self, name: &str, graph: &Graph) -> Result<Vec<ExternalData>, AutoError> {
        Ok(read_external(&self.files, &self.path(name), &graph.external)?)
    }

    /// The files here and in the folder `onnx`, by name with `/` between, in order.
    pub(super) fn names(&self) -> Result<Vec<String>, AutoError> {
        let mut names = Vec::new();
        for folder in ["", "onnx/"] {
            let path = self.path(folder);
            if !path.is_dir() {
                continue;
            }
            let failed = |source| FileError::Read {
                path: path.clone(),
                source,
            };
            for entry in fs::read_dir(&path).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                names.extend(name.to_str().map(|name| format!("{folder}{name}")));
                if names.len() > MAX_ENTRIES {
                    return Err(AutoError::unsuitable(
                        &path,
                        format!("has more than {MAX_ENTRIES} files: name the model's own folder"),
                    ));
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

/// The text of a file that the user named, wherever it is.
pub(super) fn named_text(path: &Path) -> Result<String, AutoError> {
    let files = Files::within(Path::new("/"))?;
    Ok(files.read_text(path, MAX_TEXT_BYTES)?)
}

/// Refuses models in other formats by their names, without opening them: some hold Python objects.
pub(super) fn refuse_foreign(path: &Path) -> Result<(), AutoError> {
    match Format::of_path(path) {
        Some(format) => Err(in_graph(path, GraphError::Foreign(format))),
        None => Ok(()),
    }
}

pub(super) fn in_graph(path: &Path, source: GraphError) -> AutoError {
    AutoError::Graph {
        path: path.into(),
        source,
    }
}
