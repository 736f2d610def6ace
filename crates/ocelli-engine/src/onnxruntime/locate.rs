//! Where the shared library may be.

use std::path::PathBuf;

use super::OnnxRuntime;
use crate::EngineError;

/// Where to look for the library, all of it passed in: this crate reads no environment variable.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What the user chose (`OCELLI_ONNXRUNTIME`): a library, or the folder it is in. It wins, and when it is wrong
    /// that is an error: nothing else is tried.
    pub explicit: Option<PathBuf>,
    /// The folder of the executable.
    pub beside: Option<PathBuf>,
    /// The active Python environment (`VIRTUAL_ENV`).
    pub python_prefix: Option<PathBuf>,
}

pub(super) fn find(_search: &Search) -> Result<OnnxRuntime, EngineError> {
    Err(EngineError::LibraryMissing {
        library: "the ONNX Runtime library",
        searched: "being written".to_owned(),
        hint: "being written".to_owned(),
    })
}
