//! The broker of one process: a bounded queue for each model, and a channel of one for each reply.
//!
//! A crash loses what clients are still waiting for, and nothing else.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::job::{Job, JobCost, JobError, ModelId, Reply};
use crate::metrics::{DropReason, Metrics};

/// Queues of jobs in memory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    capacity: usize,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    queues: HashMap<Arc<ModelId>, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Leased>,
    arrivals: Arc<Notify>,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubmitted {
    /// The model's queue is at its capacity.
    Full,
    /// The broker is closed.
    Closed,
}

impl MemoryBroker {
    /// A broker whose queues hold at most `capacity` jobs each.
    #[must_use]
    pub fn new(capacity: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            shared: Arc::new(Shared {
                capacity,
                metrics,
                state: Mutex::default(),
            }),
        }
    }

    /// Queues a job. Dropping the returned [`Pending`] abandons it.
    ///
    /// # Errors
    /// When the queue is full or the broker is closed; the job is not queued then.
    pub fn submit(&self, job: Job) -> Result<Pending, Unsubmitted> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return Err(Unsubmitted::Closed);
        }
        let queue = state.queues.entry(Arc::clone(&job.model)).or_default();
        if queue.jobs.len() >= self.shared.capacity {
            queue.drop_dead(&self.shared.metrics);
        }
        if queue.jobs.len() >= self.shared.capacity {
            return Err(Unsubmitted::Full);
        }
        let (waiter, reply) = oneshot::channel();
        queue.jobs.push_back(Leased {
            job,
            waiter,
            submitted: Instant::now(),
        });
        queue.arrivals.notify_one();
        Ok(Pending { reply })
    }

    /// Waits for jobs of `model` and hands out up to `max` (at least 1) of them, oldest first. Dead ones are
    /// dropped and counted on the way. Empty means that the broker is closed and nothing is left.
    pub async fn lease(&self, model: &Arc<ModelId>, max: usize) -> Vec<Leased> {
        loop {
            let arrivals = {
                let mut state = self.shared.state.lock();
                let closed = state.closed;
                let queue = state.queues.entry(Arc::clone(model)).or_default();
                let jobs = queue.take_live(max.max(1), &self.shared.metrics);
                if !queue.jobs.is_empty() {
                    queue.arrivals.notify_one();
                }
                if !jobs.is_empty() || closed {
                    return jobs;
                }
                // Created under the lock, so that neither an arrival nor `close` slips in between.
                Arc::clone(&queue.arrivals).notified_owned()
            };
            arrivals.await;
        }
    }

    /// How many jobs of all models wait to be leased.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shared
            .state
            .lock()
            .queues
            .values()
            .map(|queue| queue.jobs.len())
            .sum()
    }

    /// Takes no more jobs. Those queued are still handed out.
    pub fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        for queue in state.queues.values() {
            queue.arrivals.notify_waiters();
        }
    }
}

impl Queue {
    fn take_live(&mut self, max: usize, metrics: &Metrics) -> Vec<Leased> {
        let now = Instant::now();
        let mut live = Vec::new();
        while live.len() < max
            && let Some(leased) = self.jobs.pop_front()
        {
            live.extend(leased.unless_dead(now, metrics));
        }
        live
    }

    /// Makes room: what nobody waits for must not keep others out.
    fn drop_dead(&mut self, metrics: &Metrics) {
        let now = Instant::now();
        self.jobs = self
            .jobs
            .drain(..)
            .filter_map(|leased| leased.unless_dead(now, metrics))
            .collect();
    }
}

/// A job in a worker's hands. Dropping it without completing it tells its waiter that it is lost.
#[derive(Debug)]
pub struct Leased {
    /// The job.
    pub job: Job,
    /// When it was submitted.
    pub submitted: Instant,
    waiter: oneshot::Sender<Reply>,
}

impl Leased {
    /// Why computing this job would help nobody, if so.
    #[must_use]
    pub fn dead(&self, now: Instant) -> Option<DropReason> {
        // Whoever waited leaves at the deadline too, so a passed deadline is the reason whether or not they have.
        if self.job.deadline <= now {
            Some(DropReason::DeadlinePassed)
        } else if self.waiter.is_closed() {
            Some(DropReason::ClientGone)
        } else {
            None
        }
    }

    /// Gives the job back if it is worth computing; otherwise tells its waiter, if any, and counts it.
    #[must_use]
    pub fn unless_dead(self, now: Instant, metrics: &Metrics) -> Option<Self> {
        let Some(reason) = self.dead(now) else {
            return Some(self);
        };
        metrics.count_dropped(reason);
        let queue = now.saturating_duration_since(self.submitted);
        self.complete(Reply {
            result: Err(JobError::DeadlinePassed),
            cost: JobCost {
                queue,
                ..JobCost::default()
            },
        });
        None
    }

    /// Answers the waiter; a waiter that has left in the meantime needs no answer.
    pub fn complete(self, reply: Reply) {
        let _ = self.waiter.send(reply);
    }
}

/// Resolves to the reply. Dropping it abandons the job.
#[derive(Debug)]
pub struct Pending {
    reply: oneshot::Receiver<Reply>,
}

impl Future for Pending {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        Pin::new(&mut self.reply).poll(context).map(|reply| {
            reply.unwrap_or_else(|_| Reply {
                result: Err(JobError::Lost),
                cost: JobCost::default(),
            })
        })
    }
}
