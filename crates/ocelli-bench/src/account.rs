//! The account of a run: latencies, failures, what was sent and what the server said about its time. Pure:
//! it reads no clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::answer::server_timings;
use crate::failure::{Failure, FailureKind};
use crate::link::{Effort, Exchange, RequestResult};
use crate::schedule::{Delay, Ticket};

/// Different failures that are counted separately; more are counted as [`FailureKind::Other`].
const MAX_FAILURES: usize = 64;

/// Different `Server-Timing` metrics that are averaged; further ones are left out.
const MAX_TIMINGS: usize = 16;

/// Longer latencies are recorded as this one. Nothing can be longer but a wait for a connection.
const MAX_LATENCY: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub(crate) struct Account {
    /// Latencies of good answers in microseconds, to 3 significant digits.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) failures: BTreeMap<Failure, u64>,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) late_starts: u64,
    pub(crate) waited_for_connection: u64,
    pub(crate) body_bytes: u64,
    pub(crate) connections_opened: u64,
    pub(crate) connections_used: u64,
    /// In the order in which the server names them.
    pub(crate) timings: Vec<TimingSum>,
    /// The start of the first and the end of the last measured request.
    span: Option<(Instant, Instant)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TimingSum {
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) sum_ms: f64,
    /// In microseconds.
    pub(crate) spread: Histogram<u64>,
}

/// An empty histogram of microseconds, from 1 to a day, of so many significant digits.
fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, micros(MAX_LATENCY), digits)
        .expect("1 to a day in microseconds is a valid range")
}

impl TimingSum {
    pub(crate) fn new(name: &str) -> Self {
        let (name, spread) = (name.to_owned(), histogram(2));
        Self {
            name,
            count: 0,
            sum_ms: 0.0,
            spread,
        }
    }

    pub(crate) fn add(&mut self, duration_ms: f64) {
        self.count += 1;
        self.sum_ms += duration_ms;
        // Whatever a server claims is brought into the histogram's range.
        self.spread.saturating_record((duration_ms * 1e3) as u64);
    }
}

impl Account {
    pub(crate) fn new() -> Self {
        Self {
            latencies: histogram(3),
            failures: BTreeMap::new(),
            ok: 0,
            failed: 0,
            late_starts: 0,
            waited_for_connection: 0,
            body_bytes: 0,
            connections_opened: 0,
            connections_used: 0,
            timings: Vec::new(),
            span: None,
        }
    }

    pub(crate) fn start(&mut self, ticket: &Ticket) {
        if ticket.measured {
            self.late_starts += u64::from(ticket.delay == Delay::Generator);
            self.waited_for_connection += u64::from(ticket.delay == Delay::NoConnection);
            self.span.get_or_insert((ticket.intended, ticket.intended));
        }
    }

    pub(crate) fn finish(&mut self, exchange: &Exchange) {
        if exchange.ticket.measured {
            self.record(
                exchange.ticket.intended,
                exchange.ended,
                exchange.effort,
                &exchange.result,
            );
        }
    }

    pub(crate) fn finished(&self) -> u64 {
        self.ok + self.failed
    }

    /// From the first start to the last end.
    pub(crate) fn elapsed(&self) -> Duration {
        self.span.map_or(Duration::ZERO, |(first, last)| {
            last.saturating_duration_since(first)
        })
    }

    fn record(&mut self, intended: Instant, ended: Instant, effort: Effort, result: &RequestResult) {
        let span = self.span.get_or_insert((intended, ended));
        span.1 = span.1.max(ended);
        self.body_bytes += effort.body_bytes;
        self.connections_opened += u64::from(effort.connections_opened);
        self.connections_used += u64::from(effort.connections_used);
        match result {
            Ok(headers) => {
                self.ok += 1;
                self.latencies
                    .saturating_record(micros(ended.saturating_duration_since(intended)));
                let headers = headers.iter().filter_map(|header| header.to_str().ok());
                for (name, duration_ms) in headers.flat_map(server_timings) {
                    self.add_timing(name, duration_ms);
                }
            }
            Err(failed) => {
                self.failed += 1;
                self.add_failure(&failed.failure);
            }
        }
    }

    fn add_timing(&mut self, name: &str, duration_ms: f64) {
        if let Some(timing) = self.timings.iter_mut().find(|timing| timing.name == name) {
            timing.add(duration_ms);
        } else if self.timings.len() < MAX_TIMINGS {
            let mut timing = TimingSum::new(name);
            timing.add(duration_ms);
            self.timings.push(timing);
        }
    }

