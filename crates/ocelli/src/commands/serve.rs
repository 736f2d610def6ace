//! `ocelli serve`.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};

use super::settings;
use crate::admission::AdmissionLimits;
use crate::cli::{LimitArgs, ServeArgs};
use crate::http::HttpConfig;
use crate::lifecycle::stop_signal;
use crate::roles::{self, DrainTimes, Ending, Pipeline, PipelineConfig, ServeConfig};
use crate::telemetry;

/// Clients that may wait to be accepted, as far as the system allows. The usual 128 are few: a thousand clients that
/// come at once would find most of their connections dropped by the kernel, and try again for seconds.
const BACKLOG: u32 = 4096;

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log);
    allow_connections(args.limits.max_connections.get());
    let package = settings::package(&args.model)?;
    let backend = settings::backend(&args.model, &package)?;
    let config = PipelineConfig {
        cores: settings::cores(),
        admission: admission(&args.limits),
        decode: settings::decode(&args.image),
        worker: settings::worker(&args.model),
    };
    let serve = ServeConfig {
        http: http(&args.limits),
        drain: DrainTimes {
            delay: args.drain_delay,
            timeout: args.drain_timeout,
        },
    };
    let pipeline = Pipeline::new(&config, backend, package);
    let runtime = settings::runtime()?;
    let served = runtime.block_on(async {
        let listener = listen(args.listen).with_context(|| {
            format!(
                "cannot listen on {}; is another server there? --listen takes another address",
                args.listen
            )
        })?;
        let served = roles::serve(listener, pipeline, serve, stop());
        tokio::select! {
            served = served => served,
            // The first signal drains, the second does not wait.
            () = twice() => {
                tracing::error!("stopped at once by a second signal");
                Ok(Ending::CutShort)
            }
        }
    });
    // Whatever a failed drain left behind must not keep the process.
    runtime.shutdown_background();
    served.map(|ending| match ending {
        Ending::Drained => ExitCode::SUCCESS,
        Ending::CutShort => ExitCode::FAILURE,
    })
}

/// Raises the process's limit of open files, which is often a quarter of what `--max-connections` promises.
fn allow_connections(connections: usize) {
    /// Besides connections: the model, the library, logs, timers.
    const OTHER_FILES: u64 = 128;
    let wanted = connections as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, ..limit }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    } else if current < Some(wanted) {
        tracing::warn!(
            allowed = current,
            wanted,
            "fewer files may be open than --max-connections needs; raise the hard limit (ulimit -Hn)"
        );
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // As the standard library does: a server that restarts need not wait for the connections of the last one.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn stop() -> &'static str {
    match stop_signal().await {
        Ok(signal) => signal,
        Err(error) => {
            tracing::error!(%error, "signals cannot be received; kill the process to stop it");
            std::future::pending().await
        }
    }
}

async fn twice() {
    stop().await;
    stop().await;
}

fn admission(args: &LimitArgs) -> AdmissionLimits {
    AdmissionLimits {
        jobs: args.queue_jobs.get(),
        bytes: args.queue_bytes.as_u64(),
    }
}

fn http(args: &LimitArgs) -> HttpConfig {
    HttpConfig {
        max_body: args.max_body.as_u64(),
        max_images: args.max_images.get(),
        deadline: args.deadline,
        max_deadline: args.max_deadline,
        header_timeout: args.header_timeout,
        idle_timeout: args.idle_timeout,
        max_connections: args.max_connections.get(),
    }
}
