//! Why a package was refused.

use std::path::{Path, PathBuf};

use crate::{FileError, GraphError};

/// A package that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages describe the variants")]
pub enum PackageError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is missing: {remedy}", path.display())]
    Missing { path: PathBuf, remedy: String },
    #[error("{} {source}", path.display())]
    Graph { path: PathBuf, source: GraphError },
    #[error("{} needs weights from {name:?}, {problem}", onnx.display())]
    External {
        onnx: PathBuf,
        name: String,
        problem: String,
    },
    #[error("model.toml: {message}{}", suggestion.as_ref().map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
    Syntax {
        /// What is wrong, with line and column.
        message: String,
        /// The nearest word that exists.
        suggestion: Option<String>,
    },
    #[error("model.toml: `{key}` {problem}")]
    Invalid { key: String, problem: String },
    #[error("{}: {source}", folder.display())]
    Within { folder: PathBuf, source: Box<Self> },
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
