//! What a worker has leased and not yet run.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::batcher::{BatchPolicy, Batcher, Ripeness};
use crate::metrics::Metrics;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::queue::{Leased, ModelQueue};

/// Holds at most one batch; the rest stays where it was, by priority.
#[derive(Debug)]
pub(super) struct WorkQueue {
    jobs: ModelQueue,
    metrics: Arc<Metrics>,
    model: Arc<ServedModel>,
    max_batch: usize,
    delays: bool,
    batcher: Mutex<Batcher<Leased>>,
}

impl WorkQueue {
    pub(super) fn new(
        policy: BatchPolicy,
        jobs: ModelQueue,
        model: Arc<ServedModel>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            jobs,
            metrics,
            model,
            max_batch: policy.max_batch,
            delays: !policy.max_delay.is_zero(),
            batcher: Mutex::new(Batcher::new(policy)),
        }
    }

    /// Says whether a batch may leave and how many jobs wait. Leases what there is room for, but only while an engine is
    /// free: until then jobs of a higher priority may come that are to be in the next batch.
    pub(super) fn look(&self, engine_is_free: bool) -> (Ripeness, usize) {
        let mut batcher = self.batcher.lock();
        if engine_is_free {
            self.refill(&mut batcher);
            return (self.ripeness(&batcher), batcher.len());
        }
        let behind = self.jobs.depth().min(batcher.room());
        let ripeness = match self.ripeness(&batcher) {
            Ripeness::Empty if behind > 0 => Ripeness::Now,
            ripeness => ripeness,
        };
        (ripeness, batcher.len() + behind)
    }

    /// Whether a job of high priority waits.
    pub(super) fn has_high(&self) -> bool {
        let is_high = |job: &Leased| job.job.envelope.priority == Priority::High;
        self.batcher.lock().any(is_high) || self.jobs.depth_of(Priority::High) > 0
    }

    /// Takes an engine's share of what waits, which may have become nothing, where `idle_peers` other engines are
    /// free.
    pub(super) fn draw(&self, idle_peers: usize) -> Vec<Leased> {
        let now = Instant::now();
        let costs = self.model.batch_costs(self.max_batch);
        let mut dropped = Vec::new();
        let batch = {
            let mut batcher = self.batcher.lock();
            // More may have come while this engine waited for cores.
            self.refill(&mut batcher);
            batcher.draw(now, idle_peers, &costs, &mut dropped, |job| {
                job.dead(now).is_none()
            })
        };
        for job in dropped {
            job.drop_undone(now, &self.metrics);
        }
        batch
    }

    fn ripeness(&self, batcher: &Batcher<Leased>) -> Ripeness {
        // What a batch costs matters only where it may be delayed.
        let costs = match self.delays {
            true => self.model.batch_costs(self.max_batch),
            false => Vec::new(),
        };
        batcher.ripeness(Instant::now(), &costs)
    }

    fn refill(&self, batcher: &mut Batcher<Leased>) {
        let room = batcher.room();
        if room > 0 {
            for job in self.jobs.lease(room) {
                // A batch waits for company from its oldest job's submission on, also while all engines are busy.
                let (submitted, deadline) = (job.submitted, job.job.envelope.deadline.at);
                batcher.push(job, submitted, deadline);
            }
        }
    }
}
