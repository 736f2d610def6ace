//! The address at which models are loaded and unloaded, beside whatever role the process has.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::error::Error;
use crate::http::{self, ConnectionConfig, Health, HostNames, Probe};
use crate::metrics::Metrics;
use crate::model_manager::Models;
use crate::process::lifecycle::Lifecycle;

/// It has no probes of its own; those of the role say what there is to say.
struct Unasked;

impl Health for Unasked {
    fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    fn report(&self, _metrics: &Metrics) {}
}

/// Lets whoever reaches `listener`, by one of `names`, change `models`, until the process ends.
///
/// # Errors
/// When the listener has no address.
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
        health: Arc::new(Unasked),
    };
    tracing::info!("models are loaded and unloaded at http://{address}/v2/repository/index");
    let router = http::admin_router(models, names, probe);
    http::serve(listener, router, connections, lifecycle, metrics).await;
    Ok(())
}
