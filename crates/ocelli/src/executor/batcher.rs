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

#[derive(Debug)]
struct Waiting<T> {
    arrived: Instant,
    deadline: Instant,
    item: T,
}

/// What a batch of each size costs, from one item on. Empty while that is not known.
pub type Costs<'a> = &'a [Duration];

/// Items that wait for an engine.
#[derive(Debug)]
pub struct Batcher<T> {
    policy: BatchPolicy,
    waiting: VecDeque<Waiting<T>>,
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
        self.waiting.iter().any(|waiting| wanted(&waiting.item))
    }

    pub fn push(&mut self, item: T, arrived: Instant, deadline: Instant) {
        self.waiting.push_back(Waiting {
            arrived,
            deadline,
            item,
        });
    }

    /// Whether a batch may leave at `now`. It leaves before its delay is over if the rest of the delay would make it late.
    pub fn ripeness(&self, now: Instant, costs: Costs<'_>) -> Ripeness {
        let Some(oldest) = self.waiting.front() else {
            return Ripeness::Empty;
        };
        if self.policy.max_delay.is_zero() || self.waiting.len() >= self.policy.max_batch {
            return Ripeness::Now;
        }
        let tightest = self.waiting.iter().map(|waiting| waiting.deadline).min();
        let latest = tightest.and_then(|tightest| tightest.checked_sub(cost_of(costs, self.waiting.len())));
        let due = oldest.arrived + self.policy.max_delay;
        match latest.map_or(due, |latest| latest.min(due)) {
            due if due <= now => Ripeness::Now,
            due => Ripeness::At(due),
        }
    }

    /// Takes this engine's share of the items, oldest first, while `idle_peers` other engines are free to take the rest. The
    /// batch is small enough for its tightest deadline. Items that are not alive or cannot meet their deadline go to `dropped` and
    /// take no place in the batch.
    pub fn draw(
        &mut self,
        now: Instant,
        idle_peers: usize,
        costs: Costs<'_>,
        dropped: &mut Vec<T>,
        is_alive: impl Fn(&T) -> bool,
    ) -> Vec<T> {
        self.drop_unless(dropped, |waiting| is_alive(&waiting.item));
        self.drop_late(now + cost_of(costs, 1), dropped);
        let mut size = self.in_time(now, self.share(idle_peers), costs);
        if size < self.share(idle_peers) && self.drops_for_speed(now, size, idle_peers, costs, dropped) {
            size = self.in_time(now, self.share(idle_peers), costs);
        }
        self.waiting.drain(..size).map(|waiting| waiting.item).collect()
    }

    fn share(&self, idle_peers: usize) -> usize {
        self.waiting
            .len()
            .div_ceil(idle_peers + 1)
            .min(self.policy.max_batch)
    }

    /// Drops the items whose deadlines keep the batch small, if the engine is so much slower in small batches that more items would
    /// miss their deadlines later than are dropped now. Returns whether it did.
    fn drops_for_speed(
        &mut self,
        now: Instant,
        small: usize,
        idle_peers: usize,
        costs: Costs<'_>,
        dropped: &mut Vec<T>,
    ) -> bool {
        /// How much more a second the large batch must compute.
        const WORTHWHILE: f64 = 1.25;
        let per_second = |size: usize| size as f64 / cost_of(costs, size).as_secs_f64().max(1e-9);
        let limit = now + cost_of(costs, self.share(idle_peers));
        let in_time = self.waiting.iter().filter(|waiting| waiting.deadline >= limit);
        let large = in_time.count().min(self.share(idle_peers));
        let drops = large > 0 && per_second(large) > per_second(small) * WORTHWHILE;
        if drops {
            self.drop_unless(dropped, |waiting| waiting.deadline >= limit);
        }
        drops
    }

    /// Drops items whose deadlines are before `earliest`, when a batch of one that leaves now is answered. If that is all of them,
    /// the one with the latest deadline is kept: the costs may be wrong, and only a batch that runs corrects them.
    fn drop_late(&mut self, earliest: Instant, dropped: &mut Vec<T>) {
        let Some(latest) = self.waiting.iter().map(|waiting| waiting.deadline).max() else {
            return;
        };
        let limit = earliest.min(latest);
        self.drop_unless(dropped, |waiting| waiting.deadline >= limit);
    }

    /// How many of the first `share` items meet their deadlines as one batch; at least one, if there are any.
    fn in_time(&self, now: Instant, share: usize, costs: Costs<'_>) -> usize {
        let mut tightest = None;
        let mut fits = |(index, waiting): &(usize, &Waiting<T>)| {
            let deadline = tightest.map_or(waiting.deadline, |tightest: Instant| {
                tightest.min(waiting.deadline)
            });
            tightest = Some(deadline);
            *index == 0 || now + cost_of(costs, index + 1) <= deadline
        };
        self.waiting
            .iter()
            .take(share)
            .enumerate()
            .take_while(|entry| fits(entry))
            .count()
    }

    fn drop_unless(&mut self, dropped: &mut Vec<T>, keep: impl Fn(&Waiting<T>) -> bool) {
        for _ in 0..self.waiting.len() {
            match self.waiting.pop_front() {
                Some(waiting) if keep(&waiting) => self.waiting.push_back(waiting),
                Some(waiting) => dropped.push(waiting.item),
                None => {}
            }
        }
    }
}

