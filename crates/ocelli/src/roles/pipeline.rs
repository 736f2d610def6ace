//! Everything of one process but its protocols: decoders, broker and worker, ready for images.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use ocelli_engine::{Backend, EngineError};
use ocelli_vision::ModelPackage;
use tokio::task;

use crate::admission::{Admission, AdmissionLimits};
use crate::broker::Broker;
use crate::cores::Cores;
use crate::crew::{Crew, Member, Work};
use crate::decoders::{self, DecodeConfig, DecodeWork};
use crate::infer::Infer;
use crate::metrics::Metrics;
use crate::model::ServedModel;
use crate::worker::{self, Worker, WorkerConfig, WorkerParts};

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
    model: Arc<ServedModel>,
    decode_work: Arc<DecodeWork>,
    worker_config: WorkerConfig,
    worker_parts: WorkerParts,
}

/// A pipeline's threads and tasks.
#[derive(Debug)]
pub struct Running {
    infer: Infer,
    crews: [Crew; 2],
    threads: Vec<JoinHandle<()>>,
}

/// Why a pipeline did not start.
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

impl Pipeline {
    /// Puts the parts together.
    #[must_use]
    pub fn new(config: &PipelineConfig, backend: Arc<dyn Backend>, package: ModelPackage) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (cores, crew) = (Cores::new(config.cores), Crew::default());
        let broker = Broker::new(config.admission.jobs, crew.clone(), Arc::clone(&metrics));
        let (decoders, decode_work) = decoders::pair(
            config.decode,
            cores.clone(),
            crew.clone(),
            broker.clone(),
            Arc::clone(&metrics),
        );
        let model = Arc::new(ServedModel::new(package));
        let infer = Infer {
            models: Arc::new([Arc::clone(&model)]),
            admission: Admission::new(config.admission),
            decoders,
            broker: broker.clone(),
            metrics: Arc::clone(&metrics),
        };
        let worker_parts = WorkerParts {
            backend,
            cores,
            crew,
            broker,
            metrics,
        };
        Self {
            infer,
            model,
            decode_work,
            worker_config: config.worker,
            worker_parts,
        }
    }

    /// Loads and measures the model, and starts threads and tasks. Afterwards the first image meets warm engines.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(self) -> Result<Running, StartError> {
        let Self {
            infer,
            model,
            decode_work,
            worker_config,
            worker_parts,
        } = self;
        let (crew, cores) = (worker_parts.crew.clone(), worker_parts.cores.total());
        let built = task::spawn_blocking(move || worker::build(&worker_config, &worker_parts, &model));
        let Worker {
            engines,
            own_members,
            crew: engine_crew,
        } = built.await??;
        let decode_work: Arc<dyn Work> = decode_work;
        let work = if own_members.is_empty() {
            vec![decode_work, engines]
        } else {
            vec![decode_work]
        };
        let members = crew.members(cores, &work);
        let mut running = Running {
            infer,
            crews: [crew, engine_crew],
            threads: Vec::new(),
        };
        let started = running
            .start_threads("core", members)
            .and_then(|()| running.start_threads("engine", own_members));
        if let Err(error) = started {
            running.stop().await;
            return Err(error.into());
        }
        Ok(running)
    }
}

impl Running {
    fn start_threads(&mut self, name: &str, members: Vec<Member>) -> io::Result<()> {
        for (index, member) in members.into_iter().enumerate() {
            let thread = thread::Builder::new().name(format!("{name}-{index}"));
            self.threads.push(thread.spawn(move || member.run())?);
        }
        Ok(())
    }

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
        let joined = task::spawn_blocking(move || {
            for crew in &self.crews {
                crew.close();
            }
            for thread in self.threads {
                let name = thread.thread().name().unwrap_or_default().to_owned();
                if thread.join().is_err() {
                    tracing::error!(thread = name, "a thread ended badly");
                }
            }
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "the threads could not be waited for");
        }
    }
}
