//! `ocelli worker`.

use std::process::ExitCode;

use super::{listener, settings};
use crate::broker::redis::WorkerSideConfig;
use crate::cli::{Wire, WorkerArgs};
use crate::roles::{self, DrainTimes, WorkerTier, WorkerTierConfig, WorkerWire};
use crate::telemetry;

pub(super) fn run(args: &WorkerArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(&args.log);
    let target = settings::redis(&args.redis)?;
    let package = settings::package(&args.model.source)?;
    let backend = settings::backend(&args.model.engine, &package)?;
    let name = settings::process_name("worker");
    let wire = match args.wire {
        Wire::Native => WorkerWire::Native(WorkerSideConfig {
            prefix: args.redis.prefix.clone(),
            name,
            lease: args.lease,
            dead_letters: args.dead_letters.get(),
            dead_ttl: args.dead_ttl,
        }),
        Wire::Tutorial => WorkerWire::Tutorial { name },
    };
    let config = WorkerTierConfig {
        cores: settings::cores(),
        worker: settings::worker(&args.model.engine),
        connections: settings::connections(&args.connections),
        drain: DrainTimes {
            delay: args.drain_delay,
            timeout: args.drain_timeout,
        },
        wire,
    };
    let tier = WorkerTier::new(config, &target, backend, package);
    listener::run(settings::runtime()?, args.listen, async |listener| {
        roles::worker(listener, tier, listener::stop()).await
    })
}
