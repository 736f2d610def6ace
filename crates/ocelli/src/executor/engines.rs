//! The engine instances of a model, as a source of work for the pool. A turn takes a free instance and cores, draws a batch,
//! runs it and answers its jobs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ocelli_engine::{Backend, Engine, EngineError, EngineOptions, Tensor};
use parking_lot::{Mutex, MutexGuard};

use super::WorkerParts;
use super::batch::{BatchBuffer, split};
use super::batcher::Ripeness;
use super::loading::Loaded;
use super::queue::WorkQueue;
use crate::compute::core_budget::{CoreBudget, CoresGuard};
use crate::compute::pool::{Turn, Urgency, WorkSource};
use crate::error::Cause;
use crate::metrics::Metrics;
use crate::models::served_model::{ModelFile, ServedModel};
use crate::output::postprocess::{Output, OutputRequest};
use crate::queue::Leased;
use crate::queue::job::{JobCost, JobError, Reply};

/// Between attempts to rebuild a failed instance: the first pause, doubled each time up to the last one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// All instances of a model.
pub(super) struct Engines {
    slots: Vec<Mutex<InstanceSlot>>,
    free: AtomicUsize,
    /// With a thread for each core, for a job on an otherwise idle machine.
    latency: Option<Mutex<InstanceSlot>>,
    threads: usize,
    /// With this many waiting jobs, a larger batch gains nothing, and the batch goes before anything else.
    urgent_from: usize,
    backend: Arc<dyn Backend>,
    cores: CoreBudget,
    metrics: Arc<Metrics>,
    model: Arc<ServedModel>,
    file: Arc<ModelFile>,
    queue: WorkQueue,
}

struct InstanceSlot {
    engine: Result<Box<dyn Engine>, Broken>,
    buffer: BatchBuffer,
}

#[derive(Clone, Copy)]
struct Broken {
    retry_at: Instant,
    pause: Duration,
}

impl InstanceSlot {
    fn new(engine: Box<dyn Engine>) -> Self {
        Self {
            engine: Ok(engine),
            buffer: BatchBuffer::default(),
        }
    }
}

impl Engines {
    pub(super) fn new(
        loaded: Loaded,
        urgent_from: usize,
        parts: &WorkerParts,
        model: &Arc<ServedModel>,
        queue: WorkQueue,
    ) -> Self {
        for _ in &loaded.throughput {
            model.instance_up();
            parts.metrics.engine_instances.inc();
        }
        Self {
            free: AtomicUsize::new(loaded.throughput.len()),
            slots: loaded
                .throughput
                .into_iter()
                .map(|engine| Mutex::new(InstanceSlot::new(engine)))
                .collect(),
            latency: loaded.latency.map(|engine| Mutex::new(InstanceSlot::new(engine))),
            threads: loaded.threads,
            urgent_from,
            backend: Arc::clone(&parts.backend),
            cores: parts.cores.clone(),
            metrics: Arc::clone(&parts.metrics),
            model: Arc::clone(model),
            file: Arc::clone(&parts.file),
            queue,
        }
    }

    /// Computes a lone job with all cores of an otherwise idle machine. `None` where that is not the case.
    fn turn_for_latency(&self) -> Option<Turn> {
        let mut slot = self.latency.as_ref()?.try_lock()?;
        let InstanceSlot {
            engine: Ok(engine),
            buffer,
        } = &mut *slot
        else {
            return None;
        };
        let cores = self.cores.try_all()?;
        if self.queue.look(true).1 != 1 {
            return None;
        }
        if !self.run(engine.as_mut(), buffer, self.queue.draw(0), cores) {
            // One attempt: without it the other instances serve, with a higher latency.
            self.rebuild(&mut slot, self.cores.total(), FIRST_PAUSE);
        }
        Some(Turn::Worked)
    }

    fn turn_for_throughput(&self, thread: usize) -> Turn {
        let Some(mut slot) = self.free_slot(thread) else {
            return Turn::Nothing;
        };
        if let Err(broken) = slot.engine {
            return self.retry(&mut slot, broken);
        }
        let cores = self
            .cores
            .for_engine(if self.backend.uses_cpu() { self.threads } else { 0 });
        // An engine is free until it has drawn. Otherwise the first of several that come at once would take all jobs.
        let peers = self.free.load(Ordering::Acquire).saturating_sub(1);
        let jobs = self.queue.draw(peers);
        if jobs.is_empty() {
            return Turn::Worked;
        }
        self.free.fetch_sub(1, Ordering::AcqRel);
        let InstanceSlot { engine, buffer } = &mut *slot;
        let works = match engine {
            Ok(engine) => self.run(engine.as_mut(), buffer, jobs, cores),
            Err(_) => true,
        };
        if works {
            self.free.fetch_add(1, Ordering::AcqRel);
        } else {
            self.model.instance_down();
            self.metrics.engine_instances.dec();
            if self.rebuild(&mut slot, self.threads, FIRST_PAUSE) {
                self.back();
            }
        }
        Turn::Worked
    }

