//! Decides when each request starts. Pure: its caller passes the time and how many requests are in flight, and
//! it never waits, sends or reads a clock.
//!
//! The n-th start of an open loop is computed from the first, not from the one before, so that errors do
//! not add up. No list of overdue requests is kept: how many are overdue follows from the time.

use std::time::{Duration, Instant};

use crate::config::{Load, MAX_REQUESTS, Stop};

/// A start of an open loop that comes this much after its time although a connection was free is late:
/// the generator did not get the processor when it needed it.
pub(crate) const LATE_AFTER: Duration = Duration::from_millis(1);

/// The right to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Counts all requests from 0, warm-up included; chooses the photo.
    pub(crate) index: u64,
    /// Latency is counted from here: the planned start in an open loop, the real one in a closed loop.
    pub(crate) intended: Instant,
    /// Whether the request belongs to the measurement, not to the warm-up.
    pub(crate) measured: bool,
    /// What kept the request from starting on time.
    pub(crate) delay: Delay,
}

/// What kept a request from starting on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    /// Nothing: it started on time.
    None,
    /// All connections were busy: the server, or the limit on connections, held it up.
    NoConnection,
    /// A connection was free, but the generator came late.
    Generator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send a request and ask again.
    Start(Ticket),
    WakeAt(Instant),
    /// As many requests are in flight as there may be.
    AwaitAnswer,
    Finished,
}

#[derive(Debug)]
pub(crate) struct Schedule {
    load: Load,
    stop: Stop,
    max_connections: usize,
    begin: Instant,
    measure_from: Instant,
    issued: u64,
    measured: u64,
    /// The latest moment at which a due request found no free connection.
    last_full: Option<Instant>,
}

impl Schedule {
    /// A plan that begins at `begin` with `warmup` of unmeasured load.
    pub(crate) fn new(
        load: Load,
        stop: Stop,
        max_connections: usize,
        begin: Instant,
        warmup: Duration,
    ) -> Self {
        let measure_from = begin + warmup;
        Self {
            load,
            stop,
            max_connections,
            begin,
            measure_from,
            issued: 0,
            measured: 0,
            last_full: None,
        }
    }

    /// What to do at `now` while `in_flight` requests are on their way.
    pub(crate) fn next(&mut self, now: Instant, in_flight: usize) -> Next {
        match self.load {
            Load::Closed { concurrency } => self.next_closed(now, in_flight, concurrency),
            Load::Open { rate } => self.next_open(now, in_flight, rate),
        }
    }

    pub(crate) fn measure_from(&self) -> Instant {
        self.measure_from
    }

    /// How many measured requests were due before `now` and before the end, and never started.
    pub(crate) fn unsent(&self, now: Instant) -> u64 {
        let Load::Open { rate } = self.load else { return 0 };
        let (until, room) = match self.stop {
            Stop::Requests(requests) => (now, requests - self.measured),
            Stop::Duration(duration) => (
                now.min(self.measure_from + duration),
                MAX_REQUESTS - self.measured,
            ),
        };
        let first = self.issued.max(self.starts_before(self.measure_from, rate));
        self.starts_before(until, rate).saturating_sub(first).min(room)
    }

    /// The share of the measurement that is over at `now`, from 0 to 1.
    pub(crate) fn fraction(&self, now: Instant, finished: u64) -> f64 {
        let fraction = match self.stop {
            Stop::Requests(requests) => finished as f64 / requests as f64,
            Stop::Duration(duration) => {
                now.saturating_duration_since(self.measure_from).as_secs_f64() / duration.as_secs_f64()
            }
        };
        fraction.clamp(0.0, 1.0)
    }

    fn next_closed(&mut self, now: Instant, in_flight: usize, concurrency: usize) -> Next {
        if self.is_over(now, self.measured) {
            Next::Finished
        } else if in_flight >= concurrency {
            Next::AwaitAnswer
        } else {
            Next::Start(self.issue(now, Delay::None))
        }
    }

    fn next_open(&mut self, now: Instant, in_flight: usize, rate: f64) -> Next {
        let due = self.due(self.issued, rate);
        // The end is checked at the real time as well: requests that still wait for a connection then are
        // reported as unsent, for sending them could take as long as the measurement did. The tolerance
        // keeps a timer that fires a little late from cutting off the last start.
        let overdue = now
            .checked_sub(LATE_AFTER)
            .is_some_and(|then| self.is_over(then, self.measured));
        if overdue || self.is_over(due, self.measured) {
            Next::Finished
        } else if due > now {
            Next::WakeAt(due)
        } else if in_flight >= self.max_connections {
            self.last_full = Some(now);
            Next::AwaitAnswer
        } else {
            let delay = if self.last_full.is_some_and(|full| due <= full) {
                Delay::NoConnection
            } else if now - due > LATE_AFTER {
                Delay::Generator
            } else {
                Delay::None
            };
            Next::Start(self.issue(due, delay))
        }
    }

