//! HTTP on one listener, from its first connection to its last.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::async_jobs::{Jobs, JobsConfig};
use crate::error::Error;
use crate::http::{self, AppState, ConnectionConfig, Cors, HttpConfig, OffThread, Probe, Receiving};
use crate::inference::Infer;
use crate::metrics::Metrics;
use crate::process::lifecycle::{Lifecycle, Stage};

/// How long request bodies may still arrive once no connection is accepted. Bodies that were on their way arrive within that;
/// slower clients are refused and can try another server.
const LAST_BODIES: Duration = Duration::from_secs(1);

/// How long clients may make no progress once every request has its response. Longer than a lost packet and its
/// retransmissions take.
const STALLED: Duration = Duration::from_secs(5);

/// The time that each part has to end after the connections, however long those took.
pub(super) const PART: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct DrainTimes {
    /// How long to go on accepting once readiness has failed.
    pub delay: Duration,
    /// How long to finish what was accepted.
    pub timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct ServeConfig {
    pub http: HttpConfig,
    pub connections: ConnectionConfig,
    pub drain: DrainTimes,
    pub jobs: JobsConfig,
    pub cors: Cors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeEnd {
    Drained,
    /// Something accepted was not finished: the time was over, or a second signal came.
    CutShort,
}

pub(super) struct HttpListener {
    pub(super) jobs: Jobs,
    address: SocketAddr,
    drain: DrainTimes,
    lifecycle: Lifecycle,
    receiving: Receiving,
    metrics: Arc<Metrics>,
    serving: JoinHandle<()>,
}

impl HttpListener {
    /// Accepts connections on `listener`. Requests for a model are refused until [`HttpListener::ready`].
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
        let receiving = Receiving::new(config.http.receiving, Arc::clone(&metrics));
        let state = AppState {
            infer: infer.clone(),
            jobs: jobs.clone(),
            config: config.http,
            off_thread: OffThread::default(),
            cors: config.cors,
            receiving: receiving.clone(),
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
            receiving,
            metrics,
            serving,
        })
    }

    pub(super) fn ready(&self) {
        self.lifecycle.advance(Stage::Serving);
        tracing::info!(
            "ready; try: curl -F image=@photo.jpg http://{}/predict",
            self.address
        );
    }

    /// Drains: readiness fails, later no connection is accepted, and when the connections have ended, or their time is over,
    /// asynchronous jobs and `rest` end. Each has its own time, so none is skipped.
    pub(super) async fn close(
        self,
        signal: &str,
        rest: impl Future<Output = ()>,
    ) -> anyhow::Result<ServeEnd> {
        tracing::info!(signal, "draining: finishing accepted requests");
        self.lifecycle.advance(Stage::Draining);
        sleep(self.drain.delay).await;
        let end = Instant::now() + self.drain.timeout;
        self.lifecycle.advance(Stage::Closing);
        let (jobs, connections) = (self.jobs.clone(), self.close_connections().await);
        let left = end.saturating_duration_since(Instant::now());
        let jobs_ended = end_part(
            "the asynchronous jobs of this process",
            left.max(PART),
            jobs.close(),
        )
        .await;
        rest.await;
        let unanswered = connections?;
        if unanswered > 0 {
            tracing::error!(
                requests = unanswered,
                "stopped; accepted requests were not answered in time; raise --drain-timeout to wait longer"
            );
            return Ok(ServeEnd::CutShort);
        }
        if !jobs_ended {
            tracing::error!(
                "stopped; every request was answered, but accepted jobs or their webhooks may be lost; raise \
                 --drain-timeout to wait longer"
            );
            return Ok(ServeEnd::CutShort);
        }
        tracing::info!("stopped; everything accepted was answered");
        Ok(ServeEnd::Drained)
    }

    /// Waits until every connection has ended, or closes those that are left. Returns the number of unanswered requests.
    async fn close_connections(mut self) -> anyhow::Result<usize> {
        let limit = self.drain.timeout;
        let refuse_bodies = async {
            sleep(LAST_BODIES.min(limit / 2)).await;
            self.receiving.stop(&Error::NotReady(
                "it is stopping, and the request's body has not arrived",
            ));
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = &mut self.serving => Some(ended),
            () = stalled(&self.lifecycle, &self.metrics) => None,
            () = sleep(limit) => None,
            never = refuse_bodies => never,
        };
        let unanswered = self.lifecycle.unanswered();
        let connections = self.metrics.connections.get();
        self.lifecycle.advance(Stage::Closed);
        if let Some(ended) = ended {
            ended.context("the HTTP server panicked")?;
            return Ok(0);
        }
        tracing::warn!(connections, "closing connections of slow clients");
        self.serving.await.context("the HTTP server panicked")?;
        Ok(unanswered)
    }
}

/// Waits until every request has its response and clients have made no progress for [`STALLED`].
async fn stalled(lifecycle: &Lifecycle, metrics: &Metrics) {
    let mut progress = DrainProgress::new(Instant::now());
    loop {
        let open = (metrics.connections.get(), metrics.response_bytes.get());
        if progress.is_stalled(lifecycle.unanswered(), open, Instant::now()) {
            return;
        }
        sleep(STALLED / 20).await;
    }
}

/// The progress of the connections of a server that is closing.
#[derive(Debug)]
struct DrainProgress {
    /// Connections, and the unread bytes of responses.
    open: (i64, i64),
    /// Since when that has not changed while every request has its response.
    since: Instant,
}

impl DrainProgress {
    fn new(now: Instant) -> Self {
        Self {
            open: (0, 0),
            since: now,
        }
    }

    /// Whether only clients are left, and make no progress.
    fn is_stalled(&mut self, unanswered: usize, open: (i64, i64), now: Instant) -> bool {
        if unanswered > 0 || open != self.open {
            self.open = open;
            self.since = now;
        }
        now.saturating_duration_since(self.since) >= STALLED
    }
}

/// Waits until a part of a role has ended, for at most `limit`. Returns whether it has.
pub(super) async fn end_part(part: &str, limit: Duration, ending: impl Future<Output = ()>) -> bool {
    let ended = timeout(limit, ending).await.is_ok();
    if !ended {
        tracing::warn!(?limit, "{part} did not end in time");
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_do_nothing_are_waited_for_only_once_every_request_is_answered() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = DrainProgress::new(start);
        assert!(!progress.is_stalled(1, (2, 0), at(0)));
        assert!(!progress.is_stalled(1, (2, 0), at(60)), "a request is computed");
        assert!(!progress.is_stalled(0, (2, 900), at(61)));
        assert!(!progress.is_stalled(0, (2, 900), at(65)));
        assert!(
            !progress.is_stalled(0, (2, 800), at(66)),
            "a client reads its response"
        );
        assert!(
            !progress.is_stalled(0, (1, 800), at(70)),
            "a connection has ended"
        );
        assert!(!progress.is_stalled(0, (1, 800), at(74)));
        assert!(progress.is_stalled(0, (1, 800), at(75)));
    }

    #[tokio::test]
    async fn a_part_that_does_not_end_is_left_behind() {
        assert!(end_part("this", PART, async {}).await);
        assert!(!end_part("that", Duration::ZERO, std::future::pending()).await);
    }
}
