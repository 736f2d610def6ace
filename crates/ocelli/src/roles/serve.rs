//! The role `serve`: web side and worker in one process.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::pipeline::Pipeline;
use crate::http::{self, AppState, ConnectionConfig, HttpConfig, Probe};
use crate::jobs::{Jobs, JobsConfig};
use crate::lifecycle::{Lifecycle, Stage};
use crate::metrics::Metrics;

/// How the role ends.
#[derive(Clone, Copy, Debug)]
pub struct DrainTimes {
    /// How long to go on accepting once readiness has failed.
    pub delay: Duration,
    /// How long to finish what was accepted.
    pub timeout: Duration,
}

/// What the role is made from.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Limits and times of requests.
    pub http: HttpConfig,
    /// Limits and times of connections.
    pub connections: ConnectionConfig,
    /// How it ends.
    pub drain: DrainTimes,
    /// How asynchronous jobs are kept.
    pub jobs: JobsConfig,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything accepted was answered.
    Drained,
    /// The drain's time was up first.
    CutShort,
}

/// Serves on `listener` until `stop` names a reason; then drains.
///
/// # Errors
/// When the model does not load, or a part of the server ended badly.
pub async fn serve(
    listener: TcpListener,
    pipeline: Pipeline,
    config: ServeConfig,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<Ending> {
    let address = listener
        .local_addr()
        .context("the listening socket has no address")?;
    let lifecycle = Lifecycle::default();
    let metrics = Arc::clone(&pipeline.infer.metrics);
    let jobs = Jobs::new(config.jobs, &pipeline.infer);
    let state = AppState {
        infer: pipeline.infer.clone(),
        jobs: jobs.clone(),
        config: config.http,
        probe: Probe {
            lifecycle: lifecycle.clone(),
            metrics: Arc::clone(&metrics),
            health: Arc::new(pipeline.infer.clone()),
        },
    };
    let web = http::serve(
        listener,
        http::router(state),
        config.connections,
        lifecycle.clone(),
        Arc::clone(&metrics),
    );
    let web = tokio::spawn(web);
    tracing::info!("listening on http://{address}");

    tokio::pin!(stop);
    let running = tokio::select! {
        running = pipeline.start() => running?,
        signal = &mut stop => {
            tracing::info!(signal, "stopped before the model was loaded");
            return Ok(Ending::Drained);
        }
    };
    lifecycle.advance(Stage::Serving);
    tracing::info!("ready; try: curl -F image=@photo.jpg http://{address}/predict");

    let signal = stop.await;
    tracing::info!(signal, "draining: /readyz says no, what is accepted is finished");
    lifecycle.advance(Stage::Draining);
    sleep(config.drain.delay).await;
    lifecycle.advance(Stage::Closing);
    let rest = async {
        jobs.close().await;
        running.stop().await;
    };
    drain(web, &metrics, config.drain.timeout, rest).await
}

/// Waits until every connection has ended, and then for what else has to end, within a time.
pub(super) async fn drain(
    web: JoinHandle<()>,
    metrics: &Metrics,
    limit: Duration,
    rest: impl Future<Output = ()>,
) -> anyhow::Result<Ending> {
    let finish = async {
        web.await.context("the HTTP server ended badly")?;
        rest.await;
        anyhow::Ok(())
    };
    match timeout(limit, finish).await {
        Ok(finished) => finished?,
        Err(_) => {
            let connections = metrics.connections.get();
            tracing::error!(
                connections,
                ?limit,
                "not everything was answered in time; raise --drain-timeout to wait longer"
            );
            return Ok(Ending::CutShort);
        }
    }
    tracing::info!("stopped; everything accepted was answered");
    Ok(Ending::Drained)
}
