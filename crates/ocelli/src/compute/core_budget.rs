//! The machine's cores, shared by decoders and engine instances.
//!
//! Both are threads, and together there are more of them than cores. Each takes cores from this budget before it computes,
//! so that batches and decodes never compete for a core. Engines come first: a batch frees memory and answers requests,
//! another decode does neither. Engines that compute elsewhere (a GPU) take none.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct CoreBudget {
    shared: Arc<BudgetShared>,
}

#[derive(Debug)]
struct BudgetShared {
    total: usize,
    state: Mutex<BudgetState>,
    engines: Condvar,
    decoders: Condvar,
}

#[derive(Debug)]
struct BudgetState {
    free: usize,
    engines_waiting: usize,
}

impl CoreBudget {
    /// `total` cores, at least one.
    pub fn new(total: usize) -> Self {
        let total = total.max(1);
        let state = Mutex::new(BudgetState {
            free: total,
            engines_waiting: 0,
        });
        Self {
            shared: Arc::new(BudgetShared {
                total,
                state,
                engines: Condvar::new(),
                decoders: Condvar::new(),
            }),
        }
    }

    pub fn total(&self) -> usize {
        self.shared.total
    }

    /// Blocks until `count` cores, at most all of them, are free, and takes them for a batch.
    #[must_use]
    pub fn for_engine(&self, count: usize) -> CoresGuard<'_> {
        let count = count.min(self.shared.total);
        let mut state = self.shared.state.lock();
        state.engines_waiting += 1;
        self.shared
            .engines
            .wait_while(&mut state, |state| state.free < count);
        state.engines_waiting -= 1;
        state.free -= count;
        // Decoders do not start while an engine waits; now they may.
        if state.free > 0 && state.engines_waiting == 0 {
            self.shared.decoders.notify_all();
        }
        CoresGuard {
            shared: &self.shared,
            count,
        }
    }

    /// Takes every core if all are free and no engine waits for one.
    #[must_use]
    pub fn try_all(&self) -> Option<CoresGuard<'_>> {
        let mut state = self.shared.state.lock();
        if state.free < self.shared.total || state.engines_waiting > 0 {
            return None;
        }
        state.free = 0;
        Some(CoresGuard {
            shared: &self.shared,
            count: self.shared.total,
        })
    }

    /// Blocks until a core is free and no engine waits for it, and takes it for a decode.
    #[must_use]
    pub fn for_decoder(&self) -> CoresGuard<'_> {
        let mut state = self.shared.state.lock();
        self.shared
            .decoders
            .wait_while(&mut state, |state| state.free == 0 || state.engines_waiting > 0);
        state.free -= 1;
        CoresGuard {
            shared: &self.shared,
            count: 1,
        }
    }
}

/// Cores taken; dropping it gives them back.
#[derive(Debug)]
pub struct CoresGuard<'a> {
    shared: &'a BudgetShared,
    count: usize,
}

impl Drop for CoresGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.free += self.count;
        if state.engines_waiting > 0 {
            self.shared.engines.notify_all();
        } else if self.count == 1 {
            self.shared.decoders.notify_one();
        } else {
            self.shared.decoders.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_waiting_engine_goes_before_a_waiting_decoder() {
        let cores = CoreBudget::new(1);
        let held = cores.for_decoder();
        let (sender, order) = mpsc::channel();
        thread::scope(|scope| {
            let engine_sender = sender.clone();
            let engine_cores = cores.clone();
            scope.spawn(move || {
                let _guard = engine_cores.for_engine(1);
                engine_sender.send("engine").expect("receiver lives");
            });
            while cores.shared.state.lock().engines_waiting == 0 {
                thread::yield_now();
            }
            let decoder_cores = cores.clone();
            scope.spawn(move || {
                let _guard = decoder_cores.for_decoder();
                sender.send("decoder").expect("receiver lives");
            });
            drop(held);
            assert_eq!(order.iter().collect::<Vec<_>>(), ["engine", "decoder"]);
        });
    }

    #[test]
    fn never_more_than_there_are() {
        let cores = CoreBudget::new(2);
        let all = cores.for_engine(8);
        assert!(cores.try_all().is_none());
        assert_eq!(cores.shared.state.lock().free, 0);
        drop(all);
        let one = cores.for_decoder();
        assert!(cores.try_all().is_none(), "all means all");
        drop(one);
        assert!(cores.try_all().is_some());
    }

    #[test]
    fn an_engine_that_stops_waiting_lets_decoders_on() {
        let cores = CoreBudget::new(1);
        thread::scope(|scope| {
            for _ in 0..4 {
                let cores = cores.clone();
                scope.spawn(move || {
                    for _ in 0..500 {
                        drop(cores.for_engine(1));
                        drop(cores.for_decoder());
                    }
                });
            }
        });
        assert!(cores.try_all().is_some());
    }
}
