//! Everything of one process but its protocols: decoders, queue and worker, ready for images.

use std::sync::Arc;

use ocelli_engine::Backend;
use ocelli_vision::ModelPackage;

use super::engines::{EngineSide, StartError};
use super::threads::Threads;
use crate::admission::{Admission, AdmissionLimits};
use crate::broker::{Broker, JobQueue, MemoryBroker, Supplier};
use crate::catalog::Catalog;
use crate::cores::Cores;
use crate::crew::Crew;
use crate::decoders::{self, DecodeConfig, DecodeWork};
use crate::error::Error;
use crate::http::Health;
use crate::infer::Infer;
use crate::metrics::Metrics;
use crate::model::ServedModel;
use crate::worker::{WorkerConfig, WorkerParts};

/// What a process with web side and worker in one is made from.
#[derive(Clone, Copy, Debug)]
pub struct PipelineConfig {
    /// Cores to compute on.
    pub cores: usize,
    /// Limits of the house.
    pub admission: AdmissionLimits,
    /// Limits of decoding.
    pub decode: DecodeConfig,
    /// How the model is run.
    pub worker: WorkerConfig,
}

/// Built, and nothing of it running yet.
pub struct Pipeline {
    /// The way in. It answers once the pipeline has started.
    pub infer: Infer,
    decode_work: Arc<DecodeWork>,
    engines: EngineSide,
}

/// A pipeline's threads.
#[derive(Debug)]
pub struct Running {
    infer: Infer,
    threads: Threads,
}

impl Pipeline {
    /// Puts the parts together.
    #[must_use]
    pub fn new(config: &PipelineConfig, backend: Arc<dyn Backend>, package: ModelPackage) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (cores, crew) = (Cores::new(config.cores), Crew::default());
        let supplier = Supplier::Crew(crew.clone());
        let queue = JobQueue::new(config.admission.jobs, supplier, Arc::clone(&metrics));
        let broker = Broker::Memory(MemoryBroker::new(queue.clone()));
        let (decoders, decode_work) = decoders::pair(
            config.decode,
            cores.clone(),
            crew.clone(),
            broker.clone(),
            Arc::clone(&metrics),
        );
        let (model, file) = ServedModel::split(package);
        let model = Arc::new(model);
        let infer = Infer {
            catalog: Catalog::new(vec![Arc::clone(&model)], None),
            admission: Admission::new(config.admission),
            decoders,
            broker,
            metrics: Arc::clone(&metrics),
        };
        let parts = WorkerParts {
            backend,
            cores,
            crew,
            queue,
            file: Arc::new(file),
            metrics,
        };
        let engines = EngineSide {
            model,
            config: config.worker,
            parts,
        };
        Self {
            infer,
            decode_work,
            engines,
        }
    }

    /// Loads and measures the model, and starts the threads. Afterwards the first image meets warm engines.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(self) -> Result<Running, StartError> {
        let threads = self.engines.start(vec![self.decode_work]).await?;
        Ok(Running {
            infer: self.infer,
            threads,
        })
    }
}

impl Running {
    /// The way in.
    #[must_use]
    pub fn infer(&self) -> &Infer {
        &self.infer
    }

    /// Ends every thread and waits for it, once nobody waits for an image any more.
    pub async fn stop(self) {
        self.infer.decoders.close();
        self.infer.broker.close();
        // Whatever is left was abandoned, and is dropped.
        self.threads.stop().await;
    }
}

impl Health for Infer {
    fn ready(&self) -> Result<(), Error> {
        self.broker.available()?;
        if let Broker::Memory(_) = self.broker {
            // With workers elsewhere, a model without one is answered for, and so the process is of use.
            let models = self.catalog.all();
            let waiting = models.iter().find(|model| !model.is_ready());
            return waiting.map_or(Ok(()), |_| Err(Error::NotReady("an engine is being rebuilt")));
        }
        Ok(())
    }

    fn report(&self, metrics: &Metrics) {
        let load = self.admission.load();
        metrics.admitted_images.set(load.jobs as i64);
        metrics.admitted_bytes.set(load.bytes as i64);
        metrics.queue_depth.set(self.broker.depth() as i64);
        for model in self.catalog.all().iter() {
            if let Some(runtime) = model.runtime() {
                metrics.set_batch_costs(&model.id.name, runtime.cost.entries());
            }
        }
    }
}
