//! The broker of one process: a bounded queue for each model.
//!
//! A crash loses what clients are still waiting for, and nothing else.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::waiter::Waiter;
use crate::crew::Crew;
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
    /// Makes jobs, and is told when more of them are wanted.
    suppliers: Crew,
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
    worker: Option<Worker>,
}

/// Who takes a model's jobs.
#[derive(Clone, Debug)]
struct Worker {
    crew: Crew,
    ahead: usize,
}

/// Why a job was not taken. Its waiter is given back, to be told.
#[derive(Debug)]
pub enum Unsubmitted {
    /// The model's queue is at its capacity.
    Full(Waiter),
    /// The broker is closed.
    Closed(Waiter),
}

impl MemoryBroker {
    /// A broker whose queues hold at most `capacity` jobs each, and which calls `suppliers` when it wants more.
    #[must_use]
    pub fn new(capacity: usize, suppliers: Crew, metrics: Arc<Metrics>) -> Self {
        let state = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                capacity,
                suppliers,
                metrics,
                state,
            }),
        }
    }

    /// Queues a job and calls the model's crew.
    ///
    /// # Errors
    /// When the queue is full or the broker is closed; the job is not queued then.
    pub fn submit(&self, job: Job, waiter: Waiter) -> Result<(), Unsubmitted> {
        let crew = {
            let mut state = self.shared.state.lock();
            if state.closed {
                return Err(Unsubmitted::Closed(waiter));
            }
            let queue = state.queues.entry(Arc::clone(&job.model)).or_default();
            if queue.jobs.len() >= self.shared.capacity {
                queue.drop_dead(&self.shared.metrics);
            }
            if queue.jobs.len() >= self.shared.capacity {
                return Err(Unsubmitted::Full(waiter));
            }
            queue.jobs.push_back(Leased {
                job,
                waiter,
                submitted: Instant::now(),
            });
            queue.worker.as_ref().map(|worker| worker.crew.clone())
        };
        if let Some(crew) = crew {
            crew.call();
        }
        Ok(())
    }

    /// Has `crew` called whenever there is a job of `model` to take. It wants up to `ahead` jobs to wait for it, so
    /// that it never waits for one; more would only hold memory.
    pub fn serve(&self, model: &Arc<ModelId>, crew: Crew, ahead: usize) {
        let mut state = self.shared.state.lock();
        state.queues.entry(Arc::clone(model)).or_default().worker = Some(Worker { crew, ahead });
    }

    /// Whether another job of `model` should be made now.
    #[must_use]
    pub fn wants(&self, model: &ModelId) -> bool {
        let state = self.shared.state.lock();
        state.queues.get(model).is_some_and(|queue| {
            queue
                .worker
                .as_ref()
                .is_some_and(|worker| queue.jobs.len() < worker.ahead)
        })
    }

    /// Hands out up to `max` jobs of `model`, oldest first, or none. Dead ones are dropped and counted on the way.
    #[must_use]
    pub fn lease(&self, model: &ModelId, max: usize) -> Vec<Leased> {
        let (jobs, taken) = {
            let mut state = self.shared.state.lock();
            let Some(queue) = state.queues.get_mut(model) else {
                return Vec::new();
            };
            let before = queue.jobs.len();
            let jobs = queue.take_live(max, &self.shared.metrics);
            (jobs, before - queue.jobs.len())
        };
        for _ in 0..taken {
            self.shared.suppliers.call();
        }
        jobs
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
        self.shared.state.lock().closed = true;
    }
}

impl Queue {
    fn take_live(&mut self, max: usize, metrics: &Metrics) -> Vec<Leased> {
        let mut live = Vec::new();
        if self.jobs.is_empty() {
            return live;
        }
        let now = Instant::now();
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
    waiter: Waiter,
}

impl Leased {
    /// Why computing this job would help nobody, if so.
    #[must_use]
    pub fn dead(&self, now: Instant) -> Option<DropReason> {
        DropReason::of(self.job.deadline <= now, self.waiter.is_gone())
    }

    /// Gives the job back if it is worth computing; otherwise tells its waiter, if any, and counts it.
    #[must_use]
    pub fn unless_dead(self, now: Instant, metrics: &Metrics) -> Option<Self> {
        let Some(reason) = self.dead(now) else {
            return Some(self);
        };
        metrics.count_dropped(reason);
        let queue = now.saturating_duration_since(self.submitted);
        let cost = JobCost {
            queue,
            ..JobCost::default()
        };
        self.complete(Reply {
            result: Err(JobError::DeadlinePassed),
            cost,
        });
        None
    }

