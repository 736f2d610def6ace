//! When a request would be answered: a calculation from what batches cost and what is ahead. No clock, no lock.

use std::time::Duration;

use super::priority::Priority;

/// Images of each priority, in the order of [`Priority::ALL`].
pub type ImagesByPriority = [usize; Priority::ALL.len()];

/// What computing takes, at the pace of a queue that is never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one image to the next, all instances and decoders together.
    pub per_image: Duration,
    /// The largest batch, from its first image drawn to its last reply.
    pub batch: Duration,
    /// A batch of one.
    pub alone: Duration,
}

impl Pace {
    /// How long until `images` more images are answered, behind `ahead` images.
    ///
    /// The last of them leaves with its batch, which may be the largest; and the batch that runs when they come has to end first.
    pub fn finish(&self, ahead: usize, images: usize) -> Duration {
        let last = if ahead + images > 1 {
            self.batch
        } else {
            self.alone
        };
        let others = u32::try_from(ahead + images.saturating_sub(1)).unwrap_or(u32::MAX);
        self.per_image.saturating_mul(others).saturating_add(last)
    }

    /// Whether images can be answered within `time`. Nothing ahead means yes, whatever the pace says: a pace that has become too
    /// slow, after the machine stalled for example, would otherwise refuse every request, and nothing would ever correct it.
    pub fn reaches(&self, ahead: usize, images: usize, time: Duration) -> bool {
        ahead == 0 || self.finish(ahead, images) <= time
    }
}

/// How many of the images `inside` are computed before the last of `images` more of this priority.
///
/// The queues share their turns by weight, so the others get theirs in proportion while those of this priority are taken.
pub fn ahead(inside: ImagesByPriority, priority: Priority, images: usize) -> usize {
    let own = inside[priority.index()];
    let turns = own + images;
    let others = Priority::ALL.into_iter().filter(|other| *other != priority);
    let interleaved = others.map(|other| {
        let share = (turns * other.weight()).div_ceil(priority.weight());
        inside[other.index()].min(share)
    });
    own + interleaved.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PACE: Pace = Pace {
        per_image: Duration::from_millis(20),
        batch: Duration::from_millis(160),
        alone: Duration::from_millis(25),
    };

    #[test]
    fn a_lone_image_takes_a_batch_of_one_and_others_wait_for_those_ahead() {
        assert_eq!(PACE.finish(0, 1), 25 * MS);
        assert_eq!(PACE.finish(1, 1), 180 * MS);
        assert_eq!(PACE.finish(10, 3), 12 * 20 * MS + 160 * MS);
    }

    #[test]
    fn an_idle_model_takes_what_it_may_not_reach() {
        assert!(PACE.reaches(0, 1, MS));
        assert!(!PACE.reaches(1, 1, 179 * MS));
        assert!(PACE.reaches(1, 1, 180 * MS));
    }

    #[test]
    fn higher_priorities_go_first_and_lower_ones_take_their_turns() {
        let inside = [4, 100, 1000];
        // 8, 4 and 1 of 13 turns.
        assert_eq!(ahead(inside, Priority::High, 1), 4 + 3 + 1);
        assert_eq!(ahead(inside, Priority::Normal, 1), 100 + 4 + 26);
        assert_eq!(ahead(inside, Priority::Low, 1), 1000 + 4 + 100);
        assert_eq!(ahead([0; 3], Priority::Low, 5), 0);
    }

    proptest! {
        /// More ahead never makes an answer earlier, and no more is ahead than there is.
        #[test]
        fn what_is_ahead_is_bounded_and_grows(
            inside in prop::array::uniform3(0_usize..2000),
            more in 0_usize..50,
            images in 1_usize..64,
            priority in prop::sample::select(&Priority::ALL[..]),
        ) {
            let before = ahead(inside, priority, images);
            prop_assert!(before >= inside[priority.index()] && before <= inside.iter().sum());
            let fuller = inside.map(|count| count + more);
            prop_assert!(ahead(fuller, priority, images) >= before);
            prop_assert!(PACE.finish(before + more, images) >= PACE.finish(before, images));
        }
    }
}
