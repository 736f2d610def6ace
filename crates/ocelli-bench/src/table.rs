//! The report for people: aligned, in units that fit the size of the number.

use std::fmt;

use crate::report::{LatencyMs, LoadReport, Report};

const LABEL: usize = 12;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.load {
            LoadReport::Closed { concurrency } => write!(f, "closed loop, concurrency {concurrency}")?,
            LoadReport::Open { rate } => write!(f, "open loop, {rate} requests/s")?,
        }
        writeln!(f, ": POST {}\n", self.url)?;
        write!(
            f,
            "{:LABEL$}{} ({} ok, {} failed",
            "requests", self.requests, self.ok, self.failed
        )?;
        for (count, what) in [(self.abandoned, "abandoned"), (self.unsent, "never sent")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        writeln!(f, ")")?;
        writeln!(
            f,
            "{:LABEL$}{:.1} images/s over {:.2} s",
            "throughput", self.images_per_s, self.elapsed_s
        )?;
        let rate = if self.elapsed_s > 0.0 {
            self.bytes_sent as f64 / self.elapsed_s
        } else {
            0.0
        };
        let sent = Bytes(self.bytes_sent as f64);
        writeln!(f, "{:LABEL$}{sent}, {}/s", "sent", Bytes(rate))?;
        writeln!(
            f,
            "{:LABEL$}{} used, {} of them opened while measuring",
            "connections", self.connections, self.connections_opened
        )?;
        if let Some(latency) = &self.latency_ms {
            write_latency(f, latency)?;
        }
        self.write_server(f)?;
        self.write_generator(f)?;
        self.write_failures(f)?;
        for (n, warning) in self.warnings.iter().enumerate() {
            let blank = if n == 0 { "\n" } else { "" };
            writeln!(f, "{blank}warning: {warning}")?;
        }
        Ok(())
    }
}

impl Report {
    fn write_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.server_timing.is_empty() {
            return Ok(());
        }
        write!(f, "{:LABEL$}", "server")?;
        for (n, timing) in self.server_timing.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{} {}", timing.name, Millis(timing.mean_ms))?;
        }
        writeln!(f, " (means)")
    }

    fn write_generator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generator = &self.generator;
        writeln!(
            f,
            "{:LABEL$}{:.1} % of one core, {:.1} % of the machine, {:.0} us of CPU a request",
            "generator",
            generator.share_of_one_core * 100.0,
            generator.share_of_machine * 100.0,
            generator.cpu_us_per_request
        )?;
        if let LoadReport::Open { .. } = self.load {
            let (late, waited) = (generator.late_starts, generator.waited_for_connection);
            writeln!(
                f,
                "{:LABEL$}{late} late, {waited} waited for a connection",
                "starts"
            )?;
        }
        Ok(())
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, failed) in self.failures.iter().enumerate() {
            let label = if n == 0 { "failures" } else { "" };
            writeln!(f, "{label:LABEL$}{:>8}  {}", failed.count, failed.failure)?;
        }
        Ok(())
    }
}

fn write_latency(f: &mut fmt::Formatter<'_>, latency: &LatencyMs) -> fmt::Result {
    let columns = [
        ("min", latency.min),
        ("mean", latency.mean),
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p999),
        ("max", latency.max),
    ];
    write!(f, "{:LABEL$}", "latency")?;
    for (name, _) in columns {
        write!(f, "{name:>10}")?;
    }
    write!(f, "\n{:LABEL$}", "")?;
    for (_, value) in columns {
        write!(f, "{:>10}", Millis(value).to_string())?;
    }
    writeln!(f)
}

struct Millis(f64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 0.1 => write!(f, "{:.0} us", ms * 1e3),
            ms if ms < 10.0 => write!(f, "{ms:.2} ms"),
            ms if ms < 100.0 => write!(f, "{ms:.1} ms"),
            ms if ms < 10_000.0 => write!(f, "{ms:.0} ms"),
            ms => write!(f, "{:.1} s", ms / 1e3),
        }
    }
}

struct Bytes(f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1e3 => write!(f, "{bytes:.0} B"),
            bytes if bytes < 1e6 => write!(f, "{:.1} kB", bytes / 1e3),
            bytes if bytes < 1e9 => write!(f, "{:.1} MB", bytes / 1e6),
            bytes => write!(f, "{:.2} GB", bytes / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_well() {
        insta::assert_snapshot!(crate::summary::tests::eventful(), @r"
open loop, 500 requests/s: POST http://h:1/predict

requests    1015 (1000 ok, 12 failed, 3 abandoned, 4 never sent)
throughput  1000.0 images/s over 1.00 s
sent        123.5 MB, 123.5 MB/s
connections 9 used, 7 of them opened while measuring
latency            min      mean       p50       p90       p99     p99.9       max
               1.00 ms    501 ms    500 ms    900 ms    990 ms    999 ms   1000 ms
server      decode 1.50 ms, infer 2.25 ms (means)
generator   2.0 % of one core, 1.0 % of the machine, 40 us of CPU a request
starts      40 late, 5 waited for a connection
failures          10  429 queue_full
                   2  timeout

warning: the run was interrupted: the figures cover what was measured until then
warning: 40 requests started more than 1 ms late because the generator got no CPU: lower the rate, or run it on a machine of its own
warning: 4 requests were due but never sent, so the latencies are too good: the server is slower than the rate, or needs more connections
warning: some requests failed: the latencies are those of good answers only
");
    }

    #[test]
    fn units_fit_the_number() {
        let times = [0.05, 0.1, 9.994, 12.34, 123.4, 9_999.0, 12_345.0].map(|ms| Millis(ms).to_string());
        assert_eq!(
            times,
            [
                "50 us", "0.10 ms", "9.99 ms", "12.3 ms", "123 ms", "9999 ms", "12.3 s"
            ]
        );
        let sizes = [999.0, 1500.0, 2.5e6, 3.25e9].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(sizes, ["999 B", "1.5 kB", "2.5 MB", "3.25 GB"]);
    }
}
