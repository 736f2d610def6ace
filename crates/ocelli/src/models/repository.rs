//! A folder of models: what is in it, and what has to be done when that changes.
//!
//! Owns the layout of a repository, and reading a package out of it. It loads nothing: the roles do, in the order that
//! [`plan()`] names. Nothing outside of the folder is followed.
//!
//! ```text
//! DIR/NAME/model.toml             one package; its version is what the manifest says
//! DIR/NAME/VERSION/model.toml     numbered folders: versions side by side
//! DIR/NAME/VERSION/model.onnx     the same without manifests, with Triton's DIR/NAME/config.pbtxt or without
//! DIR/NAME/...                    anything else that `--model` takes as a folder
//! ```
//!
//! The folder's name is the model's name and the number is its version: clients ask for what the operator sees. A manifest
//! that says otherwise is overruled, with a message in the log, so that a copied package never takes the place of another.
//! Hidden entries and plain files are ignored.

pub(crate) mod open;
pub(crate) mod plan;
pub(crate) mod scan;

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

pub use open::{OpenError, open};
pub use plan::{Step, plan};
pub(crate) use scan::model_inside;
pub use scan::{ScanError, scan};

/// What a package is called by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The folder's name, in the characters that a model's name may have.
    pub name: String,
    /// The number of the folder in it; `None` where the package says its version itself.
    pub version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub path: PathBuf,
    /// The repository, which no link may leave.
    pub root: PathBuf,
    /// What it looks like, or why it must not be opened.
    pub fingerprint: Result<Fingerprint, Barred>,
}

/// Why a package must not be opened. Each text names the folder and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// What is there must not be served.
    #[error("{0}")]
    Refused(String),
    /// It cannot be read. Its packages are unknown, so none of them counts as removed.
    #[error("{0}")]
    Unreadable(String),
}

/// A fingerprint that shows a changed package without reading it: each file's name, size and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, u64, Option<SystemTime>)>);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}/{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}