/// What a batch of `size` costs; nothing while that is not known.
fn cost_of(costs: Costs<'_>, size: usize) -> Duration {
    let known = size
        .checked_sub(1)
        .and_then(|index| costs.get(index).or(costs.last()));
    known.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3600);

    fn batcher(max_batch: usize, max_delay: Duration) -> Batcher<u32> {
        Batcher::new(BatchPolicy { max_batch, max_delay })
    }

    #[test]
    fn without_a_delay_one_item_leaves_at_once() {
        let now = Instant::now();
        let mut batcher = batcher(8, Duration::ZERO);
        assert_eq!(batcher.ripeness(now, &[]), Ripeness::Empty);
        batcher.push(1, now, now + LONG);
        assert_eq!(batcher.ripeness(now, &[]), Ripeness::Now);
    }

    #[test]
    fn a_delay_counts_from_the_oldest_and_ends_when_full() {
        let start = Instant::now();
        let mut batcher = batcher(3, 10 * MS);
        batcher.push(1, start, start + LONG);
        batcher.push(2, start + 4 * MS, start + 4 * MS + LONG);
        assert_eq!(
            batcher.ripeness(start + 9 * MS, &[]),
            Ripeness::At(start + 10 * MS)
        );
        assert_eq!(batcher.ripeness(start + 10 * MS, &[]), Ripeness::Now);
        batcher.push(3, start + 5 * MS, start + 5 * MS + LONG);
        assert_eq!(
            batcher.ripeness(start + 5 * MS, &[]),
            Ripeness::Now,
            "a full batch does not wait"
        );
        assert_eq!(batcher.draw(start, 0, &[], &mut Vec::new(), |_| true), [1, 2, 3]);
        batcher.push(4, start + 20 * MS, start + 20 * MS + LONG);
        assert_eq!(
            batcher.ripeness(start + 20 * MS, &[]),
            Ripeness::At(start + 30 * MS),
            "the clock starts anew"
        );
    }

    #[test]
    fn free_engines_share_the_waiting_items() {
        let now = Instant::now();
        let mut batcher = batcher(8, Duration::ZERO);
        (0..5).for_each(|item| batcher.push(item, now, now + LONG));
        assert_eq!(batcher.draw(now, 1, &[], &mut Vec::new(), |_| true), [0, 1, 2]);
        assert_eq!(batcher.draw(now, 0, &[], &mut Vec::new(), |_| true), [3, 4]);
    }

    #[test]
    fn the_dead_take_no_place() {
        let now = Instant::now();
        let mut batcher = batcher(2, Duration::ZERO);
        (0..6).for_each(|item| batcher.push(item, now, now + LONG));
        let mut dead = Vec::new();
        assert_eq!(batcher.draw(now, 0, &[], &mut dead, |item| item % 3 == 0), [0, 3]);
        assert_eq!(dead, [1, 2, 4, 5]);
        assert!(batcher.is_empty());
    }

    /// What batches cost an engine of 20 ms an image, and one that computes any batch in 20 ms.
    fn costs(per_image: bool) -> [Duration; 8] {
        std::array::from_fn(|index| {
            if per_image {
                20 * MS * (index as u32 + 1)
            } else {
                20 * MS
            }
        })
    }

    /// Batches drawn at `now` from items with these milliseconds left, and what was dropped.
    fn drawn(left: &[u32], costs: &[Duration]) -> (Vec<u32>, Vec<u32>) {
        let now = Instant::now();
        let mut batcher = batcher(8, Duration::ZERO);
        left.iter()
            .for_each(|&left| batcher.push(left, now, now + MS * left));
        let mut dropped = Vec::new();
        let batch = batcher.draw(now, 0, costs, &mut dropped, |_| true);
        (batch, dropped)
    }

    #[test]
    fn a_batch_is_no_larger_than_its_tightest_deadline_allows() {
        assert_eq!(drawn(&[50, 500, 500], &costs(true)), (vec![50, 500], vec![]));
        assert_eq!(drawn(&[500, 500, 30], &costs(true)), (vec![500, 500], vec![]));
    }

    #[test]
    fn what_would_be_late_even_alone_is_dropped_unless_it_is_all_there_is() {
        assert_eq!(drawn(&[10, 500, 19], &costs(true)), (vec![500], vec![10, 19]));
        assert_eq!(
            drawn(&[10, 12], &costs(true)),
            (vec![12], vec![10]),
            "its cost may be wrong"
        );
    }

    #[test]
    fn small_batches_that_cost_as_much_as_large_ones_are_not_worth_their_deadlines() {
        let growing: Vec<Duration> = (0..8).map(|index| 20 * MS + MS * index).collect();
        let (batch, dropped) = drawn(&[21, 500, 500, 500, 500, 500, 500, 500], &growing);
        assert_eq!((batch.len(), dropped), (7, vec![21]));
        let (batch, dropped) = drawn(&[25, 500], &costs(true));
        assert_eq!(
            (batch, dropped),
            (vec![25], vec![]),
            "nothing is gained by dropping it"
        );
    }

    #[test]
    fn a_delay_ends_early_enough_for_the_tightest_deadline() {
        let now = Instant::now();
        let mut batcher = batcher(8, 100 * MS);
        batcher.push(1, now, now + 500 * MS);
        assert_eq!(batcher.ripeness(now, &costs(true)), Ripeness::At(now + 100 * MS));
        batcher.push(2, now, now + 90 * MS);
        assert_eq!(batcher.ripeness(now, &costs(true)), Ripeness::At(now + 50 * MS));
        assert_eq!(batcher.ripeness(now + 50 * MS, &costs(true)), Ripeness::Now);
    }

    proptest! {
        /// Nothing of a batch is late, but for a batch of one where all would be; nothing is dropped that could be in time alone,
        /// unless the batch is faster for it; and nothing is lost.
        #[test]
        fn a_batch_is_in_time_and_only_what_is_late_is_dropped(
            left in prop::collection::vec(0_u32..400, 1..20),
            per_image in any::<bool>(),
        ) {
            let costs = costs(per_image);
            let now = Instant::now();
            let mut batcher = batcher(8, Duration::ZERO);
            left.iter().for_each(|&left| batcher.push(left, now, now + MS * left));
            let mut dropped = Vec::new();
            let batch = batcher.draw(now, 0, &costs, &mut dropped, |_| true);
            prop_assert!(!batch.is_empty());
            let took = costs[batch.len() - 1];
            prop_assert!(batch.len() == 1 || batch.iter().all(|&left| MS * left >= took));
            let latest = *left.iter().max().unwrap_or(&0);
            prop_assert!(dropped.iter().all(|&left| MS * left < costs[0] || !per_image || left < latest));
            prop_assert_eq!(batch.len() + dropped.len() + batcher.len(), left.len());
        }

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
                    batcher.push((sent, now), now, now + LONG);
                    sent += 1;
                }
                match batcher.ripeness(now, &[]) {
                    Ripeness::Empty => prop_assert_eq!(sent, received),
                    Ripeness::At(due) => prop_assert!(due > now && due <= now + delay),
                    Ripeness::Now => {
                        let full = batcher.len() >= max_batch;
                        let batch = batcher.draw(now, peers, &[], &mut Vec::new(), |_| true);
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
