//! `ocelli web`.

use std::process::ExitCode;

use super::files::Needs;
use super::listener::Hangups;
use super::{files, listener, settings};
use crate::cli::{WebArgs, Wire};
use crate::http::Cors;
use crate::queue::redis::WebConfig;
use crate::server;
use crate::server::{ServeConfig, WebTier, WebTierConfig, WebWire};

pub(super) fn run(args: &WebArgs) -> anyhow::Result<ExitCode> {
    let runtime = settings::runtime()?;
    let hangups = Hangups::begin(&runtime)?;
    let target = settings::redis(&args.redis)?;
    let name = settings::process_name("web");
    let wire = match args.wire {
        Wire::Native => WebWire::Native(WebConfig {
            prefix: args.redis.prefix.clone(),
            name,
            limits: settings::admission(&args.limits),
            max_result_bytes: args.jobs.max_job_bytes.as_u64(),
        }),
        Wire::Tutorial => WebWire::Tutorial { name },
    };
    let tier = WebTierConfig {
        cores: settings::cores(),
        admission: settings::admission(&args.limits),
        decode: settings::decode(&args.image),
        names: settings::names(&args.names),
        wire,
    };
    let jobs = settings::jobs(&args.jobs)?;
    let needs = Needs {
        webhook_calls: jobs.webhook_calls(),
        redis: true,
        admin: false,
    };
    let serve = ServeConfig {
        http: settings::http(&args.limits)?,
        connections: files::allow(settings::connections(&args.connections), needs)?,
        drain: settings::drain(&args.drain),
        jobs,
        cors: Cors::new(&args.browser.cors_origins),
    };
    let tier = WebTier::new(tier, &target);
    listener::run(runtime, &args.listen, async |listener| {
        server::web(listener, tier, serve, listener::stop_of_web(hangups)).await
    })
}
