//! How an account becomes a report: the figures, and the judgement on how far to trust them.

use crate::account::Account;
use crate::config::Load;
use crate::cpu::CpuUse;
use crate::report::{FailureCount, Generator, LatencyMs, LoadReport, REPORT_SCHEMA, Report, ServerTiming};

/// Above this share of one core the generator, which works in one task, may be what limits the load.
const BUSY_CORE: f64 = 0.8;

/// Above this share of the machine the generator slows down a server beside it noticeably.
const BUSY_MACHINE: f64 = 0.1;

/// Above this share of late starts the load was not the one that was asked for.
const LATE_SHARE: f64 = 0.01;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) interrupted: bool,
    pub(crate) abandoned: u64,
    pub(crate) unsent: u64,
}

impl Report {
    pub(crate) fn new(url: String, load: Load, account: &Account, cpu: CpuUse, ending: Ending) -> Self {
        let elapsed_s = account.elapsed().as_secs_f64();
        let mut report = Self {
            schema: REPORT_SCHEMA,
            url,
            load: load.into(),
            requests: account.finished() + ending.abandoned,
            ok: account.ok,
            failed: account.failed,
            abandoned: ending.abandoned,
            unsent: ending.unsent,
            interrupted: ending.interrupted,
            elapsed_s: round(elapsed_s),
            images_per_s: if elapsed_s > 0.0 {
                round(account.ok as f64 / elapsed_s)
            } else {
                0.0
            },
            bytes_sent: account.body_bytes,
            connections: account.connections_used,
            connections_opened: account.connections_opened,
            latency_ms: latency(account),
            server_timing: server_timing(account),
            failures: failures(account),
            generator: generator(account, cpu),
            warnings: Vec::new(),
        };
        report.generator.bottleneck =
            report.generator.share_of_one_core > BUSY_CORE || report.late_share() > LATE_SHARE;
        report.warnings = report.warnings();
        report
    }

    fn late_share(&self) -> f64 {
        self.generator.late_starts as f64 / self.requests.max(1) as f64
    }

    fn warnings(&self) -> Vec<String> {
        let generator = &self.generator;
        let mut warnings = Vec::new();
        if self.interrupted {
            warnings
                .push("the run was interrupted: the figures cover what was measured until then".to_owned());
        }
        if generator.share_of_one_core > BUSY_CORE {
            warnings.push(format!(
                "the generator used {:.0} % of one core and may be the bottleneck: run it on a machine of its own",
                generator.share_of_one_core * 100.0
            ));
        } else if generator.share_of_machine > BUSY_MACHINE {
            warnings.push(format!(
                "the generator used {:.0} % of this machine's CPU: a server on the same machine had to do without",
                generator.share_of_machine * 100.0
            ));
        }
        if self.late_share() > LATE_SHARE {
            warnings.push(format!(
                "{} requests started more than 1 ms late because the generator got no CPU: lower the rate, or run it \
                 on a machine of its own",
                generator.late_starts
            ));
        }
        if self.unsent > 0 {
            warnings.push(format!(
                "{} requests were due but never sent, so the latencies are too good: the server is slower than the \
                 rate, or needs more connections",
                self.unsent
            ));
        }
        if self.failed > 0 {
            warnings.push("some requests failed: the latencies are those of good answers only".to_owned());
        }
        warnings
    }
}

impl From<Load> for LoadReport {
    fn from(load: Load) -> Self {
        match load {
            Load::Closed { concurrency } => Self::Closed { concurrency },
            Load::Open { rate } => Self::Open { rate },
        }
    }
}

fn latency(account: &Account) -> Option<LatencyMs> {
    let latencies = &account.latencies;
    let quantile = |quantile| ms(latencies.value_at_quantile(quantile) as f64);
    (!latencies.is_empty()).then(|| LatencyMs {
        min: ms(latencies.min() as f64),
        mean: ms(latencies.mean()),
        p50: quantile(0.5),
        p90: quantile(0.9),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: ms(latencies.max() as f64),
    })
}

fn server_timing(account: &Account) -> Vec<ServerTiming> {
    let mean = |sum_ms: f64, count: u64| round(sum_ms / count as f64);
    let timings = account.timings.iter();
    timings
        .map(|timing| ServerTiming {
            name: timing.name.clone(),
            mean_ms: mean(timing.sum_ms, timing.count),
            p50_ms: round(timing.spread.value_at_quantile(0.5) as f64 / 1e3),
            count: timing.count,
        })
        .collect()
}

