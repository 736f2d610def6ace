//! The adapter for ONNX Runtime on the CPU, through the crate `ort`.
//!
//! `locate` says where the shared library may be, `elf` whether a file can be one, `library` loads it, `session`
//! runs models, `thread_spawner` starts their threads. The library is loaded once in a process and stays: its first user decides which one.

mod elf;
mod library;
mod locate;
mod session;
mod thread_spawner;

pub use locate::Search;

use crate::{Backend, Engine, EngineError, EngineOptions, ModelSource};

/// ONNX Runtime on the CPU.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    library: library::Library,
    thread_spawner: thread_spawner::ThreadSpawner,
}

impl OnnxRuntime {
    /// Finds, checks and loads the library.
    ///
    /// A process loads one library. When there is one already, it is returned, unless the search asks explicitly for
    /// another.
    ///
    /// # Errors
    /// [`EngineError::LibraryMissing`] and [`EngineError::LibraryUnusable`], each one line that says what to do.
    pub fn locate(search: &Search) -> Result<Self, EngineError> {
        let library = library::find(search)?;
        let thread_spawner =
            thread_spawner::ThreadSpawner::open().map_err(|error| EngineError::LibraryUnusable {
                path: library.path.display().to_string(),
                reason: format!("a thread could not be started: {error}"),
                hint: "the machine or the process's limits allow no more".to_owned(),
            })?;
        Ok(Self {
            library,
            thread_spawner,
        })
    }

    /// What was found before the library in use and passed over, with the reason: worth a warning.
    pub fn passed_over(&self) -> &[EngineError] {
        &self.library.passed_over
    }
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn version(&self) -> String {
        self.library.version.clone()
    }

    fn uses_cpu(&self) -> bool {
        true
    }

    fn load(&self, model: &ModelSource<'_>, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(session::OnnxSession::load(
            (&self.library.environment, &self.thread_spawner),
            model,
            options,
        )?))
    }
}
