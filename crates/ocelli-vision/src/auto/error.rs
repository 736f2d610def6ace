//! Why a model could not be made out, in words for whoever keeps it: the file, what is wrong, what to do.

use std::path::PathBuf;

use crate::{FileError, GraphError, PackageError};

/// A model that cannot be served as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AutoError {
    /// It is a package, or was made into one, and the package is wrong.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The ONNX file.
    #[error("{} {source}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GraphError,
    },
    /// A file or folder is missing, unreadable, too large or elsewhere.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that ought to be JSON is not.
    #[error("{} is not valid JSON: {message}; copy or download it again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A value in a file cannot be used.
    #[error("{}: `{key}` {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Where in it.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The model as a whole cannot be used.
    #[error("{}: {problem}", path.display())]
    Unsuitable {
        /// The file or folder that it is about.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl AutoError {
    pub(super) fn unsuitable(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Unsuitable {
            path: path.into(),
            problem: problem.into(),
        }
    }
}
