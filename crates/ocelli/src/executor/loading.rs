//! Loading a model's instances, and measuring what they cost.

use std::thread;
use std::time::{Duration, Instant};

use ocelli_engine::cost::{MeasurePlan, measure};
use ocelli_engine::{CostTable, Engine, EngineError, EngineOptions};
use rustix::time::{ClockId, clock_gettime};

use super::{WorkerConfig, WorkerParts};

/// The batch sizes that warm-up measures, unless a larger batch is asked for.
const MEASURED_BATCH: usize = 8;

/// How often each size is measured; the least disturbed run counts.
const MEASURED_ROUNDS: u32 = 3;

/// How long measuring may take, so that the first answer is not far away.
const MEASURED_TIME: Duration = Duration::from_millis(250);

/// More instances than this share the cores in groups: each holds the model once more.
const MOST_AUTOMATIC_INSTANCES: usize = 8;

/// How much of the machine loading may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All of it: no requests are served yet.
    AtOnce,
    /// What requests leave; on a thread of low priority ([`crate::compute::loader_thread`]).
    Behind,
}

/// Engines that are loaded and warm.
pub(super) struct Loaded {
    /// Instances that run batches side by side.
    pub(super) throughput: Vec<Box<dyn Engine>>,
    /// Threads of each throughput instance.
    pub(super) threads: usize,
    /// One instance with a thread for each core.
    pub(super) latency: Option<Box<dyn Engine>>,
    /// How long it took, without measuring.
    pub(super) load_time: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InstanceShape {
    instances: usize,
    threads: usize,
    /// Threads of the latency instance.
    idle_threads: Option<usize>,
}

/// Loads all instances and measures one of them.
///
/// # Errors
/// What the backend says of the model.
pub(super) fn load(
    config: &WorkerConfig,
    parts: &WorkerParts,
    pace: Pace,
) -> Result<(Loaded, CostTable), EngineError> {
    let shape = shape(config, parts.backend.uses_cpu(), parts.cores.total());
    let plan = MeasurePlan {
        max_batch: config.max_batch.unwrap_or(MEASURED_BATCH),
        rounds: MEASURED_ROUNDS,
        budget: MEASURED_TIME,
    };
    if pace == Pace::AtOnce || !parts.backend.uses_cpu() {
        let mut loaded = load_at_once(parts, shape)?;
        let cost = warm_up(&mut loaded, &plan, Instant::now)?;
        return Ok((loaded, cost));
    }
    let mut loaded = load_one_by_one(parts, shape)?;
    let cost = warm_up(&mut loaded, &plan, processor_clock())?;
    Ok((loaded, cost))
}

/// A clock that stands still while this thread does not run, so that requests beside the measurement do not count.
fn processor_clock() -> impl FnMut() -> Instant + Clone {
    let used = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let (start, before) = (Instant::now(), used());
    move || start + used().saturating_sub(before)
}

/// One instance for each core with one thread each has the best throughput; all threads on one image have the best
/// latency, so one more instance of that kind serves an idle machine. Instances that do not compute on these cores need
/// neither.
fn shape(config: &WorkerConfig, uses_cpu: bool, cores: usize) -> InstanceShape {
    if !uses_cpu {
        let instances = config.instances.unwrap_or(1);
        return InstanceShape {
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
    InstanceShape {
        instances,
        threads,
        idle_threads: (automatic && cores > threads).then_some(cores),
    }
}

/// A load keeps one core busy, so all instances are loaded at once.
fn load_at_once(parts: &WorkerParts, shape: InstanceShape) -> Result<Loaded, EngineError> {
    let started = Instant::now();
    let load = |threads| {
        parts
            .backend
            .load(&parts.file.source(), &EngineOptions { threads })
    };
    thread::scope(|scope| {
        let latency = shape
            .idle_threads
            .map(|threads| scope.spawn(move || load(threads)));
        let throughput: Vec<_> = (0..shape.instances)
            .map(|_| scope.spawn(move || load(shape.threads)))
            .collect();
        let panicked = || EngineError::Fault("loading panicked".to_owned());
        let join =
            |thread: thread::ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|_| Err(panicked()));
        let throughput = throughput.into_iter().map(join).collect::<Result<_, _>>()?;
        Ok(Loaded {
            throughput,
            threads: shape.threads,
            latency: latency.map(join).transpose()?,
            load_time: started.elapsed(),
        })
    })
}

fn load_one_by_one(parts: &WorkerParts, shape: InstanceShape) -> Result<Loaded, EngineError> {
    let started = Instant::now();
    let load = |threads| {
        let options = EngineOptions { threads };
        parts.backend.load(&parts.file.source(), &options)
    };
    Ok(Loaded {
        throughput: (0..shape.instances)
            .map(|_| load(shape.threads))
            .collect::<Result<_, _>>()?,
        threads: shape.threads,
        latency: shape.idle_threads.map(load).transpose()?,
        load_time: started.elapsed(),
    })
}

/// Runs every instance once, so that no request pays for its first-time work, and measures one of them.
fn warm_up(
    loaded: &mut Loaded,
    plan: &MeasurePlan,
    now: impl FnMut() -> Instant + Clone,
) -> Result<CostTable, EngineError> {
    let once = MeasurePlan {
        max_batch: 1,
        rounds: 1,
        budget: plan.budget,
    };
    let (first, others) = loaded.throughput.split_at_mut(1);
    for engine in others.iter_mut().chain(&mut loaded.latency) {
        measure(engine.as_mut(), &once, now.clone())?;
    }
    measure(first[0].as_mut(), plan, now)
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
    fn the_processor_clock_stands_still_while_others_run() {
        const WORK: Duration = Duration::from_millis(20);
        let work = || {
            let mut now = processor_clock();
            let start = now();
            while now() - start < WORK {}
            now() - start
        };
        let mut now = processor_clock();
        let start = now();
        let other = thread::spawn(work).join().expect("no panic");
        assert!(now() - start < WORK, "it slept meanwhile");
        assert!(other >= WORK, "it goes on with its thread");
    }
}