fn failures(account: &Account) -> Vec<FailureCount> {
    let failures = account.failures.iter();
    let mut failures: Vec<_> = failures
        .map(|(failure, &count)| FailureCount {
            failure: failure.clone(),
            count,
        })
        .collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
    failures
}

fn generator(account: &Account, cpu: CpuUse) -> Generator {
    let cpu_s = cpu.cpu.as_secs_f64();
    Generator {
        cpu_s: round(cpu_s),
        share_of_one_core: round(cpu.share_of_one_core()),
        share_of_machine: round(cpu.share_of_machine()),
        cpu_us_per_request: round(cpu_s * 1e6 / account.finished().max(1) as f64),
        late_starts: account.late_starts,
        waited_for_connection: account.waited_for_connection,
        bottleneck: false,
    }
}

fn ms(micros: f64) -> f64 {
    round(micros / 1e3)
}

/// To three decimals: more would be noise.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::account::TimingSum;
    use crate::failure::{Failure, FailureKind};

    const CALM: CpuUse = CpuUse {
        cpu: Duration::from_millis(40),
        wall: Duration::from_secs(2),
        cores: 2,
    };
    const COMPLETE: Ending = Ending {
        interrupted: false,
        abandoned: 0,
        unsent: 0,
    };

    fn account(good: u32) -> Account {
        let mut account = Account::new();
        let begin = Instant::now();
        for n in 1..=good {
            account.record_good(begin, begin + Duration::from_millis(1) * n);
        }
        account
    }

    fn report(account: &Account, cpu: CpuUse, ending: Ending) -> Report {
        Report::new(
            "http://h/predict".to_owned(),
            Load::Closed { concurrency: 8 },
            account,
            cpu,
            ending,
        )
    }

    /// A run with something of everything.
    pub(crate) fn eventful() -> Report {
        let mut account = account(1000);
        account.body_bytes = 123_456_789;
        account.connections_opened = 7;
        account.connections_used = 9;
        account.late_starts = 40;
        account.waited_for_connection = 5;
        account.failed = 12;
        account.failures.insert(Failure::new(FailureKind::Timeout), 2);
        account
            .failures
            .insert(Failure::status(429, Some("queue_full")), 10);
        account.timings = [("decode", 1500.0), ("infer", 2250.0)]
            .map(|(name, sum_ms)| {
                let mut timing = TimingSum::new(name);
                (0..1000).for_each(|_| timing.add(sum_ms / 1000.0));
                timing
            })
            .to_vec();
        let ending = Ending {
            interrupted: true,
            abandoned: 3,
            unsent: 4,
        };
        Report::new(
            "http://h:1/predict".to_owned(),
            Load::Open { rate: 500.0 },
            &account,
            CALM,
            ending,
        )
    }

    #[test]
    fn a_run_without_an_answer_has_no_latency() {
        let report = report(&Account::new(), CALM, COMPLETE);
        assert_eq!((report.requests, report.latency_ms), (0, None));
        assert!(report.images_per_s.abs() < f64::EPSILON);
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["latency_ms"].is_null());
        assert_eq!(
            json["load"],
            serde_json::json!({"mode": "closed", "concurrency": 8})
        );
    }

    #[test]
    fn a_calm_run_has_no_warnings() {
        let report = report(&account(100), CALM, COMPLETE);
        assert_eq!(report.warnings, Vec::<String>::new());
        assert!(!report.generator.bottleneck);
        assert!(
            (report.images_per_s - 1000.0).abs() < 1e-6,
            "100 answers in 100 ms"
        );
    }

    #[test]
    fn a_generator_that_fills_its_core_is_the_bottleneck() {
        let busy = CpuUse {
            cpu: Duration::from_millis(1700),
            ..CALM
        };
        let report = report(&account(100), busy, COMPLETE);
        assert!(report.generator.bottleneck);
        assert!(
            report.warnings[0].contains("85 % of one core"),
            "{:?}",
            report.warnings
        );
    }

    #[test]
    fn a_generator_that_takes_from_the_server_is_only_warned_about() {
        let greedy = CpuUse {
            cpu: Duration::from_millis(600),
            ..CALM
        };
        let report = report(&account(100), greedy, COMPLETE);
        assert!(!report.generator.bottleneck);
        assert!(
            report.warnings[0].contains("15 % of this machine"),
            "{:?}",
            report.warnings
        );
    }

    #[test]
    fn one_late_start_in_a_hundred_is_tolerated() {
        let mut account = account(100);
        account.late_starts = 1;
        assert!(!report(&account, CALM, COMPLETE).generator.bottleneck);
        account.late_starts = 2;
        assert!(report(&account, CALM, COMPLETE).generator.bottleneck);
    }
}
