//! The role `worker`: a model's engines, for web processes anywhere.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ocelli_engine::Backend;
use ocelli_vision::ModelPackage;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::engines::EngineSide;
use super::front::{DrainTimes, Ending};
use super::redis::{links, stopped, wait_for_redis};
use super::threads::Threads;
use super::worker_side::{SideTasks, WorkerSide, WorkerWire};
use crate::broker::redis::{Limits, Link, Target};
use crate::broker::{JobQueue, Supplier};
use crate::cores::Cores;
use crate::crew::{Crew, Work};
use crate::error::Error;
use crate::http::{self, ConnectionConfig, Health, Probe};
use crate::lifecycle::{Lifecycle, Stage};
use crate::metrics::Metrics;
use crate::model::ServedModel;
use crate::worker::{WorkerConfig, WorkerParts};

/// Jobs that the process may hold; the feeder asks for fewer.
const QUEUE: usize = 1 << 16;

/// How long the tasks may take to sign off.
const SIGN_OFF: Duration = Duration::from_secs(2);

/// What a worker process is made from.
#[derive(Clone, Debug)]
pub struct WorkerTierConfig {
    /// Cores to compute on.
    pub cores: usize,
    /// How the model is run.
    pub worker: WorkerConfig,
    /// Limits and times of connections to the probes.
    pub connections: ConnectionConfig,
    /// How it ends.
    pub drain: DrainTimes,
    /// How jobs come.
    pub wire: WorkerWire,
}

/// A worker process, built and not running.
pub struct WorkerTier {
    connections: ConnectionConfig,
    drain: DrainTimes,
    link: Link,
    metrics: Arc<Metrics>,
    model: Arc<ServedModel>,
    queue: JobQueue,
    engines: EngineSide,
    side: WorkerSide,
    tasks: SideTasks,
}

impl WorkerTier {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        config: WorkerTierConfig,
        target: &Target,
        backend: Arc<dyn Backend>,
        package: ModelPackage,
    ) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (model, file) = ServedModel::split(package);
        let model = Arc::new(model);
        let room = Arc::new(Notify::new());
        let queue = JobQueue::new(QUEUE, Supplier::Task(Arc::clone(&room)), Arc::clone(&metrics));
        let links = links(target, config.wire.name());
        let link = links.0.clone();
        let (side, tasks) = config
            .wire
            .build(links, &model, (queue.clone(), room), Arc::clone(&metrics));
        let engines = EngineSide {
            model: Arc::clone(&model),
            config: config.worker,
            parts: WorkerParts {
                backend,
                cores: Cores::new(config.cores),
                crew: Crew::default(),
                queue: queue.clone(),
                file: Arc::new(file),
                metrics: Arc::clone(&metrics),
            },
        };
        Self {
            connections: config.connections,
            drain: config.drain,
            link,
            metrics,
            model,
            queue,
            engines,
            side,
            tasks,
        }
    }
}

/// What the probes of a worker ask.
struct WorkerHealth {
    side: WorkerSide,
    queue: JobQueue,
    model: Arc<ServedModel>,
}

impl Health for WorkerHealth {
    fn ready(&self) -> Result<(), Error> {
        self.side.ready()
    }

    fn report(&self, metrics: &Metrics) {
        metrics.queue_depth.set(self.queue.depth() as i64);
        metrics.leases.set(self.side.jobs() as i64);
        if let Some(runtime) = self.model.runtime() {
            metrics.set_batch_costs(&self.model.id.name, runtime.cost.entries());
        }
    }
}

/// Computes jobs until `stop` names a reason; then finishes what it has taken. `listener` is for the probes.
///
/// # Errors
/// When Redis is not as it must be, or the model does not load.
pub async fn worker(
    listener: TcpListener,
    tier: WorkerTier,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<Ending> {
    let address = listener
        .local_addr()
        .context("the listening socket has no address")?;
    let lifecycle = Lifecycle::default();
    let probe = Probe {
        lifecycle: lifecycle.clone(),
        metrics: Arc::clone(&tier.metrics),
        health: Arc::new(WorkerHealth {
            side: tier.side.clone(),
            queue: tier.queue.clone(),
            model: Arc::clone(&tier.model),
        }),
    };
    let probes = http::serve(
        listener,
        http::probe_router(probe),
        tier.connections,
        lifecycle.clone(),
        Arc::clone(&tier.metrics),
    );
    let probes = tokio::spawn(probes);
    tracing::info!("probes listen on http://{address}");

    tokio::pin!(stop);
    let engines = tier.engines;
    let starting = async {
        wait_for_redis(&tier.link, Limits { queue_bytes: 0 }).await?;
        let threads = engines.start(Vec::<Arc<dyn Work>>::new()).await?;
        tier.side.take_name().await?;
        anyhow::Ok(threads)
    };
    let threads = tokio::select! {
        threads = starting => threads?,
        signal = &mut stop => {
            tracing::info!(signal, "stopped before the model was loaded");
            return Ok(Ending::Drained);
        }
    };
    let stops = Stops::default();
    let mut tasks = tokio::spawn(tier.tasks.run(stops.leasing.clone(), stops.tasks.clone()));
    lifecycle.advance(Stage::Serving);
    tracing::info!(
        model = tier.model.id.name,
        "ready; computing what web processes ask for"
    );

    let signal = stopped(stop, &mut tasks).await?;
    tracing::info!(signal, "leaving: what was taken is finished");
    lifecycle.advance(Stage::Draining);
    let ending = leave(&tier.side, tier.drain, &stops.leasing, threads).await;
    stops.tasks.cancel();
    if timeout(SIGN_OFF, tasks).await.is_err() {
        tracing::debug!("Redis did not hear that this worker has ended");
    }
    lifecycle.advance(Stage::Closing);
    probes.abort();
    tracing::info!("stopped");
    Ok(ending)
}

/// What ends a worker's tasks: first the leasing of more jobs, and all of them once what was leased is answered.
#[derive(Default)]
struct Stops {
    leasing: CancellationToken,
    tasks: CancellationToken,
}

/// Goes on taking jobs until the web processes know and others go on, and finishes what was taken.
async fn leave(
    side: &WorkerSide,
    drain: DrainTimes,
    stop_leasing: &CancellationToken,
    threads: Threads,
) -> Ending {
    side.leave().await;
    sleep(drain.delay).await;
    let finish = async {
        side.wait_for_replacement().await;
        stop_leasing.cancel();
        side.finished().await;
        threads.stop().await;
    };
    match timeout(drain.timeout, finish).await {
        Ok(()) => Ending::Drained,
        Err(_) => {
            tracing::error!(
                jobs = side.jobs(),
                "not everything was finished in time; other workers take what is left"
            );
            Ending::CutShort
        }
    }
}