    fn add_failure(&mut self, failure: &Failure) {
        if let Some(count) = self.failures.get_mut(failure) {
            *count += 1;
        } else if self.failures.len() < MAX_FAILURES {
            self.failures.insert(failure.clone(), 1);
        } else {
            *self.failures.entry(Failure::new(FailureKind::Other)).or_default() += 1;
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    impl Account {
        /// Notes a good answer without `Server-Timing`.
        pub(crate) fn record_good(&mut self, intended: Instant, ended: Instant) {
            self.record(intended, ended, Effort::default(), &Ok(Vec::new()));
        }
    }

    fn ticket(intended: Instant, measured: bool, delay: Delay) -> Ticket {
        Ticket {
            index: 0,
            intended,
            measured,
            delay,
        }
    }

    fn exchange(ticket: Ticket, ended: Instant, result: RequestResult) -> Exchange {
        let effort = Effort {
            body_bytes: 100,
            connections_opened: 1,
            connections_used: 1,
        };
        Exchange {
            ticket,
            ended,
            effort,
            result,
            link: None,
        }
    }

    #[test]
    fn latencies_count_from_the_intended_start_and_only_for_good_answers() {
        let mut account = Account::new();
        let begin = Instant::now();
        let ticket = ticket(begin, true, Delay::None);
        account.finish(&exchange(ticket, begin + 20 * MS, Ok(Vec::new())));
        account.finish(&exchange(
            ticket,
            begin + 500 * MS,
            Err(Failure::new(FailureKind::Timeout).into()),
        ));
        assert_eq!((account.ok, account.failed, account.finished()), (1, 1, 2));
        assert_eq!((account.body_bytes, account.connections_opened), (200, 2));
        assert_eq!(account.connections_used, 2);
        assert_eq!(account.latencies.len(), 1);
        assert!(account.latencies.max().abs_diff(20_000) <= 20);
        assert_eq!(account.elapsed(), 500 * MS, "failures take time as well");
    }

    #[test]
    fn the_warm_up_leaves_no_trace() {
        let mut account = Account::new();
        let begin = Instant::now();
        let ticket = ticket(begin, false, Delay::Generator);
        account.start(&ticket);
        let cut = Err(Failure::new(FailureKind::Cut).into());
        account.finish(&exchange(ticket, begin + MS, cut));
        assert_eq!(
            (account.finished(), account.late_starts, account.body_bytes),
            (0, 0, 0)
        );
        assert_eq!(account.elapsed(), Duration::ZERO);
        assert!(account.failures.is_empty());
    }

    #[test]
    fn elapsed_runs_from_the_first_start_to_the_last_end() {
        let mut account = Account::new();
        let begin = Instant::now();
        for offset in [0, 5] {
            account.start(&ticket(begin + offset * MS, true, Delay::NoConnection));
        }
        account.record_good(begin + 5 * MS, begin + 30 * MS);
        account.record_good(begin, begin + 20 * MS);
        assert_eq!(account.elapsed(), 30 * MS);
        assert_eq!((account.waited_for_connection, account.late_starts), (2, 0));
    }

    #[test]
    fn equal_failures_are_counted_together_up_to_a_limit() {
        let mut account = Account::new();
        for n in 0..200 {
            account.add_failure(&Failure::status(500, Some(&format!("code {n}"))));
            account.add_failure(&Failure::status(429, Some("queue_full")));
        }
        assert_eq!(account.failures.len(), MAX_FAILURES + 1);
        assert_eq!(account.failures[&Failure::status(429, Some("queue_full"))], 200);
        assert_eq!(
            account.failures[&Failure::new(FailureKind::Other)],
            200 - (MAX_FAILURES as u64 - 1)
        );
    }

    #[test]
    fn server_timings_are_summed_by_name_up_to_a_limit() {
        let mut account = Account::new();
        let now = Instant::now();
        for dur in [1, 2] {
            let headers = [
                format!("decode;dur={dur}"),
                "infer;dur=4, queue;dur=0.5".to_owned(),
            ];
            let headers = headers
                .iter()
                .map(|header| HeaderValue::from_str(header).unwrap())
                .collect();
            account.record(now, now, Effort::default(), &Ok(headers));
        }
        let sums: Vec<_> = account
            .timings
            .iter()
            .map(|t| (t.name.as_str(), t.count, t.sum_ms))
            .collect();
        assert_eq!(sums, [("decode", 2, 3.0), ("infer", 2, 8.0), ("queue", 2, 1.0)]);
        for n in 0..100 {
            account.add_timing(&format!("metric{n}"), 1.0);
        }
        assert_eq!(account.timings.len(), MAX_TIMINGS);
    }

    #[test]
    fn an_absurd_latency_is_kept_at_the_limit() {
        let mut account = Account::new();
        let begin = Instant::now();
        account.record_good(begin, begin + 10 * MAX_LATENCY);
        account.record_good(begin + MS, begin);
        assert_eq!(account.latencies.len(), 2);
        assert!(account.latencies.max() as f64 > MAX_LATENCY.as_secs_f64() * 0.999e6);
    }
}