    /// Answers the waiter.
    pub fn complete(self, reply: Reply) {
        self.waiter.complete(reply);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::{Pending, waiter};

    fn model() -> Arc<ModelId> {
        Arc::new(ModelId {
            name: "m".to_owned(),
            version: "1".to_owned(),
            digest: String::new(),
        })
    }

    fn submit(broker: &MemoryBroker, pixel: u8, life: Duration) -> Result<Pending, Unsubmitted> {
        let (waiter, pending) = waiter();
        let job = Job {
            model: model(),
            pixels: vec![pixel],
            deadline: Instant::now() + life,
        };
        broker.submit(job, waiter).map(|()| pending)
    }

    fn first_pixels(jobs: &[Leased]) -> Vec<u8> {
        jobs.iter().map(|leased| leased.job.pixels[0]).collect()
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn jobs_leave_in_order_once_and_answers_reach_their_waiters() {
        let broker = MemoryBroker::new(8, Crew::default(), Arc::default());
        let waiting: Vec<Pending> = (0..3)
            .map(|pixel| submit(&broker, pixel, LONG).expect("room"))
            .collect();
        assert!(broker.lease(&model(), 0).is_empty());
        let mut jobs = broker.lease(&model(), 2);
        jobs.extend(broker.lease(&model(), 2));
        assert_eq!(first_pixels(&jobs), [0, 1, 2]);
        assert!(broker.lease(&model(), 2).is_empty(), "no job leaves twice");
        for (index, leased) in jobs.into_iter().enumerate().rev() {
            let cost = JobCost {
                batch_size: index,
                ..JobCost::default()
            };
            leased.complete(Reply {
                result: Ok(Vec::new()),
                cost,
            });
        }
        for (index, pending) in waiting.into_iter().enumerate() {
            assert_eq!(pending.await.expect("an answer").reply.cost.batch_size, index);
        }
    }

    #[tokio::test]
    async fn a_job_that_is_dropped_is_lost_and_its_waiter_is_told() {
        let broker = MemoryBroker::new(8, Crew::default(), Arc::default());
        let pending = submit(&broker, 0, LONG).expect("room");
        drop(broker.lease(&model(), 1));
        assert_eq!(pending.await.unwrap_err(), crate::error::Error::Internal);
    }

    #[tokio::test]
    async fn the_dead_are_not_handed_out_and_are_counted() {
        let metrics = Arc::new(Metrics::default());
        let broker = MemoryBroker::new(8, Crew::default(), Arc::clone(&metrics));
        drop(submit(&broker, 0, LONG).expect("room"));
        let late = submit(&broker, 1, Duration::ZERO).expect("room");
        let _waiting = submit(&broker, 2, LONG).expect("room");
        assert_eq!(first_pixels(&broker.lease(&model(), 8)), [2]);
        assert_eq!(
            late.await.expect("an answer").reply.result,
            Err(JobError::DeadlinePassed)
        );
        let text = metrics.encode().expect("encodes");
        assert!(
            text.contains("ocelli_dropped_total{reason=\"client_gone\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("ocelli_dropped_total{reason=\"deadline_passed\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn a_full_queue_refuses_unless_it_is_full_of_the_dead() {
        let broker = MemoryBroker::new(2, Crew::default(), Arc::default());
        let first = submit(&broker, 0, LONG).expect("room");
        let _second = submit(&broker, 1, LONG).expect("room");
        assert!(matches!(submit(&broker, 2, LONG), Err(Unsubmitted::Full(_))));
        drop(first);
        let _third = submit(&broker, 3, LONG).expect("the place of the one who left");
        assert_eq!(first_pixels(&broker.lease(&model(), 8)), [1, 3]);
    }

    #[test]
    fn what_was_accepted_before_the_close_is_still_handed_out() {
        let broker = MemoryBroker::new(8, Crew::default(), Arc::default());
        let _pending = submit(&broker, 0, LONG).expect("open");
        broker.close();
        assert!(matches!(submit(&broker, 1, LONG), Err(Unsubmitted::Closed(_))));
        assert_eq!(broker.depth(), 1);
        assert_eq!(first_pixels(&broker.lease(&model(), 8)), [0]);
    }

    #[test]
    fn jobs_are_wanted_until_enough_wait_for_a_worker() {
        let broker = MemoryBroker::new(8, Crew::default(), Arc::default());
        assert!(!broker.wants(&model()), "nobody serves the model");
        broker.serve(&model(), Crew::default(), 2);
        let _first = submit(&broker, 0, LONG).expect("room");
        assert!(broker.wants(&model()));
        let _second = submit(&broker, 1, LONG).expect("room");
        assert!(!broker.wants(&model()));
        assert_eq!(broker.lease(&model(), 1).len(), 1);
        assert!(broker.wants(&model()));
    }
}
