//! What a worker has leased and not yet run.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::batcher::{BatchPolicy, Batcher, Ripeness};
use crate::broker::{Leased, ModelQueue};
use crate::metrics::Metrics;

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

    /// Leases what there is room for, and says whether a batch may leave and how many jobs wait.
    pub(super) fn look(&self) -> (Ripeness, usize) {
        let mut batcher = self.batcher.lock();
        self.refill(&mut batcher);
        (batcher.ripeness(Instant::now()), batcher.len())
    }

    /// Takes an engine's share of what waits, which may have become nothing, where `idle_peers` other engines are
    /// free.
    pub(super) fn draw(&self, idle_peers: usize) -> Vec<Leased> {
        let now = Instant::now();
        let mut dead = Vec::new();
        let batch = {
            let mut batcher = self.batcher.lock();
            // More may have come while this engine waited for cores.
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
            let now = Instant::now();
            for job in self.jobs.lease(room) {
                batcher.push(job, now);
            }
        }
    }
}
