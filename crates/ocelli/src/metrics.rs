//! The metrics of the process, in one struct; the doc comment of a field is its HELP text.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ocelli_engine::CostTable;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::models::model_id::ModelId;
use crate::output::timing::Phases;
use crate::process::telemetry;

/// Upper bounds of the phase histogram, in seconds: from an empty queue to the default deadline.
const PHASE_BUCKETS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

const BATCH_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's pattern, such as `/v1/models/{model}/predict`.
    pub route: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The error's code, or `ok`.
    pub code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabels {
    /// The name of the phase, as in `Server-Timing`.
    pub phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DropLabels {
    /// `client_gone`, `deadline_passed`, `deadline_unreachable` or `lease_lost`.
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabels {
    pub model: String,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    /// `garbage` or `newer` for jobs, `reply` for replies, `reply_place` for the reply addresses of jobs.
    pub what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabels {
    /// `delivered`, `retried` or `failed`.
    pub outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    pub model: String,
    /// Empty while the version is unknown.
    pub version: String,
    /// `ready`, `loading`, `failed`, `unloading` or `no_worker`.
    pub state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LoadLabels {
    /// `loaded` or `failed`.
    pub outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BatchLabels {
    pub model: String,
    pub version: String,
    /// Items in the batch.
    pub batch: u32,
}

/// Why work was dropped before it was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    ClientGone,
    DeadlinePassed,
    /// The deadline would have passed before the answer.
    DeadlineUnreachable,
    /// Another worker has the job.
    LeaseLost,
}

impl From<&ModelId> for ModelLabels {
    fn from(model: &ModelId) -> Self {
        Self {
            model: model.name.clone(),
            version: model.version.clone(),
        }
    }
}

impl From<DropReason> for DropLabels {
    fn from(reason: DropReason) -> Self {
        let reason = match reason {
            DropReason::ClientGone => "client_gone",
            DropReason::DeadlinePassed => "deadline_passed",
            DropReason::DeadlineUnreachable => "deadline_unreachable",
            DropReason::LeaseLost => "lease_lost",
        };
        Self { reason }
    }
}

impl DropReason {
    /// The reason, if there is one. Clients also leave at the deadline, so a passed deadline is the reason in both cases.
    pub fn of(deadline_passed: bool, client_gone: bool) -> Option<Self> {
        match (deadline_passed, client_gone) {
            (true, _) => Some(Self::DeadlinePassed),
            (false, true) => Some(Self::ClientGone),
            (false, false) => None,
        }
    }
}

/// A snapshot of one model's queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Jobs that wait or are being computed.
    pub depth: usize,
    /// Jobs among them that workers have taken.
    pub in_flight: usize,
    /// Age of the oldest job.
    pub oldest: Duration,
    /// Dead-lettered jobs.
    pub dead: usize,
    /// Indices of the queried jobs that Redis does not have.
    pub missing: Vec<usize>,
}

impl QueueStats {
    /// Adds the jobs of another queue.
    pub(crate) fn add(&mut self, other: &Self) {
        self.depth += other.depth;
        self.in_flight += other.in_flight;
        self.oldest = self.oldest.max(other.oldest);
        self.dead += other.dead;
    }
}

/// Defines the struct, and registers each field under its name with its doc comment as HELP.
macro_rules! metrics {
    ($( #[doc = $help:literal] $field:ident: $kind:ty = $new:expr, )*) => {
        /// Every metric of the process.
        pub struct Metrics {
            registry: Registry,
            /// Held while a scrape writes the metrics that are computed on demand, and reads them.
            pub writing: Mutex<()>,
            $( #[doc = $help] pub $field: $kind, )*
        }

        impl Metrics {
            /// The name of each metric, without the prefix `ocelli_`, and its type.
            pub const KINDS: &[(&str, &str)] = &[$( (stringify!($field), stringify!($kind)), )*];
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("ocelli");
                $(
                    let $field: $kind = $new;
                    // The encoder ends a HELP text with a full stop of its own.
                    registry.register(stringify!($field), $help.trim().trim_end_matches('.'), $field.clone());
                )*
                Self { registry, writing: Mutex::default(), $( $field, )* }
            }
        }
    };
}

metrics! {
    /// Requests answered, by route, status and error code.
    requests: Family<RequestLabels, Counter> = Family::default(),
    /// Images answered with predictions.
    images: Counter = Counter::default(),
    /// Images dropped before they were decoded or computed, by reason.
    dropped: Family<DropLabels, Counter> = drop_counters(),
    /// Seconds that an answered image spent in each phase.
    phase_seconds: Family<PhaseLabels, Histogram> = Family::new_with_constructor(phase_histogram),
    /// Images in each batch that was run.
    batch_size: Histogram = Histogram::new(BATCH_BUCKETS),
    /// Images admitted and not yet answered.
    admitted_images: Gauge = Gauge::default(),
    /// Bytes reserved for the bodies and tensors of admitted images.
    admitted_bytes: Gauge = Gauge::default(),
    /// Requests whose bodies are still arriving.
    receiving_requests: Gauge = Gauge::default(),
    /// Bytes that have arrived of those bodies.
    receiving_bytes: Gauge = Gauge::default(),
    /// Images prepared and waiting for a worker.
    queue_depth: Gauge = Gauge::default(),
    /// Bytes of responses that clients have not read yet.
    response_bytes: Gauge = Gauge::default(),
    /// Responses dropped because their clients did not read them in time.
    dropped_responses: Counter = Counter::default(),
    /// Open connections.
    connections: Gauge = Gauge::default(),
    /// Failed engine runs, each of which ended its instance.
    engine_faults: Counter = Counter::default(),
    /// Engine instances ready to run.
    engine_instances: Gauge = Gauge::default(),
    /// State of each model: 1 for the current state.
    model_state: Family<StateLabels, Gauge> = Family::default(),
    /// Model loads since startup, by outcome.
    model_loads: Family<LoadLabels, Counter> = Family::default(),
    /// Seconds that reading, loading and measuring a model took.
    model_load_seconds: Family<ModelLabels, Gauge<f64, AtomicU64>> = Family::default(),
    /// Expected seconds for a batch, by model, version and size.
    batch_cost_seconds: Family<BatchLabels, Gauge<f64, AtomicU64>> = Family::default(),
    /// Jobs of a model in Redis that wait or are being computed.
    model_queue_depth: Family<ModelLabels, Gauge> = Family::default(),
    /// Jobs of a model in Redis that workers have taken.
    model_queue_in_flight: Family<ModelLabels, Gauge> = Family::default(),
    /// Age in seconds of the oldest job of a model in Redis.
    model_queue_oldest_seconds: Family<ModelLabels, Gauge<f64, AtomicU64>> = Family::default(),
    /// Dead-lettered jobs of a model in Redis.
    model_dead_letters: Family<ModelLabels, Gauge> = Family::default(),
    /// Live workers, as seen by a web process.
    workers: Gauge = Gauge::default(),
    /// Jobs that this worker has taken from Redis and not yet answered.
    leases: Gauge = Gauge::default(),
    /// Jobs whose lease this worker failed to renew in time.
    lost_leases: Counter = Counter::default(),
    /// Jobs taken over from workers that stopped renewing their leases.
    redelivered: Counter = Counter::default(),
    /// Jobs dead-lettered because each worker that computed them crashed or hung.
    dead_letters: Counter = Counter::default(),
    /// Jobs submitted again because Redis had lost them.
    resubmitted: Counter = Counter::default(),
    /// Replies for which no request was waiting any more.
    orphaned_replies: Counter = Counter::default(),
    /// Invalid messages in Redis, by kind.
    refused_messages: Family<RefusedLabels, Counter> = Family::default(),
    /// Asynchronous jobs accepted.
    async_jobs: Counter = Counter::default(),
    /// Webhook calls, by outcome.
    webhooks: Family<WebhookLabels, Counter> = Family::default(),
    /// Log lines that could not be written to standard error.
    lost_log_lines: Counter = telemetry::lost_lines(),
    /// Whether the server is ready: 1 or 0.
    ready: Gauge = Gauge::default(),
}

/// Creates the counters of all reasons: a rate over a counter that appears with its first event misses that event.
fn drop_counters() -> Family<DropLabels, Counter> {
    let counters = Family::default();
    for reason in [
        DropReason::ClientGone,
        DropReason::DeadlinePassed,
        DropReason::DeadlineUnreachable,
        DropReason::LeaseLost,
    ] {
        drop(counters.get_or_create(&DropLabels::from(reason)));
    }
    counters
}

fn phase_histogram() -> Histogram {
    Histogram::new(PHASE_BUCKETS)
}

impl Metrics {
    /// Counts an answered request.
    pub fn count_request(&self, route: &'static str, status: u16, code: &'static str) {
        self.requests
            .get_or_create(&RequestLabels { route, status, code })
            .inc();
    }

    /// Counts an answered image and its phases.
    pub fn count_image(&self, phases: &Phases) {
        self.images.inc();
        for (phase, duration) in phases.named() {
            self.phase_seconds
                .get_or_create(&PhaseLabels { phase })
                .observe(duration.as_secs_f64());
        }
    }

    pub fn count_dropped(&self, reason: DropReason) {
        self.dropped.get_or_create(&reason.into()).inc();
    }

    pub fn set_queue(&self, model: &ModelId, stats: &QueueStats) {
        let labels = ModelLabels::from(model);
        let set = |family: &Family<ModelLabels, Gauge>, value: usize| {
            family.get_or_create(&labels).set(value as i64);
        };
        set(&self.model_queue_depth, stats.depth);
        set(&self.model_queue_in_flight, stats.in_flight);
        set(&self.model_dead_letters, stats.dead);
        self.model_queue_oldest_seconds
            .get_or_create(&labels)
            .set(stats.oldest.as_secs_f64());
    }

    pub fn set_states(&self, states: impl IntoIterator<Item = StateLabels>) {
        self.model_state.clear();
        for labels in states {
            self.model_state.get_or_create(&labels).set(1);
        }
    }

    pub fn count_load(&self, outcome: &'static str) {
        self.model_loads.get_or_create(&LoadLabels { outcome }).inc();
    }

    pub fn set_load_time(&self, model: &ModelId, time: Duration) {
        self.model_load_seconds
            .get_or_create(&model.into())
            .set(time.as_secs_f64());
    }

    /// Removes all series of an unloaded model.
    pub fn forget_model(&self, model: &ModelId) {
        let labels = ModelLabels::from(model);
        self.model_load_seconds.remove(&labels);
        self.model_queue_oldest_seconds.remove(&labels);
        for family in [
            &self.model_queue_depth,
            &self.model_queue_in_flight,
            &self.model_dead_letters,
        ] {
            family.remove(&labels);
        }
    }

    /// Counts an invalid message from another process.
    pub fn count_refused(&self, what: &'static str) {
        self.refused_messages.get_or_create(&RefusedLabels { what }).inc();
    }

    pub fn count_webhook(&self, outcome: &'static str) {
        self.webhooks.get_or_create(&WebhookLabels { outcome }).inc();
    }

    pub fn set_batch_costs<'a>(&self, models: impl Iterator<Item = (&'a ModelId, CostTable)>) {
        self.batch_cost_seconds.clear();
        for (model, costs) in models {
            for (batch, cost) in costs.entries() {
                let labels = BatchLabels {
                    model: model.name.clone(),
                    version: model.version.clone(),
                    batch: batch as u32,
                };
                let gauge = self.batch_cost_seconds.get_or_create(&labels);
                gauge.set(cost.as_secs_f64());
            }
        }
    }

    /// The OpenMetrics text of every metric.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Counts one more in a gauge until it is dropped.
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl GaugeGuard {
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_encoded_with_help_and_value() {
        let metrics = Metrics::default();
        metrics.count_request("/predict", 200, "ok");
        metrics.count_dropped(DropReason::ClientGone);
        metrics.count_image(&Phases {
            decode: Duration::from_millis(2),
            ..Phases::default()
        });
        let guard = GaugeGuard::new(&metrics.connections);
        let text = metrics.encode().expect("encodes");
        for line in [
            "# HELP ocelli_requests Requests answered, by route, status and error code.",
            "ocelli_requests_total{route=\"/predict\",status=\"200\",code=\"ok\"} 1",
            "ocelli_dropped_total{reason=\"client_gone\"} 1",
            "ocelli_images_total 1",
            "ocelli_phase_seconds_bucket{le=\"0.0025\",phase=\"decode\"} 1",
            "ocelli_phase_seconds_bucket{le=\"0.001\",phase=\"decode\"} 0",
            "ocelli_connections 1",
        ] {
            assert!(text.contains(line), "{line} is missing from\n{text}");
        }
        drop(guard);
        assert!(
            metrics
                .encode()
                .expect("encodes")
                .contains("ocelli_connections 0")
        );
    }
}
