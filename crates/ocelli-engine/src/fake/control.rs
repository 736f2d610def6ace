//! Steering and watching the fake: a gate that holds batches, scripted failures, and counts.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{process, thread};

use crate::{EngineError, Row, Tensor};

/// How a scripted failure shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FakeFailure {
    /// `infer` returns [`EngineError::Fault`].
    Fault,
    /// `infer` returns [`EngineError::BadInput`].
    BadInput,
    /// `infer` panics.
    Panic,
    /// `infer` ends the process, as a crash in a library would: nothing is unwound or reported.
    Abort,
    /// `infer` never returns.
    Hang,
}

/// A shared handle on all instances of one [`Fake`](crate::Fake).
///
/// Counts include batches that fail, and the batches of a warm-up: clear them with
/// [`FakeControl::take_batch_sizes`] once the server is ready.
#[derive(Clone, Debug, Default)]
pub struct FakeControl {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether batches stop at the gate, and how many may pass all the same.
    held: bool,
    /// Instances loaded later than this many pass.
    held_loads: usize,
    passes: usize,
    at_gate: usize,
    batch_sizes: Vec<usize>,
    loads: usize,
    live_instances: usize,
    fail_loads: usize,
    fail_next: VecDeque<Option<FakeFailure>>,
    fail_markers: Vec<(Vec<u8>, FakeFailure)>,
}

impl FakeControl {
    /// Closes the gate: batches that start from now on stay in `infer` until [`FakeControl::release`] or
    /// [`FakeControl::pass`].
    pub fn hold(&self) {
        let mut state = self.lock();
        state.held = true;
        state.held_loads = usize::MAX;
    }

    /// Closes the gate for the instances that are loaded by now. Those loaded later pass.
    pub fn hold_loaded(&self) {
        let mut state = self.lock();
        state.held = true;
        state.held_loads = state.loads;
    }

    /// Opens the gate for good.
    pub fn release(&self) {
        let mut state = self.lock();
        state.held = false;
        state.passes = 0;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Lets the next `batches` batches through a closed gate, those that wait at it first.
    pub fn pass(&self, batches: usize) {
        self.lock().passes += batches;
        self.shared.changed.notify_all();
    }

    /// Blocks until `batches` batches wait at the gate, or `limit` has passed. Returns whether they do.
    pub fn wait_at_gate(&self, batches: usize, limit: Duration) -> bool {
        let (state, timeout) = self
            .shared
            .changed
            .wait_timeout_while(self.lock(), limit, |state| state.at_gate < batches)
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !timeout.timed_out()
    }

    /// How many batches wait at the gate.
    pub fn at_gate(&self) -> usize {
        self.lock().at_gate
    }

    /// Makes batch number `nth` from now (0 is the next one) fail.
    pub fn fail_nth(&self, nth: usize, failure: FakeFailure) {
        let mut state = self.lock();
        if state.fail_next.len() <= nth {
            state.fail_next.resize(nth + 1, None);
        }
        state.fail_next[nth] = Some(failure);
    }

    /// Makes every batch fail that has a row whose first bytes (of the first input; floats as little-endian) are
    /// `marker`.
    pub fn fail_rows_with(&self, marker: impl Into<Vec<u8>>, failure: FakeFailure) {
        self.lock().fail_markers.push((marker.into(), failure));
    }

    /// Makes the next `loads` calls of `load` fail.
    pub fn fail_loads(&self, loads: usize) {
        self.lock().fail_loads = loads;
    }

    /// How many batches ran.
    pub fn batches(&self) -> usize {
        self.lock().batch_sizes.len()
    }

    /// How many items ran.
    pub fn items(&self) -> usize {
        self.lock().batch_sizes.iter().sum()
    }

    /// The sizes of the batches that ran, in the order in which they started.
    pub fn batch_sizes(&self) -> Vec<usize> {
        self.lock().batch_sizes.clone()
    }

    /// The sizes of the batches that ran, which are forgotten: counting begins anew.
    pub fn take_batch_sizes(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().batch_sizes)
    }

    /// How many instances were loaded since the start.
    pub fn loads(&self) -> usize {
        self.lock().loads
    }

    /// How many instances are loaded now.
    pub fn live_instances(&self) -> usize {
        self.lock().live_instances
    }

    /// Counts an instance, and numbers it.
    pub(super) fn start_load(&self, model: &str) -> Result<usize, EngineError> {
        let mut state = self.lock();
        if let Some(left) = state.fail_loads.checked_sub(1) {
            state.fail_loads = left;
            return Err(EngineError::LoadFailed {
                model: model.to_owned(),
                reason: "scripted".to_owned(),
            });
        }
        let number = state.loads;
        state.loads += 1;
        state.live_instances += 1;
        Ok(number)
    }

    pub(super) fn end_instance(&self) {
        self.lock().live_instances -= 1;
    }

    /// Counts a batch of instance `number`, holds it at the gate and makes it fail where the script says so.
    pub(super) fn start_batch(
        &self,
        number: usize,
        inputs: &[Tensor],
        batch: usize,
    ) -> Result<(), EngineError> {
        let mut state = self.lock();
        state.batch_sizes.push(batch);
        let failure = state
            .fail_next
            .pop_front()
            .flatten()
            .or_else(|| state.marked(inputs));
        state.at_gate += 1;
        self.shared.changed.notify_all();
        let mut state = self
            .shared
            .changed
            .wait_while(state, |state| state.holds(number) && state.passes == 0)
            .unwrap_or_else(PoisonError::into_inner);
        if state.holds(number) {
            state.passes -= 1;
        }
        state.at_gate -= 1;
        drop(state);
        match failure {
            None => Ok(()),
            Some(FakeFailure::Fault) => Err(EngineError::Fault("scripted".to_owned())),
            Some(FakeFailure::BadInput) => Err(EngineError::BadInput("scripted".to_owned())),
            Some(FakeFailure::Panic) => panic!("scripted panic of the fake engine"),
            Some(FakeFailure::Abort) => process::abort(),
            Some(FakeFailure::Hang) => loop {
                thread::park();
            },
        }
    }

    /// A panic of the fake is part of a test's script; the state is whole at every unlock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn holds(&self, number: usize) -> bool {
        self.held && number < self.held_loads
    }

    fn marked(&self, inputs: &[Tensor]) -> Option<FakeFailure> {
        let rows = || inputs.first().into_iter().flat_map(Tensor::rows);
        self.fail_markers
            .iter()
            .find(|(marker, _)| rows().any(|row| starts_with(row, marker)))
            .map(|&(_, f)| f)
    }
}

fn starts_with(row: Row<'_>, marker: &[u8]) -> bool {
    match row {
        Row::U8(values) => values.starts_with(marker),
        Row::F32(values) => {
            let mut bytes = values.iter().flat_map(|value| value.to_le_bytes());
            marker.iter().all(|&want| bytes.next() == Some(want))
        }
        Row::F16(values) => {
            let mut bytes = values.iter().flat_map(|value| value.to_le_bytes());
            marker.iter().all(|&want| bytes.next() == Some(want))
        }
    }
}
