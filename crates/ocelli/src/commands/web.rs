//! `ocelli web`.

use std::process::ExitCode;

use super::{listener, settings};
use crate::broker::redis::WebConfig;
use crate::cli::WebArgs;
use crate::roles::{self, ServeConfig, WebTier, WebTierConfig};
use crate::telemetry;

pub(super) fn run(args: &WebArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log);
    listener::allow_connections(args.connections.max_connections.get());
    let target = settings::redis(&args.redis)?;
    let tier = WebTierConfig {
        cores: settings::cores(),
        admission: settings::admission(&args.limits),
        decode: settings::decode(&args.image),
        default_model: args.default_model.clone(),
        broker: WebConfig {
            prefix: args.redis.prefix.clone(),
            name: settings::process_name("web"),
            max_jobs: args.limits.queue_jobs.get(),
            max_bytes: args.limits.queue_bytes.as_u64(),
        },
    };
    let serve = ServeConfig {
        http: settings::http(&args.limits),
        connections: settings::connections(&args.connections),
        drain: settings::drain(&args.drain),
        jobs: settings::jobs(&args.jobs),
    };
    let tier = WebTier::new(&tier, &target);
    listener::run(settings::runtime()?, args.listen, async |listener| {
        roles::web(listener, tier, serve, listener::stop()).await
    })
}
