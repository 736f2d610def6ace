//! The role `web`: `serve` without the engines, which workers have.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http_listener::{HttpListener, PART, ServeConfig, ServeEnd, end_part};
use crate::compute::core_budget::CoreBudget;
use crate::compute::pool::{Pool, WorkSource};
use crate::compute::threads::Threads;
use crate::inference::preprocess::{DecodeConfig, DecodeWork};
use crate::inference::{Infer, preprocess};
use crate::metrics::Metrics;
use crate::models::admission::{Admission, AdmissionLimits};
use crate::models::catalog::Names;
use crate::queue::redis::startup::{stopped, wait_for_redis};
use crate::queue::redis::{Limits, Link, Needs, RedisUrl};
use crate::queue::transport::web::{SideTasks, WebSide, WebWire};

/// How long the tasks may take to deregister.
const SIGN_OFF: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct WebTierConfig {
    pub cores: usize,
    pub admission: AdmissionLimits,
    pub decode: DecodeConfig,
    pub names: Names,
    pub wire: WebWire,
}

pub struct WebTier {
    infer: Infer,
    cores: usize,
    pool: Pool,
    decode_work: Arc<DecodeWork>,
    link: Link,
    limits: Limits,
    needs: Option<Needs>,
    tasks: SideTasks,
}

impl WebTier {
    #[must_use]
    pub fn new(config: WebTierConfig, target: &RedisUrl) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (cores, pool) = (CoreBudget::new(config.cores), Pool::default());
        let WebSide {
            broker,
            catalog,
            link,
            limits,
            needs,
            tasks,
        } = config
            .wire
            .build(target, config.names, pool.clone(), Arc::clone(&metrics));
        let (decoders, decode_work) = preprocess::pair(
            config.decode,
            cores,
            pool.clone(),
            broker.clone(),
            Arc::clone(&metrics),
        );
        let infer = Infer {
            catalog,
            admission: Admission::new(config.admission),
            decoders,
            broker,
            metrics,
        };
        Self {
            infer,
            cores: config.cores,
            pool,
            decode_work,
            link,
            limits,
            needs,
            tasks,
        }
    }
}

/// Serves on `listener` until `stop` names a reason; then drains.
pub async fn web(
    listener: TcpListener,
    tier: WebTier,
    config: ServeConfig,
    stop: impl Future<Output = &'static str>,
) -> anyhow::Result<ServeEnd> {
    let front = HttpListener::open(listener, &tier.infer, config)?;
    tokio::pin!(stop);
    tokio::select! {
        usable = wait_for_redis(&tier.link, tier.limits, tier.needs.as_ref()) => usable?,
        signal = &mut stop => {
            tracing::info!(signal, "stopped before Redis was ready");
            return Ok(ServeEnd::Drained);
        }
    }
    let mut threads = Threads::default();
    let work: Arc<dyn WorkSource> = tier.decode_work;
    let members = tier.pool.threads(tier.cores, Some(&work));
    threads.start("core", tier.pool, members)?;
    let signed_off = CancellationToken::new();
    let mut tasks = tokio::spawn(tier.tasks.run(signed_off.clone()));
    let for_jobs = tokio::spawn(front.jobs.clone().run());
    front.ready();
    let signal = stopped(stop, &mut tasks).await?;
    let rest = async {
        let hooks = async {
            if let Err(error) = for_jobs.await {
                tracing::error!(%error, "the webhook task panicked");
            }
        };
        end_part("the webhook task", PART, hooks).await;
        tier.infer.decoders.close();
        tier.infer.broker.close();
        end_part("the decoders", PART, threads.stop()).await;
        signed_off.cancel();
        if tokio::time::timeout(SIGN_OFF, tasks).await.is_err() {
            tracing::debug!("could not deregister from Redis");
        }
    };
    front.close(signal, rest).await
}
