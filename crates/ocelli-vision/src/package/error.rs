//! Why a package was refused, in words for whoever wrote it.

use std::path::{Path, PathBuf};

use crate::{FileError, GraphError};

/// A package that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file is unreadable, too large or not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that every package has is not there.
    #[error("{} is missing: {remedy}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do about it.
        remedy: String,
    },
    /// `model.onnx` is no ONNX file, or damaged.
    #[error("{} {source}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: GraphError,
    },
    /// A file of weights that the ONNX file names cannot be given to it.
    #[error("{} needs weights from {name:?}, {problem}", onnx.display())]
    External {
        /// The ONNX file.
        onnx: PathBuf,
        /// The name in it.
        name: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// `model.toml` is no TOML, or has a key or value that does not exist.
    #[error("model.toml: {message}{}", suggestion.as_ref().map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
    Syntax {
        /// What is wrong, with line and column.
        message: String,
        /// The nearest word that exists.
        suggestion: Option<String>,
    },
    /// A value that cannot work.
    #[error("model.toml: `{key}` {problem}")]
    Invalid {
        /// The key, with its table.
        key: String,
        /// What is wrong and what to write instead.
        problem: String,
    },
    /// A `model.toml` of a folder that is wrong.
    #[error("{}: {source}", folder.display())]
    Within {
        /// The package's folder.
        folder: PathBuf,
        /// What is wrong.
        source: Box<Self>,
    },
}

impl PackageError {
    /// The same, with the folder that it is about.
    pub(super) fn within(self, folder: &Path) -> Self {
        Self::Within {
            folder: folder.into(),
            source: Box::new(self),
        }
    }
}
