//! The broker of one process: a submitted job goes straight to the worker's queue.
//!
//! A crash loses what clients are still waiting for, and nothing else.

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
    /// A broker whose jobs go to `queue`.
    #[must_use]
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
            Err(QueueFull::Closed(leased)) => (leased, Error::NotReady("it stops, or unloads the model")),
        };
        leased.refuse(error);
    }

    /// Whether the model's worker wants another job of this priority to be ready for it. One that has gone refuses it at once, so that nobody
    /// waits for what will never be.
    #[must_use]
    pub fn wants(&self, model: &ModelId, priority: Priority) -> bool {
        self.queue.of(model).is_none_or(|queue| queue.wants(priority))
    }

    /// Whether a job of this priority should be made before the next batch.
    #[must_use]
    pub fn hurries(&self, model: &ModelId, priority: Priority) -> bool {
        self.queue.of(model).is_some_and(|queue| queue.hurries(priority))
    }

    #[must_use]
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// Takes no more jobs. Those queued are still handed out.
    pub fn close(&self) {
        self.queue.close();
    }
}
