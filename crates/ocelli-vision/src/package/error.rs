//! Why a package was refused, in words for whoever wrote it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A package that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file is missing or unreadable.
    #[error("cannot read {}: {source}; a package is a folder with model.toml, model.onnx and its labels", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than any that makes sense.
    #[error("{} is above {limit} bytes: check that it is the right file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A text file in another encoding.
    #[error("{} is not UTF-8 text: save it as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
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
