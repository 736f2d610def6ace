//! Decides when each request starts. Pure: it is told the time and how many requests are in flight, and
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

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send a request and ask again.
    Start(Ticket),
    /// Nothing is due before this instant.
    WakeAt(Instant),
    /// As many requests are in flight as there may be.
    AwaitAnswer,
    /// No request will start any more.
    Finished,
}

/// The plan of one run.
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

    /// When the measured part begins.
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
