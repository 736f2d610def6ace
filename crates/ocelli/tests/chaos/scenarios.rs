//! The fault scenarios.

mod full_and_slow;
mod models;
mod outages;
mod webs;
mod workers;

use crate::setup::Finished;
use crate::support::redis::Binary;

/// A fault scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    KilledWorkers,
    KilledWebs,
    RestartedWorkers,
    RestartedWebs,
    RedisBack,
    RedisLost,
    RedisSilent,
    Flush,
    Sentinel,
    Cluster,
    Poison,
    Frozen,
    Full,
    FullKilled,
    Slow,
    Update,
}

impl Scenario {
    /// All scenarios, by their names on the command line.
    pub(crate) const ALL: &[(&str, Self)] = &[
        ("killed-workers", Self::KilledWorkers),
        ("killed-webs", Self::KilledWebs),
        ("restarted-workers", Self::RestartedWorkers),
        ("restarted-webs", Self::RestartedWebs),
        ("redis-back", Self::RedisBack),
        ("redis-lost", Self::RedisLost),
        ("redis-silent", Self::RedisSilent),
        ("flush", Self::Flush),
        ("sentinel", Self::Sentinel),
        ("cluster", Self::Cluster),
        ("poison", Self::Poison),
        ("frozen", Self::Frozen),
        ("full", Self::Full),
        ("full-killed", Self::FullKilled),
        ("slow", Self::Slow),
        ("update", Self::Update),
    ];

    pub(crate) async fn play(self, redis: &Binary) -> Finished {
        match self {
            Self::KilledWorkers => workers::killed(redis).await,
            Self::KilledWebs => webs::killed(redis).await,
            Self::RestartedWorkers => workers::restarted(redis).await,
            Self::RestartedWebs => webs::restarted(redis).await,
            Self::RedisBack => outages::with_data(redis).await,
            Self::RedisLost => outages::without_data(redis).await,
            Self::RedisSilent => outages::silent(redis).await,
            Self::Flush => outages::emptied(redis).await,
            Self::Sentinel => outages::failover(redis).await,
            Self::Cluster => outages::lost_node(redis).await,
            Self::Poison => workers::poisoned(redis).await,
            Self::Frozen => workers::frozen(redis).await,
            Self::Full => full_and_slow::full(redis).await,
            Self::FullKilled => full_and_slow::full_and_killed(redis).await,
            Self::Slow => full_and_slow::slow(redis).await,
            Self::Update => models::updated(redis).await,
        }
    }
}
