//! One process without its protocols: decoders, queue and engines.

use std::sync::Arc;

use ocelli_engine::Backend;

use crate::compute::core_budget::CoreBudget;
use crate::compute::loader_thread::Background;
use crate::compute::pool::Pool;
use crate::compute::threads::Threads;
use crate::error::Error;
use crate::executor::WorkerConfig;
use crate::http::Health;
use crate::inference::preprocess::{DecodeConfig, DecodeWork};
use crate::inference::{Infer, preprocess};
use crate::metrics::{Metrics, StateLabels};
use crate::model_manager::engines::EngineRoom;
use crate::model_manager::{Host, ModelSet, Models, ModelsError};
use crate::models::admission::{Admission, AdmissionLimits};
use crate::models::catalog::Catalog;
use crate::queue::{Broker, JobQueue, MemoryBroker};

#[derive(Clone, Copy, Debug)]
pub struct PipelineConfig {
    pub cores: usize,
    pub admission: AdmissionLimits,
    pub decode: DecodeConfig,
    pub worker: WorkerConfig,
}

/// Built, and not running yet.
pub struct Pipeline {
    pub infer: Infer,
    decode_work: Arc<DecodeWork>,
    models: Models,
}

pub struct Running {
    infer: Infer,
    models: Models,
    threads: Threads,
}

impl Pipeline {
    #[must_use]
    pub fn new(config: &PipelineConfig, backend: Arc<dyn Backend>, models: impl Into<ModelSet>) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (cores, pool) = (CoreBudget::new(config.cores), Pool::default());
        let queues = JobQueue::new(Arc::clone(&metrics));
        let broker = Broker::Memory(MemoryBroker::new(queues.clone()));
        let (decoders, decode_work) = preprocess::pair(
            config.decode,
            cores.clone(),
            pool.clone(),
            broker.clone(),
            Arc::clone(&metrics),
        );
        let room = EngineRoom {
            backend,
            cores,
            pool,
            queues,
            config: config.worker,
            metrics: Arc::clone(&metrics),
            background: Background::default(),
        };
        let models = Models::new(room, Host::Here, models.into(), config.admission.jobs);
        let infer = Infer {
            catalog: models.catalog().clone(),
            admission: Admission::new(config.admission),
            decoders,
            broker,
            metrics,
        };
        Self {
            infer,
            decode_work,
            models,
        }
    }

    #[must_use]
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Loads and measures the models, and starts the threads. Nothing is left running after an error.
    pub async fn start(self) -> Result<Running, ModelsError> {
        let threads = self.models.start(Some(self.decode_work)).await?;
        Ok(Running {
            infer: self.infer,
            models: self.models,
            threads,
        })
    }
}

impl Running {
    #[must_use]
    pub fn infer(&self) -> &Infer {
        &self.infer
    }

    /// Begins no more changes of the models.
    pub(super) fn stop_changing(&self) {
        self.models.stop_changing();
    }

    /// Ends every thread and waits for it. Called when every request has its response.
    pub async fn stop(self) {
        self.infer.decoders.close();
        self.infer.broker.close();
        // Images that are left were abandoned, and are dropped.
        self.threads.stop().await;
        self.models.close().await;
    }
}

impl Health for Infer {
    fn ready(&self) -> Result<(), Error> {
        self.broker.available()?;
        if let Broker::Memory(_) = self.broker {
            // With workers in other processes, a web process is of use without a model, too.
            self.catalog.occupied()?;
            // One model without an engine must not take the other models offline.
            let models = self.catalog.all();
            if !models.is_empty() && !models.iter().any(|model| model.is_ready()) {
                return Err(Error::NotReady("its engines are being rebuilt"));
            }
        }
        Ok(())
    }

    fn remark(&self) -> Option<&'static str> {
        let without_worker = matches!(self.broker, Broker::Redis(_)) && !self.catalog.answers();
        without_worker.then_some("no worker serves a model, so predictions are refused (503 no_worker)")
    }

    fn awaits(&self) -> Option<Error> {
        self.broker.trouble().map(Error::BrokerUnavailable)
    }

    fn report(&self, metrics: &Metrics) {
        let load = self.admission.load();
        metrics.admitted_images.set(load.jobs as i64);
        metrics.admitted_bytes.set(load.bytes as i64);
        metrics.queue_depth.set(self.broker.depth() as i64);
        report_models(&self.catalog, metrics);
    }
}

/// Writes the state of each model, and what its batches cost.
pub(super) fn report_models(catalog: &Catalog, metrics: &Metrics) {
    let (models, absent) = (catalog.all(), catalog.absent());
    let served = models.iter().map(|model| StateLabels {
        model: model.id.name.clone(),
        version: model.id.version.clone(),
        state: model.state(),
    });
    let absent = absent.iter().map(|absent| StateLabels {
        model: absent.name.clone(),
        version: absent.version.clone().unwrap_or_default(),
        state: absent.reason.name(),
    });
    metrics.set_states(served.chain(absent));
    let costs = models
        .iter()
        .filter_map(|model| Some((&*model.id, model.runtime()?.cost)));
    metrics.set_batch_costs(costs);
}
