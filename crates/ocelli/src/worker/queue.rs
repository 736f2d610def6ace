//! What a worker has leased and not yet run: between the task that leases and the crew that computes.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::batcher::{BatchPolicy, Batcher, Ripeness};
use crate::broker::Leased;
use crate::crew::Crew;
use crate::metrics::Metrics;

/// Holds at most one batch.
#[derive(Debug)]
pub(super) struct WorkQueue {
    state: Mutex<State>,
    room: Notify,
    crew: Crew,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    batcher: Batcher<Leased>,
    closed: bool,
}

impl WorkQueue {
    pub(super) fn new(policy: BatchPolicy, crew: Crew, metrics: Arc<Metrics>) -> Self {
        let state = State { batcher: Batcher::new(policy), closed: false };
        Self { state: Mutex::new(state), room: Notify::new(), crew, metrics }
    }

    /// Waits until something may be leased and says how much.
    pub(super) async fn room(&self) -> usize {
        loop {
            let room = self.state.lock().batcher.room();
            if room > 0 {
                return room;
            }
            // One task waits here, so a notification since the lock was released is kept for it.
            self.room.notified().await;
        }
    }

    pub(super) fn push(&self, jobs: Vec<Leased>) {
        let count = jobs.len();
        let now = Instant::now();
        {
            let mut state = self.state.lock();
            for job in jobs {
                state.batcher.push(job, now);
            }
        }
        for _ in 0..count {
            self.crew.call();
        }
    }

    /// No more will come, so that what is here waits for no company.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.crew.close();
    }

    /// Whether a batch may leave now.
    pub(super) fn ripeness(&self) -> Ripeness {
        let state = self.state.lock();
        match state.batcher.ripeness(Instant::now()) {
            Ripeness::At(_) if state.closed => Ripeness::Now,
            ripeness => ripeness,
        }
    }

    /// How many jobs wait for an engine.
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().batcher.len()
    }

    /// Takes an engine's share of what waits, which may have become nothing, where `idle_peers` other engines are
    /// free.
    pub(super) fn draw(&self, idle_peers: usize) -> Vec<Leased> {
        let now = Instant::now();
        let mut dead = Vec::new();
        let batch = self.state.lock().batcher.draw(idle_peers, &mut dead, |job| job.dead(now).is_none());
        self.room.notify_one();
        for job in dead {
            let job = job.unless_dead(now, &self.metrics);
            debug_assert!(job.is_none(), "the dead stay dead");
        }
        batch
    }
}
