//! Runs one model: leases its jobs, forms batches and computes them on the engine instances.
//!
//! All of it happens in the turns of a crew. Built from a broker, a backend and a model, it knows
//! nothing of images beyond how pixels become the numbers that the model takes, and nothing of protocols.

mod batch;
mod engines;
mod queue;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ocelli_engine::cost::{MeasurePlan, measure};
use ocelli_engine::{Backend, CostTable, EngineError, EngineOptions};

use crate::batcher::BatchPolicy;
use crate::broker::JobQueue;
use crate::cores::Cores;
use crate::crew::{Crew, Member, Work};
use crate::metrics::Metrics;
use crate::model::{ModelFile, Runtime, ServedModel};
use engines::{Engines, Loaded};
use queue::WorkQueue;

/// The batch sizes that warm-up measures, unless a larger batch is asked for.
const MEASURED_BATCH: usize = 8;

/// How often each size is measured; the least disturbed run counts.
const MEASURED_ROUNDS: u32 = 3;

/// How long measuring may take, so that the first answer is not far away.
const MEASURED_TIME: Duration = Duration::from_millis(250);

/// Batches that may wait prepared for each instance. Other photos wait as they came, which is smaller.
const BATCHES_AHEAD: usize = 2;

/// More instances than this share the cores in groups: each holds the model once more.
const MOST_AUTOMATIC_INSTANCES: usize = 8;

/// How a model is to be run. `None` means that the machine and the measurement decide.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Instances that run batches at once.
    pub instances: Option<usize>,
    /// Threads of each.
    pub threads_per_instance: Option<usize>,
    /// The most images in a batch.
    pub max_batch: Option<usize>,
    /// How long a batch that is not full may wait for more.
    pub max_delay: Duration,
}

/// What the worker stands on.
#[derive(Clone)]
pub struct WorkerParts {
    /// Loads instances.
    pub backend: Arc<dyn Backend>,
    /// The cores that instances share with decoders.
    pub cores: Cores,
    /// Computes what these cores compute.
    pub crew: Crew,
    /// Where jobs come from.
    pub queue: JobQueue,
    /// What to load.
    pub file: Arc<ModelFile>,
    /// Where batches are counted.
    pub metrics: Arc<Metrics>,
}

/// Instances, and the threads of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    instances: usize,
    threads: usize,
    /// Threads of the one instance that computes alone when nothing else is to be done.
    idle_threads: Option<usize>,
}

/// A worker, built and not running yet.
pub struct Worker {
    /// Leases jobs and computes them.
    pub engines: Arc<dyn Work>,
    /// The threads that compute where the cores' crew does not: an engine that only waits for another device would
    /// keep a core's member from its work.
    pub own_members: Vec<Member>,
    /// Their crew, or the cores'.
    pub crew: Crew,
}

/// Loads and measures the model; blocks meanwhile. Nothing runs until the role runs what it gets.
///
/// # Errors
/// What the backend says of the model.
pub fn build(
    config: &WorkerConfig,
    parts: &WorkerParts,
    model: &Arc<ServedModel>,
) -> Result<Worker, EngineError> {
    let uses_cpu = parts.backend.uses_cpu();
    let shape = shape(config, uses_cpu, parts.cores.total());
    let started = Instant::now();
    let mut loaded = load(parts, shape)?;
    let plan = MeasurePlan {
        max_batch: config.max_batch.unwrap_or(MEASURED_BATCH),
        rounds: MEASURED_ROUNDS,
        budget: MEASURED_TIME,
    };
    let load_time = started.elapsed();
    let cost = warm_up(&mut loaded, &plan)?;
    let max_batch = config.max_batch.unwrap_or_else(|| cost.default_batch_limit());
    tracing::info!(
        model = %model.id.name,
        engine = parts.backend.name(),
        version = parts.backend.version(),
        instances = shape.instances,
        threads_per_instance = shape.threads,
        max_batch,
        load_ms = load_time.as_millis() as u64,
        warm_up_ms = (started.elapsed() - load_time).as_millis() as u64,
        "loaded the model"
    );
    let pressing = pressing(&cost, max_batch);
    model.set_runtime(Runtime {
        engine: parts.backend.name().to_owned(),
        engine_version: parts.backend.version(),
        instances: shape.instances,
        threads_per_instance: shape.threads,
        max_batch,
        cost,
    });
    let policy = BatchPolicy {
        max_batch,
        max_delay: config.max_delay,
    };
    let metrics = Arc::clone(&parts.metrics);
    let queue = Arc::new(WorkQueue::new(
        policy,
        parts.queue.clone(),
        Arc::clone(&model.id),
        metrics,
    ));
    let engines: Arc<dyn Work> = Arc::new(Engines::new(loaded, pressing, parts, model, &queue));
    let crew = if uses_cpu {
        parts.crew.clone()
    } else {
        Crew::default()
    };
    let own_members = if uses_cpu {
        Vec::new()
    } else {
        crew.members(shape.instances, &[Arc::clone(&engines)])
    };
    parts.queue.serve(
        &model.id,
        crew.clone(),
        shape.instances * max_batch * BATCHES_AHEAD,
    );
    Ok(Worker {
        engines,
        own_members,
        crew,
    })
}

