//! Runs one model: leases its jobs, forms batches and computes them on the engine instances.
//!
//! All of it happens in turns of the pool. It knows neither image formats nor protocols, only how pixels become the input of
//! the model.

pub mod batch;
pub mod batcher;
pub(crate) mod engines;
pub(crate) mod loading;
pub mod output_check;
pub(crate) mod queue;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_engine::{Backend, CostTable, EngineError};
use ocelli_vision::RunSpec;

use crate::compute::core_budget::CoreBudget;
use crate::compute::pool::{ComputeThread, Pool, WorkSource};
use crate::metrics::Metrics;
use crate::models::served_model::{ModelFile, Runtime, ServedModel};
use crate::queue::ModelQueue;
use batcher::BatchPolicy;
use engines::Engines;
use output_check::Checked;
use queue::WorkQueue;

pub use loading::Pace;

/// Batches that may wait prepared for each instance. Other photos wait as they came, which is smaller.
const BATCHES_AHEAD: usize = 2;

/// How a model is to be run. `None` means that the machine and the measurement decide.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Instances that run batches at once.
    pub instances: Option<usize>,
    pub threads_per_instance: Option<usize>,
    /// The most images in a batch.
    pub max_batch: Option<usize>,
    /// How long a batch that is not full may wait for more.
    pub max_delay: Duration,
}

impl WorkerConfig {
    /// The same, but as the model's package says where it says something.
    pub fn with(self, run: &RunSpec) -> Self {
        let count = |own: Option<u32>, other: Option<usize>| own.map(|count| count as usize).or(other);
        let delay = run.max_delay_ms.map(u64::from).map(Duration::from_millis);
        Self {
            instances: count(run.instances, self.instances),
            threads_per_instance: count(run.threads_per_instance, self.threads_per_instance),
            max_batch: count(run.max_batch, self.max_batch),
            max_delay: delay.unwrap_or(self.max_delay),
        }
    }
}

#[derive(Clone)]
pub struct WorkerParts {
    pub backend: Arc<dyn Backend>,
    /// The cores that instances share with decoders.
    pub cores: CoreBudget,
    pub pool: Pool,
    pub queue: ModelQueue,
    pub file: Arc<ModelFile>,
    pub metrics: Arc<Metrics>,
}

/// A model whose engines are loaded and not added to the pool yet.
pub struct Worker {
    pub engines: Arc<dyn WorkSource>,
    /// The cores' pool, or one of its own.
    pub pool: Pool,
    /// The threads of a pool of its own: an engine that only waits for another device must not hold up a core's thread.
    pub own_threads: Vec<ComputeThread>,
}

/// Loads and measures the model; blocks meanwhile.
///
/// # Errors
/// What the backend reports.
pub fn build(
    config: &WorkerConfig,
    parts: &WorkerParts,
    model: &Arc<ServedModel>,
    pace: Pace,
) -> Result<Worker, EngineError> {
    let started = Instant::now();
    let blamed = |error| parts.file.blamed(error);
    let (mut loaded, cost) = loading::load(config, parts, pace).map_err(blamed)?;
    let (instances, threads) = (loaded.throughput.len(), loaded.threads);
    let max_batch = config.max_batch.unwrap_or_else(|| cost.default_batch_limit());
    tracing::info!(
        model = %model.id.name,
        model_version = %model.id.version,
        engine = parts.backend.name(),
        version = parts.backend.version(),
        instances,
        threads_per_instance = threads,
        max_batch,
        load_ms = loaded.load_time.as_millis() as u64,
        warm_up_ms = (started.elapsed() - loaded.load_time).as_millis() as u64,
        "loaded the model"
    );
    let Checked {
        vector_lengths,
        twice,
    } = output_check::check(model, loaded.throughput[0].as_mut()).map_err(blamed)?;
    for twice in twice {
        tracing::warn!(model = %model.id.name, model_version = %model.id.version, "{twice}");
    }
    let urgent_from = urgent_from(&cost, max_batch);
    model.set_runtime(Runtime {
        engine: parts.backend.name().to_owned(),
        engine_version: parts.backend.version(),
        instances,
        threads_per_instance: threads,
        max_batch,
        cost,
        vector_lengths,
    });
    let policy = BatchPolicy {
        max_batch,
        max_delay: config.max_delay,
    };
    let queue = WorkQueue::new(
        policy,
        parts.queue.clone(),
        Arc::clone(model),
        Arc::clone(&parts.metrics),
    );
    let engines: Arc<dyn WorkSource> = Arc::new(Engines::new(loaded, urgent_from, parts, model, queue));
    let (pool, own_threads) = if parts.backend.uses_cpu() {
        (parts.pool.clone(), Vec::new())
    } else {
        let pool = Pool::default();
        let threads = pool.threads(instances, None);
        (pool, threads)
    };
    parts
        .queue
        .serve(pool.clone(), instances * max_batch * BATCHES_AHEAD);
    Ok(Worker {
        engines,
        pool,
        own_threads,
    })
}

/// The smallest measured batch whose time per image is nearly the best. With fewer waiting jobs photos are decoded first, so
/// that batches grow.
fn urgent_from(cost: &CostTable, max_batch: usize) -> usize {
    const NEARLY: f64 = 1.05;
    let per_image = |(size, time): (usize, Duration)| time.as_secs_f64() / size as f64;
    let sizes = || cost.entries().filter(|&(size, _)| size <= max_batch);
    let best = sizes().map(per_image).fold(f64::INFINITY, f64::min);
    sizes()
        .find(|&entry| per_image(entry) <= best * NEARLY)
        .map_or(1, |(size, _)| size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_urgent_where_a_larger_one_gains_nothing() {
        let ms = |ms| Duration::from_millis(ms);
        let table = |costs: &[(usize, u64)]| {
            CostTable::new(costs.iter().map(|&(size, cost)| (size, ms(cost)))).expect("a table")
        };
        let flat = table(&[(1, 100), (2, 199), (4, 398), (8, 800)]);
        assert_eq!(urgent_from(&flat, 8), 1);
        let falling = table(&[(1, 100), (2, 150), (4, 240), (8, 460)]);
        assert_eq!(urgent_from(&falling, 8), 4);
        assert_eq!(urgent_from(&falling, 2), 2, "no larger batch will be run");
    }

    #[test]
    fn a_package_has_the_last_word_on_how_it_is_run() {
        let options = WorkerConfig {
            instances: Some(2),
            threads_per_instance: None,
            max_batch: Some(8),
            max_delay: Duration::from_secs(1),
        };
        let run = RunSpec {
            instances: Some(1),
            threads_per_instance: Some(4),
            max_delay_ms: Some(0),
            ..RunSpec::default()
        };
        let WorkerConfig {
            instances,
            threads_per_instance,
            max_batch,
            max_delay,
        } = options.with(&run);
        assert_eq!(
            (instances, threads_per_instance, max_batch),
            (Some(1), Some(4), Some(8))
        );
        assert_eq!(max_delay, Duration::ZERO);
    }
}
