//! Jobs that were leased and wait for an engine.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::batcher::{BatchPolicy, Batcher, Ripeness};
use crate::metrics::Metrics;
use crate::models::priority::Priority;
use crate::queue::{Leased, ModelQueue};

/// Holds at most one batch; the rest stays where it was, by priority.
#[derive(Debug)]
pub(super) struct WorkQueue {
    jobs: ModelQueue,
    metrics: Arc<Metrics>,
    batcher: Mutex<Batcher<Leased>>,
}

impl WorkQueue {
    pub(super) fn new(policy: BatchPolicy, jobs: ModelQueue, metrics: Arc<Metrics>) -> Self {
        Self {
            jobs,
            metrics,
            batcher: Mutex::new(Batcher::new(policy)),
        }
    }

    /// Whether a batch may leave, and how many jobs wait. Jobs are leased only while an engine is free: until then jobs of a
    /// higher priority may come, which belong in the next batch.
    pub(super) fn look(&self, engine_is_free: bool) -> (Ripeness, usize) {
        let mut batcher = self.batcher.lock();
        if engine_is_free {
            self.refill(&mut batcher);
            return (batcher.ripeness(Instant::now()), batcher.len());
        }
        let behind = self.jobs.depth().min(batcher.room());
        let ripeness = match batcher.ripeness(Instant::now()) {
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
        let mut dead = Vec::new();
        let batch = {
            let mut batcher = self.batcher.lock();
            // More jobs may have come while this engine waited for cores.
            self.refill(&mut batcher);
            batcher.draw(idle_peers, &mut dead, |job| job.dead(now).is_none())
        };
        for job in dead {
            let job = job.unless_dead(now, &self.metrics);
            debug_assert!(job.is_none(), "the dead stay dead");
        }
        batch
    }

    fn refill(&self, batcher: &mut Batcher<Leased>) {
        let room = batcher.room();
        if room > 0 {
            for job in self.jobs.lease(room) {
                // The delay of a batch begins with the submission of its oldest job, also while all engines are busy.
                let submitted = job.submitted;
                batcher.push(job, submitted);
            }
        }
    }
}