/// From how many waiting jobs on nothing is gained by waiting for more: the smallest measured batch whose time per
/// image is nearly the best. Until then photos are decoded first, so that batches get there.
fn pressing(cost: &CostTable, max_batch: usize) -> usize {
    const NEARLY: f64 = 1.05;
    let per_image = |(size, time): (usize, Duration)| time.as_secs_f64() / size as f64;
    let sizes = || cost.entries().filter(|&(size, _)| size <= max_batch);
    let best = sizes().map(per_image).fold(f64::INFINITY, f64::min);
    sizes()
        .find(|&entry| per_image(entry) <= best * NEARLY)
        .map_or(1, |(size, _)| size)
}

/// One instance for each core with one thread each has the best throughput; all threads on one image have the best
/// latency, so one more instance of that kind serves while nothing else is to be done. Instances that do not compute
/// on these cores need neither.
fn shape(config: &WorkerConfig, uses_cpu: bool, cores: usize) -> Shape {
    if !uses_cpu {
        let instances = config.instances.unwrap_or(1);
        return Shape {
            instances,
            threads: config.threads_per_instance.unwrap_or(1),
            idle_threads: None,
        };
    }
    let instances = match (config.instances, config.threads_per_instance) {
        (Some(instances), _) => instances,
        (None, Some(threads)) => (cores / threads).max(1),
        (None, None) => cores.min(MOST_AUTOMATIC_INSTANCES),
    };
    let threads = config.threads_per_instance.unwrap_or((cores / instances).max(1));
    let automatic = config.instances.is_none() && config.threads_per_instance.is_none();
    Shape {
        instances,
        threads,
        idle_threads: (automatic && cores > threads).then_some(cores),
    }
}

/// Loads all instances at once: a load keeps one core busy, and there are several.
fn load(parts: &WorkerParts, shape: Shape) -> Result<Loaded, EngineError> {
    let load = |threads| {
        parts
            .backend
            .load(&parts.file.source(), &EngineOptions { threads })
    };
    thread::scope(|scope| {
        let wide = shape
            .idle_threads
            .map(|threads| scope.spawn(move || load(threads)));
        let narrow: Vec<_> = (0..shape.instances)
            .map(|_| scope.spawn(move || load(shape.threads)))
            .collect();
        let panicked = || EngineError::Fault("loading panicked".to_owned());
        let join =
            |thread: thread::ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|_| Err(panicked()));
        let narrow = narrow.into_iter().map(join).collect::<Result<_, _>>()?;
        Ok(Loaded {
            narrow,
            threads: shape.threads,
            wide: wide.map(join).transpose()?,
        })
    })
}

/// Runs every instance once, so that no request pays for first-time work, and measures one of them.
fn warm_up(loaded: &mut Loaded, plan: &MeasurePlan) -> Result<CostTable, EngineError> {
    let once = MeasurePlan {
        max_batch: 1,
        rounds: 1,
        budget: plan.budget,
    };
    let (first, others) = loaded.narrow.split_at_mut(1);
    for engine in others.iter_mut().chain(&mut loaded.wide) {
        measure(engine.as_mut(), &once, Instant::now)?;
    }
    measure(first[0].as_mut(), plan, Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(instances: Option<usize>, threads_per_instance: Option<usize>) -> WorkerConfig {
        WorkerConfig {
            instances,
            threads_per_instance,
            max_batch: None,
            max_delay: Duration::ZERO,
        }
    }

    #[test]
    fn instances_and_threads_follow_the_cores_unless_told() {
        let chosen = |instances, threads, uses_cpu, cores| {
            let shape = shape(&config(instances, threads), uses_cpu, cores);
            (shape.instances, shape.threads, shape.idle_threads)
        };
        assert_eq!(chosen(None, None, true, 1), (1, 1, None));
        assert_eq!(chosen(None, None, true, 2), (2, 1, Some(2)));
        assert_eq!(chosen(None, None, true, 8), (8, 1, Some(8)));
        assert_eq!(chosen(None, None, true, 32), (8, 4, Some(32)));
        assert_eq!(chosen(Some(1), None, true, 2), (1, 2, None));
        assert_eq!(chosen(Some(4), None, true, 2), (4, 1, None));
        assert_eq!(chosen(None, Some(2), true, 8), (4, 2, None));
        assert_eq!(chosen(Some(3), Some(2), true, 8), (3, 2, None));
        assert_eq!(chosen(None, None, false, 8), (1, 1, None));
        assert_eq!(chosen(Some(2), None, false, 8), (2, 1, None));
    }

    #[test]
    fn pressing_is_where_a_larger_batch_gains_nothing() {
        let ms = |ms| Duration::from_millis(ms);
        let table = |costs: &[(usize, u64)]| {
            CostTable::new(costs.iter().map(|&(size, cost)| (size, ms(cost)))).expect("a table")
        };
        let flat = table(&[(1, 100), (2, 199), (4, 398), (8, 800)]);
        assert_eq!(pressing(&flat, 8), 1);
        let falling = table(&[(1, 100), (2, 150), (4, 240), (8, 460)]);
        assert_eq!(pressing(&falling, 8), 4);
        assert_eq!(pressing(&falling, 2), 2, "no larger batch will be run");
    }
}
