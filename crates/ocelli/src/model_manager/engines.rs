//! The side of a process that computes: the pool, and the engines of each model.

use std::io;
use std::sync::Arc;

use ocelli_engine::{Backend, EngineError};
use tokio::task;

use super::registration::Registration;
use crate::compute::core_budget::CoreBudget;
use crate::compute::loader_thread::{Background, BackgroundError};
use crate::compute::pool::{Pool, WorkSource};
use crate::compute::threads::Threads;
use crate::executor;
use crate::executor::{Pace, Worker, WorkerConfig, WorkerParts};
use crate::metrics::Metrics;
use crate::models::model_id::ModelId;
use crate::models::served_model::{ModelFile, ServedModel};
use crate::queue::{JobQueue, ModelQueue, Refill};

pub(crate) struct EngineRoom {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) cores: CoreBudget,
    pub(crate) pool: Pool,
    pub(crate) queues: JobQueue,
    pub(crate) config: WorkerConfig,
    pub(crate) metrics: Arc<Metrics>,
    /// Loads models while others are served.
    pub(crate) background: Background,
}

/// Why a process did not start to compute.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("a thread could not be started: {0}; the machine or the process's limits allow no more")]
    Thread(#[from] io::Error),
    #[error("loading the model panicked: {0}")]
    Panicked(#[from] task::JoinError),
    /// The same in the background, or there was no thread for it.
    #[error("loading the model failed: {0}")]
    Background(#[from] BackgroundError),
}

pub(crate) struct Resident {
    pub(crate) model: Arc<ServedModel>,
    pub(crate) queue: ModelQueue,
    /// Where web processes find it, in a worker process.
    pub(crate) registration: Option<Arc<Registration>>,
    engines: Arc<dyn WorkSource>,
    pool: Pool,
    own_threads: Threads,
    place: ModelResources,
}

/// A model's queue and metrics, which go with it.
struct ModelResources {
    queues: JobQueue,
    metrics: Arc<Metrics>,
    id: Arc<ModelId>,
}

impl EngineRoom {
    /// Starts the cores' pool, which does the work of `leading` too, before batches.
    pub(crate) async fn run(&self, leading: Option<Arc<dyn WorkSource>>) -> io::Result<Threads> {
        let mut threads = Threads::default();
        if leading.is_none() && !self.backend.uses_cpu() {
            return Ok(threads);
        }
        let threads_of_pool = self.pool.threads(self.cores.total(), leading.as_ref());
        match threads.start("core", self.pool.clone(), threads_of_pool) {
            Ok(()) => Ok(threads),
            Err(error) => {
                threads.stop().await;
                Err(error)
            }
        }
    }

    /// Loads and measures a model, which gets its jobs from `supplier`, at most `capacity` of them at a time. It computes
    /// from now on.
    pub(crate) async fn open(
        &self,
        (model, file): (Arc<ServedModel>, ModelFile),
        (capacity, supplier): (usize, Refill),
        pace: Pace,
    ) -> Result<Resident, StartError> {
        let place = ModelResources {
            queues: self.queues.clone(),
            metrics: Arc::clone(&self.metrics),
            id: Arc::clone(&model.id),
        };
        let queue = self.queues.open(&model.id, capacity, supplier);
        let parts = WorkerParts {
            backend: Arc::clone(&self.backend),
            cores: self.cores.clone(),
            pool: self.pool.clone(),
            queue: queue.clone(),
            file: Arc::new(file),
            metrics: Arc::clone(&self.metrics),
        };
        let config = self.config.with(&model.card.manifest.run);
        let built_model = Arc::clone(&model);
        let build = move || executor::build(&config, &parts, &built_model, pace);
        let Worker {
            engines,
            pool,
            own_threads: more,
        } = match pace {
            Pace::AtOnce => task::spawn_blocking(build).await??,
            Pace::Behind => self.background.run(build).await??,
        };
        pool.add(Arc::clone(&engines));
        let mut own_threads = Threads::default();
        if !more.is_empty()
            && let Err(error) = own_threads.start("engine", pool.clone(), more)
        {
            own_threads.stop().await;
            return Err(error.into());
        }
        Ok(Resident {
            model,
            queue,
            registration: None,
            engines,
            pool,
            own_threads,
            place,
        })
    }
}

impl Resident {
    /// Ends the model's work and gives back its resources.
    pub(crate) async fn close(self) {
        if let Some(registration) = self.registration {
            registration.end().await;
        }
        self.own_threads.stop().await;
        let (pool, engines, place) = (self.pool, self.engines, self.place);
        let model = Arc::clone(&self.model);
        // Freeing a large model takes its time.
        let closed = task::spawn_blocking(move || {
            let released = pool.remove(&engines);
            drop((engines, place));
            released
        });
        match closed.await {
            Ok(true) => {}
            Ok(false) => tracing::error!(
                model = model.id.name,
                "a batch of the model does not end; what the model holds is given back when it does"
            ),
            Err(error) => tracing::error!(%error, model = model.id.name, "unloading the model panicked"),
        }
    }
}

impl Drop for ModelResources {
    fn drop(&mut self) {
        self.queues.remove(&self.id);
        // The metrics belong to the model that has a queue under this name and version, if there is one.
        if !self.queues.has_version(&self.id) {
            self.metrics.forget_model(&self.id);
        }
    }
}
