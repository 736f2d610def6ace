//! The jobs of this process that wait for its engines: one bounded queue for each model.
//!
//! The producer is notified when something was taken, and the pool when something was added, so neither polls, and taking
//! never blocks. A queue is opened when its model is loaded and removed with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::leased::Leased;
use super::priority_queue::PriorityQueue;
use crate::compute::pool::Pool;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::models::admission::open_to;
use crate::models::model_id::ModelId;
use crate::models::priority::Priority;

/// The queues of all models. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobQueue {
    shared: Arc<JobQueueShared>,
}

/// The queue of one model. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ModelQueue {
    shared: Arc<QueueShared>,
}

/// What fills a queue, to be notified when there is room again.
#[derive(Clone, Debug)]
pub enum Refill {
    /// The pool that prepares photos, called once for each job taken.
    Pool(Pool),
    /// A task that fetches jobs from elsewhere.
    Task(Arc<Notify>),
}

#[derive(Debug)]
struct JobQueueShared {
    metrics: Arc<Metrics>,
    queues: RwLock<HashMap<Arc<ModelId>, ModelQueue>>,
}

#[derive(Debug)]
struct QueueShared {
    capacity: usize,
    refill: Refill,
    metrics: Arc<Metrics>,
    state: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    closed: bool,
    jobs: PriorityQueue<Leased>,
    worker: Option<Worker>,
}

#[derive(Clone, Debug)]
struct Worker {
    pool: Pool,
    ahead: usize,
}

/// Why a job was not queued. The job is returned, to be refused.
#[derive(Debug)]
pub enum QueueFull {
    /// The model's queue is at its capacity.
    Full(Box<Leased>),
    /// The queue is closed, or its model is gone.
    Closed(Box<Leased>),
}

impl JobQueue {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let queues = RwLock::default();
        Self {
            shared: Arc::new(JobQueueShared { metrics, queues }),
        }
    }

    /// Opens a queue for `model`, of at most `capacity` jobs.
    #[must_use]
    pub fn open(&self, model: &Arc<ModelId>, capacity: usize, refill: Refill) -> ModelQueue {
        let queue = ModelQueue {
            shared: Arc::new(QueueShared {
                capacity,
                refill,
                metrics: Arc::clone(&self.shared.metrics),
                state: Mutex::default(),
            }),
        };
        let mut queues = self.shared.queues.write();
        queues.insert(Arc::clone(model), queue.clone());
        queue
    }

    /// Closes and removes the queue of a model. Its jobs are refused, because an engine that hangs may hold the queue for ever,
    /// and the pool is called so that photos for it are refused, too.
    pub fn remove(&self, model: &ModelId) {
        let removed = self.shared.queues.write().remove(model);
        if let Some(queue) = removed {
            queue.close();
            queue.refuse_all();
            if let Refill::Pool(pool) = &queue.shared.refill {
                pool.call();
            }
        }
    }

    pub fn of(&self, model: &ModelId) -> Option<ModelQueue> {
        self.shared.queues.read().get(model).cloned()
    }

    /// Whether any package of this name and version has a queue.
    pub fn has_version(&self, model: &ModelId) -> bool {
        let queues = self.shared.queues.read();
        queues
            .keys()
            .any(|id| id.name == model.name && id.version == model.version)
    }

    /// Queues a job and calls its model's pool.
    ///
    /// # Errors
    /// When the model's queue is full or closed, or there is none; the job is not queued then.
    pub fn push(&self, leased: Leased) -> Result<(), QueueFull> {
        match self.of(&leased.job.envelope.model.id) {
            Some(queue) => queue.push(leased),
            None => Err(QueueFull::Closed(Box::new(leased))),
        }
    }

    pub fn len(&self) -> usize {
        self.shared.queues.read().len()
    }

    /// Whether no model has a queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn depth(&self) -> usize {
        let queues = self.shared.queues.read();
        queues.values().map(ModelQueue::depth).sum()
    }

    /// Accepts no more jobs, of any model. Queued ones are still handed out.
    pub fn close(&self) {
        let queues = self.shared.queues.read();
        queues.values().for_each(ModelQueue::close);
    }
}

