//! Carries jobs to workers and replies back.
//!
//! The contract: queues are bounded; each accepted job gets one reply or one error; jobs whose client has left or whose
//! deadline has passed are not computed; low priorities wait longer, but not for ever; after `close`, accepted jobs are still
//! computed.
//!
//! The web side uses a [`Broker`], the worker a [`JobQueue`] of its own process. In one process the two are the same queue.
//! Over a network, [`redis`] or [`tutorial`] submits on one side and fills the worker's queue ahead of its engines on the
//! other, so that no thread of the pool ever waits for the network.

pub(crate) mod envelope;
pub mod job;
pub(crate) mod job_queue;
pub(crate) mod leased;
pub(crate) mod memory;
pub(crate) mod priority_queue;
pub mod redis;
pub(crate) mod reply;
pub(crate) mod transport;
pub mod tutorial;
pub mod wire;

use std::time::Duration;

pub use envelope::{Deadline, Envelope};
pub use job_queue::{JobQueue, ModelQueue, QueueFull, Refill};
pub use leased::{Leased, Receipt};
pub use memory::MemoryBroker;
pub use reply::{ImageReply, PrepareTimes, ReplyReceiver, ReplySender, waiter};

use crate::error::Error;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use job::Job;

/// The way to the workers. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Broker {
    Memory(MemoryBroker),
    Redis(redis::RedisBroker),
    Tutorial(tutorial::TutorialBroker),
}

impl Broker {
    /// Whether `images` more images for `model` would be accepted, as far as this process knows; [`Broker::submit`] decides.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::NoWorker`] and [`Error::BrokerUnavailable`].
    pub fn admit(&self, model: &ServedModel, images: usize, priority: Priority) -> Result<(), Error> {
        match self {
            // Admission counts the images of this process.
            Self::Memory(_) => Ok(()),
            Self::Redis(broker) => broker.admit(model, images, priority),
            Self::Tutorial(broker) => broker.available(),
        }
    }

    /// The same for images that may wait, outside of this process, until there is a worker.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::NotReady`] and [`Error::BrokerUnavailable`].
    pub fn admit_later(&self, model: &ServedModel, images: usize, priority: Priority) -> Result<(), Error> {
        match self {
            Self::Memory(_) => model.ready(),
            Self::Redis(broker) => broker.admit_later(model, images, priority),
            Self::Tutorial(broker) => broker.available(),
        }
    }

    /// Whether another photo for `model` with this priority should be decoded now; more jobs would only hold memory.
    pub fn wants(&self, model: &ServedModel, priority: Priority) -> bool {
        match self {
            Self::Memory(broker) => broker.wants(&model.id, priority),
            Self::Redis(broker) => broker.wants(),
            Self::Tutorial(broker) => broker.wants(),
        }
    }

    /// Whether such a photo should be decoded before the next batch is computed, so that it overtakes lower priorities.
    pub fn hurries(&self, model: &ServedModel, priority: Priority) -> bool {
        match self {
            Self::Memory(broker) => broker.hurries(&model.id, priority),
            // No batches are computed in this process.
            Self::Redis(_) | Self::Tutorial(_) => false,
        }
    }

    /// Takes a job. `waiter` gets its reply, or the reason for refusing it.
    pub fn submit(&self, job: Job, waiter: ReplySender) {
        match self {
            Self::Memory(broker) => broker.submit(job, waiter),
            Self::Redis(broker) => broker.submit(job, waiter),
            Self::Tutorial(broker) => broker.submit(job, waiter),
        }
    }

    /// Drops jobs whose clients have left, where they would otherwise be kept. Called when a client leaves.
    pub fn drop_dead(&self) {
        match self {
            // In memory they are dropped when a batch is drawn. From the tutorial's list nothing can be taken back.
            Self::Memory(_) | Self::Tutorial(_) => {}
            Self::Redis(broker) => broker.drop_dead(),
        }
    }

    /// How many jobs wait for a worker, as far as this process knows.
    pub fn depth(&self) -> usize {
        match self {
            Self::Memory(broker) => broker.depth(),
            Self::Redis(broker) => broker.depth(),
            Self::Tutorial(broker) => broker.depth(),
        }
    }

    /// Whether jobs can be submitted.
    pub fn available(&self) -> Result<(), Error> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(broker) => broker.available(),
            Self::Tutorial(broker) => broker.available(),
        }
    }

    /// Why Redis cannot be used, where jobs go there.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(broker) => broker.trouble(),
            Self::Tutorial(broker) => broker.trouble(),
        }
    }

    pub fn close(&self) {
        match self {
            Self::Memory(broker) => broker.close(),
            Self::Redis(broker) => broker.close(),
            Self::Tutorial(broker) => broker.close(),
        }
    }
}

/// The error for a job that found `ahead` others in a full queue: its client should come back when they are computed.
fn queue_full(model: &ServedModel, ahead: usize) -> Error {
    let retry_after = model.estimate(ahead).unwrap_or(Duration::from_secs(1));
    Error::QueueFull { retry_after }
}
