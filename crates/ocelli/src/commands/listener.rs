//! What all serving commands do around their role: the socket, the signals, the limits of the process, the exit status.

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

/// Listens on `address` and runs a role there until it ends or a second signal ends it (see [`StopSignals`]).
pub(super) fn run(
    runtime: Runtime,
    address: &ListenAddress,
    role: impl AsyncFnOnce(TcpListener) -> anyhow::Result<ServeEnd>,
) -> anyhow::Result<ExitCode> {
    let served = runtime.block_on(async {
        let listener = listen(address, "--listen")?;
        tokio::select! {
            served = role(listener) => served,
            // The first request drains, the second does not wait.
            signal = second_request() => {
                tracing::error!(signal, "stopped at once by a second signal; what was accepted is not answered");
                Ok(ServeEnd::CutShort)
            }
        }
    });
    // Whatever a failed drain left behind must not keep the process.
    runtime.shutdown_background();
    served.map(|ending| match ending {
        ServeEnd::Drained => ExitCode::SUCCESS,
        ServeEnd::CutShort => ExitCode::FAILURE,
    })
}

/// SIGHUP, which no process ends of once this is made: not one that is still fetching its model, nor one that has nothing
/// to look at anew.
pub(super) struct Hangups(Signal);

impl Hangups {
    /// Hears of every SIGHUP from now on.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub(super) fn begin(runtime: &Runtime) -> anyhow::Result<Self> {
        let _inside = runtime.enter();
        signal(SignalKind::hangup())
            .map(Self)
            .context("SIGHUP cannot be received")
    }

    /// Brings the models up to date at each SIGHUP, for ever.
    async fn rescan(mut self, models: &Models) -> &'static str {
        let mut rescans = JoinSet::new();
        loop {
            // One that waits until a model has ended what it had must not keep the next one waiting.
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

    /// Says at each SIGHUP that nothing comes of it, for ever.
    async fn ignore(mut self) -> &'static str {
        while self.0.recv().await.is_some() {
            tracing::info!("SIGHUP: this process has no models of its own; send it to the workers");
        }
        std::future::pending().await
    }
}

/// Waits for a signal to stop, and names it, in a role that has no models.
pub(super) async fn stop_of_web(hangups: Hangups) -> &'static str {
    tokio::select! {
        signal = stop() => signal,
        never = hangups.ignore() => never,
    }
}

/// Waits for a signal to stop, and names it.
async fn stop() -> &'static str {
    stop_signals().await.next().await
}

/// Waits until a signal asks for the second time that the process stops, and names it.
async fn second_request() -> &'static str {
    stop_signals().await.second_request().await
}

/// The signals that stop the process; waits for ever where they cannot be received.
async fn stop_signals() -> StopSignals {
    match StopSignals::begin() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals cannot be received; kill the process to stop it");
            std::future::pending().await
        }
    }
}

/// The same for a role with `models`, which SIGHUP brings up to date, and which whoever reaches the address in `admin` may
/// change. That address is added to those of our `own` that webhooks do not call.
///
/// # Errors
/// When there is no listening on that address.
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
                tracing::error!(%error, "models cannot be loaded over --admin-listen");
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
