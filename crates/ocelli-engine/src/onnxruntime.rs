//! The adapter for ONNX Runtime, through the crate `ort`.
//!
//! `locate` finds the shared library, `session` builds and runs sessions. The library is loaded once in a process and
//! stays: its first user decides which one.

mod locate;

pub use locate::Search;

use crate::{Backend, Engine, EngineError, EngineOptions, ModelSource};

/// ONNX Runtime on the CPU.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    version: String,
}

impl OnnxRuntime {
    /// Finds and loads the library.
    ///
    /// # Errors
    /// [`EngineError::LibraryMissing`] and [`EngineError::LibraryUnusable`], each one line that says what to do.
    pub fn locate(search: &Search) -> Result<Self, EngineError> {
        locate::find(search)
    }
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn uses_cpu(&self) -> bool {
        true
    }

    fn load(
        &self,
        model: &ModelSource<'_>,
        _options: &EngineOptions,
    ) -> Result<Box<dyn Engine>, EngineError> {
        Err(EngineError::LoadFailed {
            model: model.name.to_owned(),
            reason: "being written".to_owned(),
        })
    }
}
