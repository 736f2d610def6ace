//! What all serving commands share: the socket, the signals and the exit status.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::bind::listen;
use super::files::ADMIN_CONNECTIONS;
use crate::async_jobs::OwnListeners;
use crate::cli::{ListenAddress, RepositoryArgs};
use crate::http::{ConnectionConfig, HostNames};
use crate::model_manager::Models;
use crate::process::lifecycle::StopSignals;
use crate::server;
use crate::server::ServeEnd;

/// Listens on `address` and runs a role until it ends or a second signal stops it (see [`StopSignals`]).
pub(super) fn run(
    runtime: Runtime,
    address: &ListenAddress,
    role: impl AsyncFnOnce(TcpListener) -> anyhow::Result<ServeEnd>,
) -> anyhow::Result<ExitCode> {
    let served = runtime.block_on(async {
        let listener = listen(address, "--listen")?;
        tokio::select! {
            served = role(listener) => served,
            // The first signal drains, the second does not wait.
            signal = second_request() => {
                tracing::error!(signal, "stopped by a second signal; accepted requests are not answered");
                Ok(ServeEnd::CutShort)
            }
        }
    });
    // Tasks left behind by a failed drain must not keep the process alive.
    runtime.shutdown_background();
    served.map(|ending| match ending {
        ServeEnd::Drained => ExitCode::SUCCESS,
        ServeEnd::CutShort => ExitCode::FAILURE,
    })
}

/// SIGHUP, which no longer ends the process once this exists: also while the process is still downloading its model, and
/// where there is nothing to reload.
pub(super) struct Hangups(Signal);

impl Hangups {
    /// Receives every SIGHUP from now on.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub(super) fn begin(runtime: &Runtime) -> anyhow::Result<Self> {
        let _inside = runtime.enter();
        signal(SignalKind::hangup())
            .map(Self)
            .context("cannot receive SIGHUP")
    }

    /// Rescans the models at each SIGHUP, forever.
    async fn rescan(mut self, models: &Models) -> &'static str {
        let mut rescans = JoinSet::new();
        loop {
            // A rescan that waits for a model to finish its work must not delay the next one.
            tokio::select! {
                Some(()) = self.0.recv() => {
                    let models = models.clone();
                    rescans.spawn(async move { models.rescan().await });
                }
                Some(_) = rescans.join_next() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Logs at each SIGHUP that it has no effect, forever.
    async fn ignore(mut self) -> &'static str {
        while self.0.recv().await.is_some() {
            tracing::info!("ignored SIGHUP: this process loads no models; send it to the workers");
        }
        std::future::pending().await
    }
}

/// Waits for a stop signal and returns its name, in a role without models.
pub(super) async fn stop_of_web(hangups: Hangups) -> &'static str {
    tokio::select! {
        signal = stop() => signal,
        never = hangups.ignore() => never,
    }
}

/// Waits for a stop signal and returns its name.
async fn stop() -> &'static str {
    stop_signals().await.next().await
}

/// Waits for the second request to stop and returns its signal's name.
async fn second_request() -> &'static str {
    stop_signals().await.second_request().await
}

/// The signals that stop the process; waits forever if they cannot be received.
async fn stop_signals() -> StopSignals {
    match StopSignals::begin() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot receive signals; kill the process to stop it");
            std::future::pending().await
        }
    }
}

/// Waits for a stop signal in a role with `models`. Meanwhile SIGHUP rescans them, and clients of the admin address load
/// and unload them. That address joins our `own`, which webhooks must not call.
///
/// # Errors
/// When the process cannot listen on that address.
pub(super) fn stop_changing(
    models: &Models,
    hangups: Hangups,
    admin: &RepositoryArgs,
    own: Option<&OwnListeners>,
    connections: ConnectionConfig,
) -> anyhow::Result<impl Future<Output = &'static str> + use<>> {
    let address = admin.admin_listen.as_ref();
    let names = address.and_then(ListenAddress::name).map(str::to_owned);
    let names = HostNames(
        names
            .into_iter()
            .chain(admin.admin_hosts.iter().cloned())
            .collect(),
    );
    let admin = address.map(|address| listen(address, "--admin-listen"));
    let (admin, models) = (admin.transpose()?, models.clone());
    let connections = ConnectionConfig {
        max_connections: connections.max_connections.min(ADMIN_CONNECTIONS),
        ..connections
    };
    if let (Some(admin), Some(own)) = (&admin, own) {
        own.add(admin.local_addr()?);
    }
    Ok(async move {
        let administration = async {
            if let Some(listener) = admin
                && let Err(error) = server::admin(listener, models.clone(), names, connections).await
            {
                tracing::error!(%error, "the server on --admin-listen failed");
            }
            std::future::pending().await
        };
        tokio::select! {
            signal = stop() => signal,
            never = hangups.rescan(&models) => never,
            never = administration => never,
        }
    })
}
