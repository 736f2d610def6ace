//! The address at which models are loaded and unloaded, in every role.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::error::Error;
use crate::http::{self, ConnectionConfig, Health, HostNames, Probe};
use crate::metrics::Metrics;
use crate::model_manager::Models;
use crate::process::lifecycle::Lifecycle;

/// This address has no probes; the role has.
struct NoProbes;

impl Health for NoProbes {
    fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    fn report(&self, _metrics: &Metrics) {}
}

/// Lets clients of `listener` change `models` until the process ends.
pub async fn admin(
    listener: TcpListener,
    models: Models,
    names: HostNames,
    connections: ConnectionConfig,
) -> anyhow::Result<()> {
    let address = listener
        .local_addr()
        .context("the listening socket has no address")?;
    let (lifecycle, metrics) = (Lifecycle::default(), models.metrics());
    let probe = Probe {
        lifecycle: lifecycle.clone(),
        metrics: Arc::clone(&metrics),
        health: Arc::new(NoProbes),
    };
    tracing::info!("listening for model control on http://{address}/v2/repository/index");
    let router = http::admin_router(models, names, probe);
    http::serve(listener, router, connections, lifecycle, metrics).await;
    Ok(())
}
