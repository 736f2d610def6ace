//! What a broker carries: jobs to workers and replies back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_engine::Tensor;

/// Names what is served: the same name and version with another digest is another model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    /// The package's name.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// The package's SHA-256, in hexadecimal.
    pub digest: String,
}

/// One image to compute.
#[derive(Debug)]
pub struct Job {
    /// The model that the pixels were prepared for.
    pub model: Arc<ModelId>,
    /// 8-bit RGB, packed rows, of the height and width that the model takes.
    pub pixels: Vec<u8>,
    /// When nobody wants the answer any more.
    pub deadline: Instant,
}

/// What one job came to.
#[derive(Debug)]
pub struct Reply {
    /// One tensor for each output of the model, each with a batch axis of 1; or why there is none.
    pub result: Result<Vec<Tensor>, JobError>,
    /// What it took.
    pub cost: JobCost,
}

/// Why a job has no outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The engine failed on the job's batch.
    #[error("the engine failed")]
    EngineFault,
    /// The deadline passed before the job was computed.
    #[error("the deadline passed")]
    DeadlinePassed,
}

/// What a worker spent on a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCost {
    /// Waiting, from submission until its batch was drawn.
    pub queue: Duration,
    /// Filling the batch.
    pub fill: Duration,
    /// Running the batch.
    pub infer: Duration,
    /// How many jobs the batch had.
    pub batch_size: usize,
}