impl ModelQueue {
    /// Queues a job and calls the pool.
    ///
    /// # Errors
    /// When the queue is full or closed; the job is not queued then.
    pub fn push(&self, leased: Leased) -> Result<(), QueueFull> {
        let shared = &self.shared;
        let pool = {
            let mut queue = shared.state.lock();
            if queue.closed {
                return Err(QueueFull::Closed(Box::new(leased)));
            }
            if !queue.has_room(shared.capacity, leased.job.envelope.priority) {
                queue.drop_dead(&shared.metrics);
            }
            if !queue.has_room(shared.capacity, leased.job.envelope.priority) {
                return Err(QueueFull::Full(Box::new(leased)));
            }
            queue.jobs.push(leased.job.envelope.priority, leased);
            queue.worker.as_ref().map(|worker| worker.pool.clone())
        };
        if let Some(pool) = pool {
            pool.call();
        }
        Ok(())
    }

    /// Calls `pool` whenever a job is added. `ahead` jobs of each priority should be ready for it, so that engines never wait.
    pub fn serve(&self, pool: Pool, ahead: usize) {
        self.shared.state.lock().worker = Some(Worker { pool, ahead });
    }

    /// Whether another job of this priority should be made now. Each priority has room of its own, so that one that is ready does
    /// not hold up another.
    pub fn wants(&self, priority: Priority) -> bool {
        let queue = self.shared.state.lock();
        let worker = queue.worker.as_ref();
        worker.is_some_and(|worker| queue.jobs.len_of(priority) < worker.ahead)
    }

    /// Whether a job of this priority should be made before the next batch is computed: it is high or would overtake jobs that
    /// are ready, and less than one batch of its priority is ready.
    pub fn hurries(&self, priority: Priority) -> bool {
        let queue = self.shared.state.lock();
        let lower = |other: Priority| other.index() > priority.index();
        let batch = |worker: &Worker| worker.ahead.div_ceil(2);
        let overtakes = priority == Priority::High || queue.jobs.any_of(lower);
        let worker = queue.worker.as_ref();
        overtakes && worker.is_some_and(|worker| queue.jobs.len_of(priority) < batch(worker))
    }

    /// Hands out up to `max` jobs, by priority and age. Dead ones are dropped and counted.
    #[must_use]
    pub fn lease(&self, max: usize) -> Vec<Leased> {
        let (jobs, taken) = {
            let mut queue = self.shared.state.lock();
            let before = queue.jobs.len();
            let jobs = queue.take_live(max, &self.shared.metrics);
            (jobs, before - queue.jobs.len())
        };
        match &self.shared.refill {
            Refill::Pool(pool) => (0..taken).for_each(|_| pool.call()),
            Refill::Task(room) if taken > 0 => room.notify_one(),
            Refill::Task(_) => {}
        }
        jobs
    }

    /// Notified when something was taken, where a task fills the queue.
    pub fn room(&self) -> Option<Arc<Notify>> {
        match &self.shared.refill {
            Refill::Pool(_) => None,
            Refill::Task(room) => Some(Arc::clone(room)),
        }
    }

    pub fn depth(&self) -> usize {
        self.shared.state.lock().jobs.len()
    }

    pub fn depth_of(&self, priority: Priority) -> usize {
        self.shared.state.lock().jobs.len_of(priority)
    }

    fn refuse_all(&self) {
        let left = std::mem::take(&mut self.shared.state.lock().jobs);
        for leased in left.into_items() {
            leased.refuse(Error::Unloaded);
        }
    }

    /// Accepts no more jobs. Queued ones are still handed out.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
    }
}

impl Queue {
    fn take_live(&mut self, max: usize, metrics: &Metrics) -> Vec<Leased> {
        let mut live = Vec::new();
        if self.jobs.len() == 0 {
            return live;
        }
        let now = Instant::now();
        while live.len() < max
            && let Some(leased) = self.jobs.pop()
        {
            live.extend(leased.unless_dead(now, metrics));
        }
        live
    }

    /// Whether there is room for one more of this priority. Lower priorities leave a part of the queue free. Admission has the
    /// same rule and counts all images; this counts only jobs of this priority and below, so that it refuses no image that was
    /// admitted before higher priorities filled the rest.
    fn has_room(&self, capacity: usize, priority: Priority) -> bool {
        let lower = Priority::ALL.into_iter().skip(priority.index());
        let lower: usize = lower.map(|lower| self.jobs.len_of(lower)).sum();
        self.jobs.len() < capacity && (lower as u64) < open_to(capacity as u64, priority)
    }

    /// Makes room.
    fn drop_dead(&mut self, metrics: &Metrics) {
        let now = Instant::now();
        self.jobs.filter(|leased| leased.unless_dead(now, metrics));
    }
}

#[cfg(test)]
mod tests;
