//! The jobs of this process that wait for its engines: one bounded queue for each model.
//!
//! Its source is notified when something was taken, and the pool of a model is called when there is something to take,
//! so nobody polls and taking never blocks. A queue is opened when its model is loaded and goes with it.

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
    shared: Arc<One>,
}

/// Who fills a queue, and is told when there is room again.
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
struct One {
    capacity: usize,
    supplier: Refill,
    metrics: Arc<Metrics>,
    state: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    closed: bool,
    jobs: PriorityQueue<Leased>,
    worker: Option<Worker>,
}

/// Who takes a model's jobs.
#[derive(Clone, Debug)]
struct Worker {
    pool: Pool,
    ahead: usize,
}

/// Why a job was not taken. It is given back, so that whoever waits for it can be told.
#[derive(Debug)]
pub enum QueueFull {
    /// The model's queue is at its capacity.
    Full(Box<Leased>),
    /// The queue is closed, or its model is gone.
    Closed(Box<Leased>),
}

impl JobQueue {
    /// No queues yet. Jobs that are dropped are counted in `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let queues = RwLock::default();
        Self {
            shared: Arc::new(JobQueueShared { metrics, queues }),
        }
    }

    /// Opens a queue for `model`, of at most `capacity` jobs, which `supplier` fills.
    #[must_use]
    pub fn open(&self, model: &Arc<ModelId>, capacity: usize, supplier: Refill) -> ModelQueue {
        let queue = ModelQueue {
            shared: Arc::new(One {
                capacity,
                supplier,
                metrics: Arc::clone(&self.shared.metrics),
                state: Mutex::default(),
            }),
        };
        let mut queues = self.shared.queues.write();
        queues.insert(Arc::clone(model), queue.clone());
        queue
    }

    /// Closes the queue of a model and forgets it. Jobs that are left are refused, for an engine that hangs may keep the
    /// queue for ever, and whoever prepares photos for it is called to refuse those.
    pub fn remove(&self, model: &ModelId) {
        let removed = self.shared.queues.write().remove(model);
        if let Some(queue) = removed {
            queue.close();
            queue.refuse_all();
            if let Refill::Pool(pool) = &queue.shared.supplier {
                pool.call();
            }
        }
    }

    /// The queue of a model that is loaded.
    #[must_use]
    pub fn of(&self, model: &ModelId) -> Option<ModelQueue> {
        self.shared.queues.read().get(model).cloned()
    }

    /// Whether any package of this name and version has a queue.
    #[must_use]
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

    /// How many models have a queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.queues.read().len()
    }

    /// Whether no model has a queue.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many jobs of all models wait to be leased.
    #[must_use]
    pub fn depth(&self) -> usize {
        let queues = self.shared.queues.read();
        queues.values().map(ModelQueue::depth).sum()
    }

    /// Takes no more jobs, of any model. Those queued are still handed out.
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

    /// Has `crew` called whenever there is a job to take. It wants up to `ahead` jobs of each priority, two batches, to wait
    /// for it, so that it never waits for one; more would only hold memory.
    pub fn serve(&self, pool: Pool, ahead: usize) {
        self.shared.state.lock().worker = Some(Worker { pool, ahead });
    }

    /// Whether another job of this priority should be made now. Each priority has room of its own: jobs of a lower one that
    /// are ready keep no other from being made.
    #[must_use]
    pub fn wants(&self, priority: Priority) -> bool {
        let queue = self.shared.state.lock();
        let worker = queue.worker.as_ref();
        worker.is_some_and(|worker| queue.jobs.len_of(priority) < worker.ahead)
    }

    /// Whether a job of this priority should be made before the next batch is computed: it would overtake jobs that are
    /// ready, or is urgent wherever it is, and less than one batch of its priority is ready.
    #[must_use]
    pub fn hurries(&self, priority: Priority) -> bool {
        let queue = self.shared.state.lock();
        let lower = |other: Priority| other.index() > priority.index();
        let batch = |worker: &Worker| worker.ahead.div_ceil(2);
        let overtakes = priority == Priority::High || queue.jobs.any_of(lower);
        let worker = queue.worker.as_ref();
        overtakes && worker.is_some_and(|worker| queue.jobs.len_of(priority) < batch(worker))
    }

    /// Hands out up to `max` jobs, by priority and age, or none. Dead ones are dropped and counted on the way.
    #[must_use]
    pub fn lease(&self, max: usize) -> Vec<Leased> {
        let (jobs, taken) = {
            let mut queue = self.shared.state.lock();
            let before = queue.jobs.len();
            let jobs = queue.take_live(max, &self.shared.metrics);
            (jobs, before - queue.jobs.len())
        };
        match &self.shared.supplier {
            Refill::Pool(pool) => (0..taken).for_each(|_| pool.call()),
            Refill::Task(room) if taken > 0 => room.notify_one(),
            Refill::Task(_) => {}
        }
        jobs
    }

    /// Told when something was taken, where a task fills the queue.
    #[must_use]
    pub fn room(&self) -> Option<Arc<Notify>> {
        match &self.shared.supplier {
            Refill::Pool(_) => None,
            Refill::Task(room) => Some(Arc::clone(room)),
        }
    }

    /// How many jobs wait to be leased.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shared.state.lock().jobs.len()
    }

    /// How many jobs of one priority wait to be leased.
    #[must_use]
    pub fn depth_of(&self, priority: Priority) -> usize {
        self.shared.state.lock().jobs.len_of(priority)
    }

    /// Tells everybody who waits that the model has gone.
    fn refuse_all(&self) {
        let left = std::mem::take(&mut self.shared.state.lock().jobs);
        for leased in left.into_items() {
            leased.refuse(Error::Unloaded);
        }
    }

    /// Takes no more jobs. Those queued are still handed out.
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

    /// Whether a queue of `capacity` jobs takes one more of this priority. Lower priorities leave a part of it free. Admission,
    /// which counts all images, has the same rule; this one counts only jobs that the part is kept free of, so that
    /// it refuses no image that was admitted before higher priorities filled the rest.
    fn has_room(&self, capacity: usize, priority: Priority) -> bool {
        let lower = Priority::ALL.into_iter().skip(priority.index());
        let lower: usize = lower.map(|lower| self.jobs.len_of(lower)).sum();
        self.jobs.len() < capacity && (lower as u64) < open_to(capacity as u64, priority)
    }

    /// Makes room: what nobody waits for must not keep others out.
    fn drop_dead(&mut self, metrics: &Metrics) {
        let now = Instant::now();
        self.jobs.filter(|leased| leased.unless_dead(now, metrics));
    }
}

#[cfg(test)]
mod tests;