    /// The thread's own instance, whose data is in its core's caches, or else any free one; broken ones last.
    fn free_slot(&self, thread: usize) -> Option<MutexGuard<'_, InstanceSlot>> {
        let count = self.slots.len();
        let mut broken = None;
        for offset in 0..count {
            if let Some(slot) = self.slots[(thread + offset) % count].try_lock() {
                if slot.engine.is_ok() {
                    return Some(slot);
                }
                broken = broken.or(Some(slot));
            }
        }
        broken
    }

    /// Rebuilds a broken instance although no job waits: a server without a working instance refuses all jobs.
    fn mend(&self) -> Turn {
        let broken = self.slots.iter().filter_map(|slot| {
            let slot = slot.try_lock()?;
            let broken = slot.engine.as_ref().err().copied()?;
            Some((slot, broken))
        });
        match broken.min_by_key(|(_, broken)| broken.retry_at) {
            Some((mut slot, broken)) => self.retry(&mut slot, broken),
            None => Turn::Nothing,
        }
    }

    fn retry(&self, slot: &mut InstanceSlot, broken: Broken) -> Turn {
        if Instant::now() < broken.retry_at {
            return Turn::NothingUntil(broken.retry_at);
        }
        if self.rebuild(slot, self.threads, (broken.pause * 2).min(LAST_PAUSE)) {
            self.back();
        }
        Turn::Worked
    }

    fn back(&self) {
        self.model.instance_up();
        self.metrics.engine_instances.inc();
        self.free.fetch_add(1, Ordering::AcqRel);
    }

    /// Loads a failed instance again. False if that failed, to be tried again after `pause`.
    fn rebuild(&self, slot: &mut InstanceSlot, threads: usize, pause: Duration) -> bool {
        let model = &self.model.id.name;
        tracing::warn!(model, "rebuilding a failed engine instance");
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            self.backend.load(&self.file.source(), &EngineOptions { threads })
        }))
        .unwrap_or_else(|_| Err(EngineError::Fault("loading panicked".to_owned())));
        slot.engine = loaded.map_err(|error| {
            tracing::error!(model, %error, retry_in = ?pause, "cannot rebuild an engine instance");
            Broken {
                retry_at: Instant::now() + pause,
                pause,
            }
        });
        slot.engine.is_ok()
    }

    /// Runs a batch and answers its jobs, holding `cores` until the engine is done.
    /// False where the engine failed and must not be used again; the jobs have been answered in any case.
    fn run(
        &self,
        engine: &mut dyn Engine,
        buffer: &mut BatchBuffer,
        mut jobs: Vec<Leased>,
        cores: CoresGuard<'_>,
    ) -> bool {
        if jobs.is_empty() {
            return true;
        }
        let drawn = Instant::now();
        let (outputs, filled) = self.compute(engine, buffer, &mut jobs);
        drop(cores);
        let infer = filled.elapsed();
        let size = jobs.len();
        self.metrics.batch_size.observe(size as f64);
        let mut outputs = match outputs {
            Ok(outputs) => {
                self.model.observe(size, infer);
                Ok(outputs.into_iter())
            }
            Err(fault) => {
                self.metrics.engine_faults.inc();
                let model = &self.model.id.name;
                tracing::error!(model, %fault, "the engine failed");
                Err(Cause::new(fault.to_string()))
            }
        };
        for job in jobs {
            let cost = JobCost {
                queue: drawn.saturating_duration_since(job.submitted),
                fill: filled.saturating_duration_since(drawn),
                infer,
                batch_size: size,
            };
            let row = match &mut outputs {
                Ok(rows) => rows.next().ok_or_else(|| Cause::new("it gave too few outputs")),
                Err(cause) => Err(cause.clone()),
            };
            let result = row
                .map_err(JobError::EngineFault)
                .and_then(|outputs| self.results(&job.job.wants, &outputs));
            job.complete(Reply { result, cost });
        }
        outputs.is_ok()
    }

    /// Outputs that cannot be used fail only the job that they belong to.
    fn results(&self, wants: &[OutputRequest], outputs: &[Tensor]) -> Result<Vec<Output>, JobError> {
        wants
            .iter()
            .zip(outputs)
            .map(|(want, output)| want.outcome(&self.model, output))
            .collect::<Result<_, _>>()
            .map_err(|error| JobError::EngineFault(error.into()))
    }

    /// Returns the outputs of each job, and when the batch was filled. A panic counts as a fault of the engine.
    fn compute(
        &self,
        engine: &mut dyn Engine,
        buffer: &mut BatchBuffer,
        jobs: &mut [Leased],
    ) -> (Result<Vec<Vec<Tensor>>, EngineError>, Instant) {
        let input = match buffer.fill(self.model.input(), jobs) {
            Ok(input) => input,
            Err(error) => return (Err(EngineError::Fault(error.to_string())), Instant::now()),
        };
        let filled = Instant::now();
        let outputs = catch_unwind(AssertUnwindSafe(|| engine.infer(slice::from_ref(&input))))
            .unwrap_or_else(|_| Err(EngineError::Fault("it panicked".to_owned())));
        buffer.recycle(input);
        let wanted = jobs.iter().map(|job| job.job.wants.as_slice());
        (outputs.and_then(|outputs| split(&outputs, wanted)), filled)
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            if slot.get_mut().engine.is_ok() {
                self.model.instance_down();
                self.metrics.engine_instances.dec();
            }
        }
    }
}

impl WorkSource for Engines {
    fn turn(&self, thread: usize, urgency: Urgency) -> Turn {
        match self.queue.look(self.free.load(Ordering::Acquire) > 0) {
            (Ripeness::Empty, _) if urgency == Urgency::Ordinary => self.mend(),
            (Ripeness::Empty, _) => Turn::Nothing,
            (Ripeness::At(due), _) => Turn::NothingUntil(due),
            (Ripeness::Now, waiting)
                if urgency == Urgency::Urgent && waiting < self.urgent_from && !self.queue.has_high() =>
            {
                Turn::Nothing
            }
            (Ripeness::Now, _) => self
                .turn_for_latency()
                .unwrap_or_else(|| self.turn_for_throughput(thread)),
        }
    }
}
