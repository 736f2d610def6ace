//! Reading a model's files: nothing outside its folder, nothing larger than it may be, and no pickle.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::AutoError;
use crate::{
    ExternalData,
    graph::{Graph, GraphError},
};

/// Limits in bytes. An ONNX file is a protobuf message, which ends at 2 GiB; the configurations of models with
/// ten thousand named classes have a megabyte.
const MAX_TEXT_BYTES: u64 = 16 << 20;
const MAX_ONNX_BYTES: u64 = 2 << 30;
const MAX_EXTERNAL_BYTES: u64 = 16 << 30;
/// Files of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Endings of files that hold pickles or other weights without a graph, which are never opened.
const WEIGHTS: [&str; 12] = [
    "pt",
    "pth",
    "bin",
    "pkl",
    "pickle",
    "ckpt",
    "mar",
    "h5",
    "keras",
    "hdf5",
    "safetensors",
    "joblib",
];

/// A model's folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    dir: PathBuf,
    /// Where every file must really be, links followed.
    root: PathBuf,
}

impl Folder {
    /// `root` is a larger folder that links may lead into, as the cache of a hub needs; `dir` itself if left out.
    pub(super) fn open(dir: &Path, root: Option<&Path>) -> Result<Self, AutoError> {
        let real = |path: &Path| {
            fs::canonicalize(path).map_err(|source| AutoError::Read {
                path: path.into(),
                source,
            })
        };
        let (place, root) = (real(dir)?, real(root.unwrap_or(dir))?);
        if !place.starts_with(&root) {
            return Err(outside(dir, &place));
        }
        Ok(Self {
            dir: dir.into(),
            root,
        })
    }

    /// The folder within this one that a file named `name` is in.
    pub(super) fn of_file(&self, name: &str) -> Self {
        let dir = self.path(name);
        Self {
            dir: dir.parent().unwrap_or(&self.dir).into(),
            root: self.root.clone(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The text of a file, if there is one of that name.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, AutoError> {
        if !self.has(name) {
            return Ok(None);
        }
        let path = self.path(name);
        let bytes = read(&path, self.open_file(name)?, MAX_TEXT_BYTES)?;
        utf8(&path, bytes).map(Some)
    }

    /// An ONNX file. Its head is looked at before all of it is read.
    pub(super) fn onnx(&self, name: &str) -> Result<Vec<u8>, AutoError> {
        refuse_weights(&self.path(name))?;
        read_onnx(&self.path(name), self.open_file(name)?)
    }

    /// The files with weights that `graph`, which was read from this folder, needs.
    pub(super) fn external(&self, graph: &Graph) -> Result<Vec<ExternalData>, AutoError> {
        let mut room = MAX_EXTERNAL_BYTES;
        graph
            .external
            .iter()
            .map(|needed| {
                let path = self.path(&needed.name);
                if !is_within(&needed.name) {
                    return Err(AutoError::unsuitable(
                        &path,
                        "the ONNX file asks for weights outside its folder: put them beside it and export it again",
                    ));
                }
                if !self.has(&needed.name) {
                    return Err(AutoError::unsuitable(
                        &path,
                        "is missing, and holds weights of the ONNX file: copy it from where that one is from, into the \
                         same folder",
                    ));
                }
                let bytes = read(&path, self.open_file(&needed.name)?, room)?;
                room -= bytes.len() as u64;
                if (bytes.len() as u64) < needed.len {
                    let (has, needs) = (bytes.len(), needed.len);
                    return Err(AutoError::unsuitable(
                        &path,
                        format!("has {has} bytes where the ONNX file needs {needs}: copy or download it again"),
                    ));
                }
                Ok(ExternalData {
                    name: needed.name.clone(),
                    bytes: Arc::from(bytes),
                })
            })
            .collect()
    }

    /// The files here and in the folder `onnx`, by name with `/` between, in order.
    pub(super) fn names(&self) -> Result<Vec<String>, AutoError> {
        let mut names = Vec::new();
        for folder in ["", "onnx/"] {
            let path = self.path(folder);
            if !path.is_dir() {
                continue;
            }
            let failed = |source| AutoError::Read {
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

    /// Opens a file after following its links, which must not lead out.
    fn open_file(&self, name: &str) -> Result<File, AutoError> {
        let path = self.path(name);
        let failed = |source| AutoError::Read {
            path: path.clone(),
            source,
        };
        let place = fs::canonicalize(&path).map_err(failed)?;
        if !place.starts_with(&self.root) {
            return Err(outside(&path, &place));
        }
        File::open(place).map_err(failed)
    }
}

/// The text of a file that the user named, wherever it is.
pub(super) fn named_text(path: &Path) -> Result<String, AutoError> {
    let file = File::open(path).map_err(|source| AutoError::Read {
        path: path.into(),
        source,
    })?;
    utf8(path, read(path, file, MAX_TEXT_BYTES)?)
}

/// Refuses files by their names that hold no graph, without opening them.
pub(super) fn refuse_weights(path: &Path) -> Result<(), AutoError> {
    let ending = path
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    if WEIGHTS.contains(&ending.to_ascii_lowercase().as_str()) {
        return Err(AutoError::unsuitable(
            path,
            format!(
                ".{ending} files hold weights or Python objects and are never opened: make an ONNX file of it with \
                 tools/to_onnx.py"
            ),
        ));
    }
    Ok(())
}

/// Whether a name leads to a place below, as far as it says so itself.
fn is_within(name: &str) -> bool {
    !name.is_empty()
        && !name.contains('\\')
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn outside(path: &Path, place: &Path) -> AutoError {
    AutoError::unsuitable(
        path,
        format!(
            "leads to {}, outside the model's folder: copy the file itself there",
            place.display()
        ),
    )
}

fn read_onnx(path: &Path, mut file: File) -> Result<Vec<u8>, AutoError> {
    /// Enough to tell what a file is.
    const HEAD: u64 = 4096;
    let failed = |source| AutoError::Read {
        path: path.into(),
        source,
    };
    let mut head = Vec::new();
    (&mut file).take(HEAD).read_to_end(&mut head).map_err(failed)?;
    Graph::check_head(&head).map_err(|source| in_graph(path, source))?;
    let rest = read(path, file, MAX_ONNX_BYTES - head.len() as u64)?;
    head.extend(rest);
    Ok(head)
}

pub(super) fn in_graph(path: &Path, source: GraphError) -> AutoError {
    AutoError::Graph {
        path: path.into(),
        source,
    }
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, AutoError> {
    String::from_utf8(bytes).map_err(|_| AutoError::unsuitable(path, "is not UTF-8 text: save it as UTF-8"))
}

/// The rest of a file of at most `limit` bytes; a longer one is refused before it is read.
fn read(path: &Path, file: File, limit: u64) -> Result<Vec<u8>, AutoError> {
    let failed = |source: io::Error| AutoError::Read {
        path: path.into(),
        source,
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(AutoError::unsuitable(
            path,
            "is no file: put the file itself there",
        ));
    }
    let too_large = || {
        AutoError::unsuitable(
            path,
            format!("is above {limit} bytes: check that it is the right file"),
        )
    };
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).map_err(|_| too_large())?);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}
