//! Jobs that were leased and wait for an engine.

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

    /// Whether a batch may leave, and how many jobs wait. Jobs are leased only while an engine is free: until then jobs of a
    /// higher priority may come, which belong in the next batch.
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

    pub(super) fn has_high(&self) -> bool {
        let is_high = |job: &Leased| job.job.envelope.priority == Priority::High;
        self.batcher.lock().any(is_high) || self.jobs.depth_of(Priority::High) > 0
    }

    /// Takes an engine's share of the jobs while `idle_peers` other engines are free. It may be empty.
    pub(super) fn draw(&self, idle_peers: usize) -> Vec<Leased> {
        let now = Instant::now();
        let costs = self.model.batch_costs(self.max_batch);
        let mut dropped = Vec::new();
        let batch = {
            let mut batcher = self.batcher.lock();
            // More jobs may have come while this engine waited for cores.
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
                // The delay of a batch begins with the submission of its oldest job, also while all engines are busy.
                let (submitted, deadline) = (job.submitted, job.job.envelope.deadline.at);
                batcher.push(job, submitted, deadline);
            }
        }
    }
}
