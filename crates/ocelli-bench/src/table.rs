//! The report for people: aligned, in units that fit the size of the number.

use std::fmt;

use crate::report::{LatencyMs, LoadReport, Report};

/// The width of the first column.
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
        writeln!(
            f,
            "{:LABEL$}{sent}, {}/s, {} connections opened",
            "sent",
            Bytes(rate),
            self.connections_opened
        )?;
        if let Some(latency) = &self.latency_ms {
            write_latency(f, latency)?;
        }
        self.write_server(f)?;
        self.write_generator(f)?;
        self.write_failures(f)?;
        for warning in &self.warnings {
            writeln!(f, "\nwarning: {warning}")?;
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
        write!(
            f,
            "{:LABEL$}{:.1} % of one core, {:.1} % of the machine, {:.0} us of CPU a request",
            "generator",
            generator.share_of_one_core * 100.0,
            generator.share_of_machine * 100.0,
            generator.cpu_us_per_request
        )?;
        if let LoadReport::Open { .. } = self.load {
            let (late, waited) = (generator.late_starts, generator.waited_for_connection);
            write!(f, ", {late} late starts, {waited} waited for a connection")?;
        }
        writeln!(f)
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

/// A time given in milliseconds.
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

/// A size in bytes.
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
