//! `ocelli worker`.

use std::process::ExitCode;

use super::{listener, settings};
use crate::broker::redis::WorkerSideConfig;
use crate::cli::WorkerArgs;
use crate::roles::{self, DrainTimes, WorkerTier, WorkerTierConfig};
use crate::telemetry;

pub(super) fn run(args: &WorkerArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log);
    let target = settings::redis(&args.redis)?;
    let package = settings::package(&args.model)?;
    let backend = settings::backend(&args.model, &package)?;
    let config = WorkerTierConfig {
        cores: settings::cores(),
        worker: settings::worker(&args.model),
        connections: settings::connections(&args.connections),
        drain: DrainTimes {
            delay: args.drain_delay,
            timeout: args.drain_timeout,
        },
        side: WorkerSideConfig {
            prefix: args.redis.prefix.clone(),
            name: settings::process_name("worker"),
            lease: args.lease,
            dead_letters: args.dead_letters.get(),
            dead_ttl: args.dead_ttl,
        },
    };
    let tier = WorkerTier::new(config, &target, backend, package);
    listener::run(settings::runtime()?, args.listen, async |listener| {
        roles::worker(listener, tier, listener::stop()).await
    })
}
