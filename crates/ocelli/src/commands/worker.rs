//! `ocelli worker`.

use std::process::ExitCode;

use super::files::Needs;
use super::listener::Hangups;
use super::{files, listener, settings};
use crate::cli::{Wire, WorkerArgs};
use crate::queue::redis::WorkerSideConfig;
use crate::server;
use crate::server::{DrainTimes, WorkerTier, WorkerTierConfig, WorkerWire};

pub(super) fn run(args: &WorkerArgs) -> anyhow::Result<ExitCode> {
    let runtime = settings::runtime()?;
    let hangups = Hangups::begin(&runtime)?;
    let target = settings::redis(&args.redis)?;
    let drain = DrainTimes {
        delay: args.drain.drain_delay,
        timeout: args.drain.drain_timeout,
    };
    anyhow::ensure!(
        args.wire == Wire::Native || args.repository.model_dir.is_none(),
        "--wire tutorial supports a single model; remove --model-dir, and choose the model with --model"
    );
    let models = settings::models(&args.model.source, &args.repository, drain.timeout)?;
    let backend = settings::backend(&args.model.engine, models.given.first())?;
    let name = settings::process_name("worker");
    let wire = match args.wire {
        Wire::Native => WorkerWire::Native(WorkerSideConfig {
            prefix: args.redis.prefix.clone(),
            name,
            lease: args.redelivery.lease,
            dead_letters: args.redelivery.dead_letters.get(),
            dead_ttl: args.redelivery.dead_ttl,
        }),
        Wire::Tutorial => WorkerWire::Tutorial { name },
    };
    let needs = Needs {
        redis: true,
        admin: args.repository.admin_listen.is_some(),
        webhook_calls: 0,
    };
    let connections = files::allow(settings::connections(&args.connections), needs)?;
    let config = WorkerTierConfig {
        cores: settings::cores(),
        worker: settings::worker(&args.model.engine),
        connections,
        drain,
        wire,
    };
    let tier = WorkerTier::new(config, &target, backend, models);
    listener::run(runtime, &args.listen, async |listener| {
        let stop = listener::stop_changing(tier.models(), hangups, &args.repository, None, connections)?;
        server::worker(listener, tier, stop).await
    })
}
