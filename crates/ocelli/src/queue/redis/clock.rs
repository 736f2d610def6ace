//! Redis' clock, by which the deadlines of jobs are counted, because clocks of hosts differ.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Converts microseconds of Redis' clock to this process's clock.
#[derive(Debug, Default)]
pub(super) struct RedisClock {
    /// A moment by both clocks.
    known: Mutex<Option<(Instant, u64)>>,
}

impl RedisClock {
    /// Redis' clock was at `micros` at some moment between `sent` and `received`.
    pub(super) fn set(&self, sent: Instant, received: Instant, micros: u64) {
        let middle = sent + received.saturating_duration_since(sent) / 2;
        *self.known.lock() = Some((middle, micros));
    }

    /// The moment at which Redis' clock is at `micros`; `now` where its clock is not known.
    pub(super) fn instant(&self, micros: u64, now: Instant) -> Instant {
        let Some((moment, known)) = *self.known.lock() else {
            return now;
        };
        if micros >= known {
            moment + Duration::from_micros(micros - known)
        } else {
            moment
                .checked_sub(Duration::from_micros(known - micros))
                .unwrap_or(now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_and_after_are_told_from_the_middle_of_the_question() {
        let clock = RedisClock::default();
        let sent = Instant::now();
        assert_eq!(clock.instant(5, sent), sent, "not known yet");
        let ms = Duration::from_millis;
        clock.set(sent, sent + ms(4), 1_000_000);
        assert_eq!(clock.instant(1_000_000, sent), sent + ms(2));
        assert_eq!(clock.instant(1_003_000, sent), sent + ms(5));
        assert_eq!(clock.instant(999_000, sent), sent + ms(1));
    }
}
