//! `ocelli serve`.

use std::process::ExitCode;

use super::{listener, settings};
use crate::cli::ServeArgs;
use crate::roles::{self, Pipeline, PipelineConfig, ServeConfig};
use crate::telemetry;

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log);
    listener::allow_connections(args.connections.max_connections.get());
    let package = settings::package(&args.model.source)?;
    let backend = settings::backend(&args.model.engine, &package)?;
    let config = PipelineConfig {
        cores: settings::cores(),
        admission: settings::admission(&args.limits),
        decode: settings::decode(&args.image),
        worker: settings::worker(&args.model.engine),
    };
    let serve = ServeConfig {
        http: settings::http(&args.limits),
        connections: settings::connections(&args.connections),
        drain: settings::drain(&args.drain),
        jobs: settings::jobs(&args.jobs)?,
    };
    let pipeline = Pipeline::new(&config, backend, package);
    let runtime = settings::runtime()?;
    listener::run(runtime, args.listen, async |listener| {
        roles::serve(listener, pipeline, serve, listener::stop()).await
    })
}
