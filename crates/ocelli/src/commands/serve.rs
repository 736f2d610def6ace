//! `ocelli serve`.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::settings;
use crate::admission::AdmissionLimits;
use crate::cli::{LimitArgs, ServeArgs};
use crate::http::HttpConfig;
use crate::lifecycle::stop_signal;
use crate::roles::{self, DrainTimes, Ending, Pipeline, PipelineConfig, ServeConfig};
use crate::telemetry;

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log);
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
        let listener = TcpListener::bind(args.listen).await.with_context(|| {
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
