//! Three queues by priority, none of which starves.
//!
//! Out of every thirteen turns, eight are high, four are normal and one is low, as long as each has something to take; a
//! turn whose queue is empty goes to the next. (Smooth weighted round robin, as in nginx: each turn every queue gains its
//! weight; the one with the most credit is served and pays the sum.)

use std::collections::VecDeque;

use crate::models::priority::Priority;

/// Items of three priorities, each in order of arrival.
#[derive(Debug)]
pub(crate) struct PriorityQueue<T> {
    queues: [VecDeque<T>; 3],
    credit: [i32; 3],
}

impl<T> Default for PriorityQueue<T> {
    fn default() -> Self {
        Self {
            queues: Default::default(),
            credit: [0; 3],
        }
    }
}

impl<T> PriorityQueue<T> {
    pub(crate) fn push(&mut self, priority: Priority, item: T) {
        self.queues[priority.index()].push_back(item);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.pop_of(|_| true)
    }

    /// The next item of the priorities that are `wanted`. The others keep their items and their credit.
    pub(crate) fn pop_of(&mut self, wanted: impl Fn(Priority) -> bool) -> Option<T> {
        let weight = |index: usize| Priority::ALL[index].weight() as i32;
        let competes = |priority: &Priority| self.len_of(*priority) > 0 && wanted(*priority);
        let competing: Vec<usize> = Priority::ALL
            .into_iter()
            .filter(competes)
            .map(Priority::index)
            .collect();
        for &index in &competing {
            self.credit[index] += weight(index);
        }
        // The first of equals, which is the higher priority.
        let next = competing
            .iter()
            .copied()
            .rev()
            .max_by_key(|&index| self.credit[index])?;
        self.credit[next] -= competing.iter().copied().map(weight).sum::<i32>();
        let item = self.queues[next].pop_front();
        if self.queues[next].is_empty() {
            // Credit is not saved up: a priority that comes back starts like a new one.
            self.credit[next] = 0;
        }
        item
    }

    pub(crate) fn any_of(&self, wanted: impl Fn(Priority) -> bool) -> bool {
        Priority::ALL
            .into_iter()
            .any(|priority| self.len_of(priority) > 0 && wanted(priority))
    }

    /// All items, the higher priorities first.
    pub(crate) fn into_items(self) -> impl Iterator<Item = T> {
        self.queues.into_iter().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    pub(crate) fn len_of(&self, priority: Priority) -> usize {
        self.queues[priority.index()].len()
    }

    /// Replaces every item by what `keep` returns, or removes it.
    pub(crate) fn filter(&mut self, mut keep: impl FnMut(T) -> Option<T>) {
        for queue in &mut self.queues {
            *queue = queue.drain(..).filter_map(&mut keep).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(counts: [usize; 3]) -> PriorityQueue<Priority> {
        let mut turns = PriorityQueue::default();
        for priority in Priority::ALL {
            (0..counts[priority.index()]).for_each(|_| turns.push(priority, priority));
        }
        turns
    }

    fn taken(turns: &mut PriorityQueue<Priority>, count: usize) -> [usize; 3] {
        let mut taken = [0; 3];
        for _ in 0..count {
            taken[turns.pop().expect("there is more").index()] += 1;
        }
        taken
    }

    #[test]
    fn turns_are_shared_by_weight_and_no_priority_starves() {
        let mut turns = filled([100, 100, 100]);
        assert_eq!(taken(&mut turns, 13), [8, 4, 1]);
        assert_eq!(taken(&mut turns, 26), [16, 8, 2]);
    }

    #[test]
    fn a_single_priority_has_every_turn() {
        assert_eq!(taken(&mut filled([0, 0, 5]), 5), [0, 0, 5]);
        assert_eq!(taken(&mut filled([0, 50, 50]), 10), [0, 8, 2]);
    }

    #[test]
    fn the_first_turn_is_the_highest_priority_s() {
        assert_eq!(filled([1, 1, 1]).pop(), Some(Priority::High));
        assert_eq!(filled([0, 0, 0]).pop(), None);
    }

    #[test]
    fn a_priority_that_is_not_wanted_keeps_its_items_and_holds_up_no_other() {
        let mut turns = filled([0, 2, 2]);
        let without_normal = |priority| priority != Priority::Normal;
        assert_eq!(turns.pop_of(without_normal), Some(Priority::Low));
        assert_eq!(turns.pop_of(without_normal), Some(Priority::Low));
        assert_eq!(turns.pop_of(without_normal), None);
        assert!(!turns.any_of(without_normal) && turns.any_of(|_| true));
        assert_eq!(turns.pop(), Some(Priority::Normal));
    }

    proptest! {
        /// However many items of lower priorities wait, and whatever was taken before: an item of high priority that finds no
        /// other one waiting is preceded by at most one of each lower priority.
        #[test]
        fn the_first_high_item_waits_for_one_of_each_lower_priority_at_most(
            others in (0_usize..300, 0_usize..300),
            before in proptest::collection::vec((any::<bool>(), 0_usize..6), 0..100),
        ) {
            let mut turns = filled([0, others.0, others.1]);
            for (high, leaving) in before {
                if high {
                    turns.push(Priority::High, Priority::High);
                }
                for _ in 0..leaving {
                    turns.pop();
                }
            }
            while turns.len_of(Priority::High) > 0 {
                turns.pop();
            }
            turns.push(Priority::High, Priority::High);
            let ahead: Vec<Priority> = std::iter::from_fn(|| turns.pop())
                .take_while(|priority| *priority != Priority::High)
                .collect();
            for lower in [Priority::Normal, Priority::Low] {
                prop_assert!(ahead.iter().filter(|one| **one == lower).count() <= 1, "{ahead:?}");
            }
        }

        /// Each priority keeps its order, nothing is lost, and none waits longer than a round of turns.
        #[test]
        fn every_item_has_its_turn_in_order(steps in proptest::collection::vec((0_usize..4, 0_usize..4), 1..200)) {
            let mut turns: PriorityQueue<(Priority, u32)> = PriorityQueue::default();
            let (mut sent, mut received, mut skipped) = ([0_u32; 3], [0_u32; 3], [0_usize; 3]);
            for (arrival, leaving) in steps {
                if let Some(&priority) = Priority::ALL.get(arrival) {
                    turns.push(priority, (priority, sent[arrival]));
                    sent[arrival] += 1;
                }
                for _ in 0..leaving {
                    let Some((priority, number)) = turns.pop() else { break };
                    let index = priority.index();
                    prop_assert_eq!(number, received[index]);
                    received[index] += 1;
                    for other in 0..3 {
                        let waits = other != index && sent[other] > received[other];
                        skipped[other] = if waits { skipped[other] + 1 } else { 0 };
                        prop_assert!(skipped[other] < 26, "{:?} starves", Priority::ALL[other]);
                    }
                }
                prop_assert_eq!(turns.len() as u32, sent.iter().sum::<u32>() - received.iter().sum::<u32>());
            }
        }
    }
}
