//! What a benchmark found. The JSON form is a stable schema, numbered by [`REPORT_SCHEMA`]: fields may be
//! added under the same number, never renamed, removed or given another meaning.

use serde::Serialize;

use crate::failure::Failure;

pub const REPORT_SCHEMA: u32 = 1;

/// The result of a benchmark, without its warm-up.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    pub schema: u32,
    /// The address that was posted to, with its path.
    pub url: String,
    pub load: LoadReport,
    /// Requests that were started: `ok + failed + abandoned`.
    pub requests: u64,
    pub ok: u64,
    /// Requests without one, listed in `failures`.
    pub failed: u64,
    /// Requests in flight when the run was interrupted; nothing is known about them.
    pub abandoned: u64,
    /// Requests of an open loop that were due but still waited for a connection at the end.
    pub unsent: u64,
    /// Whether the run was cancelled before its end.
    pub interrupted: bool,
    /// From the first start to the last answer, in seconds.
    pub elapsed_s: f64,
    /// Good answers per second; each carries one photo.
    pub images_per_s: f64,
    /// Bytes of the bodies sent, headers not counted.
    pub bytes_sent: u64,
    /// Connections that carried measured requests.
    pub connections: u64,
    /// Those of them that were opened during the measurement, not before.
    pub connections_opened: u64,
    /// Latency of good answers; nothing where there is none.
    pub latency_ms: Option<LatencyMs>,
    /// What the server says about its time, from `Server-Timing` of good answers.
    pub server_timing: Vec<ServerTiming>,
    pub failures: Vec<FailureCount>,
    pub generator: Generator,
    /// What makes the figures less trustworthy, in sentences.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum LoadReport {
    Closed { concurrency: usize },
    Open { rate: f64 },
}

/// Latencies in milliseconds, to 3 significant digits: in an open loop from the intended start, in a
/// closed loop from the real one, to the last byte of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencyMs {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99_9")]
    pub p999: f64,
    pub max: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerTiming {
    /// As the server names it, for example `decode`.
    pub name: String,
    /// The average over the answers that have it, in milliseconds.
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureCount {
    #[serde(flatten)]
    pub failure: Failure,
    pub count: u64,
}

/// What the generator cost. All threads of its process count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Generator {
    pub cpu_s: f64,
    /// CPU time over wall time; 1 is one core fully used.
    pub share_of_one_core: f64,
    /// The same over all cores of the machine, from 0 to 1.
    pub share_of_machine: f64,
    pub cpu_us_per_request: f64,
    /// Starts of an open loop that came more than 1 ms late although a connection was free.
    pub late_starts: u64,
    /// Starts of an open loop that waited because all connections were busy.
    pub waited_for_connection: u64,
    /// Whether the generator rather than the server may have set the pace.
    pub bottleneck: bool,
}

#[cfg(test)]
mod tests {
    use crate::summary::tests::eventful;

    #[test]
    #[expect(clippy::too_many_lines, reason = "it is one snapshot of the whole report")]
    fn the_json_schema_is_stable() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&eventful()).unwrap(), @r#"
{
  "schema": 1,
  "url": "http://h:1/predict",
  "load": {
    "mode": "open",
    "rate": 500.0
  },
  "requests": 1015,
  "ok": 1000,
  "failed": 12,
  "abandoned": 3,
  "unsent": 4,
  "interrupted": true,
  "elapsed_s": 1.0,
  "images_per_s": 1000.0,
  "bytes_sent": 123456789,
  "connections": 9,
  "connections_opened": 7,
  "latency_ms": {
    "min": 1.0,
    "mean": 500.505,
    "p50": 500.223,
    "p90": 900.095,
    "p99": 990.207,
    "p99_9": 999.423,
    "max": 1000.447
  },
  "server_timing": [
    {
      "name": "decode",
      "mean_ms": 1.5,
      "p50_ms": 1.503,
      "count": 1000
    },
    {
      "name": "infer",
      "mean_ms": 2.25,
      "p50_ms": 2.255,
      "count": 1000
    }
  ],
  "failures": [
    {
      "kind": "status",
      "status": 429,
      "code": "queue_full",
      "count": 10
    },
    {
      "kind": "timeout",
      "status": null,
      "code": null,
      "count": 2
    }
  ],
  "generator": {
    "cpu_s": 0.04,
    "share_of_one_core": 0.02,
    "share_of_machine": 0.01,
    "cpu_us_per_request": 39.526,
    "late_starts": 40,
    "waited_for_connection": 5,
    "bottleneck": true
  },
  "warnings": [
    "the run was interrupted: the figures cover what was measured until then",
    "40 requests started more than 1 ms late because the generator got no CPU: lower the rate, or run it on a machine of its own",
    "4 requests were due but never sent, so the latencies are too good: the server is slower than the rate, or needs more connections",
    "some requests failed: the latencies are those of good answers only"
  ]
}
"#);
    }
}
