//! Why a model cannot be interpreted: the file, what is wrong, what to do.

use std::path::PathBuf;

use crate::{FileError, GraphError, PackageError};

/// A model that cannot be served as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages describe the variants")]
pub enum AutoError {
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error("{} {source}", path.display())]
    Graph { path: PathBuf, source: GraphError },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is not valid JSON: {message}; copy or download it again", path.display())]
    Json { path: PathBuf, message: String },
    #[error("{}: `{key}` {problem}", path.display())]
    Value {
        path: PathBuf,
        key: String,
        problem: String,
    },
    #[error("{}: {problem}", path.display())]
    Unsuitable { path: PathBuf, problem: String },
}

impl AutoError {
    pub(super) fn unsuitable(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Unsuitable {
            path: path.into(),
            problem: problem.into(),
        }
    }
}
