//! The loop of a benchmark: asks the schedule, starts exchanges, takes in what they found.
//!
//! Everything happens in one task: idle connections, account and schedule have one owner and need no
//! locks, and dropping the future closes every connection.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;

use crate::account::Account;
use crate::config::BenchConfig;
use crate::cpu::CpuMeter;
use crate::error::BenchError;
use crate::link::{Exchange, Link, exchange};
use crate::pacer::Pacer;
use crate::report::Report;
use crate::schedule::{Next, Schedule, Ticket};
use crate::summary::Ending;
use crate::target::{Target, full_url};
use crate::warm_up::WarmUp;

/// Between two calls of the progress callback.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    pub phase: Phase,
    /// The share of the measurement that is done, from 0 to 1.
    pub fraction: f64,
    /// Since the first start, warm-up included.
    pub elapsed: Duration,
    pub ok: u64,
    pub failed: u64,
    pub in_flight: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    WarmUp,
    Measuring,
    /// No request starts any more; answers are waited for.
    Draining,
}

/// Runs a benchmark to its end. `progress` is called five times a second and at the end.
///
/// Needs a Tokio runtime with I/O and time enabled; a current-thread runtime takes the least CPU.
///
/// # Errors
///
/// A configuration that [`BenchConfig::validate`] refuses, a host without an address, or a server that
/// accepts no connection at all or answers no request of the warm-up well. Requests that fail are in the report instead.
pub async fn run(config: BenchConfig, progress: impl FnMut(Progress)) -> Result<Report, BenchError> {
    run_until(config, std::future::pending(), progress).await
}

/// Like [`run`], but ends early, with a report of what was measured until then, when `cancel` completes.
/// Requests in flight are abandoned.
///
/// # Errors
///
/// As [`run`].
pub async fn run_until(
    config: BenchConfig,
    cancel: impl Future<Output = ()>,
    mut progress: impl FnMut(Progress),
) -> Result<Report, BenchError> {
    config.validate()?;
    let target = Target::prepare(&config).await?;
    let unreachable = |source| BenchError::unreachable(full_url(&config.url), source);
    let first_link = Link::open(&target).await.map_err(unreachable)?;
    let mut pacer = Pacer::new().map_err(BenchError::Timer)?;
    let mut ticks = tokio::time::interval(PROGRESS_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut driver = Driver::new(&config, first_link);
    let mut in_flight = FuturesUnordered::new();
    let mut cancel = std::pin::pin!(cancel);
    let interrupted = loop {
        driver.check_warm_up(&config)?;
        let next = loop {
            match driver.schedule.next(Instant::now(), in_flight.len()) {
                Next::Start(ticket) => {
                    let link = driver.start(&ticket);
                    in_flight.push(exchange(&target, link, ticket, config.request_timeout));
                }
                next => break next,
            }
        };
        if next == Next::Finished && in_flight.is_empty() {
            break false;
        }
        tokio::select! {
            Some(exchange) = in_flight.next() => driver.finish(exchange),
            paced = pacer.wait_until(due(next)), if matches!(next, Next::WakeAt(_)) => {
                paced.map_err(BenchError::Timer)?;
            }
            _ = ticks.tick() => progress(driver.progress(next, in_flight.len())),
            () = &mut cancel => break true,
        }
    };
    progress(driver.progress(Next::Finished, 0));
    Ok(driver.report(&config, interrupted))
}

/// The instant to wake at; the present where there is none, which is not waited for.
fn due(next: Next) -> Instant {
    if let Next::WakeAt(due) = next {
        due
    } else {
        Instant::now()
    }
}

struct Driver {
    begin: Instant,
    schedule: Schedule,
    account: Account,
    /// The most recently used last, so that few connections carry a small load.
    #[expect(
        clippy::vec_box,
        reason = "links are large and move between here and the futures of requests"
    )]
    idle: Vec<Box<Link>>,
    measured_in_flight: u64,
    warm_up: WarmUp,
    /// Begins with the first measured request.
    meter: Option<CpuMeter>,
}

impl Driver {
    fn new(config: &BenchConfig, link: Box<Link>) -> Self {
        let begin = Instant::now();
        Self {
            begin,
            schedule: Schedule::new(
                config.load,
                config.stop,
                config.max_connections,
                begin,
                config.warmup,
            ),
            account: Account::new(),
            idle: vec![link],
            measured_in_flight: 0,
            warm_up: WarmUp::default(),
            meter: None,
        }
    }

    /// Notes a start and gives it an idle connection, if there is one.
    fn start(&mut self, ticket: &Ticket) -> Option<Box<Link>> {
        if ticket.measured {
            self.meter.get_or_insert_with(CpuMeter::start);
            self.measured_in_flight += 1;
        } else {
            self.warm_up.start();
        }
        self.account.start(ticket);
        self.idle.pop()
    }

    fn finish(&mut self, exchange: Exchange) {
        if exchange.ticket.measured {
            self.measured_in_flight -= 1;
        } else {
            self.warm_up.finish(&exchange.result);
        }
        self.account.finish(&exchange);
        self.idle.extend(exchange.link);
    }

    /// Ends a run of which nothing can be expected.
    fn check_warm_up(&self, config: &BenchConfig) -> Result<(), BenchError> {
        let is_over = Instant::now() >= self.schedule.measure_from();
        match self.warm_up.failure(is_over) {
            None => Ok(()),
            Some((requests, failed)) => Err(BenchError::WarmUp {
                url: full_url(&config.url),
                requests,
                last: failed.to_string(),
            }),
        }
    }

    fn progress(&self, next: Next, in_flight: usize) -> Progress {
        let now = Instant::now();
        let phase = match next {
            Next::Finished => Phase::Draining,
            _ if now < self.schedule.measure_from() => Phase::WarmUp,
            _ => Phase::Measuring,
        };
        Progress {
            phase,
            fraction: self.schedule.fraction(now, self.account.finished()),
            elapsed: now - self.begin,
            ok: self.account.ok,
            failed: self.account.failed,
            in_flight,
        }
    }

    fn report(&self, config: &BenchConfig, interrupted: bool) -> Report {
        let ending = Ending {
            interrupted,
            abandoned: self.measured_in_flight,
            unsent: self.schedule.unsent(Instant::now()),
        };
        // Without a measured request nothing was used.
        let cpu = self
            .meter
            .as_ref()
            .map_or_else(|| CpuMeter::start().read(), CpuMeter::read);
        Report::new(full_url(&config.url), config.load, &self.account, cpu, ending)
    }
}
