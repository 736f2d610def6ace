//! The side of a role that clients see: HTTP on one listener, from its first connection to its last.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::http::{self, AppState, ConnectionConfig, HttpConfig, OffThread, Probe, Receiving};
use crate::infer::Infer;
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

/// A listener that answers, and what its role needs of it.
pub(super) struct Front {
    pub(super) jobs: Jobs,
    address: SocketAddr,
    drain: DrainTimes,
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
    serving: JoinHandle<()>,
}

impl Front {
    /// Answers on `listener` from now on; what needs a model is refused until [`Front::ready`].
    ///
    /// # Errors
    /// When the listener has no address.
    pub(super) fn open(listener: TcpListener, infer: &Infer, config: ServeConfig) -> anyhow::Result<Self> {
        let address = listener
            .local_addr()
            .context("the listening socket has no address")?;
        if let Some(sender) = &config.jobs.webhooks {
            sender.own_listeners().add(address);
        }
        let lifecycle = Lifecycle::default();
        let metrics = Arc::clone(&infer.metrics);
        let jobs = Jobs::new(config.jobs, infer);
        let state = AppState {
            infer: infer.clone(),
            jobs: jobs.clone(),
            config: config.http,
            off_thread: OffThread::default(),
            receiving: Receiving::new(config.http.receiving, Arc::clone(&metrics)),
            probe: Probe {
                lifecycle: lifecycle.clone(),
                metrics: Arc::clone(&metrics),
                health: Arc::new(infer.clone()),
            },
        };
        let serving = tokio::spawn(http::serve(
            listener,
            http::router(state),
            config.connections,
            lifecycle.clone(),
            Arc::clone(&metrics),
        ));
        tracing::info!("listening on http://{address}");
        Ok(Self {
            jobs,
            address,
            drain: config.drain,
            lifecycle,
            metrics,
            serving,
        })
    }

    /// Says that requests are computed from now on.
    pub(super) fn ready(&self) {
        self.lifecycle.advance(Stage::Serving);
        tracing::info!(
            "ready; try: curl -F image=@photo.jpg http://{}/predict",
            self.address
        );
    }

    /// Drains because of `signal`: readiness fails, later nobody is accepted, and once all are answered `rest` ends what
    /// is behind.
    ///
    /// # Errors
    /// When the HTTP server ended badly.
    pub(super) async fn close(self, signal: &str, rest: impl Future<Output = ()>) -> anyhow::Result<Ending> {
        tracing::info!(signal, "draining: /readyz says no, what is accepted is finished");
        self.lifecycle.advance(Stage::Draining);
        sleep(self.drain.delay).await;
        self.lifecycle.advance(Stage::Closing);
        drain(self.serving, &self.metrics, self.drain.timeout, rest).await
    }
}

/// Waits until every connection has ended, and then for what else has to end, within a time.
async fn drain(
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
