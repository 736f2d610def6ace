//! The role `worker`: engines for web processes.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use ocelli_engine::Backend;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::http_listener::{DrainTimes, ServeEnd};
use super::pipeline::report_models;
use crate::compute::core_budget::CoreBudget;
use crate::compute::loader_thread::Background;
use crate::compute::pool::Pool;
use crate::compute::threads::Threads;
use crate::error::Error;
use crate::executor::WorkerConfig;
use crate::http::{self, ConnectionConfig, Health, Probe};
use crate::metrics::Metrics;
use crate::model_manager::engines::EngineRoom;
use crate::model_manager::registration::Registrations;
use crate::model_manager::{Host, ModelSet, Models};
use crate::process::lifecycle::{Lifecycle, Stage};
use crate::queue::JobQueue;
use crate::queue::redis::startup::{process_link, wait_for_redis};
use crate::queue::redis::{Limits, Link, Needs, RedisUrl};
use crate::queue::transport::worker::WorkerWire;

#[derive(Clone, Debug)]
pub struct WorkerTierConfig {
    pub cores: usize,
    pub worker: WorkerConfig,
    /// For the probes.
    pub connections: ConnectionConfig,
    pub drain: DrainTimes,
    pub wire: WorkerWire,
}

pub struct WorkerTier {
    connections: ConnectionConfig,
    drain: DrainTimes,
    link: Link,
    needs: Option<Needs>,
    metrics: Arc<Metrics>,
    queues: JobQueue,
    models: Models,
}

impl WorkerTier {
    #[must_use]
    pub fn new(
        config: WorkerTierConfig,
        target: &RedisUrl,
        backend: Arc<dyn Backend>,
        models: impl Into<ModelSet>,
    ) -> Self {
        let metrics = Arc::new(Metrics::default());
        let queues = JobQueue::new(Arc::clone(&metrics));
        let set: ModelSet = models.into();
        let needs = config.wire.needs();
        let link = process_link(target, config.wire.name());
        let many = (set.repository.is_some(), config.drain.delay);
        let registrations = Registrations::new(config.wire, link.clone(), Arc::clone(&metrics), many);
        let room = EngineRoom {
            backend,
            cores: CoreBudget::new(config.cores),
            pool: Pool::default(),
            queues: queues.clone(),
            config: config.worker,
            metrics: Arc::clone(&metrics),
            background: Background::default(),
        };
        Self {
            connections: config.connections,
            drain: config.drain,
            link,
            needs,
            metrics,
            queues,
            models: Models::new(room, Host::Wire(registrations), set, usize::MAX),
        }
    }

    #[must_use]
    pub fn models(&self) -> &Models {
        &self.models
    }
}

struct WorkerHealth {
    link: Link,
    queues: JobQueue,
    models: Models,
}

impl Health for WorkerHealth {
    fn ready(&self) -> Result<(), Error> {
        self.models.ready()
    }

    fn awaits(&self) -> Option<Error> {
        self.link.trouble().map(Error::BrokerUnavailable)
    }

    fn report(&self, metrics: &Metrics) {
        metrics.queue_depth.set(self.queues.depth() as i64);
        metrics.leases.set(self.models.leases() as i64);
        report_models(self.models.catalog(), metrics);
    }
}

/// Computes jobs until `stop` names a reason; then finishes the jobs that it holds. `listener` is for the probes.
pub async fn worker(
    listener: TcpListener,
    tier: WorkerTier,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<ServeEnd> {
    let address = listener
        .local_addr()
        .context("the listening socket has no address")?;
    let lifecycle = Lifecycle::default();
    let models = &tier.models;
    let probe = Probe {
        lifecycle: lifecycle.clone(),
        metrics: Arc::clone(&tier.metrics),
        health: Arc::new(WorkerHealth {
            link: tier.link.clone(),
            queues: tier.queues,
            models: models.clone(),
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
    let starting = async {
        wait_for_redis(&tier.link, Limits::NONE, tier.needs.as_ref()).await?;
        anyhow::Ok(models.start(None).await?)
    };
    let threads = tokio::select! {
        threads = starting => threads?,
        signal = &mut stop => {
            tracing::info!(signal, "stopped before the models were loaded");
            models.sign_off().await;
            return Ok(ServeEnd::Drained);
        }
    };
    lifecycle.advance(Stage::Serving);
    tracing::info!(models = models.catalog().known(), "ready; computing jobs");

    let signal = tokio::select! {
        signal = stop => signal,
        () = models.broken() => anyhow::bail!("the Redis tasks ended"),
    };
    tracing::info!(signal, "draining: finishing the jobs that this worker holds");
    lifecycle.advance(Stage::Draining);
    let ending = leave(models, tier.drain, threads).await;
    lifecycle.advance(Stage::Closing);
    probes.abort();
    tracing::info!("stopped");
    Ok(ending)
}

/// Takes jobs until the web processes know that it leaves and other workers serve its models, then finishes those that it holds.
/// The drain was cut short only if it still holds jobs when the time is over.
async fn leave(models: &Models, drain: DrainTimes, threads: Threads) -> ServeEnd {
    let finish = async {
        models.leave(drain.delay).await;
        threads.stop().await;
        models.close().await;
    };
    // The time until web processes know does not count.
    match timeout(drain.delay + drain.timeout, finish).await {
        Ok(()) => ServeEnd::Drained,
        Err(_) => {
            // It takes no more jobs, so those that it still holds are all that are unanswered.
            models.sign_off().await;
            overrun(models.leases())
        }
    }
}

/// How a drain ended that ran out of time with this many unanswered jobs.
fn overrun(jobs: usize) -> ServeEnd {
    if jobs == 0 {
        tracing::warn!("the drain took all of its time, but every job was answered");
        return ServeEnd::Drained;
    }
    tracing::error!(
        jobs,
        "drain timeout with unanswered jobs; other workers take them over"
    );
    ServeEnd::CutShort
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_that_took_all_its_time_was_cut_short_only_if_jobs_are_left() {
        assert_eq!(overrun(0), ServeEnd::Drained);
        assert_eq!(overrun(1), ServeEnd::CutShort);
    }
}
