//! One engine instance on its own thread: wait, take cores, draw, run, answer, again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_engine::{Backend, Engine, EngineError, EngineOptions, Tensor};
use parking_lot::Mutex;

use super::WorkerParts;
use super::batch::{BatchBuffer, split};
use super::queue::WorkQueue;
use crate::broker::Leased;
use crate::cores::{Cores, CoresGuard};
use crate::job::{JobCost, JobError, Reply};
use crate::metrics::Metrics;
use crate::model::ServedModel;

/// Between attempts to rebuild a failed instance: the first pause, doubled each time up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// The instance with a thread for each core, used by whoever finds the machine idle.
pub(super) type WideEngine = Arc<Mutex<Option<Box<dyn Engine>>>>;

/// Owns an engine instance; whoever owns the process's threads runs it.
pub struct InstanceThread {
    engine: Box<dyn Engine>,
    wide: WideEngine,
    threads: usize,
    backend: Arc<dyn Backend>,
    cores: Cores,
    turns: Turns,
}

/// All that a turn needs besides an engine.
struct Turns {
    metrics: Arc<Metrics>,
    model: Arc<ServedModel>,
    queue: Arc<WorkQueue>,
    buffer: BatchBuffer,
}

/// What came of a turn.
enum Turn {
    /// Somebody else took the jobs.
    Nothing,
    /// A batch was run.
    Ran,
    /// A batch was run, and the engine must not be used again.
    Failed(EngineError),
}

impl InstanceThread {
    pub(super) fn new(
        parts: &WorkerParts,
        model: &Arc<ServedModel>,
        queue: &Arc<WorkQueue>,
        wide: &WideEngine,
        (engine, threads): (Box<dyn Engine>, usize),
    ) -> Self {
        let turns = Turns {
            metrics: Arc::clone(&parts.metrics),
            model: Arc::clone(model),
            queue: Arc::clone(queue),
            buffer: BatchBuffer::default(),
        };
        let (backend, cores) = (Arc::clone(&parts.backend), parts.cores.clone());
        Self {
            engine,
            wide: Arc::clone(wide),
            threads,
            backend,
            cores,
            turns,
        }
    }

    /// Runs batches until the queue is closed and empty.
    pub fn run(mut self) {
        self.up();
        while self.turns.queue.wait_until_ripe() {
            let turn = self.turn_alone().unwrap_or_else(|| self.turn_beside_others());
            if let Turn::Failed(fault) = turn {
                self.down();
                let Some(engine) = self.rebuild(&fault) else {
                    return;
                };
                self.engine = engine;
                self.up();
            }
        }
        self.down();
    }

    fn up(&self) {
        self.turns.model.instance_up();
        self.turns.metrics.engine_instances.inc();
        self.turns.queue.engine_free();
    }

    fn down(&self) {
        self.turns.queue.engine_gone();
        self.turns.metrics.engine_instances.dec();
        self.turns.model.instance_down();
    }

    /// With one job and an otherwise idle machine, all cores compute it together. `None` when that is not so.
    fn turn_alone(&mut self) -> Option<Turn> {
        let mut wide = self.wide.try_lock()?;
        let engine = wide.as_mut()?;
        let cores = self.cores.try_all()?;
        if self.turns.queue.waiting() != 1 {
            return None;
        }
        let turn = self.turns.take(engine.as_mut(), cores);
        if let Turn::Failed(fault) = turn {
            tracing::error!(%fault, "the engine failed; rebuilding the instance for an idle machine");
            let options = EngineOptions {
                threads: self.cores.total(),
            };
            // One attempt: without it the other instances serve just as well, if a little later.
            *wide = self
                .backend
                .load(&self.turns.model.source(), &options)
                .inspect_err(log_failed_rebuild)
                .ok();
            return Some(Turn::Ran);
        }
        Some(turn)
    }

    fn turn_beside_others(&mut self) -> Turn {
        let cores = self
            .cores
            .for_engine(if self.backend.uses_cpu() { self.threads } else { 0 });
        self.turns.take(self.engine.as_mut(), cores)
    }

    /// Loads the instance anew, as often as it takes. `None` when the queue was closed meanwhile.
    fn rebuild(&self, fault: &EngineError) -> Option<Box<dyn Engine>> {
        tracing::error!(model = %self.turns.model.id.name, %fault, "the engine failed; rebuilding its instance");
        let mut pause = FIRST_PAUSE;
        loop {
            match self.backend.load(
                &self.turns.model.source(),
                &EngineOptions {
                    threads: self.threads,
                },
            ) {
                Ok(engine) => return Some(engine),
                Err(error) => log_failed_rebuild(&error),
            }
            if self.turns.queue.closed_within(pause) {
                return None;
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

fn log_failed_rebuild(error: &EngineError) {
    tracing::error!(%error, "an engine instance could not be rebuilt");
}

impl Turns {
    /// Draws a batch and runs it on `engine`, holding `cores` until the outputs are there.
    fn take(&mut self, engine: &mut dyn Engine, cores: CoresGuard<'_>) -> Turn {
        let mut jobs = self.queue.draw();
        if jobs.is_empty() {
            return Turn::Nothing;
        }
        let drawn = Instant::now();
        let (outputs, filled) = self.compute(engine, &mut jobs);
        drop(cores);
        let infer = filled.elapsed();
        let size = jobs.len();
        self.metrics.batch_size.observe(size as f64);
        let (mut outputs, turn) = match outputs {
            Ok(outputs) => {
                self.model.observe(size, infer);
                (Some(outputs.into_iter()), Turn::Ran)
            }
            Err(error) => {
                self.metrics.engine_faults.inc();
                (None, Turn::Failed(error))
            }
        };
        for job in jobs {
            let cost = JobCost {
                queue: drawn.saturating_duration_since(job.submitted),
                fill: filled.saturating_duration_since(drawn),
                infer,
                batch_size: size,
            };
            let outputs = outputs.as_mut().and_then(Iterator::next);
            job.complete(Reply {
                result: outputs.ok_or(JobError::EngineFault),
                cost,
            });
        }
        self.queue.engine_free();
        turn
    }

    /// One set of outputs for each job, and when the batch was filled. A panic counts as a fault of the engine.
    fn compute(
        &mut self,
        engine: &mut dyn Engine,
        jobs: &mut [Leased],
    ) -> (Result<Vec<Vec<Tensor>>, EngineError>, Instant) {
        let input = match self.buffer.fill(self.model.input(), jobs) {
            Ok(input) => input,
            Err(error) => return (Err(EngineError::Fault(error.to_string())), Instant::now()),
        };
        let filled = Instant::now();
        let outputs = catch_unwind(AssertUnwindSafe(|| engine.infer(slice::from_ref(&input))))
            .unwrap_or_else(|_| Err(EngineError::Fault("it panicked".to_owned())));
        self.buffer.recycle(input);
        (outputs.and_then(|outputs| split(outputs, jobs.len())), filled)
    }
}
