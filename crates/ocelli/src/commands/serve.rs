//! `ocelli serve`.

use std::process::ExitCode;

use super::listener::Hangups;
use super::{listener, settings};
use crate::cli::ServeArgs;
use crate::jobs::Sender;
use crate::roles::{self, Pipeline, PipelineConfig, ServeConfig};
use crate::telemetry;

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log);
    let runtime = settings::runtime()?;
    let hangups = Hangups::begin(&runtime)?;
    listener::allow_connections(args.connections.max_connections.get());
    let drain = settings::drain(&args.drain);
    let mut models = settings::models(&args.model.source, &args.repository, drain.timeout)?;
    models.names = settings::names(&args.names);
    let backend = settings::backend(&args.model.engine, models.given.first())?;
    let config = PipelineConfig {
        cores: settings::cores(),
        admission: settings::admission(&args.limits),
        decode: settings::decode(&args.image),
        worker: settings::worker(&args.model.engine),
    };
    let serve = ServeConfig {
        http: settings::http(&args.limits)?,
        connections: settings::connections(&args.connections),
        drain,
        jobs: settings::jobs(&args.jobs)?,
    };
    let pipeline = Pipeline::new(&config, backend, models);
    listener::run(runtime, &args.listen, async |listener| {
        let own = serve.jobs.webhooks.as_ref().map(Sender::own_listeners);
        let (models, admin) = (pipeline.models(), &args.repository);
        let stop = listener::stop_changing(models, hangups, admin, own, serve.connections)?;
        roles::serve(listener, pipeline, serve, stop).await
    })
}
