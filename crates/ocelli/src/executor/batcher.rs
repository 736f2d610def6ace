//! Decides when a batch leaves and which items it has. No clock, no thread.
//!
//! A free engine takes the waiting items at once. With a delay configured, a batch that is not full waits for more items, at most for
//! that delay. Several free instances share the items, because two cores finish two batches of one sooner than one of two.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// The most items in a batch; at least 1.
    pub max_batch: usize,
    /// How long the oldest item of a batch that is not full may wait for more.
    pub max_delay: Duration,
}

/// Whether a batch may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ripeness {
    Empty,
    /// The items may leave at this time, or when the batch is full.
    At(Instant),
    /// A batch may leave now.
    Now,
}

/// Items that wait for an engine.
#[derive(Debug)]
pub struct Batcher<T> {
    policy: BatchPolicy,
    waiting: VecDeque<(Instant, T)>,
}

impl<T> Batcher<T> {
    pub fn new(policy: BatchPolicy) -> Self {
        Self {
            policy,
            waiting: VecDeque::with_capacity(policy.max_batch),
        }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many more items may be fetched. Only one batch waits here, so that other workers can take the rest.
    pub fn room(&self) -> usize {
        self.policy.max_batch.saturating_sub(self.waiting.len())
    }

    pub fn any(&self, wanted: impl Fn(&T) -> bool) -> bool {
        self.waiting.iter().any(|(_, item)| wanted(item))
    }

    pub fn push(&mut self, item: T, at: Instant) {
        self.waiting.push_back((at, item));
    }

    /// Whether a batch may leave at `now`.
    pub fn ripeness(&self, now: Instant) -> Ripeness {
        let Some(&(oldest, _)) = self.waiting.front() else {
            return Ripeness::Empty;
        };
        let due = oldest + self.policy.max_delay;
        if self.waiting.len() >= self.policy.max_batch || due <= now {
            Ripeness::Now
        } else {
            Ripeness::At(due)
        }
    }

    /// Takes this engine's share of the items, oldest first, while `idle_peers` other engines are free to take the rest. Items
    /// that are not alive go to `dead` and take no place in the batch.
    pub fn draw(&mut self, idle_peers: usize, dead: &mut Vec<T>, is_alive: impl Fn(&T) -> bool) -> Vec<T> {
        for _ in 0..self.waiting.len() {
            match self.waiting.pop_front() {
                Some((_, item)) if !is_alive(&item) => dead.push(item),
                Some(entry) => self.waiting.push_back(entry),
                None => {}
            }
        }
        let share = self
            .waiting
            .len()
            .div_ceil(idle_peers + 1)
            .min(self.policy.max_batch);
        self.waiting.drain(..share).map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn batcher(max_batch: usize, max_delay: Duration) -> Batcher<u32> {
        Batcher::new(BatchPolicy { max_batch, max_delay })
    }

    #[test]
    fn without_a_delay_one_item_leaves_at_once() {
        let now = Instant::now();
        let mut batcher = batcher(8, Duration::ZERO);
        assert_eq!(batcher.ripeness(now), Ripeness::Empty);
        batcher.push(1, now);
        assert_eq!(batcher.ripeness(now), Ripeness::Now);
    }

    #[test]
    fn a_delay_counts_from_the_oldest_and_ends_when_full() {
        let start = Instant::now();
        let mut batcher = batcher(3, 10 * MS);
        batcher.push(1, start);
        batcher.push(2, start + 4 * MS);
        assert_eq!(batcher.ripeness(start + 9 * MS), Ripeness::At(start + 10 * MS));
        assert_eq!(batcher.ripeness(start + 10 * MS), Ripeness::Now);
        batcher.push(3, start + 5 * MS);
        assert_eq!(
            batcher.ripeness(start + 5 * MS),
            Ripeness::Now,
            "a full batch does not wait"
        );
        assert_eq!(batcher.draw(0, &mut Vec::new(), |_| true), [1, 2, 3]);
        batcher.push(4, start + 20 * MS);
        assert_eq!(
            batcher.ripeness(start + 20 * MS),
            Ripeness::At(start + 30 * MS),
            "the clock starts anew"
        );
    }

    #[test]
    fn free_engines_share_the_waiting_items() {
        let now = Instant::now();
        let mut batcher = batcher(8, Duration::ZERO);
        (0..5).for_each(|item| batcher.push(item, now));
        assert_eq!(batcher.draw(1, &mut Vec::new(), |_| true), [0, 1, 2]);
        assert_eq!(batcher.draw(0, &mut Vec::new(), |_| true), [3, 4]);
    }

    #[test]
    fn the_dead_take_no_place() {
        let now = Instant::now();
        let mut batcher = batcher(2, Duration::ZERO);
        (0..6).for_each(|item| batcher.push(item, now));
        let mut dead = Vec::new();
        assert_eq!(batcher.draw(0, &mut dead, |item| item % 3 == 0), [0, 3]);
        assert_eq!(dead, [1, 2, 4, 5]);
        assert!(batcher.is_empty());
    }

    proptest! {
        /// Nothing is lost, repeated or reordered, no batch is over the limit, and none leaves before it may.
        #[test]
        fn every_item_leaves_once_in_order_and_in_time(
            max_batch in 1_usize..9,
            delay_ms in 0_u32..20,
            steps in proptest::collection::vec((0_u32..5, 0_usize..4, 0_usize..3), 1..60),
        ) {
            let start = Instant::now();
            let delay = MS * delay_ms;
            let mut batcher: Batcher<(u32, Instant)> = Batcher::new(BatchPolicy { max_batch, max_delay: delay });
            let (mut now, mut sent, mut received) = (start, 0_u32, 0_u32);
            for (pause, arrivals, peers) in steps {
                now += MS * pause;
                for _ in 0..arrivals {
                    batcher.push((sent, now), now);
                    sent += 1;
                }
                match batcher.ripeness(now) {
                    Ripeness::Empty => prop_assert_eq!(sent, received),
                    Ripeness::At(due) => prop_assert!(due > now && due <= now + delay),
                    Ripeness::Now => {
                        let full = batcher.len() >= max_batch;
                        let batch = batcher.draw(peers, &mut Vec::new(), |_| true);
                        prop_assert!(!batch.is_empty() && batch.len() <= max_batch);
                        prop_assert!(full || now >= batch[0].1 + delay, "left early");
                        for (number, _) in batch {
                            prop_assert_eq!(number, received);
                            received += 1;
                        }
                    }
                }
            }
            prop_assert_eq!(batcher.len() as u32, sent - received);
        }
    }
}