    fn issue(&mut self, intended: Instant, delay: Delay) -> Ticket {
        let measured = intended >= self.measure_from;
        let ticket = Ticket {
            index: self.issued,
            intended,
            measured,
            delay,
        };
        self.issued += 1;
        self.measured += u64::from(measured);
        ticket
    }

    fn is_over(&self, at: Instant, measured: u64) -> bool {
        match self.stop {
            Stop::Requests(requests) => measured >= requests,
            Stop::Duration(duration) => measured >= MAX_REQUESTS || at >= self.measure_from + duration,
        }
    }

    /// How many starts of an open loop lie before `instant`: the index of the first that does not.
    fn starts_before(&self, instant: Instant, rate: f64) -> u64 {
        let seconds = instant.saturating_duration_since(self.begin).as_secs_f64();
        let mut count = (seconds * rate).ceil() as u64;
        // The product may round up across a start that lies exactly at `instant`.
        while count > 0 && self.due(count - 1, rate) >= instant {
            count -= 1;
        }
        count
    }

    fn due(&self, index: u64, rate: f64) -> Instant {
        self.begin + Duration::from_secs_f64(index as f64 / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;

    const MS: Duration = Duration::from_millis(1);

    fn open(rate: f64, stop: Stop, max_connections: usize, warmup: Duration) -> (Schedule, Instant) {
        let begin = Instant::now();
        (
            Schedule::new(Load::Open { rate }, stop, max_connections, begin, warmup),
            begin,
        )
    }

    fn ticket(next: Next) -> Ticket {
        let Next::Start(ticket) = next else {
            panic!("expected a start, got {next:?}")
        };
        ticket
    }

    #[test]
    fn an_open_loop_starts_evenly_whatever_is_in_flight() {
        let (mut schedule, begin) = open(20.0, Stop::Requests(500), 500, Duration::ZERO);
        for index in 0..500u32 {
            let due = begin + 50 * MS * index;
            if index > 0 {
                assert_eq!(schedule.next(due - MS, index as usize), Next::WakeAt(due));
            }
            let ticket = ticket(schedule.next(due, index as usize));
            assert_eq!((ticket.index, ticket.intended), (u64::from(index), due));
            assert_eq!((ticket.measured, ticket.delay), (true, Delay::None));
        }
        assert_eq!(
            schedule.next(begin + Duration::from_hours(1), 500),
            Next::Finished
        );
    }

    #[test]
    fn starts_do_not_drift() {
        let (mut schedule, begin) = open(3.0, Stop::Requests(4), 1, Duration::ZERO);
        // A third of a second has no exact duration: adding it up three times would miss the second.
        for _ in 0..3 {
            schedule.next(begin + Duration::from_secs(9), 0);
        }
        assert_eq!(
            ticket(schedule.next(begin + Duration::from_secs(9), 0)).intended,
            begin + Duration::from_secs(1)
        );
    }

    #[test]
    fn a_closed_loop_keeps_its_concurrency() {
        let begin = Instant::now();
        let load = Load::Closed { concurrency: 2 };
        let mut schedule = Schedule::new(load, Stop::Requests(3), 1, begin, Duration::ZERO);
        assert_eq!(ticket(schedule.next(begin, 0)).index, 0);
        assert_eq!(ticket(schedule.next(begin, 1)).index, 1);
        assert_eq!(schedule.next(begin, 2), Next::AwaitAnswer);
        let late = begin + 70 * MS;
        let third = ticket(schedule.next(late, 1));
        assert_eq!(
            (third.intended, third.delay),
            (late, Delay::None),
            "it has no intended start but the real one"
        );
        assert_eq!(schedule.next(late, 0), Next::Finished);
        assert_eq!(schedule.unsent(late), 0);
    }

    #[test]
    fn the_warm_up_is_not_counted() {
        let (mut schedule, begin) = open(10.0, Stop::Requests(2), 9, Duration::from_millis(250));
        let far = begin + Duration::from_secs(9);
        let measured: Vec<_> = (0..5).map(|_| ticket(schedule.next(far, 0)).measured).collect();
        assert_eq!(measured, [false, false, false, true, true]);
        assert_eq!(schedule.next(far, 0), Next::Finished);
    }

    #[test]
    fn a_duration_ends_at_its_end() {
        for load in [Load::Closed { concurrency: 1 }, Load::Open { rate: 1000.0 }] {
            let begin = Instant::now();
            let stop = Stop::Duration(Duration::from_secs(1));
            let mut schedule = Schedule::new(load, stop, 1, begin, Duration::from_secs(1));
            assert!(!ticket(schedule.next(begin, 0)).measured);
            let end = begin + Duration::from_secs(2);
            assert!(matches!(schedule.next(end - MS, 0), Next::Start(_)));
            assert_eq!(schedule.next(end + LATE_AFTER, 0), Next::Finished);
        }
    }

    #[test]
    fn a_full_pool_and_a_late_generator_are_told_apart() {
        let (mut schedule, begin) = open(1000.0, Stop::Requests(9), 1, Duration::ZERO);
        assert_eq!(ticket(schedule.next(begin, 0)).delay, Delay::None);
        assert_eq!(schedule.next(begin + MS, 1), Next::AwaitAnswer);
        assert_eq!(schedule.next(begin + 2 * MS, 1), Next::AwaitAnswer);
        let freed = begin + 10 * MS;
        let delays: Vec<_> = (0..3).map(|_| ticket(schedule.next(freed, 0)).delay).collect();
        // The first two were due while the pool was seen full, the third one was not.
        assert_eq!(
            delays,
            [Delay::NoConnection, Delay::NoConnection, Delay::Generator]
        );
    }

    #[test]
    fn what_still_waits_at_the_end_is_counted() {
        let stop = Stop::Duration(Duration::from_secs(1));
        let (mut schedule, begin) = open(10.0, stop, 1, Duration::from_millis(500));
        for _ in 0..7 {
            schedule.next(begin + Duration::from_secs(1), 0);
        }
        // Due at 0.7, 0.8, .. 1.4 s; the start at 1.5 s would lie beyond the end.
        assert_eq!(schedule.unsent(begin + Duration::from_secs(2)), 8);
        assert_eq!(schedule.unsent(begin + Duration::from_millis(1300)), 6);
        let (schedule, begin) = open(10.0, Stop::Requests(3), 1, Duration::ZERO);
        assert_eq!(schedule.unsent(begin + Duration::from_secs(9)), 3);
        let (schedule, begin) = open(3.0, Stop::Requests(99), 1, Duration::ZERO);
        // The third start, rounded to a nanosecond, lies a little beyond 2 / 3 s, but not before itself.
        assert_eq!(schedule.unsent(begin + Duration::from_nanos(666_666_667)), 2);
        let (schedule, begin) = open(10.0, Stop::Requests(3), 1, Duration::from_secs(5));
        assert_eq!(
            schedule.unsent(begin + Duration::from_secs(1)),
            0,
            "the warm-up is no loss"
        );
    }

    #[test]
    fn progress_follows_time_or_count() {
        let stop = Stop::Duration(Duration::from_secs(10));
        let (schedule, begin) = open(1.0, stop, 1, Duration::from_secs(5));
        assert!(schedule.fraction(begin, 0).abs() < 1e-9);
        assert!((schedule.fraction(begin + Duration::from_secs(10), 0) - 0.5).abs() < 1e-9);
        assert!((schedule.fraction(begin + Duration::from_secs(60), 0) - 1.0).abs() < 1e-9);
        let (schedule, begin) = open(1.0, Stop::Requests(4), 1, Duration::ZERO);
        assert!((schedule.fraction(begin, 3) - 0.75).abs() < 1e-9);
    }

    /// A server that answers one request at a time in 1 ms, but stalls from 2 s to 3 s. Returns the p99
    /// from the intended starts and the one that a naive client, counting from the real ones, would see.
    fn p99_of_a_stalling_server(load: Load) -> (f64, f64) {
        let begin = Instant::now();
        let stall = begin + Duration::from_secs(2);
        let mut schedule = Schedule::new(
            load,
            Stop::Duration(Duration::from_secs(10)),
            1,
            begin,
            Duration::ZERO,
        );
        let mut honest = Account::new();
        let mut naive = Account::new();
        let mut now = begin;
        loop {
            match schedule.next(now, 0) {
                Next::Start(ticket) => {
                    let started = now;
                    let stalled = now >= stall && now < stall + Duration::from_secs(1);
                    now = if stalled {
                        stall + Duration::from_secs(1)
                    } else {
                        now
                    } + MS;
                    honest.record_good(ticket.intended, now);
                    naive.record_good(started, now);
                }
                Next::WakeAt(due) => now = due,
                Next::AwaitAnswer => panic!("the only connection is free"),
                Next::Finished => {
                    let p99 = |account: &Account| account.latencies.value_at_quantile(0.99) as f64 / 1e3;
                    return (p99(&honest), p99(&naive));
                }
            }
        }
    }

    #[test]
    fn a_stall_shows_in_an_open_loop_and_is_hidden_from_a_naive_one() {
        let (honest, naive) = p99_of_a_stalling_server(Load::Open { rate: 100.0 });
        // A tenth of all requests should have started during the second of silence.
        assert!((900.0..1000.0).contains(&honest), "{honest} ms");
        assert!(naive < 2.0, "{naive} ms");
        let (closed, _) = p99_of_a_stalling_server(Load::Closed { concurrency: 1 });
        assert!(closed < 2.0, "a closed loop cannot see it: {closed} ms");
    }
}
