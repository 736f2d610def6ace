//! A server in this process, with an engine that the test controls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use ocelli::async_jobs::JobsConfig;
use ocelli::executor::WorkerConfig;
use ocelli::http::{ConnectionConfig, Cors, HttpConfig, ReceivingLimits, SendingLimits};
use ocelli::inference::preprocess::DecodeConfig;
use ocelli::metrics::Metrics;
use ocelli::model_manager::{ModelSet, Models};
use ocelli::models::admission::AdmissionLimits;
use ocelli::queue::job::StoredSize;
use ocelli::server::{DrainTimes, Pipeline, PipelineConfig, ServeConfig, ServeEnd, serve};
use ocelli_engine::fake::FakeControl;
use ocelli_engine::{Backend, Engine, EngineError, EngineOptions, Fake, FakeCost, ModelSource};
use ocelli_vision::{DecodeLimits, ModelPackage};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::harness::client::{Answer, Call, Raw};
use crate::harness::photos::{self, Photo};
use crate::{PATIENCE, comes_to_hold, eventually};

/// The default settings of test servers: times that only end a hanging test, and the
/// binary's own limits.
pub(crate) struct Setup {
    pub(crate) pipeline: PipelineConfig,
    pub(crate) http: HttpConfig,
    pub(crate) connections: ConnectionConfig,
    pub(crate) drain: DrainTimes,
    pub(crate) jobs: JobsConfig,
    pub(crate) cors: Cors,
    pub(crate) package: ModelPackage,
    /// Whether the engine takes the cores from the decoders while running.
    pub(crate) engine_uses_cores: bool,
    /// How long the engine takes, from its warm-up on.
    pub(crate) cost: FakeCost,
    /// The models to serve instead of the package.
    pub(crate) models: Option<ModelSet>,
}

/// A server, and the control of its engine.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) engine: FakeControl,
    pub(crate) models: Models,
    stop: Option<oneshot::Sender<&'static str>>,
    serving: Option<JoinHandle<anyhow::Result<ServeEnd>>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pipeline: PipelineConfig {
                cores: 2,
                admission: AdmissionLimits {
                    jobs: 1024,
                    bytes: 256 << 20,
                },
                decode: DecodeConfig {
                    image: DecodeLimits::default(),
                    pixel_bytes: 512 << 20,
                },
                worker: WorkerConfig {
                    instances: Some(1),
                    threads_per_instance: None,
                    max_batch: Some(8),
                    max_delay: Duration::ZERO,
                },
            },
            http: HttpConfig {
                max_body: 32 << 20,
                max_images: 64,
                deadline: PATIENCE * 2,
                max_deadline: PATIENCE * 2,
                receiving: ReceivingLimits {
                    requests: 1024,
                    bytes: 128 << 20,
                    timeout: PATIENCE * 2,
                    min_rate: 1,
                    grace: PATIENCE * 2,
                },
            },
            connections: ConnectionConfig {
                header_timeout: PATIENCE * 2,
                idle_timeout: PATIENCE * 2,
                max_connections: 4096,
                sending: SendingLimits {
                    timeout: PATIENCE * 2,
                    bytes: 128 << 20,
                },
                access_log: false,
            },
            drain: DrainTimes {
                delay: Duration::ZERO,
                timeout: PATIENCE,
            },
            jobs: JobsConfig {
                deadline: PATIENCE * 2,
                ttl: PATIENCE * 2,
                limit: StoredSize {
                    images: 10_000,
                    bytes: 128 << 20,
                },
                webhooks: None,
            },
            cors: Cors::default(),
            package: photos::PACKAGE.clone(),
            engine_uses_cores: false,
            cost: FakeCost::default(),
            models: None,
        }
    }
}

impl Setup {
    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(self) -> Server {
        let server = self.begin(|_| ()).await;
        server.ready().await;
        server
    }

    /// Starts the server with an engine modified by `prepare`, without waiting.
    pub(crate) async fn begin(self, prepare: impl FnOnce(&FakeControl)) -> Server {
        let fake = Fake::new(self.cost);
        let engine = fake.control();
        prepare(&engine);
        let backend = Arc::new(Hungry {
            fake,
            uses_cpu: self.engine_uses_cores,
        });
        let models = self.models.unwrap_or_else(|| self.package.into());
        let pipeline = Pipeline::new(&self.pipeline, backend, models);
        let models = pipeline.models().clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = ServeConfig {
            http: self.http,
            connections: self.connections,
            drain: self.drain,
            jobs: self.jobs,
            cors: self.cors,
        };
        let (stop, stopped) = oneshot::channel();
        let stopped = async { stopped.await.unwrap_or("the test is over") };
        let serving = tokio::spawn(serve(listener, pipeline, config, stopped));
        Server {
            address,
            engine,
            models,
            stop: Some(stop),
            serving: Some(serving),
        }
    }
}

impl Server {
    /// The default server, when ready.
    pub(crate) async fn start() -> Self {
        Setup::default().start().await
    }

    /// Waits until it is ready, and clears the batches of its warm-up.
    pub(crate) async fn ready(&self) {
        eventually("the server is ready", async || {
            self.get("/readyz").send().await.status == 200
        })
        .await;
        self.engine.take_batch_sizes();
    }

