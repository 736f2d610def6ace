//! `ocelli serve`.

use std::process::ExitCode;

use super::files::Needs;
use super::listener::Hangups;
use super::{files, listener, settings};
use crate::async_jobs::Sender;
use crate::cli::ServeArgs;
use crate::http::Cors;
use crate::server;
use crate::server::{Pipeline, PipelineConfig, ServeConfig};

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let runtime = settings::runtime()?;
    let hangups = Hangups::begin(&runtime)?;
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
    let jobs = settings::jobs(&args.jobs)?;
    let needs = Needs {
        webhook_calls: jobs.webhook_calls(),
        admin: args.repository.admin_listen.is_some(),
        redis: false,
    };
    let serve = ServeConfig {
        http: settings::http(&args.limits)?,
        connections: files::allow(settings::connections(&args.connections), needs)?,
        drain,
        jobs,
        cors: Cors::new(&args.browser.cors_origins),
    };
    let pipeline = Pipeline::new(&config, backend, models);
    listener::run(runtime, &args.listen, async |listener| {
        let own = serve.jobs.webhooks.as_ref().map(Sender::own_listeners);
        let (models, admin) = (pipeline.models(), &args.repository);
        let stop = listener::stop_changing(models, hangups, admin, own, serve.connections)?;
        server::serve(listener, pipeline, serve, stop).await
    })
}
