//! The side of a process that computes: a model's engines and the crew that runs them.

use std::io;
use std::sync::Arc;

use ocelli_engine::EngineError;
use tokio::task;

use super::threads::Threads;
use crate::crew::Work;
use crate::model::ServedModel;
use crate::worker::{self, Worker, WorkerConfig, WorkerParts};

/// What computes, not loaded yet.
pub(super) struct EngineSide {
    pub(super) model: Arc<ServedModel>,
    pub(super) config: WorkerConfig,
    pub(super) parts: WorkerParts,
}

/// Why a process did not start to compute.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The model cannot be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}; the machine or the process's limits allow no more")]
    Thread(#[from] io::Error),
    /// Loading panicked.
    #[error("loading the model panicked: {0}")]
    Panicked(#[from] task::JoinError),
}

impl EngineSide {
    /// Loads and measures the model, and starts the crew, which does `other` work too, before batches.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub(super) async fn start(self, other: Vec<Arc<dyn Work>>) -> Result<Threads, StartError> {
        let Self { model, config, parts } = self;
        let (crew, cores) = (parts.crew.clone(), parts.cores.total());
        let built = task::spawn_blocking(move || worker::build(&config, &parts, &model));
        let Worker {
            engines,
            own_members,
            crew: engine_crew,
        } = built.await??;
        let mut work = other;
        if own_members.is_empty() {
            work.push(engines);
        }
        let members = if work.is_empty() {
            Vec::new()
        } else {
            crew.members(cores, &work)
        };
        let mut threads = Threads::default();
        let started = threads
            .start("core", crew, members)
            .and_then(|()| threads.start("engine", engine_crew, own_members));
        if let Err(error) = started {
            threads.stop().await;
            return Err(error.into());
        }
        Ok(threads)
    }
}