    pub(crate) fn get(&self, target: &str) -> Call {
        Call::new(self.address, Method::GET, target)
    }

    pub(crate) fn post(&self, target: &str) -> Call {
        Call::new(self.address, Method::POST, target)
    }

    pub(crate) fn delete(&self, target: &str) -> Call {
        Call::new(self.address, Method::DELETE, target)
    }

    /// A request with a photo on the tutorial's route, as sent by the tutorial's client.
    pub(crate) fn photo(&self, photo: &Photo) -> Call {
        self.post("/predict").form([("image", &photo.bytes[..])])
    }

    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(self.address).await
    }

    /// The value of a metric with labels as printed; 0 if nothing was counted.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = self.get("/metrics").send().await;
        value(answer.text(), name)
    }

    /// Waits until a metric has a value.
    pub(crate) async fn metric_is(&self, name: &str, wanted: f64) {
        let mut last = f64::NAN;
        let seen = comes_to_hold(async || {
            last = self.metric(name).await;
            last == wanted
        });
        assert!(seen.await, "{name} stays at {last} and does not become {wanted}");
    }

    /// Waits until `batches` batches are held in the engine.
    pub(crate) async fn held(&self, batches: usize) {
        eventually(&format!("{batches} batches are held"), async || {
            self.engine.at_gate() == batches
        })
        .await;
    }

    /// Blocks the engine with one photo, so that later photos have to wait.
    pub(crate) async fn occupy(&self) -> JoinHandle<Answer> {
        self.engine.hold();
        let first = self.photo(&photos::grey(1)).spawn();
        self.held(1).await;
        first
    }

    /// Checks that the server still answers correctly and holds nothing of earlier requests.
    pub(crate) async fn is_well(&self) {
        let dog = photos::dog();
        assert_eq!(self.photo(&dog).send().await.best(), dog.label());
        self.is_empty().await;
    }

    /// Waits until the server holds nothing but this request.
    pub(crate) async fn is_empty(&self) {
        let empty = [
            ("ocelli_admitted_images", 0.0),
            ("ocelli_admitted_bytes", 0.0),
            ("ocelli_receiving_requests", 0.0),
            ("ocelli_receiving_bytes", 0.0),
            ("ocelli_queue_depth", 0.0),
            ("ocelli_connections", 1.0),
        ];
        for (name, wanted) in empty {
            self.metric_is(name, wanted).await;
        }
    }

    /// Stops the server, as a signal does.
    pub(crate) fn begin_to_stop(&mut self) {
        let stop = self.stop.take().expect("it is stopped once");
        let _ = stop.send("the test");
    }

    /// Stops the server, waits for its end, and returns how it ended.
    pub(crate) async fn stop(mut self) -> ServeEnd {
        if self.stop.is_some() {
            self.begin_to_stop();
        }
        let ended = tokio::time::timeout(PATIENCE * 2, self.ended()).await;
        ended.expect("it ends").unwrap()
    }

    /// Waits until the server has ended, and returns how.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ServeEnd> {
        let serving = self.serving.take().expect("it ends once");
        serving.await.unwrap()
    }
}

/// A blocked engine left by a failed test would keep the process alive.
impl Drop for Server {
    fn drop(&mut self) {
        self.engine.release();
    }
}

/// The value of a metric in the text of `/metrics`; 0 if nothing was counted. Panics if no metric has this name.
pub(crate) fn value(metrics: &str, name: &str) -> f64 {
    let sample = name.split('{').next().unwrap();
    assert!(is_sample(sample), "no metric is called {sample}");
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .map_or(0.0, |value| value.parse().unwrap())
}

/// Whether a metric has samples of this name.
fn is_sample(name: &str) -> bool {
    Metrics::KINDS.iter().any(|(field, kind)| {
        let end = name
            .strip_prefix("ocelli_")
            .and_then(|name| name.strip_prefix(field));
        match end {
            Some("_total") => kind.contains("Counter"),
            Some("_bucket" | "_count" | "_sum") => kind.contains("Histogram"),
            Some("") => kind.contains("Gauge"),
            _ => false,
        }
    })
}

#[test]
fn a_metric_that_does_not_exist_is_not_zero() {
    for name in ["ocelli_leases", "ocelli_batch_size_count", "ocelli_dropped_total"] {
        assert!(is_sample(name), "{name}");
    }
    for name in [
        "ocelli_lease",
        "leases",
        "ocelli_dropped",
        "ocelli_leases_total",
        "ocelli_batch_size",
    ] {
        assert!(!is_sample(name), "{name}");
        let value = std::panic::catch_unwind(|| value("", name));
        assert!(value.is_err(), "{name}");
    }
    assert_eq!(value("", "ocelli_dropped_total{reason=\"client_gone\"}"), 0.0);
}

/// The fake engine, which can claim the cores like an engine that computes on them.
struct Hungry {
    fake: Fake,
    uses_cpu: bool,
}

impl Backend for Hungry {
    fn name(&self) -> &'static str {
        self.fake.name()
    }

    fn version(&self) -> String {
        self.fake.version()
    }

    fn uses_cpu(&self) -> bool {
        self.uses_cpu
    }

    fn load(&self, model: &ModelSource<'_>, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
        self.fake.load(model, options)
    }
}
