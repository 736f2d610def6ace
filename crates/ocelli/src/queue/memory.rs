//! The broker of one process: a submitted job goes straight to the worker's queue. A crash loses the jobs of open requests.

use super::job::Job;
use super::job_queue::{JobQueue, QueueFull};
use super::leased::{Leased, Receipt};
use super::queue_full;
use super::reply::ReplySender;
use crate::error::Error;
use crate::models::model_id::ModelId;
use crate::models::priority::Priority;

/// Submits to a queue of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MemoryBroker {
    queue: JobQueue,
}

impl MemoryBroker {
    pub fn new(queue: JobQueue) -> Self {
        Self { queue }
    }

    /// Queues a job, or refuses it where there is no room.
    pub fn submit(&self, job: Job, waiter: ReplySender) {
        let leased = Leased::new(job, Receipt::ReplySender(waiter));
        let (leased, error) = match self.queue.push(leased) {
            Ok(()) => return,
            Err(QueueFull::Full(leased)) => {
                let model = &leased.job.envelope.model;
                let depth = self.queue.of(&model.id).map_or(0, |queue| queue.depth());
                let full = queue_full(model, depth);
                (leased, full)
            }
            Err(QueueFull::Closed(leased)) => {
                (leased, Error::NotReady("it is stopping or unloading the model"))
            }
        };
        leased.refuse(error);
    }

    /// See [`super::Broker::wants`]. True for a model that is gone, so that its photos are refused at once.
    pub fn wants(&self, model: &ModelId, priority: Priority) -> bool {
        self.queue.of(model).is_none_or(|queue| queue.wants(priority))
    }

    /// See [`super::Broker::hurries`].
    pub fn hurries(&self, model: &ModelId, priority: Priority) -> bool {
        self.queue.of(model).is_some_and(|queue| queue.hurries(priority))
    }

    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// Accepts no more jobs. Queued ones are still handed out.
    pub fn close(&self) {
        self.queue.close();
    }
}
