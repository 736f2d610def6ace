//! The state of a model's queue in Redis.

use std::time::Duration;

use super::address::EntryAddress;
use super::connection::{Link, LinkError};
use super::keys::{GROUP, ModelKeys};
use super::scripts::LOOK;
use crate::metrics::QueueStats;

/// The state of a queue, and which of `jobs` are missing from it.
pub(super) async fn look(
    link: &Link,
    keys: &ModelKeys,
    jobs: &[&EntryAddress],
) -> Result<QueueStats, LinkError> {
    let mut script = LOOK.call();
    for key in keys.jobs.iter().chain([&keys.dead, &keys.index]) {
        script.key(key);
    }
    script.arg(GROUP);
    for place in jobs {
        script.arg(place.stream()).arg(&place.entry);
    }
    let answer: Vec<u64> = link.script(&script).await?;
    let [depth, in_flight, oldest, dead, missing @ ..] = answer.as_slice() else {
        return Err(LinkError::Refused(
            "the script LOOK returned something else than it should".to_owned(),
        ));
    };
    Ok(QueueStats {
        depth: *depth as usize,
        in_flight: *in_flight as usize,
        oldest: Duration::from_millis(*oldest),
        dead: *dead as usize,
        missing: missing
            .iter()
            .map(|position| (*position as usize).saturating_sub(1))
            .collect(),
    })
}
