//! What a worker has leased and not yet run: between the task that leases and the threads that compute.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::batcher::{BatchPolicy, Batcher, Ripeness};
use crate::broker::Leased;
use crate::metrics::Metrics;

/// Holds at most one batch, and knows which engines are free.
#[derive(Debug)]
pub(super) struct WorkQueue {
    state: Mutex<State>,
    arrivals: Condvar,
    closing: Condvar,
    room: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    batcher: Batcher<Leased>,
    /// Engines that wait for a batch, or for cores to run one.
    free_engines: usize,
    closed: bool,
}

impl WorkQueue {
    pub(super) fn new(policy: BatchPolicy, metrics: Arc<Metrics>) -> Self {
        let state = State {
            batcher: Batcher::new(policy),
            free_engines: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            arrivals: Condvar::new(),
            closing: Condvar::new(),
            room: Notify::new(),
            metrics,
        }
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
        let now = Instant::now();
        let mut state = self.state.lock();
        for job in jobs {
            state.batcher.push(job, now);
            self.arrivals.notify_one();
        }
    }

    /// No more will come; engines end when what is here is done.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.arrivals.notify_all();
        self.closing.notify_all();
    }

    /// An engine is free from here on.
    pub(super) fn engine_free(&self) {
        self.state.lock().free_engines += 1;
    }

    /// An engine that was free no longer is, without a batch.
    pub(super) fn engine_gone(&self) {
        self.state.lock().free_engines -= 1;
    }

    /// Blocks until a batch may leave. False when none will come any more.
    pub(super) fn wait_until_ripe(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            match state.batcher.ripeness(Instant::now()) {
                Ripeness::Now => return true,
                // Nobody joins a batch after the end.
                Ripeness::At(_) if state.closed => return true,
                Ripeness::At(due) => {
                    self.arrivals.wait_until(&mut state, due);
                }
                Ripeness::Empty if state.closed => return false,
                Ripeness::Empty => self.arrivals.wait(&mut state),
            }
        }
    }

    /// Takes this engine's share of what waits, which may have become nothing. With a batch the engine is busy.
    pub(super) fn draw(&self) -> Vec<Leased> {
        let now = Instant::now();
        let mut dead = Vec::new();
        let batch = {
            let mut state = self.state.lock();
            let peers = state.free_engines.saturating_sub(1);
            let batch = state
                .batcher
                .draw(peers, &mut dead, |job| job.dead(now).is_none());
            if !batch.is_empty() {
                state.free_engines -= 1;
            }
            batch
        };
        self.room.notify_one();
        for job in dead {
            let job = job.unless_dead(now, &self.metrics);
            debug_assert!(job.is_none(), "the dead stay dead");
        }
        batch
    }

    /// How many jobs wait for an engine.
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().batcher.len()
    }

    /// Waits for `pause`, less when the queue is closed, and says whether it is.
    pub(super) fn closed_within(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.closed && !self.closing.wait_until(&mut state, until).timed_out() {}
        state.closed
    }
}
